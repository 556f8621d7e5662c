"""The universe over real processes: no entry outside it, the reason in journal and mail, and what is held may leave."""

from __future__ import annotations

import json
from datetime import date

from tests.simulated.conftest import NEXT_DAY, SETTINGS, SIGNAL_DAY, Chain, Gateway

IN = ("BRVO", "DLTA", "GOLF", "SPLT")


def _only(chain: Chain, *lines: str, watchlist: str = "") -> None:
    text = SETTINGS.replace("[gateway]", "\n".join([*lines, "", "[gateway]"]))
    (chain.home / "settings.toml").write_text(text)
    if watchlist:
        (chain.home / "watch.txt").write_text(watchlist)


def _signals(chain: Chain) -> set[str]:
    ranked = chain.records("evening")[-1]["ranked"]
    return {f"{r['signal']['side']} {r['signal']['symbol']}" for r in ranked}


def test_s8_names_outside_a_watchlist_get_no_entry_and_the_reason_is_kept(imported: Chain) -> None:
    """ALFA's entry is in neither list nor plan; journal and mail say why; the exits of names outside are still listed."""
    _only(imported, 'universe = "watch.txt"', watchlist="\ufeff# mine\r\nbrvo\r\nDLTA\r\ngolf\r\nSPLT\r\n")
    said = imported.ok("evening", "--no-pull", "--as-of", SIGNAL_DAY)
    assert "BUY  ALFA" not in said
    assert _signals(imported) == {*(f"BUY {name}" for name in IN), "SELL CHRL"}
    (evening,) = imported.records("evening")
    why = f"outside the universe at {SIGNAL_DAY} (4 symbols of watch.txt); dropped: BUY by bollinger"
    assert ["us:ALFA", why] in evening["excluded"]
    (mail,) = imported.mails()
    text = (imported.home / "outbox/kept" / mail).read_text()
    assert "outside the universe" in text.replace("=\n", "")


def test_s8_membership_decides_by_the_session(imported: Chain) -> None:
    """GOLF joins the day after, ALFA left the week before: neither is entered; without a membership the evening refuses."""
    _only(imported, 'universe = "sp500"')
    said = imported.refused(4, "evening", "--no-pull", "--as-of", SIGNAL_DAY)
    assert "bft import membership" in said
    rows = ["symbol,start_date,end_date", "ALFA,2020-01-02,2021-04-13", f"GOLF,{NEXT_DAY},", "SPLT,2020-01-02,"]
    (imported.home / "members.csv").write_text("\n".join([*rows, "XXXX,2020-01-02,"]) + "\n")
    imported.ok("import", "membership", imported.home / "members.csv")
    imported.ok("evening", "--no-pull", "--as-of", SIGNAL_DAY)
    assert _signals(imported) == {"BUY SPLT", "SELL CHRL"}
    excluded = dict(imported.records("evening")[-1]["excluded"])
    assert "a member until 2021-04-12; dropped: BUY by bollinger" in excluded["us:ALFA"]
    assert "S&P 500 by membership spells" in excluded["us:GOLF"]
    shown = imported.ok("universe", "--as-of", SIGNAL_DAY)
    assert "of the true members 1 of 2 have prices here, 1 of them at 2021-04-20; 1 are missing" in shown


def test_a_holding_that_left_the_universe_is_still_sold(ranked: Chain, gateway: Gateway) -> None:
    """Bought while inside, ALFA leaves the list; its exit signal is ranked that evening and sold the next morning."""
    (ranked.home / "settings.toml").write_text(SETTINGS)
    assert ranked.morning(gateway).returncode == 0
    gateway.at(f"{NEXT_DAY}T16:10")
    ranked.ok("close", "--as-of", NEXT_DAY, "--gateway", gateway.where)
    _only(ranked, 'symbols = ["GOLF", "SPLT"]')
    assert "SELL ALFA" in ranked.ok("evening", "--no-pull", "--as-of", NEXT_DAY)
    plan = json.loads(ranked.ok("pull", "--plan", "--json", "--as-of", "2021-04-26"))
    assert plan["calls"] == {
        "TIME_SERIES_DAILY_ADJUSTED": 3,
        "LISTING_STATUS": 2,
    }  # GOLF, SPLT, and ALFA, which is held
    gateway.at("2021-04-22T09:31")
    assert ranked.morning(gateway, day=date(2021, 4, 22)).returncode == 0
    sold = [f for f in ranked.records("fill") if f["symbol"] == "ALFA" and f["side"] == "SELL"]
    assert len(sold) == 1
