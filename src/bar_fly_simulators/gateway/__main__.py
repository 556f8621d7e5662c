"""`python -m bar_fly_simulators.gateway`: the simulated IB Gateway in a process of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

from bar_fly_simulators.control import Control, add_common_flags, run_simulator
from bar_fly_simulators.gateway.flags import DEFAULT_PORT, add_gateway_flags, gateway_options
from bar_fly_simulators.gateway.server import serve
from bar_fly_simulators.market import Market


async def start(
    options: argparse.Namespace, market: Market, control: Control, stack: AsyncExitStack
) -> tuple[tuple[str, int], ...]:
    """Start the Gateway that the flags ask for and put its closing on the stack."""
    gateway = await serve(market, control, **gateway_options(options))
    stack.push_async_callback(gateway.close)
    return (("gateway", gateway.port),)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bar_fly_simulators.gateway", description=__doc__)
    add_common_flags(parser, default_port=DEFAULT_PORT)
    add_gateway_flags(parser)
    return run_simulator(parser.parse_args(arguments), start)


if __name__ == "__main__":
    sys.exit(main())
