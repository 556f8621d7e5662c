"""X40: where the journal cannot take SENDING, the order does not leave; the driver with a real journal on a real file."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from bar_fly_trading.clock import FixedClock
from bar_fly_trading.daily_pipeline.driver import Driver
from bar_fly_trading.day import Morning, resume
from bar_fly_trading.day.telling import plan_record
from bar_fly_trading.errors import BftError, FixSettings, FreeDisk, StoreDamaged, WaitForOtherRun
from bar_fly_trading.facts.account import AccountSnapshot, Quote
from bar_fly_trading.journal import Journal
from bar_fly_trading.strategies.signal import Purpose, Side
from bar_fly_trading.trading.limits import Limits
from bar_fly_trading.trading.orders import (
    BrokerSnapshot,
    Execution,
    IntentIdentity,
    Mode,
    OrderUpdate,
    SendOutcome,
    State,
)
from bar_fly_trading.trading.plan import Cap, OrderIntent, Plan, plain

SESSION, EVENING = date(2021, 4, 21), date(2021, 4, 20)
NOW = 1_619_013_900_000_000


def nothing() -> None:
    """Let nothing go wrong."""


@dataclass
class Desk:
    """A broker in memory that counts what was sent; `before_send` is run when the last quote before the send is asked."""

    before_send: Callable[[], None] = nothing
    sent: list[str] = field(default_factory=list)

    async def connect(self) -> str:
        """Name the account."""
        return "DU1"

    async def disconnect(self) -> None:
        """Do nothing."""

    def is_connected(self) -> bool:
        """Stay."""
        return True

    async def time_us(self) -> int:
        """Stand still."""
        return NOW

    async def account(self) -> AccountSnapshot:
        """Hold cash."""
        return account()

    async def quote(self, instrument_id: str, symbol: str) -> Quote:
        """Give a good quote, after making the journal go wrong."""
        self.before_send()
        return quote(instrument_id)

    async def send(self, intent: OrderIntent) -> SendOutcome:
        """Count it."""
        self.sent.append(intent.intent_key)
        return SendOutcome("BROKER_REJECTED", "seen")

    async def cancel(self, intent_key: str) -> None:
        """Do nothing."""

    async def updates(self) -> AsyncIterator[Execution | OrderUpdate]:
        """Say nothing."""
        while True:
            await asyncio.sleep(60)
            yield OrderUpdate("", "", "")

    async def snapshot(self, order_refs: Sequence[str]) -> BrokerSnapshot:
        """Know nothing."""
        return BrokerSnapshot(account(), (), (), 0)


def account() -> AccountSnapshot:
    """An account with cash alone."""
    return AccountSnapshot("DU1", NOW, Decimal(100_000), Decimal(100_000), Decimal(0), ())


def quote(instrument_id: str) -> Quote:
    """A live, fresh quote."""
    return Quote(instrument_id, 7, Decimal("99.99"), Decimal("100.01"), 100, 100, 100_000, 1, False, Decimal("0.01"))


def planned() -> OrderIntent:
    """A paper order that the plan froze."""
    identity = IntentIdentity("DU1", Mode.PAPER, SESSION, "bollinger", "us:ALFA", Side.BUY, Purpose.ENTRY)
    return OrderIntent(
        identity.key(), "DU1", Mode.PAPER, SESSION, "bollinger", "us:ALFA", "ALFA", 7, Side.BUY, Purpose.ENTRY, 1, 1, 3,
        Decimal("100.01"), Decimal(102), Decimal("99.99"), Decimal("100.01"), Decimal(100), (Cap("cash", 3),), "cash",
        "ALFA said so", (("split_factor", "1"), ("tag", "execute")),
    )  # fmt: skip


def open_journal(path: Path, clock: FixedClock) -> Journal:
    """A journal on the day's clock."""
    return Journal.open(path, now_us=clock.now_us, run_id="r", settings_hash="s")


def drive(journal: Journal, clock: FixedClock, desk: Desk) -> None:
    """Freeze a plan of one order and drive the day to its end."""
    record = plan_record(Plan(SESSION, EVENING, "DU1", "e", "s", (planned(),), ()), account())
    journal.append(record.kind, record.payload, at_us=NOW, changes=record.changes)
    morning = Morning(SESSION, EVENING, "e", "s", (), Limits(), modes={"bollinger": Mode.PAPER})
    state = resume(morning, {"plan": plain(record.payload["plan"]), "account": plain(account())}, ())
    driver = Driver(
        venue=desk,
        trader=desk,
        not_read_reason="",
        journal=journal,
        clock=clock,
        tell=lambda tell: None,
        say=lambda action: None,
        quote_age_s_max=5.0,
    )
    asyncio.run(driver.run(state))


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands."""
    return FixedClock(NOW)


@pytest.fixture
def journal(tmp_path: Path, clock: FixedClock) -> Iterator[Journal]:
    """A journal under a lease."""
    with open_journal(tmp_path / "journal.sqlite", clock) as made:
        made.take_lease("DU1", ttl_s=60, monotonic_us=clock.monotonic_us)
        yield made


def pragma(journal: Journal, text: str) -> object:
    """Set something on the journal's own connection."""
    with journal._engine.connect().execution_options(reading=True) as connection:
        found = connection.exec_driver_sql(f"PRAGMA {text}")
        return found.scalar() if found.returns_rows else None


def stands_at(path: Path) -> list[State]:
    """Where the orders stand, by the file."""
    with Journal.read(path) as reader:
        return [row.state for row in reader.intents()]


def test_a_good_journal_lets_the_order_leave(journal: Journal, clock: FixedClock) -> None:
    """Without a fault the same day sends its one order: the tests below fail for their fault alone."""
    desk = Desk()
    drive(journal, clock, desk)
    assert desk.sent == [planned().intent_key]


def test_x40_a_locked_journal_sends_nothing(tmp_path: Path, journal: Journal, clock: FixedClock) -> None:
    """Another connection holds the file when SENDING is to be written: WaitForOtherRun, no send, the order not begun."""
    holder = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    pragma(journal, "busy_timeout = 50")
    desk = Desk(lambda: (holder.execute("BEGIN IMMEDIATE"), None)[1])
    with pytest.raises(WaitForOtherRun):
        drive(journal, clock, desk)
    holder.execute("ROLLBACK")
    holder.close()
    assert desk.sent == []
    assert stands_at(tmp_path / "journal.sqlite") == [State.PLANNED]


def test_x40_a_full_journal_sends_nothing(tmp_path: Path, journal: Journal, clock: FixedClock) -> None:
    """The file may not grow by a page when SENDING is to be written: FreeDisk, no send, the order not begun."""

    def full() -> None:
        pragma(journal, f"max_page_count = {pragma(journal, 'page_count')}")

    desk = Desk(full)
    with pytest.raises(FreeDisk):
        # Small records fit the last page: fill it first.
        journal.append("note", {"filler": "x" * 3500}, at_us=1)
        drive(journal, clock, desk)
    assert desk.sent == []
    assert stands_at(tmp_path / "journal.sqlite") in ([State.PLANNED], [State.APPROVED])


def test_x40_a_journal_that_became_read_only_sends_nothing(tmp_path: Path, journal: Journal, clock: FixedClock) -> None:
    """The connection may not write when SENDING is to be written: FixSettings, no send, the order not begun."""
    desk = Desk(lambda: (pragma(journal, "query_only = 1"), None)[1])
    with pytest.raises(FixSettings, match="cannot be opened for this"):
        drive(journal, clock, desk)
    assert desk.sent == []
    assert stands_at(tmp_path / "journal.sqlite") == [State.PLANNED]


def test_x40_a_journal_damaged_while_the_day_runs_sends_nothing(
    tmp_path: Path, journal: Journal, clock: FixedClock
) -> None:
    """Pages overwritten when SENDING is to be written: an error of ours, no send."""
    path = tmp_path / "journal.sqlite"

    def damage() -> None:
        pragma(journal, "wal_checkpoint(TRUNCATE)")
        journal._engine.dispose()  # forget what is cached, as a run that has just begun
        data = path.read_bytes()
        path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))

    desk = Desk(damage)
    with pytest.raises(StoreDamaged):
        drive(journal, clock, desk)
    assert desk.sent == []


def test_x40_a_damaged_journal_never_begins_the_day(tmp_path: Path, clock: FixedClock) -> None:
    """A flipped byte in a record stops the opening, before any connection to a broker."""
    path = tmp_path / "journal.sqlite"
    with open_journal(path, clock) as journal:
        journal.append("note", {"text": "a quiet day"}, at_us=1)
    path.write_bytes(path.read_bytes().replace(b"a quiet day", b"a quiet dax"))
    with pytest.raises(BftError, match=r"record 1 \(note\) has the hash"):
        open_journal(path, clock)


def test_x32_a_lease_lost_after_sending_was_written_is_no_send(
    tmp_path: Path, journal: Journal, clock: FixedClock
) -> None:
    """A run that stood still between its SENDING and the socket does not send: the order is NOT_SENT and ends."""
    stopped = iter([0])

    class Stops(Journal):
        """A journal whose process stands still right after a SENDING is on the disk."""

        def append(self, kind, payload, *, at_us, changes=()):  # type: ignore[no-untyped-def]
            """Write, then let a minute and more pass by."""
            seq = super().append(kind, payload, at_us=at_us, changes=changes)
            if any(c.after is State.SENDING for c in changes) and next(stopped, None) is not None:
                clock.advance(61)
            return seq

    journal.give_back_lease()
    with Stops.open(tmp_path / "journal.sqlite", now_us=clock.now_us, run_id="r2", settings_hash="s") as slow:
        slow.take_lease("DU1", ttl_s=60, monotonic_us=clock.monotonic_us)
        desk = Desk()
        drive(slow, clock, desk)
        assert desk.sent == []
        (row,) = slow.intents()
        assert row.state is State.EXPIRED
        assert "stood still" in row.payload["detail"]


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_journal_no_send import *
path, clock = Path(sys.argv[1]), FixedClock(NOW)
with open_journal(path, clock) as journal:
    journal.take_lease("DU1", ttl_s=60, monotonic_us=clock.monotonic_us)
    def full():
        size = max(p.stat().st_size for p in path.parent.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    desk = Desk(full)
    try:
        drive(journal, clock, desk)
    except BftError as error:
        print(type(error).__name__, len(desk.sent))
"""


def test_x40_a_disk_that_refuses_sends_nothing(tmp_path: Path) -> None:
    """The operating system refuses to let any file grow when SENDING is to be written: FreeDisk, no send."""
    path = tmp_path / "journal.sqlite"
    argv = [sys.executable, "-c", LIMITED, str(path), str(Path(__file__).parent)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["FreeDisk", "0"], done.stderr
    assert stands_at(path) == [State.PLANNED]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
