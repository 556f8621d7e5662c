"""A ticker's change as spells of one instrument, and a ticker that passed to another company."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from bar_fly_trading.data.ingest import free_id
from bar_fly_trading.data.known import backfill_known_us
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.instruments import Instruments, SymbolSpell, canonical_symbol
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import KNOWN_AT, SPELLS

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Renamed:
    """What was written down: the instrument, its spells now, and the store's version; `changed` False: it was so already."""

    version: str | None
    instrument_id: str
    spells: tuple[SymbolSpell, ...]
    changed: bool = True


def rename(store: Store, calendar: Calendar, old: str, new: str, first: date, *, recorded_at_us: int) -> Renamed:
    """Close the spell of `old` and open one of `new` on the same instrument, from the session `first` on.

    Where only `new` is known here, with bars from before `first` (a vendor gives a company's whole history under its
    newest symbol), those days get the symbol `old`. Known from the close of the session before `first`, as announced, or
    now where that is earlier. FixInput where neither is known, or `new` names another instrument on or after `first`.
    """
    before, after = _symbol(old), _symbol(new)
    if before == after:
        raise FixInput(f"{before} is renamed to itself.", way_out="Name the old symbol, then the new one.")
    instruments = load_instruments(store)
    spell = next((s for s in reversed(instruments.spells_of(before)) if s.start < first), None)
    bearer = _bearer(instruments, after, first)
    if spell is None:
        return _backdate(store, calendar, instruments, before, after, first, recorded_at_us)
    newest = instruments.spells_for(spell.instrument_id)[-1]
    if newest.symbol == after and newest.start == first:
        return Renamed(store.current(), spell.instrument_id, instruments.spells_for(spell.instrument_id), changed=False)
    if bearer is not None:
        raise FixInput(
            f"{after} names {bearer.instrument_id} from {bearer.start} on, and {before} is {spell.instrument_id}: they are two"
            " series here.",
            way_out=f"Go on with {after} alone: its own history is whole. Nothing was changed.",
        )
    if newest.start != spell.start:
        raise FixInput(
            f"{before} ({spell.instrument_id}) is {newest.symbol} since {newest.start}.",
            way_out=f"Rename {newest.symbol}, with a later day.",
        )
    rows = (
        SymbolSpell(spell.instrument_id, before, spell.start, first - _DAY),
        SymbolSpell(spell.instrument_id, after, first),
    )
    return _publish(store, calendar, rows, first, f"rename {before} {after}", recorded_at_us)


def reuse(store: Store, calendar: Calendar, symbol: str, first: date, *, recorded_at_us: int) -> Renamed:
    """Write down that a symbol names another company from the session `first` on: a new instrument, pulled from then on.

    FixInput where the symbol is not known here, or its instrument has bars on or after `first`.
    """
    name = _symbol(symbol)
    instruments = load_instruments(store)
    spells = instruments.spells_of(name)
    if not spells:
        raise FixInput(f"{name} is not known here.", way_out=f"Pull it: bft pull {name}.")
    last = spells[-1]
    newest = _newest_bar(store, last.instrument_id)
    if last.start >= first or (newest is not None and newest >= first):
        until = newest or last.start
        raise FixInput(
            f"{name} ({last.instrument_id}) has bars up to {until}, and is said to be another company from {first}.",
            way_out="Give the first session of the new company.",
        )
    rows = [SymbolSpell(free_id(name, instruments.ids()), name, first)]
    if last.end is None or last.end >= first:
        rows.insert(0, SymbolSpell(last.instrument_id, name, last.start, max(newest or last.start, last.start)))
    done = _publish(store, calendar, tuple(rows), first, f"reuse {name}", recorded_at_us)
    return Renamed(done.version, rows[-1].instrument_id, (rows[-1],))


def _symbol(text: str) -> str:
    try:
        return canonical_symbol(text)
    except ValueError as error:
        raise FixInput(f"{error}.", way_out="Give symbols as FB and META.") from None


def _bearer(instruments: Instruments, symbol: str, first: date) -> SymbolSpell | None:
    """Return who bears a symbol on or after a day."""
    return next((s for s in instruments.spells_of(symbol) if s.end is None or s.end >= first), None)


def _newest_bar(store: Store, instrument_id: str) -> date | None:
    newest = store.read("bars").filter(pl.col("instrument_id") == instrument_id)["session"].max()
    return newest if isinstance(newest, date) else None


def _backdate(
    store: Store, calendar: Calendar, instruments: Instruments, old: str, new: str, first: date, now_us: int
) -> Renamed:
    bearer = _bearer(instruments, new, first)
    if bearer is None:
        raise FixInput(f"Neither {old} nor {new} is known here on {first}.", way_out=f"Pull one: bft pull {new}.")
    if bearer.start >= first:
        raise FixInput(
            f"{old} is not known here, and {new} begins {bearer.start}: no day before {first} has bars.",
            way_out="Import the bars of the old symbol first.",
        )
    rows = (
        SymbolSpell(bearer.instrument_id, old, bearer.start, first - _DAY),
        SymbolSpell(bearer.instrument_id, new, first, bearer.end),
    )
    return _publish(store, calendar, rows, first, f"rename {old} {new}", now_us)


def _publish(
    store: Store, calendar: Calendar, rows: tuple[SymbolSpell, ...], first: date, source: str, now_us: int
) -> Renamed:
    announced = backfill_known_us(calendar, calendar.previous(first))
    stored = store.read(SPELLS.name).filter(pl.col("instrument_id") == rows[0].instrument_id)
    # Never before what it corrects, which would then still be the newest word.
    corrected = stored.filter(pl.col("start").is_in([row.start for row in rows]))[KNOWN_AT].max()
    known_us = max(min(now_us, announced), corrected if isinstance(corrected, int) else 0)
    frame = pl.DataFrame(
        [(s.instrument_id, s.symbol, s.start, s.end, known_us) for s in rows],
        schema={**SPELLS.columns, KNOWN_AT: pl.Int64()},
        orient="row",
    )
    version = store.publish({SPELLS.name: frame}, source=source, recorded_at_us=now_us)
    instrument_id = rows[-1].instrument_id
    return Renamed(version, instrument_id, load_instruments(store).spells_for(instrument_id))
