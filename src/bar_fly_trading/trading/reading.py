"""Reading plans, intents, signals and executions back from their JSON form: what was written comes back equal.

KeyError, TypeError or ValueError where the payload is none of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from bar_fly_trading.facts.account import AccountSnapshot, Position
from bar_fly_trading.strategies.signal import Purpose, Side, Signal
from bar_fly_trading.trading.orders import Execution, Mode, State
from bar_fly_trading.trading.plan import Cap, Criterion, IntentStatus, OrderIntent, Plan, RankedSignal, Rejection


def read_signal(payload: Mapping[str, Any]) -> Signal:
    """Read a signal back from its JSON form."""
    return Signal(
        session=date.fromisoformat(payload["session"]),
        strategy=payload["strategy"],
        instrument_id=payload["instrument_id"],
        symbol=payload["symbol"],
        side=Side(payload["side"]),
        purpose=Purpose(payload["purpose"]),
        strength=payload["strength"],
        close_usd=Decimal(payload["close_usd"]),
        reason=payload["reason"],
        observed=tuple((name, value) for name, value in payload["observed"]),
    )


def read_ranked(payload: Mapping[str, Any]) -> RankedSignal:
    """Read a ranked signal back from its JSON form."""
    return RankedSignal(
        signal=read_signal(payload["signal"]),
        rank=payload["rank"],
        tag=payload["tag"],
        tag_reason=payload["tag_reason"],
        score=payload["score"],
        criteria=tuple(Criterion(c["name"], c["value"], c["score"], c["weight"]) for c in payload["criteria"]),
        sector=payload["sector"],
        dollar_volume_median_20d_usd=payload["dollar_volume_median_20d_usd"],
    )


def read_intent(payload: Mapping[str, Any]) -> OrderIntent:
    """Read an intent back from its JSON form."""
    return OrderIntent(
        intent_key=payload["intent_key"],
        account=payload["account"],
        mode=Mode(payload["mode"]),
        session=date.fromisoformat(payload["session"]),
        strategy=payload["strategy"],
        instrument_id=payload["instrument_id"],
        symbol=payload["symbol"],
        con_id=payload["con_id"],
        side=Side(payload["side"]),
        purpose=Purpose(payload["purpose"]),
        intent_no=payload["intent_no"],
        rank=payload["rank"],
        quantity=payload["quantity"],
        limit_price_usd=Decimal(payload["limit_price_usd"]),
        limit_price_bound_usd=Decimal(payload["limit_price_bound_usd"]),
        bid_usd=Decimal(payload["bid_usd"]),
        ask_usd=Decimal(payload["ask_usd"]),
        signal_close_usd=Decimal(payload["signal_close_usd"]),
        caps=tuple(Cap(c["name"], c["quantity"]) for c in payload["caps"]),
        binding_cap=payload["binding_cap"],
        reason=payload["reason"],
        observed_values=tuple((name, value) for name, value in payload["observed_values"]),
    )


def read_rejection(payload: Mapping[str, Any]) -> Rejection:
    """Read a rejection back from its JSON form."""
    return Rejection(
        session=date.fromisoformat(payload["session"]),
        strategy=payload["strategy"],
        mode=Mode(payload["mode"]),
        instrument_id=payload["instrument_id"],
        symbol=payload["symbol"],
        side=Side(payload["side"]),
        purpose=Purpose(payload["purpose"]),
        rank=payload["rank"],
        rule=payload["rule"],
        observed=payload["observed"],
        limit=payload["limit"],
        reason=payload["reason"],
        observed_values=tuple((name, value) for name, value in payload["observed_values"]),
    )


def read_plan(payload: Mapping[str, Any]) -> Plan:
    """Read a plan back from its JSON form (equal to what was written)."""
    return Plan(
        session=date.fromisoformat(payload["session"]),
        signal_session=date.fromisoformat(payload["signal_session"]),
        account=payload["account"],
        evening_id=payload["evening_id"],
        settings_hash=payload["settings_hash"],
        intents=tuple(read_intent(p) for p in payload["intents"]),
        rejections=tuple(read_rejection(p) for p in payload["rejections"]),
    )


def read_execution(payload: Mapping[str, Any]) -> Execution:
    """Read an execution back from its JSON form."""
    commission = payload["commission_usd"]
    return Execution(
        intent_key=payload["intent_key"],
        exec_id=payload["exec_id"],
        quantity=payload["quantity"],
        price_usd=Decimal(payload["price_usd"]),
        commission_usd=None if commission is None else Decimal(commission),
        at_us=payload["at_us"],
        revision=payload["revision"],
    )


def read_status(payload: Mapping[str, Any], state: State) -> IntentStatus:
    """Read an intent's status back from the journal's row."""
    return IntentStatus(
        read_intent(payload),
        State(state),
        tuple(read_execution(e) for e in payload["executions"]),
        payload["perm_id"],
        payload["detail"],
    )


def read_account(payload: Mapping[str, Any]) -> AccountSnapshot:
    """Read an account snapshot back from its JSON form."""
    pnl = payload["daily_pnl_usd"]
    return AccountSnapshot(
        account=payload["account"],
        at_us=payload["at_us"],
        cash_usd=Decimal(payload["cash_usd"]),
        net_liquidation_usd=Decimal(payload["net_liquidation_usd"]),
        daily_pnl_usd=None if pnl is None else Decimal(pnl),
        positions=tuple(
            Position(p["instrument_id"], p["symbol"], p["quantity"], Decimal(p["average_cost_usd"]))
            for p in payload["positions"]
        ),
    )
