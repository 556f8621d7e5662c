"""One client's market data: its lines, and the ticks they get."""

from __future__ import annotations

from dataclasses import dataclass, field

from bar_fly_simulators.gateway import replies
from bar_fly_simulators.gateway.contracts import Contracts, NoDefinition
from bar_fly_simulators.gateway.faults import (
    BrokerLost,
    CompetingSession,
    DelayedQuote,
    FarmDown,
    FaultTable,
    FrozenQuote,
    NoQuote,
    StaleQuote,
)
from bar_fly_simulators.gateway.instruments import Instrument
from bar_fly_simulators.gateway.quotes import Quotes
from bar_fly_simulators.gateway.replies import Fields
from bar_fly_simulators.gateway.requests import MarketDataRequest
from bar_fly_simulators.gateway.ticks import DELAYED, DELAYED_FROZEN, FROZEN, LIVE, day_ticks, faulty, quote_ticks
from bar_fly_simulators.gateway.wire import Wire

LINES_MAX = 100
_DELAYED_TEXT = "Requested market data is not subscribed. Displaying delayed market data."
_COMPETING = "No market data during competing live session"


@dataclass(slots=True)
class _Line:
    instrument: Instrument
    data_type: int = 0
    # What was sent last, by message and tick type: prices of the sides go out again each time, the rest when it changes.
    sent: dict[tuple[str, str], Fields] = field(default_factory=dict)
    competing: bool = False


class MarketDataStream:
    """The lines of one client; `data_type` is what reqMarketDataType asked for (2: frozen quotes outside the session)."""

    def __init__(self, wire: Wire, contracts: Contracts, quotes: Quotes, faults: FaultTable) -> None:
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
        if len(self._lines) >= LINES_MAX and not request.snapshot:
            return self._wire.send(replies.error(req_id, 101, "Max number of tickers has been reached."))
        try:
            instrument = self._contracts.find(request.contract, at_us)
        except NoDefinition as nothing:
            return self._wire.send(replies.error(req_id, nothing.code, nothing.text))
        symbol = instrument.market_symbol
        fault = self._faults.active(NoQuote, symbol=symbol)
        if fault is not None and fault.code:
            return self._wire.send(replies.error(req_id, fault.code, fault.text))
        line = _Line(instrument)
        rule = {"STK": "3", "OPT": "2"}.get(instrument.sec_type, "0")
        self._wire.send(["81", str(req_id), "0.01", "9c0001", rule])
        self._ticks(req_id, line, at_us)
        if request.snapshot:
            return self._wire.send(["57", "1", str(req_id)])
        self._lines[req_id] = line
        return None

    def cancel(self, req_id: int) -> None:
        """Close a line, or say that there is none."""
        if self._lines.pop(req_id, None) is None:
            self._wire.send(replies.error(req_id, 300, f"Can't find EId with tickerId:{req_id}"))

    def forget(self) -> None:
        """Close every line, as after 1101."""
        self._lines.clear()

    def tick(self, at_us: int) -> None:
        """Send every line its ticks."""
        for req_id, line in self._lines.items():
            if self._faults.active(StaleQuote, symbol=line.instrument.market_symbol) is None:
                self._ticks(req_id, line, at_us)

    def _ticks(self, req_id: int, line: _Line, at_us: int) -> None:
        symbol = line.instrument.market_symbol
        if self._faults.active(BrokerLost) is not None or self._faults.active(FarmDown) is not None:
            return
        if self._faults.active(CompetingSession, symbol=symbol) is not None:
            if not line.competing:
                self._wire.send(replies.error(req_id, 10197, _COMPETING))
            line.competing = True
            return
        line.competing = False
        data_type = self._data_type(line.instrument, symbol, at_us)
        delayed = data_type in {DELAYED, DELAYED_FROZEN}
        if data_type != line.data_type:
            if delayed and line.data_type not in {DELAYED, DELAYED_FROZEN}:
                self._wire.send(replies.error(req_id, 10167, _DELAYED_TEXT))
            self._wire.send(["58", "1", str(req_id), str(data_type)])
            line.data_type = data_type
            line.sent.clear()
        if self._faults.active(NoQuote, symbol=symbol) is not None:
            return
        shut = data_type in {FROZEN, DELAYED_FROZEN}
        book = faulty(self._quotes.book_of(line.instrument, at_us, frozen=shut), self._faults, symbol)
        quotes = quote_ticks(req_id, book, self._faults, symbol, delayed=delayed)
        for fields in (*day_ticks(req_id, book, delayed=delayed), *quotes):
            key = (fields[0], fields[2] if fields[0] == "21" else fields[3])
            # A quote's age counts from its receipt, so bid and ask (1, 2, delayed 66, 67) are sent although unchanged.
            if key in _SIDES or line.sent.get(key) != fields:
                line.sent[key] = fields
                self._wire.send(fields)

    def _data_type(self, instrument: Instrument, symbol: str, at_us: int) -> int:
        """Return the type a line gets: live; frozen where it was asked for and the market is shut; or as faults have it."""
        shut = self.data_type in {FROZEN, DELAYED_FROZEN} and self._quotes.touch_of(instrument, at_us) is None
        if self._faults.active(DelayedQuote, symbol=symbol) is not None:
            return DELAYED_FROZEN if shut else DELAYED
        return FROZEN if shut or self._faults.active(FrozenQuote, symbol=symbol) is not None else LIVE


_SIDES = frozenset({("1", "1"), ("1", "2"), ("1", "66"), ("1", "67")})
