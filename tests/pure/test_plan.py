"""Plans as bytes: the same plan has the same id, and what is written is read back equal."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_fly_trading.facts.account import AccountSnapshot, Position
from bar_fly_trading.strategies.signal import Purpose, Side, Signal
from bar_fly_trading.trading.orders import Execution, IntentIdentity, Mode, State
from bar_fly_trading.trading.plan import (
    Cap,
    Criterion,
    IntentStatus,
    OrderIntent,
    Plan,
    RankedSignal,
    Rejection,
    canonical_bytes,
    plain,
)
from bar_fly_trading.trading.reading import read_account, read_plan, read_ranked, read_status

DAY = date(2021, 4, 21)
words = st.text(max_size=12)
money = st.decimals("0.01", "99999", places=2)


@st.composite
def intents(draw: st.DrawFn) -> OrderIntent:
    """Any intent."""
    side, purpose, mode = draw(st.sampled_from(Side)), draw(st.sampled_from(Purpose)), draw(st.sampled_from(Mode))
    strategy, instrument = draw(words), draw(words)
    key = IntentIdentity("DU1", mode, DAY, strategy, instrument, side, purpose).key()
    observed = tuple(draw(st.lists(st.tuples(words, st.none() | words), max_size=3)))
    return OrderIntent(
        key, "DU1", mode, DAY, strategy, instrument, draw(words), 7, side, purpose, 1, draw(st.integers(0, 9)),
        draw(st.integers(1, 999)), draw(money), draw(money), draw(money), draw(money), draw(money),
        (Cap("cash", 3), Cap(draw(words), 9)), "cash", draw(words), observed,
    )  # fmt: skip


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any plan."""
    rejection = Rejection(
        DAY, "s", Mode.SHADOW, "us:X", "X", Side.SELL, Purpose.EXIT, 0, "NOT_HELD", "0", "1", draw(words)
    )
    return Plan(
        DAY,
        date(2021, 4, 20),
        "DU1",
        draw(words),
        draw(words),
        tuple(draw(st.lists(intents(), max_size=3))),
        (rejection,),
    )


@settings(deadline=None)
@given(plans())
def test_a_plan_read_back_is_equal_and_has_the_same_id(plan: Plan) -> None:
    """Through JSON text and back nothing changes, not even a trailing zero."""
    back = read_plan(json.loads(canonical_bytes(plan)))
    assert back == plan
    assert back.plan_id() == plan.plan_id()
    assert canonical_bytes(back) == canonical_bytes(plan)


@settings(deadline=None)
@given(intents(), st.sampled_from(State), st.none() | money)
def test_an_intents_status_read_back_is_equal(intent: OrderIntent, state: State, commission: Decimal | None) -> None:
    """State, fills, permanent id and words come back from the journal's payload."""
    status = IntentStatus(
        intent, state, (Execution(intent.intent_key, "e", 2, Decimal("1.50"), commission, 3, 1),), 77, "why"
    )
    payload = json.loads(canonical_bytes(status.payload()))
    assert (payload["filled_quantity"], payload["mode"], payload["session"]) == (2, intent.mode.value, "2021-04-21")
    assert read_status(payload, state) == status


def test_ranked_signals_and_accounts_come_back() -> None:
    """The evening's list and the morning's account survive their JSON form."""
    signal = Signal(
        DAY, "s", "us:X", "X", Side.BUY, Purpose.ENTRY, 1.5, Decimal("9.10"), "why", (("band", 1.25), ("none", None))
    )
    ranked = RankedSignal(signal, 1, "watch", "why", 0.5, (Criterion("strength", None, 0.0, 0.25),), "unknown", None)
    assert read_ranked(json.loads(canonical_bytes(ranked))) == ranked
    for pnl in (None, Decimal("-1.50")):
        account = AccountSnapshot(
            "DU1", 1, Decimal("2.00"), Decimal(3), pnl, (Position("us:X", "X", 4, Decimal("1.1")),)
        )
        assert read_account(json.loads(canonical_bytes(account))) == account


@pytest.mark.parametrize(
    "change", [{"account": "DU2"}, {"evening_id": "e2"}, {"settings_hash": "h2"}, {"rejections": ()}]
)
def test_any_change_is_another_plan(change: dict[str, object]) -> None:
    """The id moves with everything in the plan."""
    rejection = Rejection(DAY, "s", Mode.SHADOW, "us:X", "X", Side.SELL, Purpose.EXIT, 0, "NOT_HELD", "0", "1", "")
    plan = Plan(DAY, DAY, "DU1", "e", "h", (), (rejection,))
    assert replace(plan, **change).plan_id() != plan.plan_id()  # type: ignore[arg-type]


def test_canonical_text_is_sorted_ascii_and_refuses_nan() -> None:
    """One text for one value: keys sorted, no spaces, ASCII; NaN has none."""
    assert (
        canonical_bytes({"b": 1, "a": [Decimal("1.50"), DAY, Side.BUY, "ü"]})
        == b'{"a":["1.50","2021-04-21","BUY","\\u00fc"],"b":1}'
    )
    assert plain(Decimal("1E+3")) == "1000"
    with pytest.raises(ValueError, match="JSON"):
        canonical_bytes({"x": float("nan")})
