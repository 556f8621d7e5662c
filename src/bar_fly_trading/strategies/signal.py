"""What a strategy sees and what it says: the market view, signals, and the positions it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

import polars as pl


class Side(StrEnum):
    """Buy or sell."""

    BUY = "BUY"
    SELL = "SELL"


class Purpose(StrEnum):
    """Why: a new position, or leaving one."""

    ENTRY = "ENTRY"
    EXIT = "EXIT"


@dataclass(frozen=True, slots=True)
class MarketView:
    """Everything known at the close evening of `session`, and nothing after.

    `features`: the feature table (see `features.table`), one row an instrument and session, sorted by instrument_id,
    session; its newest session is `session`. `predictions`: the prediction table (see `stockformer.predictions`), or
    None where no model ran. `excluded`: instruments kept out of this view, each with the reason.
    """

    session: date
    features: pl.DataFrame
    predictions: pl.DataFrame | None
    excluded: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Signal:
    """One strategy's word on one instrument at one session's close.

    `strength` >= 0, in the strategy's own unit, larger is stronger. `close_usd`: the close as traded.
    `observed`: the numbers the reason rests on, by name, None where undefined. `session_close_split` never enters here:
    splits effective on the morning are looked up by the day.
    """

    session: date
    strategy: str
    instrument_id: str
    symbol: str
    side: Side
    purpose: Purpose
    strength: float
    close_usd: Decimal
    reason: str
    observed: tuple[tuple[str, float | None], ...] = ()

    def sort_key(self) -> tuple[str, str, str, str]:
        """Order signals the same way whatever order they came in."""
        return (self.strategy, self.instrument_id, self.side.value, self.purpose.value)


# Columns of every signal table; a strategy may add columns of its own after them (the numbers its reasons rest on).
SIGNAL_COLUMNS: dict[str, pl.DataType] = {
    "session": pl.Date(),
    "instrument_id": pl.String(),
    "symbol": pl.String(),
    "side": pl.String(),
    "purpose": pl.String(),
    "strength": pl.Float64(),
    "close": pl.Float64(),
}


@dataclass(frozen=True, slots=True)
class SignalTable:
    """One strategy's signals for every session of a view, each row from its past alone; sorted by session, instrument_id."""

    strategy: str
    frame: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Holding:
    """What one strategy holds of one instrument in one book (shadow or paper).

    `quantity` and `entry_price_usd` a share are in today's shares: what was paid as traded at `entry_session`, with the
    splits effective after that session applied to both by the book.
    """

    strategy: str
    instrument_id: str
    symbol: str
    quantity: int
    entry_session: date
    entry_price_usd: Decimal


class Strategy(Protocol):
    """A frozen dataclass of numbers with two questions; it never knows the mode it runs in."""

    @property
    def name(self) -> str:
        """The catalogue's name."""
        ...

    @property
    def needs_predictions(self) -> bool:
        """Whether it says nothing without a model."""
        ...

    def signals(self, view: MarketView) -> SignalTable:
        """Return the signals of every session in the view."""
        ...

    def explain(self, row: dict[str, object]) -> str:
        """Put one row of the signal table in words."""
        ...

    def exits(self, view: MarketView, holdings: Sequence[Holding]) -> tuple[Signal, ...]:
        """Return the exits decided at the close of `view.session` for what this strategy holds."""
        ...


def check_features(features: pl.DataFrame) -> None:
    """Raise ValueError where a feature table is not sorted by instrument_id, session, once each.

    Strategies find "the session before" in the row above; in another order they would answer wrongly without a word.
    """
    ids, sessions = features["instrument_id"], features["session"]
    same = ids == ids.shift(1)
    if not ids.is_sorted() or (same & (sessions <= sessions.shift(1))).any():
        raise ValueError("the feature table is not sorted by instrument_id, session with each pair once")


def number(row: Mapping[str, object], name: str) -> float | None:
    """Return a row's number as a finite float; None where it is absent, null, NaN or infinite."""
    value = row.get(name)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def at_session(strategy: Strategy, table: SignalTable, session: date) -> tuple[Signal, ...]:
    """Turn a signal table's rows of one session into signals in sort-key order, each with its reason in words.

    `observed` takes the strategy's own columns (those beyond SIGNAL_COLUMNS) in table order, null and NaN as None.
    """
    frame = table.frame.filter(pl.col("session") == session)
    own = [name for name in frame.columns if name not in SIGNAL_COLUMNS]
    signals = [
        Signal(
            session=session,
            strategy=table.strategy,
            instrument_id=row["instrument_id"],
            symbol=row["symbol"],
            side=Side(row["side"]),
            purpose=Purpose(row["purpose"]),
            strength=row["strength"],
            close_usd=Decimal(repr(row["close"])),
            reason=strategy.explain(row),
            observed=tuple((name, number(row, name)) for name in own),
        )
        for row in frame.iter_rows(named=True)
    ]
    return tuple(sorted(signals, key=Signal.sort_key))
