"""`bft notify`: send one test mail and tell every step, or send what waits in the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bar_fly_trading.cli.options import HomeOption, JsonOption, SetOption, resolved
from bar_fly_trading.cli.output import say, say_json

if TYPE_CHECKING:
    from bar_fly_trading.notify.message import MailMessage
    from bar_fly_trading.notify.outbox import Outbox, Told
    from bar_fly_trading.notify.route import MailRoute

TestFlag = Annotated[bool, typer.Option("--test", help="Send one test mail and tell every step.")]
FlushFlag = Annotated[bool, typer.Option("--flush", help="Send every mail that waits in the outbox.")]


def notify(
    test: TestFlag = False,
    flush: FlushFlag = False,
    home: HomeOption = None,
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Test the mail settings, or send what waits in the outbox (without a flag: list what waits)."""
    from bar_fly_trading.errors import DoneNotTold
    from bar_fly_trading.notify.outbox import Outbox, Told
    from bar_fly_trading.settings import route

    found = resolved(home, settings=settings)
    way, outbox = route(found.settings), Outbox(found.home.outbox)
    if test:
        told = _test(outbox, way)
    elif flush:
        told = outbox.flush(way)
    else:
        told = Told(queued=outbox.pending())
    if json:
        say_json(_tree(told))
    else:
        _show(told, way, test=test, flush=flush)
    if test and told.reason and way.configured:
        raise DoneNotTold(
            f"the test mail did not arrive: {told.reason}.", way_out="Correct the mail settings named above."
        )
    if flush and told.queued:
        raise DoneNotTold(
            f"{len(told.queued)} mails wait in {outbox.root}: {told.reason}.",
            way_out="`bft notify --test` shows which step fails; then `bft notify --flush`.",
        )


def _test(outbox: Outbox, way: MailRoute) -> Told:
    from bar_fly_trading.notify.outbox import try_route

    message = _test_message(way)
    return try_route(message, way) if way.configured else outbox.tell([message], way)


def _test_message(way: MailRoute) -> MailMessage:
    from bar_fly_trading.clock import SystemClock
    from bar_fly_trading.facts.sessions import new_york_date
    from bar_fly_trading.notify.compose import probe_mail

    now_us = SystemClock().now_us()
    return probe_mail(new_york_date(now_us), str(now_us), server=f"{way.host}:{way.port}, {way.security}")


def _show(told: Told, way: MailRoute, *, test: bool, flush: bool) -> None:
    for step in told.steps:
        say(f"{'ok  ' if step.ok else 'FAIL'}  {step.name:<9}  {step.detail}")
    for path in told.delivered:
        say(f"sent     {path}")
    for path in told.kept:
        say(f"written  {path}")
    for path in told.queued:
        say(f"waits    {path}")
    if test and way.configured and not told.reason:
        say(f"The test mail is on its way to {', '.join(way.recipients)}.")
    elif not way.configured and (test or flush):
        say(f"Mail is not configured: {way.missing}. Mails are kept as files.")
    elif not (told.steps or told.queued or told.delivered):
        say("No mail waits.")


def _tree(told: Told) -> dict[str, object]:
    return {
        "delivered": [str(p) for p in told.delivered],
        "queued": [str(p) for p in told.queued],
        "kept": [str(p) for p in told.kept],
        "reason": told.reason,
        "steps": [{"name": s.name, "ok": s.ok, "detail": s.detail} for s in told.steps],
    }
