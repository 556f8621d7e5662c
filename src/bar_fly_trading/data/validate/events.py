"""Splits and dividends: recorded and not applied, applied and not recorded, applied twice, counted twice, never happened.

One identity holds whatever the vendor's basis: adjusted close over the one before = split x (close + dividend) / the close
before (CRSP's holding-period return, with the split factor). Where it is broken, the adjustment is wrong; where it holds, the event itself
may still be wrong, and the market tells: a dividend takes the price down by its amount, a split by its factor.
"""

from __future__ import annotations

from math import log

import polars as pl

from bar_fly_trading.data.validate.measures import before
from bar_fly_trading.data.validate.rules import BAD, DOUBTFUL, Rule, percent

# Prices are rounded: to 1e-4 in adjusted closes and in vendors' dividends, to a cent at worst.
IDENTITY_TOLERANCE = 1e-4
ADJUSTED_TICK = 1e-4
CENT = 0.01
# From here the wrong adjustment is larger than a dividend a person would notice, and no rounding.
IDENTITY_BAD = 3e-3
LIFT_MIN = 0.02
DIVIDEND_LARGE = 0.1
DIVIDEND_DAYS = 8
SPLIT_Z, SPLIT_EXCESS = 5.0, 0.1
# Factors of real splits from which a price move cannot be news with an ordinary opening; both directions.
SPLIT_FACTORS = (2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 50.0)
SPLIT_NEAR = 0.06
# Once in 60,000 bars, and then often real; but a list that rests on such a bar alone needs a second source, and there is none.
HALF_UP, HALF_DOWN = log(1.5), log(0.5)

_Z, _EXCESS, _SPLIT, _LIFT = pl.col("z"), pl.col("excess"), pl.col("split"), pl.col("lift")
_ADJUSTED, _RAW = pl.col("adjusted"), pl.col("raw")
_ERROR = _ADJUSTED - pl.col("identity")
_TOLERANCE = (
    IDENTITY_TOLERANCE
    + ADJUSTED_TICK * (1 / pl.col("adjusted_close") + 1 / pl.col("adjusted_before"))
    + pl.when(_LIFT > 0).then(CENT / 2 / pl.col("close_before")).otherwise(0.0)
    + pl.when(_SPLIT != 0).then(1e-3).otherwise(0.0)
)
_BROKEN = _ERROR.abs() > _TOLERANCE
_GROSS = _ERROR.abs() > pl.max_horizontal(_TOLERANCE, pl.lit(IDENTITY_BAD))
_HAS_SPLIT = _SPLIT.abs() > 1e-3
_NEAR = pl.max_horizontal(_TOLERANCE * 2, pl.lit(2e-3))


def _shown() -> pl.Expr:
    return pl.format(
        "close {}, adjusted {}, split {}, dividend {}",
        percent(_RAW),
        percent(_ADJUSTED),
        pl.col("split_coefficient").round(4),
        pl.col("dividend_amount").round(4),
    )


def _identity_rules() -> list[Rule]:
    not_applied = _HAS_SPLIT & ((_ADJUSTED - _RAW - _LIFT).abs() < _NEAR)
    twice = _HAS_SPLIT & ((_ERROR - _SPLIT).abs() < _NEAR)
    no_dividend = (_LIFT > 0) & ((_ADJUSTED - _RAW - _SPLIT).abs() < _NEAR)
    no_event = ~_HAS_SPLIT & (_LIFT == 0)
    named = [
        ("split not applied to adjusted_close", not_applied),
        ("split applied twice to adjusted_close", twice & ~not_applied),
        ("dividend missing from adjusted_close", no_dividend & ~not_applied & ~twice),
        ("adjusted_close moves without an event", no_event),
    ]
    other = ~(not_applied | twice | no_dividend | no_event)
    named.append(("adjusted_close contradicts close and events", other))
    rules = [Rule(name, BAD, _GROSS & which, _shown()) for name, which in named]
    rules.append(Rule("adjusted_close is imprecise", DOUBTFUL, _BROKEN & ~_GROSS, _shown()))
    return rules


def _split_rules() -> list[Rule]:
    never = _HAS_SPLIT & (_SPLIT.abs() > 0.1) & ((_EXCESS - _SPLIT).abs() < 0.3 * _SPLIT.abs()) & (_Z.abs() > 4)
    # The lift of a real dividend beside a real split leaves no return; that of an event counted twice is the return.
    counted_twice = (
        _HAS_SPLIT & (_LIFT > LIFT_MIN) & (_EXCESS > 0) & ((_EXCESS - _LIFT).abs() < 0.6 * _EXCESS) & (_Z > 3)
    )
    unfit = _HAS_SPLIT & (_Z.abs() > SPLIT_Z) & (_EXCESS.abs() > SPLIT_EXCESS) & ~never & ~counted_twice
    near = pl.any_horizontal(
        (value.abs() - log(factor)).abs() < SPLIT_NEAR for factor in SPLIT_FACTORS for value in (_EXCESS,)
    )
    # A split is there at the open; news that halves a price trades on its way.
    unrecorded = ~_HAS_SPLIT & near & (_Z.abs() > 8) & ((pl.col("gap_excess") - _EXCESS).abs() < 0.15 * _EXCESS.abs())
    quiet = pl.col("volume_ratio") < 0.35 * _Z.abs()
    half = ~_HAS_SPLIT & ((_ADJUSTED >= HALF_UP) | (_ADJUSTED <= HALF_DOWN)) & ~(unrecorded & quiet).fill_null(False)
    return [
        Rule("split recorded, and the price did not split", BAD, never, _shown()),
        Rule("one event counted as split and as dividend", BAD, counted_twice, _shown()),
        Rule("split does not fit the price", BAD, unfit, _shown()),
        Rule("price moves like a split that is not recorded", BAD, unrecorded & quiet, _shown()),
        Rule("price moves by half in a day without an event", BAD, half, _shown()),
    ]


def _dividend_rules() -> list[Rule]:
    never = ~_HAS_SPLIT & (_LIFT > LIFT_MIN) & (_EXCESS > 0) & ((_EXCESS - _LIFT).abs() < 0.35 * _LIFT) & (_Z > 4)
    large = (pl.col("dividend_amount") > DIVIDEND_LARGE * pl.col("close_before")) & ~_HAS_SPLIT & ~never
    paid = pl.col("dividend_amount")
    again = (paid > 0) & pl.any_horizontal(
        (before("dividend_amount", k) == paid) & (pl.col("index") - before("index", k) < DIVIDEND_DAYS)
        for k in range(1, DIVIDEND_DAYS)
    )
    return [
        Rule("dividend without a fall on its ex-date", BAD, never, _shown()),
        Rule("dividend above a tenth of the price", DOUBTFUL, large, _shown()),
        Rule("the same dividend twice within days", BAD, again, _shown()),
    ]


def event_rules() -> list[Rule]:
    """Return the rules of splits and dividends."""
    return [*_identity_rules(), *_split_rules(), *_dividend_rules()]
