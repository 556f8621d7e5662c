"""The state table: what leads where, that nothing is sent twice by it, and what makes an intent itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from bar_fly_trading.strategies.signal import Purpose, Side
from bar_fly_trading.trading.fills import NotCounted, count_execution
from bar_fly_trading.trading.orders import (
    EDGES,
    MAY_BE_AT_BROKER,
    TERMINAL,
    UNRESOLVED,
    Execution,
    IllegalEdge,
    IntentIdentity,
    Mode,
    State,
    check_edge,
    order_ref,
)
from bar_fly_trading.trading.plan import IntentStatus, OrderIntent

IDENTITY = IntentIdentity("DU1", Mode.PAPER, date(2021, 4, 21), "s", "us:X", Side.BUY, Purpose.ENTRY)


def reachable(start: State) -> set[State]:
    """Every state that a state can lead to."""
    found: set[State] = set()
    waiting = [start]
    while waiting:
        for after in EDGES[waiting.pop()] - found:
            found.add(after)
            waiting.append(after)
    return found


def test_every_state_has_its_row_and_can_be_reached() -> None:
    """The table names every state, and each but the first is reached from PLANNED."""
    assert set(EDGES) == set(State)
    assert reachable(State.PLANNED) == set(State) - {State.PLANNED}


def test_only_a_provably_unsent_order_can_be_sent_again() -> None:
    """SENDING is reached from APPROVED alone, and after SENDING only NOT_SENT leads back there."""
    assert {s for s in State if State.SENDING in EDGES[s]} == {State.APPROVED}
    assert {s for s in State if State.APPROVED in EDGES[s]} == {State.AWAITING, State.NOT_SENT}
    for state in (State.WORKING, State.UNKNOWN, State.PARTIAL, State.PARKED, State.CANCELLED, State.FILLED):
        assert State.SENDING not in reachable(state)


def test_terminal_states_change_only_by_fills() -> None:
    """From a terminal state only what was filled can still change; every other state leads on."""
    fills = {State.FILLED, State.FILLED_LATE, State.ADOPTED}
    assert all(EDGES[s] <= fills for s in TERMINAL)
    assert all(EDGES[s] for s in set(State) - TERMINAL)
    assert UNRESOLVED < MAY_BE_AT_BROKER


def test_an_edge_that_is_not_there_stops() -> None:
    """A move outside the table raises; one inside does not."""
    check_edge(State.PLANNED, State.CHECKED)
    with pytest.raises(IllegalEdge, match="SHADOWED -> SENDING"):
        check_edge(State.SHADOWED, State.SENDING)


def test_the_key_is_the_identity_and_nothing_else() -> None:
    """Equal identities have equal keys, 20 characters, stable; any difference makes another key."""
    assert IDENTITY.key() == replace(IDENTITY).key()
    assert (len(IDENTITY.key()), order_ref(IDENTITY.key())) == (20, f"B1-{IDENTITY.key()}")
    others = [
        replace(IDENTITY, account="DU2"),
        replace(IDENTITY, mode=Mode.SHADOW),
        replace(IDENTITY, session=date(2021, 4, 22)),
        replace(IDENTITY, strategy="t"),
        replace(IDENTITY, instrument_id="us:Y"),
        replace(IDENTITY, side=Side.SELL),
        replace(IDENTITY, purpose=Purpose.EXIT),
        replace(IDENTITY, intent_no=2),
    ]
    assert len({i.key() for i in [IDENTITY, *others]}) == 9


def intent(quantity: int = 10) -> OrderIntent:
    """An order of ten."""
    price = Decimal(100)
    return OrderIntent(
        IDENTITY.key(), "DU1", Mode.PAPER, IDENTITY.session, "s", "us:X", "X", 1, Side.BUY, Purpose.ENTRY, 1, 1, quantity,
        price, price, price, price, price, (), "cash", "why",
    )  # fmt: skip


def execution(quantity: int, exec_id: str = "e", revision: int = 0, commission: Decimal | None = None) -> Execution:
    """A fill at 100."""
    return Execution(IDENTITY.key(), exec_id, quantity, Decimal(100), commission, 1, revision)


@pytest.mark.parametrize(
    ("state", "part", "whole"),
    [
        (State.SENDING, State.PARTIAL, State.FILLED),
        (State.WORKING, State.PARTIAL, State.FILLED),
        (State.PARTIAL, State.PARTIAL, State.FILLED),
        (State.UNKNOWN, State.PARTIAL, State.FILLED),
        (State.CANCELLED, State.FILLED_LATE, State.FILLED_LATE),
        (State.EXPIRED, State.FILLED_LATE, State.FILLED_LATE),
        (State.BROKER_REJECTED, State.FILLED_LATE, State.FILLED_LATE),
        (State.FILLED_LATE, State.FILLED_LATE, State.FILLED_LATE),
        (State.PARKED, State.ADOPTED, State.ADOPTED),
        (State.ADOPTED, State.ADOPTED, State.ADOPTED),
    ],
)
def test_a_fill_moves_each_state_along_the_table(state: State, part: State, whole: State) -> None:
    """A part and the whole of an order lead from each state that can be filled to the state of the table."""
    for quantity, after in ((4, part), (10, whole)):
        counted = count_execution(IntentStatus(intent(), state), execution(quantity))
        assert counted is not None
        assert (counted.state, counted.filled_quantity) == (after, quantity)
        check_edge(state, after)


@pytest.mark.parametrize(
    "state", [State.PLANNED, State.CHECKED, State.APPROVED, State.REJECTED, State.SHADOWED, State.DENIED]
)
def test_what_was_never_sent_cannot_be_filled(state: State) -> None:
    """A fill of an order that never left is not counted; a person must look."""
    with pytest.raises(NotCounted):
        count_execution(IntentStatus(intent(), state), execution(1))


def test_fills_count_once_and_never_exceed_the_order() -> None:
    """A repeat and an old revision change nothing, a correction replaces, eleven of ten are not counted."""
    half = count_execution(IntentStatus(intent(), State.WORKING), execution(5))
    assert half is not None
    assert count_execution(half, execution(5)) is None
    corrected = count_execution(half, execution(4, revision=2))
    assert corrected is not None
    assert corrected.filled_quantity == 4
    assert count_execution(corrected, execution(9, revision=1)) is None
    with pytest.raises(NotCounted, match="11 shares"):
        count_execution(corrected, execution(7, "f"))
    with pytest.raises(NotCounted, match="no fill"):
        count_execution(corrected, execution(0, "f"))


def test_an_intent_that_is_no_order_cannot_be_made() -> None:
    """No share, no price, or another intent's key: refused when it is made."""
    for changes in ({"quantity": 0}, {"limit_price_usd": Decimal(0)}, {"side": Side.SELL}):
        with pytest.raises(ValueError, match=r"X:|intent key"):
            replace(intent(), **changes)
