"""Historical bars from the market's own bars and path: daily and longer, and from one minute up; nothing after the clock.

Prices are in the shares of the clock's day, as IB shows TRADES: split-adjusted, not dividend-adjusted; ADJUSTED_LAST takes
dividends too. A bar that is still running is told as it stands.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from bar_fly_simulators.clock import SECOND_US, new_york, session_hours_us
from bar_fly_simulators.gateway.admission import good_till_us
from bar_fly_simulators.gateway.fields import execution_time
from bar_fly_simulators.gateway.instruments import Instrument, Option, Stock
from bar_fly_simulators.gateway.quotes import Quotes
from bar_fly_simulators.gateway.replies import Fields
from bar_fly_simulators.gateway.requests import HistoryRequest
from bar_fly_simulators.market import Market

NO_DATA = "Historical Market Data Service error message:HMDS query returned no data"
_SIZES_S = {
    "1 secs": 1,
    "5 secs": 5,
    "10 secs": 10,
    "15 secs": 15,
    "30 secs": 30,
    "1 min": 60,
    "2 mins": 120,
    "3 mins": 180,
    "5 mins": 300,
    "10 mins": 600,
    "15 mins": 900,
    "20 mins": 1200,
    "30 mins": 1800,
    "1 hour": 3600,
    "2 hours": 7200,
    "3 hours": 10800,
    "4 hours": 14400,
    "8 hours": 28800,
}
_DAILY = {"1 day": "day", "1 week": "week", "1W": "week", "1 month": "month", "1M": "month"}
_WHAT = frozenset({"TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK", "ADJUSTED_LAST"})
_DURATION = re.compile(r"(\d{1,5}) ([SDWMY])")
_BARS_MAX = 5000


class NoHistory(Exception):
    """A request that gets an error; `code` is the Gateway's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class HistoryBar:
    """One bar: its beginning (of a day: its session), prices in USD, volume in shares."""

    begins_us: int
    session: date | None
    open: float
    high: float
    low: float
    close: float
    volume: int


class History:
    """Answers requests for bars."""

    def __init__(self, market: Market, quotes: Quotes) -> None:
        self._market = market
        self._quotes = quotes

    def answer(self, request: HistoryRequest, instrument: Instrument, now_us: int) -> Fields:
        """Return message 17; NoHistory (162, 321) where there is nothing to tell."""
        bars = self.bars(request, instrument, now_us)
        if not bars:
            raise NoHistory(162, NO_DATA)
        end_us = _end_us(request.end, now_us)
        begin_us = _begin_us(request, end_us, self._market.sessions)
        spans = [execution_time(begin_us), execution_time(end_us)]
        fields = ["17", str(request.req_id), *spans, str(len(bars))]
        for bar in bars:
            prices = (bar.open, bar.high, bar.low, bar.close)
            middle = (bar.high + bar.low + bar.close) / 3
            trades = request.what in {"TRADES", "ADJUSTED_LAST"}
            fields += [
                _shown_date(bar, request.date_format),
                *(f"{price:.4f}".rstrip("0").rstrip(".") for price in prices),
                str(bar.volume) if trades else "-1",
                f"{middle:.4f}" if trades else "-1",
                str(max(1, bar.volume // 200)) if trades else "-1",
            ]
        return fields

    def update(self, request: HistoryRequest, instrument: Instrument, now_us: int) -> Fields | None:
        """Return message 90 with the running bar, None where there is none."""
        bars = self.bars(request, instrument, now_us)
        if not bars:
            return None
        bar = bars[-1]
        middle = (bar.high + bar.low + bar.close) / 3
        numbers = (bar.open, bar.close, bar.high, bar.low, middle)
        shown = [f"{price:.4f}" for price in numbers]
        return ["90", str(request.req_id), "1", _shown_date(bar, request.date_format), *shown, str(bar.volume)]

    def head(self, request: HistoryRequest, instrument: Instrument) -> Fields:
        """Return message 88: the first instant of which there is a bar."""
        opened = session_hours_us(self._market.bars(instrument.market_symbol).session(0))[0]
        text = str(opened // SECOND_US) if request.date_format == 2 else _utc(opened)
        return ["88", str(request.req_id), text]

    def bars(self, request: HistoryRequest, instrument: Instrument, now_us: int) -> list[HistoryBar]:
        """Return the bars asked for, oldest first, up to the request's end and the clock."""
        if request.what not in _WHAT:
            raise NoHistory(321, f"Error validating request.-'' : cause - {request.what} is not simulated")
        if not isinstance(instrument, Stock | Option):
            raise NoHistory(321, "Error validating request.-'BAG' : cause - history of combinations is not simulated")
        end_us = min(_end_us(request.end, now_us), now_us)
        begin_us = _begin_us(request, _end_us(request.end, now_us), self._market.sessions)
        if request.bar_size in _DAILY:
            days = list(self._days(request, instrument, begin_us, end_us))
            return _grouped(days, _DAILY[request.bar_size])
        size_s = _SIZES_S.get(request.bar_size)
        if size_s is None:
            text = f"Invalid bar size '{request.bar_size}'"
            raise NoHistory(321, f"Error validating request.-'' : cause - {text}")
        bars = list(self._intraday(instrument, begin_us, end_us, size_s, request.what))
        return bars[-_BARS_MAX:]

    def _days(
        self, request: HistoryRequest, instrument: Stock | Option, begin_us: int, end_us: int
    ) -> Iterator[HistoryBar]:
        symbol = instrument.market_symbol
        bars = self._market.bars(symbol)
        first, last = new_york(begin_us).date(), new_york(end_us).date()
        start = max(0, bars.count_to(first) - 1)
        wanted = [bar for bar in bars[start : bars.count_to(last)] if session_hours_us(bar.session)[0] >= begin_us]
        factors = self._factors(symbol, last, adjusted=request.what == "ADJUSTED_LAST")
        for bar in wanted:
            opened, closed = session_hours_us(bar.session)
            if end_us < opened:
                continue
            if isinstance(instrument, Option):
                parts = list(self._intraday(instrument, opened, min(end_us, closed), 1800, "MIDPOINT"))
                if parts:
                    yield _merged(parts, opened, bar.session)
                continue
            by = factors.get(bar.session, 1.0)
            if end_us < closed:
                running = self._quotes.running(symbol, end_us)
                if running is not None:
                    prices = (running.open, running.high, running.low, running.last)
                    yield HistoryBar(opened, bar.session, *prices, running.volume)
                continue
            prices = (bar.open * by, bar.high * by, bar.low * by, bar.close * by)
            yield HistoryBar(opened, bar.session, *prices, round(bar.volume / by))

    def _factors(self, symbol: str, last: date, *, adjusted: bool) -> dict[date, float]:
        """Return by what a session's prices are multiplied: the splits (and dividends) after it up to `last`."""
        bars = self._market.bars(symbol)
        factor, found = 1.0, {}
        for index in range(bars.count_to(last) - 1, -1, -1):
            bar = bars[index]
            found[bar.session] = factor
            factor /= bar.split_coefficient
            if adjusted and bar.dividend_amount and index:
                before = bars[index - 1].close / bar.split_coefficient
                factor *= max(0.01, 1 - bar.dividend_amount / before)
        return found

    def _intraday(
        self, instrument: Stock | Option, begin_us: int, end_us: int, size_s: int, what: str
    ) -> Iterator[HistoryBar]:
        size_us = size_s * SECOND_US
        day = new_york(begin_us).date()
        splits = self._factors(instrument.market_symbol, new_york(end_us).date(), adjusted=what == "ADJUSTED_LAST")
        while day <= new_york(end_us).date():
            opened, closed = session_hours_us(day)
            by = splits.get(day, 1.0) if isinstance(instrument, Stock) else 1.0
            if day in splits:
                at_us = opened
                while at_us < min(closed, end_us):
                    if at_us >= begin_us:
                        bar = self._bar(instrument, at_us, min(at_us + size_us, closed, end_us), what, by)
                        if bar is not None:
                            yield bar
                    at_us += size_us
            day += timedelta(days=1)

    def _bar(self, instrument: Stock | Option, begin_us: int, end_us: int, what: str, by: float) -> HistoryBar | None:
        """Return a bar from the path at its beginning, its middle and its end, with the day's extremes where they fall in."""
        looks = (begin_us, (begin_us + end_us) // 2, max(begin_us, end_us - 1))
        found = [self._price(instrument, at_us, what) for at_us in looks]
        prices = [price * by for price in found if price is not None]
        if not prices:
            return None
        highs, lows, volume = list(prices), list(prices), 0
        if isinstance(instrument, Stock):
            first = self._quotes.running(instrument.market_symbol, begin_us)
            last = self._quotes.running(instrument.market_symbol, looks[-1])
            if first is not None and last is not None:
                volume = round((last.volume - first.volume) / by)
                if what in {"TRADES", "MIDPOINT", "ADJUSTED_LAST"}:
                    highs += [last.high * by] if last.high > first.high else []
                    lows += [last.low * by] if last.low < first.low else []
        return HistoryBar(begin_us, None, prices[0], max(highs), min(lows), prices[-1], volume)

    def _price(self, instrument: Stock | Option, at_us: int, what: str) -> float | None:
        if isinstance(instrument, Stock) and what in {"TRADES", "MIDPOINT", "ADJUSTED_LAST"}:
            return self._quotes.mid_at(instrument.market_symbol, at_us)
        touch = self._quotes.touch_of(instrument, at_us)
        if touch is None:
            return None
        if what in {"BID", "ASK"}:
            return float(touch[0] if what == "BID" else touch[1])
        return float((touch[0] + touch[1]) / 2)


def _grouped(days: list[HistoryBar], by: str) -> list[HistoryBar]:
    if by == "day":
        return days
    groups: dict[object, list[HistoryBar]] = {}
    for bar in days:
        assert bar.session is not None
        key = bar.session.isocalendar()[:2] if by == "week" else (bar.session.year, bar.session.month)
        groups.setdefault(key, []).append(bar)
    return [_merged(parts, parts[0].begins_us, parts[-1].session) for parts in groups.values()]


def _merged(parts: list[HistoryBar], begins_us: int, session: date | None) -> HistoryBar:
    high, low = max(bar.high for bar in parts), min(bar.low for bar in parts)
    volume = sum(bar.volume for bar in parts)
    return HistoryBar(begins_us, session, parts[0].open, high, low, parts[-1].close, volume)


def _end_us(text: str, now_us: int) -> int:
    if not text.strip():
        return now_us
    end_us = good_till_us(text)
    if end_us is None:
        raise NoHistory(10314, "End Date/Time: The date, time, or time-zone entered is invalid.")
    return end_us


def _begin_us(request: HistoryRequest, end_us: int, sessions: Sequence[date]) -> int:
    """Return where a duration begins: days are sessions, weeks and longer are calendar time."""
    match = _DURATION.fullmatch(request.duration.strip())
    if match is None:
        text = f"Historical data request for durations in this format is invalid: {request.duration}"
        raise NoHistory(321, f"Error validating request.-'' : cause - {text}")
    count, unit = int(match[1]), match[2]
    if unit == "S":
        return end_us - count * SECOND_US
    if unit == "D":
        index = bisect_right(sessions, new_york(end_us).date()) - 1
        if index >= 0 and session_hours_us(sessions[index])[0] >= end_us:
            index -= 1
        first = index - count + 1
        return session_hours_us(sessions[max(0, first)])[0] if sessions else end_us
    return end_us - {"W": 7, "M": 31, "Y": 366}[unit] * count * 86_400 * SECOND_US


def _shown_date(bar: HistoryBar, date_format: int) -> str:
    if bar.session is not None:
        return f"{bar.session:%Y%m%d}"
    return str(bar.begins_us // SECOND_US) if date_format == 2 else execution_time(bar.begins_us)


def _utc(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us // SECOND_US, UTC):%Y%m%d-%H:%M:%S}"
