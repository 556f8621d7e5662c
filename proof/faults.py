"""The faults of a simulated day: their names, how often each strikes under a seed, and how often each has struck."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

# What can go wrong, each with the catalogue rows it belongs to (Q, X, L of the failure catalogue).
FAULTS: dict[str, str] = {
    "gateway down at start": "X1",
    "drop before the write": "X3",
    "drop after the write": "X4",
    "order swallowed": "X5",
    "acknowledgement lost": "X6",
    "acknowledgement late": "X7",
    "order rejected": "X17 X18",
    "partial fill": "X10",
    "no fill": "X37",
    "cancel unanswered": "X39",
    "cancel refused because filled": "X38",
    "fill after cancelled": "X16",
    "execution twice": "X13",
    "commission late": "X13",
    "execution corrected": "X14",
    "execution reduced": "X14",
    "status out of order": "X15",
    "status filled without execution": "X15",
    "connection lost": "X21",
    "crash": "X8",
    "journal write fails": "X40",
    "run again": "X31",
    "two runs at once": "X31",
    "process stood still": "X32",
    "quote missing": "Q1",
    "quote one-sided": "Q1",
    "quote crossed": "Q1",
    "quote not a number": "Q1",
    "quote stale": "Q2",
    "quote delayed": "Q2",
    "quote wide": "Q3",
    "quote halted": "Q4",
    "quote moved": "Q5",
    "contract changed": "Q13",
    "account not read": "Q7 Q8",
    "account worth missing": "Q7",
    "profit unknown": "Q7",
    "loss beyond the limit": "Q11",
    "snapshot incomplete": "X34",
    "order not shown yet": "V4",
    "execution not shown yet": "V4",
    "completed orders empty": "X35",
    "user cancels ours": "X26",
    "user sells ours": "X25",
    "user trades": "X25",
    "signal for nothing held": "S11",
}
CALM_SHARE = 0.1
CLASSES_ON_MAX, BAD_QUOTES_ON_MAX = 10, 2
RATES = (0.02, 0.1, 0.3, 0.6)


@dataclass
class Dice:
    """All randomness of one seed. `rates`: by fault, 0 where it is off; `hits`: how often each struck."""

    seed: int
    calm: bool | None = None
    rates: dict[str, float] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    healed: bool = False

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        calm = self.random.random() < CALM_SHARE
        self.calm = calm if self.calm is None else self.calm
        # A few classes a seed, some of them often: with everything on at once no order would ever leave.
        before = sorted(
            n for n in FAULTS if n.startswith(("quote", "account", "contract", "profit", "loss", "gateway"))
        )
        after = sorted(set(FAULTS) - set(before))
        on = self.random.sample(before, self.random.randint(0, BAD_QUOTES_ON_MAX))
        on += self.random.sample(after, self.random.randint(1, CLASSES_ON_MAX))
        self.rates = {name: self.random.choice(RATES) if name in on and not self.calm else 0.0 for name in FAULTS}

    def strikes(self, name: str) -> bool:
        """Tell whether a fault strikes now; each that does is counted. Nothing strikes once all is healed."""
        if self.healed or self.random.random() >= self.rates[name]:
            return False
        self.hits[name] += 1
        return True

    def between(self, low: float, high: float) -> float:
        """Draw a number."""
        return low + (high - low) * self.random.random()
