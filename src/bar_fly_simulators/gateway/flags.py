"""The Gateway's own flags, beside those that every simulator knows."""

from __future__ import annotations

import argparse
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

DEFAULT_PORT = 4002


def add_gateway_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--cash`, `--account`, `--state`, `--read-only-api`, `--messages-per-second-max` and `--roll-back-ids`."""
    parser.add_argument("--cash", type=_cash, default=Decimal(100_000), help="USD in the account when it is new")
    parser.add_argument("--account", type=_account, default="DUS000001", help="the account's name")
    parser.add_argument(
        "--state", type=Path, default=None, metavar="FILE", help="keep the account in FILE over restarts"
    )
    parser.add_argument("--read-only-api", action="store_true", help="refuse orders, as the setting of that name does")
    parser.add_argument(
        "--messages-per-second-max",
        type=_count,
        default=50,
        help="a client that sends more gets error 100 (0: any number)",
    )
    parser.add_argument("--roll-back-ids", action="store_true", help="forget which order ids were used")


def gateway_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return what `serve` takes of the flags."""
    return {
        "port": options.port,
        "cash": options.cash,
        "account": options.account,
        "state_path": options.state,
        "read_only_api": options.read_only_api,
        "messages_per_second_max": options.messages_per_second_max,
        "roll_back_ids": options.roll_back_ids,
    }


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise argparse.ArgumentTypeError(f"a number from 0 up, not {text!r}")
    return int(text)


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
