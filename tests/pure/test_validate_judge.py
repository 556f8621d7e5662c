"""The judge: fresh bad suspicions exclude, old ones do not, and too little coverage stops the evening with the counts."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from bar_fly_trading.data.validate import JudgeRules, judge, usable
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import BARS

CALENDAR = Calendar()
DAYS = CALENDAR.sessions(date(2020, 1, 2), date(2020, 12, 31))
NAMES = tuple(f"us:N{i:02d}" for i in range(20))
TODAY = DAYS[-30]
RULES = JudgeRules(min_history=22)


def bars() -> pl.DataFrame:
    """Return a year of twenty quiet names."""
    rng = np.random.default_rng(9)
    close = 50 * np.exp(np.cumsum(np.clip(rng.normal(0, 0.01, (len(NAMES), len(DAYS))), -0.03, 0.03), axis=1)).ravel()
    return pl.DataFrame(
        {
            "instrument_id": np.repeat(NAMES, len(DAYS)),
            "session": DAYS * len(NAMES),
            "open": close,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "adjusted_close": close,
            "volume": rng.integers(900_000, 1_100_000, close.size),
            "dividend_amount": 0.0,
            "split_coefficient": 1.0,
        },
        schema=BARS.columns,
    )


def with_print(table: pl.DataFrame, name: str, day: date) -> pl.DataFrame:
    """Return the bars with one session's prices a quarter too high."""
    here = (pl.col("instrument_id") == name) & (pl.col("session") == day)
    columns = ("open", "high", "low", "close", "adjusted_close")
    return table.with_columns(pl.when(here).then(pl.col(c) * 1.25).otherwise(pl.col(c)).alias(c) for c in columns)


def test_clean_bars_are_all_used() -> None:
    """Without a suspicion the judge uses what `usable` uses, cut at the session, and nothing stops."""
    verdict = judge(bars(), TODAY, CALENDAR, RULES)
    good, excluded = usable(bars(), session=TODAY, calendar=CALENDAR, min_history=22)
    assert verdict.bars.equals(good)
    assert verdict.excluded == excluded == ()
    assert (verdict.expected, verdict.used, verdict.stop) == (20, 20, None)
    assert verdict.suspicions.is_empty()


@pytest.mark.parametrize(("ago", "out"), [(1, True), (18, True), (20, False), (60, False)])
def test_a_print_excludes_for_as_long_as_features_rest_on_it(ago: int, out: bool) -> None:
    """A print inside the newest 20 sessions keeps its name out, with rule and date; an older one does not."""
    day = CALENDAR.previous(TODAY, ago + 1)
    verdict = judge(with_print(bars(), NAMES[3], day), TODAY, CALENDAR, RULES)
    reasons = dict(verdict.excluded)
    assert (NAMES[3] in reasons) is out
    assert set(reasons) <= {NAMES[3]}
    assert (NAMES[3] in set(verdict.bars["instrument_id"])) is not out
    if out:
        assert reasons[NAMES[3]].startswith("suspect: 2020-")
        assert "price co" in reasons[NAMES[3]]
    assert NAMES[3] not in dict(judge(bars(), TODAY, CALENDAR, RULES).excluded)


def test_what_comes_after_the_session_is_not_looked_at() -> None:
    """A print of tomorrow changes nothing about today."""
    later = with_print(bars(), NAMES[3], CALENDAR.next(TODAY))
    assert judge(later, TODAY, CALENDAR, RULES).bars.equals(judge(bars(), TODAY, CALENDAR, RULES).bars)


def test_suspicions_can_be_switched_off() -> None:
    """With `suspect_sessions` 0 no suspicion excludes."""
    table = with_print(bars(), NAMES[3], CALENDAR.previous(TODAY, 3))
    rules = JudgeRules(min_history=22, suspect_sessions=0)
    assert judge(table, TODAY, CALENDAR, rules).excluded == ()


@pytest.mark.parametrize(("missing", "stops"), [(4, False), (5, True), (20, True)])
def test_d22_a_partial_batch_goes_on_above_the_coverage_and_stops_below(missing: int, stops: bool) -> None:
    """D22: 16 of 20 names are enough for 80 %, 15 are not; the stop names counts, share, setting and the commonest reason."""
    gone = pl.col("instrument_id").is_in(NAMES[:missing]) & (pl.col("session") >= TODAY)
    verdict = judge(bars().filter(~gone), TODAY, CALENDAR, RULES)
    assert len(verdict.excluded) == missing
    assert verdict.used == 20 - missing
    assert (verdict.stop is not None) is stops
    if verdict.stop is not None:
        assert f"only {20 - missing} of 20 symbols" in verdict.stop
        assert "data.coverage_min" in verdict.stop
        assert f"{missing} stale" in verdict.stop


def test_new_and_departed_names_are_not_expected() -> None:
    """A listing of last week and a name gone for two months are excluded with reasons, and do not count as missing."""
    new = (pl.col("instrument_id").is_in(NAMES[:6])) & (pl.col("session") < CALENDAR.previous(TODAY, 5))
    gone = pl.col("instrument_id").is_in(NAMES[6:12]) & (pl.col("session") > CALENDAR.previous(TODAY, 45))
    verdict = judge(bars().filter(~new & ~gone), TODAY, CALENDAR, RULES)
    assert len(verdict.excluded) == 12
    assert (verdict.expected, verdict.used, verdict.stop) == (8, 8, None)


@pytest.mark.parametrize("bad", [{"min_history": 0}, {"suspect_sessions": -1}, {"coverage_min": 1.5}])
def test_rules_that_judge_nothing_are_refused(bad: dict[str, int]) -> None:
    """Numbers outside their ranges are refused when the rules are made."""
    with pytest.raises(ValueError, match="no rules to judge by"):
        JudgeRules(**bad)


def test_a_hole_of_one_name_excludes_it_and_one_of_all_names_only_warns() -> None:
    """A session one name lacks keeps it out; one that every name lacks is the calendar's or the pull's, and only warns."""
    day = CALENDAR.previous(TODAY, 5)
    one = judge(
        bars().filter((pl.col("instrument_id") != NAMES[2]) | (pl.col("session") != day)), TODAY, CALENDAR, RULES
    )
    assert dict(one.excluded).keys() == {NAMES[2]}
    everyone = judge(bars().filter(pl.col("session") != day), TODAY, CALENDAR, RULES)
    assert everyone.excluded == ()
    assert set(everyone.suspicions["severity"]) == {"doubtful"}
    assert everyone.suspicions.height == len(NAMES)
