"""Whatever happens to a file of the store, and wherever a disk fills, old data is whole or the damage is named: never emptiness."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from bar_fly_trading.data.disk import prune, verify
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import BftError, FreeDisk, StoreDamaged

FLIPS = 1000 if os.environ.get("BFT_PROVE") else 100
Truth = dict[str, pl.DataFrame]


def additions(number: int, rows: int = 3) -> dict[str, pl.DataFrame]:
    """Return rows of two tables."""
    names = [f"us:{number}-{i}" for i in range(rows)]
    text = [random.Random(number * 1000 + i).randbytes(200).hex() for i in range(rows)]
    return {
        "sectors": pl.DataFrame({"instrument_id": names, "sector": text, "name": text, "known_at": [1] * rows}),
        "splits": pl.DataFrame(
            {
                "instrument_id": names,
                "effective_date": [date(2021, 4, 20)] * rows,
                "split_factor": [2.0] * rows,
                "known_at": [1] * rows,
            }
        ),
    }


def filled(root: Path) -> Store:
    """Return a store of six versions of which the oldest two were pruned."""
    store = Store(root)
    for number in range(1, 7):
        store.publish(additions(number), source="t", recorded_at_us=number)
    prune(store, keep_versions=4, keep_since_us=None)
    return store


def everything(store: Store) -> Truth:
    """Read every table of every version."""
    return {f"{v} {name}": store.read(name, version=v) for v in store.versions() for name in ("sectors", "splits")}


def same(one: Truth, other: Truth) -> bool:
    """Return whether two readings are equal in every value."""
    return one.keys() == other.keys() and all(one[key].equals(other[key]) for key in one)


def files_of(store: Store) -> list[Path]:
    """Return every file of the store that is read."""
    return sorted(p for p in store.root.rglob("*") if p.is_file() and p.name != "publish.lock")


def test_d25_a_random_bit_anywhere_is_found_or_changes_nothing(tmp_path: Path) -> None:
    """One random bit of a random file at a time: StoreDamaged, or exactly the same rows (a line's end has spare bits)."""
    store, chance = filled(tmp_path), random.Random(25)
    truth, found = everything(store), 0
    for _ in range(FLIPS):
        victim = chance.choice(files_of(store))
        whole = victim.read_bytes()
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        victim.write_bytes(data)
        try:
            assert same(everything(store), truth), victim
        except StoreDamaged as error:
            found += 1
            assert error.way_out
        else:
            assert victim.name == "CURRENT", victim
        victim.write_bytes(whole)
    assert found >= FLIPS * 0.9
    assert same(everything(store), truth)


@pytest.mark.parametrize("how", ["cut", "empty", "missing", "zeros", "longer"])
def test_d25_no_file_can_be_cut_emptied_or_lost_unnoticed(tmp_path: Path, how: str) -> None:
    """Each file of the store in turn: reading or checking it all says which is damaged; without the list of pruned versions too."""
    store = filled(tmp_path)
    for victim in files_of(store):
        whole = victim.read_bytes()
        damaged = {"cut": whole[: len(whole) // 2], "empty": b"", "zeros": bytes(len(whole)), "longer": whole * 2}
        victim.unlink()
        if how != "missing":
            victim.write_bytes(damaged[how])
        with pytest.raises(StoreDamaged):
            everything(store)
        with pytest.raises(StoreDamaged):
            verify(store)
        victim.write_bytes(whole)
    assert verify(store)[0] == 4 + 12


@pytest.mark.parametrize("folder", ["segments/sectors", "manifests"])
def test_d25_files_that_change_places_are_found(tmp_path: Path, folder: str) -> None:
    """Two whole and valid files under each other's name are damage: a checksum belongs to a name."""
    store = filled(tmp_path)
    one, two = sorted((tmp_path / folder).iterdir())[:2]
    content = one.read_bytes()
    shutil.copyfile(two, one)
    two.write_bytes(content)
    with pytest.raises(StoreDamaged):
        everything(store)


def test_d25_a_manifest_that_was_edited_is_found(tmp_path: Path) -> None:
    """A manifest made to name fewer rows or another file, still valid JSON, does not match its name."""
    store = filled(tmp_path)
    path = tmp_path / "manifests" / f"{store.current()}.json"
    text = path.read_text()
    for old, new in (('"rows": 3', '"rows": 2'), ("segments/splits", "segments/sectors"), ('"t"', '"u"')):
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(StoreDamaged, match="checksum in its name"):
            store.read("splits")


@contextmanager
def file_size_max(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _try(store: Store, number: int) -> bool:
    try:
        store.publish(additions(number), source="t", recorded_at_us=number)
    except FreeDisk:
        return False
    return True


def _check_refused(store: Store, truth: Truth) -> None:
    assert same(everything(store), truth)
    assert not list(store.root.rglob("*.bft-tmp"))


def test_d23_a_disk_that_refuses_the_nth_byte_leaves_the_old_version_whole(tmp_path: Path) -> None:
    """However few bytes a file may have, a publish that did not fit changed nothing, and the first that fits is whole."""
    store = filled(tmp_path)
    truth, refused = everything(store), 0
    for size in range(0, 20_000, 211):
        with file_size_max(size):
            done = _try(store, 7)
        if done:
            break
        refused += 1
        _check_refused(store, truth)
    assert refused > 3
    assert len(store.versions()) == 5
    assert store.read("sectors").height == 21


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root to mount it; the sweep above ran")
def test_d23_a_disk_that_is_full_at_any_page_leaves_the_old_version_whole(tmp_path: Path) -> None:
    """On a disk of its own with 0, 1, 2, ... free pages: each publish is refused and changes nothing until the one that fits."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs; the sweep above ran")
    try:
        store = filled(tmp_path / "store")
        truth, ballast, refused = everything(store), tmp_path / "ballast", 0
        free = shutil.disk_usage(tmp_path).free // 4096
        for pages in range(free):
            ballast.unlink(missing_ok=True)
            ballast.write_bytes(bytes((free - pages) * 4096))
            if _try(store, 7):
                break
            refused += 1
            _check_refused(store, truth)
        assert refused > 3
        assert len(store.versions()) == 5
        assert verify(store)[0] > 0
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_damage_is_an_error_an_operator_can_act_on(tmp_path: Path) -> None:
    """Exit code 13 and a way out."""
    store = filled(tmp_path)
    next((tmp_path / "segments/sectors").iterdir()).write_bytes(b"")
    with pytest.raises(BftError) as caught:
        verify(store)
    assert caught.value.exit_code == 13
    assert "backup" in caught.value.way_out
