"""A version of the store as a manifest: which segments it is made of, and the checksum of each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from bar_fly_trading.files import sha256_bytes

MANIFEST_SCHEMA = 1
_VERSION = re.compile(r"(\d{6})-([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class Segment:
    """One immutable Parquet file of one table.

    `file` is relative to the store's root. Rows are sorted by the table's key; `distinct`: no key occurs twice.
    `first_session`, `last_session`: ISO dates, None for an undated table. `known_at_*`: UTC microseconds.
    """

    file: str
    sha256: str
    bytes: int
    rows: int
    distinct: bool
    first_session: str | None
    last_session: str | None
    known_at_min: int
    known_at_max: int
    source: str

    def __post_init__(self) -> None:
        if self.rows <= 0 or self.bytes <= 0:
            raise ValueError(f"segment {self.file} of {self.rows} rows and {self.bytes} bytes")
        for text in (self.first_session, self.last_session):
            if text is not None:
                date.fromisoformat(text)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version: `tables` maps a table's name to its segments, oldest first; `recorded_at` is UTC microseconds."""

    number: int
    previous: str | None
    source: str
    recorded_at: int
    tables: Mapping[str, tuple[Segment, ...]]

    def rows(self, table_name: str) -> int:
        """Return how many rows the table holds, corrections counted apart."""
        return sum(segment.rows for segment in self.tables.get(table_name, ()))

    def to_bytes(self) -> bytes:
        """Write the manifest as canonical JSON (sorted keys)."""
        body = {"schema": MANIFEST_SCHEMA, **asdict(self)}
        return (json.dumps(body, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def version_id(number: int, content: bytes) -> str:
    """Name a version by its number and its manifest's checksum, so that a damaged manifest cannot pass for another."""
    return f"{number:06d}-{sha256_bytes(content)[:16]}"


def version_number(version: str) -> int | None:
    """Return the number in a version's id, or None where the text is no id."""
    match = _VERSION.fullmatch(version)
    return int(match.group(1)) if match else None


def pruned_to_bytes(pruned: Mapping[str, str | None]) -> bytes:
    """Write which versions were pruned, each with the version before it, and a checksum of that."""
    versions = json.dumps(dict(pruned), sort_keys=True)
    body = {"schema": MANIFEST_SCHEMA, "sha256": sha256_bytes(versions.encode()), "versions": dict(pruned)}
    return (json.dumps(body, sort_keys=True, indent=1) + "\n").encode()


def pruned_from_bytes(content: bytes) -> dict[str, str | None]:
    """Read what `pruned_to_bytes` wrote; ValueError where it is something else, or was altered."""
    try:
        body: dict[str, Any] = json.loads(content)
        versions: dict[str, str | None] = body["versions"]
        if body["schema"] != MANIFEST_SCHEMA or content != pruned_to_bytes(versions):
            raise ValueError("it does not match its checksum")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a list of pruned versions: {error!r}") from error
    return versions


def manifest_from_bytes(content: bytes) -> Manifest:
    """Read what `to_bytes` wrote; ValueError where it is something else, or of a newer schema."""
    try:
        body: dict[str, Any] = json.loads(content)
        schema = body.pop("schema")
        if schema != MANIFEST_SCHEMA:
            raise ValueError(f"manifest schema {schema}, this version reads {MANIFEST_SCHEMA}")
        tables = {name: tuple(Segment(**segment) for segment in rows) for name, rows in body.pop("tables").items()}
        return Manifest(tables=tables, **body)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a manifest: {error}") from error
