"""Whether each stored fact counts as known no earlier than it can have been: what deleting tomorrow cannot show.

A fact that is stored with too early a time is there in every view of the past, so the rebuilt table agrees with the full one.
Only its times give it away: against its own dates, and against when this store recorded it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time

import polars as pl

from bar_fly_trading.facts.sessions import DAY_US, MINUTE_US, Calendar, evening_us, new_york_datetime, new_york_us
from bar_fly_trading.facts.tables import KNOWN_AT, RECORDED_AT

# Received and stored within a day: a long pull or import keeps its first answer's time until it is done.
RECEIPT_US = DAY_US
# Of the quarters of a store: a company whose vendor rounds its quarter's end to the month's can report before that end.
_AT_QUARTER_END_SHARE, _BEFORE_QUARTER_END_SHARE = 0.05, 0.3
_LATEST_QUARTER_AHEAD_DAYS = 31


@dataclass(frozen=True, slots=True)
class MacroRule:
    """A series: months its period lasts (0: a day), and when a period counts as released (UTC microseconds)."""

    months: int
    release_us: Callable[[date], int]


@dataclass(frozen=True, slots=True)
class Known:
    """One rule over one table. `rows`: rows it was asked of; `wrong`: too early; `example`: the first, in words.

    With no rows it was not checked; `example` then says why, where that is not that the table is empty.
    """

    table: str
    rule: str
    rows: int
    wrong: int
    example: str = ""

    @property
    def state(self) -> str:
        """Return `leak`, `clean` or `not checked`."""
        return "not checked" if not self.rows else "leak" if self.wrong else "clean"


def check_knowledge(
    tables: Mapping[str, pl.DataFrame], calendar: Calendar, macro: Mapping[str, MacroRule]
) -> tuple[Known, ...]:
    """Check every table that flows into features: `bars`, `earnings`, `overview`, `macro`, `macro_imported`, `options_summary`.

    Each frame has every revision with `known_at` and `recorded_at`; a table that is absent has no rows.
    """
    empty = pl.DataFrame()
    return (
        _after_close("bars", tables.get("bars", empty), calendar),
        _after_close("options_summary", tables.get("options_summary", empty), calendar),
        *_earnings(tables.get("earnings", empty)),
        *_overview(tables.get("overview", empty)),
        *_macro(tables.get("macro", empty), macro),
        _at_receipt(
            "macro_imported",
            "known when it was imported: its release dates are lost",
            tables.get("macro_imported", empty),
        ),
        *_sectors(tables.get("sectors", empty)),
    )


def _example(row: Mapping[str, object], earliest: str) -> str:
    name = row.get("instrument_id") or row.get("series") or ""
    dated = next((f"{row[c]}" for c in ("session", "fiscal_date_ending", "date", "reference_date") if row.get(c)), "")
    return f"{name} {dated}, known {_when(row[KNOWN_AT])}, {earliest}".strip()


def _when(at_us: object) -> str:
    assert isinstance(at_us, int)
    return f"{new_york_datetime(at_us):%Y-%m-%d %H:%M}"


def _judged(
    table: str,
    rule: str,
    rows: pl.DataFrame,
    wrong: pl.DataFrame,
    earliest: Callable[[Mapping[str, object]], str],
    *,
    share: float = 0.0,
) -> Known:
    if not wrong.height or wrong.height <= share * rows.height:
        return Known(table, rule, rows.height, 0)
    first = wrong.row(0, named=True)
    return Known(table, rule, rows.height, wrong.height, _example(first, earliest(first)))


def _after_close(table: str, rows: pl.DataFrame, calendar: Calendar) -> Known:
    rule = "known after the close of its session"
    if rows.is_empty():
        return Known(table, rule, 0, 0)
    days = [day for day in rows["session"].unique() if calendar.first_day < day < calendar.last_day]
    closes = {day: calendar.session(day).close_us if calendar.is_session(day) else evening_us(day) for day in days}
    rows = rows.filter(pl.col("session").is_in(days))
    wrong = rows.filter(pl.col(KNOWN_AT) < pl.col("session").replace_strict(closes, return_dtype=pl.Int64))
    return _judged(table, rule, rows, wrong, lambda row: f"closed {_when(closes[row['session']])}")


def _at_receipt(table: str, rule: str, rows: pl.DataFrame) -> Known:
    if rows.is_empty():
        return Known(table, rule, 0, 0)
    wrong = rows.filter(pl.col(KNOWN_AT) < pl.col(RECORDED_AT) - RECEIPT_US)
    return _judged(table, rule, rows, wrong, lambda row: f"stored {_when(row[RECORDED_AT])}")


def _earnings(rows: pl.DataFrame) -> list[Known]:
    announced, at_end = "known after its announcement", "not known at the quarter's end"
    before, undated = "not known before the quarter's end", "without an announcement date: known when it was imported"
    if rows.is_empty():
        return [Known("earnings", rule, 0, 0) for rule in (announced, at_end, before, undated)]
    dated = rows.filter(pl.col("reported_date").is_not_null())
    late = pl.col("report_time").fill_null("").str.to_lowercase().str.contains("post|after")
    starts = _us("reported_date", time(0, 0), dated), _us("reported_date", time(16, 0), dated)
    begins = pl.when(late).then(starts[1]).otherwise(starts[0])
    fiscal = _us("fiscal_date_ending", time(0, 0), dated)
    known = pl.col(KNOWN_AT)
    return [
        _judged("earnings", announced, dated, dated.filter(known < begins), lambda row: f"announced {row['reported_date']}"),
        _judged(
            "earnings", at_end, dated,
            dated.filter(known.is_between(fiscal - DAY_US, fiscal + 2 * DAY_US)),
            lambda row: f"announced {row['reported_date']}", share=_AT_QUARTER_END_SHARE,
        ),
        _judged(
            "earnings", before, dated, dated.filter(known < fiscal - DAY_US),
            lambda row: f"announced {row['reported_date']}", share=_BEFORE_QUARTER_END_SHARE,
        ),
        _at_receipt("earnings", undated, rows.filter(pl.col("reported_date").is_null())),
    ]  # fmt: skip


def _overview(rows: pl.DataFrame) -> list[Known]:
    receipt, quarter = "known when it was received: it says today's values alone", "names no quarter that ends later"
    found = [_at_receipt("overview", receipt, rows)]
    if rows.is_empty():
        return [*found, Known("overview", quarter, 0, 0)]
    text = pl.col("snapshot").str.extract(r'"LatestQuarter":\s*"(\d{4}-\d{2}-\d{2})"')
    quarters = rows.with_columns(latest=text.str.to_date("%Y-%m-%d", strict=False)).drop_nulls("latest")
    ends = _us("latest", time(0, 0), quarters)
    wrong = quarters.filter(pl.col(KNOWN_AT) < ends - _LATEST_QUARTER_AHEAD_DAYS * DAY_US)
    return [*found, _judged("overview", quarter, quarters, wrong, lambda row: f"its quarter ends {row['latest']}")]


def _sectors(rows: pl.DataFrame) -> list[Known]:
    """Judge what was received; what was imported as history has no dates to be judged by."""
    rule = "known when it was received"
    if rows.is_empty():
        return []
    imported = rows.filter(pl.col(KNOWN_AT) < pl.col(RECORDED_AT) - RECEIPT_US)
    if not imported.height:
        return [Known("sectors", rule, rows.height, 0)]
    why = f"{imported.height} names have a sector of no date, counted as known since the calendar begins"
    return [Known("sectors", rule, 0, 0, why)]


def _macro(rows: pl.DataFrame, rules: Mapping[str, MacroRule]) -> list[Known]:
    ended, released = "known after the period it is of", "known by the release rule, or stored when received"
    if rows.is_empty():
        return [Known("macro", rule, 0, 0) for rule in (ended, released)]
    rows = rows.filter(pl.col("series").is_in(list(rules)))
    periods = rows.select("series", "date").unique().sort("series", "date")
    ends, releases = [], []
    for series, period in periods.iter_rows():
        rule = rules[series]
        ends.append(_period_end_us(period, rule.months))
        releases.append(rule.release_us(period))
    times = periods.with_columns(
        pl.Series("_end", ends, dtype=pl.Int64), pl.Series("_release", releases, dtype=pl.Int64)
    )
    timed = rows.join(times, on=["series", "date"], how="left", maintain_order="left")
    known = pl.col(KNOWN_AT)
    backdated = (known < pl.col("_release") - MINUTE_US) & (known < pl.col(RECORDED_AT) - RECEIPT_US)
    return [
        _judged("macro", ended, timed, timed.filter(known < pl.col("_end")), lambda row: f"over {_when(row['_end'])}"),
        _judged("macro", released, timed, timed.filter(backdated), lambda row: f"released {_when(row['_release'])}"),
    ]


def _period_end_us(period: date, months: int) -> int:
    if not months:
        return new_york_us(period, time(16, 0))
    index = period.year * 12 + period.month - 1 + months
    return new_york_us(date(index // 12, index % 12 + 1, 1), time(0, 0))


def _us(column: str, at: time, rows: pl.DataFrame) -> pl.Expr:
    """Return a date column at a New York time, UTC microseconds."""
    days = rows[column].drop_nulls().unique()
    times = pl.Series([new_york_us(day, at) for day in days], dtype=pl.Int64)
    return pl.col(column).replace_strict(days, times, default=None, return_dtype=pl.Int64)
