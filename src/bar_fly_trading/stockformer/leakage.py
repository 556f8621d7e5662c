"""Whether training or prediction knows the future: the split's purge, the normalisation, and train against serve.

Loads torch. The functions under test are the real ones; a caller may hand in others, to see the checks bite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
import torch

from bar_fly_trading.errors import FixData, TrainModel
from bar_fly_trading.features.leakage import Build, World
from bar_fly_trading.features.leakage_report import (
    NORMALISATION,
    PARITY_CHECKS,
    PARITY_INPUTS,
    PARITY_PREDICTION,
    PURGE,
    PURGE_EFFECT,
    TRAINING_CHECKS,
    ModelCheck,
)
from bar_fly_trading.stockformer.evaluation import Sample
from bar_fly_trading.stockformer.inputs import INPUTS, SOURCE_COLUMNS, inputs_hash
from bar_fly_trading.stockformer.network import Network, NetworkConfig, Statistics
from bar_fly_trading.stockformer.prediction import predict
from bar_fly_trading.stockformer.predictions import HORIZONS
from bar_fly_trading.stockformer.registry import Card, Checkpoint
from bar_fly_trading.stockformer.split import Split, label, samples, split_sessions, statistics_of
from bar_fly_trading.stockformer.windows import Panel, panel

Splitter = Callable[[Panel], Split]
Measure = Callable[[Panel, Sample], Statistics]


def whole_sample_statistics(view: Panel, training: Sample) -> Statistics:
    """Normalise by every row there is: a planted leak, never used."""
    everything = torch.from_numpy(view.ends(range(len(view.sessions))))
    own = statistics_of(view, training)
    values = view.flat[everything].double()
    mean, std = values.mean(dim=0).float(), values.std(dim=0).clamp(min=1e-6).float()
    return Statistics(**{**own.tensors(), "input_mean": mean, "input_std": std})


def unpurged_split(view: Panel) -> Split:
    """Split without a gap: a planted leak, never used."""
    real = split_sessions(view)
    validation = (real.training[1] + 1, real.test[0] - 1)
    return Split(real.training, validation, real.test)


def check_training(
    world: World, build: Build, seed: int, *, split: Splitter = split_sessions, measure: Measure = statistics_of
) -> tuple[ModelCheck, ...]:
    """Check the split and the normalisation of a training on the whole world; not checked where it is too short to train on."""
    last = world.sessions()[-1]
    try:
        before = _training(build(world), last, split, measure)
    except (TrainModel, FixData) as error:
        return tuple(ModelCheck(name, 0, 0, error.message) for name in TRAINING_CHECKS)
    parts = before.parts
    results = [_reach(before)]
    compared = wrong = 0
    example, moved = "", []
    for i, name in ((1, "validation"), (2, "test")):
        day = before.view.sessions[parts[i][0] - 1]
        after = _training(build(world.disturbed(day, seed)), last, split, measure)
        for earlier in range(i):
            count, differing = _samples_differ(before.samples[earlier], after.samples[earlier])
            compared, wrong = compared + count, wrong + differing
            example = example or (f"{differing} samples before {name}, which begins after {day}" if differing else "")
        if i == 1:
            moved = _statistics_differ(before.statistics, after.statistics)
    results.append(ModelCheck(PURGE_EFFECT, compared, wrong, example))
    statistics = len(Statistics.__slots__)
    results.append(ModelCheck(NORMALISATION, statistics, len(moved), ", ".join(moved)))
    return tuple(results)


@dataclass(frozen=True, slots=True)
class _Training:
    view: Panel
    parts: tuple[tuple[int, int], ...]
    samples: tuple[Sample, ...]
    statistics: Statistics


def _training(table: pl.DataFrame, last: date, split: Splitter, measure: Measure) -> _Training:
    view = panel(table.select(SOURCE_COLUMNS), as_of=last)
    cut = split(view)
    labels = label(view, cut)
    parts = (cut.training, cut.validation, cut.test)
    taken = tuple(samples(view, labels, part) for part in parts)
    return _Training(view, parts, taken, measure(view, taken[0]))


def _reach(found: _Training) -> ModelCheck:
    """Count the samples whose longest label ends in a later part, or after the last session."""
    compared = wrong = 0
    example = ""
    sessions = found.view.sessions
    following = (found.parts[1][0], found.parts[2][0], len(sessions))
    for name, sample, first in zip(("training", "validation", "test"), found.samples, following, strict=True):
        ends = sample.session.numpy() + max(HORIZONS)
        late = ends >= first
        compared, wrong = compared + len(ends), wrong + int(late.sum())
        if late.any() and not example:
            at = int(sample.session[int(np.argmax(late))])
            example = f"a {name} sample of {sessions[at]} has a label that ends {max(HORIZONS)} sessions later, in the next part"
    return ModelCheck(PURGE, compared, wrong, example)


def _samples_differ(before: Sample, after: Sample) -> tuple[int, int]:
    if not torch.equal(before.ends, after.ends):
        return len(before), max(len(before), len(after))
    same = (before.returns == after.returns).all(dim=1) & (before.market == after.market).all(dim=1)
    return len(before), int((~same).sum())


def _statistics_differ(before: Statistics, after: Statistics) -> list[str]:
    other = after.tensors()
    return [name for name, tensor in before.tensors().items() if not torch.equal(tensor, other[name])]


def check_parity(
    world: World,
    build: Build,
    sessions: Sequence[date],
    seed: int,
    *,
    view_sessions: int,
    measure: Measure = statistics_of,
) -> tuple[ModelCheck, ...]:
    """Check that an evening's inputs and predictions are those that training has of the same session.

    Training's panel is laid out from the table of the whole world; the evening's from a table built of what was known by the
    session's evening, its last `view_sessions` sessions, as an evening reads them. The network is untrained, its weights drawn from
    `seed`: what is compared is what goes in and what becomes of it, to the last bit.
    """
    full = build(world).select(SOURCE_COLUMNS)
    last = world.sessions()[-1]
    try:
        whole = _training(full, last, split_sessions, measure)
    except (TrainModel, FixData) as error:
        return tuple(ModelCheck(name, 0, 0, error.message) for name in PARITY_CHECKS)
    position = {day: i for i, day in enumerate(whole.view.sessions)}
    inputs = predictions = wrong_inputs = wrong_predictions = 0
    example = example_prediction = ""
    for day in sessions:
        served = build(world.known_by(day)).select(SOURCE_COLUMNS)
        days = served["session"].unique().sort().tail(view_sessions)
        served = served.filter(pl.col("session") >= days[0])
        evening = panel(served, as_of=day, newest=1)
        training_inputs = _windows(whole.view, position[day], whole.statistics)
        evening_inputs = _windows(evening, len(evening.sessions) - 1, whole.statistics)
        count, differing, first = _windows_differ(training_inputs, evening_inputs)
        inputs, wrong_inputs = inputs + count, wrong_inputs + differing
        example = example or (f"{first} {day}" if differing else "")
        if not evening_inputs:
            continue
        checkpoint = _untrained(whole.statistics, day, seed)
        then, now = (predict(table, checkpoint, session=day) for table in (served, full))
        predictions += then.height
        if not then.equals(now):
            odd = then.join(now, on=then.columns, how="anti", nulls_equal=True)
            wrong_predictions += max(odd.height, 1)
            example_prediction = example_prediction or f"{odd['symbol'][0] if odd.height else 'a name'} {day}"
    return (
        ModelCheck(PARITY_INPUTS, inputs, wrong_inputs, example if inputs else _NO_WINDOW),
        ModelCheck(
            PARITY_PREDICTION, predictions, wrong_predictions, example_prediction if predictions else _NO_WINDOW
        ),
    )


_NO_WINDOW = "no symbol has a complete window at the sessions drawn"


def _windows(view: Panel, at: int, statistics: Statistics) -> dict[str, torch.Tensor]:
    """Return the normalised windows that end in a session, by instrument."""
    ends = view.ends([at])
    _, instruments = view.place(ends)
    size = view.window
    return {
        view.instrument_ids[i]: statistics.normalise(view.flat[end - size + 1 : end + 1])
        for end, i in zip(ends.tolist(), instruments.tolist(), strict=True)
    }


def _windows_differ(then: dict[str, torch.Tensor], now: dict[str, torch.Tensor]) -> tuple[int, int, str]:
    names = sorted(then.keys() | now.keys())
    odd = [name for name in names if name not in then or name not in now or not torch.equal(then[name], now[name])]
    each = max((tensor.numel() for tensor in then.values()), default=0)
    return len(names) * each, len(odd) * each, odd[0] if odd else ""


def _untrained(statistics: Statistics, day: date, seed: int) -> Checkpoint:
    config = NetworkConfig(inputs=len(INPUTS))
    generator = torch.Generator().manual_seed(seed)
    # A generator of its own: checking must not move the global one.
    with torch.random.fork_rng(devices=[]):
        network = Network(config)
    with torch.no_grad():
        for weights in network.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator) * 0.1)
    network.eval()
    card = Card(
        model_id="untrained", weights_sha256="", as_of=day, trained_at_us=None, code_version="", torch_version="", device="cpu",
        seed=seed, network={}, inputs=tuple(INPUTS), inputs_hash=inputs_hash(), data_hash="", sessions={}, samples=0, steps=0,
        seconds=0.0, stopped="steps", scores={},
    )  # fmt: skip
    return Checkpoint(card, network, statistics)
