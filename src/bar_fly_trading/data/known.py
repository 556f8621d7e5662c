"""When a row became known: the rules of `facts.tables` for bars and what follows from them, over whole columns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import lru_cache

import polars as pl

from bar_fly_trading.facts.sessions import MINUTE_US, Calendar, evening_us

BACKFILL_AFTER_CLOSE_US = 15 * MINUTE_US


@lru_cache(maxsize=1 << 15)
def backfill_known_us(calendar: Calendar, session: date) -> int:
    """Return when a bar that was not received live counts as known: its session's close plus 15 minutes."""
    return calendar.session(session).close_us + BACKFILL_AFTER_CLOSE_US


def backfilled(sessions: pl.Series, calendar: Calendar) -> pl.Expr:
    """Return `backfill_known_us` of each row's `session` as an expression."""
    return _mapped(sessions, lambda day: backfill_known_us(calendar, day))


def received(sessions: pl.Series, calendar: Calendar, received_at: pl.Expr) -> pl.Expr:
    """Return when each pulled bar became known (UTC microseconds), from its `session` and its time of receipt.

    Received before its session's evening cut (22:00 New York) it was pulled live: known at receipt. Received later it
    is a backfill, known by the rule: the day's decisions were not made with it, and its replay may use it.
    """
    live = received_at < _mapped(sessions, evening_us)
    return pl.when(live).then(received_at).otherwise(backfilled(sessions, calendar))


def event_known(sessions: pl.Series, calendar: Calendar, bar_known: pl.Expr) -> pl.Expr:
    """Return when the split or dividend of each row's `session` became known, from when its bar did.

    Of a backfilled bar: with the bar of the session before, because both are announced days to weeks ahead and the
    morning of the day itself must see its split. Of a bar pulled live: with that bar, because nobody knew it here.
    """
    first = calendar.next(calendar.first_day)
    ahead = _mapped(sessions, lambda day: backfill_known_us(calendar, calendar.previous(day) if day > first else day))
    return pl.when(bar_known == backfilled(sessions, calendar)).then(ahead).otherwise(bar_known)


def _mapped(sessions: pl.Series, rule: Callable[[date], int]) -> pl.Expr:
    days = sessions.unique()
    known = pl.Series([rule(day) for day in days], dtype=pl.Int64)
    return pl.col("session").replace_strict(days, known, return_dtype=pl.Int64)
