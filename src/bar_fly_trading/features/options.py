"""Option volumes a session: calls, puts, the put/call ratio, and their means over 14 sessions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from bar_fly_trading.features.evenings import CODE, SEEN, Evenings, epoch_day
from bar_fly_trading.features.packing import Floats, Integers, Layout

WINDOW_SESSIONS = 14
VOLUMES = ("call_volume", "put_volume", "total_volume")
OPTION_COLUMNS = (*VOLUMES, "options_14_mean", "options_14_std", "pcr", "pcr_14_mean")


def option_columns(facts: pl.DataFrame, rows: Evenings, places: Layout) -> list[pl.Series]:
    """Return OPTION_COLUMNS, one value a row of the table.

    `facts`: every row of `options_summary`. Units: contracts. A row has the volumes of its own session, in the newest
    revision known by its evening; null without a chain of that session, never 0. `pcr`: put over call volume, null where no
    call was traded. Means and the sample deviation (n-1) run over the instrument's last 14 usable bars, today's included,
    each in its newest revision known by the evening of the row; null where one of the 14 is null.
    """
    known = rows.seen(facts).with_columns(day=epoch_day("session"))
    known = known.with_columns(pl.Series("row", _rows_of(known, rows))).filter(pl.col("row") >= 0)
    own = known.filter(pl.col(SEEN) <= pl.col("day")).unique([CODE, "day"], keep="last", maintain_order=True)
    at = own["row"].to_numpy()
    columns = [_scattered(own[name], at, rows.days.size) for name in VOLUMES]
    ratio = _ratio(own)
    columns.append(_scattered(ratio, at, rows.days.size).alias("pcr"))
    total = places.pack(columns[2].cast(pl.Float64).fill_null(np.nan).to_numpy())
    ratios = places.pack(columns[3].fill_null(np.nan).to_numpy())
    stats = _stats(_lags(total), _lags(ratios))
    _revise(stats, known.filter(pl.col(SEEN) > pl.col("day")), rows, places, (total, ratios))
    names = ("options_14_mean", "options_14_std", "pcr_14_mean")
    columns += [
        pl.Series(name, places.unpack(values)).fill_nan(None) for name, values in zip(names, stats, strict=True)
    ]
    return columns


def _rows_of(known: pl.DataFrame, rows: Evenings) -> Integers:
    """Return the table's row of each fact's instrument and session, -1 where it has none."""
    keys = rows.codes * np.int64(1 << 32) + rows.days
    wanted = known[CODE].to_numpy() * np.int64(1 << 32) + known["day"].to_numpy()
    place = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    return np.where(keys[place] == wanted, place, -1)


def _ratio(facts: pl.DataFrame) -> pl.Series:
    calls = pl.col("call_volume")
    return facts.select(pl.when(calls > 0).then(pl.col("put_volume") / calls).alias("pcr")).to_series()


def _scattered(values: pl.Series, at: Integers, count: int) -> pl.Series:
    """Return the values at their rows, null elsewhere."""
    place = np.full(count, -1, dtype=np.int64)
    place[at] = np.arange(at.size)
    index = pl.Series(place)
    return values.gather(index.set(index < 0, None))


def _lags(packed: Floats) -> list[Floats]:
    """Return the matrix as it was 0 to 13 positions earlier, NaN where there is none; views of one copy."""
    before = np.full((WINDOW_SESSIONS - 1, packed.shape[1]), np.nan)
    padded = np.concatenate([before, packed])
    return [padded[WINDOW_SESSIONS - 1 - k : padded.shape[0] - k] for k in range(WINDOW_SESSIONS)]


def _stats(totals: Sequence[Floats], ratios: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
    """Return mean and sample deviation of the totals and mean of the ratios, over values of the same day and the 13 before."""
    mean = _mean(totals)
    spread = np.zeros_like(mean)
    for values in totals:
        away = values - mean
        away *= away
        spread += away
    spread /= len(totals) - 1
    return mean, np.sqrt(spread, out=spread), _mean(ratios)


def _mean(values: Sequence[Floats]) -> Floats:
    total = np.zeros_like(values[0])
    for one in values:
        total += one
    total /= len(values)
    return total


def _revise(
    stats: tuple[Floats, Floats, Floats],
    late: pl.DataFrame,
    rows: Evenings,
    places: Layout,
    packed: tuple[Floats, Floats],
) -> None:
    """Compute again, in place, the windows that see a revision which came after its own session's evening."""
    flat = places.flat[late["row"].to_numpy()]
    late = late.with_columns(
        pl.Series("position", flat // max(places.instruments, 1)), _ratio(late), pl.Series("usable", flat >= 0)
    ).filter("usable")
    if late.is_empty():
        return
    position, code, seen = (late[name].to_numpy() for name in ("position", CODE, SEEN))
    days = np.full((places.positions, places.instruments), np.iinfo(np.int64).min)
    placed = places.flat >= 0
    days.reshape(-1)[places.flat[placed]] = rows.days[placed]
    fact = np.repeat(np.arange(late.height), WINDOW_SESSIONS - 1)
    lag = np.tile(np.arange(1, WINDOW_SESSIONS), late.height)
    window, column = position[fact] + lag, code[fact]
    inside = window < places.positions
    fact, lag, window, column = fact[inside], lag[inside], window[inside], column[inside]
    # Below an instrument's last bar the matrix is empty, and no fact is seen before the first day there ever was.
    sees = (days[window, column] >= seen[fact]) & (window >= WINDOW_SESSIONS - 1)
    fact, lag, window, column = fact[sees], lag[sees], window[sees], column[sees]
    cells, inverse = np.unique(window * places.instruments + column, return_inverse=True)
    # Facts come in the order in which they became known; of those of one window and session the last one stays.
    _, newest = np.unique((inverse * WINDOW_SESSIONS + lag)[::-1], return_index=True)
    kept = lag.size - 1 - newest
    back = (cells // places.instruments)[:, None] - np.arange(WINDOW_SESSIONS)
    revised = []
    for matrix, values in zip(packed, (late["total_volume"].cast(pl.Float64), late["pcr"]), strict=True):
        seen_values = matrix[back, (cells % places.instruments)[:, None]]
        seen_values[inverse[kept], lag[kept]] = values.fill_null(np.nan).to_numpy()[fact[kept]]
        revised.append([np.ascontiguousarray(one) for one in seen_values.T])
    for stat, again in zip(stats, _stats(*revised), strict=True):
        stat.reshape(-1)[cells] = again
