"""The store's tables as the rooms behind it want them, cut at what was known."""

from __future__ import annotations

import polars as pl

from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import FixData, StoreDamaged
from bar_fly_trading.facts.instruments import Instruments, SymbolSpell


def load_bars(store: Store, known_by_us: int | None = None) -> pl.DataFrame:
    """Return the `bars` table (columns of `facts.tables.BARS` and the knowledge columns) known by a UTC microsecond.

    Sorted by instrument_id, session. FixData where no bar was known by then.
    """
    bars = store.read("bars", known_by_us=known_by_us)
    if bars.is_empty():
        raise FixData(
            "The store holds no bars for that time.", way_out="Run bft import bars FILE, or bft pull, then try again."
        )
    return bars


def load_instruments(store: Store, known_by_us: int | None = None) -> Instruments:
    """Return the instruments and their symbols known by a UTC microsecond; none from an empty store."""
    spells = store.read("spells", known_by_us=known_by_us)
    try:
        return Instruments(
            SymbolSpell(row["instrument_id"], row["symbol"], row["start"], row["end"])
            for row in spells.iter_rows(named=True)
        )
    except ValueError as error:
        raise StoreDamaged(
            f"The symbols in {store.root} contradict each other: {error}.", way_out="Read an older version."
        ) from error


def load_sectors(store: Store, known_by_us: int | None = None) -> dict[str, str]:
    """Return the sector of each instrument for which one was known by a UTC microsecond, by instrument id."""
    sectors = store.read("sectors", known_by_us=known_by_us).drop_nulls("sector")
    return dict(zip(sectors["instrument_id"], sectors["sector"], strict=True))
