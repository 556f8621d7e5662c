"""Frames of the IB socket protocol: a 4-byte big-endian length, then fields each ended by a NUL byte."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

FRAME_BYTES_MAX = 1 << 20
"""No message a client sends comes near this; a longer length prefix is a broken or hostile peer."""

GREETING = b"API\0"


class MalformedMessage(ValueError):
    """A frame or a field that does not follow the layout; the client that sent it is dropped."""


def ascii_text(text: str) -> str:
    """Return `text` as 7-bit text without NUL: what is not ASCII becomes a backslash escape."""
    return text.replace("\0", "").encode("ascii", "backslashreplace").decode("ascii")


def unicode_escaped(text: str) -> str:
    """Return `text` for a field that clients decode with `unicode-escape`: a backslash of its own is doubled."""
    return ascii_text(text.replace("\\", "\\\\"))


def encode_frame(fields: Sequence[str]) -> bytes:
    """Return one frame of `fields`."""
    body = "".join(f"{ascii_text(field)}\0" for field in fields).encode("ascii")
    return struct.pack(">I", len(body)) + body


class FrameReader:
    """Cuts a byte stream into frames, whatever pieces it arrives in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the body of each frame that `data` completes; MalformedMessage where a length is absurd."""
        self._buffer += data
        while len(self._buffer) >= 4:
            (length,) = struct.unpack_from(">I", self._buffer)
            if length == 0 or length > FRAME_BYTES_MAX:
                raise MalformedMessage(f"a frame of {length} bytes (1 to {FRAME_BYTES_MAX} are possible)")
            if len(self._buffer) < 4 + length:
                return
            body = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            yield body


def split_fields(body: bytes) -> list[str]:
    """Return the fields of a frame's body; MalformedMessage where the last is not ended by NUL."""
    if not body.endswith(b"\0"):
        raise MalformedMessage(f"a frame of {len(body)} bytes does not end with NUL")
    return body[:-1].decode("utf-8", "backslashreplace").split("\0")
