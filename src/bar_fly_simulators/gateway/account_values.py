"""The account in the Gateway's own tags, for updates, summaries and the per-account stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from bar_fly_simulators.gateway.fields import money
from bar_fly_simulators.gateway.ledger import Standing

_CURRENCY = "USD"


@dataclass(frozen=True, slots=True)
class AccountValue:
    """One tag of the account; `currency` is empty where the value is no money."""

    tag: str
    value: str
    currency: str


def account_values(standing: Standing, available: Decimal) -> Iterator[AccountValue]:
    """Yield every tag: buying power is the cash that nothing holds back; margin, what the positions must be covered with."""
    net, value, margin = standing.net_liquidation, standing.positions_value, standing.margin
    amounts = {
        "NetLiquidation": net,
        "TotalCashValue": standing.cash,
        "SettledCash": standing.cash,
        "AccruedCash": Decimal(0),
        "AccruedDividend": Decimal(0),
        "BuyingPower": max(Decimal(0), available),
        "EquityWithLoanValue": net,
        "PreviousEquityWithLoanValue": net - standing.daily,
        "PreviousDayEquityWithLoanValue": net - standing.daily,
        "GrossPositionValue": value,
        "RegTEquity": net,
        "RegTMargin": margin,
        "SMA": standing.cash,
        "InitMarginReq": margin,
        "MaintMarginReq": margin,
        "AvailableFunds": available,
        "ExcessLiquidity": available,
        "UnrealizedPnL": standing.unrealized,
        "RealizedPnL": standing.realized_today,
        "CashBalance": standing.cash,
        "TotalCashBalance": standing.cash,
        "StockMarketValue": value,
        "NetLiquidationByCurrency": net,
    }
    yield AccountValue("AccountType", "INDIVIDUAL", "")
    yield AccountValue("AccountReady", "true", "")
    yield AccountValue("Currency", _CURRENCY, _CURRENCY)
    yield AccountValue("ExchangeRate", "1.00", _CURRENCY)
    yield AccountValue("Cushion", format(available / net if net else Decimal(0), ".6f"), "")
    yield AccountValue("Leverage", format(value / net if net else Decimal(0), ".2f"), "")
    yield AccountValue("DayTradesRemaining", "-1", "")
    for tag, amount in amounts.items():
        yield AccountValue(tag, money(amount), _CURRENCY)
    for tag in ("InitMarginReq", "MaintMarginReq", "AvailableFunds", "ExcessLiquidity"):
        yield AccountValue(f"Full{tag}", money(amounts[tag]), _CURRENCY)
        yield AccountValue(f"LookAhead{tag}", money(amounts[tag]), _CURRENCY)


LEDGER_TAGS = frozenset(
    {
        "CashBalance",
        "Currency",
        "ExchangeRate",
        "NetLiquidationByCurrency",
        "RealizedPnL",
        "StockMarketValue",
        "TotalCashBalance",
        "UnrealizedPnL",
    }
)
"""Tags that `$LEDGER` asks for."""
