"""Reconciliation: the broker's facts against the journal's, and what to do about each difference. Pure.

Orders are matched by our reference, then by the broker's permanent id; executions by the base of their id. Executions alone
count as fills. Absence proves something only in complete snapshots taken after a quiet time, and then only that a person
must decide: an order is never sent again, and never taken for rejected, because it was not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from bar_fly_trading.strategies.signal import Side
from bar_fly_trading.trading.book import fill_record
from bar_fly_trading.trading.fills import NotCounted, count_execution
from bar_fly_trading.trading.orders import (
    EDGES,
    MAY_BE_AT_BROKER,
    ORDER_REF_PREFIX,
    BrokerOrder,
    BrokerSnapshot,
    Execution,
    IntentChange,
    Mode,
    Record,
    State,
    order_ref,
)
from bar_fly_trading.trading.plan import IntentStatus, plain

QUIET_S_MIN = 120.0
COMPLETE_SNAPSHOTS_MIN = 2
_ENDS = {"cancelled": State.CANCELLED, "rejected": State.BROKER_REJECTED, "expired": State.EXPIRED}


class Remedy(StrEnum):
    """What to do about a difference: RECORD its records settle it; WAIT and reconcile again; LOOK: a person decides."""

    RECORD = "record"
    WAIT = "wait"
    LOOK = "look"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference, in words, with what to do. `records` are to be appended, in their order.

    Kinds: FILL_MISSING, FILL_IMPOSSIBLE, ORDER_ENDED, ORDER_WORKING, ORDER_UNSEEN, ORDER_PARKED, EXECUTIONS_MISSING,
    ORDER_TWICE, ORDER_NOT_IN_JOURNAL, ORDER_FOREIGN, EXECUTIONS_FOREIGN, POSITION_BELOW_BOOK, POSITION_FOREIGN.
    """

    kind: str
    remedy: Remedy
    words: str
    intent_key: str | None = None
    instrument_id: str | None = None
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Every difference, and where the intents stand once all records are appended."""

    differences: tuple[Difference, ...]
    statuses: tuple[IntentStatus, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """Return all records, in order."""
        return tuple(r for d in self.differences for r in d.records)

    def need_a_person(self) -> tuple[Difference, ...]:
        """Return the differences that only a person can settle."""
        return tuple(d for d in self.differences if d.remedy is Remedy.LOOK)


def reconcile(
    session: date,
    statuses: Sequence[IntentStatus],
    snapshots: Sequence[BrokerSnapshot],
    *,
    book_quantities: Mapping[str, int],
    quiet_since_us: int,
) -> Reconciliation:
    """Compare the journal's paper intents with complete snapshots of the broker (oldest first, at least one).

    `session`: under which the records are written. `quiet_since_us`: the last moment at which an order may still have been
    under way (broker's clock); only snapshots 120 s later count against an order that is not in them. `book_quantities`:
    shares the paper book holds by instrument, before the fills found here.
    """
    if not snapshots:
        raise ValueError("reconcile needs at least one complete snapshot")
    newest = snapshots[-1]
    standing = {s.intent.intent_key: s for s in statuses if s.intent.mode is not Mode.SHADOW}
    before = dict(standing)
    differences: list[Difference] = []
    for snapshot in snapshots:
        for execution in snapshot.executions:
            differences += _execution(session, standing, execution)
    late = [s for s in snapshots if s.account.at_us - quiet_since_us >= QUIET_S_MIN * 1_000_000]
    for key in sorted(standing):
        differences += _order(session, standing, key, snapshots, len(late) >= COMPLETE_SNAPSHOTS_MIN)
    differences += _foreign(standing, newest)
    differences += _positions(newest, book_quantities, before, standing)
    return Reconciliation(
        tuple(differences), tuple(standing[s.intent.intent_key] for s in statuses if s.intent.intent_key in standing)
    )


def _execution(session: date, standing: dict[str, IntentStatus], execution: Execution) -> list[Difference]:
    status = standing.get(execution.intent_key)
    if status is None:
        words = f"execution {execution.exec_id} bears our reference {execution.intent_key}, but the journal has no such order"
        return [Difference("FILL_IMPOSSIBLE", Remedy.LOOK, words, execution.intent_key)]
    intent = status.intent
    try:
        counted = count_execution(status, execution)
    except NotCounted as fault:
        return [
            Difference(
                "FILL_IMPOSSIBLE", Remedy.LOOK, f"{intent.symbol}: {fault}", intent.intent_key, intent.instrument_id
            )
        ]
    if counted is None:
        return []
    standing[intent.intent_key] = counted
    change = IntentChange(intent.intent_key, status.state, counted.state, counted.payload())
    words = (
        f"{intent.symbol}: the broker filled {execution.quantity} at {execution.price_usd}, the journal did not have it"
    )
    record = fill_record(intent, execution, (change,))
    return [Difference("FILL_MISSING", Remedy.RECORD, words, intent.intent_key, intent.instrument_id, (record,))]


def _matching(status: IntentStatus, snapshots: Sequence[BrokerSnapshot]) -> list[BrokerOrder]:
    """Return the newest sight of each broker order that is this intent's, by reference, else by permanent id."""
    found: dict[int, BrokerOrder] = {}
    reference = order_ref(status.intent.intent_key)
    for snapshot in snapshots:
        for order in snapshot.orders:
            by_id = order.order_ref is None and status.perm_id != 0 and order.perm_id == status.perm_id
            if order.order_ref == reference or by_id:
                found[order.perm_id] = order
    return [found[perm_id] for perm_id in sorted(found)]


def _order(
    session: date, standing: dict[str, IntentStatus], key: str, snapshots: Sequence[BrokerSnapshot], proven: bool
) -> list[Difference]:
    status = standing[key]
    found = _matching(status, snapshots)
    at = (key, status.intent.instrument_id)
    if len(found) > 1:
        words = f"{status.intent.symbol}: the broker has {len(found)} orders with the reference of one intent"
        return [Difference("ORDER_TWICE", Remedy.LOOK, words, *at)]
    if status.state not in MAY_BE_AT_BROKER:
        return []
    if not found:
        return _unseen(session, standing, key, proven)
    order = found[0]
    if order.filled > status.filled_quantity or order.status == "filled":
        words = (
            f"{status.intent.symbol}: the broker says {order.filled} of {order.quantity} filled, but its executions say"
            f" {status.filled_quantity}"
        )
        return [Difference("EXECUTIONS_MISSING", Remedy.LOOK, words, *at)]
    after = _ENDS.get(order.status, State.WORKING)
    kind = "ORDER_WORKING" if after is State.WORKING else "ORDER_ENDED"
    if status.state is State.PARKED:
        after = State.ADOPTED
    elif after not in EDGES[status.state]:
        # A part is filled: the refusal of the rest is its cancellation, and working it is already.
        after = State.CANCELLED if after is State.BROKER_REJECTED else status.state
    if after is status.state:
        return []
    words = f"{status.intent.symbol}: {status.state} in the journal, {order.status} at the broker"
    return [
        Difference(kind, Remedy.RECORD, words, *at, (_move(session, standing, key, (after,), words, order.perm_id),))
    ]


def _unseen(session: date, standing: dict[str, IntentStatus], key: str, proven: bool) -> list[Difference]:
    """Treat an order that no snapshot shows: unknown at first, parked for a person once the absence is complete."""
    status = standing[key]
    at = (key, status.intent.instrument_id)
    if status.state is State.PARKED:
        words = f"{status.intent.symbol}: parked, and the broker still does not show it; a person must decide"
        return [Difference("ORDER_PARKED", Remedy.LOOK, words, *at)]
    path = () if status.state is State.UNKNOWN else (State.UNKNOWN,)
    if proven:
        words = f"{status.intent.symbol}: in no complete snapshot after {QUIET_S_MIN:g} s of quiet; parked for a person"
        record = _move(session, standing, key, (*path, State.PARKED), words)
        return [Difference("ORDER_PARKED", Remedy.LOOK, words, *at, (record,))]
    words = f"{status.intent.symbol}: {status.state} in the journal, not at the broker; not proven yet"
    records = (_move(session, standing, key, path, words),) if path else ()
    return [Difference("ORDER_UNSEEN", Remedy.WAIT, words, *at, records)]


def _move(
    session: date, standing: dict[str, IntentStatus], key: str, path: tuple[State, ...], words: str, perm_id: int = 0
) -> Record:
    status = standing[key]
    new = replace(status, state=path[-1], detail=words, perm_id=status.perm_id or perm_id)
    changes, before = [], status.state
    for after in path:
        changes.append(IntentChange(key, before, after, new.payload()))
        before = after
    standing[key] = new
    payload = {"session": session.isoformat(), "intent_key": key, "state": path[-1].value, "detail": words}
    return Record("intent", payload, tuple(changes))


def _foreign(standing: Mapping[str, IntentStatus], snapshot: BrokerSnapshot) -> list[Difference]:
    """Name the orders and executions that are not ours; they are never touched."""
    found = []
    perm_ids = {s.perm_id for s in standing.values() if s.perm_id}
    for order in snapshot.orders:
        reference = order.order_ref or ""
        if reference.startswith(ORDER_REF_PREFIX):
            key = reference.removeprefix(ORDER_REF_PREFIX)
            if key not in standing:
                words = f"{order.symbol}: an order with our reference {reference} that the journal does not have"
                found.append(Difference("ORDER_NOT_IN_JOURNAL", Remedy.LOOK, words, key))
        elif order.perm_id not in perm_ids:
            words = f"{order.symbol}: an order of {order.quantity} that is not ours ({order.status}); left alone"
            found.append(Difference("ORDER_FOREIGN", Remedy.RECORD, words))
    if snapshot.foreign_executions:
        words = f"{snapshot.foreign_executions} executions that are not ours; left alone"
        found.append(Difference("EXECUTIONS_FOREIGN", Remedy.RECORD, words))
    return found


def _positions(
    snapshot: BrokerSnapshot,
    book_quantities: Mapping[str, int],
    before: Mapping[str, IntentStatus],
    after: Mapping[str, IntentStatus],
) -> list[Difference]:
    """Compare shares by instrument, the fills just found included: positions are the referee."""
    book = dict(book_quantities)
    for key, status in after.items():
        filled = status.filled_quantity - before[key].filled_quantity
        sign = 1 if status.intent.side is Side.BUY else -1
        book[status.intent.instrument_id] = book.get(status.intent.instrument_id, 0) + sign * filled
    held = {p.instrument_id: 0 for p in snapshot.account.positions}
    for position in snapshot.account.positions:
        held[position.instrument_id] += position.quantity
    found = []
    for instrument_id in sorted(set(book) | set(held)):
        ours, theirs = book.get(instrument_id, 0), held.get(instrument_id, 0)
        if theirs < ours:
            words = f"{instrument_id}: the book holds {ours}, the account {theirs}"
            found.append(Difference("POSITION_BELOW_BOOK", Remedy.LOOK, words, None, instrument_id))
        elif theirs > ours:
            words = (
                f"{instrument_id}: the account holds {theirs}, of which {ours} are the book's; the rest is left alone"
            )
            found.append(Difference("POSITION_FOREIGN", Remedy.RECORD, words, None, instrument_id))
    return found


# States of an order that never left; a broker that knows such an order knows more than the journal.
NEVER_LEFT = frozenset(
    {
        State.PLANNED,
        State.CHECKED,
        State.REJECTED,
        State.SHADOWED,
        State.AWAITING,
        State.DENIED,
        State.APPROVED,
        State.NOT_SENT,
    }
)


def unknown_to_journal(snapshot: BrokerSnapshot, states: Mapping[str, State]) -> tuple[str, ...]:
    """Say, in words, which orders and executions bear our reference but are not in the journal, or never left by it.

    `states`: of every intent the journal ever had. Anything here means that the journal is older than what was done.
    """
    seen: dict[str, str] = {}
    for order in snapshot.orders:
        if order.order_ref is not None and order.order_ref.startswith(ORDER_REF_PREFIX):
            key = order.order_ref.removeprefix(ORDER_REF_PREFIX)
            seen.setdefault(
                key, f"an order of {order.quantity} {order.symbol} ({order.status}, permId {order.perm_id})"
            )
    for execution in snapshot.executions:
        words = f"an execution of {execution.quantity} at {execution.price_usd} ({execution.exec_id})"
        seen.setdefault(execution.intent_key, words)
    found = []
    for key, words in sorted(seen.items()):
        state = states.get(key)
        if state is None or state in NEVER_LEFT:
            what = "the journal has no such order" if state is None else f"by the journal it is {state} and never left"
            found.append(f"the broker has {words} with our reference {ORDER_REF_PREFIX}{key}, but {what}")
    return tuple(found)


def difference_payload(session: date, difference: Difference) -> dict[str, object]:
    """Return the journal's payload of a `difference` record (its own records apart)."""
    return {**plain(replace(difference, records=())), "session": session.isoformat()}
