"""The Gateway's own flags, beside those that every simulator knows."""

from __future__ import annotations

import argparse
from decimal import Decimal, InvalidOperation
from pathlib import Path

DEFAULT_PORT = 4002


def add_gateway_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--cash`, `--account` and `--state`."""
    parser.add_argument("--cash", type=_cash, default=Decimal(100_000), help="USD in the account when it is new")
    parser.add_argument("--account", type=_account, default="DUS000001", help="the account's name")
    parser.add_argument(
        "--state", type=Path, default=None, metavar="FILE", help="keep the account in FILE over restarts"
    )


def _cash(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise argparse.ArgumentTypeError(f"an amount in USD from 0 up, not {text!r}")
    return amount


def _account(text: str) -> str:
    if not (text.isascii() and text.isalnum() and text == text.upper()):
        raise argparse.ArgumentTypeError(f"an account like DUS000001 (capitals and digits), not {text!r}")
    return text
