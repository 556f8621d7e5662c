"""Reconciliation: what the broker says against what the journal says, case by case, and what is done about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_fly_trading.facts.account import AccountSnapshot, Position
from bar_fly_trading.reconcile import Reconciliation, Remedy, difference_payload, reconcile
from bar_fly_trading.strategies.signal import Purpose, Side
from bar_fly_trading.trading.orders import (
    TERMINAL,
    BrokerOrder,
    BrokerSnapshot,
    Execution,
    IntentIdentity,
    Mode,
    State,
    check_edge,
    order_ref,
)
from bar_fly_trading.trading.plan import IntentStatus, OrderIntent, canonical_bytes

DAY = date(2021, 4, 21)
SENT, LATER = 1_000_000_000, 1_000_000_000 + 120_000_000


def intent(symbol: str = "X", side: Side = Side.BUY, quantity: int = 10, mode: Mode = Mode.PAPER) -> OrderIntent:
    """An order of ten."""
    purpose = Purpose.ENTRY if side is Side.BUY else Purpose.EXIT
    key = IntentIdentity("DU1", mode, DAY, "s", f"us:{symbol}", side, purpose).key()
    price = Decimal(100)
    return OrderIntent(
        key, "DU1", mode, DAY, "s", f"us:{symbol}", symbol, 1, side, purpose, 1, 1, quantity,
        price, price, price, price, price, (), "cash", "why",
    )  # fmt: skip


def broker_order(of: OrderIntent, status: str, filled: int = 0, **changes: Any) -> BrokerOrder:
    """The broker's word on an order."""
    return replace(BrokerOrder(order_ref(of.intent_key), 77, of.symbol, status, of.quantity, filled), **changes)


def execution(of: OrderIntent, quantity: int, exec_id: str = "e1", revision: int = 0) -> Execution:
    """A fill."""
    return Execution(of.intent_key, exec_id, quantity, Decimal(100), Decimal(1), SENT, revision)


def snapshot(
    *orders: BrokerOrder,
    executions: tuple[Execution, ...] = (),
    held: dict[str, int] | None = None,
    at_us: int = LATER,
    foreign: int = 0,
) -> BrokerSnapshot:
    """One complete answer of the broker."""
    positions = tuple(Position(f"us:{s}", s, q, Decimal(1)) for s, q in (held or {}).items())
    return BrokerSnapshot(
        AccountSnapshot("DU1", at_us, Decimal(0), Decimal(0), None, positions), orders, executions, foreign
    )


def run(status: IntentStatus | None, *snapshots: BrokerSnapshot, book: dict[str, int] | None = None) -> Reconciliation:
    """Reconcile one intent, checking that its records move it along the table from where it stood."""
    statuses = [status] if status else []
    result = reconcile(DAY, statuses, snapshots, book_quantities=book or {}, quiet_since_us=SENT)
    at = status.state if status else None
    for record in result.records:
        canonical_bytes(record.payload)
        for change in record.changes:
            assert at is not None
            assert change.before is at
            check_edge(at, change.after)
            at = change.after
    assert [s.state for s in result.statuses] == ([at] if status else [])
    for difference in result.differences:
        canonical_bytes(difference_payload(DAY, difference))
    return result


def kinds(result: Reconciliation) -> list[str]:
    """The kinds of the differences."""
    return [d.kind for d in result.differences]


def at(state: State, *executions: Execution, of: OrderIntent | None = None, perm_id: int = 77) -> IntentStatus:
    """An intent in a state."""
    return IntentStatus(of or intent(), state, executions, perm_id)


X = intent()


def test_where_both_agree_there_is_nothing_to_do() -> None:
    """A filled order whose execution and position are the broker's too: no difference."""
    done = at(State.FILLED, execution(X, 10))
    assert (
        kinds(
            run(
                done,
                snapshot(broker_order(X, "filled", 10), executions=(execution(X, 10),), held={"X": 10}),
                book={"us:X": 10},
            )
        )
        == []
    )


@pytest.mark.parametrize(
    ("state", "quantity", "after"),
    [
        (State.SENDING, 10, State.FILLED),
        (State.UNKNOWN, 10, State.FILLED),
        (State.WORKING, 4, State.PARTIAL),
        (State.CANCELLED, 4, State.FILLED_LATE),
        (State.PARKED, 10, State.ADOPTED),
    ],
)
def test_a_fill_that_the_journal_missed_is_adopted(state: State, quantity: int, after: State) -> None:
    """A fill while we were away is recorded under its order and moves its state; the position then agrees."""
    seen = snapshot(broker_order(X, "working", quantity), executions=(execution(X, quantity),), held={"X": quantity})
    result = run(at(state), seen)
    assert kinds(result) == ["FILL_MISSING"]
    assert [r.kind for r in result.records] == ["fill"]
    assert (result.statuses[0].state, result.statuses[0].filled_quantity) == (after, quantity)


@pytest.mark.parametrize(
    ("state", "word", "after"),
    [
        (State.UNKNOWN, "working", State.WORKING),
        (State.SENDING, "working", State.WORKING),
        (State.UNKNOWN, "cancelled", State.CANCELLED),
        (State.UNKNOWN, "rejected", State.BROKER_REJECTED),
        (State.WORKING, "expired", State.EXPIRED),
        (State.WORKING, "cancelled", State.CANCELLED),
        (State.PARKED, "cancelled", State.ADOPTED),
        (State.PARKED, "working", State.ADOPTED),
    ],
)
def test_an_order_that_is_seen_is_not_unknown(state: State, word: str, after: State) -> None:
    """What the broker shows under our reference settles an unknown order; nothing is sent."""
    result = run(at(state), snapshot(broker_order(X, word)))
    assert result.statuses[0].state is after
    assert all(d.remedy is Remedy.RECORD for d in result.differences)


def test_the_rest_of_a_partial_order_refused_is_cancelled() -> None:
    """Four of ten filled, the rest refused: CANCELLED with four."""
    part = at(State.PARTIAL, execution(X, 4))
    result = run(
        part, snapshot(broker_order(X, "rejected", 4), executions=(execution(X, 4),), held={"X": 4}), book={"us:X": 4}
    )
    assert (result.statuses[0].state, result.statuses[0].filled_quantity) == (State.CANCELLED, 4)


def test_an_order_without_our_reference_is_found_by_its_permanent_id() -> None:
    """Where the reference is lost the permanent id finds the order; without either it is foreign and left alone."""
    lost = broker_order(X, "cancelled", order_ref=None)
    assert run(at(State.UNKNOWN), snapshot(lost)).statuses[0].state is State.CANCELLED
    other = run(at(State.UNKNOWN, perm_id=0), snapshot(lost))
    assert kinds(other) == ["ORDER_UNSEEN", "ORDER_FOREIGN"]


def test_absence_is_proof_only_after_quiet_and_twice_and_only_for_parking() -> None:
    """Not in one snapshot, or in two too early: wait. Not in two after 120 s: PARKED, for a person; never sent, never rejected."""
    early = replace(snapshot(), account=replace(snapshot().account, at_us=LATER - 1))
    for seen in ([snapshot()], [early, early], [early, snapshot()]):
        result = run(at(State.UNKNOWN), *seen)
        assert (kinds(result), result.statuses[0].state) == (["ORDER_UNSEEN"], State.UNKNOWN)
        assert result.differences[0].remedy is Remedy.WAIT
    result = run(at(State.UNKNOWN), snapshot(), snapshot())
    assert (kinds(result), result.statuses[0].state) == (["ORDER_PARKED"], State.PARKED)
    assert result.need_a_person()
    for state in (State.SENDING, State.WORKING, State.PARTIAL):
        assert run(at(state), snapshot()).statuses[0].state is State.UNKNOWN
        assert run(at(state), snapshot(), snapshot()).statuses[0].state is State.PARKED


def test_an_order_seen_in_either_snapshot_is_not_parked() -> None:
    """Seen once is seen, whichever of the two answers had it."""
    for seen in (
        [snapshot(broker_order(X, "cancelled")), snapshot()],
        [snapshot(), snapshot(broker_order(X, "cancelled"))],
    ):
        assert run(at(State.UNKNOWN), *seen).statuses[0].state is State.CANCELLED


def test_a_broker_that_says_filled_without_executions_needs_a_person() -> None:
    """Executions alone count: `filled` without them changes nothing and is shown."""
    for order in (broker_order(X, "filled", 10), broker_order(X, "cancelled", 3)):
        result = run(at(State.UNKNOWN), snapshot(order), snapshot(order))
        assert (kinds(result), result.statuses[0].state) == (["EXECUTIONS_MISSING"], State.UNKNOWN)
        assert result.need_a_person()


def test_what_cannot_be_is_shown_and_not_counted() -> None:
    """Too many shares, a fill of what was never sent, a reference the journal lacks, one reference twice: a person looks."""
    twice = (execution(X, 10), execution(X, 1, "e2"))
    over = run(at(State.WORKING), snapshot(broker_order(X, "filled", 10), executions=twice, held={"X": 10}))
    assert kinds(over) == ["FILL_MISSING", "FILL_IMPOSSIBLE"]
    assert kinds(run(at(State.PLANNED), snapshot(executions=(execution(X, 1),)))) == ["FILL_IMPOSSIBLE"]
    unknown = run(None, snapshot(broker_order(X, "working"), executions=(execution(X, 1),)))
    assert kinds(unknown) == ["FILL_IMPOSSIBLE", "ORDER_NOT_IN_JOURNAL"]
    double = run(at(State.UNKNOWN), snapshot(broker_order(X, "working"), broker_order(X, "working", perm_id=78)))
    assert kinds(double) == ["ORDER_TWICE"]
    for result in (over, unknown, double):
        assert result.need_a_person()


def test_what_is_not_ours_is_named_and_left_alone() -> None:
    """The user's own orders, executions and positions are said and bring no record."""
    own = BrokerOrder("by hand", 5, "Y", "working", 3, 0)
    result = run(None, snapshot(own, foreign=2, held={"Y": 3}))
    assert kinds(result) == ["ORDER_FOREIGN", "EXECUTIONS_FOREIGN", "POSITION_FOREIGN"]
    assert result.records == ()
    assert not result.need_a_person()


def test_a_position_below_the_book_needs_a_person() -> None:
    """The account has less than the book: sold by hand, or a fill we do not know; both signs of a fill found now count."""
    assert kinds(run(None, snapshot(held={"X": 4}), book={"us:X": 5})) == ["POSITION_BELOW_BOOK"]
    sell = intent(side=Side.SELL)
    seen = snapshot(broker_order(sell, "filled", 10), executions=(execution(sell, 10),))
    assert kinds(run(at(State.UNKNOWN, of=sell), seen, book={"us:X": 10})) == ["FILL_MISSING"]


def test_shadow_intents_are_not_the_brokers_business() -> None:
    """A shadow intent is never looked for, parked or moved."""
    shadow = IntentStatus(intent(mode=Mode.SHADOW), State.PLANNED)
    result = reconcile(DAY, [shadow], [snapshot(), snapshot()], book_quantities={}, quiet_since_us=SENT)
    assert (result.differences, result.statuses) == ((), ())


def test_reconciling_twice_changes_nothing_more() -> None:
    """A second reconciliation of the same answer finds nothing new to record."""
    seen = snapshot(broker_order(X, "cancelled", 4), executions=(execution(X, 4),), held={"X": 4})
    first = run(at(State.UNKNOWN), seen)
    assert kinds(first) == ["FILL_MISSING", "ORDER_ENDED"]
    assert kinds(run(first.statuses[0], seen, book={"us:X": 4})) == []


@settings(deadline=None)
@given(
    st.sampled_from(State),
    st.lists(st.sampled_from(["working", "cancelled", "rejected", "expired", "filled", "odd"]), max_size=2),
    st.lists(st.tuples(st.integers(-1, 12), st.integers(0, 2), st.integers(0, 1)), max_size=4),
    st.integers(1, 3),
)
def test_no_answer_of_the_broker_sends_or_overfills(
    state: State, order_words: list[str], fills: list[tuple[int, int, int]], count: int
) -> None:
    """Whatever the broker says: only legal edges, never towards a send, fills within the order, terminal stays terminal."""
    orders = tuple(broker_order(X, word, perm_id=n) for n, word in enumerate(order_words))
    executions = tuple(execution(X, q, f"e{n}", r) for q, n, r in fills)
    result = run(at(state), *[snapshot(*orders, executions=executions)] * count)
    (status,) = result.statuses
    assert 0 <= status.filled_quantity <= X.quantity
    assert status.state is state or status.state not in {State.APPROVED, State.SENDING, State.NOT_SENT, State.REJECTED}
    if state in TERMINAL:
        assert status.state in TERMINAL
