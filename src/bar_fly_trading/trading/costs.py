"""What trading costs: the price at the far touch, and the broker's commission."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from bar_fly_trading.strategies.signal import Side


@dataclass(frozen=True, slots=True)
class Commission:
    """IB's fixed price list for US stocks: so much a share, at least `minimum_usd`, at most a fraction of the value.

    Where the maximum is below the minimum, the maximum holds (IB, "Commissions: stocks, fixed pricing").
    """

    a_share_usd: Decimal = Decimal("0.005")
    minimum_usd: Decimal = Decimal("1.00")
    value_fraction_max: Decimal = Decimal("0.01")

    def usd(self, quantity: int, price_usd: Decimal) -> Decimal:
        """Return the commission of one order of `quantity` shares at `price_usd`, unrounded."""
        return min(
            max(self.a_share_usd * quantity, self.minimum_usd),
            self.value_fraction_max * price_usd * quantity,
        )


def far_touch_usd(side: Side, bid_usd: Decimal, ask_usd: Decimal) -> Decimal:
    """Return the price at which an order crosses the spread: the ask for BUY, the bid for SELL."""
    return ask_usd if side is Side.BUY else bid_usd


def to_tick(price_usd: Decimal, tick_usd: Decimal, *, up: bool) -> Decimal:
    """Return the next price on the tick grid at or above (`up`) or at or below the price; the tick is above 0."""
    steps = (price_usd / tick_usd).to_integral_value(rounding=ROUND_CEILING if up else ROUND_FLOOR)
    return steps * tick_usd
