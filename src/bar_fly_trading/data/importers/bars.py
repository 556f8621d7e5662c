"""Daily bars from CSV or Parquet files in Alpha Vantage's columns: all of a file or nothing, every fault listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from bar_fly_trading.data.importers.bars_file import FAULTS_KEPT, Fault, place_of, read_bars_file
from bar_fly_trading.data.ingest import compare, events, identify
from bar_fly_trading.data.known import backfilled
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.validate import faults_of
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import BARS, KNOWN_AT

_FAULTS_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class FileImport:
    """One file that was taken: its rows and symbols, and the sessions they span."""

    path: Path
    rows: int
    symbols: int
    first_session: date
    last_session: date


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did: `version` of the store afterwards, counts of bars, and the faults of each refused file.

    `rows_new` were added, `rows_corrected` differ from a stored bar and supersede it, `rows_same` were there already.
    """

    version: str | None
    files: tuple[FileImport, ...]
    refused: tuple[tuple[Path, tuple[Fault, ...]], ...]
    instruments_new: int
    rows_new: int
    rows_corrected: int
    rows_same: int
    splits: int
    dividends: int

    @property
    def rows_added(self) -> int:
        """Return how many rows the store gained: new bars and corrections."""
        return self.rows_new + self.rows_corrected


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


class FilesRefused(FixInput):
    """Some files were refused whole; `report` says what was taken of the others."""

    def __init__(self, report: ImportReport) -> None:
        """List every fault of every refused file (the first thousand in words, the rest as a count)."""
        lines = [str(fault) for _, faults in report.refused for fault in faults]
        more = [f"... and {len(lines) - _FAULTS_SHOWN} more faults."] if len(lines) > _FAULTS_SHOWN else []
        taken = f"{_count(len(report.files), 'other file')} imported." if report.files else "Nothing was imported."
        head = f"{_count(len(report.refused), 'file')} refused, {_count(len(lines), 'fault')}. {taken}"
        super().__init__(
            "\n".join([head, *lines[:_FAULTS_SHOWN], *more]),
            way_out="Correct the files, then import them again; what is stored already is skipped.",
        )
        self.report = report


def import_bars(
    paths: Sequence[Path],
    store: Store,
    calendar: Calendar,
    *,
    recorded_at_us: int,
    progress: Callable[[Path, int, int], None] | None = None,
) -> ImportReport:
    """Import daily bars; a file is taken whole or refused whole, and importing the same rows again adds nothing.

    Files: CSV or Parquet with `symbol` (or the file's stem as the symbol), `date` or `timestamp`, open, high, low,
    close (as traded), adjusted_close, volume, dividend_amount, split_coefficient. Imported bars are backfill: known
    at their session's close plus 15 minutes, corrections too. `progress(path, files_done, files)` is called per file.
    Raises FilesRefused (a FixInput that lists every fault, and carries the report) after the good files are published.
    """
    newest = calendar.newest_closed(recorded_at_us)
    good: list[tuple[Path, pl.DataFrame]] = []
    refused: list[tuple[Path, tuple[Fault, ...]]] = []
    for done, path in enumerate(paths, 1):
        frame, faults = read_bars_file(path)
        if not faults:
            faults = _faults_of_rows(path, frame, calendar, newest)
        if faults:
            refused.append((path, faults))
        else:
            good.append((path, frame))
        if progress is not None:
            progress(path, done, len(paths))
    good = _without_contradictions(good, refused)
    good = _without_ended_symbols(good, refused, store)
    report = _publish(good, refused, store, calendar, recorded_at_us)
    if refused:
        raise FilesRefused(report)
    return report


def _faults_of_rows(path: Path, frame: pl.DataFrame, calendar: Calendar, newest: date) -> tuple[Fault, ...]:
    found = faults_of(frame.rename({"symbol": "instrument_id"}), calendar, newest=newest)
    faults = [
        Fault(path, place_of(path, row), symbol, None if day is None else str(day), f"{rule} ({observed})")
        for row, symbol, day, rule, observed in found.head(FAULTS_KEPT).iter_rows()
    ]
    if found.height > FAULTS_KEPT:
        rules = ", ".join(
            f"{rule}: {count}" for rule, count in found.group_by("rule", maintain_order=True).len().rows()
        )
        faults.append(Fault(path, None, None, None, f"{found.height} faults in all: {rules}"))
    return tuple(faults)


def _without_contradictions(
    good: list[tuple[Path, pl.DataFrame]], refused: list[tuple[Path, tuple[Fault, ...]]]
) -> list[tuple[Path, pl.DataFrame]]:
    """Refuse each file that gives a bar otherwise than an earlier file of the same import does."""
    if len(good) < 2:
        return good
    rows = pl.concat(frame.with_columns(pl.lit(i, pl.UInt32).alias("file")) for i, (_, frame) in enumerate(good))
    values = [name for name in BARS.columns if name not in ("instrument_id", "session")]
    twice = rows.filter(pl.struct("symbol", "session").is_duplicated()).sort("symbol", "session", "file")
    differing = (
        twice.with_columns(
            pl.struct(values).first().over("symbol", "session").alias("first"), pl.struct(values).alias("this")
        )
        .filter(pl.col("first") != pl.col("this"))
        .select("file", "symbol", "session")
    )
    bad: dict[int, list[Fault]] = {}
    for number, symbol, day in differing.iter_rows():
        path = good[number][0]
        fault = Fault(path, None, symbol, str(day), "differs from the same bar in an earlier file")
        bad.setdefault(number, []).append(fault)
    refused.extend((good[number][0], tuple(faults)) for number, faults in sorted(bad.items()))
    return [item for number, item in enumerate(good) if number not in bad]


def _without_ended_symbols(
    good: list[tuple[Path, pl.DataFrame]], refused: list[tuple[Path, tuple[Fault, ...]]], store: Store
) -> list[tuple[Path, pl.DataFrame]]:
    """Refuse each file with bars of a symbol that has stopped naming one instrument: they may be another company's."""
    instruments = load_instruments(store)
    kept: list[tuple[Path, pl.DataFrame]] = []
    for path, frame in good:
        ended = identify(_spans(frame), instruments).ended
        if not ended:
            kept.append((path, frame))
            continue
        rule = "the symbol named another instrument until"
        faults = tuple(Fault(path, None, symbol, None, f"{rule} {day}") for symbol, day in ended.items())
        refused.append((path, faults))
    return kept


def _spans(frame: pl.DataFrame) -> dict[str, tuple[date, date]]:
    spans = frame.group_by("symbol").agg(pl.col("session").min().alias("first"), pl.col("session").max().alias("last"))
    return {symbol: (first, last) for symbol, first, last in spans.iter_rows()}


def _publish(
    good: list[tuple[Path, pl.DataFrame]],
    refused: list[tuple[Path, tuple[Fault, ...]]],
    store: Store,
    calendar: Calendar,
    recorded_at_us: int,
) -> ImportReport:
    if not good:
        return ImportReport(store.current(), (), tuple(refused), 0, 0, 0, 0, 0, 0)
    rows = pl.concat(frame for _, frame in good)
    if len(good) > 1:
        rows = rows.unique(["symbol", "session"], keep="first", maintain_order=True)
    named = identify(_spans(rows), load_instruments(store))
    ids = pl.col("symbol").replace_strict(dict(named.ids), return_dtype=pl.String).alias("instrument_id")
    stored = store.read("bars")
    changes = compare(BARS, stored, rows.with_columns(ids))
    changed = pl.concat([changes.new, changes.corrected])
    changed = changed.with_columns(backfilled(changed["session"], calendar).alias(KNOWN_AT))
    additions = {
        "bars": changed,
        "spells": named.frame(calendar),
        **events(store, changed, calendar),
    }
    names = ", ".join(path.name for path, _ in good[:3]) + (f" and {len(good) - 3} more" if len(good) > 3 else "")
    version = store.publish(additions, source=f"import bars {names}", recorded_at_us=recorded_at_us)
    return ImportReport(
        version=version,
        files=tuple(_summary(path, frame) for path, frame in good),
        refused=tuple(refused),
        instruments_new=len(named.new_ids()),
        rows_new=changes.new.height,
        rows_corrected=changes.corrected.height,
        rows_same=changes.same,
        splits=additions["splits"].height,
        dividends=additions["dividends"].height,
    )


def _summary(path: Path, frame: pl.DataFrame) -> FileImport:
    sessions = frame["session"]
    first, last = sessions.min(), sessions.max()
    if not isinstance(first, date) or not isinstance(last, date):
        raise ValueError(f"{path} has no dated rows")
    return FileImport(path, frame.height, frame["symbol"].n_unique(), first, last)
