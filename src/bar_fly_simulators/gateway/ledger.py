"""Cash and positions of the one account: fills, commissions, splits, dividends, margin, and P&L since the previous close."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from decimal import ROUND_FLOOR, Decimal

from bar_fly_simulators.gateway.instruments import Instrument, Option
from bar_fly_simulators.gateway.orders import Position

COMMISSION_PER_SHARE = Decimal("0.005")
COMMISSION_MIN = Decimal("1.00")
COMMISSION_MAX_FRACTION = Decimal("0.01")
COMMISSION_PER_CONTRACT = Decimal("0.65")
_PLACES = Decimal("0.0001")


def commission(shares: Decimal, value: Decimal) -> Decimal:
    """Return an order's commission in USD: 0.005 a share, at least 1.00, at most 1 % of the value."""
    charged = max(COMMISSION_MIN, shares * COMMISSION_PER_SHARE)
    return min(charged, value * COMMISSION_MAX_FRACTION).quantize(_PLACES)


def charges(instrument: Instrument, quantity: Decimal, value: Decimal) -> Decimal:
    """Return the commission in USD of so much of anything: options 0.65 a contract, at least 1.00 (a leg of its own)."""
    if isinstance(instrument, Option):
        return max(COMMISSION_MIN, quantity * COMMISSION_PER_CONTRACT)
    return commission(quantity, value)


@dataclass(frozen=True, slots=True)
class Standing:
    """The account at an instant, USD."""

    cash: Decimal
    positions_value: Decimal
    unrealized: Decimal
    realized_today: Decimal
    daily: Decimal
    # What the account must keep for its positions: longs at their value, short options at their greatest loss.
    margin: Decimal = Decimal(0)

    @property
    def net_liquidation(self) -> Decimal:
        """Cash and positions at their marks."""
        return self.cash + self.positions_value


@dataclass(slots=True)
class Ledger:
    """Cash in USD and positions by their instrument's key; a position of 0 stays until its day is over."""

    cash: Decimal
    positions: dict[str, Position] = field(default_factory=dict)

    def held(self, key: str) -> Decimal:
        """Return what is held of an instrument (below 0: short)."""
        position = self.positions.get(key)
        return position.quantity if position else Decimal(0)

    def trade(self, instrument: Instrument, signed: Decimal, price: Decimal, charged: Decimal) -> Decimal | None:
        """Buy (above 0) or sell; return the realized P&L, the commission taken off, None where nothing was closed.

        The commission is part of the cost of what it opens, as the broker's average cost has it.
        """
        key, unit = instrument.key, price * instrument.multiplier
        old = self.positions.get(key, Position(instrument, Decimal(0), Decimal(0)))
        closing = min(abs(signed), abs(old.quantity)) if signed * old.quantity < 0 else Decimal(0)
        closing = closing if signed > 0 else -closing
        opening = signed - closing
        share = charged * abs(closing / signed)
        realized = -closing * (unit - old.average_cost) - share if closing else None
        quantity, cost = old.quantity + closing, old.average_cost
        if opening:
            spent = opening * unit + (charged - share)
            cost = (quantity * cost + spent) / (quantity + opening)
            quantity += opening
        paid = signed * unit + charged
        self.cash -= paid
        self.positions[key] = replace(
            old,
            quantity=quantity,
            average_cost=cost if quantity else Decimal(0),
            realized_today=old.realized_today + (realized or Decimal(0)),
            day_flow=old.day_flow + paid,
        )
        return realized

    def move(self, instrument: Instrument, quantity: Decimal, cost: Decimal) -> None:
        """Make a position what it is told to be, with no cash for it; its worth is no part of the day's P&L."""
        old = self.positions.get(instrument.key, Position(instrument, Decimal(0), Decimal(0)))
        added = (quantity - old.quantity) * cost
        self.positions[instrument.key] = replace(
            old, quantity=quantity, average_cost=cost if quantity else Decimal(0), day_flow=old.day_flow + added
        )

    def close_at(self, key: str, unit: Decimal) -> None:
        """End a position at a price a unit (0: it expired worthless), the cash for it moved, the P&L realized."""
        old = self.positions[key]
        received = old.quantity * unit
        self.cash += received
        self.positions[key] = replace(
            old,
            quantity=Decimal(0),
            average_cost=Decimal(0),
            realized_today=old.realized_today + received - old.quantity * old.average_cost,
            day_flow=old.day_flow - received,
        )

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

    def begin_day(self, mark: Callable[[Instrument], Decimal]) -> None:
        """Start a day's P&L: positions count from their marks now (the previous close), closed ones go."""
        self.positions = {
            key: replace(
                position,
                realized_today=Decimal(0),
                day_start_value=position.worth(mark(position.instrument)),
                day_flow=Decimal(0),
            )
            for key, position in self.positions.items()
            if position.quantity
        }

    def standing(self, mark: Callable[[Instrument], Decimal]) -> Standing:
        """Return the account with every position at its mark."""
        value = unrealized = realized = daily = longs = Decimal(0)
        for position in self.positions.values():
            worth = position.worth(mark(position.instrument))
            value += worth
            longs += max(Decimal(0), worth)
            unrealized += worth - position.quantity * position.average_cost
            realized += position.realized_today
            daily += worth - position.day_start_value - position.day_flow
        margin = longs + option_margin(self.positions.values(), mark)
        return Standing(self.cash, value, unrealized, realized, daily, margin)


def option_margin(positions: Iterable[Position], mark: Callable[[Instrument], Decimal]) -> Decimal:
    """Return what short options must be covered with, USD: for each stock the greatest loss of all its options together.

    Looked at with the stock at 0, at each strike, and at twice the highest of strikes and price (where a naked short call
    is cut off); shares held cover short calls. All expirations count as one.
    """
    held = list(positions)
    shares = {p.instrument.key: p.quantity for p in held if p.instrument.sec_type == "STK"}
    books: dict[str, list[tuple[Option, Decimal]]] = {}
    for position in held:
        if isinstance(position.instrument, Option) and position.quantity:
            books.setdefault(position.instrument.market_symbol, []).append((position.instrument, position.quantity))
    total = Decimal(0)
    for symbol, book in books.items():
        if all(quantity > 0 for _, quantity in book):
            continue
        spot = mark(book[0][0].stock)
        short_calls = -sum((q for option, q in book if option.right == "C"), Decimal(0)) * 100
        covered = max(Decimal(0), min(short_calls, shares.get(symbol, Decimal(0))))
        prices = {Decimal(0), *(option.strike for option, _ in book)}
        prices.add(2 * max(*prices, spot))
        worst = min(
            sum((q * 100 * option.intrinsic(price) for option, q in book), covered * max(Decimal(0), price - spot))
            for price in prices
        )
        total += max(Decimal(0), -worst)
    return total
