"""Tables published as files: whole or absent, and a disk that refuses is named as such."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from bar_fly_trading.files import publish_with

_PROBE_BYTES = 1 << 20


def publish_table(path: Path, write: Callable[[Path], None]) -> None:
    """Publish a file that `write` makes with polars; FreeDisk where the disk refuses, also where polars hides the reason."""

    def checked(temp: Path) -> None:
        try:
            write(temp)
        except pl.exceptions.PolarsError:
            # polars tells a full disk as a fault of the format; writing on ourselves meets the disk's own word.
            with temp.open("ab") as file:
                file.write(bytes(_PROBE_BYTES))
            raise

    publish_with(path, checked)
