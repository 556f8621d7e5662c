"""`bft import mysql`: the older program's database from its server, through the importer of dumps."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bar_fly_trading.data.importers.mysql import state as states
from bar_fly_trading.data.importers.mysql.address import Address
from bar_fly_trading.data.importers.mysql.connection import Server, ServerTable, quoted
from bar_fly_trading.data.importers.mysql.spool import Part, Spool, months
from bar_fly_trading.data.importers.mysqldump import DumpReport, import_dump
from bar_fly_trading.data.importers.mysqldump.tables import OLD_TABLES
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.table_files import publish_table
from bar_fly_trading.errors import FixInput, FreeDisk
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.files import make_folder

OPTIONS, INDICATORS = "historical_options", "technical_indicators"
# The file in the dump's form beside the server's own bytes, and what of it stays as staged and stored Parquet.
_TEXT_SHARE, _KEPT_SHARE, _FIXED_BYTES = 1.3, 0.55, 64 << 20
Progress = Callable[[str, int, int], None]


def _free_bytes(place: Path) -> int:
    return shutil.disk_usage(place).free


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is read at a time: rows held in memory, bytes between two checkpoints, option rows a file; what disk is free."""

    batch_rows: int = 5_000
    checkpoint_bytes: int = 32 << 20
    unit_rows: int = 5_000_000
    free_bytes: Callable[[Path], int] = _free_bytes


BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What an import from a server did: rows read and refused by table, bars by outcome, over all runs of this import.

    `left_out`: tables of the old program that are there and not read, with the server's estimate of their rows.
    """

    version: str | None
    rows: dict[str, int]
    refused: dict[str, int]
    left_out: dict[str, int]
    bars_new: int
    bars_corrected: int
    bars_same: int
    refusals_file: Path | None
    resumed: bool


def import_server(
    address: Address,
    store: Store,
    calendar: Calendar,
    *,
    logs: Path,
    now_us: int,
    options: bool = True,
    bounds: Bounds = BOUNDS,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> ServerReport:
    """Import the old program's tables from a running server, in bounded memory, reading one snapshot and writing nothing.

    Small tables first and into the store at once, then `historical_options` month by month where an index leads with its
    date, else in one go. Stopped anywhere, the same call continues, by key or month, from a snapshot of its own, and
    ends with the same content where the database did not change. `options` False leaves the option rows out.
    FixSettings where the server says no, FixInput where the database is another program's, FreeDisk where there is not
    room enough (said before anything is read), DoneLess where the server goes away.
    """
    tell, shown = say or (lambda line: None), progress or (lambda what, done, total: None)
    folder = store.root.with_name("import-mysql") / address.mark
    with Server(address) as server:
        server.begin_snapshot()
        found = server.tables([*OLD_TABLES, OPTIONS, INDICATORS])
        reads = {name: _columns(found[name]) for name in OLD_TABLES if name in found and (options or name != OPTIONS)}
        if not reads:
            raise FixInput(
                f"{address} holds no table of the older program. Nothing was imported.",
                way_out="Name its database at the end of the URL, as in mysql://USER@HOST/bar_fly_trading.",
            )
        state = states.load(folder)
        resumed = state is not None
        if state is None:
            state = states.State(now_us, units=_units(server, found, reads, bounds.unit_rows))
        tell(_check_space(address, state, found, store.root, bounds))
        if resumed:
            tell("an import from this server was begun and stopped; it continues where it was")
        run = _Run(server, state, folder, found, reads, store, calendar, logs, bounds, shown)
        run.all(address)
    left_out = {name: found[name].rows for name in (OPTIONS, INDICATORS) if name in found and name not in reads}
    return run.report(left_out, resumed, logs / f"import-mysql-{address.mark}-{state.began_us}-refused.csv")


def _columns(table: ServerTable) -> dict[str, str]:
    """Return the columns to read with their types: the old program's, and those of the key to go on from."""
    old = OLD_TABLES[table.name]
    missing = [name for name in old.required if name not in table.columns]
    if missing:
        raise FixInput(
            f"table {table.name} of the server lacks the columns {', '.join(missing)}: it is another program's.",
            way_out="Name the older program's database at the end of the URL.",
        )
    wanted = [*(name for name in old.columns if name in table.columns), *table.key]
    return {name: table.columns[name] for name in dict.fromkeys(wanted)}


def _units(
    server: Server, found: Mapping[str, ServerTable], reads: Mapping[str, Mapping[str, str]], unit_rows: int
) -> list[list[list[str | None]]]:
    """Return what each file is to hold: first all tables but the options, smallest first, then options by months."""
    small = sorted((name for name in reads if name != OPTIONS), key=lambda name: (found[name].bytes, name))
    units: list[list[list[str | None]]] = [[[name, None, None, None] for name in small]] if small else []
    if OPTIONS not in reads:
        return units
    table = found[OPTIONS]
    if "date" not in table.leading:
        return [*units, [[OPTIONS, None, None, None]]]
    first, last = server.ask(f"SELECT MIN(date), MAX(date) FROM {quoted(OPTIONS)} WHERE date > '1990-01-01'")[0]  # noqa: S608
    if first is None:
        return [*units, [[OPTIONS, None, None, None]]]
    count = max(1, len(list(months(first, last, 1))))
    step = max(1, unit_rows * count // max(table.rows, 1))
    return [*units, *([[OPTIONS, "date", since, until]] for since, until in months(first, last, step))]


def _check_space(
    address: Address, state: states.State, found: Mapping[str, ServerTable], root: Path, bounds: Bounds
) -> str:
    sizes = [sum(found[str(part[0])].bytes for part in unit if part[0] in found) for unit in state.units]
    ranged = sum(1 for unit in state.units for part in unit if part[1] is not None)
    texts = [
        size / ranged if ranged and unit[0][1] is not None else size
        for size, unit in zip(sizes, state.units, strict=True)
    ]
    left = slice(state.finished, None)
    needed = _FIXED_BYTES + round(
        max(texts[left], default=0) * _TEXT_SHARE + sum(texts[left]) * _TEXT_SHARE * _KEPT_SHARE
    )
    place = next(path for path in (root, *root.parents) if path.exists())
    free = bounds.free_bytes(place)
    line = f"{address}: the import needs up to {_mib(needed)} in {place}, {_mib(free)} are free"
    if free < needed:
        raise FreeDisk(f"{line}. Nothing was imported.", way_out="Free disk space, or name another home with --home.")
    return line


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MiB"


@dataclass(slots=True)
class _Run:
    server: Server
    state: states.State
    folder: Path
    found: Mapping[str, ServerTable]
    reads: Mapping[str, Mapping[str, str]]
    store: Store
    calendar: Calendar
    logs: Path
    bounds: Bounds
    progress: Progress

    def all(self, address: Address) -> None:
        """Read and import every file that is not in the store yet."""
        self._keep()
        while self.state.finished < len(self.state.units):
            number = self.state.finished
            # The file's name stands in the store's sources.
            path = self.folder / f"{address.database}-{number:04d}.sql"
            if not self.state.reading.complete:
                self._read(path, self.state.units[number])
            self._import(path)
            path.unlink(missing_ok=True)

    def _keep(self) -> None:
        states.keep(self.folder, self.state)

    def _read(self, path: Path, unit: list[list[str | None]]) -> None:
        make_folder(self.folder)
        parts = [Part(str(table), column, since, until) for table, column, since, until in unit]
        with Spool(path, self.state.reading, self._keep, self.bounds.batch_rows, self.bounds.checkpoint_bytes) as spool:
            for part in parts:
                if part.table in self.reads and part.table not in self.state.reading.done:
                    spool.read(self.server, part, self.found[part.table], self.reads[part.table], self.progress)
            spool.complete()

    def _import(self, path: Path) -> None:
        read = {table: rows for table, rows in self.state.reading.rows.items() if rows}
        if read:
            report = import_dump(
                path, self.store, self.calendar, logs=self.logs, now_us=self.state.began_us, progress=self.progress
            )
            self._count(report)
        for table in self.state.reading.rows:
            self.state.outcome.rows.setdefault(table, 0)
        self.state.finished += 1
        self.state.reading = states.Reading()
        self._keep()

    def _count(self, report: DumpReport) -> None:
        outcome = self.state.outcome
        for counts, more in ((outcome.rows, report.rows), (outcome.refused, report.refused)):
            for table, rows in more.items():
                counts[table] = counts.get(table, 0) + rows
        outcome.bars_new += report.bars_new
        outcome.bars_corrected += report.bars_corrected
        outcome.bars_same += report.bars_same
        if report.refusals_file is not None:
            outcome.refusal_files.append(str(report.refusals_file))

    def report(self, left_out: dict[str, int], resumed: bool, refusals: Path) -> ServerReport:
        """Write the one list of refused rows, forget the import, and return what it did."""
        outcome = self.state.outcome
        files = [Path(name) for name in outcome.refusal_files if Path(name).exists()]
        if files:
            rows = pl.concat([pl.read_csv(file, infer_schema=False) for file in files])
            # An offset into a file that is gone says nothing to anybody.
            publish_table(refusals, rows.drop("offset", strict=False).write_csv)
        states.remove(self.folder)
        for file in files:
            file.unlink(missing_ok=True)
        return ServerReport(
            version=self.store.current(),
            rows=dict(outcome.rows),
            refused=dict(outcome.refused),
            left_out=left_out,
            bars_new=outcome.bars_new,
            bars_corrected=outcome.bars_corrected,
            bars_same=outcome.bars_same,
            refusals_file=refusals if files else None,
            resumed=resumed,
        )
