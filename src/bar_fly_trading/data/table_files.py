"""Tables published as files: whole or absent, and a disk that refuses is named as such."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from bar_fly_trading.files import publish_bytes, publish_with, sha256_file

SUMS_SUFFIX = ".sha256"
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


def publish_sums(path: Path, files: Sequence[Path]) -> None:
    """Write the checksums of files beside it, one a line, as `sha256sum --check` reads them; FreeDisk, as above."""
    publish_bytes(path, _sums(files).encode())


def sums_agree(path: Path, files: Sequence[Path]) -> bool:
    """Return whether the files are there and are what their checksums say; a lost or altered list agrees with nothing."""
    try:
        return path.read_bytes() == _sums(files).encode()
    except OSError:
        return False


def _sums(files: Sequence[Path]) -> str:
    return "".join(f"{sha256_file(file)}  {file.name}\n" for file in files)
