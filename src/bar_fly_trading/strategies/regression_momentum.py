"""Regression momentum: buy on predicted 3- and 10-day returns with a trend, leave by time, stops, prediction or CCI."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.strategies import exits
from bar_fly_trading.strategies.exits import HeldPath
from bar_fly_trading.strategies.signal import (
    SIGNAL_COLUMNS,
    Holding,
    MarketView,
    Purpose,
    Side,
    Signal,
    SignalTable,
    check_features,
    number,
)

_OWN_COLUMNS = ("return_3d", "return_10d", "adx_14", "adx_signal")


@dataclass(frozen=True, slots=True)
class RegressionMomentum:
    """The prediction strategy; every return is a fraction (0.01 is 1 %), None switches a price exit off.

    Enters above both `predicted_return_*_min` (strictly) with `adx_signal` at `adx_signal_min` or more. Leaves by stop,
    target, trailing stop (armed at `trailing_after_fraction`), after `hold_sessions_max` sessions, or, not before
    `hold_sessions_min` sessions, when the predicted 3-day return is below `predicted_return_3d_exit` or `cci_signal` below
    `cci_signal_exit`.
    """

    predicted_return_3d_min: float = 0.01
    predicted_return_10d_min: float = 0.02
    adx_signal_min: int = 1
    hold_sessions_min: int = 2
    hold_sessions_max: int | None = 13
    stop_fraction: float | None = 0.06
    target_fraction: float | None = 0.12
    trailing_fraction: float | None = 0.05
    trailing_after_fraction: float = 0.03
    predicted_return_3d_exit: float = 0.0
    cci_signal_exit: int = 0

    def __post_init__(self) -> None:
        for name in ("predicted_return_3d_min", "predicted_return_10d_min", "predicted_return_3d_exit"):
            value = getattr(self, name)
            # 1 would be 100 % in days: somebody wrote a percentage.
            if not (math.isfinite(value) and -1 < value < 1):
                raise FixSettings(
                    f"strategy {self.name}: {name} is {value}; it must be between -1 and 1.",
                    way_out="Write a fraction: 0.01 means 1 %.",
                )
        exits.check_sessions(self.name, "hold_sessions_min", self.hold_sessions_min)
        exits.check_sessions(self.name, "hold_sessions_max", self.hold_sessions_max, least=self.hold_sessions_min)
        exits.check_fraction(self.name, "stop_fraction", self.stop_fraction)
        exits.check_fraction(self.name, "target_fraction", self.target_fraction, below=10)
        exits.check_fraction(self.name, "trailing_fraction", self.trailing_fraction)
        exits.check_fraction(self.name, "trailing_after_fraction", self.trailing_after_fraction, below=10)

    @property
    def name(self) -> str:
        """The catalogue's name."""
        return "regression_momentum"

    @property
    def needs_predictions(self) -> bool:
        """Without a model it enters nothing."""
        return True

    def signals(self, view: MarketView) -> SignalTable:
        """Return the entries of every session that has predictions; without predictions, none.

        A prediction or ADX signal that is null, NaN or infinite enters nothing. `strength`: percentage points of predicted
        3-day return beyond the threshold, > 0.
        """
        columns = [*SIGNAL_COLUMNS, *_OWN_COLUMNS]
        if view.predictions is None:
            empty = {**SIGNAL_COLUMNS, **dict.fromkeys(_OWN_COLUMNS, pl.Float64())}
            return SignalTable(self.name, pl.DataFrame(schema=empty))
        check_features(view.features)
        predicted = view.predictions.lazy().select("session", "instrument_id", "return_3d", "return_10d")
        read = ("session", "instrument_id", "symbol", "close", "adx_14", "adx_signal")
        entries = (
            view.features.lazy()
            .select(read)
            .filter((pl.col("adx_signal") >= self.adx_signal_min) & pl.col("close").is_finite() & (pl.col("close") > 0))
            .join(predicted, on=["session", "instrument_id"], validate="1:1")
            .filter(
                pl.col("return_3d").is_finite()
                & pl.col("return_10d").is_finite()
                & (pl.col("return_3d") > self.predicted_return_3d_min)
                & (pl.col("return_10d") > self.predicted_return_10d_min)
            )
            .with_columns(
                pl.lit(Side.BUY.value).alias("side"),
                pl.lit(Purpose.ENTRY.value).alias("purpose"),
                ((pl.col("return_3d") - self.predicted_return_3d_min) * 100).alias("strength"),
                *(pl.col(name).cast(pl.Float64) for name in _OWN_COLUMNS),
            )
            .select(columns)
            .sort("session", "instrument_id")
            .collect()
        )
        return SignalTable(self.name, entries)

    def explain(self, row: dict[str, object]) -> str:
        """Put an entry in words: each number beside its threshold."""
        adx = number(row, "adx_14")
        trend = f"ADX signal {number(row, 'adx_signal'):.0f}" + ("" if adx is None else f" (ADX {adx:.1f})")
        return (
            f"{row['symbol']} closed at {number(row, 'close'):.2f}: predicted 3-day return "
            f"{_percent(row, 'return_3d')} (above {exits.percent(self.predicted_return_3d_min)}), 10-day "
            f"{_percent(row, 'return_10d')} (above {exits.percent(self.predicted_return_10d_min)}), {trend}."
        )

    def exits(self, view: MarketView, holdings: Sequence[Holding]) -> tuple[Signal, ...]:
        """Return what to leave at this close; a missing prediction or CCI is skipped, the other rules still judge."""
        own = exits.held_by(self.name, holdings)
        predicted = _predicted_3d(view, [h.instrument_id for h in own])
        found: list[Signal] = []
        for holding in own:
            path = exits.held_path(view, holding)
            if path is None:
                continue
            newest = exits.instrument_rows(view.features, holding.instrument_id).filter(
                pl.col("session") == view.session
            )
            cci = number(newest.to_dicts()[0], "cci_signal")
            return_3d = predicted.get(holding.instrument_id)
            reason = self._reason(path, return_3d, cci)
            if reason:
                more = (("return_3d", return_3d), ("cci_signal", cci))
                found.append(exits.exit_signal(view, holding, path, reason, more))
        return tuple(sorted(found, key=Signal.sort_key))

    def _reason(self, path: HeldPath, return_3d: float | None, cci_signal: float | None) -> str | None:
        always = (
            exits.stop(path, self.stop_fraction)
            or exits.target(path, self.target_fraction)
            or exits.trailing(path, self.trailing_fraction, self.trailing_after_fraction)
            or exits.max_hold(path, self.hold_sessions_max)
        )
        if always or path.sessions_held < self.hold_sessions_min:
            return always
        return exits.prediction_turned(return_3d, self.predicted_return_3d_exit) or exits.cci_reversed(
            cci_signal, self.cci_signal_exit
        )


def _percent(row: dict[str, object], name: str) -> str:
    value = number(row, name)
    return "undefined" if value is None else exits.percent(value)


def _predicted_3d(view: MarketView, instrument_ids: list[str]) -> dict[str, float]:
    """Return the finite predicted 3-day returns at the view's session, by instrument."""
    if view.predictions is None or not instrument_ids:
        return {}
    # The session first: a backtest's predictions hold thousands of them.
    newest = view.predictions.select("session", "instrument_id", "return_3d").filter(pl.col("session") == view.session)
    rows = newest.filter(pl.col("instrument_id").is_in(instrument_ids)).select("instrument_id", "return_3d")
    return {i: r for i, r in rows.iter_rows() if r is not None and math.isfinite(r)}
