"""The fields of a company's overview: this program's names, in the order of the older program's table, and the vendor's."""

from __future__ import annotations

OVERVIEW_TEXTS = ("exchange", "country", "sector", "industry")
OVERVIEW_COUNTS = tuple(f"analyst_rating_{word}" for word in ("strong_buy", "buy", "hold", "sell", "strong_sell"))
VENDOR_NAMES = {
    "exchange": "Exchange",
    "country": "Country",
    "sector": "Sector",
    "industry": "Industry",
    "market_capitalization": "MarketCapitalization",
    "book_value": "BookValue",
    "dividend_yield": "DividendYield",
    "eps": "EPS",
    "price_to_book_ratio": "PriceToBookRatio",
    "beta": "Beta",
    "52_week_high": "52WeekHigh",
    "shares_outstanding": "SharesOutstanding",
    "52_week_low": "52WeekLow",
    "analyst_rating_strong_buy": "AnalystRatingStrongBuy",
    "analyst_rating_buy": "AnalystRatingBuy",
    "analyst_rating_hold": "AnalystRatingHold",
    "analyst_rating_sell": "AnalystRatingSell",
    "analyst_rating_strong_sell": "AnalystRatingStrongSell",
    "forward_pe": "ForwardPE",
}
