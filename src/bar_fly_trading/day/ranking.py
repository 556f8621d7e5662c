"""The evening's decision: every strategy's signals and exits, combined, ranked and tagged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bar_fly_trading.strategies.signal import Holding, MarketView, Signal, Strategy, at_session
from bar_fly_trading.trading.plan import RankedSignal
from bar_fly_trading.trading.signal_combination import CombinationRefusal, CombinationRule, combine, combined_exits
from bar_fly_trading.trading.signal_ranker import RankingRules
from bar_fly_trading.trading.signal_ranker import rank as rank_signals


@dataclass(frozen=True, slots=True)
class RankRules:
    """How signals are combined and ranked. `sectors`: by instrument_id; a missing one counts as the sector "unknown"."""

    combinations: tuple[CombinationRule, ...] = ()
    ranking: RankingRules = field(default_factory=RankingRules)
    sectors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evening:
    """Where every signal of the session went: ranked, refused by a combination, or living on in a combined one.

    `unspoken`: strategies that need predictions where there were none, so said nothing.
    """

    ranked: tuple[RankedSignal, ...]
    refused: tuple[CombinationRefusal, ...] = ()
    combined: tuple[Signal, ...] = ()
    unspoken: tuple[str, ...] = ()


def rank(view: MarketView, strategies: Sequence[Strategy], holdings: Sequence[Holding], rules: RankRules) -> Evening:
    """Ask every strategy for its signals and exits at the view's close, combine them, rank them; equal for any order.

    `holdings`: what each strategy holds in the book of its own mode. A strategy that needs predictions and gets none still
    decides its exits.
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
    combination = combine(signals, view.predictions, rules.combinations)
    ranked = rank_signals(combination.signals, view.features, view.predictions, rules.sectors, rules.ranking)
    return Evening(ranked, combination.refused, combination.combined, tuple(unspoken))
