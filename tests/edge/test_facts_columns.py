"""From recorded vendor bodies and the store to the columns that rest on them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bar_fly_trading.data import parse
from bar_fly_trading.data.options_chains import session_volumes
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_facts
from bar_fly_trading.facts.sessions import Calendar, evening_us
from bar_fly_trading.facts.tables import (
    EARNINGS,
    KNOWN_AT,
    MACRO,
    MACRO_IMPORTED,
    OPTIONS_SUMMARY,
    OVERVIEW,
    SPLITS,
    Table,
)
from bar_fly_trading.features.dated_facts import DatedFacts
from bar_fly_trading.features.table import build

FIXTURES = Path(__file__).parents[2].parent / "shared/data/alpha_vantage_fixtures"
needs_fixtures = pytest.mark.skipif(not FIXTURES.exists(), reason="the recorded bodies are not beside this checkout")
CALENDAR = Calendar()


def at(*day: int) -> int:
    """Return the evening of a day."""
    return evening_us(date(*day))


def rows(table: Table, *values: tuple[Any, ...]) -> pl.DataFrame:
    """Return rows of a table as `publish` takes them, `known_at` last."""
    return pl.DataFrame(list(values), schema={**table.columns, KNOWN_AT: pl.Int64()}, orient="row")


def bars(first: date, last: date) -> pl.DataFrame:
    """Return bars of IBM at 120 dollars."""
    days = CALENDAR.sessions(first, last)
    return pl.DataFrame({"instrument_id": ["us:IBM"] * len(days), "session": days}).with_columns(
        *(pl.lit(120.0).alias(name) for name in ("open", "high", "low", "close", "adjusted_close")),
        volume=pl.lit(1_000),
        dividend_amount=pl.lit(0.0),
        split_coefficient=pl.lit(1.0),
    )


def table_of(facts: DatedFacts, first: date, last: date) -> dict[date, dict[str, Any]]:
    """Return IBM's feature rows by session."""
    return {row["session"]: row for row in build(bars(first, last), {"us:IBM": "IBM"}, facts).rows(named=True)}


def body(name: str) -> parse.Body:
    """Return a recorded body."""
    return parse.json_body((FIXTURES / name).read_bytes())


@needs_fixtures
def test_recorded_bodies_become_columns(tmp_path: Path) -> None:
    """IBM's recorded reports and two recorded overviews, stored as a pull stores them, stand in the rows of their time."""
    reports = parse.earnings(body("earnings.json"), "IBM").with_columns(instrument_id=pl.lit("us:IBM"))
    known = pl.Series(KNOWN_AT, [evening_us(day) for day in reports["reported_date"]])
    older, newer = (
        parse.overview(body(name), "IBM") for name in ("company_overview_2020.json", "companyoverview.json")
    )
    store = Store(tmp_path)
    overviews = rows(OVERVIEW, ("us:IBM", older, at(2020, 9, 1)), ("us:IBM", newer, at(2020, 11, 2)))
    additions = {"earnings": reports.with_columns(known), "overview": overviews}
    store.publish(additions, source="test", recorded_at_us=at(2020, 11, 2))
    found = table_of(load_facts(store), date(2020, 4, 1), date(2020, 11, 30))
    assert found[date(2020, 4, 17)]["reported_eps"] is None
    row = found[date(2020, 10, 19)]
    names = ("fiscal_date_ending", "reported_eps", "estimated_eps", "surprise", "surprise_percentage")
    assert [row[name] for name in names] == [date(2020, 9, 30), 2.58, 2.579, 0.001, 0.0388]
    # Three recorded quarters are no year.
    assert (row["ttm_eps"], row["pe_ratio"]) == (None, None)
    assert found[date(2020, 10, 16)]["fiscal_date_ending"] == date(2020, 6, 30)
    assert found[date(2020, 8, 31)]["exchange"] is None
    wanted = {
        "exchange": "NYSE",
        "country": "USA",
        "sector": "Technology",
        "industry": "Information Technology Services",
        "market_capitalization": 114234572800.0,
        "book_value": 23.076,
        "dividend_yield": 0.0529,
        "eps": 8.811,
        "price_to_book_ratio": 5.4017,
        "beta": 1.2071,
        "shares_outstanding": 890579008.0,
        "forward_pe": 11.2867,
        "analyst_rating_buy": None,
    }
    assert {name: found[date(2020, 10, 30)][name] for name in wanted} == wanted
    assert (found[date(2020, 11, 2)]["sector"], found[date(2020, 11, 2)]["beta"]) == ("TECHNOLOGY", 1.102)


@needs_fixtures
def test_a_recorded_chain_becomes_volumes() -> None:
    """The recorded chain's contracts sum to what its rows say, by right, known when the chain was."""
    traded = json.loads((FIXTURES / "historical_options_IBM_rows.json").read_text())["data"]
    chain = pl.DataFrame(traded).select(
        pl.col("date").str.to_date().alias("session"),
        right="type",
        volume=pl.col("volume").cast(pl.Int64),
        known_at=pl.lit(7, pl.Int64),
    )
    by_right = {right: sum(int(row["volume"]) for row in traded if row["type"] == right) for right in ("call", "put")}
    assert by_right["call"] > 0 < by_right["put"]
    expected = (date(2026, 9, 24), by_right["call"], by_right["put"], sum(by_right.values()), 7)
    assert session_volumes(chain).rows() == [expected]


def test_a_chain_that_says_no_volume_has_none() -> None:
    """Volumes that no contract says are null, not nothing traded; a side without a contract is 0; no chain is no row."""
    chain = pl.DataFrame(
        {"session": [date(2021, 1, 4)] * 2, "right": ["call", "put"], "volume": [None, None], "known_at": [7, 7]},
        schema_overrides={"volume": pl.Int64},
    )
    assert session_volumes(chain).rows() == [(date(2021, 1, 4), None, None, None, 7)]
    calls = chain.with_columns(volume=pl.lit(5, pl.Int64), right=pl.lit("call"))
    assert session_volumes(calls).rows() == [(date(2021, 1, 4), 10, 0, 10, 7)]
    assert session_volumes(chain.clear()).is_empty()


def test_history_is_every_revision(tmp_path: Path) -> None:
    """`history` gives each row ever recorded in the order of recording, cut at what was known, of any version; `read` the newest."""
    store = Store(tmp_path)
    assert store.history("macro").schema == pl.Schema(MACRO.schema())
    first = store.publish({"macro": rows(MACRO, ("cpi", date(2020, 1, 1), 1.0, 30))}, source="a", recorded_at_us=100)
    store.publish({"macro": rows(MACRO, ("cpi", date(2020, 1, 1), 2.0, 10))}, source="b", recorded_at_us=200)
    store.publish({"macro": rows(MACRO, ("cpi", date(2020, 1, 1), 3.0, 40))}, source="c", recorded_at_us=300)
    assert store.history("macro")["value"].to_list() == [1.0, 2.0, 3.0]
    assert store.history("macro", known_by_us=30)["value"].to_list() == [1.0, 2.0]
    assert store.history("macro", version=first)["value"].to_list() == [1.0]
    assert store.read("macro")["value"].to_list() == [3.0]


def test_eps_come_in_shares_of_their_announcement(tmp_path: Path) -> None:
    """EPS that the vendor gave after a 4:1 split and a 1:2 one are those announced before them; a split before the
    announcement, another name's, and one after the receipt change nothing."""
    store = Store(tmp_path)
    splits = rows(
        SPLITS,
        ("us:IBM", date(2020, 1, 15), 7.0, 1),
        ("us:IBM", date(2020, 8, 31), 4.0, 1),
        ("us:IBM", date(2020, 10, 1), 0.5, 1),
        ("us:IBM", date(2022, 1, 3), 10.0, 1),
        ("us:XYZ", date(2020, 9, 1), 3.0, 1),
    )
    reports = rows(
        EARNINGS,
        ("us:IBM", date(2019, 12, 31), date(2020, 1, 30), None, 0.65, 0.51, 0.14, 27.45, at(2020, 1, 30)),
        ("us:IBM", date(2020, 6, 30), date(2020, 9, 3), None, 0.65, None, 0.14, 27.45, at(2020, 9, 3)),
        ("us:IBM", date(2020, 9, 30), date(2020, 10, 29), None, 0.73, 0.7, 0.03, 4.0, at(2020, 10, 29)),
    )
    store.publish({"splits": splits, "earnings": reports}, source="test", recorded_at_us=at(2021, 6, 1))
    found = load_facts(store).earnings.sort("fiscal_date_ending")
    assert found["reported_eps"].to_list() == [1.3, 0.325, 0.73]
    assert found["estimated_eps"].to_list() == [1.02, None, 0.7]
    assert found["surprise"].to_list() == [0.28, 0.07, 0.03]
    assert found["surprise_percentage"].to_list() == [27.45, 27.45, 4.0]
    # The same at an earlier view: what was announced does not depend on when one looks.
    assert load_facts(store, at(2020, 2, 3)).earnings["reported_eps"].to_list() == [1.3]
    assert load_facts(Store(tmp_path / "none")).earnings.is_empty()


def test_imported_macro_rows_are_known_at_their_import(tmp_path: Path) -> None:
    """Macro rows of the older database reach no row before their import, fill what was never pulled, and give way to a value
    pulled by then."""
    store = Store(tmp_path)
    value = (date(2021, 1, 1), 0.1, None, 0.07, 261.0, None, None, None, 6.3, None)
    store.publish({"macro_imported": rows(MACRO_IMPORTED, (*value, at(2021, 3, 1)))}, source="a", recorded_at_us=5)
    pulled = rows(MACRO, ("cpi", date(2021, 1, 1), 261.582, at(2021, 2, 16)))
    store.publish({"macro": pulled}, source="b", recorded_at_us=6)
    found = table_of(load_facts(store), date(2021, 2, 1), date(2021, 3, 31))
    names = ("cpi", "unemployment", "treasury_yield_10year")
    assert [found[date(2021, 2, 12)][name] for name in names] == [None, None, None]
    assert [found[date(2021, 2, 26)][name] for name in names] == [261.582, None, None]
    assert [found[date(2021, 3, 1)][name] for name in names] == [261.582, 6.3, None]
    # Of the daily rates of 1 January nothing is left in March.
    assert found[date(2021, 3, 1)]["ffer"] is None
    assert load_facts(store, at(2021, 2, 26)).macro["value"].to_list() == [261.582]


def test_volumes_of_the_store_reach_the_table(tmp_path: Path) -> None:
    """Option volumes stored for a session are in its row through `load_facts`."""
    store = Store(tmp_path)
    day = date(2021, 2, 3)
    volumes = rows(OPTIONS_SUMMARY, ("us:IBM", day, 100, 80, 180, at(2021, 2, 3)))
    store.publish({"options_summary": volumes}, source="test", recorded_at_us=5)
    found = table_of(load_facts(store, at(2021, 3, 1)), date(2021, 2, 1), date(2021, 2, 26))
    assert (found[day]["total_volume"], found[day]["pcr"], found[day]["pcr_signal"]) == (180, 0.8, -1)
    assert found[date(2021, 2, 4)]["total_volume"] is None
