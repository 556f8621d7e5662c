"""What sessions share: the broker, the market, the faults, the clock as the Gateway shows it."""

from __future__ import annotations

from typing import Protocol

from bar_fly_simulators.gateway.broker import Broker
from bar_fly_simulators.gateway.contracts import Contracts
from bar_fly_simulators.gateway.faults import FaultTable
from bar_fly_simulators.gateway.orders import OrderRequest
from bar_fly_simulators.market import Market


class House(Protocol):
    """The Gateway as its sessions see it."""

    market: Market
    contracts: Contracts
    broker: Broker
    faults: FaultTable

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts reported to clients; the first one is the broker's."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether the Read-Only API setting is on."""
        ...

    def shown_time_us(self) -> int:
        """Return the Gateway's clock as clients read it, faults included."""
        ...

    def understood(self, client_id: int, server_version: int, request: OrderRequest) -> None:
        """Remember an order as it was read, for the control port."""
        ...
