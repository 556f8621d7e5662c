"""Cash and positions of the one account: fills, commissions, splits, dividends, and P&L since the previous close."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import ROUND_FLOOR, Decimal

from bar_fly_simulators.gateway.orders import Position, Stock

COMMISSION_PER_SHARE = Decimal("0.005")
COMMISSION_MIN = Decimal("1.00")
COMMISSION_MAX_FRACTION = Decimal("0.01")
_PLACES = Decimal("0.0001")


def commission(shares: Decimal, value: Decimal) -> Decimal:
    """Return an order's commission in USD: 0.005 a share, at least 1.00, at most 1 % of the value."""
    charged = max(COMMISSION_MIN, shares * COMMISSION_PER_SHARE)
    return min(charged, value * COMMISSION_MAX_FRACTION).quantize(_PLACES)


@dataclass(frozen=True, slots=True)
class Standing:
    """The account at an instant, USD."""

    cash: Decimal
    positions_value: Decimal
    unrealized: Decimal
    realized_today: Decimal
    daily: Decimal

    @property
    def net_liquidation(self) -> Decimal:
        """Cash and positions at their marks."""
        return self.cash + self.positions_value


@dataclass(slots=True)
class Ledger:
    """Cash in USD and positions by market symbol; a position of 0 stays until its day is over."""

    cash: Decimal
    positions: dict[str, Position] = field(default_factory=dict)

    def held(self, symbol: str) -> Decimal:
        """Return the shares held of a market symbol."""
        position = self.positions.get(symbol)
        return position.quantity if position else Decimal(0)

    def buy(self, stock: Stock, shares: Decimal, price: Decimal, charged: Decimal) -> None:
        """Add shares; the commission is part of their cost, as the broker's average cost has it."""
        spent = shares * price + charged
        old = self.positions.get(stock.market_symbol, Position(stock, Decimal(0), Decimal(0)))
        quantity = old.quantity + shares
        cost = (old.quantity * old.average_cost + spent) / quantity
        self.cash -= spent
        self.positions[stock.market_symbol] = replace(
            old, quantity=quantity, average_cost=cost, day_flow=old.day_flow + spent
        )

    def sell(self, stock: Stock, shares: Decimal, price: Decimal, charged: Decimal) -> Decimal:
        """Remove shares and return the realized P&L, the commission taken off."""
        old = self.positions[stock.market_symbol]
        received = shares * price - charged
        realized = received - shares * old.average_cost
        quantity = old.quantity - shares
        self.cash += received
        self.positions[stock.market_symbol] = replace(
            old,
            quantity=quantity,
            average_cost=old.average_cost if quantity else Decimal(0),
            realized_today=old.realized_today + realized,
            day_flow=old.day_flow - received,
        )
        return realized

    def split(self, symbol: str, coefficient: Decimal, price: Decimal) -> None:
        """Turn one share into `coefficient`; a fraction of a share that results is paid out at `price`."""
        old = self.positions[symbol]
        exact = old.quantity * coefficient
        quantity = exact.to_integral_value(ROUND_FLOOR)
        paid = ((exact - quantity) * price).quantize(_PLACES)
        self.cash += paid
        self.positions[symbol] = replace(
            old, quantity=quantity, average_cost=old.average_cost / coefficient, day_flow=old.day_flow - paid
        )

    def dividend(self, symbol: str, per_share: Decimal) -> None:
        """Credit a dividend; it is part of the day's P&L, against the fall of the price."""
        old = self.positions[symbol]
        paid = (old.quantity * per_share).quantize(_PLACES)
        self.cash += paid
        self.positions[symbol] = replace(old, day_flow=old.day_flow - paid)

    def begin_day(self, mark: Callable[[str], Decimal]) -> None:
        """Start a day's P&L: positions count from their marks now (the previous close), closed ones go."""
        self.positions = {
            symbol: replace(
                position,
                realized_today=Decimal(0),
                day_start_value=position.quantity * mark(symbol),
                day_flow=Decimal(0),
            )
            for symbol, position in self.positions.items()
            if position.quantity
        }

    def standing(self, mark: Callable[[str], Decimal]) -> Standing:
        """Return the account with every position at its mark."""
        value = unrealized = realized = daily = Decimal(0)
        for symbol, position in self.positions.items():
            worth = position.quantity * mark(symbol)
            value += worth
            unrealized += worth - position.quantity * position.average_cost
            realized += position.realized_today
            daily += worth - position.day_start_value - position.day_flow
        return Standing(self.cash, value, unrealized, realized, daily)
