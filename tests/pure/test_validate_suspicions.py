"""Each rule of the validator finds its own defect planted in clean bars, on its bar, and nothing in the clean bars."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_fly_trading.data.validate import RULES, SUSPICION_SCHEMA, everything_found, faults_of, suspicions_of
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import BARS

CALENDAR = Calendar()
DAYS = CALENDAR.sessions(date(2018, 1, 2), date(2018, 12, 31))
NAMES = tuple(f"us:N{i:02d}" for i in range(60))
AT = 150
NAME = NAMES[7]
PRICES = ("open", "high", "low", "close")
Frame = pl.DataFrame


def clean(seed: int = 5) -> pl.DataFrame:
    """Return a year of 60 names: a common market, ordinary volume, a quarterly dividend and one 2:1 split, all adjusted."""
    rng = np.random.default_rng(seed)
    count = len(DAYS)
    market = rng.normal(0, 0.008, count)
    tables = []
    for i, name in enumerate(NAMES):
        returns = market + np.clip(rng.normal(0, 0.012, count), -0.035, 0.035)
        total = 80.0 * np.exp(np.cumsum(returns))
        dividend = np.zeros(count)
        dividend[[40 + i % 9, 103 + i % 9, 166 + i % 9, 229 + i % 9]] = 0.2
        split = np.ones(count)
        if i % 5 == 1:
            split[120] = 2.0
        close = np.empty(count)
        close[0] = total[0]
        for t in range(1, count):
            close[t] = close[t - 1] * (total[t] / total[t - 1]) / split[t] - dividend[t]
        spread = np.abs(rng.normal(0.006, 0.002, count)) + 0.002
        opened = close * np.exp(rng.normal(0, 0.003, count))
        tables.append(
            pl.DataFrame(
                {
                    "instrument_id": name,
                    "session": DAYS,
                    "open": opened,
                    "high": np.maximum(opened, close) * (1 + spread),
                    "low": np.minimum(opened, close) * (1 - spread),
                    "close": close,
                    "adjusted_close": total,
                    "volume": (rng.lognormal(0, 0.25, count) * 1e6 * np.cumprod(split)).astype(np.int64),
                    "dividend_amount": dividend,
                    "split_coefficient": split,
                },
                schema=BARS.columns,
            )
        )
    return pl.concat(tables)


CLEAN = clean()


def at(day: int = AT, name: str = NAME) -> pl.Expr:
    """Return the mark of one bar."""
    return (pl.col("instrument_id") == name) & (pl.col("session") == DAYS[day])


def since(day: int = AT, name: str = NAME) -> pl.Expr:
    """Return the mark of a name's bars from a day on."""
    return (pl.col("instrument_id") == name) & (pl.col("session") >= DAYS[day])


def scaled(frame: Frame, where: pl.Expr, factor: float, columns: tuple[str, ...]) -> Frame:
    """Return the bars with columns multiplied where marked."""
    return frame.with_columns(pl.when(where).then(pl.col(c) * factor).otherwise(pl.col(c)).alias(c) for c in columns)


def put(frame: Frame, where: pl.Expr, **values: pl.Expr | float) -> Frame:
    """Return the bars with values put where marked."""
    return frame.with_columns(pl.when(where).then(v).otherwise(pl.col(c)).alias(c) for c, v in values.items())


def copied(frame: Frame, where: pl.Expr, columns: tuple[str, ...]) -> Frame:
    """Return the bars with columns of the bar before put where marked."""
    return frame.with_columns(
        pl.when(where).then(pl.col(c).shift(1).over("instrument_id")).otherwise(pl.col(c)).alias(c) for c in columns
    )


def flat(frame: Frame, where: pl.Expr) -> Frame:
    """Return the bars with one price all day where marked."""
    return put(frame, where, open=pl.col("close"), high=pl.col("close"), low=pl.col("close"))


ALL = (*PRICES, "adjusted_close")
LEVEL = (*ALL, "dividend_amount")
MANY = pl.col("instrument_id").is_in(NAMES[:25]) & (pl.col("session") == DAYS[AT])
SPLIT_NAME = NAMES[6]
RAW_BEFORE_TWICE = ~since(120, SPLIT_NAME) & (pl.col("instrument_id") == SPLIT_NAME)


def stale_many(frame: Frame) -> Frame:
    """Twenty-five names keep the close of the day before inside a bar that allows it, dividends aside."""
    frame = put(copied(frame, MANY, ("close", "adjusted_close")), MANY, dividend_amount=0.0)
    return put(
        frame,
        MANY,
        high=pl.max_horizontal("open", "close", "high"),
        low=pl.min_horizontal("open", "close", "low"),
    )


def disowned_many(frame: Frame) -> Frame:
    """Fifteen names' closes are a price of the morning, 15 % below where they ended and open again."""
    some = pl.col("instrument_id").is_in(NAMES[:15]) & (pl.col("session") == DAYS[AT])
    frame = scaled(frame, some, 0.85, ("close", "adjusted_close"))
    return put(frame, some, low=pl.min_horizontal("low", pl.col("close") * 0.99), high=pl.col("high") * 1.04)


def stale_few(frame: Frame) -> Frame:
    """Nine names keep their close: more than chance, fewer than a broken feed."""
    few = pl.col("instrument_id").is_in(NAMES[:9]) & (pl.col("session") == DAYS[AT])
    frame = put(copied(frame, few, ("close", "adjusted_close")), few, dividend_amount=0.0)
    return put(
        frame, few, high=pl.max_horizontal("open", "close", "high"), low=pl.min_horizontal("open", "close", "low")
    )


def overwritten(frame: Frame, where: pl.Expr, bars: int) -> Frame:
    """Return the bars with the prices of `bars` bars before (negative: after) put where marked."""
    return frame.with_columns(
        pl.when(where).then(pl.col(c).shift(bars).over("instrument_id")).otherwise(pl.col(c)).alias(c) for c in ALL
    )


PLANTS: list[tuple[str, Callable[[Frame], Frame], int, str]] = [
    (
        "split not applied to adjusted_close",
        lambda f: scaled(f, RAW_BEFORE_TWICE, 2.0, ("adjusted_close",)),
        120,
        SPLIT_NAME,
    ),
    (
        "split applied twice to adjusted_close",
        lambda f: scaled(f, RAW_BEFORE_TWICE, 0.5, ("adjusted_close",)),
        120,
        SPLIT_NAME,
    ),
    ("dividend missing from adjusted_close", lambda f: put(f, at(), dividend_amount=3.0), AT, NAME),
    ("adjusted_close moves without an event", lambda f: scaled(f, since(), 1.05, ("adjusted_close",)), AT, NAME),
    (
        "adjusted_close contradicts close and events",
        lambda f: put(scaled(f, since(), 1.05, ("adjusted_close",)), at(), dividend_amount=1.0),
        AT,
        NAME,
    ),
    ("adjusted_close is imprecise", lambda f: scaled(f, since(), 1.0008, ("adjusted_close",)), AT, NAME),
    (
        "split recorded, and the price did not split",
        lambda f: put(scaled(f, since(), 2.0, ("adjusted_close",)), at(), split_coefficient=2.0),
        AT,
        NAME,
    ),
    (
        "one event counted as split and as dividend",
        lambda f: put(
            scaled(scaled(f, since(), 1 / 1.2, PRICES), since(), 1.19, ("adjusted_close",)),
            at(),
            split_coefficient=1.2,
            dividend_amount=pl.col("close") * 0.19,
        ),
        AT,
        NAME,
    ),
    (
        "split does not fit the price",
        lambda f: put(
            scaled(scaled(f, since(), 0.25, PRICES), since(), 0.75, ("adjusted_close",)), at(), split_coefficient=3.0
        ),
        AT,
        NAME,
    ),
    ("price moves like a split that is not recorded", lambda f: scaled(f, since(), 0.5, ALL), AT, NAME),
    (
        "price moves by half in a day without an event",
        lambda f: scaled(scaled(f, since(), 1.6, ALL), at(), 9.0, ("volume",)).cast({"volume": pl.Int64}),
        AT,
        NAME,
    ),
    (
        "dividend without a fall on its ex-date",
        lambda f: put(scaled(f, since(), 1.15, ("adjusted_close",)), at(), dividend_amount=pl.col("close") * 0.15),
        AT,
        NAME,
    ),
    (
        "dividend above a tenth of the price",
        lambda f: put(scaled(f, since(), 0.8, PRICES), at(), dividend_amount=pl.col("close") * 0.25),
        AT,
        NAME,
    ),
    (
        "the same dividend twice within days",
        lambda f: put(scaled(f, since(105 + 7), 1.0, ("close",)), at(112), dividend_amount=0.2),
        112,
        NAME,
    ),
    ("price that comes back", lambda f: scaled(f, at(), 1.25, ALL), AT, NAME),
    ("price comes back from a wrong level", lambda f: scaled(f, at(), 0.8, ALL), AT + 1, NAME),
    ("large move nobody traded on", lambda f: scaled(f, since(), 0.78, ALL), AT, NAME),
    ("large move on thin volume", lambda f: put(scaled(f, since(), 0.9, LEVEL), at(), volume=1_300_000), AT, NAME),
    (
        "opens far below on thin volume",
        lambda f: put(f, at(), open=pl.col("open") * 0.7, low=pl.col("open") * 0.7, volume=1_500_000),
        AT,
        NAME,
    ),
    ("high or low far from open and close", lambda f: scaled(f, at(), 1.4, ("high",)), AT, NAME),
    ("no volume, and another close", lambda f: put(f, at(), volume=0), AT, NAME),
    ("no volume", lambda f: put(copied(f, at(), ALL), at(), volume=0), AT, NAME),
    ("one price all day", lambda f: flat(f, at()), AT, NAME),
    ("bar of the day before", lambda f: copied(f, at(), ALL), AT, NAME),
    (
        "close has not moved for days",
        lambda f: put(
            f,
            since() & (pl.col("session") < DAYS[AT + 6]),
            open=80.1,
            high=81.0,
            low=79.0,
            close=80.0,
            adjusted_close=80.0,
        ),
        AT + 5,
        NAME,
    ),
    (
        "one price for days",
        lambda f: put(
            f,
            since() & (pl.col("session") < DAYS[AT + 4]),
            open=80.0,
            high=80.0,
            low=80.0,
            close=80.0,
            adjusted_close=80.0,
        ),
        AT + 3,
        NAME,
    ),
    ("close of the day before, as in many names", stale_many, AT, NAME),
    ("unmoved close, as in unusually many names", stale_few, AT, NAME),
    ("one price all day, as in many names", lambda f: flat(f, MANY), AT, NAME),
    ("close the next open disowns, as in many names", disowned_many, AT, NAME),
    ("bar of another session", lambda f: overwritten(f, at(), -7), AT, NAME),
    ("session is missing", lambda f: f.filter(~at()), AT, NAME),
    ("session is missing from every name", lambda f: f.filter(pl.col("session") != DAYS[AT]), AT, NAME),
    ("series ends before the others", lambda f: f.filter(~since(AT + 1)), AT, NAME),
]


def test_every_rule_has_its_plant() -> None:
    """No rule of the catalogue is without a test of its own."""
    assert sorted(rule for rule, _, _, _ in PLANTS) == sorted(RULES)


def test_nothing_is_found_in_clean_bars() -> None:
    """A year of ordinary names, with dividends and splits, gives no fault and no suspicion; nor do no bars at all."""
    assert faults_of(CLEAN, CALENDAR).is_empty()
    assert suspicions_of(CLEAN, CALENDAR).to_dicts() == []
    empty = suspicions_of(CLEAN.clear(), CALENDAR)
    assert empty.is_empty()
    assert empty.schema == pl.Schema(SUSPICION_SCHEMA)


@pytest.mark.parametrize(("rule", "plant", "day", "name"), PLANTS, ids=[rule for rule, _, _, _ in PLANTS])
def test_each_rule_finds_its_planted_defect(rule: str, plant: Callable[[Frame], Frame], day: int, name: str) -> None:
    """The planted defect is found by its rule, on its session; the bars stay free of plain faults."""
    bars = plant(CLEAN)
    assert faults_of(bars, CALENDAR).is_empty()
    found = suspicions_of(bars, CALENDAR)
    hits = found.filter((pl.col("instrument_id") == name) & (pl.col("session") == DAYS[day]))
    assert rule in hits["rule"].to_list(), found.to_dicts()[:6]
    assert found.schema == pl.Schema(SUSPICION_SCHEMA)
    for row in hits.filter(pl.col("rule") != "session is missing").iter_rows(named=True):
        if not row["rule"].startswith("session is missing"):
            assert bars.row(row["row"], named=True)["session"] == row["session"]


@pytest.mark.parametrize(("bars", "share"), [(-30, 0.9), (-7, 0.7), (7, 0.7), (30, 0.9)])
def test_of_two_equal_bars_the_one_that_does_not_fit_its_neighbours_is_named(bars: int, share: float) -> None:
    """One bar a name overwritten from days or weeks away: one of the two is always named, and mostly the copy."""
    days = {name: 70 + 2 * i for i, name in enumerate(NAMES)}
    bad = overwritten(CLEAN, pl.any_horizontal(at(day, name) for name, day in days.items()), bars)
    found = suspicions_of(bad, CALENDAR).filter(pl.col("rule") == "bar of another session")
    ticks = (pl.col("high") - pl.col("low")) * 100
    wide = [name for name in NAMES if bad.filter(at(days[name], name)).select(ticks).item() >= 41]
    assert len(wide) > 50
    right = 0
    for name in wide:
        (row,) = found.filter(pl.col("instrument_id") == name).iter_rows(named=True)
        pair = {DAYS[days[name]], DAYS[days[name] - bars]}
        assert row["severity"] == "bad" and row["session"] in pair
        assert f"as on {min(pair - {row['session']})}" in row["observed"]
        right += row["session"] == DAYS[days[name]]
    assert right >= share * len(wide)


def test_the_newest_bar_that_repeats_an_older_one_is_the_copy() -> None:
    """A feed that serves an old bar tonight is named tonight, though the newest bar has no morning after it yet."""
    last = (pl.col("instrument_id") == NAME) & (pl.col("session") == DAYS[-1])
    found = suspicions_of(overwritten(CLEAN, last, 12), CALENDAR)
    assert (DAYS[-1], "bar of another session") in found.select("session", "rule").rows()


def test_equal_bars_of_few_ticks_are_chance_unless_a_crowd_has_them() -> None:
    """At a range of twenty cents an equal bar says nothing; the same in six names of one session says that it was copied."""
    cheap = scaled(CLEAN, pl.lit(True), 0.1, LEVEL)
    cheap = cheap.with_columns(pl.col(c).round(2) for c in PRICES)
    rule = "bar of another session"
    one = suspicions_of(overwritten(cheap, at(), -9), CALENDAR)
    assert (NAME, DAYS[AT], rule) not in one.select("instrument_id", "session", "rule").rows()
    crowd = pl.col("instrument_id").is_in(NAMES[:20]) & (pl.col("session") == DAYS[AT])
    many = suspicions_of(overwritten(cheap, crowd, -9), CALENDAR).filter(pl.col("rule") == rule)
    assert many.filter(pl.col("session") == DAYS[AT]).height >= 6


def test_news_with_volume_is_left_alone() -> None:
    """A fall of 12 % with eight times the volume, as at bad results, is no suspicion."""
    news = scaled(scaled(CLEAN, since(), 0.88, LEVEL), at(), 8.0, ("volume",)).cast({"volume": pl.Int64})
    assert suspicions_of(news, CALENDAR).to_dicts() == []


def test_a_fall_of_the_whole_market_is_left_alone() -> None:
    """A crash of all names together, and its return, is the market and no print."""
    crash = scaled(CLEAN, pl.col("session") == DAYS[AT], 0.85, ALL)
    assert suspicions_of(crash, CALENDAR).to_dicts() == []


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.5, 4.0, 40.0]))
def test_order_and_currency_do_not_matter(seed: int, scale: float) -> None:
    """Shuffled rows, and prices in another unit, give the same suspicions (their row numbers follow the rows)."""
    bars = scaled(scaled(CLEAN, at(), 1.25, ALL), since(200, NAMES[3]), 0.5, LEVEL)
    want = suspicions_of(bars, CALENDAR).select("instrument_id", "session", "rule")
    assert want.height >= 3
    mixed = scaled(bars.sample(fraction=1.0, shuffle=True, seed=seed), pl.lit(True), scale, LEVEL)
    assert suspicions_of(mixed, CALENDAR).select("instrument_id", "session", "rule").equals(want)


def test_faulty_rows_are_left_to_the_faults() -> None:
    """Null, NaN and doubled rows are faults, never suspicions, and everything found has both, newest first."""
    bad = put(CLEAN, at(), close=float("nan"), adjusted_close=pl.lit(None, dtype=pl.Float64))
    bad = pl.concat([bad, CLEAN.filter(at(20, NAMES[1]))])
    assert all("missing" in rule for rule in suspicions_of(bad, CALENDAR)["rule"])
    found = everything_found(bad, CALENDAR)
    assert set(found["severity"]) == {"fault", "bad"}
    assert found["session"].is_sorted(descending=True)
