"""The drill: a home that traded is backed up, lost, brought back by another name, and goes on where it was."""

from __future__ import annotations

import json
import random
import shutil
from datetime import date
from pathlib import Path

from tests.simulated.conftest import SIGNAL_DAY, TRADED, Chain, Gateway

from bar_fly_trading.data.store import Store
from bar_fly_trading.journal import Journal
from bar_fly_trading.journal.records import FIRST_PREV_HASH, JournalRecord, record_hash
from bar_fly_trading.trading.plan import canonical_bytes


def chained(home: Path) -> tuple[JournalRecord, ...]:
    """Return the journal's records after computing every hash of the chain anew."""
    with Journal.read(home / "journal.sqlite") as journal:
        found = journal.records()
    before = FIRST_PREV_HASH
    for r in found:
        text = canonical_bytes(r.payload).decode()
        assert r.prev_hash == before
        times, more = (r.at_us, r.recorded_at_us), (r.changes, r.token)
        before = record_hash(r.seq, r.kind, r.schema, *times, r.run_id, r.settings_hash, text, before, *more)
        assert r.hash == before
    return found


def test_a_lost_home_is_restored_and_goes_on(ranked: Chain, read_gateway: Gateway, tmp_path: Path) -> None:
    """After evening and shadow morning: backup, loss, restore; the journal is the same, the evening reuses, the morning resumes."""
    assert ranked.morning(read_gateway).returncode == 0
    records, states = chained(ranked.home), ranked.states()
    files = {p.name: p.read_bytes() for p in (ranked.home / "signals").iterdir()}
    dest = tmp_path / "elsewhere" / "kept.tar"
    ranked.ok("backup", dest)
    shutil.rmtree(ranked.home)
    again = Chain(tmp_path / "brought back", ranked.bars)
    again.ok("restore", dest, "--home", again.home)
    assert chained(again.home) == records
    assert again.states() == states
    assert {p.name: p.read_bytes() for p in (again.home / "signals").iterdir()} == files
    said = again.ok("evening", "--no-pull", "--as-of", SIGNAL_DAY)
    assert "reused, nothing had changed: evening" in said
    resumed = again.morning(read_gateway)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming the frozen plan" in resumed.stdout
    assert len(again.records("fill")) == len(TRADED)
    assert len(again.records("evening")) == 1
    assert "every one matches its checksum" in again.ok("store", "verify")
    assert again.debris() == []


def test_a_flipped_bit_in_the_features_makes_them_anew(ranked: Chain) -> None:
    """D25: whatever bit of the feature files or of their checksums is turned, they are built again, the same, and never used."""
    whole = {p: p.read_bytes() for p in (ranked.home / "features").iterdir()}
    assert {p.name.partition(".")[2] for p in whole} == {"parquet", "excluded.parquet", "sha256"}
    assert json.loads(ranked.ok("features", "--as-of", SIGNAL_DAY, "--json"))["reused"]
    for path, content in whole.items():
        data = bytearray(content)
        data[random.Random(path.suffix).randrange(len(data))] ^= 1
        path.write_bytes(data)
        assert not json.loads(ranked.ok("features", "--as-of", SIGNAL_DAY, "--json"))["reused"], path
        assert {p: p.read_bytes() for p in whole} == whole


def test_the_evening_says_when_the_disk_fills(ranked: Chain) -> None:
    """Where fewer days are left than the setting, the evening says so, once, in its mail too; at 0 it never does."""
    for day in (date(2021, 4, 15), date(2021, 4, 16), date(2021, 4, 19)):
        with (ranked.home / "signals" / f"{day}.csv").open("wb") as file:
            file.truncate(1 << 40)
    args = ("evening", "--no-pull", "--as-of", SIGNAL_DAY)
    assert "the disk will be full" not in ranked.ok(*args, "--set", "data.disk_days_min=0")
    for path in (ranked.home / "outbox/kept").iterdir():
        path.unlink()
    assert ranked.ok(*args).count("the disk will be full in about 0 days") == 1
    (mail,) = (ranked.home / "outbox/kept").glob("*.eml")
    assert "the disk will be full" in " ".join(mail.read_text().replace("=\n", "").split())


def test_a_prune_keeps_what_an_evening_was_made_from(ranked: Chain, tmp_path: Path) -> None:
    """The version an evening of the last days used stays among many newer ones; the dry run removes nothing; JSON says what went."""
    (used,) = (payload["store_version"] for payload in ranked.records("evening_source"))
    sectors = tmp_path / "sectors.csv"
    for i in range(4):
        sectors.write_text(f"symbol,name,sector\nALFA,Alfa,Sector {i}\n")
        ranked.ok("import", "sectors", sectors)
    store = Store(ranked.home / "store")
    versions = store.versions()
    assert "nothing was removed" in ranked.ok("store", "prune", "--keep-versions", 1)
    assert store.versions() == versions
    done = json.loads(ranked.ok("store", "prune", "--keep-versions", 1, "--yes", "--json"))
    assert done["kept"] == [used, versions[-1]]
    assert store.versions() == (used, versions[-1])
    shown = json.loads(ranked.ok("store", "versions", "--json"))
    assert [v["version"] for v in shown] == [used, versions[-1]]
    status = json.loads(ranked.ok("store", "status", "--json"))
    assert status["versions"] == 2 and status["bytes_of_older_versions_alone"] > 0
    ranked.refused(3, "store", "prune")
    victim = next((ranked.home / "store/segments/bars").iterdir())
    victim.write_bytes(b"")
    assert victim.name in ranked.refused(13, "store", "verify")
