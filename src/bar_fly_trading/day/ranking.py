"""The evening's decision: every strategy's signals and exits, combined, ranked and tagged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bar_fly_trading.strategies.signal import Holding, MarketView, Purpose, Signal, Strategy, at_session
from bar_fly_trading.trading.plan import RankedSignal
from bar_fly_trading.trading.signal_combination import CombinationRefusal, CombinationRule, combine, combined_exits
from bar_fly_trading.trading.signal_ranker import RankingRules
from bar_fly_trading.trading.signal_ranker import rank as rank_signals


@dataclass(frozen=True, slots=True)
class RankRules:
    """How signals are combined and ranked. `sectors`: by instrument_id; a missing one counts as the sector "unknown".

    `outside`: instruments that may not be entered (outside the universe, delisted), each with the reason.
    """

    combinations: tuple[CombinationRule, ...] = ()
    ranking: RankingRules = field(default_factory=RankingRules)
    sectors: Mapping[str, str] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evening:
    """Where every signal of the session went: ranked, refused by a combination, or living on in a combined one.

    `unspoken`: strategies that need predictions where there were none, so said nothing. `outside`: instruments whose entries
    were dropped because they may not be entered, each with what was dropped and why.
    """

    ranked: tuple[RankedSignal, ...]
    refused: tuple[CombinationRefusal, ...] = ()
    combined: tuple[Signal, ...] = ()
    unspoken: tuple[str, ...] = ()
    outside: tuple[tuple[str, str], ...] = ()


def rank(view: MarketView, strategies: Sequence[Strategy], holdings: Sequence[Holding], rules: RankRules) -> Evening:
    """Ask every strategy for its signals and exits at the view's close, combine them, rank them; equal for any order.

    `holdings`: what each strategy holds in the book of its own mode. A strategy that needs predictions and gets none still
    decides its exits. Entries of instruments outside the universe are dropped before they are combined; exits never are.
    """
    by_name = {s.name: s for s in sorted(strategies, key=lambda s: s.name)}
    signals: list[Signal] = []
    unspoken: list[str] = []
    for name, strategy in by_name.items():
        if strategy.needs_predictions and view.predictions is None:
            unspoken.append(name)
        else:
            signals += at_session(strategy, strategy.signals(view), view.session)
        signals += strategy.exits(view, [h for h in holdings if h.strategy == name])
    signals += combined_exits(view, holdings, rules.combinations, by_name)
    signals, outside = _inside(signals, rules.outside)
    combination = combine(signals, view.predictions, rules.combinations)
    ranked = rank_signals(combination.signals, view.features, view.predictions, rules.sectors, rules.ranking)
    return Evening(ranked, combination.refused, combination.combined, tuple(unspoken), outside)


def _inside(signals: Sequence[Signal], outside: Mapping[str, str]) -> tuple[list[Signal], tuple[tuple[str, str], ...]]:
    """Return the signals without the entries that may not be made, and of each instrument of those what was dropped."""
    dropped: dict[str, list[Signal]] = {}
    for signal in signals:
        if signal.purpose is Purpose.ENTRY and signal.instrument_id in outside:
            dropped.setdefault(signal.instrument_id, []).append(signal)
    kept = [s for s in signals if s.purpose is not Purpose.ENTRY or s.instrument_id not in outside]
    words = [
        (i, f"{outside[i]}; dropped: " + ", ".join(sorted(f"{s.side.value} by {s.strategy}" for s in found)))
        for i, found in sorted(dropped.items())
    ]
    return kept, tuple(words)
