"""SQL sees any version of the store exactly as `Store.read` does, and can do nothing but read it."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from bar_fly_trading.data.sql import query
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import FixInput, StoreDamaged
from bar_fly_trading.facts.tables import TABLES

BFT = Path(sys.executable).with_name("bft")
PUBLISHES = 400 if os.environ.get("BFT_PROVE") else 90
D1 = date(2021, 4, 20)


def splits(chance: random.Random) -> pl.DataFrame:
    """Return a few rows: some keys new, some corrected, some twice, known in any order."""
    rows = [
        (f"us:{chance.randrange(6)}", D1 + timedelta(days=chance.randrange(4)), chance.random(), chance.randrange(50))
        for _ in range(chance.randrange(1, 8))
    ]
    names = ["instrument_id", "effective_date", "split_factor", "known_at"]
    return pl.DataFrame(rows, schema=names, orient="row")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home whose store has two versions: a bar known early, then its correction known late."""
    store = Store(tmp_path / "home" / "store")
    for number, (name, known) in enumerate((("first", 10), ("second", 1_700_000_000_000_000)), 1):
        frame = pl.DataFrame({"instrument_id": ["us:A"], "sector": [name], "name": ['a, "b"'], "known_at": [known]})
        store.publish({"sectors": frame}, source=name, recorded_at_us=number)
    return tmp_path / "home"


def answer(store: Store, sql: str, version: str | None = None, known: int | None = None) -> list[tuple[object, ...]]:
    """Return all rows of a query."""
    with query(store, sql, version=version, known_by_us=known) as found:
        return list(found.rows)


def bft(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `bft sql` as a process."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(home.parent), "BFT_HOME": str(home)}
    return subprocess.run(
        [str(BFT), "sql", *args], env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_every_version_reads_exactly_as_it_was_by_store_and_by_sql(tmp_path: Path) -> None:
    """Over many publishes, compactions included, each version gives for any time of knowledge what it gave when it was new."""
    store, chance = Store(tmp_path), random.Random(3)
    seen: list[tuple[str, int | None, pl.DataFrame]] = []
    for number in range(PUBLISHES):
        version = store.publish({"splits": splits(chance)}, source="t", recorded_at_us=number // 2)
        known = chance.choice([None, chance.randrange(60)])
        seen.append((version, known, store.read("splits", known_by_us=known)))
    assert any(s.source == "compaction" for s in store.manifest().tables["splits"])
    for version, known, frame in seen:
        assert store.read("splits", known_by_us=known, version=version).equals(frame)
    for version, known, frame in [*seen[::9], seen[-1]]:
        assert answer(store, "SELECT * FROM splits ORDER BY ALL", version, known) == sorted(frame.rows())


def test_every_table_is_there_with_its_columns_also_without_rows(home: Path) -> None:
    """Each table of the facts answers, typed as the store types it, empty where nothing was published."""
    for table in TABLES.values():
        with query(Store(home / "store"), f'SELECT * FROM "{table.name}"') as found:
            assert found.columns == tuple(table.schema())
            assert len(list(found.rows)) == (table.name == "sectors")
    assert {row[0] for row in answer(Store(home / "store"), "SHOW TABLES")} == set(TABLES)


def test_a_version_and_a_day_show_what_was_known_then(home: Path) -> None:
    """--version reads the older version, --as-of only what was known by that evening."""
    first = Store(home / "store").versions()[0]
    asked = "SELECT sector FROM sectors"
    assert bft(home, asked, "--csv").stdout == "sector\nsecond\n"
    assert bft(home, asked, "--csv", "--version", first).stdout == "sector\nfirst\n"
    assert bft(home, asked, "--csv", "--as-of", "2021-04-20").stdout == "sector\nfirst\n"


@pytest.mark.parametrize(
    "sql",
    [
        "COPY sectors TO '{0}/out.csv'",
        "COPY (SELECT 1) TO '{1}' (USE_TMP_FILE false)",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{0}/out.csv' (USE_TMP_FILE false)",
        "CREATE TABLE t AS SELECT 1",
        "INSERT INTO sectors VALUES (1)",
        "DROP VIEW sectors",
        "ATTACH '{0}/out.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA threads = 1",
        "SELECT 1; DROP VIEW sectors",
        "SELECT * FROM read_text('{0}/secret.txt')",
        "SELECT * FROM read_csv('{0}/secret.txt')",
        "SELECT * FROM '{0}/secret.txt'",
        "SELECT * FROM glob('{0}/*')",
        "SELECT * FROM query('COPY sectors TO ''{0}/out.csv''')",
        "SELECT getenv('HOME')",
        "SELECT * FROM pl",
        "",
        "-- nothing",
    ],
)
def test_sql_reads_the_store_and_nothing_else(home: Path, sql: str) -> None:
    """No statement writes, loads, changes a setting, or reads a file or variable outside: each is refused, no file is changed."""
    (home / "secret.txt").write_text("secret")
    store = Store(home / "store")
    segment = next((home / "store/segments/sectors").glob("*.parquet"))
    before = {p: p.read_bytes() for p in home.rglob("*") if p.is_file()}
    with pytest.raises(FixInput):
        answer(store, sql.format(home, segment))
    assert {p: p.read_bytes() for p in home.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELCT 1", 'syntax error at or near "SELCT"'),
        ("SELECT nothing FROM sectors", '"nothing" not found'),
        ("SELECT * FROM nowhere", "nowhere does not exist"),
        ("SELECT 1/'x'", "Could not convert string 'x'"),
    ],
)
def test_bad_sql_is_one_clear_line(home: Path, sql: str, said: str) -> None:
    """The command ends with 3, DuckDB's own reason on one line, and no traceback."""
    done = bft(home, sql)
    assert done.returncode == 3
    first, second = done.stderr.splitlines()
    assert said in first
    assert second.startswith("to do:")


def test_a_query_that_needs_too_much_memory_ends_and_says_so(home: Path) -> None:
    """A result larger than the memory allowed is refused in words; nothing is spilled to the disk."""
    with (
        pytest.raises(FixInput, match="more memory"),
        query(Store(home / "store"), "SELECT list(range) FROM range(100000000)", memory_mib=64) as found,
    ):
        list(found.rows)


def test_rows_are_limited_on_the_screen_and_whole_as_csv_and_json(home: Path) -> None:
    """Forty rows are shown and the rest counted; CSV and JSON give all, quoted and typed so that they read back."""
    asked = (
        "SELECT range AS n, (SELECT name FROM sectors) AS name, NULL AS nothing, 'NaN'::DOUBLE AS odd FROM range(25000)"
    )
    shown = bft(home, asked)
    assert "and 24960 more rows" in shown.stdout
    assert len(shown.stdout.splitlines()) == 42
    rows = list(csv.reader(bft(home, asked, "--csv").stdout.splitlines()))
    assert len(rows) == 25001
    assert rows[25000] == ["24999", 'a, "b"', "", "nan"]
    values = json.loads(bft(home, asked, "--json").stdout)
    assert values[24999] == {"n": 24999, "name": 'a, "b"', "nothing": None, "odd": None}
    assert json.loads(bft(home, "SELECT 1 WHERE false", "--json").stdout) == []


def test_a_reader_that_goes_away_ends_the_rows_quietly(home: Path) -> None:
    """`bft sql --csv | head -1` ends without a word on stderr."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(home.parent), "BFT_HOME": str(home)}
    line = f"{BFT} sql --csv 'SELECT * FROM range(2000000)' | head -1"
    done = subprocess.run(["sh", "-c", line], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("range\n", "")


def test_d25_damage_stops_only_the_queries_that_would_read_it(home: Path) -> None:
    """A flipped bit in a segment is StoreDamaged for its table, named; another table of the version still answers."""
    store = Store(home / "store")
    store.publish({"splits": splits(random.Random(1))}, source="t", recorded_at_us=3)
    victim = next((home / "store/segments/splits").glob("*.parquet"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.raises(StoreDamaged, match=victim.name):
        answer(store, "SELECT count(*) FROM Splits")
    assert answer(store, "SELECT count(*) FROM sectors") == [(1,)]


def test_a_version_that_is_not_there_and_an_empty_store_are_named(home: Path, tmp_path: Path) -> None:
    """Both are FixInput before any SQL runs."""
    with pytest.raises(FixInput, match="no version"):
        answer(Store(home / "store"), "SELECT 1", "000009-0123456789abcdef")
    with pytest.raises(FixInput, match="empty"):
        answer(Store(tmp_path / "nothing"), "SELECT 1")
