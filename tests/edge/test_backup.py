"""A backup holds what a home cannot make again, checked; a restore gives it back whole or not at all."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from bar_fly_trading.data.backup import Done, backup, restore
from bar_fly_trading.data.backup_list import Entry
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import FixInput, FreeDisk, StoreDamaged
from bar_fly_trading.journal import Journal
from bar_fly_trading.journal.records import FIRST_PREV_HASH, JournalRecord, record_hash
from bar_fly_trading.trading.plan import canonical_bytes

NAMES = ("settings.toml", "models", "predictions", "signals", "outbox")
# Backs a home up and is killed, by its own hand and with SIGKILL, at the nth file renamed or removed.
_KILLED_BACKUP = """
import os, signal, sys
from pathlib import Path
from bar_fly_trading.data.backup import backup
left = int(sys.argv[3])
def watch(event, arguments):
    global left
    if event in ("os.remove", "os.rename") and sys.argv[2] in str(arguments[0]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
backup(Path(sys.argv[1]), Path(sys.argv[2]), names=("settings.toml", "models"), at_us=2)
"""
# Restores a home and is killed, by its own hand and with SIGKILL, at the nth file opened for it or at its last rename.
_KILLED_RESTORE = """
import os, signal, sys
from pathlib import Path
from bar_fly_trading.data.backup import restore
left = int(sys.argv[3])
def watch(event, arguments):
    global left
    if event in ("open", "os.rename") and ".new." in str(arguments[0]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
restore(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def publish(home: Path, number: int) -> str:
    """Add a version to the home's store."""
    frame = pl.DataFrame({"instrument_id": [f"us:{number}"], "sector": ["x"], "name": ["y"], "known_at": [number]})
    return Store(home / "store").publish({"sectors": frame}, source="t", recorded_at_us=number)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file below folders that are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home with something in every place, and what no backup keeps."""
    home = tmp_path / "home"
    publish(home, 1)
    publish(home, 2)
    with Journal.open(home / "journal.sqlite", now_us=lambda: 5, run_id="r", settings_hash="s") as journal:
        for i in range(20):
            journal.append("noted", {"number": i}, at_us=i)
    for name in (
        "models/2021-04-20-abc/model.safetensors",
        "models/ACTIVE",
        "predictions/2021-04-20/a.csv",
        "signals/a.csv",
    ):
        write(home / name, name)
    write(home / "outbox/kept/a.eml", "mail", 0o600)
    write(home / "settings.toml", "schema = 1\n", 0o600)
    write(home / ".env", "ALPHAVANTAGE_API_KEY=secret\n", 0o600)
    for name in ("features/big.parquet", "logs/crash.log", "lock", "reports/index.html", "store/.x.bft-tmp"):
        write(home / name, "made again")
    return home


def keep(home: Path, dest: Path, *, secrets: bool = False, at_us: int = 1) -> Done:
    """Back the home up."""
    return backup(home, dest, names=NAMES, secrets=(".env",) if secrets else (), at_us=at_us)


def tree(root: Path) -> dict[str, bytes]:
    """Return every file below a folder but the journal, whose bytes SQLite arranges."""
    files = (p for p in root.rglob("*") if p.is_file() and not p.name.startswith("journal"))
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def records(home: Path) -> tuple[JournalRecord, ...]:
    """Return a home's journal, its chain of hashes computed anew."""
    with Journal.read(home / "journal.sqlite") as journal:
        found = journal.records()
    before = FIRST_PREV_HASH
    for r in found:
        text = canonical_bytes(r.payload).decode()
        times = (r.at_us, r.recorded_at_us)
        assert r.prev_hash == before
        before = record_hash(r.seq, r.kind, r.schema, *times, r.run_id, r.settings_hash, text, before)
        assert r.hash == before
    return found


@pytest.fixture(params=["folder", "kept.tar"])
def dest(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return where to keep the backup: a folder, or a .tar file."""
    return tmp_path / "elsewhere" / str(request.param)


def test_what_is_restored_is_what_was_kept(home: Path, tmp_path: Path, dest: Path) -> None:
    """Store, journal, settings, models, predictions, signals and outbox come back byte for byte with their permissions; nothing else."""
    keep(home, dest)
    restore(dest, tmp_path / "new")
    made_again = ("features/", "logs/", "lock", "reports/", "store/.x", "store/publish.lock", ".env")
    assert tree(tmp_path / "new") == {k: v for k, v in tree(home).items() if not k.startswith(made_again)}
    assert len(records(home)) == 20
    assert records(tmp_path / "new") == records(home)
    for version in Store(home / "store").versions():
        wanted = Store(home / "store").read("sectors", version=version)
        assert Store(tmp_path / "new/store").read("sectors", version=version).equals(wanted)
    assert stat.S_IMODE((tmp_path / "new/settings.toml").stat().st_mode) == 0o600


def test_secrets_are_left_out_unless_asked_for_and_then_the_owners_alone(
    home: Path, tmp_path: Path, dest: Path
) -> None:
    """The .env file's content is in no byte of a backup, or in one that only its owner may read."""

    def holds(text: bytes) -> bool:
        files = [dest] if dest.is_file() else [p for p in dest.rglob("*") if p.is_file()]
        assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in files)
        return any(text in p.read_bytes() for p in files)

    keep(home, dest)
    assert holds(b"schema = 1")
    assert not holds(b"secret")
    keep(home, dest, secrets=True)
    assert holds(b"secret")
    restore(dest, tmp_path / "new")
    assert (tmp_path / "new/.env").read_bytes() == (home / ".env").read_bytes()
    assert stat.S_IMODE((tmp_path / "new/.env").stat().st_mode) == 0o600


def test_a_second_backup_copies_only_what_changed(home: Path, tmp_path: Path) -> None:
    """Unchanged: nothing but the journal may be copied; a new version adds its own files; what is gone is dropped; both restore."""
    dest = tmp_path / "kept"
    first = keep(home, dest)
    assert first.files_copied == first.files
    assert keep(home, dest).files_copied == 0
    publish(home, 3)
    (home / "signals/a.csv").unlink()
    objects = {p.name for p in (dest / "objects").iterdir()}
    assert keep(home, dest).files_copied == 3, "a segment, a manifest and CURRENT"
    after = {p.name for p in (dest / "objects").iterdir()}
    assert (len(after - objects), len(objects - after)) == (3, 2)
    restore(dest, tmp_path / "new")
    assert Store(tmp_path / "new/store").versions() == Store(home / "store").versions()
    assert not (tmp_path / "new/signals").exists()


def test_d25_a_backup_with_any_damage_restores_nothing(home: Path, tmp_path: Path, dest: Path) -> None:
    """One random bit of a content, a name's checksum or the list, or a lost or emptied file: StoreDamaged, and no home appears."""
    keep(home, dest)
    chance = random.Random(4)
    files = [dest] if dest.is_file() else [p for p in dest.rglob("*") if p.is_file() and p.name != "lock"]
    spans = _content_spans(dest) if dest.is_file() else {}
    for _ in range(1000 if os.environ.get("BFT_PROVE") else 100):
        victim = chance.choice(files)
        whole = victim.read_bytes()
        data = bytearray(whole)
        # In a .tar: a bit of a member's content (its padding says nothing).
        at = chance.choice(list(spans.values())) if spans else range(len(data))
        data[chance.choice(at)] ^= 1 << chance.randrange(8)
        victim.write_bytes(data)
        with pytest.raises(StoreDamaged):
            restore(dest, tmp_path / "new")
        victim.write_bytes(whole)
    for content in (b"", whole[: len(whole) // 2]):
        victim.write_bytes(content)
        with pytest.raises(StoreDamaged):
            restore(dest, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".bft-tmp")]


def _content_spans(tar_file: Path) -> dict[str, range]:
    with tarfile.open(tar_file) as tar:
        return {m.name: range(m.offset_data, m.offset_data + m.size) for m in tar.getmembers() if m.size}


def test_d25_a_damaged_segment_or_journal_is_never_kept(home: Path, tmp_path: Path, dest: Path) -> None:
    """Damage in the home stops the backup, names the file, and leaves the earlier backup as it was."""
    keep(home, dest)
    before = tree(dest) if dest.is_dir() else {"": dest.read_bytes()}
    for pattern in ("store/segments/sectors/*.parquet", "store/manifests/*.json"):
        victim = min(home.glob(pattern))
        whole = victim.read_bytes()
        victim.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        with pytest.raises(StoreDamaged, match=victim.name):
            keep(home, dest)
        victim.write_bytes(whole)
    journal = home / "journal.sqlite"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:4096] + bytes(8192) + whole[12288:])
    with pytest.raises(StoreDamaged, match=r"journal\.sqlite"):
        keep(home, dest)
    assert (tree(dest) if dest.is_dir() else {"": dest.read_bytes()}) == before


def test_a_home_that_is_there_is_never_written_over(home: Path, tmp_path: Path, dest: Path) -> None:
    """A folder with anything in it, or a file, is refused unchanged; an empty folder is taken."""
    keep(home, dest)
    before = tree(home)
    for place in (home, home / "settings.toml"):
        with pytest.raises(FixInput, match="not empty"):
            restore(dest, place)
    assert tree(home) == before
    (tmp_path / "empty").mkdir()
    restore(dest, tmp_path / "empty")
    assert records(tmp_path / "empty") == records(home)


def test_places_that_are_no_backup_are_refused(home: Path, tmp_path: Path) -> None:
    """A folder with other things, a place inside the home, a lost or foreign source: FixInput or StoreDamaged, nothing changed."""
    write(tmp_path / "photos/a.jpg", "x")
    for place in (tmp_path / "photos", home / "kept", tmp_path / "photos/a.jpg"):
        with pytest.raises(FixInput):
            keep(home, place)
    for source in (tmp_path / "photos", tmp_path / "nothing"):
        with pytest.raises(FixInput):
            restore(source, tmp_path / "new")
    write(tmp_path / "foreign.tar", "no tar")
    with pytest.raises(StoreDamaged):
        restore(tmp_path / "foreign.tar", tmp_path / "new")
    with pytest.raises(FixInput, match="nothing to keep"):
        keep(tmp_path / "nothing", tmp_path / "kept")
    assert tree(tmp_path / "photos") == {"a.jpg": b"x"}


@pytest.mark.parametrize("path", ["../out", "/etc/x", "a/../../b", "", "a\\b"])
def test_d28_a_list_that_names_a_file_outside_the_home_is_refused(path: str) -> None:
    """A backup made by somebody else cannot write beside the new home."""
    with pytest.raises(ValueError, match="no path below a home"):
        Entry(path, "0" * 64, 1, 0o600)


def test_a_backup_is_consistent_while_a_run_writes(home: Path, tmp_path: Path) -> None:
    """While another thread appends and publishes, each backup restores to an unbroken journal whose versions are all in the store."""
    stop = threading.Event()

    def work() -> None:
        number = 100
        with Journal.open(home / "journal.sqlite", now_us=lambda: 6, run_id="w", settings_hash="s") as journal:
            while not stop.is_set():
                number += 1
                version = publish(home, number)
                journal.append("used", {"version": version}, at_us=number)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for i in range(5):
            keep(home, tmp_path / "kept", at_us=i)
            restore(tmp_path / "kept", tmp_path / f"new{i}")
    finally:
        stop.set()
        thread.join()
    for i in range(5):
        versions = set(Store(tmp_path / f"new{i}/store").versions())
        used = [r.payload["version"] for r in records(tmp_path / f"new{i}") if r.kind == "used"]
        assert set(used) <= versions
    assert used


def test_d24_a_backup_killed_at_any_step_leaves_the_earlier_or_the_new_one(home: Path, tmp_path: Path) -> None:
    """SIGKILL before the nth rename or removal in the backup's folder: it restores to the home before or after, whole."""
    dest = tmp_path / "kept"
    small = ("settings.toml", "models")
    backup(home, dest, names=small, at_us=1)
    old = tree(home)["settings.toml"]
    write(home / "settings.toml", "schema = 1\n# changed\n")
    publish(home, 3)
    seen = set()
    for n in range(0, 30, 1 if os.environ.get("BFT_PROVE") else 2):
        done = subprocess.run([sys.executable, "-c", _KILLED_BACKUP, str(home), str(dest), str(n)], check=False)
        restore(dest, tmp_path / f"new{n}")
        seen.add((tmp_path / f"new{n}/settings.toml").read_bytes() == old)
        assert len(records(tmp_path / f"new{n}")) == 20
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
    assert seen == {True, False}
    assert done.returncode == 0


def test_d24_a_restore_killed_at_any_step_leaves_no_home_or_all_of_it(home: Path, tmp_path: Path) -> None:
    """SIGKILL at the nth file: no home is there; the restore run again makes it whole and clears what was left."""
    keep(home, tmp_path / "kept")
    new, killed = tmp_path / "new", 0
    for n in range(0, 60, 1 if os.environ.get("BFT_PROVE") else 9):
        argv = [sys.executable, "-c", _KILLED_RESTORE, str(tmp_path / "kept"), str(new), str(n)]
        done = subprocess.run(argv, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        killed += 1
        assert not new.exists()
    assert killed >= 2
    assert done.returncode == 0
    assert records(new) == records(home)
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".bft-tmp")]


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root to mount it")
def test_d23_a_full_disk_stops_backup_and_restore_and_leaves_what_was_there(home: Path, tmp_path: Path) -> None:
    """On a disk too small: FreeDisk; the earlier backup still restores, and no half home is left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        keep(home, disk / "kept")
        write(home / "models/large", random.Random(1).randbytes(500_000).hex())
        for place in (disk / "kept", disk / "kept.tar"):
            with pytest.raises(FreeDisk):
                keep(home, place)
        assert not (disk / "kept.tar").exists()
        keep(home, tmp_path / "large")
        with pytest.raises(FreeDisk):
            restore(tmp_path / "large", disk / "new")
        assert sorted(p.name for p in disk.iterdir()) == ["kept"]
        restore(disk / "kept", tmp_path / "new")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_the_list_can_be_read_by_anybody(home: Path, tmp_path: Path) -> None:
    """`backup.json` is plain JSON: each file's path, SHA-256, size and permissions; the journal copy is a plain database."""
    keep(home, tmp_path / "kept")
    files = {f["path"]: f for f in json.loads((tmp_path / "kept/backup.json").read_text())["files"]}
    copy = tmp_path / "kept/objects" / files["journal.sqlite"]["sha256"]
    with closing(sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM records").fetchone() == (20,)
    assert files["outbox/kept/a.eml"]["mode"] == 0o600
