"""One client's session: what it subscribed to, and the answer to each of its requests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from bar_fly_simulators.clock import SECOND_US, new_york, utc_us
from bar_fly_simulators.gateway import order_replies, replies, requests
from bar_fly_simulators.gateway.account_values import LEDGER_TAGS, AccountValue, account_values
from bar_fly_simulators.gateway.broker import Broker
from bar_fly_simulators.gateway.contracts import Contracts, NoDefinition
from bar_fly_simulators.gateway.fields import Cursor, eastern
from bar_fly_simulators.gateway.orders import (
    AccountChanged,
    Event,
    Executed,
    Execution,
    Order,
    OrderChanged,
    OrderError,
    Position,
    Previewed,
)
from bar_fly_simulators.gateway.place_order import place_order
from bar_fly_simulators.gateway.stream import MarketDataStream
from bar_fly_simulators.gateway.wire import Wire
from bar_fly_simulators.market import Market

logger = logging.getLogger(__name__)

SUMMARIES_MAX = 2
_FARMS = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefnj"),
)


class House(Protocol):
    """What sessions share: the broker, the market, the clock as the Gateway shows it."""

    market: Market
    contracts: Contracts
    broker: Broker

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts reported to clients; the first one is the broker's."""
        ...

    def shown_time_us(self) -> int:
        """Return the Gateway's clock as clients read it, faults included."""
        ...


@dataclass(frozen=True, slots=True)
class _Summary:
    tags: tuple[str, ...]


class Session:
    """Answers one client, once it has said who it is; `server_version` is the negotiated one."""

    def __init__(self, house: House, wire: Wire, client_id: int, server_version: int, stream: MarketDataStream) -> None:
        self._house = house
        self._broker = house.broker
        self.wire = wire
        self.client_id = client_id
        self._server_version = server_version
        self.stream = stream
        self._account_updates = False
        self._positions = False
        self._summaries: dict[int, _Summary] = {}
        self._multi: set[int] = set()
        self._pnl: dict[int, requests.PnLRequest] = {}
        self._handlers: dict[int, Callable[[Cursor], None]] = {
            1: lambda cursor: self.stream.subscribe(requests.market_data(cursor), self._now_us()),
            2: lambda cursor: self.stream.cancel(requests.one_integer(cursor)),
            3: self._place_order,
            4: lambda cursor: self._broker.cancel(client_id, requests.cancel_order(cursor).order_id),
            5: lambda cursor: self._open_orders(cursor, client_id),
            6: self._account_updates_request,
            7: self._executions,
            8: self._next_valid_id,
            9: self._contract_details,
            14: self._silent,
            15: self._silent,
            16: lambda cursor: self._open_orders(cursor, None),
            17: self._managed_accounts,
            20: self._historical_data,
            25: self._cancel_historical_data,
            49: self._current_time,
            58: self._global_cancel,
            59: self._market_data_type,
            61: self._positions_request,
            62: self._account_summary,
            63: lambda cursor: self._forget(self._summaries, requests.one_integer(cursor)),
            64: self._cancel_positions,
            76: self._account_updates_multi,
            77: lambda cursor: self._multi.discard(requests.one_integer(cursor)),
            78: lambda cursor: self.wire.send(["76", str(requests.option_parameters(cursor))]),
            81: self._matching_symbols,
            91: self._market_rule,
            92: lambda cursor: self._pnl_request(requests.pnl(cursor)),
            93: lambda cursor: self._forget(self._pnl, requests.one_integer_unversioned(cursor)),
            94: lambda cursor: self._pnl_request(requests.pnl_single(cursor)),
            95: lambda cursor: self._forget(self._pnl, requests.one_integer_unversioned(cursor)),
            99: self._completed_orders,
        }

    def welcome(self) -> None:
        """Send what a client waits for after START_API."""
        self.wire.send(["15", "1", ",".join(self._house.accounts)])
        self.wire.send(["9", "1", str(self._broker.next_order_id(self.client_id))])
        for code, text in _FARMS:
            self.wire.send(replies.error(-1, code, text))

    def answer(self, fields: list[str]) -> None:
        """Answer one request; MalformedMessage where it cannot be read, error 505 where it is not known."""
        cursor = Cursor(fields)
        message_id = cursor.integer()
        handler = self._handlers.get(message_id)
        if handler is None:
            logger.warning("client %d sent message %d, which is not simulated: 505", self.client_id, message_id)
            self.wire.send(replies.error(-1, 505, "Fatal Error: Unknown message id."))
            return
        handler(cursor)

    def tell(self, event: Event) -> None:
        """Send what an event means to this client."""
        if isinstance(event, AccountChanged):
            self._tell_account(event)
        elif isinstance(event, OrderError):
            if event.client_id == self.client_id:
                self.wire.send(replies.error(event.order_id, event.code, event.text))
        elif isinstance(event, Executed):
            if event.execution.client_id == self.client_id:
                self._send_execution(-1, event.execution)
        elif event.order.client_id == self.client_id:
            self._tell_order(event)

    def tell_pnl(self) -> None:
        """Send every P&L subscription its numbers."""
        for request in self._pnl.values():
            self._send_pnl(request)

    def tell_account(self) -> None:
        """Send the account again to a client that listens to its updates."""
        if self._account_updates:
            self._send_account()

    def _now_us(self) -> int:
        return self._broker.state.at_us

    @property
    def _account(self) -> str:
        return self._house.accounts[0]

    def _is_ours(self, account: str) -> bool:
        return account in {"", "All", self._account}

    @staticmethod
    def _forget(
        subscriptions: dict[int, object] | dict[int, _Summary] | dict[int, requests.PnLRequest], key: int
    ) -> None:
        subscriptions.pop(key, None)

    # Orders

    def _place_order(self, cursor: Cursor) -> None:
        self._broker.place(self.client_id, place_order(cursor, self._server_version), self._house.accounts)

    def _global_cancel(self, cursor: Cursor) -> None:
        requests.nothing(cursor)
        self._broker.cancel_all()

    def _open_orders(self, cursor: Cursor, client_id: int | None) -> None:
        requests.nothing(cursor)
        for order in self._broker.open_orders(client_id):
            self._send_order(order)
        self.wire.send(["53", "1"])

    def _completed_orders(self, cursor: Cursor) -> None:
        cursor.flag()
        cursor.end()
        for order in self._broker.completed_orders():
            self.wire.send(order_replies.completed_order(order, self._account, self._server_version))
        self.wire.send(["102"])

    def _executions(self, cursor: Cursor) -> None:
        request = requests.executions(cursor)
        for one in self._broker.state.executions:
            if self._wanted(one, request):
                self._send_execution(request.req_id, one)
        self.wire.send(["55", "1", str(request.req_id)])

    def _wanted(self, one: Execution, request: requests.ExecutionsRequest) -> bool:
        side = {"BOT": "BUY", "SLD": "SELL"}.get(request.side.upper(), request.side.upper())
        return (
            request.client_id in {0, one.client_id}
            and self._is_ours(request.account)
            and request.symbol in {"", one.stock.symbol}
            and request.sec_type in {"", "STK"}
            and side in {"", one.action}
            and one.at_us >= _filter_time_us(request.time)
        )

    def _tell_order(self, event: OrderChanged | Previewed) -> None:
        if isinstance(event, Previewed):
            self.wire.send(order_replies.preview(event, self._account, self._server_version))
        elif event.with_open_order:
            self._send_order(event.order)
        else:
            self.wire.send(replies.order_status(event.order))

    def _send_order(self, order: Order) -> None:
        self.wire.send(order_replies.open_order(order, self._account, self._server_version))
        self.wire.send(replies.order_status(order))

    def _send_execution(self, req_id: int, one: Execution) -> None:
        self.wire.send(replies.execution(req_id, one, self._account, self._server_version))
        self.wire.send(replies.commission_report(one))

    # The account

    def _tell_account(self, event: AccountChanged) -> None:
        if self._positions:
            for symbol in event.symbols:
                position = self._broker.state.ledger.positions.get(symbol)
                if position is not None:
                    self.wire.send(replies.position(self._account, position))
        self.tell_account()
        for req_id, summary in self._summaries.items():
            self._send_summary(req_id, summary)
        for req_id in self._multi:
            self._send_multi(req_id)

    def _values(self) -> Iterator[AccountValue]:
        return account_values(self._broker.standing(), self._broker.available())

    def _held(self) -> list[Position]:
        return list(self._broker.state.ledger.positions.values())

    def _account_updates_request(self, cursor: Cursor) -> None:
        request = requests.account_updates(cursor)
        if request.subscribe and not (self._is_ours(request.account) or request.account in self._house.accounts):
            text = f"Error validating request.-'{request.account}' : cause - Invalid account code"
            return self.wire.send(replies.error(-1, 321, text))
        self._account_updates = request.subscribe and self._is_ours(request.account)
        if self._account_updates:
            self._send_account()
        if request.subscribe:
            self.wire.send(["54", "1", request.account or self._account])
        return None

    def _send_account(self) -> None:
        for value in self._values():
            self.wire.send(["6", "2", value.tag, value.value, value.currency, self._account])
        for position in self._held():
            mark = self._broker.mark(position.stock.market_symbol)
            self.wire.send(replies.portfolio(self._account, position, mark))
        self.wire.send(["8", "1", f"{eastern(self._house.shown_time_us()):%H:%M}"])

    def _positions_request(self, cursor: Cursor) -> None:
        requests.nothing(cursor)
        self._positions = True
        for position in self._held():
            if position.quantity:
                self.wire.send(replies.position(self._account, position))
        self.wire.send(["62", "1"])

    def _cancel_positions(self, cursor: Cursor) -> None:
        requests.nothing(cursor)
        self._positions = False

    def _account_summary(self, cursor: Cursor) -> None:
        request = requests.account_summary(cursor)
        if request.req_id not in self._summaries and len(self._summaries) >= SUMMARIES_MAX:
            text = "Error processing request.-'' : cause - Maximum number of account summary requests exceeded"
            return self.wire.send(replies.error(request.req_id, 322, text))
        self._summaries[request.req_id] = summary = _Summary(request.tags)
        self._send_summary(request.req_id, summary)
        return self.wire.send(["64", "1", str(request.req_id)])

    def _send_summary(self, req_id: int, summary: _Summary) -> None:
        ledger = any(tag.startswith("$LEDGER") for tag in summary.tags)
        for value in self._values():
            if value.tag in summary.tags or (ledger and value.tag in LEDGER_TAGS):
                self.wire.send(["63", "1", str(req_id), self._account, value.tag, value.value, value.currency])

    def _account_updates_multi(self, cursor: Cursor) -> None:
        request = requests.account_updates_multi(cursor)
        if self._is_ours(request.account):
            self._multi.add(request.req_id)
            self._send_multi(request.req_id)
        self.wire.send(["74", "1", str(request.req_id)])

    def _send_multi(self, req_id: int) -> None:
        for value in self._values():
            self.wire.send(["73", "1", str(req_id), self._account, "", value.tag, value.value, value.currency])

    def _pnl_request(self, request: requests.PnLRequest) -> None:
        if not self._is_ours(request.account):
            text = f"Error validating request.-'{request.account}' : cause - Invalid account code"
            return self.wire.send(replies.error(request.req_id, 321, text))
        self._pnl[request.req_id] = request
        return self._send_pnl(request)

    def _send_pnl(self, request: requests.PnLRequest) -> None:
        if request.con_id is None:
            standing = self._broker.standing()
            self.wire.send(replies.pnl(request.req_id, standing.daily, standing.unrealized, standing.realized_today))
            return
        stock = self._house.contracts.by_con_id(request.con_id)
        position = self._broker.state.ledger.positions.get(stock.market_symbol) if stock else None
        if stock is not None and position is not None:
            self.wire.send(replies.pnl_single(request.req_id, position, self._broker.mark(stock.market_symbol)))

    # Contracts, the clock, and what only says no

    def _contract_details(self, cursor: Cursor) -> None:
        request = requests.contract_details(cursor)
        if request.contract.sec_type == "BAG":
            text = "Error validating request.-'BAG' : cause - 'BAG' isn't supported for contract data request"
            return self.wire.send(replies.error(request.req_id, 321, text))
        try:
            stock = self._house.contracts.find(request.contract, new_york(self._now_us()).date())
        except NoDefinition as nothing:
            return self.wire.send(replies.error(request.req_id, nothing.code, nothing.text))
        sessions = self._house.market.sessions
        self.wire.send(replies.contract_details(request.req_id, stock, self._now_us(), sessions))
        return self.wire.send(["52", "1", str(request.req_id)])

    def _matching_symbols(self, cursor: Cursor) -> None:
        request = requests.matching_symbols(cursor)
        found = self._house.contracts.matching(request.pattern, new_york(self._now_us()).date())
        self.wire.send(replies.symbol_samples(request.req_id, found))

    def _market_rule(self, cursor: Cursor) -> None:
        self.wire.send(["93", str(requests.one_integer_unversioned(cursor)), "1", "0", "0.01"])

    def _next_valid_id(self, cursor: Cursor) -> None:
        requests.one_integer(cursor)
        self.wire.send(["9", "1", str(self._broker.next_order_id(self.client_id))])

    def _managed_accounts(self, cursor: Cursor) -> None:
        requests.nothing(cursor)
        self.wire.send(["15", "1", ",".join(self._house.accounts)])

    def _current_time(self, cursor: Cursor) -> None:
        requests.nothing(cursor)
        self.wire.send(["49", "1", str(self._house.shown_time_us() // SECOND_US)])

    def _market_data_type(self, cursor: Cursor) -> None:
        self.stream.data_type = requests.one_integer(cursor)

    def _historical_data(self, cursor: Cursor) -> None:
        req_id = requests.historical_data(cursor)
        text = "Historical Market Data Service error message:HMDS query returned no data: history is not simulated"
        self.wire.send(replies.error(req_id, 162, text))

    def _cancel_historical_data(self, cursor: Cursor) -> None:
        text = "Historical Market Data Service error message:API historical data query cancelled"
        self.wire.send(replies.error(requests.one_integer(cursor), 162, text))

    def _silent(self, cursor: Cursor) -> None:
        requests.one_integer(cursor)


def _filter_time_us(text: str) -> int:
    """Return the earliest execution a filter asks for; an unreadable or empty one filters nothing, as at the Gateway."""
    for layout, zone in (("%Y%m%d-%H:%M:%S", UTC), ("%Y%m%d %H:%M:%S", None)):
        try:
            at = datetime.strptime(text.removesuffix(" US/Eastern"), layout)  # noqa: DTZ007 - utc_us reads New York
        except ValueError:
            continue
        return utc_us(at.replace(tzinfo=zone))
    return 0
