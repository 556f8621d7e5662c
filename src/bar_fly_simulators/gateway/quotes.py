"""The top of book around the market's mid: spread by liquidity, whole cents, and nothing later than the clock.

Half-spread in basis points of the mid: 1.5 * sqrt(1e9 / D), kept between 1 and 50, where D is the median of close * volume
over the 20 sessions before the day (USD); at least one cent between bid and ask. Sizes are in shares and follow D too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from math import sqrt

import numpy as np

from bar_fly_simulators.clock import new_york, session_hours_us
from bar_fly_simulators.market import Market

TICK = Decimal("0.01")
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
    halted: bool


def cents(price: float) -> Decimal:
    """Return a price of the market on its tick of a ten-thousandth, as a Decimal."""
    return Decimal(repr(round(price, 4)))


class Quotes:
    """Quotes of a market at any instant."""

    def __init__(self, market: Market) -> None:
        self._market = market
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
        mid = self._market.mid_at(symbol, at_us)
        return None if mid is None else self.touch(symbol, mid, new_york(at_us).date())

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

    def book(self, symbol: str, at_us: int, *, frozen: bool = False) -> Book:
        """Return the book at an instant; outside the session without bid and ask unless `frozen`, then as at the close."""
        halted = symbol in self._market.halted
        running = self._market.running(symbol, at_us)
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
