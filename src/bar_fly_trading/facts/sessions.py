"""The sessions of the New York exchanges (XNYS), their opens and closes, and New York time, from a generated table.

Times are integer microseconds of UTC. Beyond the table every question is refused, never guessed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from functools import cache

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.facts import session_table

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
EVENING_KNOWN_BY = time(22, 0)
_EPOCH = date(1970, 1, 1)
_OPEN_MINUTE, _CLOSE_MINUTE = 570, 960


def _day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def _minutes(text: str) -> dict[date, int]:
    return {_day(part[:8]): int(part[9:]) for part in text.split()}


@cache
def _clock_changes() -> tuple[tuple[int, ...], tuple[int, ...]]:
    pairs = [part.split(":") for part in session_table.CLOCK_CHANGES.split()]
    return tuple(int(s) * SECOND_US for s, _ in pairs), tuple(int(h) for _, h in pairs)


def new_york_offset_us(at_us: int) -> int:
    """Return New York's offset from UTC (negative microseconds) at a UTC instant."""
    starts, hours = _clock_changes()
    return hours[max(bisect_right(starts, at_us) - 1, 0)] * HOUR_US


def new_york_us(day: date, at: time) -> int:
    """Return the UTC microseconds of a New York wall time; the first of the two in the repeated autumn hour."""
    naive = (day - _EPOCH).days * DAY_US + (at.hour * 60 + at.minute) * MINUTE_US + at.second * SECOND_US
    guess = naive + 4 * HOUR_US
    return guess if new_york_offset_us(guess) == -4 * HOUR_US else naive + 5 * HOUR_US


def new_york_datetime(at_us: int) -> datetime:
    """Return the New York wall time of a UTC instant, with its offset attached."""
    offset = timedelta(microseconds=new_york_offset_us(at_us))
    return datetime(1970, 1, 1, tzinfo=timezone(offset)) + timedelta(microseconds=at_us) + offset


def new_york_date(at_us: int) -> date:
    """Return the New York date of a UTC instant."""
    return new_york_datetime(at_us).date()


def evening_us(day: date) -> int:
    """Return the instant by which an evening's knowledge is cut: 22:00 New York on the day."""
    return new_york_us(day, EVENING_KNOWN_BY)


@dataclass(frozen=True, slots=True)
class Session:
    """One trading session: its New York date, and its open and close in UTC microseconds."""

    day: date
    open_us: int
    close_us: int


class Calendar:
    """The exchange's sessions in order; `extra_closures` are days closed at short notice, from the settings."""

    def __init__(self, extra_closures: Iterable[date] = ()) -> None:
        """Build the sessions of the whole table (1990 to two years ahead)."""
        self.first_day, self.last_day = _day(session_table.FIRST_DAY), _day(session_table.LAST_DAY)
        closed = {_day(text) for text in session_table.CLOSURES.split()} | set(extra_closures)
        span = (self.last_day - self.first_day).days + 1
        days = (self.first_day + timedelta(days=i) for i in range(span))
        self._days = tuple(d for d in days if d.weekday() < 5 and d not in closed)
        self._known = frozenset(self._days)
        self._closes = _minutes(session_table.EARLY_CLOSES)
        self._opens = _minutes(session_table.LATE_OPENS)

    def _check(self, day: date) -> None:
        if not self.first_day <= day <= self.last_day:
            raise FixSettings(
                f"{day} is beyond the calendar ({self.first_day} to {self.last_day}).",
                way_out="Give a date inside it, or install a newer release with a longer calendar.",
            )

    def is_session(self, day: date) -> bool:
        """Tell whether the exchange opens on the day."""
        self._check(day)
        return day in self._known

    def session(self, day: date) -> Session:
        """Return the day's session; FixSettings where the exchange is closed that day."""
        if not self.is_session(day):
            raise FixSettings(f"{day} is no session: the exchange is closed.", way_out="Give a trading day.")
        opened = self._opens.get(day, _OPEN_MINUTE)
        closed = self._closes.get(day, _CLOSE_MINUTE)
        return Session(
            day,
            new_york_us(day, time(opened // 60, opened % 60)),
            new_york_us(day, time(closed // 60, closed % 60)),
        )

    def sessions(self, first: date, last: date) -> tuple[date, ...]:
        """Return the session dates from `first` to `last`, both included."""
        self._check(first)
        self._check(last)
        return self._days[bisect_left(self._days, first) : bisect_right(self._days, last)]

    def previous(self, day: date, count: int = 1) -> date:
        """Return the `count`-th session strictly before the day."""
        self._check(day)
        i = bisect_left(self._days, day) - count
        if i < 0:
            raise FixSettings(f"no session {count} before {day} in the calendar.", way_out="Give a later date.")
        return self._days[i]

    def next(self, day: date, count: int = 1) -> date:
        """Return the `count`-th session strictly after the day."""
        self._check(day)
        i = bisect_right(self._days, day) + count - 1
        if i >= len(self._days):
            raise FixSettings(f"no session {count} after {day} in the calendar.", way_out="Install a newer release.")
        return self._days[i]

    def newest_closed(self, at_us: int) -> date:
        """Return the newest session whose close is at or before the instant."""
        day = new_york_date(at_us)
        self._check(day)
        if day in self._known and self.session(day).close_us <= at_us:
            return day
        return self.previous(day)

    def sessions_between(self, first: date, last: date) -> int:
        """Count the sessions after `first` up to and including `last` (0 where they are the same)."""
        return bisect_right(self._days, last) - bisect_right(self._days, first)
