"""Same input, same bytes: time zone, hash seed, threads, order and split of the input files change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
from tests.simulated.conftest import SETTINGS, SIGNAL_DAY, Chain, Gateway, chain_bars

# What a morning measures of the world beside its prices: when a quote came, and how old it was.
MEASURED = {"quote_read_at_us", "quote_age_s"}
SURROUNDINGS = (
    {"TZ": "UTC", "PYTHONHASHSEED": "0", "POLARS_MAX_THREADS": "1"},
    {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1", "POLARS_MAX_THREADS": "2", "LC_ALL": "C"},
    {"TZ": "America/New_York", "PYTHONHASHSEED": "2", "POLARS_MAX_THREADS": "3", "LC_ALL": "C.UTF-8"},
)


def _files(folder: Path, number: int) -> list[Path]:
    """Write the market: as it is, shuffled, and shuffled in two files with the columns turned round."""
    bars = chain_bars()
    if number == 0:
        paths, frames = [folder / "bars.parquet"], [bars]
    elif number == 1:
        paths, frames = [folder / "bars.csv"], [bars.sample(fraction=1.0, shuffle=True, seed=1)]
    else:
        bars = bars.sample(fraction=1.0, shuffle=True, seed=2).select(reversed(bars.columns))
        paths, frames = [folder / "b.parquet", folder / "a.parquet"], [bars.head(200), bars.tail(-200)]
    for path, frame in zip(paths, frames, strict=True):
        frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return paths


def _without_measured(value: Any) -> Any:
    """Leave out the measured instants, and the plan's id over them."""
    if isinstance(value, dict):
        return {k: _without_measured(v) for k, v in value.items() if k != "plan_id"}
    if isinstance(value, list):
        return [_without_measured(v) for v in value if not (isinstance(v, list) and v and v[0] in MEASURED)]
    return value


def test_d21_an_evening_and_its_plan_are_the_same_bytes_everywhere(tmp_path: Path, read_gateway: Gateway) -> None:
    """Ranked list, evening record and plan have identical bytes under three zones, hash seeds and orders of the input."""
    csvs, evenings, plans = [], [], []
    for number, env in enumerate(SURROUNDINGS):
        folder = tmp_path / str(number)
        chain = Chain(folder / "home", folder / "bars", env)
        chain.home.mkdir(parents=True)
        (chain.home / "settings.toml").write_text(SETTINGS)
        chain.ok("import", "bars", *_files(folder, number))
        chain.ok("evening", "--no-pull", "--as-of", SIGNAL_DAY)
        assert chain.morning(read_gateway).returncode == 0
        csvs.append((chain.home / f"signals/{SIGNAL_DAY}.csv").read_bytes())
        evenings.append(chain.rows("payload", "evening"))
        plans.append([json.dumps(_without_measured(json.loads(p))) for p in chain.rows("payload", "plan")])
    assert csvs[0] and csvs[1] == csvs[0] and csvs[2] == csvs[0]
    assert len(evenings[0]) == 1 and evenings[1] == evenings[0] and evenings[2] == evenings[0]
    assert len(plans[0]) == 1 and plans[1] == plans[0] and plans[2] == plans[0]
    assert "GOLF" in plans[0][0] and "quote_read_at_us" not in plans[0][0]


def test_tomorrows_bars_change_nothing_today(imported: Chain, tmp_path: Path) -> None:
    """An evening on a store that knows the later sessions has the bytes of one on a store that ends that evening."""
    day = SIGNAL_DAY
    cut = Chain(tmp_path / "cut", imported.bars)
    cut.home.mkdir()
    (cut.home / "settings.toml").write_text(SETTINGS)
    path = tmp_path / "cut.parquet"
    bars = chain_bars().filter(pl.col("date") <= str(day))
    # Without the later split the vendor would not have rescaled the earlier closes either.
    splits = pl.col("split_coefficient").reverse().cum_prod().reverse().over("symbol") / pl.col("split_coefficient")
    bars.with_columns((pl.col("close") / splits).alias("adjusted_close")).write_parquet(path)
    cut.ok("import", "bars", path)
    for chain in (imported, cut):
        chain.ok("evening", "--no-pull", "--as-of", day)
    name = f"signals/{day}.csv"
    assert (imported.home / name).read_bytes() == (cut.home / name).read_bytes()
    first, second = ([_ranked(p) for p in chain.records("evening")] for chain in (imported, cut))
    assert first == second


def _ranked(payload: dict[str, Any]) -> Any:
    return payload["ranked"]
