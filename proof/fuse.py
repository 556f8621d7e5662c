"""Numbered points at which the simulated process may end, and a journal that counts its writes among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bar_fly_trading.errors import FreeDisk
from bar_fly_trading.journal import Journal
from bar_fly_trading.journal.lease import Lease
from bar_fly_trading.trading.orders import IntentChange


class Crash(BaseException):
    """The process is gone; nothing of it may catch this."""


class Fuse:
    """Ends the process at its `armed`-th point; never where that is None."""

    def __init__(self) -> None:
        """Begin unarmed."""
        self.armed: int | None = None
        self.passed = 0
        self.last = ""

    def arm(self, count: int | None) -> None:
        """Burn at the `count`-th point from now on."""
        self.armed, self.passed = count, 0

    def point(self, name: str) -> None:
        """Pass a point, or end there."""
        self.passed += 1
        if self.armed is not None and self.passed == self.armed:
            self.last = name
            raise Crash(name)


class WatchedJournal(Journal):
    """The program's journal; a process may end before or after each of its writes, or the disk refuse one."""

    fuse: Fuse
    refuses: Callable[[], bool]
    pauses: Callable[[], None]
    elsewhere = False

    def take_lease(
        self, account: str, *, ttl_s: float, monotonic_us: Callable[[], int], alone_on_host: bool = False
    ) -> Lease:
        """Take the lease as the program does; one of a run elsewhere is never taken over before it ran out."""
        alone = alone_on_host and not self.elsewhere
        return super().take_lease(account, ttl_s=ttl_s, monotonic_us=monotonic_us, alone_on_host=alone)

    def append(self, kind: str, payload: Mapping[str, Any], *, at_us: int, changes: Sequence[IntentChange] = ()) -> int:
        """Append as the program does, between two points."""
        self.fuse.point(f"before the record {kind}")
        if self.refuses():
            raise FreeDisk("the disk refused a write to the journal.", way_out="Free space.")
        seq = super().append(kind, payload, at_us=at_us, changes=changes)
        self.pauses()
        self.fuse.point(f"after the record {kind}")
        return seq
