"""How much the home weighs, when the disk will be full, and which old versions of the store may go.

Pruning is safe against kill -9: `PRUNED` is published first, so that from then on the removed versions are gone on
purpose; manifests go next and segments last. A version that is kept never loses a file; a second run ends what a first left.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from bar_fly_trading.data.manifest import Manifest, pruned_to_bytes
from bar_fly_trading.data.store import PRUNED_FILE, Store
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.tables import TABLES
from bar_fly_trading.files import RunLock, disk_refused, fsync_folder, publish_bytes

DAY_US = 86_400_000_000
GROWTH_DAYS = 30
# Fewer days than these say nothing of a trend.
GROWTH_DAYS_MIN = 3
FOREVER_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class Forecast:
    """Days until the disk is full at the pace of the last 30 days; `days_left` None where too little is known."""

    free_bytes: int
    bytes_a_day: float
    days_left: int | None

    def note(self, days_min: int) -> str | None:
        """Return one line where fewer than `days_min` days are left, else None."""
        if self.days_left is None or self.days_left >= days_min:
            return None
        return (
            f"the disk will be full in about {self.days_left} days: {self.free_bytes / 1e6:,.0f} MB free,"
            f" {self.bytes_a_day / 1e6:,.1f} MB a day (bft store prune --keep-days 90 shows what could go)"
        )


def forecast(store: Store, dated_folders: Sequence[Path], now_us: int, free_bytes: int | None = None) -> Forecast:
    """Return when the disk that holds the store will be full.

    Counted: segments and manifests by when they were recorded, imports left out (they come once); and the folders' files and
    folders that are named by a date. `free_bytes` None: as the disk says. StoreDamaged where a manifest is altered.
    """
    free = shutil.disk_usage(_existing(store.root)).free if free_bytes is None else free_bytes
    measured = [_store_growth(store, now_us), *(_dated_growth(folder) for folder in dated_folders)]
    if all(pace is None for pace in measured):
        return Forecast(free, 0.0, None)
    pace = sum(p for p in measured if p is not None)
    return Forecast(free, pace, None if pace <= 0 else min(FOREVER_DAYS, int(free / pace)))


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _manifests(store: Store) -> Iterator[tuple[str, Manifest]]:
    """Give the versions that are kept, newest first, reading each only when it is asked for."""
    pruned, version = store.pruned(), store.current()
    while version is not None:
        if version in pruned:
            version = pruned[version]
            continue
        manifest = store.manifest(version)
        yield version, manifest
        version = manifest.previous


def _store_growth(store: Store, now_us: int) -> float | None:
    days: dict[int, int] = {}
    for version, manifest in _manifests(store):
        if manifest.recorded_at < now_us - GROWTH_DAYS * DAY_US:
            break
        if manifest.recorded_at > now_us or manifest.source.startswith("import"):
            continue
        own = f"{manifest.number:06d}-"
        added = sum(
            s.bytes for segments in manifest.tables.values() for s in segments if Path(s.file).name.startswith(own)
        )
        day = manifest.recorded_at // DAY_US
        weight = (store.root / "manifests" / f"{version}.json").stat().st_size
        days[day] = days.get(day, 0) + added + weight
    if len(days) < GROWTH_DAYS_MIN:
        return None
    return sum(days.values()) / (now_us // DAY_US - min(days) + 1)


def _dated_growth(folder: Path) -> float | None:
    sizes: dict[date, int] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            day = date.fromisoformat(path.name[:10])
        except ValueError:
            continue
        sizes[day] = sizes.get(day, 0) + folder_bytes(path)
    if not sizes:
        return None
    newest = max(sizes)
    recent = {day: size for day, size in sizes.items() if day > newest - timedelta(days=GROWTH_DAYS)}
    if len(recent) < GROWTH_DAYS_MIN:
        return None
    return sum(recent.values()) / ((newest - min(recent)).days + 1)


def folder_bytes(path: Path) -> int:
    """Return the bytes of a file, or of every file below a folder; 0 where there is nothing."""
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


@dataclass(frozen=True, slots=True)
class TableWeight:
    """What one table of the current version weighs.

    `superseded_rows`: rows that a newer row of their key replaced; kept, because older views need them. `superseded_bytes`: their
    share of the bytes, by rows.
    """

    name: str
    segments: int
    rows: int
    bytes: int
    superseded_rows: int

    @property
    def superseded_bytes(self) -> int:
        """Return what the replaced rows weigh, about."""
        return self.bytes * self.superseded_rows // self.rows if self.rows else 0


def table_weights(store: Store) -> tuple[TableWeight, ...]:
    """Return the weight of every table that has rows; it reads each one, so damage is found."""
    if store.current() is None:
        return ()
    found = []
    for name, segments in sorted(store.manifest().tables.items()):
        if name not in TABLES or not segments:
            continue
        rows = sum(s.rows for s in segments)
        superseded = rows - store.read(name).height
        found.append(TableWeight(name, len(segments), rows, sum(s.bytes for s in segments), superseded))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Prune:
    """What a prune removes: versions (oldest first) and files below the store's root, with their bytes; and what it keeps."""

    versions: tuple[str, ...]
    manifests: tuple[Path, ...]
    segments: tuple[Path, ...]
    bytes: int
    kept: tuple[str, ...]
    pruned: dict[str, str | None]


def plan_prune(
    store: Store, *, keep_versions: int | None, keep_since_us: int | None, protected: Collection[str] = ()
) -> Prune:
    """Say what would go: every version but the newest `keep_versions`, those current at or after `keep_since_us`, and `protected`.

    The current version never goes. What killed runs left and no version names goes too. FixInput where neither rule is given or
    a number is below 1; StoreDamaged where a manifest is altered (nothing is decided on a damaged store).
    """
    if (keep_versions is None and keep_since_us is None) or (keep_versions is not None and keep_versions < 1):
        raise FixInput(
            "Nothing says what to keep.", way_out="Write --keep-days N, --keep-versions N, or both, N at least 1."
        )
    versions = store.versions()
    manifests = {version: store.manifest(version) for version in versions}
    keep = {*versions[-1:], *protected, *(versions[-keep_versions:] if keep_versions else ())}
    if keep_since_us is not None:
        keep |= {v for v in versions if manifests[v].recorded_at >= keep_since_us}
        # The version that was current when the kept days began.
        keep |= set([v for v in versions if manifests[v].recorded_at < keep_since_us][-1:])
    gone = tuple(v for v in versions if v not in keep)
    kept = tuple(v for v in versions if v in keep)
    needed = {s.file for v in kept for segments in manifests[v].tables.values() for s in segments}
    names = {f"{v}.json" for v in kept}
    stale = tuple(sorted(p for p in (store.root / "manifests").glob("*.json") if p.name not in names))
    files = (store.root / "segments").glob("*/*.parquet")
    free = tuple(sorted(p for p in files if p.relative_to(store.root).as_posix() not in needed))
    weight = sum(p.stat().st_size for p in (*stale, *free))
    return Prune(gone, stale, free, weight, kept, {v: manifests[v].previous for v in gone})


def prune(
    store: Store, *, keep_versions: int | None, keep_since_us: int | None, protected: Collection[str] = ()
) -> Prune:
    """Do what `plan_prune` says, under the publishing lock; WaitForOtherRun where another process publishes."""
    if store.current() is None:
        return Prune((), (), (), 0, (), {})
    with RunLock(store.root / "publish.lock"):
        plan = plan_prune(store, keep_versions=keep_versions, keep_since_us=keep_since_us, protected=protected)
        earlier = store.pruned()
        if plan.pruned:
            publish_bytes(store.root / PRUNED_FILE, pruned_to_bytes({**earlier, **plan.pruned}))
        for files in (plan.manifests, plan.segments):
            _remove(files)
    return plan


def _remove(files: Sequence[Path]) -> None:
    for path in files:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_refused(path, error) from error
    for folder in sorted({path.parent for path in files}):
        fsync_folder(folder)


def verify(store: Store, version: str | None = None) -> tuple[int, int]:
    """Check every file of one version (default: of all that are kept); return how many files and bytes were whole.

    StoreDamaged naming the first that is missing, cut or altered.
    """
    done: dict[Path, int] = {}
    for each in store.versions() if version is None else (version,):
        manifest = store.manifest(each)
        path = store.root / "manifests" / f"{each}.json"
        done[path] = path.stat().st_size
        for name, segments in manifest.tables.items():
            if all(store.root / s.file in done for s in segments):
                continue
            done.update((p, s.bytes) for p, s in store.verified(name, each))
    return len(done), sum(done.values())
