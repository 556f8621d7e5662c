"""How much disk an import of a dump needs, estimated before it starts from what lies at places all over the dump."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from bar_fly_trading.data.importers.mysqldump.source import is_gzip
from bar_fly_trading.errors import FreeDisk

_PROBES, _PROBE_BYTES = 64, 2 << 20
_WHOLE_BYTES = 256 << 20
_INSERT = re.compile(rb"\n(?:INSERT|REPLACE)[ A-Z]* INTO `?([^`\s]+)`? ")
# Staged and stored Parquet together, as a share of the dump's text: measured 0.35, with half as much again.
_KEPT_SHARE = 0.55
_GZIP_KEPT_SHARE = 1.7
_FIXED_BYTES = 64 << 20


def needed_bytes(path: Path, wanted: Collection[str]) -> int:
    """Estimate the bytes an import needs beside the dump: the share of the dump that is wanted tables, as Parquet.

    A plain dump is probed at places all over it; where a probe meets no INSERT, what lies there counts as wanted. A
    gzip file cannot be probed: all of it counts.
    """
    size = path.stat().st_size
    if is_gzip(path):
        return _FIXED_BYTES + round(size * _GZIP_KEPT_SHARE)
    if size < _WHOLE_BYTES:
        return _FIXED_BYTES + round(size * _KEPT_SHARE)
    names = {name.encode() for name in wanted}
    hits = 0
    with path.open("rb") as file:
        for probe in range(_PROBES):
            file.seek(size * probe // _PROBES)
            match = _INSERT.search(file.read(_PROBE_BYTES))
            hits += match is None or match.group(1) in names
    return _FIXED_BYTES + round(size * _KEPT_SHARE * hits / _PROBES)


def check_space(path: Path, folder: Path, wanted: Collection[str]) -> str:
    """Return a line that says what the import needs and what is free; FreeDisk where that is less."""
    needed = needed_bytes(path, wanted)
    place = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(place).free
    line = f"{path.name}: {_mib(path.stat().st_size)}; the import needs up to {_mib(needed)} in {place}, {_mib(free)} are free"
    if free < needed:
        raise FreeDisk(f"{line}. Nothing was imported.", way_out="Free disk space, or name another home with --home.")
    return line


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MiB"
