"""What Alpha Vantage says of days and lists: reports to come, what is listed, whether markets are open."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

import polars as pl

from bar_fly_trading.data import parse_csv
from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.parse import Body, BodyFault

Horizon = Literal["3month", "6month", "12month"]


@dataclass(frozen=True, slots=True)
class MarketStatus:
    """One market as the vendor sees it now; hours are local wall time as text."""

    market_type: str
    region: str
    local_open: str
    local_close: str
    open: bool


async def earnings_calendar(vendor: AlphaVantage, horizon: Horizon = "3month") -> pl.DataFrame:
    """Return every report expected within the horizon (see `parse_csv.earnings_calendar`), in one call."""
    return await vendor.ask_csv(
        "EARNINGS_CALENDAR", parse_csv.CALENDAR_COLUMNS, parse_csv.earnings_calendar, horizon=horizon
    )


async def listing_status(vendor: AlphaVantage, *, day: date | None = None, delisted: bool = False) -> pl.DataFrame:
    """Return what is listed, or delisted, today or on a day from 2010 on (see `parse_csv.listings`), in one call."""
    asked = {} if day is None else {"date": day.isoformat()}
    state = "delisted" if delisted else "active"
    return await vendor.ask_csv("LISTING_STATUS", parse_csv.LISTING_COLUMNS, parse_csv.listings, state=state, **asked)


async def market_status(vendor: AlphaVantage) -> tuple[MarketStatus, ...]:
    """Return every market that the vendor follows. It knows no holiday ahead: sessions come from `facts.sessions`."""
    return await vendor.ask("MARKET_STATUS", _statuses, "markets")


def _statuses(body: Body) -> tuple[MarketStatus, ...]:
    rows = body["markets"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BodyFault("'markets' is no list of rows")
    found = []
    for row in rows:
        texts = [row.get(key) for key in ("market_type", "region", "local_open", "local_close", "current_status")]
        if not all(isinstance(text, str) for text in texts) or texts[4] not in ("open", "closed"):
            raise BodyFault(f"a market without hours or status: {str(texts)[:80]}")
        found.append(MarketStatus(texts[0], texts[1], texts[2], texts[3], texts[4] == "open"))
    return tuple(found)
