"""Prices of one name: prints that come back, moves nobody traded on, days without trade, bars that repeat."""

from __future__ import annotations

import polars as pl

from bar_fly_trading.data.validate.measures import before
from bar_fly_trading.data.validate.rules import BAD, DOUBTFUL, Rule, percent

# News brings volume: over 8,000 moves beyond 5 sigmas the median volume is 0.6 times the usual a sigma. A wrong price has none.
VOLUME_A_SIGMA_PRINT = 0.35
VOLUME_A_SIGMA_QUIET = 0.22
VOLUME_A_SIGMA_BAD = 0.1
PRINT_Z, PRINT_EXCESS, PRINT_LEFT = 4.0, 0.04, 0.3
PRINT_SESSIONS = 5
# Below so large a move, or where too few names tell the market's own, it is only doubtful.
BAD_EXCESS = 0.1
QUIET = ((4.0, 0.06), (2.5, 0.1))
# A spin-off leaves overnight and takes value away; its shares trade once more, news trades all over again.
GAP_Z, GAP_EXCESS, VOLUME_A_SIGMA_GAP = 20.0, 0.1, 0.15
WICK_SIGMAS, WICK_MIN = 15.0, 0.2
SAME_CLOSE_RUN = 4
FLAT_RUN = 3

_Z, _EXCESS, _VOLUME = pl.col("z"), pl.col("excess"), pl.col("volume_ratio")


def _move() -> pl.Expr:
    return pl.format(
        "{} beyond the market, {} sigmas, volume {} of usual", percent(_EXCESS), _Z.round(1), _VOLUME.round(2)
    )


def with_prints(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the measured bars with `print_back`: after how many bars this move was undone (0: it was not), and `print_end`.

    Undone: the moves between sum to under 0.3 of the first, both ends are beyond 4 sigmas (6 where bars lie between) and 4 %,
    in opposite directions, and neither had the volume that news has.
    """
    back, end = pl.lit(0), pl.lit(False)
    quiet = (VOLUME_A_SIGMA_PRINT * _Z.abs() > _VOLUME) & (_EXCESS.abs() > PRINT_EXCESS)
    frame = frame.with_columns((quiet & (_Z.abs() > PRINT_Z)).fill_null(False).alias("quiet_move"))
    total = _EXCESS
    for k in range(1, PRINT_SESSIONS + 1):
        total = total + before("excess", -k)
        z_min = PRINT_Z if k == 1 else 1.5 * PRINT_Z
        undone = (
            pl.col("quiet_move")
            & before("quiet_move", -k)
            & (pl.min_horizontal(_Z.abs(), before("z", -k).abs()) > z_min)
            & (_EXCESS * before("excess", -k) < 0)
            & (total.abs() < PRINT_LEFT * _EXCESS.abs())
        ).fill_null(False)
        back = pl.when(pl.lit(0) == back).then(pl.when(undone).then(k).otherwise(0)).otherwise(back)
        end = end | before(undone, k).fill_null(False)
    return frame.with_columns(back.alias("print_back"), end.alias("print_end"))


def print_rules() -> list[Rule]:
    """Return the rules of a single name's prices; they read what `with_prints` added."""
    is_print = pl.col("print_back") > 0
    quiet = pl.any_horizontal((_Z.abs() > z) & (_EXCESS.abs() > size) for z, size in QUIET)
    unexplained = ~is_print & ~pl.col("print_end")
    very = (VOLUME_A_SIGMA_BAD * _Z.abs() > _VOLUME) & (_EXCESS.abs() > BAD_EXCESS) & pl.col("market_known")
    slightly = (VOLUME_A_SIGMA_QUIET * _Z.abs() > _VOLUME) & ~very
    quiet_hit = (quiet & (very | slightly)).fill_null(False)
    return [
        Rule(
            "price that comes back",
            BAD,
            is_print,
            pl.format("{}, undone {} bars later", _move(), pl.col("print_back")),
        ),
        Rule("price comes back from a wrong level", BAD, pl.col("print_end") & ~is_print, _move()),
        Rule("large move nobody traded on", BAD, quiet & very & unexplained, _move()),
        Rule("large move on thin volume", DOUBTFUL, quiet & slightly & unexplained, _move()),
        Rule("opens far below on thin volume", DOUBTFUL, _thin_gap() & unexplained & ~quiet_hit, _opening()),
        *_wick_rules(),
        *_idle_rules(),
    ]


def _thin_gap() -> pl.Expr:
    gap, gap_z = pl.col("gap_excess"), pl.col("gap_z")
    return (gap_z < -GAP_Z) & (gap < -GAP_EXCESS) & (VOLUME_A_SIGMA_GAP * gap_z.abs() > _VOLUME)


def _opening() -> pl.Expr:
    gap = percent(pl.col("gap_excess"))
    return pl.format(
        "opens {} beyond the market, {} sigmas, volume {} of usual", gap, pl.col("gap_z").round(1), _VOLUME.round(2)
    )


def _wick_rules() -> list[Rule]:
    top = (pl.col("high") / pl.max_horizontal("open", "close")).log()
    bottom = (pl.min_horizontal("open", "close") / pl.col("low")).log()
    wick = pl.max_horizontal(top, bottom)
    hit = (wick > WICK_MIN) & (wick > WICK_SIGMAS * pl.col("sigma"))
    shown = pl.format("low {}, open {}, close {}, high {}", "low", "open", "close", "high")
    return [Rule("high or low far from open and close", DOUBTFUL, hit, shown)]


def _idle_rules() -> list[Rule]:
    traded = pl.col("volume") > 0
    flat = pl.col("high") == pl.col("low")
    same_close = (pl.col("raw") == 0) & (pl.col("split") == 0)
    prices = pl.all_horizontal(pl.col(n) == before(n) for n in ("open", "high", "low", "close"))
    repeated = prices & ~flat
    run = pl.all_horizontal(same_close, *(before(same_close, k) for k in range(1, SAME_CLOSE_RUN - 1)))
    flat_run = pl.all_horizontal(prices & flat, *(before(prices & flat, k) for k in range(1, FLAT_RUN - 1)))
    price = pl.format("close {}, volume {}", "close", "volume")
    return [
        Rule("no volume, and another close", BAD, ~traded & (pl.col("raw") != 0), price),
        Rule("no volume", DOUBTFUL, ~traded & (pl.col("raw") == 0), price),
        Rule("one price all day", DOUBTFUL, flat & traded, price),
        Rule("bar of the day before", BAD, repeated & traded, price),
        Rule("one price for days", BAD, flat_run, price),
        Rule("close has not moved for days", DOUBTFUL, run & ~flat_run, price),
    ]
