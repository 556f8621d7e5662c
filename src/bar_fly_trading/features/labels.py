"""Labels: what the price did afterwards. Nothing but training reads them."""

from __future__ import annotations

from collections.abc import Iterator

from bar_fly_trading.features.packing import Floats, shifted

HORIZONS = (3, 10, 30)


def label_name(horizon: int) -> str:
    """Name the label column of a horizon in sessions."""
    return f"future_{horizon}_day_pct"


def labels(close: Floats) -> Iterator[tuple[str, Floats]]:
    """Yield each label: percent change of the chained close over the instrument's next 3, 10 and 30 bars.

    Packed float64 [position, instrument]; NaN for the newest 3, 10, 30 bars. Known only after the horizon has passed.
    """
    for horizon in HORIZONS:
        later = shifted(close, -horizon)
        later /= close
        later -= 1.0
        later *= 100.0
        yield label_name(horizon), later
