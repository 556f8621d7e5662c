"""What one client asks about instruments: details, chains, symbols, price rules, history."""

from __future__ import annotations

from bar_fly_simulators.gateway import replies, requests
from bar_fly_simulators.gateway.contracts import OPTION_EXCHANGES, NoDefinition
from bar_fly_simulators.gateway.faults import FarmDown
from bar_fly_simulators.gateway.fields import Cursor
from bar_fly_simulators.gateway.history import NO_DATA, History, NoHistory
from bar_fly_simulators.gateway.house import House
from bar_fly_simulators.gateway.instruments import Instrument
from bar_fly_simulators.gateway.requests import HistoryRequest
from bar_fly_simulators.gateway.wire import Wire

UPDATES_MAX = 50


class Library:
    """One client's questions that no order depends on."""

    def __init__(self, house: House, wire: Wire) -> None:
        self._house = house
        self._wire = wire
        self._history = History(house.market, house.broker.quotes)
        self._kept: dict[int, tuple[HistoryRequest, Instrument]] = {}

    def contract_details(self, cursor: Cursor) -> None:
        """Answer reqContractDetails (9)."""
        request = requests.contract_details(cursor)
        if request.contract.sec_type == "BAG":
            text = "Error validating request.-'BAG' : cause - 'BAG' isn't supported for contract data request"
            return self._wire.send(replies.error(request.req_id, 321, text))
        try:
            found = self._house.contracts.all(request.contract, self._now_us)
        except NoDefinition as nothing:
            return self._wire.send(replies.error(request.req_id, nothing.code, nothing.text))
        for one in found:
            sessions = self._house.market.sessions
            self._wire.send(replies.contract_details(request.req_id, one, self._now_us, sessions))
        return self._wire.send(["52", "1", str(request.req_id)])

    def option_parameters(self, cursor: Cursor) -> None:
        """Answer reqSecDefOptParams (78)."""
        request = requests.option_parameters(cursor)
        contracts = self._house.contracts
        stock = contracts.by_market_symbol(self._house.market.find(request.symbol) or "")
        if stock is None or request.sec_type != "STK" or request.con_id not in {0, stock.con_id}:
            text = "Error validating request.-'' : cause - Invalid contract id"
            return self._wire.send(replies.error(request.req_id, 321, text))
        expirations, strikes = contracts.expirations(self._now_us), contracts.strikes(stock, self._now_us)
        for exchange in OPTION_EXCHANGES:
            self._wire.send(replies.option_parameters(request.req_id, stock, exchange, expirations, strikes))
        return self._wire.send(["76", str(request.req_id)])

    def matching_symbols(self, cursor: Cursor) -> None:
        """Answer reqMatchingSymbols (81)."""
        request = requests.matching_symbols(cursor)
        found = self._house.contracts.matching(request.pattern, self._now_us)
        self._wire.send(replies.symbol_samples(request.req_id, found))

    def market_rule(self, cursor: Cursor) -> None:
        """Answer reqMarketRule (91)."""
        self._wire.send(replies.market_rule(requests.one_integer_unversioned(cursor)))

    def historical_data(self, cursor: Cursor) -> None:
        """Answer reqHistoricalData (20)."""
        request = requests.historical_data(cursor)
        instrument = self._found(request)
        if instrument is None:
            return None
        if request.keep_up_to_date and (request.end or len(self._kept) >= UPDATES_MAX):
            text = "Error validating request.-'' : cause - End Date/Time must be empty to keep bars up to date"
            return self._wire.send(replies.error(request.req_id, 321, text))
        try:
            self._wire.send(self._history.answer(request, instrument, self._now_us))
        except NoHistory as nothing:
            return self._wire.send(replies.error(request.req_id, nothing.code, nothing.text))
        if request.keep_up_to_date:
            self._kept[request.req_id] = (request, instrument)
        return None

    def cancel_historical_data(self, cursor: Cursor) -> None:
        """Answer cancelHistoricalData (25)."""
        req_id = requests.one_integer(cursor)
        self._kept.pop(req_id, None)
        text = "Historical Market Data Service error message:API historical data query cancelled"
        self._wire.send(replies.error(req_id, 162, text))

    def head_timestamp(self, cursor: Cursor) -> None:
        """Answer reqHeadTimestamp (87)."""
        request = requests.head_timestamp(cursor)
        instrument = self._found(request)
        if instrument is not None:
            self._wire.send(self._history.head(request, instrument))

    def update_bars(self) -> None:
        """Send the running bar of each request that is kept up to date."""
        for request, instrument in self._kept.values():
            fields = self._history.update(request, instrument, self._now_us)
            if fields is not None:
                self._wire.send(fields)

    def _found(self, request: HistoryRequest) -> Instrument | None:
        if self._house.faults.active(FarmDown) is not None:
            self._wire.send(replies.error(request.req_id, 162, NO_DATA))
            return None
        try:
            return self._house.contracts.find(request.contract, self._now_us)
        except NoDefinition as nothing:
            self._wire.send(replies.error(request.req_id, nothing.code, nothing.text))
            return None

    @property
    def _now_us(self) -> int:
        return self._house.broker.state.at_us
