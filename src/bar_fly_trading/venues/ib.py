"""IB Gateway behind one file: reading for every mode, sending for paper alone.

`ib_async` is used for the wire and the request book-keeping; what it concludes is not believed. Every request has a
timeout of ours, fills come from executions alone, and an order that ib_async calls cancelled counts as cancelled only
where the Gateway itself said so (docs/decisions/0006-what-ib-async-says-is-a-hint.md).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

import ib_async
from ib_async import Contract, LimitOrder, Stock, Trade

from bar_fly_trading.errors import CheckGateway, FixSettings, Refused
from bar_fly_trading.facts.account import AccountSnapshot, Position, Quote
from bar_fly_trading.facts.instruments import broker_symbol, canonical_symbol
from bar_fly_trading.trading.orders import (
    ORDER_REF_PREFIX,
    BrokerOrder,
    BrokerSnapshot,
    Execution,
    OrderUpdate,
    SendOutcome,
    order_ref,
)
from bar_fly_trading.trading.plan import OrderIntent
from bar_fly_trading.venues.venue import PRICE_PLACES

T = TypeVar("T")

# ib_async would print its own words through logging's last resort; what matters of them reaches the operator by our errors.
logging.getLogger("ib_async").addHandler(logging.NullHandler())
logging.getLogger("ib_async").propagate = False

PAPER_ACCOUNT_PREFIX = "DU"
BID_TICKS, ASK_TICKS = frozenset({1, 66}), frozenset({2, 67})
# Errors that end a new order at the Gateway: it never worked. From IB's message codes.
REJECT_CODES = frozenset(
    {103, 104, 110, 200, 201, 203, 321, 382, 383, 387, 388, 390, 391, 392, 394, 395, 396, 434, 481}
)
COMMISSION_WAIT_S = 2.0
CANCEL_CODES = frozenset({0, 202})
NO_MARKET_DATA_CODES = {
    354: "no market data subscription: in IB's Client Portal subscribe to US securities, or share the live account's data",
    10089: "no market data subscription for the API: acknowledge the market data API agreement in IB's Client Portal",
    10167: "only delayed market data: subscribe to US securities in IB's Client Portal",
    10168: "no market data subscription and delayed data is off: subscribe to US securities in IB's Client Portal",
    10197: "another session of this user holds the live market data: log the other session out",
}


@dataclass(frozen=True, slots=True)
class IbOptions:
    """Where the Gateway is and what is expected behind it; `account` empty: the only account there is."""

    host: str
    port: int
    client_id: int
    account: str = ""
    timeout_s: float = 10.0
    quote_wait_s: float = 5.0


def _price(value: float) -> Decimal | None:
    """Turn a wire price into money; None for unset, infinite, or IB's -1 of an empty book."""
    if not math.isfinite(value) or value <= 0 or value > 1e9:
        return None
    return Decimal(str(value)).quantize(PRICE_PLACES).normalize()


def _money(value: str) -> Decimal:
    return Decimal(value).quantize(Decimal("0.01"))


class IbReader:
    """Reads an account, its clock and quotes; has no method that could send an order."""

    readonly = True

    def __init__(self, options: IbOptions, id_of_symbol: Callable[[str], str | None], monotonic_us: Callable[[], int]):
        """Take the options, the look-up from a canonical symbol to its instrument id, and a monotonic clock."""
        self.options = options
        self._id_of_symbol = id_of_symbol
        self._monotonic_us = monotonic_us
        self._ib = ib_async.IB()
        self._ib.RequestTimeout = options.timeout_s
        self._account = ""
        self._contracts: dict[str, Contract] = {}
        self._request_errors: dict[int, tuple[int, str]] = {}
        self._notices: dict[int, str] = {}
        self._ib.errorEvent += self._on_error

    @property
    def where(self) -> str:
        """Host and port, for messages."""
        return f"{self.options.host}:{self.options.port}"

    def _on_error(self, request_id: int, code: int, text: str, _contract: object) -> None:
        self._request_errors[request_id] = (code, text)
        if code in NO_MARKET_DATA_CODES or code == 326:
            self._notices[code] = text

    async def _within(self, request: Awaitable[T], what: str, timeout_s: float | None = None) -> T:
        """Await a request under our own timeout; several of its errors never complete it on their own."""
        try:
            return await asyncio.wait_for(request, timeout_s or self.options.timeout_s)
        except TimeoutError:
            raise CheckGateway(
                f"IB Gateway at {self.where} did not answer {what} within {timeout_s or self.options.timeout_s:g} s.",
                way_out="Look at the Gateway's window, restart it, then run the same command again.",
            ) from None
        except ConnectionError:
            raise self._gone(what) from None

    def _gone(self, what: str) -> CheckGateway:
        return CheckGateway(
            f"IB Gateway at {self.where} closed the connection during {what}.",
            way_out="Restart the Gateway, then run the same command again; it resumes.",
        )

    async def connect(self) -> str:
        """Connect, wait for the complete start-up answers, and return the account."""
        o = self.options
        fields = ib_async.ib.StartupFetchALL
        try:
            await asyncio.wait_for(
                self._ib.connectAsync(
                    o.host,
                    o.port,
                    o.client_id,
                    timeout=o.timeout_s,
                    readonly=self.readonly,
                    account=o.account,
                    raiseSyncErrors=True,
                    fetchFields=fields,
                ),
                o.timeout_s * 3,
            )
        except OSError as error:  # refused, unreachable, incomplete start-up answers; TimeoutError is one too
            raise self._connect_failure(error) from None
        self._account = self._choose_account(self._ib.managedAccounts())
        return self._account

    def _connect_failure(self, error: OSError) -> CheckGateway:
        if 326 in self._notices:
            return CheckGateway(
                f"IB Gateway at {self.where} says client id {self.options.client_id} is in use.",
                way_out="End the other program, or set another gateway.client_id.",
            )
        said = str(error) or "no answer in time"
        return CheckGateway(
            f"IB Gateway at {self.where} cannot be reached ({said[:160]}).",
            way_out="Start it, enable its API (Configure > Settings > API) and check gateway.host and gateway.port.",
        )

    def _choose_account(self, accounts: Sequence[str]) -> str:
        wanted = self.options.account
        if wanted:
            if wanted not in accounts:
                raise Refused(
                    f"account {wanted} is not behind {self.where} (there: {', '.join(accounts) or 'none'}).",
                    way_out="Correct gateway.account or log the Gateway in to the other account.",
                )
            return wanted
        if len(accounts) != 1:
            raise FixSettings(
                f"{len(accounts)} accounts are behind {self.where}: {', '.join(accounts)}.",
                way_out="Name one with gateway.account.",
            )
        return accounts[0]

    async def disconnect(self) -> None:
        """Close the connection; never raises."""
        self._ib.disconnect()
        await asyncio.sleep(0)

    def is_connected(self) -> bool:
        """Tell whether the Gateway can still be asked."""
        return bool(self._ib.isConnected())

    async def time_us(self) -> int:
        """Return the Gateway's clock in UTC microseconds (it answers in whole seconds)."""
        at = await self._within(self._ib.reqCurrentTimeAsync(), "the time")
        return int(at.timestamp()) * 1_000_000

    async def account(self) -> AccountSnapshot:
        """Return one complete reading: values, positions and the day's profit, each answered to its end."""
        at_us = await self.time_us()
        await self._within(self._ib.reqAccountUpdatesMultiAsync(self._account), "the account's values")
        positions = await self._within(self._ib.reqPositionsAsync(), "the positions")
        return AccountSnapshot(
            account=self._account,
            at_us=at_us,
            cash_usd=self._value("TotalCashValue"),
            net_liquidation_usd=self._value("NetLiquidation"),
            daily_pnl_usd=await self._daily_pnl(),
            positions=tuple(self._positions(positions)),
        )

    def _value(self, tag: str) -> Decimal:
        rows = {v.currency: v.value for v in self._ib.accountValues(self._account) if v.tag == tag and not v.modelCode}
        if "USD" not in rows:
            raise CheckGateway(
                f"account {self._account} reports no {tag} in USD (currencies: {', '.join(sorted(rows)) or 'none'}).",
                way_out="This version trades accounts whose base currency is USD.",
            )
        return _money(rows["USD"])

    def _positions(self, rows: Sequence[Any]) -> list[Position]:
        held = []
        for row in rows:
            if row.account != self._account or row.position == 0:
                continue
            if row.contract.secType == "STK":
                symbol = canonical_symbol(row.contract.symbol)
                instrument_id = self._id_of_symbol(symbol) or f"ib:{row.contract.conId}"
            else:
                symbol, instrument_id = row.contract.localSymbol or row.contract.symbol, f"ib:{row.contract.conId}"
            if row.position != int(row.position):
                raise CheckGateway(
                    f"position of {row.position} {symbol} is not whole shares.",
                    way_out="Sell the fraction in TWS; this program trades whole shares.",
                )
            cost = Decimal(str(row.avgCost)).quantize(PRICE_PLACES)
            held.append(Position(instrument_id, symbol, int(row.position), cost))
        return sorted(held, key=lambda p: p.instrument_id)

    async def _daily_pnl(self) -> Decimal | None:
        """Return the broker's day profit, unrealised included; None where it does not say within the timeout."""
        pnl = next(iter(self._ib.pnl(self._account)), None) or self._ib.reqPnL(self._account)
        deadline_us = self._monotonic_us() + int(self.options.quote_wait_s * 1e6)
        while not math.isfinite(pnl.dailyPnL) or abs(pnl.dailyPnL) > 1e300:
            if self._monotonic_us() > deadline_us or not self._ib.isConnected():
                return None
            await asyncio.sleep(0.02)
        return Decimal(str(pnl.dailyPnL)).quantize(Decimal("0.01"))

    async def _contract(self, symbol: str) -> Contract:
        """Qualify a US stock to exactly one contract; its conId is checked here, at the last moment before use."""
        if symbol not in self._contracts:
            asked = Stock(broker_symbol(symbol), "SMART", "USD")
            found = (await self._within(self._ib.qualifyContractsAsync(asked), f"the contract of {symbol}"))[0]
            if not isinstance(found, Contract) or not found.conId or found.secType != "STK" or found.currency != "USD":
                raise CheckGateway(
                    f"IB knows no single US stock {symbol}.",
                    way_out="Take the symbol out of the universe, or record its new symbol as a spell.",
                )
            self._contracts[symbol] = found
        return self._contracts[symbol]

    async def quote(self, instrument_id: str, symbol: str) -> Quote:
        """Ask for the top of book anew and wait for both sides; a side that never came is None."""
        contract = await self._contract(symbol)
        received: dict[str, int] = {}
        complete = asyncio.Event()

        def on_update(ticker: Any) -> None:
            for tick in ticker.ticks:
                side = "bid" if tick.tickType in BID_TICKS else "ask" if tick.tickType in ASK_TICKS else None
                if side:
                    received[side] = self._monotonic_us()
            if len(received) == 2:
                complete.set()

        if not self._ib.isConnected():
            raise self._gone(f"the quote of {symbol}")
        ticker = self._ib.reqMktData(contract)
        ticker.updateEvent += on_update
        try:
            await asyncio.wait_for(complete.wait(), self.options.quote_wait_s)
        except TimeoutError:
            if not self._ib.isConnected():
                raise self._gone(f"the quote of {symbol}") from None
        finally:
            ticker.updateEvent -= on_update
            if self._ib.isConnected():
                self._ib.cancelMktData(contract)
        return self._quote(instrument_id, contract, ticker, received)

    def _quote(self, instrument_id: str, contract: Contract, ticker: Any, received: Mapping[str, int]) -> Quote:
        now_us = self._monotonic_us()
        tick = ticker.minTick if ticker.minTick and math.isfinite(ticker.minTick) else 0.01
        return Quote(
            instrument_id=instrument_id,
            con_id=contract.conId,
            bid_usd=_price(ticker.bid) if "bid" in received else None,
            ask_usd=_price(ticker.ask) if "ask" in received else None,
            bid_size=int(ticker.bidSize) if "bid" in received and ticker.bidSize >= 0 else None,
            ask_size=int(ticker.askSize) if "ask" in received and ticker.askSize >= 0 else None,
            age_us=now_us - min(received.values()) if received else 0,
            market_data_type=int(ticker.marketDataType),
            halted=None if not math.isfinite(ticker.halted) or ticker.halted < 0 else ticker.halted > 0,
            min_tick_usd=Decimal(str(max(tick, 0.01))),
        )

    def market_data_notice(self) -> str | None:
        """Return one sentence naming the IB setting to change where market data was refused or delayed, else None."""
        for code in sorted(self._notices):
            if code in NO_MARKET_DATA_CODES:
                return f"IB error {code}: {NO_MARKET_DATA_CODES[code]}"
        return None


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
            key = _key_of(fill.execution.orderRef)
            if key:
                self._queue.put_nowait(_execution(key, fill))
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
            status, code, detail = _latest(trade)
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
        key = _key_of(fill.execution.orderRef or trade.order.orderRef)
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
        self._queue.put_nowait(_execution(key, fill))

    def _on_status(self, trade: Trade) -> None:
        key = _key_of(trade.order.orderRef)
        if not key:
            return
        status, code, detail = _latest(trade)
        word = _word(status, code)
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
            key = _key_of(fill.execution.orderRef)
            if key and fill.execution.orderRef in wanted:
                executions.append(_execution(key, fill))
            else:
                foreign += 1
        orders = {t.order.permId: _broker_order(t) for t in (*completed, *opened)}
        return BrokerSnapshot(
            account=await self.account(),
            orders=tuple(sorted(orders.values(), key=lambda o: o.perm_id)),
            executions=tuple(sorted(executions, key=lambda e: e.exec_id)),
            foreign_executions=foreign,
        )


def _key_of(order_ref: str | None) -> str | None:
    if order_ref and order_ref.startswith(ORDER_REF_PREFIX):
        return order_ref[len(ORDER_REF_PREFIX) :]
    return None


def _execution(key: str, fill: Any) -> Execution:
    e, report = fill.execution, fill.commissionReport
    base, _, revision = e.execId.rpartition(".")  # IB sends a correction under the same id with a higher last part
    numbered = bool(base) and revision.isdigit()
    return Execution(
        intent_key=key,
        exec_id=base if numbered else e.execId,
        quantity=int(e.shares),
        price_usd=Decimal(str(e.price)).quantize(PRICE_PLACES).normalize(),
        commission_usd=Decimal(str(report.commission)).quantize(PRICE_PLACES) if report.execId else None,
        at_us=int(e.time.timestamp() * 1_000_000),
        revision=int(revision) if numbered else 0,
    )


def _latest(trade: Trade) -> tuple[str, int, str]:
    """Return ib_async's status, the error code behind it (0: the Gateway's own status) and its text."""
    last = trade.log[-1] if trade.log else None
    return trade.orderStatus.status, last.errorCode if last else 0, last.message if last else ""


def _word(status: str, code: int) -> str | None:
    """Translate a status to our word; what ib_async made up from an error code that ends no order is no word."""
    if code in REJECT_CODES:
        return "rejected"
    if status in {"Cancelled", "ApiCancelled"}:
        return "cancelled" if code in CANCEL_CODES else None
    return {"PreSubmitted": "working", "Submitted": "working", "Filled": "filled", "Inactive": "rejected"}.get(status)


def _broker_order(trade: Trade) -> BrokerOrder:
    word = _word(trade.orderStatus.status, 0) or "working"
    filled = trade.order.filledQuantity if trade.orderStatus.status in {"Filled", "Cancelled"} else 0
    known = filled if math.isfinite(filled) and 0 < filled < 1e12 else trade.orderStatus.filled
    quantity = trade.order.totalQuantity or known
    return BrokerOrder(
        order_ref=trade.order.orderRef or None,
        perm_id=int(trade.order.permId),
        symbol=trade.contract.symbol,
        status=word,
        quantity=int(quantity),
        filled=int(known),
    )
