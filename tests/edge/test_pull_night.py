"""A night's pull against the simulated Alpha Vantage: planned, batched, waited for, killed and gone on with."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.vendor_simulator import Simulator, at_us, simulated

from bar_fly_trading.data.alpha_vantage import AlphaVantage, Patience
from bar_fly_trading.data.call_plan import Wants
from bar_fly_trading.data.known import backfill_known_us
from bar_fly_trading.data.pull import PullReport
from bar_fly_trading.data.pull_night import Waiting, night_plan, pull_night
from bar_fly_trading.data.pull_symbol import How
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import TABLES

CALENDAR = Calendar()
NOW = "2026-11-20T18:00"
SESSION = date(2024, 5, 15)
NAMES = ("BOCO", "RUZO", "VOVA")
SERIES = ("cpi", "unemployment")


@pytest.fixture
def three() -> Iterator[Simulator]:
    """Run a simulator of three names on the evening of the session."""
    with simulated("synthetic:3:7", "--at", f"{SESSION}T18:00") as running:
        yield running


def everything(names: Sequence[str]) -> Wants:
    """Return all that can be wanted of some names."""
    return Wants(frozenset(names), earnings=True, overview=True, macro=SERIES)


def night(
    store: Store,
    simulator: Simulator,
    session: date,
    *,
    names: Sequence[str] = NAMES,
    wants: Wants | None = None,
    now: str = NOW,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    **more: Any,
) -> PullReport:
    """Plan and pull a night."""

    async def main() -> PullReport:
        async with AlphaVantage(
            "KEY",
            base_url=f"http://127.0.0.1:{simulator.port}",
            requests_per_minute=60_000,
            patience=Patience(attempts_max=2, backoff_s=0.01),
        ) as vendor:
            wanted = Wants() if wants is None else wants
            plan = night_plan(store, CALENDAR, names, session, wanted, now_us=at_us(now))
            return await pull_night(
                store, vendor, CALENDAR, plan, names, now_us=lambda: at_us(now), sleep=sleep, **more
            )

    return asyncio.run(asyncio.wait_for(main(), 60))


def test_a_night_makes_the_calls_of_its_plan_and_the_next_asks_nothing(three: Simulator, tmp_path: Path) -> None:
    """The server counts what the plan said, function by function; every table has rows; a second pull asks nothing new."""
    store = Store(tmp_path)
    plan = night_plan(store, CALENDAR, NAMES, SESSION, everything(NAMES), now_us=at_us(NOW))
    report = night(store, three, SESSION, wants=everything(NAMES))
    assert (
        three.asked()
        == plan.calls()
        == {
            "TIME_SERIES_DAILY_ADJUSTED": 3,
            "HISTORICAL_OPTIONS": 3,
            "EARNINGS": 3,
            "EARNINGS_CALENDAR": 1,
            "OVERVIEW": 1,
            "CPI": 1,
            "UNEMPLOYMENT": 1,
        }
    )
    assert report.failed == () and report.notes == () and report.requests == plan.total
    for table in ("bars", "option_chains", "earnings", "overview", "macro"):
        assert store.read(table).height, table
    again = night_plan(store, CALENDAR, NAMES, SESSION, everything(NAMES), now_us=at_us(NOW))
    assert set(again.calls()) <= {"EARNINGS_CALENDAR", "CPI", "UNEMPLOYMENT"}
    chain = store.read("option_chains")
    assert chain["known_at"].unique().to_list() == [backfill_known_us(CALENDAR, SESSION)]
    summary = store.read("options_summary")
    traded = chain.group_by("instrument_id", "session").agg(pl.col("volume").sum()).sort("instrument_id")
    assert summary["total_volume"].to_list() == traded["volume"].to_list()
    assert (summary["call_volume"] + summary["put_volume"]).equals(summary["total_volume"], check_names=False)
    assert summary.select("known_at", "recorded_at").unique().equals(chain.select("known_at", "recorded_at").unique())
    assert store.read("option_chains", since=date(2024, 5, 16)).height == 0


def test_what_the_vendor_has_none_of_is_no_fault_and_what_the_key_may_not_read_is_asked_once(tmp_path: Path) -> None:
    """A fund without earnings is no failure; on a refused endpoint the second name is not asked, and a note says it."""
    with simulated("synthetic:3:7", "--at", f"{SESSION}T18:00") as running:
        running.post("/faults", {"kind": "unknown_symbol", "function": "EARNINGS"})
        running.post("/faults", {"kind": "premium", "function": "HISTORICAL_OPTIONS"})
        report = night(Store(tmp_path), running, SESSION, wants=everything(NAMES))
        assert report.failed == ()
        assert running.asked()["HISTORICAL_OPTIONS"] == 1
        assert len(report.notes) == 1 and "HISTORICAL_OPTIONS" in report.notes[0]


def test_d18_a_session_not_served_yet_is_asked_again_until_the_deadline(three: Simulator, tmp_path: Path) -> None:
    """Served after two waits: two waits, then the bars. Never served: asked until the deadline, then what is missing."""
    three.at(f"{date(2024, 5, 14)}T18:00")
    store = Store(tmp_path / "one")
    waits: list[float] = []

    async def later(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            three.at(f"{SESSION}T18:00")

    waiting = Waiting(at_us(f"{SESSION}T21:00"), 300.0)
    report = night(store, three, SESSION, now=f"{SESSION}T18:00", sleep=later, waiting=waiting)
    assert waits == [300.0, 300.0] and report.stale == ()
    assert store.read("bars")["session"].max() == SESSION
    three.at(f"{date(2024, 5, 14)}T18:00")
    waits.clear()

    async def never(seconds: float) -> None:
        waits.append(seconds)

    report = night(Store(tmp_path / "two"), three, SESSION, now=f"{SESSION}T20:30", sleep=never, waiting=waiting)
    assert waits == [300.0] * 6
    assert [pulled.symbol for pulled in report.stale] == list(NAMES) and report.failed == ()
    waits.clear()
    night(Store(tmp_path / "three"), three, SESSION, now=f"{SESSION}T21:01", sleep=never, waiting=waiting)
    assert waits == []


def test_d29_one_name_served_from_yesterday_is_said_and_holds_nobody(three: Simulator, tmp_path: Path) -> None:
    """One of five names with an older newest bar: no wait, the name is stale, the others have the session."""
    with simulated("synthetic:5:7", "--at", f"{SESSION}T18:00") as running:
        with urllib.request.urlopen(f"http://127.0.0.1:{running.control}/symbols") as answer:
            names = json.loads(answer.read())["symbols"]
        running.post("/faults", {"kind": "stale", "symbol": names[0]})

        async def sleep(_seconds: float) -> None:
            raise AssertionError("waited")

        waiting = Waiting(at_us(f"{SESSION}T21:00"), 300.0)
        report = night(
            Store(tmp_path), running, SESSION, names=names, now=f"{SESSION}T18:00", sleep=sleep, waiting=waiting
        )
        assert [pulled.symbol for pulled in report.stale] == [names[0]]


def test_after_missed_days_all_of_them_are_fetched(three: Simulator, tmp_path: Path) -> None:
    """Seven sessions missed are there after one call a name, each once."""
    store, before = Store(tmp_path), date(2024, 5, 6)
    night(store, three, before)
    asked = three.asked()["TIME_SERIES_DAILY_ADJUSTED"]
    report = night(store, three, SESSION)
    assert {pulled.how for pulled in report.symbols} <= {How.COMPACT, How.REUSED}
    assert three.asked()["TIME_SERIES_DAILY_ADJUSTED"] - asked <= len(NAMES)
    for name in NAMES:
        have = store.read("bars").filter(pl.col("instrument_id") == f"us:{name}")["session"]
        assert have.to_list()[-8:] == list(CALENDAR.sessions(before, SESSION))[-8:]


def test_d30_a_key_revoked_on_the_way_keeps_what_came_and_asks_no_more(tmp_path: Path) -> None:
    """The batch before is stored; the names after are said not to have been asked; no retry storm."""
    with simulated("synthetic:12:3", "--at", f"{SESSION}T18:00") as running:
        with urllib.request.urlopen(f"http://127.0.0.1:{running.control}/symbols") as answer:
            names = json.loads(answer.read())["symbols"]
        running.post("/faults", {"kind": "invalid_key", "symbol": names[4]})
        store = Store(tmp_path)
        report = night(store, running, SESSION, names=names, batch_symbols=4)
        assert report.stopped is not None and "the key is not valid" in report.stopped
        assert store.read("bars")["instrument_id"].n_unique() >= 4
        by = {pulled.symbol: pulled for pulled in report.symbols}
        assert len(by) == 12 and by[names[11]].how is How.NOT_ASKED
        assert sum(running.asked().values()) <= 12


PULLING = """
import asyncio, sys
from datetime import date
from pathlib import Path
from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.call_plan import Wants
from bar_fly_trading.data.pull_night import night_plan, pull_night
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar

async def main():
    root, port, now_us, *names = sys.argv[1:]
    store, calendar, day = Store(Path(root)), Calendar(), date(2024, 5, 15)
    wants = Wants(frozenset(names), earnings=True, overview=True, macro=("cpi", "unemployment"))
    async with AlphaVantage("KEY", base_url=f"http://127.0.0.1:{port}", requests_per_minute=3000) as vendor:
        plan = night_plan(store, calendar, names, day, wants, now_us=int(now_us))
        print("pulling", flush=True)
        await pull_night(store, vendor, calendar, plan, names, now_us=lambda: int(now_us), batch_symbols=3)

asyncio.run(main())
"""


def test_d24_a_pull_killed_anywhere_goes_on_and_ends_with_the_same_view(tmp_path: Path) -> None:
    """SIGKILL at random moments, again and again, then one run to the end: every table equals an uninterrupted pull's."""
    rng = random.Random(11)
    with simulated("synthetic:12:3", "--at", f"{SESSION}T18:00") as running:
        with urllib.request.urlopen(f"http://127.0.0.1:{running.control}/symbols") as answer:
            names = json.loads(answer.read())["symbols"]

        def start(root: Path) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", PULLING, str(root), str(running.port), str(at_us(NOW)), *names]
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        with start(tmp_path / "whole") as process:
            assert process.wait(60) == 0
        killed = 0
        for _ in range(40 if os.environ.get("BFT_PROVE") else 3):
            with start(tmp_path / "killed") as process:
                assert process.stdout is not None and process.stdout.readline()
                time.sleep(rng.uniform(0.05, 0.6))
                process.send_signal(signal.SIGKILL)
                killed += process.wait(10) == -signal.SIGKILL
        assert killed
        with start(tmp_path / "killed") as process:
            assert process.wait(60) == 0
    whole, resumed = Store(tmp_path / "whole"), Store(tmp_path / "killed")
    assert len(resumed.versions()) >= 1
    for table in TABLES:
        assert resumed.read(table).equals(whole.read(table)), table
    assert whole.read("option_chains").height and whole.read("macro").height


@pytest.mark.parametrize("seed", range(12) if os.environ.get("BFT_PROVE") else [2])
def test_incremental_pulls_equal_one_full_pull_after_every_event(tmp_path: Path, seed: int) -> None:
    """Pulls every third session over five months of dividends and splits against one pull at the end: the same rows.

    At the end every value of bars, splits and dividends is equal; at every past evening both views know the same
    sessions, with the same day-to-day adjusted returns.
    """
    first, last = date(2022, 1, 3), date(2022, 5, 31)
    with simulated(f"synthetic:6:{seed}", "--at", f"{last}T18:00") as running:
        with urllib.request.urlopen(f"http://127.0.0.1:{running.control}/symbols") as answer:
            names = json.loads(answer.read())["symbols"]
        step, full = Store(tmp_path / "step"), Store(tmp_path / "full")
        for day in [*CALENDAR.sessions(first, last)[::3], last]:
            running.at(f"{day}T18:00")
            night(step, running, day, names=names)
        night(full, running, last, names=names)
    stepped = step.read("bars")
    events = stepped.filter(
        (pl.col("session") > first) & ((pl.col("dividend_amount") > 0) | (pl.col("split_coefficient") != 1))
    )
    assert events.height >= 3
    for table in ("bars", "splits", "dividends"):
        ours, theirs = (store.read(table).select(list(TABLES[table].columns)) for store in (step, full))
        assert ours.height == theirs.height
        for column in ours.columns:
            if ours[column].dtype == pl.Float64:
                assert ((ours[column] - theirs[column]).abs() <= 1e-6 * theirs[column].abs() + 1e-9).all(), column
            else:
                assert ours[column].equals(theirs[column]), (table, column)
    for evening in CALENDAR.sessions(first, last)[::7]:
        views = [_returns(store.read("bars", known_by_us=at_us(f"{evening}T22:00"))) for store in (step, full)]
        assert views[0].select("instrument_id", "session").equals(views[1].select("instrument_id", "session"))
        assert ((views[0]["change"] - views[1]["change"]).abs() <= 1e-6).all()


def _returns(bars: pl.DataFrame) -> pl.DataFrame:
    change = (pl.col("adjusted_close") / pl.col("adjusted_close").shift(1)).over("instrument_id") - 1
    return bars.select("instrument_id", "session", change.fill_null(0.0).alias("change"))


def test_the_plan_is_printed_before_any_call(three: Simulator, tmp_path: Path) -> None:
    """`bft pull --plan` prints calls by function and the minutes of the key's rate, and the server is asked nothing."""
    home = {"BFT_HOME": str(tmp_path), "BFT_DATA__ALPHA_VANTAGE_URL": f"http://127.0.0.1:{three.port}/query"}
    also = ["--set", 'data.also=["options", "earnings"]', "--set", "data.requests_per_minute=60"]
    command = [str(Path(sys.executable).with_name("bft")), "pull", "--plan", *NAMES, "--as-of", f"{SESSION}", *also]
    done = subprocess.run(command, env={**os.environ, **home}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines() if line[:1] == " "] == [
        ["3", "TIME_SERIES_DAILY_ADJUSTED"],
        ["3", "HISTORICAL_OPTIONS"],
        ["3", "EARNINGS"],
        ["1", "EARNINGS_CALENDAR"],
        ["2", "LISTING_STATUS"],
        ["12", "calls,", "4.00", "a", "name;", "0.2", "minutes", "at", "60", "requests", "a", "minute"],
    ]
    assert three.asked() == {}
    done = subprocess.run([*command, "--json"], env={**os.environ, **home}, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["total"] == 12
