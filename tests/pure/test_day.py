"""The day: its plan under every limit, its orders under every order of events, and the same plan in every mode."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bar_fly_trading.day import (
    AccountNotRead,
    AccountRead,
    Action,
    AskAccount,
    AskQuote,
    Cancel,
    ConnectionLost,
    DayState,
    Event,
    ExecutionReported,
    Finish,
    Morning,
    OrderUpdated,
    Outcome,
    QuoteNotRead,
    QuoteRead,
    Record,
    Send,
    SendReported,
    Started,
    StartTimer,
    Tell,
    TimerFired,
    resume,
    start,
    step,
)
from bar_fly_trading.errors import NotBuilt, Refused
from bar_fly_trading.facts.account import AccountSnapshot, Position, Quote
from bar_fly_trading.strategies.signal import Purpose, Side, Signal
from bar_fly_trading.trading.book import BookFill, Split, build_book, read_fill
from bar_fly_trading.trading.desk import exact
from bar_fly_trading.trading.limits import Limits, Sizing
from bar_fly_trading.trading.orders import TERMINAL, Execution, IntentIdentity, Mode, State, check_edge
from bar_fly_trading.trading.plan import IntentStatus, OrderIntent, RankedSignal, canonical_bytes, plain
from bar_fly_trading.trading.reading import read_plan, read_status
from bar_fly_trading.trading.signal_combination import CombinationRefusal

SESSION, EVENING = date(2021, 4, 21), date(2021, 4, 20)
NOW = 1_619_013_900_000_000
PROVE = 20 if os.environ.get("BFT_PROVE") else 1
LOOSE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def ranked(
    symbol: str,
    rank: int = 1,
    *,
    strategy: str = "bollinger",
    exit_: bool = False,
    close: str = "100",
    tag: str = "execute",
    volume: float | None = 5e7,
) -> RankedSignal:
    """A ranked signal: an entry to buy, or an exit to sell."""
    side, purpose = (Side.SELL, Purpose.EXIT) if exit_ else (Side.BUY, Purpose.ENTRY)
    signal = Signal(EVENING, strategy, f"us:{symbol}", symbol, side, purpose, 1.0, Decimal(close), f"{symbol} said so")
    return RankedSignal(signal, 0 if exit_ else rank, tag, "because", 0.5, (), "unknown", volume)


def quote(symbol: str, bid: str | None = "99.99", ask: str | None = "100.01", **changes: Any) -> Quote:
    """A live, fresh, open quote unless changed."""
    made = Quote(
        f"us:{symbol}",
        abs(hash(symbol)) % 1000 + 1,
        Decimal(bid) if bid else None,
        Decimal(ask) if ask else None,
        100,
        100,
        100_000,
        1,
        False,
        Decimal("0.01"),
    )
    return replace(made, con_id=sum(symbol.encode()), **changes)


def account(
    cash: str = "100000", name: str = "DU1", pnl: str | None = "0", held: Sequence[tuple[str, int]] = ()
) -> AccountSnapshot:
    """An account whose net liquidation is its cash and 100 USD a share."""
    positions = tuple(Position(f"us:{s}", s, q, Decimal(90)) for s, q in held)
    worth = Decimal(cash) + 100 * sum(max(0, q) for _, q in held)
    return AccountSnapshot(name, NOW, Decimal(cash), worth, None if pnl is None else Decimal(pnl), positions)


def bought(
    symbol: str, quantity: int, *, mode: Mode, strategy: str = "bollinger", on: date = date(2021, 4, 1)
) -> BookFill:
    """A fill that put shares into a book."""
    execution = Execution(f"k-{symbol}-{strategy}", f"e-{symbol}-{strategy}", quantity, Decimal(90), Decimal(1), NOW)
    return BookFill(on, mode, strategy, f"us:{symbol}", symbol, Side.BUY, execution)


def morning(
    *signals: RankedSignal, fills: Iterable[BookFill] = (), mode: Mode = Mode.SHADOW, **changes: Any
) -> Morning:
    """A morning in which every strategy has one mode."""
    fills = tuple(fills)
    books = {m: build_book(fills, mode=m, session=SESSION) for m in (Mode.SHADOW, Mode.PAPER)}
    names = {r.signal.strategy for r in signals} | {f.strategy for f in fills}
    closes = {f.instrument_id: Decimal(100) for f in fills}
    given_ = Morning(
        SESSION,
        EVENING,
        "evening-1",
        "settings-1",
        signals,
        Limits(),
        modes=dict.fromkeys(names, mode),
        books=books,
        previous_closes_usd=closes,
    )
    return replace(given_, **changes)


@dataclass
class Desk:
    """A driver in memory: performs actions in order, keeps what the journal would keep, and checks the house's rules."""

    quotes: dict[str, Quote] = field(default_factory=dict)
    account: AccountSnapshot | None = field(default_factory=account)
    acknowledge: Callable[[OrderIntent], list[Event]] = lambda intent: []
    on_cancel: Callable[[str], list[Event]] = lambda key: []
    fire_timers: bool = True
    records: list[Record] = field(default_factory=list)
    tells: list[Tell] = field(default_factory=list)
    sends: list[OrderIntent] = field(default_factory=list)
    finished: list[Finish] = field(default_factory=list)
    stored: dict[str, tuple[State, Any]] = field(default_factory=dict)
    stop_after: int | None = None

    def record(self, action: Record) -> None:
        """Keep a record as the journal does: illegal edges raise, everything of one record or nothing."""
        stored = dict(self.stored)
        for change in action.changes:
            if change.before is None:
                assert change.intent_key not in stored
                assert change.payload is not None
                stored[change.intent_key] = (change.after, change.payload)
                continue
            before, payload = stored[change.intent_key]
            assert before is change.before
            check_edge(before, change.after)
            stored[change.intent_key] = (change.after, payload if change.payload is None else change.payload)
        canonical_bytes(action.payload)
        assert action.payload["session"] == SESSION.isoformat()
        self.stored = stored
        self.records.append(action)

    def perform(self, action: Action) -> list[Event]:
        """Perform one action and return what it brings about."""
        match action:
            case AskAccount():
                return [AccountRead(self.account)] if self.account else [AccountNotRead("no Gateway")]
            case AskQuote(instrument_id, _):
                known = self.quotes.get(instrument_id)
                return [QuoteRead(known, NOW)] if known else [QuoteNotRead(instrument_id, "no market data")]
            case Record():
                self.record(action)
            case Send(intent):
                state, payload = self.stored[intent.intent_key]
                assert state is State.SENDING, "sent without a SENDING record"
                assert read_status(payload, state).intent == intent, "sent something else than was written down"
                assert intent.mode is Mode.PAPER
                assert all(intent.intent_key != sent.intent_key for sent in self.sends), "sent twice"
                self.sends.append(intent)
                return self.acknowledge(intent)
            case Cancel(key):
                return self.on_cancel(key)
            case StartTimer(name, seconds):
                assert seconds > 0
                return [TimerFired(name)] if self.fire_timers else []
            case Tell():
                self.tells.append(action)
            case Finish():
                self.finished.append(action)
        return []

    def run(self, state: DayState, events: Sequence[Event] = (Started(),)) -> DayState:
        """Run until nothing is left to answer; `stop_after` kills the run after so many performed actions."""
        waiting, performed = list(events), 0
        while waiting:
            state, actions = step(state, waiting.pop(0))
            for action in actions:
                waiting += self.perform(action)
                performed += 1
                if self.stop_after is not None and performed >= self.stop_after:
                    return state
        return state

    def statuses(self) -> list[IntentStatus]:
        """What the journal says of the intents."""
        return [read_status(payload, state) for state, payload in self.stored.values()]

    def state_of(self, symbol: str) -> State:
        """The journal's state of the one intent of a symbol."""
        return next(s.state for s in self.statuses() if s.intent.symbol == symbol)

    def plan_payload(self) -> Any:
        """The payload of the plan's record."""
        return next(r.payload for r in self.records if r.kind == "plan")

    def rules(self) -> dict[str, str]:
        """The rule of each rejection, by symbol."""
        return {r["symbol"]: r["rule"] for r in self.plan_payload()["plan"]["rejections"]}


def working(intent: OrderIntent) -> list[Event]:
    """An acknowledgement."""
    return [SendReported(intent.intent_key, State.WORKING, "accepted", 77)]


def fill(intent: OrderIntent, quantity: int | None = None, number: int = 1, revision: int = 0) -> ExecutionReported:
    """An execution at the limit."""
    shares = intent.quantity if quantity is None else quantity
    exec_id = f"{intent.intent_key}.{number}"
    return ExecutionReported(
        Execution(intent.intent_key, exec_id, shares, intent.limit_price_usd, Decimal(1), NOW, revision)
    )


# ---------------------------------------------------------------- shadow


def test_shadow_entry_is_filled_at_the_ask_into_the_shadow_book() -> None:
    """A shadow BUY ends SHADOWED with one execution at the ask, its commission, 5 % of (cash - 1,000), and nothing is sent."""
    desk = Desk({"us:AAPL": quote("AAPL")})
    desk.run(start(morning(ranked("AAPL"))))
    (status,) = desk.statuses()
    assert (status.state, status.intent.quantity, status.intent.binding_cap) == (State.SHADOWED, 49, "cash fraction")
    (execution,) = status.executions
    assert (execution.price_usd, execution.commission_usd, execution.at_us) == (Decimal("100.01"), Decimal("1.00"), NOW)
    assert [f.outcome for f in desk.finished] == [Outcome.DONE]
    assert desk.sends == []
    book = build_book(
        [read_fill(r.payload) for r in desk.records if r.kind == "fill"], mode=Mode.SHADOW, session=SESSION
    )
    assert book.quantity_of("bollinger", "us:AAPL") == 49
    assert book.cash_usd == -(49 * Decimal("100.01")) - 1


def test_shadow_order_whose_limit_lies_short_of_the_ask_is_not_filled() -> None:
    """Where the drift bound holds the limit below the ask, the shadow book buys nothing: it pays no price it would not bid."""
    desk = Desk({"us:AAPL": quote("AAPL", "101.70", "102.20")})
    desk.run(start(morning(ranked("AAPL"))))
    (status,) = desk.statuses()
    assert status.intent.limit_price_usd == Decimal("102.00")
    assert (status.state, status.executions) == (State.SHADOWED, ())


def test_shadow_account_is_the_real_one_with_the_shadow_book_on_top() -> None:
    """What shadow holds costs it cash, counts in its net liquidation and in the stock's fraction, and an exit sells it."""
    fills = [bought("AAPL", 30, mode=Mode.SHADOW, strategy="another"), bought("IBM", 10, mode=Mode.SHADOW)]
    desk = Desk({f"us:{s}": quote(s) for s in ("AAPL", "IBM")}, account=account("100000"))
    desk.run(start(morning(ranked("AAPL"), ranked("IBM", exit_=True), fills=fills)))
    by_symbol = {s.intent.symbol: s.intent for s in desk.statuses()}
    # cash 100000 - 40 * 90 - 2, worth 96398 + 40 * 100 = 100398; 5 % = 5019.90 = 50 shares at 100.01, 30 are held.
    assert (by_symbol["AAPL"].quantity, by_symbol["AAPL"].binding_cap) == (20, "position fraction")
    assert (by_symbol["IBM"].side, by_symbol["IBM"].quantity) == (Side.SELL, 10)
    assert dict(by_symbol["AAPL"].observed_values)["cash_usd"] == "96398"


def test_a_split_of_the_morning_moves_no_price_and_no_loss() -> None:
    """On a 4-for-1 morning a quote of a quarter is no drift, the limit is a quarter's, and the book loses nothing."""
    split = Split("us:AAPL", SESSION, Decimal(4))
    fills = [bought("AAPL", 10, mode=Mode.SHADOW, strategy="another")]
    book = build_book(fills, mode=Mode.SHADOW, session=SESSION, splits=[split])
    given_ = morning(ranked("AAPL"), fills=fills, split_factors={"us:AAPL": Decimal(4)}, books={Mode.SHADOW: book})
    desk = Desk({"us:AAPL": quote("AAPL", "24.99", "25.01")})
    desk.run(start(given_))
    (status,) = desk.statuses()
    observed = dict(status.intent.observed_values)
    assert (status.intent.limit_price_usd, status.intent.limit_price_bound_usd) == (Decimal("25.01"), Decimal("25.50"))
    assert (observed["drift_fraction"], observed["held_by_account"]) == ("0.000000", "40")
    assert Decimal(str(observed["daily_pnl_usd"])) == 0


# ---------------------------------------------------------------- rejections


@pytest.mark.parametrize(
    ("rule", "signal", "quoted", "changes"),
    [
        ("WATCH", ranked("AAPL", tag="watch"), quote("AAPL"), {}),
        ("NOT_HELD", ranked("AAPL", exit_=True), quote("AAPL"), {}),
        ("QUOTE_MISSING", ranked("AAPL"), None, {}),
        ("QUOTE_ONE_SIDED", ranked("AAPL"), quote("AAPL", ask=None), {}),
        ("QUOTE_LOCKED", ranked("AAPL"), quote("AAPL", "100", "100"), {}),
        ("QUOTE_DELAYED", ranked("AAPL"), quote("AAPL", market_data_type=3), {}),
        ("QUOTE_STALE", ranked("AAPL"), quote("AAPL", age_us=5_000_001), {}),
        ("HALTED", ranked("AAPL"), quote("AAPL", halted=None), {}),
        ("SPREAD", ranked("AAPL"), quote("AAPL", "99", "101"), {}),
        ("DRIFT", ranked("AAPL"), quote("AAPL", "102.10", "102.12"), {}),
        ("DOLLAR_VOLUME", ranked("AAPL", volume=None), quote("AAPL"), {}),
        ("DAILY_LOSS", ranked("AAPL"), quote("AAPL"), {"account": account(pnl=None)}),
        ("DAILY_LOSS", ranked("AAPL"), quote("AAPL"), {"account": account(pnl="-1000")}),
        ("CASH", ranked("AAPL"), quote("AAPL"), {"account": account("0", held=[("IBM", 9)])}),
        ("SIZE_ZERO", ranked("AAPL"), quote("AAPL"), {"account": account("2900")}),
        ("POSITION_FRACTION", ranked("AAPL"), quote("AAPL"), {"account": account(held=[("AAPL", 60)])}),
        ("POSITIONS_MAX", ranked("AAPL"), quote("AAPL"), {"account": account(held=[(f"S{i}", 1) for i in range(10)])}),
    ],
)
def test_each_rule_is_named_with_what_it_saw(
    rule: str, signal: RankedSignal, quoted: Quote | None, changes: dict[str, Any]
) -> None:
    """Every rule refuses the signal that breaks it alone, by name, with observed value and limit, and the person is told."""
    desk = Desk({"us:AAPL": quoted} if quoted else {}, **changes)
    desk.run(start(morning(signal)))
    (rejection,) = desk.plan_payload()["plan"]["rejections"]
    assert rejection["rule"] == rule
    assert rejection["observed"] and rejection["limit"] and rejection["reason"]
    assert "bid_usd" in dict(rejection["observed_values"])
    assert [t.payload["decision"] for t in desk.tells] == ["rejection"]
    assert desk.finished[0].counts == (("rejections", 1),)


def test_a_good_day_never_stops_buying() -> None:
    """A profit larger than the loss limit is no loss: the limit is positive dollars lost, not an absolute value."""
    desk = Desk({"us:AAPL": quote("AAPL")}, account=account(pnl="5000"))
    desk.run(start(morning(ranked("AAPL"))))
    assert desk.state_of("AAPL") is State.SHADOWED


def test_two_strategies_that_buy_one_stock_make_one_order() -> None:
    """The second BUY of an instrument is a DUPLICATE, by rank, whatever the order of the input."""
    signals = (ranked("AAPL", 2, strategy="b"), ranked("AAPL", 1, strategy="c"))
    for given_ in (signals, signals[::-1]):
        desk = Desk({"us:AAPL": quote("AAPL")})
        desk.run(start(morning(*given_)))
        assert [s.intent.strategy for s in desk.statuses()] == ["c"]
        assert desk.rules() == {"AAPL": "DUPLICATE"}


def test_a_stock_that_is_sold_is_not_bought_the_same_morning() -> None:
    """One strategy leaves what another enters: the exit goes, the entry is refused as OPPOSITE."""
    fills = [bought("AAPL", 10, mode=Mode.SHADOW, strategy="a")]
    desk = Desk({"us:AAPL": quote("AAPL")})
    desk.run(start(morning(ranked("AAPL", strategy="b"), ranked("AAPL", strategy="a", exit_=True), fills=fills)))
    assert [s.intent.side for s in desk.statuses()] == [Side.SELL]
    assert desk.rules() == {"AAPL": "OPPOSITE"}


def test_exits_pass_every_limit_of_entries() -> None:
    """Loss over the limit, ten positions, price far away, thin trading, no cash: an exit still goes, at the bid."""
    fills = [bought("AAPL", 10, mode=Mode.PAPER)]
    held = [("AAPL", 10), *((f"S{i}", 1) for i in range(12))]
    poor = replace(account("-5", pnl="-9999", held=held), net_liquidation_usd=Decimal("NaN"))
    desk = Desk(
        {"us:AAPL": quote("AAPL", "59.00", "60.50")}, account=poor, acknowledge=lambda i: [*working(i), fill(i)]
    )
    desk.run(start(morning(ranked("AAPL", exit_=True, volume=None), fills=fills, mode=Mode.PAPER)))
    (sent,) = desk.sends
    assert (sent.side, sent.quantity, sent.limit_price_usd) == (Side.SELL, 10, Decimal("59.00"))
    assert desk.state_of("AAPL") is State.FILLED


def test_an_exit_is_not_sold_into_a_stub_quote() -> None:
    """A bid of a cent under a sane ask is a missing market: the exit waits for another day."""
    fills = [bought("AAPL", 10, mode=Mode.SHADOW)]
    desk = Desk({"us:AAPL": quote("AAPL", "0.01", "100")})
    desk.run(start(morning(ranked("AAPL", exit_=True), fills=fills)))
    assert desk.rules() == {"AAPL": "SPREAD"}


def test_what_the_user_sold_by_hand_is_not_sold_again() -> None:
    """The paper book holds 10, the account 4: 4 are sold; where the account holds none, the exit ends as NOT_HELD."""
    fills = [bought("AAPL", 10, mode=Mode.PAPER)]
    signal = ranked("AAPL", exit_=True)
    desk = Desk(
        {"us:AAPL": quote("AAPL")}, account=account(held=[("AAPL", 4)]), acknowledge=lambda i: [*working(i), fill(i)]
    )
    desk.run(start(morning(signal, fills=fills, mode=Mode.PAPER)))
    assert [(i.quantity, i.binding_cap) for i in desk.sends] == [(4, "held by the account")]
    desk = Desk({"us:AAPL": quote("AAPL")}, account=account())
    desk.run(start(morning(signal, fills=fills, mode=Mode.PAPER)))
    assert desk.rules() == {"AAPL": "NOT_HELD"}


@pytest.mark.parametrize("state", [State.SENDING, State.UNKNOWN, State.PARKED, State.WORKING, State.PARTIAL])
def test_an_order_of_unknown_fate_blocks_its_stock_and_keeps_its_cash(state: State) -> None:
    """Yesterday's order that may be at the broker: no order on its stock, its cash and place stay reserved; shadow goes on."""
    given_ = morning(ranked("AAPL", 1), ranked("IBM", 2), mode=Mode.PAPER)
    desk = Desk({f"us:{s}": quote(s) for s in ("AAPL", "IBM")}, fire_timers=False)
    desk.run(start(given_))
    aapl = next(s.intent for s in desk.statuses() if s.intent.symbol == "AAPL")
    yesterday = IntentIdentity("DU1", Mode.PAPER, EVENING, "bollinger", "us:AAPL", Side.BUY, Purpose.ENTRY)
    old = replace(aapl, session=EVENING, intent_key=yesterday.key(), quantity=100)
    standing = (IntentStatus(old, state),)
    blocked = Desk(desk.quotes, fire_timers=False)
    blocked.run(start(replace(given_, standing=standing)))
    assert blocked.rules() == {"AAPL": "INTENT_UNKNOWN"}
    (ibm,) = [s.intent for s in blocked.statuses()]
    # 5 % of 100,000 - 100 * 100.01 - 1 commission - 1,000 reserve = 4449.90: 44 shares.
    assert (ibm.symbol, ibm.quantity, dict(ibm.observed_values)["positions"]) == ("IBM", 44, "1")
    shadow = Desk(desk.quotes)
    shadow.run(start(replace(given_, standing=standing, modes={})))
    assert {s.intent.symbol: s.state for s in shadow.statuses()} == {"AAPL": State.SHADOWED, "IBM": State.SHADOWED}


def test_todays_earlier_order_makes_a_duplicate() -> None:
    """A stock that already had an order today gets no second one, though that order is over."""
    desk = Desk({"us:AAPL": quote("AAPL")}, acknowledge=working, on_cancel=lambda k: [OrderUpdated(k, "cancelled", "")])
    given_ = morning(ranked("AAPL"), mode=Mode.PAPER)
    desk.run(start(given_))
    again = Desk(desk.quotes)
    again.run(start(replace(given_, standing=tuple(desk.statuses()))))
    assert again.rules() == {"AAPL": "DUPLICATE"}


def test_what_a_combination_refused_is_a_rejection_of_the_plan() -> None:
    """An entry that ended in the evening's combination is rejected and told in the morning, in the combination's mode."""
    signal = ranked("AAPL").signal
    refused = CombinationRefusal(signal, "both", "confirmation", "-0.01", "above 0", "the model expects a fall")
    desk = Desk()
    desk.run(start(morning(refused=(refused,))))
    (rejection,) = desk.plan_payload()["plan"]["rejections"]
    assert (rejection["rule"], rejection["observed"], rejection["mode"]) == (
        "COMBINATION_CONFIRMATION",
        "-0.01",
        "shadow",
    )
    assert len(desk.tells) == 1


def test_live_is_not_built_and_paper_needs_a_paper_account() -> None:
    """LIVE stops at the start; paper on an account that does not begin with DU stops before any quote."""
    with pytest.raises(NotBuilt):
        start(morning(ranked("AAPL"), mode=Mode.LIVE))
    desk = Desk({"us:AAPL": quote("AAPL")}, account=account(name="U1234567"))
    with pytest.raises(Refused, match="U1234567"):
        desk.run(start(morning(ranked("AAPL"), mode=Mode.PAPER)))
    assert desk.records == []
    desk.run(start(morning(ranked("AAPL"), mode=Mode.SHADOW)))
    assert desk.state_of("AAPL") is State.SHADOWED


def test_without_an_account_every_signal_is_told_and_no_plan_is_made() -> None:
    """No Gateway: one message a signal, no plan in the journal, so that a later run can still make it."""
    desk = Desk(account=None)
    desk.run(start(morning(ranked("AAPL"), ranked("IBM", 2, tag="watch"))))
    assert [t.payload["decision"] for t in desk.tells] == ["account not read"] * 2
    assert [r.kind for r in desk.records] == ["finish"]
    assert desk.finished[0].outcome is Outcome.ACCOUNT_NOT_READ


# ---------------------------------------------------------------- paper


def paper_day(desk: Desk, *signals: RankedSignal, **changes: Any) -> Desk:
    """Run a paper morning to its end."""
    desk.run(start(morning(*(signals or (ranked("AAPL"),)), mode=Mode.PAPER, **changes)))
    return desk


def test_a_paper_order_is_written_down_then_sent_then_filled() -> None:
    """PLANNED, CHECKED, AWAITING, APPROVED (automatic, and it says so), SENDING before the send, WORKING, FILLED."""
    desk = paper_day(Desk({"us:AAPL": quote("AAPL")}, acknowledge=lambda i: [*working(i), fill(i)], fire_timers=False))
    edges = [c.after.value for r in desk.records for c in r.changes]
    assert edges == ["PLANNED", "CHECKED", "AWAITING", "APPROVED", "SENDING", "WORKING", "FILLED"]
    assert any(r.payload.get("approval") == "automatic in paper" for r in desk.records)
    assert desk.finished[0].outcome is Outcome.DONE


def test_the_rest_of_a_slow_order_is_cancelled() -> None:
    """Ten shares come, the wait ends, the rest is cancelled and confirmed: CANCELLED with ten filled; no second order."""
    desk = Desk({"us:AAPL": quote("AAPL")}, on_cancel=lambda key: [OrderUpdated(key, "cancelled", "by us")])
    desk.acknowledge = lambda i: [*working(i), fill(i, 10)]
    paper_day(desk)
    (status,) = desk.statuses()
    assert (status.state, status.filled_quantity, len(desk.sends)) == (State.CANCELLED, 10, 1)
    assert [r.kind for r in desk.records].count("cancel") == 1


def test_a_cancellation_without_an_answer_is_unknown() -> None:
    """Silence after the cancel is no cancellation: UNKNOWN, an alarm, and the day says so."""
    desk = paper_day(Desk({"us:AAPL": quote("AAPL")}, acknowledge=working))
    assert desk.state_of("AAPL") is State.UNKNOWN
    assert [t.kind for t in desk.tells] == ["signal", "alarm"]
    assert desk.finished[0].outcome is Outcome.ORDERS_UNKNOWN


def test_the_second_unknown_freezes_the_session() -> None:
    """After two orders of unknown fate nothing more is sent; the shadow strategy of the same morning goes on."""
    names = ("AAPL", "IBM", "MSFT")
    desk = Desk({f"us:{s}": quote(s) for s in (*names, "GOOG")})
    desk.acknowledge = lambda i: [SendReported(i.intent_key, State.UNKNOWN, "no answer")]
    signals = [ranked(s, n + 1) for n, s in enumerate(names)] + [ranked("GOOG", 4, strategy="calm")]
    given_ = morning(*signals, modes={"bollinger": Mode.PAPER, "calm": Mode.SHADOW})
    desk.run(start(given_))
    states = {s.intent.symbol: s.state for s in desk.statuses()}
    assert states == {
        "AAPL": State.UNKNOWN,
        "IBM": State.UNKNOWN,
        "MSFT": State.REJECTED,
        "GOOG": State.SHADOWED,
    }
    assert [i.symbol for i in desk.sends] == ["AAPL", "IBM"]


def test_a_quote_that_turned_bad_before_the_send_stops_it() -> None:
    """The fresh quote is checked again: halted now means REJECTED, not sent, though the plan had passed."""
    desk = Desk({"us:AAPL": quote("AAPL")})
    state = start(morning(ranked("AAPL"), mode=Mode.PAPER))
    state, _ = step(state, Started())
    state, _ = step(state, AccountRead(account()))
    state, actions = step(state, QuoteRead(quote("AAPL"), NOW))
    for action in actions:
        desk.perform(action)
    desk.run(state, [QuoteRead(quote("AAPL", halted=True), NOW)])
    assert desk.state_of("AAPL") is State.REJECTED
    assert desk.sends == []


def test_a_higher_ask_buys_fewer_shares_for_the_same_money() -> None:
    """The order goes at the fresh ask, never for more dollars than planned, and is written down as it is sent."""
    asks = iter([quote("AAPL"), quote("AAPL", "101.20", "101.30")])
    desk = Desk()
    desk.acknowledge = lambda i: [*working(i), fill(i)]
    state = start(morning(ranked("AAPL"), mode=Mode.PAPER))
    for event in (Started(), AccountRead(account()), QuoteRead(next(asks), NOW), QuoteRead(next(asks), NOW)):
        state, actions = step(state, event)
        for action in actions:
            if not isinstance(action, AskAccount | AskQuote):
                desk.perform(action)
    (sent,) = desk.sends
    assert (sent.limit_price_usd, sent.quantity) == (Decimal("101.30"), 48)


def test_not_sent_is_not_tried_again_and_rejected_is_final() -> None:
    """A send that provably did not leave ends EXPIRED; a broker's refusal ends BROKER_REJECTED; the next order goes."""
    answers = {"AAPL": State.NOT_SENT, "IBM": State.BROKER_REJECTED}
    desk = Desk({f"us:{s}": quote(s) for s in ("AAPL", "IBM", "MSFT")})
    desk.acknowledge = lambda i: (
        [SendReported(i.intent_key, answers[i.symbol], "no")] if i.symbol in answers else [*working(i), fill(i)]
    )
    paper_day(desk, ranked("AAPL", 1), ranked("IBM", 2), ranked("MSFT", 3))
    assert {s.intent.symbol: s.state for s in desk.statuses()} == {
        "AAPL": State.EXPIRED,
        "IBM": State.BROKER_REJECTED,
        "MSFT": State.FILLED,
    }


def test_a_connection_lost_in_the_middle_leaves_the_rest_for_a_later_run() -> None:
    """The order under way is UNKNOWN, the next stays PLANNED; the resumed run sends that one and never the first again."""
    quotes = {f"us:{s}": quote(s) for s in ("AAPL", "IBM")}
    first = Desk(quotes, acknowledge=lambda i: [*working(i), ConnectionLost("reset by peer")], fire_timers=False)
    given_ = morning(ranked("AAPL", 1), ranked("IBM", 2), mode=Mode.PAPER)
    first.run(start(given_))
    assert {s.intent.symbol: s.state for s in first.statuses()} == {"AAPL": State.UNKNOWN, "IBM": State.PLANNED}
    second = Desk(quotes, acknowledge=lambda i: [*working(i), fill(i)], stored=first.stored, sends=first.sends)
    second.run(resume(given_, first.plan_payload(), first.statuses()))
    assert [i.symbol for i in second.sends] == ["AAPL", "IBM"]
    assert second.state_of("IBM") is State.FILLED
    assert {t.key for t in first.tells if t.kind == "signal"} == {t.key for t in second.tells if t.kind == "signal"}


@pytest.mark.parametrize("seen", ["working", "part"])
def test_an_unknown_order_that_shows_itself_is_taken_back(seen: str) -> None:
    """Evidence of an order whose send was unsure: it is cancelled, once, and ends; the next order goes after it."""
    desk = Desk({f"us:{s}": quote(s) for s in ("AAPL", "IBM")})
    desk.on_cancel = lambda key: [OrderUpdated(key, "cancelled", "by us")]

    def answer(intent: OrderIntent) -> list[Event]:
        if intent.symbol != "AAPL":
            return [*working(intent), fill(intent)]
        evidence = fill(intent, 3) if seen == "part" else OrderUpdated(intent.intent_key, "working", "")
        return [SendReported(intent.intent_key, State.UNKNOWN, "no answer"), evidence]

    desk.acknowledge = answer
    paper_day(desk, ranked("AAPL", 1), ranked("IBM", 2))
    assert {s.intent.symbol: s.state for s in desk.statuses()} == {"AAPL": State.CANCELLED, "IBM": State.FILLED}
    assert [r.kind for r in desk.records].count("cancel") == 1
    assert desk.finished[0].outcome is Outcome.DONE


def test_late_and_corrected_executions_are_counted_once() -> None:
    """A repeat counts once, a correction replaces, a commission that comes later is added, a fill after the cancel is late."""
    desk = Desk({"us:AAPL": quote("AAPL")}, acknowledge=working, on_cancel=lambda k: [OrderUpdated(k, "cancelled", "")])
    state = desk.run(start(morning(ranked("AAPL"), mode=Mode.PAPER)))
    (intent,) = desk.sends
    bare = replace(fill(intent, 5, 2).execution, commission_usd=None)
    desk.run(
        state,
        [
            fill(intent, 10),
            fill(intent, 10),
            fill(intent, 7, revision=1),
            ExecutionReported(bare),
            fill(intent, 5, 2),
            fill(intent, 900, 3),
        ],
    )
    (status,) = desk.statuses()
    assert (status.state, [e.quantity for e in status.executions]) == (State.FILLED_LATE, [7, 5])
    assert status.executions[1].commission_usd == 1
    assert [r.kind for r in desk.records].count("stray_execution") == 1


# ---------------------------------------------------------------- kept and the same


def test_a_plan_and_its_intents_come_back_from_json_as_they_were() -> None:
    """Plan, intents and executions read back from the journal's text are equal to what was written."""
    desk = Desk({"us:AAPL": quote("AAPL")})
    state = desk.run(start(morning(ranked("AAPL"), ranked("IBM", 2))))
    assert read_plan(desk.plan_payload()["plan"]) == state.plan
    assert state.plan is not None
    assert desk.plan_payload()["plan_id"] == state.plan.plan_id()
    assert {s.intent.intent_key: s for s in desk.statuses()} == dict(state.intents)


@pytest.mark.parametrize("performed", range(1, 12))
@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.PAPER])
def test_a_run_killed_after_any_action_ends_the_same_or_unknown(performed: int, mode: Mode) -> None:
    """Killed after its n-th action and resumed, the day ends as if never killed, or with the order that was leaving UNKNOWN."""
    quotes = {"us:AAPL": quote("AAPL"), "us:IBM": quote("IBM")}
    given_ = morning(ranked("AAPL", 1), ranked("IBM", 2), mode=mode)
    answer: dict[str, Any] = {"acknowledge": lambda i: [*working(i), fill(i)], "fire_timers": False}
    whole = Desk(quotes, **answer)
    whole.run(start(given_))
    killed = Desk(quotes, stop_after=performed, **answer)
    killed.run(start(given_))
    again = Desk(quotes, stored=killed.stored, sends=killed.sends, **answer)
    again.on_cancel = lambda key: []
    again.fire_timers = True
    planned = [r for r in killed.records if r.kind == "plan"]
    again.run(resume(given_, planned[0].payload, killed.statuses()) if planned else start(given_))
    at_the_end = {s.intent.symbol: s.state for s in again.statuses()}
    for symbol, state in {s.intent.symbol: s.state for s in whole.statuses()}.items():
        assert at_the_end[symbol] in {state, State.UNKNOWN}
        if mode is Mode.SHADOW:
            assert at_the_end[symbol] is state


def neutral(payload: Any) -> Any:
    """A plan without what must differ between modes: mode, account and the key made of them."""
    text = plain(payload)
    for row in (*text["intents"], *text["rejections"]):
        row.update({k: "" for k in ("mode", "account", "intent_key") if k in row})
    return canonical_bytes({**text, "account": ""})


prices = st.decimals("1", "300", places=2)
odd_numbers = st.sampled_from([None, Decimal("NaN"), Decimal(0), Decimal(-1), Decimal("Infinity")])


@st.composite
def quotes_for(draw: st.DrawFn, symbol: str) -> Quote | None:
    """A quote near 100, or one that is wrong in some way."""
    if draw(st.integers(0, 9)) == 0:
        return None
    bid = draw(st.decimals("97", "103", places=2))
    ask = bid + draw(
        st.sampled_from([Decimal("0.01"), Decimal("0.02"), Decimal("0.3"), Decimal(2), Decimal(0), Decimal(-1)])
    )
    made = quote(symbol, str(bid), str(ask))
    if draw(st.integers(0, 7)) == 0:
        odd: dict[str, Any] = {draw(st.sampled_from(["bid_usd", "ask_usd", "min_tick_usd"])): draw(odd_numbers)}
        made = replace(made, **odd)
    return replace(
        made,
        halted=draw(st.sampled_from([False, False, False, None, True])),
        market_data_type=draw(st.sampled_from([1, 1, 1, 1, 3])),
        age_us=draw(st.sampled_from([0, 4_999_999, 5_000_000, 5_000_001])),
    )


@st.composite
def mornings(draw: st.DrawFn) -> tuple[Morning, AccountSnapshot, dict[str, Quote]]:
    """A morning with any signals, quotes, book and account."""
    symbols = [f"S{i}" for i in range(draw(st.integers(1, 8)))]
    signals, fills, held = [], [], []
    mode = draw(st.sampled_from([Mode.SHADOW, Mode.PAPER]))
    for n, symbol in enumerate(symbols):
        strategies = draw(st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=2, unique=True))
        for strategy in strategies:
            exit_ = draw(st.integers(0, 3)) == 0
            volume = draw(st.sampled_from([5e7, 5e6, 4e6, None, float("nan")]))
            signals.append(
                ranked(
                    symbol,
                    n + 1,
                    strategy=strategy,
                    exit_=exit_,
                    tag=draw(st.sampled_from(["execute"] * 4 + ["watch"])),
                    volume=volume,
                )
            )
            if draw(st.booleans()):
                fills.append(bought(symbol, draw(st.integers(1, 60)), mode=mode, strategy=strategy))
        if draw(st.booleans()):
            held.append((symbol, draw(st.integers(-5, 80))))
    cash = draw(st.sampled_from(["-10", "0", "1000", "1500", "3000", "50000", "1000000", "NaN"]))
    pnl = draw(st.sampled_from(["0", "0", "-999.99", "-1000", "NaN", None]))
    limits = Limits(positions_max=draw(st.integers(1, 6)), new_entries_a_day_max=draw(st.integers(1, 5)))
    sizing = Sizing(draw(st.sampled_from([0.05, 0.3, 1.0])), Decimal(1000), draw(st.sampled_from([None, 0.0001])))
    given_ = morning(*signals, fills=fills, mode=mode, limits=limits, sizing_default=sizing)
    read = {f"us:{s}": q for s in symbols if (q := draw(quotes_for(s))) is not None}
    snapshot = account(cash, pnl=pnl, held=held)
    if draw(st.booleans()):
        snapshot = replace(snapshot, net_liquidation_usd=Decimal(draw(st.sampled_from([0, 5000, 200_000, 1_000_000]))))
    return given_, snapshot, read


@given(mornings())
@settings(LOOSE, max_examples=80 * PROVE)
def test_no_plan_exceeds_a_limit_and_no_signal_is_lost(made: tuple[Morning, AccountSnapshot, dict[str, Quote]]) -> None:
    """After any plan: every signal is one intent or one rejection; cash, fraction, positions, entries, quotes within limits."""
    given_, snapshot, read = made
    desk = Desk(read, account=snapshot, fire_timers=False)
    state = desk.run(start(given_))
    plan, limits = state.plan, given_.limits
    assert plan is not None

    def key(row: Any) -> tuple[str, ...]:
        return (row.strategy, row.instrument_id, row.side.value, row.purpose.value)

    assert Counter(key(r.signal) for r in given_.ranked) == Counter(map(key, (*plan.intents, *plan.rejections)))
    buys = [i for i in plan.intents if i.side is Side.BUY]
    mode = next(iter(given_.modes.values()))
    book = given_.books[mode]
    overlay = book if mode is Mode.SHADOW else None
    held = Counter({p.instrument_id: p.quantity for p in snapshot.positions})
    cash = snapshot.cash_usd
    if overlay is not None:
        cash += overlay.cash_usd
        held.update(overlay.quantities())
    assert len(buys) <= limits.new_entries_a_day_max
    assert len({i.instrument_id for i in buys}) == len(buys)
    if buys:
        spent = sum(i.quantity * i.limit_price_usd for i in buys)
        assert cash - spent >= given_.sizing_default.cash_reserve_usd
        assert snapshot.daily_pnl_usd is not None
        instruments = {i for i, q in held.items() if q} | {i.instrument_id for i in buys}
        already = {i for i, q in held.items() if q}
        assert len(instruments) <= max(limits.positions_max, len(already))
    for intent in buys:
        quoted = read[intent.instrument_id]
        assert quoted.bid_usd is not None and quoted.ask_usd is not None
        assert quoted.halted is False and quoted.market_data_type == 1 and quoted.age_us <= 5_000_000
        assert 0 < quoted.bid_usd < quoted.ask_usd
        assert intent.limit_price_usd <= 100 * (1 + exact(limits.drift_fraction_max))
        assert intent.quantity == min(c.quantity for c in intent.caps) >= 1
        if overlay is None:
            after = (max(0, held[intent.instrument_id]) + intent.quantity) * intent.limit_price_usd
            assert after <= exact(limits.position_fraction_max) * snapshot.net_liquidation_usd
    sold: Counter[str] = Counter()
    for intent in plan.intents:
        if intent.side is Side.SELL:
            sold[intent.instrument_id] += intent.quantity
            assert intent.quantity <= book.quantity_of(intent.strategy, intent.instrument_id)
    assert all(quantity <= held[i] for i, quantity in sold.items())


@given(mornings(), st.randoms(use_true_random=False))
@settings(LOOSE, max_examples=30 * PROVE)
def test_the_plan_is_the_same_in_every_mode_and_order(
    made: tuple[Morning, AccountSnapshot, dict[str, Quote]], shuffle: Any
) -> None:
    """Shadow and paper over one account, and any order of the signals, give the same plan but for mode and keys."""
    given_, snapshot, read = made
    empty = {m: build_book((), mode=m, session=SESSION) for m in (Mode.SHADOW, Mode.PAPER)}
    plans = set()
    for mode in (Mode.SHADOW, Mode.PAPER):
        signals = list(given_.ranked)
        shuffle.shuffle(signals)
        names = dict.fromkeys(given_.modes, mode)
        state = Desk(read, account=snapshot, fire_timers=False).run(
            start(replace(given_, ranked=tuple(signals), modes=names, books=empty))
        )
        plans.add(neutral(state.plan))
    assert len(plans) == 1


@given(st.data())
@settings(LOOSE, max_examples=120 * PROVE)
def test_no_order_of_events_sends_twice_or_overfills(data: st.DataObject) -> None:
    """Any events in any order: at most one send an intent, only after its SENDING record; fills never exceed the order."""
    symbols = ["A", "B", "C"]
    given_ = morning(*(ranked(s, n + 1) for n, s in enumerate(symbols)), mode=Mode.PAPER)
    desk = Desk({f"us:{s}": quote(s) for s in symbols}, fire_timers=False)
    state = desk.run(start(given_))
    assert state.plan is not None
    intents = {i.intent_key: i for i in state.plan.intents}
    keys = st.sampled_from([*intents, "NOT-OURS"])
    some = intents[next(iter(intents))]
    events: st.SearchStrategy[Event] = st.one_of(
        st.builds(
            SendReported,
            keys,
            st.sampled_from([State.WORKING, State.NOT_SENT, State.UNKNOWN, State.BROKER_REJECTED, State.FILLED]),
            st.just("x"),
            st.integers(0, 2),
        ),
        st.builds(
            OrderUpdated,
            keys,
            st.sampled_from(["working", "cancelled", "rejected", "expired", "filled", "odd"]),
            st.just(""),
        ),
        st.builds(
            lambda key, n, q, r: fill(replace(some) if key not in intents else intents[key], q, n, r),
            keys,
            st.integers(1, 3),
            st.integers(0, 60),
            st.integers(0, 2),
        ),
        st.builds(lambda key, kind: TimerFired(f"{kind}:{key}"), keys, st.sampled_from(["fill", "cancel"])),
        st.builds(
            lambda s, h: QuoteRead(quote(s, halted=h), NOW),
            st.sampled_from(symbols),
            st.sampled_from([False, False, True]),
        ),
        st.builds(lambda s: QuoteNotRead(f"us:{s}", "none"), st.sampled_from(symbols)),
        st.just(ConnectionLost("gone")),
        st.just(Started()),
        st.just(AccountRead(account("5"))),
    )
    for event in data.draw(st.lists(events, max_size=25)):
        state = desk.run(state, [event])
        for key, status in state.intents.items():
            assert status.filled_quantity <= status.intent.quantity
            assert desk.stored[key][0] is status.state
            assert read_status(desk.stored[key][1], status.state).executions == status.executions
    assert len(desk.finished) <= 1
    unknown_ever = {c.intent_key for r in desk.records for c in r.changes if c.after is State.UNKNOWN}
    assert len(unknown_ever) <= 2 or len(desk.sends) <= len(intents)
    if desk.finished and desk.finished[0].outcome is Outcome.DONE:
        assert all(s.state in TERMINAL for s in desk.statuses())


@given(mornings())
@settings(LOOSE, max_examples=30 * PROVE)
def test_shadow_never_sends(made: tuple[Morning, AccountSnapshot, dict[str, Quote]]) -> None:
    """Whatever the morning, a shadow day performs no Send and no Cancel, and every intent ends SHADOWED."""
    given_, snapshot, read = made
    desk = Desk(read, account=replace(snapshot, account="U7"))
    desk.run(start(replace(given_, modes={})))
    assert desk.sends == []
    assert {s.state for s in desk.statuses()} <= {State.SHADOWED}
    assert len(desk.finished) == 1
