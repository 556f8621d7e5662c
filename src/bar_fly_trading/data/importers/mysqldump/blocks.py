"""Whole rows of an INSERT, a chunk at a time: their places by numpy, their values by polars' CSV reader.

A dump's rows are almost CSV. With every escape turned into one of the same length, `'` alone tells inside from
outside; the parentheses outside become line ends and commas in place, and polars reads the rest. Whatever is out of
the ordinary (hexadecimal literals, double quotes, the text 'NULL') is read by `literals`, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from bar_fly_trading.data.importers.mysqldump import literals, quick
from bar_fly_trading.data.importers.mysqldump.quick import Plain

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

_QUOTE, _DOUBLE, _OPEN, _CLOSE, _COMMA, _NEWLINE, _SEMICOLON = (ord(c) for c in "'\"(),\n;")
# A backslash and 0x02 stands for an escaped backslash while the quotes are counted; no writer of dumps writes it.
_BACKSLASH = b"\\\x02"
_GAP_MAX = 8
_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Rows:
    """Whole rows of one chunk: `data` as in the dump, `opens` and `closes` the places of each row's parentheses.

    `prepared`: data with escapes made plain, same length; None where the rows need the slow way. `end`: the place after
    the last row; `terminator`: the place of the statement's semicolon, None where it is not in the chunk.
    """

    data: bytes
    prepared: bytes | None
    opens: Places
    closes: Places
    commas: Places
    terminator: int | None

    @property
    def end(self) -> int:
        """Return the place after the last whole row, 0 where there is none."""
        return int(self.closes[-1]) + 1 if self.closes.size else 0

    @property
    def found(self) -> bool:
        """Tell whether there is a whole row."""
        return bool(self.opens.size)

    def row(self, number: int) -> bytes:
        """Return one row as it stands in the dump, parentheses included."""
        return self.data[int(self.opens[number]) : int(self.closes[number]) + 1]


_NOWHERE = np.empty(0, dtype=np.int64)
NO_ROWS = Rows(b"", None, _NOWHERE, _NOWHERE, _NOWHERE, None)


def _prepared(chunk: bytes) -> bytes:
    if b"\\" not in chunk:
        return chunk
    return chunk.replace(b"\\\\", _BACKSLASH).replace(b"\\'", b"''")


def _outside(text: Bytes) -> Bytes:
    """Return the bytes with everything inside single quotes as 0."""
    quotes = np.flatnonzero(text == _QUOTE)
    lengths = np.diff(quotes, prepend=0, append=text.size)
    pattern = np.zeros(lengths.size, dtype=np.uint8)
    pattern[0::2] = 255
    return text & np.repeat(pattern, lengths)


def split(chunk: bytes, *, commas: bool = True) -> Rows:
    """Find the whole rows of a chunk that begins outside every literal (at a row, a comma or a space)."""
    # What an odd backslash at the end escapes is not here yet.
    held = chunk[:-1] if (len(chunk) - len(chunk.rstrip(b"\\"))) % 2 else chunk
    prepared = _prepared(held)
    text = np.frombuffer(prepared, dtype=np.uint8)
    outer = _outside(text)
    if b'"' in prepared and bool((outer == _DOUBLE).any()):
        return _split_slowly(held)
    terminator: int | None = None
    if b";" in prepared:
        found = np.flatnonzero(outer == _SEMICOLON)
        terminator = int(found[0]) if found.size else None
    inner = outer if terminator is None else outer[:terminator]
    opens, closes = np.flatnonzero(inner == _OPEN), np.flatnonzero(inner == _CLOSE)
    opens = opens[: closes.size]
    regular = opens.size == closes.size and bool((opens < closes).all()) and bool((closes[:-1] < opens[1:]).all())
    if not regular:
        return _split_slowly(held)
    places = np.flatnonzero(inner == _COMMA) if commas else np.empty(0, dtype=np.int64)
    fast = commas and _BACKSLASH not in held and b"'NULL'" not in held and _plain_values(inner, opens, closes)
    return Rows(held, prepared if fast else None, opens, closes, places, terminator)


def _plain_values(outer: Bytes, opens: Places, closes: Places) -> bool:
    """Tell whether all there is outside the quotes is numbers, NULL and the rows' own punctuation.

    A space beside a value would become part of it; a word before a quote or an x tells of a literal of another kind.
    """
    letters = (outer >= ord("_")) & (outer != ord("e"))
    if bool(letters.any()) or bool((outer == ord("X")).any()) or bool((outer == ord("B")).any()):
        return False
    nulls = np.flatnonzero(outer == ord("N"))
    if nulls.size and not bool((outer[np.minimum(nulls + 1, outer.size - 1)] == ord("U")).all()):
        return False
    spaces = np.flatnonzero((outer <= ord(" ")) & (outer > 0))
    return bool((np.searchsorted(spaces, opens) == np.searchsorted(spaces, closes)).all())


def _split_slowly(chunk: bytes) -> Rows:
    opens: list[int] = []
    closes: list[int] = []
    at, terminator = 0, None
    while at < len(chunk):
        byte = chunk[at : at + 1]
        if byte == b";":
            terminator = at
            break
        if byte != b"(":
            at += 1
            continue
        match = literals.ROW.match(chunk, at)
        if match is None:
            break
        opens.append(at)
        closes.append(match.end() - 1)
        at = match.end()
    none = np.empty(0, dtype=np.int64)
    return Rows(chunk, None, np.array(opens, dtype=np.int64), np.array(closes, dtype=np.int64), none, terminator)


Blocks = Sequence[Rows]
Unreadable = list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Values:
    """The values of rows: `frame` with `_at`, the row's number over all blocks; `places` of all rows, by block; the unreadable."""

    frame: pl.DataFrame
    places: list[Places]
    bad: Unreadable


def values(
    parts: Sequence[Rows | Plain], columns: Sequence[str], charset: str, kinds: dict[str, pl.DataType]
) -> Values:
    """Return the rows' values, the quickest way that is exact for them; see `texts`."""
    likely = [part for part in parts if isinstance(part, Plain)]
    if len(likely) == len(parts) and (found := quick.frame_of(likely, columns, charset, kinds)) is not None:
        return Values(found[0].with_row_index("_at"), found[1], [])
    if len(parts) > 1 and likely:
        return _joined([values([part], columns, charset, kinds) for part in parts], kinds)
    rows = [split(part.data) if isinstance(part, Plain) else part for part in parts]
    frame, bad = texts(rows, columns, charset, kinds)
    return Values(frame, [part.opens for part in rows], bad)


def _joined(several: Sequence[Values], kinds: dict[str, pl.DataType]) -> Values:
    """Put the values of several blocks behind one another; a column that is not of its kind in all of them becomes text."""
    first = 0
    frames: list[pl.DataFrame] = []
    bad: Unreadable = []
    for one in several:
        frames.append(one.frame.with_columns(pl.col("_at") + first))
        bad += [(number + first, reason) for number, reason in one.bad]
        first += sum(place.size for place in one.places)
    odd = [name for name in kinds if len({frame.schema[name] for frame in frames}) > 1]
    joined = pl.concat([frame.with_columns(pl.col(odd).cast(pl.String)) if odd else frame for frame in frames])
    return Values(joined, [place for one in several for place in one.places], bad)


def texts(
    blocks: Blocks, columns: Sequence[str], charset: str, kinds: dict[str, pl.DataType]
) -> tuple[pl.DataFrame, Unreadable]:
    """Return the rows' values as a frame of `kinds` and `_at` (the row's number over all blocks), and the unreadable rows.

    `columns` names the dump's columns in order. A column of numbers comes as such where all of the blocks read so, and as
    text otherwise; NULL is null.
    """
    frame = _fast(blocks, columns, charset, kinds)
    if frame is not None:
        return frame.with_row_index("_at"), []
    frames: list[pl.DataFrame] = []
    bad: Unreadable = []
    first = 0
    for rows in blocks:
        frame = _fast([rows], columns, charset, {name: pl.String() for name in kinds}) if len(blocks) > 1 else None
        unread: Unreadable = []
        if frame is None:
            frame, unread = _slow(rows, columns, charset, list(kinds))
        else:
            frame = frame.with_row_index("_at")
        frames.append(frame.with_columns(pl.col("_at") + first))
        bad.extend((number + first, reason) for number, reason in unread)
        first += rows.opens.size
    return pl.concat(frames), bad


def _slow(
    rows: Rows, columns: Sequence[str], charset: str, wanted: Sequence[str]
) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
    places = [columns.index(name) for name in wanted]
    good: list[list[Any]] = []
    bad: list[tuple[int, str]] = []
    for number in range(rows.opens.size):
        try:
            values = literals.parse_row(rows.row(number), charset)
        except literals.NotARow as error:
            bad.append((number, str(error)))
            continue
        if len(values) != len(columns):
            bad.append((number, f"{len(values)} values for {len(columns)} columns"))
            continue
        good.append([number, *(values[place] for place in places)])
    schema = {"_at": pl.UInt32(), **dict.fromkeys(wanted, pl.String())}
    return pl.DataFrame(good, schema=schema, orient="row"), bad


def _fast(blocks: Blocks, columns: Sequence[str], charset: str, kinds: dict[str, pl.DataType]) -> pl.DataFrame | None:
    parts = [_csv(rows, len(columns), charset) for rows in blocks]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    csv = b"".join(text for text, _ in known)
    names = [f"c{i}" for i in range(len(columns))]
    places = {name: f"c{columns.index(name)}" for name in kinds}
    typed = {places[name]: kind for name, kind in kinds.items() if kind != pl.Date()}
    extra = max(count for _, count in known)
    frame = _read_csv(csv, names, typed, extra)
    if frame is None and any(kind != pl.String() for kind in typed.values()):
        frame = _read_csv(csv, names, {}, extra)
    if frame is None or frame.height != sum(rows.opens.size for rows in blocks):
        return None
    # A value left out would read as null; only the word NULL may.
    nulls = sum(frame.select(names).null_count().row(0))
    if nulls and nulls != csv.count(b"NULL"):
        return None
    frame = frame.select(pl.col(place).alias(name) for name, place in places.items())
    return frame.with_columns(_unescaped(frame)) if b"\\" in csv else frame


def _csv(rows: Rows, columns: int, charset: str) -> tuple[bytes, int] | None:
    """Return a block as lines of CSV and how many empty columns stand after its own; None where it needs the slow way."""
    if rows.prepared is None or not rows.opens.size:
        return None
    between = np.searchsorted(rows.commas, rows.closes) - np.searchsorted(rows.commas, rows.opens)
    if not bool((between == columns - 1).all()):
        return None
    text = np.frombuffer(rows.prepared[: rows.end], dtype=np.uint8).copy()
    extra = _as_lines(rows, text)
    if extra is None:
        return None
    csv = text[int(rows.opens[0]) + 1 :].tobytes()
    if literals.CHARSETS[charset] == "latin1" and not csv.isascii():
        csv = literals.decode(csv, charset).encode()
    return csv, extra


def _as_lines(rows: Rows, text: Bytes) -> int | None:
    """Make lines of rows in place; what stands between two rows becomes empty columns, as many as are returned."""
    gaps = rows.opens[1:] - rows.closes[:-1]
    widest = int(gaps.max()) if gaps.size else 0
    if widest > _GAP_MAX:
        return None
    for step in range(1, widest):
        at = rows.closes[:-1] + step
        at = at[at < rows.opens[1:]]
        if not np.isin(text[at], (_COMMA, *_SPACE)).all():
            return None
        text[at] = _COMMA
    text[rows.closes] = _COMMA
    text[rows.closes[-1]] = _NEWLINE
    text[rows.opens] = _NEWLINE
    return widest


def _read_csv(csv: bytes, names: Sequence[str], typed: dict[str, pl.DataType], extra: int) -> pl.DataFrame | None:
    schema = {name: typed.get(name, pl.String()) for name in names} | {f"x{i}": pl.String() for i in range(extra)}
    try:
        return pl.read_csv(
            csv,
            has_header=False,
            schema=schema,
            quote_char="'",
            null_values=["NULL"],
        )
    except pl.exceptions.PolarsError:
        return None


def _unescaped(frame: pl.DataFrame) -> list[pl.Series]:
    """Return the columns of text in which escapes are left, read."""
    found = []
    for name, kind in frame.schema.items():
        if kind == pl.String() and frame[name].str.contains("\\", literal=True).any():
            found.append(pl.Series(name, [_plain(text) for text in frame[name]], dtype=pl.String))
    return found


def _plain(text: str | None) -> str | None:
    if text is None or "\\" not in text:
        return text
    return literals.unescape_prepared(text)
