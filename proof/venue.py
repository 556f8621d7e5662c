"""One connection to the simulated broker, as the program's trading venue: with every way it can fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal

from bar_fly_trading.errors import CheckGateway
from bar_fly_trading.facts.account import AccountSnapshot, Position, Quote
from bar_fly_trading.trading.orders import BrokerOrder, BrokerSnapshot, Execution, OrderUpdate, SendOutcome
from bar_fly_trading.trading.plan import OrderIntent
from proof.broker import ACCOUNT, PREFIX, Broker, Order
from proof.fuse import Fuse

TIMEOUT_S = 15.0
TICK = Decimal("0.01")


class SimulatedVenue:
    """Connects, reads, sends and cancels; a connection that was lost stays lost."""

    def __init__(self, broker: Broker, fuse: Fuse) -> None:
        """Take the broker behind it, and the fuse that may end the process at any of its points."""
        self.broker, self.fuse = broker, fuse
        self._connected = False
        self._queue: asyncio.Queue[Execution | OrderUpdate] = asyncio.Queue()
        self.quotes: dict[str, tuple[Quote, int]] = {}
        self.on_write: Callable[[OrderIntent, tuple[Quote, int] | None], None] = lambda intent, quote: None

    # ------------------------------------------------------------ the connection

    async def connect(self) -> str:
        """Connect, and hear of today's earlier fills of ours."""
        await asyncio.sleep(0.2)
        if self.broker.dice.strikes("gateway down at start"):
            raise CheckGateway("the simulated Gateway refuses the connection.", way_out="Wait for it.")
        self._connected = True
        self.broker.sinks.append(self._queue.put_nowait)
        for order in self._shown():
            if order.ours and order.session == self.broker.session:
                for execution in order.executions.values():
                    self._queue.put_nowait(execution)
        if self.broker.dice.strikes("connection lost"):
            asyncio.get_running_loop().call_later(self.broker.dice.between(0.5, 40), self._lose)
        return ACCOUNT

    async def disconnect(self) -> None:
        """Close."""
        self._connected = False
        if self._queue.put_nowait in self.broker.sinks:
            self.broker.sinks.remove(self._queue.put_nowait)

    def _lose(self) -> None:
        if self._connected:
            self._connected = False
            self.broker.sinks.remove(self._queue.put_nowait)
            self._queue.put_nowait(OrderUpdate("", "disconnected", "the simulated connection broke"))

    def is_connected(self) -> bool:
        """Tell whether the connection stands."""
        return self._connected

    def _need(self, what: str) -> None:
        if not self._connected:
            raise CheckGateway(f"the connection is gone, {what} was not read.", way_out="Start again.")

    def _shown(self) -> list[Order]:
        """Return what the broker shows: working orders, and those of this session that have ended."""
        now, today = self.broker.loop.at_us, self.broker.session
        orders = self.broker.orders.values()
        return [o for o in orders if o.shown_from_us <= now and (o.status == "working" or o.session == today)]

    # ------------------------------------------------------------ reading

    async def time_us(self) -> int:
        """Return the simulated time."""
        return self.broker.loop.at_us

    async def account(self) -> AccountSnapshot:
        """Return the account, or fail as an incomplete answer does."""
        await asyncio.sleep(self.broker.dice.between(0.05, 0.5))
        self.fuse.point("account read")
        self._need("the account")
        dice = self.broker.dice
        if dice.strikes("account not read"):
            raise CheckGateway("the positions had no end within the timeout.", way_out="Try again.")
        pnl = self.broker.daily_pnl_usd
        if dice.strikes("profit unknown"):
            pnl = None
        elif dice.strikes("loss beyond the limit"):
            pnl = Decimal(-1500)
        worth = Decimal("NaN") if dice.strikes("account worth missing") else self.broker.worth_usd()
        return AccountSnapshot(
            ACCOUNT,
            self.broker.loop.at_us,
            self.broker.cash_usd,
            worth,
            pnl,
            tuple(
                Position(i, i[3:], n, self.broker.prices_usd[i]) for i, n in sorted(self.broker.positions.items()) if n
            ),
        )

    async def quote(self, instrument_id: str, symbol: str) -> Quote:
        """Return a quote around the price, or one of the bad ones."""
        await asyncio.sleep(self.broker.dice.between(0.02, 0.4))
        self.fuse.point("quote read")
        self._need(f"the quote of {symbol}")
        dice = self.broker.dice
        if dice.strikes("quote missing"):
            raise CheckGateway(f"no quote of {symbol} came.", way_out="Try again.")
        mid = (self.broker.prices_usd[instrument_id] * Decimal(str(1 + dice.between(-0.001, 0.001)))).quantize(TICK)
        if dice.strikes("quote moved"):
            mid = (mid * Decimal("1.06")).quantize(TICK)
        half = mid * Decimal("0.0004")
        if dice.strikes("quote wide"):
            half = mid * Decimal("0.06")
        half = max(TICK, half.quantize(TICK))
        bid: Decimal | None = mid - half
        ask: Decimal | None = mid + half
        if dice.strikes("quote one-sided"):
            bid, ask = (None, ask) if dice.random.random() < 0.5 else (bid, None)
        elif dice.strikes("quote crossed"):
            bid, ask = ask, bid
        elif dice.strikes("quote not a number"):
            ask = Decimal("NaN")
        quote = Quote(
            instrument_id,
            9999 if dice.strikes("contract changed") else sum(instrument_id.encode()),
            bid,
            ask,
            100,
            100,
            60_000_000 if dice.strikes("quote stale") else round(dice.between(0, 900_000)),
            3 if dice.strikes("quote delayed") else 1,
            dice.strikes("quote halted"),
            TICK,
        )
        self.quotes[instrument_id] = (quote, self.broker.loop.at_us)
        return quote

    # ------------------------------------------------------------ sending

    async def send(self, intent: OrderIntent) -> SendOutcome:
        """Write the order to the broker, in one of the ways that this goes right or wrong."""
        dice = self.broker.dice
        self.fuse.point("before the write")
        if not self._connected:
            return SendOutcome("NOT_SENT", "the connection was gone before the write")
        if intent.con_id != sum(intent.instrument_id.encode()):
            return SendOutcome("NOT_SENT", f"conId {intent.con_id} is not the contract's")
        if dice.strikes("drop before the write"):
            self._lose()
            return SendOutcome("NOT_SENT", "the connection broke before the write")
        self.on_write(intent, self.quotes.get(intent.instrument_id))
        order = self.broker.place(intent, arrives=not dice.strikes("order swallowed"))
        self.fuse.point("after the write")
        if order is None:
            await asyncio.sleep(TIMEOUT_S)
            return SendOutcome("UNKNOWN", "no word of the order")
        if dice.strikes("order rejected"):
            order.status = "rejected"
            return SendOutcome("BROKER_REJECTED", "201 rejected", order.perm_id)
        if dice.strikes("drop after the write"):
            self.broker.begin_work(order)
            self._lose()
            return SendOutcome("UNKNOWN", "the connection broke after the write")
        if dice.strikes("acknowledgement lost"):
            order.muted = True
            self.broker.begin_work(order)
            await asyncio.sleep(TIMEOUT_S)
            return SendOutcome("UNKNOWN", "no word of the order")
        self.broker.begin_work(order)
        if dice.strikes("acknowledgement late"):
            await asyncio.sleep(TIMEOUT_S)
            asyncio.get_running_loop().call_later(dice.between(1, 60), self.broker.tell, order, "working")
            return SendOutcome("UNKNOWN", "no word of the order")
        await asyncio.sleep(dice.between(0.02, 1))
        self.fuse.point("after the acknowledgement")
        return SendOutcome("WORKING", "Submitted", order.perm_id)

    async def cancel(self, intent_key: str) -> None:
        """Ask the broker to cancel what it has of the intent."""
        self.fuse.point("before the cancel")
        if self._connected:
            for order in self._shown():
                if order.reference == PREFIX + intent_key and order.status == "working":
                    self.broker.cancel(order)
        self.fuse.point("after the cancel")

    async def updates(self) -> AsyncIterator[Execution | OrderUpdate]:
        """Yield what the broker says."""
        while True:
            yield await self._queue.get()

    async def snapshot(self, order_refs: Sequence[str]) -> BrokerSnapshot:
        """Return a complete snapshot; what is not shown yet is not in it."""
        await asyncio.sleep(1)
        self.fuse.point("snapshot read")
        self._need("the snapshot")
        dice = self.broker.dice
        if dice.strikes("snapshot incomplete"):
            raise CheckGateway("the open orders had no end within the timeout.", way_out="Try again.")
        completed = not dice.strikes("completed orders empty")
        shown = [o for o in self._shown() if completed or o.status == "working"]
        executions = [e for o in self._shown() for e in o.executions.values() if o.reference in order_refs]
        foreign = sum(len(o.executions) for o in self._shown() if o.reference not in order_refs)
        return BrokerSnapshot(
            await self.account(),
            tuple(BrokerOrder(o.reference or None, o.perm_id, o.symbol, o.status, o.quantity, o.filled) for o in shown),
            tuple(sorted(executions, key=lambda e: e.exec_id)),
            foreign,
        )
