"""One pace for every request of a key: evenly spaced, so that no second and no minute sees a burst."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_SHARE_OF_LIMIT = 0.95


class Limiter:
    """Gives turns 60 / (0.95 x requests a minute) seconds apart, in order of asking; a pause holds everyone back."""

    def __init__(
        self,
        requests_per_minute: float,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """Take the key's rate, a monotonic clock in seconds, and how to wait."""
        if not requests_per_minute > 0:
            raise ValueError(f"{requests_per_minute} requests a minute")
        self.spacing_s = 60.0 / (_SHARE_OF_LIMIT * requests_per_minute)
        self._monotonic, self._sleep = monotonic, sleep
        self._lock = asyncio.Lock()
        self._free_at_s = monotonic()

    async def turn(self) -> None:
        """Wait for the next turn."""
        async with self._lock:
            while (wait_s := self._free_at_s - self._monotonic()) > 0:
                await self._sleep(wait_s)
            self._free_at_s = self._monotonic() + self.spacing_s

    def pause(self, seconds: float) -> None:
        """Give nobody a turn for so long from now."""
        self._free_at_s = max(self._free_at_s, self._monotonic() + seconds)
