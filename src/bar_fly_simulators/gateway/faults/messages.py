"""What can go wrong with single messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bar_fly_simulators.gateway.faults.spec import CODES, GatewayFault


@dataclass(frozen=True, slots=True, kw_only=True)
class Mute(GatewayFault):
    """Messages the Gateway would send are not sent; "message": "94" limits it to one id."""

    message: str = ""
    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignore(GatewayFault):
    """Requests of clients are read and not answered; "message": "61" limits it to one id."""

    message: str = ""
    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay(GatewayFault):
    """Messages the Gateway sends come real `seconds` later, others pass them."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"seconds": (0, 3600)}
    message: str = ""
    client: str = ""
    seconds: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(GatewayFault):
    """Messages the Gateway sends are sent twice."""

    message: str = ""
    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorder(GatewayFault):
    """Messages of an id are held until one of the id `after` was sent (execDetails 11 before openOrder 5), at most 2 s."""

    message: str = "5"
    client: str = ""
    after: str = "11"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestError(GatewayFault):
    """A request (not placeOrder) is answered by an error alone, on its request id."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"code": CODES}
    message: str = ""
    client: str = ""
    code: int = 321
    text: str = "Error validating request.-'' : cause - a fault"
