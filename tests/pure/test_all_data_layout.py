"""The `all_data` layout: its columns, its scale, and the events read back from it."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bar_fly_trading.features.all_data import (
    ALL_DATA_SCHEMA,
    PRICE_LEVELS,
    derive_events,
    recover_bars,
    to_all_data,
)
from bar_fly_trading.features.table import FACT_SCHEMA, build

EXISTING = Path(__file__).parents[2].parent / "shared/spec/existing_data.md"
RATINGS = ", ".join(f"analyst_rating_{word}" for word in ("strong_buy", "buy", "hold", "sell", "strong_sell"))
REAL = Path(__file__).parents[2].parent / "shared/data/daily_adjusted_sp500.parquet"

ORDER = """
date symbol open high low adjusted_close volume sma_20 sma_50 sma_200 ema_20 ema_50 ema_200 macd macd_9_ema rsi_14 adx_14
atr_14 cci_14 bbands_upper_20 bbands_middle_20 bbands_lower_20 call_volume put_volume total_volume options_14_mean
options_14_std pcr pcr_14_mean treasury_yield_2year treasury_yield_10year ffer cpi inflation retail_sales durables
unemployment nonfarm_payroll fiscal_date_ending reported_eps estimated_eps ttm_eps surprise surprise_percentage exchange
country sector industry market_capitalization book_value dividend_yield eps price_to_book_ratio beta shares_outstanding
52_week_high 52_week_low forward_pe analyst_rating_strong_buy analyst_rating_buy analyst_rating_hold analyst_rating_sell
analyst_rating_strong_sell pe_ratio adjusted_close_pct volume_pct open_pct high_pct low_pct sma_20_pct sma_50_pct
sma_200_pct 52_week_high_pct 52_week_low_pct adjusted_open adjusted_high adjusted_low day_of_week_num day_of_week_name
month day_of_year year future_3_day_pct future_10_day_pct future_30_day_pct macd_signal macd_zero_signal adx_signal
atr_signal pe_ratio_signal bollinger_bands_signal rsi_signal sma_cross_signal cci_signal pcr_signal bull_bear_delta
"""


def bars_with_events(rows: int = 300, seed: int = 3) -> pl.DataFrame:
    """Return bars in Alpha Vantage's adjustment: a 4:1 split in row 100, a dividend in row 150, both in row 200."""
    rng = np.random.default_rng(seed)
    close = np.round(80.0 * np.exp(np.cumsum(rng.normal(0, 0.01, rows))), 2)
    split, dividend = np.ones(rows), np.zeros(rows)
    split[100], split[200] = 4.0, 2.0
    dividend[150], dividend[200] = 0.55, 0.25
    close[100:] = np.round(close[100:] / 4.0, 2)
    close[200:] = np.round(close[200:] / 2.0, 2)
    step = split * (1.0 + dividend / close)
    factor = 1.0 / np.append(np.cumprod(step[::-1])[::-1][1:], 1.0)
    return pl.DataFrame(
        {
            "instrument_id": ["us:A"] * rows,
            "session": [date(2018, 1, 1) + timedelta(days=i) for i in range(rows)],
            "open": np.round(close * 0.999, 2),
            "high": np.round(close * 1.01, 2),
            "low": np.round(close * 0.99, 2),
            "close": close,
            "adjusted_close": close * factor,
            "volume": rng.integers(1_000, 2_000, rows),
            "dividend_amount": dividend,
            "split_coefficient": split,
        }
    )


def test_every_column_in_the_order_of_the_layout() -> None:
    """The table has all columns of the layout in their order and types; without facts those that rest on them are empty."""
    table = to_all_data(build(bars_with_events(), {"us:A": "A"}))
    assert table.columns == ORDER.split() == list(ALL_DATA_SCHEMA)
    assert table.schema == pl.Schema(ALL_DATA_SCHEMA)
    empty = {name for name in table.columns if table[name].null_count() == table.height}
    assert empty == {*FACT_SCHEMA, "pe_ratio_signal", "pcr_signal"}


@pytest.mark.skipif(not EXISTING.exists(), reason="the shared description of the files is not beside this checkout")
def test_the_header_is_the_list_of_the_description() -> None:
    """The exported columns are those that the description of the user's files lists, in its order."""
    text = EXISTING.read_text().partition("## `all_data_*.csv`")[2].partition("\n## ")[0]
    listed = text[text.index("`date, symbol") :].replace("analyst_rating_strong_buy … _strong_sell", RATINGS)
    words = re.findall(r"[a-z0-9_]+", re.sub(r"\([^)]*\)", "", listed))
    names = [name for name in words if name in ALL_DATA_SCHEMA]
    assert names == list(ALL_DATA_SCHEMA)
    assert [word for word in words if "_" in word and word not in ALL_DATA_SCHEMA] == []


def test_price_levels_are_on_the_vendors_adjusted_scale() -> None:
    """The file's levels are those of the adjusted series itself: its middle band is the mean of 20 adjusted closes."""
    table = to_all_data(build(bars_with_events(), {"us:A": "A"}))
    mean = table["adjusted_close"].rolling_mean(20)
    for name in ("sma_20", "bbands_middle_20"):
        assert (table[name] / mean - 1).abs().max() < 1e-12  # type: ignore[operator]
    assert (table["52_week_high"] / table["adjusted_high"].rolling_max(252) - 1).abs().max() < 1e-12  # type: ignore[operator]
    features = build(bars_with_events(), {"us:A": "A"})
    for name in ("rsi_14", "adx_14", "cci_14", "bull_bear_delta", "future_3_day_pct"):
        assert table[name].equals(features[name])
    for name in PRICE_LEVELS:
        assert not table[name].equals(features[name]), name


def test_bars_come_back_from_the_layout() -> None:
    """The layout gives back the very bars, splits and dividends: price columns to the last digit, dividends to a cent's fraction."""
    bars = bars_with_events()
    back = recover_bars(to_all_data(build(bars, {"us:A": "A"})).reverse())
    for name in ("session", "open", "high", "low", "close", "adjusted_close", "volume", "split_coefficient"):
        assert back[name].equals(bars[name]), name
    assert (back["dividend_amount"] - bars["dividend_amount"]).abs().max() < 1e-5  # type: ignore[operator]


def test_the_close_is_recovered_from_any_adjusted_column() -> None:
    """One of adjusted_open, adjusted_high or adjusted_low is enough; without any the adjusted close stands in."""
    bars = bars_with_events()
    table = to_all_data(build(bars, {"us:A": "A"}))
    three = ["adjusted_open", "adjusted_high", "adjusted_low"]
    for name in three:
        assert recover_bars(table.drop(set(three) - {name}))["close"].equals(bars["close"])
    assert recover_bars(table.drop(three))["close"].equals(bars["adjusted_close"])


@pytest.mark.parametrize(
    ("change", "dividend", "split"),
    [
        (1.0, 0.0, 1.0),
        (1.00005, 0.0, 1.0),
        (0.99995, 0.0, 1.0),
        (1.001, 0.1, 1.0),
        (1.2032, 20.32, 1.0),
        (1.5, 0.0, 1.5),
        (2.0, 0.0, 2.0),
        (2.00004, 0.0, 2.0),
        (2.02, 1.0, 2.0),
        (20.0, 0.0, 20.0),
        (0.1, 0.0, 0.1),
        (0.125, 0.0, 0.125),
        (0.745157, 0.0, 0.745157),
        (1.487, 48.7, 1.0),
        (float("nan"), 0.0, 1.0),
    ],
)
def test_one_change_of_the_factor(change: float, dividend: float, split: float) -> None:
    """A change of adjusted_close / close reads as the split, the dividend, both, or nothing, as worded."""
    close = np.array([100.0, 100.0, 100.0])
    adjusted = np.array([50.0, 50.0 * change, 50.0 * change])
    found, splits = derive_events(np.array([0, 0, 1]), close, adjusted)
    assert found.tolist() == [0.0, pytest.approx(dividend, abs=1e-6), 0.0]
    assert splits.tolist() == [1.0, pytest.approx(split), 1.0]


@pytest.mark.skipif(not REAL.exists(), reason="the shared real prices are not beside this checkout")
def test_events_of_real_prices() -> None:
    """Of the 180 real splits 159, and of the dividends 99 in 100 to 1e-3 USD, are read back from the prices alone."""
    rows = pl.read_parquet(REAL).sort("symbol", "date")
    dividends, splits = derive_events(
        rows["symbol"].rle_id().to_numpy(), rows["close"].to_numpy(), rows["adjusted_close"].to_numpy()
    )
    rows = rows.with_columns(pl.Series("found", dividends), pl.Series("split", splits))
    split = rows.filter(pl.col("split_coefficient") != 1.0)
    assert (split.height, ((split["split"] - split["split_coefficient"]).abs() < 1e-3).sum()) == (180, 159)
    paid = rows.filter(pl.col("dividend_amount") > 0.0)
    assert ((paid["found"] - paid["dividend_amount"]).abs() < 1e-3).sum() >= 0.99 * paid.height
    invented = rows.filter(
        (pl.col("split_coefficient") == 1.0)
        & (pl.col("dividend_amount") == 0.0)
        & ((pl.col("found") != 0.0) | (pl.col("split") != 1.0))
    )
    assert invented.height <= 3
