"""Alpha Vantage's CSV bodies: rows by the header's names, and a notice in disguise told from no rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from bar_fly_trading.data.parse import BodyFault, columns_of, day, number, text_or_none
from bar_fly_trading.facts.tables import EARNINGS_CALENDAR, LISTINGS

CsvRows = list[dict[str, str]]
CALENDAR_COLUMNS = ("symbol", "name", "reportDate", "fiscalDateEnding", "estimate", "currency")
LISTING_COLUMNS = ("symbol", "name", "exchange", "assetType", "ipoDate", "delistingDate", "status")
_NOTICES = ("Information", "Note", "Error Message")


class NoticeInDisguise(BodyFault):
    """A notice cut into single characters, one a column, under a true header."""


def csv_body(content: bytes, columns: Sequence[str]) -> CsvRows:
    """Read CSV with a header: a row is a dict by column; the header alone is no rows.

    `columns` are those that must lead the header, in order. NoticeInDisguise where the only row spells the beginning of
    a notice; BodyFault for text that is no such CSV, a column missing, or a row longer or shorter than the header.
    """
    try:
        text = content.decode("utf-8")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (ValueError, csv.Error):
        raise BodyFault("not CSV") from None
    lines = [line for line in lines if line]
    # Nothing else marks the end: a last line without its end is a body cut off.
    if not text.endswith("\n"):
        raise BodyFault("the last line has no end")
    if not lines or tuple(lines[0][: len(columns)]) != tuple(columns):
        raise BodyFault(f"the header is not {','.join(columns)}")
    header, rows = lines[0], lines[1:]
    if len(set(header)) < len(header):
        raise BodyFault("a column is named twice")
    if len(rows) == 1 and _is_notice(rows[0]):
        raise NoticeInDisguise("a notice, one character a column")
    short = [i for i, row in enumerate(rows, 1) if len(row) != len(header)]
    if short:
        raise BodyFault(f"row {short[0]} has {len(rows[short[0] - 1])} columns of {len(header)}")
    return [dict(zip(header, row, strict=True)) for row in rows]


def _is_notice(row: Sequence[str]) -> bool:
    """Tell whether a row is a text's characters in turn; a text shorter than the columns leaves the last ones empty."""
    filled = [cell for cell in row if cell]
    return len(filled) > 3 and all(len(cell) == 1 for cell in filled) and _begins("".join(filled))


def _begins(text: str) -> bool:
    return any(notice.startswith(text) or text.startswith(notice) for notice in _NOTICES) or text.lstrip()[:1] == "{"


def _symbol(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError("no symbol")
    return text.strip()


def _day_or_none(text: object) -> Any:
    return None if text_or_none(text) is None else day(text)


def earnings_calendar(rows: Sequence[Mapping[str, str]]) -> pl.DataFrame:
    """Read EARNINGS_CALENDAR: the columns of the table without instrument, and `symbol` in the vendor's spelling.

    `report_time` is null where there is no seventh column, or it is empty. Two rows of one quarter: the first stays.
    """
    read = columns_of(
        [{"timeOfTheDay": "", **row} for row in rows],
        {
            "symbol": ("symbol", _symbol),
            "fiscal_date_ending": ("fiscalDateEnding", day),
            "report_date": ("reportDate", day),
            "report_time": ("timeOfTheDay", text_or_none),
            "estimated_eps": ("estimate", number),
            "currency": ("currency", text_or_none),
        },
    )
    kinds = {name: EARNINGS_CALENDAR.columns.get(name, pl.String()) for name in read}
    frame = pl.DataFrame(read, schema=kinds)
    return frame.unique(["symbol", "fiscal_date_ending"], keep="first").sort("symbol", "fiscal_date_ending")


def listings(rows: Sequence[Mapping[str, str]]) -> pl.DataFrame:
    """Read LISTING_STATUS: the columns of the table, by listing_id; the first of rows alike in symbol and IPO date stays.

    A row without a symbol is left out: the vendor lists some that have lost theirs.
    """
    read = columns_of(
        [row for row in rows if text_or_none(row["symbol"]) is not None],
        {
            "symbol": ("symbol", _symbol),
            "name": ("name", text_or_none),
            "exchange": ("exchange", text_or_none),
            "asset_type": ("assetType", text_or_none),
            "ipo_date": ("ipoDate", _day_or_none),
            "delisting_date": ("delistingDate", _day_or_none),
            "status": ("status", text_or_none),
        },
    )
    frame = pl.DataFrame(read, schema={name: LISTINGS.columns[name] for name in read})
    ipo = pl.col("ipo_date").dt.to_string("%Y-%m-%d").fill_null("unknown")
    frame = frame.with_columns((pl.col("symbol") + "@" + ipo).alias("listing_id"))
    return frame.select(list(LISTINGS.columns)).unique("listing_id", keep="first").sort("listing_id")
