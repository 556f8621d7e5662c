"""What the rules look at: each bar's returns, the market's return that day, and how unusual both are for the name.

Everything of a bar is measured against the past of its own instrument and against the other instruments of its session;
what comes after it is used only where a rule says so (a price that comes back, a morning that opens elsewhere).
"""

from __future__ import annotations

from datetime import date

import polars as pl

from bar_fly_trading.data.validate.faults import PRICE_USD_BELOW
from bar_fly_trading.facts.sessions import Calendar

NAME = "instrument_id"
# The factor that makes a median absolute deviation an estimate of a normal distribution's standard deviation.
MAD_TO_SIGMA = 1.4826
SCALE_SESSIONS, SCALE_SESSIONS_MIN = 60, 20
VOLUME_SESSIONS, VOLUME_SESSIONS_MIN = 20, 10
# A name that hardly moves (a takeover at a fixed price) would make every tick an event.
SCALE_MIN = 0.004
SCALE_UNKNOWN = 0.02
# Below so many names a session's median is the names' own news, not the market's.
MARKET_NAMES_MIN = 10
_COLUMNS = ("open", "high", "low", "close", "adjusted_close", "dividend_amount", "split_coefficient")


def before(value: str | pl.Expr, count: int = 1) -> pl.Expr:
    """Return a column's value `count` bars of the same instrument earlier (negative: later); null where there is none.

    The frame is sorted by instrument and session, so a plain shift will do where `age` and `left` (bars of the instrument before
    and after this one) allow it; grouping for every shift would take a minute over a long table.
    """
    column = pl.col(value) if isinstance(value, str) else value
    there = pl.col("age") >= count if count > 0 else pl.col("left") >= -count
    return pl.when(there).then(column.shift(count))


def sound(bars: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Return the bars that have no fault of their own (see `faults_of`), with `row`, sorted by instrument and session.

    `row` counts from 0 in the order given; `index` is the session's number in the calendar.
    """
    days = calendar.sessions(calendar.first_day, calendar.last_day)
    index = pl.DataFrame({"session": days, "index": range(len(days))}, schema={"session": pl.Date, "index": pl.Int32})
    prices = [pl.col(name).is_between(0, PRICE_USD_BELOW, closed="none") for name in _COLUMNS[:5]]
    return (
        bars.select(pl.int_range(pl.len(), dtype=pl.Int64).alias("row"), NAME, "session", *_COLUMNS, "volume")
        .filter(
            *prices,
            pl.col("high") >= pl.col("low"),
            pl.col("dividend_amount").is_between(0, PRICE_USD_BELOW),
            pl.col("split_coefficient").is_between(0, 1e6, closed="right"),
        )
        .join(index, on="session", how="inner", maintain_order="left")
        .sort(NAME, "session", maintain_order=True)
        .filter(
            ((pl.col("session") != pl.col("session").shift(1)) | (pl.col(NAME) != pl.col(NAME).shift(1))).fill_null(
                True
            )
        )
        .with_columns(pl.int_range(pl.len(), dtype=pl.Int32).over(NAME).alias("age"))
        .with_columns((pl.len().over(NAME).cast(pl.Int32) - 1 - pl.col("age")).alias("left"))
    )


def _market(name: str) -> pl.Expr:
    """Return a column less the median of its session, which is left where the session has too few names."""
    enough = pl.col(name).count().over("session") >= MARKET_NAMES_MIN
    return pl.col(name) - pl.when(enough).then(pl.col(name).median().over("session")).otherwise(0.0)


def _scale(name: str) -> pl.Expr:
    """Return the robust sigma of a column over the instrument's last 60 bars before this one; a young name's first later one."""
    past = pl.col(name).abs().rolling_median(SCALE_SESSIONS, min_samples=SCALE_SESSIONS_MIN).shift(1) * MAD_TO_SIGMA
    return past.over(NAME).backward_fill().over(NAME).fill_null(SCALE_UNKNOWN).clip(SCALE_MIN)


def _calm(name: str) -> pl.Expr:
    """Return a column of z values divided by the session's own robust sigma of them, where that is above 1."""
    wild = (pl.col(name).abs().median() * MAD_TO_SIGMA).over("session").clip(1.0)
    enough = pl.col(name).count().over("session") >= MARKET_NAMES_MIN
    return pl.col(name) / pl.when(enough).then(wild).otherwise(1.0)


def measured(bars: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Return the sound bars with what the rules read; logarithms of ratios unless said otherwise, null for a first bar.

    `raw`, `adjusted`: close and adjusted close over the bar before. `identity`: what `adjusted` must be, split x (close +
    dividend) / previous close. `lift`: the dividend's part of it. `excess`: `adjusted` less the market's. `z`: `excess` in
    robust sigmas of the name (60 bars before), and of the session where the whole market is wild. `gap_excess`, `gap_z`:
    the same of the open over the close before. `market_known`: the session has names enough to know the market's move. `volume_ratio`: volume over the median of 20 bars, in today's shares.
    """
    frame = sound(bars, calendar).with_columns(
        before("close").alias("close_before"),
        before("adjusted_close").alias("adjusted_before"),
        before("index").alias("index_before"),
        (pl.col("volume") / pl.col("split_coefficient").cum_prod().over(NAME)).alias("shares"),
    )
    frame = frame.with_columns(
        (pl.col("close") / pl.col("close_before")).log().alias("raw"),
        (pl.col("adjusted_close") / pl.col("adjusted_before")).log().alias("adjusted"),
        (1 + pl.col("dividend_amount") / pl.col("close")).log().alias("lift"),
        pl.col("split_coefficient").log().alias("split"),
        ((pl.col("open") + pl.col("dividend_amount")) / pl.col("close_before") * pl.col("split_coefficient"))
        .log()
        .alias("gap"),
    ).with_columns((pl.col("raw") + pl.col("lift") + pl.col("split")).alias("identity"))
    usual = pl.col("shares").rolling_median(VOLUME_SESSIONS, min_samples=VOLUME_SESSIONS_MIN).shift(1).over(NAME)
    frame = frame.with_columns(
        (pl.col("adjusted").count().over("session") >= MARKET_NAMES_MIN).alias("market_known"),
        _market("adjusted").alias("excess"),
        _market("gap").alias("gap_excess"),
        (pl.col("shares") / pl.when(usual > 0).then(usual)).alias("volume_ratio"),
    )
    frame = frame.with_columns(_scale("excess").alias("sigma"), _scale("gap_excess").clip(0.002).alias("gap_sigma"))
    return frame.with_columns(
        (pl.col("excess") / pl.col("sigma")).alias("z"), (pl.col("gap_excess") / pl.col("gap_sigma")).alias("gap_z")
    ).with_columns(_calm("z"), _calm("gap_z"))


def newest(frame: pl.DataFrame) -> date | None:
    """Return the newest session of a frame; None where it has none."""
    day = frame["session"].max()
    return day if isinstance(day, date) else None
