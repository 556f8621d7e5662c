"""The limits a morning is held to. A missing limit is an error, never "unlimited"."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Limits:
    """Every number the pre-trade checks compare with; all finite and above zero."""

    quote_age_s_max: float = 5.0
    spread_fraction_max: float = 0.005
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


@dataclass(frozen=True, slots=True)
class Sizing:
    """How large an entry starts before the caps: a fraction of the cash above a reserve."""

    cash_fraction: float = 0.05
    cash_reserve_usd: Decimal = Decimal(1000)
