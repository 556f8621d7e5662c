"""Indicators against TA-Lib, on seeded random prices, the demo market and real prices."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import talib

from bar_fly_trading.features.packing import Floats
from bar_fly_trading.features.price import indicators
from bar_fly_trading.features.table import build

REAL = Path(__file__).parents[2].parent / "shared/data/daily_adjusted_sp500.parquet"
REAL_SYMBOLS = ("AAPL", "BRK.B", "GE", "IBM", "NVDA", "TRMB", "VIAC")


def _oracle(high: Floats, low: Floats, close: Floats) -> dict[str, Floats]:
    out: dict[str, Floats] = {}
    for n in (20, 50, 200):
        out[f"sma_{n}"] = talib.SMA(close, n)
        out[f"ema_{n}"] = talib.EMA(close, n)
    out["macd"], out["macd_9_ema"], _ = talib.MACD(close, 12, 26, 9)
    out["rsi_14"] = talib.RSI(close, 14)
    out["adx_14"] = talib.ADX(high, low, close, 14)
    out["atr_14"] = talib.ATR(high, low, close, 14)
    out["cci_14"] = talib.CCI(high, low, close, 14)
    out["bbands_upper_20"], out["bbands_middle_20"], out["bbands_lower_20"] = talib.BBANDS(close, 20, 2, 2)
    out["high_52_week"] = talib.MAX(high, 252)
    out["low_52_week"] = talib.MIN(low, 252)
    return out


def _assert_close(name: str, ours: Floats, theirs: Floats, price: Floats) -> None:
    """Demand the same undefined rows, and 1e-6 relative elsewhere (oscillators around zero: of their own scale)."""
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs), err_msg=name)
    floor = {"cci_14": np.full_like(price, 100.0), "macd": price, "macd_9_ema": price}.get(name, np.zeros_like(price))
    there = ~np.isnan(theirs)
    error = np.abs(ours - theirs)[there] / np.maximum(np.abs(theirs), floor)[there]
    assert error.size or price.size < 252
    assert error.max(initial=0.0) < 1e-6, (name, error.max())


def _compare_with_talib(bars: pl.DataFrame) -> None:
    """Compare the whole table, per symbol, with TA-Lib on the vendor's adjusted series (rescaled to ours)."""
    table = build(bars, dict.fromkeys(bars["instrument_id"].unique(), "X"))
    for (instrument_id,), rows in bars.sort("session").group_by("instrument_id"):
        ours = table.filter(pl.col("instrument_id") == instrument_id)
        scale = (rows["close"][0] / rows["adjusted_close"][0]) * rows["adjusted_close"] / rows["close"]
        high, low, close = ((rows[name] * scale).to_numpy() for name in ("high", "low", "close"))
        for name, theirs in _oracle(high, low, close).items():
            _assert_close(name, ours[name].fill_null(np.nan).to_numpy(), theirs, close)


def random_prices(rows: int, columns: int, seed: int = 7) -> tuple[Floats, Floats, Floats]:
    """Return seeded high, low and close, [position, instrument]."""
    rng = np.random.default_rng(seed)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0, 0.02, (rows, columns)), axis=0))
    high = close * (1 + np.abs(rng.normal(0, 0.01, close.shape)))
    return high, close * (1 - np.abs(rng.normal(0, 0.01, close.shape))), close


def test_every_indicator_equals_talib_on_random_prices() -> None:
    """Each indicator is TA-Lib's to 1e-6, undefined in the same rows, in every column of the matrix."""
    high, low, close = random_prices(700, 5)
    ours = dict(indicators(high, low, close))
    for column in range(close.shape[1]):
        oracle = _oracle(*(np.ascontiguousarray(m[:, column]) for m in (high, low, close)))
        assert set(oracle) == set(ours)
        for name, theirs in oracle.items():
            _assert_close(name, ours[name][:, column], theirs, close[:, column])


def test_short_series_have_no_indicator() -> None:
    """A series shorter than a window gives undefined numbers, not an error."""
    for rows in (1, 2, 13, 14, 15):
        high, low, close = random_prices(rows, 2)
        for name, values in indicators(high, low, close):
            assert values.shape == close.shape
            if name not in ("atr_14", "rsi_14", "cci_14"):
                assert np.isnan(values).all(), name


def test_flat_prices_give_no_oscillator() -> None:
    """Where the price never moved RSI and CCI are undefined, the bands lie on the price, and ADX and ATR are zero."""
    flat = np.full((60, 1), 0.1 + 0.2)
    ours = {name: values[-1, 0] for name, values in indicators(flat, flat, flat)}
    assert np.isnan(ours["rsi_14"])
    assert np.isnan(ours["cci_14"])
    assert ours["bbands_upper_20"] == ours["bbands_lower_20"] == pytest.approx(0.3)
    assert ours["adx_14"] == ours["atr_14"] == 0.0


def test_old_prices_leave_no_trace_in_a_window() -> None:
    """A huge price that has left the window changes no digit of a rolling number (no running sum drifts)."""
    high, low, close = random_prices(400, 1)
    spiked = tuple(m.copy() for m in (high, low, close))
    for matrix in spiked:
        matrix[10] *= 1e9
    calm, after = dict(indicators(high, low, close)), dict(indicators(*spiked))
    for name in ("sma_20", "sma_200", "cci_14", "bbands_upper_20", "high_52_week"):
        np.testing.assert_array_equal(calm[name][300:], after[name][300:], err_msg=name)


def test_indicators_equal_talib_on_the_demo_market() -> None:
    """The feature table's indicators are TA-Lib's to 1e-6 on the demo market's real prices."""
    found = importlib.util.find_spec("bokeh_sampledata")
    if found is None or found.origin is None:
        pytest.skip("the demo market is not installed")
    rows = pl.read_csv(Path(found.origin).parent / "_data/stocks.csv.gz", try_parse_dates=True)
    bars = rows.select(
        pl.col("Ticker").alias("instrument_id"),
        pl.col("Date").cast(pl.Date).alias("session"),
        *(pl.col(name).cast(pl.Float64).alias(name.lower()) for name in ("Open", "High", "Low", "Close")),
        pl.col("Adj Close").cast(pl.Float64).alias("adjusted_close"),
        pl.col("Volume").cast(pl.Int64).alias("volume"),
        dividend_amount=pl.lit(0.0),
        split_coefficient=pl.lit(1.0),
    )
    _compare_with_talib(bars)


@pytest.mark.skipif(not REAL.exists(), reason="the shared real prices are not beside this checkout")
def test_indicators_equal_talib_on_real_prices() -> None:
    """The feature table's indicators are TA-Lib's to 1e-6 on several real names, splits and bad prints included."""
    rows = pl.scan_parquet(REAL).filter(pl.col("symbol").is_in(REAL_SYMBOLS)).collect()
    assert rows["symbol"].n_unique() >= 6
    _compare_with_talib(rows.rename({"date": "session", "symbol": "instrument_id"}))
