"""Last prices, and the top of the book for research, from Alpha Vantage by the hundred symbols.

The bid and ask that an order is checked against come from `venues.ib`, never from here: the vendor's are of unknown age.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.parse import number, rows_of_success, whole
from bar_fly_trading.data.vendor_answers import Answer, VendorRefused
from bar_fly_trading.facts.instruments import canonical_symbol, vendor_symbol

SYMBOLS_A_REQUEST_MAX = 100


@dataclass(frozen=True, slots=True)
class LastPrice:
    """The last trade the vendor knows of a symbol, with its own time stamp as received (New York, no offset)."""

    symbol: str
    price_usd: Decimal
    stamped: str


async def last_prices(vendor: AlphaVantage, symbols: Sequence[str]) -> tuple[LastPrice, ...]:
    """Return the last prices of the symbols in canonical spelling, in order of asking; those the vendor omits are absent.

    VendorRefused where the key may not read them (the vendor then sends made-up rows) or a row is not fit.
    """
    found: dict[str, LastPrice] = {}
    for i in range(0, len(symbols), SYMBOLS_A_REQUEST_MAX):
        for row in await vendor.bulk_quotes(symbols[i : i + SYMBOLS_A_REQUEST_MAX]):
            price = _last_price(row)
            found[price.symbol] = price
    return tuple(found[symbol] for symbol in symbols if symbol in found)


@dataclass(frozen=True, slots=True)
class BookTop:
    """The best bid and ask the vendor knows, USD, sizes in shares; a crossed or locked book is kept as it came."""

    symbol: str
    bid_usd: Decimal
    ask_usd: Decimal
    bid_size: int
    ask_size: int
    stamped: str


async def book_tops(vendor: AlphaVantage, symbols: Sequence[str]) -> tuple[BookTop, ...]:
    """Return the symbols' books as `last_prices` does; a row with a side missing is left out."""
    found: dict[str, BookTop] = {}
    for i in range(0, len(symbols), SYMBOLS_A_REQUEST_MAX):
        names = ",".join(vendor_symbol(symbol) for symbol in symbols[i : i + SYMBOLS_A_REQUEST_MAX])
        for row in await vendor.ask("REALTIME_BULK_BID_ASK_PRICES", rows_of_success, "data", symbol=names):
            top = _book_top(row)
            if top is not None:
                found[top.symbol] = top
    return tuple(found[symbol] for symbol in symbols if symbol in found)


def _book_top(row: Mapping[str, Any]) -> BookTop | None:
    try:
        symbol = canonical_symbol(str(row["symbol"]))
        bid, ask = number(row["bid_price"]), number(row["ask_price"])
        sizes = [whole(row[key]) for key in ("bid_size", "ask_size")]
    except (KeyError, ValueError):
        raise VendorRefused("Alpha Vantage, REALTIME_BULK_BID_ASK_PRICES: a row is unfit.", Answer.UNKNOWN) from None
    if bid is None or ask is None or min(bid, ask) <= 0:
        return None
    prices = Decimal(str(row["bid_price"])), Decimal(str(row["ask_price"]))
    return BookTop(symbol, *prices, sizes[0] or 0, sizes[1] or 0, str(row.get("timestamp", "")))


def _last_price(row: dict[str, str]) -> LastPrice:
    try:
        symbol, price = canonical_symbol(row.get("symbol", "")), Decimal(row.get("close", ""))
    except (ValueError, InvalidOperation):
        symbol, price = "", Decimal(0)
    if not symbol or not price.is_finite() or price <= 0:
        raise VendorRefused("Alpha Vantage, REALTIME_BULK_QUOTES: a row without symbol or price.", Answer.UNKNOWN)
    return LastPrice(symbol, price, row.get("timestamp", ""))
