"""What all faults have, and how one is read from its JSON form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, get_type_hints

LIMITS = frozenset({"symbol", "message", "client", "order_ref", "when", "tag"})
"""Fields that say what a fault is limited to; an empty one limits nothing."""
CODES = (0, 99_999)
UNSET = "1.7976931348623157e308"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayFault:
    """What all faults have: how often it happens (None: until it is cleared), how many occasions pass by first."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {}
    CHOICES: ClassVar[Mapping[str, frozenset[str]]] = {}
    PATTERNS: ClassVar[Mapping[str, str]] = {}
    times: int | None = None
    skip: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(GatewayFault):
    """What happens once, in the call that posts it."""


_KINDS: dict[str, str] = {}


def kind_of(fault: type[GatewayFault]) -> str:
    """Return the name on the control port: DropAt is drop_at."""
    # Asked for each message that is sent, so it is spelled once.
    known = _KINDS.get(fault.__name__)
    if known is None:
        known = _KINDS[fault.__name__] = re.sub(r"(?<!^)(?=[A-Z])", "_", fault.__name__).lower()
    return known


def sentence(fault: type[GatewayFault]) -> str:
    """Return what a fault does and its own fields with their defaults, as the control port lists it."""
    says = " ".join((fault.__doc__ or "").split())
    own = [f"{one.name}={one.default!r}" for one in fields(fault) if one.name not in {"times", "skip"}]
    return f"{says} [{', '.join(own)}]" if own else says


def read(fault: type[GatewayFault], spec: Mapping[str, object]) -> dict[str, object]:
    """Return a posted fault's fields, checked and with their defaults; ValueError naming what is wrong with one."""
    kind, hints = kind_of(fault), get_type_hints(fault)
    own = {one.name: one.default for one in fields(fault) if one.name not in {"times", "skip"}}
    unknown = set(spec) - set(own)
    if unknown:
        raise ValueError(f"{kind} has no {', '.join(sorted(unknown))}; it has: {', '.join(own) or 'no fields'}")
    return {name: _checked(fault, name, hints[name], spec.get(name, default)) for name, default in own.items()}


def _checked(fault: type[GatewayFault], name: str, hint: object, value: object) -> object:
    where = f"{name} of {kind_of(fault)}"
    if hint is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{where} is true or false, not {value!r}")
        return value
    if hint is str:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ValueError(f"{where} is a text, not {value!r}")
        if str(value) not in fault.CHOICES.get(name, {str(value)}):
            raise ValueError(f"{where} is one of {', '.join(sorted(fault.CHOICES[name]))}; not {value!r}")
        if not re.fullmatch(fault.PATTERNS.get(name, ".*"), str(value), re.DOTALL):
            raise ValueError(f"{where} is written like {fault.__dataclass_fields__[name].default!r}, not {value!r}")
        return str(value)
    if value is None and hint not in {int, float}:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{where} is a number, not {value!r}")
    lowest, highest = fault.BOUNDS.get(name, (-1e12, 1e12))
    if not lowest <= value <= highest:
        raise ValueError(f"{where} is a number from {lowest:g} to {highest:g}, not {value!r}")
    if hint is int and value != int(value):
        raise ValueError(f"{where} is a whole number, not {value!r}")
    return int(value) if hint is int else float(value)
