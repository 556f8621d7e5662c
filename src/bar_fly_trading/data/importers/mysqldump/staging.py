"""What a running import keeps on disk beside the store, so that a kill at any point costs a minute and no row.

`state.json` is written last: parts and refusals beyond what it counts are of a run that was killed, and are redone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from bar_fly_trading.data.importers.mysqldump.reader import CutOff, Position
from bar_fly_trading.data.importers.mysqldump.tables import OFFSET, OLD_TABLES, REFUSALS, ROW
from bar_fly_trading.data.table_files import publish_table
from bar_fly_trading.files import disk_refused, fsync_folder, make_folder, publish_bytes

_STATE_SCHEMA = 1
_GROUP_ROWS = 65_536
_DONE_SUFFIX = ".done"


@dataclass(slots=True)
class State:
    """How far an import is: the dump (fingerprint, bytes), when it began (UTC microseconds), where reading stands.

    `rows` read by bare table name, `others` of tables that are not staged; `parts` files a table; `read` True once the whole
    dump is staged, `cut` where it ended early; `judged` the steps whose refusals and `outcome` are counted.
    """

    dump: str
    dump_bytes: int
    began_us: int
    position: Position = field(default_factory=Position)
    rows: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    judged: list[str] = field(default_factory=list)
    outcome: dict[str, int] = field(default_factory=dict)
    database: str | None = None
    read: bool = False
    completed: bool = False
    cut: CutOff | None = None

    @property
    def import_id(self) -> str:
        """Return the name of this import in the store's sources."""
        return f"{self.dump}-{self.began_us}"


class Staging:
    """One import's folder: `TABLE-NUMBER.parquet`, `refusals-NUMBER.parquet` and `state.json`."""

    def __init__(self, folder: Path, state: State) -> None:
        """Take the folder and the state it stands at."""
        self.folder = folder
        self.state = state
        self._pending: dict[str, list[pl.DataFrame]] = {}
        self.pending_rows = 0

    @classmethod
    def open(cls, parent: Path, dump: str, dump_bytes: int, now_us: int) -> Staging:
        """Continue the import of this dump where one was begun, begin it otherwise."""
        folder = parent / dump
        make_folder(folder)
        for left in parent.glob(f"*{_DONE_SUFFIX}"):
            shutil.rmtree(left, ignore_errors=True)
        found = _load(folder / "state.json")
        if found is None or (found.dump, found.dump_bytes) != (dump, dump_bytes):
            found = State(dump, dump_bytes, now_us)
        return cls(folder, found)

    def add(self, name: str, frame: pl.DataFrame) -> None:
        """Keep rows of a table (or `refusals`) until the next checkpoint."""
        if frame.height:
            self._pending.setdefault(name, []).append(frame)
            self.pending_rows += frame.height

    def checkpoint(self, position: Position) -> None:
        """Write what is pending, then the state that counts it."""
        for name, frames in sorted(self._pending.items()):
            number = self.state.parts.get(name, 0)
            write = partial(pl.concat(frames).write_parquet, compression="zstd", row_group_size=_GROUP_ROWS)
            publish_table(self.folder / f"{name}-{number:06d}.parquet", write)
            self.state.parts[name] = number + 1
        self._pending.clear()
        self.pending_rows = 0
        self.state.position = position
        content = json.dumps({"schema": _STATE_SCHEMA, **asdict(self.state)}, indent=1)
        publish_bytes(self.folder / "state.json", content.encode("utf-8", "surrogateescape"))

    def scan(self, name: str) -> pl.LazyFrame:
        """Return a table's staged rows (or the refusals) in the dump's order."""
        paths = [self.folder / f"{name}-{i:06d}.parquet" for i in range(self.state.parts.get(name, 0))]
        if paths:
            return pl.scan_parquet(paths, low_memory=True)
        if name == "refusals":
            return pl.LazyFrame(schema=REFUSALS)
        return pl.LazyFrame(schema={**OLD_TABLES[name].columns, ROW: pl.Int64(), OFFSET: pl.Int64()})

    def remove(self) -> None:
        """Remove the folder: the import is in the store. A kill leaves it whole or without its name, never half of it."""
        done = self.folder.with_name(f"{self.folder.name}{_DONE_SUFFIX}")
        shutil.rmtree(done, ignore_errors=True)
        try:
            self.folder.rename(done)
            fsync_folder(done.parent)
        except OSError as error:
            raise disk_refused(self.folder, error) from error
        shutil.rmtree(done, ignore_errors=True)


def _load(path: Path) -> State | None:
    try:
        body: Mapping[str, object] = json.loads(path.read_text("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        return None
    if body.get("schema") != _STATE_SCHEMA:
        return None
    values = {name: value for name, value in body.items() if name != "schema"}
    state = State(**values)  # type: ignore[arg-type]
    position: dict[str, object] = dict(values["position"])  # type: ignore[call-overload]
    position["columns"] = tuple(position["columns"])  # type: ignore[arg-type]
    position["schemas"] = {k: tuple(v) for k, v in position["schemas"].items()}  # type: ignore[attr-defined]
    state.position = Position(**position)  # type: ignore[arg-type]
    state.cut = None if state.cut is None else CutOff(**values["cut"])  # type: ignore[arg-type]
    return state
