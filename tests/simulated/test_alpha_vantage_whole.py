"""The functions beside the daily series, over real sockets: recorded shapes, plans, refusals, nothing from the future."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from bar_fly_simulators.alpha_vantage import bodies, reference
from bar_fly_simulators.alpha_vantage import server as simulator
from bar_fly_simulators.clock import SimulatedClock, parse_at
from bar_fly_simulators.control import Control
from bar_fly_simulators.market import Market, load_market

AT = "2024-05-15T18:00"
MACRO = {
    "TREASURY_YIELD": "treasuryyield.json",
    "FEDERAL_FUNDS_RATE": "federalfundsrate.json",
    "CPI": "cpi.json",
    "INFLATION": "inflation.json",
    "RETAIL_SALES": "retailsales.json",
    "DURABLES": "durables.json",
    "UNEMPLOYMENT": "unemployment.json",
    "NONFARM_PAYROLL": "nonfarmpayroll.json",
}


@dataclass
class Served:
    """A running server and how to ask it."""

    control: Control
    client: httpx.Client
    url: str

    def get(self, function: str, symbol: str = "", **more: str) -> httpx.Response:
        """Ask one question with a key."""
        return self.client.get(self.url, params={"function": function, "symbol": symbol, "apikey": "SECRET", **more})

    def json(self, function: str, symbol: str = "", **more: str) -> Any:
        """Return the answer's JSON; every one of these has HTTP 200."""
        response = self.get(function, symbol, **more)
        assert response.status_code == 200
        return response.json()

    def csv(self, function: str, **more: str) -> list[list[str]]:
        """Return the answer's CSV rows."""
        return list(csv.reader(io.StringIO(self.get(function, **more).text, newline="")))

    def fault(self, kind: str) -> None:
        """Put one fault in force, once."""
        self.control.faults.add({"kind": kind, "times": 1})


@contextmanager
def serving(market: Market, tier: str = "unlimited") -> Iterator[Served]:
    """Serve a market from a loop in a thread, on a clock that stands."""
    control = Control(SimulatedClock(parse_at(AT), 0))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(simulator.serve(market, control, tier=tier), loop).result(10)
    try:
        with httpx.Client(timeout=10, verify=False) as client:
            yield Served(control, client, f"http://127.0.0.1:{server.port}/query")
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def market() -> Market:
    """Make a market of forty companies."""
    return load_market("synthetic:40:3")


@pytest.fixture(scope="module")
def running(market: Market) -> Iterator[Served]:
    """Serve it once for every test."""
    with serving(market) as served:
        yield served


@pytest.fixture
def served(running: Served) -> Iterator[Served]:
    """Hand out the server, and put its clock and faults back."""
    yield running
    running.control.faults.clear()
    running.control.clock.set(parse_at(AT))


def shape(value: Any) -> Any:
    """Return a body's keys and types, list positions made alike."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


@pytest.mark.parametrize(("function", "fixture"), MACRO.items())
def test_macro_series_have_the_recorded_shape(served: Served, shared_data: Path, function: str, fixture: str) -> None:
    """Every key, name, unit and default interval of the recorded body is served, in its order, newest first."""
    recorded = json.loads((shared_data / "alpha_vantage_fixtures" / fixture).read_text())
    ours = served.json(function)
    assert json.dumps(shape(ours)) == json.dumps(shape(recorded))
    assert [ours[key] for key in ("name", "interval", "unit")] == [recorded[k] for k in ("name", "interval", "unit")]
    days = [row["date"] for row in ours["data"]]
    assert days == sorted(days, reverse=True) and len(days) > 20
    decimals = {len(row["value"].partition(".")[2]) for row in recorded["data"]}
    assert {len(row["value"].partition(".")[2]) for row in ours["data"]} == decimals


@pytest.mark.parametrize(
    ("function", "period", "before", "after"),
    [
        ("CPI", "2024-04-01", "2024-05-13T08:29", "2024-05-13T08:30"),
        ("NONFARM_PAYROLL", "2024-04-01", "2024-05-03T08:29", "2024-05-03T08:30"),
        ("UNEMPLOYMENT", "2024-04-01", "2024-05-03T08:29", "2024-05-03T08:30"),
        ("RETAIL_SALES", "2024-04-01", "2024-05-16T08:29", "2024-05-16T08:30"),
        ("DURABLES", "2024-04-01", "2024-05-27T08:29", "2024-05-27T08:30"),
        ("FEDERAL_FUNDS_RATE", "2024-04-01", "2024-05-01T16:14", "2024-05-01T16:15"),
        ("TREASURY_YIELD", "2024-04-01", "2024-05-01T16:14", "2024-05-01T16:15"),
        ("INFLATION", "2022-01-01", "2023-07-03T08:29", "2023-07-03T08:30"),
    ],
)
def test_a_period_is_served_from_its_release_on(
    served: Served, function: str, period: str, before: str, after: str
) -> None:
    """A minute before its release the newest period is the one before; the older values never change by it."""
    served.control.clock.set(parse_at(before))
    early = served.json(function)["data"]
    served.control.clock.set(parse_at(after))
    late = served.json(function)["data"]
    assert early[0]["date"] < period == late[0]["date"]
    assert late[1:] == early


def test_macro_parameters(served: Served) -> None:
    """Maturities and intervals are the vendor's; a holiday of a daily rate is `.`; another word is invalid."""
    names = {m: served.json("TREASURY_YIELD", maturity=m)["name"] for m in ("3month", "30year")}
    assert names == {
        "3month": "3-Month Treasury Constant Maturity Rate",
        "30year": "30-Year Treasury Constant Maturity Rate",
    }
    daily = served.json("TREASURY_YIELD", interval="daily")["data"]
    assert {"date": "2024-01-01", "value": "."} in daily
    assert daily[0]["date"] == "2024-05-14"
    assert all(date.fromisoformat(row["date"]).weekday() < 5 for row in daily)
    assert date.fromisoformat(served.json("FEDERAL_FUNDS_RATE", interval="weekly")["data"][0]["date"]).weekday() == 4
    assert served.json("CPI", interval="daily") == bodies.invalid_call("CPI")
    assert served.json("TREASURY_YIELD", maturity="4year") == bodies.invalid_call("TREASURY_YIELD")


def test_chains_have_the_recorded_shape(served: Served, market: Market, shared_data: Path) -> None:
    """HISTORICAL_OPTIONS rows have the recorded keys, types and decimals; ids are OCC's; the spot lies among the strikes."""
    recorded = json.loads((shared_data / "alpha_vantage_fixtures/historical_options_IBM_rows.json").read_text())
    symbol = market.symbols[0]
    body = served.json("HISTORICAL_OPTIONS", symbol)
    assert json.dumps(shape(body)) == json.dumps(shape(recorded))
    bar = market.bar(symbol, date(2024, 5, 15))
    assert bar is not None
    strikes = [float(row["strike"]) for row in body["data"]]
    assert min(strikes) < bar.close < max(strikes)
    for row in body["data"]:
        assert re.fullmatch(r"[A-Z]+\d{6}[CP]\d{8}", row["contractID"]) and row["date"] == "2024-05-15"
        assert float(row["bid"]) <= float(row["mark"]) <= float(row["ask"])
        assert float(row["delta"]) * (1 if row["type"] == "call" else -1) >= 0
    assert len({row["contractID"] for row in body["data"]}) == len(body["data"])


def test_a_chain_is_of_the_session_asked_for_and_never_of_one_to_come(served: Served, market: Market) -> None:
    """A past session has its own chain; a weekend, a session to come and an unknown symbol none; before 2008 is invalid."""
    symbol = market.symbols[0]
    past = served.json("HISTORICAL_OPTIONS", symbol, date="2024-05-14")["data"]
    assert {row["date"] for row in past} == {"2024-05-14"}
    for day in ("2024-05-12", "2024-05-16"):
        assert served.json("HISTORICAL_OPTIONS", symbol, date=day)["data"] == []
    assert served.json("HISTORICAL_OPTIONS", "NOPE", date="2024-05-14")["data"] == []
    served.control.clock.set(parse_at("2024-05-15T15:59"))
    assert served.json("HISTORICAL_OPTIONS", symbol, date="2024-05-15")["data"] == []
    for day in ("2007-12-31", "yesterday"):
        assert served.json("HISTORICAL_OPTIONS", symbol, date=day) == bodies.invalid_call("HISTORICAL_OPTIONS")
    one = served.json("HISTORICAL_OPTIONS", symbol, date="2024-05-14", contract=past[3]["contractID"])["data"]
    assert one == [past[3]]


@pytest.mark.parametrize(("tier", "entitled"), [("free", False), ("300", False), ("600", True), ("1200", True)])
def test_realtime_options_need_one_of_the_two_largest_plans(
    market: Market, shared_data: Path, tier: str, entitled: bool
) -> None:
    """Below 600 a minute the recorded made-up row comes, word for word; above, true rows, greeks only when asked for."""
    path = shared_data / "alpha_vantage_fixtures/realtime_options_not_entitled.json"
    with serving(market, tier) as served:
        body = served.json("REALTIME_OPTIONS", market.symbols[0])
        if not entitled:
            assert body == json.loads(path.read_text())
            return
        assert body["message"] == "success" and "delta" not in body["data"][0]
        greeks = served.json("REALTIME_OPTIONS", market.symbols[0], require_greeks="true")["data"][0]
        assert list(greeks) == list(json.loads(path.read_text())["data"][0])


def test_a_free_key_reads_no_chain_and_gets_a_made_up_book(market: Market) -> None:
    """HISTORICAL_OPTIONS is premium on a free key; the bulk book comes marked as artificial."""
    with serving(market, "free") as served:
        assert served.json("HISTORICAL_OPTIONS", market.symbols[0]) == bodies.PREMIUM
    with serving(market, "free") as served:
        assert "ARTIFICIAL" in served.json("REALTIME_BULK_BID_ASK_PRICES", market.symbols[0])["message"]


def test_books_by_the_hundred(served: Served, market: Market) -> None:
    """Each known symbol has a bid under its ask around the last price; the fields are those two parsers read."""
    served.control.clock.set(parse_at("2024-05-15T11:00"))
    body = served.json("REALTIME_BULK_BID_ASK_PRICES", ",".join(["NOPE", *market.symbols]))
    assert (body["endpoint"], body["message"]) == ("Realtime Bulk Bid and Ask Prices", "success")
    assert [row["symbol"] for row in body["data"]] == list(market.symbols)
    for row in body["data"]:
        assert list(row) == ["symbol", "timestamp", "bid_price", "ask_price", "bid_size", "ask_size"]
        mid = market.mid_at(row["symbol"], parse_at("2024-05-15T11:00"))
        assert mid is not None and float(row["bid_price"]) < mid < float(row["ask_price"])


def test_the_calendar_names_reports_to_come_and_no_figure_of_them(served: Served, market: Market) -> None:
    """Seven columns with CRLF, reports from today to the horizon and none later; a symbol filters; six columns are older."""
    served.control.clock.set(parse_at("2024-04-01T18:00"))
    text = served.get("EARNINGS_CALENDAR").text
    assert text.split("\r\n")[0] == "symbol,name,reportDate,fiscalDateEnding,estimate,currency,timeOfTheDay"
    rows = served.csv("EARNINGS_CALENDAR")[1:]
    days = [date.fromisoformat(row[2]) for row in rows]
    assert rows and min(days) >= date(2024, 4, 1) and max(days) <= date(2024, 7, 2)
    assert {row[6] for row in rows} <= {"pre-market", "post-market", ""}
    actual = {f"{report.reported_eps}" for s in market.symbols for report in market.earnings(s)}
    assert not {row[4] for row in rows} & {eps for eps in actual if len(eps) > 5}
    one = rows[0][0]
    assert [row[0] for row in served.csv("EARNINGS_CALENDAR", symbol=one)[1:]] == [one]
    assert served.json("EARNINGS_CALENDAR", horizon="2month") == bodies.invalid_call("EARNINGS_CALENDAR")
    assert served.csv("EARNINGS_CALENDAR", symbol="NOPE") == [list(reference.CALENDAR_COLUMNS)]
    served.fault("six_columns")
    assert {len(row) for row in served.csv("EARNINGS_CALENDAR")} == {6}


def test_listings_are_of_the_day_asked_for(served: Served, market: Market) -> None:
    """Seven columns; who began to trade later is not listed on an earlier day; nobody of this market has left."""
    rows = served.csv("LISTING_STATUS")
    assert tuple(rows[0]) == reference.LISTING_COLUMNS
    assert [row[0] for row in rows[1:]] == sorted(s.replace(".", "-") for s in market.symbols)
    assert {(row[5], row[6]) for row in rows[1:]} == {("null", "Active")}
    first = {row[0] for row in served.csv("LISTING_STATUS", date="2018-01-03")[1:]}
    began = {s.replace(".", "-") for s in market.symbols if market.bars(s).session(0) <= date(2018, 1, 3)}
    assert first == began and len(first) < len(market.symbols)
    assert served.csv("LISTING_STATUS", state="delisted") == [list(reference.LISTING_COLUMNS)]
    assert served.json("LISTING_STATUS", date="2009-12-31") == bodies.invalid_call("LISTING_STATUS")


@pytest.mark.parametrize(
    ("function", "letters"), [("EARNINGS_CALENDAR", "I,n,f,o,r,m,a"), ("LISTING_STATUS", "I,n,f,o,r,m,a")]
)
def test_a_notice_comes_disguised_as_csv(served: Served, function: str, letters: str) -> None:
    """The true header, then one character a column, with CRLF."""
    served.fault("csv_disguise")
    lines = served.get(function).text.split("\r\n")
    assert lines[1:] == [letters, ""] and lines[0].startswith("symbol,name,")


def test_market_status_follows_the_session(served: Served) -> None:
    """New York is open within its hours and closed after them."""
    served.control.clock.set(parse_at("2024-05-15T11:00"))
    body = served.json("MARKET_STATUS")
    assert body["endpoint"] == "Global Market Open & Close Status"
    keys = ["market_type", "region", "primary_exchanges", "local_open", "local_close", "current_status", "notes"]
    assert [list(market) for market in body["markets"]] == [keys, keys]
    assert body["markets"][0]["current_status"] == "open"
    served.control.clock.set(parse_at("2024-05-15T18:00"))
    assert served.json("MARKET_STATUS")["markets"][0]["current_status"] == "closed"
