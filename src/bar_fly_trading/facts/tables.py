"""The schemas of every stored table: columns, types, keys, and when a row became known.

Every stored row has `known_at` and `recorded_at` (UTC microseconds, Int64) beside the columns named here.
A correction is a new row with the same key; a view takes the newest row with `known_at <= T` (ties: the newest
`recorded_at`, then the later row).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

KNOWN_AT = "known_at"
RECORDED_AT = "recorded_at"


@dataclass(frozen=True, slots=True)
class Table:
    """One table: `columns` in stored order, `key` of a fact, `session` its date column (None where undated)."""

    name: str
    columns: dict[str, pl.DataType]
    key: tuple[str, ...]
    session: str | None

    def schema(self) -> dict[str, pl.DataType]:
        """Return the stored schema, knowledge columns included."""
        return {**self.columns, KNOWN_AT: pl.Int64(), RECORDED_AT: pl.Int64()}


_F, _S, _D = pl.Float64(), pl.String(), pl.Date()

# Prices as traded; adjusted_close, volume, dividend_amount (USD a share) and split_coefficient (1.0: none) as received.
# A backfilled bar is known at its session's close plus 15 minutes; one pulled live, at its receipt.
BARS = Table(
    "bars",
    {
        "instrument_id": _S,
        "session": _D,
        "open": _F,
        "high": _F,
        "low": _F,
        "close": _F,
        "adjusted_close": _F,
        "volume": pl.Int64(),
        "dividend_amount": _F,
        "split_coefficient": _F,
    },
    ("instrument_id", "session"),
    "session",
)

# Symbols as dated spells (end null: still); known when recorded, or from its start when imported as history.
SPELLS = Table(
    "spells",
    {"instrument_id": _S, "symbol": _S, "start": _D, "end": _D},
    ("instrument_id", "start"),
    "start",
)

SECTORS = Table("sectors", {"instrument_id": _S, "sector": _S, "name": _S}, ("instrument_id",), None)

# split_factor: new shares for one old (4.0: four for one; 0.25: one for four), effective at that session's open.
SPLITS = Table(
    "splits",
    {"instrument_id": _S, "effective_date": _D, "split_factor": _F},
    ("instrument_id", "effective_date"),
    "effective_date",
)

DIVIDENDS = Table(
    "dividends",
    {"instrument_id": _S, "ex_dividend_date": _D, "amount": _F},
    ("instrument_id", "ex_dividend_date"),
    "ex_dividend_date",
)

EARNINGS = Table(
    "earnings",
    {
        "instrument_id": _S,
        "fiscal_date_ending": _D,
        "reported_date": _D,
        "report_time": _S,
        "reported_eps": _F,
        "estimated_eps": _F,
        "surprise": _F,
        "surprise_percentage": _F,
    },
    ("instrument_id", "fiscal_date_ending"),
    "reported_date",
)

# The vendor's snapshot as JSON text: today's values only, so known at receipt and never earlier.
OVERVIEW = Table("overview", {"instrument_id": _S, "snapshot": _S}, ("instrument_id",), None)

# Macro series of the older program's database by reference date; it lost the release dates, so known at the import alone.
MACRO_IMPORTED = Table(
    "macro_imported",
    {
        "reference_date": _D,
        "treasury_yield_2year": _F,
        "treasury_yield_10year": _F,
        "ffer": _F,
        "cpi": _F,
        "inflation": _F,
        "retail_sales": _F,
        "durables": _F,
        "unemployment": _F,
        "nonfarm_payroll": _F,
    },
    ("reference_date",),
    "reference_date",
)

# Option contracts traded a session, calls and puts, known at its close plus 15 minutes.
OPTIONS_SUMMARY = Table(
    "options_summary",
    {
        "instrument_id": _S,
        "session": _D,
        "call_volume": pl.Int64(),
        "put_volume": pl.Int64(),
        "total_volume": pl.Int64(),
    },
    ("instrument_id", "session"),
    "session",
)

# One value of a series and the period it is of; `date` is the period's first day, never the day of its release. A
# value received live is known at receipt; one received after its release rule (`data/series.py`), by that rule: it is
# the latest revision, because the vendor keeps no other. A revision seen here is a new row, known at receipt.
MACRO = Table("macro", {"series": _S, "date": _D, "value": _F}, ("series", "date"), "date")

# A session's option chain as it stood at the close; right: call or put. Quotes, last and strike in USD a share, theta
# a day. Known at receipt where received before the session's evening cut, else at the close plus 15 minutes, as bars.
OPTION_CHAINS = Table(
    "option_chains",
    {
        "instrument_id": _S,
        "contract_id": _S,
        "session": _D,
        "expiration": _D,
        "strike": _F,
        "right": _S,
        "last": _F,
        "mark": _F,
        "bid": _F,
        "bid_size": pl.Int64(),
        "ask": _F,
        "ask_size": pl.Int64(),
        "volume": pl.Int64(),
        "open_interest": pl.Int64(),
        "implied_volatility": _F,
        "delta": _F,
        "gamma": _F,
        "theta": _F,
        "vega": _F,
        "rho": _F,
    },
    ("contract_id", "session"),
    "session",
)

# When a report is expected, as the vendor's calendar said: it moves, so each row is known at receipt and never earlier.
EARNINGS_CALENDAR = Table(
    "earnings_calendar",
    {
        "instrument_id": _S,
        "fiscal_date_ending": _D,
        "report_date": _D,
        "report_time": _S,
        "estimated_eps": _F,
        "currency": _S,
    },
    ("instrument_id", "fiscal_date_ending"),
    "report_date",
)

# What is or was listed, by the vendor's spelling; listing_id: SYMBOL@IPO-DATE (a reused symbol has several). Known at
# receipt: a list asked of a past day says what was listed then, not that we knew it.
LISTINGS = Table(
    "listings",
    {
        "listing_id": _S,
        "symbol": _S,
        "name": _S,
        "exchange": _S,
        "asset_type": _S,
        "ipo_date": _D,
        "delisting_date": _D,
        "status": _S,
    },
    ("listing_id",),
    None,
)

# Index membership as spells of symbols (names that we never had prices of are among them), `end` the last day as a member
# (null: still; before `start`: withdrawn); membership_id: INDEX:SYMBOL. A start counts as known at the close of the session before it, an end at the
# close of the spell's last session, in a row of its own; a correction of history, when imported.
MEMBERSHIP = Table(
    "membership",
    {"membership_id": _S, "index": _S, "symbol": _S, "start": _D, "end": _D},
    ("membership_id", "start"),
    "start",
)

TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        BARS,
        SPELLS,
        SECTORS,
        SPLITS,
        DIVIDENDS,
        EARNINGS,
        OVERVIEW,
        MACRO_IMPORTED,
        OPTIONS_SUMMARY,
        MACRO,
        OPTION_CHAINS,
        EARNINGS_CALENDAR,
        LISTINGS,
        MEMBERSHIP,
    )
}
