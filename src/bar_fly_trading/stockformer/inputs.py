"""The network's inputs: each a name and its definition, in one list; all of them free of the price's scale.

Every expression reads the feature table laid out on the grid of sessions (a session without a bar is a row of nulls), sorted by
instrument_id and session, and gives one value a row from that row and earlier ones; null where undefined. To add an input, add a
line to INPUTS; to change what a name means, change its line and count DEFINITIONS up.
"""

from __future__ import annotations

import hashlib

import polars as pl

# Counts up when an input keeps its name but changes its meaning, so that old checkpoints are refused.
DEFINITIONS = 1
# The furthest an input looks back from its row, in sessions.
LOOKBACK_SESSIONS = 20
# Every input is a ratio of order one. What is beyond (a misprint of a price, mostly) is held here, or it would set the scale.
INPUT_BOUND = 5.0
_LAGS = (1, 5, 20)

SOURCE_COLUMNS = (
    *("session", "instrument_id", "symbol", "chained_open", "chained_high", "chained_low", "chained_close"),
    *(
        "sma_20",
        "sma_50",
        "sma_200",
        "ema_20",
        "ema_50",
        "ema_200",
        "macd",
        "macd_9_ema",
        "rsi_14",
        "adx_14",
        "atr_14",
        "cci_14",
    ),
    *("bbands_upper_20", "bbands_middle_20", "bbands_lower_20", "high_52_week", "low_52_week", "volume_pct"),
)

_CLOSE = pl.col("chained_close")


def _distance(name: str) -> pl.Expr:
    return _CLOSE / pl.col(name) - 1.0


def lags() -> list[pl.Expr]:
    """Return the helper columns `close_{n}_before`, to be added before INPUTS is evaluated.

    They stand apart because the library gives nulls, silently, for a window function inside another one.
    """
    return [_CLOSE.shift(n).over("instrument_id").alias(f"close_{n}_before") for n in _LAGS]


def _return(sessions: int) -> pl.Expr:
    return _CLOSE / pl.col(f"close_{sessions}_before") - 1.0


def _rank(expression: pl.Expr) -> pl.Expr:
    """Rank across the session's instruments, from -0.5 to 0.5; 0 where there is one alone."""
    rank = expression.rank().over("session") - 0.5
    return rank / expression.count().over("session") - 0.5


def _share(value: pl.Expr, low: pl.Expr, high: pl.Expr) -> pl.Expr:
    """Place a value between two others: 0 at the low, 1 at the high; null where they are one."""
    return pl.when(high > low).then((value - low) / (high - low))


_UPPER, _MIDDLE, _LOWER = (pl.col(f"bbands_{line}_20") for line in ("upper", "middle", "lower"))

INPUTS: dict[str, pl.Expr] = {
    "return_1d": _return(1),
    "return_5d": _return(5),
    "return_20d": _return(20),
    "gap": pl.col("chained_open") / pl.col("close_1_before") - 1.0,
    "day_range": (pl.col("chained_high") - pl.col("chained_low")) / _CLOSE,
    **{f"from_{name}": _distance(name) for name in ("sma_20", "sma_50", "sma_200", "ema_20", "ema_50", "ema_200")},
    "macd": pl.col("macd") / _CLOSE,
    "macd_histogram": (pl.col("macd") - pl.col("macd_9_ema")) / _CLOSE,
    "rsi": pl.col("rsi_14") / 100.0,
    "adx": pl.col("adx_14") / 100.0,
    "atr": pl.col("atr_14") / _CLOSE,
    "cci": (pl.col("cci_14") / 100.0).clip(-4.0, 4.0),
    "band_position": _share(_CLOSE, _LOWER, _UPPER).clip(-1.0, 2.0),
    "band_width": (_UPPER - _LOWER) / _MIDDLE,
    # A day without volume is -100 %: held at the clip, not minus infinity.
    "volume_change": pl.col("volume_pct").clip(-0.99, None).log1p().clip(-3.0, 3.0),
    "year_position": _share(_CLOSE, pl.col("low_52_week"), pl.col("high_52_week")),
    "from_year_high": _distance("high_52_week"),
    "rank_return_5d": _rank(_return(5)),
    "rank_return_20d": _rank(_return(20)),
    "rank_atr": _rank(pl.col("atr_14") / _CLOSE),
    "universe_return_1d": _return(1).mean().over("session"),
    "universe_return_20d": _return(20).mean().over("session"),
    "day_of_week": (pl.col("session").dt.weekday() - 1).cast(pl.Float64) / 4.0,
}


def inputs_hash() -> str:
    """Return the SHA-256 of the inputs' names and definitions number; a checkpoint with another one is refused."""
    return hashlib.sha256("\n".join([f"definitions {DEFINITIONS}", *INPUTS]).encode()).hexdigest()
