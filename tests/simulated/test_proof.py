"""A short form of the proof (`make prove` runs the long one): days under faults, planted faults, and crashes at every point."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from proof.__main__ import main
from proof.ground import shared_store
from proof.sabotage import SABOTAGES, first_catch
from proof.seed import Seed, SeedResult

PROVE = bool(os.environ.get("BFT_PROVE"))
SEEDS = 40 if PROVE else 12
CRASH_STEP = 1 if PROVE else 9
SEEDS_FOR_A_CATCH = 400 if PROVE else 6
# Noticed within six seeds; the others need a rarer day and are planted by `python -m proof`.
QUICK = {
    "the order leaves before it is written down",
    "that it is being sent is not written down",
    "another quantity leaves than was written down",
    "a refused journal write is passed over",
    "a cancellation that is not answered is believed",
    "reconciliation overlooks executions",
    "a risen price costs more than was planned",
    "more is sold than the book holds",
    "shadow sends",
    "every strategy is in paper",
    "a signal gets no decision",
    "a second run plans anew",
    "nobody is told of an order of unknown fate",
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """Make the store that all seeds read."""
    with shared_store() as root:
        yield root


def _run(seed: int, shared: Path, **given: object) -> SeedResult:
    return Seed(seed, shared, **given).run()  # type: ignore[arg-type]


def test_nothing_is_violated_in_days_under_faults(shared: Path) -> None:
    """Every invariant holds in every session of the first seeds, whatever went wrong in them, and much did."""
    hits = 0
    for seed in range(SEEDS):
        result = _run(seed, shared)
        assert result.violations == (), f"seed {seed}"
        hits += result.hits.total()
    assert hits > SEEDS


def test_a_calm_day_stops_nowhere_and_places_everything(shared: Path) -> None:
    """Without faults no run halts, and every admissible signal is an order: safety is not bought by never trading."""
    results = [_run(1_000_000 + seed, shared, calm=True) for seed in range(SEEDS)]
    assert all(r.halts == 0 and r.violations == () for r in results)
    assert sum(r.placed for r in results) == sum(r.admissible for r in results) > SEEDS


def test_the_same_seed_gives_the_same_days(shared: Path) -> None:
    """A seed is a whole day: run twice, it writes the same journal to the byte (I19)."""
    first, again = _run(7, shared), _run(7, shared)
    assert first == again


@pytest.mark.parametrize("name", sorted(s.name for s in SABOTAGES if PROVE or s.name in QUICK))
def test_a_planted_fault_is_noticed(name: str, shared: Path) -> None:
    """A program that was broken on purpose is caught by an invariant, or stops itself."""
    assert first_catch(name, SEEDS_FOR_A_CATCH, shared) is not None


def test_x08_a_morning_that_ends_at_any_point_comes_to_a_lawful_end(shared: Path) -> None:
    """A morning that is killed at a numbered point and run again breaks no invariant (I11)."""
    whole = Seed(2_000_000, shared, calm=True)
    assert whole.run().violations == ()
    for point in range(1, whole.points + 1, CRASH_STEP):
        assert _run(2_000_000, shared, calm=True, crash_at=point).violations == (), f"point {point}"


def test_the_command_prints_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m proof` says days, violations, faults by class and crash points, and ends with 0 where all holds."""
    words = ["--days", "6", "--calm-days", "6", "--sabotage-seeds", "0", "--crash-seeds", "0", "--jobs", "1"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "6 days under faults, 0 violations" in said
    assert "6 fault-free days, 0 violations" in said
    assert "0 halts" in said
    assert "crash (X8)" in said
