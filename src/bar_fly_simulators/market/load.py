"""Where a market comes from: `FILE` (Parquet or CSV), `demo`, or `synthetic:N:SEED`."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from bar_fly_simulators.market.bars import Bars, Market, Profile

_FLOATS = ("open", "high", "low", "close", "adjusted_close", "dividend_amount", "split_coefficient")
_DEMO_PROFILES = {
    "AAPL": Profile("Apple Inc", "Information Technology"),
    "FB": Profile("Facebook Inc", "Communication Services"),
    "GOOG": Profile("Google Inc", "Communication Services"),
    "IBM": Profile("International Business Machines Corporation", "Information Technology"),
    "MSFT": Profile("Microsoft Corporation", "Information Technology"),
}


def load_market(spec: str) -> Market:
    """Load the market that `--market` names; ValueError or OSError, with a message for the operator, where it cannot."""
    if spec == "demo":
        return _market(_demo_bars(), _DEMO_PROFILES)
    if spec.startswith("synthetic:"):
        from bar_fly_simulators.synthetic import synthetic_market

        names, _, seed = spec.removeprefix("synthetic:").partition(":")
        if not (names.isdecimal() and (seed or "0").isdecimal()):
            raise ValueError(f"--market {spec}: written synthetic:N:SEED, as synthetic:200:1")
        return synthetic_market(int(names), int(seed or 0))
    return _file_market(Path(spec))


def _file_market(path: Path) -> Market:
    if not path.is_file():
        raise FileNotFoundError(f"--market {path}: no such file (and neither demo nor synthetic:N:SEED)")
    try:
        table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema_length=10_000)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"--market {path}: cannot be read: {error}") from error
    missing = {"symbol", "date", *_FLOATS, "volume"} - set(table.columns)
    if missing:
        raise ValueError(f"--market {path}: columns missing: {', '.join(sorted(missing))}")
    profiles: dict[str, Profile] = {}
    if "sector" in table.columns:
        label = "name" if "name" in table.columns else "symbol"
        for symbol, name, sector in table.select("symbol", pl.col(label).alias("name"), "sector").unique().rows():
            profiles[_canonical(symbol)] = Profile(name, sector)
    try:
        return _market(table.select("symbol", "date", "volume", *_FLOATS), profiles)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise ValueError(f"--market {path}: {error}") from error


def _canonical(symbol: str) -> str:
    return symbol.strip().upper().replace("-", ".").replace(" ", ".")


def _market(table: pl.DataFrame, profiles: dict[str, Profile]) -> Market:
    """Cut a table in Alpha Vantage's columns into each symbol's bars; ValueError naming what is wrong with it."""
    if table.schema["date"] != pl.Date:
        table = table.with_columns(pl.col("date").cast(pl.String).str.slice(0, 10).str.to_date())
    spelled = pl.col("symbol").str.strip_chars().str.to_uppercase().str.replace_all("[- ]", ".")
    table = table.with_columns(
        spelled, pl.col("volume").cast(pl.Int64), *(pl.col(name).cast(pl.Float64) for name in _FLOATS)
    )
    _check(table)
    table = table.sort("symbol", "date")
    symbols = table["symbol"].rle_id().to_numpy()
    days = table["date"].to_physical().to_numpy().astype(np.int32)
    if ((np.diff(symbols) == 0) & (np.diff(days) == 0)).any():
        raise ValueError("two bars of one symbol and date")
    volume = table["volume"].to_numpy()
    floats = np.vstack([table[name].to_numpy() for name in _FLOATS])
    starts = [0, *(np.flatnonzero(np.diff(symbols)) + 1).tolist(), len(table)]
    bars = {
        str(table["symbol"][start]): Bars(days[start:stop], floats[:, start:stop], volume[start:stop])
        for start, stop in pairwise(starts)
    }
    return Market(bars, profiles)


def _check(table: pl.DataFrame) -> None:
    """Raise ValueError for an empty table, an empty or non-finite value, or a price or split that is not above 0."""
    if table.is_empty():
        raise ValueError("no bar in it")
    for name in table.columns:
        if table[name].null_count() or (name in _FLOATS and not table[name].is_finite().all()):
            raise ValueError(f"empty or non-finite values in {name}")
    for name in ("open", "high", "low", "close", "adjusted_close", "split_coefficient"):
        if table[name].min() <= 0:  # type: ignore[operator]
            raise ValueError(f"a value of {name} that is not above 0")


def _demo_bars() -> pl.DataFrame:
    """Read the demo's bars (AAPL, FB, GOOG, IBM, MSFT to 2013-03-01) and derive their splits and dividends.

    The package is found, not imported: importing it pulls in a plotting library.
    """
    spec = importlib.util.find_spec("bokeh_sampledata")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = [path for folder in folders for path in sorted(Path(folder).rglob("stocks.csv.gz"))]
    if not files:
        raise FileNotFoundError("--market demo: the sample prices are not here; pip install --no-deps bokeh_sampledata")
    names = ("Ticker", "Date", "Open", "High", "Low", "Close", "Volume", "Adj Close")
    columns = ("symbol", "date", "open", "high", "low", "close", "volume", "adjusted_close")
    raw = pl.read_csv(files[0], infer_schema_length=None, schema_overrides={"Volume": pl.Int64})
    table = raw.select(pl.col(old).alias(new) for old, new in zip(names, columns, strict=True)).sort("symbol", "date")
    # The source adjusts as Alpha Vantage does: adjusted return = split x (close + dividend) / previous close. So what an
    # event multiplies the price return by is its split, or 1 + dividend / close; beyond 1.3 it can only be a split.
    adjusted_return = pl.col("adjusted_close") / pl.col("adjusted_close").shift(1).over("symbol")
    price_return = pl.col("close") / pl.col("close").shift(1).over("symbol")
    table = table.with_columns((adjusted_return / price_return).fill_null(1.0).alias("event"))
    split = (pl.col("event") > 1.3) | (pl.col("event") < 0.77)
    dividend = ((pl.col("event") - 1) * pl.col("close")).round(4)
    return table.with_columns(
        pl.when(split).then(pl.col("event").round(4)).otherwise(1.0).alias("split_coefficient"),
        pl.when(split | (dividend <= 0)).then(0.0).otherwise(dividend).alias("dividend_amount"),
    ).drop("event")
