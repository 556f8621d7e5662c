"""`bft`: the command line. One module a group of commands; everything heavy is imported inside a command.

Exit codes: 0 done (also "no session"), 1 a defect, 2 to 22 as `bar_fly_trading.errors` lists them, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from bar_fly_trading import __version__
from bar_fly_trading.cli import last_door
from bar_fly_trading.cli.commands import Commands
from bar_fly_trading.cli.output import say

app = typer.Typer(
    name="bft",
    cls=Commands,
    help="Daily trading for US stocks: pull, predict, rank, check, trade in shadow or paper, and say why.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"bft {__version__}")
        raise typer.Exit


@app.callback()
def bft(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Daily trading for US stocks: pull, predict, rank, check, trade in shadow or paper, and say why."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bft` and return its exit code; every error becomes one message with its way out."""
    words = last_door.arguments() if argv is None else list(argv)
    return last_door.run(lambda: app(words, prog_name="bft", standalone_mode=False), words)
