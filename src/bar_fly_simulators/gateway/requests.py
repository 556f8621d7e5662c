"""Requests as clients send them at server versions 176 to 178, decoded in full: nothing may be missing or left over."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bar_fly_simulators.gateway.fields import Cursor
from bar_fly_simulators.gateway.orders import ContractQuery, LegQuery

NAMES = {
    1: "reqMktData",
    2: "cancelMktData",
    3: "placeOrder",
    4: "cancelOrder",
    5: "reqOpenOrders",
    6: "reqAccountUpdates",
    7: "reqExecutions",
    8: "reqIds",
    9: "reqContractDetails",
    14: "setServerLogLevel",
    15: "reqAutoOpenOrders",
    16: "reqAllOpenOrders",
    17: "reqManagedAccts",
    20: "reqHistoricalData",
    25: "cancelHistoricalData",
    49: "reqCurrentTime",
    58: "reqGlobalCancel",
    59: "reqMarketDataType",
    61: "reqPositions",
    62: "reqAccountSummary",
    63: "cancelAccountSummary",
    64: "cancelPositions",
    71: "startApi",
    76: "reqAccountUpdatesMulti",
    77: "cancelAccountUpdatesMulti",
    78: "reqSecDefOptParams",
    81: "reqMatchingSymbols",
    87: "reqHeadTimestamp",
    90: "cancelHeadTimestamp",
    91: "reqMarketRule",
    92: "reqPnL",
    93: "cancelPnL",
    94: "reqPnLSingle",
    95: "cancelPnLSingle",
    99: "reqCompletedOrders",
}
"""Message ids this Gateway answers; any other gets error 505."""


def contract(cursor: Cursor) -> ContractQuery:
    """Read the 12 fields of a contract."""
    return ContractQuery(
        con_id=cursor.integer_or_none() or 0,
        symbol=cursor.text(),
        sec_type=cursor.text(),
        last_trade_date=cursor.text(),
        # 0 is no strike, as some clients spell it.
        strike=cursor.decimal_or_none() or None,
        right=cursor.text(),
        multiplier=cursor.text(),
        exchange=cursor.text(),
        primary_exchange=cursor.text(),
        currency=cursor.text(),
        local_symbol=cursor.text(),
        trading_class=cursor.text(),
    )


def legs(cursor: Cursor) -> tuple[LegQuery, ...]:
    """Read the legs of a combination as market data and history spell them: count, then four fields each."""
    return tuple(
        LegQuery(cursor.integer(), cursor.integer(), cursor.text(), cursor.text()) for _ in range(cursor.count())
    )


@dataclass(frozen=True, slots=True)
class StartApi:
    """START_API (71)."""

    client_id: int


def start_api(cursor: Cursor) -> StartApi:
    """Read message 71: version, client id, optional capabilities."""
    cursor.skip(1)
    client_id = cursor.integer()
    cursor.text()
    cursor.end()
    return StartApi(client_id)


@dataclass(frozen=True, slots=True)
class MarketDataRequest:
    """REQ_MKT_DATA (1)."""

    req_id: int
    contract: ContractQuery
    snapshot: bool


def market_data(cursor: Cursor) -> MarketDataRequest:
    """Read message 1."""
    cursor.skip(1)
    req_id = cursor.integer()
    wanted = contract(cursor)
    if wanted.sec_type == "BAG":
        wanted = replace(wanted, legs=legs(cursor))
    if cursor.flag():
        cursor.skip(3)
    cursor.text()
    snapshot, regulatory = cursor.flag(), cursor.flag()
    cursor.text()
    cursor.end()
    return MarketDataRequest(req_id, wanted, snapshot or regulatory)


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """CANCEL_ORDER (4)."""

    order_id: int


def cancel_order(cursor: Cursor) -> CancelRequest:
    """Read message 4: version, order id, manual cancel time."""
    cursor.skip(1)
    order_id = cursor.integer()
    cursor.text()
    cursor.end()
    return CancelRequest(order_id)


@dataclass(frozen=True, slots=True)
class AccountUpdatesRequest:
    """REQ_ACCOUNT_DATA (6)."""

    subscribe: bool
    account: str


def account_updates(cursor: Cursor) -> AccountUpdatesRequest:
    """Read message 6."""
    cursor.skip(1)
    request = AccountUpdatesRequest(cursor.flag(), cursor.text())
    cursor.end()
    return request


@dataclass(frozen=True, slots=True)
class ExecutionsRequest:
    """REQ_EXECUTIONS (7); an empty or zero part filters nothing."""

    req_id: int
    client_id: int
    account: str
    time: str
    symbol: str
    sec_type: str
    exchange: str
    side: str


def executions(cursor: Cursor) -> ExecutionsRequest:
    """Read message 7."""
    cursor.skip(1)
    request = ExecutionsRequest(
        cursor.integer(),
        cursor.integer_or_none() or 0,
        cursor.text(),
        cursor.text(),
        cursor.text(),
        cursor.text(),
        cursor.text(),
        cursor.text(),
    )
    cursor.end()
    return request


@dataclass(frozen=True, slots=True)
class ContractDetailsRequest:
    """REQ_CONTRACT_DATA (9)."""

    req_id: int
    contract: ContractQuery


def contract_details(cursor: Cursor) -> ContractDetailsRequest:
    """Read message 9: contract, includeExpired, secIdType, secId, issuerId."""
    cursor.skip(1)
    request = ContractDetailsRequest(cursor.integer(), contract(cursor))
    cursor.flag()
    cursor.skip(3)
    cursor.end()
    return request


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """REQ_HISTORICAL_DATA (20), and REQ_HEAD_TIMESTAMP (87) with the parts it has."""

    req_id: int
    contract: ContractQuery
    end: str
    bar_size: str
    duration: str
    regular_hours: bool
    what: str
    date_format: int
    keep_up_to_date: bool


def historical_data(cursor: Cursor) -> HistoryRequest:
    """Read message 20 (it has no version field)."""
    req_id, wanted = cursor.integer(), contract(cursor)
    cursor.flag()
    end, bar_size, duration = cursor.text(), cursor.text(), cursor.text()
    regular, what, date_format = cursor.flag(), cursor.text(), cursor.integer_or_none() or 1
    if wanted.sec_type == "BAG":
        wanted = replace(wanted, legs=legs(cursor))
    keep = cursor.flag()
    cursor.text()
    cursor.end()
    return HistoryRequest(req_id, wanted, end, bar_size, duration, regular, what, date_format, keep)


def head_timestamp(cursor: Cursor) -> HistoryRequest:
    """Read message 87 (it has no version field)."""
    req_id, wanted = cursor.integer(), contract(cursor)
    cursor.flag()
    regular, what, date_format = cursor.flag(), cursor.text(), cursor.integer_or_none() or 1
    cursor.end()
    return HistoryRequest(req_id, wanted, "", "", "", regular, what, date_format, keep_up_to_date=False)


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """REQ_ACCOUNT_SUMMARY (62)."""

    req_id: int
    group: str
    tags: tuple[str, ...]


def account_summary(cursor: Cursor) -> SummaryRequest:
    """Read message 62."""
    cursor.skip(1)
    req_id, group = cursor.integer(), cursor.text()
    tags = tuple(tag.strip() for tag in cursor.text().split(",") if tag.strip())
    cursor.end()
    return SummaryRequest(req_id, group, tags)


@dataclass(frozen=True, slots=True)
class AccountUpdatesMultiRequest:
    """REQ_ACCOUNT_UPDATES_MULTI (76)."""

    req_id: int
    account: str
    model: str


def account_updates_multi(cursor: Cursor) -> AccountUpdatesMultiRequest:
    """Read message 76: version, request id, account, model, ledger-and-NLV."""
    cursor.skip(1)
    request = AccountUpdatesMultiRequest(cursor.integer(), cursor.text(), cursor.text())
    cursor.flag()
    cursor.end()
    return request


@dataclass(frozen=True, slots=True)
class PnLRequest:
    """REQ_PNL (92) where `con_id` is None, else REQ_PNL_SINGLE (94)."""

    req_id: int
    account: str
    con_id: int | None


def pnl(cursor: Cursor) -> PnLRequest:
    """Read message 92 (it has no version field)."""
    req_id, account = cursor.integer(), cursor.text()
    cursor.text()
    cursor.end()
    return PnLRequest(req_id, account, None)


def pnl_single(cursor: Cursor) -> PnLRequest:
    """Read message 94 (it has no version field)."""
    req_id, account = cursor.integer(), cursor.text()
    cursor.text()
    con_id = cursor.integer()
    cursor.end()
    return PnLRequest(req_id, account, con_id)


@dataclass(frozen=True, slots=True)
class ChainRequest:
    """REQ_SEC_DEF_OPT_PARAMS (78)."""

    req_id: int
    symbol: str
    sec_type: str
    con_id: int


def option_parameters(cursor: Cursor) -> ChainRequest:
    """Read message 78 (it has no version field): request, symbol, futFopExchange, underlying's kind and contract id."""
    req_id, symbol = cursor.integer(), cursor.text()
    cursor.text()
    request = ChainRequest(req_id, symbol, cursor.text(), cursor.integer_or_none() or 0)
    cursor.end()
    return request


@dataclass(frozen=True, slots=True)
class MatchingRequest:
    """REQ_MATCHING_SYMBOLS (81)."""

    req_id: int
    pattern: str


def matching_symbols(cursor: Cursor) -> MatchingRequest:
    """Read message 81 (it has no version field)."""
    request = MatchingRequest(cursor.integer(), cursor.text())
    cursor.end()
    return request


def one_integer(cursor: Cursor) -> int:
    """Read a version and one integer: messages 2, 8, 14, 15, 25, 59, 63, 77."""
    cursor.skip(1)
    value = cursor.integer()
    cursor.end()
    return value


def one_integer_unversioned(cursor: Cursor) -> int:
    """Read one integer: messages 91, 93, 95, 99."""
    value = cursor.integer()
    cursor.end()
    return value


def nothing(cursor: Cursor) -> None:
    """Read a version alone: messages 5, 16, 17, 49, 58, 61, 64."""
    cursor.skip(1)
    cursor.end()
