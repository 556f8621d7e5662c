"""A book as tick messages: prices with their sizes first, then the sizes alone, as the Gateway sends them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from bar_fly_simulators.control import Faults
from bar_fly_simulators.gateway.fields import number
from bar_fly_simulators.gateway.quotes import Book
from bar_fly_simulators.gateway.replies import Fields

LIVE, FROZEN, DELAYED = 1, 2, 3

BID_SIZE, BID, ASK, ASK_SIZE, LAST, LAST_SIZE, HIGH, LOW, VOLUME, CLOSE, OPEN = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14
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
}
"""The tick type that carries each value when data are delayed."""

_NO_PRICE = Decimal(-1)


def faulty(book: Book, faults: Faults, symbol: str) -> Book:
    """Return the book as the faults in force show it."""
    if faults.active("no_bid", symbol=symbol) is not None:
        book = replace(book, bid=None, bid_size=0)
    if faults.active("no_ask", symbol=symbol) is not None:
        book = replace(book, ask=None, ask_size=0)
    if faults.active("crossed_quote", symbol=symbol) is not None:
        book = replace(book, bid=book.ask, ask=book.bid)
    return book


def quote_ticks(req_id: int, book: Book, *, delayed: bool) -> list[Fields]:
    """Return what changes all the time: bid, ask, last, and volume; a side that is not there is -1 with size 0."""
    bid, ask = (_NO_PRICE if side is None else side for side in (book.bid, book.ask))
    messages = [
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
    return messages


def day_ticks(req_id: int, book: Book, *, delayed: bool) -> list[Fields]:
    """Return the day's values, sent when they change: previous close, open, high, low, and whether it is halted."""
    prices = ((CLOSE, book.previous_close), (OPEN, book.open), (HIGH, book.high), (LOW, book.low))
    messages = [_price(req_id, kind, price, 0, delayed=delayed) for kind, price in prices if price is not None]
    return [["45", "6", str(req_id), str(HALTED), "1" if book.halted else "0"], *messages]


def _price(req_id: int, kind: int, price: Decimal, size: int, *, delayed: bool, executable: bool = False) -> Fields:
    kind = DELAYED_TICKS[kind] if delayed else kind
    # The attribute's first bit: the price can be traded automatically.
    return ["1", "6", str(req_id), str(kind), number(price), str(size), "1" if executable else "0"]


def _size(req_id: int, kind: int, size: int, *, delayed: bool) -> Fields:
    kind = DELAYED_TICKS[kind] if delayed else kind
    return ["2", "6", str(req_id), str(kind), str(size)]
