"""Nothing later than the clock is served, and adjusted closes are those of the day."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bar_fly_simulators.alpha_vantage.server import AlphaVantage
from bar_fly_simulators.clock import SimulatedClock, new_york, parse_at, session_hours_us
from bar_fly_simulators.control import Control, Request
from bar_fly_simulators.market import Bars, Market, Profile, load_market

ADJUSTED = "TIME_SERIES_DAILY_ADJUSTED"
FUNCTIONS = (
    ADJUSTED,
    "TIME_SERIES_DAILY",
    "GLOBAL_QUOTE",
    "REALTIME_BULK_QUOTES",
    "EARNINGS",
    "OVERVIEW",
    "SPLITS",
    "DIVIDENDS",
)
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def ask(market: Market, at_us: int, function: str, symbol: str, *faults: dict[str, object], **more: str) -> Any:
    """Ask a server whose clock stands at an instant."""
    control = Control(SimulatedClock(at_us, 0))
    server = AlphaVantage(market, control)
    for fault in faults:
        control.faults.add(fault)
    query = {"function": function, "symbol": symbol, "apikey": "k", **more}
    response = asyncio.run(server.answer(Request("GET", "/query", query, {}, b"")))
    assert response.status == 200
    return json.loads(response.body)


def spoil_after(market: Market, at_us: int) -> Market:
    """Return the market with everything after an instant different: other bars, other splits, other dividends, no reports.

    The running session keeps its open, split and dividend: they are known from its morning on.
    """
    today = new_york(at_us).date()
    other: dict[str, Bars] = {}
    for symbol in market.symbols:
        bars = market.bars(symbol)
        closed, begun = market.closed_count(symbol, at_us), bars.count_to(today)
        columns, volume = bars.columns.copy(), bars.volume.copy()
        columns[1:4, closed:] *= 3.0
        columns[4] *= 0.37
        columns[4, closed:] *= 5.0
        columns[:, begun:] *= 1.7
        volume[closed:] += 12345
        other[symbol] = Bars(bars.days, columns, volume)
    profiles = {symbol: Profile(market.name(symbol), market.sector(symbol)) for symbol in market.symbols}
    reports = {s: [r for r in market.earnings(s) if r.reported_date <= today] for s in market.symbols}
    return Market(other, profiles, reports)


def numbers(value: Any) -> list[float]:
    """Return every number of a body, in order; words and dates aside."""
    if isinstance(value, dict):
        return [
            n
            for key, inner in value.items()
            if key not in {"SharesOutstanding", "MarketCapitalization"}
            for n in numbers(inner)
        ]
    if isinstance(value, list):
        return [n for inner in value for n in numbers(inner)]
    try:
        return [float(value.rstrip("%"))]
    except ValueError:
        return []


def instants(market: Market, count: int, seed: int) -> list[int]:
    """Draw instants: opens, closes and the microseconds beside them, middays, nights."""
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for n in range(count):
        day = market.sessions[int(rng.integers(300, len(market.sessions) - 1))]
        opened, closed = session_hours_us(day)
        inside = int(rng.integers(opened, closed))
        chosen.append([closed - 1, closed, opened - 1, opened, inside, opened - 3 * 3_600_000_000][n % 6])
    return chosen


@pytest.fixture(scope="module")
def market() -> Market:
    """Make a market of ten companies."""
    return load_market("synthetic:10:11")


def test_no_date_after_the_clock_is_served(market: Market) -> None:
    """At 36 instants no answer names a day after the clock's, and no series names a session that has not closed."""
    for n, at_us in enumerate(instants(market, 36, 1)):
        symbol = market.symbols[n % len(market.symbols)]
        today = new_york(at_us).date()
        for function in FUNCTIONS:
            body = ask(market, at_us, function, symbol, outputsize="full")
            days = [date.fromisoformat(day) for day in DAY.findall(json.dumps(body))]
            assert days or function in {"SPLITS", "DIVIDENDS"}
            assert max(days, default=today) <= today, (function, new_york(at_us))
            if "Time Series (Daily)" in body:
                newest = max(body["Time Series (Daily)"])
                assert session_hours_us(date.fromisoformat(newest))[1] <= at_us


def test_another_future_changes_no_answer(market: Market) -> None:
    """With every later bar, split, dividend and report replaced, the series and company answers stay the same numbers."""
    for n, at_us in enumerate(instants(market, 18, 2)):
        other = spoil_after(market, at_us)
        symbol = market.symbols[n % len(market.symbols)]
        for function in FUNCTIONS:
            if function in {"GLOBAL_QUOTE", "REALTIME_BULK_QUOTES"} and market.session_at(at_us):
                continue  # a price of the running session depends on that session, and on nothing after it
            ours, theirs = (numbers(ask(m, at_us, function, symbol, outputsize="full")) for m in (market, other))
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=2e-10, err_msg=f"{function} {new_york(at_us)}")


def test_a_report_is_known_when_it_is_published(market: Market) -> None:
    """A report before the open is out at 07:00 of its day, one after the close at 16:15, and not a second before."""
    for symbol in market.symbols[:5]:
        report = market.earnings(symbol)[10]
        out_us = parse_at(f"{report.reported_date}T{'07:00' if report.report_time == 'pre-market' else '16:15'}")
        for at_us, known in ((out_us - 1, False), (out_us, True)):
            quarters = ask(market, at_us, "EARNINGS", symbol)["quarterlyEarnings"]
            assert (quarters[0]["fiscalDateEnding"] == report.fiscal_date_ending.isoformat()) == known


def test_a_split_is_listed_from_its_own_day_on_and_rescales_only_then(market: Market) -> None:
    """The evening before, neither SPLITS nor the adjusted closes show it; from its morning SPLITS does, from its close both."""
    symbol, session, split = next(
        (s, b.session, b.split_coefficient) for s in market.symbols for b in market.bars(s) if b.split_coefficient > 1
    )
    eve = market.bars(symbol).session(market.bars(symbol).count_to(session) - 2)
    evening = ask(market, parse_at(f"{eve}T22:00"), "SPLITS", symbol)["data"]
    morning = ask(market, parse_at(f"{session}T08:00"), "SPLITS", symbol)["data"]
    assert len(morning) == len(evening) + 1
    assert morning[0] == {"effective_date": session.isoformat(), "split_factor": f"{split:.4f}"}
    before = ask(market, parse_at(f"{session}T15:59"), ADJUSTED, symbol)["Time Series (Daily)"][eve.isoformat()]
    after = ask(market, parse_at(f"{session}T16:00"), ADJUSTED, symbol)["Time Series (Daily)"][eve.isoformat()]
    assert float(before["5. adjusted close"]) == float(before["4. close"])
    dividend = market.bar(symbol, session)
    assert dividend is not None
    factor = split * (1 + dividend.dividend_amount / dividend.close)
    assert float(after["5. adjusted close"]) == pytest.approx(float(before["4. close"]) / factor, rel=1e-9)


def test_shares_outstanding_are_those_of_the_day(market: Market) -> None:
    """The share count before a split is the one after it, divided by the split; capital stays price times shares."""
    symbol, session, split = next(
        (s, b.session, b.split_coefficient) for s in market.symbols for b in market.bars(s) if b.split_coefficient > 1
    )
    before, after = (ask(market, parse_at(f"{session}T{at}"), "OVERVIEW", symbol) for at in ("15:59", "16:00"))
    assert int(after["SharesOutstanding"]) == pytest.approx(int(before["SharesOutstanding"]) * split, rel=1e-6)
    end = ask(market, parse_at("2024-06-28T16:00"), "OVERVIEW", symbol)
    assert int(end["SharesOutstanding"]) == market.shares_outstanding(symbol)
    bar = market.bar(symbol, session)
    assert bar is not None
    assert int(after["MarketCapitalization"]) == pytest.approx(int(after["SharesOutstanding"]) * bar.close, rel=1e-9)


def test_the_newest_adjusted_close_is_the_close(market: Market) -> None:
    """Whenever asked, the newest served bar is its own basis."""
    for at_us in instants(market, 12, 3):
        for symbol in market.symbols:
            series = (
                ask(market, at_us, ADJUSTED, symbol)["Time Series (Daily)"]
                if market.closed_count(symbol, at_us)
                else {}
            )
            for row in list(series.values())[:1]:
                assert float(row["5. adjusted close"]) == float(row["4. close"])


def test_a_symbol_is_unknown_until_its_first_session_has_closed(market: Market) -> None:
    """Before that close a series is an invalid call, the overview empty."""
    symbol = max(market.symbols, key=lambda s: market.bars(s).session(0))
    first = market.bars(symbol).session(0)
    noon = parse_at(f"{first}T12:00")
    if first == market.sessions[0]:
        noon -= 86_400_000_000
    assert "Error Message" in ask(market, noon, ADJUSTED, symbol)
    assert ask(market, noon, "OVERVIEW", symbol) == {}
    assert len(ask(market, parse_at(f"{first}T16:00"), ADJUSTED, symbol)["Time Series (Daily)"]) == 1


def test_the_running_bar_appears_with_the_fault_alone(market: Market) -> None:
    """`partial_bar` adds the session so far, on its own basis by the vendor's formula; once the close has come it adds nothing."""
    fault: dict[str, object] = {"kind": "partial_bar"}
    at_us, day = parse_at("2024-06-03T12:34:56"), date(2024, 6, 3)
    paying = [s for s in market.symbols if (bar := market.bar(s, day)) and bar.dividend_amount > 0]
    assert paying
    for symbol in [*paying[:2], *(s for s in market.symbols if s not in paying)][:4]:
        true = ask(market, at_us, ADJUSTED, symbol)["Time Series (Daily)"]
        body = ask(market, at_us, ADJUSTED, symbol, fault)
        assert body["Meta Data"]["3. Last Refreshed"] == "2024-06-03 12:34:56"
        series = body["Time Series (Daily)"]
        row, bar = series["2024-06-03"], market.bar(symbol, day)
        assert list(series)[:2] == ["2024-06-03", "2024-05-31"] and "2024-06-03" not in true
        assert bar is not None
        assert float(row["4. close"]) == pytest.approx(market.mid_at(symbol, at_us), abs=1e-4)
        assert row["5. adjusted close"][:-6] == row["4. close"][: len(row["5. adjusted close"][:-6])]
        assert bar.low <= float(row["3. low"]) <= float(row["2. high"]) <= bar.high
        assert int(row["6. volume"]) < bar.volume
        price = market.mid_at(symbol, at_us)
        assert price is not None
        gain = bar.split_coefficient * (price + bar.dividend_amount) / float(true["2024-05-31"]["4. close"])
        served = price / float(series["2024-05-31"]["5. adjusted close"])
        assert served == pytest.approx(gain, rel=1e-8)
        evening = parse_at("2024-06-03T17:00")
        assert ask(market, evening, ADJUSTED, symbol, fault) == ask(market, evening, ADJUSTED, symbol)


def test_no_fault_opens_the_future(market: Market) -> None:
    """A `stale` fault with a negative count serves what is true, not later sessions."""
    at_us, symbol = parse_at("2023-03-01T17:00"), market.symbols[0]
    fault: dict[str, object] = {"kind": "stale", "sessions": -5}
    assert ask(market, at_us, ADJUSTED, symbol, fault) == ask(market, at_us, ADJUSTED, symbol)


def test_adjusted_returns_of_real_prices_are_the_vendor_s_own(shared_data: Path) -> None:
    """At any clock, day-to-day adjusted returns of recorded series come back to 1e-6, and prices exactly."""
    market = load_market(str(shared_data / "daily_adjusted_sp500.parquet"))
    for n, symbol in enumerate(["AAPL", "IBM", "BRK-B", "TRMB", "RTX", "LYB", "TMUS", "KIM", "C", "AIG", "NVDA", "GE"]):
        known = market.find(symbol)
        assert known is not None
        at_us = parse_at("2021-04-21T16:00") - n * 250 * 86_400_000_000
        series = ask(market, at_us, ADJUSTED, symbol, outputsize="full")["Time Series (Daily)"]
        rows = list(series.values())[::-1]
        bars = market.bars(known)
        count = market.closed_count(known, at_us)
        assert len(rows) == count and next(iter(series)) == bars.session(count - 1).isoformat()
        assert bars.session(count - 1) + timedelta(days=5) > new_york(at_us).date()
        served = np.array([float(row["5. adjusted close"]) for row in rows])
        recorded = bars.columns[4, :count]
        np.testing.assert_allclose(served[1:] / served[:-1], recorded[1:] / recorded[:-1], rtol=1e-6)
        for key, column in (
            ("1. open", 0),
            ("2. high", 1),
            ("3. low", 2),
            ("4. close", 3),
            ("7. dividend amount", 5),
            ("8. split coefficient", 6),
        ):
            np.testing.assert_allclose([float(row[key]) for row in rows], bars.columns[column, :count], rtol=1e-11)
        assert [int(row["6. volume"]) for row in rows] == bars.volume[:count].tolist()
