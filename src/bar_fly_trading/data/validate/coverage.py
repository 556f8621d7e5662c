"""Sessions that are not there: holes inside an instrument's life, and a life that ends before the table does.

The calendar knows holidays and one-off closures; an early close is a session like any other.
"""

from __future__ import annotations

import polars as pl

from bar_fly_trading.data.validate.measures import NAME, newest
from bar_fly_trading.data.validate.rules import BAD, DOUBTFUL, SUSPICION_SCHEMA
from bar_fly_trading.facts.sessions import Calendar

MISSING = "session is missing"
MISSING_FROM_ALL = "session is missing from every name"
ENDS = "series ends before the others"
# A longer hole is one fact (a suspension, another listing), not as many.
LISTED_MAX = 10


def holes(frame: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Return one suspicion a missing session (the session itself; `row`: of the bar after it), one for a hole above 10.

    Where no other name has the session either, it is doubtful only: a closure the calendar does not know, or a pull to repeat.
    """
    after = frame.filter(pl.col("index") - pl.col("index_before") > 1)
    if after.is_empty():
        return pl.DataFrame(schema=SUSPICION_SCHEMA)
    days = calendar.sessions(calendar.first_day, calendar.last_day)
    index = pl.DataFrame({"missing": range(len(days)), "day": days}, schema={"missing": pl.Int64, "day": pl.Date})
    count = (pl.col("index") - pl.col("index_before") - 1).cast(pl.Int64)
    first = pl.col("index_before").cast(pl.Int64) + 1
    last = pl.when(count > LISTED_MAX).then(first).otherwise(pl.col("index").cast(pl.Int64) - 1)
    others = pl.col("day").is_in(frame["session"].unique().implode())
    return (
        after.select("row", NAME, count=count, missing=pl.int_ranges(first, last + 1))
        .explode("missing", empty_as_null=False)
        .join(index, on="missing", how="left", maintain_order="left")
        .select(
            "row",
            NAME,
            session="day",
            rule=pl.when(others).then(pl.lit(MISSING)).otherwise(pl.lit(MISSING_FROM_ALL)),
            observed=pl.format("a hole of {} sessions", "count"),
            severity=pl.when(others).then(pl.lit(BAD)).otherwise(pl.lit(DOUBTFUL)),
        )
    )


def ends(frame: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Return one suspicion an instrument whose newest bar is older than the newest of the table, on that bar."""
    last = newest(frame)
    if last is None:
        return pl.DataFrame(schema=SUSPICION_SCHEMA)
    ended = (
        frame.group_by(NAME, maintain_order=True).last().filter(pl.col("session") < last).select("row", NAME, "session")
    )
    shown = [f"{calendar.sessions_between(day, last)} sessions before {last}" for day in ended["session"]]
    return ended.with_columns(rule=pl.lit(ENDS), observed=pl.Series(shown, dtype=pl.String), severity=pl.lit(DOUBTFUL))
