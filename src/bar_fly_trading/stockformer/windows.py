"""What the network reads: scale-free inputs on a grid of sessions and instruments, and windows of the last sessions.

The grid is the union of the sessions in the feature table. A session without an instrument's bar, an undefined input or an
infinite one is NaN there, and every window that holds it is incomplete: no training sample, no prediction.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from bar_fly_trading.errors import FixData
from bar_fly_trading.stockformer.inputs import INPUT_BOUND, INPUTS, LOOKBACK_SESSIONS, SOURCE_COLUMNS, lags

WINDOW_SESSIONS = 32

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Panel:
    """The inputs of one view as one block of memory.

    `flat`: float32 [instrument * sessions + session, input], contiguous, NaN where undefined. `close`: float64
    [session, instrument], the chained close, NaN where there is no bar. `complete`: bool [session, instrument], true where
    the window that ends in the session has no NaN. Row t of everything rests on sessions up to t.
    """

    sessions: tuple[date, ...]
    instrument_ids: tuple[str, ...]
    flat: torch.Tensor
    close: Doubles
    complete: npt.NDArray[np.bool_]
    window: int

    def values(self) -> torch.Tensor:
        """Return the inputs as [session, instrument, input], a view."""
        return self.flat.view(len(self.instrument_ids), len(self.sessions), -1).transpose(0, 1)

    def ends(self, sessions: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the row of `flat` at which each complete window of the given sessions ends, session by session."""
        wanted = np.asarray(sessions, dtype=np.int64)
        at, instrument = np.nonzero(self.complete[wanted])
        return np.asarray(instrument * len(self.sessions) + wanted[at], dtype=np.int64)

    def place(self, ends: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return session and instrument numbers of window ends."""
        instrument, session = np.divmod(ends, len(self.sessions))
        return session, instrument

    def windows(self) -> torch.Tensor:
        """Return every window as [first row, window * input], a strided view: nothing is copied until rows are taken.

        A window that ends in row r begins in row r - window + 1; only ends of complete windows are meant.
        """
        rows, width = self.flat.shape
        return self.flat.as_strided((rows - self.window + 1, self.window * width), (width, 1))

    def data_hash(self) -> str:
        """Return the SHA-256 of inputs, closes, sessions and instruments: equal hash, equal training data."""
        digest = hashlib.sha256()
        for part in (*(f"{day}" for day in self.sessions), *self.instrument_ids):
            digest.update(part.encode() + b"\0")
        digest.update(self.flat.numpy().data)
        digest.update(np.ascontiguousarray(self.close).data)
        return digest.hexdigest()


def panel(features: pl.DataFrame, *, as_of: date, window: int = WINDOW_SESSIONS, newest: int | None = None) -> Panel:
    """Lay the feature table's rows up to `as_of` out on the grid, and read nothing after it.

    `newest`: lay out only as many sessions as that number of windows at the end needs (None: all). FixData where a column
    is missing, two rows share instrument and session, or no row is left.
    """
    missing = [name for name in SOURCE_COLUMNS if name not in features.columns]
    if missing:
        raise FixData(
            f"The feature table lacks {len(missing)} columns: {', '.join(missing)}.", way_out="Build it: bft features."
        )
    rows = features.lazy().select(SOURCE_COLUMNS).filter(pl.col("session") <= as_of).collect()
    if rows.is_empty():
        raise FixData(
            f"The feature table has no row up to {as_of}.", way_out="Pull or import bars, then: bft features."
        )
    sessions = rows["session"].unique().sort()
    if newest is not None:
        sessions = sessions.tail(window + newest - 1 + LOOKBACK_SESSIONS)
        rows = rows.filter(pl.col("session") >= sessions[0])
    instruments = rows["instrument_id"].unique().sort()
    rows = _on_grid(rows, sessions, instruments).with_columns(lags())
    shape = (len(instruments), len(sessions))
    flat = np.empty((rows.height, len(INPUTS)), dtype=np.float32)
    for i, expression in enumerate(INPUTS.values()):
        flat[:, i] = rows.select(expression.cast(pl.Float32)).to_series().to_numpy()
    flat[~np.isfinite(flat)] = np.nan
    np.clip(flat, -INPUT_BOUND, INPUT_BOUND, out=flat)
    close = rows["chained_close"].to_numpy().reshape(shape).T
    return Panel(
        tuple(sessions.to_list()),
        tuple(instruments.to_list()),
        torch.from_numpy(flat),
        close,
        _complete(np.asarray(np.isfinite(flat).all(axis=1)).reshape(shape).T, window),
        window,
    )


def restricted(panel: Panel, members: pl.DataFrame) -> Panel:
    """Return the panel with the windows alone that end on a day on which their instrument was a member.

    `members`: `instrument_id, start, end` (null: still), days included; an instrument without a row was never one. Inputs,
    closes and labels stay: what a member did after it left is known and counts.
    """
    inside = np.zeros_like(panel.complete)
    at = {instrument_id: i for i, instrument_id in enumerate(panel.instrument_ids)}
    for instrument_id, start, end in members.select("instrument_id", "start", "end").iter_rows():
        if instrument_id in at:
            first = bisect_left(panel.sessions, start)
            last = len(panel.sessions) if end is None else bisect_right(panel.sessions, end)
            inside[first:last, at[instrument_id]] = True
    return replace(panel, complete=panel.complete & inside)


def _on_grid(rows: pl.DataFrame, sessions: pl.Series, instruments: pl.Series) -> pl.DataFrame:
    """Return one row an instrument and session, sorted so, nulls where the table has no row."""
    keys = ["instrument_id", "session"]
    twice = rows.height - rows.select(pl.struct(keys).n_unique()).item()
    if twice:
        raise FixData(f"{twice} rows of the feature table share instrument and session.", way_out="Run: bft features.")
    if rows.height == len(sessions) * len(instruments):
        return rows.sort(keys)
    grid = instruments.to_frame().join(sessions.to_frame(), how="cross")
    return grid.join(rows, on=keys, how="left", maintain_order="left")


def _complete(defined: npt.NDArray[np.bool_], window: int) -> npt.NDArray[np.bool_]:
    """Tell of each session and instrument whether the last `window` sessions are all defined."""
    counts = np.zeros((defined.shape[0] + 1, defined.shape[1]), dtype=np.int32)
    np.cumsum(defined, axis=0, dtype=np.int32, out=counts[1:])
    out = np.zeros_like(defined)
    out[window - 1 :] = counts[window:] - counts[:-window] == window
    return out


def future_returns(close: Doubles, horizon: int) -> Doubles:
    """Return the label of each [session, instrument]: the fractional return over the next `horizon` sessions of the grid.

    NaN where either close is missing or not positive, and in the newest `horizon` sessions. Known `horizon` sessions later.
    """
    out = np.full(close.shape, np.nan)
    if close.shape[0] > horizon:
        out[:-horizon] = close[horizon:] / close[:-horizon] - 1.0
        usable = (close[horizon:] > 0.0) & (close[:-horizon] > 0.0)
        out[:-horizon][~usable] = np.nan
    out[~np.isfinite(out)] = np.nan
    return out
