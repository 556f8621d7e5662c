"""What can go wrong with connections and with the broker behind the Gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bar_fly_simulators.gateway.faults.spec import CODES, Action, GatewayFault


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseConnections(GatewayFault):
    """The port is closed until the fault ends; clients that are connected stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropConnections(Action):
    """Every connection is cut, or that of one client."""

    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropAt(GatewayFault):
    """A connection is cut at a message: a request `lost` unread, or `answered` within but its answer never sent; or a
    message of the Gateway about to be `sent`."""

    CHOICES: ClassVar[Mapping[str, frozenset[str]]] = {"when": frozenset({"lost", "answered", "sent"})}
    message: str = ""
    client: str = ""
    when: str = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(Action):
    """The Gateway restarts: connections are cut, the port is closed for real `seconds`, order ids go on, or `roll_back`."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"seconds": (0, 3600)}
    seconds: float = 0.5
    roll_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NightlyRestart(GatewayFault):
    """A restart each day when simulated New York time passes `at`; the port stays closed for simulated `seconds`."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"seconds": (0, 86_400)}
    PATTERNS: ClassVar[Mapping[str, str]] = {"at": "([01][0-9]|2[0-3]):[0-5][0-9]"}
    at: str = "23:45"
    seconds: float = 60.0
    roll_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GhostSession(GatewayFault):
    """A client's id stays taken for real `seconds` after it has gone: error 326 to who comes back sooner."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"seconds": (0, 3600)}
    client: str = ""
    seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentHandshake(GatewayFault):
    """The greeting is read and never answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongVersion(GatewayFault):
    """The greeting is answered with a server `version` that the client did not offer."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"version": (0, 99_999)}
    version: int = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class NotLoggedIn(GatewayFault):
    """The port is open and nothing comes after START_API: no account, no order id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerLost(GatewayFault):
    """Error 1100 to all: the Gateway has lost its broker. Quotes stop; orders at the exchange go on and fill unheard.

    An order sent meanwhile is `lost`, or works `unheard`. When the fault ends (clear it, or post `broker_back`), clients get
    1102, or 1101 and their market data lines are gone; what happened meanwhile is told only where `broker_back` says so.
    """

    CHOICES: ClassVar[Mapping[str, frozenset[str]]] = {"orders": frozenset({"lost", "unheard"})}
    orders: str = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerBack(Action):
    """Ends `broker_lost` with `code` 1101 (lines are lost) or 1102 (kept); `tell`: what was unheard is told now."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"code": (1101, 1102)}
    code: int = 1102
    tell: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmDown(GatewayFault):
    """Errors 2103 and 2105: the data farms are broken, ticks stop, history is 162; when it ends, 2104 and 2106."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendError(Action):
    """Any error `code` and `text` to all clients or one, about `req_id` (-1: about nothing)."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"code": CODES, "req_id": (-1, 2**31 - 1)}
    client: str = ""
    code: int = 2110
    req_id: int = -1
    text: str = "Connectivity between Trader Workstation and server is broken. It will be restored automatically."


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnlyApi(GatewayFault):
    """The Read-Only API setting: 321 to orders, cancels, open and completed orders, as with `--read-only-api`."""
