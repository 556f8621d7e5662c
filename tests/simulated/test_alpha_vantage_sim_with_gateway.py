"""Both simulators in one process: one clock, one control port."""

from __future__ import annotations

import re
import signal
import socket
import struct
import subprocess
import sys
from datetime import datetime

import httpx

from bar_fly_simulators.clock import parse_at
from bar_fly_simulators.market import load_market


def greeting(port: int) -> list[str]:
    """Say hello to the Gateway as an API client does, and return the server's version and time."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        versions = b"v157..178"
        connection.sendall(b"API\0" + struct.pack(">I", len(versions)) + versions)
        received = b""
        while len(received) < 4 or len(received) < 4 + struct.unpack(">I", received[:4])[0]:
            received += connection.recv(4096)
        return received[4:].decode().rstrip("\0").split("\0")


def test_one_clock_moves_both() -> None:
    """`simulate` names three ports; setting the clock once moves the vendor's quote and the Gateway's time alike."""
    command = [sys.executable, "-m", "bar_fly_simulators.simulate", "--port", "0", "--alpha-vantage-port", "0"]
    flags = ["--market", "synthetic:3:5", "--at", "2024-06-03T09:45", "--speed", "0"]
    market = load_market("synthetic:3:5")
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = [process.stdout.readline() for _ in range(2)]
        found = re.fullmatch(
            r"gateway simulator ready on 127\.0\.0\.1:(\d+) control 127\.0\.0\.1:(\d+)\n"
            r"alpha vantage simulator ready on 127\.0\.0\.1:(\d+) control 127\.0\.0\.1:\2\n",
            "".join(lines),
        )
        assert found, lines
        gateway, control, vendor = (int(port) for port in found.groups())
        with httpx.Client(verify=False) as client:
            for at in ("2024-06-03T09:45", "2024-06-03T14:30"):
                client.post(f"http://127.0.0.1:{control}/clock", json={"at": at})
                version, shown = greeting(gateway)
                assert version == "178"
                told = parse_at(datetime.strptime(shown[:17], "%Y%m%d %H:%M:%S").isoformat())  # noqa: DTZ007
                assert told == parse_at(at)
                params = {"function": "GLOBAL_QUOTE", "symbol": market.symbols[0], "apikey": "k"}
                quote = client.get(f"http://127.0.0.1:{vendor}/query", params=params).json()["Global Quote"]
                assert quote["05. price"] == f"{market.mid_at(market.symbols[0], parse_at(at)):.4f}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
