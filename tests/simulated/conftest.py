"""The whole chain over real processes: a small market made for it, `bft` in a clean environment, simulators on free ports.

The market: 58 sessions of eight names around 2021-04-20 (`SIGNAL_DAY`), quiet before it, so that every crossing is meant.

    ALFA  BUY on the signal day; flat the next morning; closes far above the band, so SELL the evening after
    BRVO  BUY, but opens 4 % higher: DRIFT
    CHRL  SELL of something nobody holds: NOT_HELD
    DLTA  BUY, but trades too little: WATCH
    ECHO  nothing
    FOXT  its last bar is a session old: kept out as stale
    GOLF  BUY, as ALFA, flat afterwards
    SPLT  BUY, and a 4-for-1 split next morning
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bar_fly_trading.facts.sessions import Calendar

BFT = Path(sys.executable).with_name("bft")
FIRST_DAY, SIGNAL_DAY, NEXT_DAY, LAST_DAY = date(2021, 2, 1), date(2021, 4, 20), date(2021, 4, 21), date(2021, 4, 23)
MORNING_AT = f"{NEXT_DAY}T09:31"
BUYS = {"ALFA", "BRVO", "DLTA", "GOLF", "SPLT"}
TRADED = ("ALFA", "GOLF", "SPLT")
SETTINGS = """schema = 1

[data]
alpha_vantage_url = "http://127.0.0.1:9/query"

[gateway]
timeout_s = 4.0
fill_wait_s = 1.0

[ranking]
sector_entries_max = 10
"""
READY = re.compile(r"^(gateway|alpha vantage) simulator ready on 127\.0\.0\.1:(\d+) control 127\.0\.0\.1:(\d+)$")


# ---------------------------------------------------------------- the market


def _path(symbol: str, days: list[date]) -> list[tuple[float, float]]:
    """Return open and close of each session, in today's shares (before ALFA's jump and SPLT's split)."""
    quiet = [100 + 0.3 * math.sin(2.1 * i + sum(symbol.encode())) for i in range(len(days))]
    at = days.index(SIGNAL_DAY)
    after = {"ALFA": 94.0, "BRVO": 94.0, "DLTA": 94.0, "GOLF": 94.0, "SPLT": 94.0, "CHRL": 106.0}.get(symbol)
    bars = [(quiet[max(0, i - 1)], close) for i, close in enumerate(quiet)]
    if after is not None:
        bars[at] = (quiet[at - 1], after)
        bars[at + 1 :] = [(after, after)] * (len(days) - at - 1)
    if symbol == "ALFA":
        bars[at + 1] = (94.0, 112.0)
        bars[at + 2 :] = [(112.0, 112.0)] * (len(days) - at - 2)
    if symbol == "BRVO":
        bars[at + 1 :] = [(97.76, 97.76)] * (len(days) - at - 1)
    return bars


def chain_bars() -> pl.DataFrame:
    """Return the market as a bars file has it: Alpha Vantage's columns, one row a symbol and date."""
    days = list(Calendar().sessions(FIRST_DAY, LAST_DAY))
    rows = []
    for symbol in (*sorted(BUYS), "CHRL", "ECHO", "FOXT"):
        for day, (opened, closed) in zip(days, _path(symbol, days), strict=True):
            if symbol == "FOXT" and day >= SIGNAL_DAY:
                continue
            before_split = symbol == "SPLT" and day < NEXT_DAY
            factor = 4.0 if before_split else 1.0
            rows.append(
                {
                    "symbol": symbol,
                    "date": day.isoformat(),
                    "open": round(opened * factor, 2),
                    "high": round(max(opened, closed) * factor + 0.05, 2),
                    "low": round(min(opened, closed) * factor - 0.05, 2),
                    "close": round(closed * factor, 2),
                    "adjusted_close": round(closed * factor, 2) / factor,
                    "volume": 8_000 if symbol == "DLTA" else 8_000_000 // int(factor),
                    "dividend_amount": 0.0,
                    "split_coefficient": 4.0 if symbol == "SPLT" and day == NEXT_DAY else 1.0,
                }
            )
    return pl.DataFrame(rows)


# ---------------------------------------------------------------- bft


@dataclass(frozen=True, slots=True)
class Chain:
    """One home and the commands run in it; every `bft` is a process of its own with nothing of this one's environment."""

    home: Path
    bars: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def environ(self, **more: str) -> dict[str, str]:
        """Return the environment of a process: as bare as cron's, and one thread a library."""
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.home.parent),
            "BFT_HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "POLARS_MAX_THREADS": "1",
            **self.environment,
            **more,
        }

    def start(self, *args: object, **env: str) -> subprocess.Popen[str]:
        """Start `bft ARGS` and return the process."""
        return subprocess.Popen(
            [str(BFT), *map(str, args)],
            env=self.environ(**env),
            cwd=self.home.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def bft(self, *args: object, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `bft ARGS` to its end."""
        process = self.start(*args, **env)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def ok(self, *args: object, **env: str) -> str:
        """Run `bft ARGS`, which must end with 0, and return its stdout."""
        done = self.bft(*args, **env)
        assert done.returncode == 0, f"bft {args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def refused(self, code: int, *args: object, **env: str) -> str:
        """Run `bft ARGS`, which must end with `code` and one clear message on stderr; return the message."""
        return one_message(self.bft(*args, **env), code)

    def morning(
        self, gateway: Gateway, *args: object, mode: str = "shadow", day: date = NEXT_DAY
    ) -> subprocess.CompletedProcess[str]:
        """Run the morning of a day against a Gateway."""
        return self.bft("morning", "--as-of", day, "--mode", mode, "--gateway", gateway.where, *args)

    def records(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the journal's payloads of some kinds, in order, read by SQLite alone."""
        return [json.loads(text) for text in self.rows("payload", *kinds)]

    def rows(self, column: str, *kinds: str) -> list[Any]:
        """Return one column of the journal's records of some kinds, in order."""
        path = self.home / "journal.sqlite"
        if not path.exists():
            return []
        marks = ",".join("?" * len(kinds))
        with closing(sqlite3.connect(path)) as db:
            query = f"SELECT {column} FROM records WHERE kind IN ({marks}) ORDER BY seq"
            return [row[0] for row in db.execute(query, kinds)]

    def states(self) -> dict[str, str]:
        """Return each intent's symbol and side, and its state."""
        with closing(sqlite3.connect(self.home / "journal.sqlite")) as db:
            rows = db.execute("SELECT payload, state FROM intents").fetchall()
        return {f"{json.loads(p)['side']} {json.loads(p)['symbol']}": state for p, state in rows}

    def mails(self, where: str = "kept") -> list[str]:
        """Return the file names of mails: kept (no server set), sent, or "" for those that wait."""
        return sorted(p.name for p in (self.home / "outbox" / where).glob("*.eml"))

    def debris(self) -> list[str]:
        """Return what no finished command may leave behind: half-written files."""
        return sorted(str(p) for p in self.home.rglob("*") if p.name.endswith(".bft-tmp"))


def one_message(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Check that a run ended with `code`, with one `error:` and one `to do:` on stderr and no traceback; return stderr."""
    said = f"{done.args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == code, said
    assert "Traceback" not in done.stderr + done.stdout, said
    assert done.stderr.count("error: ") == 1, said
    assert done.stderr.count("to do: ") == 1, said
    assert "a defect of the program" not in done.stderr, said
    return done.stderr


# ---------------------------------------------------------------- simulators


@dataclass(slots=True)
class Gateway:
    """A running simulator process (the Gateway, Alpha Vantage, or both) and its control port."""

    process: subprocess.Popen[str]
    port: int
    control: int
    alpha_vantage: int = 0
    base: dict[str, int] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Host and port, as --gateway takes them."""
        return f"127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the control port."""
        connection = HTTPConnection("127.0.0.1", self.control, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            found = json.loads(answer.read())
        finally:
            connection.close()
        assert answer.status == 200, found
        return found

    def count(self, message: str) -> int:
        """Return how many messages of a kind came or went since this test began, as "received 3 placeOrder"."""
        return int(self.ask("GET", "/counters")["gateway"][message]) - self.base.get(message, 0)

    @property
    def orders(self) -> int:
        """Return how many order messages came."""
        return self.count("received 3 placeOrder")

    def fault(self, kind: str, **options: object) -> None:
        """Make something go wrong."""
        self.ask("POST", "/faults", {"kind": kind, **options})

    def heal(self) -> None:
        """End every fault."""
        self.ask("POST", "/faults", {"clear": True})

    def at(self, text: str) -> None:
        """Move the simulated clock (New York)."""
        self.ask("POST", "/clock", {"at": text})

    def begin(self) -> Gateway:
        """Stand at the morning again, without faults, counting from here: for a Gateway that several tests only read."""
        self.heal()
        self.at(MORNING_AT)
        self.base = self.ask("GET", "/counters")["gateway"]
        return self

    def until(self, message: str, least: int = 1, seconds: float = 60) -> None:
        """Wait until so many messages of a kind were counted."""
        end = time.monotonic() + seconds
        while self.count(message) < least:
            assert time.monotonic() < end, f"{message} did not come {least} times within {seconds} s"
            time.sleep(0.01)

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def start_simulator(command: str, *flags: object, servers: int = 1) -> Gateway:
    """Start `bft COMMAND` on free ports and wait until it says that it is ready."""
    argv = [str(BFT), command, *map(str, flags)]
    return ready(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), servers)


def ready(process: subprocess.Popen[str], servers: int = 1) -> Gateway:
    """Wait until a simulator's process has said where each of its servers is."""
    found: dict[str, tuple[int, int]] = {}
    assert process.stdout is not None and process.stderr is not None
    while len(found) < servers:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        match = READY.match(line.strip())
        if match:
            found[match[1]] = (int(match[2]), int(match[3]))
    port, control = found.get("gateway", (0, 0))
    vendor, vendor_control = found.get("alpha vantage", (0, 0))
    return Gateway(process, port, control or vendor_control, vendor)


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# ---------------------------------------------------------------- fixtures


@pytest.fixture(scope="session")
def bars_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the small market as a Parquet file."""
    path = tmp_path_factory.mktemp("market") / "bars.parquet"
    chain_bars().write_parquet(path)
    return path


@pytest.fixture(scope="session")
def _imported(tmp_path_factory: pytest.TempPathFactory, bars_file: Path) -> Path:
    """Make a home with the market in its store, once."""
    chain = Chain(tmp_path_factory.mktemp("imported") / "home", bars_file)
    chain.home.mkdir()
    (chain.home / "settings.toml").write_text(SETTINGS)
    chain.ok("import", "bars", bars_file)
    return chain.home


@pytest.fixture(scope="session")
def _ranked(tmp_path_factory: pytest.TempPathFactory, _imported: Path, bars_file: Path) -> Path:
    """Make a home with the signal day's evening done, once."""
    chain = Chain(tmp_path_factory.mktemp("ranked") / "home", bars_file)
    shutil.copytree(_imported, chain.home)
    chain.ok("evening", "--no-pull", "--as-of", SIGNAL_DAY)
    return chain.home


@pytest.fixture
def imported(_imported: Path, bars_file: Path, tmp_path: Path) -> Chain:
    """Return a home of its own with the market in its store."""
    return Chain(Path(shutil.copytree(_imported, tmp_path / "home")), bars_file)


@pytest.fixture
def ranked(_ranked: Path, bars_file: Path, tmp_path: Path) -> Chain:
    """Return a home of its own with the signal day's evening done."""
    return Chain(Path(shutil.copytree(_ranked, tmp_path / "home")), bars_file)


@pytest.fixture
def empty(bars_file: Path, tmp_path: Path) -> Chain:
    """Return an empty home with settings that reach nothing outside this machine."""
    chain = Chain(tmp_path / "empty", bars_file)
    chain.home.mkdir()
    (chain.home / "settings.toml").write_text(SETTINGS)
    return chain


def start_gateway(market: Path, *flags: object) -> Gateway:
    """Start a Gateway on a free port, standing at the morning."""
    return start_simulator("gateway-sim", "--port", 0, "--market", market, "--at", MORNING_AT, "--speed", 0, *flags)


@pytest.fixture
def gateway(bars_file: Path) -> Iterator[Gateway]:
    """Return a Gateway of this test alone, standing at the morning after the signal day."""
    running = start_gateway(bars_file)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def _read_only_gateway(bars_file: Path) -> Iterator[Gateway]:
    running = start_gateway(bars_file)
    yield running
    running.stop()


@pytest.fixture
def read_gateway(_read_only_gateway: Gateway) -> Gateway:
    """Return a Gateway that the module's tests share because none of them trades at it."""
    return _read_only_gateway.begin()


@pytest.fixture(scope="module")
def _real_gateway(bars_file: Path) -> Iterator[Gateway]:
    running = start_gateway(bars_file, "--account", "U1234567")
    yield running
    running.stop()


@pytest.fixture
def real_gateway(_real_gateway: Gateway) -> Gateway:
    """Return a Gateway behind which is an account that is not for paper."""
    return _real_gateway.begin()
