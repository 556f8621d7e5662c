"""`bft pull`, `bft import`, `bft export`, `bft features`: market data in and out."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer

from bar_fly_trading.cli import migrate
from bar_fly_trading.cli.dates import NewestOption, parse_day
from bar_fly_trading.cli.options import HomeOption, JsonOption, SetOption, resolved
from bar_fly_trading.cli.output import say, say_json, warn
from bar_fly_trading.cli.progress import Terminal
from bar_fly_trading.cli.universe import import_membership

import_app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Take market data from files into the store.",
)
export_app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Write files that other programs read.",
)


@export_app.callback()
def export_group() -> None:
    """Write files that other programs read."""
    # A group of one command would be that command itself: `bft export all-data` would be a folder's name.


Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files to read.")]
SHOWN_MAX = 25


def pull(
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="Symbols (default: the universe).")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="Last session to fetch (default: the newest closed).")
    ] = None,
    home: HomeOption = None,
    settings: SetOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the calls and minutes it would take, and stop.")] = False,
    json: JsonOption = False,
) -> None:
    """Fetch what the store lacks from Alpha Vantage; a session that has not closed is never stored."""
    from bar_fly_trading import wiring
    from bar_fly_trading.daily_pipeline.pulling import plan_lines, planned
    from bar_fly_trading.daily_pipeline.universe import held_instruments, names_to_pull
    from bar_fly_trading.data.limiter import SHARE_OF_LIMIT
    from bar_fly_trading.errors import DoneLess
    from bar_fly_trading.settings import universe_rule

    found = resolved(home, settings=settings)
    with Terminal(quiet=json) as terminal, wiring.run(found, say=terminal, command="pull") as parts:
        day = parts.calendar.newest_closed(parts.clock.now_us()) if as_of is None else parse_day(as_of)
        if plan:
            data, names = (
                parts.settings.data,
                tuple(symbols or ())
                or names_to_pull(
                    parts.store,
                    universe_rule(parts.settings, parts.home),
                    held_instruments(parts.journal, parts.store, day),
                    day,
                    parts.clock.now_us(),
                ),
            )
            calls = planned(data, names, parts.store, parts.calendar, day, parts.clock.now_us())
            if json:
                minutes = calls.minutes(data.requests_per_minute * SHARE_OF_LIMIT)
                say_json({"session": f"{day}", "calls": calls.calls(), "total": calls.total, "minutes": minutes})
                return
            for line in plan_lines(calls, data.requests_per_minute):
                terminal.line(line)
            return
        assert parts.pull is not None
        missing = asyncio.run(parts.pull(tuple(symbols or ()), day))
        if json:
            say_json({"session": f"{day}", "store_version": parts.store.current(), "did_not_come": list(missing)})
        if missing:
            for line in missing:
                warn(line)
            raise DoneLess(
                f"{len(missing)} symbols or rows did not come.", way_out="Correct them, or pull again later."
            )


@import_app.command("bars")
def import_bars(files: Files, home: HomeOption = None, json: JsonOption = False) -> None:
    """Import daily bars (CSV or Parquet in Alpha Vantage's columns); a file is taken whole or refused whole."""
    from bar_fly_trading import wiring
    from bar_fly_trading.data.importers import bars

    with Terminal(quiet=json) as terminal, wiring.run(resolved(home), say=terminal, command="import") as parts:
        report = bars.import_bars(
            files,
            parts.store,
            parts.calendar,
            recorded_at_us=parts.clock.now_us(),
            progress=lambda path, done, total: terminal.progress(path.name, done, total),
        )
        if json:
            say_json(
                {"store_version": report.version, "bars_new": report.rows_new, "bars_corrected": report.rows_corrected}
            )
            return
        terminal.line(
            f"{report.rows_new} bars new, {report.rows_corrected} corrected, {report.rows_same} were there already;"
            f" {report.instruments_new} new symbols, {report.splits} splits, {report.dividends} dividends"
        )
        terminal.line(f"store version {report.version} in {parts.home.store}")


@import_app.command("sectors")
def import_sectors(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with symbol, name, sector.")],
    home: HomeOption = None,
) -> None:
    """Import each symbol's sector (CSV: symbol, name, sector)."""
    from bar_fly_trading import wiring
    from bar_fly_trading.data.importers import sectors

    with Terminal() as terminal, wiring.run(resolved(home), say=terminal, command="import") as parts:
        report = sectors.import_sectors(file, parts.store, parts.calendar, recorded_at_us=parts.clock.now_us())
        terminal.line(
            f"{report.rows_new} sectors new, {report.rows_corrected} changed, {report.rows_same} were there already"
        )
        if report.without_bars:
            shown = ", ".join(report.without_bars[:10])
            terminal.line(f"{len(report.without_bars)} symbols have no bars yet: {shown}")
        terminal.line(f"store version {report.version} in {parts.home.store}")


@import_app.command("all-data")
def import_all_data(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="all_data files, or a glob in quotes.")],
    home: HomeOption = None,
) -> None:
    """Import `all_data` files as the older program wrote them (CSV or Parquet)."""
    from bar_fly_trading import wiring
    from bar_fly_trading.data.importers import all_data

    with Terminal() as terminal, wiring.run(resolved(home), say=terminal, command="import") as parts:
        report = all_data.import_all_data(
            files,
            parts.store,
            parts.calendar,
            recorded_at_us=parts.clock.now_us(),
            progress=lambda path, done, total: terminal.progress(path.name, done, total),
        )
        terminal.line(
            f"{len(report.files)} files, {report.symbols} symbols, {report.first_session} to {report.last_session}:"
            f" {report.rows_new} bars new, {report.rows_corrected} corrected, {report.rows_same} were there already"
        )
        for note in report.notes[:SHOWN_MAX]:
            warn(note)
        for d in report.differences[:SHOWN_MAX]:
            warn(f"{d}")
        terminal.line(f"store version {report.version} in {parts.home.store}")


import_app.command("membership")(import_membership)
import_app.command("mysqldump")(migrate.import_mysqldump)


import_app.command("mysql")(migrate.import_mysql)


export_app.command("mysql")(migrate.export_mysql)


@export_app.command("all-data")
def export_all_data(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write into.")],
    as_of: NewestOption = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write Parquet instead of CSV.")] = False,
    home: HomeOption = None,
) -> None:
    """Write the feature table as `all_data` files, 15 symbols a file, for older scripts."""
    from bar_fly_trading import wiring
    from bar_fly_trading.daily_pipeline.view import features_at, newest_session, say_written
    from bar_fly_trading.data.exporters import all_data

    with Terminal() as terminal, wiring.run(resolved(home), say=terminal, command="export") as parts:
        day = newest_session(parts) if as_of is None else parse_day(as_of)
        features = features_at(parts, day)
        say_written(parts, features)
        written = all_data.export_all_data(features.read(), folder, file_format="parquet" if parquet else "csv")
        terminal.line(f"{features.rows} rows up to {day} in {len(written)} files: {written[0]} to {written[-1].name}")
        _say_excluded(terminal, features.excluded)


def features(as_of: NewestOption = None, home: HomeOption = None, json: JsonOption = False) -> None:
    """Build the feature table of everything known by a session's evening (default: the store's newest session)."""
    from bar_fly_trading import wiring
    from bar_fly_trading.daily_pipeline.view import features_at, newest_session

    began = time.monotonic()
    with Terminal(quiet=json) as terminal, wiring.run(resolved(home), say=terminal, command="features") as parts:
        day = newest_session(parts) if as_of is None else parse_day(as_of)
        built = features_at(parts, day)
        if json:
            say_json(
                {
                    "session": f"{day}",
                    "file": str(built.path),
                    "rows": built.rows,
                    "reused": built.reused,
                    "excluded": [{"instrument_id": i, "reason": r} for i, r in built.excluded],
                }
            )
            return
        how = "reused, its inputs have not changed" if built.reused else f"built in {time.monotonic() - began:.1f} s"
        terminal.line(f"features of {built.rows} rows up to {day}, {how}: {built.path}")
        _say_excluded(terminal, built.excluded)


def _say_excluded(terminal: Terminal, excluded: tuple[tuple[str, str], ...]) -> None:
    if excluded:
        terminal.line(f"{len(excluded)} symbols are kept out:")
    for instrument_id, reason in excluded[:SHOWN_MAX]:
        terminal.line(f"  {instrument_id.removeprefix('us:')}: {reason}")
    if len(excluded) > SHOWN_MAX:
        say(f"  and {len(excluded) - SHOWN_MAX} more (bft features --json lists them all)")
