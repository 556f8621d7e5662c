"""What an evening may rest on: which instruments are used, which are left out and why, and when it must stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

import polars as pl

from bar_fly_trading.data.validate.faults import faults_of
from bar_fly_trading.data.validate.measures import SCALE_SESSIONS, VOLUME_SESSIONS
from bar_fly_trading.data.validate.rules import BAD
from bar_fly_trading.data.validate.suspicions import suspicions_of
from bar_fly_trading.facts.sessions import Calendar

MIN_HISTORY = 2
# A name whose newest bar is older has left the market (or the feed) for good: it is excluded, but no longer expected.
EXPECTED_WITHIN_SESSIONS = 20
REASONS_MAX = 3
# Before the sessions looked at: what the rules measure their bars against, with room.
RUN_UP_SESSIONS = SCALE_SESSIONS + 2 * VOLUME_SESSIONS


@dataclass(frozen=True, slots=True)
class JudgeRules:
    """The numbers of a judgement. `suspect_sessions`: newest sessions in which a bad suspicion excludes (0: none does).

    `coverage_min`: least usable share of the expected instruments, a fraction; below it the evening stops.
    """

    min_history: int = MIN_HISTORY
    suspect_sessions: int = 20
    coverage_min: float = 0.8

    def __post_init__(self) -> None:
        """Refuse numbers that would judge nothing."""
        if self.min_history < 1 or self.suspect_sessions < 0 or not 0 <= self.coverage_min <= 1:
            raise ValueError(f"no rules to judge by: {self}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a session may use. `bars`: of the usable instruments, up to the session. `excluded`: the others, each with the reason.

    `suspicions`: all of the newest sessions, those that only warn included. `expected`, `used`: the coverage's two numbers.
    `stop`: why the evening must not go on; None: it may.
    """

    bars: pl.DataFrame
    excluded: tuple[tuple[str, str], ...]
    suspicions: pl.DataFrame
    expected: int
    used: int
    stop: str | None


def usable(
    bars: pl.DataFrame, *, session: date, calendar: Calendar, min_history: int = MIN_HISTORY
) -> tuple[pl.DataFrame, tuple[tuple[str, str], ...]]:
    """Return the bars of the instruments that may be used at `session`, and the others, each with the reason.

    Bars after `session` are cut off first. Excluded are: an instrument whose newest bar is not the session's (stale),
    one with any fault of `faults_of`, one with fewer than `min_history` bars. The excluded are sorted by
    instrument_id; every instrument of `bars` is in exactly one of the two.
    """
    seen = bars.filter(pl.col("session") <= session)
    reasons: dict[str, str] = dict.fromkeys(bars["instrument_id"].unique(), f"no bar up to {session}")
    for instrument_id, count, newest in (
        seen.group_by("instrument_id").agg(pl.len(), pl.col("session").max().alias("newest")).iter_rows()
    ):
        del reasons[instrument_id]
        if newest != session:
            behind = calendar.sessions_between(newest, session)
            reasons[instrument_id] = f"stale: newest bar {newest}, {behind} sessions before {session}"
        elif count < min_history:
            reasons[instrument_id] = f"history of {count} bars, {min_history} needed"
    reasons.update(_fault_reasons(faults_of(seen, calendar)))
    excluded = tuple(sorted(reasons.items()))
    return seen.filter(~pl.col("instrument_id").is_in(list(reasons))), excluded


def _fault_reasons(faults: pl.DataFrame) -> dict[str, str]:
    reasons: dict[str, str] = {}
    counts = dict(faults.group_by("instrument_id").len().iter_rows())
    for row in faults.unique("instrument_id", keep="first", maintain_order=True).iter_rows(named=True):
        more = counts[row["instrument_id"]] - 1
        also = f" and {more} more" if more else ""
        reasons[row["instrument_id"]] = f"faulty: {row['session']} {row['rule']} ({row['observed']}){also}"
    return reasons


def judge(
    bars: pl.DataFrame,
    session: date,
    calendar: Calendar,
    rules: JudgeRules,
    *,
    wanted: Collection[str] | None = None,
) -> Verdict:
    """Judge bars for one session's evening: per instrument use or exclude, and whether enough is left to go on.

    Excluded are those of `usable`, and those with a bad suspicion in the newest `suspect_sessions` sessions, on which today's
    indicators rest; older ones only warn. Expected are the instruments with a bar in the last 20 sessions and a long enough
    history, so that new listings and names that left the market do not count; where fewer than `coverage_min` of them can
    be used, `stop` names the counts and the commonest reasons. `wanted`: the instruments of the universe, which alone are
    expected (None: all): what is pulled no more must not stop a run. Nothing after `session` is looked at.
    """
    good, excluded = usable(bars, session=session, calendar=calendar, min_history=rules.min_history)
    suspicions = _recent(bars, session, calendar, rules.suspect_sessions)
    reasons = {**_suspect_reasons(suspicions), **dict(excluded)}
    names = set(good["instrument_id"].unique())
    dropped = names & reasons.keys()
    if dropped:
        good = good.filter(~pl.col("instrument_id").is_in(list(dropped)))
    known = set(bars["instrument_id"].unique())
    reasons = {name: reason for name, reason in reasons.items() if name in known}
    expected = _expected(bars, session, calendar, rules.min_history)
    if wanted is not None:
        expected &= set(wanted)
    used = len((names - dropped) & expected)
    stop = _stop(session, expected, used, reasons, rules.coverage_min)
    return Verdict(good, tuple(sorted(reasons.items())), suspicions, len(expected), used, stop)


def _recent(bars: pl.DataFrame, session: date, calendar: Calendar, count: int) -> pl.DataFrame:
    """Return the suspicions of the newest `count` sessions, measured with a run-up before them."""
    seen = bars.filter(pl.col("session") <= session)
    if count == 0:
        return suspicions_of(seen.clear(), calendar)
    days = calendar.sessions(calendar.first_day, session)[-count:]
    before = calendar.sessions(calendar.first_day, session)[-count - RUN_UP_SESSIONS :]
    found = suspicions_of(seen.filter(pl.col("session") >= before[0]), calendar)
    return found.filter(pl.col("session") >= days[0])


def _suspect_reasons(suspicions: pl.DataFrame) -> dict[str, str]:
    """Return the reason of each instrument with a bad suspicion: its newest one, and how many more."""
    bad = suspicions.filter(pl.col("severity") == BAD)
    counts = Counter(bad["instrument_id"].to_list())
    reasons: dict[str, str] = {}
    for row in bad.sort("session", "rule", maintain_order=True).iter_rows(named=True):
        more = counts[row["instrument_id"]] - 1
        also = f" and {more} more" if more else ""
        reasons[row["instrument_id"]] = f"suspect: {row['session']} {row['rule']} ({row['observed']}){also}"
    return reasons


def _expected(bars: pl.DataFrame, session: date, calendar: Calendar, min_history: int) -> set[str]:
    days = calendar.sessions(calendar.first_day, session)[-EXPECTED_WITHIN_SESSIONS:]
    if not days:
        return set()
    seen = (
        bars.filter(pl.col("session") <= session)
        .group_by("instrument_id")
        .agg(pl.len().alias("bars"), pl.col("session").max().alias("newest"))
    )
    return set(seen.filter((pl.col("bars") >= min_history) & (pl.col("newest") >= days[0]))["instrument_id"])


def newest_complete(bars: pl.DataFrame, session: date, calendar: Calendar, rules: JudgeRules) -> date | None:
    """Return the newest session up to `session` that at least `coverage_min` of its expected instruments have a bar of; None: none.

    Of the 20 newest sessions of the table: one that a single file or a half-done pull reaches is not complete.
    """
    days = (
        bars.filter(pl.col("session") <= session)["session"]
        .unique()
        .sort(descending=True)
        .head(EXPECTED_WITHIN_SESSIONS)
    )
    for day in days:
        expected = _expected(bars, day, calendar, rules.min_history)
        have = set(bars.filter(pl.col("session") == day)["instrument_id"])
        if expected and len(expected & have) >= rules.coverage_min * len(expected):
            return date.fromisoformat(f"{day}")
    return None


def _stop(session: date, expected: set[str], used: int, reasons: dict[str, str], coverage_min: float) -> str | None:
    if not expected or used >= coverage_min * len(expected):
        return None
    kinds = Counter(reason.partition(":")[0] for name, reason in sorted(reasons.items()) if name in expected)
    commonest = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(REASONS_MAX))
    first = next(f"{name} {reason}" for name, reason in sorted(reasons.items()) if name in expected)
    share = f"{100 * used / len(expected):.0f} %"
    return (
        f"only {used} of {len(expected)} symbols ({share}) can be used at {session}, below the {100 * coverage_min:.0f} % of"
        f" data.coverage_min: {commonest} (such as {first})"
    )
