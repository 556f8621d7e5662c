"""A streaming reader of `mysqldump` output: statements told apart, rows handed on in blocks, no line ever held.

Positions are byte offsets into the (uncompressed) dump. Comments, SET, LOCK, views, triggers and routines are passed
over; CREATE TABLE gives a table's columns, USE the database, SET NAMES the character set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from bar_fly_trading.data.importers.mysqldump.blocks import NO_ROWS, Rows, split
from bar_fly_trading.data.importers.mysqldump.literals import CHARSETS
from bar_fly_trading.data.importers.mysqldump.quick import Plain, plain, statement_end
from bar_fly_trading.data.importers.mysqldump.source import CHUNK_BYTES, Source
from bar_fly_trading.errors import FixInput

_HEAD_BYTES = 1 << 16
_STATEMENT_BYTES_MAX = 16 << 20
_NAME = rb"(?:`(?:[^`]|``)+`|\"(?:[^\"]|\"\")+\"|[\w$\x80-\xff]+)"
_INSERT = re.compile(
    rb"(?:INSERT|REPLACE)(?:\s+(?:LOW_PRIORITY|DELAYED|HIGH_PRIORITY|IGNORE))*\s+(?:INTO\s+)?"
    rb"(?P<name>" + _NAME + rb"(?:\s*\.\s*" + _NAME + rb")?)\s*"
    rb"(?P<columns>\(\s*" + _NAME + rb"(?:\s*,\s*" + _NAME + rb")*\s*\))?\s*VALUES?\s*(?=[^\s])",
    re.IGNORECASE,
)
_CREATE = re.compile(
    rb"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>" + _NAME + rb"(?:\s*\.\s*" + _NAME + rb")?)\s*\(",
    re.IGNORECASE,
)
_USE = re.compile(rb"USE\s+(" + _NAME + rb")", re.IGNORECASE)
_SET_NAMES = re.compile(rb"SET\s+NAMES\s+['\"]?(\w+)", re.IGNORECASE)
_DELIMITER = re.compile(rb"DELIMITER[ \t]+(\S+)", re.IGNORECASE)
_TOKEN = re.compile(
    rb"""'(?:[^'\\]|\\.|'')*+'|"(?:[^"\\]|\\.|"")*+"|`(?:[^`]|``)*+`|/\*.*?\*/|(?:--[ \t\n]|\#)[^\n]*\n"""
    rb"""|(?P<end>;)|[^'"`/;\#(),-]++|(?P<mark>[(),])|(?P<other>.)""",
    re.DOTALL,
)
_KEYWORDS = re.compile(
    rb"(?:PRIMARY|UNIQUE|KEY|INDEX|CONSTRAINT|FULLTEXT|SPATIAL|FOREIGN|CHECK|PERIOD)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading may begin again: between statements, or (`table` not None) at a row of an INSERT.

    `schemas`: the columns of each CREATE TABLE seen, by `database.table`; `columns` those of the current INSERT.
    """

    offset: int = 0
    table: str | None = None
    columns: tuple[str, ...] = ()
    database: str = ""
    charset: str = "utf8mb4"
    delimiter: str = ";"
    schemas: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """Whole rows of one INSERT: `table` as `database.table` (database empty where none was named), `after` them."""

    table: str
    columns: tuple[str, ...]
    charset: str
    offset: int
    rows: Rows | Plain
    after: Position


@dataclass(frozen=True, slots=True)
class CutOff:
    """The dump ends before it is complete: at which byte, in which table, why."""

    offset: int
    table: str | None
    reason: str


def name_of(raw: bytes, database: str) -> str:
    """Return `database.table` of a name as a statement spells it."""
    parts = [_bare(part) for part in re.findall(_NAME, raw)]
    return ".".join(parts if len(parts) > 1 else [database, *parts])


def _bare(raw: bytes) -> str:
    quote = raw[:1]
    plain = raw[1:-1].replace(quote * 2, quote) if quote in (b"`", b'"') else raw
    return plain.decode("utf-8", "surrogateescape")


def columns_of(statement: bytes) -> tuple[str, ...]:
    """Return the columns of a CREATE TABLE statement, in order."""
    opening = _CREATE.match(statement)
    if opening is None:
        return ()
    depth, item = 1, b""
    items: list[bytes] = []
    for token in _TOKEN.finditer(statement, opening.end()):
        text = token.group()
        if text.startswith((b"/*", b"--", b"#")):
            continue
        depth += {b"(": 1, b")": -1}.get(text, 0)
        if depth == 0:
            break
        if text == b"," and depth == 1:
            items.append(item.strip())
            item = b""
        else:
            item += text
    names = [re.match(_NAME, text) for text in [*items, item.strip()] if not _KEYWORDS.match(text)]
    return tuple(_bare(match.group()) for match in names if match is not None)


class DumpReader:
    """Reads one dump from a position on; `cut` is set at the end where the dump is not complete."""

    def __init__(self, source: Source, start: Position | None = None) -> None:
        """Take the opened source, which stands at the position's offset."""
        self._source = source
        self._at = start or Position()
        self._buffer, self._pos, self._base, self._ended = b"", 0, self._at.offset, False
        self.cut: CutOff | None = None
        self.completed = False
        self.statements = 0

    def blocks(self, wanted: frozenset[str], passed: frozenset[str] = frozenset()) -> Iterator[Block]:
        """Yield the dump's rows in order, a chunk's at a time; of tables not `wanted` (bare names) the rows are only counted.

        Of tables `passed` over not even that: each of their INSERTs is one block without rows, `offset` at its first row.

        FixInput where the file is no dump, or of a character set that cannot be read by bytes.
        """
        while self._at.table is not None or self._statement():
            if self._at.table is not None and self._at.table.rpartition(".")[2] in passed:
                yield self._pass_over(self._at.table)
            elif self._at.table is not None:
                yield from self._body(wanted)
        if self._source.damage and self.cut is None:
            self._cut_off(self._source.damage)

    @property
    def position(self) -> Position:
        """Return where reading stands: after the last block, or at the end."""
        return self._at

    def _offset(self) -> int:
        return self._base + self._pos

    def _fill(self) -> bool:
        """Drop what is done with and read on, twice as much each time nothing was done; False at the end."""
        if self._ended:
            return False
        rest = self._buffer[self._pos :]
        self._base += self._pos
        self._pos = 0
        more = self._source.read(max(CHUNK_BYTES - len(rest), len(rest), _HEAD_BYTES))
        self._ended = not more
        self._buffer = rest + more
        return bool(more)

    def _cut_off(self, reason: str, table: str | None = None) -> None:
        self.cut = CutOff(self._offset(), table, self._source.damage or reason)
        self._pos = len(self._buffer)
        self._at = replace(self._at, table=None)

    def _skip_space(self) -> bool:
        while True:
            text = self._buffer
            while self._pos < len(text) and text[self._pos] in b" \t\r\n\xef\xbb\xbf\0":
                self._pos += 1
            if self._pos < len(text):
                break
            if not self._fill():
                return False
        while len(self._buffer) - self._pos < _HEAD_BYTES and self._fill():
            pass
        return True

    def _statement(self) -> bool:
        """Pass over one comment or statement, or stop at an INSERT's first row; False at the end of the dump."""
        if not self._skip_space():
            return False
        text, pos = self._buffer, self._pos
        head = text[pos : pos + 10].upper()
        if head.startswith((b"--", b"#")):
            self._line()
        elif head.startswith(b"/*"):
            self._comment()
        elif head.startswith(b"DELIMITER"):
            match = _DELIMITER.match(text, pos)
            if match is not None:
                self._at = replace(self._at, delimiter=match.group(1).decode("ascii", "replace"))
            self._line()
        elif self._at.delimiter != ";":
            self._until(self._at.delimiter.encode())
        elif head.startswith(b";"):
            self._pos += 1
        elif head.startswith((b"INSERT", b"REPLACE")) and self._insert():
            self.statements += 1
        else:
            self._plain()
        return True

    def _find(self, mark: bytes) -> int:
        """Return the place of a mark in the buffer, read on for it; -1 where the dump ends before."""
        while (found := self._buffer.find(mark, self._pos)) < 0:
            if len(self._buffer) - self._pos > _STATEMENT_BYTES_MAX:
                raise FixInput(
                    f"a statement at byte {self._offset()} has no end within {_STATEMENT_BYTES_MAX >> 20} MiB.",
                    way_out="Give a file that mysqldump wrote.",
                )
            if not self._fill():
                return -1
        return found

    def _line(self) -> None:
        found = self._find(b"\n")
        end = len(self._buffer) if found < 0 else found
        self.completed = self._buffer.startswith(b"-- Dump completed", self._pos)
        self._pos = min(end + 1, len(self._buffer))

    def _comment(self) -> None:
        found = self._find(b"*/")
        if found < 0:
            self._cut_off("ends inside a comment")
            return
        self._names(self._buffer[self._pos : min(found, self._pos + _HEAD_BYTES)])
        self._pos = found + 2

    def _until(self, mark: bytes) -> None:
        found = self._find(mark)
        if found < 0:
            self._cut_off("ends inside a trigger or routine")
            return
        self._pos = found + len(mark)

    def _names(self, text: bytes) -> None:
        match = _SET_NAMES.search(text)
        if match is None:
            return
        charset = match.group(1).decode("ascii", "replace").lower()
        if charset not in CHARSETS and charset != "default":
            raise FixInput(
                f"the dump is written in the character set {charset}, which this importer does not read.",
                way_out="Dump again with mysqldump --default-character-set=utf8mb4.",
            )
        self._at = replace(self._at, charset="utf8mb4" if charset == "default" else charset)

    def _insert(self) -> bool:
        while (match := _INSERT.match(self._buffer, self._pos)) is None:
            if len(self._buffer) - self._pos > CHUNK_BYTES or not self._fill():
                return False
        table = name_of(match["name"], self._at.database)
        listed = tuple(_bare(part) for part in re.findall(_NAME, match["columns"] or b""))
        columns = listed or self._at.schemas.get(table, ())
        self._pos = match.end()
        self._at = replace(self._at, table=table, columns=columns, offset=self._offset())
        return True

    def _plain(self) -> None:
        """Read a whole statement (they are small, save INSERT) and take from it what later rows need."""
        while True:
            ending: int | None = None
            for token in _TOKEN.finditer(self._buffer, self._pos):
                if token.lastgroup == "end":
                    ending = token.start()
                    break
                if token.lastgroup == "other" and token.group() in (b"'", b'"', b"`", b"/"):
                    if token.group() == b"/" and self._buffer[token.start() + 1 : token.start() + 2] != b"*":
                        continue
                    break
            if ending is not None:
                break
            if len(self._buffer) - self._pos > _STATEMENT_BYTES_MAX:
                raise FixInput(
                    f"the text at byte {self._offset()} is no SQL statement.",
                    way_out="Give a file that mysqldump wrote.",
                )
            if not self._fill():
                self._cut_off("ends inside a statement")
                return
        self.statements += 1
        statement = self._buffer[self._pos : ending]
        self._pos = ending + 1
        if (match := _CREATE.match(statement)) is not None:
            name = name_of(match["name"], self._at.database)
            self._at = replace(self._at, schemas={**self._at.schemas, name: columns_of(statement)})
        elif (match := _USE.match(statement)) is not None:
            self._at = replace(self._at, database=_bare(match.group(1)))
        elif statement[:3].upper() == b"SET":
            self._names(statement[:_HEAD_BYTES])

    def _body(self, wanted: frozenset[str]) -> Iterator[Block]:
        table = self._at.table
        assert table is not None
        exact = table.rpartition(".")[2] in wanted
        columns = self._at.columns or self._columns(table, exact)
        while True:
            if len(self._buffer) == self._pos and not self._fill():
                self._cut_off("ends between two rows", table)
                return
            self._skip_separators()
            rows = self._split(exact)
            offset = self._offset()
            if rows.terminator is not None:
                self._pos += rows.terminator + 1
                self._at = replace(self._at, table=None, columns=(), offset=self._offset())
            else:
                self._pos += rows.end
                self._at = replace(self._at, offset=self._offset())
            if rows.found:
                yield Block(table, columns, self._at.charset, offset, rows, self._at)
            if self._at.table is None:
                return
            if not self._fill() and not rows.found:
                where = (
                    "ends between two rows" if not self._buffer[self._pos :].strip(b", \r\n\t") else "ends inside a row"
                )
                self._cut_off(where, table)
                return
            if len(self._buffer) - self._pos > _STATEMENT_BYTES_MAX:
                raise FixInput(
                    f"{table}: the row at byte {self._offset()} is longer than {_STATEMENT_BYTES_MAX >> 20} MiB.",
                    way_out="Give a file that mysqldump wrote.",
                )

    def _pass_over(self, table: str) -> Block:
        """Find the end of an INSERT by its quotes alone, as fast as memory is read."""
        begun, quote = self._at, b""
        columns = begun.columns or self._columns(table, exact=True)
        while True:
            end, quote = statement_end(self._buffer, self._pos, quote)
            self._pos = end
            if not quote and self._buffer[end : end + 1] == b";":
                self._pos += 1
                break
            if not self._fill():
                self._cut_off("ends inside a row", table)
                break
        self._at = replace(self._at, table=None, columns=(), offset=self._offset())
        return Block(table, columns, begun.charset, begun.offset, NO_ROWS, self._at)

    def _skip_separators(self) -> None:
        text = self._buffer
        while self._pos < len(text) and text[self._pos] in b", \t\r\n":
            self._pos += 1

    def _split(self, exact: bool) -> Rows | Plain:
        likely = plain(self._buffer, self._pos) if exact else None
        if likely is not None:
            return likely
        # A dump of one row a statement must not be searched to the buffer's end for each of them.
        end = self._buffer.find(b";\n", self._pos)
        while end >= 0:
            rows = split(self._buffer[self._pos : end + 1], commas=exact)
            if rows.terminator is not None:
                return rows
            end = self._buffer.find(b";\n", end + 1)
        return split(self._buffer[self._pos :], commas=exact)

    def _columns(self, table: str, exact: bool) -> tuple[str, ...]:
        columns = self._at.schemas.get(table, ())
        if exact and not columns:
            raise FixInput(
                f"the dump has rows of {table} but neither its CREATE TABLE nor a list of columns.",
                way_out="Dump without --no-create-info, or with --complete-insert.",
            )
        return columns


def read_blocks(path: Path, wanted: frozenset[str], start: Position | None = None) -> Iterator[Block]:
    """Yield a dump's blocks (see `DumpReader.blocks`); for tests and benchmarks that need no more."""
    with Source(path, 0 if start is None else start.offset) as source:
        yield from DumpReader(source, start).blocks(wanted)
