"""Macroeconomic series from Alpha Vantage, and when each of their periods becomes known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta

import polars as pl

from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.parse import Body, BodyFault, columns_of, day, number
from bar_fly_trading.facts.sessions import new_york_us
from bar_fly_trading.facts.tables import KNOWN_AT, MACRO

_MORNING, _EVENING = time(9, 0), time(18, 0)


@dataclass(frozen=True, slots=True)
class Series:
    """One series: how it is asked for, and the latest usual release of a period.

    The release is on `release_day` of the month `months_after` the period's first day (weekends move it on), at
    `released` New York time; `months_after` 0: `release_day` weekdays after the period, as of a daily rate.
    """

    name: str
    function: str
    parameters: Mapping[str, str]
    months: int
    months_after: int
    release_day: int
    released: time = _MORNING

    def release_us(self, period: date) -> int:
        """Return when a period counts as released, UTC microseconds: late rather than early."""
        return new_york_us(self.release_date(period), self.released)

    def release_date(self, period: date) -> date:
        """Return the New York day of that release."""
        if not self.months_after:
            found = period
            for _ in range(self.release_day):
                found = _on_weekday(found + timedelta(days=1))
            return found
        return _on_weekday(_months_on(period, self.months_after) + timedelta(days=self.release_day - 1))

    def next_period(self, period: date) -> date:
        """Return the first day of the period after one; the next weekday, of a daily series."""
        if self.months:
            return _months_on(period, self.months)
        return period + timedelta(days=3 if period.weekday() == 4 else 1)


def _on_weekday(day: date) -> date:
    return day + timedelta(days={5: 2, 6: 1}.get(day.weekday(), 0))


def _months_on(period: date, months: int) -> date:
    index = period.year * 12 + period.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def _yield(maturity: str) -> Series:
    parameters = {"interval": "daily", "maturity": maturity}
    return Series(f"treasury_yield_{maturity}", "TREASURY_YIELD", parameters, 0, 0, 2, _EVENING)


# Sources of the release days are in docs/alpha_vantage.md. Daily rates are out the next business day, which a holiday may
# delay by one.
SERIES: dict[str, Series] = {
    one.name: one
    for one in (
        *(_yield(maturity) for maturity in ("3month", "2year", "5year", "7year", "10year", "30year")),
        Series("federal_funds_rate", "FEDERAL_FUNDS_RATE", {"interval": "daily"}, 0, 0, 2, _EVENING),
        Series("cpi", "CPI", {"interval": "monthly"}, 1, 1, 16),
        Series("inflation", "INFLATION", {}, 12, 12 + 7, 1),
        Series("retail_sales", "RETAIL_SALES", {}, 1, 1, 18),
        Series("durables", "DURABLES", {}, 1, 1, 28),
        Series("unemployment", "UNEMPLOYMENT", {}, 1, 1, 10),
        Series("nonfarm_payroll", "NONFARM_PAYROLL", {}, 1, 1, 10),
    )
}


async def macro(vendor: AlphaVantage, name: str) -> pl.DataFrame:
    """Return a series of `SERIES`, oldest first: the columns of the table; gaps (`.`) have no row."""
    one = SERIES[name]

    def read(body: Body) -> pl.DataFrame:
        return _values(body, one)

    return await vendor.ask(one.function, read, "data", **one.parameters)


def _values(body: Body, one: Series) -> pl.DataFrame:
    asked = one.parameters.get("interval")
    if asked is not None and body.get("interval") != asked:
        raise BodyFault(f"asked for {asked}, answered {str(body.get('interval'))[:20]!r}")
    rows = body["data"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BodyFault("'data' is no list of rows")
    read = columns_of(rows, {"date": ("date", day), "value": ("value", number)})
    frame = pl.DataFrame(read, schema={name: MACRO.columns[name] for name in read}).drop_nulls()
    if frame["date"].is_duplicated().any():
        raise BodyFault("a period is given twice")
    return frame.with_columns(pl.lit(one.name).alias("series")).select(list(MACRO.columns)).sort("date")


def with_known(rows: pl.DataFrame, name: str, received_us: int) -> pl.DataFrame:
    """Add `known_at`: the release rule of each period, or the receipt where that came first."""
    known = [min(received_us, SERIES[name].release_us(period)) for period in rows["date"]]
    return rows.with_columns(pl.Series(KNOWN_AT, known, dtype=pl.Int64))
