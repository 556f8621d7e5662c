"""Rows D11, D13, D15, D17, D19 and D20 of the failure catalogue: bars that stand still, mix, lack days, jump, or come too early."""

from __future__ import annotations

from datetime import date, time, timedelta

import numpy as np
import polars as pl
import pytest

from bar_fly_trading.data.validate import JudgeRules, Verdict, faults_of, judge, newest_complete
from bar_fly_trading.facts.sessions import Calendar, new_york_us
from bar_fly_trading.facts.tables import BARS
from bar_fly_trading.features.table import build

CALENDAR = Calendar()
DAYS = CALENDAR.sessions(date(2020, 1, 2), date(2020, 12, 31))
NAMES = tuple(f"us:N{i:02d}" for i in range(20))
NAME = NAMES[3]
TODAY = DAYS[-1]
RULES = JudgeRules(min_history=22)
PRICES = ("open", "high", "low", "close")
Frame = pl.DataFrame


def bars() -> Frame:
    """Return a year of twenty names; each pays a dividend in summer, so that adjusted and plain closes part."""
    rng = np.random.default_rng(3)
    steps = np.clip(rng.normal(0, 0.01, (len(NAMES), len(DAYS))), -0.03, 0.03)
    close = 50 * np.exp(np.cumsum(steps, axis=1))
    paid = np.zeros(len(DAYS))
    paid[120] = 2.0
    total = np.empty_like(close)
    total[:, -1] = close[:, -1]
    for t in range(len(DAYS) - 2, -1, -1):
        total[:, t] = total[:, t + 1] * close[:, t] / (close[:, t + 1] + paid[t + 1])
    opened = close * np.exp(rng.normal(0, 0.003, close.shape))
    return pl.DataFrame(
        {
            "instrument_id": np.repeat(NAMES, len(DAYS)),
            "session": DAYS * len(NAMES),
            "open": opened.ravel(),
            "high": (np.maximum(opened, close) * 1.006).ravel(),
            "low": (np.minimum(opened, close) * 0.994).ravel(),
            "close": close.ravel(),
            "adjusted_close": total.ravel(),
            "volume": rng.integers(900_000, 1_100_000, close.size),
            "dividend_amount": np.tile(paid, len(NAMES)),
            "split_coefficient": 1.0,
        },
        schema=BARS.columns,
    )


ALL = bars()


def judged(table: Frame, session: date = TODAY) -> Verdict:
    """Judge a table for one session."""
    return judge(table, session, CALENDAR, RULES)


def of(name: str, first: date = DAYS[0], last: date = TODAY) -> pl.Expr:
    """Return the mark of a name's bars between two days."""
    return (pl.col("instrument_id") == name) & pl.col("session").is_between(first, last)


def kept_out(verdict: Verdict) -> dict[str, str]:
    """Return who is kept out and why; they and nobody else are missing from the bars."""
    excluded = dict(verdict.excluded)
    assert set(verdict.bars["instrument_id"]) == set(NAMES) - excluded.keys()
    return excluded


def test_the_ordinary_year_keeps_nobody_out() -> None:
    """The table that the rows below damage is fit to be used, whole."""
    assert kept_out(judged(ALL)) == {}


@pytest.mark.parametrize("days", [1, 3, 10])
def test_d11_a_name_that_stopped_trading_gets_no_new_entry(days: int) -> None:
    """No bar for a day or ten (halted, delisted): kept out as stale with the days it is behind, so nothing can be entered."""
    last = CALENDAR.previous(TODAY, days)
    reasons = kept_out(judged(ALL.filter(~of(NAME, last + timedelta(days=1)))))
    assert reasons == {NAME: f"stale: newest bar {last}, {days} sessions before {TODAY}"}


@pytest.mark.parametrize("volume", [0, 250_000])
def test_d11_a_last_bar_that_is_frozen_is_no_bar_of_today(volume: int) -> None:
    """The last price repeated as open, high, low and close for three days: kept out, with or without a volume."""
    first = CALENDAR.previous(TODAY, 2)
    price = ALL.filter(of(NAME, CALENDAR.previous(TODAY, 3)))["close"][0]
    total = ALL.filter(of(NAME, CALENDAR.previous(TODAY, 3)))["adjusted_close"][0]
    frozen = pl.when(of(NAME, first))
    table = ALL.with_columns(
        *(frozen.then(price).otherwise(pl.col(c)).alias(c) for c in PRICES),
        frozen.then(total).otherwise(pl.col("adjusted_close")).alias("adjusted_close"),
        frozen.then(volume).otherwise(pl.col("volume")).alias("volume"),
    )
    assert "one price for days" in kept_out(judged(table))[NAME]


def swapped(one: str, other: str) -> Frame:
    """Return the bars with two columns of one name changed for each other, as they stand before the summer's dividend."""
    where = of(NAME, last=DAYS[119])
    return ALL.with_columns(
        pl.when(where).then(pl.col(other)).otherwise(pl.col(one)).alias(one),
        pl.when(where).then(pl.col(one)).otherwise(pl.col(other)).alias(other),
    )


def test_d13_adjusted_and_plain_prices_in_each_others_columns_are_faults() -> None:
    """close and adjusted_close changed for each other: a close outside its day's range is a fault, and the name is kept out."""
    table = swapped("close", "adjusted_close")
    faults = faults_of(table, CALENDAR)
    assert set(faults["instrument_id"]) == {NAME} and faults.height > 100
    assert set(faults["rule"]) == {"close is outside the day's range"}
    assert kept_out(judged(table))[NAME].startswith("faulty: ")


@pytest.mark.parametrize(
    ("column", "rule"), [("close", "outside the day's range"), ("adjusted_close", "adjusted_close")]
)
def test_d13_one_basis_under_both_names_is_found(column: str, rule: str) -> None:
    """Adjusted closes under both names, or plain ones: the dividend's day (or the range) gives it away, though no value is absurd."""
    source = "adjusted_close" if column == "close" else "close"
    table = ALL.with_columns(pl.when(of(NAME)).then(pl.col(source)).otherwise(pl.col(column)).alias(column))
    assert rule in kept_out(judged(table, DAYS[125]))[NAME]


@pytest.mark.parametrize("count", [1, 4, 12])
def test_d15_a_gap_of_one_or_many_sessions_keeps_the_name_out_and_lists_it(count: int) -> None:
    """Rows dropped within the days that features rest on: the name is out, its missing sessions are listed by date."""
    first, last = CALENDAR.previous(TODAY, 14), CALENDAR.previous(TODAY, 15 - count)
    verdict = judged(ALL.filter(~of(NAME, first, last)))
    assert "session is missing" in kept_out(verdict)[NAME]
    listed = verdict.suspicions.filter(pl.col("rule") == "session is missing")
    assert listed["instrument_id"].unique().to_list() == [NAME]
    assert listed["session"].to_list() == (list(CALENDAR.sessions(first, last)) if count <= 10 else [first])


def test_d15_too_short_a_history_has_no_features_and_is_left_out() -> None:
    """Ten bars after a long gap: what needs twenty is undefined, never a number, and the name is kept out with the count."""
    table = ALL.filter(~of(NAME, last=DAYS[-11]))
    features = build(table, {name: name.removeprefix("us:") for name in NAMES})
    newest = features.filter((pl.col("instrument_id") == NAME) & (pl.col("session") == TODAY))
    assert newest["sma_20"].to_list() == newest["bbands_lower_20"].to_list() == [None]
    assert kept_out(judged(table)) == {NAME: "history of 10 bars, 22 needed"}


@pytest.mark.parametrize("factor", [1.6, 2.2, 0.45, 0.3])
@pytest.mark.parametrize("volume", [1, 12])
def test_d17_half_the_price_in_a_day_without_an_event_keeps_the_name_out(factor: float, volume: int) -> None:
    """+50 %, -50 % and more, on usual or on twelve times the volume, and no split or dividend: out, for want of a second source."""
    since = of(NAME, CALENDAR.previous(TODAY, 4))
    table = ALL.with_columns(
        *(pl.when(since).then(pl.col(c) * factor).otherwise(pl.col(c)).alias(c) for c in (*PRICES, "adjusted_close")),
        pl.when(of(NAME, CALENDAR.previous(TODAY, 4), CALENDAR.previous(TODAY, 4)))
        .then(pl.col("volume") * volume)
        .otherwise(pl.col("volume"))
        .alias("volume"),
    )
    reasons = kept_out(judged(table))
    assert reasons.keys() == {NAME} and reasons[NAME].startswith("suspect: ")


def test_d17_the_same_move_with_its_split_is_believed() -> None:
    """A recorded 2:1 split that the adjusted close takes out is no move at all."""
    day = CALENDAR.previous(TODAY, 4)
    since = of(NAME, day)
    table = ALL.with_columns(
        *(pl.when(since).then(pl.col(c) / 2).otherwise(pl.col(c)).alias(c) for c in PRICES),
        pl.when(of(NAME, day, day)).then(2.0).otherwise(pl.col("split_coefficient")).alias("split_coefficient"),
        pl.when(since).then(pl.col("volume") * 2).otherwise(pl.col("volume")).alias("volume"),
    ).with_columns(
        pl.when(of(NAME, last=day - timedelta(days=1)))
        .then(pl.col("adjusted_close") / 2)
        .when(since)
        .then(pl.col("adjusted_close") / 2)
        .otherwise(pl.col("adjusted_close"))
        .alias("adjusted_close")
    )
    assert kept_out(judged(table)) == {}


@pytest.mark.parametrize("shift", [1, -1])
def test_d19_dates_shifted_by_a_time_zone_are_faults(shift: int) -> None:
    """Every date a day late or early, as a wrong time zone makes them: weekends and holidays appear, and the name is out."""
    moved = pl.when(of(NAME)).then(pl.col("session") + timedelta(days=shift)).otherwise(pl.col("session"))
    table = ALL.with_columns(moved.alias("session"))
    faults = faults_of(table, CALENDAR, newest=TODAY)
    assert faults["instrument_id"].unique().to_list() == [NAME] and faults.height > 40
    assert NAME in kept_out(judged(table))


@pytest.mark.parametrize(
    ("day", "opens"),
    [
        (date(2021, 4, 2), False),  # Good Friday
        (date(2021, 7, 5), False),  # Independence Day, observed on a Monday
        (date(2025, 1, 9), False),  # a day of mourning, told eleven days ahead
        (date(2012, 10, 29), False),  # a storm, told the day before
        (date(2024, 2, 29), True),  # a leap day
    ],
)
def test_d20_holidays_and_closures_told_late_are_no_sessions(day: date, opens: bool) -> None:
    """Neither is a session, a bar of that date is a fault, and the newest closed session before it stays the newest."""
    assert CALENDAR.is_session(day) is opens
    noon_after = new_york_us(day, time(18, 0))
    assert (CALENDAR.newest_closed(noon_after) == day) is opens
    frame = ALL.head(1).with_columns(pl.lit(day).alias("session"))
    assert faults_of(frame, CALENDAR).is_empty() is opens


@pytest.mark.parametrize("day", [date(2021, 11, 26), date(2020, 12, 24), date(2024, 7, 3)])
def test_d20_on_an_early_close_the_evening_begins_at_one(day: date) -> None:
    """A minute before 13:00 New York the day before is the newest closed session; at 13:00 the day itself is."""
    before = CALENDAR.previous(day)
    assert CALENDAR.newest_closed(new_york_us(day, time(12, 59))) == before
    assert CALENDAR.newest_closed(new_york_us(day, time(13, 0))) == day


def test_d20_a_closure_nobody_knew_of_stops_the_evening() -> None:
    """A session without a single print is not ranked: nobody can be used, and the reason of every name is that it is stale."""
    table = ALL.filter(pl.col("session") < TODAY)
    verdict = judged(table)
    assert verdict.bars.is_empty() and verdict.used == 0
    assert verdict.stop is not None and f"only 0 of 20 symbols (0 %) can be used at {TODAY}" in verdict.stop
    closed = Calendar(extra_closures=[TODAY])
    assert judge(table, closed.previous(TODAY), closed, RULES).stop is None


@pytest.mark.parametrize(("having", "complete"), [(20, True), (16, True), (15, False), (1, False)])
def test_the_newest_complete_session_is_one_that_enough_names_reach(having: int, complete: bool) -> None:
    """With the coverage asked for (80 %) or more it is today, with less the session before; nothing later counts."""
    table = ALL.filter((pl.col("session") < TODAY) | pl.col("instrument_id").is_in(NAMES[:having]))
    assert newest_complete(table, TODAY, CALENDAR, RULES) == (TODAY if complete else CALENDAR.previous(TODAY))
    assert newest_complete(table, DAYS[100], CALENDAR, RULES) == DAYS[100]
    assert newest_complete(table.clear(), TODAY, CALENDAR, RULES) is None
