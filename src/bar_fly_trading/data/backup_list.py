"""What a backup looks like, and how one is opened and checked: its list of files, and their contents by checksum."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bar_fly_trading.errors import FixInput, StoreDamaged
from bar_fly_trading.files import sha256_bytes

BACKUP_SCHEMA = 1
LIST_FILE, OBJECTS = "backup.json", "objects"
BLOCK_BYTES = 1 << 20
DAMAGED = "Take an earlier backup."


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the home: its path below the home, content, size and permissions."""

    path: str
    sha256: str
    bytes: int
    mode: int

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts
        if not parts or self.path.startswith("/") or ".." in parts or "\\" in self.path or "\0" in self.path:
            raise ValueError(f"{self.path!r} is no path below a home")
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ValueError(f"{self.path!r} has no checksum")


def list_bytes(entries: Sequence[Entry], at_us: int) -> bytes:
    """Write the list of a backup made at a time (UTC microseconds), and its own checksum."""
    body: dict[str, Any] = {"schema": BACKUP_SCHEMA, "at": at_us, "files": [asdict(e) for e in entries]}
    digest = sha256_bytes(json.dumps(body, sort_keys=True).encode())
    return (json.dumps({**body, "sha256": digest}, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Kept:
    """An opened backup: its list, and how to read a content by its checksum."""

    entries: tuple[Entry, ...]
    read: Callable[[str], IO[bytes]]


@contextmanager
def opened(source: Path) -> Iterator[Kept]:
    """Open a backup; FixInput where there is none, StoreDamaged where its list is altered."""
    with ExitStack() as stack:
        if source.is_dir():
            content, read = _list_in(source), _reader(source)
        elif source.is_file():
            try:
                tar = stack.enter_context(tarfile.open(source, "r:"))
                members: Mapping[str, tarfile.TarInfo] = {m.name: m for m in tar.getmembers()}
                content = _member(tar, members, LIST_FILE).read()
            except (tarfile.TarError, KeyError, EOFError) as error:
                raise StoreDamaged(f"{source} is no backup, or was cut off: {error}.", way_out=DAMAGED) from error
            read = _tar_reader(tar, members)
        else:
            raise FixInput(f"There is no backup at {source}.", way_out="Name the folder or .tar file of bft backup.")
        yield Kept(_entries(content, source), read)


def _list_in(folder: Path) -> bytes:
    try:
        return (folder / LIST_FILE).read_bytes()
    except FileNotFoundError:
        raise FixInput(f"{folder} holds no {LIST_FILE}.", way_out="Name the folder that bft backup made.") from None


def _reader(folder: Path) -> Callable[[str], IO[bytes]]:
    return lambda digest: (folder / OBJECTS / digest).open("rb")


def _member(tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], name: str) -> IO[bytes]:
    file = tar.extractfile(members[name])
    if file is None:
        raise KeyError(name)
    return file


def _tar_reader(tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo]) -> Callable[[str], IO[bytes]]:
    return lambda digest: _member(tar, members, f"{OBJECTS}/{digest}")


def _entries(content: bytes, source: Path) -> tuple[Entry, ...]:
    try:
        body: dict[str, Any] = json.loads(content)
        if body.get("schema") != BACKUP_SCHEMA:
            raise ValueError(f"schema {body.get('schema')}, this version reads {BACKUP_SCHEMA}")
        entries = tuple(Entry(**entry) for entry in body["files"])
        if content != list_bytes(entries, body["at"]):
            raise ValueError("it does not match its checksum")
        if len({entry.path for entry in entries}) != len(entries):
            raise ValueError("it names a file twice")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreDamaged(f"The list of {source} cannot be used: {error}.", way_out=DAMAGED) from error
    return entries


def check_contents(entries: Sequence[Entry], read: Callable[[str], IO[bytes]]) -> None:
    """Check every content against its checksum, each once; StoreDamaged naming the file."""
    done: set[str] = set()
    for entry in entries:
        if entry.sha256 in done:
            continue
        try:
            with read(entry.sha256) as file:
                digest = hashlib.sha256()
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
        except (OSError, KeyError, tarfile.TarError) as error:
            raise StoreDamaged(f"The backup lacks {entry.path} ({error}).", way_out=DAMAGED) from error
        if digest.hexdigest() != entry.sha256:
            raise StoreDamaged(f"{entry.path} in the backup does not match its checksum.", way_out=DAMAGED)
        done.add(entry.sha256)
