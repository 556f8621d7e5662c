"""The end of a session for what never began: an intent that no run came to is ended, with its reason, not left standing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

from bar_fly_trading.trading.orders import IntentChange, Record, State
from bar_fly_trading.trading.plan import IntentStatus

_ENDS = {
    State.PLANNED: State.REJECTED,
    State.CHECKED: State.REJECTED,
    State.AWAITING: State.EXPIRED,
    State.APPROVED: State.EXPIRED,
    State.NOT_SENT: State.EXPIRED,
}


def end_unbegun(session: date, statuses: Iterable[IntentStatus]) -> tuple[Record, ...]:
    """Return the records that end every intent of `session` whose order was never sent; a plan is of one session alone."""
    records = []
    for status in statuses:
        after = _ENDS.get(status.state)
        if after is None or status.intent.session != session:
            continue
        words = f"the session ended before it was begun ({status.state}); nothing was sent"
        ended = replace(status, state=after, detail=words)
        change = IntentChange(status.intent.intent_key, status.state, after, ended.payload())
        payload = {
            "session": session.isoformat(),
            "intent_key": status.intent.intent_key,
            "state": after.value,
            "detail": words,
        }
        records.append(Record("intent", payload, (change,)))
    return tuple(records)
