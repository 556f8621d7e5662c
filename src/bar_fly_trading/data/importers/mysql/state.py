"""How far an import from a server is, kept beside the store so that a kill costs a minute and no row."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bar_fly_trading.files import make_folder, publish_bytes

_SCHEMA = 1


@dataclass(slots=True)
class Reading:
    """How far one file's reading is: bytes kept, the tables done, the one begun and the key of its last row kept."""

    bytes: int = 0
    table: str | None = None
    last: list[str] | None = None
    table_rows: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    complete: bool = False


@dataclass(slots=True)
class Outcome:
    """What was imported so far, over all runs of one import; bars by outcome."""

    rows: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    refusal_files: list[str] = field(default_factory=list)
    bars_new: int = 0
    bars_corrected: int = 0
    bars_same: int = 0


@dataclass(slots=True)
class State:
    """One import: when it began (UTC microseconds), the files to read (`units`), those in the store, and the one at work."""

    began_us: int
    units: list[list[list[str | None]]] = field(default_factory=list)
    finished: int = 0
    reading: Reading = field(default_factory=Reading)
    outcome: Outcome = field(default_factory=Outcome)


def load(folder: Path) -> State | None:
    """Return the state of an import that was begun, None where there is none that can be read."""
    try:
        body = json.loads((folder / "state.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(body, dict) or body.pop("schema", None) != _SCHEMA:
        return None
    body["reading"] = Reading(**body["reading"])
    body["outcome"] = Outcome(**body["outcome"])
    return State(**body)


def keep(folder: Path, state: State) -> None:
    """Write the state; a kill leaves the old one or the new one."""
    make_folder(folder)
    publish_bytes(folder / "state.json", json.dumps({"schema": _SCHEMA, **asdict(state)}, indent=1).encode())


def remove(folder: Path) -> None:
    """Remove an import that is in the store whole; the state goes first, so that a kill leaves no half of it to go on from."""
    (folder / "state.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
