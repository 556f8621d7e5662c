"""The journal's SQLite connections, and what SQLite's errors mean to the operator."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bar_fly_trading.errors import BftError, FixSettings, FreeDisk, StoreDamaged, WaitForOtherRun

BUSY_WAIT_S = 30
_BUSY, _LOCKED, _READONLY, _IOERR = 5, 6, 8, 10
_CORRUPT, _FULL, _CANTOPEN, _NOTADB = 11, 13, 14, 26
# The SQL of every statement, made once a process: a run opens the journal several times, always with the same questions.
_COMPILED: dict[Any, Any] = {}


def engine(path: Path, *, read_only: bool) -> sa.Engine:
    """Return an engine whose writing transactions are BEGIN IMMEDIATE, in WAL with synchronous=FULL."""
    url = f"sqlite+pysqlite:///file:{uri_path(path)}?mode={'ro' if read_only else 'rwc'}&uri=true"
    made = sa.create_engine(
        url, poolclass=sa.pool.QueuePool, pool_size=1, max_overflow=0, connect_args={"timeout": BUSY_WAIT_S}
    )

    def on_connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver begins nothing of its own; BEGIN IMMEDIATE below does
        cursor = connection.cursor()
        if not read_only:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    def on_begin(connection: sa.Connection) -> None:
        reading = read_only or connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    sa.event.listen(made, "connect", on_connect)
    sa.event.listen(made, "begin", on_begin)
    return made.execution_options(compiled_cache=_COMPILED)


def uri_path(path: Path) -> str:
    """Return a path as SQLite's URIs take it."""
    return str(path.resolve()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def operator_error(error: BaseException | None, path: Path) -> BftError | None:
    """Return what an SQLite error means to the operator, None where it means nothing known."""
    if not isinstance(error, sqlite3.Error):
        return None
    code, text = getattr(error, "sqlite_errorcode", 0) & 0xFF, str(error)
    if code in {_FULL, _IOERR}:
        return FreeDisk(
            f"the disk refused a write to the journal {path} ({text}).", way_out="Free space; nothing was half-written."
        )
    if code in {_READONLY, _CANTOPEN}:
        return FixSettings(
            f"the journal {path} cannot be opened for this ({text}).",
            way_out="Give the user read and write access to it and its folder.",
        )
    if code in {_BUSY, _LOCKED}:
        return WaitForOtherRun(
            f"another process held the journal {path} for {BUSY_WAIT_S} s.",
            way_out="Wait for it to end, then run this again.",
        )
    if code in {_CORRUPT, _NOTADB}:
        return StoreDamaged(
            f"the journal {path} is damaged ({text}).", way_out="Keep the file, and restore it from a backup."
        )
    return None
