"""Parked orders, the right to send, restored journals and the mails of orders, over real processes and sockets."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from tests.simulated.conftest import BFT, NEXT_DAY, TRADED, Chain, Gateway, free_port, one_message

from bar_fly_trading.daily_pipeline.explaining import gather
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.journal import IntentChange, Journal
from bar_fly_trading.report.why import to_words
from bar_fly_trading.settings import Home
from bar_fly_trading.trading.orders import State


class _Taker:
    """Takes every mail."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        """Keep the subject."""
        self.subjects.append(str(message_from_bytes(envelope.content, policy=default)["Subject"]))
        return "250 taken"


@contextmanager
def mail_server(chain: Chain) -> Iterator[_Taker]:
    """Run a mail server and set it in the home."""
    taker = _Taker()
    controller = Controller(taker, hostname="127.0.0.1", port=free_port())
    controller.start()
    with (chain.home / "settings.toml").open("a") as file:
        file.write(
            f'\n[mail]\nserver = "127.0.0.1"\nport = {controller.port}\nsecurity = "none"\nsender = "bft@example.com"\n'
            'recipients = ["one@example.com"]\ntimeout_s = 5.0\n'
        )
    try:
        yield taker
    finally:
        controller.stop()


def intents(chain: Chain) -> dict[str, str]:
    """Return every intent's key and state."""
    with closing(sqlite3.connect(chain.home / "journal.sqlite")) as db:
        return dict(db.execute("SELECT intent_key, state FROM intents ORDER BY 1").fetchall())


def resolve(
    chain: Chain, gateway: Gateway, key: str, outcome: str, typed: str, *more: str
) -> subprocess.CompletedProcess[str]:
    """Run `bft resolve` and type words at it."""
    argv = [str(BFT), "resolve", key, "--as", outcome, "--why", "looked in the trade log", "--who", "anna"]
    argv += ["--gateway", gateway.where, *more]
    env, cwd = chain.environ(), chain.home.parent
    return subprocess.run(argv, env=env, cwd=cwd, input=typed, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def parked(ranked: Chain, gateway: Gateway) -> tuple[Chain, str]:
    """Return a home with one parked order: the Gateway read it and did nothing; and that order's key."""
    gateway.fault("ignore", message="3")
    one_message(ranked.morning(gateway, "--set", "limits.new_entries_a_day_max=1", mode="paper"), 10)
    gateway.heal()
    gateway.at(f"{NEXT_DAY}T10:00")
    one_message(ranked.bft("reconcile", "--as-of", NEXT_DAY, "--mode", "paper", "--gateway", gateway.where), 10)
    (key,) = [key for key, state in intents(ranked).items() if state == "PARKED"]
    return ranked, key


def test_a_parked_order_is_shown_and_settled_once_by_a_person(parked: tuple[Chain, str], gateway: Gateway) -> None:
    """bft parked shows the evidence; bft resolve takes two typed answers, writes who and why, mails it, and only once."""
    chain, key = parked
    evidence = chain.ok("parked")
    for words in (key, f"B1-{key}", "PARKED", "SENDING: BUY", "no word within 4 s", "look up in TWS", "Trade Log"):
        assert words in evidence
    for typed in ("yes\n", f"{key}\nfilled\n"):
        assert "nothing was changed" in one_message(resolve(chain, gateway, key, "never-arrived", typed), 11)
        assert intents(chain)[key] == "PARKED"
    done = resolve(chain, gateway, f"b1-{key.lower()}", "never-arrived", f"{key}\nnever-arrived\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert intents(chain)[key] == "ADOPTED"
    (record,) = chain.records("resolve")
    assert record["resolution"]["who"] == "anna"
    assert record["resolution"]["why"] == "looked in the trade log"
    assert "not PARKED" in one_message(resolve(chain, gateway, key, "never-arrived", f"{key}\nnever-arrived\n"), 11)
    assert "nothing is parked" in chain.ok("parked")
    symbol = next(i["symbol"] for i in chain.records("plan")[0]["plan"]["intents"] if i["intent_key"] == key)
    assert "settled as never-arrived by anna: looked in the trade log" in chain.ok("why", symbol, NEXT_DAY)
    kinds = Counter(name.split("_")[1] for name in chain.mails())
    assert kinds["order"] == 4  # sent, of unknown fate, parked, settled
    assert gateway.orders == 1


def test_a_parked_order_settled_as_filled_is_in_the_book(parked: tuple[Chain, str], gateway: Gateway) -> None:
    """A fill that a person found is one fill of the book with its numbers; one of too many shares is refused."""
    chain, key = parked
    numbers = ("--price", "94.02", "--commission", "1.00", "--exec-id", "0000e0d5.1")
    typed = f"{key}\nfilled\n"
    one_message(resolve(chain, gateway, key, "filled", typed, "--quantity", "9999", *numbers), 3)
    one_message(resolve(chain, gateway, key, "filled", typed), 3)
    done = resolve(chain, gateway, key, "filled", typed, "--quantity", "5", *numbers)
    assert done.returncode == 0, done.stdout + done.stderr
    (fill,) = chain.records("fill")
    assert fill["execution"]["quantity"] == 5
    assert fill["execution"]["price_usd"] == "94.02"
    assert fill["resolution"]["outcome"] == "filled"
    assert intents(chain)[key] == "ADOPTED"


def test_an_order_the_broker_shows_is_not_a_persons_to_settle(ranked: Chain, gateway: Gateway) -> None:
    """While the broker shows a parked order working, or cannot be asked, bft resolve refuses; what is unknown is reconciled."""
    gateway.fault("hold_fills")
    gateway.fault("mute", message="3")
    gateway.fault("mute", message="5")
    ranked.morning(gateway, "--set", "limits.new_entries_a_day_max=1", mode="paper")
    (key,) = [key for key, state in intents(ranked).items() if state == "UNKNOWN"]
    typed = f"{key}\nnever-arrived\n"
    assert "bft reconcile" in one_message(resolve(ranked, gateway, key, "never-arrived", typed), 11)
    with closing(sqlite3.connect(ranked.home / "journal.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM records WHERE kind = 'resolve'").fetchone() == (0,)
    # Parked by hand, as a run that saw nothing would have: through the journal's own door.
    park(ranked, key)
    gateway.heal()
    said = one_message(resolve(ranked, gateway, key, "never-arrived", typed), 11)
    assert "the broker shows the order" in said
    gateway.fault("refuse_connections")
    gateway.fault("drop_connections", times=1)
    one_message(resolve(ranked, gateway, key, "never-arrived", typed), 5)
    assert intents(ranked)[key] == "PARKED"


def park(chain: Chain, key: str) -> None:
    """Move an unknown order to PARKED."""
    path = chain.home / "journal.sqlite"
    with Journal.open(path, now_us=lambda: 1 << 60, run_id="test", settings_hash="s") as journal:
        (row,) = (r for r in journal.intents() if r.intent_key == key)
        change = IntentChange(key, State.UNKNOWN, State.PARKED, row.payload)
        journal.append("intent", {"session": f"{NEXT_DAY}", "intent_key": key}, at_us=1, changes=[change])


def test_x32_a_morning_that_was_stopped_sends_nothing_more(ranked: Chain, gateway: Gateway) -> None:
    """A morning stopped with SIGSTOP for longer than its lease, while an order works, sends no other order once it wakes."""
    gateway.fault("hold_fills")
    process = ranked.start(
        "morning", "--as-of", NEXT_DAY, "--mode", "paper", "--gateway", gateway.where, "--set", "gateway.lease_s=3"
    )
    gateway.until("sent 3 orderStatus")
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(3.5)
    gateway.heal()
    os.kill(process.pid, signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 11, out + err
    assert "stood still for longer than 3 s" in err
    assert gateway.orders == 1
    again = ranked.morning(gateway, mode="paper")
    assert again.returncode in {0, 10}, again.stderr
    assert gateway.orders <= len(TRADED)


def test_x31_two_runs_of_one_day_make_one_set_of_orders(ranked: Chain, gateway: Gateway) -> None:
    """Two mornings started together: one trades, the other is refused or resumes; every order is sent once."""
    words = ("morning", "--as-of", NEXT_DAY, "--mode", "paper", "--gateway", gateway.where)
    runs = [ranked.start(*words), ranked.start(*words)]
    ends = sorted((r.communicate(timeout=120), r.returncode)[1] for r in runs)
    assert ends in ([0, 0], [0, 8])
    assert gateway.orders == len(TRADED)


def test_x41_a_home_restored_from_before_the_orders_sends_none_of_them_again(ranked: Chain, gateway: Gateway) -> None:
    """The whole home as it was before the morning: the broker knows orders that it does not, so it halts, mails, sends nothing."""
    before = ranked.home.parent / "before"
    shutil.copytree(ranked.home, before)
    assert ranked.morning(gateway, mode="paper").returncode == 0
    assert gateway.orders == len(TRADED)
    older = Chain(before, ranked.bars)
    said = one_message(older.morning(gateway, mode="paper"), 11)
    assert "with our reference B1-" in said
    assert "bft reconcile" in said
    assert gateway.orders == len(TRADED)
    assert [h["rule"] for h in older.records("halt")] == ["BROKER_KNOWS_MORE"]
    assert len([m for m in older.mails() if "_halt_" in m]) == 1
    # Once more: still in doubt, still nothing.
    one_message(older.morning(gateway, mode="paper"), 11)
    one_message(older.bft("reconcile", "--as-of", NEXT_DAY, "--mode", "paper", "--gateway", gateway.where), 10)
    one_message(older.morning(gateway, mode="paper"), 11)
    assert gateway.orders == len(TRADED)
    assert older.records("plan") == []


def test_x41_a_backup_restored_reconciles_before_it_trades(ranked: Chain, gateway: Gateway, tmp_path: Path) -> None:
    """A home from bft restore trades in paper only after a clean bft reconcile; its journal's copy by hand is refused at once."""
    dest = tmp_path / "kept"
    ranked.ok("backup", dest)
    again = Chain(tmp_path / "again", ranked.bars)
    assert "reconcile" in again.ok("restore", dest, "--home", again.home)
    assert "in doubt" in one_message(again.morning(gateway, mode="paper"), 11)
    assert gateway.orders == 0
    again.ok("reconcile", "--as-of", NEXT_DAY, "--mode", "paper", "--gateway", gateway.where)
    assert again.morning(gateway, mode="paper").returncode == 0
    assert gateway.orders == len(TRADED)
    shutil.copy(ranked.home / "journal.sqlite", again.home / "journal.sqlite")
    said = one_message(again.bft("close", "--as-of", NEXT_DAY), 13)
    assert "an older copy was put in its place" in said
    assert "not adopted" not in said
    one_message(again.bft("journal", "adopt", "--why", "the disk died"), 11)


def test_the_journals_head_is_mailed_and_checked_later(ranked: Chain, gateway: Gateway) -> None:
    """The close's mail names the head; bft journal verify takes it, and refuses a hash that is another."""
    ranked.ok("morning", "--as-of", NEXT_DAY, "--mode", "shadow", "--gateway", gateway.where)
    ranked.bft("close", "--as-of", NEXT_DAY, "--gateway", gateway.where)
    (name,) = [n for n in ranked.mails() if "_summary_" in n]
    mail = message_from_bytes((ranked.home / "outbox/kept" / name).read_bytes(), policy=default)
    body = mail.get_body(("plain",))
    assert body is not None
    words = " ".join(body.get_content().split()).split("bft journal verify --seq ")[1].split()
    seq, digest = words[0], words[2]
    assert "as it was written" in ranked.ok("journal", "verify", "--seq", seq, "--hash", digest)
    assert "the mail said" in one_message(ranked.bft("journal", "verify", "--seq", seq, "--hash", "0" * 64), 13)


def test_each_state_of_an_order_is_mailed_once(ranked: Chain, gateway: Gateway) -> None:
    """Sent, partly filled, cancelled, refused by the broker, filled: one mail each through a real mail server, none twice."""
    with mail_server(ranked) as taker:
        gateway.fault("partial_fill", fraction=0.5)
        gateway.fault("reject_orders", code=201, text="no margin", symbol="GOLF")
        ranked.morning(gateway, mode="paper")
        gateway.heal()
        ranked.morning(gateway, mode="paper")
        ranked.bft("reconcile", "--as-of", NEXT_DAY, "--mode", "paper", "--gateway", gateway.where)
    orders = [s for s in taker.subjects if s.startswith("[bft paper] BUY") and "/" in s.split()[-1]]
    assert len(orders) == len(set(orders)), orders
    said = Counter(s.split(": ")[0].split(" ", 4)[-1] for s in orders)
    assert said == {"sent": 3, "partly filled": 2, "cancelled": 2, "refused by the broker": 1}


def test_why_tells_what_was_kept_out_and_what_gave_no_signal(ranked: Chain, gateway: Gateway) -> None:
    """A stale stock is kept out with its reason, a quiet one lies between its bands, an unknown one is in no table."""
    ranked.ok("morning", "--as-of", NEXT_DAY, "--mode", "shadow", "--gateway", gateway.where)
    assert "kept out before any strategy saw it" in ranked.ok("why", "FOXT", NEXT_DAY)
    # Today's settings change nothing of what is told of that day.
    said = ranked.ok("why", "BRVO", NEXT_DAY, BFT_LIMITS__DRIFT_FRACTION_MAX="0.5")
    assert "observed +4.000 %, limit 2.000 %" in said
    assert "drift_fraction_max 0.02" in said

    def why(symbol: str, day: date = NEXT_DAY) -> str:
        home = Home.at(ranked.home)
        with Journal.read(home.journal) as journal:
            return to_words(gather(home, journal, Calendar(), symbol, day))

    assert "it closed between its bands" in why("echo")
    assert "not in that evening's feature table" in why("NOPE")
    assert "no evening of that session" in why("ALFA", date(2021, 4, 23))
    shutil.rmtree(ranked.home / "features")
    assert "not kept any more" in why("ECHO")
