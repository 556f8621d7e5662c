"""What a trading day is told (events), what it asks for (actions), and what it knows (its state).

The driver performs the actions of one step strictly in order, and an action that raises stops the rest: so a
`Record` that stands before a `Send` is on the disk before the order can leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from bar_fly_trading.facts.account import AccountSnapshot, Quote
from bar_fly_trading.trading.book import Book
from bar_fly_trading.trading.costs import Commission
from bar_fly_trading.trading.limits import Limits, Sizing
from bar_fly_trading.trading.orders import Execution, Mode, Record, State
from bar_fly_trading.trading.plan import IntentStatus, OrderIntent, Plan, RankedSignal
from bar_fly_trading.trading.signal_combination import CombinationRefusal

# ---------------------------------------------------------------- what a morning is given


@dataclass(frozen=True, slots=True)
class Morning:
    """Everything a day is decided from, besides its events.

    `refused`: entries that a combination ended in the evening; they are rejections of the plan too.
    `modes` and `sizing` go by strategy; a strategy not named there is in SHADOW and sized by the default.
    `split_factors`: new shares for one old, by instrument, effective between the signal's close and this open (product
    where several). `previous_closes_usd`: close as traded of `signal_session`, by instrument, for whatever the books
    hold. `books`: by mode, built for `session`. `standing`: intents of the journal of this session, and of earlier
    sessions where a broker order may still exist. `fill_wait_s`: how long an order may work before the rest is
    cancelled; `cancel_wait_s`: how long its cancellation may take before its fate counts as unknown.
    """

    session: date
    signal_session: date
    evening_id: str
    settings_hash: str
    ranked: tuple[RankedSignal, ...]
    limits: Limits
    refused: tuple[CombinationRefusal, ...] = ()
    modes: Mapping[str, Mode] = field(default_factory=dict)
    sizing_default: Sizing = field(default_factory=Sizing)
    sizing: Mapping[str, Sizing] = field(default_factory=dict)
    commission: Commission = field(default_factory=Commission)
    split_factors: Mapping[str, Decimal] = field(default_factory=dict)
    previous_closes_usd: Mapping[str, Decimal] = field(default_factory=dict)
    books: Mapping[Mode, Book] = field(default_factory=dict)
    standing: tuple[IntentStatus, ...] = ()
    fill_wait_s: float = 60.0
    cancel_wait_s: float = 15.0

    def mode_of(self, strategy: str) -> Mode:
        """Return the mode of a strategy: SHADOW unless promoted."""
        return self.modes.get(strategy, Mode.SHADOW)


# ---------------------------------------------------------------- events: what happened


@dataclass(frozen=True, slots=True)
class Started:
    """The driver is ready; the first event of every run, also of one that resumes."""


@dataclass(frozen=True, slots=True)
class AccountRead:
    """The account, complete."""

    account: AccountSnapshot


@dataclass(frozen=True, slots=True)
class AccountNotRead:
    """The account could not be read (no Gateway, incomplete answer): nothing can be planned."""

    reason: str


@dataclass(frozen=True, slots=True)
class QuoteRead:
    """A quote that was asked for, and the morning clock (UTC microseconds) when it was handed on."""

    quote: Quote
    at_us: int


@dataclass(frozen=True, slots=True)
class QuoteNotRead:
    """A quote that was asked for did not come."""

    instrument_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class SendReported:
    """What is known right after a send: WORKING, NOT_SENT (provably no byte left), UNKNOWN or BROKER_REJECTED."""

    intent_key: str
    state: State
    detail: str
    perm_id: int = 0


@dataclass(frozen=True, slots=True)
class OrderUpdated:
    """A later word on an order of ours. `status`: working, cancelled, rejected, expired, filled (all hints but the ends)."""

    intent_key: str
    status: str
    detail: str


@dataclass(frozen=True, slots=True)
class ExecutionReported:
    """A fill, or the correction of one."""

    execution: Execution


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that was started has run out."""

    name: str


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The broker went away; nothing more can be asked of it in this run."""

    reason: str


Event = (
    Started
    | AccountRead
    | AccountNotRead
    | QuoteRead
    | QuoteNotRead
    | SendReported
    | OrderUpdated
    | ExecutionReported
    | TimerFired
    | ConnectionLost
)

# ---------------------------------------------------------------- actions: what to do


class Outcome(StrEnum):
    """How a day ended; the driver turns it into an exit code."""

    DONE = "done"
    ACCOUNT_NOT_READ = "account not read"
    CONNECTION_LOST = "connection lost"
    ORDERS_UNKNOWN = "orders unknown"


@dataclass(frozen=True, slots=True)
class AskAccount:
    """Read the account: answer with AccountRead or AccountNotRead."""


@dataclass(frozen=True, slots=True)
class AskQuote:
    """Read a quote: answer with QuoteRead or QuoteNotRead (or ConnectionLost)."""

    instrument_id: str
    symbol: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send this one order, once: answer with SendReported. Its SENDING is already recorded, with this very intent."""

    intent: OrderIntent


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the broker to cancel the rest of an order."""

    intent_key: str


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Answer with TimerFired(name) after so many seconds."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell a person. `key` is the same for the same message in every run: tell each key once.

    Kinds: signal (one a ranked signal, with its decision), order (an outcome), alarm (a person must look).
    """

    kind: str
    key: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finish:
    """The day is over; `counts`: intents by state, and rejections under "rejections"."""

    outcome: Outcome
    detail: str
    counts: tuple[tuple[str, int], ...]


Action = AskAccount | AskQuote | Record | Send | Cancel | StartTimer | Tell | Finish

# ---------------------------------------------------------------- what the day knows


class Phase(StrEnum):
    """Where the day stands."""

    NEW = "new"
    ACCOUNT = "account"
    QUOTES = "quotes"
    ORDERS = "orders"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class DayState:
    """The whole state of a day between two events.

    `waiting_quotes`: instruments still asked for. `queue`: intents not begun, in order. `current`: the one paper intent
    under way, `awaiting_quote` where its fresh quote was asked. `timers`: running timers by name. `cancelling`: intents
    whose cancellation was asked. `lost`: why the connection is gone, None while it stands.
    """

    morning: Morning
    phase: Phase = Phase.NEW
    account: AccountSnapshot | None = None
    quotes: Mapping[str, QuoteRead] = field(default_factory=dict)
    quotes_missing: Mapping[str, str] = field(default_factory=dict)
    waiting_quotes: frozenset[str] = frozenset()
    plan: Plan | None = None
    intents: Mapping[str, IntentStatus] = field(default_factory=dict)
    queue: tuple[str, ...] = ()
    current: str | None = None
    awaiting_quote: bool = False
    timers: frozenset[str] = frozenset()
    cancelling: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    lost: str | None = None
