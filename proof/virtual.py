"""Time that only passes when everybody waits: an event loop and a clock of simulated microseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
SECOND_US = 1_000_000


class _NoSockets(selectors.BaseSelector):
    """Waits for nothing: the time to the next timer passes at once."""

    def __init__(self) -> None:
        self.loop: VirtualLoop | None = None
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Keep the loop's own wake-up pipe; nothing else is ever registered."""
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = selectors.SelectorKey(fileobj, number, events, data)
        self._keys[number] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Forget what was registered."""
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time pass; RuntimeError where everybody waits for something that can never come."""
        assert self.loop is not None
        if timeout is None:
            raise RuntimeError("every task waits and no timer runs: the day can never end")
        self.loop.pass_time(timeout)
        return []

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        """Return what is registered."""
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps from timer to timer."""

    def __init__(self, start_us: int) -> None:
        """Start at a UTC microsecond."""
        self.at_us = start_us
        self._origin_us = start_us
        selector = _NoSockets()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        """Return the simulated seconds since the start."""
        return (self.at_us - self._origin_us) / SECOND_US

    def pass_time(self, seconds: float) -> None:
        """Move on; a microsecond at least, so that a timer that is due by rounding comes."""
        if seconds > 0:
            self.at_us += max(1, round(seconds * SECOND_US))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end, then cancel what is left."""
        asyncio.set_event_loop(self)
        try:
            return self.run_until_complete(work)
        finally:
            left = asyncio.all_tasks(self)
            for task in left:
                task.cancel()
            if left:
                self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            asyncio.set_event_loop(None)


class VirtualClock:
    """The program's clock on a virtual loop; wall and monotonic time are one."""

    def __init__(self, loop: VirtualLoop) -> None:
        """Take the loop whose time it tells."""
        self._loop = loop

    def now_us(self) -> int:
        """Return the simulated UTC microseconds."""
        return self._loop.at_us

    def monotonic_us(self) -> int:
        """Return the simulated microseconds."""
        return self._loop.at_us

    async def sleep(self, seconds: float) -> None:
        """Wait in simulated time."""
        await asyncio.sleep(max(seconds, 0.0))
