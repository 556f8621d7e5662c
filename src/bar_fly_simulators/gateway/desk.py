"""The broker's desk: what happens to one order or one position, and what clients must be told of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal

from bar_fly_simulators.gateway.admission import Refusal, Wanted, needed, option_parts, working_price
from bar_fly_simulators.gateway.contracts import Contracts
from bar_fly_simulators.gateway.faults import FaultTable, StatusRegress
from bar_fly_simulators.gateway.fields import number
from bar_fly_simulators.gateway.instruments import Combo, Instrument
from bar_fly_simulators.gateway.ledger import charges
from bar_fly_simulators.gateway.matching import Match, far_side
from bar_fly_simulators.gateway.orders import (
    AccountChanged,
    Event,
    Executed,
    Execution,
    Order,
    OrderChanged,
    OrderError,
)
from bar_fly_simulators.gateway.quotes import Quotes
from bar_fly_simulators.gateway.state import BrokerState

CANCELLED = "Order Canceled - reason:"


def attributes(order: Order) -> dict[str, str]:
    """Return what faults of orders are limited by."""
    return {
        "symbol": order.instrument.market_symbol,
        "order_ref": order.order_ref,
        "client": str(order.client_id),
    }


class Desk:
    """Holds the account's state; every change leaves in `events` what clients must be told."""

    def __init__(self, contracts: Contracts, quotes: Quotes, faults: FaultTable, state: BrokerState) -> None:
        self.contracts = contracts
        self.quotes = quotes
        self.faults = faults
        self.state = state
        self.events: list[Event] = []

    # What is there

    def open_orders(self, client_id: int | None = None) -> list[Order]:
        """Return the live orders, of one client or of all."""
        return [o for o in self.state.orders.values() if o.is_live and client_id in {None, o.client_id}]

    def mark(self, instrument: Instrument) -> Decimal:
        """Return what a share, or a share's worth of an option, counts for now, USD."""
        return self.quotes.mark_of(instrument, self.state.at_us)

    def reference(self, instrument: Instrument, action: str) -> Decimal:
        """Return the price an order without a limit is reckoned at: the far touch, else the mark."""
        touch = self.quotes.touch_of(instrument, self.state.at_us)
        return self.mark(instrument) if touch is None else far_side(action, touch)

    def wanted(self, order: Order) -> Wanted:
        """Return what an order still has to do, at its working price."""
        price = working_price(order, self.reference(order.instrument, order.action))
        return Wanted(order.instrument, order.action, order.remaining, price)

    def needs(self, wanted: Wanted) -> Decimal:
        """Return the cash in USD that it ties up."""
        return needed(wanted, self.state.ledger, self.mark)

    def available(self, besides: Order | None = None) -> Decimal:
        """Return the cash in USD that no live order and no short option holds back (`besides` one about to change)."""
        groups: dict[str, Decimal] = {}
        for order in self.open_orders():
            if order is not besides and order.waits_for != "parent":
                key = group_of(order)
                groups[key] = max(groups.get(key, Decimal(0)), self.needs(self.wanted(order)))
        standing = self.state.ledger.standing(self.mark)
        longs = sum(
            (max(Decimal(0), p.worth(self.mark(p.instrument))) for p in self.state.ledger.positions.values()),
            Decimal(0),
        )
        return self.state.ledger.cash - (standing.margin - longs) - sum(groups.values(), Decimal(0))

    def promised(self, instrument: Instrument, besides: Order | None) -> Decimal:
        """Return what live sales of an instrument have promised already: of orders that cancel each other, the greatest."""
        groups: dict[str, Decimal] = {}
        for order in self.open_orders():
            if order.instrument == instrument and order.action == "SELL" and order is not besides:
                if besides is not None and group_of(order) == group_of(besides):
                    continue
                if order.waits_for != "parent":
                    key = group_of(order)
                    groups[key] = max(groups.get(key, Decimal(0)), order.remaining)
        return sum(groups.values(), Decimal(0))

    # What changes

    def put(self, order: Order) -> None:
        """Keep an order's new state and tell it."""
        self.state.orders[order.perm_id] = order
        if order.waits_for != "transmit":
            self.events.append(OrderChanged(order))

    def end(self, order: Order, completed_status: str, text: str = CANCELLED, at_us: int | None = None) -> None:
        """Cancel an order, and the children that wait for it; tell it with error 202."""
        ended = replace(
            order,
            status="Cancelled",
            completed_at_us=self.state.at_us if at_us is None else at_us,
            completed_status=completed_status,
            waits_for="",
        )
        self.put(ended)
        self.events.append(OrderError(order.client_id, order.order_id, 202, text, order.order_ref))
        for child in self._children(order):
            if child.waits_for:
                self.end(child, "Cancelled with its parent", CANCELLED, at_us)

    def refuse(self, client_id: int, order_id: int, refusal: Refusal, order_ref: str = "") -> None:
        """Tell an error about an order."""
        self.events.append(OrderError(client_id, order_id, refusal.code, refusal.text, order_ref))

    def fill(self, order: Order, match: Match, shares: Decimal, *, liquidation: bool = False) -> None:
        """Fill so much of an order at a price; siblings and children of the order follow."""
        filled = order.filled + shares
        average = (order.filled * order.average_price + shares * match.price) / filled
        done = filled >= order.quantity
        count = order.executions + 1
        executions = self._executed(order, match, shares, filled, average, count, liquidation=liquidation)
        changed = replace(
            order,
            status="Filled" if done else ("Submitted" if order.is_live else order.status),
            filled=filled,
            average_price=average,
            last_price=match.price,
            commission=order.commission + sum((one.commission for one in executions), Decimal(0)),
            executions=count,
            completed_at_us=match.at_us if done else order.completed_at_us,
            completed_status=f"Filled Size: {number(filled)}" if done else order.completed_status,
            resting_since_us=None,
        )
        for one in executions:
            self.state.executions.append(one)
            self.events.append(Executed(one))
        self.put(changed)
        self._regress(changed)
        self.events.append(
            AccountChanged(keys(one.instrument for one in executions if not isinstance(one.instrument, Combo)))
        )
        self._siblings(changed, shares, match.at_us)
        if done:
            self._release_children(changed)

    def _regress(self, order: Order) -> None:
        fault = self.faults.take(StatusRegress, **attributes(order))
        if fault is not None:
            before = replace(order, status=fault.status, filled=Decimal(0), average_price=Decimal(0))
            self.events.append(OrderChanged(before, with_open_order=False))

    def _executed(
        self,
        order: Order,
        match: Match,
        shares: Decimal,
        filled: Decimal,
        average: Decimal,
        count: int,
        *,
        liquidation: bool,
    ) -> list[Execution]:
        """Trade and return the execution, and those of the legs of a combination."""
        sign = 1 if order.action == "BUY" else -1
        parts = list(option_parts(order.instrument))
        prices = self._leg_prices(order, match.price)
        base = Execution(
            exec_id=f"0000e0d5.{order.perm_id:08x}.{count:02d}.01",
            perm_id=order.perm_id,
            client_id=order.client_id,
            order_id=order.order_id,
            order_ref=order.order_ref,
            instrument=order.instrument,
            action=order.action,
            shares=shares,
            price=match.price,
            at_us=match.at_us,
            cumulative=filled,
            average_price=average,
            commission=Decimal(0),
            realized_pnl=None,
            last_liquidity=2 if match.took else 1,
            liquidation=liquidation,
        )
        if not isinstance(order.instrument, Combo):
            total = filled * average * order.instrument.multiplier
            charged = charges(order.instrument, filled, total) - order.commission
            realized = self.state.ledger.trade(order.instrument, sign * shares, match.price, charged)
            return [replace(base, commission=charged, realized_pnl=realized)]
        made = [base]
        for number_, ((option, ratio), price) in enumerate(zip(parts, prices, strict=True), start=1):
            signed = sign * ratio * shares
            charged = charges(option, abs(ratio) * shares, Decimal(0))
            realized = self.state.ledger.trade(option, signed, price, charged)
            made.append(
                replace(
                    base,
                    exec_id=f"0000e0d5.{order.perm_id:08x}.{count:02d}{number_:02d}.01",
                    instrument=option,
                    action="BUY" if signed > 0 else "SELL",
                    shares=abs(signed),
                    price=price,
                    cumulative=abs(ratio) * filled,
                    average_price=price,
                    commission=charged,
                    realized_pnl=realized,
                )
            )
        return made

    def _leg_prices(self, order: Order, price: Decimal) -> list[Decimal]:
        """Return a price for each leg so that they sum to the combination's: its touch, the rest on the dearest leg."""
        if not isinstance(order.instrument, Combo):
            return [price]
        found = []
        for leg in order.instrument.legs:
            buys = (leg.action == "BUY") == (order.action == "BUY")
            found.append(self.reference(leg.option, "BUY" if buys else "SELL"))
        legs = order.instrument.legs
        rest = price - sum((leg.signed * one for leg, one in zip(legs, found, strict=True)), Decimal(0))
        fewest = min(leg.ratio for leg in legs)
        dearest = max((i for i, leg in enumerate(legs) if leg.ratio == fewest), key=lambda i: found[i])
        found[dearest] += rest / legs[dearest].signed
        return found

    # Orders that hang together

    def _children(self, order: Order) -> list[Order]:
        return [
            o
            for o in self.open_orders(order.client_id)
            if o.parent_id == order.order_id and o.epoch == order.epoch and order.order_id
        ]

    def _siblings(self, order: Order, shares: Decimal, at_us: int) -> None:
        """Cancel, or reduce in proportion, the orders of the same OCA group, and of the same parent."""
        key = group_of(order)
        if key == str(order.perm_id):
            return
        for other in self.open_orders():
            if other.perm_id == order.perm_id or group_of(other) != key:
                continue
            if order.status == "Filled" or (order.oca_group and order.oca_type == 1):
                self.end(other, "Cancelled by its OCA group", CANCELLED, at_us)
            else:
                less = (other.remaining * shares / (order.remaining + shares)).to_integral_value(ROUND_FLOOR)
                self.put(replace(other, quantity=other.quantity - less))

    def _release_children(self, order: Order) -> None:
        for child in self._children(order):
            if child.waits_for == "parent":
                self.put(replace(child, waits_for=""))


def group_of(order: Order) -> str:
    """Return what orders that cancel each other have in common: their OCA group, else their parent; alone, the permId."""
    if order.oca_group:
        return f"oca {order.client_id} {order.oca_group}"
    if order.parent_id:
        return f"parent {order.client_id} {order.epoch} {order.parent_id}"
    return str(order.perm_id)


def keys(instruments: Iterable[Instrument]) -> tuple[str, ...]:
    """Return the keys that positions are filed under."""
    return tuple(dict.fromkeys(one.key for one in instruments))
