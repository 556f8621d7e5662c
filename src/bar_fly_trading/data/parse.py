"""Alpha Vantage's JSON bodies as typed tables: every fault of a body is listed, nothing is guessed.

Numbers come as text; `None`, `-`, `.`, `null` and the empty text are "no number" and become null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from bar_fly_trading.facts.tables import BARS, DIVIDENDS, EARNINGS, SPLITS

Body = dict[str, Any]
_ABSENT = frozenset({"", "None", "-", ".", "null"})
_FAULTS_SHOWN = 5
SERIES_DAILY = "Time Series (Daily)"
_BAR_KEYS = {
    "open": "1. open",
    "high": "2. high",
    "low": "3. low",
    "close": "4. close",
    "adjusted_close": "5. adjusted close",
    "volume": "6. volume",
    "dividend_amount": "7. dividend amount",
    "split_coefficient": "8. split coefficient",
}
_DAILY_KEYS = {**{k: _BAR_KEYS[k] for k in ("open", "high", "low", "close")}, "volume": "5. volume"}
BAR_SCHEMA = {name: kind for name, kind in BARS.columns.items() if name != "instrument_id"}


class BodyFault(ValueError):
    """A body that has data but not in the shape it should have; the message lists the faults."""


def json_body(content: bytes) -> Body:
    """Read one JSON object; BodyFault for anything else: text, a list, NaN, Infinity, a key given twice."""

    def refuse(word: str) -> float:
        raise BodyFault(f"{word} where a number belongs")

    def unique(pairs: list[tuple[str, Any]]) -> Body:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise BodyFault("a key is given twice")
        return found

    try:
        body = json.loads(content.decode("utf-8"), parse_constant=refuse, object_pairs_hook=unique)
    except BodyFault:
        raise
    except (ValueError, RecursionError):
        raise BodyFault("not JSON") from None
    if not isinstance(body, dict):
        raise BodyFault("not a JSON object")
    return body


def number(text: object) -> float | None:
    """Read a number given as text (or as a number); None for a word that means "no number"; ValueError otherwise."""
    if text is None or (isinstance(text, str) and text.strip() in _ABSENT):
        return None
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise ValueError(f"not a number: {str(text)[:40]!r}")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"not a number: {str(text)[:40]!r}")
    return value


def whole(text: object) -> int | None:
    """Read a whole number as `number` does; ValueError where it has a fraction."""
    value = number(text)
    if value is not None and not (value.is_integer() and abs(value) < 2**63):
        raise ValueError(f"not a whole number: {str(text)[:40]!r}")
    return None if value is None else int(value)


def day(text: object) -> date:
    """Read an ISO date; ValueError otherwise."""
    if not isinstance(text, str) or len(text) != 10:
        raise ValueError(f"not a date: {str(text)[:40]!r}")
    return date.fromisoformat(text)


def text_or_none(text: object) -> str | None:
    """Read a text; None for a word that means nothing was said."""
    return None if text is None or str(text).strip() in _ABSENT else str(text)


class _Faults:
    """Collects what is wrong with a body, so that all of it is said at once."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        self._lines.append(line)

    def read(self, reader: Callable[[object], Any], row: Mapping[str, Any], key: str, place: str) -> Any:
        """Read one value of a row; a missing key or an unreadable value is a fault, and None."""
        if key not in row:
            self.add(f"{place}: {key!r} is missing")
            return None
        try:
            return reader(row[key])
        except ValueError as error:
            self.add(f"{place}: {key!r}: {error}")
            return None

    def check(self) -> None:
        """Raise BodyFault where anything was collected."""
        if self._lines:
            more = f" and {len(self._lines) - _FAULTS_SHOWN} more" if len(self._lines) > _FAULTS_SHOWN else ""
            raise BodyFault("; ".join(self._lines[:_FAULTS_SHOWN]) + more)


@dataclass(frozen=True, slots=True)
class DailyBody:
    """A daily series: `bars` oldest first, and New York's wall time of the last refresh (None: only a date was said).

    The vendor says a time of day while the newest bar's session is still running.
    """

    bars: pl.DataFrame
    refreshed: datetime | None


def _bars(body: Body, symbol: str, keys: Mapping[str, str]) -> DailyBody:
    meta, series = body.get("Meta Data"), body.get(SERIES_DAILY)
    if not isinstance(meta, dict) or not isinstance(series, dict):
        raise BodyFault(f"'Meta Data' or {SERIES_DAILY!r} is missing")
    if str(meta.get("2. Symbol", "")).upper() != symbol.upper():
        raise BodyFault(f"asked for {symbol}, answered for {str(meta.get('2. Symbol'))[:20]!r}")
    faults = _Faults()
    columns: dict[str, list[Any]] = {name: [] for name in ("session", *keys)}
    for text, row in series.items():
        columns["session"].append(faults.read(day, {"date": text}, "date", text[:20]))
        values: Mapping[str, Any] = row if isinstance(row, dict) else {}
        for name, key in keys.items():
            columns[name].append(faults.read(whole if name == "volume" else number, values, key, text[:20]))
    faults.check()
    bars = pl.DataFrame(columns, schema={name: BAR_SCHEMA[name] for name in columns}).sort("session")
    return DailyBody(bars, _refreshed(str(meta.get("3. Last Refreshed", ""))))


def _refreshed(text: str) -> datetime | None:
    if len(text) <= len("2020-05-08"):
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        raise BodyFault(f"'3. Last Refreshed' is no time: {text[:40]!r}") from None


def daily_adjusted(body: Body, symbol: str) -> DailyBody:
    """Read TIME_SERIES_DAILY_ADJUSTED: session, OHLC as traded, adjusted_close, volume, dividend_amount,
    split_coefficient, oldest first. `symbol` in the vendor's spelling must be the body's; BodyFault otherwise.
    """
    return _bars(body, symbol, _BAR_KEYS)


def daily(body: Body, symbol: str) -> DailyBody:
    """Read TIME_SERIES_DAILY: session, OHLC as traded and volume, oldest first; BodyFault as `daily_adjusted`."""
    return _bars(body, symbol, _DAILY_KEYS)


def _rows(body: Body, key: str, symbol: str) -> list[Mapping[str, Any]]:
    rows = body.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BodyFault(f"{key!r} is no list of rows")
    if str(body.get("symbol", "")).upper() != symbol.upper():
        raise BodyFault(f"asked for {symbol}, answered for {str(body.get('symbol'))[:20]!r}")
    return rows


def columns_of(
    rows: Sequence[Mapping[str, Any]], readers: Mapping[str, tuple[str, Callable[[object], Any]]]
) -> dict[str, list[Any]]:
    """Read rows into columns: new name -> (key of a row, reader of its value); BodyFault with every fault."""
    faults = _Faults()
    columns = {
        name: [faults.read(reader, row, key, f"row {i}") for i, row in enumerate(rows, 1)]
        for name, (key, reader) in readers.items()
    }
    faults.check()
    return columns


def splits(body: Body, symbol: str) -> pl.DataFrame:
    """Read SPLITS: effective_date, split_factor (new shares for one old), oldest first; no rows where none."""
    readers = {"effective_date": ("effective_date", day), "split_factor": ("split_factor", number)}
    columns = columns_of(_rows(body, "data", symbol), readers)
    frame = pl.DataFrame(columns, schema={name: SPLITS.columns[name] for name in readers})
    return frame.drop_nulls().unique("effective_date", keep="first").sort("effective_date")


def dividends(body: Body, symbol: str) -> pl.DataFrame:
    """Read DIVIDENDS: ex_dividend_date, amount (USD a share), oldest first; two on one day are added."""
    readers = {"ex_dividend_date": ("ex_dividend_date", day), "amount": ("amount", number)}
    columns = columns_of(_rows(body, "data", symbol), readers)
    frame = pl.DataFrame(columns, schema={name: DIVIDENDS.columns[name] for name in readers})
    return frame.drop_nulls().group_by("ex_dividend_date").agg(pl.col("amount").sum()).sort("ex_dividend_date")


def earnings(body: Body, symbol: str) -> pl.DataFrame:
    """Read EARNINGS by quarter: the columns of `facts.tables.EARNINGS` without the instrument, oldest first.

    `report_time` is null where the vendor does not say it.
    """
    rows = [{"reportTime": None, **row} for row in _rows(body, "quarterlyEarnings", symbol)]
    readers: dict[str, tuple[str, Callable[[object], Any]]] = {
        "fiscal_date_ending": ("fiscalDateEnding", day),
        "reported_date": ("reportedDate", day),
        "report_time": ("reportTime", text_or_none),
        "reported_eps": ("reportedEPS", number),
        "estimated_eps": ("estimatedEPS", number),
        "surprise": ("surprise", number),
        "surprise_percentage": ("surprisePercentage", number),
    }
    frame = pl.DataFrame(columns_of(rows, readers), schema={name: EARNINGS.columns[name] for name in readers})
    return frame.unique("fiscal_date_ending", keep="first").sort("fiscal_date_ending")


def overview(body: Body, symbol: str) -> str:
    """Read OVERVIEW: the vendor's snapshot as canonical JSON text."""
    if str(body.get("Symbol", "")).upper() != symbol.upper():
        raise BodyFault(f"asked for {symbol}, answered for {str(body.get('Symbol'))[:20]!r}")
    return json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def rows_of_success(body: Body) -> list[Mapping[str, Any]]:
    """Return the rows of a body of endpoint, message, data; BodyFault unless the message is `success`."""
    rows = body.get("data")
    if body.get("message") != "success" or not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise BodyFault("the message is not 'success', or there are no rows")
    return rows
