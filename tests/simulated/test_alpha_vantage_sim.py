"""The simulated Alpha Vantage over real sockets: shapes, refusals, faults, the control port, the process."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from bar_fly_simulators.alpha_vantage import server as simulator
from bar_fly_simulators.alpha_vantage.limits import Limiter
from bar_fly_simulators.clock import SimulatedClock, parse_at
from bar_fly_simulators.control import Control, HttpServer, serve_control
from bar_fly_simulators.market import Market, load_market

PLANS = "https://www.alphavantage.co/premium/"
BURST = {
    "Information": "Thank you for using Alpha Vantage! Please consider spreading out your free API requests more sparingly "
    f"(1 request per second). You may subscribe to any of the premium plans at {PLANS} to lift the free key rate limit "
    "(25 requests per day), raise the per-second burst limit, and instantly unlock all premium endpoints"
}
DAILY_CAP = {
    "Information": "We have detected your API key as SECRET and our standard API rate limit is 25 requests per day. Please "
    f"subscribe to any of the premium plans at {PLANS} to instantly remove all daily rate limits."
}
NOTE = {
    "Note": "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls per "
    f"day. Please visit {PLANS} if you would like to target a higher API call frequency."
}
PREMIUM = {
    "Information": "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any of the premium "
    f"plans at {PLANS} to instantly unlock all premium endpoints"
}
PREMIUM_FULL = {
    "Information": "Thank you for using Alpha Vantage! The outputsize=full parameter value is a premium feature for the "
    f"TIME_SERIES_DAILY endpoint. You may subscribe to any of the premium plans at {PLANS} to instantly unlock all premium "
    "features"
}
INVALID_KEY = {
    "Error Message": "the parameter apikey is invalid or missing. Please claim your free API key on "
    "(https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds."
}
INVALID_CALL = {
    "Error Message": "Invalid API call. Please retry or visit the documentation "
    "(https://www.alphavantage.co/documentation/) for TIME_SERIES_DAILY."
}
AT = "2024-06-28T10:00"


@dataclass
class Served:
    """A running server, its control, and how to ask it."""

    control: Control
    port: int
    control_port: int
    client: httpx.Client

    def get(self, function: str, symbol: str = "", **more: str) -> httpx.Response:
        """Ask one question with a key."""
        params = {"function": function, "symbol": symbol, "apikey": "SECRET", **more}
        return self.client.get(f"http://127.0.0.1:{self.port}/query", params=params)

    def json(self, function: str, symbol: str = "", **more: str) -> Any:
        """Return the answer's JSON; every one of these has HTTP 200."""
        response = self.get(function, symbol, **more)
        assert response.status_code == 200
        return response.json()


@contextmanager
def serving(market: Market, at: str = AT, tier: str = "unlimited", keys: tuple[str, ...] = ()) -> Iterator[Served]:
    """Serve a market and its control port from a loop in a thread, on a clock that stands."""
    control = Control(SimulatedClock(parse_at(at), 0))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> tuple[HttpServer, HttpServer]:
        return await simulator.serve(market, control, tier=tier, keys=keys), await serve_control(control, 0)

    async def stop(*servers: HttpServer) -> None:
        for server in servers:
            await server.close()

    servers = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        with httpx.Client(timeout=10, verify=False) as client:
            yield Served(control, servers[0].port, servers[1].port, client)
    finally:
        asyncio.run_coroutine_threadsafe(stop(*servers), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def market() -> Market:
    """Make a market of sixty companies, one of them a class B share."""
    return load_market("synthetic:60:3")


@pytest.fixture(scope="module")
def running(market: Market) -> Iterator[Served]:
    """Serve it once for every test that changes nothing."""
    with serving(market) as served:
        yield served


@pytest.fixture
def served(running: Served) -> Iterator[Served]:
    """Hand out the server with its clock at the start and no fault; put both back."""
    yield running
    running.control.faults.clear()
    running.control.clock.set(parse_at(AT))


def test_the_daily_series_have_the_recorded_shape(served: Served, market: Market) -> None:
    """Keys, order, compact and full sizes, and the newest bar's numbers are the vendor's and the market's."""
    symbol = market.symbols[0]
    for function, keys, title in (
        (
            "TIME_SERIES_DAILY_ADJUSTED",
            ["open", "high", "low", "close", "adjusted close", "volume", "dividend amount", "split coefficient"],
            "Daily Time Series with Splits and Dividend Events",
        ),
        (
            "TIME_SERIES_DAILY",
            ["open", "high", "low", "close", "volume"],
            "Daily Prices (open, high, low, close) and Volumes",
        ),
    ):
        for size, shown, count in (("compact", "Compact", 100), ("full", "Full size", len(market.bars(symbol)) - 1)):
            body = served.json(function, symbol, outputsize=size)
            assert list(body) == ["Meta Data", "Time Series (Daily)"]
            assert body["Meta Data"] == {
                "1. Information": title,
                "2. Symbol": symbol,
                "3. Last Refreshed": "2024-06-27",
                "4. Output Size": shown,
                "5. Time Zone": "US/Eastern",
            }
            series = body["Time Series (Daily)"]
            assert len(series) == count and list(series) == sorted(series, reverse=True)
            newest = market.bar(symbol, date(2024, 6, 27))
            assert newest is not None
            row = series["2024-06-27"]
            assert list(row) == [f"{n}. {key}" for n, key in enumerate(keys, 1)]
            assert (row["1. open"], row["4. close"]) == (f"{newest.open:.4f}", f"{newest.close:.4f}")
            assert row[f"{keys.index('volume') + 1}. volume"] == str(newest.volume)


def shape(value: Any) -> Any:
    """Return a body's keys and types, with dates and list positions made alike."""
    if isinstance(value, dict):
        return {re.sub(r"^\d{4}-\d{2}-\d{2}$", "DATE", key): shape(inner) for key, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


@pytest.mark.parametrize(
    ("function", "fixture"),
    [
        ("TIME_SERIES_DAILY_ADJUSTED", "dailyadjusted.json"),
        ("TIME_SERIES_DAILY", "daily.json"),
        ("GLOBAL_QUOTE", "globalquote.json"),
        ("REALTIME_BULK_QUOTES", "realtime_bulk_quotes_2024-10-30.json"),
        ("OVERVIEW", "companyoverview.json"),
        ("EARNINGS", "earnings.json"),
    ],
)
def test_bodies_have_the_shape_of_recorded_ones(
    served: Served, market: Market, shared_data: Path, function: str, fixture: str
) -> None:
    """Every key and type of the recorded bodies is served, in the recorded order; EARNINGS has today's reportTime more."""
    recorded = shape(json.loads((shared_data / "alpha_vantage_fixtures" / fixture).read_text()))
    ours = shape(served.json(function, market.symbols[0]))
    if function == "EARNINGS":
        assert ours["quarterlyEarnings"][0].pop("reportTime") == "str"
    assert ours == recorded
    assert json.dumps(ours) == json.dumps(recorded)


def test_quotes_follow_the_session(served: Served, market: Market) -> None:
    """Before the open the quote is yesterday's bar, during the session the path's price, after the close today's bar."""
    symbol = market.symbols[0]
    before, today = market.bar(symbol, date(2024, 6, 27)), market.bar(symbol, date(2024, 6, 28))
    assert before is not None and today is not None
    for at, day, price in (
        ("2024-06-28T09:29", before.session, before.close),
        ("2024-06-28T11:17", today.session, market.mid_at(symbol, parse_at("2024-06-28T11:17"))),
        ("2024-06-28T16:00", today.session, today.close),
    ):
        served.control.clock.set(parse_at(at))
        quote = served.json("GLOBAL_QUOTE", symbol)["Global Quote"]
        assert quote["07. latest trading day"] == day.isoformat()
        assert quote["05. price"] == f"{price:.4f}"
        assert float(quote["03. high"]) <= today.high or day == before.session
        row = served.json("REALTIME_BULK_QUOTES", symbol)["data"][0]
        assert float(row["close"]) == pytest.approx(price, abs=1e-4) and row["timestamp"].startswith(day.isoformat())
        assert float(row["previous_close"]) == float(quote["08. previous close"])
        assert quote["10. change percent"] == row["change_percent"] + "%"


def test_a_delayed_quote_is_a_quarter_of_an_hour_old(served: Served, market: Market) -> None:
    """entitlement=delayed gives the price of fifteen minutes ago under its own key."""
    symbol = market.symbols[0]
    served.control.clock.set(parse_at("2024-06-28T11:15"))
    body = served.json("GLOBAL_QUOTE", symbol, entitlement="delayed")
    mid = market.mid_at(symbol, parse_at("2024-06-28T11:00"))
    assert body["Global Quote - DATA DELAYED BY 15 MINUTES"]["05. price"] == f"{mid:.4f}"


def test_bulk_quotes_take_a_hundred_symbols_and_leave_unknown_ones_out(served: Served, market: Market) -> None:
    """Sixty known symbols give sixty rows in the order asked; an unknown one none; what lies beyond 100 none."""
    asked = ["NOPE", *market.symbols]
    body = served.json("REALTIME_BULK_QUOTES", ",".join(asked))
    assert (body["endpoint"], body["message"]) == ("Realtime Bulk Quotes", "success")
    assert [row["symbol"] for row in body["data"]] == list(market.symbols)
    beyond = served.json("REALTIME_BULK_QUOTES", ",".join(["NOPE"] * 100 + [market.symbols[0]]))
    assert beyond["data"] == []


def test_class_shares_are_known_by_both_spellings(served: Served, market: Market) -> None:
    """ZUKA-B and ZUKA.B are the same share; each answer repeats the spelling asked for."""
    symbol = next(s for s in market.symbols if "." in s)
    dashed = symbol.replace(".", "-")
    bodies = [served.json("TIME_SERIES_DAILY", text) for text in (symbol, dashed)]
    assert [body["Meta Data"]["2. Symbol"] for body in bodies] == [symbol, dashed]
    assert bodies[0]["Time Series (Daily)"] == bodies[1]["Time Series (Daily)"]
    assert served.json("GLOBAL_QUOTE", dashed)["Global Quote"]["01. symbol"] == dashed


def test_unknown_symbols_are_answered_as_the_vendor_does(served: Served) -> None:
    """A series says "Invalid API call", every other function answers empty."""
    assert served.json("TIME_SERIES_DAILY", "NOPE") == INVALID_CALL
    assert served.json("TIME_SERIES_DAILY") == INVALID_CALL
    assert served.json("GLOBAL_QUOTE", "NOPE") == {"Global Quote": {}}
    assert served.json("OVERVIEW", "NOPE") == {} == served.json("EARNINGS", "NOPE")
    assert served.json("SPLITS", "NOPE")["data"] == [] == served.json("DIVIDENDS", "NOPE")["data"]
    assert served.json("NO_SUCH") == {"Error Message": "This API function (NO_SUCH) does not exist."}
    assert served.json("") == {"Error Message": "This API function () does not exist."}


def test_what_is_not_simulated_says_so(served: Served, market: Market) -> None:
    """A function of the vendor's that this server lacks is HTTP 501, never an answer that looks like data."""
    assert served.get("NEWS_SENTIMENT").status_code == 501
    assert served.get("EARNINGS", market.symbols[0], datatype="csv").status_code == 501


def test_csv_series_hold_the_same_numbers(served: Served, market: Market) -> None:
    """datatype=csv gives the header, then the same rows, newest first, with CRLF."""
    symbol = market.symbols[0]
    lines = served.get("TIME_SERIES_DAILY_ADJUSTED", symbol, datatype="csv").text.split("\r\n")
    series = served.json("TIME_SERIES_DAILY_ADJUSTED", symbol)["Time Series (Daily)"]
    header = "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient"
    assert lines == [header, *(",".join([day, *row.values()]) for day, row in series.items()), ""]


def test_transport_is_the_vendor_s(served: Served) -> None:
    """Accept: text/csv alone is 406, another path 404, another method 405, and a wrong request line 400."""
    url = f"http://127.0.0.1:{served.port}/query?function=OVERVIEW&symbol=X&apikey=k"
    refused = served.client.get(url, headers={"Accept": "text/csv"})
    assert refused.status_code == 406
    assert refused.json() == {"detail": "Could not satisfy the request Accept header."}
    assert served.client.get(url, headers={"Accept": "text/csv, */*"}).status_code == 200
    assert served.client.get(url.replace("/query", "/")).status_code == 404
    assert served.client.post(url).status_code == 405
    assert served.client.post(url, content=(b"x" for _ in range(2))).status_code == 400


def test_keys(market: Market, served: Served) -> None:
    """No key is refused always; a wrong one where keys are named; any other passes."""
    assert served.json("TIME_SERIES_DAILY", market.symbols[0], apikey="") == INVALID_KEY
    with serving(market, keys=("GOOD", "SECOND")) as named:
        assert named.json("OVERVIEW", market.symbols[0]) == INVALID_KEY
        assert named.json("OVERVIEW", market.symbols[0], apikey="SECOND")["Symbol"] == market.symbols[0]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("burst", BURST),
        ("daily_cap", DAILY_CAP),
        ("legacy_note", NOTE),
        ("premium", PREMIUM),
        ("premium_full", PREMIUM_FULL),
        ("invalid_key", INVALID_KEY),
        ("invalid_call", INVALID_CALL),
        ("unknown_symbol", INVALID_CALL),
    ],
)
def test_every_refusal_is_word_for_word(served: Served, market: Market, kind: str, body: dict[str, str]) -> None:
    """A fault posted to the control port gives the recorded body with HTTP 200 once, and then the true answer."""
    posted = served.client.post(f"http://127.0.0.1:{served.control_port}/faults", json={"kind": kind, "times": 1})
    assert posted.status_code == 200 and posted.json()["faults"] == [{"kind": kind, "times": 1}]
    assert served.json("TIME_SERIES_DAILY", market.symbols[0]) == body
    assert "Time Series (Daily)" in served.json("TIME_SERIES_DAILY", market.symbols[0])


def test_refusals_are_those_recorded(shared_data: Path) -> None:
    """Where the recorded bodies are whole, ours are the same text."""
    recorded = {
        row["kind"]: row["body"]
        for row in json.loads((shared_data / "alpha_vantage_fixtures/error_bodies.json").read_text())
    }
    assert recorded["premium_endpoint"] == PREMIUM and recorded["legacy_note"] == NOTE
    assert recorded["invalid_call"] == INVALID_CALL
    assert recorded["daily_limit"]["Information"].replace("REDACTED", "SECRET") == DAILY_CAP["Information"]
    assert INVALID_KEY["Error Message"].startswith(recorded["bad_key"]["Error Message"])
    assert BURST["Information"].startswith(recorded["burst_1_per_second"]["Information"].split(" and instantly")[0])


def test_artificial_rows_are_marked(market: Market) -> None:
    """The free plan gets bulk quotes that look real, under a message that says they are not."""
    with serving(market, tier="free") as free:
        body = free.json("REALTIME_BULK_QUOTES", ",".join(market.symbols[:2]))
    assert body["message"].startswith(
        "This is a premium endpoint. ***THE SAMPLE DATA SCHEMA BELOW IS ARTIFICIAL AND FOR ILLUSTRATION PURPOSES ONLY***."
    )
    assert body["endpoint"] == "Realtime Bulk Quotes" and len(body["data"]) == 3
    assert not {row["symbol"] for row in body["data"]} & set(market.symbols)


@pytest.mark.parametrize(
    ("function", "size", "body"),
    [("TIME_SERIES_DAILY_ADJUSTED", "compact", PREMIUM), ("TIME_SERIES_DAILY", "full", PREMIUM_FULL)],
)
def test_the_free_plan_lacks_premium_series(market: Market, function: str, size: str, body: dict[str, str]) -> None:
    """Adjusted series and full size need a plan, and a second request within the second is a burst."""
    with serving(market, tier="free") as free:
        assert free.json(function, market.symbols[0], outputsize=size) == body
        assert free.json("TIME_SERIES_DAILY", market.symbols[0]) == BURST


def test_the_free_plan_quotes_the_end_of_day(market: Market) -> None:
    """During a session the free plan's quote is still the previous session's close."""
    with serving(market, tier="free") as free:
        quote = free.json("GLOBAL_QUOTE", market.symbols[0])["Global Quote"]
    assert quote["07. latest trading day"] == "2024-06-27"


def test_limits_by_plan() -> None:
    """Free: one a second and 25 a simulated day, per key; paid: so many in any sixty seconds; unlimited: none."""
    free, day = Limiter("free"), date(2024, 6, 28)
    answers = [free.refusal("k", 2.0 * n, day) for n in range(27)]
    assert answers[:25] == [None] * 25
    assert answers[25] == {"Information": DAILY_CAP["Information"].replace("SECRET", "k")} == answers[26]
    assert free.refusal("other", 100.0, day) is None
    assert free.refusal("other", 100.5, day) == BURST
    assert free.refusal("k", 200.0, date(2024, 7, 1)) is None
    paid = Limiter("75")
    assert [paid.refusal("k", n / 10, day) for n in range(75)] == [None] * 75
    assert paid.refusal("k", 59.9, day) == BURST
    assert paid.refusal("k", 60.01, day) is None
    assert all(Limiter("unlimited").refusal("k", 0.0, day) is None for _ in range(2000))


def test_transport_faults(served: Served, market: Market) -> None:
    """HTTP errors, a web page, a cut JSON, a reset and a cut body all arrive as what they are."""
    symbol = market.symbols[0]
    add = served.control.faults.add
    for status in (429, 500, 503):
        add({"kind": f"http_{status}", "times": 1})
        assert served.get("OVERVIEW", symbol).status_code == status
    add({"kind": "html", "times": 1})
    page = served.get("OVERVIEW", symbol)
    assert page.status_code == 200 and page.text.startswith("<!DOCTYPE html>")
    add({"kind": "truncated_json", "times": 1})
    with pytest.raises(json.JSONDecodeError):
        served.get("OVERVIEW", symbol).json()
    add({"kind": "connection_reset", "times": 1})
    with pytest.raises(httpx.ReadError):
        served.get("OVERVIEW", symbol)
    add({"kind": "cut_body", "times": 1})
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        served.get("TIME_SERIES_DAILY", symbol, outputsize="full")
    add({"kind": "slow_drip", "seconds": 0.5, "times": 1})
    started = time.monotonic()
    assert served.get("OVERVIEW", symbol).status_code == 200
    assert time.monotonic() - started >= 0.45
    assert served.control.faults.shown() == []


def test_a_fault_keeps_to_its_function_symbol_and_count(served: Served, market: Market) -> None:
    """Limited to a function and a symbol (in any spelling), a fault strikes twice there and nowhere else."""
    symbol = next(s for s in market.symbols if "." in s)
    served.control.faults.add(
        {"kind": "http_503", "function": "TIME_SERIES_DAILY", "symbol": symbol.replace(".", "-"), "times": 2}
    )
    assert served.get("OVERVIEW", symbol).status_code == 200
    assert served.get("TIME_SERIES_DAILY", market.symbols[0]).status_code == 200
    assert [served.get("TIME_SERIES_DAILY", symbol).status_code for _ in range(3)] == [503, 503, 200]


def test_spoilt_series(served: Served, market: Market) -> None:
    """`field` puts a wrong number where it is told to, `stale` ends the series earlier; neither stays behind."""
    symbol = market.symbols[0]
    true = served.json("TIME_SERIES_DAILY_ADJUSTED", symbol)["Time Series (Daily)"]
    served.control.faults.add({"kind": "field", "field": "high", "value": 999999, "sessions_ago": 1, "times": 1})
    bad = served.json("TIME_SERIES_DAILY_ADJUSTED", symbol)["Time Series (Daily)"]
    second = list(true)[1]
    assert bad[second]["2. high"] == "999999.0000"
    bad[second]["2. high"] = true[second]["2. high"]
    assert bad == true
    served.control.faults.add({"kind": "stale", "sessions": 2, "times": 1})
    assert next(iter(served.json("TIME_SERIES_DAILY_ADJUSTED", symbol)["Time Series (Daily)"])) == list(true)[2]
    assert served.json("TIME_SERIES_DAILY_ADJUSTED", symbol)["Time Series (Daily)"] == true


@pytest.mark.parametrize(
    ("posted", "message"),
    [
        ({"kind": "http_418"}, "no fault is called 'http_418'"),
        ({"kind": "burst", "times": 0}, "times is a whole number above 0"),
        ({"kind": "slow_drip", "seconds": "long"}, "seconds is a number"),
        ({"kind": "slow_drip", "seconds": True}, "seconds is a number"),
        ({"kind": "field", "field": "price"}, "field is one of"),
        ({"kind": "burst", "symbol": ["IBM"]}, "symbol is a text"),
    ],
)
def test_a_misspelled_fault_is_refused(served: Served, posted: dict[str, object], message: str) -> None:
    """The control port answers 400 with the reason, and nothing is put in force."""
    refused = served.client.post(f"http://127.0.0.1:{served.control_port}/faults", json=posted)
    assert refused.status_code == 400 and message in refused.json()["error"]
    assert served.control.faults.shown() == []


def test_a_fault_without_a_finite_number_is_refused(served: Served) -> None:
    """JSON as Python writes it can hold Infinity; a fault that cannot be carried out is refused when it is posted."""
    refused = served.client.post(
        f"http://127.0.0.1:{served.control_port}/faults", content=b'{"kind": "stale", "sessions": Infinity}'
    )
    assert refused.status_code == 400 and "sessions is a number" in refused.json()["error"]


def test_the_control_port_moves_the_clock_and_counts(market: Market) -> None:
    """The clock is set in New York time and advanced; requests are counted by function; faults are cleared."""
    with serving(market) as fresh:
        base = f"http://127.0.0.1:{fresh.control_port}"
        assert fresh.client.get(f"{base}/clock").json()["at"] == "2024-06-28T10:00:00-04:00"
        assert (
            fresh.client.post(f"{base}/clock", json={"at": "2024-06-28T15:59"}).json()["at"]
            == "2024-06-28T15:59:00-04:00"
        )
        assert fresh.client.post(f"{base}/clock", json={"advance_s": 60}).json()["at"] == "2024-06-28T16:00:00-04:00"
        assert fresh.json("GLOBAL_QUOTE", market.symbols[0])["Global Quote"]["07. latest trading day"] == "2024-06-28"
        fresh.get("GLOBAL_QUOTE", "NOPE")
        fresh.get("NO_SUCH")
        assert fresh.client.get(f"{base}/counters").json() == {"alpha_vantage": {"GLOBAL_QUOTE": 2, "unknown": 1}}
        wrong = [b"{}", b'{"at": "noon"}', b'{"advance_s": "1"}', b'{"hour": 3}', b'{"speed": -1}', b'{"at_us": 1e3}']
        wrong += [b'{"advance_s": NaN}', b'{"advance_s": 1e300}', b'{"speed": 1e308}', b'{"at": "9999-12-31T23:59"}']
        wrong += [
            b'{"at": "0001-01-01"}',
            b'{"at_us": 99999999999999999999999}',
            b"[]",
            b'{"at": "2024-06-28", "at_us": 1}',
        ]
        for body in wrong:
            assert fresh.client.post(f"{base}/clock", content=body).status_code == 400, body
        assert fresh.client.get(f"{base}/clock").json()["at"] == "2024-06-28T16:00:00-04:00"
        assert fresh.client.post(f"{base}/clock", content=b"{").status_code == 400
        assert fresh.client.get(f"{base}/nothing").status_code == 404
        fresh.client.post(f"{base}/faults", json={"kind": "html"})
        assert fresh.client.post(f"{base}/faults", json={"clear": True}).json()["faults"] == []


def test_one_connection_carries_three_hundred_requests_a_second(served: Served, market: Market) -> None:
    """A kept-alive connection asks for other symbols' compact series at 300 a second or more of processor time.

    The time is this process's, client and server together, so that a busy machine does not fail it.
    """
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    count = 300
    started = time.process_time()
    for n in range(count):
        symbol = market.symbols[n % len(market.symbols)]
        connection.request("GET", f"/query?function=TIME_SERIES_DAILY_ADJUSTED&symbol={symbol}&apikey=k")
        response = connection.getresponse()
        assert response.status == 200 and len(response.read()) > 10_000
    took = time.process_time() - started
    connection.close()
    assert took < count / 300


def start(*flags: str) -> subprocess.Popen[str]:
    """Start the simulator as its own process."""
    command = [sys.executable, "-m", "bar_fly_simulators.alpha_vantage", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_when_it_is_ready_and_ends_cleanly(number: int) -> None:
    """One line names both ports; a signal ends it with status 0 and no word on stderr, open connections or not."""
    with start("--port", "0", "--market", "synthetic:2:1", "--speed", "0", "--tier", "free", "--key", "K") as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"alpha vantage simulator ready on 127.0.0.1:(\d+) control 127.0.0.1:(\d+)\n", line)
        assert found
        with httpx.Client(base_url=f"http://127.0.0.1:{found[1]}") as client:
            body = client.get("/query", params={"function": "OVERVIEW", "symbol": "X", "apikey": "W"}).json()
            assert body == INVALID_KEY
            process.send_signal(number)
            assert process.wait(10) == 0
        assert process.stdout.read() == "" and process.stderr.read() == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--market", "nowhere.csv"), "nowhere.csv: no such file"),
        (("--market", "synthetic:2:1", "--at", "noon"), "noon"),
        (("--market", "synthetic:2:1", "--speed", "-1"), "speed"),
        (("--market", "synthetic:2:1", "--port", "{taken}"), "address already in use"),
    ],
)
def test_a_process_that_cannot_start_says_why(served: Served, flags: tuple[str, ...], message: str) -> None:
    """A wrong flag or a taken port ends with status 2 and one line, without a traceback."""
    with start(*(flag.format(taken=served.port) for flag in flags)) as process:
        _, error = process.communicate(timeout=20)
    assert process.returncode == 2
    assert message in error and "Traceback" not in error and error.count("\n") == 1
