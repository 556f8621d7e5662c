"""`python -m bar_fly_trading.stockformer --train ...` is `bft train ...`; without `--train` it is `bft predict ...`."""

from __future__ import annotations

import sys


def command(arguments: list[str]) -> list[str]:
    """Return the arguments that `bft` takes for the same work."""
    verb = "train" if "--train" in arguments else "predict"
    return [verb, *(argument for argument in arguments if argument != "--train")]


def main() -> None:
    """Run the command line's own entry, so that both doors lead to the same room."""
    from bar_fly_trading.cli import main as bft

    sys.exit(bft(command(sys.argv[1:])))


if __name__ == "__main__":
    main()
