"""The quick reading of plain rows against the exact one: equal rows or none, whatever stands in them, however they come in."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bar_fly_trading.data.importers.mysqldump import blocks, quick, reader
from bar_fly_trading.data.importers.mysqldump.ahead import ahead
from bar_fly_trading.data.importers.mysqldump.source import Source

PROVE = bool(os.environ.get("BFT_PROVE"))
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["1e20", "-1.5e-05", "0", "007", "+5", ".5", "1.", "99999999999999999999", "2.50"]),
)
PLAIN_TEXTS = st.text(st.sampled_from(list("AZ09 -:.é€")), max_size=8).map(lambda text: f"'{text}'")
ODD = st.sampled_from(
    [
        *(
            "'it''s'",
            "''",
            "'a,b'",
            "'a),(b'",
            "')'",
            "'('",
            "'a;b'",
            "');'",
            "'NULL'",
            "'a\\'b'",
            "'\\\\'",
            '"a"',
            "'\n'",
        ),
        *(
            "null",
            "0x41",
            "x'41'",
            "_binary 'a'",
            "N'a'",
            "b'101'",
            "foo",
            "",
            " 1",
            "'a' ",
            "'x",
            "inf",
            "nan",
            "1 2",
            "()",
        ),
    ]
)
LITERALS = st.one_of(NUMBERS, PLAIN_TEXTS, st.just("NULL"))
MOSTLY = st.one_of(LITERALS, LITERALS, LITERALS, ODD)
KINDS: list[dict[str, pl.DataType]] = [
    {"a": pl.String(), "b": pl.Float64(), "c": pl.Int64()},
    {"a": pl.Float64(), "c": pl.String()},
    {"b": pl.Int64()},
]
GAPS = (",", ",\n")
COLUMNS = ("a", "b", "c")


def body(rows: list[tuple[str, ...]], gap: str) -> bytes:
    """Write rows of literals as an INSERT's body with its end."""
    return gap.join(f"({','.join(row)})" for row in rows).encode() + b";\n"


def agree(data: bytes, kinds: dict[str, pl.DataType]) -> bool:
    """Return whether the quick way took the rows; where it did, they must be those of the exact one."""
    plain = quick.plain(data, 0)
    if plain is None:
        return False
    exact = blocks.split(data)
    # What looks like the end of the statement is it, or the end of a whole row (a literal that never ends is no SQL, and has none).
    assert b"'x" in data or (plain.terminator, plain.end) == (exact.terminator, exact.end)
    found = quick.frame_of([plain], COLUMNS, "utf8mb4", kinds)
    if found is None:
        return False
    frame, places = found
    as_text: dict[str, pl.DataType] = dict.fromkeys(kinds, pl.String())
    texts, bad = blocks.texts([exact], COLUMNS, "utf8mb4", as_text)
    assert not bad
    assert places[0].tolist() == exact.opens.tolist()
    wanted = texts.drop("_at").select(pl.col(name).cast(kind) for name, kind in kinds.items())
    assert frame.equals(wanted), (data, frame, wanted)
    return True


@given(
    st.lists(st.tuples(MOSTLY, MOSTLY, MOSTLY), min_size=1, max_size=5), st.sampled_from(GAPS), st.sampled_from(KINDS)
)
@settings(max_examples=20_000 if PROVE else 700, deadline=None)
def test_the_quick_way_gives_the_exact_rows_or_none(
    rows: list[tuple[str, ...]], gap: str, kinds: dict[str, pl.DataType]
) -> None:
    """Rows of anything: the quick way either reads each value as the exact way does, or leaves all of them to it."""
    agree(body(rows, gap), kinds)


@pytest.mark.parametrize("gap", GAPS)
def test_plain_rows_do_go_the_quick_way(gap: str) -> None:
    """Rows as the old tables have them are taken quickly, NULLs and empty texts among them."""
    rows: list[tuple[str, ...]] = [("'AAPL'", "1.5", "7"), ("'B'", "NULL", "NULL"), ("''", "-1e-05", "0")]
    assert agree(body(rows, gap), KINDS[0])
    assert agree(body([("1", "2", "'x'")], gap), KINDS[1])


@pytest.mark.parametrize(
    "data",
    [
        b"('a',1,),('b',2,3);",
        b"('a',1,2),('b',,3);",
        b"('a',1,2),('b',3);",
        b"('a',1,2),('b',2,3,4);",
        b"('a',1,2), ('b',2,3);",
    ],
)
def test_rows_with_a_value_too_few_or_many_are_left_to_the_exact_way(data: bytes) -> None:
    """A value that is missing is no NULL: such rows are never taken quickly."""
    plain = quick.plain(data, 0)
    assert plain is None or quick.frame_of([plain], COLUMNS, "utf8mb4", KINDS[0]) is None


@given(st.lists(st.tuples(MOSTLY, MOSTLY), min_size=1, max_size=4), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=4000 if PROVE else 300, deadline=None)
def test_a_statements_end_is_found_however_it_is_cut(rows: list[tuple[str, ...]], one: int, two: int) -> None:
    """Passed over in up to three pieces, a statement ends where the exact reading ends it."""
    data = body(rows, ",") + b"(';');"
    exact = blocks.split(data).terminator
    place, quote = 0, b""
    for end in (*sorted({min(one, len(data)), min(two, len(data))}), len(data)):
        piece = data[:end]
        if place <= end:
            place, quote = quick.statement_end(piece, place, quote)
        if not quote and piece[place : place + 1] == b";":
            break
    if exact is not None and b"'x" not in data and b"foo" not in data:
        assert place == exact


class Drip(Source):
    """A source that gives few bytes at a time."""

    def read(self, count: int) -> bytes:
        """Return at most 61 bytes."""
        return super().read(min(count, 61))


@given(st.lists(st.tuples(MOSTLY, MOSTLY, MOSTLY), min_size=1, max_size=30), st.booleans())
@settings(max_examples=600 if PROVE else 60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_line_of_rows_read_a_few_bytes_at_a_time_is_the_same(
    tmp_path: Path, rows: list[tuple[str, ...]], passed: bool
) -> None:
    """A single INSERT line longer than every piece that is read gives the rows of one reading; passed over, its length.

    A literal that never ends is left out: what follows it is taken for a part of it, however far one reads.
    """
    head = b"CREATE TABLE `t` (`a` text, `b` text, `c` text);\nINSERT INTO `t` VALUES "
    data = head + body(rows, ",") + b"INSERT INTO `t` VALUES (1,2,3);\n"
    path = tmp_path / "dump.sql"
    path.write_bytes(data)
    kinds: dict[str, pl.DataType] = dict.fromkeys(COLUMNS, pl.String())
    before, reader._HEAD_BYTES = reader._HEAD_BYTES, 64
    try:
        found: list[list[tuple[str | None, ...]]] = []
        for kind in (Source, Drip):
            with kind(path) as source:
                sets = (frozenset[str](), frozenset({"t"})) if passed else (frozenset({"t"}), frozenset[str]())
                taken = list(reader.DumpReader(source).blocks(*sets))
            if passed:
                found.append([(str(block.offset), str(block.after.offset)) for block in taken])
                continue
            values = [blocks.values([block.rows], block.columns, "utf8mb4", kinds) for block in taken]
            found.append([row for value in values for row in value.frame.drop("_at").rows()])
    finally:
        reader._HEAD_BYTES = before
    # Where a literal never ends the reader takes up the thread somewhere behind it, and where depends on what was read at once.
    if b"'x" not in data:
        assert found[0] == found[1]
        assert found[0]


def test_work_ahead_comes_in_order_and_its_fault_is_the_callers() -> None:
    """Items come in order; an exception in the thread is raised where they are taken, and closing early ends the thread."""

    def items() -> Iterator[int]:
        yield from range(5)
        raise LookupError("the fifth")

    with pytest.raises(LookupError, match="the fifth"):
        assert list(ahead(items())) == []
    taken = []
    with closing(ahead(iter(range(1000)))) as numbers:
        for number in numbers:
            taken.append(number)
            if number == 3:
                break
    assert taken == [0, 1, 2, 3]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("Thread") and thread.daemon]
