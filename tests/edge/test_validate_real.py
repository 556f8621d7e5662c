"""On 1.7 million real bars: the dated defects are found, few good rows are flagged, and defects planted elsewhere are found too."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bar_fly_trading.data.validate import JudgeRules, judge, suspicions_of
from bar_fly_trading.facts.sessions import Calendar

CALENDAR = Calendar()
ALL = ("open", "high", "low", "close", "adjusted_close")
STALE = r"as in many names$|^bar of another session$"
HIT_MIN = 27
LONG = bool(os.environ.get("BFT_PROVE"))
SEEDS = range(20 if LONG else 1)
PLANTED = 200 if LONG else 120

# The defects of the README beside the file: symbol (empty: many names) and session, one of each a line or date there.
DATED = {
    "spin-off left unadjusted": [
        ("TT", "2020-03-02"),
        ("HWM", "2020-04-01"),
        ("JCI", "2016-10-31"),
        ("APD", "2016-10-03"),
        ("APTV", "2017-12-05"),
    ],
    "one event as split and dividend": [("RTX", "2020-04-03"), ("MET", "2017-08-07")],
    "dividend that never was, or is missing": [("LYB", "2019-01-14"), ("TMUS", "2013-05-01")],
    "bad print": [("APTV", f"2017-11-{day}") for day in (16, 17, 21, 22, 28)],
    "stale closes": [
        ("", day) for day in ("2011-10-27", "2014-10-30", "2014-10-31", "2014-07-28", "2012-08-01", "2017-08-01")
    ],
    "split a day early": [("TRMB", "2007-02-23"), ("TRMB", "2007-02-26")],
    "another company's history": [("DD", "2019-06-03")],
}
# Told there without a date: names with missing days (KIM and RHI lack none in the file), rows without volume, a name that ends early.
UNDATED = [
    ("WELL", "session is missing"),
    ("SPGI", "session is missing"),
    ("VIAC", "session is missing"),
    ("KIM", "session is missing"),
    ("RHI", "session is missing"),
    ("CHTR", "no volume"),
    ("VAR", "series ends before the others"),
]


@pytest.fixture(scope="module")
def real(shared_data: Path) -> pl.DataFrame:
    """Return the whole recorded table in the store's columns."""
    table = pl.read_parquet(shared_data / "daily_adjusted_sp500.parquet")
    return table.rename({"symbol": "instrument_id", "date": "session"})


@pytest.fixture(scope="module")
def found(real: pl.DataFrame) -> pl.DataFrame:
    """Return all its suspicions."""
    return suspicions_of(real, CALENDAR)


@pytest.fixture(scope="module")
def some(real: pl.DataFrame) -> pl.DataFrame:
    """Return what defects are planted in: all of it in a long run, else every fourth name, which is quicker."""
    return real if LONG else real.filter(pl.col("instrument_id").is_in(sorted(real["instrument_id"].unique())[::4]))


def is_found(found: pl.DataFrame, symbol: str, day: str) -> bool:
    """Tell whether a dated defect is flagged: on the name's bar, or (no name) by a rule about many names."""
    here = found.filter(pl.col("session") == date.fromisoformat(day))
    if symbol:
        return not here.filter(pl.col("instrument_id") == symbol).is_empty()
    return here.filter(pl.col("rule").str.contains(STALE)).height >= 5


def test_the_dated_defects_are_found_and_few_rows_are_flagged(real: pl.DataFrame, found: pl.DataFrame) -> None:
    """Of the README's defects those below are found, with under 0.1 % of the rows flagged; what is missed is named here."""
    missed = [
        f"{symbol or 'many'} {day}"
        for places in DATED.values()
        for symbol, day in places
        if not is_found(found, symbol, day)
    ]
    told = set(found.select("instrument_id", "rule").rows())
    missed += [f"{symbol} {rule}" for symbol, rule in UNDATED if (symbol, rule) not in told]
    total = sum(len(places) for places in DATED.values()) + len(UNDATED)
    assert total == 30
    assert total - len(missed) >= HIT_MIN, missed
    assert found["row"].n_unique() < 0.001 * real.height


def test_few_evenings_lose_a_name_to_a_suspicion(real: pl.DataFrame, found: pl.DataFrame) -> None:
    """Over fourteen years under 0.35 % of all names' evenings would be left out for a bad suspicion in the last 20 sessions."""
    bad = found.filter(pl.col("severity") == "bad").select("instrument_id", "session")
    days = pl.Series(CALENDAR.sessions(CALENDAR.first_day, CALENDAR.last_day), dtype=pl.Date)
    number = pl.DataFrame({"session": days, "index": range(len(days))})
    evenings = real.select("instrument_id", "session").join(number, on="session").sort("index")
    last = (
        bad.join(number, on="session")
        .select("instrument_id", pl.col("index"), pl.col("index").alias("bad_index"))
        .sort("index")
    )
    out = evenings.join_asof(last, on="index", by="instrument_id", check_sortedness=False).filter(
        pl.col("index") - pl.col("bad_index") < 20
    )
    assert 0 < out.height < 0.0035 * real.height


def test_ordinary_results_days_are_not_excluded(real: pl.DataFrame, found: pl.DataFrame) -> None:
    """Of all moves above 8 % that traded at least three times the usual volume, under 1 % get a bad suspicion."""
    bars = real.sort("instrument_id", "session").with_row_index("at")
    move = (pl.col("adjusted_close") / pl.col("adjusted_close").shift(1).over("instrument_id")).log().abs()
    usual = pl.col("volume").rolling_median(20).shift(1).over("instrument_id")
    news = bars.filter((move > 0.08) & (pl.col("volume") > 3 * usual)).select("instrument_id", "session")
    bad = found.filter(pl.col("severity") == "bad").select("instrument_id", "session").unique()
    assert news.height > 2000
    assert news.join(bad, on=["instrument_id", "session"]).height < 0.01 * news.height


def places(real: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return bars chosen at random, one a name at most, none near its ends and none with an event."""
    rng = np.random.default_rng(seed)
    bars = real.with_row_index("at").with_columns(
        pl.int_range(pl.len()).over("instrument_id").alias("age"), pl.len().over("instrument_id").alias("bars")
    )
    quiet = bars.filter((pl.col("age") > 80) & (pl.col("age") < pl.col("bars") - 10) & (pl.col("volume") > 0))
    quiet = quiet.filter((pl.col("split_coefficient") == 1) & (pl.col("dividend_amount") == 0))
    return quiet[rng.permutation(quiet.height)].unique("instrument_id", keep="first", maintain_order=True).head(PLANTED)


def share_found(real: pl.DataFrame, where: pl.DataFrame) -> float:
    """Return the share of planted bars that carry a suspicion."""
    rows = suspicions_of(real, CALENDAR)["row"].unique()
    return where.filter(pl.col("at").is_in(rows.implode())).height / where.height


@pytest.mark.parametrize("seed", SEEDS)
def test_prints_planted_at_random_are_found(some: pl.DataFrame, seed: int) -> None:
    """Of 120 one-day prints of 15 to 50 % up or down, anywhere in the file, at least 80 % are found on their bar."""
    rng = np.random.default_rng(100 + seed)
    where = places(some, seed)
    factor = np.exp(rng.choice([-1, 1], where.height) * rng.uniform(np.log(1.15), np.log(1.5), where.height))
    scale = np.ones(some.height)
    scale[where["at"].to_numpy()] = factor
    planted = some.with_columns(pl.col(name) * scale for name in ALL)
    assert share_found(planted, where) >= 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_splits_planted_and_not_applied_are_found(some: pl.DataFrame, seed: int) -> None:
    """Of 120 splits (3:2 to 10:1, and 1:5) of which the file knows nothing, at least 80 % are found on their day."""
    rng = np.random.default_rng(200 + seed)
    where = places(some, 50 + seed)
    factors = rng.choice([1.5, 2.0, 3.0, 4.0, 10.0, 0.2], where.height)
    day = where.select("instrument_id", pl.col("session").alias("planted"), pl.Series("factor", factors))
    joined = some.join(day, on="instrument_id", how="left", maintain_order="left")
    by = pl.when(pl.col("session") >= pl.col("planted")).then(1 / pl.col("factor")).otherwise(1.0)
    planted = joined.with_columns(pl.col(name) * by for name in ALL).with_columns(
        (pl.col("volume") / by).cast(pl.Int64)
    )
    assert share_found(planted.select(some.columns), where) >= 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_splits_recorded_and_not_adjusted_are_found(some: pl.DataFrame, seed: int) -> None:
    """Of all real or planted splits whose adjustment is missing from adjusted_close, at least 95 % are found."""
    where = places(some, 70 + seed)
    day = where.select("instrument_id", pl.col("session").alias("planted"))
    joined = some.join(day, on="instrument_id", how="left", maintain_order="left")
    by = pl.when(pl.col("session") >= pl.col("planted")).then(0.5).otherwise(1.0)
    event = pl.when(pl.col("session") == pl.col("planted")).then(2.0).otherwise(pl.col("split_coefficient"))
    planted = joined.with_columns(event.alias("split_coefficient"), *(pl.col(name) * by for name in ALL))
    assert share_found(planted.select(some.columns), where) >= 0.95


def test_a_stale_session_planted_in_many_names_is_found(real: pl.DataFrame) -> None:
    """Sixty names that keep their bar of the day before, on each of five ordinary sessions, are found at nine of ten bars."""
    days = [date(2010, 3, 9), date(2013, 6, 12), date(2015, 9, 22), date(2018, 2, 21), date(2020, 12, 2)]
    names = sorted(real["instrument_id"].unique())[::8][:60]
    hit = pl.col("instrument_id").is_in(names) & pl.col("session").is_in(days) & (pl.col("dividend_amount") == 0)
    planted = real.with_columns(
        pl.when(hit).then(pl.col(name).shift(1).over("instrument_id")).otherwise(pl.col(name)).alias(name)
        for name in ALL
    )
    where = planted.with_row_index("at").filter(hit)
    assert where.height > 200
    assert share_found(planted, where) >= 0.9


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("way", [1, -1])
def test_bars_overwritten_by_another_session_are_found(some: pl.DataFrame, seed: int, way: int) -> None:
    """Of bars at random overwritten by one 2 to 40 sessions before, or after, nine of ten of a usual range are named."""
    rng = np.random.default_rng(300 + seed)
    where = places(some, 90 + seed)
    bars = some.with_columns(pl.int_range(pl.len()).alias("at"))
    source = where["at"].to_numpy() - way * rng.integers(2, min(41, 11 if way < 0 else 41), where.height)
    prices = {name: bars[name].to_numpy().copy() for name in ALL}
    for values in prices.values():
        values[where["at"].to_numpy()] = values[source]
    planted = some.with_columns(pl.Series(name, values) for name, values in prices.items())
    wide = where.filter((pl.Series(prices["high"]) - pl.Series(prices["low"])).gather(where["at"]) >= 0.4)
    assert wide.height > 0.6 * where.height
    found = suspicions_of(planted, CALENDAR).filter(pl.col("rule") == "bar of another session")
    assert wide.filter(pl.col("at").is_in(found["row"].implode())).height >= 0.9 * wide.height


def test_the_judge_leaves_out_a_fresh_print_and_stops_where_too_little_is_left(real: pl.DataFrame) -> None:
    """An evening after APTV's prints leaves it out with the reason, a later one uses it; at coverage 1 the evening stops."""
    bars = real.filter(pl.col("session").is_between(date(2016, 6, 1), date(2018, 2, 1)))
    fresh = judge(bars, date(2017, 11, 17), CALENDAR, JudgeRules(min_history=22))
    assert dict(fresh.excluded)["APTV"].startswith("suspect: 2017-11-1")
    assert fresh.stop is None
    assert "APTV" not in fresh.bars["instrument_id"].unique().to_list()
    later = judge(bars, date(2018, 1, 25), CALENDAR, JudgeRules(min_history=22))
    assert "APTV" not in dict(later.excluded)
    strict = judge(bars, date(2017, 11, 17), CALENDAR, JudgeRules(min_history=22, coverage_min=1.0))
    assert strict.stop is not None
    assert f"only {strict.used} of {strict.expected} symbols" in strict.stop
