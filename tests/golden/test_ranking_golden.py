"""A small market in words: what each name did, and where the list must put it. Every number can be checked by hand."""

from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pytest

from bar_fly_trading.strategies import build
from bar_fly_trading.strategies.signal import MarketView, Purpose, Side, Signal, at_session
from bar_fly_trading.trading.signal_combination import CombinationRule, combine
from bar_fly_trading.trading.signal_ranker import RankingRules, only_watched, rank

SESSION = date(2021, 4, 20)

# Bands are 90 and 110 every day (half-width 10). `day before`: 95 unless said. Volume in million dollars a day, rise: the
# predicted probability of a rise in 3 days, 3 days: the predicted return.
MARKET = """
name  | sector    | today | 5 days ago | 20 days ago | volume | rise | 3 days | in words
CALM  | Utilities |  90.0 |  90.0      |  90.0       |  150   | 0.60 |  0.004 | touches its band, nothing else wrong
DEEP  | Energy    |  85.0 |  85.0      |  85.0       |   50   | 0.60 |  0.004 | half a half-width through its band
DEEP2 | Energy    |  85.0 |  85.0      |  85.0       |   50   | 0.60 |  0.004 | the same again: its sector is taken once
DEEP3 | Energy    |  85.0 |  85.0      |  85.0       |   50   | 0.60 |  0.004 | and again: its sector is full
KNIFE | Materials |  85.0 | 106.25     | 106.25      |   50   | 0.60 |  0.004 | as deep, but it fell 20 % in a week
THIN  | Health    |  80.0 |  80.0      |  80.0       |    4   | 0.90 |  0.004 | the strongest, but hardly traded
DOUBT | Finance   |  85.0 |  85.0      |  85.0       |   50   | 0.60 | -0.004 | as deep, but the model expects a fall
NEWS  | -         |  89.0 |  89.0      |  89.0       |   50   |  -   |  0.004 | no sector, no probability
ABOVE | Finance   |  91.0 |  91.0      |  91.0       |   50   | 0.60 |  0.004 | did not reach its band
HIGH  | Finance   | 112.0 | 100.0      | 100.0       |   50   | 0.60 |  0.004 | crossed its upper band: to be left
"""


def rows() -> list[dict[str, str]]:
    """The market's table, by column name."""
    header, *lines = ([cell.strip() for cell in line.split("|")] for line in MARKET.strip().splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def market() -> tuple[MarketView, dict[str, str]]:
    """The market as a view and its sectors."""
    table, sectors = [], {}
    for row in rows():
        closes = [95.0] * 21
        closes[0], closes[15], closes[20] = (float(row[k]) for k in ("20 days ago", "5 days ago", "today"))
        if row["sector"] != "-":
            sectors[f"us:{row['name']}"] = row["sector"]
        for i, close in enumerate(closes):
            table.append(
                {
                    "session": SESSION - timedelta(days=20 - i),
                    "instrument_id": f"us:{row['name']}",
                    "symbol": row["name"],
                    "close": close,
                    "chained_close": close,
                    "split_coefficient": 1.0,
                    "bbands_lower_20": 90.0,
                    "bbands_upper_20": 110.0,
                    "dollar_volume_median_20d": float(row["volume"]) * 1e6,
                }
            )
    predictions = pl.DataFrame(
        [
            {
                "session": SESSION,
                "instrument_id": f"us:{row['name']}",
                "return_3d": float(row["3 days"]),
                "probability_rise_3d": None if row["rise"] == "-" else float(row["rise"]),
            }
            for row in rows()
        ]
    )
    features = pl.DataFrame(table).sort("instrument_id", "session")
    return MarketView(SESSION, features, predictions), sectors


def bollinger_signals(view: MarketView) -> tuple[Signal, ...]:
    """Bollinger's word on the market."""
    strategy = build("bollinger")
    return at_session(strategy, strategy.signals(view), SESSION)


def test_the_small_market_is_ranked_as_a_person_would() -> None:
    """Exit first; the deep one, the calm one, then by what speaks against each; five criteria, one list."""
    view, sectors = market()
    ranked = rank(bollinger_signals(view), view.features, view.predictions, sectors, RankingRules())
    # Scores by hand, weights .25 strength, .25 rise, .15 volume, .15 sector, .20 recent:
    #   THIN  .25*4/5  + .25*.9 + .15*4/54 + .15*1 + .20*1 = .7861
    #   DEEP  .25*2/3  + .25*.6 + .15*1/2  + .15*1 + .20*1 = .7417   DOUBT the same: the next by instrument id
    #   DEEP2 .25*2/3  + .25*.6 + .15*1/2  + .15/2 + .20*1 = .6667
    #   DEEP3 ...                             .15/3        = .6417
    #   CALM  .25*0    + .25*.6 + .15*3/4  + .15*1 + .20*1 = .6125
    #   KNIFE .25*2/3  + .25*.6 + .15*1/2  + .15*1 + .20*0 = .5417
    #   NEWS  .25*.1/.35 + 0    + .15*1/2  + .15*1 + .20*1 = .4964
    assert [(r.rank, r.signal.symbol, r.tag, round(r.score, 4)) for r in ranked] == [
        (0, "HIGH", "execute", 0.0),
        (1, "THIN", "watch", 0.7861),
        (2, "DEEP", "execute", 0.7417),
        (3, "DOUBT", "execute", 0.7417),
        (4, "DEEP2", "execute", 0.6667),
        (5, "DEEP3", "watch", 0.6417),
        (6, "CALM", "execute", 0.6125),
        (7, "KNIFE", "execute", 0.5417),
        (8, "NEWS", "watch", 0.4964),
    ]
    assert {r.signal.symbol: r.tag_reason for r in ranked} == {
        "HIGH": "an exit is not ranked and never limited",
        "THIN": "20-day median dollar volume 4,000,000 USD is under 5,000,000 USD",
        "DEEP": "new entry 1 of at most 5",
        "DOUBT": "new entry 2 of at most 5",
        "DEEP2": "new entry 3 of at most 5",
        "DEEP3": "sector Energy already has 2 new entries, at most 2 a day",
        "CALM": "new entry 4 of at most 5",
        "KNIFE": "new entry 5 of at most 5",
        "NEWS": "5 better entries fill the day's maximum of 5; undefined and scored 0: confidence",
    }
    by_symbol = {r.signal.symbol: r for r in ranked}
    assert by_symbol["NEWS"].sector == "unknown"
    assert [(c.name, c.value) for c in by_symbol["KNIFE"].criteria] == [
        ("strength", 0.5),
        ("confidence", 0.6),
        ("dollar_volume", 50e6),
        ("sector", 0.0),
        ("recent_performance", pytest.approx(-0.2)),
    ]


def test_on_old_prices_the_same_list_is_only_to_watch() -> None:
    """Places, scores and order stay; every tag is watch, the exit's too, and each says first how old the prices are."""
    view, sectors = market()
    ranked = rank(bollinger_signals(view), view.features, view.predictions, sectors, RankingRules())
    old = "prices are old: they end 2021-04-20, 3 sessions, 3 days before 2021-04-23"
    watched = only_watched(ranked, old)
    assert [(r.rank, r.signal, r.score, r.criteria) for r in watched] == [
        (r.rank, r.signal, r.score, r.criteria) for r in ranked
    ]
    assert {r.tag for r in watched} == {"watch"}
    assert {r.signal.symbol: r.tag_reason for r in watched}["HIGH"] == old
    assert {r.signal.symbol: r.tag_reason for r in watched}["DEEP"] == f"{old} (new entry 1 of at most 5)"


def test_with_confirmation_the_doubted_name_is_refused_and_the_next_moves_up() -> None:
    """Bollinger BUY and predicted 3-day return > 0: DOUBT is refused with its number, NEWS takes the place left."""
    view, sectors = market()
    rule = CombinationRule("bollinger_confirmed", "any", ("bollinger",), predicted_return_3d_min=0.0)
    out = combine(bollinger_signals(view), view.predictions, [rule])
    assert [(r.signal.symbol, r.rule, r.observed, r.limit) for r in out.refused] == [
        ("DOUBT", "confirmation", "-0.004", "above 0")
    ]
    ranked = rank(out.signals, view.features, view.predictions, sectors, RankingRules())
    assert [(r.signal.symbol, r.signal.strategy) for r in ranked if r.tag == "execute"] == [
        ("HIGH", "bollinger"),
        ("DEEP", "bollinger_confirmed"),
        ("DEEP2", "bollinger_confirmed"),
        ("CALM", "bollinger_confirmed"),
        ("KNIFE", "bollinger_confirmed"),
        ("NEWS", "bollinger_confirmed"),
    ]


def test_one_signal_in_full() -> None:
    """The deep one as the strategy says it, word for word."""
    view, _ = market()
    deep = next(s for s in bollinger_signals(view) if s.symbol == "DEEP")
    assert deep == Signal(
        session=SESSION,
        strategy="bollinger",
        instrument_id="us:DEEP",
        symbol="DEEP",
        side=Side.BUY,
        purpose=Purpose.ENTRY,
        strength=0.5,
        close_usd=Decimal("85.0"),
        reason="DEEP closed at 85.00, at or below its lower 20-day Bollinger band of 90.00 (0.50 half-widths beyond it); "
        "the session before it closed at 95.00, above the band of 90.00.",
        observed=(
            ("band_usd", 90.0),
            ("half_width_usd", 10.0),
            ("previous_close_usd", 95.0),
            ("previous_band_usd", 90.0),
            ("split_coefficient", 1.0),
        ),
    )
