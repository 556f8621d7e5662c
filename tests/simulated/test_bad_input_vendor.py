"""The vendor's refusals over real HTTP: a wrong key, a symbol that does not exist, a limit, and an evening that goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from tests.simulated.conftest import SIGNAL_DAY, Chain, Gateway, chain_bars, one_message, ready

from bar_fly_trading.data.store import Store

KEY = "RIGHTKEY1234"


@pytest.fixture(scope="module")
def vendor(bars_file: Path) -> Iterator[Gateway]:
    """Return an Alpha Vantage that knows one key, standing after the signal day's close."""
    argv = [sys.executable, "-m", "bar_fly_simulators.alpha_vantage", "--port", "0", "--market", str(bars_file)]
    argv += ["--at", f"{SIGNAL_DAY}T18:00", "--speed", "0", "--key", KEY]
    running = ready(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    yield running
    running.stop()


@pytest.fixture
def chain(empty: Chain, vendor: Gateway) -> Chain:
    """Return an empty home that pulls from that server."""
    return _pulling(empty, vendor)


def _pulling(chain: Chain, vendor: Gateway) -> Chain:
    text = (chain.home / "settings.toml").read_text()
    url = f'"http://127.0.0.1:{vendor.alpha_vantage}/query"\nrequests_per_minute = 100000\n'
    (chain.home / "settings.toml").write_text(text.replace('"http://127.0.0.1:9/query"\n', url))
    return chain


def _bars(chain: Chain) -> dict[str, int]:
    bars = Store(chain.home / "store").read("bars")
    return {str(name): count for name, count in bars["instrument_id"].value_counts().iter_rows()}


def test_a_wrong_key_is_said_without_the_key(chain: Chain) -> None:
    """A key that the vendor refuses stops the pull with 6 and the name of the setting; the key itself is never shown."""
    said = chain.refused(6, "pull", "ALFA", "GOLF", "--as-of", SIGNAL_DAY, ALPHAVANTAGE_API_KEY="WRONGKEY9876")
    assert "key" in said.lower()
    assert "WRONGKEY9876" not in said
    assert Store(chain.home / "store").current() is None


def test_d7_a_symbol_that_does_not_exist_is_named_and_the_others_come(chain: Chain) -> None:
    """A symbol that does not exist is named, the others are stored whole, and the run says that it did less: 20."""
    done = chain.bft("pull", "ALFA", "NOSUCH", "GOLF", "--as-of", SIGNAL_DAY, ALPHAVANTAGE_API_KEY=KEY)
    assert "NOSUCH" in one_message(done, 20)
    wanted = chain_bars().filter((pl.col("symbol") == "ALFA") & (pl.col("date") <= str(SIGNAL_DAY))).height
    assert _bars(chain) == {"us:ALFA": wanted, "us:GOLF": wanted}


def test_an_evening_goes_on_with_what_the_store_holds(imported: Chain, vendor: Gateway) -> None:
    """Where the pull is refused the evening ranks what is stored, mails that, and ends with 20; nothing is lost."""
    _pulling(imported, vendor)
    said = one_message(imported.bft("evening", "--as-of", SIGNAL_DAY, ALPHAVANTAGE_API_KEY="WRONGKEY9876"), 20)
    assert "WRONGKEY9876" not in said
    (evening,) = imported.records("evening")
    assert len(evening["ranked"]) == 6
    assert any("failure" in name for name in imported.mails())


def test_an_evening_without_a_key_says_which_name_to_set(imported: Chain) -> None:
    """An evening that pulls, without a key, names the variable and the way on without one; the store stays."""
    said = one_message(imported.bft("evening", "--as-of", SIGNAL_DAY), 2)
    assert "ALPHAVANTAGE_API_KEY" in said or "alpha_vantage_key" in said


def test_d18_a_bar_of_an_open_session_is_not_stored(chain: Chain, vendor: Gateway) -> None:
    """A pull in the middle of a session stores nothing of that session."""
    vendor.at(f"{SIGNAL_DAY}T11:00")
    try:
        chain.bft("pull", "ALFA", "--as-of", SIGNAL_DAY, ALPHAVANTAGE_API_KEY=KEY)
    finally:
        vendor.at(f"{SIGNAL_DAY}T18:00")
    assert Store(chain.home / "store").read("bars")["session"].max() == date(2021, 4, 19)
