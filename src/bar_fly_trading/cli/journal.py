"""`bft journal`: the journal checked from end to end, and taken as it is where a person decides so."""

from __future__ import annotations

from typing import Annotated

import typer

from bar_fly_trading.cli.options import HomeOption, JsonOption, resolved
from bar_fly_trading.cli.output import say, say_json

journal_app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Check the journal, or take a restored one as it is.",
)


@journal_app.callback()
def _group() -> None:
    """Keep the commands' names, however few they are."""


@journal_app.command("verify")
def verify(
    seq: Annotated[int | None, typer.Option("--seq", min=1, help="A record's number, as a mail said it.")] = None,
    digest: Annotated[str | None, typer.Option("--hash", help="That record's hash, as the mail said it.")] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Check every page, hash and intent, and the end; with --seq and --hash also against a head that was mailed."""
    from bar_fly_trading.errors import FixInput, FixSettings, StoreDamaged
    from bar_fly_trading.journal import Journal
    from bar_fly_trading.journal.chain import verify as check
    from bar_fly_trading.journal.head import read_head

    path = resolved(home).home.journal
    if not path.is_file():
        raise FixSettings(f"there is no journal at {path}.", way_out="Run bft evening first, or set BFT_HOME.")
    if (seq is None) != (digest is None):
        raise FixInput("--seq and --hash belong together.", way_out="Give both, as the mail has them, or none.")
    head = check(path, read_head(path))
    if head is None:
        raise StoreDamaged(f"{path} has no journal in it.", way_out="Restore it from a backup.")
    with Journal.read(path) as journal:
        epoch = journal.epoch()
        found = {r.seq: r.hash for r in journal.records(after_seq=seq - 1)} if seq is not None else {}
    if seq is not None and not found.get(seq, "").startswith((digest or "").lower()):
        raise StoreDamaged(
            f"record {seq} has the hash {found.get(seq, 'of no record: the journal ends before it')[:64]}, the mail said {digest}.",
            way_out="Keep the file, and restore a backup (bft restore): it was written anew or cut.",
        )
    if json:
        say_json({"records": head.seq, "hash": head.hash, "epoch": epoch.number, "reconciled": epoch.reconciled})
        return
    say(f"{head.seq} records, every hash, intent and lease as it was written: {path}")
    say(f"head: record {head.seq}, hash {head.hash}")
    if not epoch.reconciled:
        say(f"epoch {epoch.number}, not reconciled yet: {epoch.reason}")


@journal_app.command("adopt")
def adopt(
    why: Annotated[str, typer.Option("--why", help="Why this journal is taken as it is; it is written down.")],
    home: HomeOption = None,
) -> None:
    """Take an older or cut journal as it is: asks first; nothing is sent before bft reconcile found it clean."""
    import getpass

    from bar_fly_trading.cli.asking import ask_typed
    from bar_fly_trading.clock import SystemClock
    from bar_fly_trading.files import RunLock
    from bar_fly_trading.journal import Journal
    from bar_fly_trading.journal.chain import verify as check

    found = resolved(home)
    path = found.home.journal
    with RunLock(found.home.lock):
        head = check(path, None) if path.is_file() else None
        last = "no journal is there" if head is None else f"it ends at record {head.seq}, hash {head.hash}"
        say(f"{path}: {last}")
        say("What was sent after that record is not in it. Only the broker knows; compare with TWS and the mails.")
        ask_typed("ADOPT", "to take it as it is")
        reason = f"taken as it is by {getpass.getuser()}: {why}"
        opened = Journal.open(
            path, now_us=SystemClock().now_us, run_id="journal-adopt", settings_hash=found.hash, adopt=reason
        )
        with opened as journal:
            epoch = journal.epoch().number
    say(f"epoch {epoch} begins; nothing is sent before bft reconcile --mode paper found nothing to settle")
