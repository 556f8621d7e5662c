"""The old program's small tables into the store: overview, sectors, earnings, macro, listed splits, option volumes.

Where the old schema lost when a row became known, the row is known from the import on and in no view of the past.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date

import polars as pl

from bar_fly_trading.data.importers.mysqldump.tables import KEYS, MACRO, OFFSET, OLD_TABLES, REFUSALS, ROW
from bar_fly_trading.data.ingest import compare
from bar_fly_trading.data.known import backfill_known_us, backfilled
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.instruments import new_instrument_id
from bar_fly_trading.facts.overview_fields import VENDOR_NAMES
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import (
    EARNINGS,
    KNOWN_AT,
    MACRO_IMPORTED,
    OPTIONS_SUMMARY,
    OVERVIEW,
    SECTORS,
    SPLITS,
    Table,
)

Loaded = tuple[pl.DataFrame, pl.DataFrame]
_SNAPSHOT_NAMES = {"symbol": "Symbol", **VENDOR_NAMES}


def refusals(table: str, rows: pl.DataFrame, reason: pl.Expr) -> pl.DataFrame:
    """Return staged rows of a table as refusals."""
    what = pl.concat_str([pl.col(k).cast(pl.String) for k in KEYS[table]], separator=" ")
    named = rows.select(pl.lit(table).alias("table"), ROW, OFFSET, what.alias("what"), reason.alias("reason"))
    return named.cast(pl.Schema(REFUSALS))


def once(table: str, rows: pl.DataFrame) -> Loaded:
    """Return a table's rows with each key's first, and the repeats of a key with other values as refusals."""
    values = [name for name in rows.columns if name not in (ROW, OFFSET)]
    repeat = pl.int_range(pl.len()).over(KEYS[table]) > 0
    marked = rows.sort(ROW).unique(values, keep="first", maintain_order=True).with_columns(repeat.alias("_repeat"))
    repeats = marked.filter("_repeat")
    return marked.filter(~pl.col("_repeat")).drop("_repeat"), refusals(table, repeats, pl.lit("its key occurs twice"))


def with_ids(rows: pl.DataFrame, ids: Mapping[str, str]) -> pl.DataFrame:
    """Add the instrument each symbol names; one without bars gets the id its first bar will give it."""
    symbols = {symbol: ids.get(symbol, new_instrument_id(symbol)) for symbol in rows["symbol"].unique()}
    return rows.with_columns(pl.col("symbol").replace_strict(symbols, return_dtype=pl.String).alias("instrument_id"))


def _changed(table: Table, store: Store, incoming: pl.DataFrame, known_at_us: int) -> pl.DataFrame:
    changes = compare(table, store.read(table.name), incoming)
    return pl.concat([changes.new, changes.corrected]).with_columns(pl.lit(known_at_us, pl.Int64).alias(KNOWN_AT))


def _snapshot(row: Mapping[str, object]) -> str:
    body = {word: "None" if row[name] is None else _text(row[name]) for name, word in _SNAPSHOT_NAMES.items()}
    return json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def overview(rows: pl.DataFrame, store: Store, at_us: int) -> pl.DataFrame:
    """Return snapshots in the vendor's names, known at the import; a pulled one that is stored already stays the newest."""
    columns = OLD_TABLES["company_overview"].columns
    texts = [_snapshot(row) for row in rows.select(*columns).iter_rows(named=True)]
    incoming = rows.select("instrument_id").with_columns(pl.Series("snapshot", texts, dtype=pl.String))
    stored = store.read("overview").select("instrument_id")
    return _changed(OVERVIEW, store, incoming.join(stored, on="instrument_id", how="anti"), at_us)


def sectors(rows: pl.DataFrame, store: Store, calendar: Calendar) -> pl.DataFrame:
    """Return the sectors of instruments that had none, known since the calendar begins, as `bft import sectors` does."""
    stored = store.read("sectors").select("instrument_id")
    named = rows.select("instrument_id", pl.col("sector").str.strip_chars(), pl.lit(None, pl.String).alias("name"))
    named = named.filter(pl.col("sector").is_not_null() & ~pl.col("sector").is_in(["", "None", "-"]))
    since = backfill_known_us(calendar, calendar.next(calendar.first_day))
    return _changed(SECTORS, store, named.join(stored, on="instrument_id", how="anti"), since)


def earnings(rows: pl.DataFrame, store: Store, at_us: int) -> pl.DataFrame:
    """Return quarters without their announcement date, known at the import; a quarter stored already stays as it is."""
    stored = store.read("earnings").select("instrument_id", "fiscal_date_ending")
    incoming = rows.join(stored, on=["instrument_id", "fiscal_date_ending"], how="anti").with_columns(
        pl.lit(None, pl.Date).alias("reported_date"), pl.lit(None, pl.String).alias("report_time")
    )
    return _changed(EARNINGS, store, incoming.select(*EARNINGS.columns), at_us)


def macro(rows: pl.DataFrame, store: Store, at_us: int) -> pl.DataFrame:
    """Return macro rows by reference date, known at the import (the old schema lost the release dates)."""
    incoming = rows.select(pl.col("date").alias("reference_date"), *MACRO)
    return _changed(MACRO_IMPORTED, store, incoming, at_us)


def listed_splits(rows: pl.DataFrame, store: Store, calendar: Calendar, at_us: int) -> Loaded:
    """Return the listed splits that no bar carried (known with the session before, else at the import), and the refusals.

    Where the bars gave that day another factor, theirs stays.
    """
    sound = pl.col("split_factor").is_between(0.0, 1e6, closed="right").fill_null(value=False)
    refused = refusals(
        "stock_splits",
        rows.filter(~sound),
        pl.format("split_factor is {}", pl.col("split_factor").cast(pl.String).fill_null("NULL")),
    )
    stored = store.read("splits").select("instrument_id", "effective_date")
    fresh = rows.filter(sound).join(stored, on=["instrument_id", "effective_date"], how="anti", maintain_order="left")
    newest = calendar.newest_closed(at_us)

    def known(day: date) -> int:
        before = calendar.first_day < calendar.previous(day) if calendar.first_day < day <= newest else False
        return backfill_known_us(calendar, calendar.previous(day)) if before else at_us

    times = [known(day) for day in fresh["effective_date"]]
    return fresh.select(*SPLITS.columns).with_columns(pl.Series(KNOWN_AT, times, dtype=pl.Int64)), refused


def options_summary(rows: pl.DataFrame, store: Store, calendar: Calendar, newest: date) -> Loaded:
    """Return option volumes a session, known at its close plus 15 minutes, and the rows of no session as refusals."""
    days = [day for day in rows["date"].unique() if calendar.first_day < day <= newest and calendar.is_session(day)]
    dated = pl.col("date").is_in(days)
    refused = refusals(
        "options_daily_summary", rows.filter(~dated), pl.lit("date is no closed session of the exchange")
    )
    good = rows.filter(dated).rename({"date": "session"})
    changes = compare(OPTIONS_SUMMARY, store.read("options_summary"), good)
    changed = pl.concat([changes.new, changes.corrected])
    return changed.with_columns(backfilled(changed["session"], calendar).alias(KNOWN_AT)), refused
