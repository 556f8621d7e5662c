"""How a simulator's process starts, says that it is ready, and ends."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from bar_fly_simulators.clock import clock_from
from bar_fly_simulators.control.port import Control, serve_control
from bar_fly_simulators.market import Market, load_market

# Starts the servers, puts their closing on the stack, and returns what they are called and where: "gateway" and 4002.
Start = Callable[[argparse.Namespace, Market, Control, AsyncExitStack], Awaitable[tuple[tuple[str, int], ...]]]


def port_number(text: str) -> int:
    """Read a port's number for argparse."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port from 0 to 65535, not {text!r}")
    return int(text)


def add_common_flags(parser: argparse.ArgumentParser, *, default_port: int) -> None:
    """Add the flags that every simulator knows."""
    parser.add_argument("--port", type=port_number, default=default_port, help="port on 127.0.0.1 (0: any free one)")
    parser.add_argument("--market", default="demo", help="FILE (Parquet or CSV), demo, or synthetic:N:SEED")
    parser.add_argument("--at", default=None, help="New York time to start at; default 10:00 of the last session")
    parser.add_argument("--speed", type=float, default=1.0, help="how fast simulated time runs (0: stands still)")
    parser.add_argument(
        "--control-port", type=port_number, default=0, help="JSON for clock, faults, counters (0: any free one)"
    )


def run_simulator(options: argparse.Namespace, start: Start) -> int:
    """Load the market, run the servers until SIGTERM or SIGINT; return the exit status.

    Prints one line a server when it is ready: `gateway simulator ready on 127.0.0.1:4002 control 127.0.0.1:4100`.
    """
    try:
        market = load_market(options.market)
        clock = clock_from(options, market.sessions)
        asyncio.run(_run(options, market, Control(clock, symbols=market.symbols), start))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"simulator not started: {error}\n")
        return 2
    return 0


async def _run(options: argparse.Namespace, market: Market, control: Control, start: Start) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        servers = await start(options, market, control, stack)
        port = await serve_control(control, options.control_port)
        stack.push_async_callback(port.close)
        for name, bound in servers:
            sys.stdout.write(f"{name} simulator ready on 127.0.0.1:{bound} control 127.0.0.1:{port.port}\n")
        sys.stdout.flush()
        await stopped.wait()
