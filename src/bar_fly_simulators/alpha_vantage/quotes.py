"""GLOBAL_QUOTE and REALTIME_BULK_QUOTES at an instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from bar_fly_simulators.clock import new_york, session_hours_us
from bar_fly_simulators.market import Market, Running

BULK_SYMBOLS_MAX = 100


@dataclass(frozen=True, slots=True)
class Quote:
    """A session's prices in USD, the volume, and the previous close on the session's own basis."""

    session: date
    open: float
    high: float
    low: float
    price: float
    volume: int
    previous_close: float

    @property
    def change(self) -> float:
        """The price less the previous close, in USD."""
        return self.price - self.previous_close

    @property
    def change_percent(self) -> float:
        """The change in percent of the previous close."""
        return 100 * self.change / self.previous_close


def quote_at(market: Market, symbol: str, at_us: int, *, intraday: bool) -> Quote | None:
    """Return the running session's quote, or the newest closed one's (always, where not `intraday`); None before both.

    The previous close is divided by a split of the day. How the vendor does that is not recorded: this is assumed.
    """
    count = market.closed_count(symbol, at_us)
    running: Running | None = market.running(symbol, at_us) if intraday else None
    bars = market.bars(symbol)
    if running is not None:
        split = bars[count].split_coefficient
        before = bars[count - 1].close / split if count else running.open
        high, low, last = (round(price, 4) for price in (running.high, running.low, running.last))
        return Quote(running.session, running.open, high, low, last, running.volume, before)
    if not count:
        return None
    bar = bars[count - 1]
    before = bars[count - 2].close / bar.split_coefficient if count > 1 else bar.open
    return Quote(bar.session, bar.open, bar.high, bar.low, bar.close, bar.volume, before)


def global_quote(text: str, quote: Quote | None, *, delayed: bool) -> dict[str, object]:
    """Return the body of GLOBAL_QUOTE; an unknown symbol's is empty. `text` is the symbol as the caller spelled it."""
    key = "Global Quote - DATA DELAYED BY 15 MINUTES" if delayed else "Global Quote"
    if quote is None:
        return {key: {}}
    return {
        key: {
            "01. symbol": text,
            "02. open": f"{quote.open:.4f}",
            "03. high": f"{quote.high:.4f}",
            "04. low": f"{quote.low:.4f}",
            "05. price": f"{quote.price:.4f}",
            "06. volume": str(quote.volume),
            "07. latest trading day": quote.session.isoformat(),
            "08. previous close": f"{quote.previous_close:.4f}",
            "09. change": f"{quote.change:.4f}",
            "10. change percent": f"{quote.change_percent:.4f}%",
        }
    }


def bulk_quotes(market: Market, texts: Sequence[str], at_us: int) -> dict[str, object]:
    """Return the body of REALTIME_BULK_QUOTES: the first 100 symbols asked for, unknown ones left out.

    The market has no trading outside the hours: the extended-hours fields repeat the price, with no change.
    """
    rows = []
    for text in texts[:BULK_SYMBOLS_MAX]:
        symbol = market.find(text)
        quote = None if symbol is None else quote_at(market, symbol, at_us, intraday=True)
        if quote is None:
            continue
        stamp_us = min(at_us, session_hours_us(quote.session)[1])
        rows.append(
            {
                "symbol": text,
                "timestamp": new_york(stamp_us).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
                "open": str(quote.open),
                "high": str(quote.high),
                "low": str(quote.low),
                "close": str(quote.price),
                "volume": str(quote.volume),
                "previous_close": str(round(quote.previous_close, 4)),
                "change": str(round(quote.change, 4)),
                "change_percent": f"{quote.change_percent:.4f}",
                "extended_hours_quote": str(quote.price),
                "extended_hours_change": "0.0",
                "extended_hours_change_percent": "0.0",
            }
        )
    return {"endpoint": "Realtime Bulk Quotes", "message": "success", "data": rows}


def bulk_bid_ask(market: Market, texts: Sequence[str], at_us: int) -> dict[str, object]:
    """Return the body of REALTIME_BULK_BID_ASK_PRICES: a book two basis points wide (a cent at least) around the price.

    Outside the hours the newest close's book stands, with the stamp of that close.
    """
    rows = []
    for text in texts[:BULK_SYMBOLS_MAX]:
        symbol = market.find(text)
        quote = None if symbol is None else quote_at(market, symbol, at_us, intraday=True)
        if symbol is None or quote is None:
            continue
        stamp_us = min(at_us, session_hours_us(quote.session)[1])
        half = max(0.005, quote.price * 1e-4)
        size = 100 * (1 + quote.volume % 9)
        rows.append(
            {
                "symbol": text,
                "timestamp": new_york(stamp_us).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
                "bid_price": f"{quote.price - half:.4f}",
                "ask_price": f"{quote.price + half:.4f}",
                "bid_size": str(size),
                "ask_size": str(size),
            }
        )
    return {"endpoint": "Realtime Bulk Bid and Ask Prices", "message": "success", "data": rows}
