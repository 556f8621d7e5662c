"""The Gateway's broker: when orders fill, at what price, what they cost, and what the account says of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bar_fly_simulators.clock import parse_at
from bar_fly_simulators.gateway.broker import Broker
from bar_fly_simulators.gateway.contracts import Contracts, isin
from bar_fly_simulators.gateway.faults import FaultTable, PartialFill
from bar_fly_simulators.gateway.ledger import Ledger, commission
from bar_fly_simulators.gateway.orders import (
    ContractQuery,
    Event,
    Executed,
    Order,
    OrderChanged,
    OrderError,
    OrderRequest,
    Stock,
)
from bar_fly_simulators.gateway.quotes import Quotes
from bar_fly_simulators.gateway.state import fresh_state, load_state, save_state
from bar_fly_simulators.market import Market, load_market

ACCOUNTS = ("DUS000001",)
MONDAY = date(2021, 4, 19)


def bar(symbol: str, day: int, prices: tuple[float, float, float, float], **more: float) -> dict[str, object]:
    """Make one row in Alpha Vantage's columns, `day` counted from Monday 2021-04-19."""
    o, h, low, c = prices
    return {
        "symbol": symbol,
        "date": MONDAY + timedelta(days=day),
        "open": o,
        "high": h,
        "low": low,
        "close": c,
        "adjusted_close": c,
        "volume": int(more.get("volume", 50_000_000)),
        "dividend_amount": more.get("dividend", 0.0),
        "split_coefficient": more.get("split", 1.0),
    }


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Five sessions: AAA moves and splits 2 for 1 on Wednesday, DIV pays on Wednesday, THIN hardly trades, NEW begins Thursday."""
    flat = (100.0, 100.0, 100.0, 100.0)
    rows = [
        bar("AAA", 0, (100.0, 104.0, 96.0, 100.0)),
        bar("AAA", 1, (100.0, 104.0, 96.0, 102.0)),
        bar("AAA", 2, (51.0, 52.0, 50.0, 51.5), split=2.0),
        bar("AAA", 3, (51.5, 53.0, 50.0, 52.0)),
        bar("AAA", 4, (48.0, 49.0, 47.0, 48.0)),
        *(bar("DIV", day, flat, dividend=0.75 if day == 2 else 0.0) for day in range(5)),
        *(bar("THIN", day, flat, volume=1000) for day in range(5)),
        bar("NEW", 3, flat),
        bar("NEW", 4, flat),
    ]
    path = tmp_path_factory.mktemp("market") / "bars.parquet"
    pl.DataFrame(rows).write_parquet(path)
    return load_market(str(path))


def open_broker(
    market: Market, at: str = "2021-04-19T10:00", cash: int = 100_000, faults: FaultTable | None = None
) -> Broker:
    """Start a broker with cash alone."""
    faults = faults or FaultTable()
    state = fresh_state("DUS000001", Decimal(cash), market, parse_at(at))
    return Broker(market, Contracts(market), Quotes(market), faults, state)


def order(
    symbol: str, action: str, quantity: int, limit: str | None, order_id: int = 1, **more: object
) -> OrderRequest:
    """Ask for a DAY order: limit where a price is given, else market."""
    contract = ContractQuery(0, symbol, "STK", "", None, "", "", "SMART", "", "USD", "", "")
    request = OrderRequest(
        order_id=order_id,
        contract=contract,
        action=action,
        quantity=Decimal(quantity),
        order_type="LMT" if limit else "MKT",
        limit_price=Decimal(limit) if limit else None,
        aux_price=None,
        tif="DAY",
        account="",
        order_ref=f"ref-{order_id}",
        outside_rth=False,
        what_if=False,
    )
    return replace(request, **more)  # type: ignore[arg-type]


def place(broker: Broker, request: OrderRequest, client: int = 1) -> list[Event]:
    """Place an order, let the market act on it at the same instant, and return what clients are told."""
    broker.place(client, request, ACCOUNTS)
    broker.advance(broker.state.at_us)
    return broker.take_events()


def latest(broker: Broker) -> Order:
    """Return the newest order."""
    return broker.state.orders[max(broker.state.orders)]


def statuses(events: list[Event]) -> list[str]:
    """Return the statuses that clients are told."""
    return [event.order.status for event in events if isinstance(event, OrderChanged)]


def codes(events: list[Event]) -> list[int]:
    """Return the error codes that clients are told."""
    return [event.code for event in events if isinstance(event, OrderError)]


def test_a_marketable_limit_fills_at_the_touch_not_at_its_limit(market: Market) -> None:
    """Price improvement: a buy far above the ask pays the ask, and is told in the Gateway's order of messages."""
    broker = open_broker(market)
    ask = Quotes(market).book("AAA", broker.state.at_us).ask
    events = place(broker, order("AAA", "BUY", 10, "150.00"))
    assert [type(event).__name__ for event in events] == ["OrderChanged", "Executed", "OrderChanged", "AccountChanged"]
    assert statuses(events) == ["PreSubmitted", "Filled"]
    [execution] = broker.state.executions
    assert execution.price == ask
    assert (execution.order_ref, execution.last_liquidity) == ("ref-1", 2)


@pytest.mark.parametrize(
    ("action", "limit"), [("BUY", "96.50"), ("BUY", "96.02"), ("SELL", "103.50"), ("SELL", "103.98")]
)
def test_a_resting_order_fills_at_its_limit_when_the_path_reaches_it(market: Market, action: str, limit: str) -> None:
    """A jump of the clock over the day fills at the limit, at the instant at which the touch first was there."""
    broker = open_broker(market, "2021-04-20T10:00")
    place(broker, order("AAA", "BUY", 10, None))
    assert statuses(place(broker, order("AAA", action, 10, limit, 2)))[-1] == "Submitted"
    broker.advance(parse_at("2021-04-20T15:59"))
    execution = broker.state.executions[-1]
    assert (execution.price, execution.last_liquidity) == (Decimal(limit), 1)
    before, at = (Quotes(market).touch_at("AAA", execution.at_us - lag) for lag in (2000, 0))
    assert before is not None and at is not None
    if action == "BUY":
        assert before[1] > Decimal(limit) >= at[1]
    else:
        assert before[0] < Decimal(limit) <= at[0]


def test_fills_do_not_depend_on_how_the_clock_is_walked(market: Market) -> None:
    """One jump over the day and many small steps give the same fill, to the clock's resolution."""
    fills = []
    for steps in (1, 389):
        broker = open_broker(market, "2021-04-20T10:00")
        place(broker, order("AAA", "BUY", 10, "96.50"))
        start, end = parse_at("2021-04-20T10:00"), parse_at("2021-04-20T15:59")
        for step in range(1, steps + 1):
            broker.advance(start + (end - start) * step // steps)
        [execution] = broker.state.executions
        fills.append((execution.price, execution.at_us // 100_000))
    assert fills[0] == fills[1]


def test_a_limit_the_path_never_reaches_expires_at_the_close(market: Market) -> None:
    """Out of the day's range nothing fills; a DAY order ends with its session, a GTC order lives on."""
    broker = open_broker(market)
    place(broker, order("AAA", "BUY", 10, "95.99"))
    place(broker, order("AAA", "BUY", 10, "47.50", 2, tif="GTC"))
    broker.advance(parse_at("2021-04-19T16:00"))
    assert [o.status for o in broker.state.orders.values()] == ["Cancelled", "Submitted"]
    assert 202 in codes(broker.take_events())


def test_an_order_outside_the_session_waits_for_the_open_and_fills_at_its_touch(market: Market) -> None:
    """Placed in the evening, a market order fills at the next open's ask."""
    broker = open_broker(market, "2021-04-19T18:00")
    assert statuses(place(broker, order("AAA", "BUY", 10, None))) == ["PreSubmitted"]
    broker.advance(parse_at("2021-04-20T09:29"))
    assert latest(broker).status == "PreSubmitted"
    broker.advance(parse_at("2021-04-20T11:00"))
    [execution] = broker.state.executions
    assert execution.at_us == parse_at("2021-04-20T09:30")
    assert Decimal(100) < execution.price <= Decimal("100.02")


def test_after_the_last_session_nothing_fills(market: Market) -> None:
    """An order after the market's end rests for ever and breaks nothing."""
    broker = open_broker(market, "2021-04-23T18:00")
    place(broker, order("AAA", "BUY", 10, None))
    broker.advance(parse_at("2021-05-23T12:00"))
    assert latest(broker).status == "PreSubmitted"


def test_ioc_takes_what_is_there_or_ends(market: Market) -> None:
    """IOC below the ask is cancelled at once."""
    broker = open_broker(market)
    place(broker, order("AAA", "BUY", 10, "90.00", tif="IOC"))
    assert latest(broker).status == "Cancelled"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (order("AAA", "BUY", 10_000, "100.00"), 201),
        (order("AAA", "SELL", 1, "100.00"), 201),
        (order("AAA", "BUY", 10, "100.005"), 110),
        (order("AAA", "BUY", 10, "-1"), 110),
        (order("AAA", "BUY", 10, "1E+300"), 110),
        (order("AAA", "BUY", 0, "100.00"), 434),
        (replace(order("AAA", "BUY", 10, "100.00"), quantity=None), 434),
        (replace(order("AAA", "BUY", 10, "100.00"), quantity=Decimal("0.5")), 10243),
        (replace(order("AAA", "BUY", 10, "100.00"), quantity=Decimal("1E+300")), 383),
        (order("NOPE", "BUY", 10, "100.00"), 200),
        (order("NEW", "BUY", 10, "100.00"), 200),
        (order("AAA", "BUY", 10, "100.00", account="U1234567"), 321),
        (order("AAA", "BUY", 10, "100.00", order_type="STP"), 110),
        (order("AAA", "BUY", 10, "100.00", order_type="REL"), 387),
        (order("AAA", "BUY", 10, "100.00", tif="OPG"), 387),
        (order("AAA", "BUY", 10, "100.00", unsupported=("conditions",)), 387),
        (order("AAA", "HOLD", 10, "100.00"), 321),
    ],
)
def test_orders_that_are_refused(market: Market, request_: OrderRequest, code: int) -> None:
    """Each refusal has the Gateway's code, and leaves the account as it was."""
    broker = open_broker(market)
    assert codes(place(broker, request_)) == [code]
    assert broker.open_orders() == []
    assert broker.state.ledger == Ledger(Decimal(100_000))


def test_cash_is_held_back_by_open_orders(market: Market) -> None:
    """Two orders that the cash bears one at a time are not both taken; cancelling the first frees it."""
    broker = open_broker(market)
    place(broker, order("AAA", "BUY", 600, "95.00"))
    assert broker.available() == Decimal(100_000) - 600 * 95 - 3
    assert codes(place(broker, order("AAA", "BUY", 600, "95.00", 2))) == [201]
    broker.cancel(1, 1)
    assert codes(place(broker, order("AAA", "BUY", 600, "95.00", 3))) == [202]


def test_shares_are_sold_once(market: Market) -> None:
    """Two sales of the same shares are a short sale."""
    broker = open_broker(market)
    place(broker, order("AAA", "BUY", 10, None))
    place(broker, order("AAA", "SELL", 10, "150.00", 2))
    assert codes(place(broker, order("AAA", "SELL", 1, "150.00", 3))) == [201]


def test_cancelling_says_what_it_can(market: Market) -> None:
    """PendingCancel, Cancelled and 202; 10148 for what is over; 10147 for what never was or is another client's."""
    broker = open_broker(market)
    place(broker, order("AAA", "BUY", 10, "90.00"))
    broker.cancel(2, 1)
    assert codes(broker.take_events()) == [10147]
    broker.cancel(1, 1)
    events = broker.take_events()
    assert (statuses(events), codes(events)) == (["PendingCancel", "Cancelled"], [202])
    broker.cancel(1, 1)
    assert codes(broker.take_events()) == [10148]


def test_an_order_can_be_changed(market: Market) -> None:
    """The same id again changes price and quantity; a change to marketable fills; another side is refused with 105."""
    broker = open_broker(market)
    place(broker, order("AAA", "BUY", 10, "90.00"))
    assert codes(place(broker, order("AAA", "SELL", 10, "90.00"))) == [105]
    assert codes(place(broker, order("AAA", "BUY", 100_000, "90.00"))) == [201]
    assert latest(broker).status == "Submitted"
    place(broker, order("AAA", "BUY", 20, "150.00"))
    assert (latest(broker).status, int(latest(broker).filled)) == ("Filled", 20)
    assert codes(place(broker, order("AAA", "BUY", 20, "150.00"))) == [103]


def test_order_ids_are_never_used_twice(market: Market) -> None:
    """An id at or below one that was used is a duplicate, also on the next day, when the order itself is forgotten."""
    broker = open_broker(market)
    place(broker, order("AAA", "BUY", 10, None, 5))
    broker.advance(parse_at("2021-04-20T10:00"))
    broker.take_events()
    assert broker.state.orders == {}
    assert broker.next_order_id(1) == 6
    assert codes(place(broker, order("AAA", "BUY", 10, None, 5))) == [103]
    assert broker.next_order_id(2) == 1


def test_a_part_fills_first_and_the_rest_when_the_fault_ends(market: Market) -> None:
    """Two executions of one order: cumulative and average add up, and the commission is charged once in all."""
    faults = FaultTable()
    faults.put(PartialFill(fraction=0.3, symbol="AAA"))
    broker = open_broker(market, faults=faults)
    place(broker, order("AAA", "BUY", 100, "150.00"))
    assert latest(broker).status == "Submitted"
    assert [int(latest(broker).filled), int(latest(broker).remaining)] == [30, 70]
    broker.advance(broker.state.at_us + 1)
    assert latest(broker).filled == 30
    faults.clear()
    broker.advance(broker.state.at_us + 1)
    first, second = broker.state.executions
    assert [first.shares, second.shares, second.cumulative] == [Decimal(30), Decimal(70), Decimal(100)]
    assert first.exec_id != second.exec_id
    assert first.commission + second.commission == Decimal("1.00")


def test_a_halted_stock_does_not_fill(market: Market) -> None:
    """While halted nothing fills; afterwards the order meets the touch anew."""
    broker = open_broker(market)
    market.halted.add("AAA")
    try:
        place(broker, order("AAA", "BUY", 10, "150.00"))
        broker.advance(parse_at("2021-04-19T11:00"))
        assert broker.state.executions == []
    finally:
        market.halted.clear()
    broker.advance(parse_at("2021-04-19T11:01"))
    [execution] = broker.state.executions
    assert execution.price < Decimal("105")


def test_what_if_changes_nothing(market: Market) -> None:
    """A what-if order is answered and forgotten, its id still free."""
    broker = open_broker(market)
    events = place(broker, order("AAA", "BUY", 10, "150.00", what_if=True))
    assert [type(event).__name__ for event in events] == ["Previewed"]
    assert (broker.state.orders, broker.next_order_id(1)) == ({}, 1)


@pytest.mark.parametrize(
    ("shares", "price", "expected"),
    [(10, "100", "1.00"), (1000, "100", "5.00"), (10, "1.00", "0.10"), (200, "0.50", "1.00"), (201, "50", "1.005")],
)
def test_commission(shares: int, price: str, expected: str) -> None:
    """0.005 a share, at least 1.00, at most 1 % of the value."""
    assert commission(Decimal(shares), shares * Decimal(price)) == Decimal(expected)


def test_a_split_keeps_the_worth_of_a_position(market: Market) -> None:
    """At the open of the split's session shares double and their cost halves; before it nothing changes."""
    broker = open_broker(market)
    place(broker, order("AAA", "BUY", 11, None))
    cost = broker.state.ledger.positions["AAA"].average_cost
    broker.advance(parse_at("2021-04-21T09:29"))
    assert broker.state.ledger.held("AAA") == 11
    assert broker.mark("AAA") == 102
    broker.advance(parse_at("2021-04-21T09:30"))
    assert broker.state.ledger.held("AAA") == 22
    assert broker.state.ledger.positions["AAA"].average_cost == cost / 2
    assert abs(broker.standing().daily) < 1
    broker.advance(parse_at("2021-04-21T12:00"))
    broker.advance(parse_at("2021-04-21T09:00"))
    broker.advance(parse_at("2021-04-21T12:00"))
    assert broker.state.ledger.held("AAA") == 22, "a clock that is set back must not split again"


def test_a_fraction_of_a_share_is_paid_out() -> None:
    """3 for 2 of 5 shares gives 7 and half a share in cash."""
    stock = Stock(1, "AAA", "AAA", "AAA", "x")
    ledger = Ledger(Decimal(1000))
    ledger.trade(stock, Decimal(5), Decimal(30), Decimal(0))
    ledger.split("AAA", Decimal("1.5"), Decimal(20))
    assert [ledger.held("AAA"), ledger.cash] == [Decimal(7), Decimal(1000 - 150 + 10)]


def test_a_dividend_is_credited_on_its_ex_date(market: Market) -> None:
    """Cash grows by the dividend at the open of the ex-date, for shares held then, once, and counts as P&L."""
    broker = open_broker(market)
    place(broker, order("DIV", "BUY", 100, None))
    cash = broker.state.ledger.cash
    broker.advance(parse_at("2021-04-21T09:29"))
    assert broker.state.ledger.cash == cash
    broker.advance(parse_at("2021-04-22T12:00"))
    assert broker.state.ledger.cash == cash + 75


def test_daily_pnl_is_against_the_previous_close(market: Market) -> None:
    """A day later the P&L is the move since the close, while the unrealized P&L goes on from the cost."""
    broker = open_broker(market)
    place(broker, order("AAA", "BUY", 100, None))
    bought = broker.standing()
    assert bought.daily == bought.unrealized < 0
    broker.advance(parse_at("2021-04-20T09:00"))
    assert broker.standing().daily == 0
    broker.advance(parse_at("2021-04-20T16:00"))
    assert broker.standing().daily == 100 * 2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_daily_pnl_is_the_change_of_net_liquidation(market: Market, data: st.DataObject) -> None:
    """Whatever is traded, over splits and dividends: the days' P&L add up to what the account gained."""
    broker = open_broker(market)
    gained, order_id = Decimal(0), 0
    for day in range(5):
        for hour in (10, 13):
            broker.advance(parse_at(f"2021-04-{19 + day}T{hour}:00"))
            for _ in range(data.draw(st.integers(0, 2))):
                order_id += 1
                symbol = data.draw(st.sampled_from(["AAA", "DIV", "THIN"]))
                action = data.draw(st.sampled_from(["BUY", "SELL"]))
                place(broker, order(symbol, action, data.draw(st.integers(1, 300)), None, order_id))
        broker.advance(parse_at(f"2021-04-{19 + day}T16:00"))
        gained += broker.standing().daily
    assert abs(broker.standing().net_liquidation - 100_000 - gained) < Decimal("1E-15")
    assert all(position.quantity >= 0 for position in broker.state.ledger.positions.values())


def test_the_state_survives_a_restart_and_the_market_walks_on(market: Market, tmp_path: Path) -> None:
    """Orders, executions, positions and ids are found again; what the path reached meanwhile fills at that instant."""
    broker = open_broker(market)
    place(broker, order("AAA", "BUY", 10, None))
    place(broker, order("AAA", "BUY", 10, "96.50", 2))
    path = tmp_path / "state.json"
    save_state(path, broker.state)
    again = load_state(path)
    assert again == broker.state
    restarted = Broker(market, Contracts(market), Quotes(market), FaultTable(), again)
    broker.advance(parse_at("2021-04-19T15:00"))
    restarted.advance(parse_at("2021-04-19T15:00"))
    assert restarted.state == broker.state
    assert [one.order_id for one in restarted.state.executions] == [1, 2]


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"schema": 1}', '{"schema": 2}', '{"schema": 2, "account": "D"}', "\u00e9", "null"]
)
def test_a_damaged_state_is_refused_by_name(tmp_path: Path, content: str) -> None:
    """A state file that is not one is an error that names the file, not a fresh account."""
    path = tmp_path / "state.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"state\.json"):
        load_state(path)


def test_the_spread_follows_liquidity(market: Market) -> None:
    """5 billion USD a day: 1 basis point each side; 0.1 million: 50; whole cents, bid below ask."""
    quotes = Quotes(market)
    at_us = parse_at("2021-04-20T10:00")
    assert quotes.half_spread_bp("DIV", date(2021, 4, 20)) == 1.0
    assert quotes.touch_at("DIV", at_us) == (Decimal("99.99"), Decimal("100.01"))
    assert quotes.half_spread_bp("THIN", date(2021, 4, 20)) == 50.0
    assert quotes.touch_at("THIN", at_us) == (Decimal("99.50"), Decimal("100.50"))
    assert quotes.touch("DIV", 0.001, date(2021, 4, 20)) == (Decimal("0.01"), Decimal("0.02"))


def test_the_book_of_a_closed_market_has_no_sides(market: Market) -> None:
    """Outside the session there is a last price and no bid or ask, unless frozen quotes are asked for."""
    quotes = Quotes(market)
    book = quotes.book("AAA", parse_at("2021-04-20T18:00"))
    assert (book.bid, book.ask, book.last, book.previous_close) == (None, None, Decimal("102.0"), Decimal("100.0"))
    frozen = quotes.book("AAA", parse_at("2021-04-20T18:00"), frozen=True)
    assert frozen.bid is not None and frozen.ask is not None and frozen.bid < 102 < frozen.ask


def test_the_previous_close_is_in_the_sessions_shares(market: Market) -> None:
    """On the day of a split the previous close is shown divided, as the tape shows it."""
    assert Quotes(market).book("AAA", parse_at("2021-04-21T10:00")).previous_close == Decimal("51.0")


def test_contract_ids_and_isins(market: Market) -> None:
    """Ids are unique and depend on the symbol alone; the ISIN's check digit is right."""
    contracts = Contracts(market)
    stocks = [contracts.by_market_symbol(symbol) for symbol in market.symbols]
    assert len({stock.con_id for stock in stocks if stock}) == len(market.symbols)
    apple = Stock(37833100, "AAPL", "AAPL", "Apple", "x")
    assert isin(apple) == "US0378331005"


def test_fills_are_told_to_the_client_that_placed(market: Market) -> None:
    """Executions carry the client id that placed the order."""
    broker = open_broker(market)
    events = place(broker, order("AAA", "BUY", 10, None), client=7)
    assert [event.execution.client_id for event in events if isinstance(event, Executed)] == [7]
