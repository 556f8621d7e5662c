"""Which row of facts an evening sees: rows of the table and facts meet on the day whose evening first knows a fact."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from bar_fly_trading.facts.sessions import DAY_US, evening_us
from bar_fly_trading.facts.tables import KNOWN_AT, RECORDED_AT
from bar_fly_trading.features.packing import Integers

# Column names that rows of facts get here: the instrument's number, and the day (days since 1970) that first sees the row.
CODE, SEEN = "code", "seen"
_EPOCH = date(1970, 1, 1)
_SHIFT = np.int64(1 << 32)


def epoch_day(name: str) -> pl.Expr:
    """Return a date column as days since 1970, as Int64."""
    return pl.col(name).to_physical().cast(pl.Int64)


@dataclass(frozen=True, slots=True)
class Evenings:
    """The rows of a table, sorted by instrument and session, and the evenings on which facts become visible to them.

    `codes`, `days` [row]: the instrument's number and the session as days since 1970. `instruments`: `instrument_id`
    and `code`. `first_day`: the first session's day; `cuts` [day]: 22:00 New York of it and each day after, UTC microseconds.
    """

    instruments: pl.DataFrame
    codes: Integers
    days: Integers
    first_day: int
    cuts: Integers

    def seen(self, facts: pl.DataFrame) -> pl.DataFrame:
        """Return the facts that some row's evening knows, with SEEN, in the order in which they became known.

        With CODE, and of the table's instruments alone, where they are of instruments. A fact older than the first session is
        seen on its evening.
        """
        known = facts[KNOWN_AT].to_numpy()
        day = self.first_day + np.searchsorted(self.cuts, known, side="left")
        dated = facts.with_columns(pl.Series(SEEN, day, dtype=pl.Int64)).filter(
            pl.col(SEEN) < self.first_day + self.cuts.size
        )
        order = [SEEN, KNOWN_AT, RECORDED_AT]
        if "instrument_id" in facts.columns:
            dated = dated.join(self.instruments, on="instrument_id", how="inner", maintain_order="left")
            order = [CODE, *order]
        return dated.sort(order, maintain_order=True)

    def newest(self, codes: Integers, seen: Integers, until: Integers | None = None) -> pl.Series:
        """Return for each row the index of the last state of its instrument seen by its evening, null where none.

        `codes`, `seen` [state]: sorted by both; `until` [state]: the last day on which a state stands.
        """
        count = self.days.size
        if not count or not codes.size:
            return (
                pl.Series([None], dtype=pl.Int64).new_from_index(0, count) if count else pl.Series([], dtype=pl.Int64)
            )
        places = np.searchsorted(self.codes * _SHIFT + self.days, codes * _SHIFT + seen, side="left")
        index = np.bincount(places, minlength=count + 1)[:count].cumsum() - 1
        held = np.maximum(index, 0)
        absent = (index < 0) | (codes[held] != self.codes)
        if until is not None:
            absent |= self.days > until[held]
        return pl.Series(index, dtype=pl.Int64).set(pl.Series(absent), None)


def evenings(frame: pl.DataFrame) -> Evenings:
    """Return the evenings of a table's rows: `instrument_id` and `session`, sorted by both, at least one row."""
    runs = frame["instrument_id"].rle().struct.unnest()
    codes = np.repeat(np.arange(runs.height, dtype=np.int64), runs["len"].to_numpy())
    days = frame.select(epoch_day("session")).to_series().to_numpy()
    first, last = int(days.min()), int(days.max())
    cuts = [evening_us(_EPOCH + timedelta(days=day)) for day in range(first, last + 1)]
    instruments = runs.select(instrument_id="value").with_columns(
        pl.int_range(runs.height, dtype=pl.Int64, eager=True).alias(CODE)
    )
    return Evenings(instruments, codes, days, first, np.array(cuts, dtype=np.int64))


def known_day(facts: pl.DataFrame) -> pl.Expr:
    """Return the UTC day on which each fact became known, as days since 1970."""
    return pl.col(KNOWN_AT) // DAY_US
