"""The leak check: clean on the real feature table with every kind of fact, and it bites on every planted leak."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest

from bar_fly_trading.data.series import SERIES
from bar_fly_trading.facts.sessions import DAY_US, MINUTE_US, Calendar, evening_us
from bar_fly_trading.facts.tables import (
    EARNINGS,
    KNOWN_AT,
    MACRO,
    OPTIONS_SUMMARY,
    OVERVIEW,
    RECORDED_AT,
    SECTORS,
    Table,
)
from bar_fly_trading.features import leakage_checks as checks
from bar_fly_trading.features.dated_facts import DatedFacts
from bar_fly_trading.features.leakage import ROWS, Build, Compared, World, compare, merged
from bar_fly_trading.features.leakage_checks import check_table, draw_sessions, label_reach, label_values
from bar_fly_trading.features.leakage_knowledge import Known, MacroRule, check_knowledge
from bar_fly_trading.features.leakage_plants import COLUMN_PLANTS, FACT_PLANTS, FactPlant, planted_build, prepared
from bar_fly_trading.features.leakage_report import LeakReport, ModelCheck
from bar_fly_trading.features.macro import MACRO_COLUMNS
from bar_fly_trading.features.table import FEATURE_SCHEMA, build

CALENDAR = Calendar()
DAYS = CALENDAR.sessions(date(2019, 1, 2), date(2020, 6, 30))
NAMES = tuple(f"us:N{i}" for i in range(6))
RULES = {name: MacroRule(series.months, series.release_us) for name, series in SERIES.items()}
FACTS = ("earnings", "overview", "macro", "options_summary", "sectors")
RECORDED = evening_us(DAYS[-1])


def honest(world: World) -> pl.DataFrame:
    """Build the real feature table."""
    return build(world.bars, world.symbols, DatedFacts(**{name: world.facts[name] for name in FACTS}))


def frame(table: Table, rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
    """Return rows of a stored table, its knowledge columns last."""
    return pl.DataFrame(rows, schema=table.schema(), orient="row")


def bars() -> pl.DataFrame:
    """Return seeded bars of every name; the last name is listed late, one splits."""
    frames = []
    for k, name in enumerate(NAMES):
        rng = np.random.default_rng([7, k])
        days = DAYS[90 * (k == len(NAMES) - 1) :]
        close = 40.0 * np.exp(np.cumsum(rng.normal(0, 0.02, len(days))))
        split = np.where(np.arange(len(days)) == 200, 2.0 if k == 0 else 1.0, 1.0)
        close = close / np.cumprod(split)
        frames.append(
            pl.DataFrame(
                {
                    "instrument_id": [name] * len(days),
                    "session": days,
                    "open": close * (1 + rng.normal(0, 0.002, len(days))),
                    "high": close * 1.012,
                    "low": close * 0.988,
                    "close": close,
                    "adjusted_close": close * np.cumprod(split) / 2.0,
                    "volume": rng.integers(1_000, 2_000, len(days)),
                    "dividend_amount": np.zeros(len(days)),
                    "split_coefficient": split,
                    KNOWN_AT: [CALENDAR.session(day).close_us + 15 * MINUTE_US for day in days],
                    RECORDED_AT: [RECORDED] * len(days),
                }
            )
        )
    return pl.concat(frames)


def facts() -> dict[str, pl.DataFrame]:
    """Return facts of every kind, each known when it can have been."""
    earnings, overview, options = [], [], []
    for k, name in enumerate(NAMES):
        for q, end in enumerate(pl.date_range(date(2017, 3, 31), DAYS[-1], "3mo", eager=True)):
            told = end + timedelta(days=25 + k)
            if told < DAYS[-1]:
                row = (name, end, told, ("pre-market", "post-market", None)[k % 3], 1.0 + q / 8, 1.0, q / 8, q / 8)
                earnings.append((*row, evening_us(told), RECORDED))
        for i, day in enumerate(DAYS[k::20]):
            snapshot = {
                "Sector": "TECH",
                "PERatio": f"{10 + i}",
                "EPS": f"{i}",
                "AnalystRatingBuy": f"{i}",
                "Beta": "1",
            }
            snapshot |= {
                "Exchange": "NYSE",
                "Country": "USA",
                "Industry": "X",
                "BookValue": f"{i}",
                "ForwardPE": f"{i}",
            }
            snapshot |= {"MarketCapitalization": f"{i}000", "DividendYield": "0.1", "PriceToBookRatio": "1"}
            snapshot |= {
                "SharesOutstanding": "100",
                **{f"AnalystRating{w}": "1" for w in ("StrongBuy", "Hold", "Sell", "StrongSell")},
            }
            overview.append((name, json.dumps(snapshot), evening_us(day) - MINUTE_US, evening_us(day)))
        for i, day in enumerate(DAYS):
            known = CALENDAR.session(day).close_us + 15 * MINUTE_US
            options.append((name, day, 100 + i % 7 + k, 50 + i % 11, 150 + i % 7 + i % 11 + k, known, RECORDED))
    macro = []
    for column in MACRO_COLUMNS.values():
        every = {0: "1d", 1: "1mo", 12: "1y"}[SERIES[column.series].months]
        for i, day in enumerate(pl.date_range(date(2017, 1, 1), DAYS[-1], every, eager=True)):
            known = SERIES[column.series].release_us(day)
            if known < RECORDED and (every != "1d" or day.weekday() < 5):
                macro.append((column.series, day, 100.0 + i, known, RECORDED))
    return {
        "earnings": frame(EARNINGS, earnings),
        "overview": frame(OVERVIEW, overview),
        "macro": frame(MACRO, macro),
        "options_summary": frame(OPTIONS_SUMMARY, options),
        "sectors": pl.DataFrame(schema=SECTORS.schema()),
    }


@cache
def world() -> World:
    """Return six names of a year and a half, with facts."""
    symbols = pl.DataFrame({"instrument_id": NAMES, "symbol": [n[3:] for n in NAMES], "start": [DAYS[0]] * len(NAMES)})
    return World(bars(), symbols, facts())


@cache
def planted() -> tuple[Compared, ...]:
    """Return one check of a table with every column plant at once."""
    spoilt = prepared(world(), COLUMN_PLANTS)
    return check_table(spoilt, planted_build(honest, COLUMN_PLANTS), draw_sessions(spoilt, 6, 0), 0)


def leaks(results: tuple[Compared, ...]) -> set[tuple[str, str]]:
    """Return (check, column) of every leak."""
    return {(one.check, one.column) for one in results if one.state == "leak"}


def test_the_real_table_is_clean_and_every_column_is_compared() -> None:
    """The table with facts of every kind passes each check, and no column passes because there was nothing to compare."""
    found = check_table(world(), honest, draw_sessions(world(), 6, 1), 1)
    assert leaks(found) == set()
    by_check: dict[str, set[str]] = {}
    for one in found:
        by_check.setdefault(one.check, set()).add(one.column)
        assert one.state == "clean", one
    features = set(FEATURE_SCHEMA) - {"instrument_id", "session", *checks.LABELS} | {ROWS}
    for check in (checks.TRUNCATION, checks.DISTURBANCE, checks.OTHERS):
        assert by_check[check] == features, check
    assert by_check[checks.SCALE] == features - {"adjusted_close"}
    assert by_check[checks.LABEL_VALUES] == by_check[checks.LABEL_REACH] == set(checks.LABELS)


@pytest.mark.parametrize("plant", COLUMN_PLANTS, ids=lambda plant: plant.name)
def test_each_planted_column_is_caught_by_its_check(plant: object) -> None:
    """The check that is named for a planted column finds it, with an example of two different values."""
    name, caught_by = plant.name, plant.caught_by  # type: ignore[attr-defined]
    one = next(one for one in planted() if (one.check, one.column) == (caught_by, name))
    assert one.state == "leak"
    assert one.example is not None
    assert one.example.then != one.example.now


def test_planting_leaves_the_other_columns_clean() -> None:
    """Beside the planted columns nothing is reported: a leak is blamed on the column that leaks."""
    assert {column for _, column in leaks(planted())} == {plant.name for plant in COLUMN_PLANTS}
    # What only the scale test can see is seen by no other: an adjusted level is the same with and without tomorrow.
    assert {check for check, column in leaks(planted()) if column == "back-adjusted-levels"} == {checks.SCALE}


@pytest.mark.parametrize(
    ("table", "column"),
    [("earnings", "reported_eps"), ("overview", "book_value"), ("macro", "cpi"), ("options_summary", "pcr")],
)
def test_a_join_that_ignores_when_a_fact_was_known_is_caught(table: str, column: str) -> None:
    """A build that sees each fact of a table a month early is caught in the columns made of it, and in no other table's."""

    def early(one: World) -> pl.DataFrame:
        # Deleting looks at the stored time, this build at an earlier one.
        known = pl.col(KNOWN_AT) - 30 * DAY_US
        return honest(replace(one, facts={**one.facts, table: one.facts[table].with_columns(known)}))

    # A session's own chain cannot be seen before it: chains are stored a day late here, and read as if they were not.
    late = world().facts[table].with_columns(pl.col(KNOWN_AT) + DAY_US * (table == "options_summary"))
    source = replace(world(), facts={**world().facts, table: late})
    found = check_table(source, early, draw_sessions(source, 8, 0), 0)
    columns = {name for check, name in leaks(found) if check == checks.TRUNCATION}
    assert column in columns
    assert not columns & {"sma_20", "chained_close", "volume_pct"}


@pytest.mark.parametrize("plant", FACT_PLANTS, ids=lambda plant: plant.name)
def test_each_planted_fact_is_caught_by_its_rule(plant: FactPlant) -> None:
    """A table stored with too early times breaks the rule that is named for it; the honest tables break none."""
    tables = {**world().facts, "bars": world().bars}
    clean = check_knowledge(tables, CALENDAR, RULES)
    assert [one for one in clean if one.state == "leak"] == []
    assert {one.table for one in clean if one.state == "clean"} == {
        "bars", "earnings", "overview", "macro", "options_summary",
    }  # fmt: skip
    spoilt = {**tables, plant.table: plant.spoil(world(), tables)}
    caught = {f"{one.table}: {one.rule}" for one in check_knowledge(spoilt, CALENDAR, RULES) if one.state == "leak"}
    assert plant.caught_by in caught
    assert {one.split(":")[0] for one in caught} == {plant.table}
    # The rebuilt table agrees with the full one: deleting tomorrow alone would have passed it.
    with_spoilt = replace(world(), facts={**world().facts, plant.table: spoilt[plant.table]})
    results = check_table(with_spoilt, honest, draw_sessions(with_spoilt, 2, 0), 0)
    assert leaks(results) == set()


def known(changes: Callable[[dict[str, pl.DataFrame]], None]) -> dict[str, Known]:
    """Return the rules broken by changed tables, by their words."""
    tables: dict[str, pl.DataFrame] = {**world().facts, "bars": world().bars}
    changes(tables)
    return {one.rule: one for one in check_knowledge(tables, CALENDAR, RULES) if one.state == "leak"}


def one_early(table: str, by_us: int) -> Callable[[dict[str, pl.DataFrame]], None]:
    """Make one row of a table known earlier."""

    def change(tables: dict[str, pl.DataFrame]) -> None:
        row = pl.int_range(pl.len()) == 100
        moved = pl.when(row).then(pl.col(KNOWN_AT) - by_us).otherwise(pl.col(KNOWN_AT)).alias(KNOWN_AT)
        tables[table] = tables[table].with_columns(moved)

    return change


@pytest.mark.parametrize(
    ("table", "by_us", "rule"),
    [
        ("bars", 20 * MINUTE_US, "known after the close of its session"),
        ("options_summary", 20 * MINUTE_US, "known after the close of its session"),
        ("overview", 2 * DAY_US, "known when it was received: it says today's values alone"),
        ("macro", 2 * DAY_US, "known by the release rule, or stored when received"),
    ],
)
def test_one_row_known_too_early_is_found_and_named(table: str, by_us: int, rule: str) -> None:
    """One row among thousands that counts as known too early is enough, and the message says which."""
    found = known(one_early(table, by_us))
    assert found[rule].wrong == 1
    assert ", known 20" in found[rule].example


def test_earnings_before_their_announcement_are_found_and_a_rounded_quarter_end_is_not() -> None:
    """A report known the evening before its day is a leak; a company whose quarter ends before the month does is none."""

    def day_before(tables: dict[str, pl.DataFrame]) -> None:
        tables["earnings"] = tables["earnings"].with_columns(pl.col(KNOWN_AT) - DAY_US)

    assert set(known(day_before)) == {"known after its announcement"}

    def rounded(tables: dict[str, pl.DataFrame]) -> None:
        # Reported on the 25th, of a quarter whose end the vendor gives as the 31st: as of Costco in May 2023.
        row = frame(
            EARNINGS,
            [
                (
                    "us:N0",
                    date(2019, 5, 31),
                    date(2019, 5, 25),
                    None,
                    1.0,
                    1.0,
                    0.0,
                    0.0,
                    evening_us(date(2019, 5, 25)),
                    RECORDED,
                )
            ],
        )
        tables["earnings"] = pl.concat([tables["earnings"], row])

    assert known(rounded) == {}


def test_what_a_table_without_dates_says_is_not_checked() -> None:
    """Imported rows pass when they count as known at the import, and imported sectors are said not to be checked."""
    rows = frame(SECTORS, [("us:N0", "TECH", None, evening_us(DAYS[0]), RECORDED)])
    undated = frame(EARNINGS, [("us:N0", date(2019, 3, 31), None, None, 1.0, 1.0, 0.0, 0.0, RECORDED, RECORDED)])
    found = check_knowledge({"sectors": rows, "earnings": undated}, CALENDAR, RULES)
    by_rule = {(one.table, one.rule): one for one in found}
    sectors = by_rule["sectors", "known when it was received"]
    assert (sectors.state, sectors.example[:7]) == ("not checked", "1 names")
    assert by_rule["earnings", "without an announcement date: known when it was imported"].state == "clean"
    early = undated.with_columns(pl.lit(evening_us(date(2019, 4, 20))).alias(KNOWN_AT))
    again = {(one.table, one.rule): one.state for one in check_knowledge({"earnings": early}, CALENDAR, RULES)}
    assert again["earnings", "without an announcement date: known when it was imported"] == "leak"


def with_labels(change: Mapping[str, pl.Expr]) -> Build:
    """Return a build whose labels are changed."""
    return lambda one: honest(one).with_columns(e.over("instrument_id").alias(name) for name, e in change.items())


def test_a_label_of_the_wrong_horizon_is_caught() -> None:
    """A label one session off fails the second computation, and one that reads too far ahead fails the reach."""
    name = "future_3_day_pct"
    off = with_labels({name: pl.col(name).shift(1)})
    found = {one.column: one.state for one in label_values(world(), off(world()))}
    assert found == {name: "leak", "future_10_day_pct": "clean", "future_30_day_pct": "clean"}
    far = with_labels({name: pl.col("future_10_day_pct")})
    day = DAYS[250]
    both = [far(one).filter(pl.col("session") <= day) for one in (world(), world().disturbed(day, 0))]
    reach = {one.column: one.state for one in label_reach(*both)}
    assert reach == {name: "leak", "future_10_day_pct": "clean", "future_30_day_pct": "clean"}
    blind = with_labels({name: pl.col("adjusted_close_pct")})
    both = [blind(one).filter(pl.col("session") <= day) for one in (world(), world().disturbed(day, 0))]
    assert label_reach(*both)[0].state == "not checked"


def test_rows_that_appear_or_vanish_are_a_leak() -> None:
    """A name that is dropped for what happened to it later is a difference of rows, and names the first."""
    table = honest(world().only(NAMES[:2]))
    survivors = table.filter(pl.col("instrument_id") == NAMES[0])
    rows, close = compare("check", table, survivors, ["close"])
    assert (rows.column, rows.differing, close.state) == (ROWS, len(DAYS), "clean")
    assert rows.example is not None
    assert (rows.example.symbol, rows.example.then, rows.example.now) == ("N1", "there", "gone")
    back = compare("check", survivors, table, ["close"])[0]
    assert back.example is not None
    assert (back.differing, back.example.now) == (len(DAYS), "there")


def test_nothing_to_compare_is_never_a_pass() -> None:
    """A column that is empty, or empty near the session, is `not checked`; a null against a number is a leak."""
    table = honest(world().only(NAMES[:1])).with_columns(empty=pl.lit(None, pl.Float64))
    old = pl.when(pl.col("session") < DAYS[100]).then(1.0).alias("old")
    table = table.with_columns(old)
    states = {
        one.column: one.state for one in compare("check", table, table, ["empty", "old", "close"], near_from=DAYS[-5])
    }
    assert states == {ROWS: "clean", "empty": "not checked", "old": "not checked", "close": "clean"}
    filled = table.with_columns(empty=pl.lit(1.0))
    assert compare("check", table, filled, ["empty"])[1].state == "leak"
    twice = merged([*compare("check", table, table, ["empty"]), *compare("check", table, filled, ["empty"])])
    assert [one.state for one in twice] == ["clean", "leak"]


@pytest.mark.parametrize("seed", range(5))
def test_sessions_are_drawn_where_leaks_show(seed: int) -> None:
    """The same seed draws the same different sessions: one of the newest thirty, one early, and never the last of all."""
    drawn = draw_sessions(world(), 6, seed)
    assert drawn == draw_sessions(world(), 6, seed)
    assert len(set(drawn)) == 6
    assert DAYS[-31] <= drawn[0] < DAYS[-1]
    assert DAYS[5] <= drawn[1] < DAYS[150]
    assert max(drawn) < DAYS[-1]
    assert len(draw_sessions(world().known_by(DAYS[3]), 9, seed)) == 3


def test_worlds_differ_only_in_what_they_should() -> None:
    """A deleted future has nothing later, a disturbed one the same rows with the past untouched, a scaled one the same returns."""
    day = DAYS[200]
    cut = world().known_by(day)
    assert cut.bars["session"].max() == day
    assert all(f.is_empty() or f[KNOWN_AT].max() <= evening_us(day) for f in cut.facts.values())  # type: ignore[operator]
    other = world().disturbed(day, 0)
    past = pl.col("session") <= day
    assert other.bars.filter(past).equals(world().bars.filter(past))
    assert other.bars.select("instrument_id", "session", KNOWN_AT).equals(
        world().bars.select("instrument_id", "session", KNOWN_AT)
    )
    assert (other.bars.filter(~past)["close"] != world().bars.filter(~past)["close"]).all()
    scaled = world().scaled().bars
    assert (scaled["adjusted_close"] < world().bars["adjusted_close"]).all()
    assert scaled.drop("adjusted_close").equals(world().bars.drop("adjusted_close"))


def test_the_report_lists_leaks_and_what_was_not_checked() -> None:
    """Columns, tables and the model come with their numbers; what has one reason not to be checked stands together."""
    report = LeakReport(
        DAYS[-1], 0, DAYS[:1], 6, 10, 0,
        (Compared("a", "x", 0, 0, 0), Compared("a", "y", 0, 0, 0), Compared("a", "z", 9, 3, 1)),
        (Known("macro", "rule", 0, 0), Known("earnings", "rule", 5, 2, "us:A")),
        (ModelCheck("purge", 0, 0, "too short"), ModelCheck("parity", 4, 0)),
    )  # fmt: skip
    assert [(leak.where, leak.wrong, leak.compared) for leak in report.leaks()] == [("z", 1, 9), ("earnings", 2, 5)]
    assert report.unchecked() == (
        (("x", "y"), "nothing to compare in: a"),
        (("table macro",), "the store has no rows of it"),
        (("model: purge",), "too short"),
    )
