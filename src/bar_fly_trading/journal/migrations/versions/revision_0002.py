"""Records carry what they change and the fencing token; one lease an account; nothing but the next record can be put in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# INSERT OR REPLACE deletes without asking the DELETE trigger: only the record that follows the last may come in.
_ONLY_THE_NEXT = (
    "CREATE TRIGGER records_only_the_next BEFORE INSERT ON records"
    " WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM records)"
    " OR EXISTS (SELECT 1 FROM records WHERE hash = NEW.hash)"
    " OR NEW.prev_hash IS NOT coalesce((SELECT hash FROM records ORDER BY seq DESC LIMIT 1), NEW.prev_hash)"
    " BEGIN SELECT RAISE(ABORT, 'records are append-only'); END"
)
_NO_INTENT_LEAVES = "CREATE TRIGGER intents_no_delete BEFORE DELETE ON intents BEGIN SELECT RAISE(ABORT, 'intents are never deleted'); END"


def upgrade() -> None:
    """Add the columns, the leases and the triggers; a journal of the first days gets the settings' hash it lacks, empty."""
    known = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("records")}
    if "settings_hash" not in known:
        op.add_column("records", sa.Column("settings_hash", sa.Text, nullable=True))
    op.add_column("records", sa.Column("changes", sa.Text, nullable=True))
    op.add_column("records", sa.Column("token", sa.BigInteger, nullable=True))
    op.create_table(
        "leases",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("check", sa.Text, nullable=False),
    )
    op.execute(_ONLY_THE_NEXT)
    op.execute(_NO_INTENT_LEAVES)


def downgrade() -> None:
    """Refuse: a journal is never taken back."""
    raise NotImplementedError("a journal is never taken back to an older schema; restore a backup instead")
