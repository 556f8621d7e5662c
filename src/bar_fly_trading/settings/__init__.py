"""The settings, read once, typed and frozen: command line over environment over .env over file over default.

resolved = resolve(home=None, overrides={"gateway.port": 4002}, environ=os.environ)
resolved.settings.limits.positions_max, resolved.source_of("limits.positions_max"), resolved.home.store
"""

from __future__ import annotations

from bar_fly_trading.settings.conversions import (
    combinations,
    limits,
    modes,
    ranking,
    route,
    sizing,
    sizing_by_strategy,
    strategies,
    universe,
    universe_rule,
)
from bar_fly_trading.settings.home import HOME_VARIABLE, Home, find_home
from bar_fly_trading.settings.model import Settings
from bar_fly_trading.settings.resolved import Resolved, SettingRow, gateway_overrides, known_secrets, resolve

__all__ = [
    "HOME_VARIABLE",
    "Home",
    "Resolved",
    "SettingRow",
    "Settings",
    "combinations",
    "find_home",
    "gateway_overrides",
    "known_secrets",
    "limits",
    "modes",
    "ranking",
    "resolve",
    "route",
    "sizing",
    "sizing_by_strategy",
    "strategies",
    "universe",
    "universe_rule",
]
