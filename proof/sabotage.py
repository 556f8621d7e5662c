"""Planted faults: each breaks the program in one way a tired engineer could, and the proof must notice every one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from bar_fly_trading import day
from bar_fly_trading.daily_pipeline import driver, order_mails
from bar_fly_trading.day import broker, orders, planning
from bar_fly_trading.day.events import DayState, Send, SendReported
from bar_fly_trading.errors import BftError, FreeDisk
from bar_fly_trading.journal import lease
from bar_fly_trading.notify.orders import TOLD_STATES
from bar_fly_trading.trading import checks
from bar_fly_trading.trading.fills import count_execution
from bar_fly_trading.trading.orders import Execution, Mode, Record, State
from bar_fly_trading.trading.plan import IntentStatus, Plan
from bar_fly_trading.trading.sizing import size_exit
from proof.seed import Seed

# The package gives the stages' functions under their modules' names.
morning = import_module("bar_fly_trading.daily_pipeline.morning")
close = import_module("bar_fly_trading.daily_pipeline.close")
reconcile = import_module("bar_fly_trading.reconcile")


@dataclass(frozen=True)
class Sabotage:
    """One planted fault: what it breaks, and the attributes it puts in the place of the program's own."""

    name: str
    patches: tuple[tuple[Any, str, Any], ...]


@contextmanager
def planted(sabotage: Sabotage) -> Iterator[None]:
    """Break the program in this one way, and mend it afterwards."""
    before = [(where, name, getattr(where, name)) for where, name, _ in sabotage.patches]
    try:
        for where, name, broken in sabotage.patches:
            setattr(where, name, broken)
        yield
    finally:
        for where, name, own in before:
            setattr(where, name, own)


_send_reported, _pick_up, _write_and_send = broker.send_reported, broker.pick_up, orders._write_and_send
_make_plan, _order_updated = planning.make_plan, broker.order_updated
_reserve, _take, _unseen, _perform = planning._reserve, planning._take, reconcile._unseen, driver.Driver._perform
_repriced, _shadow, _reconcile = orders._repriced, orders._shadow, reconcile.reconcile
_size_exit, _with_standing, _timer_fired = size_exit, planning._with_standing, broker.timer_fired


def _resend_unknown(state: DayState, event: SendReported) -> Any:
    state, actions = _send_reported(state, event)
    if event.state is State.UNKNOWN and event.intent_key in state.intents:
        actions = (*actions, Send(state.intents[event.intent_key].intent))
    return state, actions


def _resend_on_resume(state: DayState) -> Any:
    again = tuple(Send(s.intent) for s in state.intents.values() if s.state is State.SENDING)
    state, actions = _pick_up(state)
    return state, (*again, *actions)


def _send_first(state: DayState, key: str, order: Any) -> Any:
    state, actions = _write_and_send(state, key, order)
    return state, (actions[-1], *actions[:-1])


def _sending_not_written(state: DayState, key: str, order: Any) -> Any:
    state, actions = _write_and_send(state, key, order)
    return state, tuple(a for a in actions if not (isinstance(a, Record) and a.payload.get("state") == "SENDING"))


def _another_quantity(state: DayState, key: str, order: Any) -> Any:
    state, actions = _write_and_send(state, key, order)
    return state, (*actions[:-1], Send(replace(order, quantity=order.quantity + 1)))


def _counts_twice(status: IntentStatus, execution: Execution) -> IntentStatus | None:
    seen = any(e.exec_id == execution.exec_id and e.revision == execution.revision for e in status.executions)
    return count_execution(status, replace(execution, exec_id=f"{execution.exec_id}-again") if seen else execution)


def _ignores_corrections(status: IntentStatus, execution: Execution) -> IntentStatus | None:
    if any(e.exec_id == execution.exec_id for e in status.executions):
        return None
    return count_execution(status, execution)


def _adds_corrections(status: IntentStatus, execution: Execution) -> IntentStatus | None:
    if execution.revision > 1:
        execution = replace(execution, exec_id=f"{execution.exec_id}.{execution.revision}")
    return count_execution(status, execution)


def _drops_late_fills(status: IntentStatus, execution: Execution) -> IntentStatus | None:
    return None if status.state in {State.CANCELLED, State.EXPIRED} else count_execution(status, execution)


def _unknown_is_rejected(state: DayState, event: SendReported) -> Any:
    return _send_reported(state, replace(event, state=State.BROKER_REJECTED) if event.state is State.UNKNOWN else event)


def _status_is_fill(state: DayState, key: str, word: str, detail: str) -> Any:
    status = state.intents.get(key)
    if word == "filled" and status is not None and status.filled_quantity < status.intent.quantity:
        rest = status.intent.quantity - status.filled_quantity
        made = Execution(key, f"status-{key}", rest, status.intent.limit_price_usd, None, 0)
        return broker.executed(state, made)
    return _order_updated(state, key, word, detail)


def _absent_is_cancelled(session: Any, standing: dict[str, IntentStatus], key: str, proven: bool) -> Any:
    status = standing[key]
    path = (State.CANCELLED,) if status.state is not State.PARKED else (State.ADOPTED,)
    record = reconcile._move(session, standing, key, path, "not seen, so it is gone")
    return [reconcile.Difference("ORDER_ENDED", reconcile.Remedy.RECORD, "gone", key, None, (record,))]


def _without(*names: str) -> tuple[tuple[Any, str, Any], ...]:
    """Leave checks out, of whichever list is run."""
    first_failure = checks.first_failure

    def fewer(candidate: Any, desk: Any, limits: Any, given: Any = checks.CHECKS) -> Any:
        return first_failure(candidate, desk, limits, tuple(c for c in given if c.__name__ not in names))

    return ((planning, "first_failure", fewer), (orders, "first_failure", fewer))


def _one_decision_less(*given: Any) -> Plan:
    plan = _make_plan(*given)
    return replace(plan, rejections=plan.rejections[:-1])


def _no_reservation(at: Any, intent: Any, of: Any) -> Any:
    return replace(_reserve(at, intent, of), cash_usd=at.cash_usd)


def _entries_not_counted(at: Any, intent: Any, of: Any) -> Any:
    return replace(_take(at, intent, of), entries=0)


def _nothing_unresolved(start: Any, of: Any, mode: Any) -> Any:
    return replace(_with_standing(start, of, mode), unresolved={})


def _all_shares_sold(wanted: Any, at: Any) -> Any:
    size = _size_exit(wanted, at)
    return replace(size, quantity=size.quantity + 1) if size.quantity else size


def _shadow_sends(state: DayState, key: str) -> Any:
    intent = state.intents[key].intent
    state, actions = _shadow(state, key)
    return state, (*actions, Send(intent))


async def _swallows_refusals(self: driver.Driver, action: Any) -> None:
    try:
        await _perform(self, action)
    except FreeDisk:
        if not isinstance(action, Record):
            raise


def _keeps_quantity(state: DayState, intent: Any, read: Any, reason: str) -> Any:
    found = _repriced(state, intent, read, reason)
    return found if not hasattr(found, "quantity") else replace(found, quantity=intent.quantity)


def _misses_fills(session: Any, statuses: Any, snapshots: Any, **rest: Any) -> Any:
    return _reconcile(session, statuses, [replace(s, executions=()) for s in snapshots], **rest)


def _matches_by_symbol(status: IntentStatus, snapshots: Any) -> Any:
    found = {o.perm_id: o for s in snapshots for o in s.orders if o.symbol == status.intent.symbol}
    return [found[max(found)]] if found else []


def _everything_paper(self: Any, strategy: str) -> Mode:
    return Mode.PAPER


def _cancel_is_certain(state: DayState, name: str) -> Any:
    kind, _, key = name.partition(":")
    if name in state.timers and kind == "cancel" and state.intents[key].state in orders.OPEN:
        return broker.order_updated(replace(state, timers=state.timers - {name}), key, "cancelled", "surely cancelled")
    return _timer_fired(state, name)


def _no_words(*_: Any) -> str:
    return ""


def _frozen_plan_forgotten(*_: Any) -> None:
    return None


def _fills(broken: Callable[..., Any]) -> tuple[tuple[Any, str, Any], ...]:
    return ((broker, "count_execution", broken), (reconcile, "count_execution", broken))


SABOTAGES: tuple[Sabotage, ...] = (
    # The driver sends on no old quote, which alone would stop these two: that barrier is taken away as well.
    Sabotage(
        "an unknown order is sent again",
        ((broker, "send_reported", _resend_unknown), (driver.Driver, "_quote_too_old", _no_words)),
    ),
    Sabotage(
        "a resumed run sends again what was being sent",
        ((broker, "pick_up", _resend_on_resume), (driver.Driver, "_quote_too_old", _no_words)),
    ),
    Sabotage("the order leaves before it is written down", ((orders, "_write_and_send", _send_first),)),
    Sabotage("that it is being sent is not written down", ((orders, "_write_and_send", _sending_not_written),)),
    Sabotage("another quantity leaves than was written down", ((orders, "_write_and_send", _another_quantity),)),
    Sabotage("a refused journal write is passed over", ((driver.Driver, "_perform", _swallows_refusals),)),
    Sabotage(
        "a run that lost its lease goes on",
        (
            (lease, "lost", _no_words),
            (lease, "taken_over", _no_words),
            (driver.Driver, "_quote_too_old", _no_words),
        ),
    ),
    Sabotage("a quote that grew old before the send is used", ((driver.Driver, "_quote_too_old", _no_words),)),
    Sabotage("an execution told twice counts twice", _fills(_counts_twice)),
    Sabotage("corrections are ignored", _fills(_ignores_corrections)),
    Sabotage("corrections count beside what they correct", _fills(_adds_corrections)),
    Sabotage("fills after a cancellation are dropped", _fills(_drops_late_fills)),
    Sabotage("a status counts as a fill", ((broker, "order_updated", _status_is_fill),)),
    Sabotage("an unknown order is taken for rejected", ((broker, "send_reported", _unknown_is_rejected),)),
    Sabotage("an order that is not seen is taken for cancelled", ((reconcile, "_unseen", _absent_is_cancelled),)),
    Sabotage("a cancellation that is not answered is believed", ((broker, "timer_fired", _cancel_is_certain),)),
    Sabotage("reconciliation overlooks executions", ((close, "reconcile", _misses_fills),)),
    Sabotage("orders are matched by symbol", ((reconcile, "_matching", _matches_by_symbol),)),
    Sabotage("the fresh quote is not checked", ((orders, "QUOTE_CHECKS", ()),)),
    Sabotage("stale quotes pass", _without("quote_fresh")),
    Sabotage("delayed quotes pass", _without("quote_live")),
    Sabotage("halted stocks pass", _without("not_halted")),
    Sabotage("wide spreads pass", _without("spread")),
    Sabotage("the daily loss is not looked at", _without("daily_loss")),
    Sabotage("two purchases of one stock a day", _without("duplicate")),
    Sabotage("entries are not counted", ((planning, "_take", _entries_not_counted),)),
    Sabotage("cash is not reserved", ((planning, "_reserve", _no_reservation),)),
    Sabotage("a risen price costs more than was planned", ((orders, "_repriced", _keeps_quantity),)),
    Sabotage("unknown orders do not freeze the session", ((orders, "UNKNOWN_MAX", 99),)),
    Sabotage("an order of unknown fate does not block its stock", ((planning, "_with_standing", _nothing_unresolved),)),
    Sabotage("more is sold than the book holds", ((planning, "size_exit", _all_shares_sold),)),
    Sabotage("shadow sends", ((orders, "_shadow", _shadow_sends),)),
    Sabotage("every strategy is in paper", ((day.Morning, "mode_of", _everything_paper),)),
    Sabotage("a signal gets no decision", ((day, "make_plan", _one_decision_less),)),
    Sabotage("a second run plans anew", ((morning, "_frozen_plan", _frozen_plan_forgotten),)),
    Sabotage(
        "nobody is told of an order of unknown fate",
        ((order_mails, "TOLD_STATES", TOLD_STATES - {State.UNKNOWN, State.PARKED}),),
    ),
)


@dataclass(frozen=True)
class Catch:
    """Where a planted fault was noticed, and how."""

    seed: int
    words: str


def first_catch(name: str, seeds: int, shared: Path) -> Catch | None:
    """Plant one fault and run seeds until it is noticed, None where it never is.

    The program stopping itself counts where it says what is wrong; any other exception is a fault of the planting.
    """
    sabotage = next(s for s in SABOTAGES if s.name == name)
    with planted(sabotage):
        for seed in range(seeds):
            try:
                violations = Seed(seed, shared).run().violations
            except (AssertionError, BftError) as stopped:
                return Catch(seed, f"the program stopped itself: {stopped}")
            if violations:
                return Catch(seed, f"{violations[0].invariant}: {violations[0].words}")
    return None
