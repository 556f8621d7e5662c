"""All suspicions of a table of bars: every rule of the room, in one pass over the measured bars."""

from __future__ import annotations

import polars as pl

from bar_fly_trading.data.validate.across import across_rules, with_crowds
from bar_fly_trading.data.validate.copies import COPY, copied
from bar_fly_trading.data.validate.coverage import ENDS, MISSING, MISSING_FROM_ALL, ends, holes
from bar_fly_trading.data.validate.events import event_rules
from bar_fly_trading.data.validate.faults import faults_of
from bar_fly_trading.data.validate.measures import measured
from bar_fly_trading.data.validate.prints import print_rules, with_prints
from bar_fly_trading.data.validate.rules import FAULT, SUSPICION_SCHEMA, found_by
from bar_fly_trading.facts.sessions import Calendar

RULES: tuple[str, ...] = (
    *(r.name for r in (*event_rules(), *print_rules(), *across_rules())),
    COPY,
    MISSING,
    MISSING_FROM_ALL,
    ENDS,
)


def suspicions_of(bars: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Return what is unlikely about the bars, one row a suspicion: row (from 0), instrument_id, session, rule, observed, severity.

    `bars`: the columns of `facts.tables.BARS`, in any order of rows; rows with a fault of `faults_of` are left out, as the
    rules need numbers. `severity`: bad (one of a kind that is nearly always wrong) or doubtful (to be looked at). A missing
    session stands on the row of the bar after it, with its own date. Sorted by instrument, session, rule; a bar may have several.
    """
    frame = measured(bars, calendar)
    if frame.is_empty():
        return pl.DataFrame(schema=SUSPICION_SCHEMA)
    frame = with_crowds(with_prints(frame))
    rules = [*event_rules(), *print_rules(), *across_rules()]
    found = pl.concat([found_by(frame, rules), copied(frame), holes(frame, calendar), ends(frame, calendar)])
    return found.sort("instrument_id", "session", "rule", "row")


def everything_found(bars: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Return faults and suspicions together in the columns of `suspicions_of`, newest session first; a fault is `fault`."""
    faults = faults_of(bars, calendar).with_columns(severity=pl.lit(FAULT)).select(list(SUSPICION_SCHEMA))
    found = pl.concat([faults, suspicions_of(bars, calendar)])
    return found.sort("session", "instrument_id", "rule", descending=[True, False, False], nulls_last=False)
