"""Time stockformer's training and inference beside their bound, and its rank correlation beside a ridge regression's.

Run: `.venv/bin/python benchmarks/training.py [BARS.parquet]`. Without a file the market is synthetic and seeded (200 names, 1,500
sessions, nothing to predict in it); with one (columns `symbol, date, open, ... split_coefficient`) it is real, and the rank
correlations mean something. The bound of training is the same network, loss and optimiser on ready random windows; the bound of
inference is the network's bare forward pass. Ridge sees the newest session of each window and the same split.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import torch

from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.features.table import build
from bar_fly_trading.stockformer import registry
from bar_fly_trading.stockformer.evaluation import Sample, score
from bar_fly_trading.stockformer.network import OUTPUTS, Network, Statistics, infer, loss, threads
from bar_fly_trading.stockformer.optimiser import AdamW
from bar_fly_trading.stockformer.prediction import predict_sessions
from bar_fly_trading.stockformer.predictions import HORIZONS
from bar_fly_trading.stockformer.split import label, samples, split_sessions, statistics_of
from bar_fly_trading.stockformer.training import TrainingConfig, train
from bar_fly_trading.stockformer.windows import Panel, panel

NAMES, SESSIONS, STEPS, SEED = 200, 1500, 200, 1


def synthetic() -> pl.DataFrame:
    """Random walks as bars."""
    rng = np.random.default_rng(SEED)
    sessions = Calendar().sessions(date(2014, 1, 2), date(2022, 12, 30))[:SESSIONS]
    close = 50 * np.exp(np.cumsum(rng.normal(0.0003, 0.018, (NAMES, SESSIONS)), axis=1)).ravel()
    opened = close * np.exp(rng.normal(0, 0.005, close.size))
    return pl.DataFrame(
        {
            "instrument_id": np.repeat([f"us:N{i:03}" for i in range(NAMES)], SESSIONS),
            "session": pl.Series(list(sessions) * NAMES, dtype=pl.Date),
            "open": opened,
            "high": np.maximum(opened, close) * 1.006,
            "low": np.minimum(opened, close) * 0.994,
            "close": close,
            "adjusted_close": close,
            "volume": rng.integers(100_000, 9_000_000, close.size),
            "dividend_amount": 0.0,
            "split_coefficient": 1.0,
        }
    )


def market(arguments: list[str]) -> pl.DataFrame:
    """Build the feature table of the file asked for, or of the synthetic market."""
    if arguments:
        named = pl.col("symbol").str.replace_all("-", ".", literal=True)
        bars = pl.read_parquet(arguments[0]).with_columns(
            instrument_id="us:" + named, session=pl.col("date").cast(pl.Date)
        )
    else:
        bars = synthetic()
    ids = bars["instrument_id"].unique().sort().to_list()
    return build(bars, {i: i.removeprefix("us:") for i in ids})


def seconds(work: Callable[[], object]) -> float:
    """The best of three runs."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def bare_training(config: TrainingConfig, statistics: Statistics) -> float:
    """Samples a second of forward, loss, backward and optimiser on one ready random batch."""
    network = Network(config.network)
    optimiser = AdamW(network, weight_decay=0.05, norm_max=1.0)
    windows = torch.randn(config.batch, config.network.window * config.network.inputs)
    returns, mean = torch.randn(2, config.batch, len(HORIZONS)) * 0.05

    def run() -> None:
        for _ in range(30):
            torch.autograd.backward(loss(network(windows), returns, mean, statistics))
            optimiser.step(1e-4)

    run()
    return 30 * config.batch / seconds(run)


def ridge(view: Panel, training: Sample, test: Sample, statistics: Statistics) -> tuple[torch.Tensor, float]:
    """Fit excess returns by ridge on each window's newest session; return its outputs for the test set and the seconds."""
    start = time.perf_counter()
    inputs = statistics.normalise(view.flat[training.ends]).double()
    target = ((training.returns - training.market).clamp(*statistics.excess_bounds.T) / statistics.excess_std).double()
    gram = inputs.T @ inputs + 0.01 * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, inputs.T @ target)
    took = time.perf_counter() - start
    outputs = torch.zeros(len(test), len(HORIZONS), OUTPUTS)
    outputs[..., 1] = (statistics.normalise(view.flat[test.ends]).double() @ weights).float()
    return outputs, took


def main() -> None:
    """Print each figure beside its bound or peer."""
    start = time.perf_counter()
    features = market(sys.argv[1:])
    newest = features["session"].max()
    assert isinstance(newest, date)
    print(f"{features.height:,} feature rows in {time.perf_counter() - start:.1f} s; one thread")
    config = dataclasses.replace(TrainingConfig(), patience_checks=1000)
    with tempfile.TemporaryDirectory() as folder:
        report = train(
            features,
            as_of=newest,
            steps=STEPS,
            seed=SEED,
            models_root=Path(folder),
            monotonic=time.monotonic,
            config=config,
        )
        checkpoint = registry.load(report.folder)
    start = time.perf_counter()
    view = panel(features, as_of=newest)
    split = split_sessions(view)
    labels = label(view, split)
    training, test = (samples(view, labels, part) for part in (split.training, split.test))
    statistics = statistics_of(view, training)
    print(
        f"preparing windows, labels and statistics: {time.perf_counter() - start:.1f} s for {len(training):,} samples"
    )
    with threads(config.threads):
        bound = bare_training(config, statistics)
    print(
        f"training:  {report.samples_per_s:>9,.0f} samples/s, validation included; bound {bound:>9,.0f} (ready random windows)"
    )

    days = features["session"].unique().sort()[-60:].to_list()
    late = dataclasses.replace(checkpoint, card=dataclasses.replace(checkpoint.card, as_of=days[0]))
    rows = sum(table.height for table in predict_sessions(features, late, sessions=days).values())
    whole = seconds(lambda: predict_sessions(features, late, sessions=days))
    ends = test.ends[:20_000] - (view.window - 1)
    windows, ready = view.windows(), torch.randn(2048, config.network.window * config.network.inputs)
    with threads(1), torch.inference_mode():
        inner = len(ends) / seconds(lambda: infer(checkpoint.network, windows, ends))
        bare = 2048 / seconds(lambda: checkpoint.network(ready))
    print(f"inference: {rows / whole:>9,.0f} rows/s from feature table to prediction table, 60 sessions")
    print(f"           {inner:>9,.0f} rows/s from windows to outputs; bound {bare:>9,.0f} (forward pass alone)")

    outputs, took = ridge(view, training, test, statistics)
    peer = {s.horizon: s for s in score(outputs, test, statistics)}
    print(f"ridge:     {len(training) / took:>9,.0f} samples/s fitted")
    for h in HORIZONS:
        ours = report.card.scores[f"{h}d"]
        said = [f"{'none' if ic is None else format(ic, '+.3f')}" for ic in (ours["ic"], peer[h].ic)]
        print(f"rank correlation, {h:>2} sessions: network {said[0]} after {STEPS} steps, ridge {said[1]}")
    print(
        f"test sessions {view.sessions[split.test[0]]} to {view.sessions[split.test[1]]}; a file of today's members flatters every figure"
    )


if __name__ == "__main__":
    main()
