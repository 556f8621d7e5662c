"""Files that are whole or absent: atomic publishing, hashes, and the lock of a run."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from bar_fly_trading.errors import FreeDisk, WaitForOtherRun

TEMP_SUFFIX = ".bft-tmp"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_COMMAND_LENGTH_MAX = 200
_counter = itertools.count()


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of the bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal; OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_folder(folder: Path) -> None:
    """Make the folder's own entries (names created, renamed, removed) survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, each one durable; FreeDisk where the disk refuses."""
    if folder.is_dir():
        return
    try:
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        fsync_folder(folder.parent)
    except OSError as error:
        raise disk_refused(folder, error) from error


def disk_refused(path: Path, error: OSError) -> FreeDisk:
    """Say in the operator's words that a write to `path` failed; what was there before is whole."""
    if error.errno in _FULL:
        message, way_out = f"No room to write {path}: {error.strerror}.", "Free disk space, then run the command again."
    else:
        message = f"{path} cannot be written: {error.strerror or error}."
        way_out = "Make the place writable, or name another home in BFT_HOME, then run the command again."
    return FreeDisk(f"{message} What was kept before is whole.", way_out=way_out)


def publish_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader, a kill or a power cut finds the old content or the new, never a mixture.

    Raises FreeDisk where the disk refuses; the old content is whole then.
    """

    def write(temp: Path) -> None:
        temp.write_bytes(data)

    publish_with(path, write)


def publish_with(path: Path, write: Callable[[Path], None]) -> None:
    """Do as `publish_bytes` with a file that `write` makes at the temporary path it is given (same folder).

    The order is: write, fsync the file, rename over `path`, fsync the folder. Whatever `write` raises is passed on
    with the temporary file gone; an OSError becomes FreeDisk.
    """
    make_folder(path.parent)
    temp = path.parent / f".{path.name}.{os.getpid()}-{next(_counter)}{TEMP_SUFFIX}"
    try:
        write(temp)
        with temp.open("rb+") as file:
            os.fsync(file.fileno())
        temp.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise disk_refused(path, error) from error
    finally:
        temp.unlink(missing_ok=True)


def remove_orphans(folder: Path) -> tuple[Path, ...]:
    """Remove the temporary files that killed runs left directly in the folder, and return them.

    Call it only under the lock that every writer of the folder holds: a living writer's file looks the same.
    """
    if not folder.is_dir():
        return ()
    orphans = tuple(sorted(p for p in folder.iterdir() if p.name.endswith(TEMP_SUFFIX) and p.is_file()))
    for orphan in orphans:
        orphan.unlink(missing_ok=True)
    return orphans


class RunLock:
    """The lock of one run at a time, as a context manager; it ends with the process, however that ends."""

    def __init__(self, path: Path, *, command: str | None = None) -> None:
        """Take the lock file's path and the command to name to others (default: this process's own)."""
        self.path = path
        self._command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) if command is None else command
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Take the lock; WaitForOtherRun, naming the holder's process and command, where another run holds it."""
        make_folder(self.path.parent)
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_refused(self.path, error) from error
        try:
            self._take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return self

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 2 * _COMMAND_LENGTH_MAX, 0).decode("utf-8", "replace").strip()
            pid, _, command = holder.partition(" ")
            who = f"process {pid} ({command})" if pid else "a process that has just started"
            raise WaitForOtherRun(
                f"Another run is at work: {who} holds {self.path}.",
                way_out="Wait until it ends, or stop it; the lock goes with its process.",
            ) from None
        try:
            # The file says who holds the lock; it never is the lock, so what a killed run left in it is harmless.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {self._command[:_COMMAND_LENGTH_MAX]}\n".encode(), 0)
        except OSError as error:
            raise disk_refused(self.path, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
