"""The ranker: each score at its points, each tag with its reason, and the same bytes whatever the order."""

import json
import random
import subprocess
import sys
from dataclasses import fields, replace
from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.strategies.signal import Purpose, Side, Signal
from bar_fly_trading.trading.plan import Criterion, RankedSignal
from bar_fly_trading.trading.signal_ranker import (
    CRITERIA,
    RANKED_SCHEMA,
    RankingRules,
    rank,
    ranking_rules,
    signal_rows,
    to_csv,
)

SESSION = date(2021, 4, 20)
NAN = float("nan")
LIQUID_USD = 50_000_000.0


def entry(symbol: str, strength: float = 0.25, strategy: str = "bollinger") -> Signal:
    """A BUY."""
    return Signal(
        session=SESSION,
        strategy=strategy,
        instrument_id=f"us:{symbol}",
        symbol=symbol,
        side=Side.BUY,
        purpose=Purpose.ENTRY,
        strength=strength,
        close_usd=Decimal("100.25"),
        reason=f"{symbol} crossed.",
    )


def leave(symbol: str, strategy: str = "bollinger") -> Signal:
    """A SELL."""
    return replace(entry(symbol, 0.0, strategy), side=Side.SELL, purpose=Purpose.EXIT)


def features(
    *symbols: str,
    volume: float | None = LIQUID_USD,
    closes: tuple[float | None, ...] = (100.0,) * 21,
    last: date = SESSION,
) -> pl.DataFrame:
    """Flat names with 21 sessions of history up to `last`."""
    count = len(closes)
    return pl.DataFrame(
        {
            "session": [last - timedelta(days=count - 1 - i) for i in range(count)] * len(symbols),
            "instrument_id": [f"us:{s}" for s in symbols for _ in range(count)],
            "chained_close": list(closes) * len(symbols),
            "dollar_volume_median_20d": [volume] * (count * len(symbols)),
        },
        schema_overrides={"chained_close": pl.Float64, "dollar_volume_median_20d": pl.Float64},
    )


def predictions(**probability: float | None) -> pl.DataFrame:
    """Probabilities of a rise by symbol."""
    return pl.DataFrame(
        {
            "session": [SESSION] * len(probability),
            "instrument_id": [f"us:{s}" for s in probability],
            "probability_rise_3d": list(probability.values()),
        },
        schema_overrides={"probability_rise_3d": pl.Float64},
    )


def criterion(ranked: RankedSignal, name: str) -> Criterion:
    """One criterion by name."""
    return next(c for c in ranked.criteria if c.name == name)


def one(
    signal: Signal | None = None,
    table: pl.DataFrame | None = None,
    seen: pl.DataFrame | None = None,
    rules: RankingRules | None = None,
) -> RankedSignal:
    """The place of a single entry."""
    signal = signal or entry("A")
    (ranked,) = rank([signal], features("A") if table is None else table, seen, {}, rules or RankingRules())
    return ranked


@pytest.mark.parametrize(("strength", "score"), [(0.0, 0.0), (0.25, 0.5), (0.75, 0.75), (1e300, 1.0)])
def test_strength_saturates(strength: float, score: float) -> None:
    """A touch scores 0, a quarter of a half-width one half, ever more never beyond 1."""
    found = criterion(one(entry("A", strength)), "strength")
    assert found.value == strength
    assert found.score == pytest.approx(score)


@pytest.mark.parametrize(("probability", "score"), [(0.0, 0.0), (0.6, 0.6), (1.0, 1.0), (1.5, 1.0)])
def test_confidence_is_the_probability_of_a_rise(probability: float, score: float) -> None:
    """It is its own score."""
    found = criterion(one(seen=predictions(A=probability)), "confidence")
    assert (found.value, found.score) == (probability, score)


@pytest.mark.parametrize(("volume", "score"), [(LIQUID_USD, 0.5), (150_000_000.0, 0.75)])
def test_dollar_volume_saturates(volume: float, score: float) -> None:
    """50 million a day scores one half."""
    found = criterion(one(table=features("A", volume=volume)), "dollar_volume")
    assert found.value == volume
    assert found.score == pytest.approx(score)


@pytest.mark.parametrize(
    ("twenty_ago", "five_ago", "value", "score"),
    [
        (100.0, 100.0, 0.0, 1.0),
        (90.0, 80.0, 100 / 90 - 1, 1.0),  # rising is no better than flat
        (100.0, 125.0, -0.2, 0.0),  # 20 % down in five sessions: a falling knife
        (111.11111111111111, 100.0, -0.1, 0.5),
        (200.0, 100.0, -0.5, 0.0),
    ],
)
def test_falling_knives_score_low(twenty_ago: float, five_ago: float, value: float, score: float) -> None:
    """The worse of the 5- and 20-session returns, from 0 % (score 1) to -20 % (score 0)."""
    closes = (twenty_ago, *[100.0] * 14, five_ago, *[100.0] * 5)
    found = criterion(one(table=features("A", closes=closes)), "recent_performance")
    assert found.value == pytest.approx(value)
    assert found.score == pytest.approx(score)


@pytest.mark.parametrize(
    ("name", "ranked"),
    [
        ("strength", one(entry("A", NAN))),
        ("strength", one(entry("A", -1.0))),
        ("confidence", one(seen=None)),
        ("confidence", one(seen=predictions(A=NAN))),
        ("confidence", one(seen=predictions(A=None))),
        ("confidence", one(seen=predictions(B=0.9))),
        ("dollar_volume", one(table=features("A", volume=NAN))),
        ("dollar_volume", one(table=features("A", volume=None))),
        ("dollar_volume", one(table=features("B"))),
        ("dollar_volume", one(table=features("A", last=SESSION - timedelta(days=1)))),
        ("recent_performance", one(table=features("A", closes=(100.0,) * 20))),
        ("recent_performance", one(table=features("A", closes=(NAN, *[100.0] * 20)))),
        ("recent_performance", one(table=features("A", closes=(*[100.0] * 15, None, *[100.0] * 5)))),
        ("recent_performance", one(table=features("A", closes=(0.0, *[100.0] * 20)))),
    ],
)
def test_an_undefined_value_scores_zero_and_it_is_said(name: str, ranked: RankedSignal) -> None:
    """Missing, null, NaN or stale: value None, score 0, named in the tag's reason."""
    found = criterion(ranked, name)
    assert (found.value, found.score) == (None, 0.0)
    assert "undefined and scored 0: " in ranked.tag_reason
    assert name in ranked.tag_reason.split("scored 0: ")[1].split(", ")


def test_tomorrow_is_not_seen() -> None:
    """Rows after the session, with another volume and a crash, change nothing."""
    table = features("A")
    tomorrow = features("A", volume=1.0, closes=(1.0,), last=SESSION + timedelta(days=1))
    assert one(table=pl.concat([tomorrow, table])) == one(table=table)


def test_the_score_is_the_weighted_mean() -> None:
    """By hand: strength .5, confidence .6, volume .5, sector 1, recent 1 with weights 1, 2, 3, 4, 0."""
    rules = RankingRules(1, 2, 3, 4, 0)
    ranked = one(seen=predictions(A=0.6), rules=rules)
    assert ranked.score == pytest.approx((0.5 + 2 * 0.6 + 3 * 0.5 + 4 * 1.0) / 10)
    assert [(c.name, c.weight) for c in ranked.criteria] == list(zip(CRITERIA, (1, 2, 3, 4, 0), strict=True))


def test_at_most_five_execute_and_the_rest_watch() -> None:
    """Seven sound entries of seven sectors: five execute, two watch and say why."""
    names = [f"N{i}" for i in range(7)]
    signals = [entry(n, 1.0 - i / 10) for i, n in enumerate(names)]
    ranked = rank(signals, features(*names), None, {f"us:{n}": n for n in names}, RankingRules())
    assert [(r.rank, r.tag, r.signal.symbol) for r in ranked] == [
        (i + 1, "execute" if i < 5 else "watch", n) for i, n in enumerate(names)
    ]
    assert ranked[4].tag_reason.startswith("new entry 5 of at most 5")
    assert ranked[5].tag_reason.startswith("5 better entries fill the day's maximum of 5")


def test_a_sector_takes_two_and_watches_leave_room_for_others() -> None:
    """The third of a sector only watches, does not use up the day, and a weaker name of another sector executes."""
    signals = [entry("A", 0.9), entry("B", 0.8), entry("C", 0.7), entry("D", 0.0)]
    sectors = {"us:A": "Energy", "us:B": "Energy", "us:C": "Energy", "us:D": "Utilities"}
    ranked = rank(signals, features(*"ABCD"), None, sectors, RankingRules(sector_weight=0.0, new_entries_a_day_max=3))
    assert [(r.signal.symbol, r.tag) for r in ranked] == [
        ("A", "execute"),
        ("B", "execute"),
        ("C", "watch"),
        ("D", "execute"),
    ]
    assert ranked[2].tag_reason.startswith("sector Energy already has 2 new entries, at most 2 a day")
    assert ranked[3].tag_reason.startswith("new entry 3 of at most 3")


def test_a_missing_sector_is_one_sector() -> None:
    """Absent and empty sectors are together the sector unknown, capped like any other."""
    signals = [entry("A", 0.9), entry("B", 0.8), entry("C", 0.7)]
    ranked = rank(signals, features(*"ABC"), None, {"us:B": "  "}, RankingRules())
    assert [(r.sector, r.tag) for r in ranked] == [("unknown", "execute"), ("unknown", "execute"), ("unknown", "watch")]


def test_the_sector_score_follows_who_is_chosen() -> None:
    """The second of a sector scores half there and falls behind another sector's weaker name."""
    signals = [entry("A", 0.9), entry("B", 0.8), entry("C", 0.5)]
    sectors = {"us:A": "Energy", "us:B": "Energy", "us:C": "Utilities"}
    ranked = rank(signals, features(*"ABC"), None, sectors, RankingRules())
    assert [r.signal.symbol for r in ranked] == ["A", "C", "B"]
    assert [(criterion(r, "sector").value, criterion(r, "sector").score) for r in ranked] == [(0, 1), (0, 1), (1, 0.5)]


def test_a_watched_name_does_not_crowd_its_sector() -> None:
    """A name watched for its thin trading costs the next of its sector nothing."""
    table = pl.concat([features("A", volume=1_000_000.0), features("B")])
    sectors = {"us:A": "Energy", "us:B": "Energy"}
    ranked = rank([entry("A", 1e9), entry("B", 0.01)], table, None, sectors, RankingRules(dollar_volume_weight=0))
    assert [(r.signal.symbol, r.tag, criterion(r, "sector").value) for r in ranked] == [
        ("A", "watch", 0),
        ("B", "execute", 0),
    ]


def test_thin_trading_only_watches() -> None:
    """Under the minimum, or not known: watch, with the numbers."""
    thin = one(table=features("A", volume=4_999_999.0))
    assert thin.tag == "watch"
    assert thin.tag_reason.startswith("20-day median dollar volume 4,999,999 USD is under 5,000,000 USD")
    unknown = one(table=features("A", volume=None))
    assert unknown.tag == "watch"
    assert unknown.tag_reason.startswith("20-day median dollar volume is not known; at least 5,000,000 USD is asked")
    assert one(table=features("A", volume=5_000_000.0)).tag == "execute"


def test_exits_come_first_and_are_never_limited() -> None:
    """Thirty exits of one sector beside one entry: all execute, rank 0, unranked, in sort-key order."""
    exits = [leave(f"N{i:02}", "zebra" if i % 2 else "ant") for i in range(30)]
    ranked = rank([entry("A"), *reversed(exits)], features("A"), None, {}, RankingRules(new_entries_a_day_max=1))
    assert [r.signal for r in ranked[:30]] == sorted(exits, key=Signal.sort_key)
    assert {(r.rank, r.tag, r.criteria, r.score) for r in ranked[:30]} == {(0, "execute", (), 0.0)}
    assert (ranked[30].rank, ranked[30].tag) == (1, "execute")


def test_ties_go_by_instrument_then_strategy() -> None:
    """Equal scores are ordered by instrument_id, then strategy."""
    signals = [entry("B"), entry("A", strategy="x"), entry("A", strategy="b")]
    rules = RankingRules(sector_weight=0)
    ranked = rank(signals, features("A", "B"), None, {}, rules)
    assert [(r.signal.symbol, r.signal.strategy) for r in ranked] == [("A", "b"), ("A", "x"), ("B", "bollinger")]


def test_nothing_in_nothing_out() -> None:
    """No signals: an empty list, a header, an empty table of the schema."""
    assert rank([], features("A"), None, {}, RankingRules()) == ()
    assert signal_rows(()).schema == pl.Schema(RANKED_SCHEMA)
    assert to_csv(()) == ",".join(RANKED_SCHEMA) + "\n"


def test_several_sessions_are_a_defect() -> None:
    """Signals of two sessions cannot share one day's list."""
    other = replace(entry("B"), session=SESSION + timedelta(days=1))
    with pytest.raises(ValueError, match="several sessions"):
        rank([entry("A"), other], features("A"), None, {}, RankingRules())


@given(
    strengths=st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, NAN]), min_size=1, max_size=12),
    sectors=st.lists(st.sampled_from(["Energy", "Utilities", ""]), min_size=12, max_size=12),
    seed=st.integers(0, 10**6),
)
def test_the_order_of_the_input_does_not_matter(strengths: list[float], sectors: list[str], seed: int) -> None:
    """Shuffled signals, table rows and sector entries give the same list; ranks run from 1, caps hold."""
    names = [f"N{i}" for i in range(len(strengths))]
    signals = [entry(n, s) for n, s in zip(names, strengths, strict=True)] + [leave("N0"), leave("Z")]
    table, by_name = features(*names), {f"us:{n}": s for n, s in zip(names, sectors, strict=False)}
    first = rank(signals, table, None, by_name, RankingRules())
    dice = random.Random(seed)
    dice.shuffle(signals)
    shuffled = dict(dice.sample(sorted(by_name.items()), len(by_name)))
    second = rank(signals, table.sample(fraction=1, shuffle=True, seed=seed), None, shuffled, RankingRules())
    assert to_csv(second) == to_csv(first)
    assert [r.rank for r in first] == [0, 0, *range(1, len(names) + 1)]
    executed = [r.sector for r in first if r.rank and r.tag == "execute"]
    assert len(executed) <= 5
    assert all(executed.count(s) <= 2 for s in executed)
    assert all(0 <= r.score <= 1 for r in first)


def test_the_bytes_do_not_depend_on_the_hash_seed() -> None:
    """Three interpreters with three hash seeds write the same CSV."""
    program = (
        "import json, sys; from test_signal_ranker import *\n"
        "names = [f'N{i}' for i in range(9)]\n"
        "sectors = {f'us:{n}': 'Energy' if i % 3 else 'Utilities' for i, n in enumerate(names)}\n"
        "ranked = rank([entry(n) for n in set(names)] + [leave('Q')], features(*set(names)), None, sectors, RankingRules())\n"
        "json.dump(to_csv(ranked), sys.stdout)\n"
    )
    here = __file__.rpartition("/")[0]
    texts = {
        json.loads(
            subprocess.run(
                [sys.executable, "-c", program],
                env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join([here, *sys.path])},
                capture_output=True,
                check=True,
            ).stdout
        )
        for seed in ("0", "1", "2")
    }
    assert len(texts) == 1
    assert len(texts.pop().splitlines()) == 11


def test_the_csv_is_the_table_as_text() -> None:
    """Every column in the schema's order, nulls empty, commas quoted, floats short, an exit without a score."""
    thin = features("A", volume=1_234_567.0)
    ranked = rank(
        [replace(entry("A", 1 / 3), reason="one, two"), leave("B")], thin, None, {"us:A": "Energy"}, RankingRules()
    )
    header, exit_line, entry_line = to_csv(ranked).splitlines()
    assert header == (
        "rank,tag,session,symbol,side,purpose,strategy,score,strength_value,strength_score,confidence_value,"
        "confidence_score,dollar_volume_value,dollar_volume_score,sector_value,sector_score,recent_performance_value,"
        "recent_performance_score,close,strength,sector,tag_reason,reason"
    )
    assert exit_line == (
        "0,execute,2021-04-20,B,SELL,EXIT,bollinger,,,,,,,,,,,,100.25,0.0,unknown,"
        "an exit is not ranked and never limited,B crossed."
    )
    assert entry_line == (
        "1,watch,2021-04-20,A,BUY,ENTRY,bollinger,0.496471598,0.333333333,0.571428571,,0.0,1234567.0,0.024096368,0.0,1.0,"
        '0.0,1.0,100.25,0.333333333,Energy,"20-day median dollar volume 1,234,567 USD is under 5,000,000 USD; '
        'undefined and scored 0: confidence","one, two"'
    )
    table = signal_rows(ranked)
    assert table.schema == pl.Schema(RANKED_SCHEMA)
    assert table["score"].to_list() == [None, pytest.approx(0.496471598)]
    assert table["strength_value"].to_list() == [None, pytest.approx(1 / 3)]


@pytest.mark.parametrize("name", [f.name for f in fields(RankingRules)])
@pytest.mark.parametrize("bad", [NAN, float("inf"), -1])
def test_every_number_of_the_rules_is_checked(name: str, bad: float) -> None:
    """NaN, infinite and negative are refused, by name."""
    with pytest.raises(FixSettings, match=f"ranking: {name} is "):
        RankingRules(**{name: bad})  # type: ignore[arg-type]


def test_weights_must_weigh_something() -> None:
    """One at 0 is fine, all at 0 rank nothing; a half-value of 0 is no scale."""
    assert RankingRules(strength_weight=0).weights()["strength"] == 0
    with pytest.raises(FixSettings, match="every weight is 0"):
        RankingRules(0, 0, 0, 0, 0)
    with pytest.raises(FixSettings, match="strength_half is 0; it must be finite and above 0"):
        RankingRules(strength_half=0)


def test_rules_from_settings_take_weights_by_criterion() -> None:
    """Named weights replace the defaults; an unknown criterion is met with the nearest."""
    assert ranking_rules({"sector": 0.5}, sector_entries_max=3) == RankingRules(sector_weight=0.5, sector_entries_max=3)
    with pytest.raises(FixSettings, match=r"no criterion is called 'volume'. Did you mean 'dollar_volume'\?"):
        ranking_rules({"volume": 1.0})
    with pytest.raises(FixSettings, match="Known: strength, confidence"):
        ranking_rules({"zzz": 1.0})
