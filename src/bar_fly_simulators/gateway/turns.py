"""What happens to the account between two instants: days that begin, sessions that open and close."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import Enum

from bar_fly_simulators.clock import NEW_YORK, new_york, session_hours_us, utc_us


class Turn(Enum):
    """What turns at an instant, in the order of one day."""

    DAY = "day"
    OPEN = "open"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Boundary:
    """An instant at which something turns, and the day it belongs to."""

    at_us: int
    turn: Turn
    day: date


def boundaries(sessions: Sequence[date], from_us: int, to_us: int) -> Iterator[Boundary]:
    """Yield what turns in (from_us, to_us], in order; a day without a session begins only where it is the last."""
    last = new_york(to_us).date()
    index = bisect_left(sessions, new_york(from_us).date())
    while index < len(sessions) and sessions[index] <= last:
        day = sessions[index]
        index += 1
        opened, closed = session_hours_us(day)
        for at_us, turn in ((_midnight_us(day), Turn.DAY), (opened, Turn.OPEN), (closed, Turn.CLOSE)):
            if from_us < at_us <= to_us:
                yield Boundary(at_us, turn, day)
    if from_us < _midnight_us(last) and (not sessions or index == 0 or sessions[index - 1] != last):
        yield Boundary(_midnight_us(last), Turn.DAY, last)


def session_for(sessions: Sequence[date], at_us: int) -> date | None:
    """Return the session that an order placed at an instant belongs to: the open one or the next (None: none is left)."""
    index = bisect_left(sessions, new_york(at_us).date())
    if index < len(sessions) and session_hours_us(sessions[index])[1] <= at_us:
        index += 1
    return sessions[index] if index < len(sessions) else None


def _midnight_us(day: date) -> int:
    return utc_us(datetime.combine(day, time(0), NEW_YORK))
