"""What the demo starts beside itself: the simulated servers as a program of their own, and a mail server that keeps mails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bar_fly_trading.errors import DoneLess, FixSettings

READY = re.compile(r"^(gateway|alpha vantage) simulator ready on 127\.0\.0\.1:(\d+) control 127\.0\.0\.1:(\d+)$")


@dataclass(frozen=True, slots=True)
class Simulators:
    """The running simulators' ports on 127.0.0.1."""

    gateway_port: int
    alpha_vantage_port: int
    control_port: int

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = HTTPConnection("127.0.0.1", self.control_port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            found: dict[str, Any] = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise DoneLess(f"the simulators refused {method} {path}: {found}", way_out="Run the demo again.")
        return found

    def set_clock(self, at_us: int) -> None:
        """Move both simulators to an instant (UTC microseconds)."""
        self._ask("POST", "/clock", {"at_us": at_us})

    def symbols(self) -> tuple[str, ...]:
        """Return every symbol of the market."""
        return tuple(self._ask("GET", "/symbols")["symbols"])

    def counters(self) -> dict[str, Any]:
        """Return how many messages of each kind came and went."""
        return self._ask("GET", "/counters")


@contextmanager
def simulators(market: str, at: str, state: Path) -> Iterator[Simulators]:
    """Start both simulators on free ports, standing still at `at` (New York), and end them at the end."""
    argv = [sys.executable, "-m", "bar_fly_simulators.simulate", "--market", market, "--at", at, "--speed", "0"]
    argv += ["--port", "0", "--alpha-vantage-port", "0", "--control-port", "0", "--state", str(state)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield _ports(process)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()


def _ports(process: subprocess.Popen[str]) -> Simulators:
    found: dict[str, tuple[int, int]] = {}
    assert process.stdout is not None and process.stderr is not None
    while len(found) < 2:
        line = process.stdout.readline()
        if not line:
            raise DoneLess(
                f"the simulators did not start: {process.stderr.read().strip()[:400]}", way_out="Run make demo again."
            )
        match = READY.match(line.strip())
        if match:
            found[match[1]] = (int(match[2]), int(match[3]))
    return Simulators(found["gateway"][0], found["alpha vantage"][0], found["gateway"][1])


class _Keeper:
    """Takes every mail and writes it into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep one mail."""
        self.count += 1
        (self.folder / f"{self.count:05d}.eml").write_bytes(envelope.content)
        return "250 kept"


@contextmanager
def mail_sink(folder: Path) -> Iterator[int]:
    """Run a mail server on a free local port that keeps every mail as a file in `folder`; yields the port."""
    try:
        from aiosmtpd.controller import Controller
    except ImportError as error:
        raise FixSettings(f"the demo's mail server is missing ({error}).", way_out="Run it by make demo.") from error
    folder.mkdir(parents=True, exist_ok=True)
    controller = Controller(_Keeper(folder), hostname="127.0.0.1", port=_free_port())
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
