"""What the wire says, in our words: prices, executions, statuses and orders."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from ib_async import Trade

from bar_fly_trading.trading.orders import ORDER_REF_PREFIX, BrokerOrder, Execution
from bar_fly_trading.venues.venue import PRICE_PLACES

# Errors that end a new order at the Gateway: it never worked. From IB's message codes.
REJECT_CODES = frozenset(
    {103, 104, 110, 200, 201, 203, 321, 382, 383, 387, 388, 390, 391, 392, 394, 395, 396, 434, 481}
)
CANCEL_CODES = frozenset({0, 202})


def price(value: float) -> Decimal | None:
    """Turn a wire price into money; None for unset, infinite, or IB's -1 of an empty book."""
    if not math.isfinite(value) or value <= 0 or value > 1e9:
        return None
    return Decimal(str(value)).quantize(PRICE_PLACES).normalize()


def money(value: str) -> Decimal:
    """Read an amount of dollars, to the cent."""
    return Decimal(value).quantize(Decimal("0.01"))


def key_of(order_ref: str | None) -> str | None:
    """Return the intent key that an order reference of ours carries, None where it is not ours."""
    if order_ref and order_ref.startswith(ORDER_REF_PREFIX):
        return order_ref[len(ORDER_REF_PREFIX) :]
    return None


def execution_of(key: str, fill: Any) -> Execution:
    """Turn a fill into an execution; a correction has the same id and a higher revision."""
    e, report = fill.execution, fill.commissionReport
    base, _, revision = e.execId.rpartition(".")  # IB sends a correction under the same id with a higher last part
    numbered = bool(base) and revision.isdigit()
    return Execution(
        intent_key=key,
        exec_id=base if numbered else e.execId,
        quantity=int(e.shares),
        price_usd=Decimal(str(e.price)).quantize(PRICE_PLACES).normalize(),
        commission_usd=Decimal(str(report.commission)).quantize(PRICE_PLACES) if report.execId else None,
        at_us=int(e.time.timestamp() * 1_000_000),
        revision=int(revision) if numbered else 0,
    )


def latest(trade: Trade) -> tuple[str, int, str]:
    """Return ib_async's status, the error code behind it (0: the Gateway's own status) and its text."""
    last = trade.log[-1] if trade.log else None
    return trade.orderStatus.status, last.errorCode if last else 0, last.message if last else ""


def word_of(status: str, code: int) -> str | None:
    """Translate a status to our word; what ib_async made up from an error code that ends no order is no word."""
    if code in REJECT_CODES:
        return "rejected"
    if status in {"Cancelled", "ApiCancelled"}:
        return "cancelled" if code in CANCEL_CODES else None
    return {"PreSubmitted": "working", "Submitted": "working", "Filled": "filled", "Inactive": "rejected"}.get(status)


def broker_order(trade: Trade) -> BrokerOrder:
    """Turn a trade into what reconciliation compares."""
    word = word_of(trade.orderStatus.status, 0) or "working"
    filled = trade.order.filledQuantity if trade.orderStatus.status in {"Filled", "Cancelled"} else 0
    known = filled if math.isfinite(filled) and 0 < filled < 1e12 else trade.orderStatus.filled
    quantity = trade.order.totalQuantity or known
    return BrokerOrder(
        order_ref=trade.order.orderRef or None,
        perm_id=int(trade.order.permId),
        symbol=trade.contract.symbol,
        status=word,
        quantity=int(quantity),
        filled=int(known),
    )
