"""The queue of the day's orders, one after the other: shadow fills, and a paper order from its fresh quote to its send.

What happens to a paper order after its send is in `day.broker`.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from bar_fly_trading.day.events import (
    Action,
    AskQuote,
    DayState,
    Outcome,
    Phase,
    QuoteRead,
    Send,
)
from bar_fly_trading.day.telling import finish, order_tell, paper_left
from bar_fly_trading.strategies.signal import Side, Signal
from bar_fly_trading.trading.book import fill_record
from bar_fly_trading.trading.checks import QUOTE_CHECKS, first_failure
from bar_fly_trading.trading.costs import far_touch_usd
from bar_fly_trading.trading.desk import Candidate, Desk, Failure
from bar_fly_trading.trading.orders import MAY_BE_AT_BROKER, Execution, IntentChange, Mode, Record, State
from bar_fly_trading.trading.plan import IntentStatus, OrderIntent, RankedSignal, plain
from bar_fly_trading.trading.sizing import limit_price

UNKNOWN_MAX = 2
NOT_BEGUN = frozenset({State.PLANNED, State.CHECKED, State.AWAITING, State.APPROVED})
UNKNOWN_STATES = frozenset({State.UNKNOWN, State.PARKED})
OPEN = frozenset({State.WORKING, State.PARTIAL})
_TO_APPROVED = (State.PLANNED, State.CHECKED, State.AWAITING, State.APPROVED)
Step = tuple[DayState, tuple[Action, ...]]


def advance(state: DayState) -> Step:
    """Go on with the queue as far as it goes without an answer from outside; finish where nothing is left."""
    done: list[Action] = []
    while state.phase is Phase.ORDERS and state.current is None and not state.timers:
        if not state.queue:
            state, actions = _finish(state)
            return state, (*done, *actions)
        key, state = state.queue[0], replace(state, queue=state.queue[1:])
        intent = state.intents[key].intent
        if intent.mode is Mode.SHADOW:
            state, actions = _shadow(state, key)
        elif state.lost is not None:
            continue
        elif (failure := _frozen(state, intent)) is not None:
            state, actions = _refuse(state, key, failure)
        else:
            state = replace(state, current=key, awaiting_quote=True)
            actions = (AskQuote(intent.instrument_id, intent.symbol),)
        done += actions
    return state, tuple(done)


def _finish(state: DayState) -> Step:
    outcome, detail = Outcome.DONE, ""
    left = paper_left(state)
    unknown = [key for key, status in state.intents.items() if status.state in MAY_BE_AT_BROKER]
    if unknown:
        outcome = Outcome.ORDERS_UNKNOWN
        detail = f"{len(unknown)} orders may be at the broker; run bft reconcile"
    if state.lost is not None and (left or unknown):
        outcome = Outcome.ORDERS_UNKNOWN if unknown else Outcome.CONNECTION_LOST
        detail = f"{state.lost}; {len(left)} intents were not begun" + (f"; {detail}" if detail else "")
    actions = finish(state, outcome, detail)
    return replace(state, phase=Phase.FINISHED), actions


# ---------------------------------------------------------------- changes of state


def change(
    state: DayState, key: str, after: tuple[State, ...], new: IntentStatus
) -> tuple[DayState, tuple[IntentChange, ...]]:
    """Move an intent along the edges `after`, the last with its new payload."""
    before = state.intents[key].state
    changes = []
    for step in after:
        changes.append(IntentChange(key, before, step, new.payload() if step is after[-1] else None))
        before = step
    new = replace(new, state=after[-1])
    intents = {**state.intents, key: new}
    return replace(state, intents=intents), tuple(changes)


def move(state: DayState, key: str, *after: State, detail: str = "", perm_id: int = 0, tell: bool = False) -> Step:
    """Record an intent's move, drop the timers of an order that is not open any more, and free the place it had."""
    status = state.intents[key]
    new = replace(status, detail=detail or status.detail, perm_id=perm_id or status.perm_id)
    state, changes = change(state, key, after, new)
    record = Record(
        "intent", {"session": session_of(state), "intent_key": key, "state": after[-1].value, "detail": detail}, changes
    )
    return settle(state, key), (record, *((order_tell(state.intents[key]),) if tell else ()))


def settle(state: DayState, key: str) -> DayState:
    """Forget what was awaited of an intent that is not open any more; count it where it became unknown."""
    now = state.intents[key].state
    if now in OPEN or now is State.SENDING:
        return state
    unknown = state.unknown | {key} if now is State.UNKNOWN else state.unknown
    return replace(
        state,
        timers=state.timers - {fill_timer(key), cancel_timer(key)},
        current=None if state.current == key else state.current,
        awaiting_quote=state.awaiting_quote and state.current != key,
        unknown=unknown,
    )


def session_of(state: DayState) -> str:
    """Return the day's session as text."""
    return state.morning.session.isoformat()


def fill_timer(key: str) -> str:
    """Name the timer of an order's wait for its fill."""
    return f"fill:{key}"


def cancel_timer(key: str) -> str:
    """Name the timer of a cancellation's wait for its confirmation."""
    return f"cancel:{key}"


# ---------------------------------------------------------------- shadow


def _shadow(state: DayState, key: str) -> Step:
    """Fill a shadow intent at the far touch of the quote it was planned on, or not at all where the limit lies short of it."""
    status = state.intents[key]
    intent = status.intent
    after = (State.CHECKED, State.SHADOWED) if status.state is State.PLANNED else (State.SHADOWED,)
    price = far_touch_usd(intent.side, intent.bid_usd, intent.ask_usd)
    reached = price <= intent.limit_price_usd if intent.side is Side.BUY else price >= intent.limit_price_usd
    if not reached:
        words = f"the far touch {price} lies beyond the limit {intent.limit_price_usd}: not filled"
        return move(state, key, *after, detail=words, tell=True)
    observed = dict(intent.observed_values)
    execution = Execution(
        key,
        f"shadow-{key}",
        intent.quantity,
        price,
        state.morning.commission.usd(intent.quantity, price),
        int(observed.get("quote_read_at_us") or 0),
    )
    new = replace(status, executions=(execution,), detail="filled at the far touch in the shadow book")
    state, changes = change(state, key, after, new)
    return state, (fill_record(intent, execution, changes), order_tell(state.intents[key]))


# ---------------------------------------------------------------- paper: before the send


def _frozen(state: DayState, intent: OrderIntent) -> Failure | None:
    """Say why nothing may be sent for an intent: too many unknown orders, or one on its instrument."""
    if len(state.unknown) >= UNKNOWN_MAX:
        words = f"{len(state.unknown)} orders of this session may be at the broker: nothing more is sent"
        return Failure("SESSION_FROZEN", str(len(state.unknown)), f"below {UNKNOWN_MAX}", words)
    for key in sorted(state.unknown):
        if state.intents[key].intent.instrument_id == intent.instrument_id:
            words = f"an earlier order of {intent.symbol} may be at the broker"
            return Failure("INTENT_UNKNOWN", key, "no order of unknown fate", words)
    return None


def _refuse(state: DayState, key: str, failure: Failure) -> Step:
    """End an intent that was not sent: REJECTED, or EXPIRED once it was approved."""
    end = State.REJECTED if state.intents[key].state in {State.PLANNED, State.CHECKED} else State.EXPIRED
    words = f"{failure.rule}: {failure.reason} (observed {failure.observed}, limit {failure.limit})"
    return move(state, key, end, detail=words, tell=True)


def asked(state: DayState, instrument_id: str) -> bool:
    """Tell whether the current intent waits for a fresh quote of this instrument."""
    return (
        state.awaiting_quote
        and state.current is not None
        and state.intents[state.current].intent.instrument_id == instrument_id
    )


def quote_read(state: DayState, read: QuoteRead | None, reason: str) -> Step:
    """Take the fresh quote of the current intent: check again, price at the far touch, write down, send."""
    key = state.current
    if key is None or not state.awaiting_quote:
        return state, ()
    state = replace(state, awaiting_quote=False)
    intent = state.intents[key].intent
    repriced = _repriced(state, intent, read, reason)
    if isinstance(repriced, Failure):
        state, actions = _refuse(state, key, repriced)
        state, more = advance(state)
        return state, (*actions, *more)
    return _write_and_send(state, key, repriced)


def _repriced(state: DayState, intent: OrderIntent, read: QuoteRead | None, reason: str) -> OrderIntent | Failure:
    """Check an intent against its fresh quote and price it there; the planned money is never exceeded."""
    candidate = _candidate(state, intent, read, reason)
    failure = first_failure(candidate, Desk(None, None, None), state.morning.limits, QUOTE_CHECKS)
    if failure is not None:
        return failure
    quote, price = candidate.quote, limit_price(candidate, state.morning.limits)
    if price is None or quote is None or quote.bid_usd is None or quote.ask_usd is None:
        return Failure("LIMIT_PRICE", "none", "a price above 0 on the tick", "no limit price fits the bound")
    if quote.con_id != intent.con_id:
        return Failure("CONTRACT_CHANGED", str(quote.con_id), str(intent.con_id), "the quote is of another contract")
    quantity = intent.quantity
    if intent.side is Side.BUY and price.limit_usd > intent.limit_price_usd:
        quantity = int(intent.quantity * intent.limit_price_usd // price.limit_usd)
    if quantity < 1:
        return Failure("SIZE_ZERO", "0 shares", "at least 1 share", "the price rose above the money planned")
    return replace(
        intent,
        quantity=quantity,
        limit_price_usd=price.limit_usd,
        limit_price_bound_usd=price.bound_usd,
        bid_usd=quote.bid_usd,
        ask_usd=quote.ask_usd,
    )


def _candidate(state: DayState, intent: OrderIntent, read: QuoteRead | None, reason: str) -> Candidate:
    """Rebuild what the checks need from the frozen intent, so that a resumed day asks exactly the same."""
    signal = Signal(
        state.morning.signal_session,
        intent.strategy,
        intent.instrument_id,
        intent.symbol,
        intent.side,
        intent.purpose,
        0.0,
        intent.signal_close_usd,
        intent.reason,
    )
    ranked = RankedSignal(signal, intent.rank, "execute", "", 0.0, (), "", None)
    factor = Decimal(dict(intent.observed_values).get("split_factor") or "NaN")
    quote = read.quote if read is not None else None
    return Candidate(ranked, intent.mode, quote, reason, factor, read.at_us if read is not None else None)


def _write_and_send(state: DayState, key: str, order: OrderIntent) -> Step:
    """Write the approval and SENDING, then send: the actions' order is the write-ahead."""
    status = replace(state.intents[key], intent=order, detail="approved automatically: paper")
    path = _TO_APPROVED[_TO_APPROVED.index(status.state) + 1 :]
    actions: list[Action] = []
    if path:
        state, changes = change(state, key, path, status)
        payload = {
            "session": session_of(state),
            "intent_key": key,
            "state": State.APPROVED.value,
            "approval": "automatic in paper",
            "order": plain(order),
        }
        actions.append(Record("intent", payload, changes))
    state, changes = change(state, key, (State.SENDING,), replace(status, detail="being sent"))
    payload = {"session": session_of(state), "intent_key": key, "state": State.SENDING.value, "order": plain(order)}
    actions += [Record("intent", payload, changes), Send(order)]
    return state, tuple(actions)
