"""The journal's tables and rows, and the hash that chains each record to the one before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from bar_fly_trading.trading.orders import Mode, State
from bar_fly_trading.trading.plan import canonical_bytes

RECORD_SCHEMA = 1
FIRST_PREV_HASH = "0" * 64

METADATA = sa.MetaData()

# `session` repeats the payload's, for the look-up; the hash covers the payload.
RECORDS = sa.Table(
    "records",
    METADATA,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("schema", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("recorded_at", sa.BigInteger, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("settings_hash", sa.Text, nullable=False),
    sa.Column("session", sa.Text, nullable=True),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("prev_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Index("records_kind", "kind", "seq"),
    sa.Index("records_session", "session", "seq"),
)

INTENTS = sa.Table(
    "intents",
    METADATA,
    sa.Column("intent_key", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("session", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("strategy", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("updated_seq", sa.BigInteger, nullable=False),
    sa.Index("intents_session", "session"),
    sa.Index("intents_state", "state"),
)


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """One record. `at_us`: when it happened; `recorded_at_us`: when it was written (both UTC microseconds).

    `settings_hash`: of the settings resolved for the run that wrote it.
    """

    seq: int
    kind: str
    schema: int
    at_us: int
    recorded_at_us: int
    run_id: str
    settings_hash: str
    payload: Mapping[str, Any]
    prev_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class IntentRow:
    """Where an intent stands, as of record `updated_seq`; `trading.plan.read_status` reads its payload."""

    intent_key: str
    state: State
    session: date
    mode: Mode
    strategy: str
    payload: Mapping[str, Any]
    updated_seq: int


def record_hash(
    seq: int,
    kind: str,
    schema: int,
    at_us: int,
    recorded_at_us: int,
    run_id: str,
    settings_hash: str,
    payload: str,
    prev_hash: str,
) -> str:
    """Return the sha256 of a record's canonical form, the previous record's hash included."""
    return hashlib.sha256(
        canonical_bytes(
            {
                "seq": seq,
                "kind": kind,
                "schema": schema,
                "at": at_us,
                "recorded_at": recorded_at_us,
                "run_id": run_id,
                "settings_hash": settings_hash,
                "payload": payload,
                "prev_hash": prev_hash,
            }
        )
    ).hexdigest()
