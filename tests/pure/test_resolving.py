"""Settling a parked order: the one record it becomes, and the numbers that cannot be its."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from bar_fly_trading.daily_pipeline.resolving import Resolution, resolved_record, seen_at_broker
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.account import AccountSnapshot
from bar_fly_trading.strategies.signal import Purpose, Side
from bar_fly_trading.trading.book import read_fill
from bar_fly_trading.trading.orders import (
    BrokerOrder,
    BrokerSnapshot,
    Execution,
    IllegalEdge,
    IntentIdentity,
    Mode,
    State,
)
from bar_fly_trading.trading.plan import IntentStatus, OrderIntent

SESSION = date(2021, 4, 21)


def parked() -> IntentStatus:
    """A parked order of 10 shares, 4 of them filled."""
    who = IntentIdentity("DU1", Mode.PAPER, SESSION, "bollinger", "us:ALFA", Side.BUY, Purpose.ENTRY)
    intent = OrderIntent(
        who.key(), "DU1", Mode.PAPER, SESSION, "bollinger", "us:ALFA", "ALFA", 7, Side.BUY, Purpose.ENTRY, 1, 1, 10,
        Decimal("94.02"), Decimal(96), Decimal(94), Decimal("94.02"), Decimal(94), (), "cash", "because",
    )  # fmt: skip
    return IntentStatus(intent, State.PARKED, (Execution(who.key(), "e1", 4, Decimal(94), None, 1),), 881)


def snapshot(*orders: BrokerOrder, executions: tuple[Execution, ...] = ()) -> BrokerSnapshot:
    """A complete answer of the broker."""
    account = AccountSnapshot("DU1", 1, Decimal(1), Decimal(1), Decimal(0), ())
    return BrokerSnapshot(account, orders, executions, 0)


@pytest.mark.parametrize("outcome", ["cancelled", "never-arrived"])
def test_an_order_without_a_fill_becomes_one_resolve_record(outcome: str) -> None:
    """The record goes PARKED -> ADOPTED with who and why, and keeps what was filled before."""
    record = resolved_record(parked(), Resolution(outcome, "anna", "trade log"), 9)
    (change,) = record.changes
    assert (record.kind, change.before, change.after) == ("resolve", State.PARKED, State.ADOPTED)
    assert change.payload is not None
    assert change.payload["filled_quantity"] == 4
    assert record.payload["resolution"]["who"] == "anna"
    with pytest.raises(FixInput):
        resolved_record(parked(), Resolution(outcome, "anna", "x", quantity=1), 9)


def test_a_fill_becomes_one_fill_record_of_the_book() -> None:
    """The fill that a person found is a fill like any other, with the resolution beside it, in one record."""
    found = Resolution("filled", "anna", "trade log", 6, Decimal("94.01"), Decimal(1), "e2")
    record = resolved_record(parked(), found, 9)
    fill = read_fill(record.payload)
    assert (fill.execution.exec_id, fill.execution.quantity, fill.execution.price_usd) == ("e2", 6, Decimal("94.01"))
    (change,) = record.changes
    assert (change.after, (change.payload or {})["filled_quantity"]) == (State.ADOPTED, 10)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": None},
        {"price_usd": None},
        {"quantity": 7},
        {"price_usd": Decimal(0)},
        {"exec_id": "e1"},
    ],
)
def test_numbers_that_cannot_be_its_are_refused(wrong: dict[str, object]) -> None:
    """No quantity or price, more shares than were left, a price of 0, an execution counted before: FixInput."""
    found = Resolution("filled", "anna", "x", 6, Decimal("94.01"), None, "e2")
    with pytest.raises(FixInput):
        resolved_record(parked(), replace(found, **wrong), 9)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [s for s in State if s not in {State.PARKED, State.ADOPTED}])
def test_only_a_parked_order_is_settled(state: State) -> None:
    """From any other state there is no such edge: the program stops."""
    with pytest.raises(IllegalEdge):
        resolved_record(replace(parked(), state=state), Resolution("cancelled", "anna", "x"), 9)


def test_what_the_broker_shows_is_seen_by_reference_permid_and_execution() -> None:
    """An order with our reference, or with our permId and none, and an execution not counted yet: each is in the way."""
    intent, key = parked().intent, parked().intent.intent_key
    assert seen_at_broker(parked(), snapshot(BrokerOrder(intent.order_ref, 5, "ALFA", "working", 10, 0)))
    assert seen_at_broker(parked(), snapshot(BrokerOrder(None, 881, "ALFA", "filled", 10, 10)))
    assert seen_at_broker(parked(), snapshot(executions=(Execution(key, "e2", 1, Decimal(94), None, 1),)))
    assert not seen_at_broker(parked(), snapshot(executions=(Execution(key, "e1", 4, Decimal(94), None, 1),)))
    assert not seen_at_broker(parked(), snapshot(BrokerOrder("TWS", 5, "ALFA", "working", 10, 0)))
