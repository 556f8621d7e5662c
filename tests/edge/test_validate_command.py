"""`bft validate` reports what the store's prices hide, and an evening leaves the same names out or stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bar_fly_trading.facts.sessions import Calendar

BFT = Path(sys.executable).with_name("bft")
CALENDAR = Calendar()
DAYS = CALENDAR.sessions(date(2020, 9, 1), date(2021, 3, 1))
NAMES = tuple(f"N{i:02d}" for i in range(12))
PRINT_AT, LAST = DAYS[-6], DAYS[-1]


def write_bars(path: Path, wrong: int) -> None:
    """Write half a year of twelve names; the first `wrong` of them print 30 % too high on one session."""
    rng = np.random.default_rng(4)
    rows = []
    for i, name in enumerate(NAMES):
        close = 40 * np.exp(np.cumsum(np.clip(rng.normal(0, 0.01, len(DAYS)), -0.03, 0.03)))
        for day, price in zip(DAYS, close, strict=True):
            shown = price * 1.3 if i < wrong and day == PRINT_AT else price
            rows.append((name, day.isoformat(), shown, shown * 1.01, shown * 0.99, shown, shown, 900_000 + i, 0.0, 1.0))
    columns = ("symbol", "date", "open", "high", "low", "close", "adjusted_close", "volume")
    pl.DataFrame(rows, schema=[*columns, "dividend_amount", "split_coefficient"], orient="row").write_parquet(path)


def bft(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `bft` as a process of its own on a home."""
    return subprocess.run(
        [str(BFT), *words, "--home", str(home)],
        env={"PATH": os.environ["PATH"], "HOME": str(home.parent)},
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home whose store has two names with a fresh bad print."""
    write_bars(tmp_path / "bars.parquet", 2)
    done = bft(tmp_path / "home", "import", "bars", str(tmp_path / "bars.parquet"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "home"


def test_the_report_counts_and_lists_newest_first(home: Path) -> None:
    """Text has coverage, who is kept out, counts a rule and the suspicions; JSON has the same for a script."""
    said = bft(home, "validate")
    assert said.returncode == 0, said.stderr
    assert f"10 of 12 expected symbols can be used at {LAST}" in said.stdout
    assert "price that comes back" in said.stdout
    told = json.loads(bft(home, "validate", "--json").stdout)
    assert (told["expected"], told["used"], told["stop"]) == (12, 10, None)
    assert [row["instrument_id"] for row in told["excluded"]] == ["us:N00", "us:N01"]
    assert {"rule": "price that comes back", "severity": "bad", "bars": 2} in told["counts"]
    sessions = [row["session"] for row in told["found"]]
    assert sessions == sorted(sessions, reverse=True)
    assert f"{PRINT_AT}" in sessions
    early = json.loads(bft(home, "validate", "--json", "--as-of", str(CALENDAR.previous(PRINT_AT))).stdout)
    assert (early["used"], early["found"]) == (12, [])


def test_the_evening_leaves_them_out_and_the_coverage_stops_it(home: Path) -> None:
    """The feature table has the ten others with the reasons; with a higher coverage_min the command stops with code 4."""
    told = json.loads(bft(home, "features", "--json").stdout)
    assert [row["instrument_id"] for row in told["excluded"]] == ["us:N00", "us:N01"]
    assert all(row["reason"].startswith("suspect: ") for row in told["excluded"])
    (home / "settings.toml").write_text("schema = 1\n[data]\ncoverage_min = 0.9\n")
    stopped = bft(home, "evening", "--no-pull", "--as-of", str(LAST))
    assert stopped.returncode == 4
    assert "only 10 of 12 symbols (83 %)" in stopped.stderr
    assert "2 suspect" in stopped.stderr
    (home / "settings.toml").write_text("schema = 1\n[data]\nsuspect_sessions = 0\ncoverage_min = 0.9\n")
    assert json.loads(bft(home, "features", "--json").stdout)["excluded"] == []
