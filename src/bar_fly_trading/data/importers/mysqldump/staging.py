"""What a running import keeps on disk beside the store, so that a kill at any point costs a minute and no row.

`state.json` is written last: parts and refusals beyond what it counts are of a run that was killed, and are redone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from bar_fly_trading.data.importers.mysqldump.reader import CutOff, Position
from bar_fly_trading.data.importers.mysqldump.tables import OFFSET, OLD_TABLES, OPTIONS, REFUSALS, ROW
from bar_fly_trading.data.table_files import publish_table
from bar_fly_trading.files import disk_refused, fsync_folder, make_folder, publish_bytes

_STATE_SCHEMA = 2
# Small, so that one group of symbols is read without decoding much of the others.
_GROUP_ROWS = 16_384
_DONE_SUFFIX = ".done"


@dataclass(slots=True)
class State:
    """How far an import is: the dump (fingerprint, bytes), when it began (UTC microseconds), where reading stands.

    `rows` read by bare table name, `others` of tables that are not staged; `parts` files a table; `read` True once all of the
    dump but the option chains is staged, whose rows begin at `options_at` and end at `options_end`; `options_read` True once
    they are too. `cut`: where the dump ended early; `judged` the steps whose refusals and `outcome` are counted.
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
    options_at: Position | None = None
    options_end: int = 0
    options_read: bool = False
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
        self._spans: dict[str, tuple[str, str]] = {}
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[None] | None = None

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
        """Write what is pending, then the state that counts it, in a thread of its own: reading goes on meanwhile."""
        self.settle()
        pending = sorted(self._pending.items())
        parts: list[tuple[str, int, list[pl.DataFrame]]] = []
        for name, frames in pending:
            number = self.state.parts.get(name, 0)
            parts.append((name, number, frames))
            self.state.parts[name] = number + 1
        self._pending, self.pending_rows = {}, 0
        self.state.position = position
        content = json.dumps({"schema": _STATE_SCHEMA, **asdict(self.state)}, indent=1)
        self._writing = self._writer.submit(self._write, parts, content.encode("utf-8", "surrogateescape"))

    def _write(self, parts: list[tuple[str, int, list[pl.DataFrame]]], state: bytes) -> None:
        while parts:
            name, number, frames = parts.pop()
            path = self.folder / f"{name}-{number:06d}.parquet"
            rows = _ordered(name, pl.concat(frames))
            write = partial(rows.write_parquet, compression="zstd", compression_level=1, row_group_size=_GROUP_ROWS)
            publish_table(path, write)
        publish_bytes(self.folder / "state.json", state)

    def settle(self) -> None:
        """Wait until the last checkpoint is on disk; what writing it raised is raised here."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def scan(self, name: str, first: str = "", last: str = "\U0010ffff") -> pl.LazyFrame:
        """Return a table's staged rows (or the refusals), part by part; with `first` and `last` of the symbols between."""
        self.settle()
        paths = [self.folder / f"{name}-{i:06d}.parquet" for i in range(self.state.parts.get(name, 0))]
        if first:
            paths = [path for path in paths if self._span(path)[0] <= last and self._span(path)[1] >= first]
        if paths and first:
            return pl.scan_parquet(paths, low_memory=True).filter(
                pl.col("symbol").is_between(pl.lit(first), pl.lit(last))
            )
        if paths:
            return pl.scan_parquet(paths, low_memory=True)
        if name == "refusals":
            return pl.LazyFrame(schema=REFUSALS)
        return pl.LazyFrame(schema={**OLD_TABLES[name].columns, ROW: pl.Int64(), OFFSET: pl.Int64()})

    def _span(self, path: Path) -> tuple[str, str]:
        """Return the first and last symbol of a part: parts are many, and a real dump's are of few symbols each."""
        if path.name not in self._spans:
            symbol = pl.col("symbol")
            found = pl.scan_parquet(path).select(symbol.min().alias("a"), symbol.max().alias("b")).collect()
            self._spans[path.name] = (str(found["a"][0]), str(found["b"][0]))
        return self._spans[path.name]

    def remove(self) -> None:
        """Remove the folder: the import is in the store. A kill leaves it whole or without its name, never half of it."""
        self.settle()
        done = self.folder.with_name(f"{self.folder.name}{_DONE_SUFFIX}")
        shutil.rmtree(done, ignore_errors=True)
        try:
            self.folder.rename(done)
            fsync_folder(done.parent)
        except OSError as error:
            raise disk_refused(self.folder, error) from error
        shutil.rmtree(done, ignore_errors=True)


def _ordered(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Sort a part as it will be read, so that the statistics of its row groups tell which hold what is wanted."""
    if name == OPTIONS:
        return frame[frame.select(pl.arg_sort_by("date", "symbol")).to_series()]
    if "symbol" not in frame.columns or frame["symbol"].is_sorted():
        return frame
    code = pl.col("symbol").cast(pl.Enum(frame["symbol"].unique().sort())).to_physical()
    return frame[frame.select(code.arg_sort()).to_series()]


def _load(path: Path) -> State | None:
    try:
        body: Mapping[str, object] = json.loads(path.read_text("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        return None
    if body.get("schema") != _STATE_SCHEMA:
        return None
    values = {name: value for name, value in body.items() if name != "schema"}
    state = State(**values)  # type: ignore[arg-type]
    state.position = _position(values["position"])  # type: ignore[arg-type]
    state.options_at = None if state.options_at is None else _position(values["options_at"])  # type: ignore[arg-type]
    state.cut = None if state.cut is None else CutOff(**values["cut"])  # type: ignore[arg-type]
    return state


def _position(body: Mapping[str, Any]) -> Position:
    schemas = {name: tuple(columns) for name, columns in body["schemas"].items()}
    return Position(**{**body, "columns": tuple(body["columns"]), "schemas": schemas})
