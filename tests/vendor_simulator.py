"""The Alpha Vantage simulator in a process of its own, for the tests that pull from it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bar_fly_trading.facts.sessions import new_york_us


def at_us(text: str) -> int:
    """Return a New York time such as 2012-11-06T18:00 as UTC microseconds."""
    moment = datetime.fromisoformat(text)
    return new_york_us(moment.date(), moment.time())


@dataclass
class Simulator:
    """A running simulator: its port, and its control port."""

    port: int
    control: int

    def post(self, path: str, body: dict[str, Any]) -> None:
        """Tell the simulator something."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.control}{path}", data=data, method="POST")
        urllib.request.urlopen(request).close()

    def at(self, text: str) -> None:
        """Set its clock."""
        self.post("/clock", {"at": text})

    def asked(self) -> dict[str, int]:
        """Return its requests by function."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.control}/counters") as answer:
            counts: dict[str, int] = json.loads(answer.read()).get("alpha_vantage", {})
        return counts


@contextmanager
def simulated(market: str, *flags: str) -> Iterator[Simulator]:
    """Start a simulator over a market with a clock that stands still."""
    command = [sys.executable, "-m", "bar_fly_simulators.alpha_vantage", "--port", "0", "--control-port", "0"]
    with subprocess.Popen(
        [*command, "--market", market, "--speed", "0", *flags], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        ports = re.findall(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
        try:
            yield Simulator(int(ports[0]), int(ports[1]))
        finally:
            process.terminate()
