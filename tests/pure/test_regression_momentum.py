"""Regression momentum: what enters, what leaves, in which order, and what a missing number does."""

from dataclasses import fields, replace
from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pytest

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.strategies import build
from bar_fly_trading.strategies.regression_momentum import RegressionMomentum
from bar_fly_trading.strategies.signal import Holding, MarketView, Purpose, Side, Signal, at_session

FIRST = date(2021, 3, 1)
NAN = float("nan")
INF = float("inf")


def day(number: int) -> date:
    """The date of the market's session `number`."""
    return FIRST + timedelta(days=number)


def features(closes: list[float], *, adx: int | None = 1, cci: int | None = 0, name: str = "us:AAPL") -> pl.DataFrame:
    """One name's rows on consecutive sessions; chained equal to traded."""
    count = len(closes)
    return pl.DataFrame(
        {
            "session": [day(i) for i in range(count)],
            "instrument_id": [name] * count,
            "symbol": [name.removeprefix("us:")] * count,
            "close": closes,
            "chained_close": closes,
            "split_coefficient": [1.0] * count,
            "adx_14": [31.25] * count,
            "adx_signal": [adx] * count,
            "cci_signal": [cci] * count,
        },
        schema_overrides={"adx_signal": pl.Int8, "cci_signal": pl.Int8},
    )


def predictions(
    return_3d: float | None, return_10d: float | None, session: date = FIRST, name: str = "us:AAPL"
) -> pl.DataFrame:
    """One name's prediction at one session."""
    return pl.DataFrame(
        {"session": [session], "instrument_id": [name], "return_3d": [return_3d], "return_10d": [return_10d]},
        schema_overrides={"return_3d": pl.Float64, "return_10d": pl.Float64},
    )


def entries(
    return_3d: float | None,
    return_10d: float | None,
    adx: int | None = 1,
    close: float = 45.1,
    strategy: RegressionMomentum | None = None,
) -> tuple[Signal, ...]:
    """The signals of a one-session market."""
    strategy = strategy or RegressionMomentum()
    view = MarketView(FIRST, features([close], adx=adx), predictions(return_3d, return_10d))
    return at_session(strategy, strategy.signals(view), FIRST)


def test_predictions_are_fractions_eleven_thousandths_enter_and_nine_do_not() -> None:
    """A predicted 3-day return of 0.011 (1.1 %) enters; 0.009 (0.9 %) does not."""
    assert [(s.side, s.purpose) for s in entries(0.011, 0.03)] == [(Side.BUY, Purpose.ENTRY)]
    assert entries(0.009, 0.03) == ()


@pytest.mark.parametrize(
    ("return_3d", "return_10d", "adx", "enters"),
    [
        (0.011, 0.021, 1, True),
        (0.01, 0.03, 1, False),  # exactly the threshold is not above it
        (0.02, 0.02, 1, False),
        (0.02, 0.019, 1, False),
        (0.02, 0.03, 0, False),
        (0.02, 0.03, -1, False),
        (0.02, 0.03, None, False),
        (None, 0.03, 1, False),
        (0.02, None, 1, False),
        (NAN, 0.03, 1, False),
        (0.02, NAN, 1, False),
        (INF, 0.03, 1, False),
        (0.02, INF, 1, False),
        (-0.02, -0.03, 1, False),
    ],
)
def test_entry_boundaries(return_3d: float | None, return_10d: float | None, adx: int | None, enters: bool) -> None:
    """Both predictions strictly above, ADX signal positive, nothing missing."""
    assert bool(entries(return_3d, return_10d, adx)) is enters


def test_a_close_that_is_no_price_enters_nothing() -> None:
    """NaN and zero closes cannot be bought."""
    assert entries(0.02, 0.03, close=NAN) == ()
    assert entries(0.02, 0.03, close=0.0) == ()


def test_an_entry_in_words_and_numbers() -> None:
    """Each number stands beside its threshold; strength is percentage points beyond it."""
    (signal,) = entries(0.0135, 0.028)
    assert signal.reason == (
        "AAPL closed at 45.10: predicted 3-day return +1.35 % (above +1.00 %), 10-day +2.80 % (above +2.00 %), "
        "ADX signal 1 (ADX 31.2)."
    )
    assert signal.strength == pytest.approx(0.35)
    assert signal.close_usd == Decimal("45.1")
    assert signal.observed == (("return_3d", 0.0135), ("return_10d", 0.028), ("adx_14", 31.25), ("adx_signal", 1.0))


def test_without_predictions_nothing_enters() -> None:
    """No model: an empty table of the same columns."""
    view = MarketView(FIRST, features([45.1]), None)
    table = RegressionMomentum().signals(view).frame
    full = RegressionMomentum().signals(replace(view, predictions=predictions(0.02, 0.03))).frame
    assert table.is_empty()
    assert table.schema == full.schema
    assert full.height == 1


def test_a_session_alone_equals_its_row_among_many() -> None:
    """With predictions for many sessions, each session's entries are those of a view that ends there."""
    frame = pl.concat([features([50.0] * 30), features([60.0] * 30, name="us:BBB")])
    values = [0.009 + 0.001 * (i % 5) for i in range(30)]
    many = pl.concat(predictions(v, 0.03, day(i), name) for name in ("us:AAPL", "us:BBB") for i, v in enumerate(values))
    strategy = RegressionMomentum()
    table = strategy.signals(MarketView(day(29), frame, many)).frame
    assert table.height == 2 * sum(v > 0.01 for v in values)
    assert table.select("session", "instrument_id").rows() == sorted(table.select("session", "instrument_id").rows())
    for i in range(30):
        session = day(i)
        alone = MarketView(
            session, frame.filter(pl.col("session") <= session), many.filter(pl.col("session") == session)
        )
        assert strategy.signals(alone).frame.equals(table.filter(pl.col("session") == session))


def test_predictions_of_an_older_session_do_not_enter_today() -> None:
    """A prediction counts at its own session only."""
    view = MarketView(day(1), features([45.1, 45.1]), predictions(0.02, 0.03, day(0)))
    strategy = RegressionMomentum()
    assert at_session(strategy, strategy.signals(view), day(1)) == ()


def leaving(
    closes: list[float],
    *,
    cci: int | None = 0,
    predicted: float | None = 0.02,
    strategy: RegressionMomentum | None = None,
    price: str = "100",
) -> list[str]:
    """The reasons to leave AAPL, bought at session 0 for 100, at the last of the closes."""
    newest = day(len(closes) - 1)
    seen = None if predicted is None else predictions(predicted, 0.03, newest)
    view = MarketView(newest, features(closes, cci=cci), seen)
    holding = Holding("regression_momentum", "us:AAPL", "AAPL", 10, FIRST, Decimal(price))
    return [s.reason for s in (strategy or RegressionMomentum()).exits(view, [holding])]


def test_nothing_wrong_holds_on() -> None:
    """A quiet position with a positive prediction stays."""
    assert leaving([100.0, 101.0, 102.0]) == []


def test_the_stop_does_not_wait_for_the_minimum() -> None:
    """6 % down on the day of entry leaves next morning."""
    assert leaving([94.0]) == ["AAPL: stop: -6.00 % since entry, limit -6.00 %; closed at 94.00."]
    assert leaving([94.01]) == []


def test_the_target_does_not_wait_either() -> None:
    """12 % up on the day of entry leaves."""
    assert leaving([112.0]) == ["AAPL: target: +12.00 % since entry, target +12.00 %; closed at 112.00."]
    assert leaving([111.99]) == []


def test_the_trailing_stop_is_armed_at_three_percent() -> None:
    """From +3 % a fall of 5 % leaves; from +2.9 % it does not."""
    assert leaving([103.0, 97.85])[0].startswith("AAPL: trailing stop: -5.00 % from the best close, limit -5.00 %")
    assert leaving([102.9, 97.0]) == []


def test_the_longest_hold_is_thirteen_sessions() -> None:
    """Decided at the 13th close, so that the sale next morning ends 13 sessions; not at the 12th."""
    assert leaving([100.0] * 12) == []
    assert leaving([100.0] * 13) == ["AAPL: longest hold: held 13 sessions, at most 13; closed at 100.00."]


def test_a_negative_prediction_waits_for_two_sessions() -> None:
    """Held one session it stays; held two it leaves."""
    assert leaving([100.0], predicted=-0.001) == []
    words = "AAPL: prediction: predicted 3-day return -0.10 %, below +0.00 %; closed at 100.00."
    assert leaving([100.0] * 2, predicted=-0.001) == [words]
    assert leaving([100.0] * 2, predicted=0.0) == []


def test_a_reversed_cci_waits_for_two_sessions() -> None:
    """The same for CCI; zero is no reversal."""
    assert leaving([100.0], cci=-1) == []
    assert leaving([100.0] * 2, cci=-1) == ["AAPL: CCI reversed: signal -1, below 0; closed at 100.00."]
    assert leaving([100.0] * 2, cci=0) == []
    assert leaving([100.0] * 2, cci=None) == []


@pytest.mark.parametrize("missing", [None, NAN])
def test_a_missing_prediction_is_not_a_negative_one(missing: float | None) -> None:
    """Without a prediction the others still judge, and that rule alone is silent."""
    assert leaving([100.0] * 3, predicted=missing) == []
    assert leaving([100.0, 94.0], predicted=missing)[0].startswith("AAPL: stop")
    assert leaving([100.0] * 3, predicted=missing, cci=-1)[0].startswith("AAPL: CCI reversed")


def test_an_older_sessions_prediction_does_not_leave() -> None:
    """A backtest holds many sessions' predictions; only this session's counts."""
    older = predictions(-0.1, 0.03, day(1))
    view = MarketView(day(2), features([100.0] * 3), older)
    holding = Holding("regression_momentum", "us:AAPL", "AAPL", 10, FIRST, Decimal(100))
    assert RegressionMomentum().exits(view, [holding]) == ()


def test_the_first_of_several_reasons_is_named() -> None:
    """Stop, target, trailing, longest hold, prediction, CCI: the first that applies is the reason."""
    long = [100.0] * 11
    everything = RegressionMomentum(hold_sessions_max=13)
    assert leaving([*long, 120.0, 90.0], predicted=-0.1, cci=-1, strategy=everything)[0].startswith("AAPL: stop")
    assert leaving([*long, 140.0, 120.0], predicted=-0.1, cci=-1)[0].startswith("AAPL: target")
    assert leaving([*long, 105.0, 99.0], predicted=-0.1, cci=-1)[0].startswith("AAPL: trailing stop")
    assert leaving([*long, 100.0, 100.0], predicted=-0.1, cci=-1)[0].startswith("AAPL: longest hold")
    assert leaving(long, predicted=-0.1, cci=-1)[0].startswith("AAPL: prediction")
    assert leaving(long, predicted=0.1, cci=-1)[0].startswith("AAPL: CCI")


def test_an_exit_signal_carries_its_numbers() -> None:
    """SELL to leave, strength 0, with every number the rules looked at."""
    view = MarketView(day(1), features([103.0, 94.0], cci=-1), predictions(-0.02, 0.03, day(1)))
    holding = Holding("regression_momentum", "us:AAPL", "AAPL", 10, FIRST, Decimal(100))
    (signal,) = RegressionMomentum().exits(view, [holding])
    assert (signal.side, signal.purpose, signal.strength, signal.session) == (Side.SELL, Purpose.EXIT, 0.0, day(1))
    observed = dict(signal.observed)
    assert observed["sessions_held"] == 2
    assert observed["return_since_entry"] == pytest.approx(-0.06)
    assert observed["return_best"] == pytest.approx(0.03)
    assert (observed["return_3d"], observed["cci_signal"]) == (-0.02, -1.0)


def test_exits_come_in_the_same_order_whatever_the_holdings_order() -> None:
    """Two names, both orders: the same signals; another strategy's holding is left alone."""
    frame = pl.concat([features([90.0]), features([80.0], name="us:BBB")])
    view = MarketView(FIRST, frame, None)
    one = Holding("regression_momentum", "us:AAPL", "AAPL", 10, FIRST, Decimal(100))
    two = replace(one, instrument_id="us:BBB", symbol="BBB")
    other = replace(one, strategy="bollinger")
    left = RegressionMomentum().exits(view, [two, other, one])
    assert [s.instrument_id for s in left] == ["us:AAPL", "us:BBB"]
    assert RegressionMomentum().exits(view, [one, two]) == left


def test_every_number_is_a_field_and_moves_its_boundary() -> None:
    """Each of the strategy's numbers, moved, changes what it decides."""
    assert entries(0.011, 0.03, strategy=RegressionMomentum(predicted_return_3d_min=0.012)) == ()
    assert entries(0.011, 0.03, strategy=RegressionMomentum(predicted_return_10d_min=0.03)) == ()
    assert entries(0.011, 0.03, adx=0, strategy=RegressionMomentum(adx_signal_min=0)) != ()
    moved = {
        "hold_sessions_min": (RegressionMomentum(hold_sessions_min=3), [100.0] * 2, -0.1, 0),
        "hold_sessions_max": (RegressionMomentum(hold_sessions_max=14), [100.0] * 13, 0.1, 0),
        "stop_fraction": (RegressionMomentum(stop_fraction=0.07), [94.0], 0.1, 0),
        "target_fraction": (RegressionMomentum(target_fraction=None), [112.0], 0.1, 0),
        "trailing_fraction": (RegressionMomentum(trailing_fraction=0.06), [103.0, 97.85], 0.1, 0),
        "trailing_after_fraction": (RegressionMomentum(trailing_after_fraction=0.04), [103.0, 97.85], 0.1, 0),
        "predicted_return_3d_exit": (RegressionMomentum(predicted_return_3d_exit=-0.2), [100.0] * 2, -0.1, 0),
        "cci_signal_exit": (RegressionMomentum(cci_signal_exit=-1), [100.0] * 2, 0.1, -1),
    }
    for strategy, closes, predicted, cci in moved.values():
        assert leaving(closes, predicted=predicted, cci=cci) != []
        assert leaving(closes, predicted=predicted, cci=cci, strategy=strategy) == []
    entry = {"predicted_return_3d_min", "predicted_return_10d_min", "adx_signal_min"}
    assert {f.name for f in fields(RegressionMomentum)} == {*moved, *entry}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"predicted_return_3d_min": 1.0}, "predicted_return_3d_min is 1.0; it must be between -1 and 1"),
        ({"predicted_return_10d_min": NAN}, "predicted_return_10d_min is nan"),
        ({"hold_sessions_max": 1}, "hold_sessions_max is 1; it must be 2 or more"),
        ({"hold_sessions_min": 0}, "hold_sessions_min is 0; it must be 1 or more"),
        ({"stop_fraction": 6.0}, "stop_fraction is 6.0; it must be above 0 and below 1"),
        ({"trailing_fraction": -0.05}, "trailing_fraction is -0.05"),
        ({"trailing_after_fraction": None}, "trailing_after_fraction is None, a NoneType; it must be float"),
        ({"target": 0.12}, "has no setting 'target'"),
    ],
)
def test_wrong_numbers_are_refused_by_name(settings: dict[str, object], words: str) -> None:
    """Each wrong setting names itself and its value."""
    with pytest.raises(FixSettings) as caught:
        build("regression_momentum", settings)
    assert words in str(caught.value)


def test_the_catalogue_builds_it() -> None:
    """By name, with its defaults."""
    strategy = build("regression_momentum")
    assert strategy == RegressionMomentum()
    assert (strategy.name, strategy.needs_predictions) == ("regression_momentum", True)
