"""S8: a signal for a symbol outside the universe is dropped with its reason, in the pure decision; exits go through."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from tests.pure.test_day_rank import EVENING, VIEW, Says

from bar_fly_trading.day import RankRules, rank
from bar_fly_trading.strategies.signal import Holding, Purpose
from bar_fly_trading.trading.signal_combination import CombinationRule

WHY = "outside the universe at 2021-04-20 (2 symbols of watch.txt)"
HELD = Holding("a", "us:X", "X", 5, date(2021, 4, 1), Decimal(90))
BOTH = (Says("a", ("X", "Y")), Says("b", ("X",)))


def test_s8_an_entry_outside_the_universe_is_dropped_with_its_reason_and_the_exit_stays() -> None:
    """Both strategies' entries of X are dropped and named once, Y is ranked as if X never spoke, and what is held may leave."""
    rules = RankRules(outside={"us:X": WHY, "us:Z": WHY})
    found = rank(VIEW, BOTH, [HELD], rules)
    said = [(r.signal.purpose, r.signal.symbol, r.rank, r.tag) for r in found.ranked]
    assert said == [(Purpose.EXIT, "X", 0, "execute"), (Purpose.ENTRY, "Y", 1, "execute")]
    assert found.outside == (("us:X", f"{WHY}; dropped: BUY by a, BUY by b"),)
    alone = rank(VIEW, (Says("a", ("Y",)), Says("b", ())), [HELD], RankRules())
    assert found.ranked == alone.ranked


def test_s8_a_dropped_entry_is_never_part_of_a_combination() -> None:
    """Two strategies agreeing on a name outside the universe make no combined signal of it."""
    together = CombinationRule.of(
        name="both", rule="all", members=("a", "b"), weights={}, threshold=0.0, predicted_return_3d_min=None
    )
    inside = rank(VIEW, BOTH, (), RankRules((together,)))
    assert [r.signal.strategy for r in inside.ranked if r.signal.symbol == "X"] == ["both"]
    found = rank(VIEW, BOTH, (), RankRules((together,), outside={"us:X": WHY}))
    assert "us:X" not in {r.signal.instrument_id for r in found.ranked}
    assert "us:X" not in {r.signal.instrument_id for r in found.refused}
    assert [i for i, _ in found.outside] == ["us:X"]


def test_nothing_outside_changes_nothing() -> None:
    """With nobody outside the evening is what it was, and names nobody."""
    found = rank(VIEW, BOTH, [HELD], RankRules())
    assert found.outside == ()
    assert rank(VIEW, BOTH, [HELD], replace(RankRules(), outside={"us:Q": WHY})) == found
    assert VIEW.session == EVENING
