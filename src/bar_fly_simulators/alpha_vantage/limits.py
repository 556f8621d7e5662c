"""What a key may ask, and how often: the plans, their limits, and which refusal each gives."""

from __future__ import annotations

from collections import deque
from datetime import date

from bar_fly_simulators.alpha_vantage import bodies

# Requests a minute of the paid plans. `unlimited` is none of the vendor's: every endpoint, no limit, for quick trials.
_A_MINUTE = {"75": 75, "150": 150, "300": 300, "600": 600, "1200": 1200}
TIERS = ("free", *_A_MINUTE, "unlimited")
FREE_A_DAY = 25
_BURST_S = 1.0
_MINUTE_S = 60.0


class Limiter:
    """Counts each key's requests against its plan.

    Seconds and minutes are the caller's real ones (a clock that stands still must not refuse for ever); the day of the
    free plan is the simulated New York one. No recorded body exists for a paid plan's minute: the burst body is assumed.
    """

    def __init__(self, tier: str) -> None:
        """Take a plan's name; ValueError for another one."""
        if tier not in TIERS:
            raise ValueError(f"no plan is called {tier}; there are: {', '.join(TIERS)}")
        self.tier = tier
        self._a_minute = _A_MINUTE.get(tier)
        self._asked_s: dict[str, deque[float]] = {}
        self._today: dict[str, tuple[date, int]] = {}

    @property
    def free(self) -> bool:
        """Whether the plan is the free one."""
        return self.tier == "free"

    @property
    def realtime_options(self) -> bool:
        """Whether the plan includes REALTIME_OPTIONS: the two largest do."""
        return self.tier in ("600", "1200", "unlimited")

    def refusal(self, key: str, now_s: float, day: date) -> dict[str, str] | None:
        """Count a request at a monotonic second; return the body that refuses it, or None where it may pass."""
        asked = self._asked_s.setdefault(key, deque())
        if self.free:
            return self._refusal_of_free(key, asked, now_s, day)
        if self._a_minute is None:
            return None
        while asked and asked[0] <= now_s - _MINUTE_S:
            asked.popleft()
        if len(asked) >= self._a_minute:
            return bodies.BURST
        asked.append(now_s)
        return None

    def _refusal_of_free(self, key: str, asked: deque[float], now_s: float, day: date) -> dict[str, str] | None:
        counted_on, count = self._today.get(key, (day, 0))
        count = count if counted_on == day else 0
        if count >= FREE_A_DAY:
            return bodies.daily_cap(key)
        too_soon = bool(asked) and now_s - asked[-1] < _BURST_S
        asked.append(now_s)
        while len(asked) > 1:
            asked.popleft()
        if too_soon:
            return bodies.BURST
        self._today[key] = (day, count + 1)
        return None
