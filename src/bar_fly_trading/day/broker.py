"""A paper order after its send: acknowledgement, fills, the wait, the cancellation, and what is not known.

An order that may have left is never sent again: where its fate is not known it becomes UNKNOWN, its instrument is frozen,
and the second of them freezes all further sending of the session.
"""

from __future__ import annotations

from dataclasses import replace

from bar_fly_trading.day.events import Action, Cancel, DayState, Phase, SendReported, StartTimer, Tell
from bar_fly_trading.day.orders import (
    OPEN,
    Step,
    advance,
    cancel_timer,
    change,
    fill_timer,
    move,
    session_of,
    settle,
)
from bar_fly_trading.day.telling import alarm, order_tell
from bar_fly_trading.trading.book import fill_record
from bar_fly_trading.trading.fills import NotCounted, count_execution
from bar_fly_trading.trading.orders import EDGES, Execution, Record, State
from bar_fly_trading.trading.plan import plain

_AFTER_SEND = frozenset({State.WORKING, State.UNKNOWN, State.BROKER_REJECTED})
_BROKER_ENDS = {
    "cancelled": State.CANCELLED,
    "rejected": State.BROKER_REJECTED,
    "expired": State.EXPIRED,
}


def send_reported(state: DayState, event: SendReported) -> Step:
    """Take what is known right after the send; a later or second report changes nothing that is known better."""
    key, status = event.intent_key, state.intents.get(event.intent_key)
    if status is None:
        return state, (
            alarm(
                state, f"send of unknown {key}", "the broker reports on an order that is not ours", {"intent_key": key}
            ),
        )
    actions: tuple[Action, ...] = ()
    if status.state is State.SENDING and event.state is State.NOT_SENT:
        words = f"not sent: {event.detail}; not tried again this session"
        state, actions = move(state, key, State.NOT_SENT, State.EXPIRED, detail=words, tell=True)
    elif status.state is State.SENDING:
        after = event.state if event.state in _AFTER_SEND else State.UNKNOWN
        tell = after is not State.WORKING
        state, actions = move(state, key, after, detail=event.detail, perm_id=event.perm_id, tell=tell)
    elif status.state is State.PARTIAL and event.perm_id and not status.perm_id:
        state, actions = move(state, key, State.PARTIAL, perm_id=event.perm_id)
    elif event.state in {State.WORKING, State.BROKER_REJECTED}:
        word = "working" if event.state is State.WORKING else "rejected"
        state, actions = order_updated(state, key, word, event.detail)
    if state.intents[key].state in OPEN and key == state.current:
        state, more = _wait_for_fill(state, key)
    else:
        state, more = advance(state)
    return state, (*actions, *more)


def _wait_for_fill(state: DayState, key: str) -> Step:
    if state.timers & {fill_timer(key), cancel_timer(key)}:
        return state, ()
    name = fill_timer(key)
    return replace(state, timers=state.timers | {name}), (StartTimer(name, state.morning.fill_wait_s),)


def cancel_rest(state: DayState, key: str, why: str) -> Step:
    """Ask for the cancellation of an open order, once, and wait for its confirmation; written down first."""
    name = cancel_timer(key)
    record = Record("cancel", {"session": session_of(state), "intent_key": key, "reason": why})
    state = replace(state, cancelling=state.cancelling | {key}, timers=(state.timers - {fill_timer(key)}) | {name})
    return state, (record, Cancel(key), StartTimer(name, state.morning.cancel_wait_s))


def timer_fired(state: DayState, name: str) -> Step:
    """Cancel the rest of an order that worked long enough; call one unknown whose cancellation stays unanswered."""
    if name not in state.timers:
        return state, ()
    state = replace(state, timers=state.timers - {name})
    kind, _, key = name.partition(":")
    if state.intents[key].state in OPEN:
        if kind == "fill":
            return cancel_rest(state, key, f"not filled in {state.morning.fill_wait_s:g} s")
        words = f"the cancellation was not confirmed in {state.morning.cancel_wait_s:g} s"
        state, actions = move(state, key, State.UNKNOWN, detail=words, tell=True)
    else:
        actions = ()
    state, more = advance(state)
    return state, (*actions, *more)


def order_updated(state: DayState, key: str, status_word: str, detail: str) -> Step:
    """Take the broker's word on an order: an end ends it, `working` and `filled` are hints (executions count)."""
    status = state.intents.get(key)
    if status is None:
        return state, (
            alarm(
                state,
                f"update of unknown {key}",
                "the broker reports on an order that is not ours",
                {"intent_key": key},
            ),
        )
    end = _BROKER_ENDS.get(status_word)
    if end is State.BROKER_REJECTED and end not in EDGES[status.state]:
        end = State.CANCELLED  # a part was filled before the rest was refused
    actions: tuple[Action, ...] = ()
    if (
        end is not None
        and end in EDGES[status.state]
        and status.state not in {State.NOT_SENT, State.APPROVED, State.AWAITING}
    ):
        state, actions = move(state, key, end, detail=detail, tell=True)
    elif status_word == "working" and status.state is State.UNKNOWN and _may_take_back(state, key):
        # Its fate is known again, but its place in the day is gone: take it back.
        state, actions = move(state, key, State.WORKING, detail=detail)
        state, more = cancel_rest(state, key, "seen working after its fate was unknown")
        return state, (*actions, *more)
    state, more = advance(state)
    return state, (*actions, *more)


def executed(state: DayState, execution: Execution) -> Step:
    """Count a fill, once an exec_id; a correction replaces what it corrects; what cannot be ours is shown, not counted."""
    key = execution.intent_key
    status = state.intents.get(key)
    if status is None:
        seen = _in_journal(state, execution)
        return state, () if seen else _stray(state, execution, "an execution of an order that is not of this session")
    try:
        counted = count_execution(status, execution)
    except NotCounted as fault:
        return state, _stray(state, execution, str(fault))
    if counted is None:
        return state, ()
    state, changes = change(state, key, (counted.state,), counted)
    state = settle(state, key)
    actions: tuple[Action, ...] = (fill_record(status.intent, execution, changes),)
    if counted.state is not State.PARTIAL and counted.filled_quantity != status.filled_quantity:
        actions = (*actions, order_tell(state.intents[key]))
    if status.state is State.UNKNOWN and counted.state is State.PARTIAL and _may_take_back(state, key):
        state, more = cancel_rest(state, key, "seen filled in part after its fate was unknown")
    else:
        state, more = advance(state)
    return state, (*actions, *more)


def _may_take_back(state: DayState, key: str) -> bool:
    """Tell whether an order that was unknown can still be cancelled by this run: connected, not over, not asked before."""
    return state.phase is Phase.ORDERS and state.lost is None and key not in state.cancelling


def _in_journal(state: DayState, execution: Execution) -> bool:
    """Tell whether an earlier session's order already has this execution: brokers repeat them on each connection."""
    return any(
        e.exec_id == execution.exec_id and not execution.supersedes(e)
        for status in state.morning.standing
        for e in status.executions
    )


def _stray(state: DayState, execution: Execution, words: str) -> tuple[Record, Tell]:
    facts = {"execution": plain(execution)}
    key = f"stray {execution.exec_id} {execution.revision}"
    return (
        Record("stray_execution", {"session": session_of(state), "words": words, **facts}),
        alarm(state, key, words, facts),
    )


def connection_lost(state: DayState, reason: str) -> Step:
    """Count as unknown every order that may be at the broker; go on with what needs no broker."""
    state = replace(state, lost=state.lost or reason)
    actions: tuple[Action, ...] = ()
    for key, status in state.intents.items():
        if status.state in OPEN or status.state is State.SENDING:
            state, more = move(state, key, State.UNKNOWN, detail=f"connection lost: {reason}", tell=True)
            actions = (*actions, *more)
    if state.awaiting_quote:
        state = replace(state, current=None, awaiting_quote=False)
    state, more = advance(state)
    return state, (*actions, *more)


def pick_up(state: DayState) -> Step:
    """Begin where a run before this one ended: what was being sent is unknown, what was working is taken back."""
    actions: tuple[Action, ...] = ()
    for key, status in state.intents.items():
        if status.state is State.SENDING:
            words = "the run ended while it was being sent; it is not sent again"
            state, more = move(state, key, State.UNKNOWN, detail=words, tell=True)
        elif status.state in OPEN:
            state, more = cancel_rest(state, key, "left working by a run that ended")
        else:
            continue
        actions = (*actions, *more)
    state, more = advance(state)
    return state, (*actions, *more)
