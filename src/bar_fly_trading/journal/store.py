"""The journal on SQLite: WAL, synchronous=FULL, every write one BEGIN IMMEDIATE transaction.

A record and the intents' changes it brings are written together or not at all. Several processes may share a file:
writers queue for each other, readers see the last committed state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NoReturn, Self

import sqlalchemy as sa

from bar_fly_trading.errors import BftError, FixSettings, FreeDisk, StoreDamaged, WaitForOtherRun
from bar_fly_trading.journal.records import (
    FIRST_PREV_HASH,
    INTENTS,
    RECORD_SCHEMA,
    RECORDS,
    IntentRow,
    JournalRecord,
    record_hash,
)
from bar_fly_trading.trading.orders import IllegalEdge, IntentChange, Mode, State, check_edge
from bar_fly_trading.trading.plan import canonical_bytes

HEAD_REVISION = "0001"
KNOWN_REVISIONS = ("0001",)
_BUSY_WAIT_S = 30
_SQLITE_BUSY, _SQLITE_LOCKED, _SQLITE_READONLY, _SQLITE_IOERR = 5, 6, 8, 10
_SQLITE_CORRUPT, _SQLITE_FULL, _SQLITE_CANTOPEN, _SQLITE_NOTADB = 11, 13, 14, 26


class Journal:
    """What was decided and what happened; appended to, never changed."""

    def __init__(
        self, path: Path, engine: sa.Engine, now_us: Callable[[], int], run_id: str, settings_hash: str
    ) -> None:
        """Use `open` or `read`."""
        self._path, self._engine, self._now_us, self._run_id = path, engine, now_us, run_id
        self._settings_hash = settings_hash

    @classmethod
    def open(cls, path: Path, *, now_us: Callable[[], int], run_id: str, settings_hash: str) -> Self:
        """Open for writing, made or brought to the newest schema first; every record bears the run and its settings' hash.

        Errors: FixSettings (folder missing or not writable, or a newer program's journal), FreeDisk, StoreDamaged
        (no journal, or a broken one), WaitForOtherRun (another process holds it longer than 30 s).
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise FixSettings(f"the journal's folder {path.parent} is not there.", way_out="Make it, or set BFT_HOME.")
        journal = cls(path, _engine(path, read_only=False), now_us, run_id, settings_hash)
        try:
            with journal._errors():
                if journal._revision() != HEAD_REVISION:
                    journal._upgrade()
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open for reading only; FixSettings where there is no journal or it is a newer program's."""
        path = Path(path)
        if not path.is_file():
            raise FixSettings(
                f"there is no journal at {path}.", way_out="Run bft evening and bft morning first, or set BFT_HOME."
            )
        journal = cls(path, _engine(path, read_only=True), lambda: 0, "", "")
        try:
            with journal._errors():
                if journal._revision() is None:
                    raise StoreDamaged(f"{path} has no journal in it.", way_out="Restore it from a backup.")
        except BaseException:
            journal.close()
            raise
        return journal

    def close(self) -> None:
        """Close the file; the last one to close folds the write-ahead log back into it."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ writing

    def append(self, kind: str, payload: Mapping[str, Any], *, at_us: int, changes: Sequence[IntentChange] = ()) -> int:
        """Write one record and its intents' changes, in their order, in one transaction; return its seq once on the disk.

        Errors: IllegalEdge where a change is not in `trading.orders.EDGES`, starts from another state than the stored
        one, or inserts a key that is there (nothing is written); FreeDisk, FixSettings, WaitForOtherRun, StoreDamaged.
        """
        text = canonical_bytes(payload).decode()
        session = json.loads(text).get("session")
        with self._errors(), self._engine.begin() as connection:
            row = connection.execute(
                sa.select(RECORDS.c.seq, RECORDS.c.hash).order_by(RECORDS.c.seq.desc()).limit(1)
            ).first()
            seq, prev_hash = (row.seq + 1, row.hash) if row is not None else (1, FIRST_PREV_HASH)
            recorded_at = self._now_us()
            connection.execute(
                RECORDS.insert().values(
                    seq=seq,
                    kind=kind,
                    schema=RECORD_SCHEMA,
                    at=at_us,
                    recorded_at=recorded_at,
                    run_id=self._run_id,
                    settings_hash=self._settings_hash,
                    session=session,
                    payload=text,
                    prev_hash=prev_hash,
                    hash=record_hash(
                        seq,
                        kind,
                        RECORD_SCHEMA,
                        at_us,
                        recorded_at,
                        self._run_id,
                        self._settings_hash,
                        text,
                        prev_hash,
                    ),
                )
            )
            for change in changes:
                _apply(connection, change, seq)
        return int(seq)

    # ------------------------------------------------------------ reading

    def records(
        self, *, kinds: Collection[str] | None = None, session: date | None = None
    ) -> tuple[JournalRecord, ...]:
        """Return the records in order, of some kinds or one session only where asked."""
        query = sa.select(RECORDS).order_by(RECORDS.c.seq)
        if kinds is not None:
            query = query.where(RECORDS.c.kind.in_(sorted(kinds)))
        if session is not None:
            query = query.where(RECORDS.c.session == session.isoformat())
        with self._errors(), self._reading() as connection:
            return tuple(
                JournalRecord(
                    r.seq,
                    r.kind,
                    r.schema,
                    r.at,
                    r.recorded_at,
                    r.run_id,
                    r.settings_hash,
                    json.loads(r.payload),
                    r.prev_hash,
                    r.hash,
                )
                for r in connection.execute(query)
            )

    def intents(
        self,
        *,
        session: date | None = None,
        states: Collection[State] | None = None,
        modes: Collection[Mode] | None = None,
    ) -> tuple[IntentRow, ...]:
        """Return where the intents stand, by session and key, of one session, some states or modes only where asked."""
        query = sa.select(INTENTS).order_by(INTENTS.c.session, INTENTS.c.intent_key)
        if session is not None:
            query = query.where(INTENTS.c.session == session.isoformat())
        if states is not None:
            query = query.where(INTENTS.c.state.in_(sorted(s.value for s in states)))
        if modes is not None:
            query = query.where(INTENTS.c.mode.in_(sorted(m.value for m in modes)))
        with self._errors(), self._reading() as connection:
            return tuple(
                IntentRow(
                    r.intent_key,
                    State(r.state),
                    date.fromisoformat(r.session),
                    Mode(r.mode),
                    r.strategy,
                    json.loads(r.payload),
                    r.updated_seq,
                )
                for r in connection.execute(query)
            )

    # ------------------------------------------------------------ the file

    def _revision(self) -> str | None:
        """Return the stored schema revision, None for a new file; FixSettings where a newer program wrote it."""
        with self._reading() as connection:
            tables = sa.inspect(connection).get_table_names()
            if "alembic_version" not in tables:
                if tables:
                    raise StoreDamaged(
                        f"{self._path} is a database, but no journal (tables: {', '.join(tables[:5])}).",
                        way_out="Move it away, or restore the journal from a backup.",
                    )
                return None
            revision = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        if revision is not None and revision not in KNOWN_REVISIONS:
            raise FixSettings(
                f"the journal {self._path} was written by a newer program (schema {revision}; this one knows up to"
                f" {HEAD_REVISION}).",
                way_out="Install the newer release; the journal was not touched.",
            )
        return None if revision is None else str(revision)

    def _reading(self) -> sa.Connection:
        return self._engine.connect().execution_options(reading=True)

    def _upgrade(self) -> None:
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            _translate(error, self._path)


def _apply(connection: sa.Connection, change: IntentChange, seq: int) -> None:
    key, after = change.intent_key, change.after
    stored = connection.execute(sa.select(INTENTS.c.state).where(INTENTS.c.intent_key == key)).scalar()
    before = None if change.before is None else change.before.value
    if stored != before:
        raise IllegalEdge(
            f"intent {key} is {stored or 'not there'}, not {before or 'new'}; refusing to make it {after}"
        )
    if change.before is None:
        if after is not State.PLANNED or change.payload is None:
            raise IllegalEdge(f"intent {key} must enter as PLANNED with its payload, not as {after}")
        connection.execute(
            INTENTS.insert().values(
                intent_key=key,
                state=after.value,
                session=str(change.payload["session"]),
                mode=str(change.payload["mode"]),
                strategy=str(change.payload["strategy"]),
                payload=canonical_bytes(change.payload).decode(),
                updated_seq=seq,
            )
        )
        return
    check_edge(change.before, after)
    values: dict[str, Any] = {"state": after.value, "updated_seq": seq}
    if change.payload is not None:
        values["payload"] = canonical_bytes(change.payload).decode()
    connection.execute(INTENTS.update().where(INTENTS.c.intent_key == key).values(**values))


def _engine(path: Path, *, read_only: bool) -> sa.Engine:
    url = f"sqlite+pysqlite:///file:{_uri_path(path)}?mode={'ro' if read_only else 'rwc'}&uri=true"
    engine = sa.create_engine(
        url, poolclass=sa.pool.QueuePool, pool_size=1, max_overflow=0, connect_args={"timeout": _BUSY_WAIT_S}
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

    sa.event.listen(engine, "connect", on_connect)
    sa.event.listen(engine, "begin", on_begin)
    return engine


def _uri_path(path: Path) -> str:
    return str(path.resolve()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _translate(error: sa.exc.DBAPIError, path: Path) -> NoReturn:
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    text = str(error.orig)
    raised: BftError
    if code in {_SQLITE_FULL, _SQLITE_IOERR}:
        raised = FreeDisk(
            f"the disk refused a write to the journal {path} ({text}).", way_out="Free space; nothing was half-written."
        )
    elif code in {_SQLITE_READONLY, _SQLITE_CANTOPEN}:
        raised = FixSettings(
            f"the journal {path} cannot be opened for this ({text}).",
            way_out="Give the user read and write access to it and its folder.",
        )
    elif code in {_SQLITE_BUSY, _SQLITE_LOCKED}:
        raised = WaitForOtherRun(
            f"another process held the journal {path} for {_BUSY_WAIT_S} s.",
            way_out="Wait for it to end, then run this again.",
        )
    elif code in {_SQLITE_CORRUPT, _SQLITE_NOTADB}:
        raised = StoreDamaged(
            f"the journal {path} is damaged ({text}).", way_out="Keep the file, and restore it from a backup."
        )
    else:
        raise error
    raise raised from error
