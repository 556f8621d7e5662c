"""The sector of each instrument, from a CSV file of symbol, name, sector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bar_fly_trading.data.ingest import compare
from bar_fly_trading.data.known import backfill_known_us
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.instruments import canonical_symbol, new_instrument_id
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import KNOWN_AT, SECTORS


@dataclass(frozen=True, slots=True)
class SectorsReport:
    """What a sectors import did; `without_bars` are the symbols that have no instrument in the store yet."""

    version: str | None
    rows_new: int
    rows_corrected: int
    rows_same: int
    without_bars: tuple[str, ...]


def import_sectors(path: Path, store: Store, calendar: Calendar, *, recorded_at_us: int) -> SectorsReport:
    """Import sectors, all of the file or nothing; importing the same rows again adds nothing.

    An instrument's first sector counts as known since the calendar begins (a company's sector seldom changes, and a
    file of today is all there is); a later change is known from `recorded_at_us`. FixInput lists every fault.
    """
    rows = _read(path)
    spells = {spell.symbol: spell.instrument_id for spell in load_instruments(store).spells()}
    ids = {symbol: spells.get(symbol, new_instrument_id(symbol)) for symbol in rows["symbol"]}
    incoming = rows.with_columns(pl.col("symbol").replace_strict(ids, return_dtype=pl.String).alias("instrument_id"))
    changes = compare(SECTORS, store.read("sectors"), incoming)
    since = backfill_known_us(calendar, calendar.next(calendar.first_day))
    addition = pl.concat(
        [
            changes.new.with_columns(pl.lit(since, pl.Int64).alias(KNOWN_AT)),
            changes.corrected.with_columns(pl.lit(recorded_at_us, pl.Int64).alias(KNOWN_AT)),
        ]
    )
    version = store.publish({"sectors": addition}, source=f"import sectors {path.name}", recorded_at_us=recorded_at_us)
    return SectorsReport(
        version,
        changes.new.height,
        changes.corrected.height,
        changes.same,
        tuple(sorted(symbol for symbol in ids if symbol not in spells)),
    )


def _read(path: Path) -> pl.DataFrame:
    try:
        raw = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        first = str(error).partition("\n")[0][:300]
        raise FixInput(f"{path} cannot be read: {first}.", way_out="Give a CSV of symbol, name, sector.") from None
    raw = raw.rename({name: name.strip().lower() for name in raw.columns})
    faults = [f"column {name} is missing" for name in ("symbol", "sector") if name not in raw.columns]
    rows: dict[str, tuple[str, str, str | None]] = {}
    if not faults:
        if "name" not in raw.columns:
            raw = raw.with_columns(pl.lit(None, pl.String).alias("name"))
        for line, (text, sector, name) in enumerate(raw.select("symbol", "sector", "name").iter_rows(), 2):
            try:
                symbol = canonical_symbol(text or "")
            except ValueError as error:
                faults.append(f"line {line}: {error}")
                continue
            if not (sector or "").strip():
                faults.append(f"line {line}: {symbol} has no sector")
            elif symbol in rows and rows[symbol][1] != sector.strip():
                faults.append(f"line {line}: {symbol} has two sectors")
            else:
                rows[symbol] = (symbol, sector.strip(), name)
        if not rows and not faults:
            faults.append("has no rows")
    if faults:
        lines = "\n".join(f"{path}: {fault}" for fault in faults)
        raise FixInput(f"{lines}\nNothing was imported.", way_out="Correct the file, then import it again.")
    return pl.DataFrame(
        list(rows.values()), schema={"symbol": pl.String, "sector": pl.String, "name": pl.String}, orient="row"
    )
