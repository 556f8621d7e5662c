"""The broker behind the Gateway: orders, fills, the account, as the market's path walks on.

Everything happens in `place`, `cancel`, `cancel_all`, `advance` and `intervene`; each leaves in `take_events` what clients
must be told.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from bar_fly_simulators.gateway import calendar
from bar_fly_simulators.gateway.admission import Refusal, affordable, good_till_us, prices, validation
from bar_fly_simulators.gateway.contracts import Contracts, NoDefinition
from bar_fly_simulators.gateway.desk import Desk, attributes, group_of
from bar_fly_simulators.gateway.faults import (
    DropOrders,
    FaultTable,
    GatewayFault,
    Halted,
    HoldFills,
    LateFill,
    PartialFill,
    RejectCancels,
    RejectChanges,
    RejectOrders,
    StuckOrders,
    WhatIfUnset,
)
from bar_fly_simulators.gateway.faults.spec import UNSET
from bar_fly_simulators.gateway.instruments import Instrument
from bar_fly_simulators.gateway.interventions import intervene
from bar_fly_simulators.gateway.ledger import Standing, charges
from bar_fly_simulators.gateway.matching import Act, Match, Matcher, Step, trailing_stop
from bar_fly_simulators.gateway.orders import AccountChanged, Event, Order, OrderChanged, OrderRequest, Previewed
from bar_fly_simulators.gateway.quotes import Quotes
from bar_fly_simulators.gateway.state import BrokerState
from bar_fly_simulators.gateway.turns import Boundary, Turn, boundaries, session_for
from bar_fly_simulators.market import Market


class Broker:
    """One account on one market."""

    def __init__(
        self, market: Market, contracts: Contracts, quotes: Quotes, faults: FaultTable, state: BrokerState
    ) -> None:
        self._market = market
        self._contracts = contracts
        self._faults = faults
        self._matcher = Matcher(quotes)
        self.quotes = quotes
        self.desk = Desk(contracts, quotes, faults, state)
        self.state = state
        for order in state.orders.values():
            contracts.remember(order.instrument)
        for position in state.ledger.positions.values():
            contracts.remember(position.instrument)

    def take_events(self) -> list[Event]:
        """Return what clients must be told since the last call."""
        events, self.desk.events = self.desk.events, []
        told: list[Event] = [event for event in events if not isinstance(event, AccountChanged)]
        changed = [event for event in events if isinstance(event, AccountChanged)]
        if changed:
            # The account is told as it is now, so a clock that jumps over many days tells it once.
            told.append(AccountChanged(tuple(dict.fromkeys(key for one in changed for key in one.keys))))
        return told

    def next_order_id(self, client_id: int) -> int:
        """Return the order id a client may use next."""
        return self.state.highest_order_id.get(client_id, 0) + 1

    def roll_back_ids(self) -> None:
        """Forget which order ids were used, as a Gateway may after a restart: ids are given out a second time."""
        self.state.highest_order_id = {}
        self.state.epoch += 1

    def open_orders(self, client_id: int | None = None) -> list[Order]:
        """Return the live orders that were transmitted, of one client or of all."""
        inactive = [o for o in self.state.orders.values() if o.stuck and o.status == "Inactive"]
        shown = [order for order in self.desk.open_orders(client_id) if order.waits_for != "transmit"]
        return [*shown, *(order for order in inactive if client_id in {None, order.client_id})]

    def completed_orders(self) -> list[Order]:
        """Return the orders of the day that can no longer fill."""
        return [o for o in self.state.orders.values() if not o.is_live and not (o.stuck and o.status == "Inactive")]

    def mark(self, key: str) -> Decimal:
        """Return what a share (or a share's worth of an option) counts for now by its key, USD; 0 for none known."""
        position = self.state.ledger.positions.get(key)
        instrument = position.instrument if position else self._contracts.by_market_symbol(key)
        return self.desk.mark(instrument) if instrument else Decimal(0)

    def standing(self) -> Standing:
        """Return the account at its marks."""
        return self.state.ledger.standing(self.desk.mark)

    def available(self, besides: Order | None = None) -> Decimal:
        """Return the cash in USD that nothing holds back (`besides` an order that is about to change)."""
        return self.desk.available(besides)

    def intervene(self, action: GatewayFault) -> bool:
        """Do what a fault does to orders, positions or prices; ValueError where nothing fits it, False where it is no such."""
        done = intervene(self.desk, self._market, action)
        if done:
            self.advance(self.state.at_us)
        return done

    def place(self, client_id: int, request: OrderRequest, accounts: tuple[str, ...]) -> None:
        """Take, change or refuse an order."""
        state, desk = self.state, self.desk
        known = self._find(client_id, request.order_id)
        used = not request.what_if and request.order_id < self.next_order_id(client_id)
        if (known is not None and not known.is_live) or (known is None and used):
            return desk.refuse(client_id, request.order_id, Refusal(103, "Duplicate order id"), request.order_ref)
        refusal = validation(request, accounts)
        instrument: Instrument | None = None
        if refusal is None:
            try:
                instrument = self._contracts.find(request.contract, state.at_us)
                refusal = prices(request, instrument, state.at_us)
            except NoDefinition as nothing:
                refusal = Refusal(nothing.code, nothing.text)
        if refusal is not None or instrument is None:
            assert refusal is not None
            return desk.refuse(client_id, request.order_id, refusal, request.order_ref)
        if known is not None:
            return self._change(known, instrument, request)
        order = self._new(client_id, instrument, request)
        if request.what_if:
            return self._preview(order, self._bearable(order, None))
        if self._faults.take(DropOrders, **attributes(order)) is not None:
            return None
        return self._accept(order, request)

    def _accept(self, order: Order, request: OrderRequest) -> None:
        state, desk = self.state, self.desk
        fault = self._faults.take(RejectOrders, **attributes(order))
        refusal = None if fault is None else Refusal(fault.code, fault.text)
        kept = "" if fault is None else fault.order
        parent = None
        if refusal is None:
            parent, refusal = self._parent(order, request)
            refusal = refusal or self._bearable(order, parent)
            kept = "inactive" if refusal is not None and refusal.inactive else "unknown"
        if refusal is not None and kept == "unknown":
            return desk.refuse(order.client_id, order.order_id, refusal, order.order_ref)
        state.next_perm_id += 1
        state.highest_order_id[order.client_id] = max(order.order_id, state.highest_order_id.get(order.client_id, 0))
        if refusal is not None and kept == "inactive":
            done = f"Rejected: {refusal.text}"
            order = replace(order, status="Inactive", completed_at_us=state.at_us, completed_status=done, waits_for="")
        stuck = self._faults.take(StuckOrders, **attributes(order)) if order.is_live else None
        if stuck is not None:
            order = replace(order, status=stuck.status, stuck=True)
        if parent is not None and order.is_live:
            order = replace(order, waits_for=order.waits_for or "parent")
        desk.put(order)
        if refusal is not None:
            desk.refuse(order.client_id, order.order_id, refusal, order.order_ref)
        if request.transmit and order.is_live:
            self._transmit(order)
        return None

    def cancel(self, client_id: int, order_id: int) -> None:
        """Cancel a client's live order, or say why it cannot be."""
        order = self._find(client_id, order_id)
        if order is None:
            text = f"OrderId {order_id} that needs to be cancelled is not found."
            return self.desk.refuse(client_id, order_id, Refusal(10147, text))
        if not order.is_live and not (order.stuck and order.status == "Inactive"):
            text = f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {order.status}."
            return self.desk.refuse(client_id, order_id, Refusal(10148, text), order.order_ref)
        refused = self._faults.take(RejectCancels, **attributes(order))
        if refused is not None:
            if refused.fills:
                price = order.limit or self.desk.reference(order.instrument, order.action)
                self.desk.fill(order, Match(self.state.at_us, price, took=False), order.remaining)
            return self.desk.refuse(client_id, order_id, Refusal(refused.code, refused.text), order.order_ref)
        self.desk.events.append(OrderChanged(replace(order, status="PendingCancel"), with_open_order=False))
        self.desk.end(order, "Cancelled by Trader")
        late = self._faults.take(LateFill, **attributes(order))
        if late is not None:
            ended = self.state.orders[order.perm_id]
            shares = max(Decimal(1), (ended.remaining * Decimal(repr(late.fraction))).to_integral_value())
            price = ended.limit or self.desk.reference(ended.instrument, ended.action)
            self.desk.fill(ended, Match(self.state.at_us, price, took=False), min(shares, ended.remaining))
        return None

    def cancel_all(self) -> None:
        """Cancel every live order of every client."""
        for order in self.desk.open_orders():
            if self.state.orders[order.perm_id].is_live:
                self.cancel(order.client_id, order.order_id)

    def advance(self, now_us: int) -> None:
        """Walk the market to an instant: fills, splits, dividends, expiries, in the order of time; backwards nothing happens."""
        state = self.state
        for boundary in boundaries(self._market.sessions, state.at_us, now_us):
            self._match(state.at_us, boundary.at_us - 1)
            # The turn of a day is marked as it was just before: at the previous close, before a split of this one.
            state.at_us = boundary.at_us
            self._turn(boundary)
        self._match(min(state.at_us, now_us), now_us)
        state.at_us = now_us

    def _turn(self, boundary: Boundary) -> None:
        state = self.state
        if boundary.turn is Turn.DAY and boundary.day > state.day:
            state.day = boundary.day
            calendar.begin_day(self.desk, boundary.day)
        elif boundary.turn is Turn.OPEN and (state.opened is None or boundary.day > state.opened):
            state.opened = boundary.day
            calendar.corporate_actions(self.desk, self._market, boundary.day)
        elif boundary.turn is Turn.CLOSE:
            calendar.close(self.desk, boundary, session_for(self._market.sessions, boundary.at_us))

    def _match(self, from_us: int, to_us: int) -> None:
        """Let orders meet the market between two instants with no turn between them, in the order of time."""
        for order in self.desk.open_orders():
            if not self._worked(order) and order.resting_since_us is not None:
                # When trading goes on, the order meets the touch anew.
                self.state.orders[order.perm_id] = replace(order, resting_since_us=None)
        known: dict[int, tuple[Order, Step | None]] = {}
        at_us = from_us
        while True:
            first: tuple[Order, Step] | None = None
            for order in self.desk.open_orders():
                kept = known.get(order.perm_id)
                if kept is None or kept[0] is not order:
                    step = self._matcher.next_step(order, at_us, to_us, worked=self._worked(order))
                    kept = known[order.perm_id] = (order, step)
                step = kept[1]
                if step is not None and (first is None or step.at_us < first[1].at_us):
                    first = (order, step)
            if first is None:
                break
            at_us = max(at_us, first[1].at_us)
            self._do(*first)
        for order in self.desk.open_orders():
            if order.order_type == "TRAIL" and order.awaits_stop and self._worked(order):
                stop = self._matcher.trailed(order, from_us, to_us)
                if stop != order.trail_stop:
                    self.state.orders[order.perm_id] = replace(order, trail_stop=stop)

    def _worked(self, order: Order) -> bool:
        """Tell whether an order can meet the market at all now."""
        about = attributes(order)
        part = self._faults.active(PartialFill, **about) is not None and order.executions > 0
        halted = order.instrument.market_symbol in self._market.halted or self._faults.active(Halted, **about)
        return not (order.waits_for or order.stuck or part or halted or self._faults.active(HoldFills, **about))

    def _do(self, order: Order, step: Step) -> None:
        if step.act is Act.END:
            text = "Order Canceled - reason:expired" if order.good_till_us is not None else "Order Canceled - reason:"
            self.desk.end(order, step.reason, text, step.at_us)
        elif step.act is Act.REST:
            self.desk.put(replace(order, status="Submitted", resting_since_us=step.at_us))
        elif step.act is Act.TRIGGER:
            self.desk.put(replace(order, triggered=True, resting_since_us=None, status="Submitted"))
        elif step.match is not None:
            fault = self._faults.active(PartialFill, **attributes(order))
            shares = order.remaining
            if fault is not None:
                part = (shares * Decimal(repr(fault.fraction))).to_integral_value()
                shares = min(max(Decimal(1), part), order.remaining)
            self.desk.fill(order, step.match, shares)

    def _new(self, client_id: int, instrument: Instrument, request: OrderRequest) -> Order:
        order = Order(
            perm_id=self.state.next_perm_id,
            client_id=client_id,
            order_id=request.order_id,
            order_ref=request.order_ref,
            instrument=instrument,
            action=request.action,
            quantity=request.quantity or Decimal(0),
            order_type=request.order_type,
            limit_price=request.limit_price if request.order_type in {"LMT", "STP LMT"} else None,
            tif=request.tif or "DAY",
            outside_rth=request.outside_rth,
            status="PreSubmitted",
            placed_at_us=self.state.at_us,
            day=session_for(self._market.sessions, self.state.at_us),
            waits_for="" if request.transmit else "transmit",
            epoch=self.state.epoch,
            parent_id=request.parent_id,
        )
        return self._terms(order, request)

    def _terms(self, order: Order, request: OrderRequest) -> Order:
        """Return the order with the terms that a request may give and change."""
        trail = request.order_type == "TRAIL"
        changed = replace(
            order,
            aux_price=request.aux_price if request.order_type in {"STP", "STP LMT", "TRAIL"} else None,
            trail_percent=request.trail_percent if trail else None,
            oca_group=request.oca_group,
            oca_type=request.oca_type or (3 if request.oca_group else 0),
            good_till_date=request.good_till_date if request.tif == "GTD" else "",
            good_till_us=good_till_us(request.good_till_date) if request.tif == "GTD" else None,
        )
        if not trail:
            return changed
        last = self.quotes.last_of(changed.instrument, self.state.at_us) or self.desk.mark(changed.instrument)
        return replace(changed, trail_stop=request.trail_stop or trailing_stop(changed, None, last))

    def _parent(self, order: Order, request: OrderRequest) -> tuple[Order | None, Refusal | None]:
        """Return the live parent an order waits for (None: it has none, or one that has filled), or why it has none."""
        if not request.parent_id:
            return None, None
        parent = self._find(order.client_id, request.parent_id)
        if parent is None or not (parent.is_live or parent.status == "Filled"):
            return None, Refusal(135, f"Can't find order with id = {request.parent_id}")
        return (parent if parent.is_live else None), None

    def _transmit(self, order: Order) -> None:
        """Let go what waited for this order to be transmitted: itself, its parent, its siblings, its children."""
        family = {order.order_id, order.parent_id} - {0}
        for other in self.desk.open_orders(order.client_id):
            related = other.order_id in family or other.parent_id in family
            if other.waits_for == "transmit" and other.epoch == order.epoch and related:
                parent = self._find(other.client_id, other.parent_id) if other.parent_id else None
                waits = "parent" if parent is not None and parent.is_live else ""
                self.desk.put(replace(other, waits_for=waits))

    def _change(self, known: Order, instrument: Instrument, request: OrderRequest) -> None:
        desk = self.desk
        fault = self._faults.take(RejectChanges, **attributes(known))
        refusal: Refusal | None = None if fault is None else Refusal(fault.code, fault.text)
        changed = self._terms(
            replace(
                known,
                quantity=request.quantity or known.quantity,
                limit_price=request.limit_price if known.order_type in {"LMT", "STP LMT"} else None,
                order_ref=request.order_ref,
                tif=request.tif or known.tif,
                resting_since_us=None,
            ),
            request,
        )
        if refusal is None:
            if (instrument, request.action, request.order_type) != (known.instrument, known.action, known.order_type):
                refusal = Refusal(105, "Order being modified does not match original order")
            elif changed.quantity <= known.filled:
                refusal = Refusal(104, "Cannot modify a filled order")
            else:
                refusal = self._bearable(changed, known if known.waits_for == "parent" else None, known)
        if refusal is not None:
            return desk.refuse(known.client_id, known.order_id, refusal, known.order_ref)
        desk.put(changed)
        if request.transmit:
            self._transmit(changed)
        return None

    def _bearable(self, order: Order, parent: Order | None, known: Order | None = None) -> Refusal | None:
        """Return why the account cannot bear an order; `known` is the one it changes, `parent` what brings its shares."""
        if parent is not None or order.waits_for == "parent":
            return None
        desk = self.desk
        wanted = desk.wanted(order)
        group = known or (order if group_of(order) != str(order.perm_id) else None)
        held = self.state.ledger.held(order.instrument.key) - desk.promised(order.instrument, group)
        return affordable(wanted, desk.needs(wanted), desk.available(known), held)

    def _preview(self, order: Order, refusal: Refusal | None) -> None:
        if refusal is not None:
            return self.desk.refuse(order.client_id, order.order_id, refusal, order.order_ref)
        wanted = self.desk.wanted(order)
        value = wanted.quantity * wanted.price * order.instrument.multiplier
        charged = charges(order.instrument, order.quantity, value)
        standing = self.standing()
        change = value if order.action == "BUY" else -value
        if order.instrument.sec_type != "STK":
            change = self.desk.needs(wanted) - charged
        equity = standing.net_liquidation
        fault = self._faults.take(WhatIfUnset)
        unset = None if fault is None else "" if fault.empty else UNSET
        self.desk.events.append(Previewed(order, charged, standing.margin, change, equity, equity - charged, unset))
        return None

    def _find(self, client_id: int, order_id: int) -> Order | None:
        """Return a client's order by its id: of the ids given out since the last roll-back, the newest permId."""
        found = [o for o in self.state.orders.values() if (o.client_id, o.order_id) == (client_id, order_id)]
        current = [o for o in found if o.epoch == self.state.epoch]
        return max(current, key=lambda o: o.perm_id, default=None)
