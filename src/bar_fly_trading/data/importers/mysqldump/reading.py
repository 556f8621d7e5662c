"""The passes over a dump into staged files: first all tables but the option chains, then these."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from bar_fly_trading.data.importers.mysqldump.ahead import ahead
from bar_fly_trading.data.importers.mysqldump.blocks import Rows
from bar_fly_trading.data.importers.mysqldump.reader import Block, DumpReader
from bar_fly_trading.data.importers.mysqldump.source import Source
from bar_fly_trading.data.importers.mysqldump.staging import Staging, State
from bar_fly_trading.data.importers.mysqldump.tables import OLD_TABLES, OPTIONS, SMALL_TABLES, check_columns, typed
from bar_fly_trading.errors import FixInput

CHECKPOINT_BYTES = 128 << 20
RUN_BYTES = 8 << 20
PENDING_ROWS_MAX = 400_000
# Databases of the server itself, which --all-databases dumps too.
_SERVERS_OWN = frozenset({"mysql", "sys", "information_schema", "performance_schema"})
_MB = 1_000_000
Progress = Callable[[str, int, int], None]


class Pace:
    """How far a pass is and how fast, in words: rows, MB of MB, MB/s, what remains."""

    def __init__(self, progress: Progress, seconds: Callable[[], float] = time.monotonic) -> None:
        """Take who is told, and a clock for the pace."""
        self._progress, self._seconds = progress, seconds
        self._began: tuple[float, int] | None = None

    def tell(self, table: str, rows: int, done: int, total: int) -> None:
        """Tell that of `total` bytes `done` are read, and how many rows of the table being read."""
        now = self._seconds()
        if self._began is None:
            self._began = (now, done)
        elapsed, read = now - self._began[0], done - self._began[1]
        pace = read / elapsed if elapsed > 0 else 0.0
        counted = f" {rows:,} rows," if rows else ""
        words = f"reading {table}:{counted} {done // _MB:,} of {total // _MB:,} MB"
        if pace > 0:
            left = round((total - done) / pace)
            words += f", {pace / _MB:.0f} MB/s, {left // 60}:{left % 60:02d} left"
        self._progress(words, done, total)


def read_tables(path: Path, staging: Staging, database: str | None, progress: Progress) -> None:
    """Stage every table of the old program but the option chains, of which only the place is found.

    FixInput where the dump holds no row of the old program's tables, or a table of another's.
    """
    state = staging.state
    checked: set[str] = set()
    pace = Pace(progress)
    with Source(path, state.position.offset) as source:
        reader = DumpReader(source, state.position)
        since = state.position.offset
        with closing(ahead(_runs(reader.blocks(SMALL_TABLES, frozenset({OPTIONS}))))) as runs:
            for run in runs:
                block = run[-1]
                owner, _, name = block.table.rpartition(".")
                if name in OLD_TABLES and _ours(state, owner, name, database):
                    if block.table not in checked:
                        check_columns(OLD_TABLES[name], block.columns)
                        checked.add(block.table)
                    _note_options(state, run) if name == OPTIONS else _stage(staging, name, run)
                elif name != OPTIONS:
                    counted = sum(b.rows.opens.size for b in run if isinstance(b.rows, Rows))
                    state.others[name] = state.others.get(name, 0) + counted
                pace.tell(name, state.rows.get(name, 0), source.read_bytes, source.total)
                if block.after.offset - since > CHECKPOINT_BYTES or staging.pending_rows > PENDING_ROWS_MAX:
                    since = block.after.offset
                    staging.checkpoint(block.after)
        state.read, state.completed, state.cut = True, reader.completed, reader.cut
        if not state.rows and not state.parts and state.options_at is None:
            staging.remove()
            _refuse(path, reader, sorted(state.others), database)
        staging.checkpoint(reader.position if state.options_at is None else state.options_at)


def read_options(path: Path, staging: Staging, database: str | None, progress: Progress) -> None:
    """Stage the option chains, from where `read_tables` found them to where they end."""
    state = staging.state
    pace = Pace(progress)
    with Source(path, state.position.offset) as source:
        reader = DumpReader(source, state.position)
        since = state.position.offset
        with closing(ahead(_runs(reader.blocks(frozenset({OPTIONS}))))) as runs:
            for run in runs:
                block = run[-1]
                owner, _, name = block.table.rpartition(".")
                if name == OPTIONS and _ours(state, owner, name, database):
                    _stage(staging, name, run)
                    pace.tell(name, state.rows[name], source.read_bytes, source.total)
                if block.after.offset >= state.options_end:
                    break
                if block.after.offset - since > CHECKPOINT_BYTES or staging.pending_rows > PENDING_ROWS_MAX:
                    since = block.after.offset
                    staging.checkpoint(block.after)
        if reader.cut is not None:
            state.cut = reader.cut
        state.options_read = True
        staging.checkpoint(reader.position)


def _stage(staging: Staging, name: str, run: list[Block]) -> None:
    rows = staging.state.rows
    good, refused = typed(run, OLD_TABLES[name], rows.get(name, 0) + 1)
    staging.add(name, good)
    staging.add("refusals", refused)
    rows[name] = rows.get(name, 0) + good.height + refused.height


def _note_options(state: State, run: list[Block]) -> None:
    first = run[0]
    if state.options_at is None:
        state.options_at = replace(first.after, offset=first.offset, table=first.table, columns=first.columns)
    state.options_end = run[-1].after.offset


def _runs(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Put blocks of one table and shape together, up to RUN_BYTES of them: small INSERTs cost as little as large ones."""
    run: list[Block] = []
    size = 0
    for block in blocks:
        shape = (block.table, block.columns, block.charset)
        if run and (size > RUN_BYTES or shape != (run[0].table, run[0].columns, run[0].charset)):
            yield run
            run, size = [], 0
        run.append(block)
        size += block.after.offset - block.offset
    if run:
        yield run


def _ours(state: State, owner: str, name: str, database: str | None) -> bool:
    """Tell whether a table of the old program's name is of the database to import; FixInput where two could be."""
    if database is not None and owner:
        return owner == database
    if owner in _SERVERS_OWN:
        return False
    if state.database is None:
        state.database = owner
    if state.database != owner:
        raise FixInput(
            f"the dump has {name} in two databases, {state.database} and {owner}.",
            way_out=f"Name the one to import: --database {owner}.",
        )
    return True


def _refuse(path: Path, reader: DumpReader, tables: list[str], database: str | None) -> None:
    if reader.cut is not None and not tables:
        what = f"it {reader.cut.reason} at byte {reader.cut.offset}, before any row"
    elif tables:
        shown = ", ".join(tables[:10]) + (f" and {len(tables) - 10} more" if len(tables) > 10 else "")
        what = f"it holds the tables {shown}" + (f", none in database {database}" if database else "")
    else:
        what = "no row of any table was found in it"
    raise FixInput(
        f"{path} holds no table of the old program with rows: {what}. Nothing was imported.",
        way_out=f"Give a dump of the database bar_fly_trading (tables {', '.join(OLD_TABLES)}).",
    )
