"""A book as tick messages: prices with their sizes first, then the sizes alone, as the Gateway sends them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from bar_fly_simulators.gateway.faults import (
    CrossedQuote,
    FaultTable,
    Halted,
    LastOnly,
    LockedQuote,
    NanQuote,
    NoAsk,
    NoBid,
    WideQuote,
    ZeroQuote,
)
from bar_fly_simulators.gateway.fields import number
from bar_fly_simulators.gateway.quotes import TICK, Book
from bar_fly_simulators.gateway.replies import Fields
from bar_fly_simulators.option_pricing import Valuation

LIVE, FROZEN, DELAYED, DELAYED_FROZEN = 1, 2, 3, 4

BID_SIZE, BID, ASK, ASK_SIZE, LAST, LAST_SIZE, HIGH, LOW, VOLUME, CLOSE, OPEN = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14
BID_MODEL, ASK_MODEL, LAST_MODEL, MODEL = 10, 11, 12, 13
HALTED = 49
DELAYED_TICKS = {
    BID: 66,
    ASK: 67,
    LAST: 68,
    BID_SIZE: 69,
    ASK_SIZE: 70,
    LAST_SIZE: 71,
    HIGH: 72,
    LOW: 73,
    VOLUME: 74,
    CLOSE: 75,
    OPEN: 76,
    BID_MODEL: 80,
    ASK_MODEL: 81,
    LAST_MODEL: 82,
    MODEL: 83,
}
"""The tick type that carries each value when data are delayed."""

_NO_PRICE = Decimal(-1)
_NOT_A_NUMBER = Decimal("NaN")


def faulty(book: Book, faults: FaultTable, symbol: str) -> Book:
    """Return the book as the faults in force show it."""
    halted = faults.active(Halted, symbol=symbol)
    if halted is not None:
        book = replace(book, halted=halted.code)
    if faults.active(NoBid, symbol=symbol) is not None:
        book = replace(book, bid=None, bid_size=0)
    if faults.active(NoAsk, symbol=symbol) is not None:
        book = replace(book, ask=None, ask_size=0)
    if faults.active(ZeroQuote, symbol=symbol) is not None:
        book = replace(book, bid=Decimal(0), ask=Decimal(0), bid_size=0, ask_size=0)
    if faults.active(NanQuote, symbol=symbol) is not None:
        book = replace(book, bid=_NOT_A_NUMBER, ask=_NOT_A_NUMBER)
    if book.bid is None or book.ask is None or book.bid.is_nan():
        return book
    if (wide := faults.active(WideQuote, symbol=symbol)) is not None:
        away = ((book.bid + book.ask) / 2 * Decimal(repr(wide.fraction))).quantize(TICK)
        book = replace(book, bid=max(TICK, book.bid - away), ask=book.ask + away)
    if faults.active(LockedQuote, symbol=symbol) is not None:
        book = replace(book, ask=book.bid)
    if faults.active(CrossedQuote, symbol=symbol) is not None:
        book = replace(book, bid=book.ask, ask=book.bid)
    return book


def quote_ticks(req_id: int, book: Book, faults: FaultTable, symbol: str, *, delayed: bool) -> list[Fields]:
    """Return what changes all the time: bid, ask, last, and volume; a side that is not there is -1 with size 0."""
    bid, ask = (_NO_PRICE if side is None else side for side in (book.bid, book.ask))
    messages: list[Fields] = []
    if faults.active(LastOnly, symbol=symbol) is None:
        messages += [
            _price(req_id, BID, bid, book.bid_size, delayed=delayed, executable=book.bid is not None),
            _size(req_id, BID_SIZE, book.bid_size, delayed=delayed),
            _price(req_id, ASK, ask, book.ask_size, delayed=delayed, executable=book.ask is not None),
            _size(req_id, ASK_SIZE, book.ask_size, delayed=delayed),
        ]
    if book.last is not None:
        messages += [
            _price(req_id, LAST, book.last, book.last_size, delayed=delayed),
            _size(req_id, LAST_SIZE, book.last_size, delayed=delayed),
            _size(req_id, VOLUME, book.volume, delayed=delayed),
        ]
    if book.model is not None:
        prices = ((BID_MODEL, book.bid), (ASK_MODEL, book.ask), (LAST_MODEL, book.last))
        messages += [
            _model(req_id, kind, book.model, book.underlying, price, delayed=delayed) for kind, price in prices if price
        ]
        messages.append(_model(req_id, MODEL, book.model, book.underlying, None, delayed=delayed))
    return messages


def day_ticks(req_id: int, book: Book, *, delayed: bool) -> list[Fields]:
    """Return the day's values, sent when they change: previous close, open, high, low, and whether it is halted."""
    prices = ((CLOSE, book.previous_close), (OPEN, book.open), (HIGH, book.high), (LOW, book.low))
    messages = [_price(req_id, kind, price, 0, delayed=delayed) for kind, price in prices if price is not None]
    return [["45", "6", str(req_id), str(HALTED), str(int(book.halted))], *messages]


def _price(req_id: int, kind: int, price: Decimal, size: int, *, delayed: bool, executable: bool = False) -> Fields:
    kind = DELAYED_TICKS[kind] if delayed else kind
    text = "NaN" if price.is_nan() else number(price)
    # The attribute's first bit: the price can be traded automatically.
    return ["1", "6", str(req_id), str(kind), text, str(size), "1" if executable else "0"]


def _size(req_id: int, kind: int, size: int, *, delayed: bool) -> Fields:
    kind = DELAYED_TICKS[kind] if delayed else kind
    return ["2", "6", str(req_id), str(kind), str(size)]


def _model(
    req_id: int, kind: int, model: Valuation, spot: float | None, price: Decimal | None, *, delayed: bool
) -> Fields:
    """Return message 21: volatility, delta, price, dividends, gamma, vega, theta, the stock's price."""
    kind = DELAYED_TICKS[kind] if delayed else kind
    shown = model.price if price is None or price.is_nan() else float(price)
    numbers = (model.volatility, model.delta, shown, 0.0, model.gamma, model.vega, model.theta, spot or -1.0)
    # Attribute 1: computed from prices, not from returns.
    return ["21", str(req_id), str(kind), "1", *(f"{value:.8f}" for value in numbers)]
