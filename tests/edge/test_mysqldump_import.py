"""`bft import mysqldump` on generated dumps: what is stored, what is refused, what is cut off, killed or another program's."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from bar_fly_trading.data.importers.mysqldump import DumpReport, import_dump
from bar_fly_trading.data.importers.mysqldump.space import check_space
from bar_fly_trading.data.known import backfill_known_us
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import FixInput, FreeDisk
from bar_fly_trading.facts.sessions import Calendar, evening_us
from bar_fly_trading.facts.tables import TABLES

CALENDAR = Calendar()
NOW_US = evening_us(date(2021, 4, 21))
PROVE = bool(os.environ.get("BFT_PROVE"))
TABLES_CREATED = {
    "core_stock": "`date` datetime NOT NULL, `open` double, `high` double, `low` double, `close` double,"
    " `adjusted_close` double, `volume` bigint, `symbol` varchar(5) NOT NULL, PRIMARY KEY (`date`,`symbol`)",
    "company_overview": "`exchange` text, `country` text, `sector` text, `industry` text, `market_capitalization` double,"
    " `eps` double, `52_week_high` double, `symbol` varchar(5) NOT NULL",
    "quarterly_earnings": "`fiscal_date_ending` datetime NOT NULL, `reported_eps` double, `estimated_eps` double,"
    " `ttm_eps` double, `latest_trading_day` datetime, `surprise` double, `surprise_percentage` double,"
    " `symbol` varchar(5) NOT NULL",
    "economic_indicators": "`date` datetime NOT NULL, `treasury_yield_2year` double, `treasury_yield_10year` double,"
    " `ffer` double, `cpi` double, `inflation` double, `retail_sales` double, `durables` double, `unemployment` double,"
    " `nonfarm_payroll` double",
    "stock_splits": "`symbol` varchar(5), `effective_date` datetime, `split_factor` double",
    "options_daily_summary": "`symbol` varchar(5), `date` datetime, `call_volume` bigint, `put_volume` bigint,"
    " `total_volume` bigint",
    "historical_options": "`contract_id` varchar(30) NOT NULL, `date` datetime NOT NULL, `symbol` varchar(5) NOT NULL,"
    " `type` enum('call','put') NOT NULL, `expiration` datetime NOT NULL, `strike` double NOT NULL, `last` double,"
    " `mark` double, `bid` double, `ask` double, `volume` double, `implied_volatility` double, `delta` double,"
    " `gamma` double, `theta` double, `vega` double, `rho` double, PRIMARY KEY (`contract_id`,`date`,`symbol`)",
    "technical_indicators": "`date` datetime, `sma_20` double, `symbol` varchar(5)",
}


def option(contract: str, day: str, symbol: str, *, volume: str = "1", right: str = "call", strike: str = "100") -> str:
    """Write a row of historical_options."""
    numbers = f"{strike},34.5,34.55,34.5,34.6,{volume},0.35,0.99,0.001,-0.01,0.002,0.01"
    return f"('{contract}','{day} 00:00:00','{symbol}','{right}','2021-04-23 00:00:00',{numbers})"


ROWS = {
    "core_stock": [
        "('2021-04-19 00:00:00',133.5,135.5,133.3,134.84,33.61,94264215,'AAPL')",
        "('2021-04-20 00:00:00',33.7,33.9,32.9,33.27,33.27,94812345,'AAPL')",
        "('2021-04-21 00:00:00',33.1,33.8,32.8,33.4,33.4,6.5e7,'AAPL')",
        "('2021-04-20 00:00:00',270,271,268,269.5,2.695e2,4000000,'BRK-B')",
    ],
    "company_overview": [
        "('NASDAQ','USA','TECHNOLOGY','Phones; \\'smart\\' ones, (Caf\u00e9)',2.2e12,NULL,157.26,'AAPL')",
        "('NYSE','USA',NULL,NULL,6e11,1.5,NULL,'BRK-B')",
    ],
    "quarterly_earnings": [
        "('2021-03-31 00:00:00',1.4,0.99,4.45,'2021-04-28 00:00:00',0.41,41.4141,'AAPL')",
        "('2020-12-31 00:00:00',1.68,1.41,3.69,NULL,0.27,19.1489,'AAPL')",
    ],
    "economic_indicators": ["('2021-03-01 00:00:00',0.15,1.61,0.07,264.877,NULL,-1e-05,1.5e5,6.0,144120)"],
    "stock_splits": ["('AAPL','2021-04-20 00:00:00',4)", "('AAPL','2014-06-09 00:00:00',7)"],
    "options_daily_summary": ["('AAPL','2021-04-19 00:00:00',1000000,600000,1600000)"],
    "historical_options": [
        option("AAPL210423C00100000", "2021-04-19", "AAPL", volume="12"),
        option("AAPL210423C00100000", "2021-04-20", "AAPL", volume="40"),
        option("AAPL210423P00100000", "2021-04-20", "AAPL", volume="2.0", right="put"),
    ],
    "technical_indicators": ["('2021-04-19 00:00:00',130.5,'AAPL')"] * 2,
}
BEFORE = (
    "-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\n--\n-- Host: localhost    Database: bar_fly_trading\n"
    "/*!50503 SET NAMES utf8mb4 */;\n/*!40103 SET TIME_ZONE='+00:00' */;\n"
)
AFTER = "-- Dump completed on 2021-04-21 22:00:00\n"


def dump(rows: dict[str, list[str]] | None = None, *, between: str = ",", created: dict[str, str] | None = None) -> str:
    """Write a dump as mysqldump does, tables in alphabetical order."""
    given = ROWS if rows is None else rows
    text = BEFORE
    for table, columns in sorted((TABLES_CREATED if created is None else created).items()):
        text += f"DROP TABLE IF EXISTS `{table}`;\nCREATE TABLE `{table}` (\n  {columns}\n) ENGINE=InnoDB;\n"
        text += f"LOCK TABLES `{table}` WRITE;\n/*!40000 ALTER TABLE `{table}` DISABLE KEYS */;\n"
        if given.get(table):
            text += f"INSERT INTO `{table}` VALUES {between.join(given[table])};\n"
        text += f"/*!40000 ALTER TABLE `{table}` ENABLE KEYS */;\nUNLOCK TABLES;\n"
    return text + AFTER


def taken(
    path: Path, folder: Path, database: str | None = None, now_us: int = NOW_US, *, options: bool = True
) -> tuple[DumpReport, Store]:
    """Import a dump into the store of a folder."""
    store = Store(folder / "store")
    logs = folder / "logs"
    report = import_dump(path, store, CALENDAR, logs=logs, now_us=now_us, database=database, options=options)
    return report, store


def write(path: Path, text: str) -> Path:
    """Write a dump."""
    path.write_bytes(text.encode())
    return path


def contents(store: Store) -> dict[str, pl.DataFrame]:
    """Return every table of a store with its knowledge columns."""
    return {name: store.read(name) for name in TABLES}


def test_the_old_tables_come_in_with_what_is_known_of_them(tmp_path: Path) -> None:
    """Bars with derived events, sectors, overview, earnings, macro, splits and option volumes, each known when it should be."""
    report, store = taken(write(tmp_path / "dump.sql", dump()), tmp_path)
    assert report.refused == {} and report.refusals_file is None and report.cut is None and report.completed
    assert (report.bars_new, report.bars_corrected, report.bars_same) == (4, 0, 0)
    assert report.left_out == {"technical_indicators": 2} and report.rows["historical_options"] == 3
    bars = store.read("bars")
    assert bars["instrument_id"].to_list() == ["us:AAPL"] * 3 + ["us:BRK.B"]
    assert bars["split_coefficient"].to_list() == [1.0, 4.0, 1.0, 1.0]
    assert bars["volume"].to_list()[2] == 65_000_000
    assert bars["known_at"].to_list()[0] == backfill_known_us(CALENDAR, date(2021, 4, 19))
    assert store.read("splits")["split_factor"].to_list() == [7.0, 4.0]
    earnings = store.read("earnings")
    assert earnings["reported_date"].to_list() == [None, None] and set(earnings["known_at"]) == {NOW_US}
    assert store.read("sectors")["sector"].to_list() == ["TECHNOLOGY"]
    overview = json.loads(store.read("overview")["snapshot"][0])
    assert overview["Industry"] == "Phones; 'smart' ones, (Caf\u00e9)"
    assert (overview["MarketCapitalization"], overview["EPS"], overview["Beta"]) == ("2200000000000", "None", "None")
    macro = store.read("macro_imported").row(0, named=True)
    assert (macro["retail_sales"], macro["inflation"], macro["known_at"]) == (-1e-05, None, NOW_US)
    options = store.read("options_summary").rows(named=True)
    assert (options[0]["total_volume"], options[0]["known_at"]) == (
        1600000,
        backfill_known_us(CALENDAR, date(2021, 4, 19)),
    )
    # The dump's summary of the 19th stays; that of the 20th, which it lacks, comes from the chain.
    assert [(o["call_volume"], o["put_volume"], o["total_volume"]) for o in options[1:]] == [(40, 2, 42)]
    chains = store.read("option_chains")
    assert chains["session"].to_list() == [date(2021, 4, 19), date(2021, 4, 20), date(2021, 4, 20)]
    assert chains["known_at"].to_list()[0] == backfill_known_us(CALENDAR, date(2021, 4, 19))
    put = chains.row(2, named=True)
    assert (put["instrument_id"], put["contract_id"], put["right"]) == ("us:AAPL", "AAPL210423P00100000", "put")
    assert (put["expiration"], put["strike"], put["volume"], put["theta"]) == (date(2021, 4, 23), 100.0, 2, -0.01)
    assert (put["open_interest"], put["bid_size"]) == (None, None)
    assert not (tmp_path / "import-mysqldump" / "nothing").exists()
    assert list((tmp_path / "import-mysqldump").iterdir()) == []
    past = evening_us(date(2021, 4, 20))
    for name in ("earnings", "overview", "macro_imported"):
        assert store.read(name, known_by_us=past).is_empty(), name


def test_the_same_dump_again_adds_nothing(tmp_path: Path) -> None:
    """A second import of the same file finds every bar there already, and the store's version stays."""
    path = write(tmp_path / "dump.sql", dump())
    first, _ = taken(path, tmp_path)
    again, _ = taken(path, tmp_path, now_us=NOW_US + 1)
    assert (again.bars_new, again.bars_corrected, again.bars_same) == (0, 0, 4)
    assert again.version == first.version


def test_gzip_line_breaks_column_lists_and_databases_make_no_difference(tmp_path: Path) -> None:
    """gzip (also of two members), MariaDB's rows on lines, --complete-insert, --databases: the same store content."""
    _, plain = taken(write(tmp_path / "dump.sql", dump()), tmp_path)
    wanted = contents(plain)
    data = dump().encode()
    (tmp_path / "dump.sql.gz").write_bytes(gzip.compress(data[:700]) + gzip.compress(data[700:]))
    listed = dump().replace(
        "INSERT INTO `stock_splits` VALUES",
        "INSERT INTO `stock_splits` (`symbol`,`effective_date`,`split_factor`) VALUES",
    )
    other = "CREATE DATABASE `mysql`;\nUSE `mysql`;\nCREATE TABLE `core_stock` (`a` int);\nINSERT INTO `core_stock` VALUES (1);\n"
    variants = {
        "lines": dump(between=",\n").replace(" VALUES ", " VALUES\n"),
        "columns": listed,
        "databases": other + "CREATE DATABASE `old`;\nUSE `old`;\n" + dump(),
        "crlf": dump().replace("\n", "\r\n"),
    }
    paths = [tmp_path / "dump.sql.gz", *(write(tmp_path / f"{name}.sql", text) for name, text in variants.items())]
    for path in paths:
        report, store = taken(path, tmp_path / f"home-{path.name}")
        assert report.refused == {}, path
        for name, frame in contents(store).items():
            assert frame.equals(wanted[name]), (path, name)


def test_bad_rows_are_refused_one_by_one_with_place_and_reason(tmp_path: Path) -> None:
    """Each bad row stands in the report with its table, number, byte offset, key and reason; every other row is stored."""
    bad = {
        "('0000-00-00 00:00:00',1,1,1,1,1,1,'AAPL')": "date is 0000-00-00 00:00:00",
        "('2021-04-18 00:00:00',1,1,1,1,1,1,'AAPL')": "date is no session of the exchange",
        "('2021-04-22 00:00:00',1,1,1,1,1,1,'AAPL')": "date is after the newest closed session",
        "('2021-04-16 00:00:00',1,0.5,1,1,1,1,'AAPL')": "high is below low",
        "('2021-04-16 00:00:00',1,1,1,NULL,1,1,'MSFT')": "close is missing",
        "('2021-04-16 00:00:00',1,1,1,'dear',1,1,'MSFT')": "close is dear",
        "('2021-04-16 00:00:00',1,1,1,1,1,1.5,'MSFT')": "volume is 1.5",
        "('2021-04-16 09:30:00',1,1,1,1,1,1,'MSFT')": "date is 2021-04-16 09:30:00",
        "('2021-04-16 00:00:00',1,1,1,1,1,1,'')": "symbol is ",
        "(NULL,1,1,1,1,1,1,'MSFT')": "date is NULL",
        "('2021-04-16 00:00:00',1,1,1,1,1,'MSFT')": "7 values for 8 columns",
        "('2021-04-16 00:00:00',1,1,1,foo(),1,1,'MSFT')": "value 5 cannot be read",
        "('2021-04-20 00:00:00',269,271,268,269.5,269.5,5,'BRK.B')": "date occurs twice",
    }
    rows = {**ROWS, "core_stock": [ROWS["core_stock"][0], *bad, *ROWS["core_stock"][1:]]}
    text = dump(rows)
    report, store = taken(write(tmp_path / "dump.sql", text), tmp_path)
    assert report.refusals_file is not None
    refused = pl.read_csv(report.refusals_file)
    # Of two different rows of one day both are refused: the stored BRK-B too.
    assert report.refused == {"core_stock": len(bad) + 1} and refused.height == len(bad) + 1
    found = {
        text.encode()[offset:].split(b")")[0].decode(): reason
        for offset, reason in refused.select("offset", "reason").iter_rows()
    }
    for row, reason in bad.items():
        assert found[row.split(")")[0]].startswith(reason), (row, found)
    assert refused.filter(pl.col("offset") == text.encode().index(next(iter(bad)).encode()))["row"].to_list() == [2]
    assert store.read("bars").height == 3


@pytest.mark.parametrize("packed", [False, True])
def test_a_dump_cut_off_inside_a_row_gives_what_is_whole_and_says_where(tmp_path: Path, packed: bool) -> None:
    """Cut in the middle of a row (plain or gzip), the whole rows before it are stored, and the place of the cut is told."""
    text = dump()
    row = text.encode().index(b"('2021-04-21 00:00:00',33.1")
    data = text.encode()[: row + 30]
    path = tmp_path / "dump.sql"
    if packed:
        data = gzip.compress(data)[:-8]
    path.write_bytes(data)
    report, store = taken(path, tmp_path)
    assert report.cut is not None
    assert (report.cut.offset, report.cut.table) == (row, ".core_stock")
    assert report.cut.reason == ("the gzip file is cut off" if packed else "ends inside a row")
    assert store.read("bars").height == 2


def test_a_dump_cut_at_any_byte_is_told_or_complete(tmp_path: Path) -> None:
    """Cut at bytes all over it, a dump is refused, told as cut off, or lacks its last line: never taken for whole."""
    data = dump().encode()
    for number, end in enumerate(range(0, len(data) - len(AFTER), 13 if PROVE else 331)):
        path = tmp_path / f"{number}.sql"
        path.write_bytes(data[:end])
        try:
            report, _ = taken(path, tmp_path / f"{number}")
        except FixInput as error:
            assert "Nothing was imported" in str(error)
            continue
        assert report.cut is not None or not report.completed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (dump({"orders": ["(1)"]}, created={"orders": "`a` int"}), "holds the tables orders"),
        (dump({"core_stock": ["(1)"]}, created={"core_stock": "`price` int"}), "lacks the columns date, open"),
        (dump({}), "no row of any table"),
        ("", "no row of any table"),
        ("hello world, this is no dump", "before any row"),
        ("\0\1\2'\3" * 100, "before any row"),
        (BEFORE.replace("utf8mb4", "gbk") + "INSERT INTO `core_stock` VALUES (1);\n", "character set gbk"),
        ("INSERT INTO `core_stock` VALUES (1);\n", "neither its CREATE TABLE nor a list of columns"),
        ("USE a;\n" + dump() + "USE b;\n" + dump(), "in two databases, a and b"),
    ],
)
def test_what_is_no_dump_of_the_old_program_is_refused_whole(tmp_path: Path, text: str, words: str) -> None:
    """Another schema, no rows, no SQL, an unreadable character set, two databases: refused by name, nothing is stored."""
    with pytest.raises(FixInput) as caught:
        taken(write(tmp_path / "dump.sql", text), tmp_path)
    assert words in str(caught.value), str(caught.value)
    assert caught.value.way_out
    assert not (tmp_path / "store").exists()


def test_one_of_two_databases_is_taken_by_name(tmp_path: Path) -> None:
    """With --database the named one's rows are stored, the other's are not."""
    second = {"core_stock": ["('2021-04-20 00:00:00',1,1,1,1,1,1,'ZZZ')"]}
    path = write(tmp_path / "dump.sql", "USE a;\n" + dump() + "USE `b b`;\n" + dump(second))
    _, store = taken(path, tmp_path, database="b b")
    assert store.read("bars")["instrument_id"].to_list() == ["us:ZZZ"]


def test_where_there_is_less_room_than_needed_nothing_begins(tmp_path: Path) -> None:
    """The need is said before the start; a sparse dump larger than the disk's room is refused with both figures."""
    path = tmp_path / "dump.sql"
    with path.open("wb") as file:
        file.truncate(4 << 40)
    with pytest.raises(FreeDisk, match=r"needs up to .* MiB .* are free"):
        check_space(path, tmp_path / "store", {"core_stock"})


def bars_rows(symbols: int, sessions: int) -> list[str]:
    """Return bars of some names in the primary key's order."""
    days = CALENDAR.sessions(date(2000, 1, 3), date(2021, 4, 21))[-sessions:]
    return [
        f"('{day} 00:00:00',{100.5 + n},{101.123456789 + n},{99.25 + n},{100.75 + n},{100.75 + n},{1000000 + n},'S{n}')"
        for day in days
        for n in range(symbols)
    ]


def big_line(path: Path, size: int) -> tuple[int, int]:
    """Write a dump of which one INSERT line alone has `size` bytes; return its rows of bars and of options."""
    bars = bars_rows(40, 500)
    days = CALENDAR.sessions(date(2020, 6, 1), date(2021, 4, 21))[:128]
    block = ",".join(
        option(f"AAPL#####C{strike:08d}", str(day), "AAPL") for strike in range(32) for day in days
    ).encode()
    written = rows = 0
    with path.open("wb") as file:
        file.write(dump({"core_stock": bars}).removesuffix(AFTER).encode())
        file.write(b"INSERT INTO `historical_options` VALUES ")
        while written < size:
            file.write(block.replace(b"#####", b"%05d" % (rows // 4096)) + b",")
            written += len(block) + 1
            rows += 4096
        file.write(option("AAPL210423C00100000", "2021-04-19", "AAPL").encode() + b";\n" + AFTER.encode())
    return len(bars), rows + 1


MEASURED = """
import json, sys
from pathlib import Path
from bar_fly_trading.data.importers.mysqldump import import_dump
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar
home = Path(sys.argv[2])
report = import_dump(Path(sys.argv[1]), Store(home / "store"), Calendar(), logs=home / "logs", now_us=int(sys.argv[3]))
# The kernel's own high-water mark: ru_maxrss begins at what the parent process weighed.
peak = next(int(row.split()[1]) / 1024 for row in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in row)
print(json.dumps({"peak": peak, "bars": report.bars_new, "rows": report.rows, "refused": report.refused}))
"""


def test_a_single_line_of_any_length_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """An INSERT line of 32 MB (2 GB in the long proof) needs less than 500 MiB, and every row on it is stored."""
    path = tmp_path / "dump.sql"
    bars, options = big_line(path, 2_000_000_000 if PROVE else 32_000_000)
    command = [sys.executable, "-c", MEASURED, str(path), str(tmp_path), str(NOW_US)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    assert (found["bars"], found["rows"]["historical_options"], found["refused"]) == (bars, options, {})
    assert found["peak"] < 500
    one = Store(tmp_path / "store").read("option_chains", since=date(2020, 7, 1), until=date(2020, 7, 31))
    assert one.height == (options // 128) * 22
    path.unlink()


SLOWED = MEASURED.replace(
    "home = Path",
    "from bar_fly_trading.data.importers.mysqldump import loader, reading\n"
    "reading.CHECKPOINT_BYTES, reading.RUN_BYTES, loader.GROUP_ROWS_MAX = 1 << 16, 1 << 14, 3000\nhome = Path",
)


@pytest.mark.timeout(300)
def test_killed_anywhere_it_continues_and_ends_with_the_same_content(tmp_path: Path) -> None:
    """kill -9 at times spread over the whole import, until one run ends: the store equals that of one undisturbed run."""
    rows = bars_rows(30, 600)
    rows.insert(777, "('2021-04-18 00:00:00',1,1,1,1,1,1,'S1')")
    rows[9000] = rows[9000].replace("(", "(NULL,", 1)
    path = tmp_path / "dump.sql"
    pieces = "".join(
        f"INSERT INTO `core_stock` VALUES {','.join(rows[i : i + 500])};\n" for i in range(0, len(rows), 500)
    )
    options = [
        option(f"S{n}210423C{strike:08d}", str(day), f"S{n}")
        for n in range(5)
        for strike in range(1, 16)
        for day in CALENDAR.sessions(date(2021, 2, 1), date(2021, 4, 21))
    ]
    others = {name: ROWS[name] for name in ROWS if name != "core_stock"}
    whole = dump({**others, "historical_options": options})
    write(path, whole.replace("DROP TABLE IF EXISTS `economic", pieces + "DROP TABLE IF EXISTS `economic"))
    report, undisturbed = taken(path, tmp_path / "whole")
    home = tmp_path / "killed"
    command = [sys.executable, "-c", SLOWED, str(path), str(home), str(NOW_US)]
    kills = resumed = 0
    for attempt in range(60):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        state = next((home / "import-mysqldump").glob("*/state.json"), None) if home.exists() else None
        resumed += state is not None
        began = time.monotonic()
        # Later each time, from before the first checkpoint to well into the last publish.
        while process.poll() is None and time.monotonic() - began < 0.6 + 0.12 * attempt:
            time.sleep(0.01)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        assert process.returncode == 0
        break
    else:
        pytest.fail("no run came to its end")
    assert kills >= 2 and resumed >= 1
    store = Store(home / "store")
    for name, frame in contents(store).items():
        assert frame.equals(contents(undisturbed)[name]), name
    assert report.refusals_file is not None
    logs = list((home / "logs").glob("*.csv"))
    assert [log.read_text() for log in logs] == [report.refusals_file.read_text()]


DYING = """
import os, signal, sys
from pathlib import Path
from bar_fly_trading.data.importers.mysqldump import import_dump, loader
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar
loader.GROUP_ROWS_MAX = 20
class Dying(Store):
    left = int(sys.argv[4])
    def publish(self, additions, **named):
        version = super().publish(additions, **named) if sys.argv[5] == "after" else None
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return version or super().publish(additions, **named)
home = Path(sys.argv[2])
import_dump(Path(sys.argv[1]), Dying(home / "store"), Calendar(), logs=home / "logs", now_us=int(sys.argv[3]))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_each_publish_no_refusal_is_lost_or_told_twice(tmp_path: Path, when: str) -> None:
    """Killed right before (after) the first, second, ... publish of one import: the store and the refusals are those of a whole run."""
    bad = [f"('2021-04-18 00:00:00',1,1,1,1,1,1,'S{n}')" for n in range(3)]
    path = write(tmp_path / "dump.sql", dump({**ROWS, "core_stock": [*bars_rows(3, 15), *bad]}))
    report, undisturbed = taken(path, tmp_path / "whole")
    home = tmp_path / "killed"
    codes: list[int] = []
    # Each run comes further than the one before it, until one comes to the end.
    while not codes or (codes[-1] != 0 and len(codes) < 10):
        left = "1" if when == "after" else str(len(codes) + 1)
        command = [sys.executable, "-c", DYING, str(path), str(home), str(NOW_US), left, when]
        codes.append(subprocess.run(command, check=False).returncode)
    assert codes[-1] == 0 and codes.count(-signal.SIGKILL) >= 2
    for name, frame in contents(Store(home / "store")).items():
        assert frame.equals(contents(undisturbed)[name]), name
    assert report.refusals_file is not None and report.refused == {"core_stock": 3}
    assert [log.read_text() for log in (home / "logs").glob("*.csv")] == [report.refusals_file.read_text()]


def test_the_command_tells_what_it_did_and_ends_with_its_code(tmp_path: Path) -> None:
    """`bft import mysqldump`: 0 with the left-out rows warned about, 20 where the dump is cut off, 3 where it is none."""
    bft = [str(Path(sys.executable).with_name("bft")), "import", "mysqldump", "--home", str(tmp_path / "home")]
    good = subprocess.run(
        [*bft, str(write(tmp_path / "dump.sql", dump()))], capture_output=True, text=True, check=False
    )
    assert good.returncode == 0, good.stderr
    assert "the import needs up to" in good.stdout
    assert "core_stock: 4 rows, 0 refused" in good.stdout
    assert "technical_indicators: 2 rows passed over: indicators are computed here" in good.stdout
    assert "historical_options: 3 rows, 0 refused" in good.stdout
    assert good.stdout.index("prices and small tables are stored") < good.stdout.index("core_stock: 4 rows")
    middle = dump()[: dump().index("('2021-04-21 00:00:00',33.1") + 30]
    cut = subprocess.run([*bft, str(write(tmp_path / "cut.sql", middle))], capture_output=True, text=True, check=False)
    assert cut.returncode == 20 and "is not whole: it ends inside a row of core_stock (row 3) at byte" in cut.stderr
    none = subprocess.run(
        [*bft, str(write(tmp_path / "none.sql", "hello"))], capture_output=True, text=True, check=False
    )
    assert none.returncode == 3, none.stderr
