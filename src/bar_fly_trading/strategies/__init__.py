"""Strategies: from a market view to signals. This is the catalogue: a strategy is a frozen dataclass and one line here."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.strategies.bollinger import Bollinger
from bar_fly_trading.strategies.regression_momentum import RegressionMomentum
from bar_fly_trading.strategies.signal import Strategy

CATALOGUE: dict[str, type[Any]] = {
    "bollinger": Bollinger,
    "regression_momentum": RegressionMomentum,
}


def build(name: str, settings: Mapping[str, object] | None = None) -> Strategy:
    """Make a strategy from its catalogue name and its numbers; what is not given keeps its default.

    FixSettings names an unknown strategy or field (with the nearest name), a wrong type, or a number out of range.
    """
    if name not in CATALOGUE:
        raise FixSettings(f"no strategy is called {name!r}.", way_out=_nearest(name, CATALOGUE))
    kind = CATALOGUE[name]
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    values: dict[str, object] = {}
    for key, value in sorted((settings or {}).items()):
        if key not in names:
            raise FixSettings(f"strategy {name} has no setting {key!r}.", way_out=_nearest(key, names))
        values[key] = _checked(name, key, value, hints[key])
    built: Strategy = kind(**values)
    return built


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."


def _checked(strategy: str, key: str, value: object, hint: Any) -> object:
    """Return the value where it fits the field's type; a whole number is a float too, True is no number."""
    kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(value) in kinds:
        return value
    if type(value) is int and float in kinds:
        return float(value)
    wanted = " or ".join("none" if k is types.NoneType else k.__name__ for k in kinds)
    raise FixSettings(
        f"strategy {strategy}: {key} is {value!r}, a {type(value).__name__}; it must be {wanted}.",
        way_out="Correct it in the settings file.",
    )
