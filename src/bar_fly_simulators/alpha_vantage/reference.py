"""EARNINGS_CALENDAR, LISTING_STATUS (both CSV) and MARKET_STATUS at an instant."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

from bar_fly_simulators.alpha_vantage.company import known_earnings
from bar_fly_simulators.clock import new_york
from bar_fly_simulators.market import Market

CALENDAR_COLUMNS = ("symbol", "name", "reportDate", "fiscalDateEnding", "estimate", "currency", "timeOfTheDay")
LISTING_COLUMNS = ("symbol", "name", "exchange", "assetType", "ipoDate", "delistingDate", "status")
CSV_COLUMNS = {"EARNINGS_CALENDAR": CALENDAR_COLUMNS, "LISTING_STATUS": LISTING_COLUMNS}
_HORIZON_DAYS = {"3month": 92, "6month": 183, "12month": 365}
_FIRST_LISTING_DAY = date(2010, 1, 1)
_NOTICE = "Information"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """Return a CSV body: a header, CRLF, quotes only where a text needs them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def disguised(function: str) -> bytes:
    """Return how a CSV endpoint gives a notice: its true header, then the notice's key, one character a column."""
    columns = CSV_COLUMNS[function]
    return csv_text(columns, [list(_NOTICE)[: len(columns)]])


def earnings_calendar(market: Market, query: Mapping[str, str], at_us: int, *, old: bool) -> bytes | None:
    """Return the reports still to come within the horizon, by symbol; `old`: without the seventh column.

    None for a horizon that the vendor does not know. Actual figures are not among the columns.
    """
    horizon = _HORIZON_DAYS.get(query.get("horizon", "3month"))
    if horizon is None:
        return None
    today = new_york(at_us).date()
    text = query.get("symbol", "").strip()
    found = market.find(text) if text else None
    symbols = [found] if found is not None else [] if text else list(market.symbols)
    rows = []
    for symbol in symbols:
        published = len(known_earnings(market, symbol, at_us))
        for report in market.earnings(symbol)[published:]:
            if today <= report.reported_date <= today + timedelta(days=horizon):
                spelled = text or symbol.replace(".", "-")
                days = [report.reported_date.isoformat(), report.fiscal_date_ending.isoformat()]
                estimate = f"{report.estimated_eps:.2f}"
                rows.append([spelled, market.name(symbol), *days, estimate, "USD", report.report_time])
    columns = CALENDAR_COLUMNS[:-1] if old else CALENDAR_COLUMNS
    return csv_text(columns, [row[: len(columns)] for row in sorted(rows)])


def listing_status(market: Market, query: Mapping[str, str], at_us: int) -> bytes | None:
    """Return what was listed, or delisted, on a day (default: the clock's); None for parameters it does not take."""
    today = new_york(at_us).date()
    state = query.get("state", "active")
    try:
        day = date.fromisoformat(query["date"]) if "date" in query else today
    except ValueError:
        return None
    if state not in ("active", "delisted") or day < _FIRST_LISTING_DAY:
        return None
    day = min(day, today)
    newest = next((session for session in reversed(market.sessions) if session < today), None)
    rows = []
    for symbol in sorted(market.symbols):
        bars = market.bars(symbol)
        first, last = bars.session(0), bars.session(len(bars) - 1)
        gone = newest is not None and last < newest and last < day
        if first > day or gone == (state == "active"):
            continue
        end = last.isoformat() if gone else "null"
        status = "Delisted" if gone else "Active"
        rows.append([symbol.replace(".", "-"), market.name(symbol), "NYSE", "Stock", first.isoformat(), end, status])
    return csv_text(LISTING_COLUMNS, rows)


def market_status(market: Market, at_us: int) -> dict[str, object]:
    """Return MARKET_STATUS: New York's stocks by the market's own sessions, and cryptocurrencies, always open."""
    hours = {"local_open": "09:30", "local_close": "16:15"}
    stocks = {
        "market_type": "Equity",
        "region": "United States",
        "primary_exchanges": "NASDAQ, NYSE, AMEX, BATS",
        **hours,
        "current_status": "closed" if market.session_at(at_us) is None else "open",
        "notes": "",
    }
    coins = {
        "market_type": "Cryptocurrency",
        "region": "Global",
        "primary_exchanges": "Global",
        "local_open": "00:00",
        "local_close": "23:59",
        "current_status": "open",
        "notes": "",
    }
    return {"endpoint": "Global Market Open & Close Status", "markets": [stocks, coins]}
