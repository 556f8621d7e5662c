"""The `all_data` layout that older scripts read: conversions from the feature table to it, and from it to bars."""

from __future__ import annotations

import numpy as np
import polars as pl

from bar_fly_trading.features.packing import Floats, Integers
from bar_fly_trading.features.table import LABELS

_F, _I, _S, _D = pl.Float64(), pl.Int64(), pl.String(), pl.Date()

# On the vendor's adjusted scale in the file, on the chained scale in the feature table.
PRICE_LEVELS = (
    *("sma_20", "sma_50", "sma_200", "ema_20", "ema_50", "ema_200", "macd", "macd_9_ema"),
    *("atr_14", "bbands_upper_20", "bbands_middle_20", "bbands_lower_20"),
)
INDICATORS = (*PRICE_LEVELS, "rsi_14", "adx_14", "cci_14")
_CHANGES = (
    *("adjusted_close_pct", "volume_pct", "open_pct", "high_pct", "low_pct"),
    *("sma_20_pct", "sma_50_pct", "sma_200_pct", "52_week_high_pct", "52_week_low_pct"),
)

ALL_DATA_SCHEMA: dict[str, pl.DataType] = {
    "date": _D,
    "symbol": _S,
    **dict.fromkeys(("open", "high", "low", "adjusted_close"), _F),
    "volume": _I,
    **dict.fromkeys(("sma_20", "sma_50", "sma_200", "ema_20", "ema_50", "ema_200", "macd", "macd_9_ema"), _F),
    **dict.fromkeys(("rsi_14", "adx_14", "atr_14", "cci_14"), _F),
    **dict.fromkeys(("bbands_upper_20", "bbands_middle_20", "bbands_lower_20"), _F),
    **dict.fromkeys(("call_volume", "put_volume", "total_volume"), _I),
    **dict.fromkeys(("options_14_mean", "options_14_std", "pcr", "pcr_14_mean"), _F),
    **dict.fromkeys(("treasury_yield_2year", "treasury_yield_10year", "ffer", "cpi", "inflation"), _F),
    **dict.fromkeys(("retail_sales", "durables", "unemployment", "nonfarm_payroll"), _F),
    "fiscal_date_ending": _D,
    **dict.fromkeys(("reported_eps", "estimated_eps", "ttm_eps", "surprise", "surprise_percentage"), _F),
    **dict.fromkeys(("exchange", "country", "sector", "industry"), _S),
    **dict.fromkeys(("market_capitalization", "book_value", "dividend_yield", "eps", "price_to_book_ratio"), _F),
    **dict.fromkeys(("beta", "shares_outstanding", "52_week_high", "52_week_low", "forward_pe"), _F),
    **dict.fromkeys([f"analyst_rating_{word}" for word in ("strong_buy", "buy", "hold", "sell", "strong_sell")], _I),
    "pe_ratio": _F,
    **dict.fromkeys(_CHANGES, _F),
    **dict.fromkeys(("adjusted_open", "adjusted_high", "adjusted_low"), _F),
    "day_of_week_num": pl.Int8(),
    "day_of_week_name": _S,
    "month": pl.Int8(),
    "day_of_year": pl.Int16(),
    "year": pl.Int32(),
    **dict.fromkeys(LABELS, _F),
    **dict.fromkeys(("macd_signal", "macd_zero_signal", "adx_signal", "atr_signal", "pe_ratio_signal"), pl.Int8()),
    **dict.fromkeys(("bollinger_bands_signal", "rsi_signal", "sma_cross_signal", "cci_signal"), pl.Int8()),
    **dict.fromkeys(("pcr_signal", "bull_bear_delta"), pl.Int8()),
}

REQUIRED = ("date", "symbol", "open", "high", "low", "adjusted_close", "volume")
RECOVERING = ("adjusted_open", "adjusted_high", "adjusted_low")


def to_all_data(features: pl.DataFrame) -> pl.DataFrame:
    """Turn a feature table into the `all_data` layout, one row an instrument and session, in the table's order.

    `features`: a FeatureTable. Price levels go to the vendor's adjusted scale (chained * adjusted_close / chained_close); open,
    high and low stay as traded, every other column as it is. Nulls stay null; nothing is known earlier than in the table.
    """
    scale = pl.col("adjusted_close") / pl.col("chained_close")
    known: dict[str, pl.Expr] = {name: pl.col(name) * scale for name in PRICE_LEVELS}
    known |= {"date": pl.col("session")}
    known |= {"52_week_high": pl.col("high_52_week") * scale, "52_week_low": pl.col("low_52_week") * scale}
    known |= {f"adjusted_{p}": pl.col(p) * pl.col("adjusted_close") / pl.col("close") for p in ("open", "high", "low")}
    return features.select(
        known.get(name, pl.col(name)).cast(kind).alias(name) for name, kind in ALL_DATA_SCHEMA.items()
    )


def recover_bars(rows: pl.DataFrame) -> pl.DataFrame:
    """Recover bars as traded from rows of the `all_data` layout.

    `rows`: REQUIRED columns and any of RECOVERING (typed; date as Date). Gives `symbol, session, open, high, low, close,
    adjusted_close, volume, dividend_amount, split_coefficient`, sorted by symbol, session. The close as traded is
    adjusted_close * open / adjusted_open (else by high, else by low; with none of the columns, adjusted_close itself).
    Splits and dividends are read from the day-to-day change of adjusted_close / close (see `derive_events`); the first
    row of a symbol has none. Null where an input is null.
    """
    present = [name for name in RECOVERING if name in rows.columns]
    factors = [pl.col(name.removeprefix("adjusted_")) / pl.col(name) for name in present]
    close = pl.col("adjusted_close") * pl.coalesce(*factors, pl.lit(1.0)) if present else pl.col("adjusted_close")
    frame = rows.select(
        "symbol", pl.col("date").alias("session"), "open", "high", "low", "adjusted_close", "volume", close=close
    )
    # Vendors quote at most four decimals: where the division misses such a price by rounding alone, that was the price.
    nearest = pl.col("close").round(4)
    snapped = pl.when((nearest / pl.col("close") - 1.0).abs() < 1e-9).then(nearest).otherwise(pl.col("close"))
    frame = frame.with_columns(close=snapped).sort("symbol", "session")
    dividends, splits = derive_events(
        frame["symbol"].rle_id().to_numpy(), frame["close"].to_numpy(), frame["adjusted_close"].to_numpy()
    )
    return frame.select(
        *("symbol", "session", "open", "high", "low", "close", "adjusted_close", "volume"),
        pl.Series("dividend_amount", dividends),
        pl.Series("split_coefficient", splits),
    )


# Between these a change of the adjustment factor is a dividend (or noise), outside them it may be a split.
_SPLIT_BELOW, _SPLIT_ABOVE = 0.98, 1.2
_SPLIT_TOLERANCE = 1e-4
# Above this a leftover of up to 5 % over a whole number is a dividend paid on the day of the split.
_SPLIT_SURE, _LEFTOVER_MAX = 1.9, 0.05
# A change within this share, plus what rounding adjusted_close to this many dollars does to it, is nothing.
_FACTOR_NOISE = 1e-4
_ADJUSTED_ROUNDING_USD = 1e-4


def _split_ratios() -> Floats:
    # n:m with both up to 10, and n:1 or 1:n up to 100.
    ratios = {n / m for n in range(1, 11) for m in range(1, 11)}
    ratios |= {float(n) for n in range(11, 101)} | {1.0 / n for n in range(11, 101)}
    return np.array(sorted(r for r in ratios if not _SPLIT_BELOW < r < _SPLIT_ABOVE))


def derive_events(codes: Integers, close: Floats, adjusted_close: Floats) -> tuple[Floats, Floats]:
    """Read dividends (USD a share) and split coefficients from how adjusted_close / close changes from row to row.

    Rows sorted by instrument (`codes`: a number that differs between neighbours), then session. Alpha Vantage changes the
    factor by r = split * (1 + dividend / close of the day): r near n:m is a split, r just above a whole number a split with
    a dividend, any other rise a dividend, any other fall below 0.98 a split of r; rounding noise is nothing (0.0, 1.0).
    A spin-off booked as a split of an odd ratio (1.054) comes back as a dividend.
    """
    dividends, splits = np.zeros_like(close), np.ones_like(close)
    if close.size < 2:
        return dividends, splits
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = adjusted_close / close
        noise = _FACTOR_NOISE + _ADJUSTED_ROUNDING_USD / adjusted_close
    change = np.ones_like(close)
    change[1:] = factor[1:] / factor[:-1]
    change[1:][codes[1:] != codes[:-1]] = 1.0
    change[~np.isfinite(change)] = 1.0
    ratios = _split_ratios()
    right = np.clip(np.searchsorted(ratios, change), 1, ratios.size - 1)
    nearest = np.where(change - ratios[right - 1] < ratios[right] - change, ratios[right - 1], ratios[right])
    exact = np.abs(change / nearest - 1.0) < _SPLIT_TOLERANCE
    whole = np.floor(change)
    both = ~exact & (change > _SPLIT_SURE) & (change / np.maximum(whole, 1.0) - 1.0 < _LEFTOVER_MAX)
    fall = ~exact & (change < _SPLIT_BELOW)
    splits[exact] = nearest[exact]
    splits[both] = whole[both]
    splits[fall] = change[fall]
    paid = change / splits - 1.0
    is_dividend = (paid > noise) & ~exact & ~fall
    dividends[is_dividend] = np.round(close[is_dividend] * paid[is_dividend], 6)
    return dividends, splits
