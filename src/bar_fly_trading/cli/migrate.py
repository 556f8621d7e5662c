"""`bft import mysqldump`: the older program's database, from the file that mysqldump wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bar_fly_trading.cli.options import HomeOption, JsonOption, resolved
from bar_fly_trading.cli.output import say_json, warn
from bar_fly_trading.cli.progress import Terminal

if TYPE_CHECKING:
    from bar_fly_trading.data.importers.mysqldump import DumpReport


def import_mysqldump(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What mysqldump wrote, plain or gzip.")],
    database: Annotated[
        str | None, typer.Option("--database", metavar="NAME", help="Which database, where the dump holds several.")
    ] = None,
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
            progress=lambda what, done, total: terminal.share(what, done / max(total, 1)),
            say=terminal.line,
        )
        if json:
            say_json(_body(report))
        else:
            _say(terminal, report)
        _check(file, report)


def _body(report: DumpReport) -> dict[str, object]:
    return {
        "store_version": report.version,
        "rows": report.rows,
        "refused": report.refused,
        "left_out": report.left_out,
        "bars_new": report.bars_new,
        "bars_corrected": report.bars_corrected,
        "bars_same": report.bars_same,
        "refusals_file": None if report.refusals_file is None else str(report.refusals_file),
        "cut_at_byte": None if report.cut is None else report.cut.offset,
    }


def _say(terminal: Terminal, report: DumpReport) -> None:
    from bar_fly_trading.data.importers.mysqldump.tables import LEFT_OUT

    for table, rows in sorted(report.rows.items()):
        refused = report.refused.get(table, 0)
        terminal.line(f"{table}: {rows} rows, {refused} refused")
    terminal.line(
        f"{report.bars_new} bars new, {report.bars_corrected} corrected, {report.bars_same} were there already"
    )
    for table, rows in sorted(report.left_out.items()):
        why = LEFT_OUT.get(table, "no table of the older program")
        # Loud where it is the user's data that stays behind, a line where nothing is lost.
        if table == "historical_options":
            warn(f"{table}: {rows} rows NOT IMPORTED: {why}")
        else:
            terminal.line(f"{table}: {rows} rows passed over: {why}")
    if report.rows.keys() & {"quarterly_earnings", "company_overview", "economic_indicators"}:
        terminal.line(
            "earnings, overview and macro rows are known from now on and in no view of the past: the old schema lost when"
            " they became known"
        )
    if not report.completed and report.cut is None:
        warn("the dump does not end with 'Dump completed': where it was not made without comments, it may be cut off")
    terminal.line(f"store version {report.version}")


def _check(file: Path, report: DumpReport) -> None:
    """Raise DoneLess where rows were refused or the dump was cut off."""
    from bar_fly_trading.errors import DoneLess

    lines: list[str] = []
    if report.cut is not None:
        where = f" of {report.cut.table.rpartition('.')[2]}" if report.cut.table else ""
        lines.append(
            f"{file} is not whole: it {report.cut.reason}{where} at byte {report.cut.offset}; what came before is imported."
        )
    refused = sum(report.refused.values())
    if refused:
        lines.append(f"{refused} rows were refused, each with its reason in {report.refusals_file}.")
    if lines:
        way_out = "Get the whole dump and import it again; what is stored already is skipped." if report.cut else ""
        raise DoneLess(" ".join(lines), way_out=way_out or "Look at the refused rows; the rest is stored.")
