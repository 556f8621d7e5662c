"""Price indicators on packed matrices, in TA-Lib's definitions (which Alpha Vantage's follow; see docs/indicators.md).

Every function takes float64 [position, instrument] (NaN: no bar) and returns the same shape, NaN while its window is not
full. Row t of a result rests on rows up to t alone. Windows are summed by halves, so a rolling number rests on the bars
inside its window and on nothing before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bar_fly_trading.features.packing import Floats, shifted

YEAR_SESSIONS = 252
_FLAT = 1e-12  # a spread below this share of the price is rounding noise of a flat series


def _over_window(x: Floats, n: int, combine: Callable[[Floats, Floats], Floats]) -> Floats:
    """Combine each window of `n` rows, from blocks of 1, 2, 4, ... rows (NaN in a window makes it NaN)."""
    total: Floats | None = None
    block, size, offset, left = x, 1, 0, n
    while left:
        if left & 1:
            part = shifted(block, offset)
            total = part if total is None else combine(total, part)
            offset += size
        left >>= 1
        if left:
            block = combine(block, shifted(block, size))
            size *= 2
    assert total is not None
    return total


def sma(x: Floats, n: int) -> Floats:
    """Simple moving average of `n` sessions."""
    total = _over_window(x, n, np.add)
    total /= n
    return total


def rolling_max(x: Floats, n: int) -> Floats:
    """Highest of the last `n` sessions."""
    return _over_window(x, n, np.maximum)


def rolling_min(x: Floats, n: int) -> Floats:
    """Lowest of the last `n` sessions."""
    return _over_window(x, n, np.minimum)


def _sum_rows(x: Floats, start: int, n: int) -> Floats:
    total: Floats = x[start].copy()
    for row in x[start + 1 : start + n]:
        total += row
    return total


def ema(x: Floats, n: int, start: int = 0) -> Floats:
    """Exponential moving average, factor 2/(n+1), seeded at row start+n-1 with the mean of the `n` rows from `start`."""
    out = np.full_like(x, np.nan)
    first = start + n - 1
    if first >= x.shape[0]:
        return out
    factor = 2.0 / (n + 1)
    out[first] = _sum_rows(x, start, n) / n
    change = np.empty_like(x[0])
    for t in range(first + 1, x.shape[0]):
        before = out[t - 1]
        np.subtract(x[t], before, out=change)
        change *= factor
        np.add(change, before, out=out[t])
    return out


def wilder(x: Floats, n: int, start: int) -> Floats:
    """Wilder's average (factor 1/n), seeded at row start+n-1 with the mean of the `n` rows from `start`."""
    out = np.full_like(x, np.nan)
    first = start + n - 1
    if first >= x.shape[0]:
        return out
    out[first] = _sum_rows(x, start, n) / n
    for t in range(first + 1, x.shape[0]):
        row = out[t]
        np.multiply(out[t - 1], n - 1, out=row)
        row += x[t]
        row /= n
    return out


def _wilder_sum(x: Floats, n: int) -> Floats:
    """Wilder's running sum: n-1 rows from row 1 summed at row n-1, then each row s - s/n + x."""
    out = np.full_like(x, np.nan)
    if n > x.shape[0]:
        return out
    out[n - 1] = _sum_rows(x, 1, n - 1)
    part = np.empty_like(x[0])
    for t in range(n, x.shape[0]):
        before = out[t - 1]
        np.divide(before, n, out=part)
        np.subtract(before, part, out=part)
        np.add(part, x[t], out=out[t])
    return out


def macd(close: Floats, fast: int = 12, slow: int = 26, signal: int = 9) -> tuple[Floats, Floats]:
    """MACD and its signal line, both from row slow+signal-2 on.

    The fast average is seeded on the `fast` rows that end where the slow one begins, as TA-Lib does.
    """
    line = ema(close, fast, start=slow - fast)
    line -= ema(close, slow)
    smooth = ema(line, signal, start=slow - 1)
    line[: slow + signal - 2] = np.nan
    return line, smooth


def rsi(close: Floats, n: int = 14) -> Floats:
    """Wilder's relative strength index; NaN while the price has not moved at all."""
    change = close - shifted(close, 1)
    gain = wilder(np.maximum(change, 0.0), n, start=1)
    moved = wilder(np.abs(change), n, start=1)
    moved[moved <= 0.0] = np.nan
    gain /= moved
    gain *= 100.0
    return gain


def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    """The day's range, stretched to the previous close; NaN in row 0."""
    before = shifted(close, 1)
    span: Floats = np.maximum(high, before)
    span -= np.minimum(low, before)
    return span


def atr(high: Floats, low: Floats, close: Floats, n: int = 14) -> Floats:
    """Average true range, Wilder's smoothing, from row n on."""
    return wilder(true_range(high, low, close), n, start=1)


def adx(high: Floats, low: Floats, close: Floats, n: int = 14) -> Floats:
    """Wilder's average directional index, from row 2n-1 on; a day without direction counts 0."""
    up = high - shifted(high, 1)
    down = shifted(low, 1) - low
    plus = _wilder_sum(_directional(up, down), n)
    minus = _wilder_sum(_directional(down, up), n)
    span = _wilder_sum(true_range(high, low, close), n)
    still = span <= 0.0
    span[still] = 1.0
    plus /= span
    minus /= span
    both = plus + minus
    still |= both <= 0.0
    both[still] = 1.0
    index: Floats = np.abs(plus - minus)
    index /= both
    index *= 100.0
    index[still] = 0.0
    return wilder(index, n, start=n)


def _directional(move: Floats, other: Floats) -> Floats:
    kept: Floats = np.where((move > other) & (move > 0.0), move, 0.0)
    kept[np.isnan(move) | np.isnan(other)] = np.nan
    return kept


def cci(high: Floats, low: Floats, close: Floats, n: int = 14) -> Floats:
    """Commodity channel index of the typical price; NaN where the window is flat."""
    typical = high + low
    typical += close
    typical /= 3.0
    mean = sma(typical, n)
    deviation = _mean_of_lags(typical, mean, n, np.abs)
    deviation[deviation <= _FLAT * mean] = np.nan
    typical -= mean
    typical /= 0.015 * deviation
    return typical


def bollinger_bands(close: Floats, n: int = 20, width: float = 2.0) -> tuple[Floats, Floats, Floats]:
    """Upper, middle and lower band: mean and `width` population standard deviations of the last `n` closes."""
    middle = sma(close, n)
    spread: Floats = np.sqrt(_mean_of_lags(close, middle, n, np.square))
    spread[spread <= _FLAT * middle] = 0.0
    spread *= width
    return middle + spread, middle, middle - spread


def _mean_of_lags(x: Floats, mean: Floats, n: int, size: Callable[[Floats], Floats]) -> Floats:
    """Mean over the window of size(x - mean), mean being that of the same window (two passes: no cancellation)."""
    total = np.full_like(x, np.nan)
    rows = x.shape[0]
    if n > rows:
        return total
    total[n - 1 :] = 0.0
    centre = mean[n - 1 :]
    for lag in range(n):
        total[n - 1 :] += size(x[n - 1 - lag : rows - lag] - centre)
    total /= n
    return total


def indicators(high: Floats, low: Floats, close: Floats) -> Iterator[tuple[str, Floats]]:
    """Yield every indicator of the feature table by name, one at a time, so that each can be freed."""
    for n in (20, 50, 200):
        yield f"sma_{n}", sma(close, n)
    for n in (20, 50, 200):
        yield f"ema_{n}", ema(close, n)
    yield from zip(("macd", "macd_9_ema"), macd(close), strict=True)
    yield "rsi_14", rsi(close)
    yield "adx_14", adx(high, low, close)
    yield "atr_14", atr(high, low, close)
    yield "cci_14", cci(high, low, close)
    names = ("bbands_upper_20", "bbands_middle_20", "bbands_lower_20")
    yield from zip(names, bollinger_bands(close), strict=True)
    yield "high_52_week", rolling_max(high, YEAR_SESSIONS)
    yield "low_52_week", rolling_min(low, YEAR_SESSIONS)
