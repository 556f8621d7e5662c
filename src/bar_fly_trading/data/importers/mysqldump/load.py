"""`bft import mysqldump`: one pass over the dump into staged files, then group by group into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bar_fly_trading.data.importers.mysqldump import bars, others
from bar_fly_trading.data.importers.mysqldump.reader import Block, CutOff, DumpReader
from bar_fly_trading.data.importers.mysqldump.source import Source, fingerprint
from bar_fly_trading.data.importers.mysqldump.space import check_space
from bar_fly_trading.data.importers.mysqldump.staging import Staging, State
from bar_fly_trading.data.importers.mysqldump.tables import OLD_TABLES, ROW, check_columns, typed
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.table_files import publish_table
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import BARS

CHECKPOINT_BYTES = 128 << 20
RUN_BYTES = 8 << 20
PENDING_ROWS_MAX = 400_000
GROUP_ROWS_MAX = 300_000
# Databases of the server itself, which --all-databases dumps too.
_SERVERS_OWN = frozenset({"mysql", "sys", "information_schema", "performance_schema"})
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class DumpReport:
    """What an import of a dump did: rows read and refused by table, bars by outcome, where the dump was cut off.

    `left_out`: rows of the old program's tables that are not stored; `refusals_file` None where nothing was refused.
    """

    version: str | None
    rows: dict[str, int]
    refused: dict[str, int]
    left_out: dict[str, int]
    bars_new: int
    bars_corrected: int
    bars_same: int
    refusals_file: Path | None
    cut: CutOff | None
    completed: bool
    resumed_at: int


def import_dump(
    path: Path,
    store: Store,
    calendar: Calendar,
    *,
    logs: Path,
    now_us: int,
    database: str | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> DumpReport:
    """Import the old program's tables from a `mysqldump` file (plain or gzip), in bounded memory, in one pass.

    Killed anywhere, the same call continues from its last checkpoint and ends with the same content. Rows are refused one by one,
    listed in `logs`. `database`: which of several to take; `progress(what, done, total)` in bytes of the file, then in
    groups of symbols; `say` gets one line before anything is written.
    FixInput where the file is no dump or another program's; FreeDisk where there is not room enough.
    """
    tell, shown = say or (lambda line: None), progress or (lambda what, done, total: None)
    parent = store.root.with_name("import-mysqldump")
    if not path.is_file():
        raise FixInput(f"{path} is no file.", way_out="Name the dump that mysqldump wrote.")
    mark = fingerprint(path)
    tell(check_space(path, store.root, OLD_TABLES))
    staging = Staging.open(parent, mark, path.stat().st_size, now_us)
    began_at = staging.state.position.offset
    if began_at:
        tell(f"an import of this dump was begun and stopped; it continues at byte {began_at}")
    if not staging.state.read:
        _read(path, staging, database, shown)
    loader = _Loader(staging, store, calendar, path.name, shown)
    loader.load()
    report = loader.report(_write_refusals(staging, logs), began_at)
    staging.remove()
    return report


def _read(path: Path, staging: Staging, database: str | None, progress: Progress) -> None:
    state = staging.state
    checked: set[str] = set()
    with Source(path, state.position.offset) as source:
        reader = DumpReader(source, state.position)
        since = state.position.offset
        for run in _runs(reader.blocks(frozenset(OLD_TABLES))):
            block, count = run[-1], sum(int(b.rows.opens.size) for b in run)
            owner, _, name = block.table.rpartition(".")
            known = name in OLD_TABLES and _ours(state, owner, name, database)
            if known:
                if block.table not in checked:
                    check_columns(OLD_TABLES[name], block.columns)
                    checked.add(block.table)
                good, refused = typed(run, OLD_TABLES[name], state.rows.get(name, 0) + 1)
                staging.add(name, good)
                staging.add("refusals", refused)
            counts = state.rows if known else state.others
            counts[name] = counts.get(name, 0) + count
            progress(f"reading {name}", source.read_bytes, source.total)
            if block.after.offset - since > CHECKPOINT_BYTES or staging.pending_rows > PENDING_ROWS_MAX:
                since = block.after.offset
                staging.checkpoint(block.after)
        state.read, state.completed, state.cut = True, reader.completed, reader.cut
        if not state.rows and not state.parts:
            staging.remove()
            _refuse(path, reader, sorted(state.others), database)
        staging.checkpoint(reader.position)


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
        size += block.rows.end
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


def _write_refusals(staging: Staging, logs: Path) -> Path | None:
    refused = staging.scan("refusals").collect()
    if refused.is_empty():
        return None
    target = logs / f"import-mysqldump-{staging.state.import_id}-refused.csv"
    publish_table(target, lambda temp: refused.sort("table", ROW, maintain_order=True).write_csv(temp))
    return target


class _Loader:
    """Publishes what is staged; each step's name stands in the store's sources, so a step is never done twice."""

    def __init__(self, staging: Staging, store: Store, calendar: Calendar, name: str, progress: Progress) -> None:
        self._staging, self._store, self._calendar, self._progress = staging, store, calendar, progress
        self._source = f"import mysqldump {name} {staging.state.import_id}"
        self._at_us = staging.state.began_us
        self._newest = calendar.newest_closed(self._at_us)
        versions = store.versions()
        self._done = {store.manifest(version).source for version in versions}

    def load(self) -> None:
        """Publish bars by groups of symbols, then the small tables, then option volumes by groups."""
        groups = self._groups("core_stock")
        listed, _ = others.once("stock_splits", self._staging.scan("stock_splits").collect())
        for number, symbols in enumerate(groups, 1):
            self._bars(f"bars {number} of {len(groups)}", symbols, listed)
            self._progress("storing bars", number, len(groups) + 2)
        self._small(listed)
        self._progress("storing tables", len(groups) + 1, len(groups) + 2)
        groups = self._groups("options_daily_summary")
        for number, symbols in enumerate(groups, 1):
            self._options(f"option volumes {number} of {len(groups)}", symbols)
        self._progress("stored", 1, 1)

    def report(self, refusals_file: Path | None, resumed_at: int) -> DumpReport:
        """Return what was done; of bars, over all runs of this import."""
        state = self._staging.state
        counts = state.outcome
        return DumpReport(
            version=self._store.current(),
            rows=dict(state.rows),
            refused=dict(self._staging.scan("refusals").group_by("table").len().sort("table").collect().iter_rows()),
            left_out=dict(state.others),
            bars_new=counts.get("new", 0),
            bars_corrected=counts.get("corrected", 0),
            bars_same=counts.get("same", 0),
            refusals_file=refusals_file,
            cut=state.cut,
            completed=state.completed,
            resumed_at=resumed_at,
        )

    def _groups(self, table: str) -> list[list[str]]:
        counts = self._staging.scan(table).group_by("symbol").len().collect(engine="streaming").sort("symbol")
        return bars.groups(list(counts.iter_rows()), GROUP_ROWS_MAX)

    def _is_done(self, step: str) -> bool:
        # Judged before it is published, so a step of this import that is in the store is in the state too.
        return step in self._staging.state.judged and f"{self._source} {step}" in self._done

    def _of(self, table: str, symbols: list[str]) -> pl.DataFrame:
        return self._staging.scan(table).filter(pl.col("symbol").is_in(symbols)).collect(engine="streaming").sort(ROW)

    def _bars(self, step: str, symbols: list[str], listed: pl.DataFrame) -> None:
        if self._is_done(step):
            return
        frame = self._of("core_stock", symbols)
        loaded = bars.load(frame, listed, self._store, self._stored_bars(symbols), self._calendar, self._newest)
        outcome = {"new": loaded.new, "corrected": loaded.corrected, "same": loaded.same}
        self._judge(step, loaded.refused, outcome)
        self._publish(step, loaded.additions)

    def _stored_bars(self, symbols: list[str]) -> pl.DataFrame:
        """Return the stored bars of some symbols; the store is read only where another import or a pull wrote bars."""
        current = self._store.current()
        segments = () if current is None else self._store.manifest(current).tables.get("bars", ())
        ours = {f"{self._source} {step}" for step in self._staging.state.judged}
        if all(segment.source in ours for segment in segments):
            return pl.DataFrame(schema=BARS.schema())
        instruments = {
            spell.instrument_id for spell in load_instruments(self._store).spells() if spell.symbol in set(symbols)
        }
        return self._store.read("bars").filter(pl.col("instrument_id").is_in(instruments))

    def _ids(self) -> dict[str, str]:
        return {spell.symbol: spell.instrument_id for spell in load_instruments(self._store).spells()}

    def _small(self, listed: pl.DataFrame) -> None:
        step = "small tables"
        if self._is_done(step):
            return
        ids, frames, refused = self._ids(), {}, []
        for name in ("company_overview", "quarterly_earnings", "stock_splits", "economic_indicators"):
            rows, repeats = others.once(name, self._staging.scan(name).collect())
            frames[name] = rows if name == "economic_indicators" else others.with_ids(rows, ids)
            refused.append(repeats)
        splits, bad = others.listed_splits(frames["stock_splits"], self._store, self._calendar, self._at_us)
        additions = {
            "overview": others.overview(frames["company_overview"], self._store, self._at_us),
            "sectors": others.sectors(frames["company_overview"], self._store, self._calendar),
            "earnings": others.earnings(frames["quarterly_earnings"], self._store, self._at_us),
            "macro_imported": others.macro(frames["economic_indicators"], self._store, self._at_us),
            "splits": splits,
        }
        self._judge(step, pl.concat([*refused, bad]), {})
        self._publish(step, additions)

    def _options(self, step: str, symbols: list[str]) -> None:
        if self._is_done(step):
            return
        rows, repeats = others.once("options_daily_summary", self._of("options_daily_summary", symbols))
        frame, bad = others.options_summary(
            others.with_ids(rows, self._ids()), self._store, self._calendar, self._newest
        )
        self._judge(step, pl.concat([repeats, bad]), {})
        self._publish(step, {"options_summary": frame})

    def _judge(self, step: str, refused: pl.DataFrame, outcome: dict[str, int]) -> None:
        """Keep a step's refusals and counts before it is published, once however often it is killed."""
        state = self._staging.state
        if step in state.judged:
            return
        self._staging.add("refusals", refused)
        for name, count in outcome.items():
            state.outcome[name] = state.outcome.get(name, 0) + count
        state.judged.append(step)
        self._staging.checkpoint(state.position)

    def _publish(self, step: str, additions: dict[str, pl.DataFrame]) -> None:
        self._store.publish(additions, source=f"{self._source} {step}", recorded_at_us=self._at_us)
