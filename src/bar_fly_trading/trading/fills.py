"""Counting executions: the only source of fills, each once, a correction in the place of what it corrects."""

from __future__ import annotations

from dataclasses import replace

from bar_fly_trading.trading.orders import Execution, State
from bar_fly_trading.trading.plan import IntentStatus


class NotCounted(ValueError):
    """An execution that cannot be this order's as it stands; the words say why. A person must look."""


def count_execution(status: IntentStatus, execution: Execution) -> IntentStatus | None:
    """Return the intent's status with the execution counted, None where it was counted before.

    NotCounted where the order cannot have been filled in its state, more would be filled than was ordered, or the numbers
    are no fill.
    """
    known = next((e for e in status.executions if e.exec_id == execution.exec_id), None)
    if known is not None and not execution.supersedes(known):
        return None
    if execution.quantity < 1 or not execution.price_usd.is_finite() or execution.price_usd <= 0:
        raise NotCounted(f"an execution of {execution.quantity} at {execution.price_usd} is no fill")
    if known is None:
        kept = (*status.executions, execution)
    else:
        kept = tuple(execution if e is known else e for e in status.executions)
    total, ordered = sum(e.quantity for e in kept), status.intent.quantity
    if total > ordered:
        raise NotCounted(f"executions of {total} shares for an order of {ordered}")
    after = _after_fill(status.state, total == ordered)
    if after is None:
        raise NotCounted(f"an execution of an order that is {status.state}")
    return replace(status, state=after, executions=kept, detail=f"{total} of {ordered} filled")


def _after_fill(state: State, whole: bool) -> State | None:
    if state in {State.SENDING, State.WORKING, State.PARTIAL, State.UNKNOWN}:
        return State.FILLED if whole else State.PARTIAL
    if state in {State.CANCELLED, State.EXPIRED, State.BROKER_REJECTED, State.FILLED_LATE}:
        return State.FILLED_LATE
    if state in {State.PARKED, State.ADOPTED}:
        return State.ADOPTED
    return State.FILLED if state is State.FILLED else None
