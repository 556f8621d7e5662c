"""The network: a small transformer over patches of a window, with heads for three horizons; and what its outputs mean.

A window of 32 sessions is cut into patches of four, each becomes one token (as in Nie et al., "A Time Series is Worth 64 Words",
2023), which makes attention and the rest eight times cheaper than a token a session. The heads begin at zero, so an untrained
network predicts the training set's means, base rates and quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional

from bar_fly_trading.stockformer.predictions import BUCKETS, HORIZONS

# Of each horizon: market, excess, rise, buckets, low, high.
_MARKET, _EXCESS, _RISE, _BUCKET, _LOW, _HIGH = 0, 1, 2, 3, 3 + BUCKETS, 4 + BUCKETS
OUTPUTS = 5 + BUCKETS
INTERVAL = (0.1, 0.9)
INPUT_CLIP = 5.0
MARKET_WEIGHT = 0.1
# No prediction says that all is lost: a return is above -100 %.
_RETURN_MIN = -0.99


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The network's shape; `window` is a multiple of `patch`, `width` of `heads`."""

    inputs: int
    window: int = 32
    patch: int = 4
    width: int = 48
    layers: int = 2
    heads: int = 4
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if min(self.inputs, self.window, self.patch, self.width, self.layers, self.heads) < 1:
            raise ValueError(f"every size of the network is at least 1: {asdict(self)}")
        if self.window % self.patch or self.width % self.heads:
            raise ValueError(
                f"window {self.window} / patch {self.patch} or width {self.width} / heads {self.heads} leave a rest"
            )


class Block(nn.Module):
    """One layer: attention over the tokens, then a feed-forward, each on normalised input and added back."""

    def __init__(self, config: NetworkConfig) -> None:
        """Make a layer of the given shape."""
        super().__init__()
        self.heads = config.heads
        self.attention_norm, self.forward_norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.mix = nn.Linear(config.width, config.width)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.width, 2 * config.width), nn.GELU(), nn.Linear(2 * config.width, config.width)
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map [sample, token, width] to the same shape."""
        samples, count, width = tokens.shape
        split = self.query_key_value(self.attention_norm(tokens)).view(
            samples, count, 3, self.heads, width // self.heads
        )
        query, key, value = split.permute(2, 0, 3, 1, 4)
        # Written out: these two products are deterministic on every device, and eight tokens gain nothing from a fused kernel.
        weights = (query @ key.transpose(-2, -1) / math.sqrt(width // self.heads)).softmax(dim=-1)
        tokens = tokens + self.mix((weights @ value).transpose(1, 2).reshape(samples, count, width))
        out: torch.Tensor = tokens + self.feed_forward(self.forward_norm(tokens))
        return out


class Network(nn.Module):
    """Windows in, standardised outputs for each horizon out."""

    def __init__(self, config: NetworkConfig) -> None:
        """Make an untrained network; its weights come from torch's global generator."""
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.patch * config.inputs, config.width)
        self.position = nn.Parameter(torch.randn(config.window // config.patch, config.width) * 0.02)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.heads = nn.Linear(2 * config.width, len(HORIZONS) * OUTPUTS)
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Map normalised windows [sample, window * input] (session by session) to [sample, horizon, output]."""
        config = self.config
        patches = windows.view(-1, config.window // config.patch, config.patch * config.inputs)
        tokens = self.norm(self.blocks(self.embed(patches) + self.position))
        pooled = torch.cat((tokens[:, -1], tokens.mean(dim=1)), dim=1)
        out: torch.Tensor = self.heads(self.dropout(pooled)).view(-1, len(HORIZONS), OUTPUTS)
        return out


@dataclass(frozen=True, slots=True)
class Statistics:
    """What turns raw inputs into normalised ones and outputs into returns; from the training set but the last three.

    `input_mean`, `input_std` [input]; the rest [horizon] or [horizon, n]: mean and standard deviation of the universe's mean
    return and of the whole return, deviation of the excess over it, log-odds of a rise, log-probabilities and four edges of the
    buckets, the interval's quantiles, winsorising bounds of the two regression targets. From the validation set: `margin`, by how
    much the interval is widened so that it held 80 % of it (conformalised quantile regression, Romano et al. 2019), and
    `market_scale`, `excess_scale`, by how much the two regressions are shrunk towards the training mean.
    """

    input_mean: torch.Tensor
    input_std: torch.Tensor
    market_mean: torch.Tensor
    market_std: torch.Tensor
    excess_std: torch.Tensor
    return_mean: torch.Tensor
    return_std: torch.Tensor
    rise_log_odds: torch.Tensor
    bucket_log_probability: torch.Tensor
    bucket_edges: torch.Tensor
    interval: torch.Tensor
    market_bounds: torch.Tensor
    excess_bounds: torch.Tensor
    margin: torch.Tensor
    market_scale: torch.Tensor
    excess_scale: torch.Tensor

    def normalise(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return raw inputs [..., input] centred, scaled and clipped; NaN stays NaN."""
        return self.normalise_in_place(inputs.clone())

    def normalise_in_place(self, inputs: torch.Tensor) -> torch.Tensor:
        """Do the same to the inputs themselves, as training and prediction both do, and return them."""
        return inputs.sub_(self.input_mean).div_(self.input_std).clamp_(-INPUT_CLIP, INPUT_CLIP)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    def to(self, device: torch.device) -> Statistics:
        """Return the same statistics on a device."""
        return Statistics(**{name: tensor.to(device) for name, tensor in self.tensors().items()})


@dataclass(frozen=True, slots=True)
class Forecast:
    """Outputs in their units, [sample, horizon]: fractions, probabilities (`buckets` [sample, horizon, bucket])."""

    market: torch.Tensor
    excess: torch.Tensor
    rise: torch.Tensor
    buckets: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor


def decode(outputs: torch.Tensor, statistics: Statistics) -> Forecast:
    """Give a network's outputs their units; `market` is each instrument's own view of the universe's mean return."""
    s = statistics
    market = outputs[..., _MARKET] * s.market_std * s.market_scale + s.market_mean
    excess = outputs[..., _EXCESS] * s.excess_std * s.excess_scale
    rise = (outputs[..., _RISE] + s.rise_log_odds).sigmoid()
    buckets = (outputs[..., _BUCKET:_LOW] + s.bucket_log_probability).softmax(dim=-1)
    ends = [outputs[..., i] * s.return_std + s.interval[:, j] for j, i in enumerate((_LOW, _HIGH))]
    low, high = ends[0] - s.margin, ends[1] + s.margin
    return Forecast(
        market,
        excess,
        rise,
        buckets,
        torch.minimum(low, high).clamp(min=_RETURN_MIN),
        torch.maximum(low, high).clamp(min=_RETURN_MIN),
    )


def settle(forecast: Forecast, groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return absolute expected return and excess, [sample, horizon], of samples grouped by session.

    A session's instruments agree on one market return, the mean of their views of it, and their excesses add up to nothing:
    so the absolute return is market plus excess, whatever the universe. `groups`: [sample], session numbers from 0.
    """
    market, excess = (_group_mean(values, groups) for values in (forecast.market, forecast.excess))
    above = forecast.excess - excess
    return (market + above).clamp(min=_RETURN_MIN), above


def _group_mean(values: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    count = int(groups.max()) + 1
    sums = torch.zeros(count, values.shape[1], dtype=torch.float64).index_add_(0, groups, values.double())
    sizes = torch.bincount(groups, minlength=count).unsqueeze(1)
    return (sums / sizes)[groups].to(values.dtype)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside, and as many as before after it.

    One is the default everywhere: the network is small, and on a machine that does other work too, threads which wait for each
    other at every operation made it twenty times slower, not faster. It also keeps results apart from the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def infer(network: Network, windows: torch.Tensor, rows: torch.Tensor, *, batch: int = 2048) -> torch.Tensor:
    """Return a network's outputs on the CPU for the given rows of normalised `windows`, dropout off, a batch at a time."""
    network.eval()
    device = network.position.device
    batches = (rows[i : i + batch] for i in range(0, len(rows), batch))
    parts = [network(windows.index_select(0, some).to(device)).cpu() for some in batches]
    return torch.cat(parts)


def loss(outputs: torch.Tensor, returns: torch.Tensor, market: torch.Tensor, statistics: Statistics) -> torch.Tensor:
    """Return the mean loss of a batch: squared errors of market and excess, both standardised and winsorised so that one bad
    print cannot lead; log losses of rise and bucket; pinball losses of the interval's ends.

    `returns`, `market`: [sample, horizon], the label and the session's universe mean of it, as fractions, without NaN.
    """
    s = statistics
    market_target = (market.clamp(s.market_bounds[:, 0], s.market_bounds[:, 1]) - s.market_mean) / s.market_std
    excess_target = (returns - market).clamp(s.excess_bounds[:, 0], s.excess_bounds[:, 1]) / s.excess_std
    # A session has one market return however many instruments it has: at full weight the network would learn those by heart.
    squared = MARKET_WEIGHT * (outputs[..., _MARKET] - market_target).square()
    squared = squared + (outputs[..., _EXCESS] - excess_target).square()
    rise = functional.binary_cross_entropy_with_logits(outputs[..., _RISE] + s.rise_log_odds, (returns > 0).float())
    buckets = functional.cross_entropy(
        (outputs[..., _BUCKET:_LOW] + s.bucket_log_probability).flatten(0, 1), bucket_of(returns, s).flatten()
    )
    total = squared.mean() / 2 + rise / 2 + buckets / 4
    for j, (i, quantile) in enumerate(zip((_LOW, _HIGH), INTERVAL, strict=True)):
        miss = (returns - s.interval[:, j]) / s.return_std - outputs[..., i]
        total = total + torch.maximum(quantile * miss, (quantile - 1) * miss).mean()
    return total


def bucket_of(returns: torch.Tensor, statistics: Statistics) -> torch.Tensor:
    """Return the bucket 0 to 4 of returns [..., horizon] by the training set's edges."""
    return (returns.unsqueeze(-1) > statistics.bucket_edges).sum(dim=-1)
