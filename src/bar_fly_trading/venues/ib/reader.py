"""Reading through IB Gateway: the account, its clock and quotes. Nothing here could send an order."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

import ib_async
from ib_async import Contract, Stock

from bar_fly_trading.errors import CheckGateway, FixSettings, Refused
from bar_fly_trading.facts.account import AccountSnapshot, Position, Quote
from bar_fly_trading.facts.instruments import broker_symbol, canonical_symbol
from bar_fly_trading.venues.ib.translate import money, price
from bar_fly_trading.venues.venue import PRICE_PLACES

T = TypeVar("T")

BID_TICKS, ASK_TICKS = frozenset({1, 66}), frozenset({2, 67})
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
        return money(rows["USD"])

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
            bid_usd=price(ticker.bid) if "bid" in received else None,
            ask_usd=price(ticker.ask) if "ask" in received else None,
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
