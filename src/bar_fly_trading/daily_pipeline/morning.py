"""The morning: the evening's signals meet the Gateway, the account, live quotes and the limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from bar_fly_trading.clock import Clock, GatewayClock
from bar_fly_trading.daily_pipeline.books import build_books, closes_of, split_factors, splits_of
from bar_fly_trading.daily_pipeline.driver import Driver
from bar_fly_trading.daily_pipeline.parts import Connected, Parts
from bar_fly_trading.daily_pipeline.records import EVENING_KIND, Evening, newest_evening
from bar_fly_trading.daily_pipeline.sending import check_past, take_lease
from bar_fly_trading.daily_pipeline.telling import Mails, alarm_mail, signal_mail_of
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.day import Action, Finish, Morning, Outcome, Tell, resume, start
from bar_fly_trading.errors import CheckGateway, DecideParked, DoneUnread, FixData, Refused
from bar_fly_trading.facts.sessions import new_york_date, new_york_datetime
from bar_fly_trading.trading.book import Book
from bar_fly_trading.trading.orders import MAY_BE_AT_BROKER, Mode
from bar_fly_trading.trading.plan import IntentStatus
from bar_fly_trading.trading.reading import read_status

BIND_KIND = "bind"


@dataclass(frozen=True, slots=True)
class MorningDone:
    """A finished morning: how the day ended, its counts, and whether it resumed an earlier run's plan."""

    outcome: Outcome
    detail: str
    counts: tuple[tuple[str, int], ...]
    resumed: bool
    account: str | None
    notice: str | None


async def morning(parts: Parts, as_of: date, mails: Mails) -> MorningDone:
    """Run or resume the morning of session `as_of` on the newest complete evening of exactly the session before.

    FixData where there is no such evening; Refused where the Gateway's New York date is not `as_of`, the exchange is not
    open there, or the account is not the home's; without a Gateway every signal is mailed and DoneUnread is left behind.
    """
    before = parts.calendar.previous(as_of)
    found = newest_evening(parts.journal, before)
    if found is None:
        raise FixData(
            f"there is no complete evening of {before}, the session before {as_of}{_newest_words(parts)}; nothing was planned.",
            way_out=f"Run bft evening --as-of {before}, then this again.",
        )
    instruments = load_instruments(parts.store)
    connected, reason = None, ""
    try:
        connected = await parts.connect(lambda symbol: instruments.id_of(symbol, as_of))
    except CheckGateway as error:
        reason = str(error)
    try:
        return await _decide(parts, as_of, found, mails, connected, reason)
    finally:
        if connected is not None:
            await connected.venue.disconnect()


def _newest_words(parts: Parts) -> str:
    """Say which evening is the newest there is, so that one on old prices is not taken for the missing one."""
    sessions = [str(r.payload["session"]) for r in parts.journal.records(kinds=(EVENING_KIND,))]
    return f" (the newest evening is of {max(sessions)})" if sessions else ""


async def _decide(
    parts: Parts, as_of: date, found: Evening, mails: Mails, connected: Connected | None, reason: str
) -> MorningDone:
    clock: Clock = parts.clock
    if connected is not None:
        clock = GatewayClock.read(await connected.venue.time_us(), parts.clock.monotonic_us)
        _check_time(parts, as_of, clock.now_us())
        _bind(parts, connected.account)
        take_lease(parts, connected.account)
        try:
            await check_past(parts, as_of, connected)
        except CheckGateway as error:
            connected, reason = None, f"the broker's orders could not be read: {error.message}"
    given = _morning(parts, as_of, found)
    plan = _frozen_plan(parts, as_of, None if connected is None else connected.account)
    if connected is None and plan is not None:
        take_lease(parts, str(plan["plan"]["account"]))
    intents = _statuses(parts, as_of)
    state = start(given) if plan is None else resume(given, plan, intents)
    shadow = given.books[Mode.SHADOW]
    driver = Driver(
        venue=None if connected is None else connected.venue,
        trader=None if connected is None else connected.trader,
        not_read_reason=reason,
        journal=parts.journal,
        clock=clock,
        tell=lambda tell: _queue(parts, found, mails, tell, shadow),
        say=lambda action: _say(parts, action),
        quote_age_s_max=parts.limits.quote_age_s_max,
        lease_s=parts.settings.gateway.lease_s,
    )
    _, finish = await driver.run(state)
    notice = getattr(connected.venue, "market_data_notice", lambda: None)() if connected is not None else None
    _leave_problem(mails, finish, as_of)
    account = None if connected is None else connected.account
    return MorningDone(finish.outcome, finish.detail, finish.counts, plan is not None, account, notice)


def _check_time(parts: Parts, as_of: date, at_us: int) -> None:
    day, session = new_york_date(at_us), parts.calendar.session(as_of)
    if day != as_of:
        raise Refused(
            f"the Gateway says it is {day} in New York, the morning is of {as_of}; no quote was asked.",
            way_out="Run the morning on its own day, or correct --as-of.",
        )
    if not session.open_us <= at_us < session.close_us:
        opens, closes = (f"{new_york_datetime(t):%H:%M}" for t in (session.open_us, session.close_us))
        raise Refused(
            f"the Gateway says it is {new_york_datetime(at_us):%H:%M} in New York; the session runs {opens} to {closes}.",
            way_out="Run the morning inside the session.",
        )


def _bind(parts: Parts, account: str) -> None:
    """Bind the home to its first account; another one later is refused."""
    bound = parts.journal.records(kinds=(BIND_KIND,))
    if not bound:
        parts.journal.append(BIND_KIND, {"account": account}, at_us=parts.clock.now_us())
    elif bound[0].payload["account"] != account:
        raise Refused(
            f"this home belongs to account {bound[0].payload['account']}, the Gateway serves {account}; nothing was done.",
            way_out="Log the Gateway in to the home's account, or use another home (BFT_HOME).",
        )


def _frozen_plan(parts: Parts, as_of: date, account: str | None) -> Mapping[str, Any] | None:
    records = parts.journal.records(kinds=("plan",), session=as_of)
    if not records:
        return None
    payload = records[0].payload
    planned = payload["plan"]["account"]
    if account is not None and planned != account:
        raise Refused(f"the plan of {as_of} is of account {planned}, not {account}.", way_out="Use that account.")
    parts.say.line(f"resuming the frozen plan of {as_of}: {payload['plan_id'][:16]}")
    return payload


def _statuses(parts: Parts, as_of: date) -> tuple[IntentStatus, ...]:
    return tuple(read_status(row.payload, row.state) for row in parts.journal.intents(session=as_of))


def _standing(parts: Parts, as_of: date) -> tuple[IntentStatus, ...]:
    """Return this session's intents, and earlier ones whose order may still be at the broker."""
    earlier = (r for r in parts.journal.intents(states=MAY_BE_AT_BROKER) if r.session != as_of)
    return (*_statuses(parts, as_of), *(read_status(r.payload, r.state) for r in earlier))


def _morning(parts: Parts, as_of: date, found: Evening) -> Morning:
    known_by_us = parts.calendar.session(as_of).open_us
    books = build_books(parts.journal, parts.store, as_of, known_by_us)
    held = sorted({p.instrument_id for b in books.values() for p in (*b.positions, *b.open_positions)})
    wanted = sorted({r.signal.instrument_id for r in found.ranked} | set(held))
    splits = splits_of(parts.store, wanted, known_by_us) if wanted else ()
    return Morning(
        session=as_of,
        signal_session=found.session,
        evening_id=found.evening_id(),
        settings_hash=parts.settings_hash,
        ranked=found.ranked,
        refused=found.refused,
        limits=parts.limits,
        modes=parts.modes,
        sizing_default=parts.sizing,
        sizing=parts.sizing_by_strategy,
        split_factors=split_factors(splits, found.session, as_of),
        previous_closes_usd=closes_of(parts.store, found.session, held),
        books=books,
        standing=_standing(parts, as_of),
        fill_wait_s=parts.settings.gateway.fill_wait_s,
    )


def _queue(parts: Parts, found: Evening, mails: Mails, tell: Tell, shadow: Book) -> None:
    if tell.kind == "signal":
        mails.queue(signal_mail_of(tell, shadow, found.refused))
    elif tell.kind == "alarm" and "intent" not in tell.payload:  # an order's states are mailed from the journal
        mails.queue(alarm_mail(parts, mails.session, tell))


def _say(parts: Parts, action: Action) -> None:
    if isinstance(action, Tell) and action.kind == "signal":
        parts.say.line(_decision_line(action))
    elif isinstance(action, Tell):
        parts.say.line(f"  {action.kind}: {_order_words(action)}")


def _order_words(tell: Tell) -> str:
    payload = tell.payload
    if "words" in payload:
        return str(payload["words"])
    intent, filled = payload["intent"], payload["filled_quantity"]
    return f"{intent['side']} {intent['symbol']} {payload['state']}, {filled} of {intent['quantity']} filled"


def _decision_line(tell: Tell) -> str:
    payload = tell.payload
    if payload["decision"] == "intent":
        i = payload["intent"]
        return (
            f"  {i['mode']:<6} {i['side']:<4} {i['quantity']} {i['symbol']} at {i['limit_price_usd']}"
            f" ({i['strategy']}; size set by {i['binding_cap']})"
        )
    if payload["decision"] == "rejection":
        r = payload["rejection"]
        return f"  {r['mode']:<6} {r['side']:<4} {r['symbol']} not traded: {r['rule']}: observed {r['observed']}, limit {r['limit']}"
    s = payload["ranked"]["signal"]
    return f"  {payload['mode']:<6} {s['side']:<4} {s['symbol']}: account not read"


def _leave_problem(mails: Mails, finish: Finish, as_of: date) -> None:
    again = f"Run bft morning --as-of {as_of} again; it resumes and sends nothing twice."
    if finish.outcome is Outcome.ACCOUNT_NOT_READ:
        mails.less(DoneUnread(f"account not read: {finish.detail}", way_out=again))
    elif finish.outcome is Outcome.CONNECTION_LOST:
        mails.less(CheckGateway(f"the Gateway went away in the middle: {finish.detail}", way_out=again))
    elif finish.outcome is Outcome.ORDERS_UNKNOWN:
        mails.less(
            DecideParked(
                f"the fate of an order is not known: {finish.detail}",
                way_out=f"Look in TWS, then run bft reconcile --as-of {as_of}; it is never sent again.",
            )
        )
