"""The store's tables as the rooms behind it want them, cut at what was known."""

from __future__ import annotations

from datetime import date

import polars as pl

from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import FixData, StoreDamaged
from bar_fly_trading.facts.instruments import Instruments, SymbolSpell
from bar_fly_trading.facts.sessions import new_york_date
from bar_fly_trading.facts.tables import KNOWN_AT, MACRO, MACRO_IMPORTED, RECORDED_AT
from bar_fly_trading.features.dated_facts import DatedFacts
from bar_fly_trading.features.macro import MACRO_COLUMNS


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


def load_facts(store: Store, known_by_us: int | None = None) -> DatedFacts:
    """Return all that features rest on beside the bars, every revision known by a UTC microsecond (None: all).

    EPS come in shares of the day on which they became known: the vendor restates them for later splits, and those that
    the store has between that day and the row's receipt are taken back. Macro rows of the older program's database (known
    from their import on) stand only where the vendor's own value was not known by then.
    """
    earnings, overview, options, sectors = (
        store.history(name, known_by_us=known_by_us) for name in ("earnings", "overview", "options_summary", "sectors")
    )
    pulled = store.history(MACRO.name, known_by_us=known_by_us)
    imported = _imported_macro(store.history(MACRO_IMPORTED.name, known_by_us=known_by_us), pulled)
    # Splits later than the view may be among these: they undo what the vendor did, and so bring back what was known then.
    return DatedFacts(
        _as_announced(earnings, store.read("splits")), overview, pl.concat([imported, pulled]), options, sectors
    )


def _imported_macro(rows: pl.DataFrame, pulled: pl.DataFrame) -> pl.DataFrame:
    """Return imported macro rows in the shape of the `macro` table, without those whose value was pulled already."""
    names = {name: column.series for name, column in MACRO_COLUMNS.items()}
    long = rows.rename({**names, "reference_date": "date"}).unpivot(
        on=list(names.values()), index=["date", KNOWN_AT, RECORDED_AT], variable_name="series", value_name="value"
    )
    first = pulled.group_by("series", "date").agg(pulled_at=pl.col(KNOWN_AT).min())
    long = long.drop_nulls("value").join(first, on=["series", "date"], how="left", maintain_order="left")
    return long.filter(~(pl.col("pulled_at") <= pl.col(KNOWN_AT)).fill_null(value=False)).select(MACRO.schema().keys())


def _as_announced(earnings: pl.DataFrame, splits: pl.DataFrame) -> pl.DataFrame:
    """Return EPS in shares of the day on which each row became known, from those of the day of its receipt."""
    by_id: dict[str, list[tuple[date, float]]] = {}
    for instrument_id, day, factor in splits.select("instrument_id", "effective_date", "split_factor").iter_rows():
        if factor is not None and factor > 0.0 and factor != 1.0:
            by_id.setdefault(instrument_id, []).append((day, factor))
    if not by_id or earnings.is_empty():
        return earnings
    factors = [1.0] * earnings.height
    for row, (instrument_id, known_us, received_us) in enumerate(
        earnings.select("instrument_id", KNOWN_AT, RECORDED_AT).iter_rows()
    ):
        if found := by_id.get(instrument_id):
            first, last = new_york_date(known_us), new_york_date(received_us)
            for day, factor in found:
                factors[row] *= factor if first < day <= last else 1.0
    restated = pl.Series("restated", factors)
    amounts = ("reported_eps", "estimated_eps", "surprise")
    # Vendors quote at most four decimals, so what was announced comes back to within their rounding.
    back = [
        pl.when(pl.col("restated") == 1.0).then(a).otherwise((pl.col(a) * pl.col("restated")).round(6)).alias(a)
        for a in amounts
    ]
    return earnings.with_columns(restated).with_columns(back).drop("restated")
