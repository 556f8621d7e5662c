"""What the turn of a day, an open and a close do to the account: new days, splits, dividends, expiries."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from bar_fly_simulators.gateway.desk import Desk
from bar_fly_simulators.gateway.instruments import Option
from bar_fly_simulators.gateway.orders import AccountChanged
from bar_fly_simulators.gateway.quotes import cents
from bar_fly_simulators.gateway.turns import Boundary
from bar_fly_simulators.market import Market

_EXERCISED_FROM = Decimal("0.01")


def begin_day(desk: Desk, day: date) -> None:
    """Begin a day: its P&L starts, finished orders and executions are forgotten, options that expired are settled."""
    state = desk.state
    state.ledger.begin_day(desk.mark)
    state.orders = {key: order for key, order in state.orders.items() if order.is_live}
    state.executions = []
    changed: list[str] = []
    for key, position in tuple(state.ledger.positions.items()):
        option = position.instrument
        if isinstance(option, Option) and option.expiration < day:
            spot = desk.quotes.last_close(option.market_symbol, state.at_us) or Decimal(0)
            changed += settle(desk, key, exercised=option.intrinsic(spot) >= _EXERCISED_FROM)
    desk.events.append(AccountChanged(tuple(changed)))


def settle(desk: Desk, key: str, *, exercised: bool) -> list[str]:
    """End an option's position: worthless, or against shares at its strike; no execution tells it. Return what changed."""
    ledger = desk.state.ledger
    position = ledger.positions[key]
    option, contracts = position.instrument, position.quantity
    assert isinstance(option, Option)
    if not exercised:
        ledger.close_at(key, Decimal(0))
        return [key]
    # The option ends at its cost, without a gain, and that cost goes over into the shares'.
    unit = position.average_cost
    ledger.close_at(key, unit)
    sign = 1 if option.right == "C" else -1
    price = option.strike + sign * unit / option.multiplier
    ledger.trade(option.stock, sign * contracts * option.multiplier, price, Decimal(0))
    return [key, option.stock.key]


def corporate_actions(desk: Desk, market: Market, day: date) -> None:
    """Split what splits on a session, pay what goes ex, and cancel GTC orders of stocks that split."""
    changed = []
    for key, position in tuple(desk.state.ledger.positions.items()):
        bar = market.bar(position.instrument.market_symbol, day)
        if bar is None or not position.quantity or position.instrument.sec_type != "STK":
            continue
        if bar.split_coefficient != 1:
            desk.state.ledger.split(key, cents(bar.split_coefficient), cents(bar.open))
            changed.append(key)
        if bar.dividend_amount > 0:
            desk.state.ledger.dividend(key, cents(bar.dividend_amount))
            changed.append(key)
    for order in desk.open_orders():
        bar = market.bar(order.instrument.market_symbol, day)
        if bar is not None and bar.split_coefficient != 1 and order.tif in {"GTC", "GTD"}:
            desk.end(order, "Cancelled by a corporate action")
    if changed:
        desk.events.append(AccountChanged(tuple(changed)))


def close(desk: Desk, boundary: Boundary, following: date | None) -> None:
    """End the DAY orders of a session; GTC and GTD orders, and stuck ones, wait for the following one."""
    for order in desk.open_orders():
        if order.day is None or order.day > boundary.day or not desk.state.orders[order.perm_id].is_live:
            continue
        expiring = isinstance(order.instrument, Option) and order.instrument.expiration <= boundary.day
        if order.tif in {"GTC", "GTD"} and not expiring:
            desk.state.orders[order.perm_id] = replace(order, day=following, resting_since_us=None)
        else:
            desk.end(order, "Cancelled by the close of the session", "Order Canceled - reason:expired")
