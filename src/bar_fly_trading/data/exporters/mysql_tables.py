"""The store's tables in the older program's layout, a chunk at a time; each chunk is written in one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.facts.instruments import vendor_symbol
from bar_fly_trading.facts.overview_fields import OVERVIEW_COUNTS, OVERVIEW_TEXTS, VENDOR_NAMES
from bar_fly_trading.features.macro import MACRO_COLUMNS

_DAY, _NUMBER, _WHOLE, _TEXT, _SYMBOL = "DATETIME", "DOUBLE", "BIGINT", "TEXT", "VARCHAR(5)"
INDICATOR_NAMES = (
    *("sma_20", "sma_50", "sma_200", "ema_20", "ema_50", "ema_200", "macd", "rsi_14", "adx_14", "atr_14", "cci_14"),
    *("bbands_upper_20", "bbands_middle_20", "bbands_lower_20"),
)
_GREEKS = ("implied_volatility", "delta", "gamma", "theta", "vega", "rho")
# The older program's name of a series, and the vendor's by which it is stored here.
_SERIES = {name: column.series for name, column in MACRO_COLUMNS.items()}


@dataclass(frozen=True, slots=True)
class OldLayout:
    """One table as the older program made it: columns with SQL types in order, its key, columns only filled where empty."""

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    filled: tuple[str, ...] = ()


LAYOUTS: dict[str, OldLayout] = {
    layout.name: layout
    for layout in (
        OldLayout(
            "company_overview",
            {
                **dict.fromkeys(VENDOR_NAMES, _NUMBER),
                **dict.fromkeys(OVERVIEW_TEXTS, _TEXT),
                **dict.fromkeys(OVERVIEW_COUNTS, _WHOLE),
                "symbol": _SYMBOL,
            },
            ("symbol",),
        ),
        OldLayout("economic_indicators", {"date": _DAY, **dict.fromkeys(_SERIES, _NUMBER)}, ("date",)),
        OldLayout(
            "quarterly_earnings",
            {
                "fiscal_date_ending": _DAY,
                **dict.fromkeys(("reported_eps", "estimated_eps", "ttm_eps"), _NUMBER),
                "latest_trading_day": _DAY,
                **dict.fromkeys(("surprise", "surprise_percentage"), _NUMBER),
                "symbol": _SYMBOL,
            },
            ("fiscal_date_ending", "symbol"),
            filled=("ttm_eps",),
        ),
        OldLayout(
            "stock_splits",
            {"symbol": _SYMBOL, "effective_date": "DATE", "split_factor": _NUMBER},
            ("symbol", "effective_date"),
        ),
        OldLayout(
            "core_stock",
            {
                "date": _DAY,
                **dict.fromkeys(("open", "high", "low", "close", "adjusted_close"), _NUMBER),
                "volume": _WHOLE,
                "symbol": _SYMBOL,
            },
            ("date", "symbol"),
        ),
        OldLayout(
            "technical_indicators",
            {"date": _DAY, **dict.fromkeys(INDICATOR_NAMES, _NUMBER), "symbol": _SYMBOL},
            ("date", "symbol"),
        ),
        OldLayout(
            "options_daily_summary",
            {
                "symbol": _SYMBOL,
                "date": _DAY,
                **dict.fromkeys(("call_volume", "put_volume", "total_volume"), _WHOLE),
            },
            ("symbol", "date"),
        ),
        OldLayout(
            "historical_options",
            {
                "contract_id": "VARCHAR(30)",
                "date": _DAY,
                "symbol": _SYMBOL,
                "type": "ENUM('call','put')",
                "expiration": _DAY,
                **dict.fromkeys(("strike", "last", "mark", "bid", "ask"), _NUMBER),
                "volume": _WHOLE,
                **dict.fromkeys(_GREEKS, _NUMBER),
            },
            ("contract_id", "date", "symbol"),
        ),
    )
}


def chunks(store: Store, indicators: pl.DataFrame | None) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield table name and rows in its layout's columns (those that are known here), small tables first, options by month.

    `indicators`: rows of the `all_data` layout (date, symbol and INDICATOR_NAMES), None: that table is left alone. Symbols
    are spelled as the vendor does (BRK-B), each row by the symbol its instrument had that day.
    """
    named = _Named(store)
    yield "company_overview", _overview(named, store)
    yield "economic_indicators", _economy(store)
    yield "quarterly_earnings", _earnings(named, store)
    splits = store.read("splits").filter(pl.col("split_factor") != 1.0)
    yield "stock_splits", named.rows(splits, "effective_date", "stock_splits")
    bars = store.read("bars").rename({"session": "date"})
    for year in sorted(bars["date"].dt.year().unique()):
        yield "core_stock", named.rows(bars.filter(pl.col("date").dt.year() == year), "date", "core_stock")
    del bars
    if indicators is not None:
        symbols = {text: vendor_symbol(text) for text in indicators["symbol"].unique()}
        ours = indicators.select("date", *INDICATOR_NAMES, pl.col("symbol").replace(symbols))
        # A row without any indicator (the first days of a symbol) says nothing.
        ours = ours.filter(~pl.all_horizontal(pl.col(name).is_null() for name in INDICATOR_NAMES))
        for year in sorted(ours["date"].dt.year().unique()):
            yield "technical_indicators", ours.filter(pl.col("date").dt.year() == year)
    summary = store.read("options_summary").rename({"session": "date"})
    yield "options_daily_summary", named.rows(summary, "date", "options_daily_summary")
    for since, until in _months(store):
        chain = store.read("option_chains", since=since, until=until)
        if chain.height:
            rows = chain.rename({"session": "date", "right": "type"})
            yield "historical_options", named.rows(rows, "date", "historical_options")


class _Named:
    """The vendor's spelling of the symbol an instrument had on a day; one without any symbol by its id's."""

    def __init__(self, store: Store) -> None:
        self._instruments = load_instruments(store)

    def rows(self, frame: pl.DataFrame, day: str | None, table: str) -> pl.DataFrame:
        """Add `symbol` to rows with an instrument_id and return them in the table's columns."""
        keys = ["instrument_id"] if day is None else ["instrument_id", day]
        ids = frame.select("instrument_id").unique()["instrument_id"].to_list()
        known = {spell.instrument_id for spell in self._instruments.spells()}
        spells = [
            (spell.instrument_id, spell.start, vendor_symbol(spell.symbol)) for spell in self._instruments.spells()
        ]
        # Before its first spell an instrument goes by its first symbol.
        firsts = {spell[0]: spell for spell in reversed(spells)}
        first_day = date(1900, 1, 1)
        spells += [(i, first_day, symbol) for i, start, symbol in firsts.values() if start > first_day]
        spells += [
            (i, first_day, vendor_symbol(i.removeprefix("us:").partition("#")[0])) for i in ids if i not in known
        ]
        table_of = pl.DataFrame(
            spells, schema={"instrument_id": pl.String, "_on": pl.Date, "symbol": pl.String}, orient="row"
        ).sort("_on")
        on = pl.lit(date(9999, 1, 1)).alias("_on") if day is None else pl.col(day).alias("_on")
        dated = frame.select(keys).unique().with_columns(on).sort("_on")
        symbols = dated.join_asof(table_of, on="_on", by="instrument_id", strategy="backward", check_sortedness=False)
        named = frame.join(symbols.select(*keys, "symbol"), on=keys, how="left", maintain_order="left")
        return named.select(name for name in LAYOUTS[table].columns if name in named.columns)


def _overview(named: _Named, store: Store) -> pl.DataFrame:
    overview = store.read("overview")
    bodies = [json.loads(text) for text in overview["snapshot"]]
    columns = [
        pl.Series(name, [_text(body.get(word)) for body in bodies], dtype=pl.String)
        for name, word in VENDOR_NAMES.items()
    ]
    frame = overview.select("instrument_id").with_columns(columns)
    numbers = [pl.col(name).cast(pl.Float64, strict=False) for name in VENDOR_NAMES if name not in OVERVIEW_TEXTS]
    frame = frame.with_columns(numbers).with_columns(
        pl.col(name).cast(pl.Int64, strict=False) for name in OVERVIEW_COUNTS
    )
    return named.rows(frame, None, "company_overview")


def _text(value: object) -> str | None:
    return None if value in (None, "None", "-", "") else str(value)


def _economy(store: Store) -> pl.DataFrame:
    """Return macro rows by reference date: what was pulled, else what was imported."""
    imported = store.read("macro_imported").select(pl.col("reference_date").alias("date"), *_SERIES)
    names = {vendor: name for name, vendor in _SERIES.items()}
    pulled = store.read("macro").filter(pl.col("series").is_in(list(names)))
    wide = pulled.with_columns(pl.col("series").replace(names)).select("date", "series", "value")
    frames = [imported.rename({name: f"{name}_old" for name in _SERIES})]
    days = pl.concat([imported.select("date"), wide.select("date")]).unique().sort("date")
    found = days.join(frames[0], on="date", how="left", maintain_order="left")
    for name in _SERIES:
        one = wide.filter(pl.col("series") == name).select("date", pl.col("value").alias(name))
        found = found.join(one, on="date", how="left", maintain_order="left")
    return found.select("date", *(pl.coalesce(name, f"{name}_old").alias(name) for name in _SERIES))


def _earnings(named: _Named, store: Store) -> pl.DataFrame:
    """Return quarters with the sum of the last four where none of them is missing."""
    quarters = store.read("earnings").sort("instrument_id", "fiscal_date_ending")
    spanned = pl.col("fiscal_date_ending") - pl.col("fiscal_date_ending").shift(3).over("instrument_id")
    four = pl.sum_horizontal(
        (pl.col("reported_eps").shift(n).over("instrument_id") for n in range(4)), ignore_nulls=False
    )
    whole = spanned.is_between(timedelta(days=240), timedelta(days=310))
    return named.rows(
        quarters.with_columns(pl.when(whole).then(four).alias("ttm_eps")), "fiscal_date_ending", "quarterly_earnings"
    )


def _months(store: Store) -> Iterator[tuple[date, date]]:
    current = store.current()
    segments: Sequence[object] = () if current is None else store.manifest(current).tables.get("option_chains", ())
    first = min((str(s.first_session) for s in segments if s.first_session), default="")  # type: ignore[attr-defined]
    last = max((str(s.last_session) for s in segments if s.last_session), default="")  # type: ignore[attr-defined]
    if not first:
        return
    month, newest = date.fromisoformat(first).replace(day=1), date.fromisoformat(last)
    while month <= newest:
        following = (month + timedelta(days=32)).replace(day=1)
        yield month, following - timedelta(days=1)
        month = following
