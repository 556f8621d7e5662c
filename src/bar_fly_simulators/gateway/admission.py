"""Which orders the Gateway takes, and with which error it refuses the rest; nothing here changes the account."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from bar_fly_simulators.clock import utc_us
from bar_fly_simulators.gateway.fields import number
from bar_fly_simulators.gateway.instruments import Combo, Instrument, Stock
from bar_fly_simulators.gateway.ledger import Ledger, charges, option_margin
from bar_fly_simulators.gateway.orders import Order, OrderRequest, Position
from bar_fly_simulators.gateway.quotes import tick_of

ORDER_TYPES = frozenset({"LMT", "MKT", "STP", "STP LMT", "TRAIL"})
SHARES_MAX, PRICE_MAX = 10_000_000, 10_000_000
TIMES_IN_FORCE = frozenset({"", "DAY", "GTC", "IOC", "GTD"})
OCA_TYPES = frozenset({0, 1, 2, 3})
_MIN_TICK = "The price does not conform to the minimum price variation for this contract."


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error code of the Gateway and its text; `inactive`: the order is kept, with status Inactive."""

    code: int
    text: str
    inactive: bool = False


def validation(request: OrderRequest, accounts: tuple[str, ...]) -> Refusal | None:
    """Return why an order's own fields are refused before its contract is looked up, None where they are well."""
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
    if request.oca_type not in OCA_TYPES:
        return Refusal(321, f"Error validating request.-'{request.oca_type}' : cause - Invalid OCA type")
    if request.tif == "GTD" and good_till_us(request.good_till_date) is None:
        return Refusal(391, "Invalid good till date; the correct format is yyyymmdd hh:mm:ss and an optional time zone")
    return None


def prices(request: OrderRequest, instrument: Instrument, now_us: int) -> Refusal | None:
    """Return why an order's prices or dates are refused for its instrument."""
    tif_us = good_till_us(request.good_till_date) if request.tif == "GTD" else None
    if tif_us is not None and tif_us <= now_us:
        return Refusal(201, "Order rejected - reason:the good till date has passed", inactive=True)
    stops = request.order_type in {"STP", "STP LMT"}
    if request.order_type in {"LMT", "STP LMT"} and not _price_fits(request.limit_price, instrument):
        return Refusal(110, _MIN_TICK)
    if stops and not _price_fits(request.aux_price, instrument):
        return Refusal(110, _MIN_TICK)
    if request.order_type == "TRAIL":
        percent = request.trail_percent
        if percent is not None and not 0 < percent < 100:
            return Refusal(321, "Error validating request.-'TRAIL' : cause - Invalid trailing percent")
        if percent is None and not _price_fits(request.aux_price, instrument):
            return Refusal(321, "Error validating request.-'TRAIL' : cause - Invalid trailing amount")
        if request.trail_stop is not None and not _price_fits(request.trail_stop, instrument):
            return Refusal(110, _MIN_TICK)
    return None


def _price_fits(price: Decimal | None, instrument: Instrument) -> bool:
    if price is None or abs(price) > PRICE_MAX:
        return False
    if price <= 0 and not isinstance(instrument, Combo):
        return False
    return price % tick_of(instrument, price) == 0


def good_till_us(text: str) -> int | None:
    """Return the instant of a good-till-date as clients spell it (New York unless UTC's dash form), None for no date."""
    text = text.strip().removesuffix(" US/Eastern").removesuffix(" America/New_York").removesuffix(" EST").strip()
    for layout, zone in (("%Y%m%d-%H:%M:%S", UTC), ("%Y%m%d %H:%M:%S", None), ("%Y%m%d  %H:%M:%S", None)):
        try:
            return utc_us(datetime.strptime(text, layout).replace(tzinfo=zone))
        except ValueError:
            continue
    try:
        day = datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007
    except ValueError:
        return None
    return utc_us(day.replace(hour=23, minute=59, second=59))


@dataclass(frozen=True, slots=True)
class Wanted:
    """So much of an instrument at a price: what an order still has to do."""

    instrument: Instrument
    action: str
    quantity: Decimal
    price: Decimal


def needed(wanted: Wanted, ledger: Ledger, mark: Callable[[Instrument], Decimal]) -> Decimal:
    """Return the cash in USD that an order ties up: its debit and commission, and the margin of what it sells short."""
    signed = wanted.quantity if wanted.action == "BUY" else -wanted.quantity
    value = signed * wanted.price * wanted.instrument.multiplier
    if isinstance(wanted.instrument, Stock):
        if signed < 0:
            return Decimal(0)
        return value + charges(wanted.instrument, wanted.quantity, value)
    after = {key: position for key, position in ledger.positions.items() if not isinstance(position.instrument, Stock)}
    shares = [position for position in ledger.positions.values() if isinstance(position.instrument, Stock)]
    before = option_margin([*after.values(), *shares], mark)
    fees = Decimal(0)
    for option, ratio in option_parts(wanted.instrument):
        old = after.get(option.key, Position(option, Decimal(0), Decimal(0)))
        after[option.key] = replace(old, quantity=old.quantity + signed * ratio)
        fees += charges(option, abs(signed * ratio), Decimal(0))
    margin = option_margin([*after.values(), *shares], mark) - before
    return max(Decimal(0), value + fees + margin)


def option_parts(instrument: Instrument) -> Iterable[tuple[Instrument, Decimal]]:
    """Return what one unit moves: an option itself, or a combination's legs with their signed ratios."""
    if isinstance(instrument, Combo):
        return [(leg.option, Decimal(leg.signed)) for leg in instrument.legs]
    return [(instrument, Decimal(1))]


def affordable(wanted: Wanted, needs: Decimal, available: Decimal, held: Decimal) -> Refusal | None:
    """Return the 201 of an order that the account cannot bear: `available` USD, `held` shares of a stock to sell."""
    if isinstance(wanted.instrument, Stock) and wanted.action == "SELL":
        if wanted.quantity > held:
            text = (
                f"The contract is not available for short sale: {number(wanted.quantity)} to sell, {number(held)} held"
            )
            return Refusal(201, f"Order rejected - reason:{text}", inactive=True)
        return None
    if needs > available:
        text = f"INSUFFICIENT FUNDS: {number(needs)} USD needed, {number(available)} USD available"
        return Refusal(201, f"Order rejected - reason:{text}", inactive=True)
    return None


def working_price(order: Order | OrderRequest, reference: Decimal) -> Decimal:
    """Return the price an order is reckoned at: its limit, its stop, or the far touch of a market order."""
    if order.order_type in {"LMT", "STP LMT"} and order.limit_price is not None:
        return order.limit_price
    if order.order_type == "STP" and order.aux_price is not None:
        return max(order.aux_price, reference)
    return reference
