"""`bft import membership`: every faulty row reported, nothing taken of a faulty file, and known when it was known."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from bar_fly_trading.data.importers.bars import import_bars
from bar_fly_trading.data.importers.membership import import_membership
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.universe import load_membership, presence, universe_at
from bar_fly_trading.errors import FixData, FixInput
from bar_fly_trading.facts.sessions import Calendar, evening_us, new_york_date
from bar_fly_trading.facts.tables import KNOWN_AT, MEMBERSHIP
from bar_fly_trading.facts.universe import UniverseRule

CALENDAR = Calendar()
NOW_US = evening_us(date(2021, 4, 21))
DATA = Path(__file__).parents[2].parent / "shared/data"
HEADER = "symbol,start_date,end_date\n"
Write = Callable[[str], Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store(tmp_path / "store")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a membership file."""

    def file(text: str) -> Path:
        path = tmp_path / "members.csv"
        path.write_bytes(text.encode())
        return path

    return file


def test_every_faulty_row_is_reported_and_nothing_taken(store: Store, write: Write) -> None:
    """Overlaps, ends before starts, dates and symbols that are none, short rows: each is named by its line; the store stays."""
    rows = "A,2000-06-05,\nA,2010-01-04,2011-01-03\nB,2012-01-03,2011-01-03\nC,2012-01-03,2012-01-03\nD,05/06/2000,\n"
    rows += "no symbol!,2000-01-03,\nE,,2001-01-03\nF,2000-01-03\nG,2001-01-03,\nH,1066-10-14,\n"
    with pytest.raises(FixInput) as raised:
        import_membership(write(HEADER + rows), store, CALENDAR, index="sp500", recorded_at_us=NOW_US)
    words = str(raised.value)
    lines = [line.split("members.csv: ")[1] for line in words.splitlines() if "members.csv: " in line]
    assert sorted(lines) == sorted(
        [
            "line 3: A from 2010-01-04 overlaps its spell of line 2, which has not ended",
            "line 4: B is out from 2011-01-03, which is not after its start 2012-01-03",
            "line 5: C is out from 2012-01-03, which is not after its start 2012-01-03",
            "line 6: start_date is '05/06/2000', no date such as 2020-09-21",
            "line 7: not a US stock symbol: 'no symbol!'",
            "line 8: E has no start_date",
            "line 9: 2 columns of 3",
            f"line 11: start_date 1066-10-14 is outside the exchange calendar ({_first_day()} to {CALENDAR.last_day})",
        ]
    )
    assert "Nothing was imported." in words
    assert store.current() is None


def _first_day() -> date:
    return CALENDAR.next(CALENDAR.first_day, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("symbol,start_date\nA,2000-01-03\n", "column end_date is missing"),
        ("symbol,start_date,end_date,weight\nA,2000-01-03,,1\n", "column 'weight' is not known"),
        ("symbol,start_date,end_date,symbol\n", "column symbol is given twice"),
        (HEADER, "has no rows"),
        ("", "column symbol is missing"),
        ('symbol,start_date,end_date\n"A,2000-01-03,\n', "cannot be read"),
    ],
)
def test_a_file_of_another_shape_is_refused(store: Store, write: Write, text: str, said: str) -> None:
    """Missing, unknown and repeated columns, and a file without rows, are refused in words."""
    with pytest.raises(FixInput, match=said):
        import_membership(write(text), store, CALENDAR, index="sp500", recorded_at_us=NOW_US)


def test_an_index_nobody_knows_is_refused(store: Store, write: Write) -> None:
    """Only an index that the settings can name is taken."""
    with pytest.raises(FixInput, match="No index is called 'ftse'"):
        import_membership(write(HEADER + "A,2000-01-03,\n"), store, CALENDAR, index="ftse", recorded_at_us=NOW_US)


def test_the_end_is_the_first_day_out_and_known_only_then(store: Store, write: Write) -> None:
    """A spell is known from the session before its start, its end from its last session: no view knows a departure early."""
    path = write("\ufeff" + HEADER.replace("\n", "\r\n") + "brk-b,2020-09-21,2021-03-22\r\n")
    import_membership(path, store, CALENDAR, index="sp500", recorded_at_us=NOW_US)

    def view(on: date) -> tuple[bool, tuple[date | None, ...]]:
        membership = load_membership(store, "sp500", evening_us(on))
        return "BRK.B" in membership.members(on), tuple(s.end for s in membership.spells())

    assert view(date(2020, 9, 17)) == (False, ())
    assert view(date(2020, 9, 18)) == (False, (None,))  # a Friday: the change of Monday is announced
    assert view(date(2020, 9, 21)) == (True, (None,))
    assert view(date(2021, 3, 18)) == (True, (None,))
    assert view(date(2021, 3, 19)) == (True, (date(2021, 3, 21),))
    assert view(date(2021, 3, 22)) == (False, (date(2021, 3, 21),))


def test_importing_again_adds_nothing_and_corrections_are_known_when_made(store: Store, write: Write) -> None:
    """The same file adds no version; a later file's first end is dated by its day, a changed end and a lost row by the import."""
    path = write(HEADER + "A,2000-01-03,\nB,2001-01-03,2005-01-03\nC,2002-01-03,\n")
    first = import_membership(path, store, CALENDAR, index="sp500", recorded_at_us=NOW_US)
    assert (first.new, first.changed, first.withdrawn, first.members) == (3, 0, 0, 2)
    again = import_membership(path, store, CALENDAR, index="sp500", recorded_at_us=NOW_US + 1)
    assert (again.new, again.version) == (0, first.version)
    later_us = NOW_US + 7
    changed = write(HEADER + "A,2000-01-03,2021-04-12\nB,2001-01-03,2006-01-03\n")
    report = import_membership(changed, store, CALENDAR, index="sp500", recorded_at_us=later_us)
    assert (report.new, report.changed, report.withdrawn) == (0, 2, 1)
    known = dict(store.read(MEMBERSHIP.name).select("symbol", KNOWN_AT).iter_rows())
    assert (known["B"], known["C"]) == (later_us, later_us)
    assert new_york_date(known["A"]) == date(2021, 4, 9)
    assert load_membership(store, "sp500").members(date(2005, 6, 1)).keys() == {"A", "B"}
    assert load_membership(store, "sp500", later_us - 1).members(date(2005, 6, 1)).keys() == {"A", "C"}


def test_an_index_without_membership_is_refused_with_the_way_out(store: Store) -> None:
    """A universe of an index of which nothing is stored stops the run and names the import; it is never everybody."""
    with pytest.raises(FixData, match="no membership of it is stored") as raised:
        universe_at(store, UniverseRule("sp500"), date(2021, 4, 20))
    assert "bft import membership" in raised.value.way_out


@pytest.mark.skipif(not (DATA / "reference").is_dir(), reason="shared data is not beside this checkout")
def test_real_survivor_bias_is_counted_as_the_data_says(store: Store, tmp_path: Path) -> None:
    """Of the real members 307 of 499 have prices for 2010, 359 of 499 for 2015, 478 of 505 for 2020, and it is said."""
    path = DATA / "reference/sp500_membership_spells.csv"
    report = import_membership(path, store, CALENDAR, index="sp500", recorded_at_us=NOW_US)
    assert (report.spells, report.symbols) == (1230, 1181)
    days = {date(2010, 1, 4): (307, 499), date(2015, 1, 2): (359, 499), date(2020, 1, 2): (478, 505)}
    # One bar a symbol on each of the days is enough to count, and reads in a second.
    bars = pl.scan_parquet(DATA / "daily_adjusted_sp500.parquet")
    newest = bars.group_by("symbol").last().select(bars.collect_schema().names())
    newest.collect().write_parquet(tmp_path / "bars.parquet")
    import_bars([tmp_path / "bars.parquet"], store, CALENDAR, recorded_at_us=NOW_US)
    for day, (ever, members) in days.items():
        universe, _, _ = universe_at(store, UniverseRule("sp500"), day)
        counted = presence(store, universe)
        assert (counted.ever, counted.members, len(counted.missing)) == (ever, members, members - ever)
        assert f"of the true members {ever} of {members} have prices here" in counted.words(universe)
        assert "survivor bias" in counted.words(universe)


def test_the_commands_say_what_they_did(tmp_path: Path, write: Write) -> None:
    """`bft import membership` and `bft universe` print counts, rule, since when, and who has no prices, in words."""
    path = write(HEADER + "A,2000-01-03,\nB,2001-01-03,2005-01-03\n")
    env = {**os.environ, "BFT_HOME": str(tmp_path / "home"), "POLARS_MAX_THREADS": "1"}

    def bft(*args: str) -> str:
        command = [str(Path(sys.executable).with_name("bft")), *args]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = bft("import", "membership", str(path))
    assert "2 spells of 2 symbols from 2000-01-03 to 2005-01-03: 2 new, 0 changed, 0 were there already" in said
    said = bft("universe", "--as-of", "2004-06-01", "--set", "data.universe=sp500")
    assert "universe at 2004-06-01: S&P 500 by membership spells; 2 names" in said
    assert "A       2000-01-03  no prices   member of the S&P 500" in said
    assert "of the true members 0 of 2 have prices here, 0 of them at 2004-06-01; 2 are missing" in said
    assert "the newest change of the index known here is of 2001-01-03: import a newer membership file" in said
