"""Which sessions train, validate and test a model, and the labelled samples and statistics of each.

In time order: training, a gap, validation (when to stop, how wide the interval), a gap, test (the scores). The gaps are as long as
the longest horizon, so that no label of an earlier part reaches into a later one: the split is purged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from bar_fly_trading.errors import TrainModel
from bar_fly_trading.stockformer.evaluation import Sample
from bar_fly_trading.stockformer.network import INTERVAL, Statistics
from bar_fly_trading.stockformer.predictions import BUCKETS, HORIZONS
from bar_fly_trading.stockformer.windows import Doubles, Panel, future_returns

GAP_SESSIONS = max(HORIZONS)
HOLDOUT_SHARE = 0.1
HOLDOUT_SESSIONS_MIN, HOLDOUT_SESSIONS_MAX = 10, 90
TRAINING_SESSIONS_MIN = 40
# Targets are held within these bounds, where misprints live: one in a thousand on either side, and twenty deviations (by the
# quartiles, 1.35 normal deviations apart) from the median, which one misprint in a small set cannot move.
WINSOR = 0.001
_DEVIATIONS_MAX, _QUARTILES_APART = 20.0, 1.349
_STD_MIN = 1e-6


@dataclass(frozen=True, slots=True)
class Split:
    """Session numbers of the three parts, each a range [first, last]."""

    training: tuple[int, int]
    validation: tuple[int, int]
    test: tuple[int, int]


def split_sessions(panel: Panel) -> Split:
    """Cut the panel's labelled sessions; TrainModel, with the numbers, where they are too few."""
    usable = np.flatnonzero(panel.complete.any(axis=1))
    if not usable.size:
        raise TrainModel(
            f"No symbol has {panel.window} sessions of defined features in a row, in {len(panel.sessions)} sessions.",
            way_out="Pull or import more history: about 290 sessions before the first sample are needed.",
        )
    first = int(usable[0])
    last = len(panel.sessions) - 1 - GAP_SESSIONS
    holdout = int(np.clip((last - first + 1) * HOLDOUT_SHARE, HOLDOUT_SESSIONS_MIN, HOLDOUT_SESSIONS_MAX))
    test = (last - holdout + 1, last)
    validation = (test[0] - GAP_SESSIONS - holdout, test[0] - GAP_SESSIONS - 1)
    training = (first, validation[0] - GAP_SESSIONS - 1)
    count = training[1] - training[0] + 1
    if count < TRAINING_SESSIONS_MIN:
        needed = len(panel.sessions) + TRAINING_SESSIONS_MIN - count
        raise TrainModel(
            f"{len(panel.sessions)} sessions of features, {usable.size} of them with a complete window, are too few to train on: "
            f"about {needed} sessions are needed.",
            way_out="Pull or import more history, then: bft train.",
        )
    return Split(training, validation, test)


@dataclass(frozen=True, slots=True)
class Labels:
    """Returns and their universe means, float32 [instrument * sessions + session, horizon], NaN where not known."""

    returns: torch.Tensor
    market: torch.Tensor


def label(panel: Panel, split: Split) -> Labels:
    """Compute the labels; the universe's mean is taken of returns held within the training set's winsorising bounds."""
    returns, market = [], []
    for horizon in HORIZONS:
        values = future_returns(panel.close, horizon)
        held = np.clip(values, *_bounds(values[split.training[0] : split.training[1] + 1]))
        counts = np.isfinite(held).sum(axis=1)
        mean = np.where(counts > 0, np.nansum(held, axis=1) / np.maximum(counts, 1), np.nan)
        returns.append(values.T.reshape(-1))
        market.append(np.broadcast_to(mean, values.T.shape).reshape(-1))
    return Labels(*(torch.from_numpy(np.stack(part, axis=1).astype(np.float32)) for part in (returns, market)))


def _bounds(values: Doubles) -> tuple[float, float]:
    defined = values[np.isfinite(values)]
    if not defined.size:
        raise TrainModel("No training session has a known future return.", way_out="Pull or import more history.")
    low, first, middle, third, high = np.quantile(defined, (WINSOR, 0.25, 0.5, 0.75, 1 - WINSOR))
    far = _DEVIATIONS_MAX * max(third - first, _STD_MIN) / _QUARTILES_APART
    return float(max(low, middle - far)), float(min(high, middle + far))


def samples(panel: Panel, labels: Labels, part: tuple[int, int], *, rows_max: int | None = None) -> Sample:
    """Return the complete windows of a part whose labels are all known; whole sessions, evenly spaced, up to about `rows_max`."""
    sessions = np.arange(part[0], part[1] + 1)
    if rows_max is not None:
        each = max(int(panel.complete[sessions].sum()) / len(sessions), 1.0)
        keep = int(np.clip(rows_max / each, 1, len(sessions)))
        sessions = sessions[np.unique(np.linspace(0, len(sessions) - 1, keep).round().astype(np.int64))]
    ends = torch.from_numpy(panel.ends(sessions))
    ends = ends[torch.isfinite(labels.returns[ends]).all(dim=1)]
    if not len(ends):
        raise TrainModel(
            f"No labelled window between {panel.sessions[part[0]]} and {panel.sessions[part[1]]}.",
            way_out="Pull or import more history, then: bft train.",
        )
    session, _ = panel.place(ends.numpy())
    return Sample(ends, torch.from_numpy(session), labels.returns[ends], labels.market[ends])


def statistics_of(panel: Panel, training: Sample) -> Statistics:
    """Compute every statistic of the training samples alone; what validation adjusts is neutral yet."""
    mean, std = _input_moments(panel, training)
    returns, market = training.returns.double().numpy(), training.market.double().numpy()
    excess = returns - market
    bounds = {
        name: np.array([_bounds(values[:, i]) for i in range(len(HORIZONS))])
        for name, values in (("market", market), ("excess", excess))
    }
    held = {
        name: v.clip(bounds[name][:, 0], bounds[name][:, 1]) for name, v in (("market", market), ("excess", excess))
    }
    rise = (returns > 0).mean(axis=0).clip(0.01, 0.99)
    edges = np.quantile(returns, np.arange(1, BUCKETS) / BUCKETS, axis=0).T
    shares = np.stack([_shares(returns[:, i], edges[i]) for i in range(len(HORIZONS))])
    numbers = {
        "input_mean": mean,
        "input_std": std,
        "market_mean": held["market"].mean(axis=0),
        "market_std": held["market"].std(axis=0).clip(_STD_MIN),
        "excess_std": held["excess"].std(axis=0).clip(_STD_MIN),
        "return_mean": (held["market"] + held["excess"]).mean(axis=0),
        "return_std": (held["market"] + held["excess"]).std(axis=0).clip(_STD_MIN),
        "rise_log_odds": np.log(rise / (1 - rise)),
        "bucket_log_probability": np.log(shares),
        "bucket_edges": edges,
        "interval": np.quantile(returns, INTERVAL, axis=0).T,
        "market_bounds": bounds["market"],
        "excess_bounds": bounds["excess"],
        "margin": np.zeros(len(HORIZONS)),
        "market_scale": np.ones(len(HORIZONS)),
        "excess_scale": np.ones(len(HORIZONS)),
    }
    return Statistics(
        **{name: torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32)) for name, v in numbers.items()}
    )


def _shares(returns: Doubles, edges: Doubles) -> Doubles:
    counts = np.bincount(np.searchsorted(edges, returns), minlength=BUCKETS).astype(np.float64)
    counts = counts.clip(1.0)
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def _input_moments(panel: Panel, training: Sample) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and deviation of each input in the rows where training windows end."""
    count, size = len(training), 1 << 18
    total, squares = np.zeros(panel.flat.shape[1]), np.zeros(panel.flat.shape[1])
    for i in range(0, count, size):
        values = panel.flat[training.ends[i : i + size]].double()
        total += values.sum(dim=0).numpy()
        squares += values.square().sum(dim=0).numpy()
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    # An input that never moved carries nothing: scaled by one it stays at zero.
    return mean, np.where(std > _STD_MIN, std, 1.0)
