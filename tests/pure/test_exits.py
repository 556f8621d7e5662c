"""The shared exit rules at their limits, and the path of a holding through splits, dividends and gaps."""

from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pytest

from bar_fly_trading.strategies import exits
from bar_fly_trading.strategies.exits import HeldPath
from bar_fly_trading.strategies.signal import Holding, MarketView

FIRST = date(2021, 3, 1)


def day(number: int) -> date:
    """The date of the market's session `number`."""
    return FIRST + timedelta(days=number)


def path(now: float | None = 0.0, best: float | None = 0.0, held: int = 1) -> HeldPath:
    """A holding at a close of 100."""
    return HeldPath(held, 100.0, now, best)


@pytest.mark.parametrize(
    ("now", "leaves"), [(-0.06, True), (-0.0599, False), (-0.5, True), (0.1, False), (None, False)]
)
def test_stop_at_the_limit(now: float | None, leaves: bool) -> None:
    """6 % below the entry leaves, 5.99 % does not; an unknown return decides nothing."""
    assert (exits.stop(path(now), 0.06) is not None) is leaves
    assert exits.stop(path(now), None) is None


@pytest.mark.parametrize(("now", "leaves"), [(0.12, True), (0.1199, False), (0.5, True), (-0.2, False), (None, False)])
def test_target_at_the_limit(now: float | None, leaves: bool) -> None:
    """12 % above the entry leaves, 11.99 % does not."""
    assert (exits.target(path(now), 0.12) is not None) is leaves
    assert exits.target(path(now), None) is None


@pytest.mark.parametrize(
    ("best", "now", "leaves"),
    [
        (0.03, 1.03 * 0.95 - 1, True),  # armed exactly, fallen exactly
        (0.03, 1.03 * 0.9501 - 1, False),
        (0.0299, 1.0299 * 0.94 - 1, False),  # never armed
        (0.20, 1.20 * 0.95 - 1, True),  # still far above the entry
        (0.20, 0.20, False),
        (None, None, False),
    ],
)
def test_trailing_needs_arming_and_a_fall_from_the_best(best: float | None, now: float | None, leaves: bool) -> None:
    """5 % off the best close leaves, but only once +3 % was reached."""
    assert (exits.trailing(path(now, best), 0.05, 0.03) is not None) is leaves
    assert exits.trailing(path(now, best), None, 0.03) is None


def test_float_noise_at_the_limit_counts_as_reached() -> None:
    """94.00 bought at 100.00 is -6 % although binary floats say a hair less or more; so for the target."""
    assert exits.stop(path(-0.06 + 1e-12), 0.06) is not None
    assert exits.target(path(0.12 - 1e-12), 0.12) is not None


def test_longest_hold() -> None:
    """The 13th session leaves, the 12th does not, a day missed leaves later."""
    assert exits.max_hold(path(held=12), 13) is None
    assert exits.max_hold(path(held=13), 13) == "longest hold: held 13 sessions, at most 13"
    assert exits.max_hold(path(held=15), 13) is not None
    assert exits.max_hold(path(held=99), None) is None


def test_prediction_and_cci_say_nothing_where_missing() -> None:
    """Missing is not negative; zero is not below zero."""
    assert exits.prediction_turned(None, 0.0) is None
    assert exits.prediction_turned(0.0, 0.0) is None
    words = "prediction: predicted 3-day return -0.10 %, below +0.00 %"
    assert exits.prediction_turned(-0.001, 0.0) == words
    assert exits.cci_reversed(None, 0) is None
    assert exits.cci_reversed(0.0, 0) is None
    assert exits.cci_reversed(-1.0, 0) == "CCI reversed: signal -1, below 0"


def test_reasons_name_number_and_limit() -> None:
    """Each price reason carries what was seen and what was allowed."""
    assert exits.stop(path(-0.0712), 0.06) == "stop: -7.12 % since entry, limit -6.00 %"
    assert exits.target(path(0.1301), 0.12) == "target: +13.01 % since entry, target +12.00 %"
    assert exits.trailing(path(0.04, 0.10), 0.05, 0.03) == (
        "trailing stop: -5.45 % from the best close, limit -5.00 % (the best was +10.00 %, at or above +3.00 %)"
    )


def view(
    closes: dict[int, float], chained: dict[int, float] | None = None, splits: dict[int, float] | None = None
) -> MarketView:
    """A market of two names over sessions 0 to 9: AAPL with the bars given, XOM with all."""
    rows = [
        {
            "session": day(i),
            "instrument_id": "us:AAPL",
            "close": close,
            "chained_close": (chained or closes)[i],
            "split_coefficient": (splits or {}).get(i, 1.0),
        }
        for i, close in closes.items()
    ]
    rows += [
        {
            "session": day(i),
            "instrument_id": "us:XOM",
            "close": 50.0,
            "chained_close": 50.0,
            "split_coefficient": 1.0,
        }
        for i in range(10)
    ]
    return MarketView(day(9), pl.DataFrame(rows), None)


def holding(entry: int, price: str = "100", quantity: int = 10) -> Holding:
    """AAPL held since session `entry`."""
    return Holding("s", "us:AAPL", "AAPL", quantity, day(entry), Decimal(price))


def test_path_follows_the_closes_since_the_entry() -> None:
    """Sessions count from the entry's to this one, both included; the best close before the entry is not counted."""
    closes = {5: 300.0, 6: 101.0, 7: 110.0, 8: 108.0, 9: 95.0}
    followed = exits.held_path(view(closes), holding(6))
    assert followed is not None
    assert (followed.sessions_held, followed.close_usd) == (4, 95.0)
    assert followed.return_now == pytest.approx(-0.05)
    assert followed.return_best == pytest.approx(0.10)


def test_entered_this_session_has_been_held_one() -> None:
    """The entry price itself is the measure, not that day's close."""
    followed = exits.held_path(view({9: 95.0}), holding(9))
    assert followed is not None
    assert followed.sessions_held == 1
    assert followed.return_now == pytest.approx(-0.05)


def test_a_day_the_name_did_not_trade_still_counts() -> None:
    """Sessions are the market's: AAPL missing on session 8 was held through it."""
    followed = exits.held_path(view({7: 100.0, 9: 100.0}), holding(7))
    assert followed is not None
    assert followed.sessions_held == 3


def test_a_split_since_the_entry_is_no_loss() -> None:
    """Bought at 400, split 4 for 1: the book holds 40 shares at 100; the price as traded fell to 100, the return is 0."""
    closes, chained = {7: 400.0, 8: 100.0, 9: 102.0}, {7: 400.0, 8: 400.0, 9: 408.0}
    followed = exits.held_path(view(closes, chained, {8: 4.0}), holding(7, "100", 40))
    assert followed is not None
    assert followed.return_now == pytest.approx(0.02)
    assert followed.return_best == pytest.approx(0.02)


def test_a_split_on_the_entry_day_is_in_the_price_already() -> None:
    """A split effective at the entry session's open came before the fill."""
    closes, chained = {7: 100.0, 8: 100.0, 9: 103.0}, {7: 400.0, 8: 400.0, 9: 412.0}
    followed = exits.held_path(view(closes, chained, {7: 4.0}), holding(7))
    assert followed is not None
    assert followed.return_now == pytest.approx(0.03)


def test_a_dividend_since_the_entry_is_no_loss() -> None:
    """The price as traded fell by the 10 paid out; on the chained series it did not move."""
    closes, chained = {8: 100.0, 9: 90.0}, {8: 77.0, 9: 77.0}
    followed = exits.held_path(view(closes, chained), holding(8))
    assert followed is not None
    assert followed.return_now == pytest.approx(0.0)


def test_no_bar_this_session_is_no_path_and_is_told() -> None:
    """A halted name cannot be judged; it is listed, not forgotten."""
    seen = view({7: 100.0, 8: 50.0})
    assert exits.held_path(seen, holding(7)) is None
    ((told, words),) = exits.unjudged(seen, [holding(7)])
    assert told == holding(7)
    assert words == "AAPL has no usable bar at 2021-03-10: no exit can be decided"


def test_no_bar_at_the_entry_leaves_time_to_judge_and_is_told() -> None:
    """Without the entry's bar returns are unknown, the sessions held are not."""
    seen = view({8: 100.0, 9: 50.0})
    followed = exits.held_path(seen, holding(7))
    assert followed == HeldPath(3, 50.0, None, None)
    assert exits.stop(followed, 0.06) is None
    ((_, words),) = exits.unjudged(seen, [holding(7)])
    assert "no usable bar at its entry session 2021-03-08: stop, target and trailing stop cannot be judged" in words
    assert exits.unjudged(seen, [holding(8)]) == ()


@pytest.mark.parametrize("bad", [float("nan"), 0.0])
def test_an_unusable_close_is_no_path(bad: float) -> None:
    """NaN or zero is no price to leave at, and no entry to measure from."""
    assert exits.held_path(view({8: 100.0, 9: bad}), holding(8)) is None
    followed = exits.held_path(view({8: bad, 9: 100.0}), holding(8))
    assert followed is not None
    assert followed.return_now is None


def test_an_unknown_name_is_no_path() -> None:
    """A name the view does not have has no rows, and no neighbour's either."""
    stranger = Holding("s", "us:BBB", "BBB", 1, day(1), Decimal(1))
    assert exits.held_path(view({9: 1.0}), stranger) is None
    assert exits.instrument_rows(view({9: 1.0}).features, "us:BBB").is_empty()
