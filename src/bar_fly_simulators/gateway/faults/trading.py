"""What can go wrong with orders, executions, positions and the account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bar_fly_simulators.gateway.faults.spec import CODES, Action, GatewayFault

AMOUNT = (0.0, 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFault(GatewayFault):
    """A fault of orders: limited by the underlying's symbol, the orderRef, the client."""

    symbol: str = ""
    order_ref: str = ""
    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAction(Action):
    """Something done to the newest order that the limits fit."""

    symbol: str = ""
    order_ref: str = ""
    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectOrders(OrderFault):
    """A new order is answered by `code` and `text`; it is kept `inactive` (as after 201), is `unknown` (as after 110 or
    200), or `works` all the same (as after 399 or 10349)."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"code": CODES}
    CHOICES: ClassVar[Mapping[str, frozenset[str]]] = {"order": frozenset({"inactive", "unknown", "works"})}
    code: int = 201
    text: str = "Order rejected - reason:refused by a fault"
    order: str = "inactive"


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectChanges(OrderFault):
    """A change of a live order is answered by `code` and `text`; the order works on as it was."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"code": CODES}
    code: int = 201
    text: str = "Order rejected - reason:the change is refused by a fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectCancels(OrderFault):
    """A cancel is answered by `code` and `text` (161, 10147, 10148 ...); the order works on, or `fills` at that instant."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"code": CODES}
    code: int = 10148
    text: str = "OrderId that needs to be cancelled cannot be cancelled, state: Filled."
    fills: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DropOrders(OrderFault):
    """A new order is read and vanishes: no acknowledgement, no error, never in any list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoseAcks(OrderFault):
    """Nothing about an order is told to its client, though it is live and in every list; with `seconds`, told that late."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"seconds": (0, 86_400)}
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckOrders(OrderFault):
    """A new order is taken with `status` (PreSubmitted, Inactive) and is never worked; a cancel ends it."""

    CHOICES: ClassVar[Mapping[str, frozenset[str]]] = {"status": frozenset({"PreSubmitted", "Submitted", "Inactive"})}
    status: str = "PreSubmitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldFills(OrderFault):
    """Orders are taken and never fill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialFill(OrderFault):
    """An order's first fill is a `fraction` of it; the rest fills once the fault ends."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"fraction": (0, 1)}
    fraction: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LateFill(OrderFault):
    """An order is told as Cancelled (202) and a `fraction` of what remained fills right afterwards all the same."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"fraction": (0, 1)}
    fraction: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRegress(OrderFault):
    """After a fill is told, an orderStatus follows that says `status` with nothing filled, as it was before."""

    CHOICES: ClassVar[Mapping[str, frozenset[str]]] = {"status": frozenset({"PreSubmitted", "Submitted"})}
    status: str = "Submitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIfUnset(GatewayFault):
    """Every figure of a what-if answer is unset: the largest double, or with `empty` no text at all."""

    empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FillNow(OrderAction):
    """An order fills now, whatever the market says: all of what remains or `shares`, at `price` (else its limit, else the
    touch); `unheard`: no client is told, as when it happens while none is there."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"shares": AMOUNT, "price": AMOUNT}
    shares: float | None = None
    price: float | None = None
    unheard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectExecution(OrderAction):
    """The newest execution that the limits fit is corrected: told again as `.02` (`.03` ...) with these shares and price."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"shares": AMOUNT, "price": AMOUNT}
    shares: float | None = None
    price: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BustExecution(OrderAction):
    """The newest execution that the limits fit is undone: told again as the next revision with 0 shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPermId(OrderAction):
    """A live order becomes two at the broker: the same order id and orderRef, another permId, both working in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCancels(OrderAction):
    """The user cancels a live order in TWS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChanges(OrderAction):
    """The user changes a live order's `quantity` or limit `price` in TWS."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"quantity": AMOUNT, "price": AMOUNT}
    quantity: float | None = None
    price: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTrades(Action):
    """The user orders in TWS: client 0, order id 0, no orderRef; at the market, or with `price` as a limit that may rest."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"shares": AMOUNT, "price": AMOUNT}
    CHOICES: ClassVar[Mapping[str, frozenset[str]]] = {"action": frozenset({"BUY", "SELL"})}
    symbol: str = ""
    action: str = "BUY"
    shares: float = 100.0
    price: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Liquidate(Action):
    """The broker sells `shares` of a position (0: all of it) at the bid; the execution has its liquidation flag set."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"shares": AMOUNT}
    symbol: str = ""
    shares: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign(Action):
    """Short options of a stock are assigned, and long ones exercised with `exercise`: options go, shares and cash come, and
    no execution tells it."""

    symbol: str = ""
    exercise: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPosition(Action):
    """A stock's position becomes `shares` at `cost` with no execution and no change of cash: a transfer, or an error."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"shares": (-1e9, 1e9), "cost": AMOUNT}
    symbol: str = ""
    shares: float = 0.0
    cost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCash(Action):
    """Cash in USD appears (or goes), with nothing that explains it."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"amount": (-1e9, 1e9)}
    amount: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts(GatewayFault):
    """The accounts reported: "text": "U1234567" or several with commas."""

    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountValue(GatewayFault):
    """A tag of the account is told with this `text` and `currency`, or with `leave_out` not at all."""

    tag: str = ""
    text: str = "0.00"
    currency: str = "USD"
    leave_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset(GatewayFault):
    """The Gateway's clock is wrong by `seconds`."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"seconds": (-1e8, 1e8)}
    seconds: float = 0.0
