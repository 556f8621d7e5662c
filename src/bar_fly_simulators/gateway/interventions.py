"""Faults that do something to orders, positions, cash or prices at once: what a user, the broker or a mishap may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from bar_fly_simulators.gateway import faults
from bar_fly_simulators.gateway.calendar import settle
from bar_fly_simulators.gateway.desk import Desk
from bar_fly_simulators.gateway.instruments import Combo, Option, Stock
from bar_fly_simulators.gateway.matching import Match
from bar_fly_simulators.gateway.orders import AccountChanged, Executed, Execution, Order
from bar_fly_simulators.gateway.turns import session_for
from bar_fly_simulators.market import Market


def intervene(desk: Desk, market: Market, action: faults.GatewayFault) -> bool:
    """Do what an action says; ValueError where nothing fits it; False where it is none of these."""
    done = _ACTIONS.get(type(action))
    if done is None:
        return False
    done(desk, market, action)
    return True


def _exact(value: float) -> Decimal:
    exact = Decimal(repr(value))
    return exact.quantize(Decimal(1)) if exact == exact.to_integral_value() else exact


def _limits(action: Any) -> dict[str, str]:
    return {name: getattr(action, name) for name in ("symbol", "order_ref", "client") if getattr(action, name)}


def _spelled(symbol: str) -> str:
    return symbol.upper().replace("-", ".").replace(" ", ".")


def _fits(order: Order | Execution, wanted: dict[str, str]) -> bool:
    about = {
        "symbol": order.instrument.market_symbol,
        "order_ref": order.order_ref,
        "client": str(order.client_id),
    }
    return all(about[name] == (_spelled(text) if name == "symbol" else text) for name, text in wanted.items())


def _order(desk: Desk, action: Any, *, live: bool = True) -> Order:
    """Return the newest order that an action's limits fit."""
    wanted = _limits(action)
    found = [o for o in desk.state.orders.values() if (o.is_live or not live) and _fits(o, wanted)]
    if not found:
        raise ValueError(f"no {'live ' if live else ''}order fits {wanted or 'this'}")
    return max(found, key=lambda o: o.perm_id)


def _stock(desk: Desk, market: Market, symbol: str) -> Stock:
    stock = desk.contracts.by_market_symbol(market.find(symbol) or "")
    if stock is None:
        raise ValueError(f"no symbol {symbol!r} in this market")
    return stock


def _fill_now(desk: Desk, market: Market, action: faults.FillNow) -> None:
    order = _order(desk, action)
    shares = min(order.remaining, order.remaining if action.shares is None else _exact(action.shares))
    if shares <= 0:
        raise ValueError("shares of fill_now is above 0")
    price = order.limit or desk.reference(order.instrument, order.action)
    if action.price is not None:
        price = _exact(action.price)
    before = len(desk.events)
    desk.fill(replace(order, waits_for=""), Match(desk.state.at_us, price, took=False), shares)
    if action.unheard:
        desk.events[before:] = [event for event in desk.events[before:] if isinstance(event, AccountChanged)]


def _latest(desk: Desk, action: Any) -> tuple[int, Execution]:
    """Return the newest execution that an action's limits fit, not of a combination as such, and where it stands."""
    wanted = _limits(action)
    for index in range(len(desk.state.executions) - 1, -1, -1):
        one = desk.state.executions[index]
        if _fits(one, wanted) and not isinstance(one.instrument, Combo):
            return index, one
    raise ValueError(f"no execution fits {wanted or 'this'}")


def _revise(desk: Desk, old: Execution, shares: Decimal, price: Decimal) -> None:
    """Tell an execution again with its next revision, and make the account as if it had been so."""
    ledger, sign = desk.state.ledger, 1 if old.action == "BUY" else -1
    head, _, revision = old.exec_id.rpartition(".")
    ledger.trade(old.instrument, -sign * old.shares, old.price, -old.commission)
    if shares:
        ledger.trade(old.instrument, sign * shares, price, old.commission)
    cumulative = old.cumulative - old.shares + shares
    order = desk.state.orders.get(old.perm_id)
    if order is not None:
        filled = order.filled - old.shares + shares
        paid = order.filled * order.average_price - old.shares * old.price + shares * price
        desk.state.orders[order.perm_id] = replace(
            order, filled=filled, average_price=paid / filled if filled else Decimal(0)
        )
    revised = replace(
        old,
        exec_id=f"{head}.{int(revision) + 1:02d}",
        shares=shares,
        price=price,
        cumulative=cumulative,
        commission=old.commission if shares else Decimal(0),
    )
    desk.state.executions.append(revised)
    desk.events.append(Executed(revised))
    desk.events.append(AccountChanged((old.instrument.key,)))


def _correct(desk: Desk, market: Market, action: faults.CorrectExecution) -> None:
    _, old = _latest(desk, action)
    shares = old.shares if action.shares is None else _exact(action.shares)
    _revise(desk, old, shares, old.price if action.price is None else _exact(action.price))


def _bust(desk: Desk, market: Market, action: faults.BustExecution) -> None:
    _, old = _latest(desk, action)
    _revise(desk, old, Decimal(0), old.price)


def _split_perm_id(desk: Desk, market: Market, action: faults.SplitPermId) -> None:
    order = _order(desk, action)
    twin = replace(order, perm_id=desk.state.next_perm_id, placed_at_us=desk.state.at_us, resting_since_us=None)
    desk.state.next_perm_id += 1
    desk.put(twin)


def _user_cancels(desk: Desk, market: Market, action: faults.UserCancels) -> None:
    desk.end(_order(desk, action), "Cancelled by Trader")


def _user_changes(desk: Desk, market: Market, action: faults.UserChanges) -> None:
    order = _order(desk, action)
    quantity = order.quantity if action.quantity is None else _exact(action.quantity)
    if quantity <= order.filled:
        raise ValueError(f"quantity of user_changes is above the {order.filled} that are filled")
    price = order.limit_price if action.price is None else _exact(action.price)
    desk.put(replace(order, quantity=quantity, limit_price=price, resting_since_us=None))


def _foreign(desk: Desk, market: Market, stock: Stock, side: str, shares: Decimal, limit: Decimal | None) -> Order:
    """Return an order that no client of the API placed: id 0, client 0, no orderRef."""
    state = desk.state
    order = Order(
        perm_id=state.next_perm_id,
        client_id=0,
        order_id=0,
        order_ref="",
        instrument=stock,
        action=side,
        quantity=shares,
        order_type="MKT" if limit is None else "LMT",
        limit_price=limit,
        tif="DAY",
        outside_rth=False,
        status="PreSubmitted",
        placed_at_us=state.at_us,
        day=session_for(market.sessions, state.at_us),
        epoch=state.epoch,
    )
    state.next_perm_id += 1
    return order


def _user_trades(desk: Desk, market: Market, action: faults.UserTrades) -> None:
    stock = _stock(desk, market, action.symbol)
    if action.shares <= 0:
        raise ValueError("shares of user_trades is above 0")
    limit = None if action.price is None else _exact(action.price)
    desk.put(_foreign(desk, market, stock, action.action, _exact(action.shares), limit))


def _liquidate(desk: Desk, market: Market, action: faults.Liquidate) -> None:
    stock = _stock(desk, market, action.symbol)
    held = desk.state.ledger.held(stock.key)
    shares = min(held, _exact(action.shares)) if action.shares else held
    if shares <= 0:
        raise ValueError(f"there is no position of {stock.symbol} to liquidate")
    order = _foreign(desk, market, stock, "SELL", shares, None)
    desk.put(order)
    price = desk.reference(stock, "SELL")
    desk.fill(order, Match(desk.state.at_us, price, took=True), shares, liquidation=True)


def _assign(desk: Desk, market: Market, action: faults.Assign) -> None:
    stock = _stock(desk, market, action.symbol)
    changed: list[str] = []
    for key, position in tuple(desk.state.ledger.positions.items()):
        option = position.instrument
        wanted = position.quantity > 0 if action.exercise else position.quantity < 0
        if isinstance(option, Option) and option.stock == stock and wanted:
            changed += settle(desk, key, exercised=True)
    if not changed:
        raise ValueError(f"there is no {'long' if action.exercise else 'short'} option on {stock.symbol} to settle")
    desk.events.append(AccountChanged(tuple(changed)))


def _set_position(desk: Desk, market: Market, action: faults.SetPosition) -> None:
    stock = _stock(desk, market, action.symbol)
    desk.state.ledger.move(stock, _exact(action.shares), _exact(action.cost))
    desk.events.append(AccountChanged((stock.key,)))


def _add_cash(desk: Desk, market: Market, action: faults.AddCash) -> None:
    desk.state.ledger.cash += _exact(action.amount)
    desk.events.append(AccountChanged())


def _shift_price(desk: Desk, market: Market, action: faults.ShiftPrice) -> None:
    desk.quotes.shift[_stock(desk, market, action.symbol).market_symbol] = action.fraction


_ACTIONS: dict[type[faults.GatewayFault], Callable[[Desk, Market, Any], None]] = {
    faults.FillNow: _fill_now,
    faults.CorrectExecution: _correct,
    faults.BustExecution: _bust,
    faults.SplitPermId: _split_perm_id,
    faults.UserCancels: _user_cancels,
    faults.UserChanges: _user_changes,
    faults.UserTrades: _user_trades,
    faults.Liquidate: _liquidate,
    faults.Assign: _assign,
    faults.SetPosition: _set_position,
    faults.AddCash: _add_cash,
    faults.ShiftPrice: _shift_price,
}
