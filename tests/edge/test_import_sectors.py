"""Sectors files: all of a file or nothing, and a sector that is known in every view."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from bar_fly_trading.data.importers.sectors import import_sectors
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_sectors
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.sessions import Calendar, evening_us

CALENDAR = Calendar()
NOW_US = evening_us(date(2026, 11, 20))


def test_a_first_sector_is_known_always_and_a_change_from_then_on(tmp_path: Path) -> None:
    """The first import shows in a view of 2010; a later change does not, and the same rows again add nothing."""
    store, path = Store(tmp_path / "store"), tmp_path / "sectors.csv"
    path.write_text("symbol,name,sector\nFB,Meta,Information Technology\nBRK-B,Berkshire,Financials\n")
    report = import_sectors(path, store, CALENDAR, recorded_at_us=NOW_US)
    assert (report.rows_new, report.without_bars) == (2, ("BRK.B", "FB"))
    assert import_sectors(path, store, CALENDAR, recorded_at_us=NOW_US).rows_same == 2
    path.write_text("Symbol,Sector\nFB,Communication Services\n")
    assert import_sectors(path, store, CALENDAR, recorded_at_us=NOW_US + 1).rows_corrected == 1
    assert load_sectors(store, evening_us(date(2010, 1, 4))) == {
        "us:BRK.B": "Financials",
        "us:FB": "Information Technology",
    }
    assert load_sectors(store)["us:FB"] == "Communication Services"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("symbol,name\nFB,Meta\n", "column sector is missing"),
        ("symbol,sector\n", "has no rows"),
        ("", "cannot be read"),
        ("symbol,sector\nFB,\nA;B,Energy\nX,Energy\nX,Utilities\n", "line 2: FB has no sector"),
        ("symbol,sector\nFB,\nA;B,Energy\nX,Energy\nX,Utilities\n", "line 3: not a US stock symbol"),
        ("symbol,sector\nFB,\nA;B,Energy\nX,Energy\nX,Utilities\n", "line 5: X has two sectors"),
    ],
)
def test_a_faulty_file_is_refused_whole(tmp_path: Path, text: str, words: str) -> None:
    """Every fault is listed with its line, and nothing is stored."""
    path = tmp_path / "sectors.csv"
    path.write_text(text)
    with pytest.raises(FixInput, match=words):
        import_sectors(path, Store(tmp_path / "store"), CALENDAR, recorded_at_us=NOW_US)
    assert not (tmp_path / "store").exists()


def test_the_real_sectors_import(tmp_path: Path, shared_data: Path) -> None:
    """505 names have one of eleven sectors."""
    store = Store(tmp_path / "store")
    path = shared_data / "reference" / "sectors_2021.csv"
    assert import_sectors(path, store, CALENDAR, recorded_at_us=NOW_US).rows_new == 505
    assert len(set(load_sectors(store).values())) == 11
