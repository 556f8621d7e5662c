"""What a vendor's list of listings says of one of our instruments: listed, delisted, gone from the list, or reused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

ACTIVE, DELISTED, UNLISTED = "Active", "Delisted", "Unlisted"
# A vendor dates a delisting up to some days off the last trade; one dated longer before our newest bar is another company's.
_TOLERANCE = timedelta(days=10)


class Standing(StrEnum):
    """Where an instrument stands in the list. UNLISTED: it was active in an earlier list and is in none now."""

    LISTED = "listed"
    DELISTED = "delisted"
    UNLISTED = "unlisted"
    REUSED = "reused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Listing:
    """One row of the list; `symbol` canonical, `status` one of ACTIVE, DELISTED, UNLISTED."""

    symbol: str
    status: str
    name: str | None = None
    exchange: str | None = None
    ipo_date: date | None = None
    delisting_date: date | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One instrument's standing. `day`: its last day (DELISTED), or the other company's first (REUSED)."""

    instrument_id: str
    symbol: str
    standing: Standing
    day: date | None = None

    def words(self) -> str:
        """Say it in one clause."""
        if self.standing is Standing.DELISTED:
            return f"{self.symbol} was delisted on {self.day}"
        if self.standing is Standing.REUSED:
            return f"{self.symbol} names another company since {self.day}"
        if self.standing is Standing.UNLISTED:
            return f"{self.symbol} is no longer listed, and not delisted either: it may have a new symbol"
        return f"{self.symbol} is {self.standing.value}"


def standing(symbol: str, newest_bar: date, rows: Iterable[Listing]) -> tuple[Standing, date | None]:
    """Judge one symbol whose newest bar of ours is of `newest_bar`, from the rows that bear it, in any order.

    An active row counts for us unless its company came to the market after our newest bar; a delisted one unless it is
    dated well before it, or its company came after it.
    """
    rows = [row for row in rows if row.symbol == symbol]
    ours = [row for row in rows if row.ipo_date is None or row.ipo_date <= newest_bar]
    if any(row.status == ACTIVE for row in ours):
        return Standing.LISTED, None
    ends = [row.delisting_date for row in ours if row.status == DELISTED and row.delisting_date is not None]
    ends = [end for end in ends if end >= newest_bar - _TOLERANCE]
    if ends:
        return Standing.DELISTED, max(ends)
    later = [row.ipo_date for row in rows if row.status == ACTIVE and row.ipo_date is not None]
    if later:
        return Standing.REUSED, min(later)
    if any(row.status == UNLISTED for row in ours):
        return Standing.UNLISTED, None
    return Standing.UNKNOWN, None


def successors(gone: Listing, active: Sequence[Listing], known: Iterable[str]) -> tuple[str, ...]:
    """Return active symbols that a name gone from the list may bear now: same exchange and IPO date, and not `known` before."""
    before = set(known)
    if gone.ipo_date is None:
        return ()
    return tuple(
        sorted(
            row.symbol
            for row in active
            if row.ipo_date == gone.ipo_date and row.exchange == gone.exchange and row.symbol not in before
        )
    )
