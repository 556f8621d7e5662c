"""The literals of a dump one row at a time: exact and slow; the fast way of `blocks` falls back to it."""

from __future__ import annotations

import re

_ESCAPED = {b"0": b"\0", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"Z": b"\x1a"}
_PARTS = re.compile(rb"\\(.)|''", re.DOTALL)
_DOUBLE_PARTS = re.compile(rb'\\(.)|""', re.DOTALL)
_LITERAL = re.compile(
    rb"""\s*(?:
      (?P<null>NULL)
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?![\w.]))
    | (?P<hex>0x(?P<digits>[0-9a-f]*)(?!\w))
    | (?P<kind>_\w+\s*|x|n|b)?(?P<text>'(?:[^'\\]|\\.|'')*+'|"(?:[^"\\]|\\.|"")*+"|0x[0-9a-f]+)
    )\s*(?P<end>,|\Z)""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# A row as a whole, for a chunk in which quotes of both kinds or parentheses in parentheses stand.
ROW = re.compile(rb"""\((?:[^'"()]++|'(?:[^'\\]|\\.|'')*+'|"(?:[^"\\]|\\.|"")*+"|\([^'"()]*+\))*+\)""", re.DOTALL)
CHARSETS = {"utf8": "utf-8", "utf8mb3": "utf-8", "utf8mb4": "utf-8", "ascii": "utf-8", "binary": "utf-8"}
CHARSETS |= {"latin1": "latin1"}


class NotARow(ValueError):
    """A row that cannot be read; the message says why."""


def decode(data: bytes, charset: str) -> str:
    """Decode a dump's bytes; MySQL's latin1 is cp1252, with the five bytes that lacks as control characters.

    Raises NotARow where the bytes are not of the character set.
    """
    if CHARSETS[charset] == "latin1":
        try:
            return data.decode("cp1252")
        except UnicodeDecodeError:
            return "".join(_latin1(byte) for byte in data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotARow(f"text is not {charset}: {data[error.start : error.start + 8]!r}") from None


def _latin1(byte: int) -> str:
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


def unescape(quoted: bytes) -> bytes:
    """Read a quoted literal, quotes included: `\\n`, `\\0`, `\\Z`, doubled quotes and all; another `\\x` is x."""
    parts = _PARTS if quoted[:1] == b"'" else _DOUBLE_PARTS

    def read(match: re.Match[bytes]) -> bytes:
        escaped = match.group(1)
        return quoted[:1] if escaped is None else _ESCAPED.get(escaped, escaped)

    return parts.sub(read, quoted[1:-1])


def parse_row(row: bytes, charset: str) -> list[str | None]:
    """Read `(literal,...)`: each literal's text, None for NULL; numbers as they are written.

    `0x41`, `x'41'`, `_binary 'A'` and `n'A'` give A. Raises NotARow for anything else.
    """
    if row[:1] != b"(" or row[-1:] != b")":
        raise NotARow(f"not a row: {row[:40]!r}")
    inner, at = row[1:-1], 0
    values: list[str | None] = []
    while True:
        match = _LITERAL.match(inner, at)
        if match is None:
            raise NotARow(f"value {len(values) + 1} cannot be read: {inner[at : at + 40]!r}")
        values.append(_value(match, charset))
        at = match.end()
        if not match["end"]:
            return values


def _value(match: re.Match[bytes], charset: str) -> str | None:
    if match["null"]:
        return None
    if match["number"]:
        return match["number"].decode("ascii")
    if match["hex"]:
        return decode(_hex(match["digits"]), charset)
    kind, text = (match["kind"] or b"").strip().lower(), match["text"]
    if text[:2].lower() == b"0x":
        return decode(_hex(text[2:]), charset)
    data = unescape(text)
    if kind == b"x":
        return decode(_hex(data), charset)
    if kind == b"b":
        return str(int(data, 2)) if data and set(data) <= set(b"01") else _refuse(data)
    named = kind.removeprefix(b"_").decode("ascii", "replace")
    return decode(data, named if kind[:1] == b"_" and named in CHARSETS and named != "binary" else charset)


def _refuse(data: bytes) -> str:
    raise NotARow(f"not a bit literal: {data[:40]!r}")


def _hex(digits: bytes) -> bytes:
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        raise NotARow(f"not a hexadecimal literal: {digits[:40]!r}") from None


_PREPARED = re.compile(r"\\(.)", re.DOTALL)
_PREPARED_ESCAPED = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "\x02": "\\"}


def unescape_prepared(text: str) -> str:
    """Read the escapes that are left in a text whose quotes are plain already (see `blocks`)."""
    return _PREPARED.sub(lambda match: _PREPARED_ESCAPED.get(match.group(1), match.group(1)), text)
