"""The market that the simulators serve: real bars of a file, the demo's, or a seeded synthetic one."""

from bar_fly_simulators.market.bars import Bar, Bars, Earnings, Market, Profile, Running
from bar_fly_simulators.market.load import load_market

__all__ = ["Bar", "Bars", "Earnings", "Market", "Profile", "Running", "load_market"]
