"""Macroeconomic series: of each the value of the newest period that is out, by the evening of the session."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from bar_fly_trading.features.evenings import SEEN, Evenings, epoch_day

# A value is carried until its next release is long overdue, in days after its period's first day. Monthly series are out
# within 50 days of it, the next one 31 later, and shutdowns have held releases back for up to 50; the yearly one is
# out by August of the year after.
_DAILY, _MONTHLY, _YEARLY = 45, 150, 1_100


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the stored series, and the days after its period's first day for which a value stands."""

    series: str
    age_days_max: int


MACRO_COLUMNS: dict[str, Column] = {
    "treasury_yield_2year": Column("treasury_yield_2year", _DAILY),
    "treasury_yield_10year": Column("treasury_yield_10year", _DAILY),
    "ffer": Column("federal_funds_rate", _DAILY),
    "cpi": Column("cpi", _MONTHLY),
    "inflation": Column("inflation", _YEARLY),
    "retail_sales": Column("retail_sales", _MONTHLY),
    "durables": Column("durables", _MONTHLY),
    "unemployment": Column("unemployment", _MONTHLY),
    "nonfarm_payroll": Column("nonfarm_payroll", _MONTHLY),
}


def macro_columns(facts: pl.DataFrame, rows: Evenings) -> list[pl.Series]:
    """Return the columns of MACRO_COLUMNS that have any value, one value a row of the table.

    `facts`: every row of the `macro` table (several revisions of a period, in any order). Units: the vendor's (yields and
    rates in percent, levels as published). A row sees the newest period any value of which is known by its evening, in that
    period's newest revision known by then; a revision of an older period changes nothing. Null before the first release
    and once the value is older than `age_days_max`. No series stands in for another.
    """
    known = rows.seen(facts.filter(pl.col("value").is_finite()))
    by_series = known.partition_by("series", as_dict=True)
    row_day = rows.days - rows.first_day
    columns = []
    for name, column in MACRO_COLUMNS.items():
        values = by_series.get((column.series,))
        if values is None:
            continue
        period = epoch_day("date")
        states = values.filter(period == period.cum_max()).unique(SEEN, keep="last", maintain_order=True)
        seen = states[SEEN].to_numpy() - rows.first_day
        index = np.bincount(seen, minlength=rows.cuts.size).cumsum() - 1
        until = states.select(period).to_series().to_numpy() + column.age_days_max
        held = np.maximum(index, 0)
        day = rows.first_day + np.arange(rows.cuts.size)
        absent = (index < 0) | (day > until[held])
        by_day = np.where(absent, np.nan, states["value"].to_numpy()[held])
        columns.append(pl.Series(name, by_day[row_day]).fill_nan(None))
    return columns
