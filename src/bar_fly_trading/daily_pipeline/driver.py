"""Performs a trading day's actions over sockets and the journal, strictly in order, and feeds back what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from bar_fly_trading.clock import SECOND_US, Clock
from bar_fly_trading.day import step
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
    OrderUpdated,
    QuoteNotRead,
    QuoteRead,
    Send,
    SendReported,
    Started,
    StartTimer,
    Tell,
    TimerFired,
)
from bar_fly_trading.errors import CheckGateway
from bar_fly_trading.journal import Journal
from bar_fly_trading.trading.orders import Execution, Record, State
from bar_fly_trading.trading.plan import OrderIntent
from bar_fly_trading.venues.venue import ReadVenue, TradeVenue

# Quotes asked at once; a market data line each, of which an account has 100.
QUOTES_AT_ONCE = 8


class Driver:
    """One morning's performer. Without `venue` the account counts as not read; without `trader` nothing can be sent."""

    def __init__(
        self,
        *,
        venue: ReadVenue | None,
        trader: TradeVenue | None,
        not_read_reason: str,
        journal: Journal,
        clock: Clock,
        tell: Callable[[Tell], None],
        say: Callable[[Action], None],
        quote_age_s_max: float,
        lease_s: float | None = None,
    ) -> None:
        """Take the venue (None: not reachable, for that reason), the journal, the morning's clock, and two listeners.

        `quote_age_s_max`: how old an order's quote may be when the order leaves.
        `lease_s`: how long the journal's lease lasts, which is renewed three times as often; None where nothing can be sent.
        """
        self._lease_s, self._quote_age_s_max = lease_s, quote_age_s_max
        self._quote_received_us: dict[str, int] = {}
        self._venue, self._trader, self._not_read_reason = venue, trader, not_read_reason
        self._journal, self._clock, self._tell, self._say = journal, clock, tell, say
        self._events: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._quote_slots = asyncio.Semaphore(QUOTES_AT_ONCE)

    async def run(self, state: DayState) -> tuple[DayState, Finish]:
        """Drive the day from `state` until it finishes; an action that raises stops everything after it."""
        if self._trader is not None:
            self._start(self._listen(self._trader))
            if self._lease_s is not None:
                self._start(self._keep_lease(self._lease_s / 3))
        event: Event = Started()
        try:
            while True:
                state, actions = step(state, event)
                for action in actions:
                    self._say(action)
                    if isinstance(action, Finish):
                        return state, action
                    await self._perform(action)
                event = await self._next_event()
        finally:
            for task in self._tasks:
                task.cancel()
            for task in tuple(self._tasks):
                with suppress(asyncio.CancelledError):
                    await task

    async def _next_event(self) -> Event:
        event = await self._events.get()
        if isinstance(event, BaseException):
            raise event
        return event

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside the day; what it raises is raised in the day, never swallowed."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._events.put_nowait(error)

    async def _perform(self, action: Action) -> None:
        match action:
            case Record(kind, payload, changes):
                self._journal.append(kind, payload, at_us=self._clock.now_us(), changes=changes)
            case Tell():
                self._tell(action)
            case AskAccount():
                self._start(self._ask_account())
            case AskQuote(instrument_id, symbol):
                self._start(self._ask_quote(instrument_id, symbol))
            case Send(intent):
                if self._trader is None:
                    raise AssertionError(f"{intent.symbol}: a send was asked for where nothing can send")
                # Its SENDING is on the disk; a process that stood still since then must not send what others gave up.
                if reason := self._journal.lease_lost() or self._quote_too_old(intent):
                    self._events.put_nowait(SendReported(intent.intent_key, State.NOT_SENT, reason))
                    return
                outcome = await self._trader.send(intent)
                reported = SendReported(intent.intent_key, State(outcome.state), outcome.detail, outcome.perm_id)
                self._events.put_nowait(reported)
            case Cancel(intent_key):
                if self._trader is not None:
                    await self._trader.cancel(intent_key)
            case StartTimer(name, seconds):
                self._start(self._timer(name, seconds))
            case Finish():
                raise AssertionError("a finished day performs nothing more")

    def _quote_too_old(self, intent: OrderIntent) -> str:
        """Say that the order's quote grew too old between its check and its send, '' where it did not."""
        received_us = self._quote_received_us.get(intent.instrument_id)
        if received_us is None:
            return f"there is no quote of {intent.symbol} in this run"
        age_s = (self._clock.monotonic_us() - received_us) / SECOND_US
        if 0 <= age_s <= self._quote_age_s_max:
            return ""
        return f"the quote of {intent.symbol} is {age_s:.1f} s old, at most {self._quote_age_s_max:g} s: this run stood still"

    async def _ask_account(self) -> None:
        if self._venue is None:
            self._events.put_nowait(AccountNotRead(self._not_read_reason))
            return
        try:
            self._events.put_nowait(AccountRead(await self._venue.account()))
        except CheckGateway as error:
            self._events.put_nowait(AccountNotRead(error.message))

    async def _ask_quote(self, instrument_id: str, symbol: str) -> None:
        if self._venue is None:
            self._events.put_nowait(QuoteNotRead(instrument_id, self._not_read_reason))
            return
        async with self._quote_slots:
            try:
                quote = await self._venue.quote(instrument_id, symbol)
            except CheckGateway as error:
                # A quote that the market does not have is a rejection; a Gateway that went away is no word on the signal.
                gone = not self._venue.is_connected()
                lost = ConnectionLost(error.message) if gone else QuoteNotRead(instrument_id, error.message)
                self._events.put_nowait(lost)
                return
        self._quote_received_us[instrument_id] = self._clock.monotonic_us() - quote.age_us
        self._events.put_nowait(QuoteRead(quote, self._clock.now_us()))

    async def _keep_lease(self, every_s: float) -> None:
        while True:
            await self._clock.sleep(every_s)
            self._journal.renew_lease()

    async def _timer(self, name: str, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._events.put_nowait(TimerFired(name))

    async def _listen(self, trader: TradeVenue) -> None:
        async for update in trader.updates():
            if isinstance(update, Execution):
                self._events.put_nowait(ExecutionReported(update))
            elif update.status == "disconnected":
                self._events.put_nowait(ConnectionLost(update.detail))
            else:
                self._events.put_nowait(OrderUpdated(update.intent_key, update.status, update.detail))
