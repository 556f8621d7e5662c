"""`bft universe`, `bft rename`, `bft import membership`: who may be entered, and under which symbol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bar_fly_trading.cli.dates import parse_day
from bar_fly_trading.cli.options import HomeOption, JsonOption, SetOption, resolved
from bar_fly_trading.cli.output import say, say_json, table
from bar_fly_trading.cli.progress import Terminal

if TYPE_CHECKING:
    from bar_fly_trading.data.importers.membership import MembershipReport
    from bar_fly_trading.data.universe import Presence
    from bar_fly_trading.facts.instruments import Instruments
    from bar_fly_trading.facts.universe import Universe

SHOWN_MAX = 40
AsOf = Annotated[
    str | None, typer.Option("--as-of", metavar="DATE", help="Day to show, as 2021-04-20 (default: today in New York).")
]


def universe(
    as_of: AsOf = None,
    all_names: Annotated[bool, typer.Option("--all", help="List every name, not the first forty.")] = False,
    home: HomeOption = None,
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Show who may be entered at a day, since when and by which rule, and how many of them have no prices here."""
    from bar_fly_trading import wiring
    from bar_fly_trading.data.universe import presence, universe_at
    from bar_fly_trading.facts.sessions import new_york_date
    from bar_fly_trading.settings import universe_rule

    found = resolved(home, settings=settings)
    with Terminal(quiet=json) as terminal, wiring.run(found, say=terminal, command="universe") as parts:
        day = new_york_date(parts.clock.now_us()) if as_of is None else parse_day(as_of)
        rule = universe_rule(parts.settings, parts.home)
        shown, membership, instruments = universe_at(parts.store, rule, day)
        counted = presence(parts.store, shown)
        if json:
            say_json(_as_json(shown, counted))
            return
        say(f"universe at {day}: {rule.words()}; {counted.members} names")
        _say_members(shown, instruments, None if all_names else SHOWN_MAX)
        say(f"{counted.words(shown)}.")
        if (aged := membership.aged(day)) is not None:
            say(aged)
        if counted.missing:
            names = ", ".join(counted.missing[:10]) + (", ..." if len(counted.missing) > 10 else "")
            say(f"without prices: {names} (bft pull fetches those that the vendor still serves)")


def _as_json(shown: Universe, counted: Presence) -> dict[str, object]:
    return {
        "day": f"{shown.on}",
        "rule": shown.rule.words(),
        "members": [
            {
                "symbol": m.symbol,
                "instrument_id": m.instrument_id,
                "since": None if m.since is None else f"{m.since}",
                "rule": m.rule,
            }
            for m in shown.members
        ],
        "with_prices": counted.ever,
        "with_prices_that_day": counted.then,
        "without_prices": list(counted.missing),
    }


def _say_members(shown: Universe, instruments: Instruments, most: int | None) -> None:
    if not shown.members:
        return
    rows = []
    for member in shown.members[:most]:
        instrument = member.instrument_id or "no prices"
        called, ended = instruments.symbol_of(instrument, shown.on), instruments.ended(instrument)
        if called not in (None, member.symbol):
            instrument += f", called {called}"
        if ended is not None:
            instrument += f", delisted {ended}"
        rows.append((member.symbol, "" if member.since is None else f"{member.since}", instrument, member.rule))
    say(table(("symbol", "since", "instrument", "rule"), rows))
    if most is not None and len(shown.members) > most:
        say(f"  and {len(shown.members) - most} more (--all lists them)")


def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The symbol so far.")],
    new: Annotated[str | None, typer.Argument(metavar="NEW", help="The symbol from then on.")] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="First session under the new symbol (or company).")
    ] = None,
    reused: Annotated[
        bool, typer.Option("--reused", help="No rename: OLD names another company from that session on.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write down that a company changed its ticker (bft rename FB META --from 2022-06-09); its history goes on as one.

    With --reused: that OLD passed to another company, which is then a new instrument.
    """
    from bar_fly_trading import wiring
    from bar_fly_trading.data import renames
    from bar_fly_trading.errors import FixSettings

    if first is None or (new is None) != reused:
        raise FixSettings(
            "bft rename needs the old symbol, the new one, and the first session of the new one.",
            way_out="Write bft rename FB META --from 2022-06-09, or bft rename FB --reused --from 2023-01-05.",
        )
    day = parse_day(first, "--from")
    with Terminal(quiet=json) as terminal, wiring.run(resolved(home), say=terminal, command="rename") as parts:
        now_us = parts.clock.now_us()
        if new is None:
            done = renames.reuse(parts.store, parts.calendar, old, day, recorded_at_us=now_us)
        else:
            done = renames.rename(parts.store, parts.calendar, old, new, day, recorded_at_us=now_us)
        spells = [(s.symbol, f"{s.start}", "now" if s.end is None else f"{s.end}") for s in done.spells]
        if json:
            say_json(
                {
                    "store_version": done.version,
                    "instrument_id": done.instrument_id,
                    "changed": done.changed,
                    "spells": [{"symbol": s, "start": a, "end": None if b == "now" else b} for s, a, b in spells],
                }
            )
            return
        say(f"{done.instrument_id} is known as" if done.changed else f"{done.instrument_id} was known so already:")
        say(table(("symbol", "from", "to"), spells))
        terminal.line(f"store version {done.version} in {parts.home.store}")


def import_membership(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV of symbol, start_date, end_date (first day out).")],
    index: Annotated[str, typer.Option("--index", metavar="NAME", help="The index it is of.")] = "sp500",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Import an index's members as spells (CSV: symbol, start_date, end_date); the file is its whole history."""
    from bar_fly_trading import wiring
    from bar_fly_trading.data.importers import membership

    with Terminal(quiet=json) as terminal, wiring.run(resolved(home), say=terminal, command="import") as parts:
        report = membership.import_membership(
            file, parts.store, parts.calendar, index=index, recorded_at_us=parts.clock.now_us()
        )
        if json:
            say_json({"store_version": report.version, "spells": report.spells, "new": report.new})
            return
        _say_import(terminal, report, index)
        terminal.line(f"store version {report.version} in {parts.home.store}")


def _say_import(terminal: Terminal, report: MembershipReport, index: str) -> None:
    same = report.spells - report.new - report.changed
    terminal.line(
        f"{report.spells} spells of {report.symbols} symbols from {report.first_day} to {report.newest_day}: {report.new} new,"
        f" {report.changed} changed, {same} were there already; {report.members} members at the end"
    )
    if report.withdrawn:
        terminal.line(f"{report.withdrawn} stored spells are not in the file: withdrawn from now on")
    terminal.line(f'to use it: set data.universe = "{index}" in the settings file; bft universe shows who is in')
