"""The bytes of a dump, plain or gzip, from an offset on, a chunk at a time."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Self

from bar_fly_trading.errors import FixInput

CHUNK_BYTES = 4 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_PROBE_BYTES = 1 << 20
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_PACKED = {
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7-Zip",
}


def is_gzip(path: Path) -> bool:
    """Tell whether a file is compressed with gzip, by its first bytes."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP_MAGIC


def fingerprint(path: Path) -> str:
    """Return 16 hexadecimal digits that name a dump: of its size and its first and last MiB.

    A checksum of all of it would read many GiB twice.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_PROBE_BYTES))
        file.seek(max(size - _PROBE_BYTES, 0))
        digest.update(file.read(_PROBE_BYTES))
    return digest.hexdigest()[:16]


class Source:
    """One dump opened at an offset of its (uncompressed) bytes; a context manager.

    `damage` says why the bytes ended before their time (a gzip file cut off or damaged), None where they did not.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        """Open the file; FixInput where it cannot be read. From a gzip file the bytes before `offset` are read and dropped."""
        self.damage: str | None = None
        try:
            self.total = path.stat().st_size
            self._gzip = is_gzip(path)
            self._file = path.open("rb")
        except OSError as error:
            raise FixInput(f"{path} cannot be read: {error.strerror}.", way_out="Name an existing dump file.") from None
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._waiting = b""
        if not self._gzip:
            self._file.seek(offset)
        if not self._gzip or offset == 0:
            self._check_text(path)
        while self._gzip and offset > 0:
            dropped = self.read(min(CHUNK_BYTES, offset))
            if not dropped:
                break
            offset -= len(dropped)

    def _check_text(self, path: Path) -> None:
        """Raise FixInput where the bytes are packed in another way than gzip, or are UTF-16 as PowerShell writes it."""
        if self._gzip:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                with path.open("rb") as file:
                    first = head.decompress(file.read(1 << 12), 16)
            except zlib.error:
                return
        else:
            with path.open("rb") as file:
                first = file.read(16)
        kind = next((name for magic, name in _PACKED.items() if first.startswith(magic)), None)
        if kind is not None:
            self._file.close()
            raise FixInput(
                f"{path} is packed with {kind}.", way_out="Unpack it, or pack the dump with gzip, then import that."
            )
        if first.startswith(_UTF16) or first[1::2].strip(b"\0") == b"" != first[0::2].strip(b"\0"):
            self._file.close()
            raise FixInput(
                f"{path} is UTF-16 text, which is what PowerShell's > makes of a dump.",
                way_out="Dump again with mysqldump --result-file=dump.sql, or convert it: iconv -f UTF-16 -t UTF-8 FILE.",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def read_bytes(self) -> int:
        """Return how far the file itself was read, to compare with `total`."""
        return self._file.tell()

    def read(self, count: int) -> bytes:
        """Return up to `count` further bytes, none at the end; OSError where the disk fails."""
        if not self._gzip:
            return self._file.read(count)
        found = b""
        while not found and self.damage is None:
            if self._inflate.eof:
                # A gzip file may be several, one after the other.
                self._waiting = self._inflate.unused_data or self._file.read(1 << 18)
                if not self._waiting.strip(b"\0"):
                    return b""
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
            elif not self._waiting:
                self._waiting = self._file.read(1 << 18)
                if not self._waiting:
                    self.damage = "the gzip file is cut off"
                    break
            try:
                found = self._inflate.decompress(self._waiting, count)
            except zlib.error as error:
                self.damage = f"the gzip file is damaged ({error})"
                break
            self._waiting = self._inflate.unconsumed_tail
        return found
