"""Rows D1 to D5, D7, D14 and D27 of the failure catalogue: the vendor slow, broken, unreachable, or answering in HTML."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trustme
from tests.edge.test_alpha_vantage_client import (
    BAR,
    GOOD,
    KEY,
    SERIES,
    FakeTime,
    Vendor,
    client,
    daily,
    everything_of,
    http,
    refusal,
    run,
    vendor,
)
from tests.edge.test_pull_night import CALENDAR, NOW, SESSION
from tests.vendor_simulator import Simulator, at_us, simulated

from bar_fly_trading.data.alpha_vantage import AlphaVantage, Patience
from bar_fly_trading.data.call_plan import Wants
from bar_fly_trading.data.importers.bars import FilesRefused, import_bars
from bar_fly_trading.data.pull import PullReport
from bar_fly_trading.data.pull_night import Waiting, night_plan, pull_night
from bar_fly_trading.data.pull_symbol import How
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.vendor_answers import Answer, VendorRefused
from bar_fly_trading.files import sha256_file

NAMES = ("BOCO", "RUZO", "VOVA")
QUICK = Patience(attempts_max=6, backoff_s=0.01)


@pytest.fixture(scope="module")
def _three() -> Iterator[Simulator]:
    with simulated("synthetic:3:7", "--at", f"{SESSION}T18:00") as running:
        yield running


@pytest.fixture
def three(_three: Simulator) -> Simulator:
    """Return a simulator of three names on the evening of the session, without faults."""
    _three.post("/faults", {"clear": True})
    _three.at(f"{SESSION}T18:00")
    return _three


def pulled(root: Path, running: Simulator, patience: Patience = QUICK) -> PullReport:
    """Pull three names' bars into a store, received at a fixed time."""

    async def main() -> PullReport:
        store, base = Store(root), f"http://127.0.0.1:{running.port}"
        async with AlphaVantage("KEY", base_url=base, requests_per_minute=60_000, patience=patience) as asked:
            plan = night_plan(store, CALENDAR, NAMES, SESSION, Wants(), now_us=at_us(NOW))
            return await pull_night(store, asked, CALENDAR, plan, NAMES, now_us=lambda: at_us(NOW))

    return asyncio.run(asyncio.wait_for(main(), 60))


def bars_of(root: Path) -> list[str]:
    """Return the names whose bars the store has up to the session."""
    bars = Store(root).read("bars")
    return sorted(i.removeprefix("us:") for i in bars.filter(bars["session"] == SESSION)["instrument_id"])


# ---------------------------------------------------------------- D1: 429


@pytest.mark.parametrize(
    ("headers", "told_s"),
    [
        ("Retry-After: 7\r\n", 7.0),
        ("Retry-After: 3600\r\n", 60.0),
        ("Date: Wed, 21 Oct 2026 07:28:00 GMT\r\nRetry-After: Wed, 21 Oct 2026 07:28:30 GMT\r\n", 30.0),
        ("Date: Wed, 21 Oct 2026 07:28:00 GMT\r\nRetry-After: Wed, 21 Oct 2026 07:20:00 GMT\r\n", 0.0),
        ("Retry-After: Wed, 21 Oct 2026 07:28:30 GMT\r\n", 0.0),
        ("Retry-After: soon\r\n", 0.0),
        ("Retry-After: -5\r\n", 0.0),
        ("", 0.0),
    ],
)
def test_d1_retry_after_is_honoured_in_both_its_forms_within_bounds(headers: str, told_s: float) -> None:
    """Seconds, or a time against the answer's own date; at most 60 s; nonsense is none; the backoff comes on top."""

    async def main() -> None:
        clock = FakeTime()
        bad = http("", "429 Too Many Requests", headers)
        async with vendor(bad, GOOD) as served, client(served.port, clock) as asked:
            assert (await daily(asked)).bars.height == 2
            assert clock.waits[0] == pytest.approx(told_s + 1.0)

    run(main())


def test_d1_the_backoff_is_drawn_by_lot_within_doubling_bounds_and_ends() -> None:
    """429 for ever: five tries, the waits drawn between 0 and 1, 2, 4, 8 s, then the refusal."""
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return high / 2

    error, served = refusal([http("", "429 Too Many Requests")], daily, uniform=uniform)
    assert error.answer is Answer.HTTP and "429" in error.message
    assert drawn == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 8.0)]
    assert len(served.asked) == 5


def test_d1_a_symbol_that_meets_only_429_is_missing_and_the_others_come(three: Simulator, tmp_path: Path) -> None:
    """One name refused for ever: it is listed with the status, two others are stored, and it is asked a bounded number of times."""
    three.post("/faults", {"kind": "http_429", "symbol": NAMES[1]})
    report = pulled(tmp_path, three)
    assert [(p.symbol, p.how) for p in report.failed] == [(NAMES[1], How.FAILED)]
    assert "429" in str(report.failed[0].fault)
    assert bars_of(tmp_path) == [NAMES[0], NAMES[2]]
    assert report.requests == 2 + QUICK.attempts_max


# ---------------------------------------------------------------- D2: a burst of 5xx that heals


def test_d2_a_burst_of_500_and_503_that_heals_leaves_the_bytes_of_a_pull_without_it(
    three: Simulator, tmp_path: Path
) -> None:
    """Same store, byte for byte: every segment and manifest of the pull through faults equals the undisturbed one's."""
    files: list[dict[str, str]] = []
    for number in range(2):
        if number:
            three.post("/faults", {"kind": "http_500", "symbol": NAMES[0], "times": 3})
            three.post("/faults", {"kind": "http_503", "symbol": NAMES[2], "times": 5})
        report = pulled(tmp_path / str(number), three)
        assert report.failed == () and report.requests == 3 + 8 * number
        root = tmp_path / str(number)
        paths = (p for p in root.rglob("*") if p.is_file() and p.name != "publish.lock")
        files.append({str(p.relative_to(root)): sha256_file(p) for p in paths})
    assert files[0] == files[1] and len(files[0]) >= 3


@pytest.mark.parametrize("status", ["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable"])
def test_d2_each_server_error_is_waited_out(status: str) -> None:
    """Three of them, then the data: the same bars as at the first try."""

    async def main() -> None:
        bad = http("<html>", status)
        async with vendor(bad, bad, bad, GOOD) as served, client(served.port, FakeTime()) as asked:
            healed = await daily(asked)
        async with vendor(GOOD) as served, client(served.port, FakeTime()) as asked:
            assert healed.bars.equals((await daily(asked)).bars)

    run(main())


# ---------------------------------------------------------------- D3: time


def quick_refusal(
    script: Sequence[bytes | None], patience: Patience, drip_s: float = 0.0
) -> tuple[VendorRefused, float]:
    """Ask a slow vendor in real, short time; return the refusal and the seconds it took."""

    async def main() -> tuple[VendorRefused, float]:
        async with (
            vendor(*script, drip_s=drip_s) as served,
            AlphaVantage(KEY, base_url=f"http://127.0.0.1:{served.port}", patience=patience) as asked,
        ):
            began = time.monotonic()
            with pytest.raises(VendorRefused) as caught:
                await daily(asked)
            return caught.value, time.monotonic() - began

    return run(main())


def test_d3_a_connection_that_is_never_taken_ends_at_its_deadline() -> None:
    """A listener whose queue is full takes no connection: given up after `connect_timeout_s`, with the host and no key."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))

            async def main() -> None:
                patience = Patience(connect_timeout_s=0.2, total_timeout_s=5, attempts_max=1)
                async with AlphaVantage(KEY, base_url=f"http://127.0.0.1:{port}", patience=patience) as asked:
                    with pytest.raises(VendorRefused, match="ConnectTimeout") as caught:
                        await daily(asked)
                    assert "CANARY" not in everything_of(caught.value)

            began = time.monotonic()
            run(main())
            assert time.monotonic() - began < 3
        finally:
            for one in waiting:
                one.close()


def test_d3_silence_and_a_slow_drip_end_at_the_deadline_of_a_request() -> None:
    """Silence ends after `read_timeout_s`; one byte at a time, which no read timeout sees, after `total_timeout_s`."""
    silent, took_s = quick_refusal([None], Patience(read_timeout_s=0.1, total_timeout_s=5, attempts_max=1))
    assert silent.answer is Answer.TRANSPORT and "ReadTimeout" in silent.message and took_s < 2
    patience = Patience(read_timeout_s=5, total_timeout_s=0.3, attempts_max=1)
    dripping, took_s = quick_refusal([GOOD], patience, drip_s=0.02)
    assert "no whole answer within 0.3 s" in dripping.message and 0.2 < took_s < 2


def test_d3_all_requests_together_end_at_the_deadline_of_the_stage() -> None:
    """However often each may be tried: after `stage_s` the client asks no more, and says which setting gives it more time."""
    patience = Patience(read_timeout_s=5, total_timeout_s=0.1, attempts_max=1000, backoff_s=0.01, stage_s=0.5)
    late, took_s = quick_refusal([GOOD], patience, drip_s=0.05)
    assert late.answer is Answer.OUT_OF_TIME and late.final and "data.pull_time_s_max" in late.message
    assert 0.4 < took_s < 2


def test_d3_a_pull_that_runs_out_of_time_keeps_what_came_and_ends(three: Simulator, tmp_path: Path) -> None:
    """The second of three names drips for ever: the first is stored, the pull ends with the reason, the rest is listed."""
    three.post("/faults", {"kind": "slow_drip", "symbol": NAMES[1], "seconds": 60})
    three.post("/faults", {"kind": "slow_drip", "symbol": NAMES[2], "seconds": 60})
    began = time.monotonic()
    patience = Patience(read_timeout_s=30, total_timeout_s=0.4, attempts_max=1000, backoff_s=0.01, stage_s=1.5)
    report = pulled(tmp_path, three, patience)
    assert time.monotonic() - began < 10
    assert report.stopped is not None and "data.pull_time_s_max" in report.stopped
    assert bars_of(tmp_path) == [NAMES[0]]
    assert {p.symbol for p in report.failed} == {NAMES[1], NAMES[2]}


# ---------------------------------------------------------------- D4: TLS and names


def test_d4_a_certificate_nobody_vouches_for_is_refused_without_the_key() -> None:
    """Another's certificate: no request is sent, the host is named, the key is in no message, cause or traceback."""

    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        served = Vendor([GOOD])
        server = await asyncio.start_server(served.serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        patience = Patience(attempts_max=2, backoff_s=0.01)
        async with AlphaVantage(KEY, base_url=f"https://127.0.0.1:{port}", patience=patience) as asked:
            with pytest.raises(VendorRefused, match="certificate verify failed") as caught:
                await daily(asked)
        server.close()
        assert caught.value.answer is Answer.TRANSPORT
        assert served.asked == []
        assert "CANARY" not in everything_of(caught.value)

    run(main())


def test_d4_a_name_that_does_not_resolve_is_said_without_the_key() -> None:
    """No such host: bounded tries, the name in the message, the key nowhere."""

    async def main() -> None:
        patience = Patience(attempts_max=2, backoff_s=0.01, total_timeout_s=5)
        async with AlphaVantage(KEY, base_url="https://no-such-host.invalid", patience=patience) as asked:
            with pytest.raises(VendorRefused, match=r"no-such-host\.invalid") as caught:
                await daily(asked)
            assert caught.value.answer is Answer.TRANSPORT and asked.requests == 2
            assert "CANARY" not in everything_of(caught.value)

    run(main())


# ---------------------------------------------------------------- D5, D7: a web page, a symbol nobody knows


def test_d5_a_web_page_with_status_200_is_no_data(three: Simulator, tmp_path: Path) -> None:
    """HTML in place of JSON is a damaged body: nothing of it is stored, the name is missing, the others come."""
    three.post("/faults", {"kind": "html", "symbol": NAMES[0]})
    report = pulled(tmp_path, three)
    assert [p.symbol for p in report.failed] == [NAMES[0]]
    assert str(Answer.BAD_BODY) in str(report.failed[0].fault)
    assert bars_of(tmp_path) == [NAMES[1], NAMES[2]]


def test_d7_an_unknown_symbol_is_set_aside_and_costs_one_request(three: Simulator, tmp_path: Path) -> None:
    """`Error Message` for one name: it is listed as unknown and asked once, the others are stored."""
    three.post("/faults", {"kind": "invalid_call", "symbol": NAMES[1]})
    report = pulled(tmp_path, three)
    assert [p.symbol for p in report.failed] == [NAMES[1]]
    assert "the symbol is unknown" in str(report.failed[0].fault)
    assert bars_of(tmp_path) == [NAMES[0], NAMES[2]] and report.requests == 3


# ---------------------------------------------------------------- D14: one date twice


@pytest.mark.parametrize("second", [BAR, {**BAR, "4. close": "121.80"}], ids=["identical", "conflicting"])
def test_d14_a_date_given_twice_by_the_vendor_is_refused(second: dict[str, str]) -> None:
    """JSON that names a date twice, alike or not, is a damaged body: which of the two was meant is not guessed."""
    body = str(http(SERIES).partition(b"\r\n\r\n")[2], "utf-8")
    once = f'"2020-05-08": {_json(BAR)}'
    assert once in body
    twice = body.replace(once, f'{once}, "2020-05-08": {_json(second)}')
    error, _ = refusal([http(twice)], daily)
    assert error.answer is Answer.BAD_BODY and "twice" in error.message


def _json(bar: dict[str, str]) -> str:
    import json

    return json.dumps(bar)


@pytest.mark.parametrize(("close", "taken"), [("133.11", True), ("133.12", False)], ids=["identical", "conflicting"])
def test_d14_a_date_in_two_files_is_taken_once_or_refused(tmp_path: Path, close: str, taken: bool) -> None:
    """The same bar in two files is stored once; another close for the same date refuses the second file by its place."""
    head = "symbol,date,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient\n"
    row = "AAPL,2021-04-20,135.0,135.5,131.8,{0},{0},94812345,0.22,1.0\n"
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    paths[0].write_text(head + row.format("133.11"))
    paths[1].write_text(head + row.format(close))
    store = Store(tmp_path / "store")
    if taken:
        report = import_bars(paths, store, CALENDAR, recorded_at_us=at_us(NOW))
        assert (report.rows_new, report.refused) == (1, ())
    else:
        with pytest.raises(FilesRefused, match=r"b\.csv.*AAPL 2021-04-20.*differs"):
            import_bars(paths, store, CALENDAR, recorded_at_us=at_us(NOW))
    assert store.read("bars")["close"].to_list() == [133.11]


# ---------------------------------------------------------------- D27: clocks that jump


@pytest.mark.parametrize("jump_s", [-3600, 3600])
def test_d27_a_wall_clock_that_jumps_changes_no_wait_for_the_session(
    three: Simulator, tmp_path: Path, jump_s: int
) -> None:
    """An hour forward or back in the middle: as many waits as were left at the start, no more and no fewer."""
    three.at("2024-05-14T18:00")
    start_us, waits = at_us(f"{SESSION}T20:30"), list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    def now_us() -> int:
        return start_us + (jump_s * 1_000_000 if waits else 0)

    async def main() -> PullReport:
        store, base = Store(tmp_path), f"http://127.0.0.1:{three.port}"
        async with AlphaVantage("KEY", base_url=base, requests_per_minute=60_000, patience=QUICK) as asked:
            plan = night_plan(store, CALENDAR, NAMES, SESSION, Wants(), now_us=now_us())
            waiting = Waiting(at_us(f"{SESSION}T21:00"), 300.0)
            return await pull_night(store, asked, CALENDAR, plan, NAMES, now_us=now_us, waiting=waiting, sleep=sleep)

    report = asyncio.run(asyncio.wait_for(main(), 60))
    assert waits == [300.0] * 6
    assert report.stopped is None and len(report.stale) == 3


def test_d27_the_deadline_of_a_stage_runs_on_monotonic_time() -> None:
    """A vendor that refuses for ever is left after `stage_s` of the monotonic clock, whatever the day says."""

    async def main() -> None:
        clock = FakeTime()
        patience = Patience(attempts_max=10_000, stage_s=100.0)
        async with (
            vendor(http("", "503 Service Unavailable")) as served,
            client(served.port, clock, patience=patience) as asked,
        ):
            with pytest.raises(VendorRefused) as caught:
                await daily(asked)
            assert caught.value.answer is Answer.OUT_OF_TIME
            assert 90.0 <= clock.now_s <= 130.0
            asked.not_asking(50.0)
            with pytest.raises(VendorRefused):
                await daily(asked)
            assert 140.0 <= clock.now_s <= 180.0

    run(main())


def test_d27_only_the_clocks_own_module_reads_the_wall_clock() -> None:
    """No other module of the program asks the machine for the date or the time of day."""
    source = Path(__file__).parents[2] / "src/bar_fly_trading"
    words = ("time.time(", "time_ns(", "datetime.now", "utcnow", "date.today")
    found = [
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if any(word in path.read_text().replace("monotonic_ns(", "") for word in words)
    ]
    assert sorted(found) == ["clock.py"]
