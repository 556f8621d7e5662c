"""Every function of the client over the simulator, and every refusal of every function: classified, bounded, without the key."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.vendor_simulator import Simulator, simulated

from bar_fly_trading.data.alpha_vantage import AlphaVantage, Patience
from bar_fly_trading.data.calendars import earnings_calendar, listing_status, market_status
from bar_fly_trading.data.options_chains import historical_chain, realtime_chain
from bar_fly_trading.data.parse_csv import CALENDAR_COLUMNS, NoticeInDisguise, csv_body
from bar_fly_trading.data.realtime_quotes import book_tops, last_prices
from bar_fly_trading.data.series import SERIES, macro, with_known
from bar_fly_trading.data.vendor_answers import Answer, VendorRefused
from bar_fly_trading.facts.sessions import new_york_datetime

KEY = "CANARY7KEY/+x"
QUICK = Patience(attempts_max=2, backoff_s=0.001)
MON = date(2024, 4, 1)
Ask = Callable[[AlphaVantage], Awaitable[Any]]
# Every function that the client asks, as one question of it.
EVERY: dict[str, Ask] = {
    "TIME_SERIES_DAILY_ADJUSTED": lambda one: one.daily_adjusted("BOCO", full=False),
    "TIME_SERIES_DAILY": lambda one: one.daily("BOCO"),
    "SPLITS": lambda one: one.splits("BOCO"),
    "DIVIDENDS": lambda one: one.dividends("BOCO"),
    "EARNINGS": lambda one: one.earnings("BOCO"),
    "OVERVIEW": lambda one: one.overview("BOCO"),
    "REALTIME_BULK_QUOTES": lambda one: last_prices(one, ["BOCO"]),
    "REALTIME_BULK_BID_ASK_PRICES": lambda one: book_tops(one, ["BOCO"]),
    "HISTORICAL_OPTIONS": lambda one: historical_chain(one, "BOCO", MON),
    "REALTIME_OPTIONS": lambda one: realtime_chain(one, "BOCO"),
    "EARNINGS_CALENDAR": earnings_calendar,
    "LISTING_STATUS": listing_status,
    "MARKET_STATUS": market_status,
    **{SERIES[name].function: partial(macro, name=name) for name in SERIES},
}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    """Run a simulator on an evening of April 2024."""
    with simulated("synthetic:3:7", "--at", f"{MON}T18:00") as simulator:
        yield simulator


@pytest.fixture
def served(running: Simulator) -> Simulator:
    """Return it without faults."""
    running.post("/faults", {"clear": True})
    return running


@dataclass
class Instant:
    """A clock that moves only when somebody waits on it."""

    now_s: float = 0.0

    async def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.now_s += seconds
        await asyncio.sleep(0)

    def settings(self) -> dict[str, Any]:
        """Return what a client takes of it."""
        return {"monotonic": lambda: self.now_s, "sleep": self.sleep}


def ask(port: int, question: Ask, **more: Any) -> Any:
    """Ask one question with a client that waits for nothing."""

    async def main() -> Any:
        settings: dict[str, Any] = {"requests_per_minute": 1e6, "patience": QUICK, **Instant().settings(), **more}
        async with AlphaVantage(KEY, base_url=f"http://127.0.0.1:{port}", **settings) as one:
            return await question(one)

    return asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("function", EVERY)
def test_every_function_is_read_from_its_recorded_shape(served: Simulator, function: str) -> None:
    """Each function's answer becomes rows or text; nothing is kept aside."""
    found = ask(served.port, EVERY[function])
    assert found is not None and (not hasattr(found, "height") or function in ("SPLITS", "DIVIDENDS") or found.height)


def test_what_is_read_is_what_was_served(served: Simulator) -> None:
    """A chain is of its session with all columns, a book has its sides, a calendar its days, listings their ids."""
    chain = ask(served.port, EVERY["HISTORICAL_OPTIONS"])
    assert chain["session"].unique().to_list() == [MON] and set(chain["right"]) == {"call", "put"}
    assert chain.null_count().sum_horizontal().item() == 0
    (top,) = ask(served.port, EVERY["REALTIME_BULK_BID_ASK_PRICES"])
    assert top.bid_usd < top.ask_usd and top.symbol == "BOCO"
    calendar = ask(served.port, earnings_calendar)
    assert calendar["report_date"].min() >= MON and set(calendar["symbol"]) <= {"BOCO", "RUZO", "VOVA"}
    listings = ask(served.port, listing_status)
    assert all(row["listing_id"] == f"{row['symbol']}@{row['ipo_date']}" for row in listings.iter_rows(named=True))
    assert [one.open for one in ask(served.port, market_status)] == [False, True]
    served.post("/faults", {"kind": "six_columns", "times": 1})
    assert ask(served.port, earnings_calendar)["report_time"].null_count() == calendar.height


def test_a_series_is_known_by_its_release_rule_or_receipt(served: Simulator) -> None:
    """Each served period's rule lies after its first day; a value received before its rule is known at receipt."""
    for name, one in SERIES.items():
        rows = ask(served.port, partial(macro, name=name))
        assert rows["series"].unique().to_list() == [name] and rows["date"].is_sorted()
        late = with_known(rows, name, 2**60)
        first, known = rows["date"][0], new_york_datetime(late["known_at"][0])
        assert first < known.date() == one.release_date(first)
        assert with_known(rows, name, 5)["known_at"].unique().to_list() == [5]
    cpi = SERIES["cpi"]
    assert cpi.release_date(date(2024, 4, 1)) == date(2024, 5, 16)
    assert cpi.next_period(date(2024, 12, 1)) == date(2025, 1, 1)
    assert SERIES["treasury_yield_10year"].release_date(date(2024, 5, 17)) == date(2024, 5, 21)


# fault of the simulator -> what it must be taken for, and the requests it may cost (two attempts are allowed here).
REFUSALS = {
    "burst": (Answer.BURST, 2),
    "daily_cap": (Answer.DAILY_LIMIT, 1),
    "legacy_note": (Answer.BURST, 2),
    "premium": (Answer.PREMIUM, 1),
    "premium_full": (Answer.PREMIUM, 1),
    "invalid_key": (Answer.BAD_KEY, 1),
    "invalid_call": (Answer.UNKNOWN_SYMBOL, 1),
    "html": (Answer.BAD_BODY, 2),
    "http_429": (Answer.HTTP, 2),
    "http_500": (Answer.HTTP, 2),
    "http_503": (Answer.HTTP, 2),
    "connection_reset": (Answer.TRANSPORT, 2),
    "truncated_json": (Answer.BAD_BODY, 2),
    "cut_body": (Answer.TRANSPORT, 2),
}


def _everything_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__cause__) + repr(error.__context__)


@pytest.mark.parametrize("kind", REFUSALS)
def test_d6_d30_every_refusal_of_every_function_is_classified_and_never_says_the_key(
    served: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Twenty functions times fourteen refusals: the kind, the requests, and no key in error, log or kept file."""
    caplog.set_level(logging.DEBUG)
    answer, requests = REFUSALS[kind]
    served.post("/faults", {"kind": kind})
    for function, question in EVERY.items():
        before = sum(served.asked().values())
        with pytest.raises(VendorRefused) as caught:
            ask(served.port, question, unknown_bodies=tmp_path)
        wanted = answer
        if kind == "truncated_json" and function in ("EARNINGS_CALENDAR", "LISTING_STATUS"):
            assert caught.value.answer in (Answer.BAD_BODY, Answer.UNKNOWN), function
        else:
            assert caught.value.answer is wanted, function
            assert sum(served.asked().values()) - before == requests, function
        assert caught.value.way_out
        assert "CANARY" not in _everything_of(caught.value)
    assert "CANARY" not in caplog.text
    assert not [path for path in tmp_path.rglob("*") if "CANARY" in path.name or b"CANARY" in path.read_bytes()]


@pytest.mark.parametrize("function", ["REALTIME_OPTIONS", "HISTORICAL_OPTIONS", "REALTIME_BULK_BID_ASK_PRICES"])
def test_d6_artificial_rows_are_refused_for_what_they_are(served: Simulator, function: str) -> None:
    """Rows that look real under a message that says otherwise give no row."""
    served.post("/faults", {"kind": "artificial"})
    with pytest.raises(VendorRefused) as caught:
        ask(served.port, EVERY[function])
    assert caught.value.answer is Answer.ARTIFICIAL


@pytest.mark.parametrize("function", ["EARNINGS_CALENDAR", "LISTING_STATUS"])
def test_d6_a_notice_disguised_as_csv_is_waited_out_and_never_read_as_no_rows(served: Simulator, function: str) -> None:
    """Once: the second answer counts. Twice: refused. A header alone is truly no rows."""
    whole = ask(served.port, EVERY[function])
    served.post("/faults", {"kind": "csv_disguise", "times": 1})
    assert ask(served.port, EVERY[function]).equals(whole)
    served.post("/faults", {"kind": "csv_disguise"})
    with pytest.raises(VendorRefused) as caught:
        ask(served.port, EVERY[function])
    assert caught.value.answer is Answer.DISGUISED and not caught.value.final
    served.post("/faults", {"clear": True})
    served.post("/faults", {"kind": "unknown_symbol"})
    assert ask(served.port, EVERY[function]).height == 0


@pytest.mark.parametrize("letters", ["I,n,f,o,r,m", "I,n,f,o,r,m,a", "N,o,t,e,,,", "E,r,r,o,r, ,M"])
def test_every_disguise_is_seen_through(letters: str) -> None:
    """Six or seven characters, either notice: a disguise. A row of true short values is none."""
    count = letters.count(",") + 1
    header = ",".join([*CALENDAR_COLUMNS, "timeOfTheDay"][:count])
    with pytest.raises(NoticeInDisguise):
        csv_body(f"{header}\r\n{letters}\r\n".encode(), CALENDAR_COLUMNS)
    true = f"{','.join(CALENDAR_COLUMNS)}\r\nA,B,2024-05-01,2024-03-31,1,USD\r\n".encode()
    assert len(csv_body(true, CALENDAR_COLUMNS)) == 1


def http(body: bytes, kind: str = "application/json") -> bytes:
    """Return a whole HTTP answer."""
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )


@dataclass
class Scripted:
    """A server with one answer."""

    answer: bytes
    port: int = 0
    requests: list[str] = field(default_factory=list)


@asynccontextmanager
async def scripted(answer: bytes) -> AsyncIterator[Scripted]:
    """Serve one answer on a free port."""
    found = Scripted(http(answer))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(found.answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


def refused(answer: bytes, question: Ask, tmp_path: Path | None = None) -> VendorRefused:
    """Ask a server of one answer; return what was raised."""

    async def main() -> VendorRefused:
        async with (
            scripted(answer) as vendor,
            AlphaVantage(
                KEY,
                base_url=f"http://127.0.0.1:{vendor.port}",
                requests_per_minute=1e6,
                patience=QUICK,
                **Instant().settings(),
                unknown_bodies=tmp_path,
            ) as one,
        ):
            with pytest.raises(VendorRefused) as caught:
                await question(one)
            return caught.value

    return asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("function", EVERY)
def test_d6_a_shape_never_seen_is_kept_aside_and_reported(tmp_path: Path, function: str) -> None:
    """A new kind of body stores nothing, names the file that keeps it, and that file does not hold the key."""
    error = refused(json.dumps({"Salutation": f"your key {KEY} is dear to us"}).encode(), EVERY[function], tmp_path)
    assert error.answer is Answer.UNKNOWN
    (kept,) = tmp_path.iterdir()
    assert str(kept) in str(error)
    assert b"[key] is dear" in kept.read_bytes() and "CANARY" not in _everything_of(error)


ROW = {
    "contractID": "BOCO240419C00100000", "symbol": "BOCO", "expiration": "2024-04-19", "strike": "100.00",
    "type": "call", "last": "1", "mark": "1", "bid": "1", "bid_size": "1", "ask": "1", "ask_size": "1", "volume": "1",
    "open_interest": "1", "date": "2024-04-01", "implied_volatility": "-", "delta": "None", "gamma": ".", "theta": "",
    "vega": "null", "rho": "0",
}  # fmt: skip


def chain(*rows: dict[str, str]) -> bytes:
    """Return a chain's body."""
    return json.dumps({"endpoint": "Historical Options", "message": "success", "data": rows}).encode()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{**ROW, "symbol": "IBM"}], "answered for 'IBM'"),
        ([{**ROW, "date": "2024-03-28"}], "another session"),
        ([{**ROW, "date": "2049-99-99"}], "'date'"),
        ([ROW, ROW], "given twice"),
        ([{**ROW, "contractID": "X'; DROP TABLE orders;--"}], "not a contract"),
        ([{**ROW, "contractID": "=cmd|x"}], "not a contract"),
        ([{**ROW, "contractID": "A" * 1_000_000}], "not a contract"),
        ([{**ROW, "contractID": "BOCO\u202e240419C"}], "not a contract"),
        ([{**ROW, "type": "straddle"}], "neither call nor put"),
        ([{**ROW, "strike": "0"}], "not above 0"),
        ([{**ROW, "bid": "1e999"}], "not a number"),
        ([{key: value for key, value in ROW.items() if key != "ask"}], "'ask' is missing"),
    ],
)
def test_d9_d19_d28_d29_an_unfit_chain_is_refused_whole(rows: Sequence[dict[str, str]], words: str) -> None:
    """Wrong symbol, yesterday's cache, impossible date, a contract twice or that is an injection: no row, in words."""
    error = refused(chain(*rows), EVERY["HISTORICAL_OPTIONS"])
    assert error.answer is Answer.UNKNOWN and words in str(error)
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    "body",
    [
        b"symbol,name\r\nA,B\r\n",
        b"symbol,name,reportDate,fiscalDateEnding,estimate,currency\r\nA,B,2024-05-01\r\n",
        b'symbol,name,reportDate,fiscalDateEnding,estimate,currency\r\nA,"B,2024-05-01,2024-03-31,1,USD\r\n',
        b"\xff\xfe",
        b"",
    ],
)
def test_d8_csv_that_is_cut_or_another_is_refused(body: bytes) -> None:
    """A shorter header, a row cut off, an open quote, no text at all: a damaged body, never fewer rows."""
    assert refused(body, earnings_calendar).answer is Answer.BAD_BODY


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "X", "interval": "monthly", "unit": "u", "data": [{"date": "2024-01-01", "value": "NaN"}]}',
        b'{"name": "X", "interval": "monthly", "unit": "u", "data": [{"date": "2024-13-01", "value": "1"}]}',
        b'{"name": "X", "interval": "monthly", "unit": "u", "data": [{"date": "2024-01-01", "value": "1"}, {"date": "2024-01-01", "value": "2"}]}',
        b'{"name": "X", "interval": "daily", "unit": "u", "data": [{"date": "2024-01-01", "value": "1"}]}',
        b'{"name": "X", "interval": "monthly", "unit": "u", "data": ["1"]}',
    ],
)
def test_d8_d16_an_unfit_series_is_refused_whole(body: bytes) -> None:
    """NaN, a date that is none, a period twice, another interval, no rows: nothing is read."""
    assert refused(body, EVERY["CPI"]).answer is Answer.UNKNOWN


def test_d28_names_in_csv_are_kept_as_text_and_do_no_harm() -> None:
    """A quoted comma, a formula, a newline and a text from right to left stay in their column."""
    name = "=cmd|' /C calc'!A0, \"Ltd\"\n\u202eevil"
    quoted = '"' + name.replace('"', '""') + '"'
    body = f"symbol,name,exchange,assetType,ipoDate,delistingDate,status\r\nA,{quoted},NYSE,Stock,null,null,Active\r\n"
    (row,) = csv_body(body.encode(), ("symbol", "name"))
    assert row["name"] == name and row["status"] == "Active"
