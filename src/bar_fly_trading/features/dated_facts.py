"""Everything but bars that features rest on, each row with the time at which it became known."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from bar_fly_trading.facts.tables import EARNINGS, KNOWN_AT, MACRO, OPTIONS_SUMMARY, OVERVIEW, SECTORS


def _no_sectors() -> pl.DataFrame:
    return pl.DataFrame(schema=SECTORS.schema())


@dataclass(frozen=True, slots=True)
class DatedFacts:
    """The tables that features rest on beside the bars: of each ALL rows ever recorded, every revision, oldest first.

    Each frame has the stored schema of its table in `facts.tables`, `known_at` and `recorded_at` (UTC microseconds)
    included. Of two rows of one key the later known one counts, of two known at once the later recorded, then the later row.
    `earnings`: EPS in shares of the day on which the row became known (the vendor restates them for later splits;
    `data.views.load_facts` takes that back). `macro`: the series of `features.macro`; `sectors`: of the instruments that
    have one, else the overview's stands in.
    """

    earnings: pl.DataFrame
    overview: pl.DataFrame
    macro: pl.DataFrame
    options_summary: pl.DataFrame
    sectors: pl.DataFrame = field(default_factory=_no_sectors)

    @classmethod
    def none(cls) -> DatedFacts:
        """Return no facts at all: every column that rests on them is null."""
        return cls(*(pl.DataFrame(schema=table.schema()) for table in (EARNINGS, OVERVIEW, MACRO, OPTIONS_SUMMARY)))

    def known_by(self, at_us: int) -> DatedFacts:
        """Return the rows known by a UTC microsecond, revisions superseded by then included."""
        known = pl.col(KNOWN_AT) <= at_us
        return DatedFacts(
            self.earnings.filter(known),
            self.overview.filter(known),
            self.macro.filter(known),
            self.options_summary.filter(known),
            self.sectors.filter(known),
        )
