"""Tables of a server written down in the form of a dump, so that one importer judges what comes either way.

The server itself writes each row's literals: a row is one text to read here, and its numbers are spelt as mysqldump does.
Killed, reading goes on behind the last row kept, by its key; a table without a key is read anew from its first row.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bar_fly_trading.data.importers.mysql.connection import Server, ServerTable, quoted
from bar_fly_trading.data.importers.mysql.state import Reading
from bar_fly_trading.data.importers.mysqldump.literals import parse_row
from bar_fly_trading.errors import FixInput
from bar_fly_trading.files import disk_refused

_NUMBERS = frozenset(
    {"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "bit", "year", "boolean"}
)
_HEAD = b"-- Written by bft import mysql in the form of mysqldump\n/*!40101 SET NAMES utf8mb4 */;\n"
_TAIL = b"-- Dump completed\n"


@dataclass(frozen=True, slots=True)
class Part:
    """What of a table one file holds: all of it, or the rows whose `column` lies in [`since`, `until`); None: open."""

    table: str
    column: str | None = None
    since: str | None = None
    until: str | None = None


def literal(name: str, kind: str) -> str:
    """Return SQL that writes a column's value as mysqldump does: NULL, a bare number, or a quoted text."""
    column = quoted(name)
    return f"IFNULL({column},'NULL')" if kind in _NUMBERS else f"CONVERT(QUOTE({column}) USING utf8mb4)"


def after(key: Sequence[str], last: Sequence[str]) -> tuple[str, list[str]]:
    """Return the condition of rows behind a key, in a form whose first column is a range of the index, and its values."""
    sql, values = "", list[str]()
    for name, value in zip(reversed(key), reversed(last), strict=True):
        column = quoted(name)
        sql = f"({column} >= %s AND ({column} > %s OR {sql}))" if sql else f"({column} > %s)"
        values = [value, value, *values] if values else [value]
    return sql, values


def statement(
    part: Part, table: ServerTable, columns: Mapping[str, str], last: Sequence[str] | None
) -> tuple[str, list[str]]:
    """Return the SELECT of a part's rows, each one text `(literal,...)`, behind the key `last` where given."""
    texts = ",',',".join(literal(name, kind) for name, kind in columns.items())
    conditions: list[str] = []
    values: list[str] = []
    if part.column is not None and part.since is not None:
        conditions.append(f"{quoted(part.column)} >= %s")
        values.append(part.since)
    if part.column is not None and part.until is not None:
        column = quoted(part.column)
        open_below = f" OR {column} IS NULL" if part.since is None else ""
        conditions.append(f"({column} < %s{open_below})")
        values.append(part.until)
    if last is not None:
        condition, more = after(table.key, last)
        conditions.append(condition)
        values += more
    # Server-side text only: names come from information_schema, values travel as parameters.
    sql = f"SELECT CONCAT('(',{texts},')') FROM {quoted(table.name)}"  # noqa: S608
    if conditions:
        sql += f" WHERE {' AND '.join(conditions)}"
    if part.column is None and table.key:
        sql += f" ORDER BY {', '.join(quoted(name) for name in table.key)}"
    return sql, values


class Spool:
    """One file in the form of a dump, written behind a checkpoint; a context manager."""

    def __init__(
        self, path: Path, reading: Reading, keep: Callable[[], None], batch_rows: int, checkpoint_bytes: int
    ) -> None:
        """Take the file, how far its reading is, and what keeps that on disk; what stands behind it is cut off."""
        self.reading, self._keep = reading, keep
        self._batch_rows, self._checkpoint_bytes = batch_rows, checkpoint_bytes
        self._path = path
        try:
            self._file = path.open("r+b" if path.exists() else "w+b")
            self._file.truncate(reading.bytes)
            self._file.seek(reading.bytes)
        except OSError as error:
            raise disk_refused(path, error) from error

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise disk_refused(self._path, error) from error

    def _checkpoint(self, last: Sequence[str] | None = None) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise disk_refused(self._path, error) from error
        self.reading.bytes = self._file.tell()
        self.reading.last = None if last is None else list(last)
        self._keep()

    def read(
        self,
        server: Server,
        part: Part,
        table: ServerTable,
        columns: Mapping[str, str],
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Write a part's rows, from where its reading stands; `columns`: those to read, with their types."""
        reading = self.reading
        if reading.table != part.table:
            reading.table, reading.last, reading.table_rows = part.table, None, 0
            if not reading.bytes:
                self._write(_HEAD)
            self._checkpoint()
        names = list(columns)
        key = table.key if part.column is None else ()
        places = [names.index(name) for name in key]
        head = f"INSERT INTO {quoted(table.name)} ({','.join(map(quoted, names))}) VALUES\n".encode()
        sql, values = statement(part, table, columns, reading.last)
        since = reading.bytes
        for batch in server.stream(sql, values, self._batch_rows):
            rows = _rows(batch, table.name)
            self._write(b"".join((head, ",\n".join(rows).encode(), b";\n")))
            reading.table_rows += len(rows)
            progress(f"reading {table.name}", reading.table_rows, max(table.rows, reading.table_rows))
            if key and self._file.tell() - since > self._checkpoint_bytes:
                since = self._file.tell()
                self._checkpoint(_key_of(rows[-1], places))
        reading.rows[table.name] = reading.table_rows
        reading.done.append(part.table)
        reading.table = None
        self._checkpoint()

    def complete(self) -> None:
        """Write the last line: everything asked for is in the file."""
        self._write(_TAIL if self.reading.bytes else _HEAD + _TAIL)
        self.reading.complete = True
        self._checkpoint()


def _rows(batch: Sequence[tuple[Any, ...]], table: str) -> list[str]:
    rows = [row for (row,) in batch]
    if None in rows:
        raise FixInput(
            f"the server gives a row of {table} as NULL: it is longer than its max_allowed_packet.",
            way_out="Raise max_allowed_packet on the server.",
        )
    return rows


def _key_of(row: str, places: Sequence[int]) -> list[str] | None:
    values = parse_row(row.encode(), "utf8mb4")
    key = [values[place] for place in places]
    return None if None in key else [str(value) for value in key]


def months(first: str, last: str, step: int) -> Iterator[tuple[str | None, str | None]]:
    """Yield ranges of `step` months that cover every date from `first` to `last` (ISO), the outermost open."""
    year, month = int(first[:4]), int(first[5:7])
    bounds: list[str] = []
    while True:
        month += step
        year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
        bound = f"{year:04d}-{month:02d}-01"
        if bound > last:
            break
        bounds.append(bound)
    edges: list[str | None] = [None, *bounds, None]
    yield from pairwise(edges)
