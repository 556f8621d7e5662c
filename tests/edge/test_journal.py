"""The journal on a real disk: one transaction a record, kill -9 at any moment, two writers, full and read-only disks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

import bar_fly_trading.journal as door
from bar_fly_trading.errors import BftError, FixSettings, FreeDisk, StoreDamaged, WaitForOtherRun
from bar_fly_trading.journal import IntentChange, Journal
from bar_fly_trading.journal.records import FIRST_PREV_HASH, METADATA
from bar_fly_trading.journal.store import HEAD_REVISION, KNOWN_REVISIONS
from bar_fly_trading.trading.orders import IllegalEdge, Mode, State

SESSION = date(2021, 4, 21)
INTENT = {"session": "2021-04-21", "mode": "paper", "strategy": "bollinger", "quantity": 3}


def open_journal(path: Path, run_id: str = "run-1") -> Journal:
    """A journal whose clock stands at 7."""
    return Journal.open(path, now_us=lambda: 7, run_id=run_id, settings_hash="s")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A new journal."""
    with open_journal(tmp_path / "journal.db") as made:
        yield made


def insert(key: str = "K1") -> IntentChange:
    """A new intent."""
    return IntentChange(key, None, State.PLANNED, INTENT)


def test_records_and_intents_come_back_as_written(journal: Journal) -> None:
    """What was appended is read back in order, by kind and session; an intent's payload is its last one."""
    journal.append("plan", {"session": "2021-04-21", "n": 1}, at_us=5, changes=[insert("K1"), insert("K2")])
    journal.append("note", {"text": "ünïcode"}, at_us=6)
    changes = [
        IntentChange("K1", State.PLANNED, State.CHECKED),
        IntentChange("K1", State.CHECKED, State.SHADOWED, {**INTENT, "quantity": 4}),
    ]
    assert journal.append("fill", {"session": "2021-04-22"}, at_us=8, changes=changes) == 3
    assert [(r.seq, r.kind, r.at_us, r.recorded_at_us, r.run_id, r.settings_hash) for r in journal.records()] == [
        (1, "plan", 5, 7, "run-1", "s"),
        (2, "note", 6, 7, "run-1", "s"),
        (3, "fill", 8, 7, "run-1", "s"),
    ]
    assert journal.records(kinds=["note"])[0].payload == {"text": "ünïcode"}
    assert [r.seq for r in journal.records(session=SESSION)] == [1]
    rows = {r.intent_key: r for r in journal.intents(session=SESSION, modes=[Mode.PAPER])}
    assert (rows["K1"].state, rows["K1"].payload["quantity"], rows["K1"].updated_seq) == (State.SHADOWED, 4, 3)
    assert (rows["K2"].state, rows["K2"].updated_seq) == (State.PLANNED, 1)
    assert journal.intents(states=[State.FILLED]) == journal.intents(modes=[Mode.SHADOW]) == ()


def test_each_record_carries_the_hash_of_the_one_before(journal: Journal) -> None:
    """The chain starts at zeros, and each hash is the sha256 of the record's canonical JSON with the previous hash in it."""
    for n in range(3):
        journal.append("note", {"n": n, "b": "x"}, at_us=n)
    previous = FIRST_PREV_HASH
    for r in journal.records():
        assert r.prev_hash == previous
        body = {
            "seq": r.seq,
            "kind": r.kind,
            "schema": r.schema,
            "at": r.at_us,
            "recorded_at": r.recorded_at_us,
            "run_id": r.run_id,
            "settings_hash": r.settings_hash,
            "payload": json.dumps(r.payload, sort_keys=True, separators=(",", ":")),
            "prev_hash": previous,
        }
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        assert r.hash == hashlib.sha256(text.encode()).hexdigest()
        previous = r.hash


@pytest.mark.parametrize(
    "change",
    [
        IntentChange("K1", State.PLANNED, State.SENDING),
        IntentChange("K1", State.CHECKED, State.SHADOWED),
        IntentChange("K1", None, State.PLANNED, INTENT),
        IntentChange("K2", State.PLANNED, State.CHECKED),
        IntentChange("K2", None, State.SENDING, INTENT),
        IntentChange("K2", None, State.PLANNED, None),
    ],
)
def test_an_illegal_change_stops_and_writes_nothing(journal: Journal, change: IntentChange) -> None:
    """An edge not in the table, another stored state, a second insert: IllegalEdge, and neither record nor earlier change stays."""
    journal.append("plan", {}, at_us=1, changes=[insert()])
    good = IntentChange("K3", None, State.PLANNED, INTENT)
    with pytest.raises(IllegalEdge):
        journal.append("intent", {}, at_us=2, changes=[good, change])
    assert len(journal.records()) == 1
    assert [(r.intent_key, r.state) for r in journal.intents()] == [("K1", State.PLANNED)]


def test_nan_is_refused_and_writes_nothing(journal: Journal) -> None:
    """A payload with NaN is no JSON: ValueError, nothing written."""
    with pytest.raises(ValueError, match="JSON compliant"):
        journal.append("note", {"x": float("nan")}, at_us=1)
    assert journal.records() == ()


def test_records_cannot_be_changed_or_deleted(journal: Journal, tmp_path: Path) -> None:
    """The file itself refuses UPDATE and DELETE of a record, whoever asks."""
    journal.append("note", {}, at_us=1)
    with sqlite3.connect(tmp_path / "journal.db") as other:
        for statement in ("UPDATE records SET at = 2", "DELETE FROM records"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                other.execute(statement)
    other.close()


def test_the_file_is_wal_and_every_commit_is_synced(journal: Journal) -> None:
    """The writing connection runs in WAL with synchronous=FULL (2)."""
    with journal._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_reader_reads_and_cannot_write(journal: Journal, tmp_path: Path) -> None:
    """A read-only journal sees committed records while a writer is open, and refuses to append."""
    journal.append("note", {"n": 1}, at_us=1)
    with Journal.read(tmp_path / "journal.db") as reader:
        journal.append("note", {"n": 2}, at_us=1)
        assert len(reader.records()) == 2
        with pytest.raises(FixSettings):
            reader.append("note", {}, at_us=1)


# A process that forks writers on demand, so that each starts at once: it says each pid, and each writer each seq in a file.
NURSERY = """
import os, signal, sys
from pathlib import Path
from bar_fly_trading.journal import IntentChange, Journal
from bar_fly_trading.trading.orders import State
signal.signal(signal.SIGCHLD, signal.SIG_IGN)

def write(path, name, said):
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    journal = Journal.open(path, now_us=lambda: 1, run_id=name, settings_hash="s")
    for n in range(rounds):
        key = f"{name}-{n}"
        payload = {"session": "2021-04-21", "mode": "paper", "strategy": "s", "filler": "x" * 2000}
        seq = journal.append("plan", {"key": key, "filler": "y" * 3000}, at_us=n, changes=[
            IntentChange(key, None, State.PLANNED, payload), IntentChange(key, State.PLANNED, State.CHECKED)])
        os.write(out, f"{seq}\\n".encode())
    os.write(out, b"done\\n")

for line in sys.stdin:
    path, name, count, said = line.split()
    rounds = int(count)
    pid = os.fork()
    if pid == 0:
        write(Path(path), name, said)
        os._exit(0)
    print(pid, flush=True)
"""


class Nursery:
    """Forks writers of one journal."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "journal.db"
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def writer(self, name: str, rounds: int) -> int:
        """Fork a writer and return its pid."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{self.path} {name} {rounds} {self.folder / name}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def said(self, name: str) -> list[str]:
        """What a writer has said so far, whole lines only."""
        file = self.folder / name
        return file.read_text().split("\n")[:-1] if file.exists() else []

    def close(self) -> None:
        """End it."""
        self.process.communicate(timeout=20)


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    """A nursery of writers."""
    made = Nursery(tmp_path)
    yield made
    made.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait up to half a minute."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.0005)


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def check_whole(path: Path) -> list[int]:
    """Check that the chain is unbroken and each record has its intent, and no intent is without; return the seqs."""
    with open_journal(path) as journal:
        records, intents = journal.records(), journal.intents()
    previous = FIRST_PREV_HASH
    for n, record in enumerate(records):
        assert (record.seq, record.prev_hash) == (n + 1, previous)
        previous = record.hash
    assert {r.payload["key"] for r in records} == {i.intent_key for i in intents}
    assert {i.state for i in intents} <= {State.CHECKED}
    return [r.seq for r in records]


def test_kill_9_during_appends_loses_nothing_that_was_confirmed(nursery: Nursery) -> None:
    """Twenty times a writer is killed at another moment: every confirmed record is there, whole, with its intent."""
    confirmed = 0
    for n in range(20):
        name = f"w{n}"
        pid = nursery.writer(name, 1_000_000)
        wait_until(lambda name=name, n=n: len(nursery.said(name)) >= n % 4)  # type: ignore[misc]
        time.sleep(0.0007 * n)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
        confirmed = max([confirmed, *map(int, nursery.said(name))])
        if nursery.path.exists():
            assert len(check_whole(nursery.path)) >= confirmed
    assert confirmed >= 20


def test_two_processes_write_one_chain(nursery: Nursery) -> None:
    """Two writers that make the file at the same time and append at the same time leave one unbroken chain of all records."""
    names = ("a", "b")
    for name in names:
        nursery.writer(name, 60)
    wait_until(lambda: all("done" in nursery.said(name) for name in names))
    seqs = sorted(int(line) for name in names for line in nursery.said(name) if line != "done")
    assert seqs == list(range(1, 121)) == check_whole(nursery.path)


LIMITED = """
import resource, sys
from pathlib import Path
from bar_fly_trading.errors import BftError
from bar_fly_trading.journal import Journal
path = Path(sys.argv[1])
journal = Journal.open(path, now_us=lambda: 1, run_id="r", settings_hash="s")
journal.append("note", {"n": 0}, at_us=1)
size = max(p.stat().st_size for p in path.parent.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40_000, resource.RLIM_INFINITY))
n = 0
try:
    while True:
        journal.append("note", {"n": n, "filler": "x" * 5000}, at_us=1)
        n += 1
except BftError as error:
    print(type(error).__name__, n, error.way_out)
"""


def test_a_disk_that_refuses_leaves_the_old_records_whole(tmp_path: Path) -> None:
    """Where the file may not grow any more: FreeDisk with a way out, and every confirmed record is still there."""
    path = tmp_path / "journal.db"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    name, confirmed, way_out = done.stdout.split(maxsplit=2)
    assert name == "FreeDisk", done.stderr
    assert "Free space" in way_out
    with open_journal(path) as journal:
        assert len(journal.records()) == int(confirmed) + 1
        journal.append("note", {}, at_us=1)


def test_a_full_database_is_free_disk(journal: Journal) -> None:
    """SQLite's own word for a full disk is FreeDisk, and nothing of the record stays."""
    journal.append("note", {}, at_us=1)
    with journal._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(FreeDisk, match="disk"):
        journal.append("note", {"filler": "x" * 50_000}, at_us=1)
    assert len(journal.records()) == 1


def raised(path: Path) -> BftError:
    """The error of opening a journal."""
    with pytest.raises(BftError) as caught:
        open_journal(path)
    return caught.value


READ_ONLY = """
import os, sys
from pathlib import Path
from bar_fly_trading.errors import BftError
from bar_fly_trading.journal import Journal
Journal.open(Path(sys.argv[2]), now_us=lambda: 1, run_id="r", settings_hash="s").close()  # all imports, before the user changes
if os.geteuid() == 0:
    os.setuid(65534)
try:
    Journal.open(Path(sys.argv[1]), now_us=lambda: 1, run_id="r", settings_hash="s").append("note", {}, at_us=1)
except BftError as error:
    print(type(error).__name__, error.way_out)
"""


def test_a_read_only_folder_is_the_operators_to_mend(tmp_path: Path) -> None:
    """A journal or a folder that this user may not write: FixSettings that says so, no traceback of the driver."""
    folder = Path(tempfile.mkdtemp())
    try:
        open_journal(folder / "kept.db").close()
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        for name in ("kept.db", "new.db"):
            command = [sys.executable, "-c", READ_ONLY, str(folder / name), str(tmp_path / "warm.db")]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.stdout.startswith("FixSettings Give"), done.stderr
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_place_that_cannot_hold_a_file_is_fix_settings(tmp_path: Path) -> None:
    """A missing folder, or a folder in the file's place: FixSettings that names it."""
    assert "not there" in str(raised(tmp_path / "missing" / "journal.db"))
    (tmp_path / "folder").mkdir()
    assert isinstance(raised(tmp_path / "folder"), FixSettings)
    with pytest.raises(FixSettings, match="no journal"):
        Journal.read(tmp_path / "none.db")


def test_a_broken_file_is_never_taken_for_an_empty_one(tmp_path: Path) -> None:
    """Text in the journal's place, another database, or a torn page: StoreDamaged, and the file is left as it is."""
    text = tmp_path / "text.db"
    text.write_text("no database at all " * 100)
    assert isinstance(raised(text), StoreDamaged)
    assert text.read_text().startswith("no database")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE something (x)")
    other.close()
    assert "something" in str(raised(tmp_path / "other.db"))
    torn = tmp_path / "torn.db"
    with open_journal(torn) as journal:
        for n in range(50):
            journal.append("note", {"n": n, "filler": "x" * 3000}, at_us=1)
    data = bytearray(torn.read_bytes())
    data[4096 * 2 :] = b"\xff" * (len(data) - 4096 * 2)
    torn.write_bytes(bytes(data))
    with pytest.raises(StoreDamaged), open_journal(torn) as journal:
        journal.records()


def test_a_newer_programs_journal_is_left_alone(tmp_path: Path) -> None:
    """A schema this program does not know: FixSettings that names both, and nothing is changed; reading refuses too."""
    path = tmp_path / "journal.db"
    open_journal(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    connection.close()
    error = raised(path)
    assert isinstance(error, FixSettings)
    assert "0099" in str(error)
    assert HEAD_REVISION in str(error)
    with pytest.raises(FixSettings):
        Journal.read(path)


def test_a_journal_held_by_another_process_is_waited_for(journal: Journal, tmp_path: Path) -> None:
    """A writer that holds the file longer than the wait: WaitForOtherRun, and nothing is written."""
    holder = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    with journal._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 50")
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(WaitForOtherRun):
        journal.append("note", {}, at_us=1)
    holder.execute("ROLLBACK")
    holder.close()
    assert journal.append("note", {}, at_us=1) == 1


def test_the_migrations_make_the_tables_that_the_program_uses(journal: Journal) -> None:
    """Alembic's head is the revision the program expects, and the migrated tables have exactly the program's columns."""
    folder = Path(door.__file__).parent / "migrations"
    script = ScriptDirectory(str(folder))
    assert script.get_current_head() == HEAD_REVISION
    assert {r.revision for r in script.walk_revisions()} == set(KNOWN_REVISIONS)
    with journal._engine.connect() as connection:
        for table in METADATA.sorted_tables:
            columns = {row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table.name})")}
            assert columns == {c.name for c in table.columns}
            indexes = {row[1] for row in connection.exec_driver_sql(f"PRAGMA index_list({table.name})")}
            assert {i.name for i in table.indexes} <= indexes
