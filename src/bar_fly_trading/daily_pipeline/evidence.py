"""From the journal to what reports read: records as `Written`, and the orders that a person must settle."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from bar_fly_trading.journal import Journal
from bar_fly_trading.report.timeline import Written
from bar_fly_trading.trading.orders import State
from bar_fly_trading.trading.plan import IntentStatus
from bar_fly_trading.trading.reading import read_status

ORDER_KINDS = ("plan", "intent", "fill", "cancel", "difference", "stray_execution", "resolve")
OPEN_QUESTIONS = (State.PARKED, State.UNKNOWN)


def written(
    journal: Journal, *, kinds: Collection[str] | None = None, session: date | None = None
) -> tuple[Written, ...]:
    """Return records of the journal, as a report reads them."""
    return tuple(
        Written(r.seq, r.kind, r.at_us, r.payload, r.intent_changes(), r.token)
        for r in journal.records(kinds=kinds, session=session)
    )


def open_questions(journal: Journal) -> tuple[IntentStatus, ...]:
    """Return the orders that are parked or of unknown fate, by session and key."""
    return tuple(read_status(row.payload, row.state) for row in journal.intents(states=OPEN_QUESTIONS))
