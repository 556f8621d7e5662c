"""`bft import mysqldump`: MB/s and peak MiB of generated dumps, beside the bound (reading the file and dropping it).

Run `python benchmarks/import_dump.py [MB]` (default 256, up to 2048). Three dumps of that size: bars alone; a tenth bars and nine tenths
option rows, which is near the real database's proportions; the same with the option rows left for later (`--no-options`). Each is
imported in a process of its own, and every row is stored; the peak is that process's largest resident size, imports included.
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
CONTRACTS, SESSIONS_EACH = 1000, 64
# Stands for a symbol in a block of rows that is written again and again under other names.
PLACE = b"@@@@"


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


def option_block() -> tuple[bytes, int]:
    """Return the option rows of one symbol in the primary key's order (contract, then session), and how many they are."""
    days = Calendar().sessions(date(2021, 1, 4), NEWEST)
    rng = np.random.default_rng(0)
    rows: list[str] = []
    for contract in range(CONTRACTS):
        begin = contract * (len(days) - SESSIONS_EACH) // CONTRACTS
        mids = rng.uniform(0.5, 90, SESSIONS_EACH).round(2)
        greeks = rng.uniform(0, 1, (SESSIONS_EACH, 6)).round(5)
        for day, mid, values in zip(days[begin : begin + SESSIONS_EACH], mids.tolist(), greeks.tolist(), strict=True):
            numbers = ",".join(map(str, values))
            rows.append(
                f"('@@@@240719C{contract:08d}','{day} 00:00:00','@@@@','call','2024-07-19 00:00:00',{contract + 0.5},{mid},"
                f"{mid},{mid - 0.05:.2f},{mid + 0.05:.2f},{int(mid * 7)},{numbers})"
            )
    return ",".join(rows).encode(), len(rows)


def write_options(path: Path, size: int) -> int:
    """Write a dump of which a tenth is bars and the rest option rows; return all rows."""
    rows = write_bars(path, size // 10)
    block, count = option_block()
    lines = block.split(b"),(")
    step = 6000
    pieces = [b"),(".join(lines[at : at + step]) for at in range(0, count, step)]
    written, number = path.stat().st_size, 0
    with path.open("ab") as file:
        file.write(OPTIONS.encode())
        while written < size:
            for piece in pieces:
                line = b"INSERT INTO `historical_options` VALUES " + b"(%b)" % piece.strip(b"()").replace(
                    PLACE, b"S%03d" % number
                )
                written += file.write(line + b";\n")
            rows += count
            number += 1
        file.write(b"-- Dump completed on 2024-06-30  1:00:00\n")
    return rows


def read_bound(path: Path) -> float:
    """Return the MB/s of reading the file alone, as it lies in the page cache."""
    began = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(4 << 20):
            pass
    return path.stat().st_size / MB / (time.perf_counter() - began)


def measure(path: Path, *, options: bool) -> None:
    """Import a dump into an empty store and print seconds, peak MiB and rows as JSON (in the measured process)."""
    home = Path(tempfile.mkdtemp(dir=path.parent))
    began, used = time.perf_counter(), time.process_time()
    marks = {"reading": 0.0}

    def progress(what: str, done: int, total: int) -> None:
        if what.startswith("reading"):
            marks["reading"] = time.perf_counter() - began

    report = import_dump(
        path,
        Store(home / "store"),
        Calendar(),
        logs=home / "logs",
        now_us=evening_us(NEWEST),
        options=options,
        progress=progress,
    )
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    status = Path("/proc/self/status").read_text().splitlines()  # ru_maxrss would begin at the parent's weight
    peak = next(int(row.split()[1]) / 1024 for row in status if row.startswith("VmHWM"))
    found = {"seconds": seconds, "processor": processor, "reading": marks["reading"], "peak_mib": peak}
    print(json.dumps(found | {"rows": sum(report.rows.values()), "refused": sum(report.refused.values())}))


def main() -> None:
    """Print one line a dump."""
    size = min(int(sys.argv[1]) if len(sys.argv) > 1 else SIZE_DEFAULT_MB, SIZE_MAX_MB) * MB
    head = f"{'dump':<28}{'MB':>7}{'s':>8}{'cpu s':>8}{'MB/s':>8}{'read MB/s':>11}{'bound MB/s':>12}{'peak MiB':>10}{'rows':>12}"
    print(head)
    with tempfile.TemporaryDirectory() as folder:
        for name, write, option_words in DUMPS:
            path = Path(folder) / "dump.sql"
            rows = write(path, size)
            bound = read_bound(path)
            command = [sys.executable, __file__, "--measure", str(path), option_words]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            mb = path.stat().st_size / MB
            print(
                f"{name:<28}{mb:>7.0f}{found['seconds']:>8.1f}{found['processor']:>8.1f}{mb / found['seconds']:>8.0f}"
                f"{mb / max(found['reading'], 1e-9):>11.0f}{bound:>12.0f}{found['peak_mib']:>10.0f}{found['rows']:>12,}",
                flush=True,
            )
            if found["refused"] or (option_words == "options" and found["rows"] != rows):
                raise SystemExit(f"of {rows} good rows {found['rows']} were read and {found['refused']} refused")
            path.unlink()


DUMPS = (
    ("bars alone", write_bars, "options"),
    ("a tenth bars, rest options", write_options, "options"),
    ("the same, --no-options", write_options, "no-options"),
)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]), options=sys.argv[3] == "options")
    else:
        main()
