"""Bollinger: buy when the close crosses to or below the lower 20-day band, sell when it crosses to or above the upper one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from bar_fly_trading.strategies import exits
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

# Bands narrower than this fraction of the price are no bands: a stale price repeated for 20 sessions "touches" both.
_HALF_WIDTH_FRACTION_MIN = 1e-9
_OWN_COLUMNS = ("band_usd", "half_width_usd", "previous_close_usd", "previous_band_usd", "split_coefficient")
_READ = (
    "session",
    "instrument_id",
    "symbol",
    "close",
    "split_coefficient",
    "chained_close",
    "bbands_upper_20",
    "bbands_lower_20",
)


@dataclass(frozen=True, slots=True)
class Bollinger:
    """The band strategy; its exits beside the upper band are off unless set.

    `stop_fraction`: 0.06 leaves at 6 % below the entry. `hold_sessions_max`: sessions after which it leaves.
    """

    stop_fraction: float | None = None
    hold_sessions_max: int | None = None

    def __post_init__(self) -> None:
        exits.check_fraction(self.name, "stop_fraction", self.stop_fraction)
        exits.check_sessions(self.name, "hold_sessions_max", self.hold_sessions_max)

    @property
    def name(self) -> str:
        """The catalogue's name."""
        return "bollinger"

    @property
    def needs_predictions(self) -> bool:
        """It reads prices alone."""
        return False

    def signals(self, view: MarketView) -> SignalTable:
        """Return the crossings of every session of the view.

        BUY/ENTRY: the previous close strictly above the previous lower band, this close at or below this one. SELL/EXIT:
        the mirror image at the upper band, for every name (no shorts: whether it is held, the day knows). "Previous" is the
        instrument's previous bar in the view. All on the chained series, so that a split crosses nothing. A band that is
        null, NaN, infinite or without width gives no signal. `strength`: distance beyond the band in half band widths, >= 0.
        """
        check_features(view.features)
        crossed = _crossings(view.features.lazy()).collect()
        columns = [*SIGNAL_COLUMNS, *_OWN_COLUMNS]
        return SignalTable(self.name, crossed.select(columns).sort("session", "instrument_id"))

    def explain(self, row: dict[str, object]) -> str:
        """Put a crossing in words, dollars as traded on their day."""
        bought = row["side"] == Side.BUY.value
        where, band, before = ("at or below", "lower", "above") if bought else ("at or above", "upper", "below")
        split = number(row, "split_coefficient")
        note = "" if split is None or split in {0.0, 1.0} else f" (in shares before the {_ratio(split)} split)"
        return (
            f"{row['symbol']} closed at {number(row, 'close'):.2f}, {where} its {band} 20-day Bollinger band of "
            f"{number(row, 'band_usd'):.2f} ({number(row, 'strength'):.2f} half-widths beyond it); the session before it "
            f"closed at {number(row, 'previous_close_usd'):.2f}, {before} the band of "
            f"{number(row, 'previous_band_usd'):.2f}{note}."
        )

    def exits(self, view: MarketView, holdings: Sequence[Holding]) -> tuple[Signal, ...]:
        """Return the exits by stop and longest hold; a name that `signals` already sells at this close is left to it."""
        found: list[Signal] = []
        for holding in exits.held_by(self.name, holdings):
            path = exits.held_path(view, holding)
            if path is None:
                continue
            reason = exits.stop(path, self.stop_fraction) or exits.max_hold(path, self.hold_sessions_max)
            if reason and not self._sells(view, holding.instrument_id):
                found.append(exits.exit_signal(view, holding, path, reason))
        return tuple(sorted(found, key=Signal.sort_key))

    def _sells(self, view: MarketView, instrument_id: str) -> bool:
        rows = _crossings(exits.instrument_rows(view.features, instrument_id).lazy()).collect()
        return not rows.filter((pl.col("session") == view.session) & (pl.col("side") == Side.SELL.value)).is_empty()


def _ratio(split: float) -> str:
    return f"{split:g}-for-1" if split > 1 else f"1-for-{1 / split:g}"


def _finite(name: str) -> pl.Expr:
    # polars orders NaN above every number, so a NaN band would be crossed: only finite numbers are compared.
    return pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name)


def _crossings(features: pl.LazyFrame) -> pl.LazyFrame:
    close, upper, lower = pl.col("chained_close"), pl.col("bbands_upper_20"), pl.col("bbands_lower_20")
    same = pl.col("instrument_id") == pl.col("instrument_id").shift(1)
    half_width = (upper - lower) / 2
    usable = same & (half_width > close * _HALF_WIDTH_FRACTION_MIN) & (pl.col("close") > 0)
    bought = usable & (close.shift(1) > lower.shift(1)) & (close <= lower)
    sold = usable & (close.shift(1) < upper.shift(1)) & (close >= upper)
    band = pl.when(bought).then(lower).otherwise(upper)
    previous_band = pl.when(bought).then(lower.shift(1)).otherwise(upper.shift(1))
    to_usd = pl.col("close") / close
    return (
        features.select(_READ)
        .with_columns(_finite(n) for n in ("close", "chained_close", "bbands_upper_20", "bbands_lower_20"))
        .with_columns(
            pl.when(bought).then(pl.lit(Side.BUY.value)).when(sold).then(pl.lit(Side.SELL.value)).alias("side"),
            ((close - band).abs() / half_width).alias("strength"),
            (band * to_usd).alias("band_usd"),
            (half_width * to_usd).alias("half_width_usd"),
            pl.col("close").shift(1).alias("previous_close_usd"),
            (previous_band * to_usd.shift(1)).alias("previous_band_usd"),
        )
        .filter(pl.col("side").is_not_null())
        .with_columns(
            pl.when(pl.col("side") == Side.BUY.value)
            .then(pl.lit(Purpose.ENTRY.value))
            .otherwise(pl.lit(Purpose.EXIT.value))
            .alias("purpose")
        )
    )
