"""One pace for every request of a key: evenly spaced, so that no second and no minute sees a burst."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

# Requests arrive up to about a second late or early, so a minute at the server may hold more than a minute here.
SHARE_OF_LIMIT = 0.98
SHARE_OF_LIMIT_MIN = 0.7
_SHARE_AFTER_BURST = 0.97
_CATCH_UP_S_MAX = 0.25


class Limiter:
    """Gives turns evenly, in order of asking, 98 % of the rate used; a pause holds everyone back.

    A turn that came late (a busy machine) is caught up by at most half a spacing and a quarter of a second, so that the
    rate is kept and no burst is made of it. Every burst that the vendor reports makes the spacing 3 % longer.
    """

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
        self._rate = requests_per_minute
        self.share = SHARE_OF_LIMIT
        self._monotonic, self._sleep = monotonic, sleep
        self._lock = asyncio.Lock()
        self._free_at_s = monotonic()

    @property
    def spacing_s(self) -> float:
        """Return the seconds from one turn to the next."""
        return 60.0 / (self.share * self._rate)

    async def turn(self) -> None:
        """Wait for the next turn."""
        async with self._lock:
            while (wait_s := self._free_at_s - self._monotonic()) > 0:
                await self._sleep(wait_s)
            catch_up_s = min(_CATCH_UP_S_MAX, self.spacing_s / 2)
            self._free_at_s = max(self._free_at_s, self._monotonic() - catch_up_s) + self.spacing_s

    def burst(self, pause_s: float) -> None:
        """Learn that the vendor saw too much: pause, and keep a greater distance from the limit from now on."""
        self.share = max(SHARE_OF_LIMIT_MIN, self.share * _SHARE_AFTER_BURST)
        self.pause(pause_s)

    def pause(self, seconds: float) -> None:
        """Give nobody a turn for so long from now."""
        self._free_at_s = max(self._free_at_s, self._monotonic() + seconds)
