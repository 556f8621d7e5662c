"""What a day tells people and writes down: the payloads, each with a key that is the same in every run."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from bar_fly_trading.day.events import DayState, Finish, Morning, Outcome, Tell
from bar_fly_trading.facts.account import AccountSnapshot
from bar_fly_trading.trading.orders import IntentChange, Mode, Record, State
from bar_fly_trading.trading.plan import IntentStatus, OrderIntent, Plan, RankedSignal, Rejection, plain


def plan_record(plan: Plan, account: AccountSnapshot) -> Record:
    """Return the record that freezes a plan and inserts its intents as PLANNED, all in one."""
    payload = {
        "session": plan.session.isoformat(),
        "plan_id": plan.plan_id(),
        "plan": plain(plan),
        "account": plain(account),
    }
    changes = tuple(
        IntentChange(i.intent_key, None, State.PLANNED, IntentStatus(i, State.PLANNED).payload()) for i in plan.intents
    )
    return Record("plan", payload, changes)


def signal_tells(morning: Morning, plan: Plan, account: AccountSnapshot | None) -> tuple[Tell, ...]:
    """Return one message a decision: the order proposed or the reason against it, with the signal and the account."""
    by_signal = {_decided(r.signal): r for r in morning.ranked}
    tells, plan_id = [], plan.plan_id()
    decisions: tuple[OrderIntent | Rejection, ...] = (*plan.intents, *plan.rejections)
    for decision in decisions:
        kind = "intent" if isinstance(decision, OrderIntent) else "rejection"
        key = _decided(decision)
        ranked = by_signal.get(key)
        payload = {
            "session": plan.session.isoformat(),
            "plan_id": plan_id,
            "mode": decision.mode.value,
            "decision": kind,
            kind: plain(decision),
            "ranked": None if ranked is None else _finite(plain(ranked)),
            "account": None if account is None else plain(account),
        }
        tells.append(Tell("signal", _tell_key(plan.session.isoformat(), kind, decision), payload))
    return tuple(tells)


def account_not_read_tells(morning: Morning, reason: str, ranked: tuple[RankedSignal, ...]) -> tuple[Tell, ...]:
    """Return one message a signal that says that the account was not read, and why."""
    tells = []
    for r in ranked:
        mode = morning.mode_of(r.signal.strategy)
        key = "|".join((morning.session.isoformat(), "account not read", mode.value, *r.signal.sort_key()))
        payload = {
            "session": morning.session.isoformat(),
            "plan_id": None,
            "mode": mode.value,
            "decision": "account not read",
            "reason": reason,
            "ranked": _finite(plain(r)),
            "account": None,
        }
        tells.append(Tell("signal", key, payload))
    return tuple(tells)


def order_tell(status: IntentStatus) -> Tell:
    """Return the message of an order's state."""
    intent = status.intent
    payload = {
        "session": intent.session.isoformat(),
        "mode": intent.mode.value,
        "state": status.state.value,
        "detail": status.detail,
        "filled_quantity": status.filled_quantity,
        "intent": plain(intent),
        "executions": plain(status.executions),
    }
    kind = "alarm" if status.state in {State.UNKNOWN, State.PARKED, State.FILLED_LATE, State.ADOPTED} else "order"
    return Tell(kind, f"{intent.intent_key}|{status.state.value}|{status.filled_quantity}", payload)


def alarm(state: DayState, key: str, words: str, facts: dict[str, Any]) -> Tell:
    """Return a message that a person must look at."""
    session = state.morning.session.isoformat()
    return Tell("alarm", f"{session}|{key}", {"session": session, "words": words, **facts})


def finish(state: DayState, outcome: Outcome, detail: str) -> tuple[Record, Finish]:
    """Return the day's last record and its end."""
    counts = Counter(status.state.value for status in state.intents.values())
    if state.plan is not None and state.plan.rejections:
        counts["rejections"] = len(state.plan.rejections)
    rows = tuple(sorted(counts.items()))
    payload = {
        "session": state.morning.session.isoformat(),
        "outcome": outcome.value,
        "detail": detail,
        "plan_id": None if state.plan is None else state.plan.plan_id(),
        "counts": dict(rows),
    }
    return Record("finish", payload), Finish(outcome, detail, rows)


def paper_left(state: DayState) -> tuple[IntentStatus, ...]:
    """Return the paper intents that were never begun or not finished."""
    undone = {State.PLANNED, State.CHECKED, State.AWAITING, State.APPROVED}
    return tuple(s for s in state.intents.values() if s.intent.mode is Mode.PAPER and s.state in undone)


def _finite(value: Any) -> Any:
    """Put None where a float is no number: JSON has no word for it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list) else value


def _decided(row: Any) -> tuple[str, str, str, str]:
    return (row.strategy, row.instrument_id, row.side.value, row.purpose.value)


def _tell_key(session: str, kind: str, decision: OrderIntent | Rejection) -> str:
    rule = decision.rule if isinstance(decision, Rejection) else decision.intent_key
    return "|".join((session, kind, decision.mode.value, *_decided(decision), rule))
