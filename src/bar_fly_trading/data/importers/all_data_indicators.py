"""Compare the indicators that an `all_data` file carries with ours from the same prices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from bar_fly_trading.features.all_data import INDICATORS, to_all_data
from bar_fly_trading.features.table import build

INDICATOR_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class IndicatorDifference:
    """A symbol whose file shows another indicator than is computed here from the same prices, at its newest session."""

    symbol: str
    session: date
    column: str
    in_file: float
    computed: float

    def __str__(self) -> str:
        return (
            f"{self.symbol} {self.session} {self.column}: {self.in_file:.6g} in the file, {self.computed:.6g} computed"
        )


def differences(rows: pl.DataFrame, bars: pl.DataFrame) -> tuple[IndicatorDifference, ...]:
    """Return the widest difference above 1e-3 relative of each symbol at its newest session; sorted by symbol.

    `rows`: the file's rows (date, symbol, some of INDICATORS); `bars`: the bars recovered from them, with symbol and
    instrument_id. CCI is measured against 100 at least, MACD against the price; a number missing on
    one side is no difference.
    """
    there = [name for name in INDICATORS if name in rows.columns]
    if not there:
        return ()
    table = build(bars, dict(bars.select("instrument_id", "symbol").unique().iter_rows()))
    newest = table.filter(pl.col("session") == pl.col("session").max().over("instrument_id"))
    both = to_all_data(newest).join(rows, on=["symbol", "date"], suffix="_file").sort("symbol")
    found: list[IndicatorDifference] = []
    for row in both.iter_rows(named=True):
        sizes = {name: _size(row, name) for name in there}
        name = max(sizes, key=lambda n: sizes[n])
        if sizes[name] > INDICATOR_TOLERANCE:
            found.append(IndicatorDifference(row["symbol"], row["date"], name, row[f"{name}_file"], row[name]))
    return tuple(found)


def _size(row: dict[str, float | None], name: str) -> float:
    computed, in_file = row[name], row[f"{name}_file"]
    if computed is None or in_file is None:
        return 0.0
    # Oscillators cross zero, where a relative difference means nothing: measure them against their own scale.
    scale = {"cci_14": 100.0, "macd": row["adjusted_close"], "macd_9_ema": row["adjusted_close"]}.get(name) or 0.0
    return abs(computed - in_file) / max(abs(computed), abs(in_file), scale, 1e-12)
