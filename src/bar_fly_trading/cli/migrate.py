"""`bft import mysqldump`, `bft import mysql`, `bft export mysql`: the older program's database, in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bar_fly_trading.cli.options import HomeOption, JsonOption, resolved
from bar_fly_trading.cli.output import say_json, warn
from bar_fly_trading.cli.progress import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from polars import DataFrame

    from bar_fly_trading.daily_pipeline.parts import Parts
    from bar_fly_trading.data.importers.mysql import Address, ServerReport
    from bar_fly_trading.data.importers.mysqldump import DumpReport
    from bar_fly_trading.settings import Resolved

_LINE_EVERY_S = 60.0
_KNOWN_LATE = {"quarterly_earnings", "company_overview", "economic_indicators"}
_KNOWN_LATE_WORDS = (
    "earnings, overview and macro rows are known from now on and in no view of the past: the old schema lost when they"
    " became known"
)
UrlArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[URL]",
        help="mysql://USER@HOST:PORT/DATABASE (default: BFT_MYSQL_URL, else asked). A password belongs in BFT_MYSQL_URL.",
    ),
]


def import_mysqldump(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What mysqldump wrote, plain or gzip.")],
    database: Annotated[
        str | None, typer.Option("--database", metavar="NAME", help="Which database, where the dump holds several.")
    ] = None,
    no_options: Annotated[
        bool, typer.Option("--no-options", help="Leave historical_options out; a later import without this adds it.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Import the older program's database from a mysqldump file; no server is needed. Stopped, it continues where it was."""
    from bar_fly_trading import wiring
    from bar_fly_trading.data.importers.mysqldump import import_dump

    with Terminal(quiet=json) as terminal, wiring.run(resolved(home), say=terminal, command="import") as parts:
        report = import_dump(
            file,
            parts.store,
            parts.calendar,
            logs=parts.home.logs,
            now_us=parts.clock.now_us(),
            database=database,
            options=not no_options,
            progress=_shown(terminal),
            say=terminal.line,
        )
        if json:
            say_json(_body(report))
        else:
            _say(terminal, report)
        _check(file, report)


def _shown(terminal: Terminal) -> Callable[[str, int, int], None]:
    """Return who is told how far an import is: a bar where a person is looking, else a line a minute."""
    import sys
    import time

    said = time.monotonic()

    def show(what: str, done: int, total: int) -> None:
        nonlocal said
        terminal.share(what, done / max(total, 1))
        if not sys.stderr.isatty() and time.monotonic() - said >= _LINE_EVERY_S:
            said = time.monotonic()
            terminal.line(what)

    return show


def _counted(report: DumpReport | ServerReport) -> dict[str, object]:
    return {
        "store_version": report.version,
        "rows": report.rows,
        "refused": report.refused,
        "left_out": report.left_out,
        "bars_new": report.bars_new,
        "bars_corrected": report.bars_corrected,
        "bars_same": report.bars_same,
        "refusals_file": None if report.refusals_file is None else str(report.refusals_file),
    }


def _say_counts(terminal: Terminal, report: DumpReport | ServerReport) -> None:
    for table, rows in sorted(report.rows.items()):
        terminal.line(f"{table}: {rows} rows, {report.refused.get(table, 0)} refused")
    terminal.line(
        f"{report.bars_new} bars new, {report.bars_corrected} corrected, {report.bars_same} were there already"
    )


def _refused_words(report: DumpReport | ServerReport) -> str:
    """Say how many rows were refused and where they are listed, '' where none was."""
    refused = sum(report.refused.values())
    return f"{refused} rows were refused, each with its reason in {report.refusals_file}." if refused else ""


def _body(report: DumpReport) -> dict[str, object]:
    return {
        **_counted(report),
        "options_left_bytes": report.options_left_bytes,
        "cut_at_byte": None if report.cut is None else report.cut.offset,
    }


def _say(terminal: Terminal, report: DumpReport) -> None:
    from bar_fly_trading.data.importers.mysqldump.tables import LEFT_OUT

    _say_counts(terminal, report)
    for table, rows in sorted(report.left_out.items()):
        why = LEFT_OUT.get(table, "no table of the older program")
        terminal.line(f"{table}: {rows} rows passed over: {why}")
    if report.options_left_bytes:
        size = report.options_left_bytes / 1e6
        warn(
            f"historical_options: {size:,.1f} MB of the dump NOT IMPORTED; the same command without --no-options adds them"
        )
    if report.rows.keys() & _KNOWN_LATE:
        terminal.line(_KNOWN_LATE_WORDS)
    if not report.completed and report.cut is None:
        warn("the dump does not end with 'Dump completed': where it was not made without comments, it may be cut off")
    terminal.line(f"store version {report.version}")


def _check(file: Path, report: DumpReport) -> None:
    """Raise DoneLess where rows were refused or the dump was cut off."""
    from bar_fly_trading.errors import DoneLess

    lines: list[str] = []
    if report.cut is not None:
        table = report.cut.table.rpartition(".")[2] if report.cut.table else ""
        where = (
            f" of {table} (row {report.rows[table] + 1})" if table in report.rows else f" of {table}" if table else ""
        )
        lines.append(
            f"{file} is not whole: it {report.cut.reason}{where} at byte {report.cut.offset}; what came before is imported."
        )
    if refused := _refused_words(report):
        lines.append(refused)
    if lines:
        way_out = "Get the whole dump and import it again; what is stored already is skipped." if report.cut else ""
        raise DoneLess(" ".join(lines), way_out=way_out or "Look at the refused rows; the rest is stored.")


def import_mysql(
    url: UrlArgument = None,
    no_options: Annotated[
        bool, typer.Option("--no-options", help="Leave historical_options out; a later import without this adds it.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Import the older program's database from its running server, which is only read. Stopped, it continues where it was."""
    from bar_fly_trading import wiring
    from bar_fly_trading.data.importers.mysql import import_server

    found = resolved(home)
    address = mysql_address(url, found)
    with Terminal(quiet=json) as terminal, wiring.run(found, say=terminal, command="import") as parts:
        report = import_server(
            address,
            parts.store,
            parts.calendar,
            logs=parts.home.logs,
            now_us=parts.clock.now_us(),
            options=not no_options,
            progress=lambda what, done, total: terminal.share(what, done / max(total, 1)),
            say=terminal.line,
        )
        if json:
            say_json(_counted(report))
        else:
            _say_server(terminal, report)
        _check_server(report)


def mysql_address(url: str | None, found: Resolved) -> Address:
    """Return where the database is: the argument, else BFT_MYSQL_URL, else asked for; a missing password is asked for.

    Nothing is asked where nobody is at a terminal: FixSettings without a URL, no password without a password.
    """
    import sys
    from getpass import getpass

    from bar_fly_trading.data.importers.mysql import parse_address
    from bar_fly_trading.errors import FixSettings

    person = sys.stdin.isatty()
    text = url or found.settings.data.mysql_url.get_secret_value()
    if not text and not person:
        raise FixSettings(
            "no MySQL URL is given.",
            way_out="Set BFT_MYSQL_URL=mysql://USER:PASSWORD@HOST:3306/bar_fly_trading in .env.",
        )
    if not text:
        shown = "mysql://root@127.0.0.1:3306/bar_fly_trading"
        text = typer.prompt("URL of the database, without its password", default=shown, err=True)
    address = parse_address(text)
    if url and address.password:
        warn(
            "the password was given on the command line, where `ps` and the shell's history show it:"
            " put the URL into BFT_MYSQL_URL in .env, or leave the password out and be asked"
        )
    if address.password is None and person:
        address = address.with_password(getpass(f"Password of {address.user} (not shown): "))
    return address


def _say_server(terminal: Terminal, report: ServerReport) -> None:
    _say_counts(terminal, report)
    for table, rows in sorted(report.left_out.items()):
        if table == "historical_options":
            warn(f"{table}: about {rows} rows NOT IMPORTED")
        else:
            terminal.line(f"{table}: not read, indicators are computed here from the bars")
    if report.rows.keys() & _KNOWN_LATE:
        terminal.line(_KNOWN_LATE_WORDS)
    terminal.line(f"store version {report.version}")


def _check_server(report: ServerReport) -> None:
    """Raise DoneLess where rows were refused."""
    from bar_fly_trading.errors import DoneLess

    if refused := _refused_words(report):
        raise DoneLess(refused, way_out="Look at the refused rows; the rest is stored.")


def export_mysql(
    url: UrlArgument = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write into a database that holds rows without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be written, and write nothing.")] = False,
    home: HomeOption = None,
) -> None:
    """Write the older program's tables into a MySQL database for older scripts; rows are added and changed, none deleted."""
    import sys

    from bar_fly_trading import wiring
    from bar_fly_trading.data.exporters import mysql
    from bar_fly_trading.data.exporters.mysql_tables import chunks
    from bar_fly_trading.errors import DoneLess

    found = resolved(home)
    address = mysql_address(url, found)
    asked = (lambda question: typer.confirm(question, err=True)) if sys.stdin.isatty() else None
    with Terminal() as terminal, wiring.run(found, say=terminal, command="export") as parts:
        indicators, why = _indicators(parts)
        refusals = parts.home.logs / f"export-mysql-{address.mark}-{parts.clock.now_us()}-refused.csv"
        report = mysql.export_mysql(
            address,
            chunks(parts.store, indicators),
            refusals=refusals,
            dry_run=dry_run,
            agreed=(lambda question: True) if yes else asked,
            progress=lambda what, done, total: terminal.share(what, done / max(total, 1)),
        )
        for line in mysql.described(report, dry_run=dry_run):
            terminal.line(line)
        terminal.line(f"nothing was written to {address}: a dry run" if dry_run else f"written to {address}")
        if why:
            raise DoneLess(f"technical_indicators was left as it is: {why}", way_out="The other tables are written.")
        if report.refusals_file is not None:
            refused = sum(count.refused for count in report.tables.values())
            raise DoneLess(
                f"{refused} rows were refused, each with its reason in {report.refusals_file}.",
                way_out="Widen those columns (ALTER TABLE ... MODIFY symbol VARCHAR(12)) and export again.",
            )


def _indicators(parts: Parts) -> tuple[DataFrame | None, str]:
    """Return the indicators of every usable symbol in the vendor's adjusted scale, else None and why there are none."""
    from bar_fly_trading.daily_pipeline.view import features_at, newest_session, say_written
    from bar_fly_trading.errors import FixData
    from bar_fly_trading.features.all_data import to_all_data

    try:
        features = features_at(parts, newest_session(parts))
    except FixData as error:
        return None, error.message
    say_written(parts, features)
    return to_all_data(features.read()), ""
