"""Faults: what cannot be a bar at all. Each is certain from the row itself (or its key), without a look at its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from bar_fly_trading.facts.sessions import Calendar

# BRK.A trades above 600,000 USD; the vendor's "no price" of 999999 must not pass.
PRICE_USD_BELOW = 900_000.0
_RANGE_TOLERANCE = 1e-6
_PRICES = ("open", "high", "low", "close", "adjusted_close")
FAULT_SCHEMA: dict[str, pl.DataType] = {
    "row": pl.Int64(),
    "instrument_id": pl.String(),
    "session": pl.Date(),
    "rule": pl.String(),
    "observed": pl.String(),
}


def _missing(name: str) -> pl.Expr:
    return pl.col(name).is_null() | pl.col(name).is_nan()


def _price_rules() -> list[tuple[str, pl.Expr, pl.Expr]]:
    rules: list[tuple[str, pl.Expr, pl.Expr]] = []
    for name in _PRICES:
        bad = (pl.col(name) <= 0) | (pl.col(name) >= PRICE_USD_BELOW)
        rules.append((f"{name} is missing", _missing(name), pl.lit("no number")))
        rules.append((f"{name} is not between 0 and {PRICE_USD_BELOW:.0f} USD", bad, pl.col(name).cast(pl.String)))
    low, high = pl.col("low") * (1 - _RANGE_TOLERANCE), pl.col("high") * (1 + _RANGE_TOLERANCE)
    span = pl.format("low {} high {}", "low", "high")
    rules.append(("high is below low", pl.col("high") < pl.col("low"), span))
    for name in ("open", "close"):
        outside = (pl.col(name) < low) | (pl.col(name) > high)
        # Where a price is absurd itself or the range is none, that is the fault, and this would repeat it.
        outside &= (pl.col("high") >= pl.col("low")) & pl.col(name).is_between(0, PRICE_USD_BELOW, closed="none")
        rules.append((f"{name} is outside the day's range", outside, pl.format(f"{name} {{}}, {{}}", name, span)))
    return rules


def _event_rules() -> list[tuple[str, pl.Expr, pl.Expr]]:
    return [
        ("volume is missing", pl.col("volume").is_null(), pl.lit("no number")),
        ("volume is negative", pl.col("volume") < 0, pl.col("volume").cast(pl.String)),
        ("dividend_amount is missing", _missing("dividend_amount"), pl.lit("no number")),
        ("dividend_amount is negative", pl.col("dividend_amount") < 0, pl.col("dividend_amount").cast(pl.String)),
        ("split_coefficient is missing", _missing("split_coefficient"), pl.lit("no number")),
        (
            "split_coefficient is not above 0",
            ~pl.col("split_coefficient").is_between(0, 1e6, closed="right"),
            pl.col("split_coefficient").cast(pl.String),
        ),
    ]


def _date_rules(bars: pl.DataFrame, calendar: Calendar, newest: date | None) -> list[tuple[str, pl.Expr, pl.Expr]]:
    first, last = calendar.first_day, calendar.last_day
    days: list[date] = [day for day in bars["session"].unique() if day is not None]
    closed = [day for day in days if not first <= day <= last or not calendar.is_session(day)]
    shown = pl.col("session").cast(pl.String)
    rules = [
        ("date is missing", pl.col("session").is_null(), pl.lit("no date")),
        ("date is no session of the exchange", pl.col("session").is_in(closed), shown),
    ]
    if newest is not None:
        rules.append((f"date is after the newest closed session {newest}", pl.col("session") > newest, shown))
    return rules


def faults_of(bars: pl.DataFrame, calendar: Calendar, *, newest: date | None = None) -> pl.DataFrame:
    """Return every fault of the bars, one row each: row (from 0), instrument_id, session, rule, observed.

    `bars`: the columns of `facts.tables.BARS`, in any order of rows. NaN and null are faults. `newest`: the newest
    session that has closed, where a later date is to be a fault. Sorted by row; empty where nothing is wrong.
    """
    numbered = bars.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    twice = pl.col("row").is_in(_duplicate_rows(numbered).implode())
    rules = [
        *_price_rules(),
        *_event_rules(),
        *_date_rules(bars, calendar, newest),
        ("date occurs twice", twice, pl.col("session").cast(pl.String)),
    ]
    hits = numbered.select(bad.fill_null(False).any().alias(str(i)) for i, (_, bad, _) in enumerate(rules)).row(0)
    found = [
        numbered.filter(bad.fill_null(False)).select(
            "row", "instrument_id", "session", rule=pl.lit(rule), observed=observed
        )
        for (rule, bad, observed), hit in zip(rules, hits, strict=True)
        if hit
    ]
    if not found:
        return pl.DataFrame(schema=FAULT_SCHEMA)
    return pl.concat(found).sort("row", maintain_order=True)


def _duplicate_rows(numbered: pl.DataFrame) -> pl.Series:
    keys = numbered.select("row", "instrument_id", "session").drop_nulls()
    name, day = pl.col("instrument_id"), pl.col("session")
    rising = (name > name.shift(1)) | ((name == name.shift(1)) & (day > day.shift(1)))
    # Most callers give them in order, and then a look at the neighbour is enough.
    if keys.select(rising.slice(1).all()).item():
        return pl.Series("row", [], dtype=pl.Int64)
    if keys.select(pl.struct("instrument_id", "session").n_unique()).item() == keys.height:
        return pl.Series("row", [], dtype=pl.Int64)
    return keys.filter(pl.struct("instrument_id", "session").is_duplicated())["row"]


def worded(faults: pl.DataFrame) -> Sequence[str]:
    """Return each fault in one line: instrument, session, rule, what was observed."""
    return [
        f"{row['instrument_id']} {row['session']}: {row['rule']} ({row['observed']})"
        for row in faults.iter_rows(named=True)
    ]
