"""The journal on SQLite: WAL, synchronous=FULL, every write one BEGIN IMMEDIATE transaction.

A record and the intents' changes it brings are written together or not at all. Several processes may share a file:
writers queue for each other, readers see the last committed state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from bar_fly_trading.errors import BftError, FixSettings, StoreDamaged
from bar_fly_trading.journal import lease as leases
from bar_fly_trading.journal.appending import (
    Writing,
    apply_changes,
    change_payload,
    insert_record,
    last_record,
    taken_over_payload,
)
from bar_fly_trading.journal.chain import TAKEN_OVER_KIND, verify
from bar_fly_trading.journal.head import Head, head_path, keep_head, read_head
from bar_fly_trading.journal.lease import Lease
from bar_fly_trading.journal.records import (
    INTENTS,
    RECORDS,
    IntentRow,
    JournalRecord,
)
from bar_fly_trading.journal.sqlite import engine, operator_error
from bar_fly_trading.trading.orders import IntentChange, Mode, State

HEAD_REVISION = "0002"
KNOWN_REVISIONS = ("0001", "0002")
LEASE_KIND, EPOCH_KIND, RECONCILED_KIND = "lease", "epoch", "epoch_reconciled"


@dataclass(frozen=True, slots=True)
class Epoch:
    """How often the journal's own past came into doubt (0: never), why the last time, and whether it was reconciled since."""

    number: int
    reason: str
    reconciled: bool


class Journal:
    """What was decided and what happened; appended to, never changed."""

    def __init__(
        self, path: Path, engine: sa.Engine, now_us: Callable[[], int], run_id: str, settings_hash: str
    ) -> None:
        """Use `open` or `read`."""
        self._path, self._engine, self._now_us, self._run_id = path, engine, now_us, run_id
        self._settings_hash = settings_hash
        self._lease: Lease | None = None
        self._writes = False

    @classmethod
    def open(
        cls, path: Path, *, now_us: Callable[[], int], run_id: str, settings_hash: str, adopt: str | None = None
    ) -> Self:
        """Open for writing, checked from end to end (`chain.verify`), then made or brought to the newest schema.

        Every record bears the run and its settings' hash. A journal without its head beside it was restored or moved: a new
        epoch begins. `adopt`: take it as it is for that reason, whatever its head says, as a new epoch.
        Errors: FixSettings (folder missing or not writable, or a newer program's journal), FreeDisk, StoreDamaged
        (no journal, or a broken, altered or cut one), WaitForOtherRun (another process holds it longer than 30 s).
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise FixSettings(f"the journal's folder {path.parent} is not there.", way_out="Make it, or set BFT_HOME.")
        kept = None if adopt is not None else read_head(path)
        found = _checked(path, kept)
        journal = cls(path, engine(path, read_only=False), now_us, run_id, settings_hash)
        try:
            with journal._errors():
                before = journal._revision()
                if before != HEAD_REVISION:
                    journal._upgrade()
            journal._writes = True
            # Another process may have made the journal and its head since the head was asked for.
            lost = kept is None and found is not None and found.seq > 0 and before == HEAD_REVISION
            if adopt is not None or (lost and read_head(path) is None):
                journal.begin_epoch(adopt or "there was no head beside it: it was restored from a backup, or moved")
            journal._keep_head()
        except BaseException:
            journal._writes = False
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
        journal = cls(path, engine(path, read_only=True), lambda: 0, "", "")
        try:
            with journal._errors():
                if journal._revision() is None:
                    raise StoreDamaged(f"{path} has no journal in it.", way_out="Restore it from a backup.")
        except BaseException:
            journal.close()
            raise
        return journal

    def close(self) -> None:
        """Give the lease back and close the file; the last one to close folds the write-ahead log back into it."""
        if self._writes:
            self._writes = False
            # A lease runs out by itself, and an older head is still a true one.
            with suppress(BftError):
                self.give_back_lease()
            with suppress(BftError):
                self._keep_head()
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ writing

    def append(self, kind: str, payload: Mapping[str, Any], *, at_us: int, changes: Sequence[IntentChange] = ()) -> int:
        """Write one record and its intents' changes, in their order, in one transaction; return its seq once on the disk.

        A move to SENDING is written only under a lease that stands at that moment; any other record only while nobody has
        taken the lease over. Errors: IllegalEdge where a change is not in `trading.orders.EDGES`, starts from another state
        than the stored one, or inserts a key that is there; Refused where the lease is not ours; FreeDisk, FixSettings,
        WaitForOtherRun, StoreDamaged. Nothing is written then.
        """
        with self._errors(), self._engine.begin() as connection:
            return self._insert(connection, kind, payload, at_us, changes)

    def _insert(
        self,
        connection: sa.Connection,
        kind: str,
        payload: Mapping[str, Any],
        at_us: int,
        changes: Sequence[IntentChange] = (),
        taken_over: Sequence[Mapping[str, Any]] = (),
    ) -> int:
        written = Writing(
            self._now_us(), self._run_id, self._settings_hash, None if self._lease is None else self._lease.token
        )
        seq = apply_changes(connection, changes)
        self._check_lease(connection, changes, written.at_us)
        moves = [*taken_over, *map(change_payload, changes)]
        insert_record(connection, written, kind, payload, at_us, moves)
        return seq

    # ------------------------------------------------------------ the lease

    def take_lease(
        self, account: str, *, ttl_s: float, monotonic_us: Callable[[], int], alone_on_host: bool = False
    ) -> Lease:
        """Take the right to send for an account, journalled, with a token above every earlier one.

        `alone_on_host`: the run's lock is held, so that another holder of this machine has ended. WaitForOtherRun where
        another holds it.
        """
        with self._errors(), self._engine.begin() as connection:
            now = self._now_us()
            lease = leases.take(
                connection,
                account,
                owner=leases.this_owner(self._run_id),
                host=leases.this_host(),
                ttl_s=ttl_s,
                now_us=now,
                monotonic_us=monotonic_us,
                alone_on_host=alone_on_host,
            )
            before, self._lease = self._lease, lease
            try:
                payload = {"account": account, "token": lease.token, "owner": lease.owner}
                self._insert(connection, LEASE_KIND, payload, now)
            except BaseException:
                self._lease = before
                raise
        return lease

    def renew_lease(self) -> None:
        """Extend the lease; Refused where another took it over or it ran out."""
        if self._lease is not None:
            with self._errors(), self._engine.begin() as connection:
                leases.renew(connection, self._lease, self._now_us())

    def lease_lost(self) -> str:
        """Say why nothing may be sent now, '' while the lease stands; asked once more right before the socket."""
        if self._lease is None:
            return "there is no lease"
        with self._errors(), self._reading() as connection:
            return leases.lost(connection, self._lease, self._now_us())

    def give_back_lease(self) -> None:
        """Let the lease run out now."""
        lease, self._lease = self._lease, None
        if lease is not None:
            with self._errors(), self._engine.begin() as connection:
                leases.give_back(connection, lease, self._now_us())

    def _check_lease(self, connection: sa.Connection, changes: Sequence[IntentChange], now_us: int) -> None:
        sends = any(change.after is State.SENDING for change in changes)
        if self._lease is None:
            if sends:
                leases.refuse("an order was to be sent without the right to send (no lease was taken)")
            if changes:
                leases.refuse(leases.live_other(connection, now_us))
            return
        leases.refuse(
            leases.lost(connection, self._lease, now_us) if sends else leases.taken_over(connection, self._lease)
        )

    # ------------------------------------------------------------ the epoch and the head

    def begin_epoch(self, reason: str) -> int:
        """Write down that the journal may lack what the broker knows: nothing is sent before it was reconciled."""
        return self.append(EPOCH_KIND, {"epoch": self.epoch().number + 1, "reason": reason}, at_us=self._now_us())

    def epoch(self) -> Epoch:
        """Return the newest epoch."""
        number, reason, reconciled = 0, "", True
        for record in self.records(kinds=(EPOCH_KIND, RECONCILED_KIND)):
            if record.kind == EPOCH_KIND:
                number, reason, reconciled = record.payload["epoch"], record.payload["reason"], False
            else:
                reconciled = True
        return Epoch(number, reason, reconciled)

    def end_doubt(self) -> None:
        """Write down that the newest epoch was reconciled with the broker, if it was not before."""
        epoch = self.epoch()
        if not epoch.reconciled:
            self.append(RECONCILED_KIND, {"epoch": epoch.number}, at_us=self._now_us())

    def head(self) -> Head:
        """Return the last record's seq and hash: whoever keeps it elsewhere can prove later that nothing before it changed."""
        with self._errors(), self._reading() as connection:
            return last_record(connection)

    def _keep_head(self) -> None:
        keep_head(self._path, self.head())

    # ------------------------------------------------------------ reading

    def records(
        self, *, kinds: Collection[str] | None = None, session: date | None = None, after_seq: int = 0
    ) -> tuple[JournalRecord, ...]:
        """Return the records in order, of some kinds or one session only where asked."""
        query = sa.select(RECORDS).where(RECORDS.c.seq > after_seq).order_by(RECORDS.c.seq)
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
                    r.settings_hash or "",
                    json.loads(r.payload),
                    r.prev_hash,
                    r.hash,
                    r.changes,
                    r.token,
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

    def states(self) -> dict[str, State]:
        """Return the state of every intent there ever was, by key."""
        with self._errors(), self._reading() as connection:
            rows = connection.execute(sa.select(INTENTS.c.intent_key, INTENTS.c.state))
            return {row.intent_key: State(row.state) for row in rows}

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
            # Another process may have done it while this one waited for the file.
            old = sa.inspect(connection).has_table("records") and "changes" not in {
                column["name"] for column in sa.inspect(connection).get_columns("records")
            }
            command.upgrade(config, "head")
            standing = [dict(row) for row in connection.execute(sa.select(INTENTS)).mappings()]
            if old and standing:
                # From here on the intents follow from the records alone.
                moves = [taken_over_payload(row) for row in standing]
                self._insert(connection, TAKEN_OVER_KIND, {"intents": len(moves)}, self._now_us(), taken_over=moves)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            known = operator_error(error.orig, self._path)
            if known is None:
                raise
            raise known from error


def _checked(path: Path, kept: Head | None) -> Head | None:
    """Check a journal that is there; StoreDamaged where it is damaged, or gone."""
    if path.is_file() and path.stat().st_size:
        return verify(path, kept)
    if kept is not None and kept.seq:
        raise StoreDamaged(
            f"the journal {path} is gone; {head_path(path)} says that it had come to record {kept.seq} ({kept.hash[:16]}).",
            way_out="Put it back, or restore a backup (bft restore); nothing was sent.",
        )
    return None
