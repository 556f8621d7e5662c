"""`bft gateway-sim`, `bft alpha-vantage-sim`, `bft simulate`: start the simulated servers as programs of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

Port = Annotated[int, typer.Option(help="Port to listen on, on 127.0.0.1; 0 picks a free one and prints it.")]
Market = Annotated[str, typer.Option(help="FILE of daily bars (Parquet or CSV), demo, or synthetic:N:SEED.")]
At = Annotated[
    str, typer.Option(help="New York time to stand at, as 2021-04-21T09:45 (default: 10:00 of the last session).")
]
Speed = Annotated[float, typer.Option(help="Simulated seconds a real second; 0 stands still.")]
ControlPort = Annotated[int, typer.Option(help="Port of the control door (JSON: clock, faults, message counters).")]
Cash = Annotated[str, typer.Option(help="Cash of the simulated account in USD.")]
Account = Annotated[str, typer.Option(help="Name of the simulated account.")]
State = Annotated[Path | None, typer.Option(help="File that keeps the account over restarts.")]
ReadOnly = Annotated[bool, typer.Option("--read-only-api", help="Refuse orders, as the setting of that name does.")]
MessagesMax = Annotated[
    int,
    typer.Option("--messages-per-second-max", min=0, help="A client that sends more gets error 100 (0: any number)."),
]
RollBack = Annotated[
    bool, typer.Option("--roll-back-ids", help="Forget which order ids were used, as after some restarts.")
]
Tier = Annotated[str, typer.Option(help="Rate limit: free, 75, 150, 300, 600, 1200 or unlimited.")]


Key = Annotated[str, typer.Option(help="The one key that is accepted (default: any that is not empty).")]


def _become(module: str, flags: dict[str, object]) -> None:
    """Replace this process by the simulator, so that signals and the exit code are its own."""
    argv = [sys.executable, "-m", f"bar_fly_simulators.{module}"]
    for name, value in flags.items():
        if value is True:
            argv.append(f"--{name}")
        elif value is not None and value is not False and value != "":
            argv += [f"--{name}", str(value)]
    sys.stdout.flush()
    os.execv(sys.executable, argv)  # noqa: S606 - our own interpreter and module


def gateway_sim(
    port: Port = 4002,
    market: Market = "demo",
    at: At = "",
    speed: Speed = 1.0,
    control_port: ControlPort = 0,
    cash: Cash = "100000",
    account: Account = "DUS000001",
    state: State = None,
    read_only_api: ReadOnly = False,
    messages_per_second_max: MessagesMax = 50,
    roll_back_ids: RollBack = False,
) -> None:
    """Start a simulated IB Gateway that unmodified IB clients can connect to."""
    _become(
        "gateway",
        {
            "port": port,
            "market": market,
            "at": at,
            "speed": speed,
            "control-port": control_port,
            "cash": cash,
            "account": account,
            "state": state,
            "read-only-api": read_only_api,
            "messages-per-second-max": messages_per_second_max,
            "roll-back-ids": roll_back_ids,
        },
    )


def alpha_vantage_sim(
    port: Port = 8080,
    market: Market = "demo",
    at: At = "",
    speed: Speed = 1.0,
    control_port: ControlPort = 0,
    tier: Tier = "unlimited",
    key: Key = "",
) -> None:
    """Start a simulated Alpha Vantage server (set data.alpha_vantage_url to it)."""
    _become(
        "alpha_vantage",
        {
            "port": port,
            "market": market,
            "at": at,
            "speed": speed,
            "control-port": control_port,
            "tier": tier,
            "key": key,
        },
    )


def simulate(
    gateway_port: Annotated[int, typer.Option(help="Port of the Gateway.")] = 4002,
    alpha_vantage_port: Annotated[int, typer.Option(help="Port of the Alpha Vantage server.")] = 8080,
    market: Market = "demo",
    at: At = "",
    speed: Speed = 1.0,
    control_port: ControlPort = 0,
    cash: Cash = "100000",
    account: Account = "DUS000001",
    state: State = None,
    tier: Tier = "unlimited",
    key: Key = "",
) -> None:
    """Start both simulated servers on one clock and one market."""
    _become(
        "simulate",
        {
            "port": gateway_port,
            "alpha-vantage-port": alpha_vantage_port,
            "market": market,
            "at": at,
            "speed": speed,
            "control-port": control_port,
            "cash": cash,
            "account": account,
            "state": state,
            "tier": tier,
            "key": key,
        },
    )
