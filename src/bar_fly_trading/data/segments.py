"""A segment of the store read back: its bytes verified against its checksum, then decoded, whole or some rows of it."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from bar_fly_trading.data.manifest import Segment
from bar_fly_trading.errors import StoreDamaged
from bar_fly_trading.facts.tables import Table
from bar_fly_trading.files import sha256_bytes, sha256_file

RESTORE = "Restore it from a backup, or import and pull into an empty home."
# What this process has verified already: a segment never changes, so its size and time of change vouch for it.
_verified: dict[tuple[str, int, int], str] = {}
# A daily pull adds a small segment; a run that reads a table twenty times need not decode sixty of them each time.
SMALL_SEGMENT_BYTES = 1_000_000
DECODED_SEGMENTS_MAX = 256
_decoded: dict[tuple[str, int, int], pl.DataFrame] = {}


def read_bytes(path: Path) -> bytes:
    """Read a file of the store; StoreDamaged where it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StoreDamaged(f"{path} is missing.", way_out=RESTORE) from None
    except OSError as error:
        raise StoreDamaged(f"{path} cannot be read: {error.strerror}.", way_out=RESTORE) from error


def verified_frame(path: Path, segment: Segment) -> pl.DataFrame:
    """Read a whole segment; StoreDamaged where it is missing, cut or altered."""
    try:
        stat = path.stat()
    except OSError:
        stat = None
    key = None if stat is None else (str(path), stat.st_size, stat.st_mtime_ns)
    try:
        if key is not None and _verified.get(key) == segment.sha256:
            return _small_frame(path, key)
        data = read_bytes(path)
        if len(data) != segment.bytes or sha256_bytes(data) != segment.sha256:
            raise StoreDamaged(f"{path} does not match its checksum ({len(data)} bytes).", way_out=RESTORE)
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StoreDamaged(f"{path} cannot be read: {error}.", way_out=RESTORE) from error
    if key is not None:
        _verified[key] = segment.sha256
    return frame


def filtered_frame(path: Path, segment: Segment, table: Table, wanted: pl.Expr) -> pl.DataFrame:
    """Read some rows of a segment whose bytes were verified, by the statistics of its row groups, never all of it in memory."""
    try:
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        if _verified.get(key) != segment.sha256:
            if stat.st_size != segment.bytes or sha256_file(path) != segment.sha256:
                raise StoreDamaged(f"{path} does not match its checksum ({stat.st_size} bytes).", way_out=RESTORE)
            _verified[key] = segment.sha256
        rows = pl.scan_parquet(path)
        if rows.collect_schema() != pl.Schema(table.schema()):
            raise StoreDamaged(f"{path} does not hold the columns of table {table.name}.", way_out=RESTORE)
        return rows.filter(wanted).collect()
    except FileNotFoundError:
        raise StoreDamaged(f"{path} is missing.", way_out=RESTORE) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StoreDamaged(f"{path} cannot be read: {error}.", way_out=RESTORE) from error


def _small_frame(path: Path, key: tuple[str, int, int]) -> pl.DataFrame:
    """Read a verified segment; a small one is decoded once a process (segments never change, and the key would show it)."""
    if key[1] > SMALL_SEGMENT_BYTES:
        return pl.read_parquet(path)
    if key not in _decoded:
        while len(_decoded) >= DECODED_SEGMENTS_MAX:
            _decoded.pop(next(iter(tuple(_decoded))), None)
        _decoded[key] = pl.read_parquet(path)
    return _decoded[key]
