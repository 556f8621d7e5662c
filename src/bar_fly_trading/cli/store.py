"""`bft sql`, `bft store`, `bft backup`, `bft restore`: reading, weighing, thinning and keeping what the home holds."""

from __future__ import annotations

import csv
import json as json_text
import math
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bar_fly_trading.cli.dates import parse_day
from bar_fly_trading.cli.options import HomeOption, JsonOption, SetOption, resolved
from bar_fly_trading.cli.output import say, say_json, table
from bar_fly_trading.cli.progress import Terminal

if TYPE_CHECKING:
    from bar_fly_trading.data.disk import Prune
    from bar_fly_trading.data.sql import Answer
    from bar_fly_trading.journal import Journal

store_app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Show, check and thin out the store.",
)
ROWS_SHOWN = 40
CELL_CHARACTERS_MAX = 60
VersionOption = Annotated[
    str | None, typer.Option("--version", metavar="V", help="Version of the store (default: the current one).")
]


def sql(
    statement: Annotated[str, typer.Argument(metavar="SELECT", help="One SELECT, in quotes (SHOW TABLES works too).")],
    version: VersionOption = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="Only what was known by that day's evening.")
    ] = None,
    csv_wanted: Annotated[bool, typer.Option("--csv", help="Print every row as CSV.")] = False,
    json: JsonOption = False,
    rows: Annotated[
        int, typer.Option("--rows", min=1, help="Most rows shown (--csv and --json give all).")
    ] = ROWS_SHOWN,
    memory_mib: Annotated[int, typer.Option("--memory-mib", min=64, help="Most memory a query may use.")] = 2048,
    home: HomeOption = None,
) -> None:
    """Ask any version of the store in SQL (DuckDB); nothing can be written, and no other file read."""
    from bar_fly_trading.data.sql import query
    from bar_fly_trading.data.store import Store
    from bar_fly_trading.errors import FixSettings
    from bar_fly_trading.facts.sessions import evening_us

    if csv_wanted and json:
        raise FixSettings("--csv and --json were both given.", way_out="Write one of them.")
    known_by_us = None if as_of is None else evening_us(parse_day(as_of))
    store = Store(resolved(home).home.store)
    with query(store, statement, version=version, known_by_us=known_by_us, memory_mib=memory_mib) as answer:
        if csv_wanted:
            _print(_csv_lines(answer))
        elif json:
            _print(_json_lines(answer))
        else:
            _print_table(answer, rows)


class _Line:
    """A file of one line, for the CSV writer."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text = text
        return len(text)


def _csv_lines(answer: Answer) -> Iterator[str]:
    line = _Line()
    writer = csv.writer(line, lineterminator="\n")
    writer.writerow(answer.columns)
    yield line.text
    for row in answer.rows:
        writer.writerow(row)
        yield line.text


def _json_lines(answer: Answer) -> Iterator[str]:
    before = "[\n"
    for row in answer.rows:
        values = {c: _plain(v) for c, v in zip(answer.columns, row, strict=True)}
        yield f"{before}{json_text.dumps(values, ensure_ascii=False, allow_nan=False)}"
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    return str(value)


def _print(lines: Iterator[str]) -> None:
    # Data for another program: as it is, and no further than that program reads.
    try:
        for line in lines:
            sys.stdout.write(line)
        sys.stdout.flush()
    except BrokenPipeError:
        return


def _print_table(answer: Answer, rows_max: int) -> None:
    shown: list[list[str]] = []
    more = 0
    for row in answer.rows:
        if len(shown) < rows_max:
            shown.append([_cell(value) for value in row])
        else:
            more += 1
    say(table(answer.columns, shown))
    if more:
        say(f"and {more} more rows (--rows {len(shown) + more}, --csv or --json gives them all)")


def _cell(value: Any) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return text if len(text) <= CELL_CHARACTERS_MAX else f"{text[: CELL_CHARACTERS_MAX - 3]}..."


def _moment(us: int) -> str:
    return f"{datetime.fromtimestamp(us / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"


@store_app.command("status")
def status(home: HomeOption = None, settings: SetOption = None, json: JsonOption = False) -> None:
    """Show what the store weighs, table by table, what old versions and replaced rows weigh, and when the disk is full."""
    from bar_fly_trading.clock import SystemClock
    from bar_fly_trading.data.disk import folder_bytes, forecast, table_weights
    from bar_fly_trading.data.store import Store

    found = resolved(home, settings=settings)
    store, places = Store(found.home.store), found.home
    weights = table_weights(store)
    ahead = forecast(store, (places.predictions, places.signals, places.models), SystemClock().now_us())
    total, current = folder_bytes(store.root), sum(w.bytes for w in weights)
    if json:
        say_json(
            {
                "version": store.current(),
                "versions": len(store.versions()),
                "bytes": total,
                "bytes_of_older_versions_alone": total - current,
                "tables": [
                    {
                        "name": w.name,
                        "segments": w.segments,
                        "rows": w.rows,
                        "bytes": w.bytes,
                        "superseded_rows": w.superseded_rows,
                        "superseded_bytes": w.superseded_bytes,
                    }
                    for w in weights
                ],
                "disk_free_bytes": ahead.free_bytes,
                "bytes_a_day": round(ahead.bytes_a_day),
                "disk_days_left": ahead.days_left,
            }
        )
        return
    say(
        f"version {store.current() or 'none yet'}, {len(store.versions())} versions, {_megabytes(total)} in {store.root}"
    )
    rows = [
        (
            w.name,
            str(w.segments),
            f"{w.rows:,}",
            _megabytes(w.bytes),
            f"{w.superseded_rows:,} ({_megabytes(w.superseded_bytes)})",
        )
        for w in weights
    ]
    say(table(("table", "segments", "rows", "weight", "replaced rows kept for older views"), rows))
    say(f"older versions alone: {_megabytes(total - current)} (bft store prune --keep-days N says what could go)")
    left = "too little history to say when it is full"
    if ahead.days_left is not None:
        left = f"{_megabytes(ahead.bytes_a_day)} a day, full in about {ahead.days_left} days"
    say(f"disk: {_megabytes(ahead.free_bytes)} free, {left}")


@store_app.command("versions")
def versions(home: HomeOption = None, json: JsonOption = False) -> None:
    """List every version that is kept, oldest first: when it was recorded, by what, and its rows."""
    from bar_fly_trading.data.store import Store

    store = Store(resolved(home).home.store)
    current = store.current()
    found = [(version, store.manifest(version)) for version in store.versions()]
    if json:
        say_json(
            [
                {
                    "version": v,
                    "recorded_at": m.recorded_at,
                    "source": m.source,
                    "rows": {name: m.rows(name) for name in sorted(m.tables)},
                    "current": v == current,
                }
                for v, m in found
            ]
        )
        return
    rows = [(v, _moment(m.recorded_at), f"{sum(map(m.rows, m.tables)):,}", m.source) for v, m in found]
    say(table(("version", "recorded", "rows", "by"), rows))
    if store.pruned():
        say(f"{len(store.pruned())} older versions were pruned")


@store_app.command("verify")
def verify(version: VersionOption = None, home: HomeOption = None, json: JsonOption = False) -> None:
    """Check every file of every version (or of one) against its checksum."""
    from bar_fly_trading.data.disk import verify as check
    from bar_fly_trading.data.store import Store

    store = Store(resolved(home).home.store)
    files, size = check(store, version)
    if json:
        say_json({"files": files, "bytes": size})
        return
    say(f"{files} files, {_megabytes(size)}: every one matches its checksum")


@store_app.command("prune")
def prune(
    keep_days: Annotated[
        int | None, typer.Option("--keep-days", min=1, metavar="N", help="Keep what was current in the last N days.")
    ] = None,
    keep_versions: Annotated[
        int | None, typer.Option("--keep-versions", min=1, metavar="N", help="Keep the newest N versions.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove them; without it nothing is removed, only listed.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List (and with --yes remove) old versions and the files only they need; never the current one.

    A version that an evening of the kept days was made from stays (with --keep-versions alone: of the last 30 days).
    """
    from bar_fly_trading import wiring
    from bar_fly_trading.data.disk import DAY_US, GROWTH_DAYS, plan_prune
    from bar_fly_trading.data.disk import prune as remove

    with Terminal(quiet=json) as terminal, wiring.run(resolved(home), say=terminal, command="prune") as parts:
        now = parts.clock.now_us()
        since = None if keep_days is None else now - keep_days * DAY_US
        protected = _evening_versions(parts.journal, now - (keep_days or GROWTH_DAYS) * DAY_US)
        work = remove if yes else plan_prune
        done = work(parts.store, keep_versions=keep_versions, keep_since_us=since, protected=protected)
    if json:
        say_json(_prune_json(done, removed=yes))
        return
    for version in done.versions:
        say(f"  {version}")
    verb = "removed" if yes else "would go (nothing was removed; write --yes to remove them)"
    files = len(done.manifests) + len(done.segments)
    say(
        f"{len(done.versions)} versions, {files} files, {_megabytes(done.bytes)} {verb}; {len(done.kept)} versions stay"
    )


def _prune_json(done: Prune, *, removed: bool) -> dict[str, Any]:
    return {
        "removed": removed,
        "versions": list(done.versions),
        "files": len(done.manifests) + len(done.segments),
        "bytes": done.bytes,
        "kept": list(done.kept),
    }


def _evening_versions(journal: Journal, since_us: int) -> frozenset[str]:
    """Return the versions from which evenings that were run since a time were made."""
    from bar_fly_trading.daily_pipeline.records import SOURCE_KIND

    records = journal.records(kinds=(SOURCE_KIND,))
    return frozenset(r.payload["store_version"] for r in records if r.recorded_at_us >= since_us)


def backup(
    dest: Annotated[
        Path, typer.Argument(metavar="DEST", help="Folder (again and again the same), or a file ending in .tar.")
    ],
    with_secrets: Annotated[
        bool, typer.Option("--with-secrets", help="Keep the .env file too, readable by you alone.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Keep store, journal, settings, models, predictions, signals and outbox elsewhere, and check every byte; a run may go on."""
    from bar_fly_trading.clock import SystemClock
    from bar_fly_trading.data.backup import backup as keep

    found = resolved(home)
    places = found.home
    names = [places.settings_file, places.models, places.predictions, places.signals, places.outbox]
    data = found.settings.data
    names += [places.root / file for file in (data.symbols_file, data.universe) if file]
    below = [p.relative_to(places.root).as_posix() for p in names if p.is_relative_to(places.root) and p.exists()]
    with Terminal(quiet=json) as terminal:
        done = keep(
            places.root,
            dest,
            names=below,
            journal=places.journal.name,
            store=places.store.name,
            secrets=[places.env_file.name] if with_secrets and places.env_file.is_file() else [],
            at_us=SystemClock().now_us(),
            progress=lambda files, total: terminal.progress("backup", files, total),
        )
    if json:
        say_json(
            {
                "files": done.files,
                "bytes": done.bytes,
                "files_copied": done.files_copied,
                "bytes_copied": done.bytes_copied,
            }
        )
        return
    say(
        f"{done.files} files, {_megabytes(done.bytes)} in {dest}, every byte checked;"
        f" {done.files_copied} of them were new ({_megabytes(done.bytes_copied)})"
    )
    if places.env_file.is_file() and not with_secrets:
        say(f"{places.env_file.name} was left out (--with-secrets keeps it)")


def restore(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder or .tar file that bft backup made.")],
    home: Annotated[Path, typer.Option("--home", help="New home: a folder that is not there, or is empty.")],
    json: JsonOption = False,
) -> None:
    """Make a new home from a backup; every byte is checked first, and the home is there whole or not at all."""
    from bar_fly_trading.data.backup import restore as bring_back

    done = bring_back(source, home)
    if json:
        say_json({"home": str(home), "files": done.files, "bytes": done.bytes})
        return
    say(f"{done.files} files, {_megabytes(done.bytes)}, every one as it was kept: {home}")
    say(f"look at it with bft where --home {home}")
    say(
        "what was done after the backup is not in its journal: the first paper run wants bft reconcile --mode paper first"
    )
