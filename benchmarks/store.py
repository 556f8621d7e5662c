"""Reading the newest view of 1.69 million bars: `Store.read` and SQL, beside a bare `polars.read_parquet` of the same bytes (the bound).

Run `python benchmarks/store.py`. Real prices where `../shared/data` lies beside the checkout, else synthetic ones of the same size. Two
stores: one import; and the same with 60 daily pulls on top, each of which corrects one session. Each line is measured in a process
of its own (imports left out), the first reading of its process, checksums included.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from bar_fly_trading.data.known import backfilled
from bar_fly_trading.data.sql import query
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar

sys.path.insert(0, str(Path(__file__).parent))
PULLS = 60
WORDS = {
    "bare": "polars.read_parquet of the segments (no checksum, no view)",
    "read": "Store.read: the newest view, as of everything known",
    "count": "SQL: count(*), max(session) over the view",
    "average": "SQL: mean close an instrument over the view",
    "rows": "SQL: every row and column, as Python tuples (--csv, --json)",
}
QUERIES = {
    "count": "SELECT count(*), max(session) FROM bars",
    "average": "SELECT instrument_id, avg(close) FROM bars GROUP BY 1",
}


def fill(root: Path, frame: pl.DataFrame, pulls: int) -> None:
    """Make a store of one import and so many pulls."""
    store = Store(root)
    store.publish({"bars": frame}, source="import", recorded_at_us=0)
    for number, day in enumerate(frame["session"].unique().sort().tail(pulls), 1):
        corrected = frame.filter(pl.col("session") == day).with_columns(pl.col("close") + 0.01)
        store.publish({"bars": corrected}, source="pull", recorded_at_us=number)


def measure(what: str, root: Path) -> tuple[float, int]:
    """Return the wall seconds of one reading, and how many rows came."""
    store = Store(root)
    importlib.import_module("duckdb")
    files = [root / s.file for s in store.manifest().tables["bars"]]
    began = time.perf_counter()
    if what == "bare":
        rows = pl.read_parquet(files).height
    elif what == "read":
        rows = store.read("bars").height
    else:
        with query(store, QUERIES.get(what, "SELECT * FROM bars")) as answer:
            rows = sum(1 for _ in answer.rows)
    return time.perf_counter() - began, rows


def peak_mib() -> float:
    """Return this process's largest resident size; 0 where the system does not tell (getrusage counts the parent's before exec)."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def main() -> None:
    """Measure one part (named on the command line, as JSON) or all of them, each in its own process."""
    if len(sys.argv) == 3:
        seconds, rows = measure(sys.argv[1], Path(sys.argv[2]))
        print(json.dumps({"seconds": seconds, "rows": rows, "peak_mib": peak_mib()}))
        return
    features = importlib.import_module("features")
    frame = features.bars()
    frame = frame.with_columns(backfilled(frame["session"], Calendar()).alias("known_at"))
    print("real prices" if features.REAL.exists() else "synthetic prices", f"{frame.height:,} bars")
    with tempfile.TemporaryDirectory() as folder:
        for pulls in (0, PULLS):
            root = Path(folder) / f"{pulls}"
            fill(root, frame, pulls)
            size = sum(p.stat().st_size for p in (root / "segments").rglob("*.parquet"))
            print(
                f"one import and {pulls} pulls, {size / 1e6:.1f} MB in {len(Store(root).manifest().tables['bars'])} segments"
            )
            print(f"{'what':62} {'best of 3 s':>12} {'x bound':>8} {'rows given':>12} {'peak MiB':>9}")
            bound = 0.0
            for what, words in WORDS.items():
                argv = [sys.executable, __file__, what, str(root)]
                runs = [
                    json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
                    for _ in range(3)
                ]
                best = min(runs, key=lambda run: run["seconds"])
                bound = bound or best["seconds"]
                ratio = best["seconds"] / bound
                print(f"{words:62} {best['seconds']:12.3f} {ratio:8.2f} {best['rows']:12,} {best['peak_mib']:9.0f}")


if __name__ == "__main__":
    main()
