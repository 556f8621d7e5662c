"""The clocks: units, directions, and the broker's time carried on by monotonic time alone."""

from __future__ import annotations

import asyncio
import time

import pytest

from bar_fly_trading.clock import Clock, FixedClock, GatewayClock, SystemClock


def test_the_system_clock_counts_microseconds() -> None:
    """Wall time agrees with the machine's, monotonic time grows, and a sleep lasts."""
    clock: Clock = SystemClock()
    assert abs(clock.now_us() - time.time() * 1e6) < 1e6
    before = clock.monotonic_us()
    asyncio.run(clock.sleep(0.02))
    assert 20_000 <= clock.monotonic_us() - before < 2_000_000
    asyncio.run(clock.sleep(-1))


def test_the_fixed_clock_moves_only_when_moved() -> None:
    """It stands until it sleeps or is advanced, and never goes back."""
    clock = FixedClock(1_000_000)
    assert clock.now_us() == clock.now_us() == 1_000_000
    asyncio.run(clock.sleep(2.5))
    clock.advance(0.5)
    assert (clock.now_us(), clock.monotonic_us()) == (4_000_000, 3_000_000)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_d27_the_gateway_clock_runs_on_monotonic_time() -> None:
    """The broker's time plus what passed since it was read; the machine's wall clock plays no part."""
    ticks = iter([500, 500 + 3_000_000])
    clock = GatewayClock.read(1_600_000_000_000_000, lambda: next(ticks))
    assert clock.now_us() == 1_600_000_003_000_000
    real: Clock = GatewayClock.read(7)
    assert 7 <= real.now_us() < 7 + 5_000_000
