"""Macroeconomic series at an instant: a seeded history, and of it only what was published by then."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import numpy as np

from bar_fly_simulators.clock import NEW_YORK, utc_us

_FIRST, _LAST = date(2000, 1, 1), date(2030, 12, 31)
_MORNING, _AFTERNOON = time(8, 30), time(16, 15)
_GAP = "."
_MATURITIES = {
    "3month": ("3-Month", 1.9),
    "2year": ("2-Year", 2.3),
    "5year": ("5-Year", 2.7),
    "7year": ("7-Year", 2.9),
    "10year": ("10-Year", 3.1),
    "30year": ("30-Year", 3.6),
}


@dataclass(frozen=True, slots=True)
class _Series:
    """One series: the vendor's words, its intervals (the default first), and its values' level, growth and spread.

    `released`: the instant at which a period's figure is out, from the period's first day and its interval.
    """

    name: str
    unit: str
    intervals: tuple[str, ...]
    level: float
    growth: float
    spread: float
    decimals: int
    released: Callable[[date, str], datetime]


def _weekday(day: date) -> date:
    return day + timedelta(days={5: 2, 6: 1}.get(day.weekday(), 0))


def _next_month(day: date, months: int = 1) -> date:
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def _at(day: date, wall: time) -> datetime:
    return datetime.combine(day, wall, NEW_YORK)


def _on_day(number: int) -> Callable[[date, str], datetime]:
    """Published on that day of the following month (the next weekday), at 08:30."""

    def released(period: date, interval: str) -> datetime:
        months = 6 if interval == "semiannual" else 1
        return _at(_weekday(_next_month(period, months) + timedelta(days=number - 1)), _MORNING)

    return released


def _first_friday(period: date, _interval: str) -> datetime:
    first = _next_month(period)
    return _at(first + timedelta(days=(4 - first.weekday()) % 7), _MORNING)


def _rate(period: date, interval: str) -> datetime:
    """Published at 16:15 of the next weekday after the period's end."""
    end = {"daily": period + timedelta(days=1), "weekly": period + timedelta(days=1)}.get(interval, _next_month(period))
    return _at(_weekday(end), _AFTERNOON)


def _yearly(period: date, _interval: str) -> datetime:
    return _at(_weekday(date(period.year + 1, 7, 2)), _MORNING)


_RATES = ("monthly", "weekly", "daily")
_SERIES: Mapping[str, _Series] = {
    "FEDERAL_FUNDS_RATE": _Series(
        "Effective Federal Funds Rate", "percent", ("monthly", "daily", "weekly"), 2.0, 0.0, 0.08, 2, _rate
    ),
    "CPI": _Series(
        "Consumer Price Index for all Urban Consumers",
        "index 1982-1984=100",
        ("monthly", "semiannual"),
        168.8,
        0.0021,
        0.001,
        3,
        _on_day(13),
    ),
    "INFLATION": _Series("Inflation - US Consumer Prices", "percent", ("annual",), 2.5, 0.0, 0.8, 14, _yearly),
    "RETAIL_SALES": _Series(
        "Advance Retail Sales: Retail Trade", "millions of dollars", ("monthly",), 236000, 0.003, 0.02, 0, _on_day(16)
    ),
    "DURABLES": _Series(
        "Manufacturer New Orders: Durable Goods",
        "millions of dollars",
        ("monthly",),
        180000,
        0.0018,
        0.03,
        0,
        _on_day(26),
    ),
    "UNEMPLOYMENT": _Series("Unemployment Rate", "percent", ("monthly",), 4.5, 0.0, 0.1, 1, _first_friday),
    "NONFARM_PAYROLL": _Series(
        "Total Nonfarm Payroll", "thousands of persons", ("monthly",), 129000, 0.0006, 0.001, 0, _first_friday
    ),
}
FUNCTIONS = ("TREASURY_YIELD", *_SERIES)


def macro_body(function: str, query: Mapping[str, str], at_us: int) -> dict[str, object] | None:
    """Return a series' body, newest first, of what was published by an instant; None for a parameter it does not take."""
    name = function
    if function == "TREASURY_YIELD":
        maturity = query.get("maturity", "10year")
        if maturity not in _MATURITIES:
            return None
        title, level = _MATURITIES[maturity]
        name = f"{function} {maturity}"
        series = _Series(f"{title} Treasury Constant Maturity Rate", "percent", _RATES, level, 0.0, 0.06, 2, _rate)
    else:
        series = _SERIES[function]
    interval = query.get("interval", series.intervals[0])
    if interval not in series.intervals:
        return None
    rows = [
        {"date": period.isoformat(), "value": value}
        for period, value in _history(name, series, interval)
        if utc_us(series.released(period, interval)) <= at_us
    ]
    return {"name": series.name, "interval": interval, "unit": series.unit, "data": rows[::-1]}


def _history(name: str, series: _Series, interval: str) -> list[tuple[date, str]]:
    """Return every period with its value as text, the clock's future included; a holiday of a daily rate is a gap."""
    periods = list(_periods(interval))
    noise = np.random.default_rng(zlib.crc32(f"{name} {interval}".encode())).normal(size=len(periods))
    values, drawn = [], 0.0
    for i, period in enumerate(periods):
        drawn = 0.97 * drawn + float(noise[i]) * series.spread
        trend = series.level * (1 + series.growth) ** i if series.growth else series.level
        value = trend * (1 + drawn) if series.growth else max(0.01, trend + drawn)
        holiday = interval == "daily" and (period.month, period.day) in {(1, 1), (7, 4), (12, 25)}
        values.append((period, _GAP if holiday else f"{value:.{series.decimals}f}"))
    return values


def _periods(interval: str) -> Iterator[date]:
    day = _FIRST
    while day <= _LAST:
        if interval == "daily" and day.weekday() > 4:
            day += timedelta(days=1)
            continue
        if interval == "weekly" and day.weekday() != 4:
            day += timedelta(days=1)
            continue
        yield day
        match interval:
            case "daily":
                day += timedelta(days=1)
            case "weekly":
                day += timedelta(days=7)
            case "annual":
                day = date(day.year + 1, 1, 1)
            case _:
                day = _next_month(day, 6 if interval == "semiannual" else 1)
