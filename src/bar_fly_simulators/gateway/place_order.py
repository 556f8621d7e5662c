"""placeOrder (3) at server versions 176 to 178, read to its last field; a feature not simulated is named, not guessed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from bar_fly_simulators.gateway.fields import Cursor
from bar_fly_simulators.gateway.framing import MalformedMessage
from bar_fly_simulators.gateway.orders import LegQuery, OrderRequest
from bar_fly_simulators.gateway.requests import contract

CONDITION_FIELDS = {1: 7, 3: 4, 4: 4, 5: 5, 6: 6, 7: 6}
"""Fields of each order condition with its type: price, time, margin, execution, volume, percent change."""


WITHOUT_LIMIT = frozenset({"MKT", "STP", "TRAIL"})


def place_order(cursor: Cursor, server_version: int) -> OrderRequest:
    """Read an order; MalformedMessage where a field is missing, unreadable or left over."""
    unsupported: list[str] = []
    order_id = cursor.integer()
    wanted = contract(cursor)
    cursor.skip(2)
    action, quantity, order_type = cursor.text(), cursor.decimal_or_none(), cursor.text()
    limit_price, aux_price, tif = cursor.decimal_or_none(), cursor.decimal_or_none(), cursor.text()
    oca_group, account = cursor.text(), cursor.text()
    cursor.text()
    cursor.integer_or_none()
    order_ref = cursor.text()
    transmit, parent_id = cursor.flag(), cursor.integer_or_none() or 0
    cursor.flag()
    cursor.flag()
    if cursor.integer_or_none():
        unsupported.append("displaySize")
    cursor.integer_or_none()
    outside_rth = cursor.flag()
    if cursor.flag():
        unsupported.append("hidden")
    if wanted.sec_type == "BAG":
        wanted = replace(wanted, legs=_combo(cursor))
    shape = _schedule_and_shape(cursor, server_version, unsupported)
    trail_stop, trail_percent = _trailing(cursor)
    what_if = _scale_hedge_algo(cursor, unsupported)
    _peg_and_conditions(cursor, order_type, unsupported)
    _adjustments(cursor, unsupported)
    _pegged_extras(cursor, order_type, wanted.exchange)
    cursor.end()
    return OrderRequest(
        order_id=order_id,
        contract=wanted,
        action=action,
        quantity=quantity,
        order_type=order_type,
        # Clients spell a price that the type does not have as 0 or as nothing.
        limit_price=None if order_type in WITHOUT_LIMIT else limit_price,
        aux_price=aux_price or None,
        tif=tif,
        account=account,
        order_ref=order_ref,
        outside_rth=outside_rth,
        what_if=what_if,
        unsupported=tuple(unsupported),
        transmit=transmit,
        parent_id=parent_id,
        oca_group=oca_group,
        oca_type=shape.oca_type,
        good_till_date=shape.good_till_date,
        trail_stop=trail_stop,
        trail_percent=trail_percent,
    )


@dataclass(frozen=True, slots=True)
class _Shape:
    good_till_date: str
    oca_type: int


def _combo(cursor: Cursor) -> tuple[LegQuery, ...]:
    legs = []
    for _ in range(cursor.count()):
        legs.append(LegQuery(cursor.integer(), cursor.integer(), cursor.text(), cursor.text()))
        # openClose, shortSaleSlot, designatedLocation, exemptCode
        cursor.skip(4)
    cursor.skip(cursor.count())
    cursor.skip(2 * cursor.count())
    return tuple(legs)


def _trailing(cursor: Cursor) -> tuple[Decimal | None, Decimal | None]:
    """Read continuousUpdate, referencePriceType, then trailStopPrice and trailingPercent; 0 is unset."""
    cursor.flag()
    cursor.integer_or_none()
    return cursor.decimal_or_none() or None, cursor.decimal_or_none() or None


def _schedule_and_shape(cursor: Cursor, server_version: int, unsupported: list[str]) -> _Shape:
    cursor.text()
    if cursor.decimal_or_none():
        unsupported.append("discretionaryAmt")
    if cursor.text():
        unsupported.append("goodAfterTime")
    good_till_date = cursor.text()
    cursor.skip(3)
    if server_version < 177:
        cursor.text()
    cursor.skip(4)
    oca_type = cursor.integer_or_none() or 0
    cursor.skip(2)
    if cursor.flag():
        unsupported.append("allOrNone")
    if cursor.integer_or_none():
        unsupported.append("minQty")
    cursor.decimal_or_none()
    cursor.skip(2)
    cursor.decimal_or_none()
    cursor.integer_or_none()
    for _ in range(5):
        cursor.decimal_or_none()
    cursor.flag()
    cursor.decimal_or_none()
    cursor.integer_or_none()
    delta_neutral = cursor.text()
    cursor.decimal_or_none()
    if delta_neutral:
        # The Gateway's own openOrder spells "none" as "None" with its eight fields, and clients send it back on a change.
        cursor.skip(8)
        if delta_neutral != "None":
            unsupported.append("deltaNeutralOrderType")
    return _Shape(good_till_date, oca_type)


def _scale_hedge_algo(cursor: Cursor, unsupported: list[str]) -> bool:
    cursor.integer_or_none()
    cursor.integer_or_none()
    scale = cursor.decimal_or_none()
    if scale is not None and scale > 0:
        cursor.skip(7)
        unsupported.append("scale")
    cursor.skip(3)
    if cursor.text():
        cursor.text()
        unsupported.append("hedgeType")
    cursor.flag()
    cursor.skip(2)
    cursor.flag()
    if cursor.flag():
        cursor.skip(3)
        unsupported.append("deltaNeutralContract")
    if cursor.text():
        cursor.skip(2 * cursor.count())
        unsupported.append("algoStrategy")
    cursor.text()
    what_if = cursor.flag()
    cursor.text()
    cursor.flag()
    cursor.flag()
    cursor.flag()
    return what_if


def _peg_and_conditions(cursor: Cursor, order_type: str, unsupported: list[str]) -> None:
    if order_type in {"PEG BENCH", "PEGBENCH"}:
        cursor.skip(5)
    conditions = cursor.count()
    for _ in range(conditions):
        kind = cursor.integer()
        if kind not in CONDITION_FIELDS:
            raise MalformedMessage(f"an order condition of type {kind}")
        cursor.skip(CONDITION_FIELDS[kind] - 1)
    if conditions:
        cursor.flag()
        cursor.flag()
        unsupported.append("conditions")


def _adjustments(cursor: Cursor, unsupported: list[str]) -> None:
    if cursor.text() not in {"", "None"}:
        unsupported.append("adjustedOrderType")
    for _ in range(5):
        cursor.decimal_or_none()
    cursor.integer_or_none()
    cursor.skip(3)
    if cursor.decimal_or_none():
        unsupported.append("cashQty")
    cursor.skip(4)
    cursor.flag()
    cursor.flag()
    cursor.flag()
    cursor.integer_or_none()
    cursor.integer_or_none()
    cursor.integer_or_none()
    cursor.flag()
    cursor.skip(2)


def _pegged_extras(cursor: Cursor, order_type: str, exchange: str) -> None:
    if exchange == "IBKRATS":
        cursor.text()
    if order_type in {"PEG BEST", "PEGBEST"}:
        cursor.text()
        if cursor.text() in {"Infinite", "Infinity"}:
            cursor.skip(2)
    elif order_type in {"PEG MID", "PEGMID"}:
        cursor.skip(2)
