"""Ticker changes, delistings, reused tickers and chains of missed sessions, against the simulated Alpha Vantage."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from tests.edge.test_pull_night import night
from tests.vendor_simulator import Simulator, at_us, simulated

from bar_fly_trading.daily_pipeline.universe import asked_as, listing_notes, names_to_pull, outside_at
from bar_fly_trading.data.call_plan import Holdings, Wants, plan_calls
from bar_fly_trading.data.importers.membership import import_membership
from bar_fly_trading.data.pull_night import night_plan
from bar_fly_trading.data.renames import rename, reuse
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.instruments import Instruments, SymbolSpell
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.universe import UniverseRule

CALENDAR = Calendar()
DAYS = CALENDAR.sessions(date(2021, 1, 4), date(2021, 6, 30))
BEFORE, CHANGE, AFTER = DAYS[60], DAYS[65], DAYS[75]
LISTED = Wants(listings_days=7)
NO_RULE = UniverseRule()


def series(symbol: str, first: date, last: date, *, path: str | None = None) -> list[dict[str, object]]:
    """Return a symbol's bars between two days on the price path of `path` (default: its own)."""
    rows: list[dict[str, object]] = []
    seed = sum(map(ord, path or symbol))
    for i, day in enumerate(DAYS):
        close = round(50 + seed % 40 + 5 * math.sin(0.7 * i + seed), 2)
        if first <= day <= last:
            adjusted = {"close": close, "adjusted_close": close, "volume": 1_000_000 + seed * i}
            edges = {"open": close, "high": close + 0.5, "low": close - 0.5}
            events = {"dividend_amount": 0.0, "split_coefficient": 1.0}
            rows.append({"symbol": symbol, "date": day.isoformat(), **edges, **adjusted, **events})
    return rows


def market(folder: Path, name: str, *parts: Sequence[dict[str, object]]) -> str:
    """Write a market of some series as a bars file and return its path."""
    path = folder / f"{name}.parquet"
    pl.DataFrame([row for part in parts for row in part]).write_parquet(path)
    return str(path)


def bars(store: Store, instrument_id: str) -> list[tuple[date, float]]:
    """Return an instrument's sessions and closes."""
    rows = store.read("bars").filter(pl.col("instrument_id") == instrument_id)
    return list(rows.select("session", "close").iter_rows())


def steady(last: date) -> list[dict[str, object]]:
    """Return the series of six names that nothing happens to."""
    return [row for n in range(6) for row in series(f"CALM{n}", DAYS[0], last)]


CALM = tuple(f"CALM{n}" for n in range(6))


@pytest.fixture(scope="module")
def pulled_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store that pulled FB, TWO and six calm names up to BEFORE, listings included."""
    folder = tmp_path_factory.mktemp("before")
    found = Store(folder / "store")
    first = market(folder, "first", steady(BEFORE), series("FB", DAYS[0], BEFORE), series("TWO", DAYS[0], BEFORE))
    with simulated(first, "--at", f"{BEFORE}T18:00") as vendor:
        report = night(found, vendor, BEFORE, names=(*CALM, "FB", "TWO"), wants=LISTED, now=f"{BEFORE}T18:00")
        assert (report.failed, report.notes, report.news) == ((), (), ())
        assert vendor.asked()["LISTING_STATUS"] == 2
    return found.root


@pytest.fixture
def store(pulled_before: Path, tmp_path: Path) -> Store:
    """Return a copy of that store."""
    return Store(Path(shutil.copytree(pulled_before, tmp_path / "store")))


def pulled_after(store: Store, vendor: Simulator, *names: str) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Pull names up to AFTER with the listings; return the faults by symbol, and the news."""
    report = night(store, vendor, AFTER, names=names, wants=LISTED, now=f"{AFTER}T18:00")
    return {pulled.symbol: pulled.fault for pulled in report.symbols if pulled.fault}, report.news


def test_listings_are_asked_once_a_week(store: Store) -> None:
    """Two calls, counted in the plan, and none again until the list is a week old; never with the setting at 0."""

    def planned(now: str, days: int = 7) -> dict[str, int]:
        wants = Wants(listings_days=days)
        return night_plan(store, CALENDAR, CALM, BEFORE, wants, now_us=at_us(now)).calls()

    assert planned(f"{BEFORE}T20:00") == {}
    assert planned(f"{BEFORE + timedelta(days=6)}T18:00") == {}
    assert planned(f"{BEFORE + timedelta(days=7)}T18:00") == {"LISTING_STATUS": 2}
    assert planned(f"{BEFORE + timedelta(days=7)}T18:00", days=0) == {}


def test_d10_a_renamed_ticker_continues_one_series(store: Store, tmp_path: Path) -> None:
    """After `rename` the pull asks META, and its bars go on under the instrument that was FB: one series, as one pull gives."""
    second = market(
        tmp_path, "second", steady(AFTER), series("META", DAYS[0], AFTER, path="FB"), series("TWO", DAYS[0], AFTER)
    )
    with simulated(second, "--at", f"{AFTER}T18:00") as vendor:
        faults, news = pulled_after(store, vendor, "FB")
        assert list(faults) == ["FB"]
        (line,) = [words for words in news if words.startswith("FB")]
        assert line == (
            "FB is no longer listed, and not delisted either: it may have a new symbol (perhaps META);"
            " if so: bft rename FB META --from DATE"
        )
        assert any("FB is in no list" in note for note in listing_notes(store, NO_RULE, AFTER, ()))
        done = rename(store, CALENDAR, "FB", "META", CHANGE, recorded_at_us=at_us(f"{AFTER}T18:00"))
        assert (done.instrument_id, done.changed) == ("us:FB", True)
        again = rename(store, CALENDAR, "FB", "META", CHANGE, recorded_at_us=at_us(f"{AFTER}T19:00"))
        assert (again.version, again.changed) == (done.version, False)
        names = names_to_pull(store, NO_RULE, (), AFTER, at_us(f"{AFTER}T18:00"))
        assert "META" in names and "FB" not in names
        assert pulled_after(store, vendor, "META")[0] == {}
        alone = Store(tmp_path / "alone")
        night(alone, vendor, AFTER, names=("META",), now=f"{AFTER}T18:00")
    assert bars(store, "us:FB") == bars(alone, "us:META")
    assert store.read("bars").filter(pl.col("instrument_id") == "us:META").is_empty()
    instruments = load_instruments(store)
    assert instruments.symbol_of("us:FB", DAYS[64]) == "FB"
    assert instruments.symbol_of("us:FB", CHANGE) == "META"
    assert asked_as(instruments, ("FB",), AFTER) == ("META",)
    assert listing_notes(store, NO_RULE, AFTER, ()) == ()


def test_d10_history_that_came_under_the_new_symbol_gets_the_old_one(tmp_path: Path) -> None:
    """Where the vendor's whole history came under META, `rename` gives the days before the change the symbol FB."""
    store = Store(tmp_path / "store")
    second = market(tmp_path, "second", series("META", DAYS[0], AFTER, path="FB"))
    with simulated(second, "--at", f"{AFTER}T18:00") as vendor:
        night(store, vendor, AFTER, names=("META",), now=f"{AFTER}T18:00")
    now_us = at_us(f"{AFTER}T18:00")
    rename(store, CALENDAR, "FB", "META", CHANGE, recorded_at_us=now_us)
    instruments = load_instruments(store)
    assert [instruments.symbol_of("us:META", day) for day in (DAYS[0], DAYS[64], CHANGE)] == ["FB", "FB", "META"]
    assert instruments.id_of("FB", BEFORE) == "us:META"
    with pytest.raises(FixInput, match="Neither XX nor YY is known"):
        rename(store, CALENDAR, "XX", "YY", CHANGE, recorded_at_us=now_us)
    with pytest.raises(FixInput, match="renamed to itself"):
        rename(store, CALENDAR, "FB", "fb", CHANGE, recorded_at_us=now_us)


def test_d10_a_rename_never_merges_two_series(store: Store) -> None:
    """A new symbol that already names another instrument is refused, and so is renaming a symbol that was given up."""
    now_us, version = at_us(f"{AFTER}T18:00"), store.current()
    with pytest.raises(FixInput, match="they are two series"):
        rename(store, CALENDAR, "FB", "TWO", CHANGE, recorded_at_us=now_us)
    assert store.current() == version
    rename(store, CALENDAR, "FB", "META", CHANGE, recorded_at_us=now_us)
    with pytest.raises(FixInput, match=f"FB \\(us:FB\\) is META since {CHANGE}"):
        rename(store, CALENDAR, "FB", "NEXT", AFTER, recorded_at_us=now_us)


@pytest.mark.parametrize("start", ["later", "overlapping"])
def test_d10_a_reused_ticker_is_blocked_and_never_merged(store: Store, tmp_path: Path, start: str) -> None:
    """Another company under TWO, listed later or with a history of its own: blocked with the reason; mapped, a new series."""
    first = CHANGE if start == "later" else DAYS[0]
    second = market(tmp_path, "second", steady(AFTER), series("TWO", first, AFTER, path="OTHER"))
    before = bars(store, "us:TWO")
    with simulated(second, "--at", f"{AFTER}T18:00") as vendor:
        faults, news = pulled_after(store, vendor, "TWO")
        said = (
            f"begins {CHANGE}, the store's ends {BEFORE}" if start == "later" else "agree with the stored ones in 0 of"
        )
        assert said in (faults["TWO"] or "") and "--reused" in (faults["TWO"] or "")
        assert bars(store, "us:TWO") == before
        if start == "later":
            assert any(f"TWO names another company since {CHANGE}" in words for words in news)
        done = reuse(store, CALENDAR, "TWO", CHANGE, recorded_at_us=at_us(f"{AFTER}T18:00"))
        assert done.instrument_id == "us:TWO#2"
        assert pulled_after(store, vendor, "TWO")[0] == {}
    assert bars(store, "us:TWO") == before
    assert [day for day, _ in bars(store, "us:TWO#2")] == [day for day in DAYS if CHANGE <= day <= AFTER]
    assert load_instruments(store).id_of("TWO", BEFORE) == "us:TWO"


def test_d11_a_delisted_name_gets_no_entry_and_keeps_its_bars(store: Store, tmp_path: Path) -> None:
    """A name delisted in the list: said once, its spell ends there, it is pulled no more, may not be entered, keeps its bars."""
    second = market(tmp_path, "second", steady(AFTER), series("FB", DAYS[0], AFTER), series("TWO", DAYS[0], DAYS[70]))
    before_us = at_us(f"{BEFORE}T22:00")
    with simulated(second, "--at", f"{AFTER}T18:00") as vendor:
        _, news = pulled_after(store, vendor, *CALM, "FB", "TWO")
        gone = f"TWO was delisted on {DAYS[70]}: its bars are kept, it is pulled no more and gets no new entries"
        assert news == (gone,)
        night(store, vendor, AFTER, names=("FB",), wants=LISTED, now=f"{DAYS[85]}T18:00")
    assert outside_at(store, NO_RULE, AFTER) == {"us:TWO": f"delisted on {DAYS[70]}: no new entries"}
    assert outside_at(store, NO_RULE, BEFORE) == {}  # nobody knew it then
    assert load_instruments(store, before_us).ended("us:TWO") is None
    assert "TWO" not in names_to_pull(store, NO_RULE, ("us:TWO",), AFTER, at_us(f"{AFTER}T18:00"))
    assert bars(store, "us:TWO")[-1][0] == DAYS[70] and len(bars(store, "us:TWO")) == 71
    # Served again, its spell goes on.
    third = market(
        tmp_path, "third", steady(DAYS[90]), series("FB", DAYS[0], DAYS[90]), series("TWO", DAYS[0], DAYS[90])
    )
    with simulated(third, "--at", f"{DAYS[90]}T18:00") as vendor:
        report = night(store, vendor, DAYS[90], names=CALM, wants=Wants(listings_days=1), now=f"{DAYS[90]}T18:00")
        assert report.news == ("TWO is listed again: it is pulled again",)
    assert load_instruments(store).ended("us:TWO") is None


def test_a_list_that_lacks_many_of_our_names_is_not_believed(store: Store, tmp_path: Path) -> None:
    """A list cut short ends no spell and stores nothing; the pull says how many names it lacks."""
    second = market(tmp_path, "second", series("CALM0", DAYS[0], AFTER), series("CALM1", DAYS[0], AFTER))
    with simulated(second, "--at", f"{AFTER}T18:00") as vendor:
        report = night(store, vendor, AFTER, names=("CALM0",), wants=LISTED, now=f"{AFTER}T18:00")
    assert report.notes == ("the list of listings lacks 6 of our 8 names (CALM2): it is not believed",)
    assert store.read("listings").filter(pl.col("status") != "Active").is_empty()


def test_leavers_are_pulled_no_more_unless_held(store: Store, tmp_path: Path) -> None:
    """What left the index, or is in no list, is asked only while it is held; a member never seen here is asked."""
    path = tmp_path / "members.csv"
    path.write_text(f"symbol,start_date,end_date\nFB,2015-01-02,{CHANGE}\nTWO,2015-01-02,\nNEVER,2015-01-02,\n")
    import_membership(path, store, CALENDAR, index="sp500", recorded_at_us=at_us(f"{AFTER}T18:00"))
    index = UniverseRule("sp500", ("CALM0",))
    assert names_to_pull(store, index, (), BEFORE, at_us(f"{AFTER}T18:00")) == ("CALM0", "FB", "NEVER", "TWO")
    assert names_to_pull(store, index, (), AFTER, at_us(f"{AFTER}T18:00")) == ("CALM0", "NEVER", "TWO")
    assert names_to_pull(store, index, ("us:FB",), AFTER, at_us(f"{AFTER}T18:00"))[-1] == "FB"
    now_us = at_us(f"{AFTER}T18:00")
    rule = UniverseRule("", ("CALM0", "NEW"), "watch.txt")
    assert names_to_pull(store, rule, (), AFTER, now_us) == ("CALM0", "NEW")
    assert names_to_pull(store, rule, ("us:FB",), AFTER, now_us) == ("CALM0", "NEW", "FB")


def test_chains_of_missed_sessions_are_planned_up_to_the_setting() -> None:
    """Three sessions missed of one name: three calls, of the other (none stored) one; a setting of two makes up one."""
    newest = DAYS[50]
    held = Holdings(bars={"A": DAYS[53], "B": DAYS[53]}, options={"A": newest})

    def calls(sessions: int) -> tuple[int, tuple[date, ...]]:
        wants = Wants(options=frozenset("AB"), options_sessions=sessions)
        plan = plan_calls(("A", "B"), held, CALENDAR, DAYS[53], wants, today=DAYS[53])
        return plan.calls()["HISTORICAL_OPTIONS"], plan.chain_sessions("A")

    assert calls(5) == (4, (DAYS[51], DAYS[52], DAYS[53]))
    assert calls(2) == (3, (DAYS[52], DAYS[53]))
    assert calls(1) == (2, (DAYS[53],))


def test_chains_of_missed_sessions_are_made_up_by_the_pull(tmp_path: Path) -> None:
    """After two missed nights the chains of all three are stored as three pulls had stored them, in the calls planned."""
    names, days = ("BOCO", "RUZO"), CALENDAR.sessions(date(2024, 5, 10), date(2024, 5, 15))
    stores = [Store(tmp_path / "missed"), Store(tmp_path / "nightly")]
    wants = Wants(frozenset(names), options_sessions=5)
    with simulated("synthetic:3:7", "--at", f"{days[-1]}T18:00") as vendor:
        for day in days:
            night(stores[1], vendor, day, names=names, wants=wants)
            if day in (days[0], days[-1]):
                plan = night_plan(stores[0], CALENDAR, names, day, wants, now_us=at_us("2026-11-20T18:00"))
                before = vendor.asked().get("HISTORICAL_OPTIONS", 0)
                night(stores[0], vendor, day, names=names, wants=wants)
                asked = vendor.asked()["HISTORICAL_OPTIONS"] - before
                assert asked == plan.calls()["HISTORICAL_OPTIONS"] == (2 if day == days[0] else 6)
    kept = [found.read("option_chains").drop("recorded_at") for found in stores]
    assert kept[0]["session"].unique().sort().to_list() == list(days)
    assert kept[0].equals(kept[1])


def test_the_rename_command_says_what_became_of_the_symbols(store: Store, tmp_path: Path) -> None:
    """`bft rename FB META --from DATE` prints the instrument and its spells; without a date it says how to write it."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "store").rename(home / "store")
    env = {**os.environ, "BFT_HOME": str(home), "POLARS_MAX_THREADS": "1"}

    def bft(*args: str) -> tuple[int, str]:
        command = [str(Path(sys.executable).with_name("bft")), *args]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, said = bft("rename", "FB", "META", "--from", f"{CHANGE}")
    assert code == 0, said
    assert "us:FB is known as" in said
    assert f"FB      {DAYS[0]}  {CHANGE.replace(day=CHANGE.day - 1)}" in said and f"META    {CHANGE}  now" in said
    code, said = bft("rename", "FB", "META")
    assert code == 2 and "bft rename FB META --from 2022-06-09" in said
    code, said = bft("rename", "TWO", "--reused", "--from", f"{BEFORE}")
    assert code == 3 and f"TWO (us:TWO) has bars up to {BEFORE}" in said


def test_d10_a_symbol_given_up_and_borne_again_is_asked_as_itself() -> None:
    """The given-up symbol of one instrument is asked under its newest; a symbol two instruments bore is left as it is."""
    instruments = Instruments(
        (
            SymbolSpell("us:FB", "FB", DAYS[0], DAYS[9]),
            SymbolSpell("us:FB", "META", DAYS[10]),
            SymbolSpell("us:TWO", "TWO", DAYS[0], DAYS[9]),
            SymbolSpell("us:TWO#2", "TWO", DAYS[20]),
            SymbolSpell("us:GONE", "GONE", DAYS[0], DAYS[9]),
        )
    )
    assert asked_as(instruments, ("FB", "TWO", "GONE", "NEW"), AFTER) == ("META", "TWO", "GONE", "NEW")
