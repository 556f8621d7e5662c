"""The prediction table and its files: what they hold, what they refuse, and that they come back as they went."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bar_fly_trading.errors import FixInput
from bar_fly_trading.stockformer import predictions

DAY = date(2021, 4, 20)


def table(count: int = 6, day: date = DAY, seed: int = 5) -> pl.DataFrame:
    """Make a valid table of random numbers."""
    random = np.random.default_rng(seed)
    columns: dict[str, object] = {
        "session": [day] * count,
        "instrument_id": [f"us:S{i}" for i in range(count)],
        "symbol": [f"S{i}" for i in range(count)],
        "model_id": ["2021-04-16-0123456789ab"] * count,
    }
    for h in predictions.HORIZONS:
        shares = random.dirichlet(np.ones(5), count).round(6)
        middle = random.normal(0.005, 0.02, count).round(6)
        columns |= {
            f"return_{h}d": middle,
            f"excess_{h}d": random.normal(0, 0.02, count).round(6),
            f"probability_rise_{h}d": random.random(count).round(6),
            f"bucket_{h}d": shares.argmax(axis=1),
            **{f"bucket_probability_{h}d_{b}": shares[:, b] for b in range(5)},
            f"return_low_{h}d": middle - 0.05,
            f"return_high_{h}d": middle + 0.05,
        }
    return pl.DataFrame(columns).cast(dict(predictions.PREDICTION_SCHEMA))  # type: ignore[arg-type]


def test_the_files_give_back_every_bit_of_the_table(tmp_path: Path) -> None:
    """Writing and reading loses nothing: floats, days, names and order come back equal."""
    whole = table(40)
    paths = predictions.write_files(whole, tmp_path)
    assert [p.name for p in paths] == ["pred_3d.csv", "pred_10d.csv", "pred_30d.csv", "merged_predictions.csv"]
    assert predictions.read_files(tmp_path, DAY).equals(predictions.check(whole))
    assert predictions.read_files(tmp_path).equals(predictions.check(whole))


def test_unrounded_floats_survive_the_file_too(tmp_path: Path) -> None:
    """The text of a float is exact, not six digits: a third comes back as the same third."""
    odd = table().with_columns(return_3d=pl.lit(1 / 3), return_low_3d=pl.lit(-2e-17))
    predictions.write_files(odd, tmp_path)
    assert predictions.read_files(tmp_path)["return_3d"].to_list() == [1 / 3] * 6
    assert predictions.read_files(tmp_path)["return_low_3d"].to_list() == [-2e-17] * 6


def test_the_same_rows_in_any_order_give_the_same_bytes() -> None:
    """Files do not depend on the order in which instruments came."""
    rows = table(20)
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=3)
    assert not shuffled.equals(rows)
    assert predictions.merged_csv(shuffled) == predictions.merged_csv(rows)
    assert predictions.horizon_csv(shuffled, 3) == predictions.horizon_csv(rows, 3)


def test_a_return_is_written_as_an_absolute_fraction(tmp_path: Path) -> None:
    """0.011, which is 1.1 %, stands in the files as 0.011 under the names that scripts read, excess in a column of its own."""
    one = table(1).with_columns(
        return_3d=pl.lit(0.011), return_low_3d=pl.lit(-0.02), return_high_3d=pl.lit(0.04), excess_3d=pl.lit(0.002)
    )
    folder = predictions.write_files(one, tmp_path)[0].parent
    single, merged = (pl.read_csv(folder / name) for name in ("pred_3d.csv", "merged_predictions.csv"))
    assert single.columns[:4] == ["date", "symbol", "predicted_return", "excess_return"]
    assert single.row(0)[:4] == ("2021-04-20", "S0", 0.011, 0.002)
    assert merged.columns[:11] == [
        *(
            "date",
            "symbol",
            "pred_reg_3d",
            "pred_reg_10d",
            "pred_reg_30d",
            "pred_bin_3d",
            "pred_bin_10d",
            "pred_bin_30d",
        ),
        *("pred_buck_3d", "pred_buck_10d", "pred_buck_30d"),
    ]
    assert merged["pred_reg_3d"][0] == 0.011


def test_a_rise_is_predicted_only_where_it_is_likelier_than_not() -> None:
    """`pred_bin` is 1 above a probability of one half, 0 at it."""
    rows = table(3).with_columns(probability_rise_10d=pl.Series([0.49, 0.5, 0.51]))
    merged = pl.read_csv(predictions.merged_csv(rows))
    assert merged["pred_bin_10d"].to_list() == [0, 0, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (pl.lit(None, pl.Float64).alias("return_3d"), "return_3d has 6 missing"),
        (pl.lit(float("nan")).alias("excess_10d"), "excess_10d has 6 missing or not finite"),
        (pl.lit(float("inf")).alias("return_high_30d"), "return_high_30d has 6 missing or not finite"),
        (pl.lit(1.2).alias("probability_rise_3d"), "probability_rise_3d outside 0 to 1"),
        (pl.lit(5, pl.Int8).alias("bucket_3d"), "bucket_3d outside 0 to 4"),
        (pl.lit(0.9).alias("bucket_probability_3d_0"), "do not add up to 1"),
        (pl.lit(1.0).alias("return_low_10d"), "return_low_10d above return_high_10d"),
        (pl.lit(-1.0).alias("return_30d"), "return_30d at or below -1"),
        (pl.lit("us:S0").alias("instrument_id"), "5 instruments stand in it more than once"),
        (pl.lit(1, pl.Int64).alias("symbol"), "symbol is Int64, not String"),
    ],
)
def test_each_fault_is_named(change: pl.Expr, said: str) -> None:
    """A table with one fault is refused, in words that name column and count."""
    with pytest.raises(FixInput, match="faults") as caught:
        predictions.check(table().with_columns(change))
    assert said in str(caught.value)


def test_all_faults_are_named_at_once() -> None:
    """Two faults are two in the message, so that one look mends both."""
    rows = table(2).with_columns(probability_rise_3d=pl.lit(-0.1), session=pl.Series([DAY, DAY + timedelta(1)]))
    with pytest.raises(FixInput) as caught:
        predictions.check(rows)
    assert "has 2 faults" in str(caught.value)
    with pytest.raises(FixInput, match="column model_id is missing; column bucket_3d is missing"):
        predictions.check(rows.drop("model_id", "bucket_3d"))


def test_latest_follows_the_newest_session_and_never_goes_back(tmp_path: Path) -> None:
    """Predicting a past day again leaves `latest` at the newest one."""
    for day in (DAY, DAY + timedelta(1), DAY - timedelta(1)):
        predictions.write_files(table(day=day), tmp_path)
    assert predictions.read_files(tmp_path)["session"][0] == DAY + timedelta(1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2021-04-19", "2021-04-20", "2021-04-21", "latest"]


def test_latest_is_copied_where_it_cannot_be_a_link(tmp_path: Path) -> None:
    """Where `latest` is a folder already (a disk without links), its files are replaced and read the same."""
    (tmp_path / "latest").mkdir()
    rows = table()
    predictions.write_files(rows, tmp_path)
    assert not (tmp_path / "latest").is_symlink()
    assert predictions.read_files(tmp_path).equals(predictions.check(rows))
    assert len(list((tmp_path / "latest").iterdir())) == 4


def test_no_prediction_writes_no_file(tmp_path: Path) -> None:
    """An empty table is refused before anything is written."""
    with pytest.raises(FixInput, match="no symbol was eligible"):
        predictions.write_files(predictions.empty(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_says_which_file(tmp_path: Path) -> None:
    """Absent, cut short, of another layout, and another day's under this day's name: each is refused by name."""
    with pytest.raises(FixInput, match=r"No predictions at .*2021-04-20"):
        predictions.read_files(tmp_path, DAY)
    path = predictions.write_files(table(), tmp_path)[-1]
    whole = path.read_bytes()
    for bad in (whole[: len(whole) // 2], b"", b"date,symbol\n2021-04-20,AAPL\n", b"\xff\xfe\x00"):
        path.write_bytes(bad)
        with pytest.raises(FixInput, match=r"merged_predictions\.csv is no predictions file"):
            predictions.read_files(tmp_path, DAY)
    path.write_bytes(predictions.merged_csv(table(day=DAY - timedelta(1))))
    with pytest.raises(FixInput, match="holds predictions of 2021-04-19, not of 2021-04-20"):
        predictions.read_files(tmp_path, DAY)


def test_reading_predictions_never_loads_torch() -> None:
    """A trading morning reads predictions, models' cards and whether training is due without torch in the process."""
    code = (
        "import sys, datetime, pathlib\n"
        "import bar_fly_trading.stockformer.predictions\n"
        "from bar_fly_trading.stockformer import registry\n"
        "assert registry.train_due(pathlib.Path('absent'), datetime.date(2021, 4, 20))\n"
        "sys.exit(int('torch' in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
