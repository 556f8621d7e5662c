"""The simulated market: where bars come from, the hours, the path inside a day."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bar_fly_simulators.clock import SimulatedClock, closes_early, new_york, parse_at, session_hours_us
from bar_fly_simulators.market import Market, load_market
from bar_fly_simulators.synthetic import SECTORS, synthetic_sessions
from bar_fly_trading.facts.sessions import Calendar

HAS_DEMO = pytest.mark.skipif(
    importlib.util.find_spec("bokeh_sampledata") is None,
    reason="the demo's sample prices (bokeh_sampledata) are not installed",
)


def rows(symbol: str = "IBM", days: int = 3) -> pl.DataFrame:
    """Make a few bars in Alpha Vantage's columns."""
    return pl.DataFrame(
        {
            "symbol": [symbol] * days,
            "date": [date(2021, 4, 19) + timedelta(days=i) for i in range(days)],
            "open": [10.0] * days,
            "high": [12.0] * days,
            "low": [9.0] * days,
            "close": [11.0] * days,
            "adjusted_close": [11.0] * days,
            "volume": [1000] * days,
            "dividend_amount": [0.0] * days,
            "split_coefficient": [1.0] * days,
        }
    )


@pytest.fixture(scope="module")
def synthetic() -> Market:
    """Make a market of thirty companies."""
    return load_market("synthetic:30:7")


@HAS_DEMO
def test_the_demo_s_events_are_the_real_ones_derived_from_close_against_adjusted_close() -> None:
    """Known splits and dividends come out to the cent, and together with closes they give the adjusted returns back."""
    market = load_market("demo")
    assert market.symbols == ("AAPL", "FB", "GOOG", "IBM", "MSFT")
    assert market.sessions[-1] == date(2013, 3, 1)
    splits = {
        s: [(b.session, b.split_coefficient) for b in market.bars(s) if b.split_coefficient != 1]
        for s in market.symbols
    }
    assert splits == {
        "AAPL": [(date(2000, 6, 21), 2.0), (date(2005, 2, 28), 2.0)],
        "FB": [],
        "GOOG": [],
        "IBM": [],
        "MSFT": [(date(2003, 2, 18), 2.0)],
    }
    special = market.bar("MSFT", date(2004, 11, 15))
    quarterly = market.bar("IBM", date(2012, 11, 7))
    assert special is not None and quarterly is not None
    assert (special.dividend_amount, quarterly.dividend_amount) == (3.08, 0.85)
    assert sum(1 for b in market.bars("AAPL") if b.dividend_amount) == 3
    for symbol in market.symbols:
        check_adjusted(market, symbol, 1e-9)


def check_adjusted(market: Market, symbol: str, tolerance: float) -> None:
    """Hold adjusted returns against the vendor's formula over the symbol's whole history."""
    _, _, _, close, adjusted, dividend, split = market.bars(symbol).columns
    expected = split[1:] * (close[1:] + dividend[1:]) / close[:-1]
    np.testing.assert_allclose(adjusted[1:] / adjusted[:-1], expected, rtol=tolerance)


@HAS_DEMO
def test_the_demo_s_prices_are_found_without_importing_their_package() -> None:
    """Loading the demo leaves the plotting library and its sample package unimported."""
    code = (
        "import sys; from bar_fly_simulators.market import load_market; load_market('demo');"
        "print([m for m in sys.modules if m.startswith('bokeh')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_file_of_bars_is_a_market(tmp_path: Path, suffix: str) -> None:
    """Parquet and CSV give the same market, BRK-B is known by every spelling, and rows need no order."""
    path = tmp_path / f"bars.{suffix}"
    table = pl.concat([rows("IBM"), rows("BRK-B")]).sample(fraction=1.0, shuffle=True, seed=1)
    if suffix == "parquet":
        table.write_parquet(path)
    else:
        table.write_csv(path)
    market = load_market(str(path))
    assert market.symbols == ("BRK.B", "IBM")
    assert {market.find(text) for text in ("BRK.B", "brk-b", "BRK B", "BRK/B")} == {"BRK.B"}
    assert market.find("NOPE") is None
    assert [bar.session for bar in market.bars("IBM")] == [date(2021, 4, 19), date(2021, 4, 20), date(2021, 4, 21)]
    assert market.bar("IBM", date(2021, 4, 22)) is None
    assert market.sector("IBM") is None and market.earnings("IBM") == ()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop("adjusted_close", "low"), "columns missing: adjusted_close, low"),
        (lambda t: t.with_columns(close=pl.lit(float("nan"))), "empty or non-finite values in close"),
        (lambda t: t.with_columns(volume=pl.lit(None, pl.Int64)), "empty or non-finite values in volume"),
        (lambda t: t.with_columns(low=pl.lit(0.0)), "a value of low that is not above 0"),
        (lambda t: pl.concat([t, t.head(1)]), "two bars of one symbol and date"),
        (lambda t: pl.concat([rows("BRK.B"), rows("BRK-B")]), "two bars of one symbol and date"),
        (lambda t: t.with_columns(close=pl.lit("eleven")), "eleven"),
        (lambda t: t.head(0), "no bar in it"),
    ],
)
def test_a_faulty_file_is_refused_with_its_name_and_fault(tmp_path: Path, spoil: object, message: str) -> None:
    """Every fault of a bars file is a ValueError that names the file and what is wrong."""
    path = tmp_path / "bars.parquet"
    assert callable(spoil)
    spoil(rows()).write_parquet(path)
    with pytest.raises(ValueError, match=message) as raised:
        load_market(str(path))
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    "spec", ["nowhere.parquet", "synthetic:", "synthetic:0:1", "synthetic:5:x", "synthetic:9999:1"]
)
def test_a_market_that_does_not_exist_is_refused(spec: str) -> None:
    """A misspelled --market is an error of the operator's, with a message."""
    with pytest.raises((ValueError, FileNotFoundError), match=r"synthetic|no such file"):
        load_market(spec)


def test_hours_are_the_exchange_s_from_1993_to_2028() -> None:
    """Opens and closes, early closes included, equal the program's calendar on every session."""
    calendar = Calendar()
    for day in calendar.sessions(date(1993, 1, 4), date(2028, 6, 30)):
        session = calendar.session(day)
        assert session_hours_us(day) == (session.open_us, session.close_us), day
    assert closes_early(date(2020, 11, 27)) and not closes_early(date(2020, 11, 25))


def test_synthetic_sessions_are_the_exchange_s() -> None:
    """The synthetic market trades on exactly New York's sessions, at least 1500 of them, to 2024-06-28."""
    sessions = synthetic_sessions()
    assert sessions == Calendar().sessions(date(2018, 1, 2), date(2024, 6, 28))
    assert len(sessions) >= 1500


def test_synthetic_bars_hold_together(synthetic: Market) -> None:
    """OHLC is ordered, volume traded, adjusted returns obey the vendor's formula, and events of every kind occur."""
    splits = dividends = reports = late = 0
    for symbol in synthetic.symbols:
        bars = synthetic.bars(symbol)
        opened, high, low, close, _, dividend, split = bars.columns
        assert (high >= np.maximum(opened, close)).all() and (low <= np.minimum(opened, close)).all()
        assert (low > 0).all() and (bars.volume > 0).all()
        check_adjusted(synthetic, symbol, 1e-9)
        splits += int((split != 1).sum())
        dividends += int((dividend > 0).sum())
        reports += len(synthetic.earnings(symbol))
        late += bars.session(0) > synthetic.sessions[0]
        assert synthetic.sector(symbol) in SECTORS and synthetic.name(symbol) != symbol
        assert bars[-1].session == date(2024, 6, 28)
    assert splits >= 5 and dividends >= 200 and reports >= 30 * 15 and late >= 1
    assert len({synthetic.sector(symbol) for symbol in synthetic.symbols}) >= 6


def test_synthetic_prices_move_like_prices(synthetic: Market) -> None:
    """Volatility, ranges, co-movement, liquidity and touches of the lower Bollinger band are of a stock market's size."""
    returns, touches, sessions = {}, 0, 0
    for symbol in synthetic.symbols:
        adjusted = synthetic.bars(symbol).columns[4]
        returns[symbol] = np.diff(np.log(adjusted))
        windows = np.lib.stride_tricks.sliding_window_view(adjusted, 20)
        below = adjusted[19:] <= windows.mean(axis=1) - 2 * windows.std(axis=1)
        touches += int((below[1:] & ~below[:-1]).sum())
        sessions += len(adjusted) - 19
    volatility = np.array([r.std() * 252**0.5 for r in returns.values()])
    assert 0.2 < np.median(volatility) < 0.5 and volatility.min() > 0.1 and volatility.max() < 1.3
    ranges = [np.mean((b.columns[1] - b.columns[2]) / b.columns[3]) for b in map(synthetic.bars, returns)]
    assert 0.9 < np.median(np.array(ranges) / volatility * 252**0.5) < 1.4
    whole = [r for r in returns.values() if len(r) == len(synthetic.sessions) - 1]
    assert 0.1 < np.median(np.corrcoef(whole)) < 0.5
    assert 0.015 < touches / sessions < 0.04
    traded = [np.median(b.columns[3][-20:] * b.volume[-20:]) for b in map(synthetic.bars, synthetic.symbols)]
    assert 20e6 < np.median(traded) < 1e9 and min(traded) < 30e6 and max(traded) > 300e6


def test_synthetic_bars_depend_on_the_seed_alone(synthetic: Market) -> None:
    """Two processes with other hash seeds make the same bars; more names leave the first ones as they are."""
    code = (
        "import hashlib; from bar_fly_simulators.market import load_market; m = load_market('synthetic:6:7');"
        "from bar_fly_simulators.clock import parse_at; at = parse_at('2024-06-28T11:11');"
        "print(hashlib.sha256(b''.join(m.bars(s).columns.tobytes() + m.bars(s).volume.tobytes() for s in m.symbols)"
        "+ repr([(m.earnings(s), m.mid_at(s, at)) for s in m.symbols]).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    few = load_market("synthetic:6:7")
    assert set(few.symbols) < set(synthetic.symbols)
    for symbol in few.symbols:
        np.testing.assert_array_equal(few.bars(symbol).columns, synthetic.bars(symbol).columns)
    assert load_market("synthetic:6:8").symbols != few.symbols


def test_a_bar_counts_from_its_close_on(synthetic: Market) -> None:
    """One microsecond before the close the session's bar is not there; at the close it is, at 13:00 on a short day."""
    symbol = synthetic.symbols[0]
    for day, close in ((date(2024, 6, 28), "16:00"), (date(2023, 11, 24), "13:00")):
        closed_us = parse_at(f"{day}T{close}")
        assert synthetic.closed_count(symbol, closed_us) == synthetic.bars(symbol).count_to(day)
        assert synthetic.closed_count(symbol, closed_us - 1) == synthetic.bars(symbol).count_to(day) - 1


def test_the_day_s_path_runs_from_open_to_close_through_both_extremes(synthetic: Market) -> None:
    """The mid starts at the open, touches low and high, ends at the close, and never leaves the bar's range."""
    for symbol in synthetic.symbols[:10]:
        for day in synthetic.sessions[-5:]:
            bar = synthetic.bar(symbol, day)
            assert bar is not None
            opened, closed = session_hours_us(day)
            assert synthetic.mid_at(symbol, opened) == bar.open
            seen = [synthetic.running(symbol, at) for at in range(opened, closed, 60_000_000)]
            last = synthetic.running(symbol, closed - 1)
            assert last is not None
            assert last.last == pytest.approx(bar.close) and (last.high, last.low) == (bar.high, bar.low)
            highs = [r.high for r in seen if r]
            assert highs == sorted(highs)
            assert all(r and bar.low <= r.low <= r.last <= r.high <= bar.high for r in seen)
            assert last.volume <= bar.volume


@pytest.mark.parametrize("at", ["2024-06-28T09:29:59", "2024-06-28T16:00", "2024-06-29T12:00", "2024-07-01T12:00"])
def test_outside_the_session_there_is_no_mid(synthetic: Market, at: str) -> None:
    """Before the open, from the close on, at week-ends and after the market's end no price exists."""
    assert synthetic.mid_at(synthetic.symbols[0], parse_at(at)) is None


def test_a_clock_stands_jumps_and_tells() -> None:
    """At speed 0 time stands; set and advance move it and call the subscribers; a negative speed is refused."""
    clock = SimulatedClock(parse_at("2021-04-21T09:45"), 0)
    told: list[int] = []
    stop = clock.subscribe(lambda: told.append(clock.now_us()))
    assert new_york(clock.now_us()) == new_york(parse_at("2021-04-21T09:45-04:00"))
    clock.advance(60)
    clock.set(parse_at("2021-12-01T09:45"))
    assert told == [parse_at("2021-04-21T09:46"), parse_at("2021-12-01T09:45-05:00")]
    stop()
    clock.advance(1)
    assert len(told) == 2
    with pytest.raises(ValueError, match="speed"):
        SimulatedClock(0, -1.0)
    fast = SimulatedClock(0, 1e6)
    start = datetime.now().astimezone()
    while fast.now_us() < 1_000_000:
        assert datetime.now().astimezone() - start < timedelta(seconds=5)
