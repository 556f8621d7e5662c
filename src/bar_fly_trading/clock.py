"""Where the time comes from: the system, a fixed value, or the broker. The only room that reads a clock.

Wall time is integer microseconds of UTC; monotonic time is integer microseconds since an unspecified start and never
goes back, so ages and timeouts are measured with it alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

NANOSECONDS_A_MICROSECOND = 1000
SECOND_US = 1_000_000


class Clock(Protocol):
    """What a driver asks of time; `GatewayClock`, `SystemClock` and `FixedClock` answer alike."""

    def now_us(self) -> int:
        """Return the wall time in UTC microseconds."""
        ...

    def monotonic_us(self) -> int:
        """Return monotonic microseconds; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds of this clock."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        """Return the machine's wall time in UTC microseconds."""
        return time.time_ns() // NANOSECONDS_A_MICROSECOND

    def monotonic_us(self) -> int:
        """Return the machine's monotonic microseconds."""
        return time.monotonic_ns() // NANOSECONDS_A_MICROSECOND

    async def sleep(self, seconds: float) -> None:
        """Wait, letting other tasks run; nothing is waited for at or below 0."""
        await asyncio.sleep(max(seconds, 0.0))


@dataclass(slots=True)
class FixedClock:
    """A clock that stands at `at_us` until moved; sleeping moves it and takes no time."""

    at_us: int
    _elapsed_us: int = field(default=0, init=False)

    def now_us(self) -> int:
        """Return the time it was given plus what was slept or advanced since."""
        return self.at_us + self._elapsed_us

    def monotonic_us(self) -> int:
        """Return the microseconds slept or advanced so far."""
        return self._elapsed_us

    def advance(self, seconds: float) -> None:
        """Move forward; ValueError where `seconds` is below 0."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back: {seconds} s")
        self._elapsed_us += round(seconds * SECOND_US)

    async def sleep(self, seconds: float) -> None:
        """Move forward at once and let other tasks run."""
        self.advance(max(seconds, 0.0))
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class GatewayClock:
    """The broker's time as it was read once, plus monotonic time since: the machine's wall clock is never asked.

    Build with `GatewayClock.read(broker_us)` right after the broker's answer arrived. `monotonic` is replaceable only so
    that a replay can drive it.
    """

    broker_us: int
    read_at_monotonic_us: int
    monotonic: Callable[[], int] = SystemClock().monotonic_us

    @classmethod
    def read(cls, broker_us: int, monotonic: Callable[[], int] | None = None) -> GatewayClock:
        """Return a clock that stands at `broker_us` now and runs with the monotonic clock."""
        source = monotonic or SystemClock().monotonic_us
        return cls(broker_us, source(), source)

    def now_us(self) -> int:
        """Return the broker's time now, in UTC microseconds."""
        return self.broker_us + self.monotonic() - self.read_at_monotonic_us

    def monotonic_us(self) -> int:
        """Return the monotonic microseconds it runs on."""
        return self.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the machine's clock, letting other tasks run."""
        await asyncio.sleep(max(seconds, 0.0))
