"""Combination: who agrees, who confirms, and that every signal ends somewhere."""

import random
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.strategies import build
from bar_fly_trading.strategies.signal import Holding, MarketView, Purpose, Side, Signal
from bar_fly_trading.trading.signal_combination import Combination, CombinationRule, combine, combined_exits

SESSION = date(2021, 4, 20)
NAN = float("nan")
CONFIRMED = CombinationRule("confirmed", "any", ("bollinger",), predicted_return_3d_min=0.0)


def entry(strategy: str, symbol: str = "AAPL", strength: float = 0.5) -> Signal:
    """A BUY of one strategy."""
    return Signal(
        session=SESSION,
        strategy=strategy,
        instrument_id=f"us:{symbol}",
        symbol=symbol,
        side=Side.BUY,
        purpose=Purpose.ENTRY,
        strength=strength,
        close_usd=Decimal("100.5"),
        reason=f"{strategy} likes {symbol}.",
        observed=(("number", 1.0),),
    )


def leave(strategy: str, symbol: str = "AAPL") -> Signal:
    """A SELL of one strategy."""
    return replace(entry(strategy, symbol), side=Side.SELL, purpose=Purpose.EXIT)


def predictions(**returns: float | None) -> pl.DataFrame:
    """Predicted 3-day returns by symbol."""
    return pl.DataFrame(
        {
            "session": [SESSION] * len(returns),
            "instrument_id": [f"us:{symbol}" for symbol in returns],
            "return_3d": list(returns.values()),
        },
        schema_overrides={"return_3d": pl.Float64},
    )


def test_without_rules_everything_passes_unchanged() -> None:
    """No rule: the same signals, in sort-key order."""
    signals = [entry("regression_momentum"), leave("bollinger"), entry("bollinger", "MSFT")]
    assert combine(signals, None, ()) == Combination(tuple(sorted(signals, key=Signal.sort_key)))


def test_bollinger_buy_and_predicted_return_above_zero() -> None:
    """A BUY with a positive prediction goes on under the combination's name; its member is consumed."""
    out = combine([entry("bollinger")], predictions(AAPL=0.004), [CONFIRMED])
    (signal,) = out.signals
    assert (signal.strategy, signal.side, signal.purpose, signal.close_usd) == (
        "confirmed",
        Side.BUY,
        Purpose.ENTRY,
        Decimal("100.5"),
    )
    assert signal.reason == (
        "confirmed: bollinger (needs any of bollinger), predicted 3-day return 0.004 above 0. "
        "[bollinger] bollinger likes AAPL."
    )
    assert signal.observed == (("bollinger.number", 1.0), ("predicted_return_3d", 0.004))
    assert (out.combined, out.refused) == ((entry("bollinger"),), ())


@pytest.mark.parametrize(
    ("value", "observed"), [(0.0, "0"), (-0.01, "-0.01"), (None, "no prediction"), (NAN, "no prediction")]
)
def test_a_confirmation_that_fails_refuses_with_numbers(value: float | None, observed: str) -> None:
    """Zero, negative, null and NaN refuse; the refusal names combination, rule, observed and limit."""
    out = combine([entry("bollinger")], predictions(AAPL=value), [CONFIRMED])
    (refusal,) = out.refused
    assert out.signals == out.combined == ()
    assert refusal.signal == entry("bollinger")
    assert (refusal.combination, refusal.rule, refusal.observed, refusal.limit) == (
        "confirmed",
        "confirmation",
        observed,
        "above 0",
    )
    assert refusal.reason == f"AAPL: confirmed needs a predicted 3-day return above 0; there is {observed}."


def test_no_model_refuses_the_entries_that_need_one() -> None:
    """Predictions None, or of another session or name, are missing predictions."""
    yesterday = predictions(AAPL=0.05).with_columns(session=pl.lit(SESSION - timedelta(days=1)))
    for missing in (None, predictions(MSFT=0.05), yesterday):
        out = combine([entry("bollinger")], missing, [CONFIRMED])
        assert [r.observed for r in out.refused] == ["no prediction"]


def test_exits_always_pass_unchanged() -> None:
    """A member's SELL is never combined, asked for confirmation or refused."""
    out = combine([leave("bollinger")], None, [CONFIRMED])
    assert out == Combination((leave("bollinger"),))


def test_strategies_that_are_no_members_pass_unchanged() -> None:
    """A rule touches its members alone."""
    out = combine([entry("regression_momentum")], None, [CONFIRMED])
    assert out == Combination((entry("regression_momentum"),))


def test_all_needs_every_member_on_the_same_name() -> None:
    """Both on AAPL combine; one alone on MSFT is refused by agreement, with who was there and who was needed."""
    rule = CombinationRule("both", "all", ("bollinger", "regression_momentum"))
    signals = [entry("bollinger", strength=0.2), entry("regression_momentum", strength=0.7), entry("bollinger", "MSFT")]
    out = combine(signals, None, [rule])
    (signal,) = out.signals
    assert (signal.strategy, signal.instrument_id, signal.strength) == ("both", "us:AAPL", 0.7)
    assert "both: bollinger, regression_momentum (needs all of bollinger, regression_momentum)." in signal.reason
    assert "[bollinger] bollinger likes AAPL. [regression_momentum] regression_momentum likes AAPL." in signal.reason
    assert set(out.combined) == set(signals[:2])
    (refusal,) = out.refused
    assert (refusal.signal, refusal.rule, refusal.observed, refusal.limit) == (
        signals[2],
        "agreement",
        "bollinger",
        "all of bollinger, regression_momentum",
    )


def test_any_needs_one_and_makes_one() -> None:
    """Two members on one name make one combined signal, not two."""
    rule = CombinationRule("either", "any", ("bollinger", "regression_momentum"))
    out = combine([entry("bollinger"), entry("regression_momentum"), entry("bollinger", "MSFT")], None, [rule])
    assert [(s.strategy, s.symbol) for s in out.signals] == [("either", "AAPL"), ("either", "MSFT")]


def test_weighted_adds_what_the_person_wrote() -> None:
    """0.7 + 0.1 reaches 0.8, although binary floats do not; 0.7 alone does not."""
    rule = CombinationRule("sum", "weighted", ("a", "b"), (0.7, 0.1), 0.8)
    assert [s.strategy for s in combine([entry("a"), entry("b")], None, [rule]).signals] == ["sum"]
    (refusal,) = combine([entry("a")], None, [rule]).refused
    assert (refusal.observed, refusal.limit) == ("a: weight 0.7", "weight 0.8")


def test_weighted_where_one_is_enough() -> None:
    """A member that reaches the threshold alone needs nobody."""
    rule = CombinationRule("sum", "weighted", ("a", "b"), (0.6, 0.4), 0.5)
    assert len(combine([entry("a")], None, [rule]).signals) == 1
    assert len(combine([entry("b")], None, [rule]).refused) == 1


def test_a_signal_in_two_rules_ends_once() -> None:
    """Combined by one rule and refused by another is combined; refused by both carries the first rule's words."""
    strict = CombinationRule("strict", "all", ("bollinger", "regression_momentum"))
    out = combine([entry("bollinger")], predictions(AAPL=0.01), [strict, CONFIRMED])
    assert (out.combined, out.refused) == ((entry("bollinger"),), ())
    out = combine([entry("bollinger")], predictions(AAPL=-0.01), [strict, CONFIRMED])
    assert [r.combination for r in out.refused] == ["strict"]


@given(
    picks=st.lists(
        st.tuples(st.sampled_from("abcx"), st.sampled_from(["A", "B", "C"]), st.booleans()), unique=True, max_size=16
    ),
    value=st.one_of(st.none(), st.floats(-0.1, 0.1)),
    seed=st.integers(0, 1000),
)
def test_every_signal_ends_in_exactly_one_place_whatever_the_order(
    picks: list[tuple[str, str, bool]], value: float | None, seed: int
) -> None:
    """Passed, refused or combined: exactly one, and the outcome does not depend on the input's order."""
    rules = [
        CombinationRule("two", "all", ("a", "b"), predicted_return_3d_min=0.0),
        CombinationRule("sum", "weighted", ("b", "c"), (0.5, 0.6), 0.6),
    ]
    signals = [entry(s, name) if enters else leave(s, name) for s, name, enters in picks]
    seen = predictions(A=value, B=0.01)
    out = combine(signals, seen, rules)
    passed = [s for s in out.signals if s in signals]
    ends = [*passed, *(r.signal for r in out.refused), *out.combined]
    assert sorted(ends, key=Signal.sort_key) == sorted(signals, key=Signal.sort_key)
    assert all(s.strategy in {"two", "sum"} for s in out.signals if s not in signals)
    assert all(s in out.signals for s in signals if s.purpose is Purpose.EXIT)
    random.Random(seed).shuffle(signals)
    assert combine(signals, seen, rules) == out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("", "any", ("a",)), "name is ''"),
        (("a", "any", ("a",)), "name is 'a'"),
        (("x", "most", ("a",)), "rule is 'most'. Write one of any, all, weighted"),
        (("x", "any", ()), "members are ()"),
        (("x", "any", ("a", "a")), "members are ('a', 'a')"),
        (("x", "any", ("a",), (1.0,)), "rule any has weights"),
        (("x", "weighted", ("a", "b"), (1.0,), 0.5), "1 weights, 2 members"),
        (("x", "weighted", ("a",), (NAN,), 0.5), "weights are (nan,)"),
        (("x", "weighted", ("a",), (-1.0,), 0.5), "weights are (-1.0,)"),
        (("x", "weighted", ("a",), (1.0,), 0.0), "threshold is 0.0, the weights add up to 1.0"),
        (("x", "weighted", ("a",), (1.0,), NAN), "threshold is nan"),
        (("x", "weighted", ("a", "b"), (0.5, 0.4), 1.0), "threshold is 1.0, the weights add up to 0.9"),
        (("x", "any", ("a",), (), 0.0, 1.0), "predicted_return_3d_min is 1.0"),
        (("x", "any", ("a",), (), 0.0, NAN), "predicted_return_3d_min is nan"),
    ],
)
def test_rules_that_are_none_are_refused(arguments: tuple[object, ...], words: str) -> None:
    """Each names the combination and what is wrong with it."""
    with pytest.raises(FixSettings) as caught:
        CombinationRule(*arguments)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_rules_that_clash_are_refused() -> None:
    """Two of one name, and a combination of combinations."""
    with pytest.raises(FixSettings, match="two combinations are called 'confirmed'"):
        combine([], None, [CONFIRMED, CONFIRMED])
    nested = CombinationRule("nested", "any", ("confirmed",))
    with pytest.raises(FixSettings, match="'nested' has the combination 'confirmed' as a member"):
        combine([], None, [CONFIRMED, nested])


def test_a_rule_from_settings_takes_weights_by_member() -> None:
    """Weights by name find their members; a weight too many or too few is named."""
    rule = CombinationRule.of("x", "weighted", ["b", "a"], {"a": 1, "b": 2}, 1.5, None)
    assert rule == CombinationRule("x", "weighted", ("b", "a"), (2.0, 1.0), 1.5)
    assert CombinationRule.of("x", "all", ["a"], {}, 0.5, 0.0) == CombinationRule("x", "all", ("a",), (), 0.5, 0.0)
    with pytest.raises(FixSettings, match="weight for 'c', which is no member"):
        CombinationRule.of("x", "weighted", ["a"], {"a": 1.0, "c": 1.0}, 0.5, None)
    with pytest.raises(FixSettings, match="member 'b' has no weight"):
        CombinationRule.of("x", "weighted", ["a", "b"], {"a": 1.0}, 0.5, None)


def test_what_a_combination_holds_is_left_when_a_member_says_so() -> None:
    """Held by the combination, a member's stop or band sells it under the combination's name, once."""
    sessions = [SESSION - timedelta(days=1), SESSION]
    features = pl.DataFrame(
        {
            "session": sessions * 2,
            "instrument_id": ["us:AAPL"] * 2 + ["us:MSFT"] * 2,
            "symbol": ["AAPL"] * 2 + ["MSFT"] * 2,
            "close": [100.0, 94.0, 100.0, 106.0],
            "chained_close": [100.0, 94.0, 100.0, 106.0],
            "split_coefficient": [1.0] * 4,
            "bbands_lower_20": [50.0, 50.0, 95.0, 95.0],
            "bbands_upper_20": [150.0, 150.0, 105.0, 105.0],
            "adx_14": [20.0] * 4,
            "adx_signal": [0] * 4,
            "cci_signal": [0] * 4,
        }
    )
    view = MarketView(SESSION, features, None)
    rule = CombinationRule("either", "any", ("bollinger", "regression_momentum"))
    strategies = {name: build(name) for name in rule.members}
    held = [
        Holding("either", "us:AAPL", "AAPL", 10, sessions[0], Decimal(100)),
        Holding("either", "us:MSFT", "MSFT", 10, sessions[0], Decimal(100)),
        Holding("bollinger", "us:AAPL", "AAPL", 10, sessions[0], Decimal(100)),
    ]
    left = combined_exits(view, held, [rule], strategies)
    assert [(s.strategy, s.symbol, s.purpose) for s in left] == [
        ("either", "AAPL", Purpose.EXIT),
        ("either", "MSFT", Purpose.EXIT),
    ]
    assert left[0].reason.startswith("regression_momentum leaves: AAPL: stop: -6.00 %")
    assert left[1].reason.startswith("bollinger leaves: MSFT closed at 106.00, at or above its upper")
    both = {**strategies, "bollinger": build("bollinger", {"stop_fraction": 0.05})}
    assert [s.reason.split(" leaves")[0] for s in combined_exits(view, held, [rule], both)] == ["bollinger"] * 2
    assert combined_exits(view, held[2:], [rule], strategies) == ()
    assert combined_exits(view, held, [rule], {}) == ()
