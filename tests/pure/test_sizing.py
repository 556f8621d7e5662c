"""Sizes and limit prices: the smallest cap wins and is named, against a slow oracle that counts share by share."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_fly_trading.facts.account import Quote
from bar_fly_trading.strategies.signal import Purpose, Side, Signal
from bar_fly_trading.trading.costs import Commission, far_touch_usd, to_tick
from bar_fly_trading.trading.desk import Candidate, Desk
from bar_fly_trading.trading.limits import Limits, Sizing
from bar_fly_trading.trading.orders import Mode
from bar_fly_trading.trading.plan import RankedSignal
from bar_fly_trading.trading.sizing import limit_price, size_entry, size_exit

D = Decimal
DEFAULT = Sizing()


def candidate(
    bid: str = "99.99",
    ask: str = "100.01",
    *,
    side: Side = Side.BUY,
    close: str = "100",
    split: str = "1",
    tick: str = "0.01",
    volume: float | None = 6e6,
) -> Candidate:
    """A signal with a quote."""
    purpose = Purpose.ENTRY if side is Side.BUY else Purpose.EXIT
    signal = Signal(date(2021, 4, 20), "s", "us:X", "X", side, purpose, 1.0, D(close), "why")
    quote = Quote("us:X", 1, D(bid), D(ask), 1, 1, 0, 1, False, D(tick))
    return Candidate(RankedSignal(signal, 1, "execute", "", 1.0, (), "u", volume), Mode.SHADOW, quote, "", D(split))


@pytest.mark.parametrize(
    ("made", "limit", "bound"),
    [
        (candidate(), "100.01", "102.00"),
        (candidate("101.90", "102.05"), "102.00", "102.00"),
        (candidate("99.99", "100.013"), "100.02", "102.00"),
        (candidate("24.99", "25.01", split="4"), "25.01", "25.50"),
        (candidate("33.33", "33.34", split="3"), "33.34", "34.00"),
        (candidate("99.95", "100.05", tick="0.05"), "100.05", "102.00"),
        (candidate(side=Side.SELL), "99.99", "99.99"),
        (candidate("49.999", "51", side=Side.SELL), "49.99", "49.99"),
    ],
)
def test_limit_price_is_the_far_touch_within_the_drift(made: Candidate, limit: str, bound: str) -> None:
    """BUY at the ask, never above the split-adjusted close plus 2 %; SELL at the bid, wherever it is; always on the tick."""
    price = limit_price(made, Limits())
    assert price is not None
    assert (price.limit_usd, price.bound_usd) == (D(limit), D(bound))


def test_no_price_where_a_number_is_missing() -> None:
    """No close, no split, a bid under a tick: no limit price."""
    assert limit_price(candidate(close="NaN"), Limits()) is None
    assert limit_price(candidate(split="0"), Limits()) is None
    assert limit_price(candidate("0.004", "0.01", side=Side.SELL), Limits()) is None


def size(desk: Desk, sizing: Sizing = DEFAULT, made: Candidate | None = None, price: str = "100.01") -> tuple[int, str]:
    """The quantity and the cap that set it."""
    result = size_entry(made or candidate(), desk, Limits(), sizing, Commission(), D(price))
    assert result.quantity == min(c.quantity for c in result.caps)
    return result.quantity, result.binding_cap


def test_each_cap_binds_in_its_turn() -> None:
    """5 % of (cash - 1,000); the cash itself, commission included; 5 % of net liquidation with what is held; volume."""
    assert size(Desk(D(100_000), D(1_000_000), D(0))) == (49, "cash fraction")
    everything = Sizing(cash_fraction=1.0)
    assert size(Desk(D("2000.50"), D(1_000_000), D(0)), everything) == (9, "cash")
    assert size(Desk(D(1_000_000), D(100_000), D(0))) == (49, "position fraction")
    assert size(Desk(D(1_000_000), D(100_000), D(0), held={"us:X": 40})) == (9, "position fraction")
    thin = Sizing(order_volume_fraction_max=0.0001)
    assert size(Desk(D(1_000_000), D(10_000_000), D(0)), thin) == (5, "dollar volume")
    assert size(Desk(D(1_000_000), D(10_000_000), D(0)), thin, candidate(volume=None)) == (0, "dollar volume")


@pytest.mark.parametrize("cash", [None, D("NaN"), D(0), D(999), D(1000), D("1001")])
def test_no_cash_above_the_reserve_buys_nothing(cash: Decimal | None) -> None:
    """Unknown cash, none, or none above the reserve: 0 shares, and the cap that says so."""
    assert size(Desk(cash, D(100_000), D(0))) == (0, "cash fraction")


def test_an_unknown_net_liquidation_buys_nothing() -> None:
    """Without net liquidation there is no bound, so nothing is bought."""
    assert size(Desk(D(100_000), None, D(0))) == (0, "position fraction")


@settings(deadline=None)
@given(
    st.decimals("0", "20000", places=2),
    st.decimals("0.5", "900", places=2),
    st.sampled_from([0.05, 0.3, 1.0]),
    st.decimals("0", "50000", places=2),
    st.integers(0, 50),
)
def test_size_equals_an_oracle_that_adds_share_by_share(
    cash: Decimal, price: Decimal, fraction: float, worth: Decimal, held: int
) -> None:
    """The size is the largest number of shares that breaks no cap, found by trying one more share at a time."""
    sizing, commission = Sizing(cash_fraction=fraction), Commission()
    made = size_entry(candidate(), Desk(cash, worth, D(0), held={"us:X": held}), Limits(), sizing, commission, price)
    spendable = cash - 1000

    def fits(n: int) -> bool:
        return (
            n * price <= D(str(fraction)) * spendable
            and n * price + commission.usd(n, price) <= spendable
            and (n + held) * price <= D("0.05") * worth
        )

    shares = 0
    while fits(shares + 1):
        shares += 1
    assert made.quantity == shares


def test_an_exit_sells_the_book_but_not_more_than_the_account() -> None:
    """Seven in the book and five in the account, two of them already being sold: three."""
    desk = Desk(None, None, None, held={"us:X": 5}, book_held={("s", "us:X"): 7}, planned_sells={"us:X": 2})
    sold = size_exit(candidate(side=Side.SELL), desk)
    assert (sold.quantity, sold.binding_cap) == (3, "held by the account")


@pytest.mark.parametrize(
    ("quantity", "price", "usd"),
    [(1, "300", "1.00"), (200, "10", "1.00"), (201, "10", "1.005"), (1000, "0.20", "2.00"), (10, "5", "0.50")],
)
def test_commission_of_the_fixed_price_list(quantity: int, price: str, usd: str) -> None:
    """Half a cent a share, at least a dollar, at most 1 % of the value, which holds over the minimum."""
    assert Commission().usd(quantity, D(price)) == D(usd)


def test_ticks_and_the_far_touch() -> None:
    """Up and down to the grid, a price on it stays; BUY takes the ask, SELL the bid."""
    assert [to_tick(D("1.005"), D("0.01"), up=up) for up in (True, False)] == [D("1.01"), D("1.00")]
    assert to_tick(D("1.25"), D("0.05"), up=True) == to_tick(D("1.25"), D("0.05"), up=False) == D("1.25")
    assert (far_touch_usd(Side.BUY, D(1), D(2)), far_touch_usd(Side.SELL, D(1), D(2))) == (D(2), D(1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cash_fraction", 5),
        ("cash_fraction", 0),
        ("cash_reserve_usd", D(-1)),
        ("cash_reserve_usd", D("NaN")),
        ("order_volume_fraction_max", 2.0),
    ],
)
def test_a_sizing_that_makes_no_sense_is_refused(field: str, value: object) -> None:
    """500 %, nothing, a negative or unknown reserve: an error that names the field."""
    with pytest.raises(ValueError, match=field):
        Sizing(**{field: value})  # type: ignore[arg-type]
