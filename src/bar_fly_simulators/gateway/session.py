"""One client's session: which request is answered by what, its orders, and what it hears of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from bar_fly_simulators.clock import SECOND_US, utc_us
from bar_fly_simulators.gateway import order_replies, replies, requests
from bar_fly_simulators.gateway.account_feed import AccountFeed
from bar_fly_simulators.gateway.faults import BrokerLost, LoseAcks, NotLoggedIn, RequestError
from bar_fly_simulators.gateway.fields import Cursor
from bar_fly_simulators.gateway.house import House
from bar_fly_simulators.gateway.library import Library
from bar_fly_simulators.gateway.orders import (
    AccountChanged,
    Event,
    Executed,
    Execution,
    Order,
    OrderError,
    Previewed,
)
from bar_fly_simulators.gateway.place_order import place_order
from bar_fly_simulators.gateway.replies import Fields
from bar_fly_simulators.gateway.stream import MarketDataStream
from bar_fly_simulators.gateway.wire import Wire

logger = logging.getLogger(__name__)

READ_ONLY = "Error validating request.-'bS' : cause - The API interface is currently in Read-Only mode."
_FARMS = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefnj"),
)
_UNHEARD_MAX = 10_000


class Session:
    """Answers one client, once it has said who it is; `server_version` is the negotiated one."""

    def __init__(self, house: House, wire: Wire, client_id: int, server_version: int, stream: MarketDataStream) -> None:
        self._house = house
        self._broker = house.broker
        self.wire = wire
        self.client_id = client_id
        self._server_version = server_version
        self.stream = stream
        self.account = AccountFeed(house, wire)
        self.library = Library(house, wire)
        self._unheard: list[Event] = []
        self._handlers: dict[int, Callable[[Cursor], None]] = {
            1: lambda cursor: self.stream.subscribe(requests.market_data(cursor), self._broker.state.at_us),
            2: lambda cursor: self.stream.cancel(requests.one_integer(cursor)),
            3: self._place_order,
            4: self._cancel_order,
            5: lambda cursor: self._open_orders(cursor, client_id),
            6: self.account.updates,
            7: self._executions,
            8: self._next_valid_id,
            9: self.library.contract_details,
            14: self._silent,
            15: self._silent,
            16: lambda cursor: self._open_orders(cursor, None),
            17: self._managed_accounts,
            20: self.library.historical_data,
            25: self.library.cancel_historical_data,
            49: self._current_time,
            58: self._global_cancel,
            59: self._market_data_type,
            61: self.account.positions,
            62: self.account.summary,
            63: self.account.cancel_summary,
            64: self.account.cancel_positions,
            76: self.account.multi,
            77: self.account.cancel_multi,
            78: self.library.option_parameters,
            81: self.library.matching_symbols,
            87: self.library.head_timestamp,
            90: lambda cursor: _ignore(requests.one_integer_unversioned(cursor)),
            91: self.library.market_rule,
            92: lambda cursor: self.account.pnl(requests.pnl(cursor)),
            93: self.account.cancel_pnl,
            94: lambda cursor: self.account.pnl(requests.pnl_single(cursor)),
            95: self.account.cancel_pnl,
            99: self._completed_orders,
        }

    def welcome(self) -> None:
        """Send what a client waits for after START_API."""
        if self._house.faults.active(NotLoggedIn) is not None:
            return
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
        fault = None
        if message_id != 3:
            fault = self._house.faults.take(RequestError, message=fields[0], client=str(self.client_id))
        if fault is not None:
            self.wire.send(replies.error(_about(message_id, fields), fault.code, fault.text))
            return
        handler(cursor)

    def tell(self, event: Event) -> None:
        """Send what an event means to this client; while the broker is lost, keep it."""
        if self._house.faults.active(BrokerLost) is not None:
            if len(self._unheard) < _UNHEARD_MAX:
                self._unheard.append(event)
            return
        if isinstance(event, AccountChanged):
            self.account.tell(event)
            return
        messages = self._messages(event)
        if not messages:
            return
        lost = self._house.faults.active(LoseAcks, **self._attributes(event))
        for fields in messages:
            if lost is None:
                self.wire.send(fields)
            elif lost.seconds:
                self.wire.send_later(fields, lost.seconds)

    def broker_back(self, *, tell: bool) -> None:
        """Tell what was kept while the broker was lost, or forget it."""
        unheard, self._unheard = self._unheard, []
        for event in unheard if tell else ():
            self.tell(event)

    def _messages(self, event: Event) -> list[Fields]:
        """Return what an event about an order is on the wire, nothing where it is another client's."""
        account, version = self.account.account, self._server_version
        if isinstance(event, OrderError):
            ours = event.client_id == self.client_id
            return [replies.error(event.order_id, event.code, event.text)] if ours else []
        if isinstance(event, Executed):
            ours = event.execution.client_id == self.client_id
            return self._execution(-1, event.execution) if ours else []
        if isinstance(event, AccountChanged) or event.order.client_id != self.client_id:
            return []
        if isinstance(event, Previewed):
            return [order_replies.preview(event, account, version)]
        status = replies.order_status(event.order)
        return [order_replies.open_order(event.order, account, version), status] if event.with_open_order else [status]

    def _attributes(self, event: Event) -> dict[str, str]:
        """Return what faults of orders are limited by."""
        about = {"client": str(self.client_id)}
        if isinstance(event, OrderError):
            same = [o for o in self._broker.state.orders.values() if o.order_id == event.order_id]
            symbol = same[-1].instrument.market_symbol if same else ""
            return about | {"order_ref": event.order_ref, "symbol": symbol}
        one = (
            event.execution
            if isinstance(event, Executed)
            else None
            if isinstance(event, AccountChanged)
            else event.order
        )
        return about if one is None else about | {"order_ref": one.order_ref, "symbol": one.instrument.market_symbol}

    # Orders

    def _place_order(self, cursor: Cursor) -> None:
        request = place_order(cursor, self._server_version)
        self._house.understood(self.client_id, self._server_version, request)
        if self._house.read_only:
            return self.wire.send(replies.error(request.order_id, 321, READ_ONLY))
        if not self._is_lost():
            self._broker.place(self.client_id, request, self._house.accounts)
        return None

    def _cancel_order(self, cursor: Cursor) -> None:
        order_id = requests.cancel_order(cursor).order_id
        if self._house.read_only:
            return self.wire.send(replies.error(order_id, 321, READ_ONLY))
        if not self._is_lost():
            self._broker.cancel(self.client_id, order_id)
        return None

    def _is_lost(self) -> bool:
        """Tell whether what a client sends now never reaches the broker."""
        fault = self._house.faults.active(BrokerLost)
        return fault is not None and fault.orders == "lost"

    def _global_cancel(self, cursor: Cursor) -> None:
        requests.nothing(cursor)
        if self._house.read_only:
            return self.wire.send(replies.error(-1, 321, READ_ONLY))
        if not self._is_lost():
            self._broker.cancel_all()
        return None

    def _open_orders(self, cursor: Cursor, client_id: int | None) -> None:
        requests.nothing(cursor)
        if self._house.read_only:
            return self.wire.send(replies.error(-1, 321, READ_ONLY))
        for order in self._broker.open_orders(client_id):
            self._send_order(order)
        return self.wire.send(["53", "1"])

    def _completed_orders(self, cursor: Cursor) -> None:
        cursor.flag()
        cursor.end()
        if self._house.read_only:
            return self.wire.send(replies.error(-1, 321, READ_ONLY))
        for order in self._broker.completed_orders():
            self.wire.send(order_replies.completed_order(order, self.account.account, self._server_version))
        return self.wire.send(["102"])

    def _send_order(self, order: Order) -> None:
        self.wire.send(order_replies.open_order(order, self.account.account, self._server_version))
        self.wire.send(replies.order_status(order))

    def _executions(self, cursor: Cursor) -> None:
        request = requests.executions(cursor)
        for one in self._broker.state.executions:
            if self._wanted(one, request):
                for fields in self._execution(request.req_id, one):
                    self.wire.send(fields)
        self.wire.send(["55", "1", str(request.req_id)])

    def _wanted(self, one: Execution, request: requests.ExecutionsRequest) -> bool:
        side = {"BOT": "BUY", "SLD": "SELL"}.get(request.side.upper(), request.side.upper())
        return (
            request.client_id in {0, one.client_id}
            and self.account.is_ours(request.account)
            and request.symbol in {"", one.instrument.symbol}
            and request.sec_type in {"", one.instrument.sec_type}
            and side in {"", one.action}
            and one.at_us >= _filter_time_us(request.time)
        )

    def _execution(self, req_id: int, one: Execution) -> list[Fields]:
        """Return execDetails and commissionReport; a combination as such has no commission of its own."""
        details = replies.execution(req_id, one, self.account.account, self._server_version)
        return [details] if one.instrument.sec_type == "BAG" else [details, replies.commission_report(one)]

    # The clock, the account's name, and what is only taken note of

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

    def _silent(self, cursor: Cursor) -> None:
        requests.one_integer(cursor)


# Where a request's own id stands among its fields, the message id counted; a request that has none is about -1.
_ID_AT = {1: 2, 2: 2, 4: 2, 7: 2, 9: 2, 20: 1, 25: 2, 62: 2, 63: 2, 76: 2, 77: 2, 78: 1, 81: 1, 87: 1} | dict.fromkeys(
    (92, 93, 94, 95), 1
)


def _about(message_id: int, fields: list[str]) -> int:
    at = _ID_AT.get(message_id)
    text = fields[at] if at is not None and at < len(fields) else ""
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 12 else -1


def _ignore(value: object) -> None:
    """Take a value that was read for its form alone."""


def _filter_time_us(text: str) -> int:
    """Return the earliest execution a filter asks for; an unreadable or empty one filters nothing, as at the Gateway."""
    for layout, zone in (("%Y%m%d-%H:%M:%S", UTC), ("%Y%m%d %H:%M:%S", None)):
        try:
            at = datetime.strptime(text.removesuffix(" US/Eastern"), layout)  # noqa: DTZ007 - utc_us reads New York
        except ValueError:
            continue
        return utc_us(at.replace(tzinfo=zone))
    return 0
