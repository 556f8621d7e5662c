"""Each pre-trade check at its boundary: the last value that passes, the first that does not, and what is missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from bar_fly_trading.facts.account import Quote
from bar_fly_trading.strategies.signal import Purpose, Side, Signal
from bar_fly_trading.trading import checks
from bar_fly_trading.trading.checks import CHECKS, Check, first_failure
from bar_fly_trading.trading.desk import Candidate, Desk, drift_fraction, observed_values, spread_fraction
from bar_fly_trading.trading.limits import Limits
from bar_fly_trading.trading.orders import Mode
from bar_fly_trading.trading.plan import RankedSignal

D = Decimal
NAN, INFINITE = D("NaN"), D("Infinity")
QUOTE = Quote("us:X", 1, D("99.99"), D("100.01"), 100, 100, 0, 1, False, D("0.01"))
DESK = Desk(D(50_000), D(100_000), D(0))


def candidate(*, exit_: bool = False, quote: Quote | None = QUOTE, split: str = "1", **changes: Any) -> Candidate:
    """An entry (or an exit) that passes every check unless changed."""
    side, purpose = (Side.SELL, Purpose.EXIT) if exit_ else (Side.BUY, Purpose.ENTRY)
    signal = Signal(date(2021, 4, 20), "s", "us:X", "X", side, purpose, 1.0, D(100), "why")
    signal = replace(signal, **{k: v for k, v in changes.items() if k in Signal.__dataclass_fields__})
    ranked = RankedSignal(signal, 1, "execute", "", 1.0, (), "unknown", 6e6)
    ranked = replace(ranked, **{k: v for k, v in changes.items() if k in RankedSignal.__dataclass_fields__})
    return Candidate(ranked, Mode.SHADOW, quote, "no data", D(split))


def quoted(**changes: Any) -> Quote:
    """The quote, changed."""
    return replace(QUOTE, **changes)


HELD = replace(DESK, held={"us:X": 5}, book_held={("s", "us:X"): 5})


def test_a_good_entry_and_a_good_exit_pass_everything() -> None:
    """The two starting points of the tables below are refused by nothing."""
    assert first_failure(candidate(), DESK, Limits()) is None
    assert first_failure(candidate(exit_=True), HELD, Limits()) is None


@pytest.mark.parametrize(
    ("check", "rule", "passes", "fails"),
    [
        (checks.quote_fresh, "QUOTE_STALE", [0, 5_000_000], [5_000_001, -1]),
        (checks.quote_live, "QUOTE_DELAYED", [1], [0, 2, 3, 4]),
        (checks.not_halted, "HALTED", [False], [True, None]),
    ],
)
def test_quote_fields_at_their_boundaries(check: Check, rule: str, passes: list[Any], fails: list[Any]) -> None:
    """Age up to 5 s, live data only, and the word that it is not halted."""
    name = {"QUOTE_STALE": "age_us", "QUOTE_DELAYED": "market_data_type", "HALTED": "halted"}[rule]
    for value in passes:
        assert check(candidate(quote=quoted(**{name: value})), DESK, Limits()) is None
    for value in fails:
        failure = check(candidate(quote=quoted(**{name: value})), DESK, Limits())
        assert failure is not None
        assert failure.rule == rule


@pytest.mark.parametrize(
    ("bid", "ask", "rule"),
    [
        (None, D(100), "QUOTE_ONE_SIDED"),
        (D(100), None, "QUOTE_ONE_SIDED"),
        (NAN, D(100), "QUOTE_ONE_SIDED"),
        (D(100), INFINITE, "QUOTE_ONE_SIDED"),
        (D(0), D(0), "QUOTE_NOT_POSITIVE"),
        (D(-1), D(-1), "QUOTE_NOT_POSITIVE"),
        (D(0), D(100), "QUOTE_NOT_POSITIVE"),
        (D(100), D(100), "QUOTE_LOCKED"),
        (D(101), D(100), "QUOTE_CROSSED"),
    ],
)
def test_a_quote_that_is_no_market_is_refused_for_entries_and_exits(
    bid: Decimal | None, ask: Decimal | None, rule: str
) -> None:
    """One side, NaN, zero, minus one, locked and crossed: the same rule for an entry and for an exit."""
    bad = quoted(bid_usd=bid, ask_usd=ask)
    for made, desk in ((candidate(quote=bad), DESK), (candidate(exit_=True, quote=bad), HELD)):
        failure = first_failure(made, desk, Limits())
        assert failure is not None
        assert failure.rule == rule


@pytest.mark.parametrize("tick", [NAN, D(0), D(-1)])
def test_without_a_tick_no_price_can_be_made(tick: Decimal) -> None:
    """A tick that is no number above 0 is refused."""
    failure = first_failure(candidate(quote=quoted(min_tick_usd=tick)), DESK, Limits())
    assert failure is not None
    assert failure.rule == "QUOTE_NO_TICK"


def test_spread_at_its_boundary() -> None:
    """0.5 % of the mid passes, a hair more does not; an exit has its own, wider bound."""
    half = quoted(bid_usd=D("99.75"), ask_usd=D("100.25"))
    wider = quoted(bid_usd=D("99.75"), ask_usd=D("100.26"))
    assert spread_fraction(half) == D("0.005")
    assert checks.spread(candidate(quote=half), DESK, Limits()) is None
    assert checks.spread(candidate(quote=wider), DESK, Limits()) is not None
    assert checks.spread(candidate(exit_=True, quote=wider), HELD, Limits()) is None
    stub = quoted(bid_usd=D("95"), ask_usd=D("100"))
    assert checks.spread(candidate(exit_=True, quote=stub), HELD, Limits()) is not None


@pytest.mark.parametrize(("mid", "passes"), [("102", True), ("102.005", False), ("98", True), ("97.995", False)])
def test_drift_at_its_boundary_both_ways(mid: str, passes: bool) -> None:
    """Exactly 2 % up or down passes, half a cent more does not; an exit never drifts."""
    moved = quoted(bid_usd=D(mid) - D("0.01"), ask_usd=D(mid) + D("0.01"))
    assert (checks.drift(candidate(quote=moved), DESK, Limits()) is None) is passes
    assert checks.drift(candidate(exit_=True, quote=moved), HELD, Limits()) is None


def test_drift_is_measured_in_this_mornings_shares() -> None:
    """After a 4-for-1 split 25 is no drift from a close of 100, and 100 is; 3-for-1 needs no exact decimal."""
    quarter = quoted(bid_usd=D("24.99"), ask_usd=D("25.01"))
    assert drift_fraction(candidate(quote=quarter, split="4")) == 0
    assert checks.drift(candidate(quote=QUOTE, split="4"), DESK, Limits()) is not None
    third = quoted(bid_usd=D("33.33"), ask_usd=D("33.34"))
    assert checks.drift(candidate(quote=third, split="3"), DESK, Limits()) is None


@pytest.mark.parametrize(
    ("mid", "close", "split", "shares"),
    [
        ("10", "100", "1", "10 for 1"),
        ("9.7", "100", "1", "10 for 1"),
        ("1000", "100", "1", "1 for 10"),
        ("50.5", "100", "1", "2 for 1"),
        ("66", "100", "1", "1.5 for 1"),
        ("100", "100", "10", "1 for 10"),
        ("3000", "100", "1", "1 for 30"),
    ],
)
def test_d12_a_split_that_only_one_side_knows_blocks_the_entry_and_is_named(
    mid: str, close: str, split: str, shares: str
) -> None:
    """Quote against close near n:1, either way, or a split that the vendor has and the broker has not: refused by name."""
    made = candidate(
        quote=quoted(bid_usd=D(mid) - D("0.005"), ask_usd=D(mid) + D("0.005")), close_usd=D(close), split=split
    )
    failure = first_failure(made, DESK, Limits())
    assert failure is not None
    assert failure.rule == "SPLIT_SUSPECTED"
    assert f"a split of {shares} that only one of broker and vendor knows" in failure.reason


@pytest.mark.parametrize(("mid", "rule"), [("103", "DRIFT"), ("80", "DRIFT"), ("130", "DRIFT"), ("25", None)])
def test_d12_an_ordinary_move_and_a_known_split_are_no_suspicion(mid: str, rule: str | None) -> None:
    """A move of 3, 20 or 30 % is DRIFT and nothing else; 4:1 that both know (close 100, quote 25) passes; exits are not asked."""
    moved = quoted(bid_usd=D(mid) - D("0.005"), ask_usd=D(mid) + D("0.005"))
    failure = first_failure(candidate(quote=moved, split="4" if rule is None else "1"), DESK, Limits())
    assert (failure.rule if failure else None) == rule
    assert checks.split_suspected(candidate(exit_=True, quote=moved), HELD, Limits()) is None


@pytest.mark.parametrize("close", [NAN, D(0), D(-5), INFINITE])
@pytest.mark.parametrize("split", ["1", "0", "NaN"])
def test_a_close_or_split_that_is_no_number_refuses(close: Decimal, split: str) -> None:
    """Without a reference price there is no drift, and without a drift no entry."""
    failure = checks.drift(candidate(close_usd=close, split=split), DESK, Limits())
    assert failure is not None
    assert failure.observed == "unknown"


@pytest.mark.parametrize(
    ("volume", "passes"),
    [(5e6, True), (4_999_999.99, False), (None, False), (float("nan"), False), (float("inf"), False)],
)
def test_dollar_volume_at_its_boundary(volume: float | None, passes: bool) -> None:
    """5 million passes; a cent less, None, NaN and infinity do not; an exit is not asked."""
    made = candidate(dollar_volume_median_20d_usd=volume)
    assert (checks.dollar_volume(made, DESK, Limits()) is None) is passes
    assert checks.dollar_volume(candidate(exit_=True, dollar_volume_median_20d_usd=volume), HELD, Limits()) is None


@pytest.mark.parametrize(
    ("pnl", "passes"),
    [("-999.99", True), ("-1000", False), ("1000", True), ("5000", True), ("NaN", False), (None, False)],
)
def test_daily_loss_at_its_boundary(pnl: str | None, passes: bool) -> None:
    """A loss below 1,000 passes, 1,000 does not, a profit always does, an unknown one never; an exit is not asked."""
    desk = replace(HELD, daily_pnl_usd=None if pnl is None else D(pnl))
    assert (checks.daily_loss(candidate(), desk, Limits()) is None) is passes
    assert checks.daily_loss(candidate(exit_=True), desk, Limits()) is None


def test_positions_at_their_boundary() -> None:
    """Nine others pass, ten do not; adding to a held one passes; bought-today counts though nothing is held yet."""
    nine = {f"us:{n}": 1 for n in range(9)}
    assert checks.positions_max(candidate(), replace(DESK, held=nine), Limits()) is None
    bought = replace(DESK, held=nine, new_instruments=frozenset({"us:NEW"}))
    assert checks.positions_max(candidate(), bought, Limits()) is not None
    assert checks.positions_max(candidate(), replace(DESK, held={**nine, "us:X": 1, "us:Y": 1}), Limits()) is None
    assert checks.positions_max(candidate(exit_=True), bought, Limits()) is None
    assert checks.positions_max(candidate(), replace(bought, held={**nine, "us:0": 0}), Limits()) is None


@pytest.mark.parametrize(
    ("cash", "passes"), [("0.01", True), ("0", False), ("-1", False), ("NaN", False), (None, False)]
)
def test_cash_at_its_boundary(cash: str | None, passes: bool) -> None:
    """Nothing left, or nothing known, refuses an entry."""
    desk = replace(DESK, cash_usd=None if cash is None else D(cash))
    assert (checks.cash(candidate(), desk, Limits()) is None) is passes


@pytest.mark.parametrize(
    ("worth", "passes"), [("2000.20", True), ("2000.19", False), ("NaN", False), ("0", False), (None, False)]
)
def test_position_fraction_at_its_boundary(worth: str | None, passes: bool) -> None:
    """One share at 100.01 is exactly 5 % of 2,000.20; a cent less of net liquidation refuses; so does an unknown one."""
    desk = replace(DESK, net_liquidation_usd=None if worth is None else D(worth))
    assert (checks.position_fraction(candidate(), desk, Limits()) is None) is passes


def test_what_is_held_counts_in_the_position_fraction() -> None:
    """49 held at 100.01 leave no room for a 50th under 5 % of 100,000."""
    assert checks.position_fraction(candidate(), replace(DESK, held={"us:X": 48}), Limits()) is None
    assert checks.position_fraction(candidate(), replace(DESK, held={"us:X": 49}), Limits()) is not None


@pytest.mark.parametrize(
    ("side", "purpose", "desk", "rule"),
    [
        (Side.SELL, Purpose.EXIT, DESK, "NOT_HELD"),
        (Side.SELL, Purpose.ENTRY, DESK, "NOT_HELD"),
        (Side.SELL, Purpose.ENTRY, HELD, "NO_SHORT"),
        (Side.BUY, Purpose.EXIT, HELD, "NO_SHORT"),
        (Side.SELL, Purpose.EXIT, replace(HELD, held={"us:X": -3}), "NOT_HELD"),
        (Side.SELL, Purpose.EXIT, replace(HELD, planned_sells={"us:X": 5}), "NOT_HELD"),
        (Side.SELL, Purpose.EXIT, replace(HELD, book_held={("other", "us:X"): 5}), "NOT_HELD"),
        (Side.SELL, Purpose.EXIT, replace(HELD, exits_taken=frozenset({("s", "us:X")})), "DUPLICATE"),
        (Side.BUY, Purpose.ENTRY, replace(DESK, taken=frozenset({("us:X", Side.BUY)})), "DUPLICATE"),
        (Side.BUY, Purpose.ENTRY, replace(DESK, taken=frozenset({("us:X", Side.SELL)})), "OPPOSITE"),
        (Side.BUY, Purpose.ENTRY, replace(DESK, unresolved={"us:X": "UNKNOWN"}), "INTENT_UNKNOWN"),
        (Side.SELL, Purpose.EXIT, replace(HELD, unresolved={"us:X": "PARKED"}), "INTENT_UNKNOWN"),
        (Side.BUY, Purpose.ENTRY, replace(DESK, entries=5), "ENTRIES_MAX"),
    ],
)
def test_what_may_be_traded_at_all(side: Side, purpose: Purpose, desk: Desk, rule: str) -> None:
    """Nothing is sold that is not held in the book and in the account, nothing is shorted, doubled, or sent beside an unknown."""
    failure = first_failure(candidate(side=side, purpose=purpose), desk, Limits())
    assert failure is not None
    assert failure.rule == rule


def test_every_check_refuses_by_itself_when_nothing_is_known() -> None:
    """Alone and with nothing known, no check passes an entry that it is about: a missing number never passes."""
    nothing = candidate(quote=None, dollar_volume_median_20d_usd=None, tag="watch")
    empty = Desk(None, None, None, entries=99, held={str(n): 1 for n in range(99)})
    about_more = {
        checks.no_short,
        checks.already_held,
        checks.duplicate,
        checks.opposite,
        checks.intent_unknown,
        checks.account_holds,
    }
    for check in CHECKS:
        if check not in about_more:
            assert check(nothing, empty, Limits()) is not None, check
    assert dict(observed_values(nothing, empty))["bid_usd"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"quote_age_s_max": float("nan")},
        {"positions_max": 0},
        {"position_fraction_max": 5.0},
        {"exit_spread_fraction_max": 0.001},
    ],
)
def test_a_limit_that_is_no_limit_is_an_error(changes: dict[str, Any]) -> None:
    """NaN, zero, 500 %, and an exit bound tighter than the entry's are refused when the limits are made."""
    with pytest.raises(ValueError, match=next(iter(changes))):
        Limits(**changes)


def test_a_strategy_adds_nothing_to_what_it_already_holds() -> None:
    """One share in the strategy's own book refuses its entry; another strategy's holding, or an exit, is not refused."""
    failure = first_failure(candidate(), HELD, Limits())
    assert failure is not None
    assert failure.rule == "ALREADY_HELD"
    assert failure.observed == "5 shares"
    others = replace(DESK, held={"us:X": 5}, book_held={("another", "us:X"): 5})
    assert first_failure(candidate(), others, Limits()) is None
    assert first_failure(candidate(exit_=True), HELD, Limits()) is None
