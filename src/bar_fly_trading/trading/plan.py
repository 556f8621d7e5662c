"""A morning's plan: every signal as exactly one intent or exactly one rejection, frozen under a hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

from bar_fly_trading.strategies.signal import Purpose, Side, Signal
from bar_fly_trading.trading.orders import Execution, IntentIdentity, Mode, State, order_ref

PLAN_SCHEMA = 1
# Of these exactly: an enum may be a str or an int too, and is written by its value.
_JSON_TYPES = frozenset({str, int, float, bool})


@dataclass(frozen=True, slots=True)
class Criterion:
    """One ranking criterion of one signal: the raw value (None: undefined), its score in [0, 1], and its weight."""

    name: str
    value: float | None
    score: float
    weight: float


@dataclass(frozen=True, slots=True)
class RankedSignal:
    """A signal with its place. `tag`: execute or watch (an exit has rank 0 and is execute, save where a whole list is to watch)."""

    signal: Signal
    rank: int
    tag: str
    tag_reason: str
    score: float
    criteria: tuple[Criterion, ...]
    sector: str
    dollar_volume_median_20d_usd: float | None


@dataclass(frozen=True, slots=True)
class Cap:
    """One bound on the size: its name and the shares it allows."""

    name: str
    quantity: int


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """One order we mean to send (or to shadow): DAY limit, whole shares. `binding_cap` names the smallest cap.

    `observed_values`: every number the checks looked at, by name, as text (None: not known).
    """

    intent_key: str
    account: str
    mode: Mode
    session: date
    strategy: str
    instrument_id: str
    symbol: str
    con_id: int
    side: Side
    purpose: Purpose
    intent_no: int
    rank: int
    quantity: int
    limit_price_usd: Decimal
    limit_price_bound_usd: Decimal
    bid_usd: Decimal
    ask_usd: Decimal
    signal_close_usd: Decimal
    caps: tuple[Cap, ...]
    binding_cap: str
    reason: str
    observed_values: tuple[tuple[str, str | None], ...] = ()

    def __post_init__(self) -> None:
        identity = IntentIdentity(
            self.account,
            self.mode,
            self.session,
            self.strategy,
            self.instrument_id,
            self.side,
            self.purpose,
            self.intent_no,
        )
        if self.intent_key != identity.key():
            raise ValueError(f"intent key {self.intent_key} does not belong to this intent")
        if self.quantity < 1:
            raise ValueError(f"{self.symbol}: quantity {self.quantity} is not a whole number of shares above 0")
        if self.limit_price_usd <= 0:
            raise ValueError(f"{self.symbol}: limit price {self.limit_price_usd} is not above 0")

    @property
    def order_ref(self) -> str:
        """The reference the broker echoes."""
        return order_ref(self.intent_key)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refusal as a value: the first rule that failed, what it observed and its limit, in words and numbers.

    `observed_values`: every number the checks looked at, by name, as text (None: not known).
    """

    session: date
    strategy: str
    mode: Mode
    instrument_id: str
    symbol: str
    side: Side
    purpose: Purpose
    rank: int
    rule: str
    observed: str
    limit: str
    reason: str
    observed_values: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What one morning decided; `signal_session` is the evening it rests on."""

    session: date
    signal_session: date
    account: str
    evening_id: str
    settings_hash: str
    intents: tuple[OrderIntent, ...]
    rejections: tuple[Rejection, ...]

    def plan_id(self) -> str:
        """Return the sha256 of the plan's canonical bytes."""
        return hashlib.sha256(canonical_bytes(self)).hexdigest()


def plain(value: Any) -> Any:
    """Turn a tree of dataclasses, enums, dates and decimals into JSON's types; floats stay floats."""
    if value is None or type(value) in _JSON_TYPES:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value


def canonical_bytes(value: Any) -> bytes:
    """Return canonical JSON (sorted keys, no spaces, ASCII; NaN refused) of a tree of values."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class IntentStatus:
    """Where one intent stands, and the executions counted for it (at most one an `exec_id`, in the order they came)."""

    intent: OrderIntent
    state: State
    executions: tuple[Execution, ...] = ()
    perm_id: int = 0
    detail: str = ""

    @property
    def filled_quantity(self) -> int:
        """Return the shares filled: executions are the only source."""
        return sum(e.quantity for e in self.executions)

    def payload(self) -> dict[str, Any]:
        """Return what the journal keeps of it: the intent's fields, the state apart."""
        return {
            **plain(self.intent),
            "executions": plain(self.executions),
            "filled_quantity": self.filled_quantity,
            "perm_id": self.perm_id,
            "detail": self.detail,
        }
