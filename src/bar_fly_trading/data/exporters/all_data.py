"""Write `all_data` files: the feature table in the layout that older scripts read, about 15 symbols a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from bar_fly_trading.data.table_files import publish_table
from bar_fly_trading.errors import FixInput
from bar_fly_trading.features.all_data import to_all_data

SYMBOLS_PER_FILE = 15
FORMATS = ("csv", "parquet")


def export_all_data(
    features: pl.DataFrame,
    folder: Path,
    *,
    file_format: str = "csv",
    symbols_per_file: int = SYMBOLS_PER_FILE,
) -> tuple[Path, ...]:
    """Write `all_data_0`, `all_data_1`, ... into the folder and return their paths.

    `features`: a FeatureTable. A CSV begins with an unnamed index column that counts from 0
    in each file, its floats carry every digit needed to read them back exactly, null is an empty field. Each file is
    whole or absent. Errors: FixInput for an unknown format, an empty table, and a folder that holds more files of an
    earlier export than this one writes (a glob would read both); FreeDisk where the disk refuses.
    """
    if file_format not in FORMATS:
        raise FixInput(f"{file_format!r} is no format of all_data.", way_out=f"Ask for one of {', '.join(FORMATS)}.")
    if not features.height:
        raise FixInput("There is nothing to export: the feature table is empty.", way_out="Import or pull bars first.")
    groups = list(_groups(features, symbols_per_file))
    paths = tuple(folder / f"all_data_{number}.{file_format}" for number in range(len(groups)))
    older = sorted(set(folder.glob(f"all_data_*.{file_format}")) - set(paths)) if folder.is_dir() else []
    if older:
        raise FixInput(
            f"{folder} holds {len(older)} all_data files that this export would not replace, first {older[0].name}.",
            way_out="Give an empty folder, or move them away.",
        )
    for path, (start, rows) in zip(paths, groups, strict=True):
        _write(to_all_data(features.slice(start, rows)), path, file_format)
    return paths


def _groups(features: pl.DataFrame, symbols_per_file: int) -> Iterator[tuple[int, int]]:
    """Yield first row and row count of each file; the table is sorted by instrument, so a group is one slice."""
    lengths = features["instrument_id"].rle().struct.field("len").to_list()
    start = 0
    for first in range(0, len(lengths), symbols_per_file):
        rows = sum(lengths[first : first + symbols_per_file])
        yield start, rows
        start += rows


def _write(table: pl.DataFrame, path: Path, file_format: str) -> None:
    def write(temp: Path) -> None:
        if file_format == "csv":
            # Without a float format every float is written as the shortest text that reads back as itself.
            table.with_row_index("").write_csv(temp)
        else:
            table.write_parquet(temp)

    publish_table(path, write)
