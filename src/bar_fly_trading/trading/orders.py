"""Orders: the modes, the states an intent passes through, the edges allowed, and the key that makes it unique.

The state table is the whole of design rule R12 from the first day; states this version never enters are kept so that
records written today stay readable. An edge that is not in the table is a defect and stops the program.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from bar_fly_trading.facts.account import AccountSnapshot
from bar_fly_trading.strategies.signal import Purpose, Side

KEY_SCHEMA = 1
ORDER_REF_PREFIX = "B1-"


class Mode(StrEnum):
    """How a strategy trades."""

    SHADOW = "shadow"
    PAPER = "paper"
    LIVE = "live"


class State(StrEnum):
    """Where an intent stands."""

    PLANNED = "PLANNED"
    CHECKED = "CHECKED"
    REJECTED = "REJECTED"
    SHADOWED = "SHADOWED"
    AWAITING = "AWAITING"
    DENIED = "DENIED"
    EXPIRED = "EXPIRED"
    APPROVED = "APPROVED"
    SENDING = "SENDING"
    NOT_SENT = "NOT_SENT"
    WORKING = "WORKING"
    UNKNOWN = "UNKNOWN"
    PARTIAL = "PARTIAL"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    BROKER_REJECTED = "BROKER_REJECTED"
    PARKED = "PARKED"
    FILLED_LATE = "FILLED_LATE"
    ADOPTED = "ADOPTED"


S = State
EDGES: dict[State, frozenset[State]] = {
    S.PLANNED: frozenset({S.CHECKED, S.REJECTED}),
    S.CHECKED: frozenset({S.REJECTED, S.SHADOWED, S.AWAITING}),
    S.AWAITING: frozenset({S.DENIED, S.EXPIRED, S.APPROVED}),
    S.APPROVED: frozenset({S.SENDING, S.EXPIRED}),
    S.SENDING: frozenset(
        {S.NOT_SENT, S.WORKING, S.UNKNOWN, S.PARTIAL, S.FILLED, S.CANCELLED, S.BROKER_REJECTED, S.EXPIRED}
    ),
    S.NOT_SENT: frozenset({S.APPROVED, S.EXPIRED}),
    S.WORKING: frozenset({S.PARTIAL, S.FILLED, S.CANCELLED, S.BROKER_REJECTED, S.EXPIRED, S.UNKNOWN}),
    S.UNKNOWN: frozenset({S.WORKING, S.PARTIAL, S.FILLED, S.CANCELLED, S.BROKER_REJECTED, S.EXPIRED, S.PARKED}),
    S.PARTIAL: frozenset({S.PARTIAL, S.FILLED, S.CANCELLED, S.EXPIRED, S.UNKNOWN}),
    S.CANCELLED: frozenset({S.FILLED_LATE}),
    S.EXPIRED: frozenset({S.FILLED_LATE}),
    S.PARKED: frozenset({S.ADOPTED}),
    S.REJECTED: frozenset(),
    S.SHADOWED: frozenset(),
    S.DENIED: frozenset(),
    # A terminal state leads to itself where a later execution or a correction still changes what was filled.
    S.FILLED: frozenset({S.FILLED}),
    S.BROKER_REJECTED: frozenset({S.FILLED_LATE}),
    S.FILLED_LATE: frozenset({S.FILLED_LATE}),
    S.ADOPTED: frozenset({S.ADOPTED}),
}
TERMINAL: frozenset[State] = frozenset(
    {
        S.REJECTED,
        S.SHADOWED,
        S.DENIED,
        S.EXPIRED,
        S.FILLED,
        S.CANCELLED,
        S.BROKER_REJECTED,
        S.PARKED,
        S.FILLED_LATE,
        S.ADOPTED,
    }
)
# Where a broker order may exist whose fate we do not know: such an intent blocks its instrument until it is resolved.
UNRESOLVED: frozenset[State] = frozenset({S.SENDING, S.UNKNOWN, S.PARKED})
MAY_BE_AT_BROKER: frozenset[State] = frozenset({S.SENDING, S.WORKING, S.UNKNOWN, S.PARTIAL, S.PARKED})


class IllegalEdge(AssertionError):
    """An intent was moved along an edge that is not in the table: a defect; stopping is safer than going on."""


def check_edge(before: State, after: State) -> None:
    """Raise IllegalEdge where the table has no edge from `before` to `after`."""
    if after not in EDGES[before]:
        raise IllegalEdge(f"no edge {before} -> {after}")


@dataclass(frozen=True, slots=True)
class IntentIdentity:
    """What makes an intent itself; quantity and price are not part of it (a changed size is the same intent)."""

    account: str
    mode: Mode
    session: date
    strategy: str
    instrument_id: str
    side: Side
    purpose: Purpose
    intent_no: int = 1
    right: str = ""

    def key(self) -> str:
        """Return the 20-character base32 key: equal for equal identities on every machine."""
        parts = (
            str(KEY_SCHEMA),
            self.account,
            self.mode.value,
            self.session.isoformat(),
            self.strategy,
            self.instrument_id,
            self.right,
            self.side.value,
            self.purpose.value,
            str(self.intent_no),
        )
        digest = hashlib.sha256("|".join(parts).encode()).digest()
        return base64.b32encode(digest).decode()[:20]


def order_ref(intent_key: str) -> str:
    """Return the reference the broker echoes on open orders, executions and completed orders."""
    return ORDER_REF_PREFIX + intent_key


@dataclass(frozen=True, slots=True)
class IntentChange:
    """One step of one intent along the table: `before` None inserts it. `payload` replaces the stored one; None keeps it.

    An inserted payload names session, mode and strategy.
    """

    intent_key: str
    before: State | None
    after: State
    payload: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """Something to append to the journal, with the intents' changes it brings, in one transaction; raise where that fails.

    Kinds of a day: plan, intent, fill, cancel, stray_execution, finish. `payload["session"]` is always there.
    """

    kind: str
    payload: Mapping[str, Any]
    changes: tuple[IntentChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill of one intent. `exec_id` is the broker's base (without the revision) or the shadow book's own.

    A correction has the same `exec_id` and a higher `revision`; it replaces the earlier one.
    """

    intent_key: str
    exec_id: str
    quantity: int
    price_usd: Decimal
    commission_usd: Decimal | None
    at_us: int
    revision: int = 0

    def supersedes(self, other: Execution) -> bool:
        """Tell whether this says more of the same fill: a higher revision, or the commission that was not known."""
        if self.exec_id != other.exec_id or self.revision < other.revision:
            return False
        return self.revision > other.revision or (self.commission_usd is not None and other.commission_usd is None)


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What is known right after a send. `state`: WORKING, NOT_SENT (provably no byte left), UNKNOWN or BROKER_REJECTED."""

    state: str
    detail: str
    perm_id: int = 0


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """A later word on an order of ours. `status`: working, cancelled, rejected, expired, filled (a hint: executions count)."""

    intent_key: str
    status: str
    detail: str


@dataclass(frozen=True, slots=True)
class BrokerOrder:
    """An order the broker knows, with our reference (None: not ours). `status` as in OrderUpdate."""

    order_ref: str | None
    perm_id: int
    symbol: str
    status: str
    quantity: int
    filled: int


@dataclass(frozen=True, slots=True)
class BrokerSnapshot:
    """Open orders, completed orders, executions and the account, each part complete (it had its end marker)."""

    account: AccountSnapshot
    orders: tuple[BrokerOrder, ...]
    executions: tuple[Execution, ...]
    foreign_executions: int
