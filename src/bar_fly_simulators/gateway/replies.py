"""Messages the Gateway sends, as lists of fields in the exact number clients decode at server versions 176 to 178."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from bar_fly_simulators.clock import new_york, session_hours_us
from bar_fly_simulators.gateway.contracts import PRIMARY_EXCHANGE, TRADING_CLASS, isin
from bar_fly_simulators.gateway.fields import execution_time, number
from bar_fly_simulators.gateway.framing import unicode_escaped
from bar_fly_simulators.gateway.orders import Execution, Order, Position, Stock

NAMES = {
    1: "tickPrice",
    2: "tickSize",
    3: "orderStatus",
    4: "error",
    5: "openOrder",
    6: "updateAccountValue",
    7: "updatePortfolio",
    8: "updateAccountTime",
    9: "nextValidId",
    10: "contractDetails",
    11: "execDetails",
    15: "managedAccounts",
    45: "tickGeneric",
    49: "currentTime",
    52: "contractDetailsEnd",
    53: "openOrderEnd",
    54: "accountDownloadEnd",
    55: "execDetailsEnd",
    57: "tickSnapshotEnd",
    58: "marketDataType",
    59: "commissionReport",
    61: "position",
    62: "positionEnd",
    63: "accountSummary",
    64: "accountSummaryEnd",
    73: "accountUpdateMulti",
    74: "accountUpdateMultiEnd",
    76: "securityDefinitionOptionParameterEnd",
    79: "symbolSamples",
    81: "tickReqParams",
    93: "marketRule",
    94: "pnl",
    95: "pnlSingle",
    101: "completedOrder",
    102: "completedOrdersEnd",
}
"""Message ids this Gateway sends."""

Fields = list[str]
_HOURS_DAYS = 6


def contract_11(stock: Stock, exchange: str) -> Fields:
    """Return a contract without its primary exchange, as orders, executions and positions carry it."""
    return [str(stock.con_id), stock.symbol, "STK", "", "0", "", "", exchange, "USD", stock.symbol, TRADING_CLASS]


def error(req_id: int, code: int, text: str) -> Fields:
    """Return message 4."""
    return ["4", "2", str(req_id), str(code), unicode_escaped(text), ""]


def order_status(order: Order) -> Fields:
    """Return message 3."""
    return [
        "3",
        str(order.order_id),
        order.status,
        number(order.filled),
        number(order.remaining),
        number(_rounded(order.average_price)),
        str(order.perm_id),
        "0",
        number(order.last_price),
        str(order.client_id),
        "",
        "0",
    ]


def execution(req_id: int, one: Execution, account: str, server_version: int) -> Fields:
    """Return message 11; `req_id` is -1 for a live fill."""
    return [
        "11",
        str(req_id),
        str(one.order_id),
        *contract_11(one.stock, PRIMARY_EXCHANGE),
        one.exec_id,
        execution_time(one.at_us),
        account,
        PRIMARY_EXCHANGE,
        "BOT" if one.action == "BUY" else "SLD",
        number(one.shares),
        number(one.price),
        str(one.perm_id),
        str(one.client_id),
        "0",
        number(one.cumulative),
        number(_rounded(one.average_price)),
        one.order_ref,
        "",
        "",
        "",
        str(one.last_liquidity),
        *(["0"] if server_version >= 178 else []),
    ]


def commission_report(one: Execution) -> Fields:
    """Return message 59; P&L and yield are the largest double where there is none."""
    unset = "1.7976931348623157E308"
    realized = unset if one.realized_pnl is None else number(_rounded(one.realized_pnl))
    return ["59", "1", one.exec_id, number(one.commission), "USD", realized, unset, ""]


def contract_details(req_id: int, stock: Stock, at_us: int, sessions: Sequence[object]) -> Fields:
    """Return message 10; trading hours name this day and the five after it."""
    return [
        "10",
        str(req_id),
        stock.symbol,
        "STK",
        "",
        "0",
        "",
        "SMART",
        "USD",
        stock.symbol,
        TRADING_CLASS,
        TRADING_CLASS,
        str(stock.con_id),
        "0.01",
        "",
        "ACTIVETIM,DAY,GTC,IOC,LMT,MKT,NONALGO,WHATIF",
        f"SMART,{PRIMARY_EXCHANGE}",
        "1",
        "0",
        unicode_escaped(stock.long_name),
        PRIMARY_EXCHANGE,
        "",
        unicode_escaped(stock.industry),
        "",
        "",
        "US/Eastern",
        _hours(at_us, sessions, extended=True),
        _hours(at_us, sessions, extended=False),
        "",
        "0",
        "1",
        "ISIN",
        isin(stock),
        "1",
        "",
        "",
        "26,26",
        "",
        "COMMON",
        "1",
        "1",
        "100",
    ]


def position(account: str, one: Position) -> Fields:
    """Return message 61."""
    return [
        "61",
        "3",
        account,
        *contract_11(one.stock, ""),
        number(one.quantity),
        number(_rounded(one.average_cost)),
    ]


def portfolio(account: str, one: Position, mark: Decimal) -> Fields:
    """Return message 7."""
    value = one.quantity * mark
    return [
        "7",
        "8",
        str(one.stock.con_id),
        one.stock.symbol,
        "STK",
        "",
        "0",
        "0",
        "",
        PRIMARY_EXCHANGE,
        "USD",
        one.stock.symbol,
        TRADING_CLASS,
        number(one.quantity),
        number(_rounded(mark)),
        number(_rounded(value)),
        number(_rounded(one.average_cost)),
        number(_rounded(value - one.quantity * one.average_cost)),
        number(_rounded(one.realized_today)),
        account,
    ]


def symbol_samples(req_id: int, stocks: Sequence[Stock]) -> Fields:
    """Return message 79."""
    fields = ["79", str(req_id), str(len(stocks))]
    for stock in stocks:
        fields += [str(stock.con_id), stock.symbol, "STK", PRIMARY_EXCHANGE, "USD", "0"]
        fields += [unicode_escaped(stock.long_name), ""]
    return fields


def pnl(req_id: int, daily: Decimal, unrealized: Decimal, realized: Decimal) -> Fields:
    """Return message 94."""
    return ["94", str(req_id), *(number(_rounded(value)) for value in (daily, unrealized, realized))]


def pnl_single(req_id: int, one: Position, mark: Decimal) -> Fields:
    """Return message 95."""
    value = one.quantity * mark
    numbers = (
        value - one.day_start_value - one.day_flow,
        value - one.quantity * one.average_cost,
        one.realized_today,
        value,
    )
    return ["95", str(req_id), number(one.quantity), *(number(_rounded(value)) for value in numbers)]


def _rounded(value: Decimal) -> Decimal:
    # Divisions leave 28 digits; the Gateway never shows more than eight places.
    return round(value, 8)


def _hours(at_us: int, sessions: Sequence[object], *, extended: bool) -> str:
    today = new_york(at_us).date()
    known = set(sessions)
    parts = []
    for ahead in range(_HOURS_DAYS):
        day = today + timedelta(days=ahead)
        if day not in known:
            parts.append(f"{day:%Y%m%d}:CLOSED")
            continue
        closed = new_york(session_hours_us(day)[1])
        begin, end = ("0400", "2000") if extended else ("0930", f"{closed:%H%M}")
        parts.append(f"{day:%Y%m%d}:{begin}-{day:%Y%m%d}:{end}")
    return ";".join(parts)
