"""Sessions on which many names are wrong together: closes of the day before, one price all day, closes the morning disowns."""

from __future__ import annotations

import polars as pl

from bar_fly_trading.data.validate.measures import before
from bar_fly_trading.data.validate.rules import BAD, DOUBTFUL, Rule, percent

# Counts of rare events are Poisson's: the usual count is the mean of 60 sessions, its sigma the root of that.
USUAL_SESSIONS, USUAL_SESSIONS_MIN = 60, 10
NAMES_MIN = 5
SHARE_MIN = 0.02
STALE_SIGMAS, STALE_SIGMAS_BAD = 6.0, 10.0
FLAT_SIGMAS = 6.0
DISOWNED_SIGMAS, DISOWNED_NAMES_MIN, DISOWNED_GAP_Z = 8.0, 12, 3.0
INSIDE = 0.002


def with_crowds(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the measured bars with marks `same`, `flat`, `disowned`, and of each how unusual the session's count is.

    `same_sigmas` and the others: (count - usual) / root of usual, usual at least 1; 0 where fewer than 5 names or 2 % are marked.
    """
    morning = before("open", -1) * before("split_coefficient", -1)
    inside = morning.is_between(pl.col("low") * (1 - INSIDE), pl.col("high") * (1 + INSIDE))
    middle = (pl.col("high") + pl.col("low")) / 2
    gap = before("gap_excess", -1)
    away = ((pl.col("close") - middle) * gap < 0) & (before("gap_z", -1).abs() > DISOWNED_GAP_Z)
    next_day = before("index", -1) == pl.col("index") + 1
    frame = frame.with_columns(
        ((pl.col("raw") == 0) & (pl.col("split") == 0)).fill_null(False).alias("same"),
        ((pl.col("high") == pl.col("low")) & (pl.col("volume") > 0)).fill_null(False).alias("flat"),
        (inside & away & next_day).fill_null(False).alias("disowned"),
        gap.alias("next_gap_excess"),
    )
    marks = ("same", "flat", "disowned")
    days = frame.group_by("session").agg(pl.len().alias("names"), *(pl.col(m).sum().cast(pl.Float64) for m in marks))
    days = days.sort("session")
    unusual = [_unusual(m).alias(f"{m}_sigmas") for m in marks]
    counts = [pl.col(m).alias(f"{m}_names") for m in marks]
    return frame.join(days.select("session", *counts, *unusual), on="session", how="left", maintain_order="left")


def _unusual(mark: str) -> pl.Expr:
    share = pl.col(mark) / pl.col("names")
    usual = share.rolling_mean(USUAL_SESSIONS, min_samples=USUAL_SESSIONS_MIN).shift(1).fill_null(0.05)
    expected = (usual * pl.col("names")).clip(1.0)
    enough = (pl.col(mark) >= NAMES_MIN) & (share >= SHARE_MIN)
    return pl.when(enough).then((pl.col(mark) - expected) / expected.sqrt()).otherwise(0.0)


def _shown(mark: str) -> pl.Expr:
    names = pl.col(f"{mark}_names").cast(pl.Int64)
    return pl.format("{} names this session, {} sigmas", names, pl.col(f"{mark}_sigmas").round(1))


def across_rules() -> list[Rule]:
    """Return the rules of whole sessions; they read what `with_crowds` added and mark only the names concerned."""
    stale = pl.col("same") & (pl.col("same_sigmas") > STALE_SIGMAS)
    sure = pl.col("same_sigmas") > STALE_SIGMAS_BAD
    disowned = (
        pl.col("disowned")
        & (pl.col("disowned_sigmas") > DISOWNED_SIGMAS)
        & (pl.col("disowned_names") >= DISOWNED_NAMES_MIN)
    )
    gap = pl.format("{}, opens {} away", _shown("disowned"), percent(pl.col("next_gap_excess")))
    return [
        Rule("close of the day before, as in many names", BAD, stale & sure, _shown("same")),
        Rule("unmoved close, as in unusually many names", DOUBTFUL, stale & ~sure, _shown("same")),
        Rule(
            "one price all day, as in many names",
            BAD,
            pl.col("flat") & (pl.col("flat_sigmas") > FLAT_SIGMAS),
            _shown("flat"),
        ),
        Rule("close the next open disowns, as in many names", DOUBTFUL, disowned, gap),
    ]
