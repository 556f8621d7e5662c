"""Columns that rest on dated facts, each case worked by hand and told in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, time
from typing import Any

import polars as pl
import pytest

from bar_fly_trading.facts.sessions import Calendar, evening_us, new_york_us
from bar_fly_trading.facts.tables import EARNINGS, MACRO, OPTIONS_SUMMARY, OVERVIEW
from bar_fly_trading.features.dated_facts import DatedFacts
from bar_fly_trading.features.table import build

SESSIONS = Calendar().sessions(date(2020, 1, 2), date(2021, 3, 31))


def bars(splits: Mapping[date, float] | None = None, close: float = 120.0) -> pl.DataFrame:
    """Return bars of one name that closes at 120 dollars, less by its splits."""
    rows = []
    for day in SESSIONS:
        split = (splits or {}).get(day, 1.0)
        close /= split
        row: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close"), close)
        row |= {"instrument_id": "us:A", "session": day, "adjusted_close": 30.0, "volume": 1_000}
        rows.append(row | {"dividend_amount": 0.0, "split_coefficient": split})
    return pl.DataFrame(rows)


def table_of(facts: DatedFacts, splits: Mapping[date, float] | None = None) -> dict[date, dict[str, Any]]:
    """Return the feature rows by session."""
    return {row["session"]: row for row in build(bars(splits), {"us:A": "A"}, facts).rows(named=True)}


def report(quarter: date, eps: float | None, known_us: int, recorded_us: int | None = None) -> dict[str, Any]:
    """Return a report of a quarter, with an estimate five cents below."""
    row = {"instrument_id": "us:A", "fiscal_date_ending": quarter, "reported_date": None, "report_time": "post-market"}
    amounts = {"reported_eps": eps, "estimated_eps": None if eps is None else eps - 0.05}
    surprise = {"surprise": 0.05, "surprise_percentage": 5.0}
    return row | amounts | surprise | {"known_at": known_us, "recorded_at": recorded_us or known_us}


def earnings(*rows: dict[str, Any]) -> DatedFacts:
    """Return facts of reports alone."""
    return replace(DatedFacts.none(), earnings=pl.DataFrame(list(rows), schema=EARNINGS.schema()))


def evening_of(year: int, month: int, day: int) -> int:
    """Return the cut of a day's evening."""
    return evening_us(date(year, month, day))


YEAR = (
    report(date(2019, 9, 30), 1.10, evening_of(2019, 10, 24)),
    report(date(2019, 12, 31), 1.20, evening_of(2020, 1, 30)),
    report(date(2020, 3, 31), 0.70, evening_of(2020, 4, 24)),
)


def test_an_announcement_after_the_close_of_a_friday() -> None:
    """A report at 16:05 on Friday 24 July is in Friday's row, whose evening is cut at 22:00, not in Thursday's; one that
    came on Saturday is in Monday's."""
    friday = report(date(2020, 6, 30), 1.00, new_york_us(date(2020, 7, 24), time(16, 5)))
    rows = table_of(earnings(*YEAR, friday))
    thursday = rows[date(2020, 7, 23)]
    assert (thursday["fiscal_date_ending"], thursday["reported_eps"], thursday["ttm_eps"]) == (
        date(2020, 3, 31),
        0.7,
        None,
    )
    row = rows[date(2020, 7, 24)]
    assert (row["fiscal_date_ending"], row["reported_eps"], row["estimated_eps"]) == (date(2020, 6, 30), 1.0, 0.95)
    assert (row["surprise"], row["surprise_percentage"]) == (0.05, 5.0)
    # 1.10 + 1.20 + 0.70 + 1.00 = 4.00 dollars a year, so 120 dollars are 30 times that: neither cheap nor dear.
    assert (row["ttm_eps"], row["pe_ratio"], row["pe_ratio_signal"]) == (4.0, 30.0, 0)
    saturday = report(date(2020, 6, 30), 1.00, new_york_us(date(2020, 7, 25), time(9, 0)))
    rows = table_of(earnings(*YEAR, saturday))
    assert rows[date(2020, 7, 24)]["ttm_eps"] is None
    assert rows[date(2020, 7, 27)]["ttm_eps"] == 4.0


def test_a_report_past_the_cut_is_the_next_days() -> None:
    """Known at 22:00 sharp a report is in the day's row, a microsecond later in the next one's."""
    cut = evening_of(2020, 7, 23)
    for known, first in ((cut, date(2020, 7, 23)), (cut + 1, date(2020, 7, 24))):
        rows = table_of(earnings(report(date(2020, 6, 30), 1.0, known)))
        assert min(day for day, row in rows.items() if row["reported_eps"] is not None) == first


def test_a_restated_quarter_changes_the_year_from_then_on() -> None:
    """When on 10 August the first quarter is restated from 0.70 to 0.20, the year falls from 4.00 to 3.50 that evening, and
    the newest report stays the second quarter's."""
    second = report(date(2020, 6, 30), 1.00, evening_of(2020, 7, 24))
    restated = report(date(2020, 3, 31), 0.20, new_york_us(date(2020, 8, 10), time(12, 0)))
    rows = table_of(earnings(*YEAR, second, restated))
    assert rows[date(2020, 8, 7)]["ttm_eps"] == 4.0
    row = rows[date(2020, 8, 10)]
    assert (row["ttm_eps"], row["reported_eps"], row["fiscal_date_ending"]) == (3.5, 1.0, date(2020, 6, 30))


def test_a_split_between_report_and_row() -> None:
    """After a 4:1 split on 31 August one old share's 1.00 is 0.25 a new share's, the year 1.00, and the P/E as before."""
    second = report(date(2020, 6, 30), 1.00, evening_of(2020, 7, 24))
    rows = table_of(earnings(*YEAR, second), {date(2020, 8, 31): 4.0})
    before, after = rows[date(2020, 8, 28)], rows[date(2020, 8, 31)]
    assert (before["close"], before["reported_eps"], before["ttm_eps"], before["pe_ratio"]) == (120.0, 1.0, 4.0, 30.0)
    assert (after["close"], after["reported_eps"], after["ttm_eps"], after["pe_ratio"]) == (30.0, 0.25, 1.0, 30.0)
    assert after["surprise_percentage"] == 5.0
    # The third quarter is reported in new shares: 0.30 + 0.25 + 0.175 + 0.30.
    third = report(date(2020, 9, 30), 0.30, evening_of(2020, 10, 23))
    rows = table_of(earnings(*YEAR, second, third), {date(2020, 8, 31): 4.0})
    assert rows[date(2020, 10, 23)]["ttm_eps"] == pytest.approx(1.025)
    assert rows[date(2020, 10, 23)]["reported_eps"] == 0.3


def test_a_year_with_a_hole_is_no_year() -> None:
    """Four known quarters with one missing between them are not four in a row: no year, no P/E, the report stays."""
    rows = table_of(earnings(report(date(2019, 6, 30), 1.0, evening_of(2019, 7, 24)), *YEAR))
    assert rows[date(2020, 4, 24)]["ttm_eps"] == 4.0
    rows = table_of(
        earnings(
            report(date(2019, 3, 31), 1.0, evening_of(2019, 4, 24)),
            *YEAR[:2],
            report(date(2020, 6, 30), 1.0, evening_of(2020, 7, 24)),
        )
    )
    row = rows[date(2020, 7, 24)]
    assert (row["reported_eps"], row["ttm_eps"], row["pe_ratio"], row["pe_ratio_signal"]) == (1.0, None, None, None)


def test_a_year_of_losses_has_a_negative_ratio_and_no_signal() -> None:
    """After a year of minus 4.00 a share the P/E is -30 and the signal 0; after a year of exactly nothing there is no P/E."""
    losses = [row | {"reported_eps": -row["reported_eps"]} for row in YEAR]
    rows = table_of(earnings(*losses, report(date(2020, 6, 30), -1.00, evening_of(2020, 7, 24))))
    assert (rows[date(2020, 7, 24)]["pe_ratio"], rows[date(2020, 7, 24)]["pe_ratio_signal"]) == (-30.0, 0)
    rows = table_of(earnings(*YEAR, report(date(2020, 6, 30), -3.00, evening_of(2020, 7, 24))))
    assert (rows[date(2020, 7, 24)]["ttm_eps"], rows[date(2020, 7, 24)]["pe_ratio"]) == (0.0, None)


def test_a_quarter_that_nobody_followed_up_ends() -> None:
    """The quarter that ended on 31 March stands until 17 October, 200 days later, and no longer."""
    rows = table_of(earnings(*YEAR))
    assert rows[date(2020, 10, 16)]["fiscal_date_ending"] == date(2020, 3, 31)
    assert rows[date(2020, 10, 19)]["fiscal_date_ending"] is None
    assert rows[date(2020, 10, 19)]["reported_eps"] is None


def test_quarters_known_at_their_import_alone_reach_no_past_row() -> None:
    """Reports of the older program's database, known from their import on 15 January 2021, are in no row before it."""
    late = [report(date(2020, month, 28), 1.0, evening_of(2021, 1, 15)) for month in (3, 6, 9, 12)]
    rows = table_of(earnings(*late))
    assert {day for day, row in rows.items() if row["ttm_eps"] is not None} == {
        d for d in SESSIONS if d >= date(2021, 1, 15)
    }


def macro(*rows: tuple[str, date, float, int]) -> DatedFacts:
    """Return facts of macro values alone: series, period, value, known at."""
    named = [(*row, row[3]) for row in rows]
    return replace(DatedFacts.none(), macro=pl.DataFrame(named, schema=MACRO.schema(), orient="row"))


def test_a_revision_of_the_cpi() -> None:
    """June's CPI is out at 8:30 on 14 July and revised on 20 July: May's stands before, the first number between, the
    revised one after; a later revision of May's changes nothing."""
    rows = table_of(
        macro(
            ("cpi", date(2020, 5, 1), 256.394, new_york_us(date(2020, 6, 10), time(8, 30))),
            ("cpi", date(2020, 6, 1), 257.797, new_york_us(date(2020, 7, 14), time(8, 30))),
            ("cpi", date(2020, 6, 1), 257.900, new_york_us(date(2020, 7, 20), time(8, 30))),
            ("cpi", date(2020, 5, 1), 999.000, new_york_us(date(2020, 7, 22), time(8, 30))),
        )
    )
    found = {day: rows[day]["cpi"] for day in SESSIONS if date(2020, 7, 13) <= day <= date(2020, 7, 23)}
    assert found[date(2020, 7, 13)] == 256.394
    assert {found[d] for d in found if date(2020, 7, 14) <= d < date(2020, 7, 20)} == {257.797}
    assert {found[d] for d in found if d >= date(2020, 7, 20)} == {257.900}
    # Nobody went on: June's number ends 150 days after the first of June.
    assert rows[date(2020, 10, 29)]["cpi"] == 257.900
    assert rows[date(2020, 10, 30)]["cpi"] is None
    assert {row["inflation"] for row in rows.values()} == {None}


def test_each_macro_column_has_its_own_series() -> None:
    """Every column carries its own series' value, `ffer` the federal funds rate, and a series of no column goes nowhere."""
    names: tuple[str, ...] = ("treasury_yield_2year", "treasury_yield_10year", "federal_funds_rate", "cpi", "inflation")
    names += ("retail_sales", "durables", "unemployment", "nonfarm_payroll", "treasury_yield_5year")
    known = evening_of(2020, 3, 2)
    row = table_of(macro(*((name, date(2020, 2, 28), float(k), known) for k, name in enumerate(names))))[
        date(2020, 3, 3)
    ]
    columns: tuple[str, ...] = ("treasury_yield_2year", "treasury_yield_10year", "ffer", "cpi", "inflation")
    columns += ("retail_sales", "durables", "unemployment", "nonfarm_payroll")
    assert [row[name] for name in columns] == [float(k) for k in range(9)]


def snapshot(known_us: int, **body: str) -> dict[str, Any]:
    """Return a snapshot of the overview."""
    return {"instrument_id": "us:A", "snapshot": json.dumps(body), "known_at": known_us, "recorded_at": known_us}


def test_two_overview_snapshots() -> None:
    """Of snapshots received on 3 March and 1 April, no row before 3 March has any, March's rows have the first, whose
    missing beta is null and not zero, and April's rows the second: today's overview is in no past row."""
    first = snapshot(
        new_york_us(date(2020, 3, 3), time(18, 0)), Sector="TECHNOLOGY", Beta="None", EPS="-", AnalystRatingBuy="7"
    )
    second = snapshot(
        new_york_us(date(2020, 4, 1), time(18, 0)), Sector="ENERGY", Beta="1.25", MarketCapitalization="5000"
    )
    overview = pl.DataFrame([second, first], schema=OVERVIEW.schema())
    rows = table_of(replace(DatedFacts.none(), overview=overview))
    names = ("sector", "beta", "eps", "analyst_rating_buy", "market_capitalization")
    assert [rows[date(2020, 3, 2)][n] for n in names] == [None] * 5
    assert [rows[date(2020, 3, 3)][n] for n in names] == ["TECHNOLOGY", None, None, 7, None]
    assert [rows[date(2020, 3, 31)][n] for n in names] == ["TECHNOLOGY", None, None, 7, None]
    assert [rows[date(2020, 4, 1)][n] for n in names] == ["ENERGY", 1.25, None, None, 5000.0]
    # A hundred days without another one.
    assert rows[date(2020, 7, 10)]["sector"] == "ENERGY"
    assert rows[date(2020, 7, 13)]["sector"] is None


def volumes(*rows: tuple[date, int | None, int | None, int]) -> DatedFacts:
    """Return facts of option volumes alone: session, calls, puts, known at."""
    named = [("us:A", d, c, p, None if c is None or p is None else c + p, at, at) for d, c, p, at in rows]
    return replace(
        DatedFacts.none(), options_summary=pl.DataFrame(named, schema=OPTIONS_SUMMARY.schema(), orient="row")
    )


def test_the_put_call_ratio_and_its_fortnight() -> None:
    """100 calls and 40 puts are a ratio of 0.4, bullish; the mean of 14 sessions needs all 14, and a session without a chain
    is null, not nothing traded."""
    days = SESSIONS[20:50]
    missing = days[20]
    rows = table_of(volumes(*((d, 100, 40, evening_us(d)) for d in days if d != missing)))
    row = rows[days[0]]
    assert (row["call_volume"], row["put_volume"], row["total_volume"], row["pcr"], row["pcr_signal"]) == (
        100,
        40,
        140,
        0.4,
        1,
    )
    assert rows[days[12]]["options_14_mean"] is None
    row = rows[days[13]]
    assert (row["options_14_mean"], row["options_14_std"], row["pcr_14_mean"]) == (140.0, 0.0, pytest.approx(0.4))
    assert [rows[missing][n] for n in ("call_volume", "total_volume", "pcr", "pcr_signal", "options_14_mean")] == [
        None
    ] * 5
    assert rows[days[29]]["options_14_mean"] is None


def test_no_calls_have_no_ratio() -> None:
    """A session without a call has volumes but no ratio."""
    day = SESSIONS[30]
    row = table_of(volumes((day, 0, 40, evening_us(day))))[day]
    assert (row["call_volume"], row["total_volume"], row["pcr"], row["pcr_signal"]) == (0, 40, None, None)


def test_a_volume_corrected_a_week_later() -> None:
    """A session corrected from 140 to 1,400 contracts five sessions later keeps its own row, and its fortnights see the
    correction from that evening on: (13 x 140 + 1,400) / 14 = 230."""
    days = SESSIONS[20:60]
    late = evening_us(days[25])
    rows = table_of(volumes(*((d, 100, 40, evening_us(d)) for d in days), (days[20], 1_000, 400, late)))
    assert rows[days[20]]["total_volume"] == 140
    assert rows[days[24]]["options_14_mean"] == 140.0
    assert rows[days[25]]["options_14_mean"] == 230.0
    assert rows[days[33]]["options_14_mean"] == 230.0
    assert rows[days[34]]["options_14_mean"] == 140.0
