"""`python -m bar_fly_simulators.alpha_vantage`: the simulated Alpha Vantage in a process of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

from bar_fly_simulators.alpha_vantage.flags import DEFAULT_PORT, add_alpha_vantage_flags
from bar_fly_simulators.alpha_vantage.server import serve
from bar_fly_simulators.control import Control, add_common_flags, run_simulator
from bar_fly_simulators.market import Market


async def start(
    options: argparse.Namespace, market: Market, control: Control, stack: AsyncExitStack
) -> tuple[tuple[str, int], ...]:
    """Start the server that the flags ask for and put its closing on the stack."""
    server = await serve(market, control, port=options.port, tier=options.tier, keys=options.key)
    stack.push_async_callback(server.close)
    return (("alpha vantage", server.port),)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bar_fly_simulators.alpha_vantage", description=__doc__)
    add_common_flags(parser, default_port=DEFAULT_PORT)
    add_alpha_vantage_flags(parser)
    return run_simulator(parser.parse_args(arguments), start)


if __name__ == "__main__":
    sys.exit(main())
