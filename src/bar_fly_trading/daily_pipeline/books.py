"""What each mode's strategies hold, from the journal's fills and the store's splits and dividends."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date
from decimal import Decimal

import polars as pl

from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import evening_us
from bar_fly_trading.journal import Journal
from bar_fly_trading.strategies.signal import Holding
from bar_fly_trading.trading.book import Book, BookFill, Dividend, Split, build_book, read_fill
from bar_fly_trading.trading.orders import Mode

BOOK_MODES = (Mode.SHADOW, Mode.PAPER)


def all_fills(journal: Journal) -> tuple[BookFill, ...]:
    """Return every fill the journal holds, in the order it was recorded."""
    return tuple(read_fill(r.payload) for r in journal.records(kinds=("fill",)))


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def splits_of(store: Store, instrument_ids: Iterable[str], known_by_us: int) -> tuple[Split, ...]:
    """Return the splits known by a UTC microsecond of some instruments."""
    rows = store.read("splits", known_by_us=known_by_us).filter(pl.col("instrument_id").is_in(list(instrument_ids)))
    return tuple(
        Split(r["instrument_id"], r["effective_date"], _decimal(r["split_factor"])) for r in rows.iter_rows(named=True)
    )


def dividends_of(store: Store, instrument_ids: Iterable[str], known_by_us: int) -> tuple[Dividend, ...]:
    """Return the dividends known by a UTC microsecond of some instruments."""
    rows = store.read("dividends", known_by_us=known_by_us).filter(pl.col("instrument_id").is_in(list(instrument_ids)))
    return tuple(
        Dividend(r["instrument_id"], r["ex_dividend_date"], _decimal(r["amount"])) for r in rows.iter_rows(named=True)
    )


def closes_of(store: Store, session: date, instrument_ids: Collection[str]) -> dict[str, Decimal]:
    """Return closes as traded of a session, by instrument; what the store does not hold is left out."""
    if not instrument_ids:
        return {}
    bars = store.read("bars", known_by_us=evening_us(session)).filter(
        (pl.col("session") == session) & pl.col("instrument_id").is_in(list(instrument_ids))
    )
    return {i: _decimal(c) for i, c in zip(bars["instrument_id"], bars["close"], strict=True)}


def build_books(journal: Journal, store: Store, session: date, known_by_us: int) -> dict[Mode, Book]:
    """Return the shadow and the paper book as of `session`, with the events known by `known_by_us`."""
    fills = all_fills(journal)
    ids = sorted({f.instrument_id for f in fills})
    splits = splits_of(store, ids, known_by_us) if ids else ()
    dividends = dividends_of(store, ids, known_by_us) if ids else ()
    return {
        mode: build_book(fills, mode=mode, session=session, splits=splits, dividends=dividends) for mode in BOOK_MODES
    }


def holdings_by_mode(books: Mapping[Mode, Book], modes: Mapping[str, Mode]) -> tuple[Holding, ...]:
    """Return what each strategy holds in the book of the mode it runs in (SHADOW unless promoted)."""
    return tuple(
        h for mode, book in sorted(books.items()) for h in book.holdings() if modes.get(h.strategy, Mode.SHADOW) is mode
    )


def split_factors(splits: Iterable[Split], after: date, through: date) -> dict[str, Decimal]:
    """Return new shares for one old by instrument, of the splits effective after one day through another."""
    factors: dict[str, Decimal] = {}
    for s in splits:
        if after < s.effective_date <= through:
            factors[s.instrument_id] = factors.get(s.instrument_id, Decimal(1)) * s.factor
    return factors
