"""The morning over real processes: nothing is sent twice, nothing without a right to, and nothing silently left out."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from datetime import date

import pytest
from tests.simulated.conftest import (
    NEXT_DAY,
    TRADED,
    Chain,
    Gateway,
    free_port,
    one_message,
)

DECISIONS = {"CHRL": "NOT_HELD", "BRVO": "DRIFT", "DLTA": "WATCH"}


def test_shadow_twice_sends_nothing_and_decides_once(ranked: Chain, read_gateway: Gateway) -> None:
    """Two shadow mornings send no order, keep one plan and one fill an intent, and mail every signal exactly once."""
    first, second = ranked.morning(read_gateway), ranked.morning(read_gateway)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert read_gateway.orders == 0
    plans = ranked.records("plan")
    assert len(plans) == 1
    assert {i["symbol"] for i in plans[0]["plan"]["intents"]} == set(TRADED)
    assert {r["symbol"]: r["rule"] for r in plans[0]["plan"]["rejections"]} == DECISIONS
    assert sorted(f["symbol"] for f in ranked.records("fill")) == sorted(TRADED)
    assert "resuming the frozen plan" in second.stdout
    assert len([m for m in ranked.mails() if "signal" in m]) == 6
    assert ranked.debris() == []


def test_paper_twice_sends_each_intent_once(ranked: Chain, gateway: Gateway) -> None:
    """Two paper mornings bring the Gateway exactly one order an intent; every one fills."""
    first, second = ranked.morning(gateway, mode="paper"), ranked.morning(gateway, mode="paper")
    assert (first.returncode, second.returncode) == (0, 0), first.stdout + first.stderr + second.stderr
    assert gateway.orders == len(TRADED)
    assert ranked.states() == {f"BUY {symbol}": "FILLED" for symbol in TRADED}
    assert len(ranked.records("fill")) == len(TRADED)


def test_shadow_then_paper_sends_nothing_of_the_frozen_shadow_plan(ranked: Chain, read_gateway: Gateway) -> None:
    """A plan frozen in shadow stays one: the same morning run again in paper sends nothing of it."""
    assert ranked.morning(read_gateway).returncode == 0
    ranked.morning(read_gateway, mode="paper")
    assert read_gateway.orders == 0


@pytest.mark.parametrize(("fault", "least"), [("hold_fills", 1), (None, 2), ("mute", 1)])
def test_a_killed_paper_morning_never_sends_an_order_again(
    ranked: Chain, gateway: Gateway, fault: str | None, least: int
) -> None:
    """After kill -9 with an order at the Gateway (working, filled, or unanswered) a rerun sends none of them again."""
    if fault is not None:
        gateway.fault(fault, **({"message": "3"} if fault == "mute" else {}))
    if fault == "mute":
        for message in ("5", "11"):
            gateway.fault(fault, message=message)
    process = ranked.start("morning", "--as-of", NEXT_DAY, "--mode", "paper", "--gateway", gateway.where)
    gateway.until("received 3 placeOrder", least)
    process.kill()
    process.communicate()
    gateway.heal()
    began = dict(intents(ranked))
    again = ranked.morning(gateway, mode="paper")
    assert again.returncode in {0, 10}, again.stdout + again.stderr
    if again.returncode:
        one_message(again, 10)
    assert gateway.orders <= len(TRADED)
    assert ranked.morning(gateway, mode="paper").returncode == again.returncode
    assert gateway.orders <= len(TRADED)
    for key, state in began.items():
        if state == "SENDING":
            assert dict(intents(ranked))[key] in {"UNKNOWN", "FILLED", "CANCELLED", "PARKED"}


def intents(chain: Chain) -> list[tuple[str, str]]:
    """Return every intent's key and state."""
    with closing(sqlite3.connect(chain.home / "journal.sqlite")) as db:
        rows: list[tuple[str, str]] = db.execute("SELECT intent_key, state FROM intents ORDER BY 1").fetchall()
    return rows


def test_paper_refuses_an_account_that_is_no_paper_account(ranked: Chain, real_gateway: Gateway) -> None:
    """Paper against an account that begins with U is refused by name, whatever the port, and no order is sent."""
    said = one_message(ranked.morning(real_gateway, mode="paper"), 11)
    assert "U1234567" in said and "DU" in said
    assert real_gateway.orders == 0
    assert ranked.records("plan") == []


def test_shadow_reads_a_real_account_and_sends_nothing(ranked: Chain, real_gateway: Gateway) -> None:
    """Shadow reads an account that begins with U: it plans, and no order message goes out."""
    assert ranked.morning(real_gateway).returncode == 0
    assert real_gateway.orders == 0
    assert ranked.records("plan")[0]["plan"]["account"] == "U1234567"


@pytest.mark.parametrize("how", ["flag", "environment", "file"])
def test_live_is_refused_as_not_built_before_any_connection(ranked: Chain, read_gateway: Gateway, how: str) -> None:
    """Live is refused whoever asks for it (flag, variable, settings file), in words, and the Gateway never hears of it."""
    words = ["morning", "--as-of", NEXT_DAY, "--gateway", read_gateway.where]
    env = {}
    if how == "flag":
        words += ["--mode", "live"]
    elif how == "environment":
        env["IBKR_ENABLE_LIVE_TRADING"] = "true"
    else:
        with (ranked.home / "settings.toml").open("a") as file:
            file.write('\n[strategies.bollinger]\nmode = "live"\n')
    said = ranked.refused(12, *words, **env)
    assert "not built" in said
    assert read_gateway.count("received 71 startApi") == 0
    assert ranked.records("plan") == []


def test_a_home_belongs_to_one_account(ranked: Chain, read_gateway: Gateway, real_gateway: Gateway) -> None:
    """A home bound to one account refuses another on the same day and on the next, names both, and asks no quote."""
    assert ranked.morning(read_gateway).returncode == 0
    said = one_message(ranked.morning(real_gateway), 11)
    assert "DUS000001" in said and "U1234567" in said
    ranked.ok("evening", "--no-pull", "--as-of", NEXT_DAY)
    real_gateway.at("2021-04-22T09:45")
    said = one_message(ranked.morning(real_gateway, day=date(2021, 4, 22)), 11)
    assert "belongs to account DUS000001" in said and "U1234567" in said
    assert real_gateway.count("received 1 reqMktData") == 0
    assert [r["account"] for r in ranked.records("bind")] == ["DUS000001"]
    assert len(ranked.records("plan")) == 1


def test_without_a_gateway_every_signal_is_mailed_and_a_later_run_plans(ranked: Chain, read_gateway: Gateway) -> None:
    """Without a Gateway a shadow morning mails each signal as "account not read", exits 22, and the next run plans."""
    words = ["morning", "--as-of", NEXT_DAY, "--mode", "shadow", "--gateway"]
    ranked.refused(22, *words, f"127.0.0.1:{free_port()}")
    mails = [(ranked.home / "outbox/kept" / name).read_text() for name in ranked.mails() if "signal" in name]
    assert len(mails) == 6
    assert all("account not read" in mail for mail in mails)
    assert ranked.records("plan") == []
    assert ranked.morning(read_gateway).returncode == 0
    assert len(ranked.records("plan")) == 1
    assert len([m for m in ranked.mails() if "signal" in m]) == 12


def test_an_older_evening_is_not_good_enough(ranked: Chain, read_gateway: Gateway) -> None:
    """With an evening of two sessions before and none of the session before, the morning refuses, mails and plans nothing."""
    day = date(2021, 4, 22)
    read_gateway.at(f"{day}T09:45")
    said = one_message(ranked.morning(read_gateway, day=day), 4)
    assert f"bft evening --as-of {NEXT_DAY}" in said
    assert any("failure" in name for name in ranked.mails())
    assert ranked.records("plan") == []
    assert read_gateway.count("received 71 startApi") == 0


@pytest.mark.parametrize("at", ["2021-04-22T09:45", "2021-04-21T09:29", "2021-04-21T16:00"])
def test_the_gateways_time_must_be_inside_the_session(ranked: Chain, read_gateway: Gateway, at: str) -> None:
    """Where the Gateway's New York date or time is not inside the session, the morning refuses before it asks a quote."""
    read_gateway.at(at)
    said = one_message(ranked.morning(read_gateway), 11)
    assert at[:10] in said or at[11:] in said
    assert read_gateway.count("received 1 reqMktData") == 0
    assert ranked.records("plan", "bind") == []


@pytest.mark.parametrize("mode", ["shadow", "paper"])
def test_a_gateway_that_goes_away_while_quotes_are_asked(ranked: Chain, gateway: Gateway, mode: str) -> None:
    """A Gateway cut off while quotes are under way ends the run with one message; nothing is sent; the rerun decides all."""
    gateway.fault("no_quote")
    process = ranked.start("morning", "--as-of", NEXT_DAY, "--mode", mode, "--gateway", gateway.where)
    gateway.until("received 1 reqMktData")
    gateway.fault("drop_connections", times=1)
    out, err = process.communicate(timeout=60)
    assert process.returncode in {5, 22}, out + err
    assert err.count("error: ") == 1 and "Traceback" not in err
    assert gateway.orders == 0
    gateway.heal()
    again = ranked.morning(gateway, mode=mode)
    assert again.returncode == 0, again.stderr
    assert gateway.orders == (len(TRADED) if mode == "paper" else 0)
    (plan,) = ranked.records("plan")
    assert {i["symbol"] for i in plan["plan"]["intents"]} == set(TRADED)


def test_a_gateway_that_goes_away_with_an_order_at_it(ranked: Chain, gateway: Gateway) -> None:
    """A Gateway cut off while a paper order works leaves it UNKNOWN, exits 10, and no rerun sends it or its like again."""
    gateway.fault("hold_fills")
    process = ranked.start(
        "morning", "--as-of", NEXT_DAY, "--mode", "paper", "--gateway", gateway.where, "--set", "gateway.fill_wait_s=60"
    )
    gateway.until("received 3 placeOrder")
    gateway.until("sent 3 orderStatus")
    gateway.fault("drop_connections", times=1)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 10, out + err
    assert "bft reconcile" in err and "Traceback" not in err
    sent = gateway.orders
    assert sent == 1
    first = ranked.records("plan")[0]["plan"]["intents"][0]["symbol"]
    assert ranked.states()[f"BUY {first}"] == "UNKNOWN"
    gateway.heal()
    ranked.morning(gateway, mode="paper")
    assert gateway.orders <= len(TRADED)


def test_ctrl_c_in_the_middle_of_a_paper_morning(ranked: Chain, gateway: Gateway) -> None:
    """Ctrl-C while an order works ends with 130 and one line; the rerun takes the order back and sends none twice."""
    gateway.fault("hold_fills")
    process = ranked.start(
        "morning", "--as-of", NEXT_DAY, "--mode", "paper", "--gateway", gateway.where, "--set", "gateway.fill_wait_s=60"
    )
    gateway.until("sent 3 orderStatus")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert err.count("error: ") == 1 and "Traceback" not in err, err
    gateway.heal()
    again = ranked.morning(gateway, mode="paper")
    assert again.returncode in {0, 10}, again.stdout + again.stderr
    assert gateway.orders <= len(TRADED)
