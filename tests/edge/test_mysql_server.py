"""A real server, filled with the older program's schema and dumped with the real mysqldump, comes in without one refused row."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from bar_fly_trading.data.importers.mysqldump import import_dump
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar, evening_us
from bar_fly_trading.facts.tables import TABLES

if TYPE_CHECKING:
    from tests.edge.conftest import MysqlServer

CALENDAR = Calendar()
NOW_US = evening_us(date(2021, 4, 21))
TRIGGER = """CREATE TRIGGER guard BEFORE INSERT ON stock_splits FOR EACH ROW BEGIN
  -- don't; INSERT INTO `core_stock` VALUES (1);
  IF NEW.split_factor IS NULL THEN SET NEW.split_factor = 1; END IF;
END"""
INDUSTRY = "Caf\u00e9 'smart' \"phones\" \\ (all),\nINSERT INTO `core_stock` VALUES (1);\0\x1a\u20ac"


@pytest.fixture(scope="module")
def busy_database(mysql_server: MysqlServer, old_database: str) -> Iterator[str]:
    """Return the filled database with a view, a trigger and a table of another program beside the old one's."""
    mysql_server.do(
        old_database,
        "CREATE VIEW latest AS SELECT symbol, MAX(date) AS `it's` FROM core_stock GROUP BY symbol",
        TRIGGER,
        "CREATE TABLE notes (id INT PRIMARY KEY, note TEXT COMMENT 'it''s; (text)', raw BLOB)",
    )
    with mysql_server.connect(old_database) as connection, connection.cursor() as cursor:
        rows = [(n, INDUSTRY, bytes(range(256))) for n in range(3000)]
        cursor.executemany("INSERT INTO notes VALUES (%s, %s, %s)", rows)
    yield old_database
    mysql_server.do(old_database, "DROP TABLE notes", "DROP TRIGGER guard", "DROP VIEW latest")


VARIANTS = {
    "default": [],
    "quick": ["--single-transaction", "--quick", "--routines", "--triggers", "--events"],
    "databases": ["--databases"],
    "all": ["--all-databases"],
    "complete": ["--complete-insert", "--hex-blob", "--skip-comments", "--skip-add-locks"],
    "latin1": ["--default-character-set=latin1"],
    "small": ["--net-buffer-length=4096", "--order-by-primary", "--compact"],
    "one line a row": ["--skip-extended-insert"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_real_dump_comes_in_without_one_refused_row(
    mysql_server: MysqlServer, busy_database: str, tmp_path: Path, variant: str
) -> None:
    """What the real mysqldump writes under each of its usual options is imported whole, value for value."""
    path = tmp_path / "bar_fly_trading_dump.sql"
    names = [] if variant == "all" else [busy_database]
    with path.open("wb") as file:
        subprocess.run([*mysql_server.dump_words(), *VARIANTS[variant], *names], stdout=file, check=True)
    if variant == "quick":
        (packed := path.with_suffix(".sql.gz")).write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    store = Store(tmp_path / "store")
    # A server of one's own may hold further databases with these tables.
    database = busy_database if variant == "all" else None
    report = import_dump(path, store, CALENDAR, logs=tmp_path / "logs", now_us=NOW_US, database=database)
    refused = "" if report.refusals_file is None else report.refusals_file.read_text()
    assert report.refused == {}, refused[:2000]
    assert report.cut is None
    assert report.left_out["notes"] >= 3000
    wanted = pl.DataFrame(
        mysql_server.rows(
            busy_database,
            "SELECT REPLACE(symbol, '-', '.'), date, open, high, low, close, adjusted_close, volume FROM core_stock",
        ),
        orient="row",
        schema=["s", "d", "o", "h", "l", "c", "a", "v"],
    )
    bars = store.read("bars")
    assert bars.height == report.bars_new == wanted.height
    wanted = wanted.select(
        pl.concat_str(pl.lit("us:"), "s").alias("i"), pl.col("d").cast(pl.Date), "o", "h", "l", "c", "a", "v"
    )
    assert bars.select(list(bars.columns[:8])).rows() == wanted.sort("i", "d").rows()
    counts = {name: store.read(name).height for name in ("overview", "earnings", "macro_imported")}
    assert counts == {"overview": 2, "earnings": 2, "macro_imported": 1}
    industry = json.loads(store.read("overview")["snapshot"][0])["Industry"]
    assert industry == (INDUSTRY if variant != "latin1" else industry)
    assert store.read("earnings")["surprise_percentage"].to_list() == [-1 / 3, -1e-17]
    chains = store.read("option_chains")
    assert [(chains.height,)] == mysql_server.rows(busy_database, "SELECT COUNT(*) FROM historical_options")
    assert set(TABLES) >= {"macro_imported", "options_summary"}
