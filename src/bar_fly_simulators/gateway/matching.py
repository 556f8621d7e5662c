"""When and at what price an order meets the market's path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from bar_fly_simulators.clock import SECOND_US, new_york, session_hours_us
from bar_fly_simulators.gateway.orders import Order
from bar_fly_simulators.gateway.quotes import Quotes
from bar_fly_simulators.market import Market

_STEP_US = 60 * SECOND_US


@dataclass(frozen=True, slots=True)
class Match:
    """An instant and the price at which an order can fill; `took` says that it met the touch, not its own limit."""

    at_us: int
    price: Decimal
    took: bool


class Matcher:
    """Finds where orders meet the market's path; knows no account."""

    def __init__(self, market: Market, quotes: Quotes) -> None:
        self._market = market
        self._quotes = quotes

    def at_touch(self, order: Order, at_us: int) -> Match | None:
        """Return the far touch at an instant where the order takes it, at the touch's price and no worse."""
        touch = self._quotes.touch_at(order.stock.market_symbol, at_us)
        if touch is None:
            return None
        far = touch[1] if order.action == "BUY" else touch[0]
        return Match(at_us, far, took=True) if _accepts(order, far) else None

    def reached(self, order: Order, from_us: int, to_us: int) -> Match | None:
        """Return where, after `from_us` and by `to_us`, the path first reaches a resting order's limit.

        The path is looked at each minute, and at the session's extreme where that lies inside; between two looks the
        instant is found by bisection. Both ends must be within one session.
        """
        assert order.limit_price is not None
        met = self._met(order)
        before = from_us
        while before < to_us:
            after = min(before + _STEP_US, to_us)
            if met(after):
                return Match(_first(met, before, after), order.limit_price, took=False)
            before = after
        extreme = self._extreme_met(order)
        if not extreme(from_us) and extreme(to_us):
            return Match(_first(extreme, from_us, to_us), order.limit_price, took=False)
        return None

    def _met(self, order: Order) -> Callable[[int], bool]:
        return lambda at_us: self.at_touch(order, at_us) is not None

    def _extreme_met(self, order: Order) -> Callable[[int], bool]:
        """Return whether the session's low (for a buy; high for a sell) by an instant would have filled the order."""
        symbol = order.stock.market_symbol

        def met(at_us: int) -> bool:
            running = self._market.running(symbol, at_us)
            if running is None:
                return False
            mid = running.low if order.action == "BUY" else running.high
            bid, ask = self._quotes.touch(symbol, mid, running.session)
            return _accepts(order, ask if order.action == "BUY" else bid)

        return met


def in_session(order: Order, from_us: int, to_us: int) -> tuple[int, int] | None:
    """Return the part of an interval in which the order's own session is open, None where there is none."""
    if order.day is None or new_york(to_us).date() < order.day:
        return None
    opened, closed = session_hours_us(order.day)
    start, end = max(from_us, opened, order.placed_at_us), min(to_us, closed - 1)
    return (start, end) if start <= end else None


def _accepts(order: Order, far: Decimal) -> bool:
    if order.limit_price is None:
        return True
    return far <= order.limit_price if order.action == "BUY" else far >= order.limit_price


def _first(met: Callable[[int], bool], before: int, after: int) -> int:
    """Return the first instant in (before, after] at which `met` turns true, to a millisecond."""
    while after - before > 1000:
        middle = (before + after) // 2
        if met(middle):
            after = middle
        else:
            before = middle
    return after
