"""One client's market data: its lines, and the ticks they get."""

from __future__ import annotations

from dataclasses import dataclass, field

from bar_fly_simulators.clock import new_york
from bar_fly_simulators.control import Faults
from bar_fly_simulators.gateway import replies
from bar_fly_simulators.gateway.contracts import Contracts, NoDefinition
from bar_fly_simulators.gateway.faults import bounded
from bar_fly_simulators.gateway.orders import Stock
from bar_fly_simulators.gateway.quotes import Quotes
from bar_fly_simulators.gateway.replies import Fields
from bar_fly_simulators.gateway.requests import MarketDataRequest
from bar_fly_simulators.gateway.ticks import DELAYED, FROZEN, LIVE, day_ticks, faulty, quote_ticks
from bar_fly_simulators.gateway.wire import Wire

_DELAYED_TEXT = (
    "Requested market data is not subscribed. Displaying delayed market data.",
    "Requested market data is not subscribed. Check API status by selecting the Account menu",
)


@dataclass(slots=True)
class _Line:
    stock: Stock
    data_type: int = 0
    # What was sent last, by message and tick type: prices of the sides go out again each time, the rest when it changes.
    sent: dict[tuple[str, str], Fields] = field(default_factory=dict)


class MarketDataStream:
    """The lines of one client; `data_type` is what reqMarketDataType asked for (2: frozen quotes outside the session)."""

    def __init__(self, wire: Wire, contracts: Contracts, quotes: Quotes, faults: Faults) -> None:
        self._wire = wire
        self._contracts = contracts
        self._quotes = quotes
        self._faults = faults
        self._lines: dict[int, _Line] = {}
        self.data_type = LIVE

    def subscribe(self, request: MarketDataRequest, at_us: int) -> None:
        """Open a line, or answer a snapshot; errors go to the request."""
        req_id = request.req_id
        if req_id in self._lines:
            return self._wire.send(
                replies.error(req_id, 322, "Error processing request.-'' : cause - Duplicate ticker id")
            )
        try:
            stock = self._contracts.find(request.contract, new_york(at_us).date())
        except NoDefinition as nothing:
            return self._wire.send(replies.error(req_id, nothing.code, nothing.text))
        symbol = stock.market_symbol
        fault = self._faults.active("no_quote", symbol=symbol)
        if fault is not None and "code" in fault.options:
            return self._wire.send(replies.error(req_id, int(bounded(fault, "code", 354, 0, 99_999)), _DELAYED_TEXT[1]))
        line = _Line(stock)
        self._wire.send(["81", str(req_id), "0.01", "9c0001", "3"])
        self._ticks(req_id, line, at_us)
        if request.snapshot:
            return self._wire.send(["57", "1", str(req_id)])
        self._lines[req_id] = line
        return None

    def cancel(self, req_id: int) -> None:
        """Close a line, or say that there is none."""
        if self._lines.pop(req_id, None) is None:
            self._wire.send(replies.error(req_id, 300, f"Can't find EId with tickerId:{req_id}"))

    def tick(self, at_us: int) -> None:
        """Send every line its ticks."""
        for req_id, line in self._lines.items():
            if self._faults.active("stale_quote", symbol=line.stock.market_symbol) is None:
                self._ticks(req_id, line, at_us)

    def _ticks(self, req_id: int, line: _Line, at_us: int) -> None:
        symbol = line.stock.market_symbol
        delayed = self._faults.active("delayed_quote", symbol=symbol) is not None
        data_type = DELAYED if delayed else self._undelayed_type(symbol, at_us)
        if data_type != line.data_type:
            if delayed:
                self._wire.send(replies.error(req_id, 10167, _DELAYED_TEXT[0]))
            self._wire.send(["58", "1", str(req_id), str(data_type)])
            line.data_type = data_type
            line.sent.clear()
        if self._faults.active("no_quote", symbol=symbol) is not None:
            return
        book = faulty(self._quotes.book(symbol, at_us, frozen=data_type == FROZEN), self._faults, symbol)
        for fields in (*day_ticks(req_id, book, delayed=delayed), *quote_ticks(req_id, book, delayed=delayed)):
            key = (fields[0], fields[3])
            # A quote's age counts from its receipt, so bid and ask (1, 2, delayed 66, 67) are sent although unchanged.
            if key in _SIDES or line.sent.get(key) != fields:
                line.sent[key] = fields
                self._wire.send(fields)

    def _undelayed_type(self, symbol: str, at_us: int) -> int:
        """Return frozen where it was asked for and the market is shut, else live, as the Gateway prefers the better."""
        asked = self.data_type in {FROZEN, 4}
        return FROZEN if asked and self._quotes.touch_at(symbol, at_us) is None else LIVE


_SIDES = frozenset({("1", "1"), ("1", "2"), ("1", "66"), ("1", "67")})
