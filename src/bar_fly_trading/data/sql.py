"""SQL over any version of the store, exactly as it was: DuckDB reading the store's own Parquet segments, and nothing else.

Each table is a view of the newest row a key that was known by a time. Only one SELECT is run, in a database in memory that may
open the verified segments of the tables it names and no other file, loads no extension and spills nothing to the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from bar_fly_trading.data.manifest import Segment
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.tables import KNOWN_AT, RECORDED_AT, TABLES, Table

if TYPE_CHECKING:
    import duckdb

MEMORY_MIB = 2048
BATCH_ROWS = 10_000
_THREADS_MAX = 4
_TYPES: dict[pl.DataType, str] = {
    pl.String(): "VARCHAR",
    pl.Float64(): "DOUBLE",
    pl.Float32(): "REAL",
    pl.Int64(): "BIGINT",
    pl.Int32(): "INTEGER",
    pl.Int16(): "SMALLINT",
    pl.Int8(): "TINYINT",
    pl.Boolean(): "BOOLEAN",
    pl.Date(): "DATE",
}
_SECURE: dict[str, str | bool | int] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    "allow_community_extensions": False,
    "temp_directory": "",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a query: its columns, and its rows as they come, each read once."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def query(
    store: Store,
    sql: str,
    *,
    version: str | None = None,
    known_by_us: int | None = None,
    memory_mib: int = MEMORY_MIB,
) -> Iterator[Answer]:
    """Run one SELECT over a version (default: the current one) as it was known by a time (default: everything).

    Times in the tables are UTC microseconds, dates are dates. FixInput with DuckDB's reason for bad SQL, for anything but one
    SELECT, and where the answer needs more memory; StoreDamaged where a segment of a table it names fails its checksum.
    """
    import duckdb

    manifest = store.manifest(version)  # says what is wrong with the version before DuckDB is asked anything
    named = version if version is not None else store.current()
    threads = min(_THREADS_MAX, os.cpu_count() or 1)
    config: dict[str, str | bool | int | float | list[str]] = {
        **_SECURE,
        "memory_limit": f"{memory_mib}MiB",
        "threads": threads,
    }
    with _reasons(), duckdb.connect(":memory:", config=config) as connection:
        _check_one_select(connection, sql)
        wanted = _tables_of(sql)
        allowed: list[str] = []
        for name in wanted:
            segments = store.verified(name, named) if name in manifest.tables else ()
            allowed += [str(path) for path, _ in segments]
            connection.execute(_view(TABLES[name], segments, known_by_us))
        if allowed:
            connection.execute(f"SET allowed_paths = [{', '.join(map(_quoted, allowed))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        cursor = connection.execute(sql)
        columns = tuple(column[0] for column in cursor.description or ())
        yield Answer(columns, _rows(cursor))


def _rows(cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while batch := cursor.fetchmany(BATCH_ROWS):
        yield from batch


@contextmanager
def _reasons() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise FixInput(
            f"The query needs more memory than it may use: {_first_line(error)}",
            way_out="Ask for less at once (fewer columns, a WHERE, a LIMIT), or allow more with --memory-mib.",
        ) from error
    except duckdb.Error as error:
        raise FixInput(f"The SQL was refused: {_first_line(error)}", way_out="Correct it, and run it again.") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    hint = next((line for line in lines[1:] if line.startswith(("Candidate", "Did you mean"))), "")
    return f"{lines[0] if lines else type(error).__name__} {hint}".strip()


def _check_one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise FixInput(f"{len(statements)} SQL statements were given.", way_out="Write exactly one SELECT.")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise FixInput(
            f"The store is read, never written: {statements[0].type.name} is refused.", way_out="Write one SELECT."
        )


def _tables_of(sql: str) -> tuple[str, ...]:
    """Return the store's tables that a query names; all of them where it names none (SHOW TABLES, DESCRIBE)."""
    import duckdb

    # Binding asks table functions for their files already: this database may open nothing. Its tables are tables, because
    # of a view DuckDB names what is behind it.
    with duckdb.connect(":memory:", config={**_SECURE, "enable_external_access": False}) as bare:
        for table in TABLES.values():
            columns = ", ".join(f'"{name}" {_TYPES[kind]}' for name, kind in table.schema().items())
            bare.execute(f'CREATE TABLE "{table.name}" ({columns})')
        named = {name.lower() for name in bare.get_table_names(sql)}
    return tuple(name for name in TABLES if name in named) or tuple(TABLES)


def _view(table: Table, segments: tuple[tuple[Path, Segment], ...], known_by_us: int | None) -> str:
    # Every name is one of facts.tables, every path is quoted: nothing of the user's reaches this text.
    columns = ", ".join(f'"{name}"' for name in table.schema())
    if not segments:
        typed = ", ".join(f'CAST(NULL AS {_TYPES[kind]}) AS "{name}"' for name, kind in table.schema().items())
        return f'CREATE VIEW "{table.name}" AS SELECT {typed} WHERE false'
    known = "" if known_by_us is None else f" WHERE {KNOWN_AT} <= {int(known_by_us)}"
    if len(segments) == 1 and segments[0][1].distinct:
        return f'CREATE VIEW "{table.name}" AS SELECT {columns} FROM {_parquet(segments[0][0])}{known}'  # noqa: S608
    parts = " UNION ALL ".join(
        f"SELECT {columns}, {i} AS segment_, file_row_number AS row_ FROM {_parquet(path)}{known}"  # noqa: S608
        for i, (path, _) in enumerate(segments)
    )
    # The order of `Store.read`: what became known last, then what was recorded last, then the later row.
    newest = f"{KNOWN_AT} DESC, {RECORDED_AT} DESC, segment_ DESC, row_ DESC"
    keys = ", ".join(f'"{name}"' for name in table.key)
    last = f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {newest}) = 1"
    return f'CREATE VIEW "{table.name}" AS SELECT {columns} FROM ({parts}) {last}'  # noqa: S608


def _parquet(path: Path) -> str:
    return f"read_parquet({_quoted(str(path))}, file_row_number = true, hive_partitioning = false)"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
