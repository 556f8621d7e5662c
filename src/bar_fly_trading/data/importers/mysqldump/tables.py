"""The old program's tables: which columns are read, as what type, and which rows cannot be typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from bar_fly_trading.data.importers.mysqldump import blocks
from bar_fly_trading.data.importers.mysqldump.reader import Block
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.instruments import canonical_symbol

_F, _I, _S, _D = pl.Float64(), pl.Int64(), pl.String(), pl.Date()
ROW, OFFSET = "row", "offset"
REFUSALS: dict[str, pl.DataType] = {"table": _S, ROW: _I, OFFSET: _I, "what": _S, "reason": _S}
_OVERVIEW_NUMBERS = (
    *("market_capitalization", "book_value", "dividend_yield", "eps", "price_to_book_ratio", "beta"),
    *("52_week_high", "shares_outstanding", "52_week_low"),
    *(f"analyst_rating_{word}" for word in ("strong_buy", "buy", "hold", "sell", "strong_sell")),
    "forward_pe",
)
MACRO = (
    *("treasury_yield_2year", "treasury_yield_10year", "ffer", "cpi", "inflation"),
    *("retail_sales", "durables", "unemployment", "nonfarm_payroll"),
)


@dataclass(frozen=True, slots=True)
class OldTable:
    """One table of the old schema: the columns that are read and their types; without those of `required` it is another's."""

    name: str
    columns: dict[str, pl.DataType]
    required: tuple[str, ...]


_PRICES = dict.fromkeys(("open", "high", "low", "close", "adjusted_close"), _F)
OLD_TABLES: dict[str, OldTable] = {
    table.name: table
    for table in (
        OldTable(
            "core_stock",
            {"date": _D, **_PRICES, "volume": _I, "symbol": _S},
            ("date", *_PRICES, "volume", "symbol"),
        ),
        OldTable(
            "company_overview",
            {
                **dict.fromkeys(("exchange", "country", "sector", "industry"), _S),
                **dict.fromkeys(_OVERVIEW_NUMBERS, _F),
                "symbol": _S,
            },
            ("symbol",),
        ),
        OldTable(
            "quarterly_earnings",
            {
                "fiscal_date_ending": _D,
                **dict.fromkeys(("reported_eps", "estimated_eps", "surprise", "surprise_percentage"), _F),
                "symbol": _S,
            },
            ("fiscal_date_ending", "symbol", "reported_eps"),
        ),
        OldTable("economic_indicators", {"date": _D, **dict.fromkeys(MACRO, _F)}, ("date",)),
        OldTable(
            "stock_splits",
            {"symbol": _S, "effective_date": _D, "split_factor": _F},
            ("symbol", "effective_date", "split_factor"),
        ),
        OldTable(
            "options_daily_summary",
            {"symbol": _S, "date": _D, "call_volume": _I, "put_volume": _I, "total_volume": _I},
            ("symbol", "date"),
        ),
        OldTable(
            "historical_options",
            {
                "contract_id": _S,
                "date": _D,
                "symbol": _S,
                "type": _S,
                "expiration": _D,
                **dict.fromkeys(("strike", "last", "mark", "bid", "ask"), _F),
                **dict.fromkeys(("bid_size", "ask_size", "volume", "open_interest"), _I),
                **dict.fromkeys(("implied_volatility", "delta", "gamma", "theta", "vega", "rho"), _F),
            },
            ("contract_id", "date", "symbol", "type", "expiration", "strike"),
        ),
    )
}
# By far the largest, 270 million rows: read in a pass of its own, after all else is in the store.
OPTIONS = "historical_options"
SMALL_TABLES = frozenset(OLD_TABLES) - {OPTIONS}
KEYS = {
    "core_stock": ("date", "symbol"),
    "company_overview": ("symbol",),
    "quarterly_earnings": ("fiscal_date_ending", "symbol"),
    "economic_indicators": ("date",),
    "stock_splits": ("symbol", "effective_date"),
    "options_daily_summary": ("symbol", "date"),
    "historical_options": ("contract_id", "date"),
}
LEFT_OUT = {
    "technical_indicators": "indicators are computed here from the bars",
}


def check_columns(table: OldTable, columns: tuple[str, ...]) -> None:
    """Raise FixInput where a table of the old program's name has not its columns."""
    missing = [name for name in table.required if name not in columns]
    if missing:
        raise FixInput(
            f"table {table.name} of the dump lacks the columns {', '.join(missing)}: it is another program's.",
            way_out="Give a dump of the database bar_fly_trading, or name its database with --database.",
        )


def typed(run: Sequence[Block], table: OldTable, first_row: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return rows typed (the table's columns, `row` from `first_row` on, `offset` in the dump), and the refusals.

    `run`: blocks of one table with the same columns and character set. A number that is none, a date like 0000-00-00 or
    with a time of day, a symbol that is none, a key that is NULL: the row is refused with the first reason. A column
    that the dump has not is null.
    """
    columns = run[0].columns
    kinds = {name: kind for name, kind in table.columns.items() if name in columns}
    found = blocks.values([block.rows for block in run], columns, run[0].charset, kinds)
    opens = pl.concat(
        pl.Series(place + block.offset, dtype=pl.Int64) for place, block in zip(found.places, run, strict=True)
    )
    whole = found.frame.height == opens.len()
    frame = found.frame.with_columns(
        (pl.col("_at").cast(pl.Int64) + first_row).alias(ROW),
        (opens if whole else opens.gather(found.frame["_at"])).alias(OFFSET),
    )
    reason, values = _values(frame, table, kinds)
    frame = frame.with_columns(reason.alias("reason"))
    clean = frame["reason"].null_count() == frame.height
    keys = pl.concat_str([pl.col(k).cast(pl.String).fill_null("NULL") for k in KEYS[table.name]], separator=" ")
    bad = frame.clear() if clean else frame.filter(pl.col("reason").is_not_null())
    refused = bad.select(pl.lit(table.name).alias("table"), ROW, OFFSET, keys.alias("what"), "reason")
    unread = [(table.name, n + first_row, int(opens[n]), "", why) for n, why in found.bad]
    refused = pl.concat([refused, pl.DataFrame(unread, schema=REFUSALS, orient="row")]).sort(ROW)
    good = (frame if clean else frame.filter(pl.col("reason").is_null())).select(*values, ROW, OFFSET)
    return good, refused


def _values(frame: pl.DataFrame, table: OldTable, kinds: dict[str, pl.DataType]) -> tuple[pl.Expr, list[pl.Expr]]:
    reasons: list[pl.Expr] = []
    values: list[pl.Expr] = []
    for name, kind in table.columns.items():
        column = pl.col(name)
        if name not in kinds:
            values.append(pl.lit(None, kind).alias(name))
            continue
        value = column
        if name == "symbol":
            symbols = {text: _symbol(text) for text in frame[name].unique()}
            value = column.replace_strict(symbols, return_dtype=pl.String) if symbols else column
        elif frame.schema[name] != kind:
            value = _date(column, frame[name]) if kind == _D else _number(column, kind)
        value = value.alias(name)
        values.append(value)
        if name in KEYS[table.name] or name == "symbol":
            reasons.append(pl.when(column.is_null()).then(pl.lit(f"{name} is NULL")))
        if name == "symbol" or frame.schema[name] != kind:
            unread = column.is_not_null() & value.is_null()
            reasons.append(pl.when(unread).then(pl.format(f"{name} is {{}}", column.cast(pl.String).str.slice(0, 40))))
        if kind == _F:
            reasons.append(pl.when(value.is_infinite() | value.is_nan()).then(pl.lit(f"{name} is no finite number")))
    return pl.coalesce(*reasons, pl.lit(None, pl.String)), values


def _symbol(text: str | None) -> str | None:
    try:
        return canonical_symbol(text or "")
    except ValueError:
        return None


def _date(column: pl.Expr, texts: pl.Series) -> pl.Expr:
    if texts.dtype != pl.String():
        return column.cast(pl.Date)
    # A dump repeats few days many times.
    distinct = texts.unique().drop_nulls()
    day = distinct.str.strip_suffix(".000000").str.strip_suffix(" 00:00:00").str.to_date("%Y-%m-%d", strict=False)
    return column.replace_strict(distinct, day, return_dtype=pl.Date) if distinct.len() else pl.lit(None, pl.Date)


def _number(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    number = column.str.strip_chars().cast(pl.Float64, strict=False)
    if kind == _I:
        return pl.when(number.round() == number).then(number).cast(pl.Int64, strict=False)
    return number
