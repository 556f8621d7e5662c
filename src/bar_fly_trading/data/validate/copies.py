"""Bars that are another session's: the same open, high, low and close twice in one name's history, days or weeks apart.

Four prices to the cent do not meet by chance where the day's range has many ticks, so one of the two days is overwritten by
the other. Which of them tells the night on either side: a bar that is not its day's opens and leaves a gap that its twin
has not. The overwritten one is as often the earlier: a vendor that repairs its history repairs it from what it knows today,
and such a bar gives a past evening tomorrow's prices.
"""

from __future__ import annotations

import polars as pl

from bar_fly_trading.data.validate.measures import NAME, before
from bar_fly_trading.data.validate.rules import BAD, Rule, found_by

COPY = "bar of another session"
CENT = 0.01
# With R ticks between low and high two bars of a name meet by chance with odds of 0.1 / R^4 or less: at 40 ticks, over
# a year of 500 names, once in a hundred years of data. Below, only where as many names as a crowd did it the same day.
TICKS_MIN, TICKS_MIN_CROWD = 40.0, 10.0
CROWD_NAMES = 5
LAG_SESSIONS_MAX = 250
# A bar that leaves less than this to its neighbours on both sides may be chance in a name that hardly moves, and does no harm.
MISFIT_MIN = 0.002
_KEYS = (NAME, "open", "high", "low", "close")
_PAIRED = ("row", "session", "index", "gap_excess")


def copied(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the suspicions of measured bars that repeat another session's.

    Of two equal bars within 250 sessions the one with the larger gaps to its neighbours (against the market's) is the copy;
    where a gap is unknown, as after the newest bar, the later one is.
    """
    ticks = ((pl.col("high") - pl.col("low")) / CENT).round(0)
    wide = frame.select(*_KEYS, *_PAIRED, before("gap_excess", -1).alias("next_gap"), ticks.alias("ticks"))
    wide = wide.filter(pl.col("ticks") >= TICKS_MIN_CROWD)
    # By a hash first, which needs a tenth of the memory; two bars that only share it are told apart below.
    alike = wide.filter(pl.struct(_KEYS).hash().is_duplicated()).sort(*_KEYS, "session")
    earlier = [pl.col(name).shift(1).over(_KEYS).alias(f"earlier_{name}") for name in (*_PAIRED, "next_gap")]
    pairs = alike.with_columns(earlier).filter(
        (pl.col("index") - pl.col("earlier_index")).is_between(1, LAG_SESSIONS_MAX)
    )
    misfit = pl.col("gap_excess").abs() + pl.col("next_gap").abs()
    earlier_misfit = pl.col("earlier_gap_excess").abs() + pl.col("earlier_next_gap").abs()
    later = (misfit >= earlier_misfit).fill_null(True)
    known = (pl.col("gap_excess").abs().fill_null(0.0) + pl.col("next_gap").abs().fill_null(0.0), earlier_misfit)
    marked = (
        pairs.filter(pl.max_horizontal(*known) > MISFIT_MIN)
        .with_columns(
            pl.when(later).then("row").otherwise("earlier_row").alias("row"),
            pl.when(later).then("session").otherwise("earlier_session").alias("session"),
            pl.when(later).then("earlier_session").otherwise("session").alias("twin"),
        )
        .unique("row", keep="first", maintain_order=True)
    )
    return found_by(marked.with_columns(pl.len().over("session").alias("twins")), copy_rules())


def copy_rules() -> list[Rule]:
    """Return the rule of repeated bars, for the bars that `copied` marks."""
    sure = (pl.col("ticks") >= TICKS_MIN) | (pl.col("twins") >= CROWD_NAMES)
    prices = (pl.col(name) for name in ("open", "high", "low", "close", "twin", "twins"))
    shown = pl.format("open {}, high {}, low {} and close {} as on {}, {} names this session", *prices)
    return [Rule(COPY, BAD, sure, shown)]
