"""What the vendor lists and has delisted: kept in the store, and what it means for the names we know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.calendars import listing_status
from bar_fly_trading.data.ingest import compare
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.vendor_answers import VendorRefused
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.facts.instruments import Instruments, SymbolSpell, canonical_symbol, vendor_symbol
from bar_fly_trading.facts.listings import ACTIVE, UNLISTED, Finding, Listing, Standing, standing, successors
from bar_fly_trading.facts.tables import KNOWN_AT, LISTINGS, SPELLS

# A list that lacks more of our names than this is cut short, not news.
_LACKING_MAX, _LACKING_SHARE_MAX = 5, 0.2


@dataclass(frozen=True, slots=True)
class ListingsPull:
    """What asking the list brought: `faults` that did not come, and `news` of our names, both in words."""

    faults: tuple[str, ...] = ()
    news: tuple[str, ...] = ()


async def pull_listings(store: Store, vendor: AlphaVantage, *, now_us: Callable[[], int]) -> ListingsPull:
    """Ask what is listed and what was delisted (two calls), publish what is new of it, and end or re-open our spells.

    A name of ours that was delisted has its spell ended there: it is pulled no more and gets no new entries, and its bars
    stay. One that is in neither list is kept as `Unlisted`. A list that lacks many of our names is not believed.
    """
    try:
        rows = pl.concat([await listing_status(vendor), await listing_status(vendor, delisted=True)])
    except VendorRefused as error:
        return ListingsPull(faults=(str(error),))
    rows = rows.unique("listing_id", keep="first", maintain_order=True)
    instruments, at_us = load_instruments(store), now_us()
    newest = _newest_bars(store)
    current = {i: instruments.spells_for(i)[-1] for i in instruments.ids() if i in newest}
    stored = store.read(LISTINGS.name).select(list(LISTINGS.columns))
    lacking = _lacking(rows, [spell.symbol for spell in current.values() if spell.end is None])
    alive = sum(spell.end is None for spell in current.values())
    if len(lacking) > max(_LACKING_MAX, _LACKING_SHARE_MAX * alive):
        words = f"the list of listings lacks {len(lacking)} of our {alive} names ({lacking[0]}): it is not believed"
        return ListingsPull(faults=(words,))
    incoming = pl.concat([rows, _unlisted(stored, rows, lacking)])
    changes = compare(LISTINGS, stored, incoming)
    # Our own names' rows are kept each time: their date says that they are still true, and when the list was asked.
    own = incoming.filter(pl.col("symbol").is_in([vendor_symbol(spell.symbol) for spell in current.values()]))
    kept = pl.concat([changes.new, changes.corrected, own]).unique("listing_id", keep="first", maintain_order=True)
    spells, news = _judged(listings_of(incoming), listings_of(stored), current, newest)
    known = pl.lit(at_us, pl.Int64).alias(KNOWN_AT)
    additions = {LISTINGS.name: kept.with_columns(known), SPELLS.name: _spell_rows(spells).with_columns(known)}
    store.publish(additions, source="pull alpha vantage listings", recorded_at_us=at_us)
    return ListingsPull(news=news)


def _newest_bars(store: Store) -> dict[str, date]:
    bars = store.read("bars").group_by("instrument_id").agg(pl.col("session").max())
    return dict(bars.iter_rows())


def _lacking(rows: pl.DataFrame, symbols: Iterable[str]) -> list[str]:
    listed = set(rows["symbol"])
    return sorted(symbol for symbol in set(symbols) if vendor_symbol(symbol) not in listed)


def _unlisted(stored: pl.DataFrame, rows: pl.DataFrame, lacking: Sequence[str]) -> pl.DataFrame:
    """Return rows of status Unlisted: what an earlier list had as active, and our names that no list has."""
    gone = stored.filter(pl.col("status").is_in([ACTIVE, UNLISTED])).join(rows, on="listing_id", how="anti")
    unknown = [name for text in lacking if (name := vendor_symbol(text)) not in set(stored["symbol"])]
    made = pl.DataFrame(
        {"listing_id": [f"{name}@unknown" for name in unknown], "symbol": unknown},
        schema={"listing_id": pl.String, "symbol": pl.String},
    )
    frame = pl.concat([gone, made], how="diagonal").with_columns(pl.lit(UNLISTED).alias("status"))
    return frame.select(list(LISTINGS.columns))


def listings_of(frame: pl.DataFrame) -> dict[str, list[Listing]]:
    """Return a table's rows by canonical symbol; what is no stock symbol (a unit, a warrant) is left out."""
    found: dict[str, list[Listing]] = {}
    columns = ("symbol", "status", "name", "exchange", "ipo_date", "delisting_date")
    for text, *rest in frame.select(columns).iter_rows():
        try:
            symbol = canonical_symbol(text)
        except ValueError:
            continue
        found.setdefault(symbol, []).append(Listing(symbol, *rest))
    return found


def _judged(
    listed: Mapping[str, Sequence[Listing]],
    before: Mapping[str, Sequence[Listing]],
    current: Mapping[str, SymbolSpell],
    newest: Mapping[str, date],
) -> tuple[list[SymbolSpell], tuple[str, ...]]:
    """Return the spells that end or go on, and the news of our names in words."""
    spells: list[SymbolSpell] = []
    news: list[str] = []
    active = [row for rows in listed.values() for row in rows if row.status == ACTIVE]
    for instrument_id, spell in sorted(current.items()):
        symbol, last = spell.symbol, newest[instrument_id]
        found = Finding(instrument_id, symbol, *standing(symbol, last, listed.get(symbol, ())))
        if found.standing is Standing.LISTED and spell.end is not None:
            spells.append(SymbolSpell(instrument_id, symbol, spell.start))
            news.append(f"{symbol} is listed again: it is pulled again")
        elif spell.end is not None:
            continue
        elif found.standing is Standing.DELISTED and found.day is not None:
            spells.append(SymbolSpell(instrument_id, symbol, spell.start, max(found.day, last, spell.start)))
            news.append(f"{found.words()}: its bars are kept, it is pulled no more and gets no new entries")
        elif found.standing is Standing.REUSED:
            news.append(f"{found.words()}: nothing of it is taken; bft rename {symbol} --reused --from {found.day}")
        elif found.standing is Standing.UNLISTED:
            news.append(_renamed(found, listed, before, active))
    return spells, tuple(news)


def _renamed(
    found: Finding,
    listed: Mapping[str, Sequence[Listing]],
    before: Mapping[str, Sequence[Listing]],
    active: Sequence[Listing],
) -> str:
    gone = next(row for row in listed[found.symbol] if row.status == UNLISTED)
    candidates = successors(gone, active, before)
    new = candidates[0] if len(candidates) == 1 else "NEW"
    hint = f" (perhaps {', '.join(candidates)})" if candidates else ""
    return f"{found.words()}{hint}; if so: bft rename {found.symbol} {new} --from DATE"


def _spell_rows(spells: Sequence[SymbolSpell]) -> pl.DataFrame:
    rows = [(s.instrument_id, s.symbol, s.start, s.end) for s in spells]
    return pl.DataFrame(rows, schema=SPELLS.columns, orient="row")


def unlisted(store: Store, instruments: Instruments, known_by_us: int) -> tuple[str, ...]:
    """Return the symbols in use that no list had any more when it was last asked by then."""
    listed = listings_of(store.read(LISTINGS.name, known_by_us=known_by_us))
    found = []
    for instrument_id in instruments.ids():
        spell = instruments.spells_for(instrument_id)[-1]
        statuses = {row.status for row in listed.get(spell.symbol, ())}
        if spell.end is None and UNLISTED in statuses and ACTIVE not in statuses:
            found.append(spell.symbol)
    return tuple(sorted(found))
