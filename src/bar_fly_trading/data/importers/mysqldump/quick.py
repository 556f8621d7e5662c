"""The rows of a dump that are plain: found by searching bytes, read by polars' CSV reader with no look at quotes.

Almost all of a dump holds neither a backslash nor a double quote. There an even number of `'` tells outside from inside, so
the end of a body of rows is exact; that each row and value ends where it seems to is proved after the reading: every cell
is quoted as a whole or holds no quote at all. Whatever is otherwise goes to `blocks`, which is exact for all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from bar_fly_trading.data.importers.mysqldump.literals import CHARSETS

Places = npt.NDArray[np.int64]
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_MARK = re.compile(rb"\\.|['\";]", re.DOTALL)
SEPARATORS = (b"),(", b"),\n(")
_QUOTE, _CLOSE = ord("'"), ord(")")


@dataclass(frozen=True, slots=True)
class Plain:
    """Rows of one body that are likely plain: `data` from the first row's parenthesis to the last row's, both included.

    `separator`: what stands between two rows, parentheses included. `terminator`: the place of the statement's semicolon,
    None where it is not in the chunk. `quotes`: how many `'` there are.
    """

    data: bytes
    separator: bytes
    terminator: int | None
    quotes: int

    @property
    def end(self) -> int:
        """Return the place after the last whole row."""
        return len(self.data)

    @property
    def found(self) -> bool:
        """Tell that there are rows."""
        return True


def plain(buffer: bytes, start: int) -> Plain | None:
    """Take the whole rows of a body from `start` (a row's parenthesis) on, None where they are not plain.

    The end is outside every literal: where nothing is escaped, an even number of quotes stands before it.
    """
    if buffer[start : start + 1] != b"(":
        return None
    end = buffer.find(b");", start)
    first = buffer.find(b"),", start, end if end >= 0 else len(buffer))
    separator = next((s for s in SEPARATORS if first >= 0 and buffer.startswith(s, first)), SEPARATORS[0])
    last = end if end >= 0 else buffer.rfind(separator, start)
    if last < 0:
        return None
    data = buffer[start : last + 1]
    quotes = int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == _QUOTE))
    if quotes % 2 or b"\\" in data or b'"' in data:
        return None
    return Plain(data, separator, end + 1 - start if end >= 0 else None, quotes)


def statement_end(buffer: bytes, start: int, quote: bytes) -> tuple[int, bytes]:
    """Find the semicolon that ends a statement: its place, or how far was looked, and the quote that is open there.

    `quote`: the one that is open at `start`, b"" outside every literal.
    """
    if quote != b'"' and buffer.find(b"\\", start) < 0 and buffer.find(b'"', start) < 0:
        return _end_by_count(buffer, start, bool(quote))
    for match in _MARK.finditer(buffer, start):
        mark = match.group()
        start = match.end()
        if mark == quote:
            quote = b""
        elif not quote and mark == b";":
            return match.start(), b""
        elif not quote and mark in (b"'", b'"'):
            quote = mark
    # What a backslash at the end escapes is not here yet.
    end = len(buffer)
    return (end - 1 if end > start and buffer[-1:] == b"\\" else end), quote


def _end_by_count(buffer: bytes, start: int, inside: bool) -> tuple[int, bytes]:
    text = np.frombuffer(buffer, dtype=np.uint8)
    while True:
        found = buffer.find(b";", start)
        end = len(buffer) if found < 0 else found
        inside ^= bool(np.count_nonzero(text[start:end] == _QUOTE) % 2)
        if found < 0:
            return end, b"'" if inside else b""
        if not inside:
            return found, b""
        start = found + 1


def frame_of(
    parts: Sequence[Plain], columns: Sequence[str], charset: str, kinds: dict[str, pl.DataType]
) -> tuple[pl.DataFrame, list[Places]] | None:
    """Return the values as a frame of `kinds` (a column of numbers as such, all else as text) and each row's place by part.

    None where one cell is not plain, or a number is not written as one: the rows are then to be read by `blocks`.
    """
    gap = parts[0].separator[1:-1]
    # A row ends at its parenthesis: what stands before the next one is an empty column and the next one's first.
    text = gap + gap.join(part.data for part in parts)
    if len({part.separator for part in parts}) > 1 or (CHARSETS[charset] == "latin1" and not text.isascii()):
        return None
    numbers = {f"c{i}": kinds[name] for i, name in enumerate(columns) if name in kinds and kinds[name].is_numeric()}
    schema = {name: pl.String() for name in ("before", *(f"c{i}" for i in range(len(columns))))}
    try:
        frame = pl.read_csv(
            text,
            has_header=False,
            schema={**schema, **numbers, "c0": pl.String()},
            quote_char=None,
            null_values=["NULL"],
            eol_char=")",
        )
        frame = _opened(frame, gap[1:].decode() + "(", numbers.get("c0"))
    except pl.exceptions.PolarsError:
        return None
    places = _places(text, parts, len(gap))
    # A value too few or left out would read as null; only the word NULL may.
    nulls = sum(frame.null_count().row(0))
    if frame.height != sum(place.size for place in places) or (nulls and nulls != text.count(b"NULL")):
        return None
    wanted = {f"c{columns.index(name)}": name for name in kinds}
    unquoted = _unquoted(frame, wanted, sum(part.quotes for part in parts))
    if unquoted is None:
        return None
    return unquoted.select(pl.col(place).alias(name) for place, name in wanted.items()), places


def _opened(frame: pl.DataFrame, opening: str, kind: pl.DataType | None) -> pl.DataFrame:
    """Take what opens each row off its first value; a frame without rows where something else stands between two rows."""
    first = pl.col("c0")
    sound = frame.select(pl.col("before").is_null().all() & first.str.starts_with(opening).all()).item()
    if not sound:
        return frame.drop("before").clear()
    value = first.str.slice(len(opening))
    return frame.drop("before").with_columns(value if kind is None else value.cast(kind))


def _places(text: bytes, parts: Sequence[Plain], gap: int) -> list[Places]:
    """Return where each row's parenthesis stands in its part."""
    closes = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == _CLOSE)
    opens = np.concatenate([np.zeros(1, dtype=np.int64), closes[:-1] + 1]) + gap
    found: list[Places] = []
    begin = gap
    for part in parts:
        end = begin + len(part.data)
        found.append(opens[np.searchsorted(opens, begin) : np.searchsorted(opens, end)] - begin)
        begin = end + gap
    return found


def _unquoted(frame: pl.DataFrame, wanted: Collection[str], quotes: int) -> pl.DataFrame | None:
    """Take the quotes off the cells of text; None where a wanted one is neither NULL nor quoted as a whole, or holds more quotes."""
    names = [name for name, kind in frame.schema.items() if kind == pl.String()]
    if not names:
        return frame if quotes == 0 else None
    cells = [pl.col(name) for name in names]
    whole = [cell.str.starts_with("'") & cell.str.ends_with("'") & (cell.str.len_bytes() > 1) for cell in cells]
    counted = frame.select(
        *(mask.sum().alias(f"{name}_whole") for name, mask in zip(names, whole, strict=True)),
        *(cell.count().alias(f"{name}_all") for name, cell in zip(names, cells, strict=True)),
    ).row(0, named=True)
    texts = [name for name in names if name in wanted]
    floats = [name for name, kind in frame.schema.items() if kind.is_float()]
    # "inf" and "nan" are numbers to polars, not in SQL; a value nobody wants must be one all the same.
    odd = [~pl.col(name).is_finite() for name in floats]
    odd += [
        ~(mask | pl.col(name).str.contains(_NUMBER))
        for name, mask in zip(names, whole, strict=True)
        if name not in wanted
    ]
    if odd and frame.select(pl.any_horizontal(expr.any() for expr in odd)).item():
        return None
    bare = any(counted[f"{name}_whole"] != counted[f"{name}_all"] for name in texts)
    # With as many quotes as whole cells account for, none has a third one and nothing else has any.
    if bare or quotes != 2 * sum(counted[f"{name}_whole"] for name in names):
        return None
    return frame.with_columns(pl.col(name).str.head(-1).str.slice(1) for name in texts)
