"""`bft parked`, `bft resolve`, `bft why`: what became of orders, what a person must settle, and why something was done."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bar_fly_trading.cli.dates import parse_day
from bar_fly_trading.cli.options import GatewayOption, HomeOption, JsonOption, SetOption, resolved
from bar_fly_trading.cli.output import say, say_json
from bar_fly_trading.cli.progress import Terminal

if TYPE_CHECKING:
    from bar_fly_trading.daily_pipeline import Parts
    from bar_fly_trading.daily_pipeline.resolving import Resolution
    from bar_fly_trading.daily_pipeline.telling import Mails
    from bar_fly_trading.trading.plan import IntentStatus


def parked(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show every order whose fate a person must settle: what was written, what the broker said, what to look up in TWS."""
    from bar_fly_trading.daily_pipeline.evidence import ORDER_KINDS, open_questions, written
    from bar_fly_trading.journal import Journal
    from bar_fly_trading.report.parked import to_json, to_words

    with Journal.read(resolved(home).home.journal) as journal:
        found = open_questions(journal)
        records = written(journal, kinds=ORDER_KINDS) if found else ()
    if json:
        say_json([to_json(status, records) for status in found])
        return
    if not found:
        say("nothing is parked, and no order is of unknown fate")
    for status in found:
        say(to_words(status, records))


def resolve(
    intent: Annotated[str, typer.Argument(metavar="INTENT", help="The order's key, as bft parked shows it.")],
    outcome: Annotated[str, typer.Option("--as", metavar="OUTCOME", help="filled, cancelled or never-arrived.")],
    why: Annotated[str, typer.Option("--why", help="What was looked up, and where; it is written down.")],
    quantity: Annotated[int | None, typer.Option(min=1, help="Shares filled, as TWS shows them.")] = None,
    price: Annotated[str | None, typer.Option(help="Price of the fill, USD.")] = None,
    commission: Annotated[str | None, typer.Option(help="Commission of the fill, USD.")] = None,
    exec_id: Annotated[
        str, typer.Option("--exec-id", help="Execution id, so that the broker's own report counts only once.")
    ] = "",
    who: Annotated[str, typer.Option("--who", help="Who decides (default: the user of this machine).")] = "",
    gateway: GatewayOption = None,
    home: HomeOption = None,
    settings: SetOption = None,
) -> None:
    """Settle a parked order as a person found it at the broker: asks twice, refuses while the broker shows it; sends nothing."""
    import asyncio
    import getpass

    from bar_fly_trading import wiring
    from bar_fly_trading.daily_pipeline import told
    from bar_fly_trading.daily_pipeline.evidence import ORDER_KINDS, written
    from bar_fly_trading.daily_pipeline.resolving import OUTCOMES, Resolution, find_parked
    from bar_fly_trading.daily_pipeline.resolving import resolve as settle
    from bar_fly_trading.errors import FixInput
    from bar_fly_trading.journal import Journal
    from bar_fly_trading.report.parked import to_words

    if outcome not in OUTCOMES:
        raise FixInput(f"--as {outcome} is none.", way_out=f"Write {', '.join(OUTCOMES)}.")
    if not why.strip():
        raise FixInput("--why is empty.", way_out="Say what was looked up, and where.")
    found = resolved(home, gateway=gateway, settings=settings)
    resolution = Resolution(
        outcome,
        who or getpass.getuser(),
        why,
        quantity,
        _usd("--price", price),
        _usd("--commission", commission),
        exec_id,
    )
    with Journal.read(found.home.journal) as journal:
        status = find_parked(journal, intent)
        evidence = to_words(status, written(journal, kinds=ORDER_KINDS))
    _ask(status, evidence, resolution)
    key, session = status.intent.intent_key, status.intent.session

    async def work(parts: Parts, _: Mails) -> Any:
        # Between the question and the lock another run may have settled it.
        return await settle(parts, find_parked(parts.journal, key), resolution)

    with (
        Terminal() as terminal,
        wiring.run(found, say=terminal, command="resolve", mode=status.intent.mode.value) as parts,
    ):
        command = "bft parked"
        kept = "The order stays parked as it was."
        done = asyncio.run(told(parts, "resolve", session, kept, command, lambda mails: work(parts, mails)))
    say(f"{key} is {done.state}: {done.filled_quantity} of {done.intent.quantity} filled; {done.detail}")


def _usd(name: str, text: str | None) -> Decimal | None:
    from bar_fly_trading.errors import FixInput

    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0:
        raise FixInput(f"{name} {text} is no sum of dollars.", way_out="Write it as 101.25.")
    return value


def _ask(status: IntentStatus, evidence: str, resolution: Resolution) -> None:
    """Show the evidence, then ask twice: for the order, and for what it is settled as."""
    from bar_fly_trading.cli.asking import ask_typed

    intent = status.intent
    say(evidence)
    ask_typed(intent.intent_key, f"to settle this order of {intent.quantity} {intent.symbol}")
    numbers = f", {resolution.quantity} shares at {resolution.price_usd} USD" if resolution.quantity else ""
    say(f"It will be written down as {resolution.outcome}{numbers} by {resolution.who}: {resolution.why}")
    say("It cannot be taken back, and lets the stock be traded again.")
    ask_typed(resolution.outcome, "to write it down")


def why(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="A stock, as AAPL or BRK.B.")],
    day: Annotated[str, typer.Argument(metavar="DATE", help="The morning, as 2021-04-21.")],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Tell why a stock was traded or not: every candidate, gate, value and limit of that day, from what was written then."""
    from bar_fly_trading.daily_pipeline.explaining import gather
    from bar_fly_trading.facts.sessions import Calendar
    from bar_fly_trading.journal import Journal
    from bar_fly_trading.report.why import to_words

    found = resolved(home)
    calendar = Calendar(found.settings.schedule.extra_closures)
    with Journal.read(Path(found.home.journal)) as journal:
        gathered = gather(found.home, journal, calendar, symbol, parse_day(day))
    if json:
        from bar_fly_trading.trading.plan import plain

        say_json(plain(gathered))
        return
    say(to_words(gathered))
