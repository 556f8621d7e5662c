"""A second run, Ctrl-C, kill -9 and a full disk: one clear message, nothing lost, nothing half-written, the rerun completes."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.simulated.conftest import BFT, NEXT_DAY, SIGNAL_DAY, TRADED, Chain, Gateway, chain_bars, one_message

from bar_fly_trading.data.store import Store

EVENING = ("evening", "--no-pull", "--as-of", SIGNAL_DAY)
TABLES = ("bars", "spells", "splits", "dividends")


def _read_all(home: Path) -> tuple[str | None, dict[str, pl.DataFrame]]:
    """Read the store, every checksum verified."""
    store = Store(home / "store")
    return store.current(), {name: store.read(name).drop("recorded_at") for name in TABLES}


def _wait_for_lock(chain: Chain, process: subprocess.Popen[str]) -> None:
    """Wait until a process holds the home's lock."""
    end = time.monotonic() + 60
    lock = chain.home / "lock"
    while not (lock.exists() and lock.read_text().startswith(f"{process.pid} ")):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.002)


@pytest.fixture(scope="module")
def more_bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a second bars file: 104 more names, which do not compress, and a corrected one."""
    bars = chain_bars()
    golf = bars.filter(pl.col("symbol") == "GOLF")
    names = [f"M{first}{second}" for first in "ABCD" for second in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    noise = random.Random(1)
    frames = [
        golf.with_columns(
            pl.lit(name).alias("symbol"),
            pl.Series("volume", [noise.randrange(1_000_000, 9_000_000) for _ in range(golf.height)]),
            pl.Series("adjusted_close", [noise.uniform(90, 110) for _ in range(golf.height)]),
        )
        for name in names
    ]
    frames.append(golf.with_columns(pl.col("volume") + 1000))
    path = tmp_path_factory.mktemp("more") / "more.csv"
    pl.concat(frames).write_csv(path)
    return path


def test_d26_a_second_run_at_the_same_time_waits_for_nobody(ranked: Chain, gateway: Gateway) -> None:
    """While a morning is at work a second run ends at once with 8 and names the other; the first ends undisturbed."""
    gateway.fault("hold_fills")
    first = ranked.start(
        "morning", "--as-of", NEXT_DAY, "--mode", "paper", "--gateway", gateway.where, "--set", "gateway.fill_wait_s=60"
    )
    gateway.until("sent 3 orderStatus")
    for words in (("close", "--as-of", NEXT_DAY), ("import", "bars", ranked.bars)):
        said = ranked.refused(8, *words)
        assert str(first.pid) in said and "morning" in said
    gateway.heal()
    out, err = first.communicate(timeout=60)
    assert first.returncode == 0, out + err
    assert gateway.orders == len(TRADED)


@pytest.mark.parametrize("seed", range(2))
def test_ctrl_c_in_the_middle_of_an_evening(imported: Chain, seed: int) -> None:
    """Ctrl-C at a random moment of an evening ends with 130 and one line, leaves nothing half-written, and a rerun completes."""
    process = imported.start(*EVENING)
    _wait_for_lock(imported, process)
    time.sleep(random.Random(seed).uniform(0, 0.5))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    # -2: the interpreter was already taking itself down, after the last word; a shell shows that as 130 too.
    assert process.returncode in {0, 130} or (process.returncode == -2 and "ranked list" in out), out + err
    assert "Traceback" not in err and err.count("error: ") == (process.returncode == 130), err
    assert imported.debris() == []
    assert "entries 4 to execute, 1 to watch" in imported.ok(*EVENING)
    assert len(imported.records("evening")) == 1
    assert (imported.home / f"signals/{SIGNAL_DAY}.csv").exists()


def _segments(home: Path) -> int:
    return len([*(home / "store/segments").glob("*/*.parquet")])


def _manifests(home: Path) -> int:
    return len([*(home / "store/manifests").glob("*.json")])


def _temps(home: Path) -> int:
    return len([*(home / "store").rglob("*.bft-tmp")])


MOMENTS: dict[str, Callable[[Path], int]] = {
    "a file being written": _temps,
    "a segment": _segments,
    "a manifest": _manifests,
}


@pytest.mark.parametrize("moment", [*MOMENTS, "any time 1", "any time 2"])
def test_d24_kill_9_during_a_store_write(imported: Chain, more_bars: Path, moment: str) -> None:
    """Killed while it writes the store (at a file, a segment, the manifest, any time), an import leaves the old version or
    the new one, each whole; the next import completes and the store equals one that was never killed."""
    before = _read_all(imported.home)
    started = MOMENTS[moment](imported.home) if moment in MOMENTS else 0
    process = imported.start("import", "bars", more_bars)
    if moment in MOMENTS:
        while process.poll() is None and MOMENTS[moment](imported.home) <= started:
            pass
    else:
        _wait_for_lock(imported, process)
        time.sleep(random.Random(moment).uniform(0, 0.3))
    process.kill()
    process.communicate()
    version, tables = _read_all(imported.home)
    if version == before[0]:
        assert all(tables[name].equals(before[1][name]) for name in TABLES)
    imported.ok("import", "bars", more_bars)
    _, after = _read_all(imported.home)
    assert after["bars"]["instrument_id"].n_unique() == before[1]["bars"]["instrument_id"].n_unique() + 104
    golf = after["bars"].filter(pl.col("instrument_id") == "us:GOLF")["volume"]
    assert (golf == 8_001_000).all()
    assert imported.debris() == []


def _limited(chain: Chain, bytes_max: int, *args: object) -> subprocess.CompletedProcess[str]:
    """Run `bft` where no file may grow beyond so many bytes: the disk that is full."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))

    return subprocess.run(
        [str(BFT), *map(str, args)],
        env=chain.environ(),
        cwd=chain.home.parent,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("bytes_max", [0, 600, 40_000])
def test_a_full_disk_during_an_import(imported: Chain, more_bars: Path, bytes_max: int) -> None:
    """On a disk that takes so few bytes more an import ends with 9 and says what to free; the store reads as before."""
    before = _read_all(imported.home)
    one_message(_limited(imported, bytes_max, "import", "bars", more_bars), 9)
    after = _read_all(imported.home)
    assert after[0] == before[0]
    assert all(after[1][name].equals(before[1][name]) for name in TABLES)
    assert imported.debris() == []
    imported.ok("import", "bars", more_bars)


@pytest.mark.parametrize("bytes_max", [3_000, 36_000])
def test_a_full_disk_during_an_evening_and_a_morning(imported: Chain, read_gateway: Gateway, bytes_max: int) -> None:
    """On a full disk (no room for the journal, or none for the features) a run ends with 9; with room again all completes."""
    one_message(_limited(imported, bytes_max, *EVENING), 9)
    assert imported.records("evening") == []
    assert imported.debris() == []
    imported.ok(*EVENING)
    words = ("morning", "--as-of", NEXT_DAY, "--mode", "shadow", "--gateway", read_gateway.where)
    done = _limited(imported, bytes_max, *words)
    if bytes_max == 3_000 or done.returncode:
        one_message(done, 9)
    imported.ok(*words)
    assert len(imported.records("plan")) == 1
    assert sorted(f["symbol"] for f in imported.records("fill")) == sorted(TRADED)
    assert imported.debris() == []


def test_a_full_disk_during_an_export(ranked: Chain, tmp_path: Path) -> None:
    """On a full disk an export ends with 9, and no file of it is there in part."""
    words = ("export", "all-data", tmp_path / "files", "--as-of", SIGNAL_DAY)
    one_message(_limited(ranked, 60_000, *words), 9)
    assert [*(tmp_path / "files").glob("*")] == []
