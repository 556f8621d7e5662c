"""Messages the Gateway sends, as lists of fields in the exact number clients decode at server versions 176 to 178."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

from bar_fly_simulators.clock import new_york, session_hours_us
from bar_fly_simulators.gateway.contracts import OPTION_EXCHANGES, PRIMARY_EXCHANGE, TRADING_CLASS, isin
from bar_fly_simulators.gateway.fields import execution_time, number
from bar_fly_simulators.gateway.framing import unicode_escaped
from bar_fly_simulators.gateway.instruments import Instrument, Option, Stock
from bar_fly_simulators.gateway.orders import Execution, Order, Position
from bar_fly_simulators.gateway.quotes import OPTION_TICK, OPTION_TICK_FROM, TICK

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
    17: "historicalData",
    21: "tickOptionComputation",
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
    75: "securityDefinitionOptionParameter",
    76: "securityDefinitionOptionParameterEnd",
    79: "symbolSamples",
    81: "tickReqParams",
    88: "headTimestamp",
    90: "historicalDataUpdate",
    93: "marketRule",
    94: "pnl",
    95: "pnlSingle",
    101: "completedOrder",
    102: "completedOrdersEnd",
}
"""Message ids this Gateway sends."""

Fields = list[str]
OPTION_RULE = 32
"""The market rule of options; stocks have 26."""
_HOURS_DAYS = 6
_ORDER_TYPES = "ACTIVETIM,DAY,GTC,GTD,IOC,LMT,MKT,NONALGO,OCA,STP,STPLMT,TRAIL,WHATIF"


def contract_11(one: Instrument, exchange: str) -> Fields:
    """Return a contract without its primary exchange, as orders, executions and positions carry it."""
    return [str(one.con_id), one.symbol, one.sec_type, *_option_terms(one), exchange, "USD", *_local(one)]


def _option_terms(one: Instrument) -> Fields:
    """Return last trade date, strike, right, multiplier."""
    if isinstance(one, Option):
        return [f"{one.expiration:%Y%m%d}", number(one.strike), one.right, str(one.multiplier)]
    return ["", "0", "", ""] if isinstance(one, Stock) else ["", "0", "?", ""]


def _local(one: Instrument) -> Fields:
    """Return local symbol and trading class."""
    if isinstance(one, Option):
        return [one.key, one.symbol.replace(" ", "")]
    return [one.symbol, TRADING_CLASS if isinstance(one, Stock) else "COMB"]


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
        str(order.parent_id),
        number(_rounded(order.last_price)),
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
        *contract_11(one.instrument, _venue(one.instrument)),
        one.exec_id,
        execution_time(one.at_us),
        account,
        _venue(one.instrument),
        "BOT" if one.action == "BUY" else "SLD",
        number(one.shares),
        number(_rounded(one.price)),
        str(one.perm_id),
        str(one.client_id),
        "1" if one.liquidation else "0",
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


def _venue(one: Instrument) -> str:
    return PRIMARY_EXCHANGE if isinstance(one, Stock) else OPTION_EXCHANGES[1]


def contract_details(req_id: int, one: Stock | Option, at_us: int, sessions: Sequence[object]) -> Fields:
    """Return message 10; trading hours name this day and the five after it."""
    if isinstance(one, Option):
        return _option_details(req_id, one, at_us, sessions)
    stock = one
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
        _ORDER_TYPES,
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


def _option_details(req_id: int, option: Option, at_us: int, sessions: Sequence[object]) -> Fields:
    underlying = option.stock
    return [
        "10",
        str(req_id),
        option.symbol,
        "OPT",
        f"{option.expiration:%Y%m%d}",
        number(option.strike),
        option.right,
        OPTION_EXCHANGES[0],
        "USD",
        option.key,
        option.symbol,
        option.symbol.replace(" ", ""),
        str(option.con_id),
        "0.01",
        str(option.multiplier),
        _ORDER_TYPES,
        ",".join(OPTION_EXCHANGES),
        "1",
        str(underlying.con_id),
        unicode_escaped(underlying.long_name),
        "",
        f"{option.expiration:%Y%m}",
        unicode_escaped(underlying.industry),
        "",
        "",
        "US/Eastern",
        _hours(at_us, sessions, extended=False),
        _hours(at_us, sessions, extended=False),
        "",
        "0",
        "0",
        "2",
        option.symbol,
        "STK",
        f"{OPTION_RULE},{OPTION_RULE}",
        f"{option.expiration:%Y%m%d}",
        "",
        "1",
        "1",
        "1",
    ]


def option_parameters(
    req_id: int, stock: Stock, exchange: str, expirations: Sequence[date], strikes: Sequence[Decimal]
) -> Fields:
    """Return message 75: one exchange's chain."""
    head = ["75", str(req_id), exchange, str(stock.con_id), stock.symbol.replace(" ", ""), "100"]
    days = [f"{day:%Y%m%d}" for day in expirations]
    return [*head, str(len(days)), *days, str(len(strikes)), *(number(strike) for strike in strikes)]


def market_rule(rule: int) -> Fields:
    """Return message 93: price increments from each price up: a cent, and 0.05 for options from 3 USD on."""
    steps = [(Decimal(0), TICK), (OPTION_TICK_FROM, OPTION_TICK)] if rule == OPTION_RULE else [(Decimal(0), TICK)]
    return ["93", str(rule), str(len(steps)), *(number(one) for step in steps for one in step)]


def position(account: str, one: Position) -> Fields:
    """Return message 61."""
    return [
        "61",
        "3",
        account,
        *contract_11(one.instrument, ""),
        number(one.quantity),
        number(_rounded(one.average_cost)),
    ]


def portfolio(account: str, one: Position, mark: Decimal) -> Fields:
    """Return message 7."""
    value = one.worth(mark)
    instrument = one.instrument
    return [
        "7",
        "8",
        str(instrument.con_id),
        instrument.symbol,
        instrument.sec_type,
        *_option_terms(instrument)[:3],
        *([str(instrument.multiplier)] if isinstance(instrument, Option) else ["0"]),
        PRIMARY_EXCHANGE if isinstance(instrument, Stock) else "",
        "USD",
        *_local(instrument),
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
        fields += [str(stock.con_id), stock.symbol, "STK", PRIMARY_EXCHANGE, "USD", "1", "OPT"]
        fields += [unicode_escaped(stock.long_name), ""]
    return fields


def pnl(req_id: int, daily: Decimal, unrealized: Decimal, realized: Decimal) -> Fields:
    """Return message 94."""
    return ["94", str(req_id), *(number(_rounded(value)) for value in (daily, unrealized, realized))]


def pnl_single(req_id: int, one: Position, mark: Decimal) -> Fields:
    """Return message 95."""
    value = one.worth(mark)
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
