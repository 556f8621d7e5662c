"""A real MariaDB or MySQL for the tests that need one: BFT_TEST_MYSQL_URL's, else Debian's, started here, else a loud skip."""

from __future__ import annotations

import math
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pymysql
import pytest

from bar_fly_trading.facts.sessions import Calendar

START_S = 60
NOT_HERE = (
    "no MySQL: install one (Debian: apt-get install mariadb-server mariadb-client), or set BFT_TEST_MYSQL_URL to a server"
    " whose user may create databases and users"
)


@dataclass(frozen=True, slots=True)
class MysqlServer:
    """A server for tests, with a user that may do anything; each test makes a database of its own and drops it."""

    host: str
    port: int
    user: str
    password: str
    dump_program: str | None

    def connect(self, database: str | None = None, **more: Any) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """Return a connection that commits by itself."""
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            **more,
        )

    def do(self, database: str | None, *statements: str) -> None:
        """Execute statements."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def rows(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def url(self, database: str, *, user: str | None = None, password: str | None = None, port: int = 0) -> str:
        """Return the URL a user would set."""
        name, secret = user or self.user, quote(self.password if password is None else password, safe="")
        return f"mysql://{name}:{secret}@{self.host}:{port or self.port}/{database}"

    def dump_words(self) -> tuple[str, ...]:
        """Return the words a dump command begins with; skips where the program is not there."""
        if self.dump_program is None:
            pytest.skip("no mysqldump is installed here (Debian: apt-get install mariadb-client)")
        login = [f"--host={self.host}", f"--port={self.port}", f"--user={self.user}", f"--password={self.password}"]
        return (self.dump_program, "--no-defaults", *login)


def program(*names: str) -> str | None:
    """Return the path of the first program that is installed, Debian's folders for servers included."""
    folders = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return next((path for name in names if (path := shutil.which(name, path=folders))), None)


def _given(url: str) -> MysqlServer:
    parts = urlsplit(url)
    host, user, password = parts.hostname or "127.0.0.1", unquote(parts.username or "root"), parts.password or ""
    return MysqlServer(host, parts.port or 3306, user, unquote(password), program("mariadb-dump", "mysqldump"))


@pytest.fixture(scope="session")
def mysql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MysqlServer]:
    """Return a server: the one of BFT_TEST_MYSQL_URL, else one started on a free port in a folder of its own."""
    url = os.environ.get("BFT_TEST_MYSQL_URL")
    if url:
        yield _given(url)
        return
    daemon, install = program("mariadbd", "mysqld"), program("mariadb-install-db", "mysql_install_db")
    if daemon is None or install is None:
        pytest.skip(NOT_HERE)
    folder = tmp_path_factory.mktemp("mariadb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    user = ["--user=root"] if os.geteuid() == 0 else []
    words = [install, "--no-defaults", f"--datadir={folder / 'data'}", "--auth-root-authentication-method=normal"]
    subprocess.run([*words, "--skip-test-db", *user], check=True, capture_output=True)
    start = folder / "start.sql"
    start.write_text("CREATE USER 'old'@'%' IDENTIFIED BY 'old';\nGRANT ALL ON *.* TO 'old'@'%' WITH GRANT OPTION;\n")
    options = [f"--datadir={folder / 'data'}", f"--port={port}", f"--socket={folder / 's'}", f"--init-file={start}"]
    options += ["--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-buffer-pool-size=64M", *user]
    server = MysqlServer("127.0.0.1", port, "old", "old", program("mariadb-dump", "mysqldump"))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([daemon, "--no-defaults", *options], stdout=log, stderr=log)
        try:
            _wait(server, time.monotonic() + START_S)
            yield server
        finally:
            process.terminate()
            process.wait(START_S)


def _wait(server: MysqlServer, deadline: float) -> None:
    while True:
        try:
            server.connect().close()
        except pymysql.err.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


@pytest.fixture
def mysql_database(mysql_server: MysqlServer) -> Iterator[str]:
    """Return the name of an empty database of this test's own; it is dropped at the end."""
    name = f"bft_test_{uuid.uuid4().hex[:12]}"
    mysql_server.do(None, f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        yield name
    finally:
        mysql_server.do(None, f"DROP DATABASE IF EXISTS {name}")


OLD_SCHEMA = """
CREATE TABLE core_stock (date DATETIME NOT NULL, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE,
  adjusted_close DOUBLE, volume BIGINT, symbol VARCHAR(5) NOT NULL, PRIMARY KEY (date, symbol))
  PARTITION BY RANGE (YEAR(date)) (PARTITION p0 VALUES LESS THAN (2021), PARTITION p1 VALUES LESS THAN MAXVALUE);
CREATE TABLE technical_indicators (date DATETIME NOT NULL, sma_20 DOUBLE, sma_50 DOUBLE, sma_200 DOUBLE, ema_20 DOUBLE,
  ema_50 DOUBLE, ema_200 DOUBLE, macd DOUBLE, rsi_14 DOUBLE, adx_14 DOUBLE, atr_14 DOUBLE, cci_14 DOUBLE,
  bbands_upper_20 DOUBLE, bbands_middle_20 DOUBLE, bbands_lower_20 DOUBLE, symbol VARCHAR(5) NOT NULL,
  PRIMARY KEY (date, symbol));
CREATE TABLE company_overview (exchange TEXT, country TEXT, sector TEXT, industry TEXT COMMENT 'it''s; (text)',
  market_capitalization BIGINT, book_value DOUBLE, dividend_yield DOUBLE, eps DOUBLE, price_to_book_ratio DOUBLE,
  beta DOUBLE, `52_week_high` DOUBLE, shares_outstanding BIGINT, `52_week_low` DOUBLE, analyst_rating_strong_buy INT,
  analyst_rating_buy INT, analyst_rating_hold INT, analyst_rating_sell INT, analyst_rating_strong_sell INT,
  forward_pe DOUBLE, symbol VARCHAR(5) PRIMARY KEY);
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
  expiration DATETIME, strike DOUBLE, last DOUBLE, mark DOUBLE, bid DOUBLE, ask DOUBLE, volume BIGINT,
  implied_volatility DOUBLE, delta DOUBLE, gamma DOUBLE, theta DOUBLE, vega DOUBLE, rho DOUBLE,
  PRIMARY KEY (contract_id, date, symbol))
"""
OLD_SYMBOLS = (*(f"S{n}" for n in range(6)), "BRK-B")
OLD_FIRST, OLD_LAST = date(2020, 9, 1), date(2021, 4, 20)
INDUSTRY = "Caf\u00e9 'smart' \"phones\" \\ (all),\nINSERT INTO `core_stock` VALUES (1);\0\x1a\u20ac"


def fill(server: MysqlServer, database: str, *, options_index: str = "") -> None:
    """Make the older program's tables and fill them: prices that quiver, texts and numbers that are hard to spell."""
    days = list(Calendar().sessions(OLD_FIRST, OLD_LAST))
    bars = []
    for n, symbol in enumerate(OLD_SYMBOLS):
        for i, day in enumerate(days):
            close = 100 + n + math.sin(i * 1.7 + n) / 3 + (-9 if symbol == "S1" and day == OLD_LAST else 0)
            spread = [close + 0.1, close + 0.7, close - 0.7, close]
            bars.append((day, *spread, close / 3, 10**6 + i, symbol))
    chain = [
        (
            f"{symbol}{day:%y%m}19{side[0].upper()}{strike:08d}",
            *(day, symbol, side, day + timedelta(days=40), strike / 7, 1.25, None, 1 / 3, 2 / 3, i, 0.3),
            *(0.5, 1e-9, -0.01, 0.1, -1e-17),
        )
        for i, day in enumerate(days[::9])
        for symbol in ("S0", "BRK-B")
        for side in ("call", "put")
        for strike in range(700, 1000, 20)
    ]
    overview = ("NYSE", "USA", "ENERGY", INDUSTRY, 10**12, None, 0.01, 3.3, 1.1, 1e-7, 120.5, 10**9, 80, 1, 2, 3, 4, 5)
    with server.connect(database) as connection, connection.cursor() as cursor:
        for statement in OLD_SCHEMA.split(";\n"):
            cursor.execute(statement)
        if options_index:
            cursor.execute(f"CREATE INDEX by_date ON historical_options ({options_index})")
        for table, rows in (
            ("core_stock", bars),
            ("company_overview", [(*overview, 25.5, "S1"), (*overview[:3], None, *overview[4:], None, "S2")]),
            (
                "quarterly_earnings",
                [
                    (date(2021, 3, 31), 1.5, None, 6.25, None, -0.25, -1e-17, "S1"),
                    (date(2020, 12, 31), 1.25, 1.5, None, date(2021, 1, 15), -0.25, -1 / 3, "S1"),
                ],
            ),
            (
                "economic_indicators",
                [(date(2021, 3, 1), 0.15, 1.61, 0.07, 264.877, None, -1e-05, 1.5e5, 6.0, 144120.0)],
            ),
            ("stock_splits", [("S1", date(2014, 6, 9), 7.0), ("S2", date(2019, 6, 10), 0.25)]),
            ("options_daily_summary", [("S1", day, 5 + i, 6, 11 + i) for i, day in enumerate(days)]),
            ("historical_options", chain),
        ):
            marks = ",".join(["%s"] * len(rows[0]))
            cursor.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


@pytest.fixture(scope="session")
def old_database(mysql_server: MysqlServer) -> Iterator[str]:
    """Return a database with the older program's tables filled; tests read it and leave it as it is."""
    name = f"bft_old_{uuid.uuid4().hex[:12]}"
    mysql_server.do(None, f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        fill(mysql_server, name)
        yield name
    finally:
        mysql_server.do(None, f"DROP DATABASE IF EXISTS {name}")


@pytest.fixture(scope="session")
def fill_old(mysql_server: MysqlServer) -> Callable[..., None]:
    """Return what fills a database (its name, and the columns of an index on the options) as the older program did."""

    def filled(database: str, *, options_index: str = "") -> None:
        fill(mysql_server, database, options_index=options_index)

    return filled
