"""openOrder (5) and completedOrder (101): the two long messages, in the layout of server versions 176 to 178.

A plain order at 178 has 135 fields in openOrder and 100 in completedOrder, the message id counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from bar_fly_simulators.gateway.faults.spec import UNSET
from bar_fly_simulators.gateway.fields import execution_time, number
from bar_fly_simulators.gateway.instruments import Combo
from bar_fly_simulators.gateway.orders import Order, Previewed
from bar_fly_simulators.gateway.replies import Fields, contract_11

_MARGINS = (
    "initMarginBefore",
    "maintMarginBefore",
    "equityWithLoanBefore",
    "initMarginChange",
    "maintMarginChange",
    "equityWithLoanChange",
    "initMarginAfter",
    "maintMarginAfter",
    "equityWithLoanAfter",
    "commission",
    "minCommission",
    "maxCommission",
    "commissionCurrency",
)


def open_order(order: Order, account: str, server_version: int, margins: Mapping[str, str] | None = None) -> Fields:
    """Return message 5; `margins` makes it the answer to a what-if order."""
    shown = margins or {}
    return [
        "5",
        str(order.order_id),
        *contract_11(order.instrument, "SMART"),
        *_terms(order, account),
        str(order.client_id),
        str(order.perm_id),
        *_flags(order),
        "",
        *_advisor(server_version),
        # modelCode goodTillDate rule80A percentOffset settlingFirm shortSaleSlot designatedLocation exemptCode
        *("", order.good_till_date, "", "", "", "0", "", "-1"),
        # auctionStrategy startingPrice stockRefPrice delta stockRangeLower stockRangeUpper displaySize
        *("0", "", "", "", "", "", "0"),
        # blockOrder sweepToFill allOrNone minQty ocaType eTradeOnly firmQuoteOnly nbboPriceCap parentId triggerMethod
        *("0", "0", "0", "", str(order.oca_type or 3), "0", "0", "", str(order.parent_id), "0"),
        # volatility volatilityType deltaNeutralOrderType deltaNeutralAuxPrice, and the eight fields that "None" brings
        *("", "0", "None", "", "0", "", "", "", "?", "0", "0", ""),
        # continuousUpdate referencePriceType trailStopPrice trailingPercent basisPoints basisPointsType comboLegsDescrip
        *("0", "0", number(order.trail_stop), number(order.trail_percent), "", ""),
        *_legs(order),
        # scaleInit scaleSubs scaleIncrement hedgeType
        *("", "", "", ""),
        # optOutSmartRouting clearingAccount clearingIntent notHeld deltaNeutralContract algoStrategy solicited
        *("0", "", "IB", "0", "0", "", "0"),
        "1" if margins is not None else "0",
        order.status,
        *(shown.get(name, "") for name in _MARGINS),
        # warningText randomizeSize randomizePrice conditions
        *("", "0", "0", "0"),
        # adjustedOrderType triggerPrice trailStopPrice lmtPriceOffset adjustedStopPrice adjustedStopLimitPrice
        *("None", "", number(order.trail_stop), "", "", ""),
        # adjustedTrailingAmount adjustableTrailingUnit softDollarTier (3) cashQty dontUseAutoPriceForHedge isOmsContainer
        *("", "0", "", "", "", "", "0", "0"),
        # discretionaryUpToLimitPrice usePriceMgmtAlgo duration postToAts autoCancelParent
        *("0", "0", "", "", "0"),
        # minTradeQty minCompeteSize competeAgainstBestOffset midOffsetAtWhole midOffsetAtHalf
        *("", "", "", "", ""),
    ]


def completed_order(order: Order, account: str, server_version: int) -> Fields:
    """Return message 101: it carries neither order id nor client id."""
    return [
        "101",
        *contract_11(order.instrument, "SMART"),
        *_terms(order, account),
        str(order.perm_id),
        *_flags(order),
        *_advisor(server_version),
        # modelCode goodTillDate rule80A percentOffset settlingFirm shortSaleSlot designatedLocation exemptCode
        *("", order.good_till_date, "", "", "", "0", "", "-1"),
        # startingPrice stockRefPrice delta stockRangeLower stockRangeUpper displaySize sweepToFill allOrNone
        *("", "", "", "", "", "0", "0", "0"),
        # minQty ocaType triggerMethod volatility volatilityType deltaNeutralOrderType deltaNeutralAuxPrice, and four
        *("", str(order.oca_type or 3), "0", "", "0", "None", "", "0", "0", "0", ""),
        # continuousUpdate referencePriceType trailStopPrice trailingPercent
        *("0", "0", number(order.trail_stop), number(order.trail_percent)),
        *_legs(order),
        # scaleInit scaleSubs scaleIncrement hedgeType
        *("", "", "", ""),
        # clearingAccount clearingIntent notHeld deltaNeutralContract algoStrategy solicited
        *("", "IB", "0", "0", "", "0"),
        order.status,
        # randomizeSize randomizePrice conditions trailStopPrice lmtPriceOffset cashQty dontUseAutoPriceForHedge
        *("0", "0", "0", number(order.trail_stop), "", "", "0"),
        # isOmsContainer autoCancelDate
        *("0", ""),
        number(order.filled),
        # refFuturesConId autoCancelParent shareholder imbalanceOnly routeMarketableToBbo parentPermId
        *("0", "0", "", "0", "0", "0"),
        execution_time(order.completed_at_us),
        order.completed_status,
        # minTradeQty minCompeteSize competeAgainstBestOffset midOffsetAtWhole midOffsetAtHalf
        *("", "", "", "", ""),
    ]


def preview(one: Previewed, account: str, server_version: int) -> Fields:
    """Return the openOrder that answers a what-if order."""
    after = one.margin_before + one.margin_change
    change = one.equity_after - one.equity_before
    numbers = {
        "initMarginBefore": one.margin_before,
        "maintMarginBefore": one.margin_before,
        "equityWithLoanBefore": one.equity_before,
        "initMarginChange": one.margin_change,
        "maintMarginChange": one.margin_change,
        "equityWithLoanChange": change,
        "initMarginAfter": after,
        "maintMarginAfter": after,
        "equityWithLoanAfter": one.equity_after,
        "commission": one.commission,
    }
    margins = {name: number(round(value, 4)) for name, value in numbers.items()}
    if one.unset is not None:
        margins = dict.fromkeys(margins, one.unset)
    margins |= {"minCommission": UNSET, "maxCommission": UNSET}
    return open_order(one.order, account, server_version, margins | {"commissionCurrency": "USD"})


def _terms(order: Order, account: str) -> Fields:
    """Return action to orderRef."""
    return [
        order.action,
        number(order.quantity),
        order.order_type,
        number(order.limit_price) or "0",
        number(order.aux_price) or "0",
        order.tif,
        order.oca_group,
        account,
        "",
        "0",
        order.order_ref,
    ]


def _legs(order: Order) -> Fields:
    """Return comboLegsDescrip, comboLegs, orderComboLegs and smartComboRoutingParams."""
    if not isinstance(order.instrument, Combo):
        return ["", "0", "0", "0"]
    legs = order.instrument.legs
    fields = [",".join(f"{leg.option.con_id}|{leg.signed}" for leg in legs), str(len(legs))]
    for leg in legs:
        fields += [str(leg.option.con_id), str(leg.ratio), leg.action, leg.exchange, "0", "0", "", "-1"]
    # Prices of the legs are unset; smart routing is not guaranteed to fill all of them, as IB spells it.
    return [*fields, str(len(legs)), *("" for _ in legs), "1", "NonGuaranteed", "0"]


def _flags(order: Order) -> Fields:
    """Return outsideRth, hidden, discretionaryAmt, goodAfterTime."""
    return ["1" if order.outside_rth else "0", "0", "0", ""]


def _advisor(server_version: int) -> Fields:
    """Return faGroup, faMethod, faPercentage, and below 177 faProfile."""
    return ["", "", ""] if server_version >= 177 else ["", "", "", ""]
