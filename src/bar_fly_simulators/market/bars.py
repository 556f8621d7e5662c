"""A market: daily bars of many symbols, and what can be said of any instant between them."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import overload

import numpy as np
import numpy.typing as npt

from bar_fly_simulators.clock import new_york, session_hours_us

_Path = tuple[tuple[float, ...], tuple[float, ...]]
_NOWHERE: _Path = ((), ())
Floats = npt.NDArray[np.float64]
_EPOCH_DAY = date(1970, 1, 1)
_EPOCH_ORDINAL = _EPOCH_DAY.toordinal()


@dataclass(frozen=True, slots=True)
class Bar:
    """One session of one symbol: prices in USD as traded, `adjusted_close` as the source gave it (newest basis).

    `dividend_amount` is USD a share going ex that day (0.0: none), `split_coefficient` new shares for one old (1.0).
    """

    session: date
    open: float
    high: float
    low: float
    close: float
    adjusted_close: float
    volume: int
    dividend_amount: float
    split_coefficient: float


@dataclass(frozen=True, slots=True)
class Earnings:
    """One quarter's report: USD a share, published on `reported_date` before the open or after the close."""

    fiscal_date_ending: date
    reported_date: date
    report_time: str
    reported_eps: float
    estimated_eps: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What stays the same about a company; None where the source does not say."""

    name: str
    sector: str | None = None
    shares_outstanding: int | None = None


class Bars(Sequence[Bar]):
    """All bars of one symbol, oldest first, held as columns; a `Bar` is made when asked for."""

    def __init__(self, days: npt.NDArray[np.int32], columns: Floats, volume: npt.NDArray[np.int64]) -> None:
        """Take days since 1970 (rising), seven float columns in `Bar`'s order without volume (7 x n), and volumes."""
        self.days, self.columns, self.volume = days, columns, volume

    def __len__(self) -> int:
        return len(self.days)

    @overload
    def __getitem__(self, index: int) -> Bar: ...
    @overload
    def __getitem__(self, index: slice) -> list[Bar]: ...
    def __getitem__(self, index: int | slice) -> Bar | list[Bar]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = index + len(self) if index < 0 else index
        if not 0 <= i < len(self):
            raise IndexError(index)
        o, h, lo, c, adjusted, dividend, split = self.columns[:, i].tolist()
        return Bar(self.session(i), o, h, lo, c, adjusted, int(self.volume[i]), dividend, split)

    def __iter__(self) -> Iterator[Bar]:
        return (self[i] for i in range(len(self)))

    def session(self, index: int) -> date:
        """Return the date of one bar."""
        return _EPOCH_DAY + timedelta(days=int(self.days[index]))

    def count_to(self, day: date) -> int:
        """Count the bars up to and including a day."""
        return int(np.searchsorted(self.days, day.toordinal() - _EPOCH_ORDINAL, side="right"))


@dataclass(frozen=True, slots=True)
class Running:
    """A session so far: its open, extremes, last price in USD, and the shares traded."""

    session: date
    open: float
    high: float
    low: float
    last: float
    volume: int


class Market:
    """Bars, profiles and earnings of many symbols; symbols are spelled with a point (BRK.B)."""

    def __init__(
        self,
        bars: Mapping[str, Bars],
        profiles: Mapping[str, Profile],
        earnings: Mapping[str, Sequence[Earnings]] | None = None,
    ) -> None:
        """Take the bars by symbol; ValueError where there are none."""
        if not any(len(one) for one in bars.values()):
            raise ValueError("a market needs at least one bar")
        self._bars = {symbol: bars[symbol] for symbol in sorted(bars)}
        self._profiles = dict(profiles)
        self._earnings = dict(earnings or {})
        days = np.unique(np.concatenate([one.days for one in self._bars.values()]))
        self.symbols: tuple[str, ...] = tuple(self._bars)
        self.sessions: tuple[date, ...] = tuple(_EPOCH_DAY + timedelta(days=int(day)) for day in days)
        self.halted: set[str] = set()
        self._walked: dict[str, tuple[date, Bar | None, _Path]] = {}

    def find(self, text: str) -> str | None:
        """Return the symbol meant by any spelling (BRK.B, BRK-B, BRK B, brk/b), or None."""
        symbol = text.strip().upper().replace("-", ".").replace(" ", ".").replace("/", ".")
        return symbol if symbol in self._bars else None

    def bars(self, symbol: str) -> Bars:
        """Return every bar of a symbol, the clock's future included; KeyError for an unknown one."""
        return self._bars[symbol]

    def bar(self, symbol: str, session: date) -> Bar | None:
        """Return the symbol's bar of a session, or None where it has none."""
        bars = self._bars[symbol]
        count = bars.count_to(session)
        return bars[count - 1] if count and bars.session(count - 1) == session else None

    def name(self, symbol: str) -> str:
        """Return the company's name (the symbol where none is known)."""
        profile = self._profiles.get(symbol)
        return profile.name if profile else symbol

    def sector(self, symbol: str) -> str | None:
        """Return the company's sector, or None where the source names none."""
        profile = self._profiles.get(symbol)
        return profile.sector if profile else None

    def shares_outstanding(self, symbol: str) -> int | None:
        """Return the shares outstanding at the market's end, or None where the source does not say."""
        profile = self._profiles.get(symbol)
        return profile.shares_outstanding if profile else None

    def earnings(self, symbol: str) -> Sequence[Earnings]:
        """Return the symbol's reports, oldest first, the clock's future included."""
        return self._earnings.get(symbol, ())

    def closed_count(self, symbol: str, at_us: int) -> int:
        """Count the symbol's bars whose session had closed by an instant."""
        day = new_york(at_us).date()
        bars = self._bars[symbol]
        count = bars.count_to(day)
        if count and bars.session(count - 1) == day and session_hours_us(day)[1] > at_us:
            count -= 1
        return count

    def session_at(self, at_us: int) -> date | None:
        """Return the session that is open at an instant, or None outside the hours."""
        day = new_york(at_us).date()
        at = bisect_right(self.sessions, day)
        if not at or self.sessions[at - 1] != day:
            return None
        opened, closed = session_hours_us(day)
        return day if opened <= at_us < closed else None

    def mid_at(self, symbol: str, at_us: int) -> float | None:
        """Return the mid in USD at an instant, or None outside the session and where the symbol has no bar that day.

        The path is piecewise linear: the open at the open, then low and high in an order and at times seeded by the
        symbol and the day, the close at the close.
        """
        running = self.running(symbol, at_us)
        return None if running is None else running.last

    def running(self, symbol: str, at_us: int) -> Running | None:
        """Return the open session as it stands at an instant, or None where `mid_at` does."""
        day = self.session_at(at_us)
        bar, path = (None, _NOWHERE) if day is None else self._walk(symbol, day)
        if bar is None:
            return None
        opened, closed = session_hours_us(bar.session)
        done = (at_us - opened) / (closed - opened)
        times, prices = path
        leg = 0 if done < times[1] else 1 if done < times[2] else 2
        along = (done - times[leg]) / (times[leg + 1] - times[leg])
        last = prices[leg] + (prices[leg + 1] - prices[leg]) * along
        passed = (*prices[: leg + 1], last)
        return Running(bar.session, bar.open, max(passed), min(passed), last, int(bar.volume * done))

    def _walk(self, symbol: str, day: date) -> tuple[Bar | None, _Path]:
        """Return the symbol's bar and path of a day, kept until another day is asked for: quotes stream all day."""
        kept = self._walked.get(symbol)
        if kept is None or kept[0] != day:
            bar = self.bar(symbol, day)
            kept = self._walked[symbol] = (day, bar, _NOWHERE if bar is None else _path(symbol, bar))
        return kept[1], kept[2]


def _path(symbol: str, bar: Bar) -> _Path:
    """Return the fractions of the session at which the path turns, and the prices there.

    The seed is a CRC, not `hash`, so that every process walks the same path.
    """
    seed = zlib.crc32(f"{symbol} {bar.session.isoformat()}".encode())
    first, second = 0.10 + 0.35 * (seed >> 1 & 0xFF) / 0xFF, 0.55 + 0.35 * (seed >> 9 & 0xFF) / 0xFF
    turns = (bar.low, bar.high) if seed & 1 else (bar.high, bar.low)
    return (0.0, first, second, 1.0), (bar.open, *turns, bar.close)
