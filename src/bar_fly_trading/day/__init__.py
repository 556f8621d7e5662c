"""One trading day, on one screen: what shadow, paper and the replay in memory all run. Free of I/O and of await.

    evening   rank(view, strategies, holdings, rules)            signals and exits -> combination -> ranked list
    morning   start(morning) | resume(morning, plan, intents)    -> state
              step(state, event)                                 -> state, actions

A morning, event by event:

    Started          a new day asks for the account; a resumed one goes on with its frozen plan
    AccountRead      asks a quote for every signal that a quote could still let pass
    QuoteRead        the last one makes the plan: every signal one intent or one rejection, frozen and recorded, each told;
                     then the intents one by one, exits first:
                         SHADOW   filled at the far touch into the shadow book; there is no Send on this path
                         PAPER    fresh quote, checks again, APPROVED, SENDING recorded, Send
    SendReported     WORKING starts the wait; NOT_SENT, BROKER_REJECTED end it; anything unsure is UNKNOWN, never sent again
    ExecutionReported  the only source of fills
    TimerFired       the wait is over: cancel the rest; no word on the cancellation: UNKNOWN
    OrderUpdated     cancelled, rejected, expired: the end of the order, and the next intent
    ConnectionLost, AccountNotRead   what may be at the broker is UNKNOWN; without a plan every signal is told, none recorded

The driver performs actions strictly in order and stops at the first that raises: `Record` before `Send` is the write-ahead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bar_fly_trading.day import broker, orders
from bar_fly_trading.day.events import (
    AccountNotRead,
    AccountRead,
    Action,
    AskAccount,
    AskQuote,
    Cancel,
    ConnectionLost,
    DayState,
    Event,
    ExecutionReported,
    Finish,
    Morning,
    OrderUpdated,
    Outcome,
    Phase,
    QuoteNotRead,
    QuoteRead,
    Send,
    SendReported,
    Started,
    StartTimer,
    Tell,
    TimerFired,
)
from bar_fly_trading.day.planning import check_account, in_order, make_plan, quotes_to_ask
from bar_fly_trading.day.ranking import Evening, RankRules, rank
from bar_fly_trading.day.telling import account_not_read_tells, finish, plan_record, signal_tells
from bar_fly_trading.errors import NotBuilt
from bar_fly_trading.facts.account import AccountSnapshot
from bar_fly_trading.trading.orders import Mode, Record, State
from bar_fly_trading.trading.plan import IntentStatus
from bar_fly_trading.trading.reading import read_account, read_plan

__all__ = [
    "AccountNotRead",
    "AccountRead",
    "Action",
    "AskAccount",
    "AskQuote",
    "Cancel",
    "ConnectionLost",
    "DayState",
    "Evening",
    "Event",
    "ExecutionReported",
    "Finish",
    "Morning",
    "OrderUpdated",
    "Outcome",
    "Phase",
    "QuoteNotRead",
    "QuoteRead",
    "RankRules",
    "Record",
    "Send",
    "SendReported",
    "StartTimer",
    "Started",
    "Tell",
    "TimerFired",
    "rank",
    "resume",
    "start",
    "step",
]
Step = tuple[DayState, tuple[Action, ...]]


def start(morning: Morning) -> DayState:
    """Begin a day that has no plan yet; NotBuilt where a strategy is set to live."""
    live = sorted(name for name, mode in morning.modes.items() if mode is Mode.LIVE)
    if live:
        raise NotBuilt(
            f"strategy {live[0]} is set to live; live trading is not built.", way_out="Set it to shadow or paper."
        )
    return DayState(morning)


def resume(morning: Morning, plan_payload: Mapping[str, Any], intents: Iterable[IntentStatus]) -> DayState:
    """Go on with a frozen plan: `plan_payload` of its record, `intents` as the journal has them; nothing is planned anew.

    What was never being sent goes on; SENDING becomes UNKNOWN; what has ended stays. NotBuilt as in `start`.
    """
    plan = read_plan(plan_payload["plan"])
    stored = {status.intent.intent_key: status for status in intents}
    statuses = {i.intent_key: stored.get(i.intent_key, IntentStatus(i, State.PLANNED)) for i in plan.intents}
    return replace(
        start(morning),
        account=read_account(plan_payload["account"]),
        plan=plan,
        intents=statuses,
        queue=tuple(k for k, s in statuses.items() if s.state in orders.NOT_BEGUN),
        unknown=frozenset(k for k, s in statuses.items() if s.state in orders.UNKNOWN_STATES),
    )


def step(state: DayState, event: Event) -> Step:
    """Take one event: return the new state and what to do, in order. An event that was not awaited changes nothing."""
    match event:
        case Started() if state.phase is Phase.NEW:
            return _started(state)
        case AccountRead(account) if state.phase is Phase.ACCOUNT:
            return _account_read(state, account)
        case AccountNotRead(reason) if state.plan is None:
            return _without_account(state, reason)
        case ConnectionLost(reason) if state.plan is None:
            return _without_account(state, reason)
        case ConnectionLost(reason):
            return broker.connection_lost(state, reason)
        case QuoteRead(quote) if quote.instrument_id in state.waiting_quotes:
            quotes = {**state.quotes, quote.instrument_id: event}
            return _quote_answered(replace(state, quotes=quotes), quote.instrument_id)
        case QuoteNotRead(instrument_id, reason) if instrument_id in state.waiting_quotes:
            missing = {**state.quotes_missing, instrument_id: reason}
            return _quote_answered(replace(state, quotes_missing=missing), instrument_id)
        case QuoteRead(quote) if orders.asked(state, quote.instrument_id):
            return orders.quote_read(state, event, "")
        case QuoteNotRead(instrument_id, reason) if orders.asked(state, instrument_id):
            return orders.quote_read(state, None, reason)
        case SendReported():
            return broker.send_reported(state, event)
        case ExecutionReported(execution):
            return broker.executed(state, execution)
        case OrderUpdated(key, status, detail):
            return broker.order_updated(state, key, status, detail)
        case TimerFired(name):
            return broker.timer_fired(state, name)
    return state, ()


def _started(state: DayState) -> Step:
    if state.plan is None:
        return replace(state, phase=Phase.ACCOUNT), (AskAccount(),)
    tells = signal_tells(state.morning, state.plan, state.account)
    state, actions = broker.pick_up(replace(state, phase=Phase.ORDERS))
    return state, (*tells, *actions)


def _account_read(state: DayState, account: AccountSnapshot) -> Step:
    check_account(state.morning, account)
    wanted = quotes_to_ask(state.morning, account)
    state = replace(state, phase=Phase.QUOTES, account=account, waiting_quotes=frozenset(i for i, _ in wanted))
    if not wanted:
        return _plan(state, account)
    return state, tuple(AskQuote(instrument_id, symbol) for instrument_id, symbol in wanted)


def _quote_answered(state: DayState, instrument_id: str) -> Step:
    state = replace(state, waiting_quotes=state.waiting_quotes - {instrument_id})
    if state.waiting_quotes or state.account is None:
        return state, ()
    return _plan(state, state.account)


def _plan(state: DayState, account: AccountSnapshot) -> Step:
    plan = make_plan(state.morning, account, state.quotes, state.quotes_missing)
    state = replace(
        state,
        phase=Phase.ORDERS,
        plan=plan,
        intents={i.intent_key: IntentStatus(i, State.PLANNED) for i in plan.intents},
        queue=tuple(i.intent_key for i in plan.intents),
    )
    frozen = plan_record(plan, account)
    state, actions = orders.advance(state)
    return state, (frozen, *signal_tells(state.morning, plan, account), *actions)


def _without_account(state: DayState, reason: str) -> Step:
    if state.phase is Phase.FINISHED:
        return state, ()
    tells = account_not_read_tells(state.morning, reason, in_order(state.morning.ranked))
    actions = finish(state, Outcome.ACCOUNT_NOT_READ, reason)
    return replace(state, phase=Phase.FINISHED, waiting_quotes=frozenset()), (*tells, *actions)
