"""Three unmodified clients, each in a process of its own, live through one simulated day at the Gateway.

ib_async, ib_insync and IB's official client (nautilus-ibapi, module `ibapi`) connect, read the account, quotes, chains and
history, place every kind of order, see fills in parts, cancels, a nightly restart and their orders after it. Neither side
may see a protocol error, and the Gateway must have understood the same orders from all three.

A client is looked for beside this interpreter, then in the one that BFT_IB_CLIENTS_PYTHON names; where it is in neither, its
tests are skipped with a reason.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from functools import cache
from typing import Any

import pytest

HEAD = """
import json, logging, sys, time, urllib.request
port, control = int(sys.argv[1]), int(sys.argv[2])
found, complaints = {}, []
class Keep(logging.Handler):
    def emit(self, record):
        complaints.append(record.getMessage()[:300])
logging.basicConfig(level=logging.CRITICAL)
def post(path, **body):
    request = urllib.request.Request(f'http://127.0.0.1:{control}/{path}', json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.read()
def far(price):
    return round(price, 2)
"""
TAIL = """
print(json.dumps(found | {'errors': errors, 'complaints': complaints}, default=str))
"""

EVENT_LIBRARY = (
    HEAD
    + """
import asyncio, importlib, warnings
warnings.simplefilter('ignore')
lib = importlib.import_module('LIBRARY')
from LIBRARY import *
keep = Keep(logging.ERROR)
for name in ('LIBRARY.Decoder', 'LIBRARY.client', 'LIBRARY.Client', 'eventkit'):
    logging.getLogger(name).addHandler(keep)
errors = []

async def until(condition, what):
    for _ in range(600):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise SystemExit(f'{what} did not happen; errors {errors}, complaints {complaints}')

async def connect():
    ib = IB()
    ib.errorEvent += lambda req_id, code, text, contract: errors.append(code)
    await ib.connectAsync('127.0.0.1', port, clientId=11, timeout=30)
    return ib

def limit(action, quantity, price, ref, **more):
    return LimitOrder(action, quantity, price, orderRef=ref, **{'tif': 'DAY', **more})

async def main():
    ib = await connect()
    found['version'] = ib.client.serverVersion()
    found['time'] = (await ib.reqCurrentTimeAsync()).isoformat()
    found['cash'] = [v.value for v in await ib.accountSummaryAsync() if v.tag == 'TotalCashValue']
    [apple] = await ib.qualifyContractsAsync(Stock('AAPL', 'SMART', 'USD'))
    quote = ib.reqMktData(apple)
    await until(lambda: quote.bid == quote.bid and quote.ask == quote.ask, 'a quote')
    ask, found['quote'] = quote.ask, [quote.bid, quote.ask]
    history = await ib.reqHistoricalDataAsync(apple, '', '3 D', '1 day', 'TRADES', True)
    minutes = await ib.reqHistoricalDataAsync(apple, '', '1 D', '1 min', 'MIDPOINT', True)
    found['bars'] = [len(history), len(minutes), history[-1].close]
    found['head'] = str(await ib.reqHeadTimeStampAsync(apple, 'TRADES', True, 1))
    found['rule'] = len(await ib.reqMarketRuleAsync(32))
    chains = await ib.reqSecDefOptParamsAsync('AAPL', '', 'STK', apple.conId)
    expiry, strike = sorted(chains[0].expirations)[3], [s for s in sorted(chains[0].strikes) if s > ask][0]
    calls = [Option('AAPL', expiry, k, 'C', 'SMART') for k in (strike, strike + 10)]
    low, high = [(await ib.reqContractDetailsAsync(one))[0].contract for one in calls]
    found['chain'] = [len(chains), len(chains[0].expirations), len(chains[0].strikes), low.localSymbol]
    greeks = ib.reqMktData(low)
    await until(lambda: greeks.modelGreeks is not None and greeks.modelGreeks.delta, 'greeks')
    found['delta'] = round(greeks.modelGreeks.delta, 4)
    ib.cancelMktData(low)

    preview = await ib.whatIfOrderAsync(apple, limit('BUY', 10, far(ask), 'what-if'))
    found['preview'] = [preview.commission, preview.initMarginChange]
    first = ib.placeOrder(apple, limit('BUY', 10, far(ask + 1), 'a-limit'))
    await until(lambda: first.orderStatus.status == 'Filled' and first.fills, 'the first fill')
    post('faults', kind='partial_fill', fraction=0.4)
    part = ib.placeOrder(apple, limit('BUY', 10, far(ask + 1), 'b-part'))
    await until(lambda: part.filled() == 4, 'a part')
    post('faults', clear=True, kind='partial_fill')
    await until(lambda: part.filled() == 10 and part.orderStatus.status == 'Filled', 'the rest')
    rest = ib.placeOrder(apple, limit('BUY', 5, far(ask / 2), 'c-rest', tif='GTC'))
    await until(lambda: rest.orderStatus.status == 'Submitted', 'rest')
    rest.order.lmtPrice = far(ask / 2 + 1)
    ib.placeOrder(apple, rest.order)
    await asyncio.sleep(0.3)
    ib.cancelOrder(rest.order)
    await until(lambda: rest.orderStatus.status == 'Cancelled', 'a cancel')
    bracket = ib.bracketOrder('BUY', 5, far(ask + 1), far(ask * 2), far(ask / 2))
    for number, one in enumerate(bracket, start=1):
        one.orderRef, one.tif = f'd-bracket-{number}', 'GTC'
    trades = [ib.placeOrder(apple, one) for one in bracket]
    await until(lambda: trades[0].orderStatus.status == 'Filled' and trades[1].orderStatus.status == 'Submitted', 'a bracket')
    combo = Contract(symbol='AAPL', secType='BAG', exchange='SMART', currency='USD', comboLegs=[
        ComboLeg(conId=low.conId, ratio=1, action='BUY', exchange='SMART'),
        ComboLeg(conId=high.conId, ratio=1, action='SELL', exchange='SMART')])
    spread = ib.placeOrder(combo, limit('BUY', 2, 10.0, 'e-combo', smartComboRoutingParams=[TagValue('NonGuaranteed', '1')]))
    await until(lambda: spread.orderStatus.status == 'Filled' and len(spread.fills) == 3, 'a combination')
    found['legs'] = sorted((f.contract.secType, f.execution.side, f.execution.shares) for f in spread.fills)
    stop = Order(action='SELL', totalQuantity=1, orderType='STP LMT', auxPrice=far(ask / 3), lmtPrice=far(ask / 3),
                 tif='GTD', goodTillDate='20130301 15:00:00 US/Eastern', ocaGroup='g', ocaType=1, orderRef='f-stop')
    trail = Order(action='SELL', totalQuantity=1, orderType='TRAIL', trailingPercent=50.0, tif='DAY', orderRef='g-trail',
                  ocaGroup='g', ocaType=1)
    waiting = [ib.placeOrder(apple, one) for one in (stop, trail)]
    await until(lambda: all(t.orderStatus.status == 'PreSubmitted' for t in waiting), 'stops')
    night = ib.placeOrder(apple, limit('BUY', 1, far(ask / 2), 'h-night', tif='GTC'))
    await until(lambda: night.orderStatus.status == 'Submitted', 'the last order')
    await until(lambda: len(ib.positions()) == 3, 'positions')

    gone = []
    ib.disconnectedEvent += lambda: gone.append(1)
    post('faults', kind='nightly_restart', at='23:45', seconds=60, times=1)
    post('clock', at='2013-02-28T23:45:01')
    await until(lambda: gone, 'the nightly restart')
    try:
        await connect()
        found['shut'] = False
    except OSError:
        found['shut'] = True
    post('clock', at='2013-02-28T23:47')
    await asyncio.sleep(0.5)
    ib = await connect()
    found['fills'] = sorted(f.execution.orderRef for f in await ib.reqExecutionsAsync())
    found['open'] = sorted(t.order.orderRef for t in await ib.reqAllOpenOrdersAsync())
    found['completed'] = sorted(t.order.orderRef for t in await ib.reqCompletedOrdersAsync(False))
    found['positions'] = sorted((p.contract.localSymbol, p.position) for p in ib.positions())
    post('clock', at='2013-03-01T10:00')
    quote = ib.reqMktData(apple)
    await until(lambda: quote.bid == quote.bid and quote.bid > 0, 'a quote of the next day')
    ib.reqGlobalCancel()
    await asyncio.sleep(0.5)
    found['left'] = len(await ib.reqAllOpenOrdersAsync())
    ib.disconnect()
asyncio.run(main())
"""
    + TAIL
)

OFFICIAL = (
    HEAD
    + """
import threading
from ibapi.client import EClient
from ibapi.contract import ComboLeg, Contract
from ibapi.execution import ExecutionFilter
from ibapi.order import Order
from ibapi.order_cancel import OrderCancel
from ibapi.tag_value import TagValue
from ibapi.wrapper import EWrapper
logging.getLogger().addHandler(Keep(logging.WARNING))
errors = []

class App(EWrapper, EClient):
    def __init__(self):
        EClient.__init__(self, self)
        self.seen, self.orders, self.quotes, self.closed = {}, {}, {}, False
    def mark(self, name, *values):
        self.seen.setdefault(name, []).append(values)
    def nextValidId(self, i): self.mark('id', i); self.next = i
    def managedAccounts(self, a): self.mark('accounts', a)
    def error(self, *a): errors.append(a[2] if isinstance(a[2], int) else a[1])
    def connectionClosed(self): self.closed = True
    def currentTime(self, t): self.mark('time', t)
    def position(self, account, contract, quantity, cost): self.mark('position', contract.localSymbol, float(quantity))
    def positionEnd(self): self.mark('positionEnd')
    def accountSummary(self, r, account, tag, value, currency): self.mark('summary', tag, value)
    def accountSummaryEnd(self, r): self.mark('summaryEnd')
    def contractDetails(self, r, d): self.mark(f'details{r}', d)
    def contractDetailsEnd(self, r): self.mark(f'detailsEnd{r}')
    def tickPrice(self, r, kind, price, attribute): self.quotes[(r, kind)] = price
    def tickOptionComputation(self, r, kind, attribute, iv, delta, *rest):
        if kind == 13: self.mark('model', delta)
    def securityDefinitionOptionParameter(self, r, exchange, con_id, klass, mult, expirations, strikes):
        self.mark('chain', expirations, strikes)
    def securityDefinitionOptionParameterEnd(self, r): self.mark('chainEnd')
    def historicalData(self, r, bar): self.mark(f'bar{r}', bar.close)
    def historicalDataEnd(self, r, start, end): self.mark(f'barEnd{r}')
    def headTimestamp(self, r, text): self.mark('head', text)
    def marketRule(self, r, steps): self.mark('rule', len(steps))
    def openOrder(self, i, contract, order, state):
        self.mark('openOrder', order.orderRef)
        if order.whatIf: self.mark('preview', state)
    def openOrderEnd(self): self.mark('openOrderEnd')
    def orderStatus(self, i, status, filled, *rest): self.orders[i] = (status, float(filled))
    def execDetails(self, r, contract, e):
        self.mark('exec', e.orderRef, contract.secType, e.side, float(e.shares), r)
    def execDetailsEnd(self, r): self.mark('execEnd')
    def commissionReport(self, report): self.mark('commission')
    def commissionAndFeesReport(self, report): self.mark('commission')
    def completedOrder(self, contract, order, state): self.mark('completed', order.orderRef)
    def completedOrdersEnd(self): self.mark('completedEnd')

def until(condition, what):
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end or not thread.is_alive() and 'restart' not in what:
            print(f'{what} did not happen; errors {errors}, complaints {complaints}', file=sys.stderr); sys.exit(1)
        time.sleep(0.02)

def connect():
    global thread
    app = App()
    app.connect('127.0.0.1', port, 11)
    thread = threading.Thread(target=app.run, daemon=True)
    thread.start()
    return app

def contract(kind='STK', **more):
    one = Contract()
    one.symbol, one.secType, one.exchange, one.currency = 'AAPL', kind, 'SMART', 'USD'
    for name, value in more.items(): setattr(one, name, value)
    return one

def order(action, quantity, kind, ref, **more):
    one = Order()
    one.action, one.totalQuantity, one.orderType, one.orderRef, one.tif = action, quantity, kind, ref, 'DAY'
    for name, value in more.items(): setattr(one, name, value)
    return one

app = connect()
until(lambda: 'id' in app.seen, 'an id')
def place(c, o):
    number = app.next; app.next += 1
    app.placeOrder(number, c, o)
    return number
def status(number, wanted):
    until(lambda: app.orders.get(number, ('', 0))[0] == wanted, f'{wanted} of {number}')
found['version'] = app.serverVersion()
app.reqCurrentTime(); until(lambda: 'time' in app.seen, 'time')
app.reqAccountSummary(1, 'All', 'TotalCashValue'); until(lambda: 'summaryEnd' in app.seen, 'summary')
found['cash'] = [value for tag, value in app.seen['summary']]
app.reqContractDetails(2, contract()); until(lambda: 'detailsEnd2' in app.seen, 'details')
apple = app.seen['details2'][0][0].contract
app.reqMktData(3, apple, '', False, False, []); until(lambda: (3, 1) in app.quotes and (3, 2) in app.quotes, 'a quote')
ask = app.quotes[(3, 2)]; found['quote'] = [app.quotes[(3, 1)], ask]
app.reqHistoricalData(4, apple, '', '3 D', '1 day', 'TRADES', 1, 1, False, []); until(lambda: 'bar4' in app.seen, 'bars')
app.reqHistoricalData(5, apple, '', '1 D', '1 min', 'MIDPOINT', 1, 1, False, []); until(lambda: 'bar5' in app.seen, 'minutes')
time.sleep(0.3)
found['bars'] = [len(app.seen['bar4']), len(app.seen['bar5']), app.seen['bar4'][-1][0]]
app.reqHeadTimeStamp(6, apple, 'TRADES', 1, 1); until(lambda: 'head' in app.seen, 'head')
app.reqMarketRule(32); until(lambda: 'rule' in app.seen, 'a rule'); found['rule'] = app.seen['rule'][0][0]
app.reqSecDefOptParams(7, 'AAPL', '', 'STK', apple.conId); until(lambda: 'chainEnd' in app.seen, 'chains')
days, strikes = app.seen['chain'][0]
expiry, strike = sorted(days)[3], [s for s in sorted(strikes) if s > ask][0]
for number, k in ((8, strike), (9, strike + 10)):
    app.reqContractDetails(number, contract('OPT', lastTradeDateOrContractMonth=expiry, strike=k, right='C'))
until(lambda: 'detailsEnd8' in app.seen and 'detailsEnd9' in app.seen, 'options')
low, high = app.seen['details8'][0][0].contract, app.seen['details9'][0][0].contract
found['chain'] = [len(app.seen['chain']), len(days), len(strikes), low.localSymbol]
app.reqMktData(10, low, '', False, False, []); until(lambda: 'model' in app.seen, 'greeks')
found['delta'] = round(app.seen['model'][0][0], 4)
app.cancelMktData(10)
place(apple, order('BUY', 10, 'LMT', 'what-if', lmtPrice=far(ask), whatIf=True)); until(lambda: 'preview' in app.seen, 'preview')
state = app.seen['preview'][0][0]
found['preview'] = [getattr(state, 'commission', None) or getattr(state, 'commissionAndFees', None), state.initMarginChange]
first = place(apple, order('BUY', 10, 'LMT', 'a-limit', lmtPrice=far(ask + 1))); status(first, 'Filled')
post('faults', kind='partial_fill', fraction=0.4)
part = place(apple, order('BUY', 10, 'LMT', 'b-part', lmtPrice=far(ask + 1)))
until(lambda: app.orders.get(part, ('', 0))[1] == 4, 'a part')
post('faults', clear=True, kind='partial_fill'); status(part, 'Filled')
resting = order('BUY', 5, 'LMT', 'c-rest', lmtPrice=far(ask / 2), tif='GTC')
rest = place(apple, resting); status(rest, 'Submitted')
resting.lmtPrice = far(ask / 2 + 1); app.placeOrder(rest, apple, resting); time.sleep(0.3)
app.cancelOrder(rest, OrderCancel()); status(rest, 'Cancelled')
parent = place(apple, order('BUY', 5, 'LMT', 'd-bracket-1', lmtPrice=far(ask + 1), tif='GTC', transmit=False))
target = place(apple, order('SELL', 5, 'LMT', 'd-bracket-2', lmtPrice=far(ask * 2), tif='GTC', transmit=False, parentId=parent))
place(apple, order('SELL', 5, 'STP', 'd-bracket-3', auxPrice=far(ask / 2), tif='GTC', parentId=parent))
status(parent, 'Filled'); status(target, 'Submitted')
legs = []
for one, action in ((low, 'BUY'), (high, 'SELL')):
    leg = ComboLeg(); leg.conId, leg.ratio, leg.action, leg.exchange = one.conId, 1, action, 'SMART'; legs.append(leg)
combo = contract('BAG', comboLegs=legs)
parameters = [TagValue('NonGuaranteed', '1')]
spread = place(combo, order('BUY', 2, 'LMT', 'e-combo', lmtPrice=10.0, smartComboRoutingParams=parameters))
status(spread, 'Filled'); until(lambda: len([e for e in app.seen['exec'] if e[0] == 'e-combo']) == 3, 'legs')
found['legs'] = sorted(e[1:4] for e in app.seen['exec'] if e[0] == 'e-combo')
stop = place(apple, order('SELL', 1, 'STP LMT', 'f-stop', auxPrice=far(ask / 3), lmtPrice=far(ask / 3), tif='GTD',
                          goodTillDate='20130301 15:00:00 US/Eastern', ocaGroup='g', ocaType=1))
trail = place(apple, order('SELL', 1, 'TRAIL', 'g-trail', trailingPercent=50.0, ocaGroup='g', ocaType=1))
status(stop, 'PreSubmitted'); status(trail, 'PreSubmitted')
status(place(apple, order('BUY', 1, 'LMT', 'h-night', lmtPrice=far(ask / 2), tif='GTC')), 'Submitted')

post('faults', kind='nightly_restart', at='23:45', seconds=60, times=1)
post('clock', at='2013-02-28T23:45:01')
until(lambda: app.closed or not app.isConnected(), 'the nightly restart')
app.disconnect()
shut = App(); shut.connect('127.0.0.1', port, 11); found['shut'] = 502 in errors
post('clock', at='2013-02-28T23:47'); time.sleep(0.5)
app = connect(); until(lambda: 'id' in app.seen, 'an id after the restart')
app.reqExecutions(1, ExecutionFilter()); until(lambda: 'execEnd' in app.seen, 'executions')
found['fills'] = sorted(e[0] for e in app.seen['exec'] if e[4] == 1)
app.reqAllOpenOrders(); until(lambda: 'openOrderEnd' in app.seen, 'open orders')
found['open'] = sorted(o[0] for o in app.seen['openOrder'])
app.reqCompletedOrders(False); until(lambda: 'completedEnd' in app.seen, 'completed orders')
found['completed'] = sorted(o[0] for o in app.seen['completed'])
app.reqPositions(); until(lambda: 'positionEnd' in app.seen, 'positions')
found['positions'] = sorted(app.seen['position'])
post('clock', at='2013-03-01T10:00')
app.reqMktData(3, apple, '', False, False, []); until(lambda: app.quotes.get((3, 1), 0) > 0, 'a quote of the next day')
app.reqGlobalCancel(OrderCancel()); time.sleep(0.5)
app.seen.pop('openOrder', None); app.seen.pop('openOrderEnd', None)
app.reqAllOpenOrders(); until(lambda: 'openOrderEnd' in app.seen, 'open orders at the end')
found['left'] = len(app.seen.get('openOrder', []))
found['alive'] = thread.is_alive()
app.disconnect()
"""
    + TAIL
)

CLIENTS = {
    "ib_async": EVENT_LIBRARY.replace("LIBRARY", "ib_async"),
    "ib_insync": EVENT_LIBRARY.replace("LIBRARY", "ib_insync"),
    "ibapi": OFFICIAL,
}
# Codes that a day like this one brings: farms, cancels, and the official client's own for a port that is shut.
EXPECTED = {202, 502, 504, 1100, 2104, 2106, 2107, 2158, 10167}


def interpreter(module: str) -> str:
    """Return the interpreter that has a client, or skip the test with what to do."""
    for candidate in (sys.executable, os.environ.get("BFT_IB_CLIENTS_PYTHON", "")):
        if candidate:
            command = [candidate, "-W", "ignore", "-c", f"import {module}"]
            if subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0:
                return candidate
    pytest.skip(f"{module} is not installed here, and BFT_IB_CLIENTS_PYTHON names no interpreter that has it")


@cache
def lived(module: str) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Let a client live through the day; return what it found, the orders the Gateway understood, and its complaints."""
    python = interpreter(module)
    command = [sys.executable, "-m", "bar_fly_simulators.gateway", "--port", "0", "--market", "demo", "--speed", "0"]
    command += ["--at", "2013-02-28T10:00"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        ports = re.search(r"127\.0\.0\.1:(\d+) control 127\.0\.0\.1:(\d+)", line)
        assert ports is not None, line
        script = [python, "-W", "ignore", "-c", CLIENTS[module], ports[1], ports[2]]
        ended = subprocess.run(script, capture_output=True, text=True, timeout=300, check=False)
        assert ended.returncode == 0, ended.stderr[-3000:]
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[2]}/orders", timeout=20) as answer:
            orders = json.load(answer)
    finally:
        process.terminate()
        _, complaints = process.communicate(timeout=20)
    return json.loads(ended.stdout), orders, complaints


@pytest.mark.parametrize("module", sorted(CLIENTS))
def test_a_client_lives_through_a_day_without_a_protocol_error(module: str) -> None:
    """Quotes, chains, history, every order kind, part fills, a cancel, the nightly restart and what is there after it."""
    found, _, complaints = lived(module)
    assert found["version"] == (176 if module == "ib_insync" else 178)
    assert (found["cash"], found["shut"], found["left"]) == (["100000.00"], True, 0)
    assert 400 < found["quote"][0] < found["quote"][1] < 500
    assert found["bars"][:2] == [3, 30]
    assert found["rule"] == 2
    assert found["chain"][0] == 2
    assert 0 < found["delta"] < 0.6
    assert float(found["preview"][0]) == 1.0
    assert [tuple(leg) for leg in found["legs"]] == [("BAG", "BOT", 2.0), ("OPT", "BOT", 2.0), ("OPT", "SLD", 2.0)]
    assert found["fills"] == ["a-limit", "b-part", "b-part", "d-bracket-1", "e-combo", "e-combo", "e-combo"]
    assert found["open"] == ["d-bracket-2", "d-bracket-3", "f-stop", "h-night"]
    assert found["completed"] == ["a-limit", "b-part", "c-rest", "d-bracket-1", "e-combo", "g-trail"]
    assert [quantity for _, quantity in found["positions"]] == [25.0, 2.0, -2.0]
    assert set(found["errors"]) <= EXPECTED
    assert found["complaints"] == []
    assert complaints == ""
    assert found.get("alive", True)


def canonical(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return understood orders without what may differ: ids given out by the client, and unused spellings."""
    seen = []
    for one in orders:
        order = {name: value for name, value in one["order"].items() if name != "order_id"}
        order["parent_id"] = bool(order["parent_id"])
        seen.append(order)
    return seen


@pytest.mark.parametrize("module", ["ib_insync", "ibapi"])
def test_the_gateway_understands_the_same_orders_from_all_clients(module: str) -> None:
    """Field by field: what ib_async, ib_insync and the official client sent for the same orders is the same order."""
    expected, orders = canonical(lived("ib_async")[1]), canonical(lived(module)[1])
    assert [order["order_ref"] for order in orders] == [order["order_ref"] for order in expected]
    for ours, theirs in zip(expected, orders, strict=True):
        assert theirs == ours
