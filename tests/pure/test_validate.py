"""The validator finds each fault of bars by itself, and keeps unfit instruments out of use with the reason."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bar_fly_trading.data.validate import faults_of, usable, worded
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import BARS

CALENDAR = Calendar()
DAYS = CALENDAR.sessions(date(2021, 4, 12), date(2021, 4, 21))
GOOD: dict[str, Any] = {
    "open": 10.0,
    "high": 11.0,
    "low": 9.0,
    "close": 10.5,
    "adjusted_close": 10.5,
    "volume": 100,
    "dividend_amount": 0.0,
    "split_coefficient": 1.0,
}


def bars(*changes: dict[str, Any], name: str = "us:A") -> pl.DataFrame:
    """Return good bars of eight sessions, the last of them changed by each of the dicts."""
    rows = [{"instrument_id": name, "session": day, **GOOD} for day in DAYS]
    for change in changes:
        rows[-1] = {**rows[-1], **change}
    return pl.DataFrame(rows, schema=BARS.columns, orient="row")


def test_good_bars_have_no_fault() -> None:
    """Eight ordinary bars pass, and so does the dearest real share price."""
    assert faults_of(bars(), CALENDAR).is_empty()
    dear = dict.fromkeys(("open", "high", "low", "close", "adjusted_close"), 741_971.0)
    assert faults_of(bars(dear), CALENDAR).is_empty()
    assert faults_of(pl.DataFrame(schema=BARS.columns), CALENDAR).is_empty()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        *(
            ({name: value}, f"{name} {words}")
            for name in ("open", "close", "adjusted_close")
            for value, words in (
                (None, "is missing"),
                (float("nan"), "is missing"),
                (0.0, "is not between"),
                (-1.0, "is not between"),
                (999999.0, "is not between"),
                (float("inf"), "is not between"),
                (1e308, "is not between"),
            )
        ),
        ({"high": None}, "high is missing"),
        ({"low": float("nan")}, "low is missing"),
        ({"high": 8.0}, "high is below low"),
        ({"open": 12.0}, "open is outside the day's range"),
        ({"close": 8.9}, "close is outside the day's range"),
        ({"volume": None}, "volume is missing"),
        ({"volume": -1}, "volume is negative"),
        ({"dividend_amount": None}, "dividend_amount is missing"),
        ({"dividend_amount": -0.1}, "dividend_amount is negative"),
        ({"split_coefficient": float("nan")}, "split_coefficient is missing"),
        ({"split_coefficient": 0.0}, "split_coefficient is not above 0"),
        ({"session": None}, "date is missing"),
        ({"session": date(2021, 4, 24)}, "date is no session"),
        ({"session": date(2021, 4, 2)}, "date is no session"),
        ({"session": date(1970, 1, 1)}, "date is no session"),
        ({"session": date(2099, 1, 1)}, "date is no session"),
        ({"session": date(2021, 4, 23)}, "date is after the newest closed session"),
    ],
)
def test_each_fault_is_found_where_it_is(change: dict[str, Any], rule: str) -> None:
    """One bad value gives its rule, on its row, and nowhere else."""
    found = faults_of(bars(change), CALENDAR, newest=DAYS[-1])
    assert any(text.startswith(rule) for text in found["rule"])
    assert set(found["row"]) == {len(DAYS) - 1}


def test_all_faults_are_listed_at_once() -> None:
    """Several faults of several rows and instruments come together, in order of rows, each in one line of words."""
    table = pl.concat([bars({"close": None, "volume": -5}), bars({"session": DAYS[0]}, name="us:B")])
    found = faults_of(table, CALENDAR)
    assert found["row"].to_list() == [7, 7, 8, 15]
    assert found["rule"].to_list()[2:] == ["date occurs twice"] * 2
    assert worded(found)[1] == f"us:A {DAYS[-1]}: volume is negative (-5)"


def test_stale_faulty_short_and_late_instruments_are_left_out_with_the_reason() -> None:
    """Each unfit instrument is excluded for its own reason, the fit one stays, and nobody is in both lists."""
    table = pl.concat(
        [
            bars(name="us:GOOD"),
            bars({"high": 1.0}, name="us:BAD"),
            bars(name="us:STALE").head(6),
            bars(name="us:NEW").tail(1),
            bars(name="us:LATER").with_columns(pl.lit(date(2021, 4, 22)).alias("session")).head(1),
        ]
    )
    kept, excluded = usable(table, session=DAYS[-1], calendar=CALENDAR)
    assert kept["instrument_id"].unique().to_list() == ["us:GOOD"]
    assert kept.height == len(DAYS)
    reasons = dict(excluded)
    assert sorted(reasons) == ["us:BAD", "us:LATER", "us:NEW", "us:STALE"]
    assert reasons["us:BAD"].startswith("faulty: 2021-04-21 high is below low (low 9.0 high 1.0)")
    assert reasons["us:BAD"].endswith("and 0 more") is False
    assert reasons["us:STALE"] == "stale: newest bar 2021-04-19, 2 sessions before 2021-04-21"
    assert reasons["us:NEW"] == "history of 1 bars, 2 needed"
    assert reasons["us:LATER"] == "no bar up to 2021-04-21"


def test_bars_after_the_session_are_cut_off() -> None:
    """A view of an earlier session sees neither the later bars nor their faults."""
    kept, excluded = usable(bars({"close": None}), session=DAYS[-2], calendar=CALENDAR)
    assert excluded == ()
    assert kept["session"].max() == DAYS[-2]


def test_the_real_prices_have_no_fault_and_one_stale_name(shared_data: Path) -> None:
    """1.7 million recorded bars pass; the one name that ended early is excluded as stale on the last day."""
    table = pl.read_parquet(shared_data / "daily_adjusted_sp500.parquet").rename(
        {"symbol": "instrument_id", "date": "session"}
    )
    table = table.filter(pl.col("session") > date(2021, 4, 21) - timedelta(days=400))
    assert faults_of(table, CALENDAR, newest=date(2021, 4, 21)).is_empty()
    _, excluded = usable(table, session=date(2021, 4, 21), calendar=CALENDAR)
    assert [name for name, _ in excluded] == ["VAR"]
