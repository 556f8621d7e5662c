"""The feature table: one row an instrument and session, everything computed here from the stored bars."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from bar_fly_trading.errors import FixData
from bar_fly_trading.features.dated_facts import DatedFacts
from bar_fly_trading.features.evenings import evenings
from bar_fly_trading.features.fundamentals import EARNINGS_COLUMNS, OVERVIEW_SCHEMA, earnings_columns, overview_columns
from bar_fly_trading.features.labels import labels
from bar_fly_trading.features.macro import MACRO_COLUMNS, macro_columns
from bar_fly_trading.features.options import OPTION_COLUMNS, VOLUMES, option_columns
from bar_fly_trading.features.packing import Booleans, Floats, Layout, layout, shifted
from bar_fly_trading.features.price import indicators
from bar_fly_trading.features.screener import SIGNALS, bull_bear_delta, screener_signals

# Counts up when a column keeps its name and type but changes its meaning, so that old checkpoints are refused.
DEFINITIONS = 2

MEDIAN_SESSIONS = 20
_RAW = ("open", "high", "low", "close", "adjusted_close")
_CHAINED = ("chained_open", "chained_high", "chained_low", "chained_close")
_INDICATORS = (
    *("sma_20", "sma_50", "sma_200", "ema_20", "ema_50", "ema_200", "macd", "macd_9_ema"),
    *("rsi_14", "adx_14", "atr_14", "cci_14", "bbands_upper_20", "bbands_middle_20", "bbands_lower_20"),
    *("high_52_week", "low_52_week"),
)
_CHANGES = ("adjusted_close_pct", "volume_pct", "open_pct", "high_pct", "low_pct")
_DISTANCES = {
    "sma_20_pct": "sma_20",
    "sma_50_pct": "sma_50",
    "sma_200_pct": "sma_200",
    "52_week_high_pct": "high_52_week",
    "52_week_low_pct": "low_52_week",
}
FACT_SCHEMA: dict[str, pl.DataType] = {
    **{name: pl.Int64() if name in VOLUMES else pl.Float64() for name in OPTION_COLUMNS},
    **dict.fromkeys(MACRO_COLUMNS, pl.Float64()),
    **{name: pl.Date() if name == "fiscal_date_ending" else pl.Float64() for name in EARNINGS_COLUMNS},
    **OVERVIEW_SCHEMA,
}
LABELS = ("future_3_day_pct", "future_10_day_pct", "future_30_day_pct")

FEATURE_SCHEMA: dict[str, pl.DataType] = {
    "session": pl.Date(),
    "instrument_id": pl.String(),
    "symbol": pl.String(),
    **dict.fromkeys(_RAW, pl.Float64()),
    "volume": pl.Int64(),
    **dict.fromkeys(
        ("dividend_amount", "split_coefficient", *_CHAINED, *_INDICATORS, *_CHANGES, *_DISTANCES), pl.Float64()
    ),
    "dollar_volume_median_20d": pl.Float64(),
    **FACT_SCHEMA,
    **dict.fromkeys((*SIGNALS, "bull_bear_delta"), pl.Int8()),
    "day_of_week_num": pl.Int8(),
    "day_of_week_name": pl.String(),
    "month": pl.Int8(),
    "day_of_year": pl.Int16(),
    "year": pl.Int32(),
    **dict.fromkeys(LABELS, pl.Float64()),
}


def schema_hash() -> str:
    """Return the SHA-256 of the table's columns, types and definitions number: equal hash, equal meaning."""
    text = "\n".join([f"definitions {DEFINITIONS}", *(f"{name} {kind}" for name, kind in FEATURE_SCHEMA.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def build(
    bars: pl.DataFrame, symbols: Mapping[str, str] | pl.DataFrame, facts: DatedFacts | None = None
) -> pl.DataFrame:
    """Compute the feature table from bars in any row order, and from what else was known.

    `bars`: the columns of `facts.tables.BARS`, knowledge columns ignored. `symbols`: instrument id to symbol, or a frame of
    `instrument_id, symbol` or of dated spells (`start` too; a bar then carries the symbol of its day).
    Shape: one row a bar, sorted by instrument_id, session, columns FEATURE_SCHEMA. Units: prices in USD (raw) or on the
    chained scale (the instrument's first close as traded, then adjusted returns), `*_pct` changes fractions, distances and
    labels percent. Time: a row's features rest on that instrument's bars up to its session and are known when the newest of
    those bars is; labels rest on later ones. Of `facts` a row rests on what was known by the evening of its session (22:00 New
    York), of each key on its newest revision known by then: see the modules options, macro, fundamentals. A bar without five finite prices above zero keeps its row, has null
    price features, and is skipped by every series. Undefined is null, never NaN.
    Errors: FixData for two bars of one instrument and session, and for an instrument without a symbol.
    """
    frame = _sorted_bars(bars)
    counts = frame["instrument_id"].rle().struct.field("len").to_numpy().astype(np.int64)
    usable = frame.select(pl.all_horizontal(pl.col(c).is_finite() & (pl.col(c) > 0.0) for c in _RAW).fill_null(False))
    sound = usable.to_series().to_numpy()
    places = layout(counts, sound)
    columns = [_series(name, values) for name, values in _computed(frame, places)]
    columns.append(_dollar_volume_median(frame, places))
    frame = _with_symbols(frame, symbols).with_columns(columns)
    del columns
    frame = frame.with_columns(_from_facts(frame, facts, places, sound))
    frame = frame.with_columns(pl.lit(None, FACT_SCHEMA[n]).alias(n) for n in FACT_SCHEMA if n not in frame.columns)
    frame = frame.with_columns(screener_signals()).with_columns(bull_bear_delta(), *_calendar())
    return frame.select(FEATURE_SCHEMA.keys())


def _from_facts(frame: pl.DataFrame, facts: DatedFacts | None, places: Layout, usable: Booleans) -> list[pl.Series]:
    """Return those columns of FACT_SCHEMA of which anything is known."""
    if facts is None or frame.is_empty():
        return []
    rows = evenings(frame)
    columns: list[pl.Series] = []
    if facts.options_summary.height:
        columns += option_columns(facts.options_summary, rows, places)
    if facts.macro.height:
        columns += macro_columns(facts.macro, rows)
    if facts.earnings.height:
        columns += earnings_columns(facts.earnings, rows, frame["close"].to_numpy(), _shares(frame), usable)
    if facts.overview.height or facts.sectors.height:
        columns += overview_columns(facts.overview, facts.sectors, rows)
    return columns


def _shares(frame: pl.DataFrame) -> Floats:
    """Return how many shares one share of the instrument's first session has become by each row, by its bars' splits."""
    starts = (frame["instrument_id"] != frame["instrument_id"].shift(1)).fill_null(True).to_numpy()
    split = frame["split_coefficient"].fill_null(1.0).to_numpy()
    rows = np.flatnonzero(np.isfinite(split) & (split > 0.0) & (split != 1.0) & ~starts)
    ends = np.append(np.flatnonzero(starts), frame.height)
    shares = np.ones(frame.height)
    for row in rows:
        shares[row : ends[np.searchsorted(ends, row, side="right")]] *= split[row]
    return shares


def _sorted_bars(bars: pl.DataFrame) -> pl.DataFrame:
    wanted = ("instrument_id", "session", *_RAW, "volume", "dividend_amount", "split_coefficient")
    frame = bars.select(pl.col(name).cast(FEATURE_SCHEMA[name]) for name in wanted)
    same = pl.col("instrument_id") == pl.col("instrument_id").shift(1)
    later = (pl.col("instrument_id") > pl.col("instrument_id").shift(1)) | (
        same & (pl.col("session") > pl.col("session").shift(1))
    )
    # A view of the store is sorted already, and its columns can be shared instead of copied.
    if frame.select(later.fill_null(True).all()).item():
        return frame
    frame = frame.sort("instrument_id", "session")
    twice = frame.filter(same & (pl.col("session") == pl.col("session").shift(1)))
    if twice.height:
        row = twice.row(0, named=True)
        raise FixData(
            f"{twice.height} bars share instrument and session with another, first {row['instrument_id']} {row['session']}.",
            way_out="Read the bars through a view of the store, which keeps the newest of each.",
        )
    return frame


def _computed(frame: pl.DataFrame, places: Layout) -> Iterator[tuple[str, Floats]]:
    """Yield each computed long column, freeing its matrix before the next."""
    close = places.pack(frame["close"].to_numpy())
    chained = places.pack(frame["adjusted_close"].to_numpy())
    if chained.shape[0]:
        chained *= close[0] / chained[0]
    scale = chained / close
    del close
    opened, high, low = (places.pack(frame[name].to_numpy()) * scale for name in ("open", "high", "low"))
    del scale
    changes = ("open_pct", "high_pct", "low_pct", "adjusted_close_pct")
    for name, change, price in zip(_CHAINED, changes, (opened, high, low, chained), strict=True):
        yield name, places.unpack(price)
        yield change, places.unpack(price / shifted(price, 1) - 1.0)
    del opened
    yield "volume_pct", places.unpack(_volume_change(frame, places))
    distances = {of: name for name, of in _DISTANCES.items()}
    for name, values in indicators(high, low, chained):
        yield name, places.unpack(values)
        if name in distances:
            yield distances[name], places.unpack(np.round((chained / values - 1.0) * 100.0, 2))
    del high, low
    for name, values in labels(chained):
        yield name, places.unpack(values)


def _volume_change(frame: pl.DataFrame, places: Layout) -> Floats:
    """Change of the shares traded, in the shares of the day before: a 4:1 split alone is no +300 %; NaN after volume 0."""
    volume = places.pack(frame["volume"].cast(pl.Float64).fill_null(np.nan).to_numpy())
    split = places.pack(frame["split_coefficient"].fill_null(np.nan).to_numpy())
    split[~(split > 0.0)] = np.nan
    before = shifted(volume, 1)
    before[~(before > 0.0)] = np.nan
    return volume / split / before - 1.0


def _dollar_volume_median(frame: pl.DataFrame, places: Layout) -> pl.Series:
    """Median of close as traded times volume over the last 20 usable bars."""
    name = "dollar_volume_median_20d"
    placed = places.flat >= 0
    row = np.flatnonzero(placed)
    dollars = frame.select(pl.col("close") * pl.col("volume")).to_series().gather(row)
    medians = dollars.rolling_median(MEDIAN_SESSIONS).to_numpy(writable=True)
    medians[places.flat[row] // max(places.instruments, 1) < MEDIAN_SESSIONS - 1] = np.nan
    long = np.full(placed.size, np.nan)
    long[row] = medians
    return _series(name, long)


def _series(name: str, values: Floats) -> pl.Series:
    return pl.Series(name, values, dtype=pl.Float64).fill_nan(None)


def _with_symbols(frame: pl.DataFrame, symbols: Mapping[str, str] | pl.DataFrame) -> pl.DataFrame:
    if not isinstance(symbols, pl.DataFrame):
        ids = list(symbols)
        names = {"instrument_id": ids, "symbol": [symbols[i] for i in ids]}
        symbols = pl.DataFrame(names, schema={"instrument_id": pl.String, "symbol": pl.String})
    keys = ["instrument_id", "start"] if "start" in symbols.columns else ["instrument_id"]
    spells = symbols.select(*keys, "symbol").sort(keys)
    first = spells.unique("instrument_id", keep="first", maintain_order=True).select("instrument_id", first="symbol")
    frame = frame.join(first, on="instrument_id", how="left", maintain_order="left")
    nameless = frame.filter(pl.col("first").is_null())["instrument_id"].unique().sort()
    if nameless.len():
        raise FixData(
            f"{nameless.len()} instruments have no symbol, first {nameless[0]}.",
            way_out="Import or pull them again: a symbol is stored with the first bar.",
        )
    if spells.height == first.height:
        return frame.rename({"first": "symbol"})
    # Both sides are sorted by instrument and day, which the library cannot see when it groups.
    dated = frame.join_asof(
        spells, left_on="session", right_on="start", by="instrument_id", strategy="backward", check_sortedness=False
    )
    # Before its first spell an instrument carries its first symbol.
    return dated.with_columns(symbol=pl.coalesce("symbol", "first")).drop("first", "start", strict=False)


def _calendar() -> list[pl.Expr]:
    day = pl.col("session").dt
    return [
        (day.weekday() - 1).cast(pl.Int8).alias("day_of_week_num"),
        day.to_string("%A").alias("day_of_week_name"),
        day.month().cast(pl.Int8).alias("month"),
        day.ordinal_day().cast(pl.Int16).alias("day_of_year"),
        day.year().cast(pl.Int32).alias("year"),
    ]
