"""The journal checked from end to end: SQLite's own pages, the schema, every hash, the intents by replay, the leases, the head.

Read on a connection of its own, before the program trusts a byte of the file: one bit that differs anywhere in what the
journal says is found, and named.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

from bar_fly_trading.errors import StoreDamaged
from bar_fly_trading.journal.head import Head
from bar_fly_trading.journal.records import FIRST_PREV_HASH, LEASES, RECORD_SCHEMA, record_hash, row_sha256
from bar_fly_trading.journal.sqlite import BUSY_WAIT_S, operator_error, uri_path
from bar_fly_trading.trading.orders import EDGES, State
from bar_fly_trading.trading.plan import canonical_bytes

TAKEN_OVER_KIND = "intents_taken_over"
WAY_OUT = "Keep the file as it is, and restore a backup (bft restore); nothing was sent."
_RECORD = "seq, kind, schema, at, recorded_at, run_id, session, payload, prev_hash, hash"
_INTENT = "intent_key, state, session, mode, strategy, payload, updated_seq"
# Columns that came later, by table: absent from a journal that is still to be upgraded.
_LATER = ("settings_hash", "changes", "token")
_REFUSED_WORDS = {
    "records_no_update": "BEFORE UPDATE ON records BEGIN SELECT RAISE(ABORT, 'records are append-only'); END",
    "records_no_delete": "BEFORE DELETE ON records BEGIN SELECT RAISE(ABORT, 'records are append-only'); END",
    "records_only_the_next": "BEFORE INSERT ON records WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM records)"
    " OR EXISTS (SELECT 1 FROM records WHERE hash = NEW.hash)"
    " OR NEW.prev_hash IS NOT coalesce((SELECT hash FROM records ORDER BY seq DESC LIMIT 1), NEW.prev_hash)"
    " BEGIN SELECT RAISE(ABORT, 'records are append-only'); END",
    "intents_no_delete": "BEFORE DELETE ON intents BEGIN SELECT RAISE(ABORT, 'intents are never deleted'); END",
}


def verify(path: Path, kept: Head | None) -> Head | None:
    """Check the whole journal and return its last record; None where the file is no journal yet (the opening judges it).

    `kept`: how far it had come when it was last seen. StoreDamaged names the seq and both hashes.
    """
    uri = f"file:{uri_path(path)}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_WAIT_S, isolation_level=None)) as db:
            db.execute("BEGIN")
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"records", "intents", "alembic_version"} <= tables:
                if kept is not None and kept.seq:
                    _damaged(path, f"tables are missing (there are: {', '.join(sorted(tables)) or 'none'})")
                return None
            return _Check(path, db).whole(kept)
    except sqlite3.Error as error:
        known = operator_error(error, path)
        if known is not None:
            raise known from error
        raise StoreDamaged(f"the journal {path} is damaged ({error}).", way_out=WAY_OUT) from error
    except (TypeError, ValueError, KeyError, IndexError, RecursionError) as error:
        # Bytes that are no text, a number where text was: a page that was changed.
        raise StoreDamaged(
            f"the journal {path} is damaged ({type(error).__name__}: {error}).", way_out=WAY_OUT
        ) from error


def _damaged(path: Path, words: str) -> NoReturn:
    raise StoreDamaged(f"the journal {path} is damaged: {words}.", way_out=WAY_OUT)


class _Check:
    """One check of one file, inside one reading transaction."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path, self.db = path, db
        self.last = Head(0, FIRST_PREV_HASH)
        self.intents: dict[str, list[Any]] = {}
        self.token_max = 0
        self.leases: dict[str, Mapping[str, Any]] = {}
        self.replayable = True

    def whole(self, kept: Head | None) -> Head:
        faults = [row[0] for row in self.db.execute("PRAGMA integrity_check(1)") if row[0] != "ok"]
        if faults:
            _damaged(self.path, faults[0])
        revisions = [row[0] for row in self.db.execute("SELECT version_num FROM alembic_version")]
        if len(revisions) != 1:
            _damaged(self.path, f"it names {len(revisions)} schema revisions")
        columns = {row[1] for row in self.db.execute("PRAGMA table_info(records)")}
        upgraded = {"changes", "token"} <= columns
        if upgraded and revisions[0] == "0002":
            self._schema()
        self._records(columns, kept)
        if upgraded and self.replayable:
            self._intents()
        if upgraded:
            self._leases()
        if kept is not None and kept.seq > self.last.seq:
            _damaged(
                self.path,
                f"it ends at record {self.last.seq} ({self.last.hash[:16]}), but had come to record {kept.seq}"
                f" ({kept.hash[:16]}): its end was cut off, or an older copy was put in its place",
            )
        return self.last

    def _schema(self) -> None:
        for name, words in _REFUSED_WORDS.items():
            row = self.db.execute(
                "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?", (name,)
            ).fetchone()
            if row is None or row[0] != f"CREATE TRIGGER {name} {words}":
                _damaged(self.path, f"its trigger {name}, which refuses changes, is not as it was made")
        found = {row[0] for row in self.db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
        if found != set(_REFUSED_WORDS):
            _damaged(self.path, f"it has triggers that the program did not make ({', '.join(sorted(found))})")

    # ------------------------------------------------------------ records

    def _records(self, columns: set[str], kept: Head | None) -> None:
        later = ", ".join(name if name in columns else f"NULL AS {name}" for name in _LATER)
        for row in self.db.execute(f"SELECT {_RECORD}, {later} FROM records ORDER BY seq"):  # noqa: S608 - fixed names
            (
                seq,
                kind,
                schema,
                at,
                recorded_at,
                run_id,
                session,
                payload,
                prev_hash,
                digest,
                settings,
                changes,
                token,
            ) = row
            wanted = self.last.seq + 1
            if seq != wanted:
                _damaged(
                    self.path,
                    f"record {wanted} is missing: record {self.last.seq} has {self.last.hash[:16]}, and record {seq} names"
                    f" {str(prev_hash)[:16]} before it",
                )
            if prev_hash != self.last.hash:
                _damaged(
                    self.path,
                    f"record {seq} ({kind}) names {str(prev_hash)[:16]} as the hash before it, but record {self.last.seq} has"
                    f" {self.last.hash[:16]}: a record was altered, moved, put in or taken out",
                )
            computed = record_hash(
                seq, kind, schema, at, recorded_at, run_id, settings, payload, prev_hash, changes, token
            )
            if computed != digest:
                _damaged(
                    self.path,
                    f"record {seq} ({kind}) has the hash {str(digest)[:16]}, but what stands in it gives {computed[:16]}",
                )
            if json.loads(payload).get("session") != session:
                _damaged(self.path, f"record {seq} ({kind}) is filed under {session}, which its payload is not of")
            self.last = Head(seq, digest)
            if kept is not None and kept.seq == seq and kept.hash != digest:
                _damaged(
                    self.path,
                    f"record {seq} has the hash {digest[:16]}, but had {kept.hash[:16]} when it was last seen: the records"
                    " were written anew",
                )
            self._replay(seq, kind, schema, payload, changes, token)

    def _replay(self, seq: int, kind: str, schema: int, payload: str, changes: str | None, token: int | None) -> None:
        if schema < RECORD_SCHEMA:
            self.replayable = False  # until the record that took over where they stood
        if kind == TAKEN_OVER_KIND:
            self.intents, self.replayable = {}, True
        if kind == "lease":
            found = json.loads(payload)
            self.leases[found["account"]] = found
        if token is not None:
            if token < self.token_max:
                _damaged(
                    self.path,
                    f"record {seq} was written under token {token}, after token {self.token_max} had taken over",
                )
            self.token_max = token
        for change in json.loads(changes) if changes is not None else ():
            self._change(seq, change, taken_over=kind == TAKEN_OVER_KIND)

    def _change(self, seq: int, change: Mapping[str, Any], *, taken_over: bool) -> None:
        key, after, payload = change["intent_key"], change["after"], change["payload"]
        row = self.intents.get(key)
        state = None if row is None else row[1]
        if state != change["before"]:
            _damaged(self.path, f"record {seq} moves intent {key} from {change['before']}, but it was {state}")
        if row is None:
            text = canonical_bytes(payload).decode()
            at = change["updated_seq"] if taken_over else seq
            self.intents[key] = [
                key,
                after,
                str(payload["session"]),
                str(payload["mode"]),
                str(payload["strategy"]),
                text,
                at,
            ]
            return
        if State(after) not in EDGES[State(row[1])]:
            _damaged(self.path, f"record {seq} moves intent {key} from {row[1]} to {after}, which no order can do")
        row[1], row[6] = after, seq
        if payload is not None:
            row[5] = canonical_bytes(payload).decode()

    # ------------------------------------------------------------ what stands beside the chain

    def _intents(self) -> None:
        stored = {row[0]: list(row) for row in self.db.execute(f"SELECT {_INTENT} FROM intents")}  # noqa: S608 - fixed names
        for key in sorted({*stored, *self.intents}, key=str):
            row, wanted = stored.get(key), self.intents.get(key)
            if row == wanted and (row is None or wanted is None or list(map(type, row)) == list(map(type, wanted))):
                continue
            seq = (wanted or row or [0])[-1]
            _damaged(
                self.path,
                f"intent {key} is {_said(row)} in the table of intents, but {_said(wanted)} by the records up to {seq}",
            )

    def _leases(self) -> None:
        names = [column.name for column in LEASES.columns]
        quoted = ", ".join(f'"{name}"' for name in names)
        for row in self.db.execute(f"SELECT {quoted} FROM leases"):  # noqa: S608 - fixed names
            found = dict(zip(names, row, strict=True))
            record = self.leases.pop(found["account"], None)
            check = row_sha256(*row[:-1])
            if found["check"] != check:
                _damaged(
                    self.path,
                    f"the lease of {found['account']} has the checksum {found['check'][:16]}, not {check[:16]}",
                )
            if record is None or (record["token"], record["owner"]) != (found["token"], found["owner"]):
                _damaged(
                    self.path, f"the lease of {found['account']} (token {found['token']}) is not the one in the records"
                )
        if self.leases:
            _damaged(self.path, f"the lease of {sorted(self.leases)[0]} is in the records, but not in its table")


def _said(row: list[Any] | None) -> str:
    return "absent" if row is None else f"{row[1]} ({row_sha256(*row)[:16]})"
