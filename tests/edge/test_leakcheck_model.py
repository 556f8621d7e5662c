"""Purge, normalisation and parity of the stockformer: clean as they are, and a leak where one is made."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.features.leakage import World
from bar_fly_trading.features.leakage_report import (
    NORMALISATION,
    PARITY_INPUTS,
    PARITY_PREDICTION,
    PURGE,
    PURGE_EFFECT,
    ModelCheck,
)
from bar_fly_trading.features.table import build
from bar_fly_trading.stockformer.leakage import (
    check_parity,
    check_training,
    unpurged_split,
    whole_sample_statistics,
)
from bar_fly_trading.stockformer.split import Split, split_sessions
from bar_fly_trading.stockformer.windows import Panel

DAYS = Calendar().sessions(date(2018, 6, 1), date(2020, 4, 30))
NAMES = tuple(f"us:N{i}" for i in range(6))


def make_world() -> World:
    """Return two years of six seeded names, one of them without a bar in some sessions."""
    frames = []
    for k, name in enumerate(NAMES):
        rng = np.random.default_rng([3, k])
        close = 40 * np.exp(np.cumsum(rng.normal(0, 0.015, len(DAYS))))
        frame = pl.DataFrame({"instrument_id": [name] * len(DAYS), "session": DAYS, "open": close, "close": close})
        frame = frame.with_columns(
            high=pl.col("close") * 1.01,
            low=pl.col("close") * 0.99,
            adjusted_close=pl.col("close") / 2,
            volume=pl.Series(rng.integers(1_000, 2_000, len(DAYS))),
            dividend_amount=0.0,
            split_coefficient=1.0,
        )
        frames.append(frame.filter(pl.int_range(pl.len()).is_between(300, 303).not_()) if k == 0 else frame)
    symbols = pl.DataFrame({"instrument_id": NAMES, "symbol": [n[3:] for n in NAMES], "start": [DAYS[0]] * len(NAMES)})
    return World(pl.concat(frames), symbols)


WORLD = make_world()
SESSIONS = (DAYS[-3], DAYS[-20], DAYS[-60])


def honest(world: World) -> pl.DataFrame:
    """Build the real table."""
    return build(world.bars, world.symbols)


def by_check(found: tuple[ModelCheck, ...]) -> dict[str, ModelCheck]:
    """Return checks by name."""
    return {one.check: one for one in found}


def test_training_is_purged_and_normalised_by_its_own_part() -> None:
    """With the real split and statistics no sample's label reaches the next part, and nothing later changes them."""
    found = by_check(check_training(WORLD, honest, 0))
    assert {name: one.state for name, one in found.items()} == dict.fromkeys(
        (PURGE, PURGE_EFFECT, NORMALISATION), "clean"
    )
    assert found[PURGE].compared > 500
    assert found[NORMALISATION].compared == 16


def one_session_short(view: Panel) -> Split:
    """Split with a gap one session short of the longest label."""
    real = split_sessions(view)
    return Split((real.training[0], real.training[1] + 1), real.validation, real.test)


@pytest.mark.parametrize("split", [unpurged_split, one_session_short])
def test_a_split_without_its_whole_gap_is_caught(split: object) -> None:
    """A missing gap, and one that is a single session too short, are seen by arithmetic and by what the samples then know."""
    found = by_check(check_training(WORLD, honest, 0, split=split))  # type: ignore[arg-type]
    assert found[PURGE].state == found[PURGE_EFFECT].state == "leak"
    assert "has a label that ends 30 sessions later, in the next part" in found[PURGE].example
    if split is one_session_short:
        # Five of six names have that last session's window; each is one sample.
        assert found[PURGE].wrong <= len(NAMES)


def test_normalisation_over_the_whole_sample_is_caught() -> None:
    """Means and deviations of all rows change when the validation part does, and the two are named."""
    found = by_check(check_training(WORLD, honest, 0, measure=whole_sample_statistics))
    assert (found[NORMALISATION].state, found[NORMALISATION].example) == ("leak", "input_mean, input_std")
    assert found[PURGE].state == found[PURGE_EFFECT].state == "clean"


def test_an_evening_has_the_inputs_of_training() -> None:
    """Inputs and predictions of a session are the same to the last bit from the whole table and from that evening's."""
    found = by_check(check_parity(WORLD, honest, SESSIONS, 0, view_sessions=80))
    assert {name: one.state for name, one in found.items()} == dict.fromkeys(
        (PARITY_INPUTS, PARITY_PREDICTION), "clean"
    )
    assert found[PARITY_PREDICTION].compared == len(SESSIONS) * len(NAMES)


def test_a_feature_that_training_alone_has_is_caught() -> None:
    """An average that rests on the whole table differs at the evening: in the inputs, and in what is predicted."""

    def leaky(world: World) -> pl.DataFrame:
        # The newest close of the table, which training knows and the evening of an earlier session does not.
        newest = pl.col("chained_close").last().over("instrument_id")
        return honest(world).with_columns(sma_20=(pl.col("sma_20") + newest) / 2)

    found = by_check(check_parity(WORLD, leaky, SESSIONS, 0, view_sessions=80))
    assert found[PARITY_INPUTS].state == found[PARITY_PREDICTION].state == "leak"
    assert found[PARITY_INPUTS].example.startswith("us:N")


def test_a_history_too_short_to_train_on_is_not_checked() -> None:
    """With too few sessions nothing is called clean, and the reason is given."""
    short = WORLD.known_by(DAYS[100])
    for one in (*check_training(short, honest, 0), *check_parity(short, honest, DAYS[90:92], 0, view_sessions=80)):
        assert one.state == "not checked"
        assert "sessions" in one.example
