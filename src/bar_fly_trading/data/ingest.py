"""What incoming bars add to the store: new rows, corrections, the instruments they name, the events they carry."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from bar_fly_trading.data.known import backfill_known_us, event_known
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.instruments import Instruments, SymbolSpell, new_instrument_id
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import DIVIDENDS, KNOWN_AT, SPELLS, SPLITS, Table

_EVENTS = (
    (SPLITS, "effective_date", "split_factor", "split_coefficient", 1.0),
    (DIVIDENDS, "ex_dividend_date", "amount", "dividend_amount", 0.0),
)


@dataclass(frozen=True, slots=True)
class Changes:
    """Incoming rows against the stored ones: `new` keys, `corrected` ones with another value, and how many are the same.

    Both frames have the columns of the table without the knowledge columns.
    """

    new: pl.DataFrame
    corrected: pl.DataFrame
    same: int


def compare(table: Table, stored: pl.DataFrame, incoming: pl.DataFrame) -> Changes:
    """Sort incoming rows of a table (unique by its key) into new, corrected and same; values are compared exactly."""
    key, names = list(table.key), list(table.columns)
    values = [name for name in names if name not in key]
    old = stored.select(*key, pl.struct(values).alias("_old"), pl.lit(value=True).alias("_stored"))
    joined = incoming.select(names).join(old, on=key, how="left", maintain_order="left")
    same = pl.all_horizontal([pl.col(name).eq_missing(pl.col("_old").struct.field(name)) for name in values]) & pl.col(
        "_stored"
    ).fill_null(value=False)
    joined = joined.with_columns(same.alias("_same"))
    return Changes(
        new=joined.filter(pl.col("_stored").is_null()).select(names),
        corrected=joined.filter(pl.col("_stored") & ~pl.col("_same")).select(names),
        same=int(joined["_same"].sum()),
    )


@dataclass(frozen=True, slots=True)
class Identities:
    """The instrument of each symbol, the spells to add, and the symbols that named an instrument only until a date.

    `since`: of a symbol that passed to another company, the day from which its bars are that company's.
    """

    ids: Mapping[str, str]
    spells: tuple[SymbolSpell, ...]
    ended: Mapping[str, date]
    since: Mapping[str, date] = field(default_factory=dict)

    def new_ids(self) -> tuple[str, ...]:
        """Return the instruments first seen here, sorted."""
        return tuple(sorted(spell.instrument_id for spell in self.spells if spell.end is None))

    def frame(self, calendar: Calendar) -> pl.DataFrame:
        """Return the spells as rows of the table, each known with the first bar of its symbol."""
        rows = [(s.instrument_id, s.symbol, s.start, s.end, backfill_known_us(calendar, s.start)) for s in self.spells]
        return pl.DataFrame(rows, schema={**SPELLS.columns, KNOWN_AT: pl.Int64()}, orient="row")


def identify(spans: Mapping[str, tuple[date, date]], instruments: Instruments) -> Identities:
    """Name the instrument behind each canonical symbol whose bars lie in a span of dates (first, last).

    A symbol never seen is a new instrument; bars before a known symbol's first spell belong to its instrument, whose
    spell is continued backwards; bars after its last spell has ended name nobody and are listed in `ended`, as are bars from
    before the day on which a symbol passed to another company.
    """
    by_symbol: dict[str, list[SymbolSpell]] = {}
    first_start: dict[str, date] = {}
    for spell in instruments.spells():
        by_symbol.setdefault(spell.symbol, []).append(spell)
        first_start.setdefault(spell.instrument_id, spell.start)
    ids: dict[str, str] = {}
    spells: list[SymbolSpell] = []
    ended: dict[str, date] = {}
    since: dict[str, date] = {}
    for symbol, (first, last) in sorted(spans.items()):
        known = by_symbol.get(symbol)
        if not known:
            ids[symbol] = free_id(symbol, first_start)
            spells.append(SymbolSpell(ids[symbol], symbol, first))
            continue
        ids[symbol] = known[-1].instrument_id
        if len({spell.instrument_id for spell in known}) > 1:
            since[symbol] = known[-1].start
        if symbol in since and first < since[symbol]:
            ended[symbol] = since[symbol]
        elif known[-1].end is not None and last > known[-1].end:
            ended[symbol] = known[-1].end
        if first < known[0].start and known[0].start == first_start[known[0].instrument_id]:
            spells.append(SymbolSpell(ids[symbol], symbol, first, known[0].start - timedelta(days=1)))
    return Identities(ids, tuple(spells), ended, since)


def free_id(symbol: str, taken: Container[str]) -> str:
    """Return the first instrument id of a symbol that is not taken: another company's is numbered up."""
    reuse_no = 1
    while new_instrument_id(symbol, reuse_no) in taken:
        reuse_no += 1
    return new_instrument_id(symbol, reuse_no)


def events(store: Store, changed: pl.DataFrame, calendar: Calendar) -> dict[str, pl.DataFrame]:
    """Return the rows that changed bars (with `known_at`) add to `splits` and `dividends`, known by `event_known`.

    A bar that lost its event sets the stored one to its neutral value (factor 1, amount 0).
    """
    known = event_known(changed["session"], calendar, pl.col(KNOWN_AT)).alias(KNOWN_AT)
    dated = changed.with_columns(known)
    found: dict[str, pl.DataFrame] = {}
    for table, day, value, column, neutral in _EVENTS:
        stored = store.read(table.name)
        key = ["instrument_id", day]
        rows = dated.select("instrument_id", pl.col("session").alias(day), pl.col(column).alias(value), KNOWN_AT)
        rows = pl.concat([rows.filter(pl.col(value) != neutral), rows.join(stored, on=key, how="semi")])
        rows = rows.unique(key, maintain_order=True)
        changes = compare(table, stored, rows)
        wanted = pl.concat([changes.new, changes.corrected])
        found[table.name] = wanted.join(rows.select(*key, KNOWN_AT), on=key, how="left")
    return found
