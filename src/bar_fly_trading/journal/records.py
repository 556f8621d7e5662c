"""The journal's tables and rows, and the hash that chains each record to the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from bar_fly_trading.trading.orders import Mode, State
from bar_fly_trading.trading.plan import canonical_bytes

# 1: what a record changes in `intents` is not in it. 2: it is, in `changes`, and the fencing token it was written under.
RECORD_SCHEMA = 2
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
    sa.Column("settings_hash", sa.Text, nullable=True),
    sa.Column("session", sa.Text, nullable=True),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("prev_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column("changes", sa.Text, nullable=True),
    sa.Column("token", sa.BigInteger, nullable=True),
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

# Who may send for an account, one row each: `token` only ever rises; `check` covers the row, which the chain does not.
LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("check", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """One record. `at_us`: when it happened; `recorded_at_us`: when it was written (both UTC microseconds).

    `settings_hash`: of the settings resolved for the run that wrote it. `changes`: canonical JSON of what it changed in the
    intents, None where nothing. `token`: the fencing token of the lease it was written under, None without one.
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
    changes: str | None = None
    token: int | None = None

    def intent_changes(self) -> tuple[Mapping[str, Any], ...]:
        """Return what it changed: intent_key, before (None: new), after, payload (None: as it was)."""
        return () if self.changes is None else tuple(json.loads(self.changes))


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
    settings_hash: str | None,
    payload: str,
    prev_hash: str,
    changes: str | None = None,
    token: int | None = None,
) -> str:
    """Return the sha256 of a record's canonical form, the previous record's hash included; what is None is left out."""
    body = {
        "seq": seq,
        "kind": kind,
        "schema": schema,
        "at": at_us,
        "recorded_at": recorded_at_us,
        "run_id": run_id,
        "payload": payload,
        "prev_hash": prev_hash,
    }
    # The first journals knew no settings' hash, and schema 1 neither changes nor tokens.
    more = {"settings_hash": settings_hash, "changes": changes, "token": token}
    body |= {name: value for name, value in more.items() if value is not None}
    return hashlib.sha256(canonical_bytes(body)).hexdigest()


def row_sha256(*values: object) -> str:
    """Return the sha256 of a row's values, types told apart."""
    return hashlib.sha256(canonical_bytes(list(values))).hexdigest()
