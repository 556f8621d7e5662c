"""What the broker says about an account, and a quote: values without behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

MARKET_DATA_LIVE = 1


@dataclass(frozen=True, slots=True)
class Position:
    """A holding of whole shares; `average_cost_usd` a share; negative quantity would be short."""

    instrument_id: str
    symbol: str
    quantity: int
    average_cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """One complete reading of an account: every part answered with its end marker, at `at_us` (UTC microseconds).

    `daily_pnl_usd` includes unrealised profit and is None where the broker did not say (which refuses entries).
    """

    account: str
    at_us: int
    cash_usd: Decimal
    net_liquidation_usd: Decimal
    daily_pnl_usd: Decimal | None
    positions: tuple[Position, ...]

    def quantity_of(self, instrument_id: str) -> int:
        """Return the shares held of an instrument, 0 where none."""
        return sum(p.quantity for p in self.positions if p.instrument_id == instrument_id)


@dataclass(frozen=True, slots=True)
class Quote:
    """A top of book; None where the side is missing. `age_us` is monotonic time since receipt when it is handed on.

    `market_data_type`: 1 live, 2 frozen, 3 delayed, 4 delayed frozen. `halted` None: not said.
    """

    instrument_id: str
    con_id: int
    bid_usd: Decimal | None
    ask_usd: Decimal | None
    bid_size: int | None
    ask_size: int | None
    age_us: int
    market_data_type: int
    halted: bool | None
    min_tick_usd: Decimal

    @property
    def mid_usd(self) -> Decimal | None:
        """Return the middle of bid and ask, None where a side is missing."""
        if self.bid_usd is None or self.ask_usd is None:
            return None
        return (self.bid_usd + self.ask_usd) / 2
