"""The broker's truth: orders, executions, positions and cash, and what happens to an order once it has arrived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any

from bar_fly_trading.trading.orders import Execution, OrderUpdate
from bar_fly_trading.trading.plan import OrderIntent
from proof.faults import Dice
from proof.virtual import SECOND_US, VirtualLoop

CENT = Decimal("0.01")
COMMISSION = Decimal("1.00")
ACCOUNT = "DU0000001"
PREFIX = "B1-"


@dataclass
class Order:
    """One order as the broker has it. `shown_from_us`: from when requests show it; `muted`: nobody hears of it."""

    perm_id: int
    reference: str
    instrument_id: str
    symbol: str
    side: str
    quantity: int
    limit_usd: Decimal
    session: date
    placed_us: int
    status: str = "working"
    executions: dict[str, Execution] = field(default_factory=dict)
    shown_from_us: int = 0
    muted: bool = False

    @property
    def ours(self) -> bool:
        """Whether the program placed it."""
        return self.reference.startswith(PREFIX)

    @property
    def filled(self) -> int:
        """The shares filled, corrections counted."""
        return sum(e.quantity for e in self.executions.values())


@dataclass(frozen=True)
class Write:
    """One order message as it reached the socket."""

    intent: OrderIntent
    at_us: int
    arrived: bool


class Broker:
    """Lives through every run, crash and reconnect of one seed."""

    def __init__(self, dice: Dice, loop: VirtualLoop, prices_usd: dict[str, Decimal]) -> None:
        """Take the dice, the time, and where each instrument trades."""
        self.dice, self.loop, self.prices_usd = dice, loop, dict(prices_usd)
        self.cash_usd = Decimal(100_000)
        self.positions: dict[str, int] = {}
        self.orders: dict[int, Order] = {}
        self.writes: list[Write] = []
        self.cancels: list[str] = []
        self.session = date.min
        self.daily_pnl_usd: Decimal | None = Decimal(0)
        self.sinks: list[Callable[[Execution | OrderUpdate], None]] = []
        self._next_perm, self._next_exec = 7000, 1

    # ------------------------------------------------------------ what clients do

    def place(self, intent: OrderIntent, *, arrives: bool = True) -> Order | None:
        """Take an order message off the socket; one that is swallowed was written and never exists."""
        self.writes.append(Write(intent, self.loop.at_us, arrives))
        if not arrives:
            return None
        order = self._new(intent.order_ref, intent.instrument_id, intent.symbol, intent.side.value, intent.quantity)
        order.limit_usd = intent.limit_price_usd
        if self.dice.strikes("order not shown yet"):
            order.shown_from_us = self.loop.at_us + round(self.dice.between(5, 90) * SECOND_US)
        return order

    def _new(self, reference: str, instrument_id: str, symbol: str, side: str, quantity: int) -> Order:
        self._next_perm += 1
        price = self.prices_usd[instrument_id]
        order = Order(
            self._next_perm, reference, instrument_id, symbol, side, quantity, price, self.session, self.loop.at_us
        )
        self.orders[order.perm_id] = order
        return order

    def begin_work(self, order: Order) -> None:
        """Let the market answer the order."""
        dice = self.dice
        if dice.strikes("no fill"):
            return
        first = order.quantity
        if order.quantity > 1 and dice.strikes("partial fill"):
            first = dice.random.randint(1, order.quantity - 1)
        self._later(dice.between(0.1, 8), lambda: self.fill(order, first))
        if first < order.quantity and dice.random.random() < 0.5:
            self._later(dice.between(8, 60), lambda: self.fill(order, order.quantity - order.filled))
        if dice.strikes("status filled without execution"):
            self._later(dice.between(0.05, 5), lambda: self.tell(order, "filled"))
        if dice.strikes("user cancels ours"):
            self._later(dice.between(1, 20), lambda: self.end(order, "cancelled", "202 cancelled by the user"))

    def cancel(self, order: Order) -> None:
        """Take a cancellation."""
        dice = self.dice
        if order.ours:
            self.cancels.append(order.reference)
        if dice.strikes("cancel unanswered"):
            return
        if dice.strikes("cancel refused because filled") and order.status == "working":
            self.fill(order, order.quantity - order.filled)
            return
        late = dice.strikes("fill after cancelled") and order.status == "working"
        self._later(dice.between(0.05, 2), lambda: self._cancelled(order, late))

    def _cancelled(self, order: Order, late_fill: bool) -> None:
        left = order.quantity - order.filled
        self.end(order, "cancelled", "202 cancelled")
        if late_fill and left > 0:
            shares = self.dice.random.randint(1, left)
            self._later(self.dice.between(0.05, 3), lambda: self.fill(order, shares, after_the_end=True))

    # ------------------------------------------------------------ what the market does

    def fill(self, order: Order, quantity: int, *, after_the_end: bool = False) -> None:
        """Execute shares of an order at its limit or a cent better."""
        if quantity <= 0 or quantity > order.quantity - order.filled:
            return
        if order.status != "working" and not after_the_end:
            return
        better = CENT * self.dice.random.choice((0, 0, 1))
        price = order.limit_usd - better if order.side == "BUY" else order.limit_usd + better
        number = f"0000e{self._next_exec:05d}"
        self._next_exec += 1
        execution = Execution(
            order.reference.removeprefix(PREFIX), number, quantity, price, COMMISSION, self.loop.at_us, 1
        )
        self._book(order, execution, None)
        if order.filled == order.quantity and order.status == "working":
            order.status = "filled"
        if self.dice.strikes("execution not shown yet"):
            order.shown_from_us = max(
                order.shown_from_us, self.loop.at_us + round(self.dice.between(5, 90) * SECOND_US)
            )
        self._announce(order, execution)
        if self.dice.strikes("execution corrected"):
            self._later(self.dice.between(0.2, 30), lambda: self._correct(order, number, 0))
        elif quantity > 1 and self.dice.strikes("execution reduced"):
            self._later(self.dice.between(0.2, 30), lambda: self._correct(order, number, 1))

    def _correct(self, order: Order, exec_id: str, fewer: int) -> None:
        old = order.executions[exec_id]
        new = replace(old, quantity=old.quantity - fewer, price_usd=old.price_usd + CENT, revision=old.revision + 1)
        self._book(order, new, old)
        if not order.muted:
            self._emit(new)

    def _announce(self, order: Order, execution: Execution) -> None:
        if not self.sinks or order.muted:
            return
        dice = self.dice
        if dice.strikes("commission late"):
            self._emit(replace(execution, commission_usd=None))
            self._later(dice.between(0.1, 5), lambda: self._emit(execution))
        else:
            self._emit(execution)
        if dice.strikes("execution twice"):
            self._emit(execution)
        self.tell(order, "filled" if order.filled == order.quantity else "working")
        if dice.strikes("status out of order"):
            self.tell(order, "working")

    def _emit(self, update: Execution | OrderUpdate) -> None:
        for sink in self.sinks:
            sink(update)

    def _book(self, order: Order, new: Execution, old: Execution | None) -> None:
        order.executions[new.exec_id] = new
        sign = 1 if order.side == "BUY" else -1
        for execution, times in ((new, 1), (old, -1)):
            if execution is None:
                continue
            fee = execution.commission_usd or Decimal(0)
            self.positions[order.instrument_id] = (
                self.positions.get(order.instrument_id, 0) + times * sign * execution.quantity
            )
            self.cash_usd -= times * (sign * execution.quantity * execution.price_usd + fee)

    def end(self, order: Order, status: str, detail: str) -> None:
        """End a working order."""
        if order.status == "working":
            order.status = status
            self.tell(order, status, detail)

    def tell(self, order: Order, word: str, detail: str = "") -> None:
        """Say a status to whoever is connected."""
        if order.ours and not order.muted:
            self._emit(OrderUpdate(order.reference.removeprefix(PREFIX), word, detail or word))

    def end_session(self) -> None:
        """Expire every DAY order; nobody is connected to hear it."""
        for order in self.orders.values():
            self.end(order, "expired", "end of day")

    # ------------------------------------------------------------ what the user does

    def user_trades(self, instrument_id: str, quantity: int) -> None:
        """Trade for the account's owner: positive buys, negative sells; never ours to touch."""
        side = "BUY" if quantity > 0 else "SELL"
        order = self._new("", instrument_id, instrument_id[3:], side, abs(quantity))
        number = f"0000u{self._next_exec:05d}"
        self._next_exec += 1
        self._book(order, Execution("", number, abs(quantity), order.limit_usd, COMMISSION, self.loop.at_us, 1), None)
        order.status = "filled"

    def worth_usd(self) -> Decimal:
        """Return cash and positions at their prices."""
        return self.cash_usd + sum((n * self.prices_usd[i] for i, n in self.positions.items()), Decimal(0))

    def _later(self, seconds: float, work: Callable[[], Any]) -> None:
        self.loop.call_later(seconds, work)
