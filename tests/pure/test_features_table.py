"""The feature table: contents, order, independence, and nothing from tomorrow."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from bar_fly_trading.errors import FixData
from bar_fly_trading.facts.tables import BARS
from bar_fly_trading.features.labels import HORIZONS, label_name
from bar_fly_trading.features.screener import SIGNALS, bull_bear_delta, screener_signals
from bar_fly_trading.features.table import FEATURE_SCHEMA, LABELS, build, schema_hash


def make_bars(rows: dict[str, int], seed: int = 1) -> pl.DataFrame:
    """Return seeded bars: `rows` of each instrument, with dividends, a 4:1 split in row 40, one volume of 0."""
    frames = []
    for k, (instrument_id, n) in enumerate(sorted(rows.items())):
        rng = np.random.default_rng([seed, k, len(instrument_id)])
        true = 40.0 * np.exp(np.cumsum(rng.normal(0, 0.02, n)))
        split = np.ones(n)
        split[40:41] = 4.0
        close = true * 4.0 / np.cumprod(split)
        adjusted = true * np.exp(0.0001 * (np.arange(n) // 60))
        volume = rng.integers(1_000, 2_000, n)
        volume[30:31] = 0
        frames.append(
            pl.DataFrame(
                {
                    "instrument_id": [instrument_id] * n,
                    "session": [date(2018, 1, 1) + timedelta(days=i) for i in range(n)],
                    "open": close * (1 + rng.normal(0, 0.002, n)),
                    "high": close * 1.012,
                    "low": close * 0.988,
                    "close": close,
                    "adjusted_close": adjusted,
                    "volume": volume,
                    "dividend_amount": np.zeros(n),
                    "split_coefficient": split,
                }
            )
        )
    return pl.concat(frames)


SYMBOLS = {"us:A": "A", "us:B": "B", "us:C": "C"}
LENGTHS = {"us:A": 320, "us:B": 90, "us:C": 300}
MAIN = build(make_bars(LENGTHS), SYMBOLS)


def test_the_table_has_its_schema_and_no_nan() -> None:
    """Columns and types are FEATURE_SCHEMA's in its order, rows are sorted, and undefined is null, never NaN."""
    assert MAIN.schema == pl.Schema(FEATURE_SCHEMA)
    assert set(LABELS) == {label_name(h) for h in HORIZONS}
    assert_frame_equal(MAIN, MAIN.sort("instrument_id", "session"))
    for name, kind in FEATURE_SCHEMA.items():
        if kind == pl.Float64():
            assert not MAIN[name].is_nan().any(), name
    assert MAIN.filter(pl.col("instrument_id") == "us:A")["52_week_high_pct"].null_count() == 251


@pytest.mark.parametrize("seed", range(5))
def test_row_order_of_the_input_changes_nothing(seed: int) -> None:
    """Shuffled bars give the same table to the last bit."""
    assert build(make_bars(LENGTHS).sample(fraction=1.0, shuffle=True, seed=seed), SYMBOLS).equals(MAIN)


@pytest.mark.parametrize("present", [["us:A"], ["us:B"], ["us:A", "us:B"], ["us:B", "us:C"]])
def test_an_instrument_does_not_depend_on_the_others(present: list[str]) -> None:
    """An instrument's numbers are the same to the last bit, whichever others are in the table."""
    alone = build(make_bars(LENGTHS).filter(pl.col("instrument_id").is_in(present)), SYMBOLS)
    assert alone.equals(MAIN.filter(pl.col("instrument_id").is_in(present)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 319))
def test_deleting_tomorrow_leaves_todays_numbers(newest: int) -> None:
    """With all bars after a session gone every column but the labels is unchanged to the last bit, and of the labels
    only the newest 3, 10 and 30 rows turn null."""
    last = date(2018, 1, 1) + timedelta(days=newest)
    cut = build(make_bars(LENGTHS).filter(pl.col("session") <= last), SYMBOLS)
    full = MAIN.filter(pl.col("session") <= last)
    assert cut.drop(LABELS).equals(full.drop(LABELS))
    from_end = pl.int_range(pl.len()).reverse().over("instrument_id")
    for horizon in HORIZONS:
        name = label_name(horizon)
        # An instrument that ended earlier keeps its own newest nulls in both.
        expected = full.select(pl.when(from_end >= horizon).then(pl.col(name)).otherwise(None)).to_series()
        assert cut[name].equals(expected)


def test_a_split_is_no_price_move() -> None:
    """On the day of a 4:1 split the chained series, the changes and the volume change show no jump."""
    rows = MAIN.filter(pl.col("instrument_id") == "us:A")
    day, before = rows.row(40, named=True), rows.row(39, named=True)
    assert day["close"] / before["close"] < 0.3
    for name in ("adjusted_close_pct", "open_pct", "high_pct", "low_pct"):
        assert abs(day[name]) < 0.2, name
    assert day["volume_pct"] == pytest.approx(day["volume"] / 4 / before["volume"] - 1)
    assert day["chained_close"] / before["chained_close"] == pytest.approx(
        day["adjusted_close"] / before["adjusted_close"]
    )


def test_the_chain_begins_at_the_first_close_as_traded() -> None:
    """The chained close starts at the close as traded, and the day's open, high and low keep their ratio to the close."""
    rows = MAIN.filter(pl.col("instrument_id") == "us:C")
    assert rows["chained_close"][0] == rows["close"][0]
    for name in ("open", "high", "low"):
        ratio = (rows[f"chained_{name}"] / rows["chained_close"]) / (rows[name] / rows["close"])
        assert (ratio - 1).abs().max() < 1e-12  # type: ignore[operator]


def test_a_later_dividend_does_not_rewrite_the_chain() -> None:
    """When the vendor rescales every adjusted close for a new dividend, no number before it moves by more than rounding."""
    bars = make_bars({"us:A": 320})
    rescaled = build(bars.with_columns(pl.col("adjusted_close") * 0.9875), SYMBOLS)
    mine = MAIN.filter(pl.col("instrument_id") == "us:A")
    for name in ("chained_close", "sma_200", "ema_200", "atr_14", "bbands_lower_20", "high_52_week"):
        assert ((rescaled[name] / mine[name] - 1).abs().max() or 0) < 1e-12  # type: ignore[operator]


def test_changes_after_zero_volume_are_undefined() -> None:
    """The volume change on the day after no volume is null, the one on that day is -1."""
    rows = MAIN.filter(pl.col("instrument_id") == "us:A")
    assert rows["volume_pct"][30] == -1.0
    assert rows["volume_pct"][31] is None


def test_distances_labels_and_dollar_volume_are_as_worded() -> None:
    """Distances are percent with two decimals, labels percent, dollar volume the median of close times volume."""
    rows = MAIN.filter(pl.col("instrument_id") == "us:A")
    row = rows.row(300, named=True)
    assert row["sma_50_pct"] == round((row["chained_close"] / row["sma_50"] - 1) * 100, 2)
    assert row["52_week_low_pct"] == round((row["chained_close"] / row["low_52_week"] - 1) * 100, 2)
    later = rows["chained_close"][310]
    assert row["future_10_day_pct"] == pytest.approx((later / row["chained_close"] - 1) * 100)
    dollars = (rows["close"] * rows["volume"])[281:301]
    assert row["dollar_volume_median_20d"] == dollars.median()
    assert rows["dollar_volume_median_20d"][:20].null_count() == 19


def test_calendar_columns() -> None:
    """Monday is day 0 and carries its English name; month, day of the year and year are the session's."""
    row = MAIN.row(0, named=True)
    assert row["session"] == date(2018, 1, 1)
    names = ("day_of_week_num", "day_of_week_name", "month", "day_of_year", "year")
    assert [row[name] for name in names] == [0, "Monday", 1, 1, 2018]


@pytest.mark.parametrize("broken", [None, float("nan"), 0.0, -1.0, float("inf")])
def test_a_bar_without_a_price_is_skipped(broken: float | None) -> None:
    """A bar with a missing or absurd price keeps its row, has no feature, and every other row is as if it were not there."""
    bars = make_bars({"us:A": 320})
    bad = date(2018, 1, 1) + timedelta(days=100)
    hurt = bars.with_columns(pl.when(pl.col("session") == bad).then(broken).otherwise(pl.col("high")).alias("high"))
    table = build(hurt, SYMBOLS)
    without = build(bars.filter(pl.col("session") != bad), SYMBOLS)
    assert table.filter(pl.col("session") != bad).equals(without)
    row = table.filter(pl.col("session") == bad).row(0, named=True)
    assert row["sma_20"] is None
    assert row["macd_signal"] is None
    assert row["bull_bear_delta"] is None
    assert row["future_3_day_pct"] is None
    assert row["dollar_volume_median_20d"] is None


def test_nothing_but_unusable_bars_and_no_bars_at_all() -> None:
    """A table of unusable bars keeps its rows without features, and no bars give an empty table of the same schema."""
    bars = make_bars({"us:A": 5})
    table = build(bars.with_columns(close=pl.lit(None, dtype=pl.Float64)), SYMBOLS)
    assert table.height == 5
    assert table["chained_close"].null_count() == 5
    empty = build(bars.clear(), SYMBOLS)
    assert empty.schema == pl.Schema(FEATURE_SCHEMA)
    assert empty.is_empty()


def test_symbols_follow_their_spells() -> None:
    """A bar carries the symbol of its day, and the first one before the first spell; all else is unchanged."""
    changed = date(2018, 3, 1)
    spells = pl.DataFrame(
        {
            "instrument_id": ["us:B", "us:A", "us:A", "us:C"],
            "symbol": ["B", "META", "FB", "C"],
            "start": [date(2018, 1, 1), changed, date(2018, 1, 10), date(2018, 1, 1)],
            "end": [None, None, changed - timedelta(days=1), None],
        }
    )
    table = build(make_bars(LENGTHS), spells)
    assert table.drop("symbol").equals(MAIN.drop("symbol"))
    by_day = dict(table.filter(pl.col("instrument_id") == "us:A").select("session", "symbol").iter_rows())
    assert by_day[date(2018, 1, 1)] == by_day[changed - timedelta(days=1)] == "FB"
    assert by_day[changed] == "META"
    assert set(table.filter(pl.col("instrument_id") != "us:A")["symbol"].unique()) == {"B", "C"}
    plain = build(make_bars(LENGTHS), pl.DataFrame({"instrument_id": list(SYMBOLS), "symbol": list(SYMBOLS.values())}))
    assert plain.equals(MAIN)


def test_bad_bars_are_refused_by_name() -> None:
    """Two bars of one day, and an instrument without a symbol, are errors that name them."""
    bars = make_bars({"us:A": 5})
    with pytest.raises(FixData, match="us:A 2018-01-03"):
        build(pl.concat([bars, bars[2:3]]), SYMBOLS)
    with pytest.raises(FixData, match="us:A"):
        build(bars, {"us:B": "B"})


def test_knowledge_columns_are_ignored() -> None:
    """Bars with known_at and recorded_at give the same table as bars without."""
    bars = make_bars(LENGTHS).select(*BARS.columns).with_columns(known_at=pl.lit(1), recorded_at=pl.lit(2))
    assert build(bars, SYMBOLS).equals(MAIN)


NEUTRAL = {
    "chained_close": 100.0,
    "macd": 0.0,
    "macd_9_ema": 0.0,
    "adx_14": 22.0,
    "atr_14": 50.0,
    "bbands_lower_20": 90.0,
    "bbands_upper_20": 110.0,
    "rsi_14": 50.0,
    "sma_20": 7.0,
    "sma_50": 7.0,
    "cci_14": 0.0,
    "pe_ratio": 20.0,
    "pcr": 0.6,
}


@pytest.mark.parametrize(
    ("changed", "signal", "expected"),
    [
        ({"macd": 0.2, "macd_9_ema": 0.1}, "macd_signal", 1),
        ({"macd": 0.1, "macd_9_ema": 0.2}, "macd_signal", -1),
        ({"macd": 1e-9}, "macd_zero_signal", 1),
        ({"macd": -1e-9}, "macd_zero_signal", -1),
        ({"adx_14": 25.0}, "adx_signal", 0),
        ({"adx_14": 25.1}, "adx_signal", 1),
        ({"adx_14": 20.0}, "adx_signal", 0),
        ({"adx_14": 19.9}, "adx_signal", -1),
        ({"atr_14": 50.1}, "atr_signal", 1),
        ({"atr_14": 49.9}, "atr_signal", -1),
        ({"chained_close": 90.0}, "bollinger_bands_signal", 0),
        ({"chained_close": 89.9}, "bollinger_bands_signal", 1),
        ({"chained_close": 110.0}, "bollinger_bands_signal", 0),
        ({"chained_close": 110.1}, "bollinger_bands_signal", -1),
        ({"rsi_14": 30.0}, "rsi_signal", 0),
        ({"rsi_14": 29.9}, "rsi_signal", 1),
        ({"rsi_14": 70.0}, "rsi_signal", 0),
        ({"rsi_14": 70.1}, "rsi_signal", -1),
        ({"sma_20": 7.1}, "sma_cross_signal", 1),
        ({"sma_20": 6.9}, "sma_cross_signal", -1),
        ({"cci_14": -100.0}, "cci_signal", 1),
        ({"cci_14": -99.9}, "cci_signal", 0),
        ({"cci_14": 100.0}, "cci_signal", -1),
        ({"pe_ratio": 15.0}, "pe_ratio_signal", 1),
        ({"pe_ratio": 15.1}, "pe_ratio_signal", 0),
        ({"pe_ratio": -3.0}, "pe_ratio_signal", 0),
        ({"pe_ratio": 35.0}, "pe_ratio_signal", 0),
        ({"pe_ratio": 35.1}, "pe_ratio_signal", -1),
        ({"pe_ratio": None}, "pe_ratio_signal", None),
        ({"pcr": 0.5}, "pcr_signal", 1),
        ({"pcr": 0.51}, "pcr_signal", 0),
        ({"pcr": 0.7}, "pcr_signal", 0),
        ({"pcr": 0.71}, "pcr_signal", -1),
        ({"pcr": None}, "pcr_signal", None),
        ({"cci_14": None}, "cci_signal", None),
        ({"atr_14": None}, "atr_signal", None),
    ],
)
def test_each_signal_at_its_threshold(changed: dict[str, float | None], signal: str, expected: int | None) -> None:
    """Each signal says 1, -1, 0 or nothing exactly at the threshold written for it, and the sum counts what is defined."""
    row = pl.DataFrame({**NEUTRAL, **changed}, schema=dict.fromkeys(NEUTRAL, pl.Float64))
    said = row.with_columns(screener_signals()).with_columns(bull_bear_delta()).row(0, named=True)
    assert said[signal] == expected
    assert said["bull_bear_delta"] == sum(said[name] or 0 for name in SIGNALS)


def test_facts_alone_are_no_sum() -> None:
    """Where no signal of the price is defined the sum is null, whatever the P/E and the put/call ratio say."""
    nothing = {**dict.fromkeys(NEUTRAL), "pe_ratio": 10.0, "pcr": 0.4}
    row = pl.DataFrame([nothing], schema=dict.fromkeys(NEUTRAL, pl.Float64))
    said = row.with_columns(screener_signals()).with_columns(bull_bear_delta()).row(0, named=True)
    assert (said["pe_ratio_signal"], said["pcr_signal"], said["bull_bear_delta"]) == (1, 1, None)


def test_the_schema_hash_is_fixed() -> None:
    """The hash that checkpoints carry changes only on purpose: with a column, a type or the definitions number."""
    assert schema_hash() == "4aed92db3e1254467b643a937fee23b875092eb5ff19dd4a40392a144f7acd56"
