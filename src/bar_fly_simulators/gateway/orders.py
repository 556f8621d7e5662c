"""What the broker keeps: contracts, orders, executions; all frozen, a change is a new value."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

LIVE = frozenset({"PreSubmitted", "Submitted"})
"""Statuses in which an order can still fill."""


@dataclass(frozen=True, slots=True)
class Stock:
    """A US stock as the Gateway describes it; `market_symbol` is the market's own spelling (BRK.B, at IB `BRK B`)."""

    con_id: int
    symbol: str
    market_symbol: str
    long_name: str
    industry: str


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


@dataclass(frozen=True, slots=True)
class Order:
    """An order the broker accepted or refused. `day` is the session it belongs to (None: none is left in the market)."""

    perm_id: int
    client_id: int
    order_id: int
    order_ref: str
    stock: Stock
    action: str
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None
    tif: str
    outside_rth: bool
    status: str
    placed_at_us: int
    day: date | None
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
        """Shares not filled yet."""
        return self.quantity - self.filled

    @property
    def is_live(self) -> bool:
        """Whether it can still fill."""
        return self.status in LIVE


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill with its commission; `realized_pnl` is None where it opened a position."""

    exec_id: str
    perm_id: int
    client_id: int
    order_id: int
    order_ref: str
    stock: Stock
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


@dataclass(frozen=True, slots=True)
class Position:
    """Shares held of one stock, at cost; the `day_*` numbers make the daily P&L since the previous session's close."""

    stock: Stock
    quantity: Decimal
    average_cost: Decimal
    realized_today: Decimal = Decimal(0)
    day_start_value: Decimal = Decimal(0)
    # Cash put in since the previous close: buys and commissions less sells and dividends.
    day_flow: Decimal = Decimal(0)


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


@dataclass(frozen=True, slots=True)
class AccountChanged:
    """Cash or a position changed, to be told to all that listen."""

    symbols: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Previewed:
    """The answer to a what-if order: nothing was placed. Margins in USD before, by, and after it."""

    order: Order
    commission: Decimal
    margin_before: Decimal
    margin_change: Decimal
    equity_before: Decimal
    equity_after: Decimal


Event = OrderChanged | Executed | OrderError | AccountChanged | Previewed
