"""The store keeps every version, shows what was known when, and never takes damage for emptiness."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_bars, load_instruments, load_sectors
from bar_fly_trading.errors import FixData, FixInput, StoreDamaged, WaitForOtherRun
from bar_fly_trading.facts.tables import BARS
from bar_fly_trading.files import RunLock

D1, D2 = date(2021, 4, 20), date(2021, 4, 21)


def bars(*rows: tuple[str, date, float, int]) -> pl.DataFrame:
    """Return bars of (instrument, session, close, known_at); every other price is the close."""
    return pl.DataFrame(
        [
            {
                "instrument_id": name,
                "session": day,
                **dict.fromkeys(("open", "high", "low", "close", "adjusted_close"), close),
                "volume": 100,
                "dividend_amount": 0.0,
                "split_coefficient": 1.0,
                "known_at": known,
            }
            for name, day, close, known in rows
        ],
        schema={**BARS.columns, "known_at": pl.Int64()},
    )


def closes(frame: pl.DataFrame) -> list[tuple[str, date, float]]:
    """Return what a reading says of closes, in its order."""
    return list(frame.select("instrument_id", "session", "close").iter_rows())


def filled(root: Path) -> tuple[Store, str, str]:
    """Return a store of two versions: two names, then a correction of one and a new session."""
    store = Store(root)
    one = store.publish({"bars": bars(("us:B", D1, 20.0, 10), ("us:A", D1, 10.0, 10))}, source="one", recorded_at_us=11)
    two = store.publish({"bars": bars(("us:A", D1, 10.5, 30), ("us:A", D2, 11.0, 20))}, source="two", recorded_at_us=31)
    return store, one, two


def test_an_empty_store_is_empty_and_says_so(tmp_path: Path) -> None:
    """Nothing published: no version, empty frames of the right columns, and a load that says what to do."""
    store = Store(tmp_path / "store")
    assert store.current() is None
    assert store.versions() == ()
    assert store.read("bars").schema == pl.Schema(BARS.schema())
    with pytest.raises(FixData, match="bft import bars"):
        load_bars(store)
    with pytest.raises(FixInput, match="empty"):
        store.manifest()
    assert len(load_instruments(store)) == 0
    assert load_sectors(store) == {}
    assert not (tmp_path / "store").exists()


def test_a_view_takes_the_newest_row_known_by_then(tmp_path: Path) -> None:
    """Before the correction was known the old close is seen, afterwards the new one; rows come sorted by key."""
    store, _, two = filled(tmp_path)
    assert store.current() == two
    assert closes(store.read("bars")) == [("us:A", D1, 10.5), ("us:A", D2, 11.0), ("us:B", D1, 20.0)]
    assert closes(store.read("bars", known_by_us=29)) == [("us:A", D1, 10.0), ("us:A", D2, 11.0), ("us:B", D1, 20.0)]
    assert closes(store.read("bars", known_by_us=19)) == [("us:A", D1, 10.0), ("us:B", D1, 20.0)]
    assert store.read("bars", known_by_us=9).is_empty()
    assert store.read("bars")["recorded_at"].to_list() == [31, 31, 11]


def test_old_versions_stay_readable(tmp_path: Path) -> None:
    """The first version reads as it was, after the second was published."""
    store, one, two = filled(tmp_path)
    assert closes(store.read("bars", version=one)) == [("us:A", D1, 10.0), ("us:B", D1, 20.0)]
    assert store.versions() == (one, two)
    assert store.manifest(one).source == "one"
    assert store.manifest(two).rows("bars") == 4
    with pytest.raises(FixInput, match="no version"):
        store.read("bars", version="000009-0123456789abcdef")


def test_equal_knowledge_goes_to_the_later_record_and_then_the_later_row(tmp_path: Path) -> None:
    """Two rows of one key known at once: the one recorded later wins, within one publish the one given later."""
    store = Store(tmp_path)
    store.publish({"bars": bars(("us:A", D1, 1.0, 10), ("us:A", D1, 2.0, 10))}, source="t", recorded_at_us=11)
    assert closes(store.read("bars")) == [("us:A", D1, 2.0)]
    store.publish({"bars": bars(("us:A", D1, 3.0, 10))}, source="t", recorded_at_us=12)
    assert closes(store.read("bars")) == [("us:A", D1, 3.0)]


def test_publishing_nothing_makes_no_version(tmp_path: Path) -> None:
    """Frames without rows leave the current version as it is."""
    store, _, two = filled(tmp_path)
    assert store.publish({"bars": bars()}, source="t", recorded_at_us=99) == two


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop("close"), "takes the columns"),
        (lambda f: f.with_columns(extra=1), "takes the columns"),
        (lambda f: f.with_columns(session=pl.lit("soon")), "session"),
        (lambda f: f.with_columns(known_at=pl.lit(None, pl.Int64)), "nulls in known_at"),
        (lambda f: f.with_columns(instrument_id=pl.lit(None, pl.String)), "nulls in instrument_id"),
    ],
)
def test_rows_that_break_the_schema_are_refused_before_anything_is_written(
    tmp_path: Path, change: object, message: str
) -> None:
    """A wrong column, type or a null key raises, and no file appears."""
    assert callable(change)
    with pytest.raises(ValueError, match=message):
        Store(tmp_path / "s").publish({"bars": change(bars(("us:A", D1, 1.0, 1)))}, source="t", recorded_at_us=1)
    assert not (tmp_path / "s").exists()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_truncate, _flip, _empty, Path.unlink])
@pytest.mark.parametrize("kind", ["segments/bars/*.parquet", "manifests/*.json"])
@pytest.mark.parametrize("read_before", [True, False])
def test_a_damaged_file_stops_the_reading_and_is_named(
    tmp_path: Path, damage: object, kind: str, read_before: bool
) -> None:
    """A cut, altered, emptied or missing segment or manifest is StoreDamaged naming it, though it was verified before."""
    store, _, _ = filled(tmp_path)
    if read_before:
        store.read("bars")
    victim = max(tmp_path.glob(kind))
    assert callable(damage)
    damage(victim)
    with pytest.raises(StoreDamaged, match=victim.name):
        store.read("bars")


@pytest.mark.parametrize("read_before", [True, False])
def test_a_flipped_bit_anywhere_in_a_segment_is_found(tmp_path: Path, read_before: bool) -> None:
    """One bit turned at every seventh byte, one at a time: each is damage, also where Parquet would read on; undone: whole."""
    store, _, _ = filled(tmp_path)
    victim = max(tmp_path.glob("segments/bars/*.parquet"))
    data = victim.read_bytes()
    for position in range(0, len(data), 7):
        if read_before:
            store.read("bars")
        victim.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        with pytest.raises(StoreDamaged, match=victim.name):
            store.read("bars")
        victim.write_bytes(data)
    assert store.read("bars").height == 3


@pytest.mark.parametrize("content", [None, b"", b"000001", b"\xff\xfe", b"000007-0123456789abcdef\n"])
def test_a_lost_or_altered_current_is_damage_and_not_emptiness(tmp_path: Path, content: bytes | None) -> None:
    """CURRENT missing, empty, cut, not text or naming a manifest that is not there stops every use of the store."""
    store, _, _ = filled(tmp_path)
    current = tmp_path / "CURRENT"
    if content is None:
        current.unlink()
    else:
        current.write_bytes(content)
    with pytest.raises(StoreDamaged):
        store.read("bars")
    with pytest.raises(StoreDamaged):
        store.publish({"bars": bars(("us:A", D1, 1.0, 1))}, source="t", recorded_at_us=1)


def test_a_publish_that_died_half_way_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    """Temporary files and segments that no manifest names go, and the store reads the same."""
    store, _, _ = filled(tmp_path)
    before = store.read("bars")
    orphan = tmp_path / "segments" / "bars" / "000003-0123456789abcdef.parquet"
    temp = tmp_path / "manifests" / ".x.json.1-0.bft-tmp"
    orphan.write_bytes(b"half")
    temp.write_bytes(b"half")
    assert store.read("bars").equals(before)
    store.publish({"bars": bars(("us:C", D1, 1.0, 40))}, source="t", recorded_at_us=41)
    assert not orphan.exists()
    assert not temp.exists()
    assert store.read("bars").height == before.height + 1


def test_two_publishers_do_not_mix(tmp_path: Path) -> None:
    """While another holds the publishing lock, publishing is refused and nothing changes."""
    store, _, two = filled(tmp_path)
    with RunLock(tmp_path / "publish.lock", command="bft pull"), pytest.raises(WaitForOtherRun, match="bft pull"):
        store.publish({"bars": bars(("us:C", D1, 1.0, 40))}, source="t", recorded_at_us=41)
    assert store.current() == two


def test_many_small_segments_become_one_without_changing_any_view(tmp_path: Path) -> None:
    """After a hundred daily pulls few segments are read, every view is the same, and the old versions still read."""
    store = Store(tmp_path)
    versions = [
        store.publish({"bars": bars(("us:A", D1, float(i), i), ("us:B", D1, 1.0, 1))}, source="t", recorded_at_us=i)
        for i in range(1, 101)
    ]
    assert len(store.manifest().tables["bars"]) < 70
    for known in (1, 40, 63, 64, 65, 99, 100):
        assert closes(store.read("bars", known_by_us=known)) == [("us:A", D1, float(known)), ("us:B", D1, 1.0)]
    assert closes(store.read("bars", version=versions[49])) == [("us:A", D1, 50.0), ("us:B", D1, 1.0)]
