"""Alpha Vantage's own flags, beside those that every simulator knows."""

from __future__ import annotations

import argparse

from bar_fly_simulators.alpha_vantage.limits import TIERS

DEFAULT_PORT = 8750


def add_alpha_vantage_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--tier` and `--key`."""
    parser.add_argument("--tier", choices=TIERS, default="unlimited", help="the plan of every key")
    parser.add_argument("--key", action="append", default=[], help="an accepted key (may repeat); none: any not empty")
