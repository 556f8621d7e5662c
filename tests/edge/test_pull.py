"""The pull against the simulated Alpha Vantage over a socket: what is asked, what is stored, and when it was known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.vendor_simulator import Simulator, at_us, simulated

from bar_fly_trading.data.adjust import adjusted_bars
from bar_fly_trading.data.alpha_vantage import AlphaVantage, Patience
from bar_fly_trading.data.known import backfill_known_us
from bar_fly_trading.data.pull import PullReport, Wanted, pull
from bar_fly_trading.data.pull_symbol import How
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.vendor_answers import Answer, VendorRefused
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.sessions import Calendar, evening_us

CALENDAR = Calendar()
MON, TUE, WED, THU = (date(2012, 11, day) for day in (5, 6, 7, 8))  # IBM pays 0.85 on WED
QUICK = Patience(attempts_max=2, backoff_s=0.01)


@pytest.fixture(scope="module")
def running_demo() -> Iterator[Simulator]:
    """Return a simulator over the demo's real prices."""
    with simulated("demo") as running:
        yield running


@pytest.fixture
def demo(running_demo: Simulator) -> Simulator:
    """Return that simulator without faults, on the evening of a Tuesday."""
    running_demo.post("/faults", {"clear": True})
    running_demo.at(f"{TUE}T18:00")
    return running_demo


def pulled(
    store: Store,
    simulator: Simulator,
    symbols: Sequence[str],
    session: date,
    *,
    now_us: Callable[[], int] = lambda: at_us("2026-11-20T18:00"),
    **more: Any,
) -> PullReport:
    """Pull with a client of the simulator; the wall clock stands in 2026 unless told otherwise."""

    async def main() -> PullReport:
        async with AlphaVantage(
            "KEY", base_url=f"http://127.0.0.1:{simulator.port}", requests_per_minute=60_000, patience=QUICK
        ) as vendor:
            return await pull(store, vendor, CALENDAR, symbols, now_us=now_us, session=session, **more)

    return asyncio.run(asyncio.wait_for(main(), 60))


def how(report: PullReport) -> dict[str, How]:
    """Return how each symbol came."""
    return {symbol.symbol: symbol.how for symbol in report.symbols}


def returns(bars: pl.DataFrame, name: str) -> list[float]:
    """Return an instrument's day-to-day adjusted returns."""
    closes = bars.filter(pl.col("instrument_id") == name)["adjusted_close"]
    return (closes / closes.shift(1) - 1).drop_nulls().to_list()


def test_the_first_pull_is_full_the_next_compact_and_the_third_asks_nothing(demo: Simulator, tmp_path: Path) -> None:
    """Requests fall from full to compact to none; each session is stored once; instruments and splits come along."""
    store = Store(tmp_path)
    seen: list[tuple[str, int, int]] = []
    first = pulled(store, demo, ["AAPL", "FB"], TUE, progress=lambda *said: seen.append(said))
    assert how(first) == {"AAPL": How.FULL, "FB": How.FULL}
    assert sorted(seen)[0][1:] == (1, 2)
    assert first.requests == 2
    assert first.stale == ()
    demo.at(f"{WED}T18:00")
    second = pulled(store, demo, ["AAPL", "FB"], WED)
    assert how(second)["FB"] is How.COMPACT
    assert second.symbols[1].rows_new == 1
    third = pulled(store, demo, ["AAPL", "FB"], WED)
    assert how(third) == {"AAPL": How.REUSED, "FB": How.REUSED}
    assert (third.requests, third.version, third.rows_added) == (0, second.version, 0)
    bars = store.read("bars")
    assert bars["session"].max() == WED
    assert bars.select(pl.struct("instrument_id", "session").is_duplicated().any()).item() is False
    assert load_instruments(store).ids() == ("us:AAPL", "us:FB")
    assert store.read("splits")["effective_date"].to_list() == [date(2000, 6, 21), date(2005, 2, 28)]


def test_a_dividend_fetches_that_name_in_full_and_every_view_has_one_basis(demo: Simulator, tmp_path: Path) -> None:
    """IBM's ex-day moves its adjusted past: it comes in full, GOOG compact; views before and after are consistent."""
    store = Store(tmp_path)
    pulled(store, demo, ["IBM", "GOOG"], TUE)
    before = store.read("bars", known_by_us=evening_us(TUE))
    demo.at(f"{WED}T18:00")
    report = pulled(store, demo, ["IBM", "GOOG"], WED)
    assert how(report) == {"IBM": How.FULL, "GOOG": How.COMPACT}
    assert report.symbols[0].rows_corrected > 3000
    assert store.read("bars", known_by_us=evening_us(TUE)).drop("recorded_at").equals(before.drop("recorded_at"))
    after = store.read("bars", known_by_us=evening_us(WED))
    assert returns(after, "us:IBM")[:-1] == pytest.approx(returns(before, "us:IBM"), abs=2e-5)
    ibm = after.filter(pl.col("instrument_id") == "us:IBM").tail(2)
    total_return = (ibm["close"][1] + ibm["dividend_amount"][1]) / ibm["close"][0] - 1
    assert returns(after, "us:IBM")[-1] == pytest.approx(total_return, abs=2e-4)
    dividend = store.read("dividends").filter(pl.col("ex_dividend_date") == WED).row(0, named=True)
    assert dividend["amount"] == 0.85
    assert dividend["known_at"] == backfill_known_us(CALENDAR, TUE)


def test_a_bar_received_live_is_known_at_receipt_and_an_older_one_by_the_rule(demo: Simulator, tmp_path: Path) -> None:
    """At 18:00 of the day the day's bar is known at 18:00; all before by their close plus 15 minutes; later, by the rule."""
    store = Store(tmp_path / "live")
    pulled(store, demo, ["AAPL"], TUE, now_us=lambda: at_us(f"{TUE}T18:00"))
    known = store.read("bars").tail(2)["known_at"].to_list()
    assert known == [backfill_known_us(CALENDAR, MON), at_us(f"{TUE}T18:00")]
    late = Store(tmp_path / "late")
    pulled(late, demo, ["AAPL"], TUE, now_us=lambda: at_us(f"{WED}T08:00"))
    assert late.read("bars").tail(1)["known_at"].to_list() == [backfill_known_us(CALENDAR, TUE)]


@pytest.mark.parametrize(
    ("wall", "simulated_at"),
    [(f"{WED}T12:00", f"{WED}T12:00"), ("2026-11-20T18:00", f"{WED}T12:00"), (f"{WED}T15:59", f"{WED}T18:00")],
)
def test_the_bar_of_a_running_session_is_not_stored(
    demo: Simulator, tmp_path: Path, wall: str, simulated_at: str
) -> None:
    """A bar served at noon is left out and counted, by the clock and, where that runs ahead, by the vendor's own time."""
    demo.at(simulated_at)
    demo.post("/faults", {"kind": "partial_bar"})
    store = Store(tmp_path)
    report = pulled(store, demo, ["AAPL"], TUE, now_us=lambda: at_us(wall))
    assert report.symbols[0].open_rows == 1
    assert store.read("bars")["session"].max() == TUE


def test_one_symbol_failing_does_not_stop_the_others(demo: Simulator, tmp_path: Path) -> None:
    """An unknown symbol and a server error are listed with their faults; the rest is stored; words are refused at once."""
    demo.post("/faults", {"kind": "http_503", "symbol": "IBM"})
    store = Store(tmp_path)
    report = pulled(store, demo, ["AAPL", "NOPE", "IBM", "FB"], TUE)
    assert how(report) == {"AAPL": How.FULL, "NOPE": How.FAILED, "IBM": How.FAILED, "FB": How.FULL}
    assert [symbol.symbol for symbol in report.failed] == ["NOPE", "IBM"]
    assert [symbol.symbol for symbol in report.stale] == ["NOPE", "IBM"]
    assert "NOPE: the symbol is unknown" in str(report.failed[0].fault)
    assert "503" in str(report.failed[1].fault)
    assert store.read("bars")["instrument_id"].n_unique() == 2
    with pytest.raises(FixInput, match="not a US stock symbol: 'A;B'"):
        pulled(store, demo, ["AAPL", "A;B"], TUE)


def test_a_used_up_key_keeps_what_came_and_says_what_was_not_asked(demo: Simulator, tmp_path: Path) -> None:
    """The daily cap at one symbol stops the rest; with nothing at all fetched the refusal itself is raised."""
    demo.post("/faults", {"kind": "daily_cap", "symbol": "IBM"})
    store = Store(tmp_path)
    report = pulled(store, demo, ["AAPL", "IBM", *(f"X{i}" for i in range(30))], TUE)
    assert how(report)["AAPL"] is How.FULL
    assert report.stopped is not None
    assert "used up" in report.stopped
    assert how(report)["X29"] is How.NOT_ASKED
    assert report.requests < 15
    with pytest.raises(VendorRefused, match="used up"):
        pulled(store, demo, ["IBM", "FB"], TUE)


def test_a_vendor_that_is_down_is_left_alone_after_a_few_symbols(tmp_path: Path) -> None:
    """Fifty symbols against a closed port end after eight of them, with the network named."""
    with simulated("demo") as running:
        closed = running
    with pytest.raises(VendorRefused, match="Check the network") as caught:
        pulled(Store(tmp_path), closed, [f"X{i}" for i in range(50)], TUE)
    assert caught.value.answer is Answer.TRANSPORT


def test_a_faulty_row_is_refused_and_listed_and_a_faulty_newest_bar_leaves_the_symbol_stale(
    demo: Simulator, tmp_path: Path
) -> None:
    """A price of 999999 three sessions back is left out with its reason; one on the newest session makes it stale."""
    demo.post("/faults", {"kind": "field", "symbol": "AAPL", "field": "high", "value": 999999, "sessions_ago": 3})
    demo.post("/faults", {"kind": "field", "symbol": "FB", "field": "close", "value": 0, "sessions_ago": 0})
    store = Store(tmp_path)
    report = pulled(store, demo, ["AAPL", "FB"], TUE)
    aapl, fb = report.symbols
    assert "high is not between" in aapl.refused[0]
    assert aapl.newest == TUE
    assert report.stale == (fb,)
    assert fb.newest == MON
    assert store.read("bars").filter(pl.col("close") <= 0).is_empty()


def test_an_interrupted_pull_keeps_what_had_come(demo: Simulator, tmp_path: Path) -> None:
    """Cancelled while one symbol's body drips, the others are in the store, and the next pull asks only the rest."""
    demo.post("/faults", {"kind": "slow_drip", "symbol": "IBM", "seconds": 30, "times": 1})
    store = Store(tmp_path)

    async def main() -> None:
        async with AlphaVantage("KEY", base_url=f"http://127.0.0.1:{demo.port}", requests_per_minute=60_000) as vendor:
            arrived = asyncio.Event()

            def progress(_symbol: str, done: int, _all: int) -> None:
                if done == 2:
                    arrived.set()

            work = asyncio.create_task(
                pull(
                    store,
                    vendor,
                    CALENDAR,
                    ["AAPL", "IBM", "FB"],
                    now_us=lambda: at_us("2026-11-20T18:00"),
                    session=TUE,
                    progress=progress,
                )
            )
            await asyncio.wait_for(arrived.wait(), 20)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

    asyncio.run(main())
    assert sorted(store.read("bars")["instrument_id"].unique()) == ["us:AAPL", "us:FB"]
    assert how(pulled(store, demo, ["AAPL", "IBM", "FB"], TUE))["IBM"] is How.FULL


def test_a_free_key_gets_adjusted_closes_computed_here(tmp_path: Path) -> None:
    """Without the adjusted series, splits and dividends give it: equal to the vendor's, and re-based across an ex-day."""
    full, derived = Store(tmp_path / "full"), Store(tmp_path / "derived")
    with simulated("demo", "--at", f"{WED}T18:00") as paid:
        pulled(full, paid, ["IBM"], WED)
    with simulated("demo", "--at", f"{MON}T18:00") as free:
        premium = {"kind": "premium", "function": "TIME_SERIES_DAILY_ADJUSTED"}
        free.post("/faults", premium)
        first = pulled(derived, free, ["IBM"], MON)
        assert (first.derived, first.symbols[0].how, first.symbols[0].rows_new) == (True, How.DERIVED, 100)
        free.at(f"{WED}T18:00")
        second = pulled(derived, free, ["IBM"], WED)
        assert second.symbols[0].rows_corrected == 100
    ours = derived.read("bars")
    theirs = full.read("bars").filter(pl.col("session").is_in(ours["session"].implode()))
    assert ours.height == 102
    assert ours["adjusted_close"].to_list() == pytest.approx(theirs["adjusted_close"].to_list(), rel=2e-4)
    assert ours.drop("known_at", "recorded_at", "adjusted_close").equals(
        theirs.drop("known_at", "recorded_at", "adjusted_close")
    )


def test_a_free_key_cannot_bridge_a_long_gap_and_says_so(tmp_path: Path) -> None:
    """A store that ends more than 100 sessions ago is not continued with a hole."""
    store = Store(tmp_path)
    with simulated("demo", "--at", "2012-01-03T18:00") as running:
        pulled(store, running, ["IBM"], date(2012, 1, 3))
        running.at(f"{TUE}T18:00")
        running.post("/faults", {"kind": "premium", "function": "TIME_SERIES_DAILY_ADJUSTED"})
        report = pulled(store, running, ["IBM"], TUE)
    assert "a free key reaches 100 sessions back, the store ends 2012-01-03" in str(report.failed[0].fault)
    assert store.read("bars")["session"].max() == date(2012, 1, 3)


def test_a_long_gap_is_fetched_in_full_with_a_premium_key(tmp_path: Path) -> None:
    """More than 100 sessions behind, all is asked, and no session is missing afterwards."""
    store = Store(tmp_path)
    with simulated("demo", "--at", "2012-01-03T18:00") as running:
        pulled(store, running, ["GOOG"], date(2012, 1, 3))
        running.at(f"{TUE}T18:00")
        assert how(pulled(store, running, ["GOOG"], TUE)) == {"GOOG": How.FULL}
    days = store.read("bars")["session"].to_list()
    assert days == list(CALENDAR.sessions(days[0], TUE))


def test_earnings_and_overview_are_known_when_they_were_published_or_received(tmp_path: Path) -> None:
    """Earnings are known by the evening of their report, the overview at receipt; asking again adds nothing."""
    store = Store(tmp_path)
    with simulated("synthetic:3:7") as running:
        symbols = ["BOCO", "RUZO", "VOVA"]
        report = pulled(store, running, symbols, date(2024, 6, 27), wanted=Wanted(True, True, True))
        assert report.failed == ()
        again = pulled(store, running, symbols, date(2024, 6, 27), wanted=Wanted(True, True, True))
        assert again.version == report.version
    earnings = store.read("earnings")
    assert earnings.height > 0
    assert all(
        row["known_at"] == min(at_us("2026-11-20T18:00"), evening_us(row["reported_date"]))
        for row in earnings.iter_rows(named=True)
    )
    assert set(store.read("overview")["known_at"]) == {at_us("2026-11-20T18:00")}


def test_adjusting_multiplies_splits_and_dividends_backwards() -> None:
    """A 2:1 split and a dividend of a twentieth: 100, 50 and 50 become 47.5, 47.5 and 50; later events are left out."""
    days = [MON, TUE, WED]
    closes = [100.0, 50.0, 50.0]
    daily = pl.DataFrame(
        {"session": days, **dict.fromkeys(("open", "high", "low", "close"), closes), "volume": [1, 1, 1]}
    )
    splits = pl.DataFrame({"effective_date": [TUE, THU], "split_factor": [2.0, 10.0]})
    dividends = pl.DataFrame({"ex_dividend_date": [MON, WED, THU], "amount": [9.0, 2.5, 9.0]})
    bars = adjusted_bars(daily, splits, dividends)
    assert bars["adjusted_close"].to_list() == pytest.approx([47.5, 47.5, 50.0])
    assert bars["split_coefficient"].to_list() == [1.0, 2.0, 1.0]
    assert bars["dividend_amount"].to_list() == [0.0, 0.0, 2.5]
