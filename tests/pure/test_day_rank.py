"""The evening's rank: signals and exits of every strategy, combined and ranked, the same whatever the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from bar_fly_trading.day import RankRules, rank
from bar_fly_trading.strategies.signal import (
    SIGNAL_COLUMNS,
    Holding,
    MarketView,
    Purpose,
    Side,
    Signal,
    SignalTable,
)
from bar_fly_trading.trading.signal_combination import CombinationRule

EVENING = date(2021, 4, 20)
VIEW = MarketView(
    EVENING,
    pl.DataFrame(
        {
            "session": [EVENING, EVENING],
            "instrument_id": ["us:X", "us:Y"],
            "symbol": ["X", "Y"],
            "chained_close": [100.0, 50.0],
            "dollar_volume_median_20d": [6e7, 5e7],
        }
    ),
    None,
)


@dataclass(frozen=True)
class Says:
    """A strategy that buys what it is told and leaves all that it holds."""

    name: str
    buys: tuple[str, ...]
    needs_predictions: bool = False

    def signals(self, view: MarketView) -> SignalTable:
        """Its purchases."""
        rows = [(EVENING, f"us:{s}", s, "BUY", "ENTRY", 1.0, 100.0) for s in self.buys]
        return SignalTable(self.name, pl.DataFrame(rows, schema=SIGNAL_COLUMNS, orient="row"))

    def explain(self, row: dict[str, object]) -> str:
        """Its words."""
        return f"{self.name} likes {row['symbol']}"

    def exits(self, view: MarketView, holdings: Sequence[Holding]) -> tuple[Signal, ...]:
        """Its exits."""
        return tuple(
            Signal(EVENING, h.strategy, h.instrument_id, h.symbol, Side.SELL, Purpose.EXIT, 0.0, Decimal(100), "out")
            for h in holdings
        )


def test_exits_come_first_and_combinations_end_what_they_refuse() -> None:
    """Exits lead, each strategy sees its own holdings alone, a rule of two refuses what one says, the rest is ranked."""
    strategies = [
        Says("a", ("X", "Y")),
        Says("b", ("Y",)),
        Says("c", ("X",)),
        Says("d", ("X",), needs_predictions=True),
    ]
    holdings = [Holding(s, "us:X", "X", 5, EVENING, Decimal(9)) for s in ("c", "d", "e")]
    rules = RankRules((CombinationRule("both", "all", ("a", "b")),), sectors={"us:X": "Energy"})
    evening = rank(VIEW, strategies, holdings, rules)
    assert [(r.signal.strategy, r.signal.symbol, r.signal.side.value) for r in evening.ranked][:2] == [
        ("c", "X", "SELL"),
        ("d", "X", "SELL"),
    ]
    assert {(r.signal.strategy, r.signal.symbol) for r in evening.ranked[2:]} == {("both", "Y"), ("c", "X")}
    assert [r.signal.symbol for r in evening.refused] == ["X"]
    assert [s.strategy for s in evening.combined] == ["a", "b"]
    assert evening.unspoken == ("d",)
    assert rank(VIEW, strategies[::-1], holdings[::-1], rules) == evening
