"""Ragged series side by side: one column an instrument, left aligned by position, so that recursions run over all at once.

A packed matrix is float64 [position, instrument], C order, NaN below an instrument's last bar. Every operation on it is
elementwise along the instruments, so that no instrument's number depends on which others are present.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each long row lies in the packed matrix.

    `flat`: the row's index in the flattened matrix, -1 where the row has no usable prices and so has no position.
    """

    flat: Integers
    positions: int
    instruments: int

    def pack(self, long: Floats) -> Floats:
        """Spread a long column over the matrix; rows without a position are left out, the rest is NaN."""
        packed = np.full((self.positions, self.instruments), np.nan)
        placed = self.flat >= 0
        if placed.all():
            packed.reshape(-1)[self.flat] = long
        else:
            packed.reshape(-1)[self.flat[placed]] = long[placed]
        return packed

    def unpack(self, packed: Floats) -> Floats:
        """Gather the long column from the matrix; NaN in rows without a position."""
        if not packed.size:
            return np.full(self.flat.size, np.nan)
        long: Floats = packed.reshape(-1).take(np.maximum(self.flat, 0))
        long[self.flat < 0] = np.nan
        return long


def layout(counts: Integers, usable: Booleans) -> Layout:
    """Lay out rows sorted by instrument, then session.

    `counts` [instrument]: rows of each; `usable` [row]: whether the row takes a position.
    """
    codes = np.repeat(np.arange(counts.size, dtype=np.int64), counts)
    before = np.cumsum(usable, dtype=np.int64) - usable
    first_row = np.cumsum(counts) - counts
    position = before - before[np.minimum(first_row, usable.size - 1)][codes] if usable.size else before
    flat = np.where(usable, position * counts.size + codes, -1)
    positions = int(position[usable].max()) + 1 if usable.any() else 0
    return Layout(flat, positions, int(counts.size))


def shifted(packed: Floats, sessions: int) -> Floats:
    """Return the matrix as it was `sessions` positions earlier (later where negative), NaN where there is none."""
    out = np.full_like(packed, np.nan)
    rows = packed.shape[0]
    if abs(sessions) >= rows:
        return packed.copy() if sessions == 0 else out
    if sessions >= 0:
        out[sessions:] = packed[: rows - sessions]
    else:
        out[:sessions] = packed[-sessions:]
    return out
