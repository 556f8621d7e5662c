"""Model, predictions and `all_data` files through the whole chain, on real prices of five names."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from tests.simulated.conftest import BUYS, SIGNAL_DAY, Chain

from bar_fly_simulators.market.load import load_market
from bar_fly_trading.data.store import Store

DAY = date(2012, 11, 7)
SESSIONS = 520
# FB was listed in May 2012: its year of history is not complete yet.
ELIGIBLE = {"AAPL", "GOOG", "IBM", "MSFT"}
OLD_COLUMNS = ["date", "symbol", "open", "high", "low", "adjusted_close", "volume"]
OLD_COLUMNS += ["adjusted_open", "adjusted_high", "adjusted_low"]
OLD_INDICATORS = ["sma_20", "bbands_upper_20", "bbands_middle_20", "bbands_lower_20", "rsi_14"]
# As on a machine without it: looking for torch finds nothing.
NO_TORCH = """
import sys
from importlib.machinery import PathFinder

class WithoutTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {"torch", "safetensors"} else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [WithoutTorch if finder is PathFinder else finder for finder in sys.meta_path]
from bar_fly_trading.cli import main

sys.exit(main())
"""


@dataclass(frozen=True, slots=True)
class Modelled:
    """A home with real prices, a model trained on everything known at DAY, and DAY's evening."""

    chain: Chain
    model: Path


def real_bars() -> pl.DataFrame:
    """Return the newest sessions of the demo's real prices, a few of them after DAY."""
    market = load_market("demo")
    rows = [
        {
            "symbol": symbol,
            "date": bar.session,
            "open": bar.open,
            "high": bar.high,
            "low": bar.low,
            "close": bar.close,
            "adjusted_close": bar.adjusted_close,
            "volume": bar.volume,
            "dividend_amount": bar.dividend_amount,
            "split_coefficient": bar.split_coefficient,
        }
        for symbol in market.symbols
        for bar in market.bars(symbol)
        if bar.session <= date(2012, 11, 30)
    ]
    return pl.DataFrame(rows).group_by("symbol", maintain_order=True).tail(SESSIONS)


@pytest.fixture(scope="module")
def modelled(tmp_path_factory: pytest.TempPathFactory) -> Modelled:
    """Make that home, once."""
    pytest.importorskip("torch", reason="no torch: nothing can be trained here")
    folder = tmp_path_factory.mktemp("modelled")
    path = folder / "real.parquet"
    real_bars().write_parquet(path)
    chain = Chain(folder / "home", path)
    chain.ok("import", "bars", path)
    trained = json.loads(chain.ok("train", "--as-of", DAY, "--steps", 8, "--seed", 3, "--json"))
    chain.ok("evening", "--no-pull", "--as-of", DAY)
    return Modelled(chain, Path(trained["folder"]))


def test_an_evening_predicts_every_eligible_symbol_of_its_own_session(modelled: Modelled) -> None:
    """The evening's predictions are one a name for all three horizons, each of the newest session itself."""
    (evening,) = modelled.chain.records("evening")
    assert evening["predictions"] == len(ELIGIBLE)
    for name in ("pred_3d.csv", "pred_10d.csv", "pred_30d.csv", "merged_predictions.csv"):
        table = pl.read_csv(modelled.chain.home / "predictions" / str(DAY) / name)
        assert set(table["symbol"]) == ELIGIBLE and table.height == len(ELIGIBLE), name
        assert set(table["date"]) == {str(DAY)}, name
        latest = modelled.chain.home / "predictions" / "latest" / name
        assert latest.read_bytes() == (modelled.chain.home / "predictions" / str(DAY) / name).read_bytes()
    merged = pl.read_csv(modelled.chain.home / "predictions" / str(DAY) / "merged_predictions.csv")
    reg = merged.select(f"pred_reg_{h}d" for h in (3, 10, 30))
    assert reg.null_count().sum_horizontal().item() == 0
    assert reg.to_numpy().__abs__().max() < 1, "a fraction, not a percent"


def test_exported_all_data_gives_the_same_prices_and_signals(modelled: Modelled, tmp_path: Path) -> None:
    """Exported, imported in an empty home, ranked with the first home's model: prices to 1e-9, signals equal."""
    chain = modelled.chain
    files = tmp_path / "files"
    chain.ok("export", "all-data", files, "--as-of", DAY)
    other = Chain(tmp_path / "other", chain.bars)
    other.ok("import", "all-data", f"{files}/all_data_*.csv")
    other.ok("evening", "--no-pull", "--as-of", DAY, "--model", modelled.model)
    keys = ["instrument_id", "session"]
    values = ["open", "high", "low", "close", "adjusted_close", "volume"]
    first, second = (
        Store(home / "store").read("bars").filter(pl.col("session") <= DAY).sort(keys).select(*keys, *values)
        for home in (chain.home, other.home)
    )
    assert first.select(keys).equals(second.select(keys))
    for name in values:
        assert (first[name] / second[name] - 1).abs().max() <= 1e-9, name  # type: ignore[operator]
    evenings = [c.records("evening")[-1] for c in (chain, other)]
    assert evenings[0]["model_id"] == evenings[1]["model_id"]
    assert _signals(evenings[0]) == _signals(evenings[1])
    assert _signals(evenings[0])
    other.ok("features", "--as-of", DAY)
    # What an event did on a name's very first session shows in no price of its file.
    after_first = pl.col("session") > pl.col("session").min().over("instrument_id")
    tables = [pl.read_parquet(_features(c.home)).filter(after_first) for c in (chain, other)]
    _equal_tables(tables[0], tables[1])


def _features(home: Path) -> Path:
    (path,) = (p for p in (home / "features").glob(f"{DAY}_*.parquet") if not p.name.endswith(".excluded.parquet"))
    return path


def _equal_tables(first: pl.DataFrame, second: pl.DataFrame) -> None:
    assert first.schema == second.schema and first.height == second.height
    for name, kind in first.schema.items():
        one, two = first[name], second[name]
        assert one.is_null().equals(two.is_null()), name
        if kind == pl.Float64:
            scale = pl.Series([1.0]).append(one.abs().drop_nulls()).max()
            assert isinstance(scale, float)
            assert ((one - two).abs() / scale).fill_null(0).max() <= 1e-9, name  # type: ignore[operator]
        else:
            assert one.equals(two), name


def _signals(evening: dict[str, list[dict[str, dict[str, str]]]]) -> list[tuple[str, str, str, str, str]]:
    return [
        (r["signal"]["symbol"], r["signal"]["side"], r["signal"]["strategy"], str(r["rank"]), str(r["tag"]))
        for r in evening["ranked"]
    ]


def _without_torch(chain: Chain, *args: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", NO_TORCH, *map(str, args)]
    return subprocess.run(
        argv, env=chain.environ(), cwd=chain.home.parent, capture_output=True, text=True, timeout=120, check=False
    )


def test_old_all_data_files_give_bollinger_alone(ranked: Chain, empty: Chain, tmp_path: Path) -> None:
    """Files as the older program wrote them: no key, no model, no torch, no sectors, and the bands' signals come out."""
    files = tmp_path / "files"
    ranked.ok("export", "all-data", files, "--as-of", SIGNAL_DAY)
    for path in files.glob("*.csv"):
        old = pl.read_csv(path).select(*OLD_COLUMNS, *OLD_INDICATORS)
        old.with_row_index("").write_csv(path)
    done = _without_torch(empty, "import", "all-data", f"{files}/all_data_*.csv")
    assert done.returncode == 0, done.stderr
    done = _without_torch(empty, "evening", "--no-pull", "--as-of", SIGNAL_DAY)
    assert done.returncode == 0, done.stderr
    (evening,) = empty.records("evening")
    assert {(r["signal"]["symbol"], r["signal"]["side"]) for r in evening["ranked"]} == {
        *((symbol, "BUY") for symbol in BUYS),
        ("CHRL", "SELL"),
    }
    assert {r["signal"]["strategy"] for r in evening["ranked"]} == {"bollinger"}
    assert {r["sector"] for r in evening["ranked"]} == {"unknown"}
    assert evening["model_id"] is None and evening["predictions"] == 0


def test_a_model_without_torch_is_said(modelled: Modelled, tmp_path: Path) -> None:
    """Where a model is active and torch cannot be imported the evening says what to install, and ranks nothing."""
    home = Path(shutil.copytree(modelled.chain.home, tmp_path / "home"))
    chain = Chain(home, modelled.chain.bars)
    done = _without_torch(chain, "evening", "--no-pull", "--as-of", "2012-11-09")
    assert done.returncode == 7, done.stderr
    assert "torch" in done.stderr and "to do: " in done.stderr and "Traceback" not in done.stderr
    assert len(chain.records("evening")) == 1
