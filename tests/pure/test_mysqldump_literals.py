"""The literals and rows of a dump: written as mysqldump writes them and read back equal, fast and slow, however it is cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bar_fly_trading.data.importers.mysqldump import blocks, literals, reader
from bar_fly_trading.data.importers.mysqldump.reader import columns_of, read_blocks

ESCAPES = {"\0": "\\0", "\n": "\\n", "\r": "\\r", "\\": "\\\\", "'": "\\'", '"': '\\"', "\x1a": "\\Z"}
AWKWARD = st.sampled_from([*list("\x00\n\r\\'\"\x1a\x02,();`Né€-#/*"), "),(", "\\'", "NULL", "');\n", "0x", "_binary"])
TEXTS = st.lists(st.one_of(AWKWARD, st.characters(codec="utf-8")), max_size=12).map("".join)
VALUES = st.one_of(st.none(), TEXTS)


def quoted(text: str | None, escapes: dict[str, str] | None = None) -> str:
    """Write a value as mysqldump does."""
    if text is None:
        return "NULL"
    return "'" + "".join((ESCAPES if escapes is None else escapes).get(c, c) for c in text) + "'"


def body(rows: Sequence[Sequence[str | None]], between: str = ",") -> bytes:
    """Write rows as an INSERT's body without its end."""
    return between.join("(" + ",".join(quoted(v) for v in row) + ")" for row in rows).encode()


def read(data: bytes, columns: int) -> list[tuple[str | None, ...]]:
    """Read a body's rows as texts, in the way the importer takes."""
    names = [f"v{i}" for i in range(columns)]
    rows = blocks.split(data)
    frame, bad = blocks.texts([rows], names, "utf8mb4", dict.fromkeys(names, pl.String()))
    assert not bad
    return frame.drop("_at").rows()


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=6), st.sampled_from([",", ",\n", ", "]))
@settings(max_examples=300)
def test_values_written_as_mysqldump_writes_them_come_back_equal(
    rows: list[tuple[str | None, ...]], between: str
) -> None:
    """Any text, NULLs among them, is read back equal by the fast way (or where it steps aside), and by the slow one."""
    data = body(rows, between)
    assert read(data, 3) == rows
    places = blocks.split(data)
    assert [tuple(literals.parse_row(places.row(i), "utf8mb4")) for i in range(len(rows))] == rows


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=5), st.data())
@settings(max_examples=150)
def test_a_body_cut_anywhere_gives_its_whole_rows(rows: list[tuple[str | None, ...]], data: st.DataObject) -> None:
    """Whatever byte a chunk ends at, the rows before it are found whole, and the rest begins where they end."""
    text = body(rows)
    cut = data.draw(st.integers(0, len(text)))
    first = blocks.split(text[:cut])
    rest = blocks.split(text[first.end :])
    found = [places.row(i) for places in (first, rest) for i in range(places.opens.size)]
    assert found == [body([row]) for row in rows]


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("0x4142", "AB"),
        ("x'4142'", "AB"),
        ("X'4142'", "AB"),
        ("_binary 'A\\'B'", "A'B"),
        ("_utf8mb4'\u00e9'", "\u00e9"),
        ("_latin1 0x41", "A"),
        ("N'AB'", "AB"),
        ("b'101'", "5"),
        ("-1.5e-05", "-1.5e-05"),
        ("1e20", "1e20"),
        (".5", ".5"),
        ("null", None),
        ("''", ""),
        ("'it''s'", "it's"),
        ('"it\'s ""x"""', 'it\'s "x"'),
        ("'\\%\\q'", "%q"),
    ],
)
def test_literals_of_other_kinds_are_read(literal: str, value: str | None) -> None:
    """Hexadecimal, bit, introduced and double-quoted literals, and numbers as written, each in a row among others."""
    assert read(f"('a',{literal},2),('b)',NULL,3)".encode(), 3) == [("a", value, "2"), ("b)", None, "3")]


@pytest.mark.parametrize("row", ["(1,", "1,2)", "(1,foo)", "('a' 'b')", "(0x4)", "(1,,2)", "(x'4')", "('\\xff')", "()"])
def test_what_is_no_row_is_told(row: str) -> None:
    """A literal that is none is refused with the place of the value, never guessed."""
    with pytest.raises(literals.NotARow):
        literals.parse_row(row.encode("latin1") if row != "('\\xff')" else b"('\xff')", "utf8mb4")


def test_rows_of_another_width_are_refused_one_by_one() -> None:
    """Of three rows the one with a value too many is named, and the others are read."""
    frame, bad = blocks.texts(
        [blocks.split(b"(1,'a'),(2,'b',3),(4,'c')")], ["n", "s"], "utf8mb4", {"n": pl.Int64(), "s": pl.String()}
    )
    assert frame["s"].to_list() == ["a", "c"]
    assert frame["_at"].to_list() == [0, 2]
    assert bad == [(1, "3 values for 2 columns")]


def test_latin1_is_what_mysql_means_by_it() -> None:
    """A dump in latin1 gives the euro sign of cp1252 and keeps the bytes cp1252 has not."""
    rows = blocks.split(b"(1,'\x80\xe9\x81')")
    frame, bad = blocks.texts([rows], ["n", "s"], "latin1", {"s": pl.String()})
    assert (frame["s"].to_list(), bad) == (["\u20ac\u00e9\x81"], [])


CREATE = b"""CREATE TABLE IF NOT EXISTS `odd``name, (x)` (
  `date` datetime NOT NULL COMMENT 'it''s; (a) day, -- or not',
  `a``b` decimal(10,2) DEFAULT '1,5', -- a note, with a comma
  `52_week_high` double DEFAULT NULL,
  plain int /* inline, comment */ unsigned,
  `type` enum('call','p)ut') NOT NULL,
  PRIMARY KEY (`date`,`a``b`),
  KEY `k` (`plain`), CONSTRAINT `c` FOREIGN KEY (`plain`) REFERENCES `o` (`x`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
/*!50100 PARTITION BY RANGE (year(`date`)) (PARTITION p0 VALUES LESS THAN (2020) ENGINE = InnoDB) */"""


def test_the_columns_of_a_table_are_read_from_its_definition() -> None:
    """Odd names, commas in types, defaults and comments, keys and partitions: the columns in order and no more."""
    assert columns_of(CREATE) == ("date", "a`b", "52_week_high", "plain", "type")
    match = reader._CREATE.match(CREATE)
    assert match is not None
    assert reader.name_of(match["name"], "db") == "db.odd`name, (x)"


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=40))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_whole_dump_gives_the_rows_back(tmp_path: Path, rows: list[tuple[str | None, ...]]) -> None:
    """Rows in several INSERTs between comments, triggers and a view are read back equal, in order, with their offsets."""
    half = len(rows) // 2
    parts = [part for part in (rows[:half], rows[half:]) if part]
    inserts = b"".join(b"INSERT INTO `t` VALUES " + body(part) + b";\n" for part in parts)
    dump = NOISE_BEFORE + inserts + NOISE_AFTER
    path = tmp_path / "dump.sql"
    path.write_bytes(dump)
    found: list[tuple[str | None, ...]] = []
    for block in read_blocks(path, frozenset({"t"})):
        read = blocks.values([block.rows], block.columns, block.charset, {"x;": pl.String(), "y": pl.String()})
        assert not read.bad
        found += read.frame.drop("_at").rows()
        assert all(dump[block.offset + int(at) :].startswith(b"(") for at in read.places[0])
    assert found == rows


NOISE_BEFORE = b"""/*M!999999\\- enable the sandbox mode */
-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB; it's one
# another; comment '
/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!40101 SET NAMES utf8mb4 */;
SET @@SESSION.SQL_LOG_BIN= 0;
CREATE DATABASE /*!32312 IF NOT EXISTS*/ `old` /*!40100 DEFAULT CHARACTER SET utf8mb4 */;
USE `old`;
DROP TABLE IF EXISTS `t`;
CREATE TABLE `t` (`x;` text, `y` text);
LOCK TABLES `t` WRITE;
/*!40000 ALTER TABLE `t` DISABLE KEYS */;
"""
NOISE_AFTER = b"""/*!40000 ALTER TABLE `t` ENABLE KEYS */;
UNLOCK TABLES;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER `g` BEFORE INSERT ON `t` FOR EACH ROW BEGIN
  -- don't; INSERT INTO `t` VALUES ('no','no');
  SET NEW.y = ';'; INSERT INTO `t` VALUES ('no','no');
END */;;
DELIMITER ;
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`ro;ot`@`%` SQL SECURITY DEFINER */
/*!50001 VIEW `v` AS select `t`.`y` AS `it's` from `t` */;
-- Dump completed on 2024-06-30  1:02:03
"""
