"""Rows D21 and D26 of the failure catalogue: time zones of the machine, and two runs that start at the same moment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from bar_fly_trading.data.store import Store

ROUNDS = 200 if os.environ.get("BFT_PROVE") else 20

# What a day's run asks of the calendar, over both clock changes of a year, a leap day, and a year's ends.
ASKED = """
from datetime import date, timedelta
from bar_fly_trading.facts.sessions import Calendar, evening_us, new_york_date, new_york_datetime
calendar = Calendar()
for middle in ("2021-03-14", "2021-11-07", "2024-02-29", "2023-12-31", "2024-03-10", "2024-11-03"):
    for ahead in range(-4, 5):
        day = date.fromisoformat(middle) + timedelta(days=ahead)
        print(day, evening_us(day), new_york_date(evening_us(day)), calendar.newest_closed(evening_us(day)))
        if calendar.is_session(day):
            session = calendar.session(day)
            print(session, new_york_datetime(session.open_us), new_york_datetime(session.close_us - 1))
"""


def test_d21_no_time_zone_of_the_machine_moves_a_session() -> None:
    """On clock changes, a leap day and New Year every instant and date is the same under three zones, and New York's own."""
    said = [
        subprocess.run(
            [sys.executable, "-c", ASKED], env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True
        ).stdout
        for zone in ("UTC", "Asia/Tokyo", "America/New_York")
    ]
    assert said[0] == said[1] == said[2]
    lines = said[0].splitlines()
    assert len(lines) > 80
    opened = [line for line in lines if line.startswith("Session")]
    assert all(" 09:30:00-0" in line and " 15:59:59.999999-0" in line for line in opened)
    assert {line[-6:] for line in opened} == {"-04:00", "-05:00"}


# Waits for a word, tries to run, says what became of it, and holds what it got until the next word.
RUNNING = """
import sys
from pathlib import Path
import polars as pl
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import WaitForOtherRun
from bar_fly_trading.files import RunLock
home, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
for line in sys.stdin:
    number = int(line)
    try:
        with RunLock(home / "lock", command=f"bft {name}"):
            row = {"instrument_id": [f"us:{number}"], "sector": [name], "name": [name], "known_at": [1]}
            Store(home / "store").publish({"sectors": pl.DataFrame(row)}, source=name, recorded_at_us=number + 1)
            print("ran", flush=True)
            sys.stdin.readline()
    except WaitForOtherRun as error:
        print(f"waits: {error}", flush=True)
        sys.stdin.readline()
    print("done", flush=True)
"""


@contextmanager
def runner(home: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that runs when told."""
    with subprocess.Popen(
        [sys.executable, "-c", RUNNING, str(home), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert _hear(process) == "ready"
        try:
            yield process
        finally:
            process.kill()


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _tell(process: subprocess.Popen[str], word: object) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def test_d26_of_two_runs_started_together_exactly_one_works(tmp_path: Path) -> None:
    """Twenty rounds (200 in the long proof): one runs, the other names it and changes nothing; the store has one row a round."""
    winners: list[str] = []
    with runner(tmp_path, "evening") as one, runner(tmp_path, "close") as other:
        pair = {"evening": one, "close": other}
        for number in range(ROUNDS):
            order = list(pair.values()) if number % 2 else list(pair.values())[::-1]
            for process in order:
                _tell(process, number)
            heard = {name: _hear(process) for name, process in pair.items()}
            (winner,) = [name for name, words in heard.items() if words == "ran"]
            (loser,) = pair.keys() - {winner}
            assert f"process {pair[winner].pid} (bft {winner}) holds" in heard[loser] or (
                "a process that has just started" in heard[loser]
            )
            for process in order:
                _tell(process, "on")
            assert [_hear(process) for process in order] == ["done", "done"]
            winners.append(winner)
    rows = Store(tmp_path / "store").read("sectors").sort(pl.col("recorded_at"))
    assert rows["name"].to_list() == winners
    assert rows["recorded_at"].to_list() == list(range(1, ROUNDS + 1))
    if ROUNDS > 100:
        assert set(winners) == {"evening", "close"}


@pytest.mark.parametrize("killed", [False, True])
def test_d26_the_lock_goes_with_its_holder(tmp_path: Path, killed: bool) -> None:
    """After the holder has ended, or was killed with SIGKILL, the next run works at once; there is no file to delete."""
    with runner(tmp_path, "evening") as one, runner(tmp_path, "close") as other:
        _tell(one, 0)
        assert _hear(one) == "ran"
        _tell(other, 1)
        assert _hear(other).startswith("waits: ")
        if killed:
            one.kill()
            one.wait(10)
        else:
            _tell(one, "on")
            assert _hear(one) == "done"
        _tell(other, "on")
        assert _hear(other) == "done"
        _tell(other, 2)
        assert _hear(other) == "ran"
    assert Store(tmp_path / "store").read("sectors")["name"].to_list() == ["evening", "close"]
