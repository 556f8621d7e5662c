"""What one client hears of the account: values, positions, summaries, P&L."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bar_fly_simulators.gateway import replies, requests
from bar_fly_simulators.gateway.account_values import LEDGER_TAGS, account_values
from bar_fly_simulators.gateway.account_values import AccountValue as Value
from bar_fly_simulators.gateway.faults import AccountValue
from bar_fly_simulators.gateway.fields import Cursor, eastern
from bar_fly_simulators.gateway.house import House
from bar_fly_simulators.gateway.orders import AccountChanged, Position
from bar_fly_simulators.gateway.wire import Wire

SUMMARIES_MAX = 2
_INVALID_ACCOUNT = "Error validating request.-'{}' : cause - Invalid account code"


class AccountFeed:
    """One client's subscriptions to the account."""

    def __init__(self, house: House, wire: Wire) -> None:
        self._house = house
        self._broker = house.broker
        self._wire = wire
        self._updates = False
        self._positions = False
        self._summaries: dict[int, tuple[str, ...]] = {}
        self._multi: set[int] = set()
        self._pnl: dict[int, requests.PnLRequest] = {}

    @property
    def account(self) -> str:
        """The account that clients see as the broker's."""
        return self._house.accounts[0]

    def is_ours(self, account: str) -> bool:
        """Tell whether a request's account means the broker's."""
        return account in {"", "All", self.account}

    def tell(self, event: AccountChanged) -> None:
        """Send what changed to whoever subscribed."""
        if self._positions:
            for key in event.keys:
                position = self._broker.state.ledger.positions.get(key)
                if position is not None:
                    self._wire.send(replies.position(self.account, position))
        self.tell_account()
        for req_id, tags in self._summaries.items():
            self._send_summary(req_id, tags)
        for req_id in self._multi:
            self._send_multi(req_id)

    def tell_account(self) -> None:
        """Send the account again to a client that listens to its updates."""
        if self._updates:
            self._send_account()

    def tell_pnl(self) -> None:
        """Send every P&L subscription its numbers."""
        for request in self._pnl.values():
            self._send_pnl(request)

    def updates(self, cursor: Cursor) -> None:
        """Answer reqAccountUpdates (6)."""
        request = requests.account_updates(cursor)
        if request.subscribe and not (self.is_ours(request.account) or request.account in self._house.accounts):
            return self._wire.send(replies.error(-1, 321, _INVALID_ACCOUNT.format(request.account)))
        self._updates = request.subscribe and self.is_ours(request.account)
        if self._updates:
            self._send_account()
        if request.subscribe:
            self._wire.send(["54", "1", request.account or self.account])
        return None

    def positions(self, cursor: Cursor) -> None:
        """Answer reqPositions (61)."""
        requests.nothing(cursor)
        self._positions = True
        for position in self._held():
            if position.quantity:
                self._wire.send(replies.position(self.account, position))
        self._wire.send(["62", "1"])

    def cancel_positions(self, cursor: Cursor) -> None:
        """Answer cancelPositions (64)."""
        requests.nothing(cursor)
        self._positions = False

    def summary(self, cursor: Cursor) -> None:
        """Answer reqAccountSummary (62)."""
        request = requests.account_summary(cursor)
        if request.req_id not in self._summaries and len(self._summaries) >= SUMMARIES_MAX:
            text = "Error processing request.-'' : cause - Maximum number of account summary requests exceeded"
            return self._wire.send(replies.error(request.req_id, 322, text))
        self._summaries[request.req_id] = request.tags
        self._send_summary(request.req_id, request.tags)
        return self._wire.send(["64", "1", str(request.req_id)])

    def cancel_summary(self, cursor: Cursor) -> None:
        """Answer cancelAccountSummary (63)."""
        self._summaries.pop(requests.one_integer(cursor), None)

    def multi(self, cursor: Cursor) -> None:
        """Answer reqAccountUpdatesMulti (76)."""
        request = requests.account_updates_multi(cursor)
        if self.is_ours(request.account):
            self._multi.add(request.req_id)
            self._send_multi(request.req_id)
        self._wire.send(["74", "1", str(request.req_id)])

    def cancel_multi(self, cursor: Cursor) -> None:
        """Answer cancelAccountUpdatesMulti (77)."""
        self._multi.discard(requests.one_integer(cursor))

    def pnl(self, request: requests.PnLRequest) -> None:
        """Answer reqPnL (92) and reqPnLSingle (94)."""
        if not self.is_ours(request.account):
            return self._wire.send(replies.error(request.req_id, 321, _INVALID_ACCOUNT.format(request.account)))
        self._pnl[request.req_id] = request
        return self._send_pnl(request)

    def cancel_pnl(self, cursor: Cursor) -> None:
        """Answer cancelPnL (93) and cancelPnLSingle (95)."""
        self._pnl.pop(requests.one_integer_unversioned(cursor), None)

    def _values(self) -> Iterator[Value]:
        for value in account_values(self._broker.standing(), self._broker.available()):
            fault = self._house.faults.active(AccountValue, tag=value.tag)
            if fault is None:
                yield value
            elif not fault.leave_out:
                yield replace(value, value=fault.text, currency=fault.currency)

    def _held(self) -> list[Position]:
        return list(self._broker.state.ledger.positions.values())

    def _send_account(self) -> None:
        for value in self._values():
            self._wire.send(["6", "2", value.tag, value.value, value.currency, self.account])
        for position in self._held():
            mark = self._broker.desk.mark(position.instrument)
            self._wire.send(replies.portfolio(self.account, position, mark))
        self._wire.send(["8", "1", f"{eastern(self._house.shown_time_us()):%H:%M}"])

    def _send_summary(self, req_id: int, tags: tuple[str, ...]) -> None:
        ledger = any(tag.startswith("$LEDGER") for tag in tags)
        for value in self._values():
            if value.tag in tags or (ledger and value.tag in LEDGER_TAGS):
                self._wire.send(["63", "1", str(req_id), self.account, value.tag, value.value, value.currency])

    def _send_multi(self, req_id: int) -> None:
        for value in self._values():
            self._wire.send(["73", "1", str(req_id), self.account, "", value.tag, value.value, value.currency])

    def _send_pnl(self, request: requests.PnLRequest) -> None:
        if request.con_id is None:
            standing = self._broker.standing()
            self._wire.send(replies.pnl(request.req_id, standing.daily, standing.unrealized, standing.realized_today))
            return
        instrument = self._house.contracts.by_con_id(request.con_id)
        position = self._broker.state.ledger.positions.get(instrument.key) if instrument else None
        if instrument is not None and position is not None:
            self._wire.send(replies.pnl_single(request.req_id, position, self._broker.desk.mark(instrument)))
