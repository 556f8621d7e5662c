"""`bft evening`, `bft morning`, `bft close`, `bft reconcile`, `bft report`: the trading day."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bar_fly_trading.cli.dates import AsOfOption, parse_day, session_of
from bar_fly_trading.cli.options import GatewayOption, HomeOption, JsonOption, SetOption, resolved
from bar_fly_trading.cli.output import say, say_json
from bar_fly_trading.cli.progress import Terminal

if TYPE_CHECKING:
    from bar_fly_trading.daily_pipeline import Age, Parts
    from bar_fly_trading.daily_pipeline.telling import Mails

ModeOption = Annotated[
    str | None, typer.Option("--mode", metavar="MODE", help="shadow or paper, for every strategy of this run.")
]
NO_SESSION = "no session: the exchange is closed today"


def _mode(mode: str | None) -> str | None:
    from bar_fly_trading.errors import FixSettings

    if mode is not None and mode not in {"shadow", "paper", "live"}:
        raise FixSettings(f"--mode {mode} is none.", way_out="Write shadow or paper.")
    return mode


def _stage(
    name: str,
    as_of: str | None,
    home: Path | None,
    *,
    kept: str,
    work: Callable[[Parts, date, Mails], Awaitable[Any]],
    shown: Callable[[Any, Terminal, Parts], dict[str, Any]],
    json: bool,
    gateway: str | None = None,
    mode: str | None = None,
    settings: list[str] | None = None,
    session: Callable[[Parts], date | None] | None = None,
) -> None:
    """Run one stage of the day under the home's lock; an ordinary closed day ends at once.

    `session`: how the session is found, where not by `as_of` and today's date.
    """
    from bar_fly_trading import wiring
    from bar_fly_trading.daily_pipeline import told

    found = resolved(home, gateway=gateway, settings=settings)
    with Terminal(quiet=json) as terminal, wiring.run(found, say=terminal, command=name, mode=_mode(mode)) as parts:
        day = session_of(as_of, parts.calendar, parts.clock.now_us()) if session is None else session(parts)
        if day is None:
            say_json({"session": None}) if json else say(NO_SESSION)
            return

        async def do(mails: Mails) -> Any:
            result = await work(parts, day, mails)
            answer = shown(result, terminal, parts)
            if json:
                say_json({"session": f"{day}", **answer})
            return result

        asyncio.run(told(parts, name, day, kept, f"bft {name} --as-of {day}", do))


def evening(
    as_of: AsOfOption = None,
    no_pull: Annotated[
        bool,
        typer.Option(
            "--no-pull",
            help="Rank what the store holds; fetch nothing. Without --as-of: its newest whole session; old prices are only to watch.",
        ),
    ] = False,
    model: Annotated[Path | None, typer.Option(help="Model folder to use instead of the active one.")] = None,
    home: HomeOption = None,
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Pull, build features, predict, rank the session's signals, and mail the list."""

    ages: list[Age] = []

    def stored(parts: Parts) -> date:
        from bar_fly_trading.daily_pipeline import stored_age

        ages.append(stored_age(parts))
        return ages[-1].session

    async def work(parts: Parts, day: date, mails: Mails) -> Any:
        from bar_fly_trading.daily_pipeline import evening as run

        return await run(parts, day, mails, pull=not no_pull, model=model, age=ages[-1] if ages else None)

    def shown(done: Any, terminal: Terminal, parts: Parts) -> dict[str, Any]:
        return {**_say_evening(done, terminal, parts), "age_sessions": ages[-1].sessions if ages else 0}

    _stage(
        "evening",
        as_of,
        home,
        settings=settings,
        json=json,
        session=stored if no_pull and as_of is None else None,
        work=work,
        shown=shown,
        kept="What was pulled and computed is kept; the next run reuses it.",
    )


def _say_evening(done: Any, terminal: Terminal, parts: Parts) -> dict[str, Any]:
    """Say what an evening ranked, and return its part of the JSON document."""
    ranked = done.evening.ranked
    for note in done.notes:
        terminal.line(f"note: {note}")
    if done.reused:
        terminal.line(f"reused, nothing had changed: {', '.join(done.reused)}")
    entries = [r for r in ranked if r.rank]
    execute = sum(r.tag == "execute" for r in entries)
    terminal.line(
        f"{len(ranked)} signals of {done.evening.session}: entries {execute} to execute, {len(entries) - execute} to watch;"
        f" exits {len(ranked) - len(entries)} (sold only where held)"
    )
    for r in ranked:
        place = f"{r.rank:>3}" if r.rank else "  -"
        terminal.line(
            f"{place} {r.tag:<7} {r.signal.side.value:<4} {r.signal.symbol:<6} {r.signal.strategy}: {r.signal.reason}"
        )
    if done.evening.excluded:
        terminal.line(f"{len(done.evening.excluded)} symbols were kept out (listed in the mail)")
    terminal.line(f"ranked list: {done.signals_file}")
    terminal.line(f"journal: {parts.home.journal}")
    return {
        "evening_id": done.evening.evening_id(),
        "signals_file": str(done.signals_file),
        "signals": len(ranked),
        "execute": execute,
        "predictions": done.evening.predictions,
        "excluded": len(done.evening.excluded),
        "reused": list(done.reused),
        "notes": list(done.notes),
    }


def morning(
    as_of: AsOfOption = None,
    mode: ModeOption = None,
    gateway: GatewayOption = None,
    home: HomeOption = None,
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Check the evening's signals against quotes, account and limits, and trade them in shadow or paper."""

    async def work(parts: Parts, day: date, mails: Mails) -> Any:
        from bar_fly_trading.daily_pipeline import morning as run

        return await run(parts, day, mails)

    def shown(done: Any, terminal: Terminal, parts: Parts) -> dict[str, Any]:
        if done.notice:
            terminal.line(f"market data: {done.notice}")
        counts = ", ".join(f"{n} {state.lower()}" for state, n in done.counts) or "no signals"
        terminal.line(f"morning ended: {done.outcome.value} ({counts}); account {done.account or 'not read'}")
        terminal.line(f"journal: {parts.home.journal}")
        return {
            "outcome": done.outcome.value,
            "counts": dict(done.counts),
            "account": done.account,
            "resumed": done.resumed,
        }

    _stage(
        "morning",
        as_of,
        home,
        gateway=gateway,
        mode=mode,
        settings=settings,
        json=json,
        work=work,
        shown=shown,
        kept="The plan is frozen in the journal once made; the next run resumes it and sends nothing twice.",
    )


def close(
    as_of: AsOfOption = None,
    mode: ModeOption = None,
    gateway: GatewayOption = None,
    home: HomeOption = None,
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Reconcile with the broker, mark the books at the close, and mail the day's summary."""

    async def work(parts: Parts, day: date, mails: Mails) -> Any:
        from bar_fly_trading.daily_pipeline import close as run

        return await run(parts, day, mails)

    def shown(done: Any, terminal: Terminal, parts: Parts) -> dict[str, Any]:
        for words in done.differences:
            terminal.line(f"difference: {words}")
        for name, total in done.totals_usd:
            terminal.line(f"{name} book has made {'an unknown sum' if total is None else f'{total:,.2f} USD'} so far")
        if done.unread:
            terminal.line(f"account not read: {done.unread}")
        terminal.line(f"journal: {parts.home.journal}")
        return {
            "differences": list(done.differences),
            "totals_usd": {n: None if t is None else f"{t:f}" for n, t in done.totals_usd},
            "account_note": done.unread,
        }

    _stage(
        "close",
        as_of,
        home,
        gateway=gateway,
        mode=mode,
        settings=settings,
        json=json,
        work=work,
        shown=shown,
        kept="Orders and fills are in the journal; closing again replaces nothing.",
    )


def reconcile(
    as_of: AsOfOption = None,
    mode: ModeOption = None,
    gateway: GatewayOption = None,
    home: HomeOption = None,
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the journal with the broker and record what settles; sends nothing."""

    async def work(parts: Parts, day: date, mails: Mails) -> Any:
        from bar_fly_trading.daily_pipeline import reconcile_now
        from bar_fly_trading.errors import DoneUnread

        done = await reconcile_now(parts, day, mails)
        if done[1] is None:
            mails.less(DoneUnread(f"nothing was compared: {done[2]}", way_out=f"bft reconcile --as-of {day}"))
        return done

    def shown(done: Any, terminal: Terminal, parts: Parts) -> dict[str, Any]:
        found, account, _ = done
        differences = () if found is None else found.differences
        for d in differences:
            terminal.line(f"{d.kind} ({d.remedy.value}): {d.words}")
        if account is not None and not differences:
            terminal.line(f"no differences; account {account.account}")
        terminal.line(f"journal: {parts.home.journal}")
        return {"differences": [d.words for d in differences], "account": account.account if account else None}

    _stage(
        "reconcile",
        as_of,
        home,
        gateway=gateway,
        mode=mode,
        settings=settings,
        json=json,
        work=work,
        shown=shown,
        kept="Everything found before is in the journal.",
    )


def report(
    since: Annotated[str | None, typer.Option(metavar="DATE", help="First session (default: all).")] = None,
    home: HomeOption = None,
) -> None:
    """Write the report of the sessions run so far: words here, and a page with charts."""
    from bar_fly_trading import wiring
    from bar_fly_trading.daily_pipeline.reporting import write_report

    with Terminal() as terminal, wiring.run(resolved(home), say=terminal, command="report") as parts:
        text, page = write_report(
            parts, title="bar_fly_trading report", since=None if since is None else parse_day(since)
        )
        terminal.line(text)
        terminal.line(f"page with charts: {page}")
