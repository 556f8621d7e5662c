"""When and at what price an order meets the market's path: its next step between two instants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from bar_fly_simulators.clock import SECOND_US, new_york, session_hours_us
from bar_fly_simulators.gateway.instruments import Stock
from bar_fly_simulators.gateway.orders import Order
from bar_fly_simulators.gateway.quotes import Quotes, Touch, cents

_STEP_US = 60 * SECOND_US
_HUNDRED = Decimal(100)


class Act(Enum):
    """What an order does next."""

    FILL = "fill"
    REST = "rest"
    TRIGGER = "trigger"
    END = "end"


@dataclass(frozen=True, slots=True)
class Match:
    """An instant and the price at which an order can fill; `took` says that it met the touch, not its own limit."""

    at_us: int
    price: Decimal
    took: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What an order does at an instant; a fill has its match, an end its reason."""

    at_us: int
    act: Act
    match: Match | None = None
    reason: str = ""


class Matcher:
    """Finds where orders meet the market's path; knows no account."""

    def __init__(self, quotes: Quotes) -> None:
        self._quotes = quotes

    def next_step(self, order: Order, from_us: int, to_us: int, *, worked: bool) -> Step | None:
        """Return the order's first step in [from_us, to_us]; not `worked` (halted, held, waiting), it can only expire."""
        deadline = order.good_till_us
        last = to_us if deadline is None else min(to_us, deadline - 1)
        step = self._worked(order, from_us, last) if worked and last >= from_us else None
        if step is None and deadline is not None and deadline <= to_us:
            return Step(max(from_us, deadline), Act.END, reason="Cancelled: its good-till-date has passed")
        return step

    def _worked(self, order: Order, from_us: int, to_us: int) -> Step | None:
        part = in_session(order, from_us, to_us)
        if part is None:
            return None
        start, end = part
        if order.awaits_stop:
            at_us = self._stop_reached(order, start, end)
            return None if at_us is None else Step(at_us, Act.TRIGGER)
        if order.resting_since_us is None:
            match = self.at_touch(order, start)
            if match is not None:
                return Step(start, Act.FILL, match)
            if order.tif == "IOC":
                return Step(start, Act.END, reason="Cancelled: nothing could be filled at once")
            return Step(start, Act.REST) if self._quotes.touch_of(order.instrument, start) is not None else None
        match = self._reached(order, start, end) if end > start else None
        return None if match is None else Step(match.at_us, Act.FILL, match)

    def at_touch(self, order: Order, at_us: int) -> Match | None:
        """Return the far touch at an instant where the order takes it, at the touch's price and no worse."""
        touch = self._quotes.touch_of(order.instrument, at_us)
        if touch is None:
            return None
        far = far_side(order.action, touch)
        return Match(at_us, far, took=True) if _accepts(order, far) else None

    def trailed(self, order: Order, from_us: int, to_us: int) -> Decimal | None:
        """Return a trailing stop as it stands at `to_us`: looked at each whole minute and at the end."""
        part = in_session(order, from_us, to_us)
        stop = order.trail_stop
        if part is None:
            return stop
        for at_us in _looks(*part):
            last = self._quotes.last_of(order.instrument, at_us)
            stop = stop if last is None else trailing_stop(order, stop, last)
        return stop

    def _stop_reached(self, order: Order, start: int, end: int) -> int | None:
        if order.order_type == "TRAIL":
            stop = order.trail_stop
            for at_us in _looks(start, end):
                last = self._quotes.last_of(order.instrument, at_us)
                if last is not None and stop is not None and _beyond(order, last, stop):
                    return at_us
                stop = stop if last is None else trailing_stop(order, stop, last)
            return None
        stop_price = order.aux_price or Decimal(0)

        def met(at_us: int) -> bool:
            last = self._quotes.last_of(order.instrument, at_us)
            return last is not None and _beyond(order, last, stop_price)

        if met(start):
            return start
        return self._first_met(order, met, self._extreme_last(order, stop_price), start, end)

    def _reached(self, order: Order, from_us: int, to_us: int) -> Match | None:
        """Return where, after `from_us` and by `to_us`, the path first reaches a resting order's limit.

        The path is looked at each minute, and at the session's extreme where that lies inside; between two looks the
        instant is found by bisection. Both ends must be within one session.
        """
        limit = order.limit
        at_us = self._first_met(
            order,
            lambda at: self.at_touch(order, at) is not None,
            self._extreme_touch(order),
            from_us,
            to_us,
        )
        if at_us is None:
            return None
        if limit is None:
            return self.at_touch(order, at_us)
        return Match(at_us, limit, took=False)

    def _first_met(
        self, order: Order, met: Callable[[int], bool], extreme: Callable[[int], bool], from_us: int, to_us: int
    ) -> int | None:
        before = from_us
        while before < to_us:
            after = min(before + _STEP_US, to_us)
            if met(after):
                return _first(met, before, after)
            before = after
        if isinstance(order.instrument, Stock) and not extreme(from_us) and extreme(to_us):
            return _first(extreme, from_us, to_us)
        return None

    def _extreme_touch(self, order: Order) -> Callable[[int], bool]:
        """Return whether the session's low (for a buy; high for a sell) by an instant would have filled the order."""
        symbol = order.instrument.market_symbol

        def met(at_us: int) -> bool:
            running = self._quotes.running(symbol, at_us)
            if running is None:
                return False
            mid = running.low if order.action == "BUY" else running.high
            return _accepts(order, far_side(order.action, self._quotes.touch(symbol, mid, running.session)))

        return met

    def _extreme_last(self, order: Order, stop: Decimal) -> Callable[[int], bool]:
        """Return whether the session's high (for a buy stop; low for a sell stop) by an instant has reached the stop."""
        symbol = order.instrument.market_symbol

        def met(at_us: int) -> bool:
            running = self._quotes.running(symbol, at_us)
            return running is not None and _beyond(
                order, cents(running.high if order.action == "BUY" else running.low), stop
            )

        return met


def far_side(action: str, touch: Touch) -> Decimal:
    """Return the side of the touch that an order takes: the ask to buy, the bid to sell."""
    return touch[1] if action == "BUY" else touch[0]


def trailing_stop(order: Order, stop: Decimal | None, last: Decimal) -> Decimal:
    """Return a trailing stop after a price: it follows the price the good way and never goes back."""
    if order.trail_percent is not None:
        distance = last * order.trail_percent / _HUNDRED
    else:
        distance = order.aux_price or Decimal(0)
    moved = last + distance if order.action == "BUY" else last - distance
    if stop is None:
        return moved
    return min(stop, moved) if order.action == "BUY" else max(stop, moved)


def in_session(order: Order, from_us: int, to_us: int) -> tuple[int, int] | None:
    """Return the part of an interval in which the order's own session is open, None where there is none."""
    if order.day is None or new_york(to_us).date() < order.day:
        return None
    opened, closed = session_hours_us(order.day)
    start, end = max(from_us, opened, order.placed_at_us), min(to_us, closed - 1)
    return (start, end) if start <= end else None


def _looks(start: int, end: int) -> Iterator[int]:
    """Yield the start, each whole minute within, and the end: the same looks however the clock is walked."""
    yield start
    at_us = (start // _STEP_US + 1) * _STEP_US
    while at_us < end:
        yield at_us
        at_us += _STEP_US
    if end > start:
        yield end


def _beyond(order: Order, last: Decimal, stop: Decimal) -> bool:
    return last >= stop if order.action == "BUY" else last <= stop


def _accepts(order: Order, far: Decimal) -> bool:
    limit = order.limit
    if far <= 0 and order.action == "SELL" and order.instrument.sec_type != "BAG":
        # A bid of nothing is no bid.
        return False
    if limit is None:
        return True
    return far <= limit if order.action == "BUY" else far >= limit


def _first(met: Callable[[int], bool], before: int, after: int) -> int:
    """Return the first instant in (before, after] at which `met` turns true, to a millisecond."""
    while after - before > 1000:
        middle = (before + after) // 2
        if met(middle):
            after = middle
        else:
            before = middle
    return after
