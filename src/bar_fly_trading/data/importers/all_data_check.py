"""Parse one `all_data` file and list every fault in it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl

from bar_fly_trading.data.known import backfill_known_us
from bar_fly_trading.data.validate import PRICE_USD_BELOW
from bar_fly_trading.facts.instruments import canonical_symbol
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.features.all_data import INDICATORS, RECOVERING, REQUIRED

JUMP_MAX = 20.0
LINES_NAMED = 10
_PRICES = ("open", "high", "low", "adjusted_close")


class RowsFaulty(Exception):
    """One file's faults, carried to the importer, which words the error; never leaves it."""

    def __init__(self, *faults: str) -> None:
        """Take every fault found."""
        super().__init__(*faults)
        self.faults = faults


def parse(path: Path, calendar: Calendar, recorded_at_us: int) -> pl.DataFrame:
    """Return the file's rows, typed: REQUIRED, and those of RECOVERING, INDICATORS and `sector` that it has.

    Symbols are spelled canonically, dates are sessions that had closed by `recorded_at_us` (UTC microseconds), prices
    finite and above zero. Raises RowsFaulty with every fault: missing columns, unreadable dates or numbers, absurd
    prices, duplicates.
    """
    text = _text_rows(path)
    faults = _Faults(text)
    numbers = [name for name in (*_PRICES, "volume", *RECOVERING, *INDICATORS) if name in text.columns]
    day = pl.col("date").str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    rows = text.select(
        day.alias("date"),
        _symbols(text["symbol"]).alias("symbol"),
        *(pl.col(name).cast(pl.Float64, strict=False).alias(name) for name in numbers),
        *(pl.col(name) for name in ("sector",) if name in text.columns),
    )
    if not rows.height:
        raise RowsFaulty("has no rows")
    faults.add("date is no day (2021-04-20)", rows["date"].is_null())
    faults.add("symbol is no US stock symbol", rows["symbol"].is_null())
    for name in (*_PRICES, *(name for name in RECOVERING if name in numbers)):
        faults.add(f"{name} is no price above zero", ~_price_ok(rows[name]))
    volume = rows["volume"]
    faults.add("volume is no number from zero up", ~(volume.is_finite() & (volume >= 0)).fill_null(False))
    absurd = pl.any_horizontal(pl.col(name) >= PRICE_USD_BELOW for name in (*_PRICES,))
    faults.add(f"a price of {PRICE_USD_BELOW:,.0f} USD or more", rows.select(absurd).to_series())
    faults.add("high below low", rows["high"] < rows["low"])
    faults.add("symbol and date twice", rows.select(pl.struct("symbol", "date").is_duplicated()).to_series())
    ratio = pl.col("adjusted_close") / pl.col("adjusted_close").shift(1).over("symbol", order_by="date")
    jump = ratio.is_finite() & (ratio > 0.0) & ~ratio.is_between(1.0 / JUMP_MAX, JUMP_MAX)
    faults.add(f"adjusted_close jumps by more than {JUMP_MAX:.0f} times", rows.select(jump).to_series())
    closed, no_session = _session_faults(rows["date"], calendar, recorded_at_us)
    faults.add("the exchange was closed that day", no_session)
    faults.add("the session had not closed yet", closed)
    faults.stop()
    indicators = [pl.col(name).fill_nan(None) for name in INDICATORS if name in numbers]
    return rows.with_columns(pl.col("volume").round().cast(pl.Int64), *indicators)


class _Faults:
    def __init__(self, text: pl.DataFrame) -> None:
        self._text = text
        self._found: list[str] = []

    def add(self, what: str, where: pl.Series) -> None:
        """Note a fault in the rows where the mask is true, with the file's own words for the first ones."""
        rows = where.fill_null(False).arg_true()
        if not rows.len():
            return
        first = rows.head(LINES_NAMED)
        named = self._text.select("symbol", "date")[first]
        places = [f"row {i + 1} ({s} {d})" for i, (s, d) in zip(first, named.iter_rows(), strict=True)]
        more = f" and {rows.len() - first.len()} more" if rows.len() > first.len() else ""
        self._found.append(f"{what} in {rows.len()} rows: {', '.join(places)}{more}")

    def stop(self) -> None:
        """Raise what was found, if anything."""
        if self._found:
            raise RowsFaulty(*self._found)


def _text_rows(path: Path) -> pl.DataFrame:
    """Read the columns that matter as text."""
    try:
        if path.suffix == ".parquet":
            header: Sequence[str] = list(pl.read_parquet_schema(path))
            wanted = _wanted(header)
            return pl.read_parquet(path, columns=wanted).select(pl.col(name).cast(pl.String) for name in wanted)
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
        wanted = _wanted(header)
        return pl.read_csv(path, columns=wanted, infer_schema=False, null_values=["", "nan", "NaN", "None"])
    except (pl.exceptions.PolarsError, UnicodeDecodeError, csv.Error) as error:
        raise RowsFaulty(f"cannot be read as a table: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise RowsFaulty(f"cannot be read: {error.strerror}") from error


def _wanted(header: Sequence[str]) -> list[str]:
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise RowsFaulty(
            f"is not in the layout of all_data: it lacks {', '.join(missing)} (it has {len(header)} columns: "
            f"{', '.join(header[:8])}{', ...' if len(header) > 8 else ''})"
        )
    return [name for name in (*REQUIRED, *RECOVERING, *INDICATORS, "sector") if name in header]


def _symbols(texts: pl.Series) -> pl.Series:
    spelled: dict[str, str | None] = {}
    for text in texts.drop_nulls().unique():
        try:
            spelled[text] = canonical_symbol(text)
        except ValueError:
            spelled[text] = None
    return texts.replace_strict(spelled, default=None, return_dtype=pl.String)


def _price_ok(prices: pl.Series) -> pl.Series:
    return (prices.is_finite() & (prices > 0.0)).fill_null(False)


def _session_faults(days: pl.Series, calendar: Calendar, recorded_at_us: int) -> tuple[pl.Series, pl.Series]:
    early: list[date] = []
    none: list[date] = []
    for day in days.drop_nulls().unique():
        if not calendar.first_day <= day <= calendar.last_day or not calendar.is_session(day):
            none.append(day)
        elif backfill_known_us(calendar, day) > recorded_at_us:
            early.append(day)
    return days.is_in(early), days.is_in(none)
