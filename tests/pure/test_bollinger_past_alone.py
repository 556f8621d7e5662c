"""Bollinger on seeded markets: rows from their past alone, one session equal to all, every row as a plain loop finds it."""

import itertools
from datetime import date, timedelta

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_fly_trading.features.table import build as build_features
from bar_fly_trading.strategies.bollinger import Bollinger
from bar_fly_trading.strategies.signal import MarketView

NAMES = ("us:AAA", "us:BBB", "us:CCC")


def market(seed: int, sessions: int) -> pl.DataFrame:
    """The feature table of three random walks with dividends, a split and missing days."""
    rng = np.random.default_rng(seed)
    frames = []
    for number, name in enumerate(NAMES):
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.03, sessions)))
        split = np.ones(sessions)
        split[sessions // 2 + number] = 2.0
        shares = np.cumprod(split)
        bars = pl.DataFrame(
            {
                "instrument_id": [name] * sessions,
                "session": [date(2020, 1, 1) + timedelta(days=i) for i in range(sessions)],
                "open": close / shares,
                "high": close / shares * 1.01,
                "low": close / shares * 0.99,
                "close": close / shares,
                "adjusted_close": close / shares[-1],
                "volume": rng.integers(1000, 9000, sessions),
                "dividend_amount": np.zeros(sessions),
                "split_coefficient": split,
            }
        )
        frames.append(bars.filter(pl.Series(rng.uniform(size=sessions) > 0.03)))
    return build_features(pl.concat(frames), {name: name[3:] for name in NAMES})


def signals_of(features: pl.DataFrame, session: date) -> pl.DataFrame:
    """All of Bollinger's signals of a view."""
    return Bollinger().signals(MarketView(session, features, None)).frame


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(25, 90))
def test_one_session_alone_equals_the_row_of_all(seed: int, cut: int) -> None:
    """With tomorrow deleted, and with only the two newest rows of each name, today's signals are the same."""
    features = market(seed, 91)
    session = date(2020, 1, 1) + timedelta(days=cut)
    every = signals_of(features, features["session"].max()).filter(pl.col("session") == session)  # type: ignore[arg-type]
    past = features.filter(pl.col("session") <= session)
    assert signals_of(past, session).filter(pl.col("session") == session).equals(every)
    two_rows = past.group_by("instrument_id", maintain_order=True).tail(2)
    assert signals_of(two_rows, session).filter(pl.col("session") == session).equals(every)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_row_is_what_a_plain_loop_finds(seed: int) -> None:
    """Row by row in Python, straight from the definition, the same sessions, sides and strengths come out."""
    features = market(seed, 120)
    expected = []
    for name in NAMES:
        rows = features.filter(pl.col("instrument_id") == name).to_dicts()
        for before, row in itertools.pairwise(rows):
            if before["bbands_lower_20"] is None or row["bbands_lower_20"] is None:
                continue
            half = (row["bbands_upper_20"] - row["bbands_lower_20"]) / 2
            close, last = row["chained_close"], before["chained_close"]
            if last > before["bbands_lower_20"] and close <= row["bbands_lower_20"]:
                expected.append((row["session"], name, "BUY", (row["bbands_lower_20"] - close) / half))
            if last < before["bbands_upper_20"] and close >= row["bbands_upper_20"]:
                expected.append((row["session"], name, "SELL", (close - row["bbands_upper_20"]) / half))
    found = signals_of(features, date(2021, 1, 1)).select("session", "instrument_id", "side", "strength")
    assert expected
    assert found.rows() == sorted(expected)
    assert found["strength"].min() >= 0  # type: ignore[operator]
