"""The limits a morning is held to. A missing limit is an error, never "unlimited"."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Limits:
    """Every number the pre-trade checks compare with; all finite and above zero.

    `exit_spread_fraction_max` is the wider bound of exits: leaving is never stopped by an ordinary wide spread, but a
    bid of a stub quote is no price to sell at.
    """

    quote_age_s_max: float = 5.0
    spread_fraction_max: float = 0.005
    exit_spread_fraction_max: float = 0.05
    drift_fraction_max: float = 0.02
    dollar_volume_median_20d_usd_min: float = 5_000_000.0
    positions_max: int = 10
    position_fraction_max: float = 0.05
    daily_loss_usd_max: Decimal = Decimal(1000)
    new_entries_a_day_max: int = 5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (Decimal(str(value)).is_finite() and value > 0):
                raise ValueError(f"limit {field.name} is {value}; it must be a finite number above 0")
        if self.position_fraction_max > 1:
            raise ValueError(f"position_fraction_max is {self.position_fraction_max}; 0.05 means 5 %, at most 1")
        if self.exit_spread_fraction_max < self.spread_fraction_max:
            raise ValueError(
                f"exit_spread_fraction_max is {self.exit_spread_fraction_max}, below spread_fraction_max"
                f" {self.spread_fraction_max}; exits may not be held tighter than entries"
            )


@dataclass(frozen=True, slots=True)
class Sizing:
    """How large an entry starts before the caps: a fraction of the cash above a reserve.

    `order_volume_fraction_max`: an order's dollars over the 20-day median dollar volume, None for no such cap.
    """

    cash_fraction: float = 0.05
    cash_reserve_usd: Decimal = Decimal(1000)
    order_volume_fraction_max: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.cash_fraction <= 1:
            raise ValueError(f"cash_fraction is {self.cash_fraction}; 0.05 means 5 %, above 0 and at most 1")
        if not (self.cash_reserve_usd.is_finite() and self.cash_reserve_usd >= 0):
            raise ValueError(
                f"cash_reserve_usd is {self.cash_reserve_usd}; it must be a finite number of dollars, 0 or more"
            )
        cap = self.order_volume_fraction_max
        if cap is not None and not 0 < cap <= 1:
            raise ValueError(f"order_volume_fraction_max is {cap}; above 0 and at most 1, or left out")
