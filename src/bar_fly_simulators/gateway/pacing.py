"""How fast a client may send: beyond the limit it is told so (100), and cut off where it goes on."""

from __future__ import annotations

from collections import deque

WINDOW_S = 1.0
VIOLATIONS_MAX = 3
FORGIVEN_S = 10.0


class Pace:
    """Counts one client's messages over the last second."""

    def __init__(self, messages_per_second_max: int) -> None:
        """Allow so many a second; 0 allows any number."""
        self.limit = messages_per_second_max
        self._seen: deque[float] = deque()
        self._violations: deque[float] = deque()

    def exceeded(self, now_s: float) -> bool:
        """Count a message; tell whether it begins a new violation, at most one a second."""
        if not self.limit:
            return False
        self._seen.append(now_s)
        while self._seen[0] <= now_s - WINDOW_S:
            self._seen.popleft()
        if len(self._seen) <= self.limit or (self._violations and self._violations[-1] > now_s - WINDOW_S):
            return False
        self._violations.append(now_s)
        while self._violations[0] <= now_s - FORGIVEN_S:
            self._violations.popleft()
        return True

    @property
    def persistent(self) -> bool:
        """Whether the client went on after it was told, three times within ten seconds."""
        return len(self._violations) >= VIOLATIONS_MAX

    @property
    def text(self) -> str:
        """What the error says."""
        return f"Max rate of messages per second has been exceeded:max={self.limit} rec={len(self._seen)}"
