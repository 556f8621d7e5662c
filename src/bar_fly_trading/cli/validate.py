"""`bft validate`: what is wrong or unlikely in the stored prices, and what an evening would leave out for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bar_fly_trading.cli.dates import NewestOption, parse_day
from bar_fly_trading.cli.options import HomeOption, JsonOption, SetOption, resolved
from bar_fly_trading.cli.output import say, say_json, table
from bar_fly_trading.cli.progress import Terminal

if TYPE_CHECKING:
    import polars as pl

    from bar_fly_trading.data.validate import Verdict

SHOWN_MAX = 40


def validate(
    as_of: NewestOption = None, home: HomeOption = None, settings: SetOption = None, json: JsonOption = False
) -> None:
    """Tell every fault and suspicion of the stored bars, counted by rule, the newest first, and who is left out for them."""
    from bar_fly_trading import wiring
    from bar_fly_trading.daily_pipeline.view import newest_session, verdict_at

    found = resolved(home, settings=settings)
    with Terminal(quiet=json) as terminal, wiring.run(found, say=terminal, command="validate") as parts:
        day = newest_session(parts) if as_of is None else parse_day(as_of)
        verdict, findings = verdict_at(parts, day)
        if json:
            say_json(_as_json(verdict, findings, f"{day}"))
            return
        _say_report(verdict, findings, f"{day}")


def _counts(findings: pl.DataFrame) -> list[tuple[str, str, int]]:
    import polars as pl

    counted = findings.group_by("rule", "severity").agg(pl.len().alias("bars")).sort("severity", "rule")
    return list(counted.iter_rows())


def _as_json(verdict: Verdict, findings: pl.DataFrame, day: str) -> dict[str, object]:
    import polars as pl

    return {
        "session": day,
        "expected": verdict.expected,
        "used": verdict.used,
        "stop": verdict.stop,
        "excluded": [{"instrument_id": i, "reason": r} for i, r in verdict.excluded],
        "counts": [{"rule": rule, "severity": severity, "bars": bars} for rule, severity, bars in _counts(findings)],
        "found": findings.with_columns(pl.col("session").cast(pl.String)).drop("row").to_dicts(),
    }


def _say_report(verdict: Verdict, findings: pl.DataFrame, day: str) -> None:
    say(f"{verdict.used} of {verdict.expected} expected symbols can be used at {day}")
    if verdict.stop is not None:
        say(f"an evening would stop: {verdict.stop}")
    if verdict.excluded:
        say(f"\n{len(verdict.excluded)} symbols are kept out:")
        for name, reason in verdict.excluded[:SHOWN_MAX]:
            say(f"  {name.removeprefix('us:')}: {reason}")
        _say_more(len(verdict.excluded))
    if findings.is_empty():
        say("\nnothing wrong or unlikely was found")
        return
    say()
    say(
        table(("severity", "bars", "rule"), [(severity, str(bars), rule) for rule, severity, bars in _counts(findings)])
    )
    say()
    newest = findings.head(SHOWN_MAX)
    rows = [(f"{d}", i.removeprefix("us:"), s, f"{r}: {o}") for i, d, r, o, s in newest.drop("row").iter_rows()]
    say(table(("session", "symbol", "severity", "found"), rows))
    _say_more(findings.height)


def _say_more(count: int) -> None:
    if count > SHOWN_MAX:
        say(f"  and {count - SHOWN_MAX} more (bft validate --json lists them all)")
