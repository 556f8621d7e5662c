"""The validator on real prices: seconds, memory, rows flagged, evenings lost; beside it a plain loop over symbols.

Run `python benchmarks/validate.py`. Real prices where `../shared/data` lies beside the checkout; without them it says so and ends.
The loop computes one rule alone (the identity of adjusted close) with a Python loop over the rows of 20 names, scaled up.
"""

from __future__ import annotations

import resource
import sys
import time
from datetime import date
from pathlib import Path

import polars as pl

from bar_fly_trading.data.validate import JudgeRules, faults_of, judge, suspicions_of
from bar_fly_trading.facts.sessions import Calendar

REAL = Path(__file__).parents[1].parent / "shared/data/daily_adjusted_sp500.parquet"
LOOP_NAMES = 20
SUSPECT_SESSIONS = 20


def loop_s(bars: pl.DataFrame) -> float:
    """Return the seconds a plain loop would take to check one rule over all names."""
    names = bars["instrument_id"].unique().sort().to_list()
    some = bars.filter(pl.col("instrument_id").is_in(names[:LOOP_NAMES]))
    began = time.perf_counter()
    broken, before = 0, None
    for row in some.sort("instrument_id", "session").iter_rows(named=True):
        if before is not None and before["instrument_id"] == row["instrument_id"]:
            want = row["split_coefficient"] * (row["close"] + row["dividend_amount"]) / before["close"]
            broken += abs(row["adjusted_close"] / before["adjusted_close"] / want - 1) > 3e-3
        before = row
    return (time.perf_counter() - began) * len(names) / LOOP_NAMES


def evenings_lost(bars: pl.DataFrame, found: pl.DataFrame, calendar: Calendar) -> float:
    """Return the share of all names' evenings on which a bad suspicion of the last 20 sessions leaves the name out."""
    days = calendar.sessions(calendar.first_day, calendar.last_day)
    number = pl.DataFrame({"session": days, "index": range(len(days))})
    bad = found.filter(pl.col("severity") == "bad").join(number, on="session")
    bad = bad.select("instrument_id", "index", pl.col("index").alias("bad_index")).sort("index")
    evenings = bars.select("instrument_id", "session").join(number, on="session").sort("index")
    near = evenings.join_asof(bad, on="index", by="instrument_id", check_sortedness=False)
    return near.filter(pl.col("index") - pl.col("bad_index") < SUSPECT_SESSIONS).height / bars.height


def main() -> int:
    """Print one figure a line."""
    if not REAL.exists():
        print("the real prices of ../shared/data are not beside this checkout: nothing to measure")
        return 1
    bars = pl.read_parquet(REAL).rename({"symbol": "instrument_id", "date": "session"})
    calendar = Calendar()
    began = time.perf_counter()
    faults = faults_of(bars, calendar)
    faults_s, began = time.perf_counter() - began, time.perf_counter()
    found = suspicions_of(bars, calendar)
    found_s, began = time.perf_counter() - began, time.perf_counter()
    judge(bars, date(2021, 4, 16), calendar, JudgeRules(min_history=22))
    judge_s = time.perf_counter() - began
    rows = found["row"].n_unique()
    print(f"faults of {bars.height:,} bars: {faults.height} in {faults_s:.2f} s")
    print(f"suspicions: {found.height} on {rows} bars ({100 * rows / bars.height:.3f} %) in {found_s:.2f} s")
    print(f"one evening's judgement: {judge_s:.2f} s")
    print(f"evenings a name is left out for a suspicion: {100 * evenings_lost(bars, found, calendar):.3f} %")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    print(f"a Python loop for one rule of 32: {loop_s(bars):.1f} s")
    counts = found.group_by("severity", "rule").len().sort("severity", "len", descending=[False, True])
    for severity, rule, count in counts.iter_rows():
        print(f"  {severity:<8} {count:>5}  {rule}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
