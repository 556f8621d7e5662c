"""The lease: one process may send for an account, and one that stood still or was overtaken is fenced before the send."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from bar_fly_trading.errors import Refused, WaitForOtherRun
from bar_fly_trading.journal import IntentChange, Journal
from bar_fly_trading.trading.orders import State

INTENT = {"session": "2021-04-21", "mode": "paper", "strategy": "bollinger"}
TO_SENDING = (State.PLANNED, State.CHECKED, State.AWAITING, State.APPROVED, State.SENDING)


class Clocks:
    """The journal's time and a machine's own, in microseconds, moved by hand."""

    def __init__(self) -> None:
        self.wall = self.monotonic = 0

    def pass_by(self, seconds: float) -> None:
        """Move both."""
        self.wall += round(seconds * 1e6)
        self.monotonic += round(seconds * 1e6)


@pytest.fixture
def clocks() -> Clocks:
    """Clocks at zero."""
    return Clocks()


def opened(path: Path, clocks: Clocks, run: str) -> Journal:
    """A journal of one run."""
    return Journal.open(path / "journal.sqlite", now_us=lambda: clocks.wall, run_id=run, settings_hash="s")


def take(journal: Journal, clocks: Clocks, *, ttl_s: float = 10, alone: bool = False) -> int:
    """Take the lease of DU1 and return its token."""
    return journal.take_lease("DU1", ttl_s=ttl_s, monotonic_us=lambda: clocks.monotonic, alone_on_host=alone).token


def plan(journal: Journal, key: str = "K1") -> None:
    """Write down an approved order."""
    steps = [IntentChange(key, a, b) for a, b in pairwise(TO_SENDING[:-1])]
    journal.append("plan", {}, at_us=1, changes=[IntentChange(key, None, State.PLANNED, INTENT), *steps])


def send(journal: Journal, key: str = "K1") -> None:
    """Write down that an order is being sent."""
    journal.append("intent", {}, at_us=1, changes=[IntentChange(key, State.APPROVED, State.SENDING)])


def states(journal: Journal) -> list[State]:
    """Where the orders stand."""
    return [row.state for row in journal.intents()]


def test_nothing_is_sent_without_a_lease(tmp_path: Path, clocks: Clocks) -> None:
    """SENDING is refused where no lease was taken, and nothing is written."""
    with opened(tmp_path, clocks, "a") as a:
        plan(a)
        with pytest.raises(Refused, match="no lease"):
            send(a)
        assert states(a) == [State.APPROVED]
        assert len(a.records()) == 1
        assert a.lease_lost()


def test_x31_a_second_run_waits_and_every_token_is_higher(tmp_path: Path, clocks: Clocks) -> None:
    """While one run holds the lease another is refused by name, and may neither send nor move an order; then its token is higher."""
    with opened(tmp_path, clocks, "a") as a, opened(tmp_path, clocks, "b") as b:
        assert take(a, clocks) == 1
        plan(a)
        with pytest.raises(WaitForOtherRun, match=r"held by a, process \d+ on .* \(token 1\) for another 10 s"):
            take(b, clocks)
        with pytest.raises(Refused, match="held by a"):
            b.append("intent", {}, at_us=1, changes=[IntentChange("K1", State.APPROVED, State.EXPIRED)])
        a.give_back_lease()
        assert take(b, clocks) == 2
        send(b)
        b.give_back_lease()
        assert take(a, clocks) == 3
        assert [(r.kind, r.token) for r in a.records()] == [
            ("lease", 1),
            ("plan", 1),
            ("lease", 2),
            ("intent", 2),
            ("lease", 3),
        ]


def test_a_run_that_ended_on_this_machine_is_taken_over_at_once(tmp_path: Path, clocks: Clocks) -> None:
    """Under the run's lock a lease of this machine is of a process that ended; without it, it is waited for."""
    a = opened(tmp_path, clocks, "a")
    take(a, clocks)
    with opened(tmp_path, clocks, "b") as b:
        with pytest.raises(WaitForOtherRun):
            take(b, clocks)
        assert take(b, clocks, alone=True) == 2
    a.close()


@pytest.mark.parametrize("which", ["wall", "monotonic"])
def test_x32_a_lease_that_ran_out_by_either_clock_sends_nothing(tmp_path: Path, clocks: Clocks, which: str) -> None:
    """A lease that ran out, by the journal's time or the machine's own, is lost though nobody took over; its end may be written."""
    with opened(tmp_path, clocks, "a") as a:
        take(a, clocks)
        plan(a)
        setattr(clocks, which, 10_000_000)
        with pytest.raises(Refused, match="stood still for longer than 10 s"):
            send(a)
        with pytest.raises(Refused, match="ran out"):
            a.renew_lease()
        assert "ran out" in a.lease_lost()
        assert states(a) == [State.APPROVED]
        a.append("intent", {}, at_us=1, changes=[IntentChange("K1", State.APPROVED, State.EXPIRED)])


def test_a_renewed_lease_lasts(tmp_path: Path, clocks: Clocks) -> None:
    """A lease renewed before its end stands for its whole length again."""
    with opened(tmp_path, clocks, "a") as a:
        take(a, clocks)
        plan(a)
        for _ in range(5):
            clocks.pass_by(9)
            a.renew_lease()
        clocks.pass_by(9)
        assert a.lease_lost() == ""
        send(a)


def test_x32_a_run_that_was_overtaken_writes_nothing_at_all(tmp_path: Path, clocks: Clocks) -> None:
    """Once another run took over, the first can neither send nor move an order nor add a record, and its end gives nothing back."""
    with opened(tmp_path, clocks, "b") as b:
        with opened(tmp_path, clocks, "a") as a:
            take(a, clocks)
            plan(a)
            clocks.pass_by(11)
            assert take(b, clocks) == 2
            clocks.wall = 0
            with pytest.raises(Refused, match=r"passed to b, .* \(token 2\)"):
                send(a)
            with pytest.raises(Refused, match="passed to b"):
                a.append("finish", {}, at_us=1)
            assert "passed to b" in a.lease_lost()
        clocks.wall = 11_000_000
        assert b.lease_lost() == ""
        send(b)
        assert states(b) == [State.SENDING]


HOLDER = """
import sys, time
from pathlib import Path
from bar_fly_trading.errors import Refused
from bar_fly_trading.journal import IntentChange, Journal
from bar_fly_trading.trading.orders import State as S
journal = Journal.open(Path(sys.argv[1]), now_us=lambda: time.time_ns() // 1000, run_id=sys.argv[2], settings_hash="s")
lease = journal.take_lease("DU1", ttl_s=float(sys.argv[3]), monotonic_us=lambda: time.monotonic_ns() // 1000)
print(lease.token, flush=True)
sent = 0
for line in sys.stdin:
    n = int(line)
    key = f"{sys.argv[2]}-{n}"
    steps = (S.PLANNED, S.CHECKED, S.AWAITING, S.APPROVED)
    payload = {"session": "2021-04-21", "mode": "paper", "strategy": "s"}
    try:
        journal.renew_lease()
        journal.append("plan", {}, at_us=1, changes=[
            IntentChange(key, None, S.PLANNED, payload), *(IntentChange(key, a, b) for a, b in zip(steps, steps[1:]))])
        print("approved", flush=True)
        sys.stdin.readline()  # stopped here, between the approval and the send
        journal.append("intent", {}, at_us=1, changes=[IntentChange(key, S.APPROVED, S.SENDING)])
        print("sent", flush=True)
    except Refused as error:
        print("fenced:", error, flush=True)
"""


def holder(path: Path, name: str, ttl_s: float) -> subprocess.Popen[str]:
    """Start a process that takes the lease and says its token."""
    argv = [sys.executable, "-c", HOLDER, str(path / "journal.sqlite"), name, str(ttl_s)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str], line: str) -> str:
    """Write a line to a process and return its next one."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.mark.parametrize("overtaken", [False, True])
def test_x32_a_stopped_process_that_wakes_is_fenced_before_the_send(tmp_path: Path, overtaken: bool) -> None:
    """SIGSTOP between approval and send for longer than the lease: woken, it sends nothing, whether or not another took over."""
    a = holder(tmp_path, "a", 3.0)
    assert a.stdout is not None
    assert a.stdout.readline().strip() == "1"
    assert told(a, "1") == "approved"
    assert told(a, "go") == "sent"
    assert told(a, "2") == "approved"
    os.kill(a.pid, signal.SIGSTOP)
    time.sleep(3.2)
    b = holder(tmp_path, "b", 30.0) if overtaken else None
    if b is not None:
        assert b.stdout is not None
        assert b.stdout.readline().strip() == "2"
    os.kill(a.pid, signal.SIGCONT)
    assert told(a, "go").startswith("fenced:")
    a.communicate(timeout=30)
    if b is not None:
        assert told(b, "1") == "approved"
        assert told(b, "go") == "sent"
        b.communicate(timeout=30)
    with Journal.read(tmp_path / "journal.sqlite") as journal:
        found = {row.intent_key: row.state for row in journal.intents()}
    assert found == {"a-1": State.SENDING, "a-2": State.APPROVED} | ({"b-1": State.SENDING} if overtaken else {})
