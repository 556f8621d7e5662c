"""What must hold: at every order message, and when a session has settled. Judged from the broker's truth and the raw journal.

The names are those of the reliability reference (I1 to I20); nothing here calls the program's checks, counting or books.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from bar_fly_trading.facts.account import Quote
from bar_fly_trading.trading.plan import OrderIntent
from proof.broker import ACCOUNT, PREFIX, Broker
from proof.ledger import Ledger

ENTRIES_MAX, POSITIONS_MAX = 5, 10
LOSS_USD_MAX, POSITION_FRACTION = Decimal(1000), Decimal("0.05")
SPREAD_ENTRY, SPREAD_EXIT, DRIFT = Decimal("0.005"), Decimal("0.05"), Decimal("0.02")
QUOTE_AGE_US_MAX = 5_000_000
# A quote may be used for as long as the program needs to write two records and the message.
HANDLING_US_MAX = 2_000_000
OPEN_STATES = frozenset({"SENDING", "WORKING", "PARTIAL", "UNKNOWN"})
TOLD_STATES = frozenset({"REJECTED", "EXPIRED", "CANCELLED", "BROKER_REJECTED", "UNKNOWN", "PARKED"})
FILL_STATES = ("FILLED", "PARTIAL", "FILLED_LATE", "ADOPTED")
UNBEGUN_STATES = frozenset({"PLANNED", "CHECKED", "AWAITING", "APPROVED"})


@dataclass(frozen=True)
class Violation:
    """One invariant that did not hold, in words."""

    invariant: str
    words: str


class Judge:
    """Watches one seed. `paper`: the strategies that may send at all."""

    def __init__(self, broker: Broker, ledger: Ledger, paper: frozenset[str]) -> None:
        """Take both truths."""
        self.broker, self.ledger, self.paper = broker, ledger, paper
        self.found: list[Violation] = []

    def _demand(self, holds: bool, invariant: str, words: str) -> None:
        if not holds:
            self.found.append(Violation(invariant, words))

    # ------------------------------------------------------------ at every order message

    def at_write(self, intent: OrderIntent, quote: tuple[Quote, int] | None) -> None:
        """Judge an order message at the moment it is written; `quote`: the last one handed out, and when."""
        key, who = intent.intent_key, f"{intent.side.value} {intent.quantity} {intent.symbol} ({intent.intent_key[:6]})"
        twice = [w for w in self.broker.writes if w.intent.intent_key == key]
        self._demand(not twice, "I1", f"{who} was written before")
        self._demand(intent.strategy in self.paper, "I3", f"{who} of {intent.strategy}, which is in shadow")
        self._demand(intent.mode.value == "paper" and intent.account == ACCOUNT, "I3", f"{who} in {intent.mode}")
        plan = next(self.ledger.records("plan", session=intent.session), None)
        planned = None if plan is None else next((i for i in plan["plan"]["intents"] if i["intent_key"] == key), None)
        self._demand(planned is not None, "I3", f"{who} is in no frozen plan")
        word = self.ledger.last_word(key)
        self._demand(word is not None and word["state"] == "SENDING", "I3", f"{who}: SENDING is not on the disk")
        if word is not None and "order" in word:
            same = word["order"]["quantity"] == intent.quantity and Decimal(word["order"]["limit_price_usd"]) == (
                intent.limit_price_usd
            )
            self._demand(same, "I3", f"{who}: what was written down is another order")
        late_us = self.broker.loop.at_us - self.ledger.lease_until_us(ACCOUNT)
        self._demand(late_us <= 0, "I5", f"{who} {late_us} us after the lease had run out")
        self._quote(intent, quote, who)
        if planned is not None and plan is not None:
            self._limits(intent, planned, plan, who)

    def _quote(self, intent: OrderIntent, read: tuple[Quote, int] | None, who: str) -> None:
        if read is None:
            self._demand(False, "I5", f"{who} without any quote")
            return
        quote, handed_us = read
        bid, ask = quote.bid_usd, quote.ask_usd
        if bid is None or ask is None or not bid.is_finite() or not ask.is_finite():
            self._demand(False, "I5", f"{who} on a one-sided quote")
            return
        self._demand(0 < bid < ask, "I5", f"{who} on bid {bid} ask {ask}")
        self._demand(quote.market_data_type == 1, "I5", f"{who} on a quote of type {quote.market_data_type}")
        self._demand(quote.halted is False, "I5", f"{who} while halted")
        self._demand(quote.age_us <= QUOTE_AGE_US_MAX, "I5", f"{who} on a quote of {quote.age_us} us")
        used_us = self.broker.loop.at_us - handed_us
        self._demand(used_us <= HANDLING_US_MAX, "I5", f"{who} on a quote handed out {used_us} us before")
        widest = SPREAD_EXIT if intent.purpose.value == "EXIT" else SPREAD_ENTRY
        self._demand((ask - bid) / ((ask + bid) / 2) <= widest, "I5", f"{who} on a spread of {ask - bid}")
        self._demand(quote.con_id == sum(intent.instrument_id.encode()), "I5", f"{who} for another contract")

    def _limits(self, intent: OrderIntent, planned: dict[str, Any], plan: dict[str, Any], who: str) -> None:
        account = plan["account"]
        if intent.side.value == "SELL":
            held = self.ledger.held("paper").get((intent.strategy, intent.instrument_id), 0)
            working = sum(
                w.intent.quantity - self._filled(w.intent.intent_key)
                for w in self.broker.writes
                if w.intent.side.value == "SELL"
                and (w.intent.strategy, w.intent.instrument_id) == (intent.strategy, intent.instrument_id)
                and self._may_be_open(w.intent.intent_key)
            )
            self._demand(
                intent.quantity + working <= held, "I15", f"{who}, but the book holds {held}, {working} on sale"
            )
            return
        today = [w.intent for w in self.broker.writes if w.intent.session == intent.session]
        buys = [*(i for i in today if i.side.value == "BUY"), intent]
        money = sum((i.quantity * i.limit_price_usd for i in buys), Decimal(0))
        self._demand(len(buys) <= ENTRIES_MAX, "I4", f"{who} is entry {len(buys)} of the day")
        self._demand(money <= Decimal(account["cash_usd"]), "I4", f"{who}: {money} USD of {account['cash_usd']} cash")
        worth = intent.quantity * intent.limit_price_usd
        self._demand(
            worth <= POSITION_FRACTION * Decimal(account["net_liquidation_usd"]), "I4", f"{who} is worth {worth} USD"
        )
        self._demand(
            worth <= planned["quantity"] * Decimal(planned["limit_price_usd"]), "I4", f"{who} costs more than planned"
        )
        closed = Decimal(planned["signal_close_usd"])
        self._demand(intent.limit_price_usd <= closed * (1 + DRIFT), "I4", f"{who} at {intent.limit_price_usd}")
        pnl = account["daily_pnl_usd"]
        self._demand(pnl is not None and -Decimal(pnl) < LOSS_USD_MAX, "I4", f"{who} after a loss of {pnl}")
        held_now = {p["instrument_id"] for p in account["positions"]} | {i.instrument_id for i in buys}
        self._demand(len(held_now) <= POSITIONS_MAX, "I4", f"{who} makes {len(held_now)} positions")
        again = [i for i in today if i.side.value == "BUY" and i.instrument_id == intent.instrument_id]
        self._demand(not again, "I4", f"{who} is a second purchase of the day")
        owned = sum(p["quantity"] for p in account["positions"] if p["instrument_id"] == intent.instrument_id)
        whole = (owned + intent.quantity) * intent.limit_price_usd
        most = POSITION_FRACTION * Decimal(account["net_liquidation_usd"]) * (1 + DRIFT)
        self._demand(owned <= 0 or whole <= most, "I4", f"{who} makes a position of {whole} USD")
        unresolved = [
            k
            for k, (state, payload) in self.ledger.intents().items()
            if state in {"UNKNOWN", "PARKED"} and payload["instrument_id"] == intent.instrument_id
        ]
        self._demand(not unresolved, "I4", f"{who} while {unresolved} of it is of unknown fate")
        unknown = [
            k
            for k, (state, payload) in self.ledger.intents().items()
            if state in {"UNKNOWN", "PARKED"} and payload["session"] == intent.session.isoformat()
        ]
        self._demand(len(unknown) < 2, "I4", f"{who} while {len(unknown)} orders of the session are unknown")

    def _filled(self, key: str) -> int:
        return sum(f.quantity for f in self.ledger.fills().values() if f.intent_key == key)

    def _may_be_open(self, key: str) -> bool:
        return self.ledger.intents()[key][0] in OPEN_STATES | {"PARKED"}

    # ------------------------------------------------------------ when a session has settled

    def at_settle(self, session: date, signals: list[tuple[str, str, str, str]], mails: list[str]) -> None:
        """Judge a session once every fault is healed and the books were compared with the broker.

        `signals`: strategy, instrument, side and purpose of every signal; `mails`: the key of every order's mail so far.
        """
        intents = self.ledger.intents()
        self._orders(intents)
        self._executions(intents)
        self._decisions(session, signals)
        busted = self._busted()
        for key, (state, payload) in intents.items():
            if key in busted and state in {"PARTIAL", "UNKNOWN", "PARKED"}:
                continue  # the broker calls it filled and has fewer shares: a person is asked, and decides
            at = f"{payload['symbol']} ({key[:6]})"
            self._demand(state not in OPEN_STATES | UNBEGUN_STATES, "I18", f"{at} is still {state} after the session")
        self._told(intents, mails)
        for write in self.broker.writes:
            if not write.arrived:
                state = intents[write.intent.intent_key][0]
                at = f"{write.intent.symbol} ({write.intent.intent_key[:6]})"
                self._demand(state == "PARKED", "I8", f"{at} was written and never seen: it is {state}, not PARKED")
        broken = self.ledger.broken_link()
        self._demand(broken is None, "I10", str(broken))

    def _busted(self) -> set[str]:
        """Return the intents whose order is filled by its status and not by its executions."""
        orders = self.broker.orders.values()
        return {o.reference.removeprefix(PREFIX) for o in orders if o.status == "filled" and o.filled < o.quantity}

    def _orders(self, intents: dict[str, tuple[str, dict[str, Any]]]) -> None:
        for order in self.broker.orders.values():
            if not order.ours:
                continue
            at = f"{order.side} {order.quantity} {order.symbol}"
            found = intents.get(order.reference.removeprefix(PREFIX))
            self._demand(found is not None, "I1b", f"{at} is at the broker, the journal has no such intent")
            if found is None:
                continue
            state, payload = found
            ended = {
                "filled": {
                    "FILLED",
                    "FILLED_LATE",
                    "ADOPTED",
                    *(("PARTIAL", "UNKNOWN", "PARKED") if order.filled < order.quantity else ()),
                },
                "cancelled": {"CANCELLED", "FILLED_LATE", "EXPIRED", "ADOPTED", "FILLED"},
                "expired": {"CANCELLED", "EXPIRED", "FILLED_LATE", "ADOPTED", "FILLED"},
                "rejected": {"BROKER_REJECTED", "ADOPTED"},
            }
            self._demand(
                state in ended[order.status], "I6", f"{at} is {order.status} at the broker, {state} in the journal"
            )
            self._demand(order.quantity == payload["quantity"], "I3", f"{at}: the journal says {payload['quantity']}")
        placed = {o.reference.removeprefix(PREFIX) for o in self.broker.orders.values()}
        for key, (state, payload) in intents.items():
            claims = state in {"WORKING", "PARTIAL", "FILLED", "FILLED_LATE", "BROKER_REJECTED", "ADOPTED"}
            if payload["mode"] == "paper" and claims:
                self._demand(key in placed, "I1b", f"{payload['symbol']} is {state}, the broker never had it")

    def _executions(self, intents: dict[str, tuple[str, dict[str, Any]]]) -> None:
        ours = {
            e.exec_id: (e.quantity, e.price_usd, e.commission_usd)
            for o in self.broker.orders.values()
            if o.ours
            for e in o.executions.values()
        }
        booked = {
            f.exec_id: (f.quantity, f.price_usd, f.commission_usd)
            for f in self.ledger.fills().values()
            if f.mode == "paper"
        }
        for exec_id in sorted(set(ours) | set(booked)):
            there, here = ours.get(exec_id), booked.get(exec_id)
            self._demand(there == here, "I6", f"execution {exec_id}: the broker {there}, the journal {here}")
        for key, (_, payload) in intents.items():
            filled = sum(f.quantity for f in self.ledger.fills().values() if f.intent_key == key)
            at = f"{payload['symbol']} ({key[:6]})"
            self._demand(filled <= payload["quantity"], "I2", f"{at}: {filled} of {payload['quantity']} filled")
            self._demand(filled == payload["filled_quantity"], "I10", f"{at}: counts {payload['filled_quantity']}")

    def _decisions(self, session: date, signals: list[tuple[str, str, str, str]]) -> None:
        plans = list(self.ledger.records("plan", session=session))
        self._demand(len(plans) <= 1, "I3", f"{len(plans)} plans of {session}")
        if not plans:
            return
        plan = plans[0]["plan"]
        decided = [
            (d["strategy"], d["instrument_id"], d["side"], d["purpose"])
            for d in (*plan["intents"], *plan["rejections"])
        ]
        self._demand(sorted(decided) == sorted(signals), "I7", f"{len(signals)} signals, {len(decided)} decisions")
        for rejection in plan["rejections"]:
            complete = all(rejection[name] for name in ("rule", "observed", "limit", "reason"))
            self._demand(complete, "I7", f"a rejection of {rejection['symbol']} without its reason")

    def _told(self, intents: dict[str, tuple[str, dict[str, Any]]], mails: list[str]) -> None:
        """Demand a mail of its own for every state that a paper order reached, however the runs ended."""
        told = {tuple(key.split("|")[:2]) for key in mails}
        for record in self.ledger.records("intent"):
            key, state = record["intent_key"], record["state"]
            payload = intents[key][1]
            if payload["mode"] == "paper" and state in TOLD_STATES:
                at = f"{payload['symbol']} ({key[:6]})"
                invariant = "I8" if state in {"UNKNOWN", "PARKED"} else "I14"
                self._demand((key, state) in told, invariant, f"{at} became {state} and nobody was told")
        for fill in self.ledger.fills().values():
            if fill.mode == "paper":
                filled = any((fill.intent_key, state) in told for state in FILL_STATES)
                self._demand(filled, "I14", f"execution {fill.exec_id} was told to nobody")
