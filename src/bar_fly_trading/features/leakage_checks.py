"""The checks of a feature table for knowledge of the future, each against worlds that differ in what a row could not know."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from bar_fly_trading.facts.sessions import new_york_date
from bar_fly_trading.facts.tables import KNOWN_AT
from bar_fly_trading.features.labels import HORIZONS, label_name
from bar_fly_trading.features.leakage import (
    KEYS,
    NEAR_SESSIONS,
    Build,
    Compared,
    Example,
    World,
    compare,
    merged,
)

TRUNCATION, DISTURBANCE, SCALE, OTHERS = "tomorrow deleted", "tomorrow changed", "later dividends", "other names"
STORE_VIEW = "the store's view"
LABEL_VALUES, LABEL_REACH = "label values", "label reach"
CHECKS: dict[str, str] = {
    TRUNCATION: "everything after the evening of the session deleted, the table built again",
    DISTURBANCE: "other prices, volumes and facts after the session",
    SCALE: "all adjusted closes of a name by one factor, as a later dividend or split does",
    OTHERS: "half of the other names taken away",
    STORE_VIEW: "the facts the store gives for the evening, against those left when everything later is deleted",
    LABEL_VALUES: "each label computed a second time, from adjusted closes alone",
    LABEL_REACH: "a label of n sessions changes in the newest n rows alone when tomorrow changes",
}
LABELS = tuple(label_name(horizon) for horizon in HORIZONS)
# As received: rewritten by every later event on purpose, and read as a level by nobody.
AS_RECEIVED = ("adjusted_close",)
# A label computed in another order of operations differs in the last digits.
LABEL_TOLERANCE = 1e-9
_DISTURBED_SESSIONS = 2


def draw_sessions(world: World, count: int, seed: int) -> tuple[date, ...]:
    """Draw `count` different sessions, in the order drawn: where leaks show most, then anywhere.

    One among the first 150 (where windows are not full), one among the newest 30, two before a fact became known (where the world
    has facts), then uniformly. Fewer where the world has fewer sessions. The same seed draws the same.
    """
    days = world.sessions()[:-1]
    rng = np.random.default_rng(seed)
    found: list[date] = []

    def take(part: Sequence[date]) -> None:
        free = [day for day in part if day not in found]
        if free and len(found) < count:
            found.append(free[int(rng.integers(len(free)))])

    take(days[-NEAR_SESSIONS:])
    take(days[5:150])
    known = sorted({day for frame in world.facts.values() for day in _known_days(frame)})
    for _ in range(2):
        if known and days:
            day = known[int(rng.integers(len(known)))]
            take([one for one in days if one < day][-1:])
    while len(found) < min(count, len(days)):
        take(days)
    return tuple(found)


def _known_days(frame: pl.DataFrame) -> list[date]:
    return [new_york_date(at_us) for at_us in frame[KNOWN_AT].unique()]


def features_of(table: pl.DataFrame) -> list[str]:
    """Return the columns that are no key and no label."""
    return [name for name in table.columns if name not in KEYS and name not in LABELS]


def check_table(world: World, build: Build, sessions: Sequence[date], seed: int) -> tuple[Compared, ...]:
    """Run every check on one world; `sessions` are those after which the future is deleted (all of them) or changed (two)."""
    full = build(world)
    names = features_of(full)
    results = label_values(world, full)
    for day in sessions:
        then = build(world.known_by(day))
        results += compare(TRUNCATION, then, _until(full, day), _in_both(names, then), near_from=_near(world, day))
        del then
    for day in sessions[:_DISTURBED_SESSIONS]:
        now = _until(build(world.disturbed(day, seed)), day)
        then = _until(full, day)
        results += compare(DISTURBANCE, then, now, names, near_from=_near(world, day))
        results += label_reach(then, now)
        del then, now
    results += compare(SCALE, full, build(world.scaled()), [name for name in names if name not in AS_RECEIVED])
    ids = world.instrument_ids()
    if len(ids) > 1:
        half = sorted(np.random.default_rng(seed).choice(ids, len(ids) // 2, replace=False).tolist())
        kept = full.filter(pl.col("instrument_id").is_in(half))
        results += compare(OTHERS, build(world.only(half)), kept, names)
    return merged(results)


def _until(table: pl.DataFrame, day: date) -> pl.DataFrame:
    return table.filter(pl.col("session") <= day)


def _in_both(names: list[str], table: pl.DataFrame) -> list[str]:
    return [name for name in names if name in table.columns]


def _near(world: World, day: date) -> date:
    before = [one for one in world.sessions() if one <= day]
    return before[-NEAR_SESSIONS:][0]


def label_values(world: World, table: pl.DataFrame) -> list[Compared]:
    """Compare each label with one computed from the bars alone: the percent change over the instrument's next n usable bars."""
    prices = ("open", "high", "low", "close", "adjusted_close")
    usable = pl.all_horizontal(
        (pl.col(name).is_finite() & (pl.col(name) > 0.0)).fill_null(value=False) for name in prices
    )
    close = pl.col("adjusted_close")
    again = (
        world.bars.filter(usable)
        .sort(KEYS)
        .select(
            *KEYS,
            *(((close.shift(-n).over("instrument_id") / close - 1.0) * 100.0).alias(f"again_{n}") for n in HORIZONS),
        )
    )
    both = table.select(*KEYS, "symbol", *LABELS).join(again, on=KEYS, how="left", maintain_order="left")
    results = []
    for horizon in HORIZONS:
        name = label_name(horizon)
        is_, should = pl.col(name), pl.col(f"again_{horizon}")
        far = (is_ - should).abs() > LABEL_TOLERANCE * (100.0 + should.abs())
        wrong = both.filter(far.fill_null(value=False) | (is_.is_null() != should.is_null()))
        defined = both.select((is_.is_not_null() | should.is_not_null()).sum()).item()
        results.append(
            Compared(LABEL_VALUES, name, defined, defined, wrong.height, _first(wrong, f"again_{horizon}", name))
        )
    return results


def label_reach(then: pl.DataFrame, now: pl.DataFrame) -> list[Compared]:
    """Compare the labels of rows up to a session after which everything was changed: only the newest n bars' may differ.

    `rows` counts the rows that did change, so that a label which reads no future at all is `not checked` and seen.
    """
    usable = then["chained_close"].is_not_null()
    left = then.select("instrument_id", _usable=usable.cast(pl.Int32)).select(
        pl.col("_usable").cum_sum(reverse=True).over("instrument_id")
    )
    results = []
    for horizon in HORIZONS:
        name = label_name(horizon)
        changed = then[name].ne_missing(now[name])
        early = changed & (left.to_series() > horizon)
        rows = then.select("symbol", "session", then=then[name], now=now[name]).filter(early)
        count = int(changed.sum())
        results.append(Compared(LABEL_REACH, name, count, count, rows.height, _first(rows, "then", "now")))
    return results


def _first(rows: pl.DataFrame, then: str, now: str) -> Example | None:
    if rows.is_empty():
        return None
    row = rows.row(0, named=True)
    return Example(row["symbol"], row["session"], f"{row[then]}", f"{row[now]}")
