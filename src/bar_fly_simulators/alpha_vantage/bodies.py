"""The bodies of refusals, word for word as recorded; every one of them came with HTTP 200 unless said otherwise."""

from __future__ import annotations

import json

_PLANS = "https://www.alphavantage.co/premium/"
BURST = {
    "Information": "Thank you for using Alpha Vantage! Please consider spreading out your free API requests more "
    "sparingly (1 request per second). You may subscribe to any of the premium plans at "
    f"{_PLANS} to lift the free key rate limit (25 requests per day), raise the per-second burst limit, and "
    "instantly unlock all premium endpoints"
}
LEGACY_NOTE = {
    "Note": "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls "
    f"per day. Please visit {_PLANS} if you would like to target a higher API call frequency."
}
PREMIUM = {
    "Information": "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any of the "
    f"premium plans at {_PLANS} to instantly unlock all premium endpoints"
}
PREMIUM_FULL = {
    "Information": "Thank you for using Alpha Vantage! The outputsize=full parameter value is a premium feature for the "
    f"TIME_SERIES_DAILY endpoint. You may subscribe to any of the premium plans at {_PLANS} to instantly unlock all "
    "premium features"
}
INVALID_KEY = {
    "Error Message": "the parameter apikey is invalid or missing. Please claim your free API key on "
    "(https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds."
}
NOT_ACCEPTABLE = {"detail": "Could not satisfy the request Accept header."}  # with HTTP 406
HTML = (
    b"<!DOCTYPE html>\n<html><head><title>Alpha Vantage</title></head>"
    b"<body><h1>We will be back soon</h1></body></html>\n"
)
_ARTIFICIAL = (
    "This is a premium endpoint. ***THE SAMPLE DATA SCHEMA BELOW IS ARTIFICIAL AND FOR ILLUSTRATION PURPOSES ONLY***. "
    "To access the actual data, please subscribe to any premium plan that mentions 'Realtime US Market Data' in its "
    f"description at {_PLANS} for your personal non-professional use. For professional/commercial use, please contact "
    "support at support@alphavantage.co."
)

_ARTIFICIAL_OPTIONS = (
    "This is a premium endpoint. ***THE SAMPLE DATA SCHEMA BELOW IS ARTIFICIAL AND FOR ILLUSTRATION PURPOSES ONLY***. "
    "To access the actual data, please subscribe to either the 600 requests per minute or the 1200 requests per minute "
    f"premium plan at {_PLANS} if you would like to access realtime US options data for personal non-professional use."
)


def daily_cap(key: str) -> dict[str, str]:
    """Return the body of a spent day, which repeats the caller's key as the vendor's does."""
    return {
        "Information": f"We have detected your API key as {key} and our standard API rate limit is 25 requests per day. "
        f"Please subscribe to any of the premium plans at {_PLANS} to instantly remove all daily rate limits."
    }


def invalid_call(function: str) -> dict[str, str]:
    """Return the body for a symbol or parameter that a function does not take."""
    return {
        "Error Message": "Invalid API call. Please retry or visit the documentation "
        f"(https://www.alphavantage.co/documentation/) for {function}."
    }


def no_such_function(function: str) -> dict[str, str]:
    """Return the body for a function that does not exist (an empty name where none was given)."""
    return {"Error Message": f"This API function ({function}) does not exist."}


def artificial_quotes() -> dict[str, object]:
    """Return what a key without entitlement gets from REALTIME_BULK_QUOTES: rows that look real and are not.

    The three rows come whatever was asked, with the recorded body's symbols and prices that no market served: a reader
    that looks at the symbol alone takes them for true where it asked for one of the three.
    """
    fields = ("open", "high", "low", "close", "volume", "previous_close", "change", "change_percent")
    values = ("100.0", "101.5", "99.5", "101.0", "1000000", "100.0", "1.0", "1.0")
    extended = {"extended_hours_quote": "101.0", "extended_hours_change": "0.0", "extended_hours_change_percent": "0.0"}
    rows = [
        {"symbol": symbol, "timestamp": "2024-10-18 19:59:55.291", **dict(zip(fields, values, strict=True)), **extended}
        for symbol in ("MSFT", "AAPL", "IBM")
    ]
    return {"endpoint": "Realtime Bulk Quotes", "message": _ARTIFICIAL, "data": rows}


def artificial_bid_ask() -> dict[str, object]:
    """Return what a key without entitlement is assumed to get from REALTIME_BULK_BID_ASK_PRICES, as of bulk quotes."""
    row = {"timestamp": "2024-10-18 19:59:55.291", "bid_price": "100.0", "ask_price": "100.1"}
    sizes = {"bid_size": "100", "ask_size": "100"}
    rows = [{"symbol": symbol, **row, **sizes} for symbol in ("MSFT", "AAPL", "IBM")]
    return {"endpoint": "Realtime Bulk Bid and Ask Prices", "message": _ARTIFICIAL, "data": rows}


def artificial_options() -> dict[str, object]:
    """Return what a plan below 600 a minute gets from REALTIME_OPTIONS: one row of a contract that cannot be."""
    head = {"contractID": "XXYYZZ999999C00020000", "symbol": "XXYYZZ", "expiration": "2099-99-99"}
    prices = {"strike": "20.00", "type": "call", "last": "100.00", "mark": "100.10"}
    book = {"bid": "100.05", "bid_size": "100", "ask": "100.15", "ask_size": "100"}
    traded = {"volume": "100", "open_interest": "100", "date": "2049-99-99", "implied_volatility": "0.23766"}
    greeks = {"delta": "0.17818", "gamma": "0.00317", "theta": "-0.02015", "vega": "0.90231", "rho": "0.71615"}
    return {
        "endpoint": "Realtime Options",
        "message": _ARTIFICIAL_OPTIONS,
        "data": [{**head, **prices, **book, **traded, **greeks}],
    }


def encoded(value: object) -> bytes:
    """Return a body as the vendor lays it out: JSON, indented by four."""
    return json.dumps(value, indent=4).encode()
