"""Training: from a feature table to a published model, within a budget of minutes or steps, reading nothing after the day."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import torch

import bar_fly_trading
from bar_fly_trading.errors import FixSettings, TrainModel
from bar_fly_trading.files import sha256_bytes
from bar_fly_trading.stockformer import registry
from bar_fly_trading.stockformer.evaluation import Sample, calibrate, mean_loss, naive_loss, score
from bar_fly_trading.stockformer.inputs import INPUTS, inputs_hash
from bar_fly_trading.stockformer.network import OUTPUTS, Network, NetworkConfig, Statistics, infer, loss, threads
from bar_fly_trading.stockformer.optimiser import AdamW
from bar_fly_trading.stockformer.split import Split, label, samples, split_sessions, statistics_of
from bar_fly_trading.stockformer.windows import Panel, panel, restricted

STEPS_DEFAULT = 4000
GRADIENT_NORM_MAX = 1.0
# What publishing and a busy machine may take, kept free at the end of the budget: seconds, or a share where that is more.
_RESERVE_S, _RESERVE_SHARE = 0.5, 0.05


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The numbers of a training; `patience_checks` validations without a better one end it early."""

    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(inputs=len(INPUTS)))
    batch: int = 256
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    warmup_steps: int = 20
    check_steps_min: int = 25
    check_steps_max: int = 100
    patience_checks: int = 8
    validation_rows_max: int = 3000
    test_rows_max: int = 8000
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands: told at its start and at each validation. `share` of the budget, 0 to 1; times in seconds."""

    step: int
    share: float
    elapsed_s: float
    training_loss: float | None
    validation_loss: float
    best_validation_loss: float
    samples_per_s: float


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a training reached: the published model's folder and card, and how fast it went."""

    folder: Path
    card: registry.Card
    seconds: float
    samples_per_s: float


@dataclass(slots=True)
class _Best:
    """The best validation so far, and its weights."""

    loss: float
    state: dict[str, torch.Tensor]
    step: int
    checks_since: int = 0


class _Budget:
    """Tells how much of the minutes or steps is spent; whichever comes first counts."""

    def __init__(
        self, start_s: float, minutes: float | None, steps: int | None, monotonic: Callable[[], float]
    ) -> None:
        self.start_s, self.monotonic = start_s, monotonic
        self.seconds = None if minutes is None else minutes * 60
        self.steps = STEPS_DEFAULT if steps is None and minutes is None else steps
        self.reserve_min_s = max(_RESERVE_S, _RESERVE_SHARE * (self.seconds or 0.0))
        self.reserve_s = self.reserve_min_s

    def elapsed_s(self) -> float:
        return self.monotonic() - self.start_s

    def share(self, step: int) -> float:
        of_steps = 0.0 if self.steps is None else step / self.steps
        of_time = 0.0 if self.seconds is None else self.elapsed_s() / max(self.seconds - self.reserve_s, 1e-9)
        return min(max(of_steps, of_time), 1.0)

    def spent(self, step: int) -> str | None:
        if self.steps is not None and step >= self.steps:
            return "steps"
        return "budget" if self.seconds is not None and self.elapsed_s() + self.reserve_s >= self.seconds else None


def train(
    features: pl.DataFrame,
    *,
    as_of: date,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    models_root: Path,
    progress: Callable[[Progress], None] = lambda _: None,
    monotonic: Callable[[], float],
    trained_at_us: int | None = None,
    config: TrainingConfig | None = None,
    members: pl.DataFrame | None = None,
) -> TrainingReport:
    """Train on the feature table's rows up to `as_of`, publish the model and make it the active one.

    Labels of a session are computed here from closes up to `as_of`; the table's own label columns are not read. The budget counts
    from the call to the return; with `minutes` and `steps` None it is STEPS_DEFAULT steps, and early stopping may end any sooner.
    `steps` and `seed` without `minutes` give the same weights bit for bit on one machine. Runs on CUDA where there is one.

    `members`: the spans in which instruments were members of the universe (see `windows.restricted`); samples end in them alone.

    TrainModel where history is too short, the budget does not reach the first step, or a loss is not finite; FixSettings for a budget
    that is not positive. The previous model stays active and whole then.
    """
    start_s = monotonic()
    for name, value in (("minutes", minutes), ("steps", steps)):
        if value is not None and not value > 0:
            raise FixSettings(f"A training of {value} {name} is none.", way_out=f"Give --{name} a number above 0.")
    config = config or TrainingConfig()
    budget = _Budget(start_s, minutes, steps, monotonic)
    with threads(config.threads), _deterministic(seed):
        view = panel(features, as_of=as_of, window=config.network.window)
        data_hash = view.data_hash()
        if members is not None:
            view = restricted(view, members)
            data_hash = sha256_bytes(data_hash.encode() + np.packbits(view.complete).tobytes())
        run = _Run(view, split_sessions(view), config, budget, progress)
        stopped, step = run.fit()
        return run.publish(as_of, seed, models_root, data_hash, trained_at_us, stopped, step)


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Seed torch for one training and hold it to deterministic kernels, and give its global state back after it."""
    strict = torch.get_deterministic_debug_mode()
    if torch.cuda.is_available():
        # cuBLAS is deterministic only with a workspace of fixed size, which it reads from here.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        # use_deterministic_algorithms would import the whole compiler (seconds) to set one flag of it, unused here.
        torch.set_deterministic_debug_mode("error")
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(strict)


class _Run:
    """One training from prepared data to a published model."""

    def __init__(
        self, view: Panel, split: Split, config: TrainingConfig, budget: _Budget, progress: Callable[[Progress], None]
    ) -> None:
        self.panel, self.split, self.config, self.budget, self.progress = view, split, config, budget, progress
        labels = label(view, split)
        self.training = samples(view, labels, split.training)
        self.validation = samples(view, labels, split.validation, rows_max=config.validation_rows_max)
        self.test = samples(view, labels, split.test, rows_max=config.test_rows_max)
        self.statistics = statistics_of(view, self.training)
        # Normalised in place: the panel is this run's own, and nobody reads its raw inputs any more.
        self.statistics.normalise_in_place(view.flat)
        self.windows = view.windows()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = Network(config.network).to(self.device)
        self.fit_s = 0.0

    def _outputs(self, sample: Sample) -> torch.Tensor:
        return infer(self.network, self.windows, sample.ends - (self.panel.window - 1))

    def _validate(self) -> float:
        value = mean_loss(self._outputs(self.validation), self.validation, self.statistics)
        return _finite(value, "validation")

    def fit(self) -> tuple[str, int]:
        """Step until the budget is spent or validation stops getting better; keep the best weights; say why and when."""
        config, budget = self.config, self.budget
        optimiser = AdamW(self.network, weight_decay=config.weight_decay, norm_max=GRADIENT_NORM_MAX)
        began_s = budget.elapsed_s()
        untrained = self._validate()
        check_s = budget.elapsed_s() - began_s
        self._reserve(check_s)
        if budget.spent(0):
            raise TrainModel(
                f"The budget ended before the first step: preparing took {budget.elapsed_s():.1f} s.",
                way_out="Give more time: bft train --minutes N.",
            )
        self.progress(Progress(0, budget.share(0), budget.elapsed_s(), None, untrained, untrained, 0.0))
        epoch_steps = len(self.training) // config.batch
        check_steps = min(max(epoch_steps // 20, config.check_steps_min), config.check_steps_max)
        # The first check replaces it: a model that ranks nothing is of no use to anybody, so the untrained one never wins.
        best = _Best(math.inf, {}, 0)
        began_s, step, stopped, losses = budget.elapsed_s(), 0, None, torch.zeros(())
        batches = self._batches()
        while stopped is None:
            losses = losses + self._step(optimiser, next(batches), self._rate(step))
            step += 1
            stopped = budget.spent(step)
            if stopped or step % check_steps == 0:
                mean = _finite(float(losses) / ((step - 1) % check_steps + 1), "training")
                losses = torch.zeros(())
                stopped = self._check(best, step, mean, began_s) or stopped
        self.fit_s = budget.elapsed_s() - began_s
        self.network.load_state_dict(best.state)
        return stopped, step

    def _reserve(self, check_s: float) -> None:
        """Keep free what the end needs, by the slowest validation so far: that set and the test set once, and as much again."""
        end_s = 2.0 * check_s * (1 + len(self.test) / len(self.validation))
        self.budget.reserve_s = max(self.budget.reserve_s, self.budget.reserve_min_s + end_s)

    def _check(self, best: _Best, step: int, training_loss: float, began_s: float) -> str | None:
        before_s = self.budget.elapsed_s()
        value = self._validate()
        self._reserve(self.budget.elapsed_s() - before_s)
        if value < best.loss:
            best.loss, best.step, best.checks_since = value, step, 0
            best.state = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        else:
            best.checks_since += 1
        elapsed_s = self.budget.elapsed_s()
        speed = step * self.config.batch / max(elapsed_s - began_s, 1e-9)
        self.progress(Progress(step, self.budget.share(step), elapsed_s, training_loss, value, best.loss, speed))
        return "early" if best.checks_since >= self.config.patience_checks else None

    def _batches(self) -> Iterator[Sample]:
        """Yield batches of shuffled training samples without end; each epoch in an order of its own."""
        size = min(self.config.batch, len(self.training))
        while True:
            order = torch.randperm(len(self.training))
            for i in range(0, len(order) - size + 1, size):
                yield self.training.take(order[i : i + size])

    def _rate(self, step: int) -> float:
        warm = min((step + 1) / max(self.config.warmup_steps, 1), 1.0)
        return self.config.learning_rate * warm * (0.55 + 0.45 * math.cos(math.pi * self.budget.share(step)))

    def _step(self, optimiser: AdamW, batch: Sample, rate: float) -> torch.Tensor:
        self.network.train()
        inputs = self.windows.index_select(0, batch.ends - (self.panel.window - 1)).to(self.device)
        statistics = self._device_statistics()
        value = loss(self.network(inputs), batch.returns.to(self.device), batch.market.to(self.device), statistics)
        torch.autograd.backward(value)
        optimiser.step(rate)
        return value.detach().cpu()

    def _device_statistics(self) -> Statistics:
        return self.statistics if self.device.type == "cpu" else self.statistics.to(self.device)

    def _scores(self, statistics: Statistics, validated: torch.Tensor) -> dict[str, object]:
        outputs, test = self._outputs(self.test), self.test
        numbers: dict[str, object] = {
            "validation_loss": _finite(mean_loss(validated, self.validation, statistics), "validation"),
            "validation_loss_untrained": naive_loss(self.validation, statistics, OUTPUTS),
            "test_loss": _finite(mean_loss(outputs, test, statistics), "test"),
            "test_loss_untrained": naive_loss(test, statistics, OUTPUTS),
            "test_rows": len(test),
            "test_sessions": len(np.unique(test.session.numpy())),
        }
        return numbers | {f"{s.horizon}d": asdict(s) for s in score(outputs, test, statistics)}

    def publish(
        self,
        as_of: date,
        seed: int,
        models_root: Path,
        data_hash: str,
        trained_at_us: int | None,
        stopped: str,
        step: int,
    ) -> TrainingReport:
        """Score the best weights on the test sessions and publish them."""
        validated = self._outputs(self.validation)
        statistics = calibrate(validated, self.validation, self.statistics)
        shape = asdict(self.config.network)
        weights = registry.weights_bytes(self.network, statistics, registry.bound_facts(as_of, shape, seed))
        digest = sha256_bytes(weights)
        scores = self._scores(statistics, validated)
        seconds = self.budget.elapsed_s()
        card = registry.Card(
            model_id=registry.model_id(as_of, digest),
            weights_sha256=digest,
            as_of=as_of,
            trained_at_us=trained_at_us,
            code_version=bar_fly_trading.__version__,
            torch_version=torch.__version__,
            device=f"{self.device.type} {platform.machine()}",
            seed=seed,
            network=shape,
            inputs=tuple(INPUTS),
            inputs_hash=inputs_hash(),
            data_hash=data_hash,
            sessions={
                f"{part}_{end}": f"{self.panel.sessions[getattr(self.split, part)[i]]}"
                for part in ("training", "validation", "test")
                for i, end in enumerate(("first", "last"))
            },
            samples=len(self.training),
            steps=step,
            seconds=round(seconds, 3),
            stopped=stopped,
            scores=scores,
        )
        folder = registry.publish(card, weights, models_root)
        return TrainingReport(folder, card, self.budget.elapsed_s(), step * self.config.batch / max(self.fit_s, 1e-9))


def _finite(value: float, part: str) -> float:
    if not math.isfinite(value):
        raise TrainModel(
            f"The {part} loss became {value}: nothing was published, the previous model stays active.",
            way_out="Look for wrong prices (bft features), or train with another --seed.",
        )
    return value
