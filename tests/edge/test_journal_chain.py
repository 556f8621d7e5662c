"""The journal's chain: whatever is changed in the file behind its back is found before anything is sent, and named."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from bar_fly_trading.errors import BftError, FixSettings, StoreDamaged
from bar_fly_trading.journal import IntentChange, Journal
from bar_fly_trading.journal.chain import verify
from bar_fly_trading.journal.head import head_path, read_head
from bar_fly_trading.journal.records import FIRST_PREV_HASH, record_hash
from bar_fly_trading.trading.orders import State

FLIPS = 2000 if os.environ.get("BFT_PROVE") else 150
INTENT = {"session": "2021-04-21", "mode": "paper", "strategy": "bollinger", "quantity": 3}
TO_APPROVED = (State.PLANNED, State.CHECKED, State.AWAITING, State.APPROVED)
TRIGGERS = ("records_no_update", "records_no_delete", "records_only_the_next", "intents_no_delete")


def open_journal(path: Path) -> Journal:
    """A journal whose clock stands at 7."""
    return Journal.open(path, now_us=lambda: 7, run_id="run-1", settings_hash="s")


def fill(path: Path) -> None:
    """Write a day: a note, a plan of two intents, one of them approved under a lease, and an end."""
    with open_journal(path) as journal:
        journal.append("note", {"n": 1}, at_us=1)
        journal.take_lease("DU1", ttl_s=60, monotonic_us=lambda: 0)
        planned = [IntentChange(key, None, State.PLANNED, {**INTENT, "key": key}) for key in ("K1", "K2")]
        journal.append("plan", {"session": "2021-04-21", "plan_id": "p"}, at_us=2, changes=planned)
        steps = [IntentChange("K1", a, b) for a, b in pairwise(TO_APPROVED)]
        journal.append("intent", {"session": "2021-04-21", "intent_key": "K1"}, at_us=3, changes=steps)
        sending = IntentChange("K1", State.APPROVED, State.SENDING, {**INTENT, "key": "K1", "detail": "being sent"})
        journal.append("intent", {"session": "2021-04-21", "intent_key": "K1"}, at_us=4, changes=[sending])
        journal.append("finish", {"session": "2021-04-21"}, at_us=5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of one day, closed."""
    made = tmp_path / "journal.sqlite"
    fill(made)
    return made


def content(path: Path) -> list[object]:
    """Everything the journal says, read by SQLite alone."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        tables = ("records", "intents", "leases", "alembic_version")
        return [db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables]


def behind_its_back(path: Path, *statements: str) -> None:
    """Change the file as somebody would who knows SQLite: the triggers away, the change, the triggers back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        kept = [db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0] for name in TRIGGERS]
        for name in TRIGGERS:
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)
        for sql in kept:
            db.execute(sql)


def refused(path: Path) -> StoreDamaged:
    """The error of opening it, which writes nothing."""
    before = content(path)
    with pytest.raises(StoreDamaged) as caught:
        open_journal(path)
    assert content(path) == before
    assert "nothing was sent" in str(caught.value)
    return caught.value


MOVE = (
    "UPDATE records SET seq = 100 WHERE seq = 5",
    "UPDATE records SET seq = 5 WHERE seq = 4",
    "UPDATE records SET seq = 4 WHERE seq = 100",
)
INSERTED = (
    "INSERT INTO records SELECT 7, kind, schema, at, recorded_at, run_id, settings_hash, session, payload, hash, 'made-up',"
    " changes, token FROM records WHERE seq = 6"
)


@pytest.mark.parametrize(
    ("named", "statements"),
    [
        ("record 1 (note) has the hash", ("UPDATE records SET payload = '{\"n\":2}' WHERE seq = 1",)),
        ("record 3 (plan) has the hash", ("UPDATE records SET changes = NULL WHERE seq = 3",)),
        ("record 5 (intent) has the hash", ("UPDATE records SET token = 9 WHERE seq = 5",)),
        ("record 6 (finish) has the hash", ("UPDATE records SET recorded_at = 8 WHERE seq = 6",)),
        ("record 6 (finish) has the hash", ("UPDATE records SET settings_hash = '' WHERE seq = 6",)),
        ("record 4 is missing", ("DELETE FROM records WHERE seq = 4",)),
        ("record 1 is missing", ("DELETE FROM records WHERE seq = 1",)),
        ("record 4 (intent) names", MOVE),
        ("record 7 (finish) has the hash made-up", (INSERTED,)),
        ("filed under 2021-04-22", ("UPDATE records SET session = '2021-04-22' WHERE seq = 6",)),
        ("had come to record 6", ("DELETE FROM records WHERE seq = 6",)),
        ("had come to record 6", ("DELETE FROM records", "DELETE FROM intents", "DELETE FROM leases")),
        ("intent K1 is APPROVED", ("UPDATE intents SET state = 'APPROVED' WHERE intent_key = 'K1'",)),
        ("intent K2 is absent", ("DELETE FROM intents WHERE intent_key = 'K2'",)),
        ("intent K3 is PLANNED", ("INSERT INTO intents SELECT 'K3', state, session, mode, strategy, payload, updated_seq"
         " FROM intents WHERE intent_key = 'K2'",)),
        ("intent K1 is SENDING", ("UPDATE intents SET payload = replace(payload, ':3', ':4') WHERE intent_key = 'K1'",)),
        ("intent K1 is SENDING", ("UPDATE intents SET updated_seq = 4 WHERE intent_key = 'K1'",)),
        ("the lease of DU1 has the checksum", ("UPDATE leases SET token = 7",)),
        ("the lease of DU1 has the checksum", ("UPDATE leases SET expires_at = 1",)),
        ("the lease of DU1 is in the records", ("DELETE FROM leases",)),
    ],
)  # fmt: skip
def test_whatever_is_changed_is_named_and_nothing_is_written(
    path: Path, named: str, statements: tuple[str, ...]
) -> None:
    """A record altered, cut, moved, put in or taken out, an intent or a lease that is not the records': StoreDamaged names it."""
    behind_its_back(path, *statements)
    assert named in refused(path).message


def test_both_hashes_are_named(path: Path) -> None:
    """Of an altered record the error names the stored hash and the one its content gives; of a cut end the two heads."""
    with open_journal(path) as journal:
        records = journal.records()
    behind_its_back(path, "UPDATE records SET kind = 'n0te' WHERE seq = 1")
    r = records[0]
    body = (r.schema, r.at_us, r.recorded_at_us, r.run_id, r.settings_hash, '{"n":1}', FIRST_PREV_HASH)
    said = refused(path).message
    assert r.hash[:16] in said
    assert record_hash(1, "n0te", *body)[:16] in said
    behind_its_back(path, "UPDATE records SET kind = 'note' WHERE seq = 1", "DELETE FROM records WHERE seq = 6")
    said = refused(path).message
    assert records[4].hash[:16] in said
    assert records[5].hash[:16] in said


def test_records_written_anew_do_not_fit_the_head(path: Path, tmp_path: Path) -> None:
    """A journal whose every hash was computed anew is a whole chain; the head kept beside it says that it is another."""
    other = tmp_path / "other" / "journal.sqlite"
    other.parent.mkdir()
    with open_journal(other) as journal:
        for n in range(9):
            journal.append("note", {"n": n}, at_us=n)
    other.replace(path)
    assert "written anew" in refused(path).message


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET at = 2 WHERE seq = 1",
        "DELETE FROM records WHERE seq = 6",
        "INSERT OR REPLACE INTO records SELECT * FROM records WHERE seq = 2",
        "INSERT INTO records SELECT seq + 7, kind, schema, at, recorded_at, run_id, settings_hash, session, payload, prev_hash,"
        " 'h', changes, token FROM records WHERE seq = 6",
        "INSERT INTO records SELECT 7, kind, schema, at, recorded_at, run_id, settings_hash, session, payload, prev_hash, 'h',"
        " changes, token FROM records WHERE seq = 6",
        "DELETE FROM intents WHERE intent_key = 'K1'",
    ],
)
def test_the_file_refuses_all_but_the_next_record(path: Path, statement: str) -> None:
    """SQLite itself refuses to change, delete, replace or skip a record and to delete an intent, whoever asks."""
    before = content(path)
    with (
        closing(sqlite3.connect(path)) as db,
        pytest.raises(sqlite3.IntegrityError, match=r"append-only|never deleted"),
    ):
        db.execute(statement)
    assert content(path) == before


@pytest.mark.parametrize("statement", ["DROP TRIGGER records_no_update", "CREATE TRIGGER t AFTER INSERT ON records"
                                       " BEGIN DELETE FROM leases; END"])  # fmt: skip
def test_a_trigger_taken_away_or_added_is_found(path: Path, statement: str) -> None:
    """A journal whose guards are gone, or that does more than it should, is damaged."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
    assert "trigger" in refused(path).message


def test_a_damaged_head_and_a_lost_journal_stop(path: Path) -> None:
    """A head file that is none, or one without its journal: StoreDamaged, and no empty journal in its place."""
    head = head_path(path)
    kept = head.read_bytes()
    for bad in (b"", b"x", kept.replace(b"6", b"5", 1), b"\xff\xfe"):
        head.write_bytes(bad)
        assert "is damaged" in refused(path).message
    head.write_bytes(kept)
    path.unlink()
    with pytest.raises(StoreDamaged, match="is gone"):
        open_journal(path)
    assert not path.exists()


def test_a_flipped_bit_is_found_or_changes_nothing(path: Path) -> None:
    """Any one bit of the file flipped: an error of ours, or the journal says exactly what it said; seeded bits of it."""
    good, data, kept = content(path), path.read_bytes(), read_head(path)
    seed = random.Random(7)
    harmless, found = 0, 0
    for bit in seed.sample(range(len(data) * 8), FLIPS):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(flipped))
        for left in ("-wal", "-shm"):
            path.with_name(path.name + left).unlink(missing_ok=True)
        try:
            verify(path, kept)
            with Journal.read(path) as journal:
                journal.records()
        except BftError:
            found += 1
            continue
        assert content(path) == good, f"bit {bit}"
        harmless += 1
    assert found > FLIPS // 20
    assert harmless > 0


# ---------------------------------------------------------------- journals of before


def old_journal(path: Path, *, settings_hash: str | None) -> None:
    """Write a journal as the first programs did: no changes, no tokens, in the first days no settings' hash."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from sqlalchemy import create_engine

    from bar_fly_trading.journal.migrations.versions import revision_0001

    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        with Operations.context(MigrationContext.configure(connection)):
            revision_0001.upgrade()
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('0001')")
        if settings_hash is None:
            connection.exec_driver_sql("ALTER TABLE records DROP COLUMN settings_hash")
        previous = FIRST_PREV_HASH
        for seq, kind in enumerate(("plan", "intent"), 1):
            body = '{"session":"2021-04-21"}'
            digest = record_hash(seq, kind, 1, seq, seq, "r", settings_hash, body, previous)
            names = "seq, kind, schema, at, recorded_at, run_id, session, payload, prev_hash, hash"
            values = (seq, kind, 1, seq, seq, "r", "2021-04-21", body, previous, digest)
            if settings_hash is not None:
                names, values = names + ", settings_hash", (*values, settings_hash)  # type: ignore[assignment]
            marks = ", ".join("?" * len(values))
            connection.exec_driver_sql(f"INSERT INTO records ({names}) VALUES ({marks})", values)
            previous = digest
        text = json.dumps(INTENT, sort_keys=True, separators=(",", ":"))
        row = ("K1", "CHECKED", "2021-04-21", "paper", "bollinger", text, 2)
        connection.exec_driver_sql("INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    engine.dispose()


@pytest.mark.parametrize("settings_hash", [None, "s-old"])
def test_an_older_journal_is_checked_brought_up_and_replayable(tmp_path: Path, settings_hash: str | None) -> None:
    """A journal without changes, or even without the settings' hash, is verified, upgraded, goes on, and is no new epoch."""
    path = tmp_path / "journal.sqlite"
    old_journal(path, settings_hash=settings_hash)
    with open_journal(path) as journal:
        assert [(r.seq, r.kind, r.settings_hash) for r in journal.records()] == [
            (1, "plan", settings_hash or ""),
            (2, "intent", settings_hash or ""),
            (3, "intents_taken_over", "s"),
        ]
        assert journal.epoch().number == 0
        journal.append("intent", {}, at_us=9, changes=[IntentChange("K1", State.CHECKED, State.AWAITING)])
    with open_journal(path) as journal:
        (row,) = journal.intents()
        assert (row.state, row.updated_seq) == (State.AWAITING, 4)
    behind_its_back(path, "UPDATE intents SET state = 'CHECKED'")
    assert "intent K1 is CHECKED" in refused(path).message


@pytest.mark.parametrize("settings_hash", [None, "s-old"])
def test_an_older_journal_that_was_altered_is_not_brought_up(tmp_path: Path, settings_hash: str | None) -> None:
    """An altered record of an older journal stops before the upgrade, which would seal it."""
    path = tmp_path / "journal.sqlite"
    old_journal(path, settings_hash=settings_hash)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER records_no_update")
        db.execute("UPDATE records SET at = 5 WHERE seq = 2")
    with pytest.raises(StoreDamaged, match=r"record 2 \(intent\) has the hash"):
        open_journal(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]


# ---------------------------------------------------------------- x41: restored journals


def test_x41_a_journal_without_its_head_begins_an_epoch_once(path: Path) -> None:
    """A journal whose head is not beside it was restored or moved: an epoch that wants a reconciliation, begun once."""
    head_path(path).unlink()
    with open_journal(path) as journal:
        epoch = journal.epoch()
        assert (epoch.number, epoch.reconciled) == (1, False)
    with open_journal(path) as journal:
        assert journal.epoch() == epoch
        journal.end_doubt()
        journal.end_doubt()
        assert journal.epoch().reconciled
        assert [r.kind for r in journal.records()][-2:] == ["epoch", "epoch_reconciled"]


def test_x41_yesterdays_copy_in_the_journals_place_stops_and_can_be_adopted(path: Path, tmp_path: Path) -> None:
    """An older copy over the journal: StoreDamaged with both heads; taken as it is by a person it is an epoch in doubt."""
    copy = path.read_bytes()
    with open_journal(path) as journal:
        journal.append("note", {"n": "today"}, at_us=9)
    path.write_bytes(copy)
    assert "an older copy was put in its place" in refused(path).message
    with Journal.open(path, now_us=lambda: 8, run_id="r", settings_hash="s", adopt="a person said so") as journal:
        assert (journal.epoch().reason, journal.epoch().reconciled) == ("a person said so", False)
    open_journal(path).close()


def test_a_newer_schema_is_left_to_its_program(path: Path) -> None:
    """A journal of a newer program is refused as such, not as damaged."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE alembic_version SET version_num = '0099'")
    with pytest.raises(FixSettings, match="0099"):
        open_journal(path)
