"""The table of every fault, and the faults in force as the Gateway asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from types import ModuleType
from typing import TypeVar

from bar_fly_simulators.control import Fault, Faults
from bar_fly_simulators.gateway.faults import connections, messages, quotes, trading
from bar_fly_simulators.gateway.faults.spec import LIMITS, Action, GatewayFault, kind_of, read, sentence

T = TypeVar("T", bound=GatewayFault)

_SHARED = {
    "GatewayFault",
    "Action",
    quotes.QuoteFault.__name__,
    trading.OrderFault.__name__,
    trading.OrderAction.__name__,
}


def _of(module: ModuleType) -> Iterator[type[GatewayFault]]:
    for name, found in vars(module).items():
        if isinstance(found, type) and issubclass(found, GatewayFault) and name not in _SHARED:
            yield found


FAULTS: dict[str, type[GatewayFault]] = {
    kind_of(fault): fault for module in (connections, messages, quotes, trading) for fault in _of(module)
}
"""Every fault by its name on the control port."""

_ACTIONS = tuple(kind for kind, fault in FAULTS.items() if issubclass(fault, Action))


class FaultTable:
    """The faults in force, typed; it shares them with the control port."""

    def __init__(self, faults: Faults | None = None) -> None:
        """Make every kind known to the control port's faults."""
        self.shared = faults or Faults()
        self.shared.register(
            {kind: sentence(fault) for kind, fault in FAULTS.items()},
            readers={kind: _reader(fault) for kind, fault in FAULTS.items()},
            limits=LIMITS,
        )

    def put(self, fault: GatewayFault) -> None:
        """Put a fault in force, or make an action happen; ValueError where it is out of bounds or fits nothing."""
        own = {one.name: getattr(fault, one.name) for one in fields(fault)}
        if own["times"] is None:
            del own["times"]
        self.shared.add({"kind": kind_of(type(fault)), **own})

    def take(self, kind: type[T], **attributes: str) -> T | None:
        """Return the oldest fault of a kind that meets the attributes, used up by one; None where none does."""
        fault = self.shared.take(kind_of(kind), **attributes)
        return None if fault is None else _typed(kind, fault)

    def active(self, kind: type[T], **attributes: str) -> T | None:
        """Return what `take` would, and use nothing up."""
        fault = self.shared.active(kind_of(kind), **attributes)
        return None if fault is None else _typed(kind, fault)

    def clear(self, kind: type[GatewayFault] | None = None) -> None:
        """End every fault, or every one of a kind."""
        self.shared.clear(None if kind is None else kind_of(kind))

    def take_actions(self) -> Iterator[GatewayFault]:
        """Yield the actions that were posted, oldest first, each once."""
        while (fault := self.shared.pop(*_ACTIONS)) is not None:
            yield _typed(FAULTS[fault.kind], fault)


def _reader(fault: type[GatewayFault]) -> Callable[[dict[str, object]], dict[str, object]]:
    return lambda spec: read(fault, spec)


def _typed(kind: type[T], fault: Fault) -> T:
    return kind(**fault.options, **{name: value for name, value in fault.only.items() if value})  # type: ignore[arg-type]
