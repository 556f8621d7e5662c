"""Bollinger, boundary by boundary: what crosses a band, what does not, and what it says."""

from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pytest

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.strategies import build
from bar_fly_trading.strategies.bollinger import Bollinger
from bar_fly_trading.strategies.signal import Holding, MarketView, Purpose, Side, Signal, at_session

FIRST = date(2021, 3, 1)
Row = tuple[float | None, float | None, float | None]  # chained close, lower band, upper band
NAN = float("nan")


def table(
    *rows: Row, instrument: str = "us:AAPL", usd: tuple[float, ...] = (), splits: tuple[float, ...] = ()
) -> pl.DataFrame:
    """One name's feature rows on consecutive days; `usd`: closes as traded, the chained ones where not given."""
    return pl.DataFrame(
        {
            "session": [FIRST + timedelta(days=i) for i in range(len(rows))],
            "instrument_id": [instrument] * len(rows),
            "symbol": [instrument.removeprefix("us:")] * len(rows),
            "close": list(usd) or [close for close, _, _ in rows],
            "split_coefficient": list(splits) or [1.0] * len(rows),
            "chained_close": [close for close, _, _ in rows],
            "bbands_lower_20": [lower for _, lower, _ in rows],
            "bbands_upper_20": [upper for _, _, upper in rows],
        },
        schema_overrides=dict.fromkeys(("close", "chained_close", "bbands_lower_20", "bbands_upper_20"), pl.Float64),
    )


def view(frame: pl.DataFrame) -> MarketView:
    """The view whose newest session is the frame's."""
    newest = frame["session"].max()
    assert isinstance(newest, date)
    return MarketView(newest, frame, None)


def newest(frame: pl.DataFrame, strategy: Bollinger | None = None) -> tuple[Signal, ...]:
    """The signals of the newest session."""
    strategy = strategy or Bollinger()
    seen = view(frame)
    return at_session(strategy, strategy.signals(seen), seen.session)


def sides(*rows: Row) -> list[str]:
    """The sides signalled at the newest session of one name."""
    return [s.side.value for s in newest(table(*rows))]


def test_close_crossing_below_the_lower_band_is_a_buy() -> None:
    """Yesterday above the band, today below it: BUY to enter."""
    (signal,) = newest(table((100, 95, 105), (94, 95, 105)))
    assert (signal.side, signal.purpose, signal.strength) == (Side.BUY, Purpose.ENTRY, 0.2)


def test_touching_the_lower_band_is_a_buy_of_strength_zero() -> None:
    """A close exactly on the band has crossed it."""
    (signal,) = newest(table((100, 95, 105), (95, 95, 105)))
    assert (signal.side, signal.strength) == (Side.BUY, 0.0)


def test_a_hair_above_the_lower_band_is_nothing() -> None:
    """One cent above the band has not crossed."""
    assert sides((100, 95, 105), (95.01, 95, 105)) == []


def test_gap_through_the_lower_band_is_a_buy() -> None:
    """A fall straight through, far below, still signals, and stronger."""
    (signal,) = newest(table((100, 95, 105), (70, 90, 110)))
    assert (signal.side, signal.strength) == (Side.BUY, 2.0)


def test_gap_through_both_bands_is_only_a_buy() -> None:
    """From above the upper band to below the lower one: one signal."""
    assert sides((106, 95, 105), (94, 95, 105)) == ["BUY"]


def test_already_below_is_nothing() -> None:
    """Below yesterday and below today: the cross is past."""
    assert sides((94, 95, 105), (93, 95, 105)) == []


def test_on_the_band_yesterday_is_already_there() -> None:
    """Yesterday exactly on the band was the signal; falling on is none (strictly above is asked)."""
    assert sides((95, 95, 105), (90, 95, 105)) == []


def test_crossing_above_the_upper_band_is_a_sell_to_leave() -> None:
    """Yesterday below, today above: SELL, whose purpose is EXIT (no shorts), for a name nobody asked about."""
    (signal,) = newest(table((100, 95, 105), (106, 95, 105)))
    assert (signal.side, signal.purpose, signal.strength) == (Side.SELL, Purpose.EXIT, 0.2)


def test_touching_the_upper_band_is_a_sell() -> None:
    """A close exactly on the upper band has crossed it; already on it yesterday has not."""
    assert sides((100, 95, 105), (105, 95, 105)) == ["SELL"]
    assert sides((105, 95, 105), (107, 95, 105)) == []
    assert sides((107, 95, 105), (107, 95, 105)) == []


@pytest.mark.parametrize("bad", [None, NAN, float("inf"), float("-inf")])
@pytest.mark.parametrize("place", range(6))
def test_any_undefined_number_is_no_signal(place: int, bad: float | None) -> None:
    """A null, NaN or infinite close or band, yesterday or today, signals nothing where it is needed, on either side."""
    for today in (94.0, 106.0):
        numbers: list[float | None] = [100, 95, 105, today, 95, 105]
        numbers[place] = bad
        bought = today < 100
        # Yesterday's other band is not part of the question.
        if place == (2 if bought else 1):
            continue
        assert sides((numbers[0], numbers[1], numbers[2]), (numbers[3], numbers[4], numbers[5])) == []


@pytest.mark.parametrize("bad", [NAN, 0.0])
def test_a_close_as_traded_that_is_no_price_is_no_signal(bad: float) -> None:
    """The chained series crosses, but there is no price as traded to act on."""
    assert newest(table((100, 95, 105), (94, 95, 105), usd=(100.0, bad))) == ()


def test_two_rows_only_have_no_band_and_no_signal() -> None:
    """Two sessions cannot have a 20-day band."""
    assert sides((100, None, None), (50, None, None)) == []


def test_one_row_and_no_row_are_no_signal() -> None:
    """Without a session before there is nothing to cross from; an empty table has an empty answer."""
    assert sides((50, 95, 105)) == []
    empty = Bollinger().signals(MarketView(FIRST, table(), None)).frame
    assert empty.is_empty()
    assert empty.columns[:7] == ["session", "instrument_id", "symbol", "side", "purpose", "strength", "close"]


def test_a_stale_price_repeated_for_twenty_sessions_crosses_nothing() -> None:
    """Bands without width lie on the close: touching both is no news."""
    assert sides((100, 95, 105), (100, 100, 100)) == []
    assert sides((100, 95, 105), (100, 100 - 1e-12, 100 + 1e-12)) == []


def test_the_name_above_in_the_table_is_not_yesterday() -> None:
    """Another name's last row is not this name's session before."""
    frame = pl.concat([table((100, 95, 105), instrument="us:AAA"), table((94, 95, 105), instrument="us:BBB")])
    assert newest(frame) == ()


def test_split_day_is_no_false_signal() -> None:
    """A 4-for-1 split quarters the price as traded; on the chained series nothing happened."""
    frame = table((400, 380, 420), (401, 380, 420), usd=(400.0, 100.25), splits=(1.0, 4.0))
    assert newest(frame) == ()


def test_a_true_cross_on_a_split_day_is_told_in_dollars_as_traded() -> None:
    """Close and band are in today's dollars, yesterday's in yesterday's, and the split is named."""
    frame = table((400, 380, 420), (376, 380, 420), usd=(400.0, 94.0), splits=(1.0, 4.0))
    (signal,) = newest(frame)
    assert signal.close_usd == Decimal("94.0")
    assert signal.reason == (
        "AAPL closed at 94.00, at or below its lower 20-day Bollinger band of 95.00 (0.20 half-widths beyond it); "
        "the session before it closed at 400.00, above the band of 380.00 (in shares before the 4-for-1 split)."
    )
    assert dict(signal.observed)["band_usd"] == pytest.approx(95)
    assert dict(signal.observed)["previous_band_usd"] == pytest.approx(380)


def test_a_sell_in_words() -> None:
    """The sell names the upper band and both closes."""
    (signal,) = newest(table((100, 95, 105), (106, 95, 105), usd=(50.0, 53.0)))
    assert signal.reason == (
        "AAPL closed at 53.00, at or above its upper 20-day Bollinger band of 52.50 (0.20 half-widths beyond it); "
        "the session before it closed at 50.00, below the band of 52.50."
    )


def test_an_unsorted_table_is_refused() -> None:
    """Rows in another order would answer wrongly, so they are refused."""
    frame = table((100, 95, 105), (94, 95, 105))
    names_reversed = pl.concat([table((1, 1, 1), instrument="us:B"), table((1, 1, 1), instrument="us:A")])
    for wrong in (frame.reverse(), pl.concat([frame, frame]), names_reversed):
        with pytest.raises(ValueError, match="not sorted"):
            Bollinger().signals(MarketView(FIRST, wrong, None))


def held(quantity: int = 10, price: str = "100", strategy: str = "bollinger") -> Holding:
    """A holding entered at the first session."""
    return Holding(strategy, "us:AAPL", "AAPL", quantity, FIRST, Decimal(price))


def test_no_stop_and_no_longest_hold_unless_set() -> None:
    """By default only the band leaves: a loss of a third after years sells nothing."""
    frame = table(*[(100.0, 20.0, 180.0)] * 60, (66, 20, 180))
    assert Bollinger().exits(view(frame), [held()]) == ()


def test_stop_and_longest_hold_when_set() -> None:
    """Set, they leave, at the close, with number and limit."""
    frame = table((100, 20, 180), (94, 20, 180))
    (stopped,) = Bollinger(stop_fraction=0.06).exits(view(frame), [held()])
    assert stopped.reason == "AAPL: stop: -6.00 % since entry, limit -6.00 %; closed at 94.00."
    assert (stopped.side, stopped.purpose, stopped.strategy) == (Side.SELL, Purpose.EXIT, "bollinger")
    (aged,) = Bollinger(hold_sessions_max=2).exits(view(frame), [held()])
    assert "longest hold: held 2 sessions, at most 2" in aged.reason
    assert Bollinger(hold_sessions_max=3).exits(view(frame), [held()]) == ()


def test_what_the_band_already_sells_is_not_sold_twice() -> None:
    """On the day of an upper cross the signal table sells; exits() adds nothing for that name."""
    frame = table((100, 95, 105), (106, 95, 105))
    strategy = Bollinger(hold_sessions_max=1)
    assert [s.side for s in newest(frame, strategy)] == [Side.SELL]
    assert strategy.exits(view(frame), [held()]) == ()


def test_other_strategies_holdings_are_left_alone() -> None:
    """A strategy leaves only what it holds itself, and only what is long."""
    frame = table((100, 20, 180), (50, 20, 180))
    strategy = Bollinger(stop_fraction=0.06)
    assert strategy.exits(view(frame), [held(strategy="regression_momentum"), held(quantity=0)]) == ()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stop_fraction": 6}, "stop_fraction is 6.0; it must be above 0 and below 1"),
        ({"stop_fraction": -0.06}, "stop_fraction is -0.06"),
        ({"stop_fraction": NAN}, "stop_fraction is nan"),
        ({"hold_sessions_max": 0}, "hold_sessions_max is 0; it must be 1 or more"),
        ({"hold_sessions_max": 2.5}, "hold_sessions_max is 2.5, a float; it must be int or none"),
        ({"stop_fraction": True}, "stop_fraction is True, a bool; it must be float or none"),
        ({"hold_sessions_max": True}, "hold_sessions_max is True, a bool"),
        ({"stop_fraction": "0.06"}, "stop_fraction is '0.06', a str; it must be float or none"),
        ({"stop_fracton": 0.06}, "has no setting 'stop_fracton'. Did you mean 'stop_fraction'?"),
    ],
)
def test_wrong_numbers_are_refused_by_name(settings: dict[str, object], words: str) -> None:
    """Each wrong setting names itself, its value and the way out."""
    with pytest.raises(FixSettings) as caught:
        build("bollinger", settings)
    assert words in str(caught.value)


def test_unknown_strategy_is_refused_with_the_nearest_name() -> None:
    """A misspelt strategy is met with the name that was meant."""
    with pytest.raises(FixSettings, match=r"no strategy is called 'bolinger'. Did you mean 'bollinger'\?"):
        build("bolinger", {})
    with pytest.raises(FixSettings, match="Known: bollinger, regression_momentum"):
        build("zzz")


def test_build_keeps_defaults_and_takes_what_is_given() -> None:
    """A whole number for a fraction is a number; None switches off."""
    assert build("bollinger") == Bollinger()
    assert build("bollinger", {"stop_fraction": None, "hold_sessions_max": 13}) == Bollinger(None, 13)
    assert (build("bollinger").name, build("bollinger").needs_predictions) == ("bollinger", False)
