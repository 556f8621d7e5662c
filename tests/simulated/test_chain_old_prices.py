"""An evening on an imported store whose prices are old: the newest whole session, only to watch, and no order after it."""

from __future__ import annotations

import json
from datetime import date
from email import message_from_bytes, policy

import polars as pl
import pytest
from tests.simulated.conftest import NEXT_DAY, SIGNAL_DAY, Chain, Gateway, chain_bars

from bar_fly_trading.facts.sessions import Calendar


@pytest.fixture
def dumped(empty: Chain) -> Chain:
    """Return a home with an import that ends at the signal day, but for one name with the day after."""
    bars = chain_bars().filter(
        (pl.col("date") <= str(SIGNAL_DAY)) | ((pl.col("date") == str(NEXT_DAY)) & (pl.col("symbol") == "ECHO"))
    )
    path = empty.home.parent / "dumped.parquet"
    bars.write_parquet(path)
    empty.ok("import", "bars", path)
    return empty


def _age(words: str) -> int:
    """Return how many sessions the words say, checked against the calendar and the days beside it."""
    at = words.index(f"prices are old: they end {SIGNAL_DAY}, ")
    sessions, _, days = words[at:].partition(" sessions, ")
    count, newest = int(sessions.rsplit(" ", 1)[1]), date.fromisoformat(days.partition(" before ")[2][:10])
    assert count == Calendar().sessions_between(SIGNAL_DAY, newest)
    assert int(days.partition(" days ")[0]) == (newest - SIGNAL_DAY).days
    return count


def test_the_newest_whole_session_is_ranked_to_watch_and_no_order_follows(dumped: Chain, gateway: Gateway) -> None:
    """The list, the mail and the words say how old the prices are; every signal is watch; a paper morning sends nothing."""
    said = dumped.ok("evening", "--no-pull")
    assert _age(said) > 1000
    assert "entries 0 to execute, 5 to watch" in said
    listed = pl.read_csv(dumped.home / f"signals/{SIGNAL_DAY}.csv")
    assert listed.height == 6 and set(listed["tag"]) == {"watch"}
    assert all(_age(reason) > 1000 for reason in listed["tag_reason"])
    (name,) = [n for n in dumped.mails() if "ranked-list" in n]
    mail = message_from_bytes((dumped.home / "outbox/kept" / name).read_bytes(), policy=policy.default)
    text = mail.get_body(("plain",))
    assert "(old prices)" in str(mail["Subject"]) and text is not None
    assert "nothing is sent on them" in " ".join(text.get_content().split())
    assert not [n for n in dumped.mails() if "failure" in n]
    morning = dumped.morning(gateway, mode="paper")
    assert morning.returncode == 0, morning.stderr
    assert gateway.orders == 0
    (plan,) = dumped.records("plan")
    assert plan["plan"]["intents"] == []
    rejected = plan["plan"]["rejections"]
    assert {r["rule"] for r in rejected if r["purpose"] == "ENTRY"} == {"WATCH"}
    assert all("prices are old" in r["reason"] for r in rejected if r["rule"] == "WATCH")
    assert "prices are old" in morning.stdout or "WATCH" in morning.stdout
    assert dumped.states() == {}


def test_todays_morning_names_the_evening_there_is(dumped: Chain) -> None:
    """Without an evening of the session before, a morning plans nothing, and says of which session the newest evening is."""
    dumped.ok("evening", "--no-pull")
    said = dumped.refused(4, "morning", "--as-of", "2021-04-23")
    assert "no complete evening of 2021-04-22" in said and f"the newest evening is of {SIGNAL_DAY}" in said


def test_a_script_reads_the_age_and_a_named_session_is_as_it_was(dumped: Chain) -> None:
    """JSON has the age and no signal to execute; the same session named by --as-of is an evening of its own day."""
    told = json.loads(dumped.ok("evening", "--no-pull", "--json"))
    assert told["session"] == str(SIGNAL_DAY) and told["age_sessions"] > 1000 and told["execute"] == 0
    named = json.loads(dumped.ok("evening", "--no-pull", "--json", "--as-of", SIGNAL_DAY))
    assert named["age_sessions"] == 0 and named["execute"] == 4
    assert dumped.records("evening")[0]["evening_id"] != dumped.records("evening")[1]["evening_id"]


def test_an_empty_store_has_no_session_to_rank(empty: Chain) -> None:
    """Without any bar the evening says what to import, and ranks nothing."""
    assert "import" in empty.refused(4, "evening", "--no-pull")
    assert empty.records("evening") == []
