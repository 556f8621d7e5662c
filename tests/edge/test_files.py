"""Files are whole or absent, and a home has one run at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bar_fly_trading.errors import FreeDisk, WaitForOtherRun
from bar_fly_trading.files import RunLock, publish_bytes, publish_with, remove_orphans, sha256_bytes, sha256_file

_HOLD = """
import sys, time
from pathlib import Path
from bar_fly_trading.files import RunLock
with RunLock(Path(sys.argv[1]), command="bft evening"):
    print("held", flush=True)
    time.sleep(60)
"""
_FILL = """
import resource, sys
from pathlib import Path
from bar_fly_trading.errors import FreeDisk
from bar_fly_trading.files import publish_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    publish_bytes(Path(sys.argv[1]), b"x" * 5000)
except FreeDisk as error:
    print(error)
"""


def test_a_published_file_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """Publishing creates folders, replaces content, and leaves no temporary file."""
    path = tmp_path / "a" / "b" / "file.txt"
    publish_bytes(path, b"one")
    publish_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]
    assert sha256_file(path) == sha256_bytes(b"two")


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """Whatever the writer raises is passed on, the old content stays, the half-written file is gone."""
    path = tmp_path / "file.txt"
    publish_bytes(path, b"old")

    def fail(temp: Path) -> None:
        temp.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_with(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_refuses_is_said_and_the_old_file_is_whole(tmp_path: Path) -> None:
    """A write beyond what the system allows is FreeDisk naming the file, with the old content in place."""
    path = tmp_path / "file.txt"
    publish_bytes(path, b"old")
    done = subprocess.run([sys.executable, "-c", _FILL, str(path)], capture_output=True, text=True, check=True)
    assert f"No room to write {path}" in done.stdout
    assert "Free disk space" in done.stdout
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    """A place that cannot be written is named, without a traceback of the system's."""
    (tmp_path / "place").write_text("a file")
    with pytest.raises(FreeDisk, match="place"):
        publish_bytes(tmp_path / "place" / "file.txt", b"x")


def test_orphans_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    """Only temporary files go."""
    (tmp_path / ".CURRENT.123-0.bft-tmp").write_bytes(b"half")
    (tmp_path / "CURRENT").write_bytes(b"whole")
    assert [path.name for path in remove_orphans(tmp_path)] == [".CURRENT.123-0.bft-tmp"]
    assert [path.name for path in tmp_path.iterdir()] == ["CURRENT"]
    assert remove_orphans(tmp_path / "absent") == ()


def test_a_second_run_is_told_who_holds_the_lock_and_a_kill_frees_it(tmp_path: Path) -> None:
    """The message names process and command; after kill -9 of the holder the lock is free, with no file to delete."""
    lock = tmp_path / "run.lock"
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(WaitForOtherRun, match=rf"process {holder.pid} \(bft evening\)"), RunLock(lock):
            pass
        os.kill(holder.pid, signal.SIGKILL)
    with RunLock(lock), pytest.raises(WaitForOtherRun), RunLock(lock):
        pass
    with RunLock(lock):
        pass
