"""The proof on the command line: `python -m proof --days 10000` runs days, planted faults and crash points, and prints what it found."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context

from proof.faults import FAULTS
from proof.ground import SESSIONS_A_SEED, shared_store
from proof.sabotage import SABOTAGES, Catch, first_catch
from proof.seed import Seed, SeedResult

SEEDS_A_TASK = 20
CALM_FROM, CRASH_FROM = 1_000_000, 2_000_000
# 0 violations in n days bound the rate of a faulty day at 95 % by 3 / n (the rule of three).
RULE_OF_THREE = 3.0


def _say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _some(seeds: tuple[int, ...], calm: bool | None) -> list[SeedResult]:
    with shared_store() as root:
        return [Seed(seed, root, calm=calm).run() for seed in seeds]


def _first_catch(name: str, seeds: int) -> tuple[str, Catch | None]:
    with shared_store() as root:
        return name, first_catch(name, seeds, root)


def _crash_points(seed: int) -> tuple[int, list[str]]:
    """End a calm first morning at each of its points in turn; return the points and the violations in words."""
    found: list[str] = []
    with shared_store() as root:
        whole = Seed(seed, root, calm=True)
        whole.run()
        points = whole.points
        for point in range(1, points + 1):
            result = Seed(seed, root, calm=True, crash_at=point).run()
            found += [f"seed {seed} point {point}: {v.invariant}: {v.words}" for v in result.violations]
    return points, found


def _chunks(first: int, count: int) -> list[tuple[int, ...]]:
    return [tuple(range(a, min(a + SEEDS_A_TASK, first + count))) for a in range(first, first + count, SEEDS_A_TASK)]


def _days(pool: ProcessPoolExecutor, days: int, first: int, calm: bool | None) -> int:
    """Run days and print them; return how many violations there were."""
    count = -(-days // SESSIONS_A_SEED)
    hits: Counter[str] = Counter()
    states: Counter[str] = Counter()
    ran = placed = admissible = halts = 0
    violations: list[str] = []
    began = time.monotonic()
    for results in pool.map(_some, _chunks(first, count), repeat(calm)):
        for r in results:
            hits, states, ran = hits + r.hits, states + r.states, ran + r.days
            placed, admissible, halts = placed + r.placed, admissible + r.admissible, halts + r.halts
            violations += [f"seed {r.seed}: {v.invariant}: {v.words}" for v in r.violations]
    seconds = time.monotonic() - began
    word = "fault-free days" if calm else "days under faults"
    _say(f"{ran} {word}, {len(violations)} violations, {placed} orders, {seconds:.0f} s")
    _say("  intents: " + ", ".join(f"{state} {n}" for state, n in sorted(states.items())))
    if calm:
        missed = admissible - placed
        _say(f"  {halts} halts, {placed} of {admissible} admissible signals placed")
        violations += [f"{missed} admissible signals not placed"] if missed else []
        violations += [f"{halts} halts without a fault"] if halts else []
    else:
        if not violations:
            _say(f"  below {RULE_OF_THREE / ran:.1e} a day at 95 % (rule of three)")
        _say(f"  faults hit, {len(hits)} of {len(FAULTS)} classes:")
        for name, where in FAULTS.items():
            _say(f"    {hits[name]:6d}  {name} ({where})")
    for words in violations[:20]:
        _say(f"  VIOLATION {words}")
    return len(violations)


def _sabotages(pool: ProcessPoolExecutor, seeds: int) -> int:
    caught = 0
    _say(f"planted faults, each until it is noticed, at most {seeds} seeds:")
    for name, catch in pool.map(_first_catch, [s.name for s in SABOTAGES], repeat(seeds)):
        caught += catch is not None
        _say(f"     MISSED  {name}" if catch is None else f"  {f'seed {catch.seed}':>9}  {name}: {catch.words}")
    _say(f"{caught} of {len(SABOTAGES)} planted faults caught")
    return len(SABOTAGES) - caught


def _crashes(pool: ProcessPoolExecutor, seeds: int) -> int:
    points = 0
    found: list[str] = []
    for one, violations in pool.map(_crash_points, range(CRASH_FROM, CRASH_FROM + seeds)):
        points, found = points + one, found + violations
    _say(f"{points} crash points of {seeds} mornings, each ended there and run again: {len(found)} violations")
    for words in found[:20]:
        _say(f"  VIOLATION {words}")
    return len(found)


def main(arguments: list[str] | None = None) -> int:
    """Run the proof; return 0 where nothing was found and every planted fault was."""
    parser = argparse.ArgumentParser(prog="python -m proof", description="Simulated days under faults.")
    parser.add_argument("--days", type=int, default=10_000, help="days under faults")
    parser.add_argument("--calm-days", type=int, help="days without faults (default: as many)")
    parser.add_argument("--sabotage-seeds", type=int, default=400, help="seeds a planted fault may take; 0 for none")
    parser.add_argument("--crash-seeds", type=int, default=5, help="mornings that are ended at each of their points")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    calm_days = given.days if given.calm_days is None else given.calm_days
    began = time.monotonic()
    # Not forked: a fork of a process with threads can wait for ever on a lock that none of its own holds.
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        bad = _days(pool, given.days, given.first_seed, None) if given.days else 0
        bad += _days(pool, calm_days, CALM_FROM, True) if calm_days else 0
        bad += _sabotages(pool, given.sabotage_seeds) if given.sabotage_seeds else 0
        bad += _crashes(pool, given.crash_seeds) if given.crash_seeds else 0
    _say(f"{time.monotonic() - began:.0f} s in all: {'all holds' if not bad else f'{bad} faults'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
