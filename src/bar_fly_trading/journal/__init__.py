"""The journal: what we decided and what happened, append-only, on the disk before anything leaves."""

from bar_fly_trading.journal.records import IntentRow, JournalRecord
from bar_fly_trading.journal.store import Journal
from bar_fly_trading.trading.orders import IntentChange

__all__ = ["IntentChange", "IntentRow", "Journal", "JournalRecord"]
