"""An adjusted close from closes as traded, splits and dividends, where the vendor's own is not to be had."""

from __future__ import annotations

import polars as pl

from bar_fly_trading.facts.tables import BARS


def adjusted_bars(daily: pl.DataFrame, splits: pl.DataFrame, dividends: pl.DataFrame) -> pl.DataFrame:
    """Return daily bars with adjusted_close, dividend_amount and split_coefficient, oldest first.

    `daily`: session, OHLC as traded, volume; `splits` and `dividends` as `parse` reads them. Backward adjustment, as
    CRSP and Alpha Vantage define it: a close before an event on session e is multiplied by (1 / split factor) and by
    (1 - dividend / close of the session before e); events after the newest bar are left out. An event on a day
    without a bar counts at the next bar. A dividend on the first bar needs no earlier close and changes nothing.
    """
    bars = daily.sort("session")
    days = bars.select("session")
    bars = (
        bars.join(
            _at_next_bar(days, splits, "effective_date", "split_factor").rename({"value": "split_coefficient"}),
            on="session",
            how="left",
        )
        .join(
            _at_next_bar(days, dividends, "ex_dividend_date", "amount").rename({"value": "dividend_amount"}),
            on="session",
            how="left",
        )
        .with_columns(pl.col("split_coefficient").fill_null(1.0), pl.col("dividend_amount").fill_null(0.0))
    )
    step = (1 - pl.col("dividend_amount") / pl.col("close").shift(1)).fill_null(1.0) / pl.col("split_coefficient")
    # The factor of a day is the product of the steps of all later days.
    factor = step.shift(-1, fill_value=1.0).cum_prod(reverse=True)
    bars = bars.with_columns((pl.col("close") * factor).alias("adjusted_close"))
    return bars.select(name for name in BARS.columns if name != "instrument_id")


def _at_next_bar(days: pl.DataFrame, events: pl.DataFrame, day: str, value: str) -> pl.DataFrame:
    """Move each event to the first bar on or after its day; several on one bar are multiplied (splits) or added."""
    inside = events.filter(pl.col(day) > days["session"].min()) if days.height else events.head(0)
    moved = inside.sort(day).join_asof(
        days.sort("session"), left_on=day, right_on="session", strategy="forward", coalesce=False
    )
    joined = pl.col(value).product() if value == "split_factor" else pl.col(value).sum()
    return moved.drop_nulls("session").group_by("session").agg(joined.alias("value")).sort("session")
