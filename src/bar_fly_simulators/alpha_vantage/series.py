"""TIME_SERIES_DAILY_ADJUSTED and TIME_SERIES_DAILY at an instant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bar_fly_simulators.clock import new_york
from bar_fly_simulators.market import Market

COMPACT_ROWS = 100
_ADJUSTED, _PLAIN = "TIME_SERIES_DAILY_ADJUSTED", "TIME_SERIES_DAILY"
_TITLES = {
    _ADJUSTED: "Daily Time Series with Splits and Dividend Events",
    _PLAIN: "Daily Prices (open, high, low, close) and Volumes",
}
_KEYS = {
    _ADJUSTED: (
        "open",
        "high",
        "low",
        "close",
        "adjusted close",
        "volume",
        "dividend amount",
        "split coefficient",
    ),
    _PLAIN: ("open", "high", "low", "close", "volume"),
}
_COLUMN = {
    "open": 0,
    "high": 1,
    "low": 2,
    "close": 3,
    "adjusted close": 4,
    "dividend amount": 5,
    "split coefficient": 6,
    "volume": 7,
}
FIELDS = tuple(_COLUMN)


@dataclass(frozen=True, slots=True)
class Rows:
    """Bars served, oldest first: days since 1970, and eight rows of values in the order of `_COLUMN` (8 x n)."""

    days: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    refreshed: str


def served_rows(
    market: Market, symbol: str, at_us: int, *, full: bool, partial: bool = False, stale: int = 0
) -> Rows | None:
    """Return the symbol's bars known at an instant (the newest 100 where not `full`), or None where there is none yet.

    Adjusted closes are the source's, scaled so that the newest bar's equals its close: day-to-day adjusted returns stay
    the source's, and what happened later cancels out. `partial` adds the running session's bar as it stands, as the
    vendor does during a session; `stale` leaves the newest sessions out.
    """
    bars, closed = market.bars(symbol), market.closed_count(symbol, at_us)
    running = market.running(symbol, at_us) if partial else None
    count = max(closed - stale, 0)
    if not count and running is None:
        return None
    first = 0 if full else max(0, count - COMPACT_ROWS + (running is not None))
    days, values = bars.days[first:count], np.vstack([bars.columns[:, first:count], bars.volume[first:count]])
    if count:
        values[4] *= values[3, -1] / values[4, -1]
    if running is None:
        return Rows(days, values, str(np.datetime64(int(days[-1]), "D")))
    today = bars[closed]
    events = (today.dividend_amount, today.split_coefficient)
    if count:
        values[4] *= running.last / (values[4, -1] * _adjusted_return(values[3, -1], running.last, *events))
    new = [running.open, running.high, running.low, running.last, running.last, *events, running.volume]
    return Rows(
        np.append(days, bars.days[closed]).astype(np.int32),
        np.hstack([values, np.array(new, dtype=np.float64)[:, None]]),
        new_york(at_us).strftime("%Y-%m-%d %H:%M:%S"),
    )


def with_field(rows: Rows, name: str, value: float, sessions_ago: int) -> Rows:
    """Return the rows with one value replaced, counted back from the newest (beyond the oldest: the oldest)."""
    values = rows.values.copy()
    values[_COLUMN[name], max(-1 - sessions_ago, -values.shape[1])] = value
    return Rows(rows.days, values, rows.refreshed)


def _adjusted_return(before: float, price: float, dividend: float, split: float) -> float:
    """Return today's adjusted over yesterday's, by the vendor's formula as its recorded series obey it."""
    return split * (price + dividend) / before


def series_body(function: str, text: str, rows: Rows, *, full: bool) -> bytes:
    """Return the JSON body for rows served; `text` is the symbol as the caller spelled it.

    All rows are formatted in one operation: a full history is 30,000 numbers, and is asked for 500 times an evening.
    """
    formats, cells = _cells(function, rows)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    head = (
        '{\n    "Meta Data": {\n'
        f'        "1. Information": "{_TITLES[function]}",\n'
        f'        "2. Symbol": "{escaped}",\n'
        f'        "3. Last Refreshed": "{rows.refreshed}",\n'
        f'        "4. Output Size": "{"Full size" if full else "Compact"}",\n'
        '        "5. Time Zone": "US/Eastern"\n    },\n    "Time Series (Daily)": {\n'
    )
    template = _row_template(function, formats, len(cells) // (len(formats) + 1))
    return (head + template % cells + "\n    }\n}").encode()


@lru_cache(maxsize=64)
def _row_template(function: str, formats: tuple[str, ...], count: int) -> str:
    keys = enumerate(zip(_KEYS[function], formats, strict=True), 1)
    fields = ",\n".join(f'            "{n}. {name}": "{how}"' for n, (name, how) in keys)
    return ",\n".join([f'        "%s": {{\n{fields}\n        }}'] * count)


def series_csv(function: str, rows: Rows) -> bytes:
    """Return the body for `datatype=csv`: a header, newest first, CRLF."""
    formats, cells = _cells(function, rows)
    header = ",".join(["timestamp", *(name.replace(" ", "_") for name in _KEYS[function])])
    line = ",".join(["%s", *formats])
    lines = "\r\n".join([line] * (len(cells) // (len(formats) + 1))) % cells
    return f"{header}\r\n{lines}\r\n".encode()


def _cells(function: str, rows: Rows) -> tuple[tuple[str, ...], tuple[object, ...]]:
    """Return a printf format for each column, and every cell, newest row first, each row led by its date."""
    dates = np.datetime_as_string(rows.days[::-1].astype("datetime64[D]"), unit="D")
    formats, columns = [], [dates.tolist()]
    for name in _KEYS[function]:
        how, column = _column(name, rows.values[_COLUMN[name], ::-1])
        formats.append(how)
        columns.append(column)
    return tuple(formats), tuple(cell for row in zip(*columns, strict=True) for cell in row)


def _column(name: str, values: npt.NDArray[np.float64]) -> tuple[str, list[object]]:
    """Return a column's printf format and its cells: four decimals, or all there are where a value has more."""
    if name == "volume":
        return "%d", values.tolist()
    if name == "adjusted close":
        return "%.10f", values.tolist()
    if np.abs(values * 1e4 - np.round(values * 1e4)).max() < 1e-5:
        return "%.4f", values.tolist()
    return "%s", [max(f"{value:.4f}", f"{value:.12f}".rstrip("0"), key=len) for value in values.tolist()]
