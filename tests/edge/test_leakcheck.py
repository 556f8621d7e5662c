"""`bft leakcheck` on a store: clean on what was imported, and it names what knows the future, with its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import date, timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bar_fly_trading.cli import main
from bar_fly_trading.daily_pipeline.leakcheck import PLANTS
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar, evening_us
from bar_fly_trading.facts.tables import EARNINGS, KNOWN_AT, RECORDED_AT

BFT = Path(sys.executable).with_name("bft")
DAYS = Calendar().sessions(date(2018, 6, 1), date(2020, 4, 30))
NAMES = tuple(f"N{i:02d}" for i in range(10))
PROVE = bool(os.environ.get("BFT_PROVE"))


def write_bars(path: Path) -> None:
    """Write two years of ten names, long enough to train on."""
    rng = np.random.default_rng(4)
    rows = []
    for i, name in enumerate(NAMES):
        close = 40 * np.exp(np.cumsum(rng.normal(0, 0.015, len(DAYS))))
        for day, price in zip(DAYS, close, strict=True):
            rows.append((name, day.isoformat(), price, price * 1.01, price * 0.99, price, price, 900_000 + i, 0.0, 1.0))
    columns = ("symbol", "date", "open", "high", "low", "close", "adjusted_close", "volume")
    pl.DataFrame(rows, schema=[*columns, "dividend_amount", "split_coefficient"], orient="row").write_parquet(path)


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended and what it said."""

    returncode: int
    stdout: str
    stderr: str


def bft(home: Path, *words: str) -> Done:
    """Run `bft` on a home, in this process: torch is loaded once for all of them."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*words, "--home", str(home)])
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with imported bars; tests read it and leave it as it is."""
    folder = tmp_path_factory.mktemp("leakcheck")
    write_bars(folder / "bars.parquet")
    done = bft(folder / "home", "import", "bars", str(folder / "bars.parquet"))
    assert done.returncode == 0, done.stderr
    return folder / "home"


def test_imported_bars_are_clean_and_what_is_missing_is_said(home: Path) -> None:
    """Every check of bars, labels and model passes with code 0, and the empty columns and tables are named as not checked."""
    told = bft(home, "leakcheck", "--json", "--sessions", "3")
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert report["leaks"] == []
    assert (report["symbols"], report["bars"], len(report["sessions"])) == (10, 10 * len(DAYS), 3)
    states = {(one["check"], one["column"]): one["state"] for one in report["columns"]}
    assert states["tomorrow deleted", "sma_200"] == states["later dividends", "ema_200"] == "clean"
    assert states["tomorrow deleted", "reported_eps"] == "not checked"
    assert [one["state"] for one in report["model"]] == ["clean"] * 5
    named = {name for one in report["not_checked"] for name in one["what"]}
    assert {"reported_eps", "table earnings", "table macro", "pcr"} <= named
    assert not {"sma_200", "future_3_day_pct", "table bars"} & named


def test_the_words_say_what_was_done(home: Path) -> None:
    """The text has the sessions drawn, a line a check, what was not checked, and the verdict; the same seed says the same."""
    words = ("leakcheck", "--sessions", "2", "--symbols", "4", "--seed", "3", "--as-of", "2020-03-31")
    said = bft(home, *words)
    assert said.returncode == 0, said.stderr
    assert "by the evening of 2020-03-31: 4 symbols" in said.stdout
    assert "the future was deleted after 2 sessions (seed 3): " in said.stdout
    assert "no leak was found in what was checked" in said.stdout
    assert "the store has no rows of it: " in said.stdout
    assert bft(home, *words).stdout == said.stdout


def test_every_planted_leak_is_caught(home: Path) -> None:
    """`--planted` plants them all and tells each as caught, the seven of the list and ten more; code 0 because the check bites."""
    told = bft(home, "leakcheck", "--planted", "--json", "--symbols", "8")
    assert told.returncode == 0, told.stdout + told.stderr
    results = {one["name"]: one for one in json.loads(told.stdout)["planted"]}
    assert set(results) == set(PLANTS)
    assert {name for name, one in results.items() if not one["caught"]} == set()
    assert {
        *("fiscal-date-earnings", "overview-of-today", "macro-by-reference-date", "ffill-across-symbols"),
        *("same-day-future", "whole-sample-normalisation", "back-adjusted-levels"),
    } <= set(results)
    assert len(results) >= 12


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        ("back-adjusted-levels", "later dividends"),
        ("macro-by-reference-date", "known after the period it is of"),
        ("unpurged-split", "no label reaches into the next part"),
    ],
)
def test_one_planted_leak_ends_with_code_4(home: Path, plant: str, check: str) -> None:
    """`--plant NAME` finds that leak, says where and by which check, and ends as a real leak does."""
    said = bft(home, "leakcheck", "--plant", plant, "--sessions", "2", "--symbols", "5")
    assert said.returncode == 4, said.stderr
    assert f"the planted leak {plant} was found" in said.stderr
    assert any(line.startswith("LEAK") and check in line for line in said.stdout.splitlines())


def test_planted_leaks_that_are_missed_are_not_called_caught(home: Path) -> None:
    """One session, of the newest, cannot show what filled early gaps: it is told as missed, and what had no data as not run."""
    said = bft(home, "leakcheck", "--planted", "--sessions", "1", "--symbols", "2")
    assert said.returncode == 20, said.stdout
    assert "\nMISSED  backward-fill" in said.stdout
    assert "of 17 planted leaks were not caught: " in said.stderr
    assert "backward-fill" in said.stderr
    assert "shifted-label" not in said.stderr
    short = bft(home, "leakcheck", "--planted", "--symbols", "2", "--as-of", "2018-08-31")
    assert short.returncode == 20, short.stdout
    assert "\nnot run  backward-fill" in short.stdout
    assert "backward-fill was not run: there was no value to compare" in short.stdout
    assert "unpurged-split was not run: " in short.stdout


def test_facts_stored_with_too_early_a_time_end_with_code_4(home: Path, tmp_path: Path) -> None:
    """Earnings that the store knows at their quarter's end are a leak of the table, though every rebuilt column agrees."""
    write_bars(tmp_path / "bars.parquet")
    own = tmp_path / "home"
    assert bft(own, "import", "bars", str(tmp_path / "bars.parquet")).returncode == 0
    ends = [date(2018, 9, 30), date(2018, 12, 31), date(2019, 3, 31), date(2019, 6, 30)]
    rows = [
        (f"us:{name}", end, end + timedelta(days=30), None, 1.0, 1.0, 0.0, 0.0, evening_us(end), 0)
        for name in NAMES
        for end in ends
    ]
    frame = pl.DataFrame(rows, schema=EARNINGS.schema(), orient="row").drop(RECORDED_AT)
    Store(own / "store").publish({"earnings": frame}, source="test", recorded_at_us=evening_us(date(2020, 5, 1)))
    said = bft(own, "leakcheck", "--sessions", "2", "--symbols", "4")
    assert said.returncode == 4
    assert "columns or tables know the future: earnings." in said.stderr
    assert (
        "earnings (known after its announcement): 40 of 40, first us:N00 2018-09-30, known 2018-09-30 22:00"
        in said.stdout
    )
    right = frame.with_columns(pl.Series(KNOWN_AT, [evening_us(day) for day in frame["reported_date"]]))
    other = tmp_path / "other"
    assert bft(other, "import", "bars", str(tmp_path / "bars.parquet")).returncode == 0
    Store(other / "store").publish({"earnings": right}, source="test", recorded_at_us=evening_us(date(2020, 5, 1)))
    told = bft(other, "leakcheck", "--sessions", "4", "--symbols", "4", "--json")
    assert told.returncode == 0, told.stdout
    states = {(one["check"], one["column"]): one["state"] for one in json.loads(told.stdout)["columns"]}
    assert states["tomorrow deleted", "reported_eps"] == states["the store's view", "table earnings"] == "clean"


def test_without_torch_the_model_is_said_not_to_be_checked(home: Path, tmp_path: Path) -> None:
    """Where torch cannot be imported everything else is checked, and purge and parity are named as not checked."""
    (tmp_path / "torch.py").write_text("raise ImportError('not here')\n")
    told = subprocess.run(
        [str(BFT), "leakcheck", "--sessions", "2", "--symbols", "3", "--home", str(home)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "torch cannot be imported (not here)" in told.stdout
    assert "model: same inputs in training and at the evening" in told.stdout.partition("not checked:")[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--plant", "nonsense"), "no planted leak named nonsense"),
        (("--sessions", "0"), "0 sessions"),
        (("--symbols", "0"), "0 symbols"),
        (("--plant", "backward-fill", "--planted"), "both given"),
    ],
)
def test_what_cannot_be_asked_is_refused(home: Path, words: tuple[str, ...], message: str) -> None:
    """A wrong name or number ends with code 2 and says it, before anything is computed."""
    said = bft(home, "leakcheck", *words)
    assert said.returncode == 2
    assert message in said.stderr


def test_an_empty_store_has_nothing_to_check(tmp_path: Path) -> None:
    """Without bars the check ends with code 4 and the way out, never with a pass."""
    said = bft(tmp_path / "home", "leakcheck")
    assert said.returncode == 4
    assert "bft import bars" in said.stderr


def test_real_prices_are_clean(shared_data: Path, tmp_path: Path) -> None:
    """Real names of the S&P 500 pass with every planted leak caught beside them; all 504 under BFT_PROVE."""
    source = shared_data / "daily_adjusted_sp500.parquet"
    if not PROVE:
        names = pl.scan_parquet(source).select(pl.col("symbol").unique().sort()).collect().to_series()[::60]
        rows = pl.scan_parquet(source).filter(pl.col("symbol").is_in(names.implode())).collect()
        source = tmp_path / "some.parquet"
        rows.write_parquet(source)
    home = tmp_path / "home"
    assert bft(home, "import", "bars", str(source)).returncode == 0
    told = bft(home, "leakcheck", "--json")
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert report["symbols"] == (504 if PROVE else 9)
    assert [one["state"] for one in report["model"]] == ["clean"] * 5
    assert bft(home, "leakcheck", "--planted").returncode == 0
