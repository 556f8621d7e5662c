"""Read `all_data` files as the older program wrote them: bars and sectors into the store, all of a file or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from bar_fly_trading.data.importers.all_data_check import RowsFaulty, parse
from bar_fly_trading.data.importers.all_data_indicators import IndicatorDifference, differences
from bar_fly_trading.data.ingest import Changes, Identities, compare, events, identify
from bar_fly_trading.data.known import backfill_known_us, backfilled
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.validate import faults_of, worded
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.instruments import Instruments
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import BARS, KNOWN_AT, SECTORS
from bar_fly_trading.features.all_data import RECOVERING, recover_bars

SAME_TOLERANCE = 1e-9
BASIS_TOLERANCE = 1e-5
CLOSE_OUTSIDE_MAX = 0.02
_FAULTS_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file of which nothing was stored, with every fault found in it."""

    path: Path
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AllDataReport:
    """What an import stored, refused and noticed; `version` is the store's version afterwards.

    `rows_new` bars were added, `rows_corrected` differ from stored ones and supersede them, `rows_same` were there.
    `differences`: symbols whose indicators in the file are not ours (a warning, the widest one each).
    """

    version: str | None
    files: tuple[Path, ...]
    refused: tuple[RefusedFile, ...]
    symbols: int
    rows_new: int
    rows_corrected: int
    rows_same: int
    sectors: int
    first_session: date | None
    last_session: date | None
    notes: tuple[str, ...]
    differences: tuple[IndicatorDifference, ...]


class AllDataRefused(FixInput):
    """Some files were refused whole; `report` says what was taken of the others."""

    def __init__(self, report: AllDataReport) -> None:
        """List every fault of every refused file (the first thousand in words, the rest as a count)."""
        lines = [f"{file.path}: {fault}" for file in report.refused for fault in file.faults]
        more = [f"... and {len(lines) - _FAULTS_SHOWN} more faults."] if len(lines) > _FAULTS_SHOWN else []
        taken = f"{len(report.files)} other files were imported." if report.files else "Nothing was imported."
        head = f"{len(report.refused)} all_data files refused, {len(lines)} faults. {taken}"
        super().__init__(
            "\n".join([head, *lines[:_FAULTS_SHOWN], *more]),
            way_out="Correct the files, then import them again; what is stored already is skipped.",
        )
        self.report = report


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    bars: pl.DataFrame
    identities: Identities
    sectors: dict[str, str]
    notes: tuple[str, ...]
    differences: tuple[IndicatorDifference, ...]


def import_all_data(
    paths: Iterable[str | Path],
    store: Store,
    calendar: Calendar,
    *,
    recorded_at_us: int,
    progress: Callable[[Path, int, int], None] | None = None,
) -> AllDataReport:
    """Store the bars and sectors of `all_data` files (CSV or Parquet; a text may be a glob), all or nothing a file.

    Bars become known 15 minutes after their session's close, symbols with their first bar; a first sector counts as
    known since the calendar begins, a changed one from `recorded_at_us` (UTC microseconds). Splits and dividends are
    derived (see `features.all_data.derive_events`). A bar equal to a stored one to 1e-9 adds nothing. Indicators in the
    files are compared with ours at each symbol's newest session and never stored. `progress(path, files_done, files)`.
    Errors: FixInput where nothing is named or found; AllDataRefused (a FixInput that carries the report) with every fault
    of every refused file, after the good ones are published in one version.
    """
    found = _expand(paths)
    stored, instruments = store.read("bars"), load_instruments(store)
    accepted: list[_File] = []
    refused: list[RefusedFile] = []
    seen: dict[str, Path] = {}
    for done, path in enumerate(found, 1):
        try:
            file = _read(path, calendar, recorded_at_us, instruments)
            _check_against(file, seen, stored)
            seen |= dict.fromkeys(file.identities.ids, path)
            accepted.append(file)
        except RowsFaulty as faulty:
            refused.append(RefusedFile(path, faulty.faults))
        if progress is not None:
            progress(path, done, len(found))
    report = _publish(accepted, refused, store, stored, calendar, recorded_at_us)
    if refused:
        raise AllDataRefused(report)
    return report


def _expand(paths: Iterable[str | Path]) -> tuple[Path, ...]:
    found: dict[Path, None] = {}
    for text in map(str, paths):
        root = Path(Path(text).anchor)
        matches = [Path(text)] if Path(text).exists() else sorted(root.glob(str(Path(text).relative_to(root))))
        if not matches:
            raise FixInput(f"No file matches {text}.", way_out="Name existing files, or a glob that finds them.")
        found |= dict.fromkeys(matches)
    if not found:
        raise FixInput("No all_data file was named.", way_out="Name one or more files, or a glob.")
    return tuple(found)


def _read(path: Path, calendar: Calendar, recorded_at_us: int, instruments: Instruments) -> _File:
    rows = parse(path, calendar, recorded_at_us)
    bars, notes = _recovered(rows)
    spans = bars.group_by("symbol").agg(pl.col("session").min().alias("first"), pl.col("session").max().alias("last"))
    identities = identify({symbol: (first, last) for symbol, first, last in spans.iter_rows()}, instruments)
    if identities.ended:
        raise RowsFaulty(
            *(f"{symbol} named another instrument until {day}" for symbol, day in identities.ended.items())
        )
    ids = pl.col("symbol").replace_strict(dict(identities.ids), return_dtype=pl.String)
    bars = bars.with_columns(instrument_id=ids).sort("instrument_id", "session")
    faults = faults_of(bars.select(*BARS.columns), calendar, newest=calendar.newest_closed(recorded_at_us))
    if faults.height:
        raise RowsFaulty(*worded(faults))
    sectors: dict[str, str] = {}
    if "sector" in rows.columns:
        named = rows.filter(pl.col("sector").str.strip_chars() != "").sort("symbol", "date")
        sectors = {
            identities.ids[symbol]: sector.strip() for symbol, sector in named.select("symbol", "sector").iter_rows()
        }
    return _File(path, bars, identities, sectors, notes, differences(rows, bars))


def _recovered(rows: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Recover the bars as traded, and check that the recovered close lies inside the day's range."""
    bars = recover_bars(rows)
    low, high = pl.col("low"), pl.col("high")
    outside = bars.filter(~pl.col("close").is_between(low, high))
    if not any(name in rows.columns for name in RECOVERING):
        if outside.height:
            row = outside.row(0, named=True)
            raise RowsFaulty(
                f"has none of {', '.join(RECOVERING)}, and adjusted_close is not the close as traded: it lies outside low "
                f"to high in {outside.height} rows, first {row['symbol']} {row['session']}"
            )
        # Nothing tells a split or dividend from a price move here.
        bars = bars.with_columns(dividend_amount=pl.lit(0.0), split_coefficient=pl.lit(1.0))
        return bars, ("has no adjusted_open, _high or _low: adjusted_close taken as the close, dividends unknown.",)
    far = outside.filter(
        (pl.col("close") / low < 1 - CLOSE_OUTSIDE_MAX) | (pl.col("close") / high > 1 + CLOSE_OUTSIDE_MAX)
    )
    if far.height:
        row = far.row(0, named=True)
        raise RowsFaulty(
            "the close as traded, recovered as adjusted_close * open / adjusted_open, lies outside low to high in "
            f"{far.height} rows, first {row['symbol']} {row['session']}: {row['close']:.6g} outside {row['low']:.6g} to "
            f"{row['high']:.6g}"
        )
    moved = outside.filter((pl.col("close") / low < 1 - SAME_TOLERANCE) | (pl.col("close") / high > 1 + SAME_TOLERANCE))
    notes = (
        (f"recovered close moved into the day's range in {moved.height} rows (rounded columns).",)
        if moved.height
        else ()
    )
    return bars.with_columns(pl.col("close").clip(low, high)), notes


def _check_against(file: _File, seen: dict[str, Path], stored: pl.DataFrame) -> None:
    """Refuse a symbol that an earlier file brought, and one on another adjustment basis than what stays in the store."""
    faults = [f"{symbol} is in {seen[symbol]} too" for symbol in sorted(file.identities.ids) if symbol in seen]
    ids = list(file.identities.ids.values())
    incoming = file.bars.select("instrument_id", "session", now="adjusted_close")
    kept = stored.filter(pl.col("instrument_id").is_in(ids)).join(incoming, on=["instrument_id", "session"], how="left")
    mixed = kept.group_by("instrument_id", maintain_order=True).agg(
        stays=pl.col("now").is_null().sum(),
        other=((pl.col("now") / pl.col("adjusted_close") - 1.0).abs() > BASIS_TOLERANCE).sum(),
    )
    faults += [
        f"{instrument_id}: adjusted_close differs from the stored one in {other} sessions, and {stays} stored sessions "
        "are not in the file, so that one series would mix two adjustments"
        for instrument_id, stays, other in mixed.iter_rows()
        if stays and other
    ]
    if faults:
        raise RowsFaulty(*faults)


def _publish(
    accepted: Sequence[_File],
    refused: Sequence[RefusedFile],
    store: Store,
    stored: pl.DataFrame,
    calendar: Calendar,
    recorded_at_us: int,
) -> AllDataReport:
    if not accepted:
        return AllDataReport(store.current(), (), tuple(refused), 0, 0, 0, 0, 0, None, None, (), ())
    bars = pl.concat(file.bars for file in accepted)
    changes = _changes(bars, stored)
    changed = pl.concat([changes.new, changes.corrected])
    changed = changed.with_columns(backfilled(changed["session"], calendar).alias(KNOWN_AT))
    sectors = _sectors(accepted, store.read("sectors"), calendar, recorded_at_us)
    additions = {
        "bars": changed,
        "spells": pl.concat(file.identities.frame(calendar) for file in accepted),
        "sectors": sectors,
        **events(store, changed, calendar),
    }
    names = ", ".join(file.path.name for file in accepted[:3])
    names += f" and {len(accepted) - 3} more" if len(accepted) > 3 else ""
    version = store.publish(additions, source=f"import all-data {names}", recorded_at_us=recorded_at_us)
    first, last = bars.select(first=pl.col("session").min(), last=pl.col("session").max()).row(0)
    return AllDataReport(
        version=version,
        files=tuple(file.path for file in accepted),
        refused=tuple(refused),
        symbols=sum(len(file.identities.ids) for file in accepted),
        rows_new=changes.new.height,
        rows_corrected=changes.corrected.height,
        rows_same=changes.same,
        sectors=sectors.height,
        first_session=first,
        last_session=last,
        notes=tuple(f"{file.path}: {note}" for file in accepted for note in file.notes),
        differences=tuple(difference for file in accepted for difference in file.differences),
    )


def _changes(bars: pl.DataFrame, stored: pl.DataFrame) -> Changes:
    """Compare with the stored bars; one that differs by rounding alone stays, with its events as received."""
    prices = ("open", "high", "low", "close", "adjusted_close")
    near = pl.all_horizontal((pl.col(f"{p}_old") / pl.col(p) - 1.0).abs() <= SAME_TOLERANCE for p in prices)
    same = bars.join(stored, on=["instrument_id", "session"], suffix="_old").filter(
        near & (pl.col("volume") == pl.col("volume_old"))
    )
    changes = compare(BARS, stored, bars.join(same, on=["instrument_id", "session"], how="anti", maintain_order="left"))
    return Changes(changes.new, changes.corrected, changes.same + same.height)


def _sectors(files: Sequence[_File], stored: pl.DataFrame, calendar: Calendar, recorded_at_us: int) -> pl.DataFrame:
    named = {instrument_id: sector for file in files for instrument_id, sector in file.sectors.items()}
    incoming = pl.DataFrame(
        sorted(named.items()), schema={"instrument_id": pl.String, "sector": pl.String}, orient="row"
    )
    incoming = incoming.join(stored.select("instrument_id", "name"), on="instrument_id", how="left")
    changes = compare(SECTORS, stored, incoming)
    since = backfill_known_us(calendar, calendar.next(calendar.first_day))
    return pl.concat(
        [
            changes.new.with_columns(pl.lit(since, pl.Int64).alias(KNOWN_AT)),
            changes.corrected.with_columns(pl.lit(recorded_at_us, pl.Int64).alias(KNOWN_AT)),
        ]
    )
