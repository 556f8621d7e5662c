"""Combination: several strategies' entries become one where a rule's members agree, and a prediction may be asked to confirm.

A strategy named as a member of a rule trades through rules alone: its entries are combined or refused, never passed on as
they are. Exits and the entries of other strategies pass unchanged. A combination's holdings are left when a member says so
(`combined_exits`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import polars as pl

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.strategies.signal import Holding, MarketView, Purpose, Signal, Strategy, at_session

RULES = ("any", "all", "weighted")


@dataclass(frozen=True, slots=True)
class CombinationRule:
    """One way to combine; `name` becomes the strategy of the combined signals.

    `rule`: any member, all members, or weighted (the weights of the members that agree add up to `threshold` or more).
    `weights`: one a member, in their order, for weighted only. `predicted_return_3d_min`: a fraction that the predicted
    3-day return must exceed (strictly); None asks for no confirmation. FixSettings where the numbers make no rule.
    """

    name: str
    rule: str
    members: tuple[str, ...]
    weights: tuple[float, ...] = ()
    threshold: float = 0.0
    predicted_return_3d_min: float | None = None

    def __post_init__(self) -> None:
        if not self.name or self.name in self.members:
            raise self._fault(f"name is {self.name!r}", "Give it a name that is not empty and none of its members'.")
        if self.rule not in RULES:
            raise self._fault(f"rule is {self.rule!r}", f"Write one of {', '.join(RULES)}.")
        if not self.members or len(set(self.members)) != len(self.members):
            raise self._fault(f"members are {self.members}", "Name at least one strategy, each once.")
        if self.rule == "weighted":
            self._check_weights()
        elif self.weights:
            raise self._fault(f"rule {self.rule} has weights", 'Leave them out, or write rule = "weighted".')
        confirmation = self.predicted_return_3d_min
        if confirmation is not None and not -1 < confirmation < 1:
            raise self._fault(f"predicted_return_3d_min is {confirmation}", "Write a fraction: 0.01 means 1 %.")

    @classmethod
    def of(
        cls,
        name: str,
        rule: str,
        members: Sequence[str],
        weights: Mapping[str, float],
        threshold: float,
        predicted_return_3d_min: float | None,
    ) -> CombinationRule:
        """Make a rule from settings, where weights go by member; FixSettings for a weight of no member, or one missing."""
        named = tuple(members)
        if odd := sorted(set(weights) - set(named)):
            raise FixSettings(
                f"combination {name!r}: weight for {odd[0]!r}, which is no member.",
                way_out=f"Members: {', '.join(named)}.",
            )
        missing = [m for m in named if m not in weights]
        if rule == "weighted" and missing:
            raise FixSettings(f"combination {name!r}: member {missing[0]!r} has no weight.", way_out="Give it one.")
        in_order = tuple(float(weights[m]) for m in named if m in weights)
        return cls(name, rule, named, in_order, threshold, predicted_return_3d_min)

    def _check_weights(self) -> None:
        if len(self.weights) != len(self.members):
            raise self._fault(f"{len(self.weights)} weights, {len(self.members)} members", "Give one weight a member.")
        if not all(math.isfinite(w) and w >= 0 for w in self.weights):
            raise self._fault(f"weights are {self.weights}", "Give finite weights of 0 or more.")
        if not 0 < _exact(self.threshold) <= sum(map(_exact, self.weights)):
            raise self._fault(
                f"threshold is {self.threshold}, the weights add up to {sum(map(_exact, self.weights))}",
                "Give a threshold above 0 that all members together reach.",
            )

    def _fault(self, what: str, way_out: str) -> FixSettings:
        return FixSettings(f"combination {self.name!r}: {what}.", way_out=way_out)

    def agreement(self, present: Sequence[str]) -> tuple[bool, str, str]:
        """Return whether the members present are enough, with what was observed and the limit, in words."""
        there = [m for m in self.members if m in present]
        observed = ", ".join(there)
        if self.rule == "any":
            return bool(there), observed, f"any of {', '.join(self.members)}"
        if self.rule == "all":
            return len(there) == len(self.members), observed, f"all of {', '.join(self.members)}"
        reached = sum((_exact(w) for m, w in zip(self.members, self.weights, strict=True) if m in there), Decimal(0))
        return reached >= _exact(self.threshold), f"{observed}: weight {reached}", f"weight {self.threshold}"


@dataclass(frozen=True, slots=True)
class CombinationRefusal:
    """An entry refused by a combination: the combination, what refused (agreement or confirmation), observed and limit."""

    signal: Signal
    combination: str
    rule: str
    observed: str
    limit: str
    reason: str


@dataclass(frozen=True, slots=True)
class Combination:
    """Where every signal went: `signals` go on (passed and new), `refused` ended here, `combined` live on in a new signal.

    Each signal that came in is in exactly one of: `signals` (unchanged), `refused`, `combined`.
    """

    signals: tuple[Signal, ...]
    refused: tuple[CombinationRefusal, ...] = ()
    combined: tuple[Signal, ...] = ()


def combine(
    signals: Sequence[Signal], predictions: pl.DataFrame | None, rules: Sequence[CombinationRule]
) -> Combination:
    """Apply the rules to one session's signals; in sort-key order, whatever the order they came in.

    A signal that one rule combines and another refuses is combined; one that several refuse carries the first rule's words.
    A missing, null or NaN prediction refuses the entries that need it. Two strategies' signals for one instrument are left
    to the day.
    """
    _check_names(rules)
    ordered = sorted(signals, key=Signal.sort_key)
    members = {m for rule in rules for m in rule.members}
    entering = [s for s in ordered if s.purpose is Purpose.ENTRY and s.strategy in members]
    passed = [s for s in ordered if not (s.purpose is Purpose.ENTRY and s.strategy in members)]
    predicted = _predicted_3d(predictions)
    made: list[Signal] = []
    combined: set[Signal] = set()
    refused: dict[Signal, CombinationRefusal] = {}
    for rule in rules:
        for group in _groups(entering, rule):
            refusal = _refusal(rule, group, predicted)
            if refusal is None:
                made.append(_combined_signal(rule, group, predicted))
                combined.update(group)
                continue
            what, observed, limit, reason = refusal
            for signal in group:
                refused.setdefault(signal, CombinationRefusal(signal, rule.name, what, observed, limit, reason))
    return Combination(
        signals=tuple(sorted([*passed, *made], key=Signal.sort_key)),
        refused=tuple(refused[s] for s in entering if s in refused and s not in combined),
        combined=tuple(s for s in entering if s in combined),
    )


def combined_exits(
    view: MarketView,
    holdings: Sequence[Holding],
    rules: Sequence[CombinationRule],
    strategies: Mapping[str, Strategy],
) -> tuple[Signal, ...]:
    """Return the exits of what the combinations hold: a member that would leave the holding were it its own, decides.

    One exit an instrument and combination; where several members would leave, the first in the rule's order is named.
    Members that are not among `strategies` decide nothing.
    """
    found: list[Signal] = []
    for rule in rules:
        held = [h for h in holdings if h.strategy == rule.name and h.quantity > 0]
        ids = {h.instrument_id for h in held}
        left: set[str] = set()
        if not held:
            continue
        # The exits count the market's sessions, so they see the whole view; the bands need the held names alone.
        own_names = replace(view, features=view.features.filter(pl.col("instrument_id").is_in(sorted(ids))))
        for member in rule.members:
            strategy = strategies.get(member)
            if strategy is None:
                continue
            own = strategy.exits(view, [replace(h, strategy=member) for h in held])
            sold = at_session(strategy, strategy.signals(own_names), view.session)
            for signal in (*own, *(s for s in sold if s.purpose is Purpose.EXIT)):
                if signal.instrument_id in ids - left:
                    left.add(signal.instrument_id)
                    found.append(replace(signal, strategy=rule.name, reason=f"{member} leaves: {signal.reason}"))
    return tuple(sorted(found, key=Signal.sort_key))


def _exact(number: float) -> Decimal:
    # As the person wrote it: 0.1 + 0.2 reaches a threshold of 0.3, 0.7 + 0.1 one of 0.8.
    return Decimal(repr(number)) if math.isfinite(number) else Decimal(-1)


def _check_names(rules: Sequence[CombinationRule]) -> None:
    names = [rule.name for rule in rules]
    for rule in rules:
        if names.count(rule.name) > 1:
            raise FixSettings(f"two combinations are called {rule.name!r}.", way_out="Give each a name of its own.")
        if other := next((r.name for r in rules if rule.name in r.members), None):
            raise FixSettings(
                f"combination {other!r} has the combination {rule.name!r} as a member.",
                way_out="Members are strategies, not combinations.",
            )


def _groups(entering: Sequence[Signal], rule: CombinationRule) -> list[list[Signal]]:
    """Return the members' entries by session, instrument and side, in that order, each group in the rule's order."""
    groups: dict[tuple[str, str, str], list[Signal]] = {}
    for member in rule.members:
        for signal in entering:
            if signal.strategy == member:
                key = (signal.session.isoformat(), signal.instrument_id, signal.side.value)
                groups.setdefault(key, []).append(signal)
    return [groups[key] for key in sorted(groups)]


def _refusal(
    rule: CombinationRule, group: Sequence[Signal], predicted: Mapping[tuple[str, str], float]
) -> tuple[str, str, str, str] | None:
    """Return rule, observed, limit and words where the group does not pass, None where it does."""
    agreed, observed, limit = rule.agreement([s.strategy for s in group])
    symbol = group[0].symbol
    if not agreed:
        return "agreement", observed, limit, f"{symbol}: {rule.name} needs {limit}; there is {observed}."
    least = rule.predicted_return_3d_min
    if least is None:
        return None
    value = predicted.get((group[0].session.isoformat(), group[0].instrument_id))
    if value is not None and value > least:
        return None
    observed = "no prediction" if value is None else f"{value:.6g}"
    words = f"{symbol}: {rule.name} needs a predicted 3-day return above {least:.6g}; there is {observed}."
    return "confirmation", observed, f"above {least:.6g}", words


def _combined_signal(
    rule: CombinationRule, group: Sequence[Signal], predicted: Mapping[tuple[str, str], float]
) -> Signal:
    """Make one signal of a group that agrees: the strongest member's strength, every member's numbers and words."""
    _, observed, limit = rule.agreement([s.strategy for s in group])
    numbers = [(f"{s.strategy}.{name}", value) for s in group for name, value in s.observed]
    confirmed = ""
    if rule.predicted_return_3d_min is not None:
        value = predicted[group[0].session.isoformat(), group[0].instrument_id]
        numbers.append(("predicted_return_3d", value))
        confirmed = f", predicted 3-day return {value:.6g} above {rule.predicted_return_3d_min:.6g}"
    words = " ".join(f"[{s.strategy}] {s.reason}" for s in group)
    return replace(
        group[0],
        strategy=rule.name,
        strength=max(s.strength for s in group),
        reason=f"{rule.name}: {observed} (needs {limit}){confirmed}. {words}",
        observed=tuple(numbers),
    )


def _predicted_3d(predictions: pl.DataFrame | None) -> dict[tuple[str, str], float]:
    """Return the finite predicted 3-day returns by session (ISO) and instrument."""
    if predictions is None:
        return {}
    rows = predictions.select("session", "instrument_id", "return_3d").iter_rows()
    return {(session.isoformat(), i): r for session, i, r in rows if r is not None and math.isfinite(r)}
