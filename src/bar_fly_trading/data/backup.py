"""Backups: everything of a home that cannot be made again, each content once under its checksum, and one list of what it was.

A backup is a folder, or one .tar file of the same layout: `backup.json` names every file with its SHA-256, `objects/SHA256`
holds its content. A backup into the same folder adds only contents that are new, publishes the list, then drops what no file
has any more: a kill at any point leaves the earlier backup or the new one, whole. A restore checks everything before it
writes anything, and the home is there whole or not at all.
"""

from __future__ import annotations

import glob
import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bar_fly_trading.data.backup_list import (
    BLOCK_BYTES,
    DAMAGED,
    LIST_FILE,
    OBJECTS,
    Entry,
    check_contents,
    list_bytes,
    opened,
)
from bar_fly_trading.data.manifest import Segment
from bar_fly_trading.data.store import PRUNED_FILE, Store
from bar_fly_trading.errors import FixInput, StoreDamaged
from bar_fly_trading.files import (
    TEMP_SUFFIX,
    RunLock,
    disk_refused,
    fsync_folder,
    make_folder,
    publish_bytes,
    publish_with,
    sha256_file,
)

_OWNER_ONLY = 0o600


@dataclass(frozen=True, slots=True)
class Done:
    """What a backup or restore did: files and bytes in all, and how many of them were copied now."""

    files: int
    bytes: int
    files_copied: int
    bytes_copied: int


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be kept: a content ready to read, and the name it has below the home."""

    path: str
    file: Path
    sha256: str | None = None


# ---------------------------------------------------------------- what is kept


@contextmanager
def _snapshot(home: Path, names: Sequence[str], journal: str, store: str) -> Iterator[list[Source]]:
    """Give every file to keep, consistent while a run writes.

    The journal first, by SQLite's own backup; then what it may refer to, which is never changed once it is there. A pointer
    (CURRENT, ACTIVE) is read before what it points to.
    """
    with tempfile.TemporaryDirectory(prefix="bft-backup-") as scratch:
        found: list[Source] = []
        if (home / journal).is_file():
            copy = Path(scratch) / "journal"
            _copy_journal(home / journal, copy)
            found.append(Source(journal, copy))
        found += _store_files(home, store, Path(scratch))
        for name in names:
            found += _files_below(home, home / name, Path(scratch))
        yield found


def _copy_journal(source: Path, target: Path) -> None:
    uri = f"file:{str(source.resolve()).replace('%', '%25').replace('?', '%3f').replace('#', '%23')}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
            # A copy needs no write-ahead log of its own; the journal turns it on again when it is opened.
            new.execute("PRAGMA journal_mode=DELETE").fetchall()
            faults = [row[0] for row in new.execute("PRAGMA integrity_check") if row[0] != "ok"]
    except sqlite3.OperationalError as error:
        raise disk_refused(target, OSError(0, str(error))) from error
    except sqlite3.DatabaseError as error:
        raise StoreDamaged(f"The journal {source} is damaged ({error}).", way_out=DAMAGED) from error
    if faults:
        raise StoreDamaged(f"The journal {source} is damaged ({faults[0]}).", way_out=DAMAGED)


def _store_files(home: Path, name: str, scratch: Path) -> list[Source]:
    store = Store(home / name)
    current = store.current()
    if current is None:
        return []
    pointer = scratch / "CURRENT"
    pointer.write_text(f"{current}\n", "ascii")
    found = [Source(f"{name}/CURRENT", pointer)]
    segments: dict[str, Segment] = {}
    if (store.root / PRUNED_FILE).exists():
        found.append(Source(f"{name}/{PRUNED_FILE}", store.root / PRUNED_FILE))
    for version in store.versions():
        found.append(Source(f"{name}/manifests/{version}.json", store.root / "manifests" / f"{version}.json"))
        for rows in store.manifest(version).tables.values():
            segments.update((segment.file, segment) for segment in rows)
    # The segment's own checksum is asked for, so that damage is never kept as if it were good.
    found += [Source(f"{name}/{file}", store.root / file, s.sha256) for file, s in sorted(segments.items())]
    return found


def _files_below(home: Path, path: Path, scratch: Path) -> list[Source]:
    if path.is_file():
        return [Source(path.relative_to(home).as_posix(), path)]
    found: list[Source] = []
    pointer = path / "ACTIVE"
    if pointer.is_file():
        copy = scratch / f"{path.name}-ACTIVE"
        copy.write_bytes(pointer.read_bytes())
        found.append(Source(pointer.relative_to(home).as_posix(), copy))
    files = (p for p in sorted(path.rglob("*")) if p.is_file() and not p.is_symlink() and p != pointer)
    return [*found, *(Source(p.relative_to(home).as_posix(), p) for p in files if not p.name.endswith(TEMP_SUFFIX))]


# ---------------------------------------------------------------- writing


def backup(
    home: Path,
    dest: Path,
    *,
    names: Sequence[str],
    journal: str = "journal.sqlite",
    store: str = "store",
    secrets: Sequence[str] = (),
    at_us: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Done:
    """Keep a home's store, journal, and `names` (files or folders below it; absent ones are left out), then check every byte.

    `dest`: a folder (made, or one that holds an earlier backup), or a file that ends in .tar. `secrets`: files kept too, readable by
    their owner alone. Errors: FixInput (nothing to keep, or a `dest` that is something else), StoreDamaged (what is to be kept fails
    its checksum; the earlier backup stays), FreeDisk, WaitForOtherRun (another backup into the same place).
    """
    if home.resolve() in (dest.resolve(), *dest.resolve().parents):
        raise FixInput(f"{dest} lies in the home itself.", way_out="Name a place outside of it, best on another disk.")
    with _snapshot(home, (*names, *secrets), journal, store) as sources:
        if not sources:
            raise FixInput(f"The home {home} holds nothing to keep.", way_out="Name the home with --home.")
        try:
            if dest.suffix == ".tar":
                return _to_tar(sources, dest, at_us, progress)
            return _to_folder(sources, dest, at_us, progress)
        except OSError as error:
            raise disk_refused(dest, error) from error


def _entry(source: Source) -> Entry:
    try:
        digest, stat = sha256_file(source.file), source.file.stat()
    except FileNotFoundError as error:
        raise StoreDamaged(
            f"{source.file} is missing.", way_out="If a prune or a run removed it just now, run bft backup again."
        ) from error
    if source.sha256 is not None and digest != source.sha256:
        raise StoreDamaged(
            f"{source.file} does not match its checksum; it was not kept, and the earlier backup stays.",
            way_out="Restore that backup, or import and pull into an empty home.",
        )
    return Entry(source.path, digest, stat.st_size, stat.st_mode & 0o777)


def _to_folder(sources: Sequence[Source], dest: Path, at_us: int, progress: Callable[[int, int], None]) -> Done:
    if dest.exists() and not dest.is_dir():
        raise FixInput(f"{dest} is a file.", way_out="Name a folder, or a file that ends in .tar.")
    if dest.is_dir() and any(dest.iterdir()) and not (dest / LIST_FILE).exists() and not (dest / OBJECTS).is_dir():
        raise FixInput(f"{dest} holds something else than a backup.", way_out="Name an empty or a new folder.")
    make_folder(dest)
    dest.chmod(0o700)
    with RunLock(dest / "lock"):
        make_folder(dest / OBJECTS)
        for orphan in (dest / OBJECTS).glob(f".*{TEMP_SUFFIX}"):
            orphan.unlink()
        entries: list[Entry] = []
        files = size = 0
        for i, source in enumerate(sources):
            entry = _entry(source)
            target = dest / OBJECTS / entry.sha256
            if not target.is_file() or target.stat().st_size != entry.bytes or sha256_file(target) != entry.sha256:
                entry = _copy(source, target, entry)
                files, size = files + 1, size + entry.bytes
            entries.append(entry)
            progress(i + 1, len(sources))
        check_contents(entries, lambda digest: (dest / OBJECTS / digest).open("rb"))
        publish_bytes(dest / LIST_FILE, list_bytes(entries, at_us))
        (dest / LIST_FILE).chmod(_OWNER_ONLY)
        wanted = {entry.sha256 for entry in entries}
        for path in (dest / OBJECTS).iterdir():
            if path.name not in wanted:
                path.unlink()
    return Done(len(entries), sum(e.bytes for e in entries), files, size)


def _copy(source: Source, target: Path, entry: Entry) -> Entry:
    def write(temp: Path) -> None:
        shutil.copyfile(source.file, temp)
        temp.chmod(_OWNER_ONLY)

    publish_with(target, write)
    if sha256_file(target) != entry.sha256:
        target.unlink()
        raise StoreDamaged(f"{source.file} changed while it was copied.", way_out="Run bft backup again.")
    return entry


def _to_tar(sources: Sequence[Source], dest: Path, at_us: int, progress: Callable[[int, int], None]) -> Done:
    if dest.is_dir():
        raise FixInput(f"{dest} is a folder.", way_out="Name a folder without .tar, or another file.")
    entries = [_entry(source) for source in sources]

    def write(temp: Path) -> None:
        temp.touch(_OWNER_ONLY)
        written: set[str] = set()
        with tarfile.open(temp, "w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, LIST_FILE, io.BytesIO(content := list_bytes(entries, at_us)), len(content))
            for i, (source, entry) in enumerate(zip(sources, entries, strict=True)):
                if entry.sha256 not in written:
                    with source.file.open("rb") as file:
                        _add(tar, f"{OBJECTS}/{entry.sha256}", file, entry.bytes)
                    written.add(entry.sha256)
                progress(i + 1, len(sources))
        with opened(temp) as kept:
            check_contents(kept.entries, kept.read)

    publish_with(dest, write)
    total = sum(e.bytes for e in entries)
    return Done(len(entries), total, len(entries), total)


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, _OWNER_ONLY
    tar.addfile(info, file)


# ---------------------------------------------------------------- bringing back


def restore(source: Path, home: Path) -> Done:
    """Make a home from a backup, all of it or nothing, after every content was checked.

    `home` must not be there, or be an empty folder: FixInput otherwise. StoreDamaged where anything of the backup is missing or
    altered, FreeDisk where the disk refuses; no home is there then.
    """
    home = home.absolute()
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise FixInput(f"{home} is there and not empty.", way_out="Restore into a new folder, and look at it first.")
    with opened(source) as kept:
        check_contents(kept.entries, kept.read)
        make_folder(home.parent)
        for left in home.parent.glob(f".{glob.escape(home.name)}.*{TEMP_SUFFIX}"):
            shutil.rmtree(left, ignore_errors=True)  # of a restore that was killed
        try:
            with tempfile.TemporaryDirectory(prefix=f".{home.name}.", suffix=TEMP_SUFFIX, dir=home.parent) as scratch:
                whole = Path(scratch) / "home"
                whole.mkdir(mode=0o700)
                for entry in kept.entries:
                    _put(whole, entry, kept.read)
                for folder in (whole, *(p for p in whole.rglob("*") if p.is_dir())):
                    fsync_folder(folder)
                whole.replace(home)
                fsync_folder(home.parent)
        except OSError as error:
            raise disk_refused(home, error) from error
    size = sum(e.bytes for e in kept.entries)
    return Done(len(kept.entries), size, len(kept.entries), size)


def _put(root: Path, entry: Entry, read: Callable[[str], IO[bytes]]) -> None:
    path = root / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with read(entry.sha256) as old, path.open("xb") as new:
        digest = hashlib.sha256()
        while block := old.read(BLOCK_BYTES):
            digest.update(block)
            new.write(block)
        new.flush()
        os.fsync(new.fileno())
    if digest.hexdigest() != entry.sha256:
        raise StoreDamaged(f"{entry.path} in the backup does not match its checksum.", way_out=DAMAGED)
    path.chmod(entry.mode)
