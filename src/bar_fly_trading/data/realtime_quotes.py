"""Last prices from Alpha Vantage's bulk quotes; bid and ask come from `venues.ib`, never from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.vendor_answers import Answer, VendorRefused
from bar_fly_trading.facts.instruments import canonical_symbol

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


def _last_price(row: dict[str, str]) -> LastPrice:
    try:
        symbol, price = canonical_symbol(row.get("symbol", "")), Decimal(row.get("close", ""))
    except (ValueError, InvalidOperation):
        symbol, price = "", Decimal(0)
    if not symbol or not price.is_finite() or price <= 0:
        raise VendorRefused("Alpha Vantage, REALTIME_BULK_QUOTES: a row without symbol or price.", Answer.UNKNOWN)
    return LastPrice(symbol, price, row.get("timestamp", ""))
