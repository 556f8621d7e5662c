"""A store whose writer is killed, or whose disk is full, holds the old version or the new one, whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from bar_fly_trading.data.store import Store

_PUBLISH_FOR_EVER = """
import sys
from datetime import date
from pathlib import Path
import polars as pl
from bar_fly_trading.data.store import Store
store = Store(Path(sys.argv[1]))
number = store.read("sectors").height
while True:
    number += 1
    day = pl.date(2020, 1, 1)
    name = f"us:{number:06d}"
    store.publish(
        {
            "sectors": pl.DataFrame({"instrument_id": [name], "sector": ["x"], "name": ["y" * 1000], "known_at": [1]}),
            "splits": pl.select(instrument_id=pl.lit(name), effective_date=day, split_factor=2.0, known_at=1),
        },
        source="test",
        recorded_at_us=number,
    )
    print(number, flush=True)
"""
_FILL = """
import resource, sys
from pathlib import Path
import polars as pl
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import FreeDisk
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
import random
rows = 2000
names = [f"us:{i}" for i in range(rows)]
text = [random.Random(i).randbytes(400).hex() for i in range(rows)]
frame = pl.DataFrame({"instrument_id": names, "sector": text, "name": text, "known_at": [1] * rows})
try:
    Store(Path(sys.argv[1])).publish({"sectors": frame}, source="big", recorded_at_us=2)
except FreeDisk as error:
    print(error)
"""
_ROUNDS = 200 if os.environ.get("BFT_PROVE") else 20


def test_d24_a_kill_at_any_moment_leaves_the_old_version_or_the_new(tmp_path: Path) -> None:
    """Twenty writers (200 in the long proof) killed with SIGKILL: what was reported is there, both tables agree, nothing is damaged or mixed."""
    store, chance = Store(tmp_path), random.Random(7)
    for _ in range(_ROUNDS):
        with subprocess.Popen(
            [sys.executable, "-c", _PUBLISH_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(chance.uniform(0, 0.03))
            os.kill(writer.pid, signal.SIGKILL)
            said = writer.stdout.read().split()
        sectors, splits = store.read("sectors"), store.read("splits")
        assert sectors["instrument_id"].equals(splits["instrument_id"])
        assert sectors["recorded_at"].to_list() == list(range(1, sectors.height + 1))
        assert sectors.height >= (int(said[-1]) if said else 1)
    assert store.read("sectors").height > _ROUNDS


def _full_disks() -> list[str]:
    return ["limit", *(["tmpfs"] if os.geteuid() == 0 else [])]


@pytest.mark.parametrize("how", _full_disks())
def test_a_full_disk_refuses_and_the_old_version_is_whole(tmp_path: Path, how: str) -> None:
    """A segment that does not fit is FreeDisk; the version before stays current, readable, and free of rubbish."""
    mounted = (
        how == "tmpfs"
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(tmp_path)], check=False, capture_output=True
        ).returncode
        == 0
    )
    try:
        store = Store(tmp_path / "store")
        small = pl.DataFrame({"instrument_id": ["us:A"], "sector": ["x"], "name": ["y"], "known_at": [1]})
        version = store.publish({"sectors": small}, source="small", recorded_at_us=1)
        how = "tmpfs" if mounted else "limit"
        done = subprocess.run(
            [sys.executable, "-c", _FILL, str(tmp_path / "store"), how], capture_output=True, text=True, check=True
        )
        assert "No room to write" in done.stdout
        assert store.current() == version
        assert store.read("sectors").height == 1
        assert not list(tmp_path.rglob("*.bft-tmp"))
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
