"""The store: every table as append-only, checksummed Parquet segments; a version is a manifest; CURRENT names one.

Layout under the root: `CURRENT`, `manifests/VERSION.json`, `segments/TABLE/NUMBER-SHA.parquet`, `publish.lock`.
Publishing writes segments, then the manifest, then renames CURRENT: a kill at any point leaves the old version or
the new one. Nothing that a manifest names is ever changed, so old versions stay readable until `data.disk` prunes them;
`PRUNED` then says which are gone on purpose, so that a lost manifest is never taken for a pruned one.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from pathlib import Path

import polars as pl

from bar_fly_trading.data.manifest import (
    Manifest,
    Segment,
    manifest_from_bytes,
    pruned_from_bytes,
    version_id,
    version_number,
)
from bar_fly_trading.data.segments import RESTORE, SMALL_SEGMENT_BYTES, filtered_frame, read_bytes, verified_frame
from bar_fly_trading.errors import FixInput, StoreDamaged
from bar_fly_trading.facts.tables import KNOWN_AT, RECORDED_AT, TABLES, Table
from bar_fly_trading.files import RunLock, publish_bytes, remove_orphans, sha256_bytes, sha256_file

PRUNED_FILE = "PRUNED"
_NONE_YET = "none"
_SMALL_ROWS = 100_000
_SMALL_SEGMENTS_MAX = 64


class Store:
    """The versions of all tables under one folder; made on the first publish."""

    def __init__(self, root: Path) -> None:
        """Take the folder; nothing is read or written yet."""
        self.root = root

    def current(self) -> str | None:
        """Return the current version's id, None where nothing was ever published; StoreDamaged where CURRENT is lost."""
        path = self.root / "CURRENT"
        try:
            text = path.read_text("ascii").strip()
        except FileNotFoundError:
            # CURRENT is written before the first manifest, so manifests without it mean that it was lost.
            if any((self.root / "manifests").glob("*.json")):
                raise StoreDamaged(f"{path} is missing.", way_out=RESTORE) from None
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreDamaged(f"{path} cannot be read: {error}.", way_out=RESTORE) from error
        if text == _NONE_YET:
            return None
        if version_number(text) is None:
            raise StoreDamaged(f"{path} names no version: {text[:40]!r}.", way_out=RESTORE)
        return text

    def versions(self) -> tuple[str, ...]:
        """Return every version up to the current one, oldest first (what a killed run left unfinished is no version).

        Pruned ones are left out; StoreDamaged where one of the others is lost or altered.
        """
        found: list[str] = []
        pruned = self.pruned()
        version = self.current()
        while version is not None:
            if version in pruned:
                version = pruned[version]
                continue
            if not self._manifest_path(version).exists():
                raise StoreDamaged(f"{self._manifest_path(version)} is missing.", way_out=RESTORE)
            found.append(version)
            version = self.manifest(version).previous
        return tuple(reversed(found))

    def pruned(self) -> dict[str, str | None]:
        """Return the versions that were pruned, each with the version before it; StoreDamaged where the list is altered."""
        path = self.root / PRUNED_FILE
        try:
            return pruned_from_bytes(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StoreDamaged(f"{path} cannot be read: {error}.", way_out=RESTORE) from error

    def _manifest_path(self, version: str) -> Path:
        return self.root / "manifests" / f"{version}.json"

    def manifest(self, version: str | None = None) -> Manifest:
        """Return a version's manifest (default: the current one's); it is checked against the checksum in its id.

        Raises FixInput for a version that never was, StoreDamaged for one that is lost or altered.
        """
        current = self.current()
        wanted = current if version is None else version
        if wanted is None:
            raise FixInput(f"The store {self.root} is empty.", way_out="Run bft pull, or bft import bars FILE.")
        number = version_number(wanted)
        path = self._manifest_path(wanted)
        if number is None or (wanted != current and not path.exists()) or wanted in self.pruned():
            gone = "was pruned" if number is not None and wanted in self.pruned() else "is not in the store"
            raise FixInput(
                f"The store has no version {wanted[:40]!r}: it {gone}.", way_out="Run bft store versions to see them."
            )
        content = read_bytes(path)
        if version_id(number, content) != wanted:
            raise StoreDamaged(f"{path} does not match the checksum in its name.", way_out=RESTORE)
        try:
            return manifest_from_bytes(content)
        except ValueError as error:
            raise StoreDamaged(f"{path} cannot be read: {error}.", way_out=RESTORE) from error

    def publish(
        self,
        additions: Mapping[str, pl.DataFrame],
        *,
        source: str,
        recorded_at_us: int,
        pieces: Iterable[tuple[str, pl.DataFrame]] = (),
    ) -> str:
        """Add rows to tables, all of them or none, and make the result current; return the new version's id.

        `additions`: table name -> its columns and `known_at`, without `recorded_at`. `pieces`: more of the same, taken one
        at a time, each a segment of its own: a version may hold more than the memory does. Frames without rows add
        nothing; where none has rows the version stays as it is. Raises ValueError for columns, types or nulls that break
        the table's schema, WaitForOtherRun where another process publishes, FreeDisk where the disk refuses (the old
        version is whole).
        """
        frames = {name: _checked(TABLES[name], frame, recorded_at_us) for name, frame in sorted(additions.items())}
        frames = {name: frame for name, frame in frames.items() if frame.height}
        with RunLock(self.root / "publish.lock"):
            current = self.current()
            if current is not None and not frames and pieces == ():
                return current
            base = None if current is None else self.manifest(current)
            number = self._clean(current)
            if current is None:
                publish_bytes(self.root / "CURRENT", f"{_NONE_YET}\n".encode())
            tables = {} if base is None else dict(base.tables)
            for name, frame in frames.items():
                earlier = self._compacted(TABLES[name], tables.get(name, ()), number)
                segment = self._write_segment(TABLES[name], frame, number, source)
                tables[name] = (*earlier, segment)
            for name, piece in pieces:
                if piece.height:
                    segment = self._write_segment(
                        TABLES[name], _checked(TABLES[name], piece, recorded_at_us), number, source
                    )
                    tables[name] = (*tables.get(name, ()), segment)
            if base is not None and current is not None and tables == dict(base.tables):
                return current
            content = Manifest(number, current, source, recorded_at_us, tables).to_bytes()
            version = version_id(number, content)
            publish_bytes(self.root / "manifests" / f"{version}.json", content)
            publish_bytes(self.root / "CURRENT", f"{version}\n".encode())
        return version

    def read(
        self,
        table_name: str,
        *,
        known_by_us: int | None = None,
        version: str | None = None,
        since: date | None = None,
        until: date | None = None,
        instruments: Collection[str] | None = None,
    ) -> pl.DataFrame:
        """Return a table as it was known: of each key the newest row with `known_at <= known_by_us`, sorted by key.

        Columns are the table's and `known_at`, `recorded_at` (UTC microseconds). Ties go to the newest `recorded_at`,
        then the later segment. `known_by_us` None: everything. `since`, `until` (of a dated table) and `instruments`: the
        rows of these days, both included, and instruments alone, without decoding what lies outside. A table without rows, or an empty store, gives an empty
        frame; a segment that is missing, cut or altered raises StoreDamaged naming the file.
        """
        table = TABLES[table_name]
        if version is None and self.current() is None:
            return pl.DataFrame(schema=table.schema())
        segments = self.manifest(version).tables.get(table_name, ())
        wanted = _wanted(table, since, until, instruments)
        frames = [
            self._read_segment(table, segment, known_by_us, wanted)
            for segment in segments
            if (known_by_us is None or segment.known_at_min <= known_by_us) and _reaches(segment, since, until)
        ]
        if not frames:
            return pl.DataFrame(schema=table.schema())
        if len(frames) == 1 and len(segments) == 1 and segments[0].distinct:
            return frames[0]
        return _newest(table, pl.concat(frames))

    def history(self, table_name: str, *, known_by_us: int | None = None, version: str | None = None) -> pl.DataFrame:
        """Return every row of a table known by `known_by_us` (None: all), revisions included, in the order of their recording.

        Columns as `read`. Of rows recorded at once the later row counts as the later one. Raises as `read`.
        """
        table = TABLES[table_name]
        if version is None and self.current() is None:
            return pl.DataFrame(schema=table.schema())
        segments = self.manifest(version).tables.get(table_name, ())
        frames = [
            self._read_segment(table, segment, known_by_us)
            for segment in segments
            if known_by_us is None or segment.known_at_min <= known_by_us
        ]
        return (
            pl.concat(frames).sort(RECORDED_AT, maintain_order=True) if frames else pl.DataFrame(schema=table.schema())
        )

    def verified(self, table_name: str, version: str | None = None) -> tuple[tuple[Path, Segment], ...]:
        """Return a table's segments with their paths, oldest first, each file's bytes checked now.

        StoreDamaged naming the first that is missing, cut or altered.
        """
        found = []
        for segment in self.manifest(version).tables.get(table_name, ()):
            path = self.root / segment.file
            try:
                digest, size = sha256_file(path), path.stat().st_size
            except OSError as error:
                raise StoreDamaged(f"{path} cannot be read: {error.strerror}.", way_out=RESTORE) from error
            if digest != segment.sha256 or size != segment.bytes:
                raise StoreDamaged(f"{path} does not match its checksum ({size} bytes).", way_out=RESTORE)
            found.append((path, segment))
        return tuple(found)

    def _clean(self, current: str | None) -> int:
        """Remove what publishes that were killed or refused left behind the current version; return the next one's number.

        Its temporary files, manifests and segments: kept, they would fill a disk that is nearly full.
        """
        number = 1 + (0 if current is None else version_number(current) or 0)
        folders = [self.root, self.root / "manifests", *sorted((self.root / "segments").glob("*"))]
        for folder in folders:
            remove_orphans(folder)
        unfinished = [*(self.root / "manifests").glob("*.json"), *(self.root / "segments").glob("*/*.parquet")]
        for path in unfinished:
            written_by = path.name.partition("-")[0]
            if written_by.isdecimal() and int(written_by) >= number:
                path.unlink(missing_ok=True)
        return number

    def _compacted(self, table: Table, segments: tuple[Segment, ...], number: int) -> tuple[Segment, ...]:
        """Write many small segments as one, every row kept: a daily pull must not make reading slower each day.

        The old files stay, because older versions name them. Rows tie only where they were recorded in the same microsecond, so order may change.
        """
        small = [s for s in segments if s.rows < _SMALL_ROWS]
        if len(small) < _SMALL_SEGMENTS_MAX:
            return segments
        frame = pl.concat([self._read_segment(table, segment, None) for segment in small])
        merged = self._write_segment(
            table, frame.sort(*table.key, KNOWN_AT, RECORDED_AT, maintain_order=True), number, "compaction"
        )
        return (*(s for s in segments if s.rows >= _SMALL_ROWS), merged)

    def _write_segment(self, table: Table, frame: pl.DataFrame, number: int, source: str) -> Segment:
        buffer = io.BytesIO()
        # Through memory, so that a full disk is an OSError of ours and the checksum is of what was meant.
        frame.write_parquet(buffer, compression="zstd", compression_level=3)
        data = buffer.getvalue()
        digest = sha256_bytes(data)
        file = f"segments/{table.name}/{number:06d}-{digest[:16]}.parquet"
        publish_bytes(self.root / file, data)
        first = last = None
        if table.session is not None:
            dates = frame[table.session].drop_nulls()
            first, last = dates.min(), dates.max()
        known = frame[KNOWN_AT]
        return Segment(
            file=file,
            sha256=digest,
            bytes=len(data),
            rows=frame.height,
            distinct=not _same_key_as_next(table, frame).any(),
            first_session=None if first is None else str(first),
            last_session=None if last is None else str(last),
            known_at_min=int(known.min()),  # type: ignore[arg-type]
            known_at_max=int(known.max()),  # type: ignore[arg-type]
            source=source,
        )

    def _read_segment(
        self, table: Table, segment: Segment, known_by_us: int | None, wanted: pl.Expr | None = None
    ) -> pl.DataFrame:
        path = self.root / segment.file
        if wanted is not None and segment.bytes > SMALL_SEGMENT_BYTES:
            frame = filtered_frame(path, segment, table, wanted)
        else:
            frame = self._whole_segment(table, path, segment)
            frame = frame if wanted is None else frame.filter(wanted)
        if known_by_us is not None and segment.known_at_max > known_by_us:
            frame = frame.filter(pl.col(KNOWN_AT) <= known_by_us)
        return frame

    def _whole_segment(self, table: Table, path: Path, segment: Segment) -> pl.DataFrame:
        frame = verified_frame(path, segment)
        if frame.schema != pl.Schema(table.schema()) or frame.height != segment.rows:
            raise StoreDamaged(f"{path} does not hold the rows or columns of table {table.name}.", way_out=RESTORE)
        return frame


def _reaches(segment: Segment, since: date | None, until: date | None) -> bool:
    """Tell whether a segment may hold rows of the days; one without sessions may."""
    if segment.first_session is None or segment.last_session is None:
        return True
    ends_before = since is not None and segment.last_session < since.isoformat()
    return not ends_before and (until is None or segment.first_session <= until.isoformat())


def _wanted(
    table: Table, since: date | None, until: date | None, instruments: Collection[str] | None
) -> pl.Expr | None:
    """Return which rows a reading wants, None: all. Both columns belong to what a row is of: no later row of the key differs."""
    conditions = []
    if table.session is not None and since is not None:
        conditions.append(pl.col(table.session) >= since)
    if table.session is not None and until is not None:
        conditions.append(pl.col(table.session) <= until)
    if instruments is not None:
        conditions.append(pl.col("instrument_id").is_in(sorted(instruments)))
    return pl.all_horizontal(conditions) if conditions else None


def _checked(table: Table, frame: pl.DataFrame, recorded_at_us: int) -> pl.DataFrame:
    wanted = {**table.columns, KNOWN_AT: pl.Int64()}
    if set(frame.columns) != set(wanted):
        raise ValueError(f"table {table.name} takes the columns {sorted(wanted)}, not {sorted(frame.columns)}")
    try:
        frame = frame.select(pl.col(name).cast(kind) for name, kind in wanted.items())
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"table {table.name}: {error}") from error
    for name in (*table.key, KNOWN_AT):
        if frame[name].null_count():
            raise ValueError(f"table {table.name}: {frame[name].null_count()} nulls in {name}")
    frame = frame.with_columns(pl.lit(recorded_at_us, dtype=pl.Int64).alias(RECORDED_AT))
    return frame.sort(*table.key, KNOWN_AT, maintain_order=True)


def _same_key_as_next(table: Table, frame: pl.DataFrame) -> pl.Series:
    same = pl.all_horizontal([pl.col(name) == pl.col(name).shift(-1) for name in table.key])
    return frame.select(same.fill_null(False).alias("same"))["same"]


def _code(table: Table, frame: pl.DataFrame) -> pl.Expr:
    """Return the key as one integer in the key's order: sorting integers is four times as fast as sorting text."""
    code = pl.lit(0, dtype=pl.UInt64)
    for name in table.key:
        if table.columns[name] == pl.String():
            column = pl.col(name).cast(pl.Enum(frame[name].unique().sort())).to_physical()
        else:
            column = pl.col(name).to_physical().cast(pl.Int64) + 2**31
        code = code * 2**32 + column.cast(pl.UInt64)
    return code


def _newest(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    order = (
        frame.select(_code(table, frame).alias("code"), KNOWN_AT, RECORDED_AT)
        .with_row_index("row")
        .sort("code", KNOWN_AT, RECORDED_AT, "row")
        .filter((pl.col("code") != pl.col("code").shift(-1)).fill_null(True))
    )
    return frame[order["row"]]
