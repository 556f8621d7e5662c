"""The top of book around the market's mid: spread by liquidity, whole cents, and nothing later than the clock.

Half-spread in basis points of the mid: 1.5 * sqrt(1e9 / D), kept between 1 and 50, where D is the median of close * volume
over the 20 sessions before the day (USD); at least one cent between bid and ask. Sizes are in shares and follow D too.
Options: Black and Scholes on the stock's mid (`option_pricing`), half-spread 1 to 3 % of the price, on their price increment.
A combination's bid and ask are the sums of its legs' sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from math import sqrt

import numpy as np

from bar_fly_simulators.clock import new_york, session_hours_us
from bar_fly_simulators.gateway.instruments import Combo, Instrument, Option, Stock
from bar_fly_simulators.market import Market, Running
from bar_fly_simulators.option_pricing import Valuation, half_spread, share, value

TICK = Decimal("0.01")
OPTION_TICK, OPTION_TICK_FROM = Decimal("0.05"), Decimal(3)
Touch = tuple[Decimal, Decimal]
LIQUIDITY_SESSIONS = 20
HALF_SPREAD_BP_MIN, HALF_SPREAD_BP_MAX = 1.0, 50.0
_HALF_SPREAD_BP_AT_BILLION = 1.5


@dataclass(frozen=True, slots=True)
class Book:
    """What a subscriber sees of one stock; prices in USD, sizes in shares, None where there is no such value."""

    bid: Decimal | None
    ask: Decimal | None
    bid_size: int
    ask_size: int
    last: Decimal | None
    last_size: int
    volume: int
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    previous_close: Decimal | None
    halted: bool | int
    # What a model makes of an option, and the stock's price it took; None for stocks.
    model: Valuation | None = None
    underlying: float | None = None


def tick_of(instrument: Instrument, price: Decimal) -> Decimal:
    """Return the price increment at a price: a cent, and 0.05 for an option from 3 USD on."""
    return OPTION_TICK if isinstance(instrument, Option) and abs(price) >= OPTION_TICK_FROM else TICK


def cents(price: float) -> Decimal:
    """Return a price of the market on its tick of a ten-thousandth, as a Decimal."""
    return Decimal(repr(round(price, 4)))


class Quotes:
    """Quotes of a market at any instant."""

    def __init__(self, market: Market) -> None:
        self._market = market
        # By how much a fault moves a symbol's price, a fraction.
        self.shift: dict[str, float] = {}
        # Bounded: a replay of years over hundreds of names would otherwise keep every day's liquidity.
        self._liquidity = lru_cache(maxsize=4096)(self._dollar_volume_median)

    def half_spread_bp(self, symbol: str, day: date) -> float:
        """Return half the spread in basis points on a day, from the sessions before it."""
        median = self._liquidity(symbol, day)
        if median <= 0:
            return HALF_SPREAD_BP_MAX
        return min(HALF_SPREAD_BP_MAX, max(HALF_SPREAD_BP_MIN, _HALF_SPREAD_BP_AT_BILLION * sqrt(1e9 / median)))

    def touch(self, symbol: str, mid: float, day: date) -> tuple[Decimal, Decimal]:
        """Return bid and ask around a mid, in whole cents away from it."""
        half = mid * self.half_spread_bp(symbol, day) / 1e4
        bid = Decimal(repr(mid - half)).quantize(TICK, ROUND_FLOOR)
        ask = Decimal(repr(mid + half)).quantize(TICK, ROUND_CEILING)
        # A mid on a whole cent with a spread below half of one would give the same price twice.
        return max(TICK, bid), max(ask, bid + TICK, 2 * TICK)

    def touch_at(self, symbol: str, at_us: int) -> tuple[Decimal, Decimal] | None:
        """Return bid and ask at an instant, None outside the session and where the stock does not trade that day."""
        mid = self.mid_at(symbol, at_us)
        return None if mid is None else self.touch(symbol, mid, new_york(at_us).date())

    def mid_at(self, symbol: str, at_us: int) -> float | None:
        """Return the market's mid at an instant, moved as a fault may have it."""
        mid = self._market.mid_at(symbol, at_us)
        return None if mid is None else mid * (1 + self.shift.get(symbol, 0.0))

    def running(self, symbol: str, at_us: int) -> Running | None:
        """Return the open session as it stands, moved as a fault may have it."""
        running = self._market.running(symbol, at_us)
        by = 1 + self.shift.get(symbol, 0.0)
        if running is None or by == 1.0:
            return running
        last = running.last * by
        high, low = max(running.high, last), min(running.low, last)
        return Running(running.session, running.open, high, low, last, running.volume)

    def touch_of(self, instrument: Instrument, at_us: int) -> Touch | None:
        """Return bid and ask of any instrument at an instant, None outside the session."""
        if isinstance(instrument, Stock):
            return self.touch_at(instrument.market_symbol, at_us)
        mid = self.mid_at(instrument.market_symbol, at_us)
        if mid is None:
            return None
        day = new_york(at_us).date()
        if isinstance(instrument, Option):
            return option_touch(instrument, mid, day)
        sides = [(leg, option_touch(leg.option, mid, day)) for leg in instrument.legs]
        bid = sum((leg.signed * (touch[0] if leg.signed > 0 else touch[1]) for leg, touch in sides), Decimal(0))
        ask = sum((leg.signed * (touch[1] if leg.signed > 0 else touch[0]) for leg, touch in sides), Decimal(0))
        return bid, ask

    def last_of(self, instrument: Instrument, at_us: int) -> Decimal | None:
        """Return the price that stops are compared with: a stock's last, else the middle of the touch."""
        if isinstance(instrument, Stock):
            mid = self.mid_at(instrument.market_symbol, at_us)
            return None if mid is None else cents(mid)
        touch = self.touch_of(instrument, at_us)
        return None if touch is None else (touch[0] + touch[1]) / 2

    def mark_of(self, instrument: Instrument, at_us: int) -> Decimal:
        """Return what a share, or a share's worth of an option, counts for in the account."""
        if isinstance(instrument, Stock):
            return self.mark(instrument.market_symbol, at_us)
        touch = self.touch_of(instrument, at_us)
        if touch is not None:
            return (touch[0] + touch[1]) / 2
        if isinstance(instrument, Combo):
            return sum((leg.signed * self.mark_of(leg.option, at_us) for leg in instrument.legs), Decimal(0))
        close = self.last_close(instrument.market_symbol, at_us)
        day = new_york(at_us).date()
        if close is None:
            return Decimal(0)
        if day > instrument.expiration or at_us >= session_hours_us(instrument.expiration)[1]:
            return instrument.intrinsic(close)
        touch = option_touch(instrument, float(close), day)
        return (touch[0] + touch[1]) / 2

    def last_close(self, symbol: str, at_us: int) -> Decimal | None:
        """Return the newest close by an instant, as traded."""
        count = self._market.closed_count(symbol, at_us)
        return cents(self._market.bars(symbol)[count - 1].close) if count else None

    def mark(self, symbol: str, at_us: int) -> Decimal:
        """Return what a share counts for in the account: the middle of the touch, else the last close, else 0."""
        touch = self.touch_at(symbol, at_us)
        if touch is not None:
            return (touch[0] + touch[1]) / 2
        return self.last_close(symbol, at_us) or Decimal(0)

    def book_of(self, instrument: Instrument, at_us: int, *, frozen: bool = False) -> Book:
        """Return the book of any instrument at an instant."""
        if isinstance(instrument, Stock):
            return self.book(instrument.market_symbol, at_us, frozen=frozen)
        symbol = instrument.market_symbol
        mid, day = self.mid_at(symbol, at_us), new_york(at_us).date()
        touch = self.touch_of(instrument, at_us)
        close = self.last_close(symbol, at_us)
        spot = mid if mid is not None else None if close is None else float(close)
        model = None if spot is None or isinstance(instrument, Combo) else valued(instrument, spot, day)
        if touch is None and frozen and spot is not None and isinstance(instrument, Option):
            touch = option_touch(instrument, spot, day)
        middle = None if touch is None else ((touch[0] + touch[1]) / 2).quantize(TICK)
        draw = share(instrument.key, day, "size")
        return Book(
            bid=touch[0] if touch else None,
            ask=touch[1] if touch else None,
            bid_size=1 + round(200 * draw) if touch else 0,
            ask_size=1 + round(150 * draw) if touch else 0,
            last=middle,
            last_size=1 if touch else 0,
            volume=round(900 * draw),
            open=None,
            high=None,
            low=None,
            previous_close=None,
            halted=symbol in self._market.halted,
            model=model,
            underlying=spot,
        )

    def book(self, symbol: str, at_us: int, *, frozen: bool = False) -> Book:
        """Return the book at an instant; outside the session without bid and ask unless `frozen`, then as at the close."""
        halted = symbol in self._market.halted
        running = self.running(symbol, at_us)
        if running is None:
            return self._closed_book(symbol, at_us, frozen=frozen, halted=halted)
        bid, ask = self.touch(symbol, running.last, running.session)
        size = self._size(symbol, running.session)
        return Book(
            bid=bid,
            ask=ask,
            bid_size=size,
            ask_size=size,
            last=cents(running.last).quantize(TICK),
            last_size=100,
            volume=running.volume,
            open=cents(running.open),
            high=cents(running.high).quantize(TICK),
            low=cents(running.low).quantize(TICK),
            previous_close=self._previous_close(symbol, running.session, at_us),
            halted=halted,
        )

    def _closed_book(self, symbol: str, at_us: int, *, frozen: bool, halted: bool) -> Book:
        count = self._market.closed_count(symbol, at_us)
        bars = self._market.bars(symbol)
        bar = bars[count - 1] if count else None
        bid = ask = None
        size = 0
        if frozen and bar is not None:
            bid, ask = self.touch(symbol, bar.close, bar.session)
            size = self._size(symbol, bar.session)
        return Book(
            bid=bid,
            ask=ask,
            bid_size=size,
            ask_size=size,
            last=cents(bar.close) if bar else None,
            last_size=100 if bar else 0,
            volume=bar.volume if bar else 0,
            open=cents(bar.open) if bar else None,
            high=cents(bar.high) if bar else None,
            low=cents(bar.low) if bar else None,
            previous_close=cents(bars[count - 2].close / bars[count - 1].split_coefficient) if count > 1 else None,
            halted=halted,
        )

    def _previous_close(self, symbol: str, session: date, at_us: int) -> Decimal | None:
        """Return the close before a session in that session's shares, as the tape shows it after a split."""
        close = self.last_close(symbol, at_us)
        bar = self._market.bar(symbol, session)
        if close is None or bar is None:
            return close
        return cents(float(close) / bar.split_coefficient)

    def _size(self, symbol: str, day: date) -> int:
        """Return the shares shown on each side: a 20,000th of a median day, in round lots."""
        mid_volume = self._liquidity(symbol, day) / 20_000
        bars = self._market.bars(symbol)
        count = bars.count_to(day)
        price = bars[count - 1].open if count else 1.0
        return max(100, int(mid_volume / price / 100) * 100)

    def _dollar_volume_median(self, symbol: str, day: date) -> float:
        """Return the median dollar volume over the sessions before a day (0.0 where there is none)."""
        count = self._market.closed_count(symbol, session_hours_us(day)[0])
        bars = self._market.bars(symbol)
        start = max(0, count - LIQUIDITY_SESSIONS)
        if count == start:
            return 0.0
        return float(np.median(bars.columns[3][start:count] * bars.volume[start:count]))


def valued(option: Option, spot: float, day: date) -> Valuation:
    """Return what the model makes of an option at a price of its stock on a day."""
    right = "call" if option.right == "C" else "put"
    return value(option.market_symbol, day, spot, float(option.strike), right, option.expiration)


def option_touch(option: Option, spot: float, day: date) -> Touch:
    """Return an option's bid and ask at a price of its stock on a day, on its price increment; a bid of 0 is none."""
    mark = max(valued(option, spot, day).price, 0.01)
    half = half_spread(option.key.replace(" ", ""), day, mark)
    low, high = Decimal(repr(max(0.0, mark - half))), Decimal(repr(mark + half))
    bid, ask = _on_tick(option, low, ROUND_FLOOR), _on_tick(option, high, ROUND_CEILING)
    return bid, max(ask, bid + tick_of(option, bid))


def _on_tick(option: Option, price: Decimal, rounding: str) -> Decimal:
    tick = tick_of(option, price)
    return (price / tick).to_integral_value(rounding) * tick
