"""The first schema: records (append-only, hash-chained) and intents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and the triggers that refuse to change or delete a record."""
    op.create_table(
        "records",
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
    )
    op.create_index("records_kind", "records", ["kind", "seq"])
    op.create_index("records_session", "records", ["session", "seq"])
    op.create_table(
        "intents",
        sa.Column("intent_key", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("updated_seq", sa.BigInteger, nullable=False),
    )
    op.create_index("intents_session", "intents", ["session"])
    op.create_index("intents_state", "intents", ["state"])
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER records_no_{verb.lower()} BEFORE {verb} ON records"
            " BEGIN SELECT RAISE(ABORT, 'records are append-only'); END"
        )


def downgrade() -> None:
    """Refuse: a journal is never taken back."""
    raise NotImplementedError("a journal is never taken back to an older schema; restore a backup instead")
