"""`bft import mysqldump` on what people really bring: other spellings of a dump, wrong files, and files that end too early."""

from __future__ import annotations

import bz2
import gzip
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from tests.edge.test_mysqldump_import import BEFORE, ROWS, TABLES_CREATED, contents, dump, option, taken, write

from bar_fly_trading.errors import FixInput

PLAIN = dump()
MYSQL_8 = (
    PLAIN.replace(
        "/*!40103 SET TIME_ZONE='+00:00' */;\n",
        "/*!40103 SET TIME_ZONE='-05:00' */;\nSET @MYSQLDUMP_TEMP_LOG_BIN = @@SESSION.SQL_LOG_BIN;\n"
        "SET @@SESSION.SQL_LOG_BIN= 0;\n--\n-- GTID state at the beginning of the backup\n--\n"
        "SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,\n4f11fa47-71ca-11e1-9e33-c80aa9429562:1';\n"
        "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `bar_fly_trading` /*!40100 DEFAULT CHARACTER SET utf8mb4 COLLATE"
        " utf8mb4_0900_ai_ci */ /*!80016 DEFAULT ENCRYPTION='N' */;\nUSE `bar_fly_trading`;\n",
    )
    .replace("ENGINE=InnoDB;", "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci;")
    .replace("`adjusted_close` double, `volume`", "`adjusted_close` double /*!80023 INVISIBLE */, `volume`")
)
MARIADB = "/*M!999999\\- enable the sandbox mode */ \n" + PLAIN.replace(
    "-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)", "-- MariaDB dump 10.19  Distrib 11.4.2-MariaDB"
).replace(
    "ENGINE=InnoDB;",
    "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_uca1400_ai_ci /*!100101 PAGE_COMPRESSED=1 */;",
).replace(
    "/*!40103 SET TIME_ZONE='+00:00' */;",
    "/*!40103 SET TIME_ZONE='+00:00' */;\n/*M!100616 SET @OLD_NOTE_VERBOSITY=1 */;",
)
PARTITIONS = PLAIN.replace(
    "ENGINE=InnoDB;",
    "ENGINE=InnoDB\n/*!50100 PARTITION BY HASH (to_days(`date`)); (\nPARTITIONS 4 */;",
)
HEX = (
    PLAIN.replace("'AAPL')", "0x4141504C)")
    .replace("'BRK-B')", "_binary 'BRK-B')")
    .replace("'AAPL210423", "'AAPL210423")
)
GENERATED = PLAIN.replace(
    "`total_volume` bigint",
    "`total_volume` bigint, `ratio` double GENERATED ALWAYS AS (`put_volume` / `call_volume`) STORED",
).replace(
    "INSERT INTO `options_daily_summary` VALUES",
    "INSERT INTO `options_daily_summary` (`symbol`, `date`, `call_volume`, `put_volume`, `total_volume`) VALUES",
)
OTHER_TABLE = PLAIN.replace(
    "DROP TABLE IF EXISTS `core_stock`",
    "CREATE TABLE `notes` (`text` text);\nINSERT INTO `notes` VALUES ('it''s; \\'(quoted)\\''),(')'),(NULL);\n"
    "DROP TABLE IF EXISTS `core_stock`",
)
VARIANTS = {
    "mysql 8": MYSQL_8,
    "mariadb": MARIADB,
    "partitions": PARTITIONS,
    "hexadecimal and introduced": HEX,
    "generated column": GENERATED,
    "another program's table": OTHER_TABLE,
    "replace": PLAIN.replace("INSERT INTO", "REPLACE INTO"),
    "insert ignore": PLAIN.replace("INSERT INTO", "INSERT  IGNORE INTO"),
    "double quotes": PLAIN.replace("'AAPL'", '"AAPL"'),
    "spaces": PLAIN.replace("),(", ") , ("),
    "twice in one file": PLAIN + PLAIN,
    "no comments": "".join(line for line in PLAIN.splitlines(keepends=True) if not line.startswith("--")),
}


def one_row_a_statement() -> str:
    """Write the dump as --skip-extended-insert does."""
    text = dump({table: [] for table in ROWS})
    for table, rows in ROWS.items():
        statements = "".join(f"INSERT INTO `{table}` VALUES {row};\n" for row in rows)
        mark = f"/*!40000 ALTER TABLE `{table}` ENABLE KEYS */;"
        text = text.replace(mark, statements + mark)
    return text


VARIANTS["a row a statement"] = one_row_a_statement()


@pytest.mark.parametrize("name", list(VARIANTS))
def test_other_spellings_of_the_same_dump_give_the_same_store(tmp_path: Path, name: str) -> None:
    """What MySQL 8, MariaDB, their options and partitions write differently changes no row and refuses none."""
    _, plain = taken(write(tmp_path / "plain.sql", PLAIN), tmp_path / "plain")
    report, store = taken(write(tmp_path / "other.sql", VARIANTS[name]), tmp_path / "other")
    assert report.refused == {} and report.cut is None
    assert VARIANTS[name] != PLAIN
    for table, frame in contents(store).items():
        assert frame.equals(contents(plain)[table]), (name, table)
    if name == "another program's table":
        assert report.left_out == {"notes": 3, "technical_indicators": 2}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (PLAIN.encode("utf-16"), "UTF-16"),
        (PLAIN.encode("utf-16-le"), "UTF-16"),
        (gzip.compress(PLAIN.encode("utf-16")), "UTF-16"),
        (bz2.compress(PLAIN.encode()), "packed with bzip2"),
        (gzip.compress(bz2.compress(PLAIN.encode())), "packed with bzip2"),
        (b"PK\x03\x04" + bytes(100), "packed with zip"),
        (gzip.compress(b"date,open,close\n2021-04-19,1,2\n" * 100), "holds no table of the old program"),
        (bytes(range(256)) * 50, "holds no table of the old program"),
        (b"\x1f\x8b" + bytes(range(200)), "holds no table of the old program"),
    ],
)
def test_a_wrong_file_is_named_and_nothing_is_imported(tmp_path: Path, data: bytes, words: str) -> None:
    """UTF-16, other packings, a CSV in gzip, noise: refused with what it is and the way out; the store is not begun."""
    path = tmp_path / "dump.sql"
    path.write_bytes(data)
    with pytest.raises(FixInput) as caught:
        taken(path, tmp_path)
    assert words in str(caught.value) and caught.value.way_out
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("table", ["core_stock", "historical_options"])
def test_rows_before_their_create_table_are_refused(tmp_path: Path, table: str) -> None:
    """An INSERT whose table was never created names neither columns nor types: the table is told, nothing is guessed."""
    text = (
        BEFORE + f"INSERT INTO `{table}` VALUES {ROWS[table][0]};\nCREATE TABLE `{table}` ({TABLES_CREATED[table]});\n"
    )
    with pytest.raises(FixInput, match=f"rows of .*{table} but neither its CREATE TABLE"):
        taken(write(tmp_path / "dump.sql", text), tmp_path)


def test_another_programs_option_table_is_refused_whole(tmp_path: Path) -> None:
    """A historical_options of other columns stops the import before anything is stored."""
    text = dump(
        created={**TABLES_CREATED, "historical_options": "`id` int"}, rows={**ROWS, "historical_options": ["(1)"]}
    )
    with pytest.raises(FixInput, match="lacks the columns contract_id, date, symbol"):
        taken(write(tmp_path / "dump.sql", text), tmp_path)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("packed", [False, True])
def test_a_dump_cut_inside_an_option_row_keeps_what_was_whole(tmp_path: Path, packed: bool) -> None:
    """Cut in the middle of an option row, everything before it is stored, its row and byte are told, and no volume is summed up."""
    row = PLAIN.encode().index(ROWS["historical_options"][2].encode())
    data = PLAIN.encode()[: row + 40]
    path = tmp_path / "dump.sql"
    path.write_bytes(gzip.compress(data)[:-8] if packed else data)
    report, store = taken(path, tmp_path)
    assert report.cut is not None and report.cut.table == ".historical_options"
    assert (report.cut.offset, report.rows["historical_options"]) == (row, 2)
    assert store.read("option_chains").height == 2 and store.read("bars").height == 4
    # The volumes of the 20th are in a chain that is cut off; the table of volumes comes after it and is lost.
    assert store.read("options_summary").is_empty()


def test_bad_option_rows_are_refused_one_by_one(tmp_path: Path) -> None:
    """Each bad option row stands in the report with its reason; a session that lost a row gets no volumes from its chain."""
    good = option("AAPL210423C00100000", "2021-04-20", "AAPL", volume="5")
    bad = {
        option("AAPL210423C00110000", "2021-04-18", "AAPL"): "date is no closed session of the exchange",
        option("AAPL210423C00120000", "2021-04-22", "AAPL"): "date is no closed session of the exchange",
        option("AAPL210423C00130000", "2021-04-19", "AAPL", right="both"): "type is neither call nor put",
        option("AAPL210423C00140000", "2021-04-19", "AAPL", strike="0"): "strike is 0.0",
        option("AAPL210423C00150000", "2021-04-19", "AAPL", strike="NULL"): "strike is NULL",
        option("AAPL210423C00160000", "2021-04-19", "AAPL", volume="-1"): "volume is -1",
        option("AAPL210423C00165000", "2021-04-19", "AAPL", volume="1.5"): "volume is 1.5",
        option("", "2021-04-19", "AAPL"): "contract_id is no contract",
        option("AAPL210423C00100000", "2021-04-20", "AAPL", volume="6"): "its key occurs twice",
        option("AAPL210423C00170000", "2021-04-19", "").replace("''", "NULL"): "symbol is NULL",
    }
    rows = {"core_stock": ROWS["core_stock"], "historical_options": [good, good, *bad]}
    report, store = taken(write(tmp_path / "dump.sql", dump(rows)), tmp_path)
    assert report.refusals_file is not None
    refused = pl.read_csv(report.refusals_file)
    reasons = dict(refused.sort("row").select("row", "reason").iter_rows())
    assert reasons == dict(zip(range(3, 3 + len(bad)), bad.values(), strict=True))
    assert store.read("option_chains")["volume"].to_list() == [5]
    assert store.read("options_summary").is_empty()


def test_what_is_given_twice_with_other_values_is_refused(tmp_path: Path) -> None:
    """The same key with the same values is taken once and not complained about; with others the second is refused."""
    earlier = ROWS["quarterly_earnings"]
    other = earlier[0].replace("1.4,", "1.5,")
    rows = {**ROWS, "quarterly_earnings": [*earlier, *earlier, other]}
    report, store = taken(write(tmp_path / "dump.sql", dump(rows)), tmp_path)
    assert report.refused == {"quarterly_earnings": 1}
    quarter = store.read("earnings").filter(pl.col("fiscal_date_ending") == date(2021, 3, 31))
    assert quarter["reported_eps"].to_list() == [1.4]
