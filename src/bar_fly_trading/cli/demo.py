"""`bft demo`: the whole chain on this machine, without keys or accounts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from bar_fly_trading.cli.output import say
from bar_fly_trading.cli.progress import Terminal


def demo(
    synthetic: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=1000, help="N synthetic symbols with sectors instead of five real ones."),
    ] = None,
    sessions: Annotated[int, typer.Option(min=2, max=400, help="Sessions to replay.")] = 120,
    shadow_sessions: Annotated[int, typer.Option(min=0, help="How many of them in shadow; the others in paper.")] = 80,
    training_seconds: Annotated[float, typer.Option(min=1, help="Longest each of the two trainings takes.")] = 12,
    home: Annotated[Path, typer.Option("--home", help="Folder the demo keeps everything in; emptied first.")] = Path(
        "demo-home"
    ),
) -> None:
    """Replay sessions of real prices: pull, features, training, signals, checks, shadow and paper orders, mails, a report."""
    say("bft demo: real code, real protocols, simulated servers. Nothing leaves this machine; no key, no account.")
    from bar_fly_trading.demo import run_demo

    with Terminal() as terminal:
        result = asyncio.run(
            run_demo(
                home.absolute(),
                terminal,
                synthetic=synthetic,
                sessions=sessions,
                shadow_sessions=min(shadow_sessions, sessions),
                training_s=training_seconds,
                environ={k: v for k, v in os.environ.items() if k in {"HOME", "PATH", "TZ", "LANG"}},
            )
        )
    say()
    say(result.report_text)
    say(
        f"{result.sessions} sessions in {result.seconds:.0f} s; order messages the Gateway received: {result.orders_sent}"
    )
    say(f"page with charts: {result.page}")
    say(f"every mail:       {result.mails}")
    say(f"everything else:  {result.home} (bft where --home {result.home})")
