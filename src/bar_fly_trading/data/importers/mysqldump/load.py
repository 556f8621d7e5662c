"""`bft import mysqldump`: a pass over the dump into staged files and the store, and another one for the option chains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bar_fly_trading.data.importers.mysqldump.loader import Loader
from bar_fly_trading.data.importers.mysqldump.reader import CutOff
from bar_fly_trading.data.importers.mysqldump.reading import Progress, read_options, read_tables
from bar_fly_trading.data.importers.mysqldump.source import fingerprint
from bar_fly_trading.data.importers.mysqldump.space import check_space
from bar_fly_trading.data.importers.mysqldump.staging import Staging
from bar_fly_trading.data.importers.mysqldump.tables import OLD_TABLES, ROW, SMALL_TABLES
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.table_files import publish_table
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.sessions import Calendar


@dataclass(frozen=True, slots=True)
class DumpReport:
    """What an import of a dump did: rows read and refused by table, bars by outcome, where the dump was cut off.

    `left_out`: rows of tables that are not stored; `options_left_bytes` of the dump are option chains that were to be left
    out; `refusals_file` None where nothing was refused.
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
    options_left_bytes: int = 0


def import_dump(
    path: Path,
    store: Store,
    calendar: Calendar,
    *,
    logs: Path,
    now_us: int,
    database: str | None = None,
    options: bool = True,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> DumpReport:
    """Import the old program's tables from a `mysqldump` file (plain or gzip), in bounded memory.

    All tables but the option chains come first and are in the store before the first of these is read; `options` False
    leaves them out, a later call brings them. Killed anywhere, the same call continues from its last checkpoint and ends with the same content. Rows are refused one by one,
    listed in `logs`. `database`: which of several to take; `progress(what, done, total)` in bytes of the file, then in
    groups of symbols; `say` gets one line before anything is written.
    FixInput where the file is no dump or another program's; FreeDisk where there is not room enough.
    """
    tell, shown = say or (lambda line: None), progress or (lambda what, done, total: None)
    parent = store.root.with_name("import-mysqldump")
    if not path.is_file():
        raise FixInput(f"{path} is no file.", way_out="Name the dump that mysqldump wrote.")
    mark = fingerprint(path)
    tell(check_space(path, store.root, OLD_TABLES if options else SMALL_TABLES))
    staging = Staging.open(parent, mark, path.stat().st_size, now_us)
    began_at = staging.state.position.offset
    if began_at:
        tell(f"an import of this dump was begun and stopped; it continues at byte {began_at}")
    if not staging.state.read:
        read_tables(path, staging, database, shown)
    loader = Loader(staging, store, calendar, path.name, shown)
    loader.load()
    left = _options(path, staging, loader, database, shown, tell) if options else _options_bytes(staging)
    report = _report(staging, store, _write_refusals(staging, logs), began_at, left)
    staging.remove()
    return report


def _options_bytes(staging: Staging) -> int:
    at = staging.state.options_at
    return 0 if at is None else staging.state.options_end - at.offset


def _options(
    path: Path,
    staging: Staging,
    loader: Loader,
    database: str | None,
    progress: Progress,
    tell: Callable[[str], None],
) -> int:
    if staging.state.options_at is None:
        return 0
    if not staging.state.options_read:
        tell(
            f"prices and small tables are stored; {_options_bytes(staging) / 1e6:,.0f} MB of option chains follow (stopped,"
            " this command continues with them)"
        )
        read_options(path, staging, database, progress)
    loader.load_chains()
    return 0


def _report(staging: Staging, store: Store, refusals_file: Path | None, resumed_at: int, left: int) -> DumpReport:
    """Return what was done; of bars, over all runs of this import."""
    state, counts = staging.state, staging.state.outcome
    refused = staging.scan("refusals").group_by("table").len().sort("table").collect()
    return DumpReport(
        version=store.current(),
        rows=dict(state.rows),
        refused=dict(refused.iter_rows()),
        left_out=dict(state.others),
        bars_new=counts.get("new", 0),
        bars_corrected=counts.get("corrected", 0),
        bars_same=counts.get("same", 0),
        refusals_file=refusals_file,
        cut=state.cut,
        completed=state.completed,
        resumed_at=resumed_at,
        options_left_bytes=left,
    )


def _write_refusals(staging: Staging, logs: Path) -> Path | None:
    refused = staging.scan("refusals").collect()
    if refused.is_empty():
        return None
    target = logs / f"import-mysqldump-{staging.state.import_id}-refused.csv"
    publish_table(target, lambda temp: refused.sort("table", ROW, maintain_order=True).write_csv(temp))
    return target
