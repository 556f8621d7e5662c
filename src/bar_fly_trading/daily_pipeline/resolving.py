"""A person settles a parked order: what they found at the broker becomes the order's end, once, and is written down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from bar_fly_trading.daily_pipeline.parts import Parts, write_down
from bar_fly_trading.daily_pipeline.sending import take_lease
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import FixInput, Refused
from bar_fly_trading.journal import Journal
from bar_fly_trading.trading.book import fill_record
from bar_fly_trading.trading.fills import NotCounted, count_execution
from bar_fly_trading.trading.orders import (
    ORDER_REF_PREFIX,
    BrokerSnapshot,
    Execution,
    IntentChange,
    Record,
    State,
    check_edge,
)
from bar_fly_trading.trading.plan import IntentStatus
from bar_fly_trading.trading.reading import read_status

OUTCOMES = ("filled", "cancelled", "never-arrived")


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a person found: the outcome, a fill's numbers (`filled` alone has them), who says so, and why."""

    outcome: str
    who: str
    why: str
    quantity: int | None = None
    price_usd: Decimal | None = None
    commission_usd: Decimal | None = None
    exec_id: str = ""


def find_parked(journal: Journal, intent: str) -> IntentStatus:
    """Return the parked order of a key (with or without the reference's prefix).

    FixInput where there is none, Refused where it is not parked.
    """
    key = intent.strip().upper().removeprefix(ORDER_REF_PREFIX)
    row = next((r for r in journal.intents() if r.intent_key == key), None)
    if row is None:
        raise FixInput(f"there is no order {intent}.", way_out="bft parked lists the orders that can be resolved.")
    if row.state is not State.PARKED:
        way_out = "bft parked lists the orders that can be resolved."
        if row.state is State.UNKNOWN:
            way_out = (
                f"Run bft reconcile --as-of {row.session} --mode {row.mode.value}: it adopts the order or parks it."
            )
        raise Refused(f"order {key} is {row.state}, not PARKED; nothing was changed.", way_out=way_out)
    return read_status(row.payload, row.state)


def resolved_record(status: IntentStatus, found: Resolution, at_us: int) -> Record:
    """Return the one record that settles a parked order along PARKED -> ADOPTED; FixInput where the numbers cannot be its."""
    check_edge(status.state, State.ADOPTED)
    key, intent = status.intent.intent_key, status.intent
    said = {
        "outcome": found.outcome,
        "who": found.who,
        "why": found.why,
        "quantity": found.quantity,
        "price_usd": None if found.price_usd is None else f"{found.price_usd:f}",
    }
    detail = f"settled as {found.outcome} by {found.who}: {found.why}"
    if found.outcome != "filled":
        if (found.quantity, found.price_usd, found.commission_usd, found.exec_id) != (None, None, None, ""):
            raise FixInput(f"an order settled as {found.outcome} has no fill.", way_out="Leave its numbers out.")
        new = replace(status, state=State.ADOPTED, detail=detail)
        change = IntentChange(key, State.PARKED, State.ADOPTED, new.payload())
        payload = {"session": intent.session.isoformat(), "intent_key": key, "resolution": said}
        return Record("resolve", payload, (change,))
    if found.quantity is None or found.price_usd is None:
        raise FixInput("a fill has a quantity and a price.", way_out="Add --quantity N --price P, as TWS shows them.")
    exec_id = found.exec_id or f"person-{key}"
    execution = Execution(key, exec_id, found.quantity, found.price_usd, found.commission_usd, at_us)
    try:
        counted = count_execution(status, execution)
    except NotCounted as fault:
        raise FixInput(f"{intent.symbol}: {fault}.", way_out="Compare the numbers with TWS.") from fault
    if counted is None:
        raise FixInput(f"execution {exec_id} was counted before.", way_out="Compare its id with TWS.")
    counted = replace(counted, detail=detail)
    change = IntentChange(key, State.PARKED, counted.state, counted.payload())
    record = fill_record(intent, execution, (change,))
    # One record for both: a kill between a fill and who said so would lose one of them.
    return replace(record, payload={**record.payload, "resolution": said})


def seen_at_broker(status: IntentStatus, snapshot: BrokerSnapshot) -> str:
    """Say what a complete answer of the broker shows of an order, '' where it shows nothing."""
    intent = status.intent
    for order in snapshot.orders:
        by_id = order.order_ref is None and status.perm_id and order.perm_id == status.perm_id
        if order.order_ref == intent.order_ref or by_id:
            return f"the broker shows the order {order.status} ({order.filled} of {order.quantity} filled, permId {order.perm_id})"
    known = {e.exec_id for e in status.executions}
    for execution in snapshot.executions:
        if execution.intent_key == intent.intent_key and execution.exec_id not in known:
            return (
                f"the broker shows its execution {execution.exec_id} of {execution.quantity} at {execution.price_usd}"
            )
    return ""


async def resolve(parts: Parts, status: IntentStatus, found: Resolution) -> IntentStatus:
    """Settle a parked order after the broker was asked once more; Refused while the broker shows it.

    CheckGateway where the broker cannot be asked: what it might show must not be overruled unseen.
    """
    intent = status.intent
    record = resolved_record(status, found, parts.clock.now_us())
    instruments = load_instruments(parts.store)
    connected = await parts.connect(lambda symbol: instruments.id_of(symbol, intent.session))
    try:
        if connected.account != intent.account:
            raise Refused(
                f"the order is of account {intent.account}, the Gateway serves {connected.account}; nothing was changed.",
                way_out="Log the Gateway in to the order's account.",
            )
        if connected.trader is None:
            raise Refused("the broker's orders cannot be read in shadow.", way_out=f"Use --mode {intent.mode.value}.")
        take_lease(parts, intent.account)
        seen = seen_at_broker(status, await connected.trader.snapshot([intent.order_ref]))
    finally:
        await connected.venue.disconnect()
    if seen:
        raise Refused(
            f"{seen}; its fate is not a person's to say, and nothing was changed.",
            way_out=f"Run bft reconcile --as-of {intent.session} --mode {intent.mode.value}: it takes the broker's word.",
        )
    write_down(parts, record)
    (row,) = (r for r in parts.journal.intents(session=intent.session) if r.intent_key == intent.intent_key)
    return read_status(row.payload, row.state)
