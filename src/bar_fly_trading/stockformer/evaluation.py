"""How good a network is on sessions it never saw: rank correlation, hits, errors and coverage, beside naive forecasts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from bar_fly_trading.stockformer.network import Forecast, Statistics, decode, loss, settle
from bar_fly_trading.stockformer.predictions import HORIZONS

SCALE_MIN = 0.1


@dataclass(frozen=True, slots=True)
class HorizonScore:
    """One horizon's scores on the test sessions.

    `ic`: mean over sessions of Spearman's correlation between predicted and realised return across instruments, `ic_sessions`
    the sessions where it is defined (None and 0 with fewer than two instruments). `hit_rate`: share of returns whose sign was
    predicted; `rise_rate`: share that rose. `mse` beside that of two forecasts which know nothing: zero, and the training
    mean. `coverage`: share inside the 80 % interval. `bucket_hit_rate`: share in the predicted fifth (chance: 0.2).
    """

    horizon: int
    ic: float | None
    ic_sessions: int
    hit_rate: float
    rise_rate: float
    mse: float
    mse_zero: float
    mse_training_mean: float
    coverage: float
    bucket_hit_rate: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Labelled windows: `ends` rows of the panel, `session` numbers, `returns` and `market` [sample, horizon] as fractions."""

    ends: torch.Tensor
    session: torch.Tensor
    returns: torch.Tensor
    market: torch.Tensor

    def __len__(self) -> int:
        return len(self.ends)

    def take(self, rows: torch.Tensor) -> Sample:
        """Return some of the samples, in the order of `rows`."""
        return Sample(self.ends[rows], self.session[rows], self.returns[rows], self.market[rows])


def mean_loss(outputs: torch.Tensor, sample: Sample, statistics: Statistics) -> float:
    """Return the training loss of outputs on a sample; NaN or infinite where the network has come apart."""
    return float(loss(outputs, sample.returns, sample.market, statistics))


def naive_loss(sample: Sample, statistics: Statistics, outputs: int) -> float:
    """Return the loss of the untrained network: training means, base rates and quantiles for everything."""
    return mean_loss(torch.zeros(len(sample), len(HORIZONS), outputs), sample, statistics)


def interval_margin(
    outputs: torch.Tensor, sample: Sample, statistics: Statistics, coverage: float = 0.8
) -> torch.Tensor:
    """Return [horizon] by how much the interval must grow at both ends to hold `coverage` of the sample (negative: shrink)."""
    forecast = decode(outputs, statistics)
    beyond = torch.maximum(forecast.low - sample.returns, sample.returns - forecast.high)
    return torch.quantile(beyond.double(), coverage, dim=0).float()


def calibrate(outputs: torch.Tensor, sample: Sample, statistics: Statistics) -> Statistics:
    """Return the statistics with shrinkage and interval margin as a validation sample wants them.

    A regression's scale is the least-squares slope of what came on what was predicted, held between SCALE_MIN and 1: forecasts
    that did not come true shrink towards the training mean, and never grow; the order they give stays.
    """
    values, forecast = statistics.tensors(), decode(outputs, statistics)
    market = sample.market.clamp(statistics.market_bounds[:, 0], statistics.market_bounds[:, 1])
    excess = (sample.returns - sample.market).clamp(statistics.excess_bounds[:, 0], statistics.excess_bounds[:, 1])
    mean = statistics.market_mean
    values["market_scale"] = _slope(forecast.market - mean, market - mean)
    values["excess_scale"] = _slope(forecast.excess, excess)
    values["margin"] = interval_margin(outputs, sample, statistics)
    return Statistics(**values)


def _slope(predicted: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    squares = predicted.double().square().sum(dim=0)
    products = (predicted.double() * real.double()).sum(dim=0)
    return (products / squares.clamp(min=1e-12)).clamp(SCALE_MIN, 1.0).float()


def score(outputs: torch.Tensor, sample: Sample, statistics: Statistics) -> tuple[HorizonScore, ...]:
    """Score outputs on a sample of whole sessions."""
    forecast = decode(outputs, statistics)
    groups = torch.from_numpy(np.unique(sample.session.numpy(), return_inverse=True)[1])
    predicted, _ = settle(forecast, groups)
    return tuple(
        _horizon_score(h, i, predicted[:, i].double().numpy(), forecast, sample, statistics)
        for i, h in enumerate(HORIZONS)
    )


def _horizon_score(
    horizon: int, i: int, predicted: npt.NDArray[np.float64], forecast: Forecast, sample: Sample, statistics: Statistics
) -> HorizonScore:
    real = sample.returns[:, i].double().numpy()
    ic, sessions = _rank_correlation(sample.session.numpy(), predicted, real)
    inside = (sample.returns[:, i] >= forecast.low[:, i]) & (sample.returns[:, i] <= forecast.high[:, i])
    bucket = (sample.returns[:, i].unsqueeze(1) > statistics.bucket_edges[i]).sum(dim=1)
    return HorizonScore(
        horizon,
        ic,
        sessions,
        float(np.mean((predicted > 0) == (real > 0))),
        float(np.mean(real > 0)),
        float(np.mean((predicted - real) ** 2)),
        float(np.mean(real**2)),
        float(np.mean((float(statistics.return_mean[i]) - real) ** 2)),
        float(inside.double().mean()),
        float((forecast.buckets[:, i].argmax(dim=1) == bucket).double().mean()),
    )


def _rank_correlation(
    session: npt.NDArray[np.int64], predicted: npt.NDArray[np.float64], real: npt.NDArray[np.float64]
) -> tuple[float | None, int]:
    frame = pl.DataFrame({"session": session, "predicted": predicted, "real": real})
    # A constant side has no rank correlation; polars says NaN or null there, depending on the session's size.
    of_session = (
        frame.group_by("session", maintain_order=True)
        .agg(ic=pl.corr("predicted", "real", method="spearman"), count=pl.len())
        .filter(pl.col("count") > 1)["ic"]
    )
    defined = [ic for ic in of_session.to_list() if ic is not None and math.isfinite(ic)]
    return (math.fsum(defined) / len(defined) if defined else None), len(defined)
