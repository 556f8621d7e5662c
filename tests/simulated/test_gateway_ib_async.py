"""Unmodified ib_async, in a process of its own, drives the Gateway: connect, quote, order, fill, cancel, and look again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import bokeh_sampledata"], capture_output=True, check=False).returncode != 0,
    reason="the demo's sample prices (bokeh_sampledata) are not installed",
)

HEAD = """
import asyncio, json, logging, sys
from ib_async import *
logging.basicConfig(level=logging.CRITICAL)
port, found, errors = int(sys.argv[1]), {}, []

async def connect(client_id):
    ib = IB()
    ib.errorEvent += lambda req_id, code, text, contract: errors.append(code)
    await ib.connectAsync('127.0.0.1', port, clientId=client_id, timeout=5, raiseSyncErrors=True)
    return ib

async def until(condition):
    for _ in range(100):
        if condition():
            return True
        await asyncio.sleep(0.05)
    return False
"""
TAIL = """
asyncio.run(main())
print(json.dumps(found | {'errors': errors}, default=str))
"""

FIRST = """
async def main():
    ib = await connect(1)
    found['version'] = ib.client.serverVersion()
    found['accounts'] = ib.managedAccounts()
    found['positions'] = ib.positions()
    found['summary'] = {v.tag: v.value for v in await ib.accountSummaryAsync()}
    found['values'] = {v.tag: v.value for v in ib.accountValues()}
    found['time'] = await ib.reqCurrentTimeAsync()
    [apple] = await ib.qualifyContractsAsync(Stock('AAPL', 'SMART', 'USD'))
    [details] = await ib.reqContractDetailsAsync(apple)
    found['contract'] = [apple.conId, apple.primaryExchange, details.longName, details.minTick, details.liquidHours]
    found['option'] = await ib.reqContractDetailsAsync(Option('AAPL', '20130315', 400.13, 'C', 'SMART'))
    found['matching'] = [d.contract.symbol for d in await ib.reqMatchingSymbolsAsync('MICROSOFT')]
    found['rule'] = [tuple(i) for i in await ib.reqMarketRuleAsync(26)]
    found['chains'] = await ib.reqSecDefOptParamsAsync('AAPL', '', 'STK', apple.conId)
    found['history'] = await ib.reqHistoricalDataAsync(apple, '', '1 D', '1 day', 'TRADES', True)
    quote = ib.reqMktData(apple)
    await until(lambda: quote.hasBidAsk() and quote.close == quote.close)
    for name in 'bid ask bidSize askSize last close high low volume marketDataType halted minTick'.split():
        found[name] = getattr(quote, name)
    [snapshot] = await ib.reqTickersAsync(apple)
    found['snapshot'] = [snapshot.bid, snapshot.ask]
    preview = await ib.whatIfOrderAsync(apple, LimitOrder('BUY', 10, 400.0, tif='DAY'))
    found['preview'] = [preview.commission, float(preview.initMarginChange)]

    statuses = []
    trade = ib.placeOrder(apple, LimitOrder('BUY', 10, round(quote.ask + 1, 2), orderRef='bft-1', tif='DAY'))
    trade.statusEvent += lambda t: statuses.append(t.orderStatus.status)
    await until(lambda: trade.fills and trade.fills[0].commissionReport.commission)
    found['statuses'] = statuses
    [fill] = trade.fills
    found['fill'] = [fill.execution.orderRef, fill.execution.shares, fill.execution.side, fill.commissionReport.commission]
    found['fill_price'], found['fill_time'] = fill.execution.price, fill.execution.time
    found['exec_id'], found['perm_id'] = fill.execution.execId, trade.order.permId
    found['position'] = [(p.contract.symbol, p.position, p.avgCost) for p in ib.positions()]
    await until(lambda: ib.portfolio())
    found['portfolio'] = [(p.contract.symbol, p.position) for p in ib.portfolio()]

    pnl, single = ib.reqPnL(ib.managedAccounts()[0]), ib.reqPnLSingle(ib.managedAccounts()[0], '', apple.conId)
    await until(lambda: pnl.dailyPnL == pnl.dailyPnL and single.value == single.value)
    found['pnl'] = [pnl.dailyPnL, single.dailyPnL, single.position]
    ib.cancelPnL(ib.managedAccounts()[0])
    ib.cancelPnLSingle(ib.managedAccounts()[0], '', apple.conId)

    rest = ib.placeOrder(apple, LimitOrder('BUY', 5, round(quote.bid / 2, 2), orderRef='bft-2', tif='DAY'))
    await until(lambda: rest.orderStatus.status == 'Submitted')
    rest.order.lmtPrice = round(rest.order.lmtPrice + 1, 2)
    ib.placeOrder(apple, rest.order)
    await asyncio.sleep(0.2)
    found['open'] = [(t.order.orderRef, t.order.lmtPrice, t.orderStatus.status) for t in await ib.reqAllOpenOrdersAsync()]
    ib.cancelOrder(rest.order)
    found['cancelled'] = await until(lambda: rest.orderStatus.status == 'Cancelled')

    refused = []
    odd = [
        MarketOrder('SELL', 1000, tif='DAY'),
        LimitOrder('BUY', 10, 400.001, tif='DAY'),
        Order(action='SELL', totalQuantity=10, orderType='REL', tif='DAY'),
        LimitOrder('BUY', 1, 100.0, tif='DAY', algoStrategy='Adaptive', algoParams=[TagValue('adaptivePriority', 'Normal')]),
        LimitOrder('BUY', 1, 100.0, tif='DAY', conditions=[PriceCondition(price=1.0, conId=1, exch='SMART'), TimeCondition()]),
        LimitOrder('BUY', 1, 100.0, tif='DAY', ocaGroup='a', hedgeType='B', hedgeParam='1', scalePriceIncrement=0.1),
        Order(action='BUY', totalQuantity=1, orderType='PEG BENCH', tif='DAY'),
        Order(action='BUY', totalQuantity=1, orderType='PEG MID', tif='DAY'),
        Order(action='BUY', totalQuantity=1, orderType='PEG BEST', competeAgainstBestOffset=float('inf'), tif='DAY'),
        LimitOrder('BUY', 1, 100.0, tif='DAY', parentId=9999),
    ]
    for one in odd:
        before = len(errors)
        ib.placeOrder(apple, one)
        await until(lambda: len(errors) > before)
        refused += errors[before:]
    found['refused'] = refused
    unknown = Contract(symbol='AAPL', secType='BAG', exchange='SMART', currency='USD', comboLegs=[
        ComboLeg(conId=1, ratio=1, action='BUY', exchange='SMART'), ComboLeg(conId=2, ratio=1, action='SELL', exchange='SMART')])
    before = len(errors)
    ib.placeOrder(unknown, LimitOrder('BUY', 1, 1.0, tif='DAY'))
    found['combo'] = await until(lambda: 200 in errors[before:])
    ib.reqGlobalCancel()
    await asyncio.sleep(0.2)
    found['connected'] = ib.isConnected()
    ib.disconnect()
"""

SECOND = """
async def main():
    ib = await connect(2)
    found['fills'] = [(f.execution.execId, f.execution.orderRef, f.execution.clientId, f.commissionReport.commission)
                      for f in ib.fills()]
    found['asked'] = [f.execution.execId for f in await ib.reqExecutionsAsync()]
    found['by_symbol'] = len(await ib.reqExecutionsAsync(ExecutionFilter(symbol='IBM')))
    completed = await ib.reqCompletedOrdersAsync(False)
    found['completed'] = {t.order.orderRef: [t.orderStatus.status, t.order.filledQuantity, t.order.permId] for t in completed}
    found['positions'] = [(p.contract.symbol, p.position) for p in ib.positions()]
    found['open'] = len(await ib.reqAllOpenOrdersAsync())
    found['duplicate'] = ''
    try:
        other = IB()
        other.errorEvent += lambda req_id, code, text, contract: errors.append(code)
        await other.connectAsync('127.0.0.1', port, clientId=2, timeout=1)
    except (TimeoutError, ConnectionError) as refused:
        found['duplicate'] = type(refused).__name__
    ib.disconnect()
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Start a Gateway with every flag but the port at its default."""
    command = [sys.executable, "-m", "bar_fly_simulators.gateway", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"gateway simulator ready on 127\.0\.0\.1:(\d+) ", line)
        assert found is not None, line
        yield int(found[1])
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert errors == ""


def run_client(script: str, port: int) -> dict[str, Any]:
    """Run a script of ib_async in another process and return what it found."""
    command = [sys.executable, "-c", HEAD + script + TAIL, str(port)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.fixture(scope="module")
def first(port: int) -> dict[str, Any]:
    """Run the first client and return what it found."""
    return run_client(FIRST, port)


def test_the_account_is_read(first: dict[str, Any]) -> None:
    """Version, account, no positions, summary and values, and the simulated time."""
    assert (first["version"], first["accounts"], first["positions"]) == (178, ["DUS000001"], [])
    assert float(first["summary"]["NetLiquidation"]) == float(first["values"]["NetLiquidation"]) == 100_000
    assert {"TotalCashValue", "BuyingPower", "FullAvailableFunds", "CashBalance"} <= set(first["summary"])
    assert first["time"].startswith("2013-03-01 15:00")


def test_contracts_are_qualified(first: dict[str, Any]) -> None:
    """AAPL is one contract with its hours; an option whose strike is not listed is refused properly, not hung on."""
    assert first["contract"][:4] == [265598, "NASDAQ", "Apple Inc", 0.01]
    assert first["contract"][4].startswith("20130301:0930-20130301:1600;20130302:CLOSED")
    assert first["option"] == []
    assert 200 in first["errors"]
    assert first["matching"] == ["MSFT"]
    assert first["rule"] == [[0.0, 0.01]]


def test_a_quote_has_two_sides(first: dict[str, Any]) -> None:
    """Bid below ask, with sizes, last, close, extremes, volume, live type, not halted, and the price increment."""
    assert 400 < first["bid"] < first["last"] < first["ask"] < 500
    assert first["ask"] - first["bid"] < 0.20
    assert first["bidSize"] >= 100 and first["askSize"] >= 100
    assert first["low"] <= first["last"] <= first["high"]
    assert (first["close"], first["marketDataType"], first["halted"], first["minTick"]) == (441.4, 1, 0, 0.01)
    assert first["volume"] > 0
    assert first["snapshot"][0] < first["snapshot"][1]


def test_a_limit_order_fills_with_reference_and_commission(first: dict[str, Any]) -> None:
    """PreSubmitted, then Filled at the touch, below the limit; the execution carries orderRef, time and commission."""
    assert first["statuses"] == ["PreSubmitted", "Filled"]
    assert first["fill"] == ["bft-1", 10.0, "BOT", 1.0]
    assert first["fill_price"] < first["ask"] + 1
    assert first["fill_time"].startswith("2013-03-01 15:00")
    [(symbol, quantity, cost)] = first["position"]
    assert (symbol, quantity, round(cost, 4)) == ("AAPL", 10.0, round(first["fill_price"] + 0.1, 4))
    assert first["portfolio"] == [["AAPL", 10.0]]
    assert first["preview"] == [1.0, 4000.0]


def test_pnl_is_told(first: dict[str, Any]) -> None:
    """The account's and the position's daily P&L agree: a small loss, the spread and the commission."""
    account, position, quantity = first["pnl"]
    assert account == position
    assert -3 < account < 0
    assert quantity == 10


def test_orders_rest_are_changed_and_cancelled(first: dict[str, Any]) -> None:
    """A far limit rests as Submitted, takes a new price, and is cancelled."""
    [(reference, price, status)] = first["open"]
    assert (reference, status) == ("bft-2", "Submitted")
    assert price == pytest.approx(first["bid"] / 2 + 1, abs=1)
    assert first["cancelled"]


def test_what_is_not_simulated_is_refused_and_not_misread(first: dict[str, Any]) -> None:
    """Every layout that ib_async can send is read to its end and answered by a code; the connection stays."""
    assert first["refused"] == [201, 110, 387, 387, 387, 387, 387, 387, 387, 135]
    assert first["combo"]
    assert first["connected"]


def test_a_second_client_sees_what_happened(port: int, first: dict[str, Any]) -> None:
    """Execution, commission, completed orders by orderRef and permId, and the position; a taken client id is refused."""
    second = run_client(SECOND, port)
    assert second["fills"] == [[first["exec_id"], "bft-1", 1, 1.0]]
    assert second["asked"] == [first["exec_id"]]
    assert second["by_symbol"] == 0
    assert second["completed"]["bft-1"] == ["Filled", 10.0, first["perm_id"]]
    assert second["completed"]["bft-2"][:2] == ["Cancelled", 0.0]
    assert second["positions"] == [["AAPL", 10.0]]
    assert second["open"] == 0
    assert 326 in second["errors"]
    assert second["duplicate"]
