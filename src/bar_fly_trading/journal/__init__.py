"""The journal: what we decided and what happened, append-only, on the disk before anything leaves."""

from bar_fly_trading.journal.head import Head
from bar_fly_trading.journal.lease import Lease
from bar_fly_trading.journal.records import IntentRow, JournalRecord
from bar_fly_trading.journal.store import Epoch, Journal
from bar_fly_trading.trading.orders import IntentChange

__all__ = ["Epoch", "Head", "IntentChange", "IntentRow", "Journal", "JournalRecord", "Lease"]
