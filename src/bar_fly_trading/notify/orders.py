"""The mails of orders and halts: one a state that an order of paper or live reached, one a halt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from bar_fly_trading.notify.letter import Facts, Letter, Note, to_html, to_text
from bar_fly_trading.notify.message import MailMessage
from bar_fly_trading.notify.words import counted, price, usd
from bar_fly_trading.trading.orders import State
from bar_fly_trading.trading.plan import IntentStatus

# What a person calls a state, and its tone.
_SAID: dict[State, tuple[str, str]] = {
    State.SENDING: ("sent", "good"),
    State.PARTIAL: ("partly filled", "good"),
    State.FILLED: ("filled", "good"),
    State.CANCELLED: ("cancelled", "quiet"),
    State.EXPIRED: ("expired", "quiet"),
    State.REJECTED: ("refused before the send", "warn"),
    State.BROKER_REJECTED: ("refused by the broker", "warn"),
    State.UNKNOWN: ("of unknown fate", "bad"),
    State.PARKED: ("parked: a person must decide", "bad"),
    State.FILLED_LATE: ("filled after its end", "bad"),
    State.ADOPTED: ("settled after it was parked", "warn"),
}
TOLD_STATES = frozenset(_SAID)
_TO_DO = {
    State.UNKNOWN: "Look in TWS, then run bft reconcile; the order is never sent again.",
    State.PARKED: "bft parked shows the evidence; bft resolve {key} settles it.",
    State.FILLED_LATE: "The fill came after the order had ended: compare the position in TWS with bft report.",
}


@dataclass(frozen=True, slots=True)
class Halt:
    """Trading stopped: by which rule, why, under which record."""

    session: date
    rule: str
    reason: str
    seq: int


def order_mail(status: IntentStatus, *, seq: int) -> MailMessage:
    """Make the mail of an order that reached a state; one an intent, state and filled quantity."""
    intent, filled = status.intent, status.filled_quantity
    said, tone = _SAID[status.state]
    name = f"{intent.side.value} {intent.symbol}"
    paid = sum((e.quantity * e.price_usd for e in status.executions), Decimal(0))
    average = usd(paid / filled) if filled else "-"
    fees = [e.commission_usd for e in status.executions]
    known = sum((fee for fee in fees if fee is not None), Decimal(0))
    rows = (
        ("Order", f"{name} {counted(intent.quantity, 'share')}, DAY limit {price(intent.limit_price_usd)}"),
        ("State", status.state.value),
        ("Filled", f"{filled} of {intent.quantity}"),
        ("Average price", average),
        ("Commission", usd(known) if fees and None not in fees else "-"),
        ("What happened", status.detail or "-"),
        ("Strategy", f"{intent.strategy}, {intent.mode.value}"),
        ("Account", intent.account),
        ("Reference", intent.order_ref),
        ("permId", str(status.perm_id or "-")),
        ("Record", str(seq)),
    )
    next_step = _TO_DO.get(status.state, "").format(key=intent.intent_key)
    letter = Letter(
        heading=f"{name}: {said}",
        verdict=f"{name}: {filled} of {intent.quantity} filled. The order is {said}.",
        tone=tone,
        blocks=(*([Note("What to do", next_step)] if next_step else []), Facts("Order", rows)),
        footer=f"bar_fly_trading, session {intent.session.isoformat()}. Written by a program; nobody reads replies.",
    )
    subject = f"[bft {intent.mode.value}] {name} {said}: {filled}/{intent.quantity}"
    key = f"{intent.intent_key}|{status.state.value}|{filled}"
    return MailMessage("order", subject, to_text(letter), to_html(letter), intent.session, key)


def halt_mail(halt: Halt) -> MailMessage:
    """Make the mail of a halt."""
    letter = Letter(
        heading=f"Trading is halted: {halt.rule}",
        verdict=halt.reason,
        tone="bad",
        blocks=(
            Facts("Halt", (("Rule", halt.rule), ("Session", halt.session.isoformat()), ("Record", str(halt.seq)))),
        ),
        footer=f"bar_fly_trading, session {halt.session.isoformat()}. Written by a program; nobody reads replies.",
    )
    subject = f"[bft HALT] {halt.rule}: {halt.reason}"
    return MailMessage("halt", subject, to_text(letter), to_html(letter), halt.session, f"{halt.rule}|{halt.reason}")
