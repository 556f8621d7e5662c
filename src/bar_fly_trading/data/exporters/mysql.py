"""`bft export mysql`: the older program's tables written from the store; rows are added and changed, never deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from bar_fly_trading.data.exporters.mysql_tables import LAYOUTS, OldLayout
from bar_fly_trading.data.importers.mysql.address import Address
from bar_fly_trading.data.importers.mysql.connection import Server, quoted, told
from bar_fly_trading.data.table_files import publish_table
from bar_fly_trading.errors import FixInput, Refused

BATCH_ROWS = 1_000
Progress = Callable[[str, int, int], None]
Row = tuple[Any, ...]


@dataclass(slots=True)
class TableCount:
    """What was done to one table: rows by outcome, and whether the table had to be made."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0
    created: bool = False


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did (or, dry, would do) by table; the list of refused rows, None where there are none."""

    tables: dict[str, TableCount]
    refusals_file: Path | None


@dataclass(slots=True)
class _Target:
    """One table as it is on the server: its columns with their types, the longest text of each where it has a limit."""

    columns: dict[str, str]
    lengths: dict[str, int]
    exists: bool = True
    refused: list[tuple[str, str, str]] = field(default_factory=list)


def export_mysql(
    address: Address,
    chunks: Iterable[tuple[str, pl.DataFrame]],
    *,
    refusals: Path,
    dry_run: bool = False,
    agreed: Callable[[str], bool] | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write chunks of rows (see `mysql_tables.chunks`) into a database, each chunk in one transaction.

    Missing tables are made. A row whose key is there is changed where a value differs (a null of ours changes nothing,
    and columns that are not known here stay), else added; no row is deleted. `agreed(question)` is asked first where the
    database holds rows already (None: nobody can be asked); `dry_run` counts and writes nothing. A row that does not fit
    (a symbol longer than the column) is refused with its reason, listed in `refusals`. Refused where the answer is no,
    FixInput where a table is not the older program's or its key is not unique, FixSettings and DoneLess as the import.
    """
    shown = progress or (lambda what, done, total: None)
    with Server(address, writing=not dry_run) as server:
        if dry_run:
            server.begin_snapshot()
        targets = {name: _target(server, layout) for name, layout in LAYOUTS.items()}
        if not dry_run:
            _ask_first(server, address, agreed)
        counts: dict[str, TableCount] = {}
        for name, frame in chunks:
            layout, target = LAYOUTS[name], targets[name]
            count = counts.setdefault(name, TableCount(created=not target.exists))
            if not target.exists and not dry_run:
                _create(server, layout)
                target.exists = True
            _write(server, layout, target, frame, count, dry_run=dry_run, progress=shown)
    lines = [(name, *line) for name, target in targets.items() for line in target.refused]
    if lines:
        listed = pl.DataFrame(lines, schema=["table", "what", "column", "reason"], orient="row")
        publish_table(refusals, listed.write_csv)
    return ExportReport(counts, refusals if lines else None)


def _target(server: Server, layout: OldLayout) -> _Target:
    found = server.ask(
        "SELECT column_name, data_type, character_maximum_length FROM information_schema.columns"
        " WHERE table_schema = DATABASE() AND table_name = %s ORDER BY ordinal_position",
        [layout.name],
    )
    if not found:
        lengths = {name: int(kind[8:-1]) for name, kind in layout.columns.items() if kind.startswith("VARCHAR")}
        return _Target(dict(layout.columns), lengths, exists=False)
    columns = {name: kind for name, kind, _ in found}
    missing = [name for name in layout.columns if name not in columns]
    if missing:
        raise FixInput(
            f"table {layout.name} of {server.address} lacks the columns {', '.join(missing)}. Nothing was written.",
            way_out="Export into an empty database, or add the columns.",
        )
    indexes = server.ask(
        "SELECT index_name, column_name FROM information_schema.statistics"
        " WHERE table_schema = DATABASE() AND table_name = %s AND non_unique = 0",
        [layout.name],
    )
    unique = [
        {column for name, column in indexes if name == index} for index in dict.fromkeys(row[0] for row in indexes)
    ]
    if set(layout.key) not in unique:
        key = ", ".join(layout.key)
        raise FixInput(
            f"table {layout.name} of {server.address} has no unique key ({key}). Nothing was written.",
            way_out=f"ALTER TABLE {layout.name} ADD PRIMARY KEY ({key}), or export into an empty database.",
        )
    lengths = {name: int(length) for name, kind, length in found if length and kind in ("varchar", "char")}
    return _Target(columns, lengths)


def _ask_first(server: Server, address: Address, agreed: Callable[[str], bool] | None) -> None:
    names = [name for name, _ in server.ask("SHOW FULL TABLES WHERE table_type = 'BASE TABLE'")]
    held = [name for name in names if server.ask(f"SELECT 1 FROM {quoted(name)} LIMIT 1")]  # noqa: S608
    if not held:
        return
    what = f"{address} holds rows already, in {', '.join(held[:8])}{' and others' if len(held) > 8 else ''}"
    question = f"{what}. Rows with the same key are changed, new ones added, none deleted. Go on?"
    if agreed is None or not agreed(question):
        raise Refused(f"{what}; nothing was written.", way_out="Look at --dry-run; say --yes to write into it.")


def _create(server: Server, layout: OldLayout) -> None:
    columns = [
        f"{quoted(name)} {kind}" + (" NOT NULL" if name in layout.key else "") for name, kind in layout.columns.items()
    ]
    key = ", ".join(quoted(name) for name in layout.key)
    server.ask(
        f"CREATE TABLE IF NOT EXISTS {quoted(layout.name)} ({', '.join(columns)}, PRIMARY KEY ({key}))"
        " DEFAULT CHARACTER SET utf8mb4"
    )


def _write(
    server: Server,
    layout: OldLayout,
    target: _Target,
    frame: pl.DataFrame,
    count: TableCount,
    *,
    dry_run: bool,
    progress: Progress,
) -> None:
    frame = _fitting(frame, layout, target, count)
    for first in range(0, frame.height, BATCH_ROWS):
        batch = frame.slice(first, BATCH_ROWS)
        stored = _stored(server, layout, batch) if target.exists else {}
        new, changed = _sorted(layout, batch, stored)
        count.inserted += len(new)
        count.updated += len(changed)
        count.unchanged += batch.height - len(new) - len(changed)
        if not dry_run:
            _send(server, layout, batch.columns, new + changed)
        progress(f"writing {layout.name}", min(first + BATCH_ROWS, frame.height), frame.height)
    if not dry_run:
        with told(server.address):
            server.connection.commit()


def _fitting(frame: pl.DataFrame, layout: OldLayout, target: _Target, count: TableCount) -> pl.DataFrame:
    """Return the rows that fit the table's columns, and note the others."""
    for name, length in target.lengths.items():
        if name not in frame.columns:
            continue
        longer = frame.filter(pl.col(name).str.len_chars() > length)
        reason = f"longer than the column's {length} characters"
        for row in longer.select(*layout.key, pl.col(name).alias("_value")).iter_rows():
            target.refused.append((" ".join(str(value) for value in row[:-1]), name, f"{row[-1]} is {reason}"))
        count.refused += longer.height
        frame = frame.filter((pl.col(name).str.len_chars() <= length).fill_null(value=True))
    return frame


def _stored(server: Server, layout: OldLayout, batch: pl.DataFrame) -> dict[Row, Row]:
    """Return the stored values of a batch's keys, in the batch's columns and types."""
    keys = batch.select(layout.key).rows()
    marks = ",".join([f"({','.join(['%s'] * len(layout.key))})"] * len(keys))
    names = ", ".join(quoted(name) for name in batch.columns)
    key = ", ".join(quoted(name) for name in layout.key)
    rows = server.ask(
        f"SELECT {names} FROM {quoted(layout.name)} WHERE ({key}) IN ({marks})",  # noqa: S608
        [_spelt(value) for row in keys for value in row],
    )
    read = [_reader(kind) for kind in batch.schema.values()]
    places = [batch.columns.index(name) for name in layout.key]
    found = {}
    for row in rows:
        values = tuple(None if text is None else reader(text) for reader, text in zip(read, row, strict=True))
        found[tuple(values[place] for place in places)] = values
    return found


def _spelt(value: object) -> object:
    return f"{value} 00:00:00" if isinstance(value, date) else value


def _reader(kind: pl.DataType) -> Callable[[str], Any]:
    if kind == pl.Date():
        return lambda text: date.fromisoformat(text[:10]) if text[:4] != "0000" else text
    if kind.is_float():
        return float
    return (lambda text: int(float(text))) if kind.is_integer() else str


def _sorted(layout: OldLayout, batch: pl.DataFrame, stored: Mapping[Row, Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows to add and the rows to change, each as it is to stand afterwards."""
    places = [batch.columns.index(name) for name in layout.key]
    filled = {batch.columns.index(name) for name in layout.filled if name in batch.columns}
    new: list[Row] = []
    changed: list[Row] = []
    for row in batch.iter_rows():
        old = stored.get(tuple(row[place] for place in places))
        if old is None:
            new.append(row)
            continue
        kept = tuple(
            theirs if ours is None or (place in filled and theirs is not None) else ours
            for place, (ours, theirs) in enumerate(zip(row, old, strict=True))
        )
        if kept != old:
            changed.append(kept)
    return new, changed


def _send(server: Server, layout: OldLayout, columns: list[str], rows: list[Row]) -> None:
    if not rows:
        return
    names = ", ".join(quoted(name) for name in columns)
    marks = ", ".join(["%s"] * len(columns))
    changes = ", ".join(f"{quoted(n)} = VALUES({quoted(n)})" for n in columns if n not in layout.key)
    sql = f"INSERT INTO {quoted(layout.name)} ({names}) VALUES ({marks}) ON DUPLICATE KEY UPDATE {changes}"  # noqa: S608
    with told(server.address), server.connection.cursor() as cursor:
        cursor.executemany(sql, rows)


def described(report: ExportReport, *, dry_run: bool) -> Iterator[str]:
    """Yield a line a table: rows added, changed, as they were, refused."""
    would = "would be " if dry_run else ""
    for name, count in report.tables.items():
        made = f" ({would}made)" if count.created else ""
        refused = f", {count.refused} refused" if count.refused else ""
        yield (
            f"{name}{made}: {count.inserted} rows {would}inserted, {count.updated} updated,"
            f" {count.unchanged} unchanged{refused}"
        )
