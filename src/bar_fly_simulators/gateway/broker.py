"""The broker behind the Gateway: orders, fills, the account, as the market's path walks on.

Everything happens in `place`, `cancel`, `cancel_all` and `advance`; each leaves in `take_events` what clients must be told.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from bar_fly_simulators.clock import new_york, session_hours_us
from bar_fly_simulators.control import Faults
from bar_fly_simulators.gateway.admission import Refusal, affordable, order_price, reserved, validation
from bar_fly_simulators.gateway.contracts import Contracts, NoDefinition
from bar_fly_simulators.gateway.faults import bounded
from bar_fly_simulators.gateway.fields import number
from bar_fly_simulators.gateway.ledger import Ledger, Standing, commission
from bar_fly_simulators.gateway.matching import Match, Matcher, in_session
from bar_fly_simulators.gateway.orders import (
    AccountChanged,
    Event,
    Executed,
    Execution,
    Order,
    OrderChanged,
    OrderError,
    OrderRequest,
    Previewed,
    Stock,
)
from bar_fly_simulators.gateway.quotes import Quotes, cents
from bar_fly_simulators.gateway.state import BrokerState
from bar_fly_simulators.gateway.turns import Boundary, Turn, boundaries, session_for
from bar_fly_simulators.market import Market

PERM_IDS_A_DAY = 50_000
"""permIds start at days since 1970 times this, so that Gateways started without a state on two days do not repeat one."""


def fresh_state(account: str, cash: Decimal, market: Market, at_us: int) -> BrokerState:
    """Return an account with cash alone, its market walked to `at_us`."""
    today = new_york(at_us).date()
    begun = [day for day in market.sessions if session_hours_us(day)[0] <= at_us]
    return BrokerState(
        account=account,
        ledger=Ledger(cash),
        at_us=at_us,
        day=today,
        opened=begun[-1] if begun else None,
        next_perm_id=at_us // 86_400_000_000 * PERM_IDS_A_DAY + 1,
    )


class Broker:
    """One account on one market."""

    def __init__(
        self, market: Market, contracts: Contracts, quotes: Quotes, faults: Faults, state: BrokerState
    ) -> None:
        self._market = market
        self._contracts = contracts
        self._quotes = quotes
        self._faults = faults
        self._matcher = Matcher(market, quotes)
        self._events: list[Event] = []
        self.state = state

    def take_events(self) -> list[Event]:
        """Return what clients must be told since the last call."""
        events, self._events = self._events, []
        told: list[Event] = [event for event in events if not isinstance(event, AccountChanged)]
        changed = [event for event in events if isinstance(event, AccountChanged)]
        if changed:
            # The account is told as it is now, so a clock that jumps over many days tells it once.
            told.append(AccountChanged(tuple(dict.fromkeys(symbol for one in changed for symbol in one.symbols))))
        return told

    def next_order_id(self, client_id: int) -> int:
        """Return the order id a client may use next."""
        return self.state.highest_order_id.get(client_id, 0) + 1

    def open_orders(self, client_id: int | None = None) -> list[Order]:
        """Return the live orders, of one client or of all."""
        return [o for o in self.state.orders.values() if o.is_live and client_id in {None, o.client_id}]

    def completed_orders(self) -> list[Order]:
        """Return the orders of the day that can no longer fill."""
        return [o for o in self.state.orders.values() if not o.is_live]

    def mark(self, symbol: str) -> Decimal:
        """Return what a share of a market symbol counts for now, USD."""
        return self._quotes.mark(symbol, self.state.at_us)

    def standing(self) -> Standing:
        """Return the account at its marks."""
        return self.state.ledger.standing(self.mark)

    def available(self, besides: Order | None = None) -> Decimal:
        """Return the cash in USD that no live order holds back (`besides` one that is about to change)."""
        held_back = sum(
            (reserved(o, self._reference(o.stock, o.action)) for o in self.open_orders() if o is not besides),
            Decimal(0),
        )
        return self.state.ledger.cash - held_back

    def place(self, client_id: int, request: OrderRequest, accounts: tuple[str, ...]) -> None:
        """Take, change or refuse an order."""
        known = self._find(client_id, request.order_id)
        if known is not None and not known.is_live:
            return self._refuse(client_id, request.order_id, Refusal(103, "Duplicate order id"))
        if known is None and not request.what_if and request.order_id < self.next_order_id(client_id):
            return self._refuse(client_id, request.order_id, Refusal(103, "Duplicate order id"))
        refusal = validation(request, accounts)
        if refusal is not None:
            return self._refuse(client_id, request.order_id, refusal)
        try:
            stock = self._contracts.find(request.contract, new_york(self.state.at_us).date())
        except NoDefinition as nothing:
            return self._refuse(client_id, request.order_id, Refusal(nothing.code, nothing.text))
        if known is not None:
            return self._change(known, stock, request)
        order = self._new(client_id, stock, request)
        fault = self._faults.take("reject_orders", symbol=stock.market_symbol)
        if fault is not None:
            text = str(fault.options.get("text", "Order rejected - reason:refused by a fault"))
            refusal = Refusal(int(bounded(fault, "code", 201, 0, 99_999)), text, inactive=True)
        else:
            refusal = self._affordable(request, stock, None)
        if request.what_if:
            return self._preview(order, refusal)
        self.state.next_perm_id += 1
        self.state.highest_order_id[client_id] = request.order_id
        if refusal is not None:
            order = replace(
                order, status="Inactive", completed_at_us=self.state.at_us, completed_status=f"Rejected: {refusal.text}"
            )
        self._set(order)
        if refusal is not None:
            self._refuse(client_id, request.order_id, refusal)
        return None

    def cancel(self, client_id: int, order_id: int) -> None:
        """Cancel a client's live order, or say why it cannot be."""
        order = self._find(client_id, order_id)
        if order is None:
            text = f"OrderId {order_id} that needs to be cancelled is not found."
            return self._refuse(client_id, order_id, Refusal(10147, text))
        if not order.is_live:
            text = f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {order.status}."
            return self._refuse(client_id, order_id, Refusal(10148, text))
        self._events.append(OrderChanged(replace(order, status="PendingCancel"), with_open_order=False))
        return self._end(order, "Cancelled by Trader")

    def cancel_all(self) -> None:
        """Cancel every live order of every client."""
        for order in self.open_orders():
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
            state.ledger.begin_day(self.mark)
            state.orders = {key: order for key, order in state.orders.items() if order.is_live}
            state.executions = []
            self._events.append(AccountChanged())
        elif boundary.turn is Turn.OPEN and (state.opened is None or boundary.day > state.opened):
            state.opened = boundary.day
            self._corporate_actions(boundary)
        elif boundary.turn is Turn.CLOSE:
            self._expire(boundary)

    def _corporate_actions(self, boundary: Boundary) -> None:
        changed = []
        for symbol, position in tuple(self.state.ledger.positions.items()):
            bar = self._market.bar(symbol, boundary.day)
            if bar is None or not position.quantity:
                continue
            if bar.split_coefficient != 1:
                self.state.ledger.split(symbol, cents(bar.split_coefficient), cents(bar.open))
                changed.append(symbol)
            if bar.dividend_amount > 0:
                self.state.ledger.dividend(symbol, cents(bar.dividend_amount))
                changed.append(symbol)
        for order in self.open_orders():
            bar = self._market.bar(order.stock.market_symbol, boundary.day)
            if bar is not None and bar.split_coefficient != 1 and order.tif == "GTC":
                self._end(order, "Cancelled by a corporate action")
        if changed:
            self._events.append(AccountChanged(tuple(changed)))

    def _expire(self, boundary: Boundary) -> None:
        following = session_for(self._market.sessions, boundary.at_us)
        for order in self.open_orders():
            if order.day is None or order.day > boundary.day:
                continue
            if order.tif == "GTC":
                self.state.orders[order.perm_id] = replace(order, day=following, resting_since_us=None)
            else:
                self._end(order, "Cancelled by the close of the session", "Order Canceled - reason:expired")

    def _match(self, from_us: int, to_us: int) -> None:
        """Fill what can be filled between two instants with no turn between them."""
        for order in self.open_orders():
            symbol = order.stock.market_symbol
            part = in_session(order, from_us, to_us)
            if part is None:
                continue
            if symbol in self._market.halted or self._faults.active("hold_fills", symbol=symbol):
                # When trading goes on, the order meets the touch anew.
                self.state.orders[order.perm_id] = replace(order, resting_since_us=None)
                continue
            self._match_order(order, *part)

    def _match_order(self, order: Order, start_us: int, end_us: int) -> None:
        if order.resting_since_us is None:
            match = self._matcher.at_touch(order, start_us)
            if match is not None:
                return self._fill(order, match)
            if order.tif == "IOC":
                return self._end(order, "Cancelled: nothing could be filled at once")
            if self._quotes.touch_at(order.stock.market_symbol, start_us) is None:
                return None
            order = replace(order, status="Submitted", resting_since_us=start_us)
            self._set(order)
        match = self._matcher.reached(order, start_us, end_us) if end_us > start_us else None
        return self._fill(order, match) if match is not None else None

    def _fill(self, order: Order, match: Match) -> None:
        fault = self._faults.active("partial_fill", symbol=order.stock.market_symbol)
        shares = order.remaining
        if fault is not None:
            # The rest fills once the fault is cleared.
            if order.executions:
                return
            shares = max(
                Decimal(1), (shares * Decimal(repr(bounded(fault, "fraction", 0.5, 0, 1)))).to_integral_value()
            )
        shares = min(shares, order.remaining)
        filled = order.filled + shares
        average = (order.filled * order.average_price + shares * match.price) / filled
        charged = commission(filled, filled * average) - order.commission
        realized = None
        if order.action == "BUY":
            self.state.ledger.buy(order.stock, shares, match.price, charged)
        else:
            realized = self.state.ledger.sell(order.stock, shares, match.price, charged)
        done = filled == order.quantity
        changed = replace(
            order,
            status="Filled" if done else "Submitted",
            filled=filled,
            average_price=average,
            last_price=match.price,
            commission=order.commission + charged,
            executions=order.executions + 1,
            completed_at_us=match.at_us if done else 0,
            completed_status=f"Filled Size: {number(filled)}" if done else "",
            resting_since_us=None,
        )
        execution = Execution(
            exec_id=f"0000e0d5.{order.perm_id:08x}.{changed.executions:02d}.01",
            perm_id=order.perm_id,
            client_id=order.client_id,
            order_id=order.order_id,
            order_ref=order.order_ref,
            stock=order.stock,
            action=order.action,
            shares=shares,
            price=match.price,
            at_us=match.at_us,
            cumulative=filled,
            average_price=average,
            commission=charged,
            realized_pnl=realized,
            last_liquidity=2 if match.took else 1,
        )
        self.state.executions.append(execution)
        self._events.append(Executed(execution))
        self._set(changed)
        self._events.append(AccountChanged((order.stock.market_symbol,)))

    def _new(self, client_id: int, stock: Stock, request: OrderRequest) -> Order:
        return Order(
            perm_id=self.state.next_perm_id,
            client_id=client_id,
            order_id=request.order_id,
            order_ref=request.order_ref,
            stock=stock,
            action=request.action,
            quantity=request.quantity or Decimal(0),
            order_type=request.order_type,
            limit_price=request.limit_price if request.order_type == "LMT" else None,
            tif=request.tif or "DAY",
            outside_rth=request.outside_rth,
            status="PreSubmitted",
            placed_at_us=self.state.at_us,
            day=session_for(self._market.sessions, self.state.at_us),
        )

    def _change(self, known: Order, stock: Stock, request: OrderRequest) -> None:
        refusal: Refusal | None
        if (stock, request.action, request.order_type) != (known.stock, known.action, known.order_type):
            refusal = Refusal(105, "Order being modified does not match original order")
        elif (request.quantity or Decimal(0)) <= known.filled:
            refusal = Refusal(104, "Cannot modify a filled order")
        else:
            refusal = self._affordable(request, stock, known)
        if refusal is not None:
            return self._refuse(known.client_id, known.order_id, refusal)
        return self._set(
            replace(
                known,
                quantity=request.quantity or known.quantity,
                limit_price=request.limit_price if known.order_type == "LMT" else None,
                order_ref=request.order_ref,
                resting_since_us=None,
            )
        )

    def _affordable(self, request: OrderRequest, stock: Stock, known: Order | None) -> Refusal | None:
        """Return why the account cannot bear an order; `known` is the one it changes, its filled part paid already."""
        price = order_price(request.order_type, request.limit_price, self._reference(stock, request.action))
        promised = sum(
            (o.remaining for o in self.open_orders() if o.stock == stock and o.action == "SELL" and o is not known),
            Decimal(0),
        )
        if known is not None:
            request = replace(request, quantity=(request.quantity or Decimal(0)) - known.filled)
        held = self.state.ledger.held(stock.market_symbol) - promised
        return affordable(request, price, self.available(known), held)

    def _preview(self, order: Order, refusal: Refusal | None) -> None:
        if refusal is not None:
            return self._refuse(order.client_id, order.order_id, refusal)
        price = order_price(order.order_type, order.limit_price, self._reference(order.stock, order.action))
        charged = commission(order.quantity, order.quantity * price)
        standing = self.standing()
        change = order.quantity * price if order.action == "BUY" else -order.quantity * price
        equity = standing.net_liquidation
        self._events.append(Previewed(order, charged, standing.positions_value, change, equity, equity - charged))
        return None

    def _reference(self, stock: Stock, action: str) -> Decimal:
        touch = self._quotes.touch_at(stock.market_symbol, self.state.at_us)
        if touch is None:
            return self._quotes.last_close(stock.market_symbol, self.state.at_us) or Decimal(0)
        return touch[1] if action == "BUY" else touch[0]

    def _find(self, client_id: int, order_id: int) -> Order | None:
        return next((o for o in self.state.orders.values() if (o.client_id, o.order_id) == (client_id, order_id)), None)

    def _set(self, order: Order) -> None:
        self.state.orders[order.perm_id] = order
        self._events.append(OrderChanged(order))

    def _end(self, order: Order, completed_status: str, text: str = "Order Canceled - reason:") -> None:
        self._set(
            replace(order, status="Cancelled", completed_at_us=self.state.at_us, completed_status=completed_status)
        )
        self._events.append(OrderError(order.client_id, order.order_id, 202, text))

    def _refuse(self, client_id: int, order_id: int, refusal: Refusal) -> None:
        self._events.append(OrderError(client_id, order_id, refusal.code, refusal.text))
