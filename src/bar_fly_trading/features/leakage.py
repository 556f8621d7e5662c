"""What a leak is: a number of a past session that changes when something after it changes; comparisons and the verdict.

A world is everything a feature table is built from. Each check builds the table from two worlds that differ only in what a
session could not know, and compares every column, row by row, for equal numbers: no tolerance. What was empty on both sides was
not checked, and is said to be so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import polars as pl

from bar_fly_trading.facts.sessions import evening_us
from bar_fly_trading.facts.tables import KNOWN_AT, RECORDED_AT

KEYS = ("instrument_id", "session")
# The name of the pseudo column that stands for the rows themselves.
ROWS = "(rows)"
NEAR_SESSIONS = 30
_PRICES = ("open", "high", "low", "close", "adjusted_close")


@dataclass(frozen=True, slots=True)
class World:
    """What a feature table is built from.

    `bars`: columns of `facts.tables.BARS`; `symbols`: `instrument_id, symbol, start`; `facts`: table name to every revision known,
    each row with `known_at` (UTC microseconds).
    """

    bars: pl.DataFrame
    symbols: pl.DataFrame
    facts: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def sessions(self) -> tuple[date, ...]:
        """Return the sessions that have a bar, oldest first."""
        return tuple(self.bars["session"].unique().sort())

    def instrument_ids(self) -> tuple[str, ...]:
        """Return the instruments that have a bar, sorted."""
        return tuple(self.bars["instrument_id"].unique().sort())

    def known_by(self, day: date) -> World:
        """Return what is left when everything later than the evening of a session is deleted."""
        at_us = evening_us(day)
        first = pl.col("start") == pl.col("start").min().over("instrument_id")
        return World(
            self.bars.filter(pl.col("session") <= day),
            self.symbols.filter((pl.col("start") <= day) | first),
            {name: frame.filter(pl.col(KNOWN_AT) <= at_us) for name, frame in self.facts.items()},
        )

    def only(self, instrument_ids: Sequence[str]) -> World:
        """Return the world of some instruments alone; facts of no instrument stay."""
        wanted = pl.col("instrument_id").is_in(list(instrument_ids))
        facts = {n: f.filter(wanted) if "instrument_id" in f.columns else f for n, f in self.facts.items()}
        return World(self.bars.filter(wanted), self.symbols.filter(wanted), facts)

    def scaled(self) -> World:
        """Return the world after later events: each instrument's adjusted closes, all of them, by a half, a quarter or an eighth.

        Powers of two are exact in binary, so no rounding hides behind them.
        """
        ids = self.instrument_ids()
        factors = {name: 0.5 ** (1 + i % 3) for i, name in enumerate(ids)}
        scale = pl.col("instrument_id").replace_strict(factors, return_dtype=pl.Float64)
        return replace(self, bars=self.bars.with_columns(pl.col("adjusted_close") * scale))

    def disturbed(self, day: date, seed: int) -> World:
        """Return the world with other prices, volumes and facts after the evening of a session, the same rows in all."""
        rng = np.random.default_rng(seed)
        noise = pl.Series("_noise", np.exp(rng.normal(0.0, 0.2, self.bars.height)))
        later = pl.col("session") > day
        moved = [pl.when(later).then(pl.col(name) * noise).otherwise(pl.col(name)).alias(name) for name in _PRICES]
        volume = pl.when(later).then((pl.col("volume") * noise).round().cast(pl.Int64)).otherwise(pl.col("volume"))
        after = pl.col(KNOWN_AT) > evening_us(day)
        facts = {
            name: frame.with_columns(
                pl.when(after).then(pl.col(c) * 2 + 1).otherwise(pl.col(c)).alias(c)
                for c, kind in frame.schema.items()
                if kind in (pl.Float64, pl.Int64) and c not in (KNOWN_AT, RECORDED_AT)
            )
            for name, frame in self.facts.items()
        }
        return World(self.bars.with_columns(*moved, volume.alias("volume")), self.symbols, facts)


Build = Callable[[World], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Example:
    """The first row that differs: both values in words, `then` as the session knew it, `now` with what came later."""

    symbol: str
    session: date
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.symbol} {self.session}: {self.then} as known then, {self.now} with what came later"


@dataclass(frozen=True, slots=True)
class Compared:
    """One column under one check. `rows`: rows with a value on either side; `near`: those of them in the last 30 sessions compared."""

    check: str
    column: str
    rows: int
    near: int
    differing: int
    example: Example | None = None

    @property
    def state(self) -> str:
        """Return `leak`, `clean`, or `not checked` where there was nothing to compare."""
        if self.differing:
            return "leak"
        return "clean" if self.rows and self.near else "not checked"


def merged(results: Iterable[Compared]) -> tuple[Compared, ...]:
    """Add up what was compared of one column under one check at several sessions and names, in order of first mention."""
    found: dict[tuple[str, str], Compared] = {}
    for one in results:
        key = (one.check, one.column)
        before = found.get(key)
        if before is None:
            found[key] = one
            continue
        found[key] = Compared(
            one.check,
            one.column,
            before.rows + one.rows,
            before.near + one.near,
            before.differing + one.differing,
            before.example or one.example,
        )
    return tuple(found.values())


def compare(
    check: str, then: pl.DataFrame, now: pl.DataFrame, columns: Sequence[str], *, near_from: date | None = None
) -> list[Compared]:
    """Compare two tables row by row: the rows themselves, then each column for equal numbers (two nulls are equal).

    Both are sorted by KEYS. `near_from`: the first session that counts as near (None: all do).
    """
    results = []
    if not then.select(KEYS).equals(now.select(KEYS)):
        gone, new = (a.join(b.select(KEYS), on=KEYS, how="anti") for a, b in ((then, now), (now, then)))
        odd = gone if gone.height else new
        example = None
        if odd.height:
            words = ("there", "gone") if gone.height else ("not there", "there")
            example = Example(odd["symbol"][0], odd["session"][0], *words)
        results.append(Compared(check, ROWS, then.height, then.height, gone.height + new.height, example))
        then, now = (
            a.join(b.select(KEYS), on=KEYS, how="semi", maintain_order="left") for a, b in ((then, now), (now, then))
        )
    else:
        results.append(Compared(check, ROWS, then.height, then.height, 0))
    near = pl.repeat(True, then.height, eager=True) if near_from is None else then["session"] >= near_from
    results += [_column(check, name, then, now, near) for name in columns]
    return results


def _column(check: str, name: str, then: pl.DataFrame, now: pl.DataFrame, near: pl.Series) -> Compared:
    left, right = then[name], now[name]
    defined = left.is_not_null() | right.is_not_null()
    differs = left.ne_missing(right)
    count = int(differs.sum())
    example = None
    if count:
        at = differs.arg_max()
        assert at is not None
        example = Example(then["symbol"][at], then["session"][at], _words(left[at]), _words(right[at]))
    return Compared(check, name, int(defined.sum()), int((defined & near).sum()), count, example)


def _words(value: object) -> str:
    return "nothing" if value is None else f"{value!r}" if isinstance(value, float) else f"{value}"
