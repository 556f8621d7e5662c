"""`bft leakcheck`: does any feature, label or model know the future? And does the check itself bite?"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bar_fly_trading.cli.dates import NewestOption, parse_day
from bar_fly_trading.cli.options import HomeOption, JsonOption, resolved
from bar_fly_trading.cli.output import say, say_json, table
from bar_fly_trading.cli.progress import Terminal

if TYPE_CHECKING:
    from bar_fly_trading.daily_pipeline.leakcheck import PlantResult
    from bar_fly_trading.features.leakage_report import LeakReport

SHOWN_MAX = 20

SessionsOption = Annotated[int, typer.Option(help="Sessions after which the future is deleted, drawn by the seed.")]
SeedOption = Annotated[int, typer.Option(help="Draws sessions and names; another seed looks elsewhere.")]
SymbolsOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="Names to check, drawn by the seed (default: all; with a planted leak 24)."),
]
PlantOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Plant this leak first, to see the check find it; ends with code 4.")
]
PlantedOption = Annotated[bool, typer.Option("--planted", help="Plant every leak there is; tell which were caught.")]


def leakcheck(
    as_of: NewestOption = None,
    sessions: SessionsOption = 6,
    seed: SeedOption = 0,
    symbols: SymbolsOption = None,
    plant: PlantOption = None,
    planted: PlantedOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Prove on the stored data that no feature, label or model knows the future; ends with code 4 where one does."""
    from bar_fly_trading import wiring
    from bar_fly_trading.daily_pipeline import leakcheck as checks
    from bar_fly_trading.daily_pipeline.view import newest_session
    from bar_fly_trading.errors import FixSettings

    if plant is not None and planted:
        raise FixSettings("--plant and --planted are both given.", way_out="Give one of them.")
    few = symbols if symbols is not None or not (plant or planted) else checks.PLANTED_SYMBOLS
    with Terminal(quiet=json) as terminal, wiring.run(resolved(home), say=terminal, command="leakcheck") as parts:
        day = newest_session(parts) if as_of is None else parse_day(as_of)
        if planted:
            _tell_planted(checks.planted_leaks(parts, day, sessions=sessions, seed=seed, symbols=few), json=json)
            return
        report = checks.leak_check(parts, day, sessions=sessions, seed=seed, symbols=few, plant=plant)
    _tell(report, plant, json=json)


def _tell(report: LeakReport, plant: str | None, *, json: bool) -> None:
    from bar_fly_trading.errors import FixData

    leaks = report.leaks()
    if json:
        say_json(_as_json(report, plant))
    else:
        _say_report(report, plant)
    if not leaks:
        return
    places = sorted({leak.where for leak in leaks})
    shown = ", ".join(places[:5]) + (", ..." if len(places) > 5 else "")
    if plant is not None:
        raise FixData(
            f"the planted leak {plant} was found, in {shown}.", way_out="Nothing: it was planted, and not kept."
        )
    raise FixData(
        f"{len(places)} columns or tables know the future: {shown}.",
        way_out="Do not train or trade on them: pull or import a table named here again, and report a column or a model.",
    )


def _say_report(report: LeakReport, plant: str | None) -> None:
    days = ", ".join(f"{day}" for day in sorted(report.sessions))
    say(
        f"leak check of everything known by the evening of {report.as_of}: {report.instruments} symbols, {report.rows:,} bars"
    )
    say(f"the future was deleted after {len(report.sessions)} sessions (seed {report.seed}): {days}")
    if plant is not None:
        say(f"a leak was planted: {plant}")
    if report.corrected:
        say(
            f"{report.corrected:,} bars were corrected or came after their session's evening; the newest value was compared"
        )
    say()
    say(table(("result", "compared", "check"), _lines(report)))
    unchecked = report.unchecked()
    if unchecked:
        say("\nnot checked:")
    for names, why in unchecked:
        say(f"  {why}: {', '.join(names)}")
    leaks = report.leaks()
    if not leaks:
        say("\nno leak was found in what was checked")
        return
    say(f"\n{len(leaks)} leaks:")
    for leak in leaks[:SHOWN_MAX]:
        say(f"  {leak.where} ({leak.check}): {leak.wrong:,} of {leak.compared:,}, first {leak.example}")
    _say_more(len(leaks))


def _say_more(count: int) -> None:
    if count > SHOWN_MAX:
        say(f"  and {count - SHOWN_MAX} more (bft leakcheck --json lists them all)")


def _lines(report: LeakReport) -> list[tuple[str, str, str]]:
    from bar_fly_trading.features.leakage import ROWS
    from bar_fly_trading.features.leakage_checks import CHECKS, STORE_VIEW

    lines = []
    for check, words in CHECKS.items():
        found = [one for one in report.columns if one.check == check]
        columns = [one for one in found if one.column != ROWS]
        states = Counter(one.state for one in columns)
        what = "tables" if check == STORE_VIEW else "columns"
        compared = f"{len(columns) - states['not checked']} of {len(columns)} {what}"
        leaky = any(one.state == "leak" for one in found)
        state = "LEAK" if leaky else "clean" if states["clean"] else "not checked"
        lines.append((state, f"{compared}, {sum(one.rows for one in columns):,} values", f"{check}: {words}"))
    lines += [(_shout(one.state), f"{one.rows:,} rows", f"{one.table}: {one.rule}") for one in report.knowledge]
    return [*lines, *((_shout(m.state), f"{m.compared:,}", f"model: {m.check}") for m in report.model)]


def _shout(state: str) -> str:
    return "LEAK" if state == "leak" else state


def _as_json(report: LeakReport, plant: str | None) -> dict[str, object]:
    columns = []
    for one in report.columns:
        row = {**asdict(one), "state": one.state}
        if one.example is not None:
            row["example"] = {**asdict(one.example), "session": f"{one.example.session}"}
        columns.append(row)
    return {
        "session": f"{report.as_of}",
        "seed": report.seed,
        "sessions": [f"{day}" for day in report.sessions],
        "plant": plant,
        "symbols": report.instruments,
        "bars": report.rows,
        "corrected": report.corrected,
        "leaks": [asdict(leak) for leak in report.leaks()],
        "not_checked": [{"what": list(names), "why": why} for names, why in report.unchecked()],
        "columns": columns,
        "knowledge": [{**asdict(one), "state": one.state} for one in report.knowledge],
        "model": [{**asdict(one), "state": one.state} for one in report.model],
    }


def _tell_planted(results: tuple[PlantResult, ...], *, json: bool) -> None:
    from bar_fly_trading.errors import DoneLess

    words = {True: "caught", False: "MISSED", None: "not run"}
    if json:
        say_json({"planted": [asdict(one) for one in results]})
    else:
        rows = [(words[one.caught], one.name, one.caught_by, one.words) for one in results]
        say(table(("result", "planted leak", "by", "what it is"), rows))
        for one in results:
            if one.caught is None:
                say(f"  {one.name} was not run: {one.example}")
    missed = [one.name for one in results if not one.caught]
    if missed:
        raise DoneLess(
            f"{len(missed)} of {len(results)} planted leaks were not caught: {', '.join(missed)}.",
            way_out="Give more --symbols or --sessions, or a longer history; report it where that does not help.",
        )
