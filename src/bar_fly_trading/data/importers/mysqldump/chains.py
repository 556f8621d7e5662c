"""`historical_options` into option chains: judged row by row, and the volumes of a session where nothing else gave them.

Importable by other importers of the old schema: `option_chains`, `volumes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from bar_fly_trading.data.importers.mysqldump.others import refusals
from bar_fly_trading.data.importers.mysqldump.tables import KEYS, OFFSET, OPTIONS, ROW
from bar_fly_trading.data.known import backfilled
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import KNOWN_AT, OPTION_CHAINS, OPTIONS_SUMMARY

_CONTRACT = r"^[A-Za-z0-9.\-]{1,40}$"


@dataclass(frozen=True, slots=True)
class Chains:
    """Option chains without `known_at`, what was refused, and the instruments and sessions of which a row was refused."""

    frame: pl.DataFrame
    refused: pl.DataFrame
    incomplete: pl.DataFrame


def option_chains(rows: pl.DataFrame, calendar: Calendar, newest: date) -> Chains:
    """Turn typed rows of `historical_options` (with `instrument_id`, `row`, `offset`) into rows of OPTION_CHAINS.

    Refused are: a date that is no closed session, a type other than call and put, a contract that is none, no expiration, a
    strike not above 0, a negative volume, and a contract and session given again with other values. What the dump has no column for is null.
    """
    days = [day for day in rows["date"].unique() if calendar.first_day < day <= newest and calendar.is_session(day)]
    marked = rows.sort(*KEYS[OPTIONS], ROW)
    again = pl.all_horizontal([pl.col(name) == pl.col(name).shift(1) for name in KEYS[OPTIONS]]).fill_null(value=False)
    if marked.select(again.any()).item():
        values = [name for name in rows.columns if name not in (ROW, OFFSET)]
        marked = marked.unique(values, keep="first", maintain_order=True)
    strike = pl.col("strike")
    rules = (
        (~pl.col("date").is_in(days), pl.lit("date is no closed session of the exchange")),
        (~pl.col("contract_id").str.contains(_CONTRACT), pl.lit("contract_id is no contract")),
        (~pl.col("type").is_in(["call", "put"]).fill_null(value=False), pl.lit("type is neither call nor put")),
        (pl.col("expiration").is_null(), pl.lit("expiration is NULL")),
        (~(strike > 0).fill_null(value=False), pl.format("strike is {}", strike.cast(pl.String).fill_null("NULL"))),
        ((pl.col("volume") < 0).fill_null(value=False), pl.format("volume is {}", pl.col("volume"))),
        (again, pl.lit("its key occurs twice")),
    )
    reason = pl.coalesce(*(pl.when(bad).then(words) for bad, words in rules))
    marked = marked.with_columns(reason.alias("_reason"))
    bad = marked.filter(pl.col("_reason").is_not_null())
    good = marked.filter(pl.col("_reason").is_null()).rename({"date": "session", "type": "right"})
    return Chains(
        frame=good.select(*OPTION_CHAINS.columns),
        refused=refusals(OPTIONS, bad, pl.col("_reason")),
        incomplete=bad.select("instrument_id", pl.col("date").alias("session")).unique(),
    )


def volumes(chains: Chains) -> pl.DataFrame:
    """Return the contracts traded a session as rows of OPTIONS_SUMMARY, of sessions whose chain is whole and has volumes."""
    traded = chains.frame.drop_nulls("volume").join(chains.incomplete, on=["instrument_id", "session"], how="anti")
    volume = pl.col("volume")
    summed = traded.group_by("instrument_id", "session").agg(
        call_volume=volume.filter(pl.col("right") == "call").sum(),
        put_volume=volume.filter(pl.col("right") == "put").sum(),
        total_volume=volume.sum(),
    )
    return summed.select(*OPTIONS_SUMMARY.columns).sort("instrument_id", "session")


def known(frame: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Add when rows of a session count as known: its close plus 15 minutes."""
    return frame.with_columns(backfilled(frame["session"], calendar).alias(KNOWN_AT))


@dataclass(frozen=True, slots=True)
class Span:
    """Rows read at once: of these symbols, neighbours in order, and these days, all included."""

    first_symbol: str
    last_symbol: str
    first: date
    last: date


def spans(counts: Sequence[tuple[str, date, int]], quarter: tuple[date, date], rows_max: int) -> list[Span]:
    """Put the rows of a quarter, counted by symbol and day in that order, into spans of about `rows_max` rows.

    Several symbols whole, or some days of one symbol that has too many.
    """
    by_symbol: dict[str, list[tuple[date, int]]] = {}
    for symbol, day, count in counts:
        by_symbol.setdefault(symbol, []).append((day, count))
    found: list[Span] = []
    names: list[str] = []
    room = rows_max
    for symbol, days in by_symbol.items():
        total = sum(count for _, count in days)
        if names and total > room:
            found.append(Span(names[0], names[-1], *quarter))
            names, room = [], rows_max
        if total > rows_max:
            found += _days(symbol, days, rows_max)
            continue
        names.append(symbol)
        room -= total
    return [*found, Span(names[0], names[-1], *quarter)] if names else found


def _days(symbol: str, days: Sequence[tuple[date, int]], rows_max: int) -> list[Span]:
    found: list[Span] = []
    first, rows = days[0][0], 0
    for number, (day, count) in enumerate(days):
        if rows and rows + count > rows_max:
            found.append(Span(symbol, symbol, first, days[number - 1][0]))
            first, rows = day, 0
        rows += count
    return [*found, Span(symbol, symbol, first, days[-1][0])]


def quarter_of(day: date) -> tuple[date, date]:
    """Return the first and last day of the quarter a day is in."""
    first = date(day.year, day.month - (day.month - 1) % 3, 1)
    after = date(first.year + first.month // 10, (first.month + 2) % 12 + 1, 1)
    return first, after - timedelta(days=1)
