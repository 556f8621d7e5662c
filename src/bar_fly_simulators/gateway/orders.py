"""What the broker keeps: orders, executions, positions, and what it tells; all frozen, a change is a new value."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from bar_fly_simulators.gateway.instruments import Combo, Instrument, Option, Stock

__all__ = ["Combo", "Instrument", "Option", "Stock"]

LIVE = frozenset({"PreSubmitted", "Submitted"})
"""Statuses in which an order can still fill."""


@dataclass(frozen=True, slots=True)
class LegQuery:
    """A leg of a combination as a request spells it."""

    con_id: int
    ratio: int
    action: str
    exchange: str


@dataclass(frozen=True, slots=True)
class ContractQuery:
    """A contract as a request spells it; any part may be empty."""

    con_id: int
    symbol: str
    sec_type: str
    last_trade_date: str
    strike: Decimal | None
    right: str
    multiplier: str
    exchange: str
    primary_exchange: str
    currency: str
    local_symbol: str
    trading_class: str
    legs: tuple[LegQuery, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A placeOrder message; `unsupported` names the features it asks for that this Gateway does not simulate."""

    order_id: int
    contract: ContractQuery
    action: str
    quantity: Decimal | None
    order_type: str
    limit_price: Decimal | None
    aux_price: Decimal | None
    tif: str
    account: str
    order_ref: str
    outside_rth: bool
    what_if: bool
    unsupported: tuple[str, ...] = ()
    transmit: bool = True
    parent_id: int = 0
    oca_group: str = ""
    oca_type: int = 0
    good_till_date: str = ""
    trail_stop: Decimal | None = None
    trail_percent: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order the broker accepted or refused. `day` is the session it belongs to (None: none is left in the market)."""

    perm_id: int
    client_id: int
    order_id: int
    order_ref: str
    instrument: Instrument
    action: str
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None
    tif: str
    outside_rth: bool
    status: str
    placed_at_us: int
    day: date | None
    aux_price: Decimal | None = None
    trail_percent: Decimal | None = None
    # The stop of a TRAIL order as it stands.
    trail_stop: Decimal | None = None
    parent_id: int = 0
    oca_group: str = ""
    oca_type: int = 0
    good_till_date: str = ""
    good_till_us: int | None = None
    # What it waits for before it can meet the market: "", "transmit" or "parent".
    waits_for: str = ""
    # Whether a stop has been reached, so that the order is at the market (or at its limit) now.
    triggered: bool = False
    # The broker never works it (a fault): it keeps its status for ever.
    stuck: bool = False
    # How often ids had been rolled back when it was placed: a later order may bear the same order id.
    epoch: int = 0
    filled: Decimal = Decimal(0)
    average_price: Decimal = Decimal(0)
    last_price: Decimal = Decimal(0)
    commission: Decimal = Decimal(0)
    executions: int = 0
    completed_at_us: int = 0
    completed_status: str = ""
    # Since when it rests in the open market: before that instant a marketable price fills at the touch, after it at the limit.
    resting_since_us: int | None = None

    @property
    def remaining(self) -> Decimal:
        """Shares or contracts not filled yet."""
        return self.quantity - self.filled

    @property
    def is_live(self) -> bool:
        """Whether it can still fill."""
        return self.status in LIVE

    @property
    def limit(self) -> Decimal | None:
        """The limit it has once it works; None: any price."""
        return self.limit_price if self.order_type in {"LMT", "STP LMT"} else None

    @property
    def awaits_stop(self) -> bool:
        """Whether its stop has not been reached yet."""
        return self.order_type in {"STP", "STP LMT", "TRAIL"} and not self.triggered


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill with its commission; `realized_pnl` is None where it opened a position.

    A combination's fill is one execution of the combination (commission 0) and one of each leg.
    """

    exec_id: str
    perm_id: int
    client_id: int
    order_id: int
    order_ref: str
    instrument: Instrument
    action: str
    shares: Decimal
    price: Decimal
    at_us: int
    cumulative: Decimal
    average_price: Decimal
    commission: Decimal
    realized_pnl: Decimal | None
    # 1 added liquidity (rested), 2 took it.
    last_liquidity: int
    # The broker closed the position against its holder's will.
    liquidation: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """What is held of one instrument (below 0: short), at cost; the `day_*` numbers make the daily P&L since the last close.

    The cost is that of one share, or of one contract with its multiplier.
    """

    instrument: Instrument
    quantity: Decimal
    average_cost: Decimal
    realized_today: Decimal = Decimal(0)
    day_start_value: Decimal = Decimal(0)
    # Cash put in since the previous close: buys and commissions less sells and dividends.
    day_flow: Decimal = Decimal(0)

    def worth(self, mark: Decimal) -> Decimal:
        """Return what it is worth at a price, USD."""
        return self.quantity * mark * self.instrument.multiplier


@dataclass(frozen=True, slots=True)
class OrderChanged:
    """An order's new state, to be told to its client."""

    order: Order
    with_open_order: bool = True


@dataclass(frozen=True, slots=True)
class Executed:
    """A fill, to be told to its client."""

    execution: Execution


@dataclass(frozen=True, slots=True)
class OrderError:
    """An error message about an order, to be told to its client."""

    client_id: int
    order_id: int
    code: int
    text: str
    order_ref: str = ""


@dataclass(frozen=True, slots=True)
class AccountChanged:
    """Cash or a position changed, to be told to all that listen; named by the instruments' keys."""

    keys: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Previewed:
    """The answer to a what-if order: nothing was placed. Margins in USD before, by, and after it."""

    order: Order
    commission: Decimal
    margin_before: Decimal
    margin_change: Decimal
    equity_before: Decimal
    equity_after: Decimal
    # How the figures are spelled where a fault has them unset: "", or the largest double.
    unset: str | None = None


Event = OrderChanged | Executed | OrderError | AccountChanged | Previewed
