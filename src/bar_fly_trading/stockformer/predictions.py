"""The prediction table: its columns, its check, and the CSV files that carry it; no model and no torch in here.

One row an eligible instrument at one session. Returns are fractions (0.011 is 1.1 %): `return_{h}d` is the absolute
expected return over the next h sessions, the number that strategies' thresholds mean; `excess_{h}d` is what it exceeds
the universe's mean by. Known at the evening of `session`. Never null, never NaN.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from bar_fly_trading.errors import FixInput
from bar_fly_trading.files import disk_refused, fsync_folder, make_folder, publish_bytes

HORIZONS = (3, 10, 30)
BUCKETS = 5
# A millionth of a return is a hundredth of a basis point: below what any decision reads, above float32's last bits.
DECIMALS = 6
LATEST = "latest"
MERGED_FILE = "merged_predictions.csv"

_IDENTITY: dict[str, pl.DataType] = {
    "session": pl.Date(),
    "instrument_id": pl.String(),
    "symbol": pl.String(),
    "model_id": pl.String(),
}


def _horizon_schema(horizon: int) -> dict[str, pl.DataType]:
    end = f"{horizon}d"
    return {
        f"return_{end}": pl.Float64(),
        f"excess_{end}": pl.Float64(),
        f"probability_rise_{end}": pl.Float64(),
        f"bucket_{end}": pl.Int8(),
        **{f"bucket_probability_{end}_{b}": pl.Float64() for b in range(BUCKETS)},
        f"return_low_{end}": pl.Float64(),
        f"return_high_{end}": pl.Float64(),
    }


PREDICTION_SCHEMA: dict[str, pl.DataType] = {
    **_IDENTITY,
    **{name: kind for horizon in HORIZONS for name, kind in _horizon_schema(horizon).items()},
}
"""Columns and types in order; `bucket_{h}d` runs from 0 (worst fifth of the training returns) to 4 (best)."""


def empty() -> pl.DataFrame:
    """Return a prediction table without rows."""
    return pl.DataFrame(schema=PREDICTION_SCHEMA)


def _identity_faults(table: pl.DataFrame) -> Iterator[str]:
    for name in PREDICTION_SCHEMA:
        series = table[name]
        wrong = series.null_count()
        if series.dtype == pl.Float64:
            wrong += int((~series.is_finite()).sum())
        if wrong:
            yield f"column {name} has {wrong} missing or not finite values"
    if table["session"].n_unique() > 1:
        yield f"{table['session'].n_unique()} sessions in one table, of which one is allowed"
    twice = table.height - table["instrument_id"].n_unique()
    if twice:
        yield f"{twice} instruments stand in it more than once"


def _range_faults(table: pl.DataFrame, horizon: int) -> Iterator[str]:
    end = f"{horizon}d"
    probabilities = [f"probability_rise_{end}", *(f"bucket_probability_{end}_{b}" for b in range(BUCKETS))]
    checks = {
        f"return_{end} at or below -1": pl.col(f"return_{end}") <= -1,
        f"bucket_{end} outside 0 to {BUCKETS - 1}": ~pl.col(f"bucket_{end}").is_between(0, BUCKETS - 1),
        f"return_low_{end} above return_high_{end}": pl.col(f"return_low_{end}") > pl.col(f"return_high_{end}"),
        f"bucket probabilities of {end} that do not add up to 1": (
            pl.sum_horizontal(*(pl.col(name) for name in probabilities[1:])) - 1
        ).abs()
        > 1e-3,
        **{f"{name} outside 0 to 1": ~pl.col(name).is_between(0, 1) for name in probabilities},
    }
    for what, expression in checks.items():
        rows = table.filter(expression).height
        if rows:
            yield f"{rows} rows with {what}"


def check(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table sorted by instrument with its columns in order; FixInput naming every fault in it.

    Checked: columns and types, one session, one row an instrument, nothing missing or not finite, probabilities in
    0 to 1 and buckets' adding up to 1, interval ends in order.
    """
    faults = [
        f"column {name} is missing"
        if name not in table.columns
        else f"column {name} is {table.schema[name]}, not {kind}"
        for name, kind in PREDICTION_SCHEMA.items()
        if name not in table.columns or table.schema[name] != kind
    ]
    if not faults:
        faults.extend(_identity_faults(table))
        for horizon in HORIZONS:
            faults.extend(_range_faults(table, horizon))
    if faults:
        raise FixInput(
            f"The prediction table has {len(faults)} faults: {'; '.join(faults)}.",
            way_out="Predict again: bft predict.",
        )
    return table.select(*PREDICTION_SCHEMA).sort("instrument_id")


def horizon_csv(table: pl.DataFrame, horizon: int) -> bytes:
    """Return one horizon's CSV (`date,symbol,predicted_return,excess_return,...`) as bytes, the same for the same table."""
    end = f"{horizon}d"
    out = check(table).select(
        pl.col("session").alias("date"),
        "symbol",
        pl.col(f"return_{end}").alias("predicted_return"),
        pl.col(f"excess_{end}").alias("excess_return"),
        pl.col(f"probability_rise_{end}").alias("probability_rise"),
        pl.col(f"bucket_{end}").alias("bucket"),
        *(pl.col(f"bucket_probability_{end}_{b}").alias(f"bucket_probability_{b}") for b in range(BUCKETS)),
        pl.col(f"return_low_{end}").alias("return_low"),
        pl.col(f"return_high_{end}").alias("return_high"),
        "model_id",
    )
    return out.write_csv(date_format="%Y-%m-%d").encode()


def merged_csv(table: pl.DataFrame) -> bytes:
    """Return the merged CSV as bytes: first the columns that older scripts read, then the rest of the table.

    `pred_reg_{h}d` is the expected return, `pred_bin_{h}d` 1 where a rise is likelier than not, `pred_buck_{h}d` the bucket.
    """
    renamed = [f"{name}_{h}d" for name in ("return", "bucket") for h in HORIZONS]
    rest = [c for c in PREDICTION_SCHEMA if c not in {"session", "symbol", *renamed}]
    out = check(table).select(
        pl.col("session").alias("date"),
        "symbol",
        *(pl.col(f"return_{h}d").alias(f"pred_reg_{h}d") for h in HORIZONS),
        *((pl.col(f"probability_rise_{h}d") > 0.5).cast(pl.Int8).alias(f"pred_bin_{h}d") for h in HORIZONS),
        *(pl.col(f"bucket_{h}d").alias(f"pred_buck_{h}d") for h in HORIZONS),
        *rest,
    )
    return out.write_csv(date_format="%Y-%m-%d").encode()


def from_merged_csv(data: bytes, *, name: str = MERGED_FILE) -> pl.DataFrame:
    """Read a merged CSV back into the table it was made of; FixInput, naming the file and every fault, where it is none."""
    columns = {
        "session": "date",
        **{f"return_{h}d": f"pred_reg_{h}d" for h in HORIZONS},
        **{f"bucket_{h}d": f"pred_buck_{h}d" for h in HORIZONS},
    }
    kinds = {columns.get(column, column): kind for column, kind in PREDICTION_SCHEMA.items()}
    try:
        table = pl.read_csv(io.BytesIO(data), schema_overrides=kinds)
        return check(table.select(pl.col(columns.get(c, c)).alias(c) for c in PREDICTION_SCHEMA))
    except (PolarsError, FixInput) as error:
        reason = error.message if isinstance(error, FixInput) else (str(error) or "unreadable").splitlines()[0]
        raise FixInput(f"{name} is no predictions file: {reason}", way_out="Predict again: bft predict.") from error


def _point_latest(root: Path) -> None:
    """Let `latest` lead to the newest session that is whole; a copied folder where the disk knows no links."""
    whole = sorted(p.name for p in root.iterdir() if p.name[:1].isdigit() and (p / MERGED_FILE).is_file())
    if not whole:
        return
    latest, temp = root / LATEST, root / f".{LATEST}.{os.getpid()}"
    if not latest.is_symlink() and latest.is_dir():
        _copy_latest(root, whole[-1])
        return
    try:
        temp.unlink(missing_ok=True)
        temp.symlink_to(whole[-1], target_is_directory=True)
        temp.replace(latest)
        fsync_folder(root)
    except OSError:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
        _copy_latest(root, whole[-1])


def _copy_latest(root: Path, newest: str) -> None:
    for path in sorted((root / newest).glob("*.csv"), key=lambda p: p.name == MERGED_FILE):
        publish_bytes(root / LATEST / path.name, path.read_bytes())


def write_files(predictions: pl.DataFrame, root: Path) -> tuple[Path, ...]:
    """Write `ROOT/DATE/pred_{3,10,30}d.csv` and `merged_predictions.csv`, let `ROOT/latest` follow, return the four paths.

    Each file is whole or absent, the merged one is written last, and the same table gives the same bytes. FixInput where the
    table is faulty or empty (nothing is written then), FreeDisk where the disk refuses.
    """
    if predictions.is_empty():
        raise FixInput(
            "There is no prediction to write: no symbol was eligible.", way_out="Pull more history: bft pull."
        )
    files = {f"pred_{h}d.csv": horizon_csv(predictions, h) for h in HORIZONS} | {MERGED_FILE: merged_csv(predictions)}
    folder = root / f"{predictions['session'][0]:%Y-%m-%d}"
    make_folder(folder)
    for name, data in files.items():
        publish_bytes(folder / name, data)
    try:
        _point_latest(root)
    except OSError as error:
        raise disk_refused(root / LATEST, error) from error
    return tuple(folder / name for name in files)


def read_files(root: Path, session: date | None = None) -> pl.DataFrame:
    """Read the predictions of a session (None: the latest) back from `ROOT`; FixInput where absent, faulty or another day's."""
    path = root / (LATEST if session is None else f"{session:%Y-%m-%d}") / MERGED_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FixInput(
            f"No predictions at {path}: {error.strerror}.",
            way_out="Make them: bft predict, with --as-of for a past day.",
        ) from error
    table = from_merged_csv(data, name=str(path))
    if session is not None and table.filter(pl.col("session") != session).height:
        raise FixInput(
            f"{path} holds predictions of {table['session'][0]}, not of {session}.",
            way_out="Predict again: bft predict.",
        )
    return table
