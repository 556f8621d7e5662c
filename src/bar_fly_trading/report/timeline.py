"""What was written about one order, in the order it was written: each record in words, with its time and number. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bar_fly_trading.facts.sessions import new_york_datetime


@dataclass(frozen=True, slots=True)
class Written:
    """One record of the journal, as a report reads it. `at_us`: when it happened; `changes`: what it changed in the intents."""

    seq: int
    kind: str
    at_us: int
    payload: Mapping[str, Any]
    changes: tuple[Mapping[str, Any], ...] = ()
    token: int | None = None


def moment(at_us: int) -> str:
    """Write a moment in New York, to the millisecond."""
    at = new_york_datetime(at_us)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}"


def concerns(record: Written, intent_key: str) -> bool:
    """Tell whether a record is about an order."""
    payload = record.payload
    named = payload.get("intent_key") == intent_key
    execution = payload.get("execution")
    filled = isinstance(execution, Mapping) and execution.get("intent_key") == intent_key
    return named or filled or any(c["intent_key"] == intent_key for c in record.changes)


def timeline(intent_key: str, records: Sequence[Written]) -> tuple[str, ...]:
    """Return one line a record about an order, oldest first."""
    return tuple(
        f"{moment(r.at_us)}  record {r.seq}  {_words(r, intent_key)}" for r in records if concerns(r, intent_key)
    )


def _words(record: Written, intent_key: str) -> str:
    payload = record.payload
    path = [c["after"] for c in record.changes if c["intent_key"] == intent_key]
    moved = " -> ".join(path)
    match record.kind:
        case "plan":
            return f"planned (plan {str(payload['plan_id'])[:16]})"
        case "intent":
            return _intent_words(payload, moved, record.token)
        case "fill":
            return _fill_words(payload, moved)
        case "cancel":
            return f"cancellation asked: {payload['reason']}"
        case "difference":
            return f"reconciliation ({payload['kind']}, {payload['remedy']}): {payload['words']}"
        case "stray_execution":
            return f"an execution that was not counted: {payload['words']}"
        case "resolve":
            return f"{moved}: {resolution_words(payload['resolution'])}"
    return f"{record.kind} {moved}".rstrip()


def _intent_words(payload: Mapping[str, Any], moved: str, token: int | None) -> str:
    words = moved or str(payload.get("state", ""))
    order = payload.get("order")
    if isinstance(order, Mapping):
        words += (
            f": {order['side']} {order['quantity']} {order['symbol']} at limit {order['limit_price_usd']}"
            f" (bid {order['bid_usd']}, ask {order['ask_usd']}, conId {order['con_id']})"
        )
    detail = payload.get("detail") or payload.get("approval")
    if detail:
        words += f": {detail}"
    return words if token is None else f"{words} [token {token}]"


def _fill_words(payload: Mapping[str, Any], moved: str) -> str:
    e = payload["execution"]
    fee = "not known" if e["commission_usd"] is None else f"{e['commission_usd']} USD"
    revision = f", revision {e['revision']}" if e["revision"] > 1 else ""
    words = f"fill of {e['quantity']} at {e['price_usd']} (execution {e['exec_id']}{revision}, commission {fee})"
    if moved:
        words += f": {moved}"
    resolution = payload.get("resolution")
    return words if resolution is None else f"{words}: {resolution_words(resolution)}"


def resolution_words(resolution: Mapping[str, Any]) -> str:
    """Say how a person settled an order."""
    return f"settled as {resolution['outcome']} by {resolution['who']}: {resolution['why']}"
