"""Pruning removes what nobody needs, never what somebody does, also when it is killed; the forecast sees a disk fill."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from bar_fly_trading.data.disk import DAY_US, FOREVER_DAYS, forecast, plan_prune, prune, table_weights, verify
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import FixInput, StoreDamaged, WaitForOtherRun
from bar_fly_trading.files import RunLock

# Prunes a store and is killed, by its own hand and with SIGKILL, at the nth change of the disk (a removal or a rename).
_KILLED_PRUNE = """
import os, signal, sys
from pathlib import Path
from bar_fly_trading.data.disk import prune
from bar_fly_trading.data.store import Store
left = int(sys.argv[2])
def watch(event, _):
    global left
    if event in ("os.remove", "os.rename"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
store = Store(Path(sys.argv[1]))
sys.addaudithook(watch)
prune(store, keep_versions=2, keep_since_us=None)
"""


def publish(store: Store, number: int, *, at_us: int | None = None, rows: int = 2) -> str:
    """Publish rows of which one corrects the publish before."""
    names = ["us:SAME", *(f"us:{number}-{i}" for i in range(rows - 1))]
    text = [random.Random(number * 997 + i).randbytes(100).hex() for i in range(rows)]
    frame = pl.DataFrame({"instrument_id": names, "sector": text, "name": text, "known_at": [number] * rows})
    return store.publish({"sectors": frame}, source="pull", recorded_at_us=number if at_us is None else at_us)


def truth(store: Store, *versions: str) -> list[pl.DataFrame]:
    """Read some versions."""
    return [store.read("sectors", version=version) for version in versions]


def equal(one: list[pl.DataFrame], other: list[pl.DataFrame]) -> bool:
    """Return whether two readings are the same."""
    return len(one) == len(other) and all(a.equals(b) for a, b in zip(one, other, strict=True))


def files_of(root: Path) -> set[str]:
    """Return every file of a store but its lock."""
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and p.name != "publish.lock"}


def test_a_plan_removes_nothing_and_says_what_a_prune_then_removes(tmp_path: Path) -> None:
    """The dry run changes no file; the prune frees exactly the bytes it said; kept versions read the same, removed ones are named so."""
    store = Store(tmp_path)
    versions = [publish(store, i) for i in range(1, 101)]
    before, size = files_of(tmp_path), sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    kept = truth(store, *versions[-3:])
    plan = plan_prune(store, keep_versions=3, keep_since_us=None)
    assert files_of(tmp_path) == before
    assert plan.versions == tuple(versions[:-3])
    assert len(plan.segments) > 50, "the small segments that a compaction replaced are needed by old versions alone"
    assert prune(store, keep_versions=3, keep_since_us=None) == plan
    removed = {p.relative_to(tmp_path).as_posix() for p in (*plan.manifests, *plan.segments)}
    assert files_of(tmp_path) == (before - removed) | {"PRUNED"}
    now = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    assert size - now == plan.bytes - (tmp_path / "PRUNED").stat().st_size
    assert store.versions() == tuple(versions[-3:])
    assert equal(truth(store, *versions[-3:]), kept)
    with pytest.raises(FixInput, match="was pruned"):
        store.read("sectors", version=versions[0])
    assert plan_prune(store, keep_versions=3, keep_since_us=None).bytes == 0


def test_days_keep_what_was_current_in_them_and_what_is_protected(tmp_path: Path) -> None:
    """The version that was current when the kept days began stays, every later one, the protected, and always the current one."""
    store = Store(tmp_path)
    versions = [publish(store, i, at_us=i * DAY_US) for i in range(1, 11)]
    since = 7 * DAY_US + DAY_US // 2
    plan = plan_prune(
        store, keep_versions=None, keep_since_us=since, protected=(versions[2], "000077-0123456789abcdef")
    )
    assert plan.kept == (versions[2], *versions[6:])
    assert plan_prune(store, keep_versions=None, keep_since_us=99 * DAY_US).kept == (versions[9],)
    assert plan_prune(store, keep_versions=1, keep_since_us=since).kept == tuple(versions[6:])
    with pytest.raises(FixInput):
        plan_prune(store, keep_versions=None, keep_since_us=None)
    with pytest.raises(FixInput):
        plan_prune(store, keep_versions=0, keep_since_us=None)


def test_pruning_again_and_publishing_go_on(tmp_path: Path) -> None:
    """After several prunes and publishes the chain of versions holds, numbers grow, and everything kept is whole."""
    store = Store(tmp_path)
    seen = [publish(store, i) for i in range(1, 4)]
    for i in range(4, 12):
        prune(store, keep_versions=2, keep_since_us=None, protected=seen[2:3])
        seen.append(publish(store, i))
    assert store.versions() == (seen[2], *seen[-3:])
    assert sorted(seen) == seen
    assert verify(store)[0] > 0
    assert store.read("sectors").height == 12


@pytest.mark.parametrize("first", [0, 1] if not os.environ.get("BFT_PROVE") else [0])
def test_d24_a_prune_killed_at_any_step_leaves_every_kept_version_readable(tmp_path: Path, first: int) -> None:
    """SIGKILL before the nth removal, for each n (each other one without BFT_PROVE): kept versions whole, the next prune ends it."""
    step = 1 if os.environ.get("BFT_PROVE") else 2
    for n in range(first, 40, step):
        root = tmp_path / f"{n}"
        store = Store(root)
        versions = [publish(store, i) for i in range(1, 5)]
        publish_all = [s.file for s in store.manifest().tables["sectors"]]
        # A segment that only an old version names, as a compaction leaves it.
        orphan = root / "segments/sectors/000001-0123456789abcdef.parquet"
        orphan.write_bytes(b"x")
        kept = truth(store, *versions[-2:])
        done = subprocess.run([sys.executable, "-c", _KILLED_PRUNE, str(root), str(n)], check=False, timeout=60)
        assert equal(truth(store, *versions[-2:]), kept)
        assert set(versions[-2:]) <= set(store.versions())
        assert [s.file for s in store.manifest().tables["sectors"]] == publish_all
        verify(store)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        prune(store, keep_versions=2, keep_since_us=None)
        assert store.versions() == tuple(versions[-2:])
        assert not orphan.exists()
        assert len(list((root / "manifests").glob("*.json"))) == 2
        assert equal(truth(store, *versions[-2:]), kept)
    assert n >= 4, "the prune has at least a rename, two manifests and a segment to do"


def test_a_prune_waits_for_a_publisher_and_refuses_a_damaged_store(tmp_path: Path) -> None:
    """While another process publishes nothing is removed; nor where a manifest is altered, even one that would go."""
    store = Store(tmp_path)
    versions = [publish(store, i) for i in range(1, 4)]
    before = files_of(tmp_path)
    with RunLock(tmp_path / "publish.lock", command="bft pull"), pytest.raises(WaitForOtherRun):
        prune(store, keep_versions=1, keep_since_us=None)
    path = tmp_path / "manifests" / f"{versions[0]}.json"
    path.write_text(path.read_text().replace("pull", "push"))
    with pytest.raises(StoreDamaged):
        prune(store, keep_versions=1, keep_since_us=None)
    assert files_of(tmp_path) == before


def test_replaced_rows_are_weighed(tmp_path: Path) -> None:
    """Of a hundred publishes that correct one row, 99 rows are replaced; they weigh their share of the bytes."""
    store = Store(tmp_path)
    for i in range(1, 101):
        publish(store, i)
    (weight,) = table_weights(store)
    assert (weight.rows, weight.superseded_rows) == (200, 99)
    assert weight.superseded_bytes == weight.bytes * 99 // 200
    assert table_weights(Store(tmp_path / "none")) == ()


def test_the_forecast_divides_what_is_free_by_what_a_day_adds(tmp_path: Path) -> None:
    """Ten days of pulls give the pace; an import, what is older than thirty days and the future are left out."""
    store = Store(tmp_path / "store")
    now = 100 * DAY_US
    frame = pl.DataFrame({"instrument_id": ["us:B"], "sector": ["x" * 100_000], "name": ["y"], "known_at": [1]})
    store.publish({"sectors": frame}, source="import bars x", recorded_at_us=95 * DAY_US)
    assert forecast(store, (), now, 1_000_000).days_left is None
    sizes = 0
    for day in range(91, 101):
        version = publish(store, day, at_us=day * DAY_US, rows=50)
        sizes += (tmp_path / "store/manifests" / f"{version}.json").stat().st_size
        sizes += next((tmp_path / "store/segments/sectors").glob(f"{version[:6]}-*")).stat().st_size
    found = forecast(store, (), now, 1_000_000)
    assert found.bytes_a_day == pytest.approx(sizes / 10)
    assert found.days_left == int(1_000_000 / (sizes / 10))
    assert found.note(found.days_left) is None
    assert f"full in about {found.days_left} days" in (found.note(found.days_left + 1) or "")
    assert forecast(store, (), now + 60 * DAY_US, 1_000_000).days_left is None
    assert forecast(store, (), now, 10**15).days_left == FOREVER_DAYS


def test_files_named_by_a_date_count_towards_the_forecast(tmp_path: Path) -> None:
    """Signals and predictions of the newest thirty days give their bytes a day; other names say nothing."""
    store, folder = Store(tmp_path / "store"), tmp_path / "predictions"
    folder.mkdir()
    (folder / "readme").write_bytes(bytes(10_000))
    for day in (date(2021, 1, 4), date(2021, 4, 19), date(2021, 4, 20)):
        (folder / f"{day}.csv").write_bytes(bytes(1000))
    assert forecast(store, (folder,), 0, 9_000).days_left is None
    (folder / "2021-04-21").mkdir()
    (folder / "2021-04-21" / "a.csv").write_bytes(bytes(1000))
    assert forecast(store, (folder,), 0, 9_000).days_left == 9
