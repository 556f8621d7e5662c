"""`bft import mysql` against a real server: the same tables as its dump, read only, stopped anywhere, refused row by row."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from bar_fly_trading.data.importers.mysql import Bounds, ServerReport, import_server, parse_address
from bar_fly_trading.data.importers.mysql.connection import Server
from bar_fly_trading.data.importers.mysqldump import import_dump
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import DoneLess, FixInput, FreeDisk
from bar_fly_trading.facts.sessions import Calendar, evening_us
from bar_fly_trading.facts.tables import TABLES

if TYPE_CHECKING:
    from tests.edge.conftest import MysqlServer

CALENDAR = Calendar()
NOW_US = evening_us(date(2021, 4, 21))
PROVE = bool(os.environ.get("BFT_PROVE"))
SMALL = Bounds(batch_rows=200, checkpoint_bytes=1)


def taken(url: str, folder: Path, *, now_us: int = NOW_US, **more: Any) -> tuple[ServerReport, Store]:
    """Import a database into the store of a folder."""
    store = Store(folder / "store")
    report = import_server(parse_address(url), store, CALENDAR, logs=folder / "logs", now_us=now_us, **more)
    return report, store


@pytest.fixture(scope="module")
def whole(
    mysql_server: MysqlServer, old_database: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, pl.DataFrame]:
    """Return every table of a store that an uninterrupted import filled from the older program's database."""
    report, store = taken(mysql_server.url(old_database), tmp_path_factory.mktemp("whole"))
    assert report.refused == {} and report.refusals_file is None and not report.resumed
    return contents(store)


def contents(store: Store) -> dict[str, pl.DataFrame]:
    """Return every table of a store with its knowledge columns."""
    return {name: store.read(name) for name in TABLES}


def same(left: dict[str, pl.DataFrame], right: dict[str, pl.DataFrame]) -> None:
    """Fail where any table differs."""
    assert left.keys() == right.keys()
    for name, frame in left.items():
        assert frame.equals(right[name]), name


def test_server_and_dump_give_the_same_tables(
    mysql_server: MysqlServer, old_database: str, whole: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    """The same database imported from its server and from its real dump gives equal frames, table by table."""
    path = tmp_path / "dump.sql"
    with path.open("wb") as file:
        subprocess.run([*mysql_server.dump_words(), "--single-transaction", old_database], stdout=file, check=True)
    dumped = Store(tmp_path / "dumped" / "store")
    report = import_dump(path, dumped, CALENDAR, logs=tmp_path / "logs", now_us=NOW_US)
    assert report.refused == {} and report.bars_new == whole["bars"].height > 900
    same(whole, contents(dumped))
    assert whole["option_chains"].height > 900


def test_options_are_read_by_months_where_an_index_leads_with_the_date(
    mysql_server: MysqlServer,
    fill_old: Callable[..., None],
    old_database: str,
    mysql_database: str,
    whole: dict[str, pl.DataFrame],
    tmp_path: Path,
) -> None:
    """With an index on the date the options come in files of months, each stored before the next is read; same tables."""
    fill_old(mysql_database, options_index="date")
    seen: list[str] = []
    bars_then: list[int] = []
    stored_here = Store(tmp_path / "months" / "store")

    def watch(what: str, done: int, total: int) -> None:
        seen.append(what)
        if what == "reading historical_options" and not bars_then:
            bars_then.append(stored_here.read("bars").height)

    url = mysql_server.url(mysql_database)
    _, store = taken(url, tmp_path / "months", bounds=Bounds(unit_rows=200), progress=watch)
    same(contents(store), whole)
    assert bars_then == [store.read("bars").height] and bars_then[0] > 900
    steps = [what for n, what in enumerate(seen) if what != seen[n - 1]]
    assert steps.count("reading historical_options") > 2


def test_nothing_is_written_and_a_user_who_may_only_read_is_enough(
    mysql_server: MysqlServer, old_database: str, tmp_path: Path
) -> None:
    """With SELECT alone granted the import is whole, and the session refuses to write: the database stays as it was."""
    mysql_server.do(
        None,
        "CREATE USER IF NOT EXISTS 'bft_reader'@'%' IDENTIFIED BY 'only-reads'",
        f"GRANT SELECT ON {old_database}.* TO 'bft_reader'@'%'",
    )
    before = mysql_server.rows(old_database, "CHECKSUM TABLE core_stock, company_overview, historical_options")
    url = mysql_server.url(old_database, user="bft_reader", password="only-reads")
    report, _ = taken(url, tmp_path)
    assert report.refused == {} and report.bars_new > 900
    assert mysql_server.rows(old_database, "CHECKSUM TABLE core_stock, company_overview, historical_options") == before
    with Server(parse_address(mysql_server.url(old_database))) as server:
        server.begin_snapshot()
        with pytest.raises(FixInput, match="READ ONLY"):
            server.ask("DELETE FROM core_stock")


def test_one_snapshot_is_read_whatever_others_write(
    mysql_server: MysqlServer,
    fill_old: Callable[..., None],
    mysql_database: str,
    old_database: str,
    whole: dict[str, pl.DataFrame],
    tmp_path: Path,
) -> None:
    """Rows that another connection deletes and adds while the import runs are not seen: the tables are of its first moment."""
    fill_old(mysql_database)
    meddled: list[str] = []

    def meddle(line: str) -> None:
        if not meddled:
            meddled.append(line)
            mysql_server.do(mysql_database, "DELETE FROM core_stock", "UPDATE company_overview SET sector = 'OTHER'")

    _, store = taken(mysql_server.url(mysql_database), tmp_path / "meddled", say=meddle)
    assert meddled and mysql_server.rows(mysql_database, "SELECT COUNT(*) FROM core_stock") == [(0,)]
    same(contents(store), whole)


class Proxy:
    """A door to the server that shuts for good after some bytes: a server that goes away half way."""

    def __init__(self, server: MysqlServer, bytes_max: int) -> None:
        """Take the server and after how many of its bytes it is gone."""
        self._server, self._left = server, bytes_max
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        self._listener.close()
        with client, socket.create_connection((self._server.host, self._server.port)) as server:
            threading.Thread(target=self._pass, args=(client, server), daemon=True).start()
            while self._left > 0 and (data := server.recv(4096)):
                self._left -= len(data)
                client.sendall(data)
            # Closing alone would leave the other thread's hold on the connection.
            for end in (client, server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _pass(client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(4096):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.mark.parametrize("bytes_max", [60_000, 200_000] if not PROVE else range(20_000, 320_000, 10_000))
def test_a_server_that_goes_away_half_way_is_gone_on_from(
    mysql_server: MysqlServer, old_database: str, whole: dict[str, pl.DataFrame], tmp_path: Path, bytes_max: int
) -> None:
    """The connection ends after some of its bytes: DoneLess names it, the next run continues, the end is the same."""
    gone = tmp_path / "gone"
    # The address is part of what an import is of, so the second run comes through the same door.
    proxy = Proxy(mysql_server, bytes_max)
    through = parse_address(mysql_server.url(old_database, port=proxy.port))
    with pytest.raises(DoneLess, match="went away") as caught:
        import_server(through, Store(gone / "store"), CALENDAR, logs=gone / "logs", now_us=NOW_US, bounds=SMALL)
    assert "continues" in caught.value.way_out and mysql_server.password not in str(caught.value).split()
    door = socket.create_server(("127.0.0.1", proxy.port))
    threading.Thread(target=_forward, args=(door, mysql_server), daemon=True).start()
    read: list[int] = []
    report = import_server(
        through,
        Store(gone / "store"),
        CALENDAR,
        logs=gone / "logs",
        now_us=NOW_US + 5,
        progress=lambda what, done, total: read.append(done) if what == "reading core_stock" else None,
    )
    door.close()
    assert report.resumed and report.refused == {}
    # Each row was read once: going on began behind the last one kept.
    assert report.rows["core_stock"] == whole["bars"].height
    same(contents(Store(gone / "store")), whole)
    assert not (gone / "import-mysql" / through.mark).exists()


def _forward(door: socket.socket, server: MysqlServer) -> None:
    client, _ = door.accept()
    with client, socket.create_connection((server.host, server.port)) as to:
        threading.Thread(target=Proxy._pass, args=(client, to), daemon=True).start()
        while data := to.recv(1 << 16):
            client.sendall(data)


@pytest.mark.parametrize("kill_at", [5, 11] if not PROVE else range(1, 40))
def test_killed_anywhere_the_import_ends_the_same(
    mysql_server: MysqlServer, old_database: str, whole: dict[str, pl.DataFrame], tmp_path: Path, kill_at: int
) -> None:
    """SIGKILL at the nth sign of progress; the same import again ends with what an uninterrupted one has."""
    url = mysql_server.url(old_database)
    folder = tmp_path / "killed"
    code = f"""
import os, signal
from pathlib import Path
from bar_fly_trading.data.importers.mysql import Bounds, import_server, parse_address
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar
seen = 0
def progress(what, done, total):
    global seen
    seen += 1
    if seen == {kill_at}:
        os.kill(os.getpid(), signal.SIGKILL)
folder = Path({str(folder)!r})
import_server(parse_address({url!r}), Store(folder / "store"), Calendar(), logs=folder / "logs", now_us={NOW_US},
              progress=progress, bounds=Bounds(batch_rows=400, checkpoint_bytes=1))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode in (-signal.SIGKILL, 0)
    report, store = taken(url, folder, now_us=NOW_US + 7)
    assert report.refused == {}
    assert report.resumed == (done.returncode != 0)
    assert report.rows["core_stock"] == whole["bars"].height
    same(contents(store), whole)


def test_rows_are_refused_one_by_one_as_from_a_dump(
    mysql_server: MysqlServer, fill_old: Callable[..., None], mysql_database: str, tmp_path: Path
) -> None:
    """Wrong rows are refused with the very reasons the dump's import gives, the others are stored."""
    fill_old(mysql_database)
    mysql_server.do(
        mysql_database,
        "UPDATE core_stock SET high = 1 WHERE symbol = 'S3' AND date = '2021-04-15'",
        "UPDATE core_stock SET symbol = '+++' WHERE symbol = 'S4' AND date = '2021-04-15'",
        "INSERT INTO core_stock VALUES ('2021-04-17', 1, 1, 1, 1, 1, 1, 'S0')",
        "UPDATE quarterly_earnings SET fiscal_date_ending = '2021-03-31 12:30:00' WHERE symbol = 'S1' AND reported_eps = 1.5",
        "UPDATE stock_splits SET split_factor = -1 WHERE symbol = 'S2'",
    )
    report, store = taken(mysql_server.url(mysql_database), tmp_path / "server")
    path = tmp_path / "dump.sql"
    with path.open("wb") as file:
        subprocess.run([*mysql_server.dump_words(), mysql_database], stdout=file, check=True)
    dumped = Store(tmp_path / "dumped" / "store")
    other = import_dump(path, dumped, CALENDAR, logs=tmp_path / "logs", now_us=NOW_US)
    assert report.refused == other.refused == {"core_stock": 3, "quarterly_earnings": 1, "stock_splits": 1}
    assert report.refusals_file is not None and other.refusals_file is not None
    listed = [
        pl.read_csv(file).select("table", "what", "reason") for file in (report.refusals_file, other.refusals_file)
    ]
    assert sorted(listed[0].rows()) == sorted(listed[1].rows())
    same(contents(store), contents(dumped))


def test_another_programs_database_is_refused(mysql_server: MysqlServer, mysql_database: str, tmp_path: Path) -> None:
    """A database without the tables, or with one of the name and other columns, is refused whole."""
    with pytest.raises(FixInput, match="no table of the older program"):
        taken(mysql_server.url(mysql_database), tmp_path)
    mysql_server.do(mysql_database, "CREATE TABLE core_stock (id INT)")
    with pytest.raises(FixInput, match="lacks the columns date, open"):
        taken(mysql_server.url(mysql_database), tmp_path)
    assert Store(tmp_path / "store").current() is None


def test_tables_without_a_key_and_of_other_engines_and_charsets(
    mysql_server: MysqlServer,
    fill_old: Callable[..., None],
    mysql_database: str,
    old_database: str,
    whole: dict[str, pl.DataFrame],
    tmp_path: Path,
) -> None:
    """Tables as pandas makes them (no key), MyISAM and latin1 give the same tables."""
    fill_old(mysql_database)
    mysql_server.do(
        mysql_database,
        "ALTER TABLE core_stock DROP PRIMARY KEY",
        "ALTER TABLE stock_splits DROP PRIMARY KEY, ENGINE = MyISAM",
        "UPDATE company_overview SET industry = 'Café €'",
        "ALTER TABLE company_overview CONVERT TO CHARACTER SET latin1",
    )
    _, store = taken(mysql_server.url(mysql_database), tmp_path / "keyless", bounds=Bounds(batch_rows=97))
    got, expected = contents(store), dict(whole)
    assert '"Industry":"Café €"' in got.pop("overview")["snapshot"][0]
    expected.pop("overview")
    same(got, expected)


def test_too_little_disk_is_said_before_anything_is_read(
    mysql_server: MysqlServer, old_database: str, tmp_path: Path
) -> None:
    """The need and what is free are said first; where that is less, nothing is read or kept."""
    lines: list[str] = []
    taken(mysql_server.url(old_database), tmp_path, say=lines.append)
    assert re.search(r"needs up to [\d,]+ MiB in .*, [\d,]+ MiB are free", lines[0])
    with pytest.raises(FreeDisk, match="Nothing was imported"):
        taken(mysql_server.url(old_database), tmp_path / "full", bounds=Bounds(free_bytes=lambda place: 1 << 20))
    assert not (tmp_path / "full" / "import-mysql").exists()


def test_memory_stays_bounded_while_a_table_is_read(
    mysql_server: MysqlServer, fill_old: Callable[..., None], mysql_database: str, tmp_path: Path
) -> None:
    """A table of many rows is read in batches: what is held at once does not grow with it."""
    fill_old(mysql_database)
    copy = (
        "INSERT INTO historical_options SELECT CONCAT('{}', contract_id), date, symbol, type, expiration, strike, last, mark,"
        " bid, ask, volume, implied_volatility, delta, gamma, theta, vega, rho FROM historical_options"
    )
    mysql_server.do(mysql_database, *(copy.format(letter) for letter in "ABC"))
    with Server(parse_address(mysql_server.url(mysql_database))) as server:
        server.begin_snapshot()
        sizes, total = [], 0
        tracemalloc.start()
        for batch in server.stream("SELECT CONCAT(contract_id, REPEAT('x', 400)) FROM historical_options", [], 1000):
            total += len(batch)
            sizes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert total > 7_000
    assert sizes[-1] < 2 * sizes[1] < 8 << 20
