"""`python -m bar_fly_simulators.simulate`: the Gateway and Alpha Vantage over one market, on one clock, in one process.

One control port serves both: moving its clock moves the prices that both of them tell.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

from bar_fly_simulators.alpha_vantage import server as alpha_vantage
from bar_fly_simulators.alpha_vantage.flags import DEFAULT_PORT as ALPHA_VANTAGE_PORT
from bar_fly_simulators.alpha_vantage.flags import add_alpha_vantage_flags
from bar_fly_simulators.control import Control, add_common_flags, port_number, run_simulator
from bar_fly_simulators.market import Market


async def start(
    options: argparse.Namespace, market: Market, control: Control, stack: AsyncExitStack
) -> tuple[tuple[str, int], ...]:
    """Start both servers and put their closing on the stack."""
    from bar_fly_simulators.gateway.flags import gateway_options
    from bar_fly_simulators.gateway.server import serve as serve_gateway

    gateway = await serve_gateway(market, control, **gateway_options(options))
    stack.push_async_callback(gateway.close)
    vendor = await alpha_vantage.serve(
        market, control, port=options.alpha_vantage_port, tier=options.tier, keys=options.key
    )
    stack.push_async_callback(vendor.close)
    return (("gateway", gateway.port), ("alpha vantage", vendor.port))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    from bar_fly_simulators.gateway.flags import DEFAULT_PORT, add_gateway_flags

    parser = argparse.ArgumentParser(prog="python -m bar_fly_simulators.simulate", description=__doc__)
    add_common_flags(parser, default_port=DEFAULT_PORT)
    add_gateway_flags(parser)
    parser.add_argument(
        "--alpha-vantage-port",
        type=port_number,
        default=ALPHA_VANTAGE_PORT,
        help="Alpha Vantage's port (0: any free one)",
    )
    add_alpha_vantage_flags(parser)
    return run_simulator(parser.parse_args(arguments), start)


if __name__ == "__main__":
    sys.exit(main())
