"""Sending through IB Gateway: DAY limit orders to a paper account, each once, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from ib_async import LimitOrder, Trade

from bar_fly_trading.errors import CheckGateway, Refused
from bar_fly_trading.trading.orders import BrokerSnapshot, Execution, OrderUpdate, SendOutcome, order_ref
from bar_fly_trading.trading.plan import OrderIntent
from bar_fly_trading.venues.ib.reader import IbOptions, IbReader
from bar_fly_trading.venues.ib.translate import (
    CANCEL_CODES,
    REJECT_CODES,
    broker_order,
    execution_of,
    key_of,
    latest,
    word_of,
)

PAPER_ACCOUNT_PREFIX = "DU"
COMMISSION_WAIT_S = 2.0


class IbPaperTrader(IbReader):
    """Sends DAY limit orders to an account that begins with DU, and to no other."""

    readonly = False

    def __init__(self, options: IbOptions, id_of_symbol: Callable[[str], str | None], monotonic_us: Callable[[], int]):
        """See IbReader."""
        super().__init__(options, id_of_symbol, monotonic_us)
        self._trades: dict[str, Trade] = {}
        self._queue: asyncio.Queue[Execution | OrderUpdate] = asyncio.Queue()
        self._held: dict[str, tuple[asyncio.TimerHandle, str]] = {}
        self._ib.execDetailsEvent += self._on_execution
        self._ib.commissionReportEvent += self._on_commission
        self._ib.orderStatusEvent += self._on_status
        self._ib.disconnectedEvent += self._on_disconnect

    async def connect(self) -> str:
        """Connect as IbReader does, refuse any account that is not a paper account, and report today's earlier fills."""
        account = await super().connect()
        if not account.startswith(PAPER_ACCOUNT_PREFIX):
            await self.disconnect()
            raise Refused(
                f"account {account} behind {self.where} is no paper account (those begin with DU); nothing was sent.",
                way_out="Log the Gateway in to the paper account, or run in shadow.",
            )
        # What was filled today before this connection: a run that ended with an order at work learns its fate here.
        for fill in self._ib.fills():
            key = key_of(fill.execution.orderRef)
            if key:
                self._queue.put_nowait(execution_of(key, fill))
        return account

    async def send(self, intent: OrderIntent) -> SendOutcome:
        """Send the intent once and wait for the Gateway's first word; anything unclear after the write is UNKNOWN."""
        try:
            contract = await self._contract(intent.symbol)
        except CheckGateway as error:
            return SendOutcome("NOT_SENT", error.message)
        if not self._ib.isConnected():
            return SendOutcome("NOT_SENT", "the Gateway was gone before the order was written")
        if contract.conId != intent.con_id or not self._account.startswith(PAPER_ACCOUNT_PREFIX):
            return SendOutcome("NOT_SENT", f"conId {contract.conId} is not the plan's {intent.con_id}")
        if intent.account != self._account:
            return SendOutcome("NOT_SENT", f"account {self._account} is not the plan's {intent.account}")
        order = LimitOrder(
            intent.side.value,
            intent.quantity,
            float(intent.limit_price_usd),
            tif="DAY",
            orderRef=intent.order_ref,
            account=intent.account,
            outsideRth=False,
            transmit=True,
        )
        try:
            trade = self._ib.placeOrder(contract, order)
        except ConnectionError:
            return SendOutcome("NOT_SENT", "the Gateway was gone before the order was written")
        self._trades[intent.intent_key] = trade
        return await self._first_word(trade)

    async def _first_word(self, trade: Trade) -> SendOutcome:
        deadline_us = self._monotonic_us() + int(self.options.timeout_s * 1e6)
        while self._monotonic_us() < deadline_us:
            status, code, detail = latest(trade)
            perm_id = int(trade.orderStatus.permId or trade.order.permId or 0)
            if code in REJECT_CODES and not trade.fills:
                return SendOutcome("BROKER_REJECTED", f"{code} {detail}", perm_id)
            if status in {"PreSubmitted", "Submitted", "Filled"} or trade.fills:
                return SendOutcome("WORKING", status, perm_id)
            if status == "Inactive":
                return SendOutcome("BROKER_REJECTED", detail or "Inactive", perm_id)
            if status == "Cancelled" and code in CANCEL_CODES:
                return SendOutcome("WORKING", "cancelled by the broker", perm_id)
            if not self._ib.isConnected():
                return SendOutcome("UNKNOWN", "the connection broke after the order was written", perm_id)
            await asyncio.sleep(0.01)
        return SendOutcome("UNKNOWN", f"no word within {self.options.timeout_s:g} s")

    async def cancel(self, intent_key: str) -> None:
        """Ask for the cancel; where the connection is gone nothing is asked and the order stays unresolved."""
        reference = order_ref(intent_key)
        # A resumed run finds the order among those the Gateway gave back at the connection.
        trade = self._trades.get(intent_key) or next(
            (t for t in self._ib.trades() if t.order.orderRef == reference), None
        )
        if trade is not None and self._ib.isConnected():
            self._ib.cancelOrder(trade.order)

    async def updates(self) -> AsyncIterator[Execution | OrderUpdate]:
        """Yield executions and order updates as they arrive, until cancelled."""
        while True:
            yield await self._queue.get()

    def _on_execution(self, trade: Trade, fill: Any) -> None:
        """Hold a fill back until its commission follows (IB sends it at once), at most COMMISSION_WAIT_S."""
        key = key_of(fill.execution.orderRef or trade.order.orderRef)
        if key:
            deliver = asyncio.get_running_loop().call_later(COMMISSION_WAIT_S, self._deliver, key, fill)
            self._held[fill.execution.execId] = (deliver, key)

    def _on_commission(self, _trade: Trade, fill: Any, _report: Any) -> None:
        held = self._held.pop(fill.execution.execId, None)
        if held:
            held[0].cancel()
            self._deliver(held[1], fill)

    def _deliver(self, key: str, fill: Any) -> None:
        self._held.pop(fill.execution.execId, None)
        self._queue.put_nowait(execution_of(key, fill))

    def _on_status(self, trade: Trade) -> None:
        key = key_of(trade.order.orderRef)
        if not key:
            return
        status, code, detail = latest(trade)
        word = word_of(status, code)
        if word:
            self._queue.put_nowait(OrderUpdate(key, word, f"{code} {detail}".strip() if code else detail or status))

    def _on_disconnect(self) -> None:
        self._queue.put_nowait(OrderUpdate("", "disconnected", "the Gateway closed the connection"))

    async def snapshot(self, order_refs: Sequence[str]) -> BrokerSnapshot:
        """Return open orders of all clients, completed orders, executions and the account, each complete."""
        opened = await self._within(self._ib.reqAllOpenOrdersAsync(), "the open orders")
        completed = await self._within(self._ib.reqCompletedOrdersAsync(False), "the completed orders")
        await self._within(self._ib.reqExecutionsAsync(), "the executions")
        wanted = set(order_refs)
        executions, foreign = [], 0
        # ib_async joins a commission to the first sight of its fill alone, so not to the answer's own list.
        for fill in self._ib.fills():
            key = key_of(fill.execution.orderRef)
            if key and fill.execution.orderRef in wanted:
                executions.append(execution_of(key, fill))
            else:
                foreign += 1
        orders = {t.order.permId: broker_order(t) for t in (*completed, *opened)}
        return BrokerSnapshot(
            account=await self.account(),
            orders=tuple(sorted(orders.values(), key=lambda o: o.perm_id)),
            executions=tuple(sorted(executions, key=lambda e: e.exec_id)),
            foreign_executions=foreign,
        )
