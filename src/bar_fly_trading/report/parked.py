"""Orders whose fate a person must settle: everything that was written, what the broker said, and what to look up. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bar_fly_trading.report.timeline import Written, concerns, timeline
from bar_fly_trading.trading.orders import State
from bar_fly_trading.trading.plan import IntentStatus, plain


def to_words(status: IntentStatus, records: Sequence[Written]) -> str:
    """Return the evidence on one order in words."""
    i = status.intent
    observed = dict(i.observed_values)
    lines = [
        f"{i.intent_key}  {status.state.value}  {i.side.value} {i.quantity} {i.symbol} at limit {i.limit_price_usd} USD",
        f"  session {i.session}, strategy {i.strategy}, {i.mode.value} account {i.account}, {i.purpose.value.lower()}",
        f"  reference (Order Ref.) {i.order_ref}, permId {status.perm_id or 'never told'}, conId {i.con_id}",
        f"  quote at the order: bid {i.bid_usd}, ask {i.ask_usd}; signal's close {i.signal_close_usd};"
        f" quote age {observed.get('quote_age_s') or 'not known'} s at the plan",
        f"  filled by executions: {status.filled_quantity} of {i.quantity}",
        f"  last word: {status.detail or 'none'}",
        "  what was written:",
        *(f"    {line}" for line in timeline(i.intent_key, records)),
        "  look up in TWS:",
        *(f"    {line}" for line in look_up(status)),
    ]
    return "\n".join(lines)


def look_up(status: IntentStatus) -> tuple[str, ...]:
    """Say what a person should look for at the broker, and which command says what was found."""
    i, key = status.intent, status.intent.intent_key
    if status.state is State.UNKNOWN:
        return (
            f"nothing yet: run bft reconcile --as-of {i.session} --mode {i.mode.value}; it adopts the order or parks it",
        )
    perm = f" or permId {status.perm_id}" if status.perm_id else ""
    return (
        f"Trade Log of {i.session}: an execution of {i.side.value} {i.symbol} with Order Ref. {i.order_ref}{perm}",
        f"Orders, all clients and completed: an order of {i.quantity} {i.symbol} at {i.limit_price_usd} with that reference",
        f"Portfolio: whether {i.symbol} changed by up to {i.quantity} shares without another cause",
        f"filled: bft resolve {key} --as filled --quantity N --price P --exec-id ID --why WORDS",
        f"ended without a fill: bft resolve {key} --as cancelled --why WORDS",
        f"no trace anywhere: bft resolve {key} --as never-arrived --why WORDS",
    )


def to_json(status: IntentStatus, records: Sequence[Written]) -> dict[str, Any]:
    """Return the evidence on one order as JSON's types."""
    return {
        "intent_key": status.intent.intent_key,
        "state": status.state.value,
        "order_ref": status.intent.order_ref,
        "perm_id": status.perm_id,
        "intent": plain(status.intent),
        "executions": plain(status.executions),
        "detail": status.detail,
        "records": [
            {"seq": r.seq, "kind": r.kind, "at_us": r.at_us, "payload": dict(r.payload)}
            for r in records
            if concerns(r, status.intent.intent_key)
        ],
        "look_up": list(look_up(status)),
    }
