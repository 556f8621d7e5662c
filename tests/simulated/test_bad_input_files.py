"""Files and settings that are wrong: one clear message, the documented exit code, nothing taken, nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.simulated.conftest import SETTINGS, SIGNAL_DAY, Chain, chain_bars

from bar_fly_trading.data.store import Store

Edit = Callable[[pl.DataFrame], pl.DataFrame]
FIRST = (pl.col("symbol") == "GOLF") & (pl.col("date") == "2021-03-15")


def _set(column: str, value: float) -> Edit:
    return lambda bars: bars.with_columns(pl.when(FIRST).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))


BAD_BARS: dict[str, tuple[Edit, str]] = {
    "missing column": (lambda bars: bars.drop("volume"), "column volume is missing"),
    "NaN": (_set("close", float("nan")), "close is missing"),
    "duplicate date": (lambda bars: pl.concat([bars, bars.filter(FIRST)]), "date occurs twice"),
    "999999 price": (_set("close", 999999.0), "999999"),
}


def _store_of(chain: Chain) -> tuple[str | None, dict[str, int]]:
    store = Store(chain.home / "store")
    return store.current(), {name: store.read(name).height for name in ("bars", "spells", "splits", "dividends")}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_faulty_bars_file_is_refused_whole(imported: Chain, tmp_path: Path, suffix: str) -> None:
    """A missing column, NaN, a duplicate date, a 999999 price: each file is refused whole, its fault named with its place."""
    paths = []
    for fault, (edit, _) in BAD_BARS.items():
        paths.append(tmp_path / f"{fault.replace(' ', '_')}.{suffix}")
        bars = edit(chain_bars().filter(pl.col("symbol") == "GOLF").with_columns(pl.col("volume") + 1))
        bars.write_csv(paths[-1]) if suffix == "csv" else bars.write_parquet(paths[-1])
    before = _store_of(imported)
    said = imported.refused(3, "import", "bars", *paths)
    assert "4 files refused" in said and "Nothing was imported" in said
    for path, (fault, (_, words)) in zip(paths, BAD_BARS.items(), strict=True):
        lines = [line for line in said.splitlines() if line.startswith(str(path))]
        assert lines and any(words in line for line in lines), said
        if fault != "missing column":
            assert any("GOLF 2021-03-15" in line for line in lines), said
    assert _store_of(imported) == before
    assert imported.debris() == []


@pytest.mark.parametrize("content", [None, b"", b"PAR1 not a table at all", b"\x00\xff\xfe"])
def test_a_file_that_is_no_table_is_refused(imported: Chain, tmp_path: Path, content: bytes | None) -> None:
    """A bars file that is not there, empty, or no table at all is refused by name."""
    path = tmp_path / "broken.parquet"
    if content is not None:
        path.write_bytes(content)
    before = _store_of(imported)
    assert str(path) in imported.refused(3, "import", "bars", path)
    assert _store_of(imported) == before


def test_the_good_files_of_an_import_are_kept(empty: Chain, tmp_path: Path) -> None:
    """Of two files the faulty one is refused whole and the good one is taken whole."""
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    bars = chain_bars()
    bars.filter(pl.col("symbol") == "ALFA").write_csv(good)
    BAD_BARS["NaN"][0](bars.filter(pl.col("symbol") == "GOLF")).write_csv(bad)
    said = empty.refused(3, "import", "bars", good, bad)
    assert "1 file refused" in said and "1 other file imported" in said
    assert Store(empty.home / "store").read("bars")["instrument_id"].unique().to_list() == ["us:ALFA"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "day,ticker,last\n2021-04-20,AAPL,1.0\n",
        ",date,symbol,close\n0,2021-04-20,AAPL,abc\n",
        "symbol,date,open,high,low,close\n",
    ],
)
def test_an_all_data_file_of_another_layout_is_refused(empty: Chain, tmp_path: Path, text: str) -> None:
    """An all_data file of another layout is refused with what it lacks, and nothing of it is taken."""
    path = tmp_path / "all_data_0.csv"
    path.write_text(text)
    assert str(path) in empty.refused(3, "import", "all-data", path)
    assert Store(empty.home / "store").current() is None


def test_a_glob_that_matches_nothing_is_refused(empty: Chain, tmp_path: Path) -> None:
    """An all_data glob without a file behind it is refused by name."""
    assert "all_data_*.csv" in empty.refused(3, "import", "all-data", tmp_path / "all_data_*.csv")


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ("[limits]\npositions_maxx = 3\n", "positions_maxx"),
        ("[limitz]\npositions_max = 3\n", "limitz"),
        ('[limits]\npositions_max = "ten"\n', "positions_max"),
        ("[limits]\nposition_fraction_max = 5\n", "0.05"),
        ("[limits]\ndaily_loss_usd_max = -1000\n", "positive"),
        ("[limits]\npositions_max = \n", "settings.toml"),
        ("[strategies.bolinger]\nenabled = true\n", "bollinger"),
        ("[strategies.bollinger]\nstop_fractio = 0.06\n", "stop_fractio"),
    ],
)
def test_a_wrong_settings_file_is_refused_and_changes_nothing(imported: Chain, added: str, words: str) -> None:
    """A settings file with an unknown name, a wrong type or an absurd number is refused by name before anything is done."""
    (imported.home / "settings.toml").write_text(SETTINGS + "\n" + added)
    before = sorted(p for p in imported.home.rglob("*") if p.is_file())
    said = imported.refused(2, "evening", "--no-pull", "--as-of", SIGNAL_DAY)
    assert words in said
    assert sorted(p for p in imported.home.rglob("*") if p.is_file()) == before


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"IBKR_MAX_POSITION_PCT": "5"}, "IBKR_MAX_POSITION_PCT"),
        ({"IBKR_MAX_DAILY_LOSS": "-500"}, "IBKR_MAX_DAILY_LOSS"),
        ({"IBKR_SMTP_PORT": "smtp"}, "IBKR_SMTP_PORT"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(imported: Chain, env: dict[str, str], words: str) -> None:
    """A variable of the older program with an impossible value is refused by its name; 5 is not read as 500 %."""
    assert words in imported.refused(2, "evening", "--no-pull", "--as-of", SIGNAL_DAY, **env)


@pytest.mark.parametrize(
    "words",
    [
        ("evening", "--no-pull", "--as-of", "20-04-2021"),
        ("evening", "--no-pull", "--as-of", "2021-04-18"),
        ("morning", "--as-of", "2021-04-21", "--mode", "dry"),
        ("morning", "--as-of", "2021-04-21", "--gateway", "127.0.0.1:http"),
        ("evening", "--no-pull", "--as-of", "2021-04-20", "--set", "limits.positions_max"),
        ("evening", "--no-pull", "--as-of", "2021-04-20", "--set", "limits.nothing=1"),
    ],
)
def test_a_wrong_flag_is_refused(imported: Chain, words: tuple[str, ...]) -> None:
    """A flag with an impossible value is refused with the way to write it, before anything is done."""
    imported.refused(2, *words)
    assert imported.records("evening", "plan") == []


@pytest.mark.parametrize("as_of", ["2021-04-26", "2099-04-20", "2015-04-20"])
def test_d20_an_evening_of_a_session_without_a_print_is_refused(imported: Chain, as_of: str) -> None:
    """An evening of a session that the store knows nothing of (or that has not come) is refused, and ranks nothing."""
    code = 2 if as_of.startswith("2099") else 4
    imported.refused(code, "evening", "--no-pull", "--as-of", as_of)
    assert imported.records("evening") == []
    assert not (imported.home / "signals").exists()


def test_a_damaged_store_is_said_and_never_treated_as_empty(imported: Chain) -> None:
    """A store segment with a changed byte stops the run by its name; nothing is ranked from the rest."""
    segment = max((imported.home / "store").rglob("*.parquet"), key=lambda p: p.stat().st_size)
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0xFF
    segment.write_bytes(bytes(content))
    assert segment.name in imported.refused(13, "evening", "--no-pull", "--as-of", SIGNAL_DAY)
    assert imported.records("evening") == []


def test_a_model_that_is_none_is_said(imported: Chain, tmp_path: Path) -> None:
    """A model folder that is none stops the evening by its name; nothing is ranked."""
    said = imported.refused(7, "evening", "--no-pull", "--as-of", SIGNAL_DAY, "--model", tmp_path / "nothing")
    assert str(tmp_path / "nothing") in said
    assert imported.records("evening") == []


def test_no_key_loses_nothing(imported: Chain) -> None:
    """Without a key a pull says which name to set; the store is as before."""
    before = _store_of(imported)
    said = imported.refused(2, "pull", "ALFA", "--as-of", "2021-04-26")
    assert "ALPHAVANTAGE_API_KEY" in said or "alpha_vantage_key" in said
    assert _store_of(imported) == before
