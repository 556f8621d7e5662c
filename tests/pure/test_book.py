"""Books: positions, cash and profit from executions, splits and dividends, each number checkable by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_fly_trading.errors import StoreDamaged
from bar_fly_trading.strategies.signal import Holding, Side
from bar_fly_trading.trading.book import BookFill, Dividend, Split, build_book, fill_payload, read_fill
from bar_fly_trading.trading.orders import Execution, Mode

D = Decimal
MONDAY = date(2021, 4, 19)


def day(n: int) -> date:
    """The n-th day after Monday."""
    return MONDAY + timedelta(days=n)


def fill(
    side: Side,
    quantity: int,
    price: str,
    n: int,
    *,
    exec_id: str = "",
    strategy: str = "s",
    symbol: str = "X",
    commission: str | None = "1",
) -> BookFill:
    """One execution on the n-th day."""
    name = exec_id or f"{side}{quantity}{price}{n}{strategy}{symbol}"
    execution = Execution("k", name, quantity, D(price), None if commission is None else D(commission), n)
    return BookFill(day(n), Mode.SHADOW, strategy, f"us:{symbol}", symbol, side, execution)


def test_buying_and_selling_moves_cash_and_profit() -> None:
    """10 at 100 and 10 at 110, 15 sold at 120: average cost 105, 225 made less three commissions, 5 left at 105."""
    fills = [fill(Side.BUY, 10, "100", 0), fill(Side.BUY, 10, "110", 1), fill(Side.SELL, 15, "120", 2)]
    book = build_book(fills, mode=Mode.SHADOW, session=day(2))
    assert book.holdings() == (Holding("s", "us:X", "X", 5, day(0), D("105.000000")),)
    assert book.cash_usd == -1000 - 1100 + 1800 - 3
    assert (book.realised_usd, book.commissions_usd) == (D(225 - 3), D(3))
    assert book.unrealised_usd({"us:X": D(100)}) == -25
    assert book.total_usd({"us:X": D(100)}) == book.realised_usd - 25


def test_a_book_knows_only_its_mode_and_what_had_happened() -> None:
    """Later fills and other modes' fills are not in it, whatever the order they come in."""
    fills = [
        fill(Side.SELL, 10, "120", 3),
        fill(Side.BUY, 10, "100", 0),
        replace(fill(Side.BUY, 7, "1", 1), mode=Mode.PAPER),
    ]
    assert build_book(fills, mode=Mode.SHADOW, session=day(2)).quantity_of("s", "us:X") == 10
    assert build_book(fills, mode=Mode.SHADOW, session=day(3)).positions == ()
    assert build_book(fills, mode=Mode.PAPER, session=day(3)).quantity_of("s", "us:X") == 7


def test_an_execution_counts_once_at_its_highest_revision() -> None:
    """The same execution twice counts once; its correction replaces it; its commission may come later."""
    first = fill(Side.BUY, 10, "100", 0, exec_id="e", commission=None)
    corrected = replace(first, execution=replace(first.execution, quantity=9, revision=1))
    priced = replace(corrected, execution=replace(corrected.execution, commission_usd=D(2)))
    for fills in ([first, first, corrected, priced], [priced, corrected, first]):
        book = build_book(fills, mode=Mode.SHADOW, session=day(0))
        assert (book.quantity_of("s", "us:X"), book.cash_usd) == (9, D(-902))


def test_a_split_changes_shares_and_not_worth() -> None:
    """4-for-1 makes 40 of 10 at a quarter of the price, counts as no profit that day, and pays a later dividend on 40."""
    fills = [fill(Side.BUY, 10, "100", 0)]
    splits = [Split("us:X", day(1), D(4)), Split("us:X", day(-1), D(2)), Split("us:Y", day(1), D(9))]
    book = build_book(fills, mode=Mode.SHADOW, session=day(1), splits=splits)
    assert book.holdings()[0].quantity == 40
    assert book.holdings()[0].entry_price_usd == 25
    assert book.day_usd({"us:X": D(104)}, {"us:X": D(26)}) == 0
    paid = build_book(
        fills, mode=Mode.SHADOW, session=day(2), splits=splits, dividends=[Dividend("us:X", day(2), D("0.5"))]
    )
    assert (paid.dividends_usd, paid.cash_usd) == (D(20), D(-1001 + 20))


def test_a_reverse_split_pays_the_fraction_at_cost() -> None:
    """1-for-4 of 10 shares: 2 stay, half a share is paid out at what it cost, so nothing is made or lost."""
    book = build_book(
        [fill(Side.BUY, 10, "100", 0)], mode=Mode.SHADOW, session=day(1), splits=[Split("us:X", day(1), D("0.25"))]
    )
    assert book.holdings()[0].quantity == 2
    assert book.cash_usd == -1001 + 200
    assert book.unrealised_usd({"us:X": D(400)}) == 0
    gone = build_book(
        [fill(Side.BUY, 1, "100", 0)], mode=Mode.SHADOW, session=day(1), splits=[Split("us:X", day(1), D("0.1"))]
    )
    assert gone.positions == ()
    assert gone.cash_usd == -1


def test_a_dividend_goes_to_who_held_at_the_close_before() -> None:
    """Bought on the ex-date: nothing. Held before and sold that day: paid."""
    dividends = [Dividend("us:X", day(1), D(1))]
    late = build_book([fill(Side.BUY, 10, "100", 1)], mode=Mode.SHADOW, session=day(1), dividends=dividends)
    assert late.dividends_usd == 0
    fills = [fill(Side.BUY, 10, "100", 0), fill(Side.SELL, 10, "99", 1)]
    sold = build_book(fills, mode=Mode.SHADOW, session=day(1), dividends=dividends)
    assert sold.dividends_usd == 10
    assert sold.day_usd({"us:X": D(100)}, {}) == -10 - 1 + 10


def test_the_days_profit_counts_from_the_close_before() -> None:
    """Held 10 at a close of 100, bought 5 at 103, marked at 104: 40 + 5 - 1 commission; a loss is negative."""
    fills = [fill(Side.BUY, 10, "90", 0), fill(Side.BUY, 5, "103", 1)]
    book = build_book(fills, mode=Mode.SHADOW, session=day(1))
    assert book.day_usd({"us:X": D(100)}, {"us:X": D(104)}) == 44
    assert book.day_usd({"us:X": D(100)}, {"us:X": D(90)}) == -100 - 65 - 1
    quiet = build_book(fills, mode=Mode.SHADOW, session=day(2))
    assert quiet.day_usd({"us:X": D(100)}, {"us:X": D(100)}) == 0


def test_a_missing_mark_is_unknown_not_zero() -> None:
    """Without a mark, or with NaN, worth and profit are None."""
    book = build_book([fill(Side.BUY, 10, "90", 0)], mode=Mode.SHADOW, session=day(1))
    for marks in ({}, {"us:X": D("NaN")}):
        assert book.value_usd(marks) is book.unrealised_usd(marks) is book.total_usd(marks) is None
        assert book.day_usd({"us:X": D(1)}, marks) is book.day_usd(marks, {"us:X": D(1)}) is None


def test_strategies_hold_apart() -> None:
    """Two strategies with one stock each have their own shares, cost and profit."""
    fills = [
        fill(Side.BUY, 10, "100", 0),
        fill(Side.BUY, 4, "50", 0, strategy="t"),
        fill(Side.SELL, 4, "60", 1, strategy="t"),
    ]
    book = build_book(fills, mode=Mode.SHADOW, session=day(1))
    assert book.quantities() == {"us:X": 10}
    assert book.realised_by_strategy_usd == (("s", D(-1)), ("t", D(38)))
    assert book.holdings("t") == ()


def test_selling_what_the_book_has_not_stops() -> None:
    """More sold than bought is a damaged journal: it stops, names the numbers, and never goes short."""
    with pytest.raises(StoreDamaged, match="sells 3 X"):
        build_book([fill(Side.BUY, 2, "1", 0), fill(Side.SELL, 3, "1", 1)], mode=Mode.SHADOW, session=day(1))


def test_a_fill_comes_back_from_its_record() -> None:
    """What is written is read back equal, unknown commission included."""
    for made in (fill(Side.BUY, 2, "1.10", 0), fill(Side.SELL, 3, "1", 1, commission=None)):
        assert read_fill(fill_payload(made)) == made


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 50), st.decimals("1", "500", places=2)), max_size=25),
    st.decimals("1", "500", places=2),
)
def test_money_is_conserved(trades: list[tuple[bool, int, Decimal]], mark: Decimal) -> None:
    """Whatever is bought and sold: realised plus unrealised is cash plus worth, to the last digit."""
    fills, held = [], 0
    for n, (buys, quantity, price) in enumerate(trades):
        if not buys and quantity > held:
            continue
        held += quantity if buys else -quantity
        fills.append(fill(Side.BUY if buys else Side.SELL, quantity, str(price), n, exec_id=str(n)))
    book = build_book(fills, mode=Mode.SHADOW, session=day(99))
    assert book.quantity_of("s", "us:X") == held
    unrealised, total = book.unrealised_usd({"us:X": mark}), book.total_usd({"us:X": mark})
    assert unrealised is not None
    assert book.realised_usd + unrealised == total
