"""What one transaction of the journal writes: the record, chained to the last one, and the intents' changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from bar_fly_trading.journal.head import Head
from bar_fly_trading.journal.records import FIRST_PREV_HASH, INTENTS, RECORD_SCHEMA, RECORDS, record_hash
from bar_fly_trading.trading.orders import IllegalEdge, IntentChange, State, check_edge
from bar_fly_trading.trading.plan import canonical_bytes


@dataclass(frozen=True, slots=True)
class Writing:
    """Who writes, when (UTC microseconds), and under which token (None: no lease)."""

    at_us: int
    run_id: str
    settings_hash: str
    token: int | None


def insert_record(
    connection: sa.Connection,
    by: Writing,
    kind: str,
    payload: Mapping[str, Any],
    at_us: int,
    moves: Sequence[Mapping[str, Any]],
) -> None:
    """Write one record after the last one; `moves`: what it changed in the intents."""
    text = canonical_bytes(payload).decode()
    last = last_record(connection)
    changes = canonical_bytes(list(moves)).decode() if moves else None
    values = {
        "seq": last.seq + 1,
        "kind": kind,
        "schema": RECORD_SCHEMA,
        "at": at_us,
        "recorded_at": by.at_us,
        "run_id": by.run_id,
        "settings_hash": by.settings_hash,
        "payload": text,
        "prev_hash": last.hash,
        "changes": changes,
        "token": by.token,
    }
    digest = record_hash(
        last.seq + 1,
        kind,
        RECORD_SCHEMA,
        at_us,
        by.at_us,
        by.run_id,
        by.settings_hash,
        text,
        last.hash,
        changes,
        by.token,
    )
    session = json.loads(text).get("session")
    connection.execute(RECORDS.insert().values(**values, session=session, hash=digest))


def apply_changes(connection: sa.Connection, changes: Sequence[IntentChange]) -> int:
    """Move the intents along their edges, under the record that comes next; return its seq. IllegalEdge where one may not."""
    seq = last_record(connection).seq + 1
    for change in changes:
        _apply(connection, change, seq)
    return seq


def last_record(connection: sa.Connection) -> Head:
    """Return the last record's seq and hash, 0 and zeros where there is none."""
    row = connection.execute(sa.select(RECORDS.c.seq, RECORDS.c.hash).order_by(RECORDS.c.seq.desc()).limit(1)).first()
    return Head(0, FIRST_PREV_HASH) if row is None else Head(row.seq, row.hash)


def change_payload(change: IntentChange) -> dict[str, Any]:
    """Return a change as a record keeps it."""
    return {
        "intent_key": change.intent_key,
        "before": None if change.before is None else change.before.value,
        "after": change.after.value,
        "payload": change.payload,
    }


def taken_over_payload(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return where an intent of an older schema stood, as the record that takes it over keeps it."""
    return {
        "intent_key": row["intent_key"],
        "before": None,
        "after": row["state"],
        "payload": json.loads(row["payload"]),
        "updated_seq": row["updated_seq"],
    }


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
