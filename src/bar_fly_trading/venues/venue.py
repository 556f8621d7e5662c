"""What any broker must offer. Reading and sending are two types: in shadow there is nothing that could send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Protocol

from bar_fly_trading.facts.account import AccountSnapshot, Quote
from bar_fly_trading.trading.orders import BrokerOrder, BrokerSnapshot, Execution, OrderUpdate, SendOutcome
from bar_fly_trading.trading.plan import OrderIntent

__all__ = [
    "PRICE_PLACES",
    "BrokerOrder",
    "BrokerSnapshot",
    "Execution",
    "OrderUpdate",
    "ReadVenue",
    "SendOutcome",
    "TradeVenue",
]


class ReadVenue(Protocol):
    """Reads an account, the clock and quotes; has no way to send."""

    async def connect(self) -> str:
        """Connect and return the account; CheckGateway where it fails or answers incompletely within the timeout."""
        ...

    async def disconnect(self) -> None:
        """Close the connection; never raises."""
        ...

    def is_connected(self) -> bool:
        """Tell whether the broker can still be asked; False once the connection is gone, and for good."""
        ...

    async def time_us(self) -> int:
        """Return the broker's clock in UTC microseconds."""
        ...

    async def account(self) -> AccountSnapshot:
        """Return one complete reading of the account."""
        ...

    async def quote(self, instrument_id: str, symbol: str) -> Quote:
        """Return the top of book of a US stock; sides never received are None; raises CheckGateway where unqualifiable."""
        ...


class TradeVenue(ReadVenue, Protocol):
    """A venue that can also send; only wiring makes one, and only for paper (account DU...)."""

    async def send(self, intent: OrderIntent) -> SendOutcome:
        """Send one DAY limit order bearing the intent's order_ref, once; never raises after a byte may have left."""
        ...

    async def cancel(self, intent_key: str) -> None:
        """Ask the broker to cancel our order; its outcome arrives as an update."""
        ...

    def updates(self) -> AsyncIterator[Execution | OrderUpdate]:
        """Yield executions and order updates as they arrive."""
        ...

    async def snapshot(self, order_refs: Sequence[str]) -> BrokerSnapshot:
        """Return a complete snapshot for reconciliation; CheckGateway where any part is incomplete."""
        ...


PRICE_PLACES = Decimal("0.0001")
