"""Replays sessions through the program's own evening, morning and close, on the simulators' clock."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from bar_fly_trading import wiring
from bar_fly_trading.clock import SystemClock
from bar_fly_trading.daily_pipeline import Parts, close, evening, morning, told
from bar_fly_trading.daily_pipeline.reporting import write_report
from bar_fly_trading.daily_pipeline.view import features_at
from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.importers.sectors import import_sectors
from bar_fly_trading.data.pull import Wanted, pull
from bar_fly_trading.demo.servers import Simulators, mail_sink, simulators
from bar_fly_trading.errors import FixSettings, TrainModel
from bar_fly_trading.facts.sessions import MINUTE_US, Calendar
from bar_fly_trading.settings import resolve
from bar_fly_trading.stockformer.inputs import SOURCE_COLUMNS

MARKER = ".bft-demo"
DEMO_LAST = date(2013, 3, 1)
SYNTHETIC_LAST = date(2024, 6, 28)
SYNTHETIC_SEED = 7
SHADOW_SESSIONS, PAPER_SESSIONS = 80, 40
EVENING_AFTER_CLOSE_US, CLOSE_AFTER_CLOSE_US, MORNING_AFTER_OPEN_US = 120 * MINUTE_US, 30 * MINUTE_US, 15 * MINUTE_US


class Screen(Protocol):
    """Where the demo's words go."""

    def line(self, text: str) -> None:
        """Say one line."""
        ...

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far it is."""
        ...


class ReplayClock:
    """Stands where the simulators stand, and runs on with the machine's monotonic time from there."""

    def __init__(self, at_us: int) -> None:
        self._system = SystemClock()
        self.move(at_us)

    def move(self, at_us: int) -> None:
        """Stand at an instant (UTC microseconds)."""
        self._at_us, self._since_us = at_us, self._system.monotonic_us()

    def now_us(self) -> int:
        """Return the replayed wall time."""
        return self._at_us + self._system.monotonic_us() - self._since_us

    def monotonic_us(self) -> int:
        """Return the machine's monotonic time."""
        return self._system.monotonic_us()

    async def sleep(self, seconds: float) -> None:
        """Wait for real."""
        await self._system.sleep(seconds)


class Decisions:
    """Lets a run's decision lines through to the screen and drops its other words."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    def line(self, text: str) -> None:
        """Pass a decision on."""
        if text.startswith("  ") and "WATCH" not in text:
            self.screen.line(text)

    def progress(self, what: str, done: int, total: int) -> None:
        """Drop it."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo left behind. `seconds`: from the first line to the report."""

    home: Path
    report_text: str
    page: Path
    mails: Path
    sessions: int
    orders_sent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Stage:
    """Everything one phase of the replay works with."""

    parts: Parts
    clock: ReplayClock
    servers: Simulators
    screen: Screen
    calendar: Calendar

    def move(self, at_us: int) -> None:
        """Move the program's clock and the simulators' to an instant."""
        self.servers.set_clock(at_us)
        self.clock.move(at_us)


async def run_demo(
    home: Path,
    screen: Screen,
    *,
    synthetic: int | None,
    sessions: int,
    shadow_sessions: int,
    training_s: float,
    environ: Mapping[str, str],
) -> DemoResult:
    """Replay the market's last `sessions` sessions into a fresh home: the first in shadow, the others in paper."""
    began = time.monotonic()
    market = "demo" if synthetic is None else f"synthetic:{synthetic}:{SYNTHETIC_SEED}"
    last = DEMO_LAST if synthetic is None else SYNTHETIC_LAST
    calendar = Calendar()
    days = (*(calendar.previous(last, n) for n in range(sessions - 1, 0, -1)), last)
    _fresh(home)
    first = calendar.previous(days[0])
    start_us = _evening_us(calendar, first)
    screen.line(
        f"market {market}: {len(days)} sessions, {days[0]} to {days[-1]}; {shadow_sessions} in shadow, then paper"
    )
    screen.line("starting a simulated Alpha Vantage, a simulated IB Gateway and a mail server on this machine...")
    with (
        mail_sink(home / "mail") as smtp_port,
        simulators(market, f"{first}T18:00", home / "gateway_state.json") as servers,
    ):
        _write_settings(home, servers, smtp_port)
        clock = ReplayClock(start_us)
        phases = (("shadow", days[:shadow_sessions]), ("paper", days[shadow_sessions:]))
        for mode, some in phases:
            if some:
                await _phase(home, environ, servers, clock, screen, calendar, mode, some, days, training_s)
        resolved = resolve(home, {}, environ)
        with wiring.run(resolved, say=Decisions(screen), command="report", clock=clock) as parts:
            text, page = write_report(parts, title=_title(synthetic), notes=_notes(synthetic))
        sent = int(servers.counters()["gateway"]["received 3 placeOrder"])
    return DemoResult(home, text, page, home / "mail", len(days), sent, time.monotonic() - began)


async def _phase(
    home: Path,
    environ: Mapping[str, str],
    servers: Simulators,
    clock: ReplayClock,
    screen: Screen,
    calendar: Calendar,
    mode: str,
    days: tuple[date, ...],
    all_days: tuple[date, ...],
    training_s: float,
) -> None:
    resolved = resolve(home, {}, environ)
    with wiring.run(resolved, say=Decisions(screen), command="demo", mode=mode, clock=clock) as parts:
        stage = _Stage(parts, clock, servers, screen, calendar)
        before = calendar.previous(days[0])
        stage.move(_evening_us(calendar, before))
        if parts.store.current() is None:
            await _first_pull(stage, before)
        await _evening(stage, before)
        await _train(stage, before, training_s)
        await _evening(stage, before)
        screen.line(f"-- {mode}: {days[0]} to {days[-1]}")
        for day in days:
            session = calendar.session(day)
            stage.move(session.open_us + MORNING_AFTER_OPEN_US)
            await told(parts, "morning", day, "the plan", "bft morning", partial(morning, parts, day))
            stage.move(session.close_us + CLOSE_AFTER_CLOSE_US)
            closed = await told(parts, "close", day, "the journal", "bft close", partial(close, parts, day))
            stage.move(_evening_us(calendar, day))
            await _evening(stage, day)
            done = all_days.index(day) + 1
            made = ", ".join(f"{name} {'?' if t is None else f'{t:+,.2f}'}" for name, t in closed.totals_usd)
            screen.line(f"{day} {mode:<6} {done:>3}/{len(all_days)}  made so far: {made} USD")
            screen.progress(f"{day} {mode}", done, len(all_days))


def _evening_us(calendar: Calendar, day: date) -> int:
    return calendar.session(day).close_us + EVENING_AFTER_CLOSE_US


async def _evening(stage: _Stage, day: date) -> None:
    parts = stage.parts
    await told(parts, "evening", day, "what was pulled", "bft evening", partial(evening, parts, day, pull=True))


async def _first_pull(stage: _Stage, day: date) -> None:
    """Pull the whole history and the companies' sectors, the way `bft pull` and `bft import sectors` do."""
    from bar_fly_trading.settings import universe

    parts = stage.parts
    data = parts.settings.data
    async with AlphaVantage(
        data.alpha_vantage_key.get_secret_value(),
        base_url=data.alpha_vantage_url,
        requests_per_minute=data.requests_per_minute,
    ) as vendor:
        report = await pull(
            parts.store,
            vendor,
            parts.calendar,
            universe(parts.settings, parts.home),
            now_us=stage.clock.now_us,
            session=day,
            wanted=Wanted(overview=True),
            progress=stage.screen.progress,
        )
    stage.screen.line(
        f"pulled {len(report.symbols)} symbols with {report.requests} requests: {report.rows_added:,} daily bars up to {day}"
    )
    for pulled in report.failed:
        stage.screen.line(f"  {pulled.symbol}: {pulled.fault}")
    _sectors(parts)


def _sectors(parts: Parts) -> None:
    """Take each company's sector from its overview."""
    rows = []
    for row in parts.store.read("overview").iter_rows(named=True):
        facts: dict[str, Any] = json.loads(row["snapshot"])
        if facts.get("Sector"):
            rows.append({"symbol": facts["Symbol"], "name": facts.get("Name", ""), "sector": facts["Sector"]})
    if rows:
        path = parts.home.root / "sectors.csv"
        pl.DataFrame(rows).write_csv(path)
        import_sectors(path, parts.store, parts.calendar, recorded_at_us=parts.clock.now_us())


async def _train(stage: _Stage, day: date, training_s: float) -> None:
    """Train within its short budget; without torch the demo goes on with Bollinger alone and says so."""
    parts, screen = stage.parts, stage.screen
    try:
        from bar_fly_trading.stockformer.training import train
    except ImportError as error:
        screen.line(f"no torch ({error}): the demo goes on without predictions, with Bollinger alone")
        return
    screen.line(f"training the stockformer on everything known at {day}, at most {training_s:g} s...")
    try:
        report = train(
            features_at(parts, day).read(columns=SOURCE_COLUMNS),
            as_of=day,
            minutes=training_s / 60,
            seed=1,
            models_root=parts.home.models,
            progress=lambda p: screen.progress(f"training, step {p.step}", round(p.share * 100), 100),
            monotonic=time.monotonic,
            trained_at_us=parts.clock.now_us(),
        )
    except TrainModel as error:
        screen.line(f"training failed: {error}")
        return
    screen.line(
        f"model {report.card.model_id}: {report.seconds:.0f} s, {report.samples_per_s:,.0f} samples/s, ended by {report.card.stopped}"
    )


def _fresh(home: Path) -> None:
    """Empty the demo's own home; a folder that is not one is left alone and refused."""
    if home.exists() and any(home.iterdir()):
        if not (home / MARKER).exists():
            raise FixSettings(
                f"{home} is not empty and no demo home; it is left alone.", way_out="Give another --home."
            )
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    (home / MARKER).write_text("made by bft demo; bft demo empties it before each run\n")


def _write_settings(home: Path, servers: Simulators, smtp_port: int) -> None:
    (home / "symbols.txt").write_text("\n".join(servers.symbols()) + "\n")
    (home / "settings.toml").write_text(
        "schema = 1\n"
        "\n[data]\n"
        'alpha_vantage_key = "demo"\n'
        f'alpha_vantage_url = "http://127.0.0.1:{servers.alpha_vantage_port}/query"\n'
        "requests_per_minute = 100000\n"
        'symbols_file = "symbols.txt"\n'
        "\n[gateway]\n"
        f"port = {servers.gateway_port}\n"
        "fill_wait_s = 2.0\n"
        "\n[mail]\n"
        'server = "127.0.0.1"\n'
        f"port = {smtp_port}\n"
        'security = "none"\n'
        'sender = "bft@example.com"\n'
        'recipients = ["trader@example.com"]\n'
    )


def _title(synthetic: int | None) -> str:
    return "Demo on real prices" if synthetic is None else f"Demo on {synthetic} synthetic symbols"


def _notes(synthetic: int | None) -> tuple[str, ...]:
    where = (
        "Prices: daily bars of AAPL, FB, GOOG, IBM and MSFT from the package bokeh_sampledata, splits and dividends derived"
        " from close against adjusted close."
        if synthetic is None
        else "Prices are synthetic: the result says nothing about any market."
    )
    return (
        where,
        "Quotes, fills and the account are simulated. Five names that survived say nothing about what a strategy earns."
        if synthetic is None
        else "Quotes, fills and the account are simulated.",
    )
