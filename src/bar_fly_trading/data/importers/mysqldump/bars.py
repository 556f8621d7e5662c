"""`core_stock` into bars, symbol by symbol in bounded groups: judged row by row, events derived, identities found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from bar_fly_trading.data.importers.mysqldump.tables import OFFSET, REFUSALS, ROW
from bar_fly_trading.data.ingest import compare, events, identify
from bar_fly_trading.data.known import backfilled
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.validate import faults_of
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import BARS, KNOWN_AT
from bar_fly_trading.features.all_data import derive_events

TABLE = "core_stock"
_VALUES = ("open", "high", "low", "close", "adjusted_close", "volume")
# A listed split is the bar's where the derived factor is within this share of it,
_LISTED_NEAR = 0.05
# or where nothing was derived (adjusted_close was never adjusted for it) and the price itself moved so.
_MOVED_BETWEEN = (0.7, 1.4)
BASIS_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one group of symbols adds to the store, and what of it is refused; counts of bars."""

    additions: dict[str, pl.DataFrame]
    refused: pl.DataFrame
    new: int
    corrected: int
    same: int


def load(
    frame: pl.DataFrame, listed: pl.DataFrame, store: Store, stored: pl.DataFrame, calendar: Calendar, newest: date
) -> Loaded:
    """Turn staged rows of some symbols (all rows of each) into additions; `stored`: the store's bars of other imports.

    `listed`: `stock_splits` as symbol, effective_date, split_factor. Bars are backfill: known at their session's close
    plus 15 minutes. Rows that repeat another exactly are taken once; two different rows of one day are both refused.
    """
    rows = _sorted(frame.rename({"date": "session"}))
    again = pl.all_horizontal([pl.col(name) == pl.col(name).shift(1) for name in ("symbol", "session")])
    once = rows
    if rows.select(again.any()).item():
        once = rows.unique(["symbol", "session", *_VALUES], keep="first", maintain_order=True)
    good, faulty = _judged(once, calendar, newest)
    spans = good.group_by("symbol").agg(pl.col("session").min().alias("first"), pl.col("session").max().alias("last"))
    named = identify({symbol: (first, last) for symbol, first, last in spans.iter_rows()}, load_instruments(store))
    ids = pl.col("symbol").replace_strict(dict(named.ids), return_dtype=pl.String).alias("instrument_id")
    reasons = {s: f"the symbol named another instrument until {day}" for s, day in named.ended.items()}
    with_ids = good.with_columns(ids)
    reasons |= _mixed(with_ids, stored)
    kept = with_ids.filter(~pl.col("symbol").is_in(list(reasons)))
    turned_away = with_ids.filter(pl.col("symbol").is_in(list(reasons)))
    reason = pl.col("symbol").replace_strict(reasons, default=None, return_dtype=pl.String)
    refused = pl.concat([faulty, refusals(turned_away, reason)])
    changes = compare(BARS, stored.select(*BARS.columns), with_events(kept, listed))
    changed = pl.concat([changes.new, changes.corrected])
    changed = changed.with_columns(backfilled(changed["session"], calendar).alias(KNOWN_AT))
    spells = named.frame(calendar).filter(~pl.col("symbol").is_in(list(reasons)))
    additions = {"bars": changed, "spells": spells, **events(store, changed, calendar)}
    return Loaded(
        additions, refused, changes.new.height, changes.corrected.height, changes.same + rows.height - once.height
    )


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort by symbol, session, row; integers sort several times as fast as texts."""
    symbol = pl.col("symbol").cast(pl.Enum(frame["symbol"].unique().sort())).to_physical().cast(pl.Int64)
    code = symbol * 2**32 + pl.col("session").to_physical().cast(pl.Int64) + 2**31
    return frame[frame.select(pl.arg_sort_by(code, ROW)).to_series()]


def refusals(rows: pl.DataFrame, reason: pl.Expr) -> pl.DataFrame:
    """Return rows (symbol, session, row, offset) as refusals of `core_stock`."""
    what = pl.concat_str([pl.col("session").cast(pl.String), pl.col("symbol")], separator=" ")
    named = rows.select(pl.lit(TABLE).alias("table"), ROW, OFFSET, what.alias("what"), reason.alias("reason"))
    return named.cast(pl.Schema(REFUSALS))


def _judged(rows: pl.DataFrame, calendar: Calendar, newest: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    bars = rows.select(
        pl.col("symbol").alias("instrument_id"),
        "session",
        *_VALUES,
        pl.lit(0.0).alias("dividend_amount"),
        pl.lit(1.0).alias("split_coefficient"),
    )
    faults = faults_of(bars, calendar, newest=newest).unique("row", keep="first", maintain_order=True)
    numbered = rows.with_row_index("_n").with_columns(pl.col("_n").cast(pl.Int64))
    words = faults.select(pl.col("row").alias("_n"), pl.format("{} ({})", "rule", "observed").alias("reason"))
    joined = numbered.join(words, on="_n", how="left", maintain_order="left").drop("_n")
    faulty = joined.filter(pl.col("reason").is_not_null())
    return joined.filter(pl.col("reason").is_null()).drop("reason"), refusals(faulty, pl.col("reason"))


def _mixed(rows: pl.DataFrame, stored: pl.DataFrame) -> dict[str, str]:
    """Name the symbols on another adjustment basis than stored bars that would stay beside them."""
    if stored.is_empty():
        return {}
    incoming = rows.select("instrument_id", "session", "symbol", now="adjusted_close")
    kept = stored.join(incoming, on=["instrument_id", "session"], how="left")
    names = dict(incoming.select("instrument_id", "symbol").unique().iter_rows())
    mixed = kept.group_by("instrument_id").agg(
        stays=pl.col("now").is_null().sum(),
        other=((pl.col("now") / pl.col("adjusted_close") - 1.0).abs() > BASIS_TOLERANCE).sum(),
    )
    return {
        names[
            instrument_id
        ]: f"adjusted_close differs from the stored one in {other} sessions, and {stays} stored sessions "
        "are not in the dump, so that one series would mix two adjustments"
        for instrument_id, stays, other in mixed.iter_rows()
        if stays and other
    }


def with_events(rows: pl.DataFrame, listed: pl.DataFrame) -> pl.DataFrame:
    """Add dividend_amount and split_coefficient: derived from adjusted_close / close, a listed split at its exact factor.

    `rows`: sorted by symbol, session; see `features.all_data.derive_events`. Returns the columns of BARS.
    """
    dividends, splits = derive_events(
        rows["symbol"].rle_id().to_numpy(), rows["close"].to_numpy(), rows["adjusted_close"].to_numpy()
    )
    frame = rows.with_columns(
        pl.Series("dividend_amount", dividends, dtype=pl.Float64),
        pl.Series("split_coefficient", splits, dtype=pl.Float64),
    )
    factors = listed.select(
        "symbol", pl.col("effective_date").alias("session"), pl.col("split_factor").alias("_listed")
    )
    frame = frame.join(factors, on=["symbol", "session"], how="left", maintain_order="left")
    moved = pl.col("close").shift(1).over("symbol") / pl.col("close")
    total = pl.col("split_coefficient") * (1.0 + pl.col("dividend_amount") / pl.col("close"))
    near = (total / pl.col("_listed") - 1.0).abs() < _LISTED_NEAR
    unadjusted = (total == 1.0) & (moved / pl.col("_listed")).is_between(*_MOVED_BETWEEN)
    taken = (near | unadjusted).fill_null(value=False)
    spin_off = taken & (pl.col("split_coefficient") == 1.0)
    frame = frame.with_columns(
        pl.when(taken).then("_listed").otherwise("split_coefficient").alias("split_coefficient"),
        pl.when(spin_off).then(0.0).otherwise("dividend_amount").alias("dividend_amount"),
    )
    return frame.select(*BARS.columns)


def groups(counts: Sequence[tuple[str, int]], rows_max: int) -> list[list[str]]:
    """Put symbols with their row counts, in order, into groups of about `rows_max` rows."""
    found: list[list[str]] = []
    room = 0
    for symbol, count in counts:
        if not found or count > room:
            found.append([])
            room = rows_max
        found[-1].append(symbol)
        room -= count
    return found
