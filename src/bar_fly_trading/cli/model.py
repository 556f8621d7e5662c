"""`bft train` and `bft predict`: the stockformer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bar_fly_trading.cli.dates import NewestOption, parse_day
from bar_fly_trading.cli.options import HomeOption, JsonOption, resolved
from bar_fly_trading.cli.output import say_json
from bar_fly_trading.cli.progress import Terminal

if TYPE_CHECKING:
    from datetime import date

    import polars as pl

    from bar_fly_trading.daily_pipeline import Parts
    from bar_fly_trading.stockformer.training import Progress, TrainingReport

MinutesOption = Annotated[float | None, typer.Option(help="Longest the training takes, everything included.")]
StepsOption = Annotated[int | None, typer.Option(help="Optimizer steps instead of minutes; reproducible with --seed.")]
# What a training gets where building the features has used the budget up.
MINUTES_LEFT_MIN = 0.1
SeedOption = Annotated[int, typer.Option(help="Seed of the weights and of the order of samples.")]
ModelOption = Annotated[Path | None, typer.Option(help="Model folder to use instead of the active one.")]


def train(
    as_of: NewestOption = None,
    minutes: MinutesOption = None,
    steps: StepsOption = None,
    seed: SeedOption = 0,
    train_if_due: Annotated[
        bool, typer.Option("--train-if-due", help="Train only where the model is a week old.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Train the stockformer on everything known by a session (default: the store's newest) and make it the active model."""
    from bar_fly_trading import wiring
    from bar_fly_trading.daily_pipeline.view import features_at, newest_session, say_written
    from bar_fly_trading.stockformer.inputs import SOURCE_COLUMNS
    from bar_fly_trading.stockformer.registry import train_due

    began_s = time.monotonic()
    found = resolved(home)
    with Terminal(quiet=json) as terminal, wiring.run(found, say=terminal, command="train") as parts:
        day = newest_session(parts) if as_of is None else parse_day(as_of)
        if train_if_due and not train_due(parts.home.models, day, found.settings.training.every_days):
            terminal.line(
                f"no training is due at {day}: the active model is younger than {found.settings.training.every_days} days"
            )
            return
        if train_if_due and find_spec("torch") is None:
            terminal.line(
                "no training: torch is not installed (pip install -r requirements/torch.txt); Bollinger needs none"
            )
            return
        budget = minutes if minutes is not None or steps is not None else found.settings.training.minutes
        features = features_at(parts, day)
        say_written(parts, features)
        terminal.line(
            f"training on {features.rows} rows up to {day}" + (f", at most {budget:g} minutes" if budget else "")
        )
        table = features.read(columns=SOURCE_COLUMNS)
        left = None if budget is None else max(budget - (time.monotonic() - began_s) / 60, MINUTES_LEFT_MIN)
        members = members_of(parts, day)
        if members is not None:
            terminal.line("samples end on days of membership alone")
        report = run_training(parts, terminal, table, day, minutes=left, steps=steps, seed=seed, members=members)
        _say_report(terminal, report, json=json)
        if members is not None:
            # The first session learnt from is where most of those that failed since are missing.
            terminal.line(f"  {survivors(parts, parse_day(str(report.card.sessions['training_first'])))}")
        terminal.line(f"journal: {parts.home.journal}")


def run_training(
    parts: Parts,
    terminal: Terminal,
    features: object,
    day: object,
    *,
    minutes: float | None,
    steps: int | None,
    seed: int,
    members: pl.DataFrame | None = None,
) -> TrainingReport:
    """Train and journal what was made; ImportError becomes TrainModel."""
    from bar_fly_trading.errors import TrainModel

    try:
        from bar_fly_trading.stockformer.training import train as fit
    except ImportError as error:
        raise TrainModel(f"torch cannot be imported ({error}).", way_out="Install requirements/torch.txt.") from error

    def show(p: Progress) -> None:
        terminal.share(
            f"step {p.step}, validation loss {p.validation_loss:.4f}, best {p.best_validation_loss:.4f}", p.share
        )

    report = fit(
        features,  # type: ignore[arg-type]
        as_of=day,  # type: ignore[arg-type]
        minutes=minutes,
        steps=steps,
        seed=seed,
        members=members,
        models_root=parts.home.models,
        progress=show,
        monotonic=time.monotonic,
        trained_at_us=parts.clock.now_us(),
    )
    parts.journal.append("train", {"session": f"{day}", "model_id": report.card.model_id}, at_us=parts.clock.now_us())
    return report


def members_of(parts: Parts, day: date) -> pl.DataFrame | None:
    """Return who was a member when, for the universe of the settings; None where that is no index."""
    from bar_fly_trading.daily_pipeline.universe import members_frame
    from bar_fly_trading.settings import universe_rule

    return members_frame(parts.store, universe_rule(parts.settings, parts.home), day)


def survivors(parts: Parts, day: date) -> str:
    """Say how many of the universe's members have prices, and what that means for what is learnt from them."""
    from bar_fly_trading.data.universe import presence, universe_at
    from bar_fly_trading.facts.sessions import evening_us
    from bar_fly_trading.settings import universe_rule

    universe, _, _ = universe_at(parts.store, universe_rule(parts.settings, parts.home), day, evening_us(day))
    return presence(parts.store, universe, evening_us(day)).words(universe)


def _say_report(terminal: Terminal, report: TrainingReport, *, json: bool) -> None:
    card = report.card
    if json:
        say_json(
            {
                "model_id": card.model_id,
                "folder": str(report.folder),
                "scores": dict(card.scores),
                "stopped": card.stopped,
            }
        )
        return
    terminal.line(f"trained {report.seconds:.0f} s, {report.samples_per_s:,.0f} samples/s, ended by {card.stopped}")
    for line in _score_lines(card.scores):
        terminal.line(f"  {line}")
    terminal.line(f"model {card.model_id} is active: {report.folder}")


def _score_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    """Put the scores out of sample in words, horizon by horizon; a baseline stands beside each."""
    yield (
        f"out of sample, {scores['test_sessions']} sessions, {scores['test_rows']:,} rows:"
        f" loss {scores['test_loss']:.4f} (untrained {scores['test_loss_untrained']:.4f})"
    )
    for name in sorted((n for n, s in scores.items() if isinstance(s, dict)), key=lambda n: int(n[:-1])):
        s = scores[name]
        yield (
            f"{name:>3}: rank correlation {s['ic']:+.3f} over {s['ic_sessions']} sessions, direction right {s['hit_rate']:.1%}"
            f" (always up {s['rise_rate']:.1%}), squared error {s['mse']:.6f} (of the mean {s['mse_training_mean']:.6f}),"
            f" 80 % interval held {s['coverage']:.1%}"
        )
    yield "a few sessions of one market regime prove no skill; the models of several weeks do"


def predict(
    as_of: NewestOption = None, model: ModelOption = None, home: HomeOption = None, json: JsonOption = False
) -> None:
    """Predict 3, 10 and 30 days for every eligible symbol of a session (default: the store's newest)."""
    from bar_fly_trading import wiring
    from bar_fly_trading.daily_pipeline.view import (
        features_at,
        first_session,
        newest_session,
        predictions_at,
        say_written,
    )
    from bar_fly_trading.errors import TrainModel

    with Terminal(quiet=json) as terminal, wiring.run(resolved(home), say=terminal, command="predict") as parts:
        day = newest_session(parts) if as_of is None else parse_day(as_of)
        features = features_at(parts, day)
        say_written(parts, features)
        table, model_id = predictions_at(parts, features.read(first_session(parts, day, ())), day, model)
        if table is None:
            raise TrainModel("no model was ever trained in this home.", way_out="Run bft train first.")
        if json:
            say_json({"session": f"{day}", "model_id": model_id, "symbols": table.height})
