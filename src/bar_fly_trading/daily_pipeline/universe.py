"""The universe as a run uses it: who may be entered at a session, whom a pull asks, and whom a training learns from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from bar_fly_trading.daily_pipeline.books import build_books
from bar_fly_trading.data.pull_listings import unlisted
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.universe import universe_at
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.facts.instruments import Instruments
from bar_fly_trading.facts.sessions import evening_us, new_york_date
from bar_fly_trading.facts.universe import UniverseRule, instrument_of, member_days, why_outside
from bar_fly_trading.journal import Journal
from bar_fly_trading.strategies.signal import Holding
from bar_fly_trading.trading.orders import MAY_BE_AT_BROKER
from bar_fly_trading.trading.reading import read_status


def outside_at(store: Store, rule: UniverseRule, session: date) -> dict[str, str]:
    """Return every instrument that may not be entered at a session's close, each with why, as known by that evening.

    Outside the universe, or delisted. FixData where the rule names an index without members then.
    """
    universe, membership, instruments = universe_at(store, rule, session, evening_us(session))
    found: dict[str, str] = {}
    for instrument_id in instruments.ids():
        ended = instruments.ended(instrument_id)
        words = why_outside(universe, membership, instruments, instrument_id)
        if ended is not None:
            found[instrument_id] = f"delisted on {ended}: no new entries"
        elif words is not None:
            found[instrument_id] = words
    return found


def expected_at(store: Store, rule: UniverseRule, session: date) -> frozenset[str] | None:
    """Return the instruments of the universe at a session, which a run expects to have bars; None: all that it knows."""
    universe, _, _ = universe_at(store, rule, session, evening_us(session))
    return (
        None if universe.open else frozenset(m.instrument_id for m in universe.members if m.instrument_id is not None)
    )


def listing_notes(store: Store, rule: UniverseRule, session: date, holdings: Sequence[Holding]) -> tuple[str, ...]:
    """Return what a person should know of names that left the market or the list: those held, and those in the universe."""
    universe, membership, instruments = universe_at(store, rule, session, evening_us(session))
    aged = membership.aged(session)
    notes = [] if aged is None else [aged]
    for held in holdings:
        ended = instruments.ended(held.instrument_id)
        if ended is not None:
            notes.append(
                f"{held.quantity} {held.symbol} held by {held.strategy}: delisted on {ended}, no exit can be traded here;"
                " look at the account"
            )
    ours = {*(member.symbol for member in universe.members), *(held.symbol for held in holdings)}
    notes += [
        f"{symbol} is in no list of listings any more, delisted neither: it may have a new symbol (bft rename {symbol} NEW"
        " --from DATE)"
        for symbol in unlisted(store, instruments, evening_us(session))
        if symbol in ours
    ]
    return tuple(notes)


def names_to_pull(store: Store, rule: UniverseRule, held: Sequence[str], session: date, now_us: int) -> tuple[str, ...]:
    """Return the symbols a pull asks by itself: the universe at the session and the instruments in `held`, once each.

    Each by its symbol of today, under which the vendor knows it. Names that left the market are not asked; names that left
    the index are not either unless they are held. Empty where nothing is set and the store is empty.
    """
    universe, _, instruments = universe_at(store, rule, session)
    today = new_york_date(now_us)
    wanted: dict[str, None] = {}
    for member in universe.members:
        if member.instrument_id is None:
            wanted[member.symbol] = None
        elif instruments.ended(member.instrument_id) is None:
            wanted[instruments.symbol_of(member.instrument_id, today) or member.symbol] = None
    for instrument_id in held:
        symbol = instruments.symbol_of(instrument_id, today)
        if symbol is not None and instruments.ended(instrument_id) is None:
            wanted[symbol] = None
    return tuple(wanted)


def asked_as(instruments: Instruments, symbols: Sequence[str], today: date) -> tuple[str, ...]:
    """Return symbols as the vendor knows them today: one that its only bearer has given up becomes that one's newest."""
    found: dict[str, None] = {}
    for symbol in symbols:
        bearers = {spell.instrument_id for spell in instruments.spells_of(symbol)}
        if len(bearers) == 1 and instruments.id_of(symbol, today) is None:
            newest = instruments.spells_for(next(iter(bearers)))[-1]
            found[newest.symbol if newest.end is None else symbol] = None
        else:
            found[symbol] = None
    return tuple(found)


def held_instruments(journal: Journal, store: Store, session: date) -> tuple[str, ...]:
    """Return what any book holds, or may be about to hold by an order whose fate is open, sorted."""
    books = build_books(journal, store, session, evening_us(session))
    held = {p.instrument_id for book in books.values() for p in (*book.positions, *book.open_positions)}
    for row in journal.intents(states=MAY_BE_AT_BROKER):
        held.add(read_status(row.payload, row.state).intent.instrument_id)
    return tuple(sorted(held))


def members_frame(store: Store, rule: UniverseRule, session: date) -> pl.DataFrame | None:
    """Return the spans in which instruments were members (`instrument_id, start, end`; end null: still), None without an index.

    As known by the session's evening: what a training may learn from.
    """
    if not rule.index:
        return None
    _, membership, instruments = universe_at(store, rule, session, evening_us(session))
    rows = member_days(membership, instruments)
    schema = {"instrument_id": pl.String(), "start": pl.Date(), "end": pl.Date()}
    beside = [(i, date.min, None) for i in _beside(rule, instruments, session)]
    return pl.DataFrame([*rows, *beside], schema=schema, orient="row")


def _beside(rule: UniverseRule, instruments: Instruments, session: date) -> list[str]:
    return sorted({i for symbol in rule.symbols if (i := instrument_of(instruments, symbol, session)) is not None})


def stored_names(store: Store, on: date) -> tuple[str, ...]:
    """Return the symbols of every instrument the store knows that has not left the market, sorted."""
    instruments = load_instruments(store)
    alive = (i for i in instruments.ids() if instruments.ended(i) is None)
    return tuple(sorted(s for i in alive if (s := instruments.symbol_of(i, on)) is not None))
