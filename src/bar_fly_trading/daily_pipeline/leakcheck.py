"""The leak check over the store: worlds of names, sessions drawn by a seed, every check, and the leaks planted to prove it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date

import numpy as np
import polars as pl

from bar_fly_trading.daily_pipeline.parts import Parts, Say
from bar_fly_trading.daily_pipeline.view import VIEW_SESSIONS
from bar_fly_trading.data.series import SERIES
from bar_fly_trading.data.views import load_bars, load_facts
from bar_fly_trading.errors import FixData, FixSettings
from bar_fly_trading.facts.sessions import evening_us
from bar_fly_trading.facts.tables import KNOWN_AT
from bar_fly_trading.features.dated_facts import DatedFacts
from bar_fly_trading.features.leakage import Build, Compared, Example, World, merged
from bar_fly_trading.features.leakage_checks import STORE_VIEW, check_table, draw_sessions
from bar_fly_trading.features.leakage_knowledge import MacroRule, check_knowledge
from bar_fly_trading.features.leakage_plants import (
    COLUMN_PLANTS,
    FACT_PLANTS,
    ColumnPlant,
    FactPlant,
    planted_build,
    prepared,
)
from bar_fly_trading.features.leakage_report import (
    NORMALISATION,
    PARITY_CHECKS,
    PURGE,
    TRAINING_CHECKS,
    LeakReport,
    ModelCheck,
)
from bar_fly_trading.features.table import build

# Names checked at a time: their tables of a whole history, twice, are what the memory holds.
GROUP_SYMBOLS = 128
# Enough names for every planted leak to show, and few enough for seconds.
PLANTED_SYMBOLS = 24
PARITY_SESSIONS = 4
KNOWLEDGE_TABLES = ("earnings", "overview", "macro", "macro_imported", "options_summary", "sectors")
_FACTS = tuple(one.name for one in fields(DatedFacts))


@dataclass(frozen=True, slots=True)
class ModelPlant:
    """A leak in training; `caught_by`: the check that must see it."""

    name: str
    words: str
    caught_by: str


MODEL_PLANTS: tuple[ModelPlant, ...] = (
    ModelPlant("unpurged-split", "training, validation and test without a gap between them", PURGE),
    ModelPlant("whole-sample-statistics", "inputs normalised by rows after the training part", NORMALISATION),
)
PLANTS: Mapping[str, str] = {
    **{plant.name: plant.words for plant in COLUMN_PLANTS},
    **{plant.name: plant.words for plant in FACT_PLANTS},
    **{plant.name: plant.words for plant in MODEL_PLANTS},
}


@dataclass(frozen=True, slots=True)
class PlantResult:
    """One planted leak. `caught`: by the check that must see it; None: that check could not run, `example` says why."""

    name: str
    words: str
    caught_by: str
    caught: bool | None
    example: str


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the store holds by an evening: the world of some names, and the tables with their times, every name's."""

    world: World
    tables: dict[str, pl.DataFrame]
    corrected: int


def leak_check(
    parts: Parts, as_of: date, *, sessions: int, seed: int, symbols: int | None, plant: str | None = None
) -> LeakReport:
    """Check everything known by the evening of `as_of` on `symbols` names drawn by the seed (None: all), with a leak if asked.

    FixData where the store holds no bars of that time; FixSettings for a number below one or a plant that is none.
    """
    _check_numbers(sessions, symbols, plant)
    stored = _stored(parts, as_of, symbols, seed)
    columns = [p for p in COLUMN_PLANTS if p.name == plant]
    world, make = prepared(stored.world, columns), planted_build(_build, columns) if columns else _build
    days = draw_sessions(world, sessions, seed)
    compared = (*_columns(parts.say, world, make, days, seed), *_views(parts, world, days))
    tables = stored.tables | {p.table: p.spoil(world, stored.tables) for p in FACT_PLANTS if p.name == plant}
    knowledge = check_knowledge(tables, parts.calendar, _macro_rules())
    parts.say.progress("leakcheck: training and prediction", 1, 2)
    model = _model(_group(world, seed), make, days, seed, plant)
    parts.say.progress("leakcheck", 2, 2)
    ids = world.instrument_ids()
    return LeakReport(
        as_of, seed, days, len(ids), world.bars.height, stored.corrected, compared, tuple(knowledge), model
    )


def planted_leaks(
    parts: Parts, as_of: date, *, sessions: int, seed: int, symbols: int | None
) -> tuple[PlantResult, ...]:
    """Plant every leak there is and tell of each whether the check that must see it did; errors as `leak_check`."""
    _check_numbers(sessions, symbols, None)
    stored = _stored(parts, as_of, symbols, seed)
    world = prepared(stored.world, COLUMN_PLANTS)
    compared = _columns(
        parts.say, world, planted_build(_build, COLUMN_PLANTS), draw_sessions(world, sessions, seed), seed
    )
    results = []
    for column in COLUMN_PLANTS:
        one = next(c for c in compared if (c.check, c.column) == (column.caught_by, column.name))
        example = "" if one.example is None else f"{one.example}"
        results.append(_result(column, one.state, example or "there was no value to compare"))
    for fact in FACT_PLANTS:
        tables = stored.tables | {fact.table: fact.spoil(world, stored.tables)}
        rules = check_knowledge(tables, parts.calendar, _macro_rules())
        known = next(k for k in rules if f"{k.table}: {k.rule}" == fact.caught_by)
        results.append(_result(fact, known.state, known.example))
    group = _group(stored.world, seed)
    for model in MODEL_PLANTS:
        check = next(m for m in _training(group, _build, seed, model.name) if m.check == model.caught_by)
        results.append(_result(model, check.state, check.example))
    return tuple(results)


def _result(plant: ColumnPlant | FactPlant | ModelPlant, state: str, example: str) -> PlantResult:
    caught = None if state == "not checked" else state == "leak"
    return PlantResult(plant.name, plant.words, plant.caught_by, caught, example)


def _check_numbers(sessions: int, symbols: int | None, plant: str | None) -> None:
    for name, number in (("sessions", sessions), ("symbols", symbols)):
        if number is not None and number < 1:
            raise FixSettings(f"A check of {number} {name} is none.", way_out=f"Give --{name} a number above 0.")
    if plant is not None and plant not in PLANTS:
        raise FixSettings(f"There is no planted leak named {plant}.", way_out=f"Give one of: {', '.join(PLANTS)}.")


def _build(world: World) -> pl.DataFrame:
    return build(world.bars, world.symbols, DatedFacts(**{name: world.facts[name] for name in _FACTS}))


def _stored(parts: Parts, as_of: date, symbols: int | None, seed: int) -> _Stored:
    known_by_us = evening_us(as_of)
    bars = load_bars(parts.store, known_by_us).filter(pl.col("session") <= as_of)
    if bars.is_empty():
        raise FixData(f"The store holds no bars up to {as_of}.", way_out="Give a later --as-of, or import older bars.")
    tables = {name: parts.store.history(name, known_by_us=known_by_us) for name in KNOWLEDGE_TABLES}
    tables["bars"] = bars
    evenings = {day: evening_us(day) for day in bars["session"].unique()}
    late = bars.select(
        (pl.col(KNOWN_AT) > pl.col("session").replace_strict(evenings, return_dtype=pl.Int64)).sum()
    ).item()
    spells = parts.store.read("spells", known_by_us=known_by_us).select("instrument_id", "symbol", "start")
    facts = load_facts(parts.store, known_by_us)
    world = World(bars, spells, {name: getattr(facts, name) for name in _FACTS})
    if symbols is not None:
        ids = world.instrument_ids()
        world = world.only(_drawn(ids, min(symbols, len(ids)), seed))
    return _Stored(world, tables, late)


def _views(parts: Parts, world: World, days: Sequence[date]) -> tuple[Compared, ...]:
    """Compare the facts that the store gives for a session's evening with those left when everything later is deleted."""
    ids = list(world.instrument_ids())
    results = []
    for day in days:
        stored, cut = load_facts(parts.store, evening_us(day)), world.known_by(day)
        for name in _FACTS:
            frame: pl.DataFrame = getattr(stored, name)
            frame = frame.filter(pl.col("instrument_id").is_in(ids)) if "instrument_id" in frame.columns else frame
            frames = [one.sort(one.columns) for one in (frame, cut.facts[name])]
            differing = 0 if frames[0].equals(frames[1]) else max(*(one.height for one in frames))
            rows = frames[1].height
            example = Example(f"table {name}", day, f"{frames[0].height} rows", f"{rows} rows") if differing else None
            results.append(Compared(STORE_VIEW, f"table {name}", rows, rows, differing, example))
    return merged(results)


def _drawn(ids: Sequence[str], count: int, seed: int) -> list[str]:
    return sorted(np.random.default_rng(seed).choice(ids, count, replace=False).tolist())


def _group(world: World, seed: int) -> World:
    ids = world.instrument_ids()
    return world if len(ids) <= GROUP_SYMBOLS else world.only(_drawn(ids, GROUP_SYMBOLS, seed))


def _columns(say: Say, world: World, make: Build, days: Sequence[date], seed: int) -> tuple[Compared, ...]:
    """Check the table group by group; each group is a draw of names, so that neighbours of the alphabet are in different ones."""
    ids = world.instrument_ids()
    shuffled = np.random.default_rng(seed).permutation(ids).tolist()
    groups = [shuffled[i : i + GROUP_SYMBOLS] for i in range(0, len(shuffled), GROUP_SYMBOLS)]
    results: list[Compared] = []
    for i, group in enumerate(groups):
        say.progress(f"leakcheck: {len(ids)} symbols", i, len(groups))
        results += check_table(world.only(group), make, days, seed)
    say.progress("leakcheck", len(groups), len(groups))
    return merged(results)


def _macro_rules() -> dict[str, MacroRule]:
    return {name: MacroRule(series.months, series.release_us) for name, series in SERIES.items()}


def _training(world: World, make: Build, seed: int, plant: str | None) -> tuple[ModelCheck, ...]:
    try:
        from bar_fly_trading.stockformer import leakage
    except ImportError as error:
        return tuple(ModelCheck(name, 0, 0, _no_torch(error)) for name in TRAINING_CHECKS)
    if plant == "unpurged-split":
        return leakage.check_training(world, make, seed, split=leakage.unpurged_split)
    if plant == "whole-sample-statistics":
        return leakage.check_training(world, make, seed, measure=leakage.whole_sample_statistics)
    return leakage.check_training(world, make, seed)


def _model(world: World, make: Build, days: Sequence[date], seed: int, plant: str | None) -> tuple[ModelCheck, ...]:
    training = _training(world, make, seed, plant)
    try:
        from bar_fly_trading.stockformer import leakage
    except ImportError as error:
        return (*training, *(ModelCheck(name, 0, 0, _no_torch(error)) for name in PARITY_CHECKS))
    chosen = days[:PARITY_SESSIONS]
    return (*training, *leakage.check_parity(world, make, chosen, seed, view_sessions=VIEW_SESSIONS))


def _no_torch(error: ImportError) -> str:
    return f"torch cannot be imported ({error}); install requirements/torch.txt"
