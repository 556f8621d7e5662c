"""Time both strategies and the ranker on 504 names and 3,600 sessions; beside them, a plain loop over the same rows.

Run: `.venv/bin/python benchmarks/strategies.py`. The market is synthetic and seeded; one figure a line, seconds, the best
of three. The loop is what a script that walks a frame row by row does, timed on 20 names and scaled up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal

import numpy as np
import polars as pl

from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.strategies import build
from bar_fly_trading.strategies.signal import Holding, MarketView, at_session
from bar_fly_trading.trading.signal_ranker import RankingRules, rank

NAMES, SESSIONS, LOOP_NAMES = 504, 3600, 20


def market(seed: int = 1) -> MarketView:
    """Random walks with their bands and predictions, in the feature table's columns that strategies read."""
    rng = np.random.default_rng(seed)
    sessions = Calendar().sessions(date(2007, 1, 3), date(2022, 12, 30))[:SESSIONS]
    rows = NAMES * SESSIONS
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (NAMES, SESSIONS)), axis=1)).ravel()
    features = pl.DataFrame(
        {
            "session": pl.Series(list(sessions) * NAMES, dtype=pl.Date),
            "instrument_id": np.repeat([f"us:N{i:03}" for i in range(NAMES)], SESSIONS),
            "close": close,
            "chained_close": close,
            "dollar_volume_median_20d": rng.lognormal(18, 1, rows),
            "adx_14": rng.uniform(5, 50, rows),
            "adx_signal": rng.integers(-1, 2, rows).astype(np.int8),
            "cci_signal": rng.integers(-1, 2, rows).astype(np.int8),
        }
    ).with_columns(
        pl.col("instrument_id").str.slice(3).alias("symbol"),
        pl.lit(1.0).alias("split_coefficient"),
    )
    mean = pl.col("chained_close").rolling_mean(20).over("instrument_id")
    width = 2 * pl.col("chained_close").rolling_std(20, ddof=0).over("instrument_id")
    features = features.with_columns((mean - width).alias("bbands_lower_20"), (mean + width).alias("bbands_upper_20"))
    predictions = features.select("session", "instrument_id").with_columns(
        pl.Series("return_3d", rng.normal(0, 0.01, rows)),
        pl.Series("return_10d", rng.normal(0, 0.02, rows)),
        pl.Series("probability_rise_3d", rng.uniform(size=rows)),
    )
    return MarketView(sessions[-1], features, predictions)


def best_s(work: Callable[[], object]) -> float:
    """The best of three runs, in seconds."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def loop_count(features: pl.DataFrame) -> int:
    """The band crossings of a table, row by row."""
    count, before = 0, None
    for row in features.iter_rows(named=True):
        if before is not None and before["instrument_id"] == row["instrument_id"] and before["bbands_lower_20"]:
            bought = (
                before["chained_close"] > before["bbands_lower_20"] and row["chained_close"] <= row["bbands_lower_20"]
            )
            sold = (
                before["chained_close"] < before["bbands_upper_20"] and row["chained_close"] >= row["bbands_upper_20"]
            )
            count += bought or sold
        before = row
    return count


def main() -> None:
    """Print each figure."""
    view = market()
    bollinger, momentum = build("bollinger"), build("regression_momentum")
    few = view.features.head(LOOP_NAMES * SESSIONS)
    table = bollinger.signals(view)
    counted = table.frame.filter(pl.col("instrument_id").is_in(few["instrument_id"].unique().implode())).height
    assert counted == loop_count(few), "the loop and the strategy disagree"
    signals = (
        *at_session(bollinger, table, view.session),
        *at_session(momentum, momentum.signals(view), view.session),
    )
    held = [
        Holding("regression_momentum", f"us:N{i:03}", f"N{i:03}", 10, view.features["session"][-5], Decimal(100))
        for i in range(10)
    ]
    figures = {
        f"bollinger, all sessions ({table.frame.height:,} signals)": best_s(lambda: bollinger.signals(view)),
        "bollinger, a plain loop (scaled from 20 names)": best_s(lambda: loop_count(few)) * NAMES / LOOP_NAMES,
        "regression momentum, all sessions": best_s(lambda: momentum.signals(view)),
        "exits of 10 holdings, one session": best_s(lambda: momentum.exits(view, held)),
        f"rank {len(signals)} signals of one session": best_s(
            lambda: rank(signals, view.features, view.predictions, {}, RankingRules())
        ),
    }
    for what, seconds in figures.items():
        print(f"{what:<60} {seconds:8.3f} s")


if __name__ == "__main__":
    main()
