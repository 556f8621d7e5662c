"""Simulated time, and the hours of the New York session.

Times are integer microseconds of UTC. A simulator reads time from `SimulatedClock` alone, so two simulators on one
clock agree, and a clock at speed 0 makes everything they serve reproducible.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as wall_time
from functools import lru_cache
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
SECOND_US = 1_000_000
SPEED_MAX = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_US = (datetime(2100, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) - 1
_OPEN, _CLOSE, _EARLY_CLOSE = wall_time(9, 30), wall_time(16, 0), wall_time(13, 0)
_DEFAULT_AT = wall_time(10, 0)
# Early closes that the three yearly rules miss, and days that they name wrongly (1996, 2002: July 5 in their place).
_ALSO_EARLY = frozenset(
    {date(1996, 7, 5), date(1997, 12, 26), date(1999, 12, 31), date(2002, 7, 5), date(2003, 12, 26)}
)
_NOT_EARLY = frozenset({date(1996, 7, 3), date(2002, 7, 3)})


def utc_us(at: datetime) -> int:
    """Return the UTC microseconds of a datetime; one without a zone is New York wall time."""
    if at.tzinfo is None:
        at = at.replace(tzinfo=NEW_YORK)
    return (at - _EPOCH) // timedelta(microseconds=1)


def new_york(at_us: int) -> datetime:
    """Return the New York wall time of a UTC instant."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(NEW_YORK)


def parse_at(text: str) -> int:
    """Read `2021-04-21T09:45` (New York unless an offset is written) as UTC microseconds; ValueError otherwise."""
    try:
        return utc_us(datetime.fromisoformat(text))
    except ValueError as error:
        raise ValueError(f"not a time like 2021-04-21T09:45 (New York): {text!r}") from error


def closes_early(day: date) -> bool:
    """Tell whether New York closes at 13:00: the day after Thanksgiving, July 3, December 24, and a few others.

    Right for every session from 1993 to 2028 (a test compares); it does not know holidays, so ask of sessions only.
    """
    if day in _ALSO_EARLY:
        return True
    after_thanksgiving = day.month == 11 and day.weekday() == 4 and 23 <= day.day <= 29
    return day not in _NOT_EARLY and (after_thanksgiving or (day.month, day.day) in {(7, 3), (12, 24)})


@lru_cache(maxsize=16384)
def session_hours_us(day: date) -> tuple[int, int]:
    """Return the open and the close of a session in UTC microseconds."""
    close = _EARLY_CLOSE if closes_early(day) else _CLOSE
    return utc_us(datetime.combine(day, _OPEN, NEW_YORK)), utc_us(datetime.combine(day, close, NEW_YORK))


def _checked_at(at_us: int) -> int:
    if not 0 <= at_us <= _LATEST_US:
        raise ValueError("a clock keeps to the years 1970 to 2099")
    return at_us


def _checked_speed(speed: float) -> float:
    if not 0 <= speed <= SPEED_MAX:
        raise ValueError(f"a clock's speed is a number from 0 to {SPEED_MAX}, not {speed}")
    return speed


class SimulatedClock:
    """A clock that starts at `at_us` and runs `speed` times as fast as the monotonic one (0: stands still).

    Whoever must act when somebody moves the clock subscribes; the normal passing of time calls nobody. It keeps to the
    years 1970 to 2099: what would move it out is refused, and at their end it stands.
    """

    def __init__(self, at_us: int, speed: float) -> None:
        """Start at an instant; ValueError for one out of bounds, or a speed that is not from 0 to a million."""
        self._at_us, self.speed = _checked_at(at_us), _checked_speed(speed)
        self._started_ns = time.monotonic_ns()
        self._subscribers: list[Callable[[], None]] = []

    def now_us(self) -> int:
        """Return simulated time in UTC microseconds."""
        passed = int((time.monotonic_ns() - self._started_ns) / 1000 * self.speed)
        return min(self._at_us + passed, _LATEST_US)

    def set(self, at_us: int) -> None:
        """Move the clock to an instant, forwards or backwards, and tell the subscribers; ValueError out of bounds."""
        self._at_us, self._started_ns = _checked_at(at_us), time.monotonic_ns()
        for called in tuple(self._subscribers):
            called()

    def advance(self, seconds: float) -> None:
        """Move the clock by simulated seconds; ValueError out of bounds."""
        if not abs(seconds) < _LATEST_US / SECOND_US:
            raise ValueError(f"a clock is not moved by {seconds} seconds")
        self.set(self.now_us() + round(seconds * SECOND_US))

    def set_speed(self, speed: float) -> None:
        """Go on from the present instant at another speed; ValueError as at the start."""
        now = self.now_us()
        self.speed = _checked_speed(speed)
        self.set(now)

    def subscribe(self, called: Callable[[], None]) -> Callable[[], None]:
        """Call `called` after every `set` and `advance`; the returned function ends that."""
        self._subscribers.append(called)
        return lambda: self._subscribers.remove(called)


def default_at_us(sessions: Sequence[date]) -> int:
    """Return 10:00 New York of the last session; ValueError for a market without sessions."""
    if not sessions:
        raise ValueError("a market without a session has no last one")
    return utc_us(datetime.combine(sessions[-1], _DEFAULT_AT, NEW_YORK))


def clock_from(options: argparse.Namespace, sessions: Sequence[date]) -> SimulatedClock:
    """Make the clock that `--at` and `--speed` ask for."""
    at_us = parse_at(options.at) if options.at else default_at_us(sessions)
    return SimulatedClock(at_us, options.speed)
