"""A real MariaDB, filled with the older program's schema and dumped with the real mysqldump, comes in without one refused row."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pymysql
import pytest

from bar_fly_trading.data.importers.mysqldump import import_dump
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar, evening_us
from bar_fly_trading.facts.tables import TABLES

CALENDAR = Calendar()
NOW_US = evening_us(date(2021, 4, 21))
START_S = 30
SCHEMA = """
CREATE TABLE core_stock (date DATETIME NOT NULL, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE,
  adjusted_close DOUBLE, volume BIGINT, symbol VARCHAR(5) NOT NULL, PRIMARY KEY (date, symbol))
  PARTITION BY RANGE (YEAR(date)) (PARTITION p0 VALUES LESS THAN (2020), PARTITION p1 VALUES LESS THAN MAXVALUE);
CREATE TABLE company_overview (exchange TEXT, country TEXT, sector TEXT, industry TEXT COMMENT 'it''s; (text)',
  market_capitalization BIGINT, book_value DOUBLE, `52_week_high` DOUBLE, symbol VARCHAR(5) PRIMARY KEY);
CREATE TABLE quarterly_earnings (fiscal_date_ending DATETIME, reported_eps DOUBLE, estimated_eps DOUBLE, ttm_eps DOUBLE,
  latest_trading_day DATETIME, surprise DOUBLE, surprise_percentage DOUBLE, symbol VARCHAR(5),
  PRIMARY KEY (fiscal_date_ending, symbol));
CREATE TABLE economic_indicators (date DATETIME PRIMARY KEY, treasury_yield_2year DOUBLE, treasury_yield_10year DOUBLE,
  ffer DOUBLE, cpi DOUBLE, inflation DOUBLE, retail_sales DOUBLE, durables DOUBLE, unemployment DOUBLE,
  nonfarm_payroll DOUBLE);
CREATE TABLE stock_splits (symbol VARCHAR(5), effective_date DATE, split_factor DOUBLE,
  PRIMARY KEY (symbol, effective_date));
CREATE TABLE options_daily_summary (symbol VARCHAR(5), date DATETIME, call_volume BIGINT, put_volume BIGINT,
  total_volume BIGINT, PRIMARY KEY (symbol, date));
CREATE TABLE historical_options (contract_id VARCHAR(30), date DATETIME, symbol VARCHAR(5), type ENUM('call','put'),
  strike DOUBLE, note TEXT, raw BLOB, PRIMARY KEY (contract_id, date, symbol));
CREATE VIEW latest AS SELECT symbol, MAX(date) AS `it's` FROM core_stock GROUP BY symbol
"""
TRIGGER = """CREATE TRIGGER guard BEFORE INSERT ON stock_splits FOR EACH ROW BEGIN
  -- don't; INSERT INTO `core_stock` VALUES (1);
  IF NEW.split_factor IS NULL THEN SET NEW.split_factor = 1; END IF;
END"""
INDUSTRY = "Caf\u00e9 'smart' \"phones\" \\ (all),\nINSERT INTO `core_stock` VALUES (1);\0\x1a\u20ac"


@dataclass(frozen=True, slots=True)
class Server:
    """A running MariaDB with the database `bar_fly_trading` filled, and the client programs' folder of options."""

    port: int
    dump: tuple[str, ...]


def _programs() -> tuple[str, str, str] | None:
    folders = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = [
        shutil.which(first, path=folders) or shutil.which(second, path=folders)
        for first, second in (
            ("mariadbd", "mysqld"),
            ("mariadb-install-db", "mysql_install_db"),
            ("mariadb-dump", "mysqldump"),
        )
    ]
    daemon, install, dump = found
    return (daemon, install, dump) if daemon and install and dump else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _connect(port: int, deadline: float) -> pymysql.Connection[pymysql.cursors.Cursor]:
    while True:
        try:
            return pymysql.connect(host="127.0.0.1", port=port, user="old", password="old", charset="utf8mb4")
        except pymysql.err.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a MariaDB on a free port in a folder of its own, fill it, and stop it at the end."""
    programs = _programs()
    if programs is None:
        pytest.skip("no MariaDB server is installed here (Debian: apt-get install mariadb-server)")
    daemon, install, dump = programs
    folder = tmp_path_factory.mktemp("mariadb")
    data, port = folder / "data", _free_port()
    user = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        [
            install,
            "--no-defaults",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *user,
        ],
        check=True,
        capture_output=True,
    )
    start = folder / "start.sql"
    start.write_text("CREATE USER 'old'@'%' IDENTIFIED BY 'old';\nGRANT ALL ON *.* TO 'old'@'%';\n")
    options = [f"--datadir={data}", f"--port={port}", f"--socket={folder / 's'}", f"--init-file={start}", *user]
    options += ["--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-buffer-pool-size=64M"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([daemon, "--no-defaults", *options], stdout=log, stderr=log)
        try:
            with _connect(port, time.monotonic() + START_S) as connection:
                _fill(connection)
            client = ["--no-defaults", "--host=127.0.0.1", f"--port={port}", "--user=old", "--password=old"]
            yield Server(port, (dump, *client))
        finally:
            process.terminate()
            process.wait(START_S)


def _fill(connection: pymysql.Connection[pymysql.cursors.Cursor]) -> None:
    days = CALENDAR.sessions(date(2019, 1, 2), date(2021, 4, 21))
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE bar_fly_trading CHARACTER SET utf8mb4")
        cursor.execute("USE bar_fly_trading")
        for statement in SCHEMA.split(";\n"):
            cursor.execute(statement)
        cursor.execute(TRIGGER)
        bars = [
            (
                day,
                100.1 + n + i / 7,
                103.3 + n + i / 7,
                99.9 + n + i / 7,
                101 / 3 * 3 + n + i / 7,
                (101 + n + i / 7) / 3,
                10**6 * i,
                f"S{n}",
            )
            for i, day in enumerate(days)
            for n in range(12)
        ]
        cursor.executemany("INSERT INTO core_stock VALUES (%s,%s,%s,%s,%s,%s,%s,%s)", bars)
        overview = ("NYSE", "USA", "ENERGY", INDUSTRY, 10**12, None, 1e-7, "S1")
        cursor.execute("INSERT INTO company_overview VALUES (%s,%s,%s,%s,%s,%s,%s,%s)", overview)
        quarter = (date(2021, 3, 31), 1.5, None, 6.25, None, -0.25, -1e-17, "S1")
        cursor.execute("INSERT INTO quarterly_earnings VALUES (%s,%s,%s,%s,%s,%s,%s,%s)", quarter)
        cursor.execute("INSERT INTO economic_indicators (date, cpi, ffer) VALUES ('2021-03-01', 264.877, 0.07)")
        cursor.execute("INSERT INTO stock_splits VALUES ('S1', '2014-06-09', 7)")
        cursor.execute("INSERT INTO options_daily_summary VALUES ('S1', '2021-04-20', 5, 6, 11)")
        chain = [(f"S1 '{n}", days[-1], "S1", "put", n, INDUSTRY, bytes(range(256))) for n in range(3000)]
        cursor.executemany("INSERT INTO historical_options VALUES (%s,%s,%s,%s,%s,%s,%s)", chain)
    connection.commit()


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
def test_a_real_dump_comes_in_without_one_refused_row(server: Server, tmp_path: Path, variant: str) -> None:
    """What the real mysqldump writes under each of its usual options is imported whole, value for value."""
    path = tmp_path / "bar_fly_trading_dump.sql"
    names = [] if variant == "all" else ["bar_fly_trading"]
    with path.open("wb") as file:
        subprocess.run([*server.dump, *VARIANTS[variant], *names], stdout=file, check=True)
    if variant == "quick":
        (packed := path.with_suffix(".sql.gz")).write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    store = Store(tmp_path / "store")
    report = import_dump(path, store, CALENDAR, logs=tmp_path / "logs", now_us=NOW_US)
    refused = "" if report.refusals_file is None else report.refusals_file.read_text()
    assert report.refused == {}, refused[:2000]
    assert report.cut is None
    assert report.left_out["historical_options"] == 3000
    with _connect(server.port, time.monotonic()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT symbol, date, open, high, low, close, adjusted_close, volume FROM bar_fly_trading.core_stock"
        )
        wanted = pl.DataFrame(list(cursor.fetchall()), orient="row", schema=["s", "d", "o", "h", "l", "c", "a", "v"])
    bars = store.read("bars")
    assert bars.height == report.bars_new == wanted.height
    wanted = wanted.select(
        pl.concat_str(pl.lit("us:"), "s").alias("i"), pl.col("d").cast(pl.Date), "o", "h", "l", "c", "a", "v"
    )
    assert bars.select(list(bars.columns[:8])).rows() == wanted.sort("i", "d").rows()
    assert {
        name: store.read(name).height for name in ("overview", "earnings", "macro_imported", "options_summary")
    } == {
        "overview": 1,
        "earnings": 1,
        "macro_imported": 1,
        "options_summary": 1,
    }
    text = pl.Series([store.read("overview")["snapshot"][0]]).str.json_path_match("$.Industry")[0]
    assert text == (INDUSTRY if variant != "latin1" else text)
    assert store.read("earnings")["surprise_percentage"].to_list() == [-1e-17]
    assert set(TABLES) >= {"macro_imported", "options_summary"}
