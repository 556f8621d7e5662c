"""The option chains of a dump: after all else, in bounded pieces, beside what was pulled, and read back by quarter."""

from __future__ import annotations

import itertools
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from tests.edge.test_mysqldump_import import CALENDAR, NOW_US, ROWS, bars_rows, contents, dump, option, taken, write

from bar_fly_trading.data.importers.mysqldump import chains, loader, reading
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import StoreDamaged
from bar_fly_trading.facts.tables import KNOWN_AT, OPTION_CHAINS

DAYS = CALENDAR.sessions(date(2020, 11, 2), date(2021, 4, 21))


def many_options() -> list[str]:
    """Return option rows of three names over three quarters in the primary key's order."""
    return [
        option(f"S{name}210423C{strike:08d}", str(day), f"S{name}", volume=str(strike))
        for name, strike, day in itertools.product(range(3), range(1, 9), DAYS)
    ]


def test_chains_are_stored_by_quarter_in_bounded_segments(tmp_path: Path) -> None:
    """Every row is stored once, a version a quarter, each segment inside its quarter and of not too many rows."""
    rows = {"core_stock": bars_rows(3, 130), "historical_options": many_options()}
    before = loader.GROUP_ROWS_MAX
    loader.GROUP_ROWS_MAX = 300
    try:
        report, store = taken(write(tmp_path / "dump.sql", dump(rows)), tmp_path)
    finally:
        loader.GROUP_ROWS_MAX = before
    assert report.refused == {} and report.rows["historical_options"] == len(rows["historical_options"])
    read = store.read("option_chains")
    assert read.height == len(rows["historical_options"])
    segments = store.manifest().tables["option_chains"]
    assert max(segment.rows for segment in segments) <= 300 and len(segments) > 6
    for segment in segments:
        first, last = chains.quarter_of(date.fromisoformat(segment.first_session or ""))
        assert first <= date.fromisoformat(segment.last_session or "") <= last
    summary = store.read("options_summary")
    assert summary.height == 3 * len(DAYS) and set(summary["total_volume"]) == {sum(range(1, 9))}
    whole, other = taken(tmp_path / "dump.sql", tmp_path / "other")
    assert whole.rows == report.rows
    for name, frame in contents(other).items():
        assert frame.equals(contents(store)[name]), name


def test_a_stretch_of_one_name_opens_no_other_quarter(tmp_path: Path) -> None:
    """A reading of some days and names equals the filtered whole, and does not notice that the other quarters' files are damaged."""
    rows = {"core_stock": bars_rows(3, 130), "historical_options": many_options()}
    _, store = taken(write(tmp_path / "dump.sql", dump(rows)), tmp_path)
    first, last = date(2021, 1, 15), date(2021, 3, 1)
    inside = pl.col("session").is_between(first, last) & (pl.col("instrument_id") == "us:S1")
    wanted = store.read("option_chains").filter(inside)
    others = [s for s in store.manifest().tables["option_chains"] if not (s.first_session or "").startswith("2021-01")]
    assert {s.first_session for s in others} == {"2020-11-02", "2021-04-01"}
    for segment in others:
        (store.root / segment.file).write_bytes(b"damaged")
    again = Store(store.root).read("option_chains", since=first, until=last, instruments={"us:S1"})
    assert wanted.height > 200 and again.equals(wanted)
    with pytest.raises(StoreDamaged):
        Store(store.root).read("option_chains", since=date(2020, 12, 1), until=last)


def test_without_options_they_may_follow_later(tmp_path: Path) -> None:
    """With options left out all else is stored and their bytes are told; the next import brings them, and ends as one in full."""
    path = write(tmp_path / "dump.sql", dump())
    _, whole = taken(path, tmp_path / "whole")
    report, store = taken(path, tmp_path / "parts", options=False)
    text = ",".join(ROWS["historical_options"])
    assert report.options_left_bytes == len(text) + 1 and "historical_options" not in report.rows
    assert store.read("option_chains").is_empty() and store.read("bars").height == 4
    later, _ = taken(path, tmp_path / "parts")
    assert later.rows["historical_options"] == 3 and later.options_left_bytes == 0
    for name, frame in contents(store).items():
        assert frame.equals(contents(whole)[name]), name


def test_the_same_chains_again_add_nothing_and_pulled_ones_stay(tmp_path: Path) -> None:
    """A contract and session that a pull stored keeps its row, open interest and all; a second import adds no row."""
    pulled = {
        **dict.fromkeys(OPTION_CHAINS.columns),
        "instrument_id": "us:AAPL",
        "contract_id": "AAPL210423C00100000",
        "session": date(2021, 4, 20),
        "expiration": date(2021, 4, 23),
        "strike": 100.0,
        "right": "call",
        "open_interest": 77,
        KNOWN_AT: NOW_US,
    }
    frame = pl.DataFrame([pulled], schema={**OPTION_CHAINS.columns, KNOWN_AT: pl.Int64()})
    Store(tmp_path / "store").publish({"option_chains": frame}, source="pull", recorded_at_us=NOW_US)
    path = write(tmp_path / "dump.sql", dump())
    first, store = taken(path, tmp_path)
    chain = store.read("option_chains")
    assert chain.height == 3
    kept = chain.filter((pl.col("contract_id") == "AAPL210423C00100000") & (pl.col("session") == date(2021, 4, 20)))
    assert kept["open_interest"].to_list() == [77] and kept["volume"].to_list() == [None]
    again, _ = taken(path, tmp_path, now_us=NOW_US + 1)
    assert again.version == first.version and store.read("option_chains").equals(chain)


def test_progress_says_rows_megabytes_pace_and_what_remains() -> None:
    """After 10 s and 500 MB of 2,000 MB: 50 MB/s and half a minute left, with the rows so far."""
    told: list[tuple[str, int, int]] = []
    clock = iter([0.0, 10.0])
    pace = reading.Pace(lambda *words: told.append(words), lambda: next(clock))
    pace.tell("core_stock", 1_000, 0, 2_000_000_000)
    pace.tell("core_stock", 4_000_000, 500_000_000, 2_000_000_000)
    assert told[0][0] == "reading core_stock: 1,000 rows, 0 of 2,000 MB"
    assert told[1] == (
        "reading core_stock: 4,000,000 rows, 500 of 2,000 MB, 50 MB/s, 0:30 left",
        500_000_000,
        2_000_000_000,
    )


@pytest.mark.parametrize(
    ("day", "first", "last"),
    [
        (date(2021, 1, 1), date(2021, 1, 1), date(2021, 3, 31)),
        (date(2020, 6, 30), date(2020, 4, 1), date(2020, 6, 30)),
        (date(2021, 12, 31), date(2021, 10, 1), date(2021, 12, 31)),
    ],
)
def test_quarters_have_their_days(day: date, first: date, last: date) -> None:
    """A day's quarter begins and ends where the calendar's does."""
    assert chains.quarter_of(day) == (first, last)


def test_spans_hold_every_row_once_and_few_at_a_time() -> None:
    """Symbols are put together up to the limit, one that is above it is split by days, and each row is in exactly one span."""
    days = CALENDAR.sessions(date(2021, 1, 4), date(2021, 3, 31))
    quarter = chains.quarter_of(days[0])
    counts = [(f"S{n}", day, 40 if n == 4 else 1) for n in range(9) for day in days]
    spans = chains.spans(counts, quarter, 150)
    for symbol, day, _ in counts:
        holds = [s for s in spans if s.first_symbol <= symbol <= s.last_symbol and s.first <= day <= s.last]
        assert len(holds) == 1, (symbol, day)
    for span in spans:
        rows = sum(
            count
            for symbol, day, count in counts
            if span.first_symbol <= symbol <= span.last_symbol and span.first <= day <= span.last
        )
        assert 0 < rows <= 150
