"""The screener's signals: 1 bullish, -1 bearish, 0 neutral, null where an input is undefined."""

from __future__ import annotations

import polars as pl

# In this order in the feature table; the last two rest on more than prices.
PRICE_SIGNALS = (
    "macd_signal",
    "macd_zero_signal",
    "adx_signal",
    "atr_signal",
    "bollinger_bands_signal",
    "rsi_signal",
    "sma_cross_signal",
    "cci_signal",
)
FACT_SIGNALS = ("pe_ratio_signal", "pcr_signal")
SIGNALS = (*PRICE_SIGNALS, *FACT_SIGNALS)


def _sign(bullish: pl.Expr, bearish: pl.Expr) -> pl.Expr:
    # A comparison with null is null, and so is the difference.
    return bullish.cast(pl.Int8) - bearish.cast(pl.Int8)


def screener_signals() -> list[pl.Expr]:
    """Return the signal columns as expressions over the feature table's own columns (prices on the chained scale)."""
    c = pl.col
    close = c("chained_close")
    rules = (
        _sign(c("macd") > c("macd_9_ema"), c("macd") < c("macd_9_ema")),
        _sign(c("macd") > 0.0, c("macd") < 0.0),
        _sign(c("adx_14") > 25.0, c("adx_14") < 20.0),
        _sign(close < 2.0 * c("atr_14"), close > 2.0 * c("atr_14")),
        _sign(close < c("bbands_lower_20"), close > c("bbands_upper_20")),
        _sign(c("rsi_14") < 30.0, c("rsi_14") > 70.0),
        _sign(c("sma_20") > c("sma_50"), c("sma_20") < c("sma_50")),
        _sign(c("cci_14") <= -100.0, c("cci_14") >= 100.0),
        _sign(c("pe_ratio").is_between(0.0, 15.0), c("pe_ratio") > 35.0),
        _sign(c("pcr") <= 0.5, c("pcr") > 0.7),
    )
    return [rule.alias(name) for rule, name in zip(rules, SIGNALS, strict=True)]


def bull_bear_delta() -> pl.Expr:
    """Return the sum of the defined signals, null where no signal of the price is defined."""
    total = pl.sum_horizontal(*SIGNALS).cast(pl.Int8)
    return (
        pl.when(pl.any_horizontal(*(pl.col(s).is_not_null() for s in PRICE_SIGNALS)))
        .then(total)
        .alias("bull_bear_delta")
    )
