"""When the port is shut, and which outages of the broker and the data farms begin and end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from bar_fly_simulators.clock import NEW_YORK, SECOND_US, new_york, utc_us
from bar_fly_simulators.gateway.faults import BrokerBack, BrokerLost, FarmDown, FaultTable, NightlyRestart

LOST = (1100, "Connectivity between IB and Trader Workstation has been lost.")
BACK = {
    1101: "Connectivity between IB and Trader Workstation has been restored - data lost.",
    1102: "Connectivity between IB and Trader Workstation has been restored - data maintained.",
}
FARMS_DOWN = (
    (2103, "Market data farm connection is broken:usfarm"),
    (2105, "HMDS data farm connection is broken:ushmds"),
)
FARMS_UP = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
)


@dataclass(frozen=True, slots=True)
class News:
    """What all clients must be told of outages: errors, and of a broker that is back how."""

    errors: tuple[tuple[int, str], ...] = ()
    back: BrokerBack | None = None


class Outages:
    """Remembers what was in force, so that beginnings and ends are told once."""

    def __init__(self, faults: FaultTable) -> None:
        self._faults = faults
        self._lost = self._down = False
        self._back = BrokerBack()
        self._nightly_us = 0

    def end_loss(self, back: BrokerBack) -> None:
        """End `broker_lost`; ValueError where it is not in force."""
        if self._faults.active(BrokerLost) is None:
            raise ValueError("broker_back: broker_lost is not in force")
        self._back = back
        self._faults.clear(BrokerLost)

    def news(self) -> News:
        """Return what began or ended since the last call."""
        errors: list[tuple[int, str]] = []
        back = None
        lost = self._faults.active(BrokerLost) is not None
        down = self._faults.active(FarmDown) is not None
        if lost != self._lost:
            self._lost = lost
            if lost:
                errors.append(LOST)
            else:
                back, self._back = self._back, BrokerBack()
                errors.append((back.code, BACK[back.code]))
        if down != self._down:
            self._down = down
            errors += FARMS_DOWN if down else FARMS_UP
        return News(tuple(errors), back)

    def nightly(self, from_us: int, to_us: int) -> NightlyRestart | None:
        """Return the nightly restart that simulated time has passed in (from, to], None where there is none."""
        fault = self._faults.active(NightlyRestart)
        if fault is None:
            return None
        at = _time_of_day(fault.at)
        day = new_york(to_us).date()
        for candidate in (day, day - timedelta(days=1)):
            at_us = utc_us(datetime.combine(candidate, at, NEW_YORK))
            if from_us < at_us <= to_us:
                self._nightly_us = at_us + round(fault.seconds * SECOND_US)
                return self._faults.take(NightlyRestart)
        return None

    def shut(self, now_us: int) -> bool:
        """Tell whether a nightly restart still keeps the port shut."""
        return now_us < self._nightly_us


def _time_of_day(text: str) -> time:
    hour, _, minute = text.partition(":")
    return time(int(hour), int(minute))
