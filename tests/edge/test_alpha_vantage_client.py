"""The Alpha Vantage client against a real socket that answers well, badly, slowly and not at all."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest

from bar_fly_trading.data.alpha_vantage import AlphaVantage, Patience
from bar_fly_trading.data.realtime_quotes import last_prices
from bar_fly_trading.data.vendor_answers import Answer, VendorRefused
from bar_fly_trading.errors import CheckVendor

KEY = "CANARY7KEY/+x"
PREMIUM_URL = "https://www.alphavantage.co/premium/"
BURST = (
    "Thank you for using Alpha Vantage! Please consider spreading out your free API requests more sparingly (1 request "
    f"per second). You may subscribe to any of the premium plans at {PREMIUM_URL} to lift the free key rate limit (25 "
    "requests per day), raise the per-second burst limit, and instantly unlock all premium endpoints"
)
DAILY_CAP = (
    f"We have detected your API key as {KEY} and our standard API rate limit is 25 requests per day. Please subscribe "
    f"to any of the premium plans at {PREMIUM_URL} to instantly remove all daily rate limits."
)
PREMIUM = (
    "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any of the premium plans at "
    f"{PREMIUM_URL} to instantly unlock all premium endpoints"
)
FULL_IS_PREMIUM = (
    "Thank you for using Alpha Vantage! The outputsize=full parameter value is a premium feature for the "
    "TIME_SERIES_DAILY endpoint."
)
NOTE = "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls per day."
BAD_KEY = "the parameter apikey is invalid or missing. Please claim your free API key on (https://www.alphavantage.co)."
INVALID = "Invalid API call. Please retry or visit the documentation for TIME_SERIES_DAILY_ADJUSTED."
ARTIFICIAL = "This is a premium endpoint. ***THE SAMPLE DATA SCHEMA BELOW IS ARTIFICIAL AND FOR ILLUSTRATION ONLY***."
BAR = {
    "1. open": "122.67",
    "2. high": "122.80",
    "3. low": "121.06",
    "4. close": "121.805",
    "5. adjusted close": "121.805",
    "6. volume": "2542577",
    "7. dividend amount": "0.0000",
    "8. split coefficient": "1.0000",
}
SERIES: dict[str, Any] = {
    "Meta Data": {"1. Information": "Daily", "2. Symbol": "BRK-B", "3. Last Refreshed": "2020-05-08"},
    "Time Series (Daily)": {"2020-05-08": BAR, "2020-05-07": BAR},
}
_T = TypeVar("_T")


def http(body: object, status: str = "200 OK", headers: str = "") -> bytes:
    """Return a whole HTTP answer; a body that is not text or bytes becomes JSON."""
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n{headers}Connection: close\r\n\r\n".encode() + data


GOOD = http(SERIES)


@dataclass
class Vendor:
    """A server that gives the answers of its script in turn, the last one for ever; None hangs."""

    script: Sequence[bytes | None]
    port: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    drip_s: float = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            self.asked.append({name: values[0] for name, values in parse_qs(urlsplit(target).query).items()})
            answer = self.script[min(len(self.asked), len(self.script)) - 1]
            if answer is None:
                await asyncio.sleep(30)
            elif self.drip_s:
                for i in range(len(answer)):
                    writer.write(answer[i : i + 1])
                    await writer.drain()
                    await asyncio.sleep(self.drip_s)
            else:
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def vendor(*script: bytes | None, drip_s: float = 0.0) -> AsyncIterator[Vendor]:
    """Serve a script on a free port."""
    served = Vendor(script, drip_s=drip_s)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


@dataclass
class FakeTime:
    """A clock that moves only when somebody waits on it."""

    now_s: float = 0.0
    waits: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        """Return the time."""
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.waits.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


def client(port: int, clock: FakeTime, **more: Any) -> AlphaVantage:
    """Return a client that waits on the fake clock and draws no lots: the backoff is its upper bound."""
    settings: dict[str, Any] = {"requests_per_minute": 75, "uniform": lambda _low, high: high, **more}
    return AlphaVantage(
        KEY, base_url=f"http://127.0.0.1:{port}", monotonic=clock.monotonic, sleep=clock.sleep, **settings
    )


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end within ten seconds."""
    return asyncio.run(asyncio.wait_for(main, 10))


def refusal(
    script: Sequence[bytes | None], ask: Callable[[AlphaVantage], Any], **more: Any
) -> tuple[VendorRefused, Vendor]:
    """Ask a scripted vendor, and return what the client raised and what the vendor saw."""

    async def main() -> tuple[VendorRefused, Vendor]:
        async with vendor(*script) as served, client(served.port, FakeTime(), **more) as asked:
            with pytest.raises(VendorRefused) as caught:
                await ask(asked)
            return caught.value, served

    return run(main())


def daily(asked: AlphaVantage) -> Any:
    """Ask for Berkshire's daily bars."""
    return asked.daily_adjusted("BRK.B", full=False)


def test_a_series_is_read_with_the_symbol_in_the_vendors_spelling() -> None:
    """BRK.B is asked as BRK-B; numbers come typed, oldest first; the request carries what the vendor documents."""

    async def main() -> None:
        async with vendor(GOOD) as served, client(served.port, FakeTime()) as asked:
            body = await daily(asked)
            assert body.bars["session"].to_list() == [date(2020, 5, 7), date(2020, 5, 8)]
            assert body.bars.row(1)[1:] == (122.67, 122.80, 121.06, 121.805, 121.805, 2542577, 0.0, 1.0)
            assert body.refreshed is None
            assert served.asked == [
                {"function": "TIME_SERIES_DAILY_ADJUSTED", "symbol": "BRK-B", "outputsize": "compact", "apikey": KEY}
            ]
            assert asked.requests == 1

    run(main())


def test_the_time_of_a_running_session_is_read() -> None:
    """A last refresh with a time of day is handed on: the newest bar is not whole then."""
    body = json.loads(json.dumps(SERIES))
    body["Meta Data"]["3. Last Refreshed"] = "2020-05-08 14:07:57"

    async def main() -> None:
        async with vendor(http(body)) as served, client(served.port, FakeTime()) as asked:
            assert (await daily(asked)).refreshed == datetime(2020, 5, 8, 14, 7, 57)  # noqa: DTZ001

    run(main())


@pytest.mark.parametrize(
    ("body", "answer", "requests"),
    [
        ({"Information": DAILY_CAP}, Answer.DAILY_LIMIT, 1),
        ({"Information": PREMIUM}, Answer.PREMIUM, 1),
        ({"Information": FULL_IS_PREMIUM}, Answer.PREMIUM, 1),
        ({"Error Message": BAD_KEY}, Answer.BAD_KEY, 1),
        ({"Error Message": INVALID}, Answer.UNKNOWN_SYMBOL, 1),
        ({"Information": BURST}, Answer.BURST, 5),
        ({"Note": NOTE}, Answer.BURST, 5),
        ({}, Answer.EMPTY, 1),
        ({"Meta Data": {"2. Symbol": "BRK-B"}}, Answer.EMPTY, 1),
        ({"Meta Data": {"2. Symbol": "BRK-B"}, "Time Series (Daily)": {}}, Answer.EMPTY, 1),
        ({"Information": "The markets are closed for good."}, Answer.UNKNOWN, 1),
        ({"weather": "fine"}, Answer.UNKNOWN, 1),
        ({**SERIES, "Meta Data": {"2. Symbol": "AAPL"}}, Answer.UNKNOWN, 1),
        ({**SERIES, "Time Series (Daily)": {"2020-05-08": {**BAR, "4. close": "high"}}}, Answer.UNKNOWN, 1),
        ({**SERIES, "Time Series (Daily)": {"soon": BAR}}, Answer.UNKNOWN, 1),
        ({**SERIES, "Time Series (Daily)": {"2020-05-08": {"1. open": "1"}}}, Answer.UNKNOWN, 1),
        ("<html>maintenance</html>", Answer.BAD_BODY, 5),
        ('{"Time Series (Daily)": {"2020', Answer.BAD_BODY, 5),
        ('{"Time Series (Daily)": {"2020-05-08": {"4. close": NaN}}}', Answer.BAD_BODY, 5),
        ('{"Meta Data": {}, "Meta Data": {}}', Answer.BAD_BODY, 5),
        ("[1, 2]", Answer.BAD_BODY, 5),
        (b"\xff\xfe\x00", Answer.BAD_BODY, 5),
        ("", Answer.BAD_BODY, 5),
    ],
)
def test_every_body_is_known_for_what_it_is(body: object, answer: Answer, requests: int) -> None:
    """Each recorded or damaged body gives its kind, a way out, and as many requests as its kind deserves."""
    error, served = refusal([http(body)], daily)
    assert error.answer is answer
    assert len(served.asked) == requests
    assert isinstance(error, CheckVendor)
    assert error.way_out
    assert "BRK" in error.message


def test_made_up_rows_are_refused() -> None:
    """Rows under the words ARTIFICIAL, or under any message but success, never become prices."""
    row = {"symbol": "MSFT", "timestamp": "2024-10-18 19:59:55.291", "close": "418.16"}
    for message, answer in ((ARTIFICIAL, Answer.ARTIFICIAL), (PREMIUM, Answer.PREMIUM), ("odd", Answer.UNKNOWN)):
        body = {"endpoint": "Realtime Bulk Quotes", "message": message, "data": [row]}
        assert refusal([http(body)], lambda asked: last_prices(asked, ["MSFT"]))[0].answer is answer

    async def main() -> None:
        body = {"endpoint": "Realtime Bulk Quotes", "message": "success", "data": [row]}
        async with vendor(http(body)) as served, client(served.port, FakeTime()) as asked:
            assert [str(p.price_usd) for p in await last_prices(asked, ["MSFT", "AAPL"])] == ["418.16"]

    run(main())


@pytest.mark.parametrize(
    ("bad", "waited"),
    [
        (http("", "429 Too Many Requests"), 1.0),
        (http("", "429 Too Many Requests", "Retry-After: 7\r\n"), 8.0),
        (http("", "503 Service Unavailable"), 1.0),
        (http("<html>", "200 OK"), 1.0),
        (http({"Information": BURST}), 1.0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", 1.0),
        (b"nonsense\r\n\r\n", 1.0),
        (b"", 1.0),
        (http(b"not gzip", "200 OK", "Content-Encoding: gzip\r\n"), 1.0),
    ],
)
def test_passing_trouble_is_waited_out(bad: bytes, waited: float) -> None:
    """Three failures and then the data: the client backs off by 1, 2, 4 s (or as told) and returns the data."""

    async def main() -> None:
        clock = FakeTime()
        async with vendor(bad, bad, bad, GOOD) as served, client(served.port, clock) as asked:
            assert (await daily(asked)).bars.height == 2
            assert len(served.asked) == 4
            assert clock.waits[0] == pytest.approx(waited)
            assert clock.now_s >= 7.0

    run(main())


def test_what_will_not_pass_is_not_repeated() -> None:
    """A status such as 403 is told at once."""
    error, served = refusal([http("", "403 Forbidden")], daily)
    assert (error.answer, len(served.asked)) == (Answer.HTTP, 1)
    assert "403" in error.message


def test_a_server_that_hangs_or_drips_is_left_after_our_own_time() -> None:
    """The read timeout ends silence; the total timeout ends a body that comes one byte at a time."""

    async def main(drip_s: float, patience: Patience, words: str, *script: bytes | None) -> None:
        async with (
            vendor(*script, drip_s=drip_s) as served,
            client(served.port, FakeTime(), patience=patience) as asked,
        ):
            with pytest.raises(VendorRefused, match=words) as caught:
                await daily(asked)
            assert caught.value.answer is Answer.TRANSPORT

    quick = Patience(read_timeout_s=0.1, total_timeout_s=5, attempts_max=2)
    run(main(0.0, quick, "ReadTimeout", None))
    dripping = Patience(read_timeout_s=5, total_timeout_s=0.2, attempts_max=1)
    run(main(0.02, dripping, "no whole answer within 0.2 s", GOOD))


def test_a_body_never_seen_is_kept_without_the_key(tmp_path: Path) -> None:
    """The unknown body lies in the folder given, its path is in the message, and the key is not in it."""
    error, _ = refusal([http({"Information": f"New words about {KEY}."})], daily, unknown_bodies=tmp_path)
    (kept,) = tmp_path.iterdir()
    assert str(kept) in error.message
    assert "New words about [key]." in kept.read_text()


_ERROR_PATHS: list[tuple[str, bytes | None]] = [
    ("daily cap", http({"Information": DAILY_CAP})),
    ("unknown body that repeats the key", http({"Information": f"hello {KEY.lower()} hello"})),
    ("url that repeats the key", http({"oops": "/query?apikey=CANARY7KEY%2F%2Bx"})),
    ("not JSON", http(f"<html>{KEY}</html>")),
    ("wrong symbol", http({**SERIES, "Meta Data": {"2. Symbol": KEY}})),
    ("bad number", http({**SERIES, "Time Series (Daily)": {"2020-05-08": {**BAR, "4. close": KEY}}})),
    ("bad date", http({**SERIES, "Time Series (Daily)": {KEY: BAR}})),
    ("bad refresh", http({**SERIES, "Meta Data": {"2. Symbol": "BRK-B", "3. Last Refreshed": KEY}})),
    ("status", http(KEY, "500 Oops")),
    ("redirect", http("", "302 Found", f"Location: http://127.0.0.1/{KEY}\r\n")),
    ("cut", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"),
    ("nonsense", f"{KEY}\r\n\r\n".encode()),
    ("hangs", None),
]


def everything_of(error: BaseException) -> str:
    parts = [str(error), repr(error), "".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        parts.append(f"{seen!r} {seen.args!r} {vars(seen)!r}")
        seen = seen.__cause__ or seen.__context__
    return " ".join(parts)


@pytest.mark.parametrize(("name", "answer"), _ERROR_PATHS, ids=[name for name, _ in _ERROR_PATHS])
def test_the_key_is_in_no_message_cause_log_or_file(
    name: str, answer: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A canary key is nowhere: not in the error, its chain or traceback, any logger at DEBUG, or the kept body."""
    caplog.set_level(logging.DEBUG)
    for logger in ("httpx", "httpcore", "httpcore.http11", "httpcore.connection", "asyncio"):
        caplog.set_level(logging.DEBUG, logger)
    patience = Patience(read_timeout_s=0.1, attempts_max=2)
    error, served = refusal([answer], daily, unknown_bodies=tmp_path, patience=patience)
    assert served.asked[0]["apikey"] == KEY
    told = everything_of(error) + caplog.text + "".join(path.read_text() for path in tmp_path.iterdir())
    told += "".join(str(record.__dict__) for record in caplog.records)
    assert error.__context__ is None, name
    for form in (KEY, "CANARY", "CANARY7KEY%2F%2Bx"):
        assert form.lower() not in told.lower()


def test_nobody_listening_tells_the_host_and_not_the_key(unused_port: int) -> None:
    """A refused connection names the server, says what to check, and has no key in it."""

    async def main() -> None:
        async with client(unused_port, FakeTime(), patience=Patience(attempts_max=2)) as asked:
            with pytest.raises(VendorRefused, match=r"ConnectError.*Check the network") as caught:
                await daily(asked)
            assert "CANARY" not in everything_of(caught.value) + repr(asked)

    run(main())


@pytest.fixture
def unused_port() -> int:
    """Return a port on which nobody listens."""

    async def main() -> int:
        server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return int(port)

    return run(main())
