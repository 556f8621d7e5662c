"""What one symbol's pull fetches, and what of it is fit to be stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

import polars as pl

from bar_fly_trading.data.adjust import adjusted_bars
from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.parse import DailyBody
from bar_fly_trading.data.validate import faults_of
from bar_fly_trading.data.vendor_answers import Answer, VendorRefused
from bar_fly_trading.errors import FixData
from bar_fly_trading.facts.sessions import Calendar, new_york_us
from bar_fly_trading.facts.tables import BARS

COMPACT_SESSIONS = 100
# The vendor rounds to four decimals, so a re-computed adjusted close may differ in the last digit without an event.
ADJUSTED_TOLERANCE_USD = 2e-4
ADJUSTED_TOLERANCE = 1e-6
_REFUSED_SHARE_MAX = 0.01
# A company's closes as traded are what they were; some corrections, or a misprint here and there, make no other company.
SAME_COMPANY_SESSIONS = 60
SAME_COMPANY_SHARE_MIN = 0.5
SAME_CLOSE_TOLERANCE = 0.005


class How(StrEnum):
    """How a symbol's bars came."""

    REUSED = "reused"
    COMPACT = "compact"
    FULL = "full"
    DERIVED = "derived"
    FAILED = "failed"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Fetched:
    """One symbol's bars, fit to be stored: `bars` has the columns of the table without instrument, oldest first.

    `open_rows`: bars left out because their session had not closed. `refused`: faulty rows left out, each in words.
    """

    how: How
    bars: pl.DataFrame
    open_rows: int = 0
    refused: tuple[str, ...] = ()


class Keys:
    """What this run has learnt about the key: `premium` turns False at the first refusal of the adjusted series.

    `refused`: other functions that the key may not read, which are asked no more.
    """

    def __init__(self) -> None:
        self.premium = True
        self.refused: dict[str, str] = {}


async def fetch_symbol(
    vendor: AlphaVantage,
    symbol: str,
    stored: pl.DataFrame,
    *,
    target: date,
    now_us: int,
    calendar: Calendar,
    keys: Keys,
) -> Fetched:
    """Fetch what the store lacks of a symbol up to the session `target`.

    `stored`: the symbol's stored bars (columns of the table), oldest first. Nothing is asked where the target is there.
    The newest 100 sessions are asked where they overlap a stored one, and all of them where they do not or where an
    adjusted close of the overlap has moved (an event re-based the series). With a key that may not read the adjusted
    series, it is derived from the plain one, splits and dividends. VendorRefused or FixData where nothing is fit.
    """
    newest = _newest(stored)
    if newest is not None and newest >= target:
        return Fetched(How.REUSED, stored.head(0).drop("instrument_id"))
    if keys.premium:
        try:
            return await _adjusted(vendor, symbol, stored, newest, target, now_us, calendar)
        except VendorRefused as error:
            if error.answer is not Answer.PREMIUM:
                raise
            keys.premium = False
    return await _derived(vendor, symbol, stored, now_us, calendar)


async def _adjusted(
    vendor: AlphaVantage,
    symbol: str,
    stored: pl.DataFrame,
    newest: date | None,
    target: date,
    now_us: int,
    calendar: Calendar,
) -> Fetched:
    if newest is not None and calendar.sessions_between(newest, target) < COMPACT_SESSIONS:
        body = await vendor.daily_adjusted(symbol, full=False)
        compact = _fit(symbol, body, How.COMPACT, now_us, calendar)
        if newest in compact.bars["session"] and not _rebased(stored, compact.bars):
            return Fetched(How.COMPACT, _keep_rounding(stored, compact.bars), compact.open_rows, compact.refused)
    full = _fit(symbol, await vendor.daily_adjusted(symbol, full=True), How.FULL, now_us, calendar)
    _check_same_company(symbol, stored, full.bars)
    return full


async def _derived(vendor: AlphaVantage, symbol: str, stored: pl.DataFrame, now_us: int, calendar: Calendar) -> Fetched:
    body = await vendor.daily(symbol)
    newest = _newest(stored)
    if newest is not None and newest == _newest(body.bars):
        return Fetched(How.DERIVED, stored.head(0).drop("instrument_id"))
    splits, dividends = await vendor.splits(symbol), await vendor.dividends(symbol)
    bars = adjusted_bars(body.bars, splits, dividends)
    found = _fit(symbol, DailyBody(bars, body.refreshed), How.DERIVED, now_us, calendar)
    if newest is None:
        return found
    if newest not in found.bars["session"]:
        raise FixData(
            f"{symbol}: a free key reaches {COMPACT_SESSIONS} sessions back, the store ends {newest}.",
            way_out="Use a premium key, or import bars from a file.",
        )
    if not _rebased(stored, found.bars):
        return Fetched(How.DERIVED, _keep_rounding(stored, found.bars), found.open_rows, found.refused)
    _check_same_company(symbol, stored, found.bars)
    # A free key cannot fetch the older bars again: an event scales all of them alike, so they are scaled here.
    old = stored.drop("instrument_id").filter(pl.col("session") < found.bars["session"].min())
    scale = _at(found.bars, newest) / _at(stored, newest)
    old = old.with_columns(pl.col("adjusted_close") * scale)
    return Fetched(How.DERIVED, pl.concat([old, found.bars.select(old.columns)]), found.open_rows, found.refused)


def _newest(bars: pl.DataFrame) -> date | None:
    newest = bars["session"].max()
    return newest if isinstance(newest, date) else None


def _at(bars: pl.DataFrame, session: date) -> float:
    return float(bars.filter(pl.col("session") == session)["adjusted_close"].item())


def _overlap(stored: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    return bars.join(
        stored.select("session", pl.col("adjusted_close").alias("stored")),
        on="session",
        how="left",
        maintain_order="left",
    ).with_columns(
        (
            (pl.col("adjusted_close") - pl.col("stored")).abs()
            <= pl.max_horizontal(pl.lit(ADJUSTED_TOLERANCE_USD), pl.col("stored") * ADJUSTED_TOLERANCE)
        ).alias("close_enough")
    )


def _check_same_company(symbol: str, stored: pl.DataFrame, bars: pl.DataFrame) -> None:
    """Raise FixData where the vendor's history is not that of the stored bars: the symbol may have passed to another company.

    Closes as traded never change with later events, so the newest sessions of the overlap must mostly agree in them.
    """
    if stored.is_empty():
        return
    way_out = (
        f"If another company bears it now: bft rename {symbol} --reused --from DATE. If not: bft import bars FILE."
    )
    both = bars.select("session", "close").join(stored.select("session", pl.col("close").alias("stored")), on="session")
    if both.is_empty():
        first, last = _newest(bars.head(1)), _newest(stored)
        raise FixData(
            f"{symbol}: the vendor's history begins {first}, the store's ends {last}: nothing of it is taken.",
            way_out=way_out,
        )
    newest = both.sort("session").tail(SAME_COMPANY_SESSIONS)
    agree = ((newest["close"] / newest["stored"] - 1).abs() <= SAME_CLOSE_TOLERANCE).sum()
    if agree < SAME_COMPANY_SHARE_MIN * newest.height:
        raise FixData(
            f"{symbol}: the vendor's closes agree with the stored ones in {agree} of {newest.height} sessions up to"
            f" {_newest(newest)}: nothing of it is taken.",
            way_out=way_out,
        )


def _rebased(stored: pl.DataFrame, bars: pl.DataFrame) -> bool:
    return not _overlap(stored, bars)["close_enough"].drop_nulls().all()


def _keep_rounding(stored: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    kept = pl.when("close_enough").then("stored").otherwise("adjusted_close").alias("adjusted_close")
    return _overlap(stored, bars).with_columns(kept).drop("stored", "close_enough")


def _fit(symbol: str, body: DailyBody, how: How, now_us: int, calendar: Calendar) -> Fetched:
    """Leave out the bar of a running session and faulty rows; FixData where too many are faulty or none is left."""
    newest = calendar.newest_closed(now_us)
    closed = body.bars.filter(pl.col("session") <= newest)
    last = _newest(closed)
    if body.refreshed is not None and last == body.refreshed.date() and _running(body.refreshed, calendar):
        closed = closed.filter(pl.col("session") < last)
    open_rows = body.bars.height - closed.height
    named = closed.with_columns(pl.lit(symbol).alias("instrument_id")).select(list(BARS.columns))
    faults = faults_of(named, calendar, newest=newest)
    rows = faults["row"].unique()
    words = tuple(f"{row['session']}: {row['rule']} ({row['observed']})" for row in faults.iter_rows(named=True))
    if rows.len() > max(1, _REFUSED_SHARE_MAX * closed.height):
        raise FixData(
            f"{symbol}: {rows.len()} of {closed.height} bars are faulty, first {words[0]}.",
            way_out="The symbol keeps what was stored; exclude it, or pull again later.",
        )
    if rows.len():
        closed = closed.with_row_index("row").filter(~pl.col("row").is_in(rows.implode())).drop("row")
    if closed.is_empty():
        raise FixData(f"{symbol}: no bar of a closed session came.", way_out="Pull again after the close.")
    return Fetched(how, closed, open_rows, words)


def _running(refreshed: datetime, calendar: Calendar) -> bool:
    day = refreshed.date()
    return calendar.is_session(day) and new_york_us(day, refreshed.time()) < calendar.session(day).close_us
