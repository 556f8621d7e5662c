"""Feature table: seconds, rows a second and peak memory, beside TA-Lib called per symbol for the same indicators.

Run `python benchmarks/features.py`. Real prices where `../shared/data` lies beside the checkout, else synthetic ones of the
same size. Each line is measured in a process of its own: wall seconds, processor seconds (the wall's rival on a busy machine), rows a
wall second, and the process's largest resident size, imports included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import talib

from bar_fly_trading.data.known import backfilled
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_bars
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.features import table
from bar_fly_trading.features.packing import layout
from bar_fly_trading.features.price import indicators
from bar_fly_trading.files import publish_with

REAL = Path(__file__).parents[1].parent / "shared/data/daily_adjusted_sp500.parquet"
NAMES, SESSIONS = 504, 3600
Measured = tuple[float, float, int]
PARTS = {
    "process": "read the store, build the whole table, write Parquet",
    "build": "build the whole table (60 columns) in memory",
    "ours": "17 indicators, packed (packing and unpacking included)",
    "talib": "17 indicators, TA-Lib per symbol",
}


def synthetic_bars() -> pl.DataFrame:
    """Return seeded bars of the real table's size."""
    rng = np.random.default_rng(0)
    days = Calendar().sessions(date(2007, 1, 3), date(2021, 12, 31))[:SESSIONS]
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.015, (NAMES, SESSIONS)), axis=1)).ravel()
    return pl.DataFrame(
        {
            "instrument_id": np.repeat([f"us:N{i:03d}" for i in range(NAMES)], SESSIONS),
            "session": days * NAMES,
            "open": close * 0.999,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "adjusted_close": close * 0.9,
            "volume": rng.integers(100_000, 5_000_000, close.size),
            "dividend_amount": np.zeros(close.size),
            "split_coefficient": np.ones(close.size),
        }
    )


def bars() -> pl.DataFrame:
    """Return the bars to measure on."""
    if not REAL.exists():
        return synthetic_bars()
    rows = pl.read_parquet(REAL).rename({"date": "session"})
    return rows.select(("us:" + pl.col("symbol")).alias("instrument_id"), pl.exclude("symbol"))


def symbols(frame: pl.DataFrame) -> dict[str, str]:
    """Return each instrument's symbol."""
    return {i: i.removeprefix("us:") for i in frame["instrument_id"].unique()}


class Stopwatch:
    """Wall and processor seconds since it was made."""

    def __init__(self) -> None:
        """Start."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self, rows: int) -> Measured:
        """Return what was measured over so many rows."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu, rows


def run_process(home: Path) -> Measured:
    """Time what a features run does, from the store to the file."""
    watch = Stopwatch()
    frame = load_bars(Store(home / "store"))
    built = table.build(frame, symbols(frame))
    del frame
    publish_with(home / "features.parquet", built.write_parquet)
    return watch.read(built.height)


def run_build(_: Path) -> Measured:
    """Time the table alone."""
    frame = bars()
    names = symbols(frame)
    watch = Stopwatch()
    built = table.build(frame, names)
    return watch.read(built.height)


def _adjusted() -> tuple[pl.DataFrame, list[int]]:
    scale = pl.col("adjusted_close") / pl.col("close")
    frame = bars().sort("instrument_id", "session")
    frame = frame.select("instrument_id", pl.col("high") * scale, pl.col("low") * scale, close="adjusted_close")
    return frame, frame["instrument_id"].rle().struct.field("len").to_list()


def run_ours(_: Path) -> Measured:
    """Time our indicators, from long columns to long columns."""
    frame, counts = _adjusted()
    watch = Stopwatch()
    places = layout(np.array(counts, dtype=np.int64), np.ones(frame.height, dtype=np.bool_))
    high, low, close = (places.pack(frame[name].to_numpy()) for name in ("high", "low", "close"))
    for _name, values in indicators(high, low, close):
        places.unpack(values)
    return watch.read(frame.height)


def run_talib(_: Path) -> Measured:
    """Time TA-Lib for the same indicators, symbol by symbol, from long columns."""
    frame, counts = _adjusted()
    watch = Stopwatch()
    columns = [frame[name].to_numpy() for name in ("high", "low", "close")]
    first = 0
    for count in counts:
        high, low, close = (column[first : first + count] for column in columns)
        for n in (20, 50, 200):
            talib.SMA(close, n)
            talib.EMA(close, n)
        talib.MACD(close, 12, 26, 9)
        talib.RSI(close, 14)
        talib.ADX(high, low, close, 14)
        talib.ATR(high, low, close, 14)
        talib.CCI(high, low, close, 14)
        talib.BBANDS(close, 20, 2, 2)
        talib.MAX(high, 252)
        talib.MIN(low, 252)
        first += count
    return watch.read(frame.height)


RUNS = {"process": run_process, "build": run_build, "ours": run_ours, "talib": run_talib}


def main() -> None:
    """Measure one part (named on the command line, as JSON) or all of them, each in its own process."""
    if len(sys.argv) == 3:
        seconds, cpu, rows = RUNS[sys.argv[1]](Path(sys.argv[2]))
        status = Path("/proc/self/status").read_text().splitlines()  # ru_maxrss would begin at the parent's weight
        peak_mib = next(int(row.split()[1]) / 1024 for row in status if row.startswith("VmHWM"))
        print(json.dumps({"seconds": seconds, "cpu": cpu, "rows": rows, "peak_mib": peak_mib}))
        return
    print("real prices" if REAL.exists() else f"synthetic prices, {NAMES} names x {SESSIONS} sessions")
    with tempfile.TemporaryDirectory() as home:
        frame = bars()
        frame = frame.with_columns(backfilled(frame["session"], Calendar()).alias("known_at"))
        Store(Path(home) / "store").publish({"bars": frame}, source="benchmark", recorded_at_us=0)
        print(f"{'what':62} {'wall s':>8} {'cpu s':>8} {'rows/s':>12} {'peak MiB':>9}")
        for part, words in PARTS.items():
            command = [sys.executable, __file__, part, home]
            done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            pace = done["rows"] / done["seconds"]
            print(f"{words:62} {done['seconds']:8.2f} {done['cpu']:8.2f} {pace:12,.0f} {done['peak_mib']:9.0f}")


if __name__ == "__main__":
    main()
