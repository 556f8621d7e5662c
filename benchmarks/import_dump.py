"""`bft import mysqldump`: MB/s and peak MiB of a generated dump, beside the bound (reading the file and dropping it).

Run `python benchmarks/import_dump.py [MB]` (default 256, up to 2048). Two dumps of that size: one of bars alone (every byte is
parsed and stored), one in the real database's proportions (nine tenths option rows, which are counted and left out). Each is
imported in a process of its own; the peak is that process's largest resident size, imports included.
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

from bar_fly_trading.data.importers.mysqldump import import_dump
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar, evening_us

MB = 1_000_000
SIZE_MAX_MB, SIZE_DEFAULT_MB = 2048, 256
ROWS_A_STATEMENT = 8000
NEWEST = date(2024, 6, 28)
CORE = (
    "CREATE TABLE `core_stock` (\n  `date` datetime NOT NULL,\n  `open` double DEFAULT NULL,\n  `high` double DEFAULT NULL,\n"
    "  `low` double DEFAULT NULL,\n  `close` double DEFAULT NULL,\n  `adjusted_close` double DEFAULT NULL,\n"
    "  `volume` bigint DEFAULT NULL,\n  `symbol` varchar(5) NOT NULL,\n  PRIMARY KEY (`date`,`symbol`)\n);\n"
)
OPTIONS = (
    "CREATE TABLE `historical_options` (\n  `contract_id` varchar(30) NOT NULL,\n  `date` datetime NOT NULL,\n"
    "  `symbol` varchar(5) NOT NULL,\n  `type` enum('call','put') NOT NULL,\n  `expiration` datetime NOT NULL,\n"
    + "".join(
        f"  `{name}` double DEFAULT NULL,\n"
        for name in ("strike", "last", "mark", "bid", "ask", "volume", "implied_volatility", "delta", "gamma", "theta")
    )
    + "  `vega` double DEFAULT NULL,\n  `rho` double DEFAULT NULL,\n  PRIMARY KEY (`contract_id`,`date`,`symbol`)\n);\n"
)
OPTION_ROW = (
    "('AAPL240719C00{n:06d}','2024-06-28 00:00:00','AAPL','call','2024-07-19 00:00:00',{n}.5,12.3,12.35,12.3,12.4,{n},"
    "0.25315,0.61234,0.01234,-0.05432,0.12345,0.04321)"
)


def write_bars(path: Path, size: int) -> int:
    """Write a dump of bars of about `size` bytes in the primary key's order; return its rows."""
    days = Calendar().sessions(date(2000, 1, 3), NEWEST)
    rng = np.random.default_rng(0)
    names = max(size // (130 * len(days)), 1)
    rows = 0
    with path.open("w") as file:
        file.write("-- MySQL dump 10.13\n/*!50503 SET NAMES utf8mb4 */;\n" + CORE)
        batch: list[str] = []
        for day in days:
            closes = rng.uniform(20, 400, names)
            for number, close in enumerate(closes.tolist()):
                values = f"{close * 0.995},{close * 1.01},{close * 0.99},{close},{close * 0.97},{1_000_000 + number}"
                batch.append(f"('{day} 00:00:00',{values},'N{number}')")
            if len(batch) >= ROWS_A_STATEMENT or day == days[-1]:
                file.write("INSERT INTO `core_stock` VALUES " + ",".join(batch) + ";\n")
                rows += len(batch)
                batch = []
        file.write("-- Dump completed on 2024-06-30  1:00:00\n")
    return rows


def write_options(path: Path, size: int) -> None:
    """Write a dump of which a tenth is bars and the rest option rows."""
    write_bars(path, size // 10)
    line = "INSERT INTO `historical_options` VALUES " + ",".join(
        OPTION_ROW.format(n=100 + n % 900) for n in range(ROWS_A_STATEMENT)
    )
    with path.open("a") as file:
        file.write(OPTIONS)
        for _ in range(max((size - path.stat().st_size) // len(line), 1)):
            file.write(line + ";\n")
        file.write("-- Dump completed on 2024-06-30  1:00:00\n")


def read_bound(path: Path) -> float:
    """Return the MB/s of reading the file alone, as it lies in the page cache."""
    began = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(4 << 20):
            pass
    return path.stat().st_size / MB / (time.perf_counter() - began)


def measure(path: Path) -> None:
    """Import a dump into an empty store and print seconds, peak MiB and rows as JSON (in the measured process)."""
    home = Path(tempfile.mkdtemp(dir=path.parent))
    began, used = time.perf_counter(), time.process_time()
    marks = {"reading": 0.0}

    def progress(what: str, done: int, total: int) -> None:
        if what.startswith("reading"):
            marks["reading"] = time.perf_counter() - began

    report = import_dump(
        path, Store(home / "store"), Calendar(), logs=home / "logs", now_us=evening_us(NEWEST), progress=progress
    )
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    status = Path("/proc/self/status").read_text().splitlines()  # ru_maxrss would begin at the parent's weight
    peak = next(int(row.split()[1]) / 1024 for row in status if row.startswith("VmHWM"))
    found = {"seconds": seconds, "processor": processor, "reading": marks["reading"], "peak_mib": peak}
    print(json.dumps(found | {"bars": report.bars_new, "refused": sum(report.refused.values())}))


def main() -> None:
    """Print one line a dump."""
    size = min(int(sys.argv[1]) if len(sys.argv) > 1 else SIZE_DEFAULT_MB, SIZE_MAX_MB) * MB
    print(
        f"{'dump':<28}{'MB':>7}{'s':>8}{'cpu s':>8}{'MB/s':>8}{'read MB/s':>11}{'bound MB/s':>12}{'peak MiB':>10}{'bars':>10}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, write in (("bars alone", write_bars), ("a tenth bars, rest options", write_options)):
            path = Path(folder) / f"{write.__name__}.sql"
            write(path, size)
            bound = read_bound(path)
            command = [sys.executable, __file__, "--measure", str(path)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            mb = path.stat().st_size / MB
            print(
                f"{name:<28}{mb:>7.0f}{found['seconds']:>8.1f}{found['processor']:>8.1f}{mb / found['seconds']:>8.0f}"
                f"{mb / max(found['reading'], 1e-9):>11.0f}{bound:>12.0f}{found['peak_mib']:>10.0f}{found['bars']:>10}"
            )
            if found["refused"]:
                raise SystemExit(f"{found['refused']} rows of a good dump were refused")
            path.unlink()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]))
    else:
        main()
