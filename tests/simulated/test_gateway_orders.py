"""The Gateway's orders: stops, trails, brackets, OCA groups, GTD, what-if; options, combinations, and their account."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from bar_fly_simulators.clock import parse_at
from bar_fly_simulators.gateway.admission import good_till_us
from bar_fly_simulators.gateway.broker import Broker
from bar_fly_simulators.gateway.contracts import Contracts, NoDefinition
from bar_fly_simulators.gateway.faults import Assign, FaultTable, FillNow, WhatIfUnset
from bar_fly_simulators.gateway.instruments import Option
from bar_fly_simulators.gateway.orders import (
    ContractQuery,
    Event,
    Executed,
    LegQuery,
    Order,
    OrderChanged,
    OrderError,
    OrderRequest,
    Previewed,
)
from bar_fly_simulators.gateway.quotes import Quotes
from bar_fly_simulators.gateway.state import fresh_state, load_state, save_state
from bar_fly_simulators.market import Market, load_market

ACCOUNTS = ("DUS000001",)
MONDAY = date(2021, 4, 19)
FRIDAY = date(2021, 4, 23)


def bar(symbol: str, day: int, prices: tuple[float, float, float, float]) -> dict[str, object]:
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
        "volume": 50_000_000,
        "dividend_amount": 0.0,
        "split_coefficient": 1.0,
    }


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Ten sessions: AAA ranges from 90 to 110 each day, FLAT stands at 100, UP rises by 4 a day from 100."""
    rows = []
    for day in (0, 1, 2, 3, 4, 7, 8, 9, 10, 11):
        rows.append(bar("AAA", day, (100.0, 110.0, 90.0, 100.0)))
        rows.append(bar("FLAT", day, (100.0, 100.0, 100.0, 100.0)))
        rows.append(bar("UP", day, (100.0 + 4 * day, 104.0 + 4 * day, 100.0 + 4 * day, 104.0 + 4 * day)))
    path = tmp_path_factory.mktemp("market") / "bars.parquet"
    pl.DataFrame(rows).write_parquet(path)
    return load_market(str(path))


def open_broker(market: Market, at: str = "2021-04-20T09:31", cash: int = 100_000) -> Broker:
    """Start a broker with cash alone."""
    state = fresh_state("DUS000001", Decimal(cash), market, parse_at(at))
    return Broker(market, Contracts(market), Quotes(market), FaultTable(), state)


def query(symbol: str = "AAA", **more: object) -> ContractQuery:
    """Ask for a stock, or with `sec_type` for something else."""
    plain = ContractQuery(0, symbol, "STK", "", None, "", "", "SMART", "", "USD", "", "")
    return replace(plain, **more)  # type: ignore[arg-type]


def order(order_id: int, action: str, quantity: int, kind: str = "MKT", **more: object) -> OrderRequest:
    """Ask for a DAY order on AAA."""
    request = OrderRequest(
        order_id=order_id,
        contract=query(),
        action=action,
        quantity=Decimal(quantity),
        order_type=kind,
        limit_price=None,
        aux_price=None,
        tif="DAY",
        account="",
        order_ref=f"ref-{order_id}",
        outside_rth=False,
        what_if=False,
    )
    return replace(request, **more)  # type: ignore[arg-type]


def limit(order_id: int, action: str, quantity: int, price: str, **more: object) -> OrderRequest:
    """Ask for a limit order."""
    return order(order_id, action, quantity, "LMT", limit_price=Decimal(price), **more)


def place(broker: Broker, *requests: OrderRequest, client: int = 1) -> list[Event]:
    """Place orders one after the other at one instant and return what clients are told."""
    for request in requests:
        broker.place(client, request, ACCOUNTS)
        broker.advance(broker.state.at_us)
    return broker.take_events()


def found(broker: Broker, order_id: int, client: int = 1) -> Order:
    """Return a client's newest order of an id."""
    orders = [o for o in broker.state.orders.values() if (o.client_id, o.order_id) == (client, order_id)]
    return max(orders, key=lambda one: one.perm_id)


def codes(events: list[Event]) -> list[int]:
    """Return the error codes that clients are told."""
    return [event.code for event in events if isinstance(event, OrderError)]


def day_turns(market: Market, symbol: str = "AAA") -> tuple[int, int]:
    """Return the instants on Tuesday at which the path is lowest and highest."""
    opened = parse_at("2021-04-20T09:30")
    path = [(market.mid_at(symbol, opened + s * 1_000_000), opened + s * 1_000_000) for s in range(0, 23_400, 10)]
    known = [(price, at) for price, at in path if price is not None]
    return min(known)[1], max(known)[1]


# ---------------------------------------------------------------- stops


@pytest.mark.parametrize(("action", "stop"), [("SELL", "95.00"), ("BUY", "105.00")])
def test_a_stop_waits_for_its_price_and_then_fills_at_the_touch(market: Market, action: str, stop: str) -> None:
    """A stop is PreSubmitted until the last price has reached it, and fills at once at the touch of that instant."""
    broker = open_broker(market)
    place(broker, order(1, "BUY", 10))
    events = place(broker, order(2, action, 10, "STP", aux_price=Decimal(stop)))
    assert [e.order.status for e in events if isinstance(e, OrderChanged)] == ["PreSubmitted"]
    broker.advance(parse_at("2021-04-20T15:59"))
    execution = broker.state.executions[-1]
    assert execution.order_id == 2
    last = market.mid_at("AAA", execution.at_us)
    assert last is not None and abs(last - float(stop)) < 0.02
    touch = Quotes(market).touch_at("AAA", execution.at_us)
    assert touch is not None and execution.price == touch[1 if action == "BUY" else 0]
    assert execution.last_liquidity == 2


def test_a_stop_limit_rests_at_its_limit_once_it_is_reached(market: Market) -> None:
    """A sell stop at 95 with a limit above it triggers at 95 and fills only when the price is back at the limit."""
    broker = open_broker(market)
    place(broker, order(1, "BUY", 10))
    place(broker, order(2, "SELL", 10, "STP LMT", aux_price=Decimal("95.00"), limit_price=Decimal("97.00")))
    broker.advance(parse_at("2021-04-20T15:59"))
    done = found(broker, 2)
    assert done.triggered
    assert done.status == "Filled"
    assert broker.state.executions[-1].price == Decimal("97.00")


@pytest.mark.parametrize("how", ["amount", "percent"])
def test_a_trailing_stop_follows_the_price_and_never_goes_back(market: Market, how: str) -> None:
    """The stop stays 4 below the highest price seen, and sells there, however the clock is walked."""
    terms = {"aux_price": Decimal("4.00")} if how == "amount" else {"trail_percent": Decimal(4)}
    prices = []
    for steps in (1, 60):
        broker = open_broker(market)
        place(broker, order(1, "BUY", 10))
        place(broker, order(2, "SELL", 10, "TRAIL", **terms))
        start, end = parse_at("2021-04-20T09:31"), parse_at("2021-04-20T15:59")
        stops = []
        for step in range(1, steps + 1):
            broker.advance(start + (end - start) * step // steps)
            stops.append(found(broker, 2).trail_stop or Decimal(0))
        assert stops == sorted(stops)
        execution = broker.state.executions[-1]
        assert execution.order_id == 2
        prices.append((execution.price, execution.at_us // 60_000_000))
    assert abs(prices[0][0] - prices[1][0]) < Decimal("0.05")


# ---------------------------------------------------------------- brackets and groups


def bracket() -> tuple[OrderRequest, OrderRequest, OrderRequest]:
    """Return a parent to buy at the market, a target at 106 and a stop at 94, the last one transmitting all."""
    return (
        order(1, "BUY", 10, transmit=False),
        limit(2, "SELL", 10, "106.00", parent_id=1, transmit=False),
        order(3, "SELL", 10, "STP", aux_price=Decimal("94.00"), parent_id=1),
    )


def test_a_bracket_is_told_only_when_its_last_order_transmits(market: Market) -> None:
    """transmit=False holds an order back in silence; the last child lets the parent, itself and its sibling go."""
    broker = open_broker(market)
    parent, target, stop = bracket()
    assert place(broker, parent, target) == []
    assert broker.open_orders() == []
    events = place(broker, stop)
    assert {e.order.order_id for e in events if isinstance(e, OrderChanged)} == {1, 2, 3}
    assert [found(broker, n).status for n in (1, 2, 3)] == ["Filled", "Submitted", "PreSubmitted"]


def test_children_of_a_bracket_end_each_other(market: Market) -> None:
    """Whichever of target and stop the path reaches first fills, and the other is cancelled with 202 at that instant."""
    broker = open_broker(market)
    place(broker, *bracket())
    broker.take_events()
    low, high = day_turns(market)
    broker.advance(parse_at("2021-04-20T15:59"))
    winner, loser = (3, 2) if low < high else (2, 3)
    assert (found(broker, winner).status, found(broker, loser).status) == ("Filled", "Cancelled")
    assert 202 in codes(broker.take_events())
    assert broker.state.ledger.held("AAA") == 0


def test_children_wait_for_their_parent_and_end_with_it(market: Market) -> None:
    """While the parent rests, its children meet no market; when it is cancelled they are too."""
    broker = open_broker(market)
    parent, target, stop = bracket()
    parent = replace(parent, order_type="LMT", limit_price=Decimal("50.00"))
    place(broker, parent, target, stop)
    broker.advance(parse_at("2021-04-20T15:00"))
    assert [found(broker, n).status for n in (1, 2, 3)] == ["Submitted", "PreSubmitted", "PreSubmitted"]
    broker.cancel(1, 1)
    assert [found(broker, n).status for n in (1, 2, 3)] == ["Cancelled"] * 3
    assert codes(broker.take_events()).count(202) == 3


def test_a_child_without_a_live_parent_is_refused(market: Market) -> None:
    """135 for a parent that never was; a child of a filled parent works at once."""
    broker = open_broker(market)
    assert codes(place(broker, limit(5, "SELL", 10, "106.00", parent_id=99))) == [135]
    place(broker, order(6, "BUY", 10))
    assert codes(place(broker, limit(7, "SELL", 10, "106.00", parent_id=6))) == []
    assert found(broker, 7).status == "Submitted"


@pytest.mark.parametrize(("kind", "left"), [(1, None), (2, 6), (3, 6)])
def test_an_oca_group_cancels_or_reduces(market: Market, kind: int, left: int | None) -> None:
    """After a partial fill of 4, type 1 cancels the other order of the group, types 2 and 3 take 4 off it."""
    broker = open_broker(market)
    place(broker, order(1, "BUY", 10))
    group = {"oca_group": "g", "oca_type": kind}
    place(broker, limit(2, "SELL", 10, "120.00", **group), limit(3, "SELL", 10, "130.00", **group))
    broker.intervene(FillNow(order_ref="ref-2", shares=4))
    other = found(broker, 3)
    if left is None:
        assert other.status == "Cancelled"
    else:
        assert (other.status, int(other.quantity)) == ("Submitted", left)
    broker.intervene(FillNow(order_ref="ref-2"))
    assert found(broker, 3).status == "Cancelled"


def test_an_oca_group_of_unequal_orders_shrinks_in_proportion(market: Market) -> None:
    """Half of 4 filled takes half off 10; all of 4 filled ends the other, however large it is."""
    broker = open_broker(market)
    place(broker, order(1, "BUY", 10))
    group = {"oca_group": "g", "oca_type": 3}
    place(broker, limit(2, "SELL", 4, "120.00", **group), limit(3, "SELL", 10, "130.00", **group))
    broker.intervene(FillNow(order_ref="ref-2", shares=2))
    assert (found(broker, 3).status, int(found(broker, 3).quantity)) == ("Submitted", 5)
    broker.intervene(FillNow(order_ref="ref-2"))
    assert found(broker, 3).status == "Cancelled"


# ---------------------------------------------------------------- time


def test_a_gtd_order_ends_at_its_minute(market: Market) -> None:
    """Good till 10:15 New York: alive at 10:14:59, cancelled with 202 and that time at 10:15, in whatever spelling."""
    broker = open_broker(market)
    texts = ("20210420 10:15:00 US/Eastern", "20210420 10:15:00", "20210420-14:15:00")
    assert {good_till_us(text) for text in texts} == {parse_at("2021-04-20T10:15")}
    for number, text in enumerate(texts, start=1):
        place(broker, limit(number, "BUY", 1, "50.00", tif="GTD", good_till_date=text))
    broker.advance(parse_at("2021-04-20T10:14:59"))
    assert {found(broker, n).status for n in (1, 2, 3)} == {"Submitted"}
    broker.advance(parse_at("2021-04-20T12:00"))
    assert {found(broker, n).status for n in (1, 2, 3)} == {"Cancelled"}
    assert found(broker, 1).completed_at_us == parse_at("2021-04-20T10:15")


def test_a_gtd_order_lives_over_nights_until_its_date(market: Market) -> None:
    """A date alone means to the end of that day; a date that has passed, or is none, is refused."""
    broker = open_broker(market)
    place(broker, limit(1, "BUY", 1, "50.00", tif="GTD", good_till_date="20210422"))
    broker.advance(parse_at("2021-04-22T15:00"))
    assert found(broker, 1).status == "Submitted"
    broker.advance(parse_at("2021-04-23T09:00"))
    assert [o for o in broker.state.orders.values() if o.is_live] == []
    broker.take_events()
    assert codes(place(broker, limit(2, "BUY", 1, "50.00", tif="GTD", good_till_date="soon"))) == [391]
    assert codes(place(broker, limit(3, "BUY", 1, "50.00", tif="GTD", good_till_date="20210420"))) == [201]


def test_orders_expire_while_the_gateway_is_down(market: Market, tmp_path: Path) -> None:
    """A state saved on Tuesday and opened on Wednesday: the DAY order has expired, the GTC order works on."""
    broker = open_broker(market)
    place(broker, limit(1, "BUY", 1, "50.00"), limit(2, "BUY", 1, "50.00", tif="GTC"))
    path = tmp_path / "state.json"
    save_state(path, broker.state)
    state = load_state(path)
    again = Broker(market, Contracts(market), Quotes(market), FaultTable(), state)
    again.advance(parse_at("2021-04-21T10:00"))
    assert [o.order_id for o in again.open_orders()] == [2]
    assert 202 in codes(again.take_events())


# ---------------------------------------------------------------- what-if and margin


def preview(broker: Broker, request: OrderRequest) -> Previewed:
    """Return the answer to a what-if order."""
    [event] = [one for one in place(broker, replace(request, what_if=True)) if isinstance(one, Previewed)]
    return event


def test_q14_a_what_if_can_be_unset_and_never_becomes_an_order(market: Market) -> None:
    """Figures can be the largest double or nothing at all; no order, no execution and no used id result."""
    broker = open_broker(market)
    assert preview(broker, limit(1, "BUY", 10, "100.00")).unset is None
    for fault, text in ((WhatIfUnset(times=1), "1.7976931348623157e308"), (WhatIfUnset(times=1, empty=True), "")):
        broker.desk.faults.put(fault)
        assert preview(broker, limit(1, "BUY", 10, "100.00")).unset == text
    assert (broker.state.orders, broker.state.executions, broker.next_order_id(1)) == ({}, [], 1)


# ---------------------------------------------------------------- options


def option_query(broker: Broker, strike: str = "100", right: str = "C", expiry: date = FRIDAY) -> ContractQuery:
    """Ask for an option on AAA."""
    return query("AAA", sec_type="OPT", last_trade_date=f"{expiry:%Y%m%d}", strike=Decimal(strike), right=right)


def option(broker: Broker, strike: str = "100", right: str = "C", expiry: date = FRIDAY) -> Option:
    """Return an option on AAA as the Gateway knows it."""
    contracts = Contracts(broker._market)
    found_ = contracts.find(option_query(broker, strike, right, expiry), broker.state.at_us)
    assert isinstance(found_, Option)
    return found_


def test_an_option_is_found_by_its_terms_its_name_and_its_id(market: Market) -> None:
    """Terms, the 21 characters of localSymbol, and the contract id name the same option, in every instance."""
    broker = open_broker(market)
    one = option(broker)
    assert one.key == "AAA   210423C00100000"
    contracts = Contracts(market)
    by_name = contracts.find(query("", sec_type="OPT", local_symbol=one.key), broker.state.at_us)
    by_id = Contracts(market).find(query("AAA", sec_type="OPT", con_id=one.con_id), broker.state.at_us)
    assert by_name == by_id == one
    for wrong in (option_query(broker, "100.13"), option_query(broker, expiry=date(2021, 4, 22))):
        with pytest.raises(NoDefinition):
            contracts.find(wrong, broker.state.at_us)
    listed = contracts.all(query("AAA", sec_type="OPT", last_trade_date="20210423", right="C"), broker.state.at_us)
    assert len(listed) == 41
    assert one in listed


def test_an_option_has_two_sides_and_a_model(market: Market) -> None:
    """Bid below ask on the price increment, around a model price between intrinsic value and the stock's price."""
    broker = open_broker(market)
    at_us = broker.state.at_us
    for strike in ("90", "100", "110"):
        for right in ("C", "P"):
            one = option(broker, strike, right)
            book = broker.quotes.book_of(one, at_us)
            assert book.bid is not None and book.ask is not None and book.bid < book.ask
            assert book.model is not None and -1 <= book.model.delta <= 1
            tick = Decimal("0.05") if book.ask >= 3 else Decimal("0.01")
            assert book.ask % tick == 0
            assert float(book.ask) >= float(one.intrinsic(Decimal("100"))) - 1


def test_a_long_option_is_paid_from_cash_and_marked_with_its_multiplier(market: Market) -> None:
    """Two calls cost 200 times the ask and 0.65 a contract; their average cost is a contract's, as IB has it."""
    broker = open_broker(market)
    place(broker, order(1, "BUY", 2, contract=option_query(broker)))
    [execution] = broker.state.executions
    assert execution.commission == Decimal("1.30")
    assert broker.state.ledger.cash == 100_000 - 200 * execution.price - Decimal("1.30")
    position = broker.state.ledger.positions[execution.instrument.key]
    assert position.average_cost == execution.price * 100 + Decimal("0.65")
    assert broker.standing().net_liquidation < 100_000
    assert codes(place(broker, limit(2, "SELL", 2, "3.02", contract=option_query(broker)))) == [110]


def test_a_short_option_needs_margin_for_its_greatest_loss(market: Market) -> None:
    """A short put at 100 ties up 10,000 less nothing; what the cash does not bear is refused with 201."""
    broker = open_broker(market, cash=15_000)
    put = option_query(broker, "100", "P")
    assert codes(place(broker, limit(1, "SELL", 2, "0.50", contract=put))) == [201]
    place(broker, order(2, "SELL", 1, contract=put))
    assert found(broker, 2).status == "Filled"
    assert broker.standing().margin == 10_000
    assert broker.available() == broker.state.ledger.cash - 10_000


def spread(broker: Broker) -> ContractQuery:
    """Return a call spread: buy the 100, sell the 105."""
    legs = (
        LegQuery(option(broker, "100").con_id, 1, "BUY", "SMART"),
        LegQuery(option(broker, "105").con_id, 1, "SELL", "SMART"),
    )
    return query("AAA", sec_type="BAG", legs=legs)


def test_a_combination_fills_whole_and_is_told_by_leg(market: Market) -> None:
    """One execution of the BAG without commission and one a leg with it; legs sum to the combination's price."""
    broker = open_broker(market)
    events = place(broker, order(1, "BUY", 3, contract=spread(broker)))
    told = [event.execution for event in events if isinstance(event, Executed)]
    assert [(e.instrument.sec_type, e.action, int(e.shares)) for e in told] == [
        ("BAG", "BUY", 3),
        ("OPT", "BUY", 3),
        ("OPT", "SELL", 3),
    ]
    assert told[1].price - told[2].price == told[0].price
    assert len({e.exec_id for e in told}) == 3
    assert (told[0].commission, told[1].commission) == (Decimal(0), Decimal("1.95"))
    assert broker.state.ledger.held(told[1].instrument.key) == 3
    assert broker.state.ledger.held(told[2].instrument.key) == -3
    assert broker.state.ledger.cash == 100_000 - 300 * told[0].price - Decimal("3.90")
    # The short call is covered by the long one: nothing beyond the debit is at risk.
    assert broker.standing().margin == broker.standing().positions_value + abs(
        broker.state.ledger.positions[told[2].instrument.key].worth(broker.desk.mark(told[2].instrument))
    )


def test_a_credit_spread_has_a_negative_price(market: Market) -> None:
    """Bought the other way round the combination's price is below 0, and a limit below 0 is one."""
    broker = open_broker(market)
    legs = tuple(replace(leg, action="SELL" if leg.action == "BUY" else "BUY") for leg in spread(broker).legs)
    credit = query("AAA", sec_type="BAG", legs=legs)
    place(broker, limit(1, "BUY", 1, "-0.05", contract=credit))
    done = found(broker, 1)
    assert done.status == "Filled"
    assert done.average_price < 0
    assert broker.state.ledger.cash > 100_000 - 3


@pytest.mark.parametrize("legs", [(), (LegQuery(265598, 1, "BUY", "SMART"),) * 2])
def test_a_combination_of_anything_else_is_refused(market: Market, legs: tuple[LegQuery, ...]) -> None:
    """No legs, and legs that are no known option, are errors on the order."""
    broker = open_broker(market)
    events = place(broker, order(1, "BUY", 1, contract=query("AAA", sec_type="BAG", legs=legs)))
    assert codes(events)[0] in {200, 321}
    assert broker.state.orders == {}


def test_o13_an_option_that_expires_worthless_is_gone(market: Market) -> None:
    """After Friday's close a call above the price is gone by the next day, with no execution and no shares."""
    broker = open_broker(market)
    place(broker, order(1, "BUY", 1, contract=option_query(broker, "110")))
    net = broker.standing().net_liquidation
    broker.advance(parse_at("2021-04-26T08:00"))
    assert broker.state.executions == []
    assert all(p.quantity == 0 for p in broker.state.ledger.positions.values())
    assert broker.standing().net_liquidation < net


def test_an_option_in_the_money_becomes_shares(market: Market) -> None:
    """A long call at 90 becomes 100 shares that cost the strike and the premium; the account is worth what it was."""
    broker = open_broker(market)
    place(broker, order(1, "BUY", 1, contract=option_query(broker, "90")))
    premium = broker.state.executions[0].price
    broker.advance(parse_at("2021-04-23T17:00"))
    net = broker.standing().net_liquidation
    broker.advance(parse_at("2021-04-26T08:00"))
    assert broker.state.ledger.held("AAA") == 100
    cost = broker.state.ledger.positions["AAA"].average_cost
    assert abs(cost - 90 - premium) < Decimal("0.02")
    assert abs(broker.standing().net_liquidation - net) < Decimal("0.01")


def test_o7_a_short_option_can_be_assigned_at_any_time(market: Market) -> None:
    """Shares appear and the option goes with no execution; the cash moved is the strike's."""
    broker = open_broker(market)
    place(broker, order(1, "SELL", 1, contract=option_query(broker, "105", "P")))
    cash, executions = broker.state.ledger.cash, list(broker.state.executions)
    assert broker.intervene(Assign(symbol="AAA"))
    assert broker.state.executions == executions
    assert broker.state.ledger.held("AAA") == 100
    assert broker.state.ledger.cash == cash - 10_500
    with pytest.raises(ValueError, match="no short option"):
        broker.intervene(Assign(symbol="AAA"))


def test_options_and_combinations_survive_a_restart(market: Market, tmp_path: Path) -> None:
    """A working combination and option positions are in the state file, and legs are known by id afterwards."""
    broker = open_broker(market)
    place(broker, order(1, "BUY", 1, contract=spread(broker)), limit(2, "SELL", 1, "30.00", contract=spread(broker)))
    path = tmp_path / "state.json"
    save_state(path, broker.state)
    state = load_state(path)
    assert state == broker.state
    contracts = Contracts(market)
    again = Broker(market, contracts, Quotes(market), FaultTable(), state)
    assert [o.instrument.sec_type for o in again.open_orders()] == ["BAG"]
    assert contracts.by_con_id(option(broker, "100").con_id) == option(broker, "100")
