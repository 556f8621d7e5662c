"""What a leak check found, in one value: every column, table and part of the model with what was compared, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from bar_fly_trading.features.leakage import Compared
from bar_fly_trading.features.leakage_knowledge import Known

PURGE, PURGE_EFFECT = "no label reaches into the next part", "samples unchanged when the next part is changed"
NORMALISATION = "normalisation unchanged when all after training is changed"
PARITY_INPUTS, PARITY_PREDICTION = "same inputs in training and at the evening", "same prediction from both"
TRAINING_CHECKS, PARITY_CHECKS = (PURGE, PURGE_EFFECT, NORMALISATION), (PARITY_INPUTS, PARITY_PREDICTION)


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """One check of training and prediction. `compared`: samples or numbers (0: not checked, `example` says why); `wrong`: of them."""

    check: str
    compared: int
    wrong: int
    example: str = ""

    @property
    def state(self) -> str:
        """Return `leak`, `clean` or `not checked`."""
        return "not checked" if not self.compared else "leak" if self.wrong else "clean"


@dataclass(frozen=True, slots=True)
class Leak:
    """One thing that knows the future. `where`: a column, a table or the model; `wrong` of `compared`; `example` in words."""

    check: str
    where: str
    wrong: int
    compared: int
    example: str


@dataclass(frozen=True, slots=True)
class LeakReport:
    """A whole check. `sessions`: those after which the future was deleted; `instruments`, `rows`: the world's size.

    `corrected`: bars that became known after their session's evening (a later pull or import changed or first brought them).
    """

    as_of: date
    seed: int
    sessions: tuple[date, ...]
    instruments: int
    rows: int
    corrected: int
    columns: tuple[Compared, ...]
    knowledge: tuple[Known, ...]
    model: tuple[ModelCheck, ...]

    def leaks(self) -> tuple[Leak, ...]:
        """Return everything that knows the future: columns, then facts, then the model."""
        found = []
        for one in self.columns:
            if one.state == "leak":
                found.append(Leak(one.check, one.column, one.differing, one.rows, f"{one.example or ''}"))
        found += [
            Leak(one.rule, one.table, one.wrong, one.rows, one.example) for one in self.knowledge if one.state == "leak"
        ]
        found += [Leak(m.check, "model", m.wrong, m.compared, m.example) for m in self.model if m.state == "leak"]
        return tuple(found)

    def unchecked(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Return what could not be checked: (columns, tables or checks, why), those with one reason together."""
        missing: dict[str, list[str]] = {}
        for one in self.columns:
            if one.state == "not checked":
                missing.setdefault(one.column, []).append(one.check)
        found: dict[str, list[str]] = {}
        for column, checks in missing.items():
            found.setdefault(f"nothing to compare in: {', '.join(checks)}", []).append(column)
        asked = {one.table for one in self.knowledge if one.rows}
        for known in self.knowledge:
            name = f"table {known.table}"
            why = known.example or "the store has no rows of it"
            if not known.rows and known.table not in asked and name not in found.get(why, []):
                found.setdefault(why, []).append(name)
        for model in self.model:
            if model.state == "not checked":
                found.setdefault(model.example, []).append(f"model: {model.check}")
        return tuple((tuple(names), why) for why, names in found.items())
