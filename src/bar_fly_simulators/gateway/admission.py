"""Which orders the Gateway takes, and with which error it refuses the rest; nothing here changes the account."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from bar_fly_simulators.gateway.fields import number
from bar_fly_simulators.gateway.ledger import commission
from bar_fly_simulators.gateway.orders import Order, OrderRequest
from bar_fly_simulators.gateway.quotes import TICK

ORDER_TYPES = frozenset({"LMT", "MKT"})
SHARES_MAX, PRICE_MAX = 10_000_000, 10_000_000
TIMES_IN_FORCE = frozenset({"", "DAY", "GTC", "IOC"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error code of the Gateway and its text; `inactive`: the order is kept, with status Inactive."""

    code: int
    text: str
    inactive: bool = False


def validation(request: OrderRequest, accounts: tuple[str, ...]) -> Refusal | None:
    """Return why an order's own fields are refused before the account is asked, None where they are well."""
    if request.contract.sec_type == "BAG":
        return Refusal(321, "Error validating request.-'BAG' : cause - combinations are not simulated")
    if request.unsupported:
        return Refusal(387, f"Unsupported order attributes for this exchange: {', '.join(request.unsupported)}")
    if request.order_type not in ORDER_TYPES:
        return Refusal(387, f"Unsupported order type for this exchange and security type: {request.order_type}")
    if request.tif not in TIMES_IN_FORCE:
        return Refusal(387, f"Unsupported time in force for this exchange: {request.tif}")
    if request.action not in {"BUY", "SELL"}:
        return Refusal(321, f"Error validating request.-'{request.action}' : cause - Invalid order action")
    if request.account and request.account not in accounts:
        return Refusal(321, f"Error validating request.-'{request.account}' : cause - Invalid account code")
    if request.quantity is None or request.quantity <= 0:
        return Refusal(434, "The order size cannot be zero")
    if request.quantity != request.quantity.to_integral_value():
        return Refusal(10243, "Fractional-sized order cannot be placed via API. Please use desktop version")
    if request.quantity > SHARES_MAX:
        return Refusal(383, f"The following order size exceeds the Size Limit of {SHARES_MAX}.")
    price = request.limit_price
    if request.order_type == "LMT" and (price is None or not 0 < price <= PRICE_MAX or price % TICK):
        return Refusal(110, "The price does not conform to the minimum price variation for this contract.")
    return None


def reservation(action: str, remaining: Decimal, price: Decimal) -> Decimal:
    """Return the cash in USD that an order may still need: nothing for a sale."""
    if action != "BUY":
        return Decimal(0)
    return remaining * price + commission(remaining, remaining * price)


def affordable(request: OrderRequest, price: Decimal, available: Decimal, held: Decimal) -> Refusal | None:
    """Return the 201 of an order that the account cannot bear: `available` USD to buy with, `held` shares to sell."""
    quantity = request.quantity or Decimal(0)
    if request.action == "BUY":
        needed = reservation("BUY", quantity, price)
        if needed > available:
            text = f"INSUFFICIENT FUNDS: {number(needed)} USD needed, {number(available)} USD available"
            return Refusal(201, f"Order rejected - reason:{text}", inactive=True)
    elif quantity > held:
        text = f"The contract is not available for short sale: {number(quantity)} to sell, {number(held)} held"
        return Refusal(201, f"Order rejected - reason:{text}", inactive=True)
    return None


def order_price(order_type: str, limit_price: Decimal | None, reference: Decimal) -> Decimal:
    """Return the price an order is reserved at: its limit, or the far touch of a market order."""
    return limit_price if order_type == "LMT" and limit_price is not None else reference


def reserved(order: Order, reference: Decimal) -> Decimal:
    """Return the cash in USD that a live order holds back."""
    return reservation(order.action, order.remaining, order_price(order.order_type, order.limit_price, reference))
