"""X41: a broker that knows an order of ours which the journal does not, or which by the journal never left."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bar_fly_trading.facts.account import AccountSnapshot
from bar_fly_trading.reconcile import NEVER_LEFT, unknown_to_journal
from bar_fly_trading.trading.orders import EDGES, BrokerOrder, BrokerSnapshot, Execution, State


def snapshot(*refs: str | None, executed: str | None = None) -> BrokerSnapshot:
    """A broker with orders of some references, and perhaps an execution of one."""
    account = AccountSnapshot("DU1", 1, Decimal(1), Decimal(1), Decimal(0), ())
    orders = tuple(BrokerOrder(ref, n, "ALFA", "working", 3, 0) for n, ref in enumerate(refs, 1))
    fills = () if executed is None else (Execution(executed, "e1", 3, Decimal(94), None, 1),)
    return BrokerSnapshot(account, orders, fills, 0)


@pytest.mark.parametrize("state", list(State))
def test_x41_an_order_that_never_left_is_not_at_the_broker(state: State) -> None:
    """An order of ours at the broker is a doubt exactly where the journal says that it never left; so is an execution."""
    found = unknown_to_journal(snapshot("B1-K1"), {"K1": state})
    assert bool(found) is (state in NEVER_LEFT)
    assert bool(unknown_to_journal(snapshot(executed="K1"), {"K1": state})) is (state in NEVER_LEFT)


def test_x41_an_order_the_journal_does_not_have_is_named() -> None:
    """A reference the journal never had is named with its permId, once; the orders of others are not ours to doubt."""
    (words,) = unknown_to_journal(snapshot("B1-K9", None, "TWS", executed="K9"), {})
    assert "B1-K9" in words
    assert "permId 1" in words
    assert "no such order" in words
    assert unknown_to_journal(snapshot(None, "TWS"), {}) == ()


def test_what_never_left_is_what_no_send_can_be_before() -> None:
    """Every state up to APPROVED, the ends reached from there without a send, and NOT_SENT: no state after SENDING is among them."""
    after, left = {State.SENDING}, set()
    while after:
        state = after.pop()
        left.add(state)
        after |= EDGES[state] - left - {State.NOT_SENT}
    assert NEVER_LEFT.isdisjoint(left)
    assert {State.APPROVED, State.NOT_SENT} <= NEVER_LEFT
