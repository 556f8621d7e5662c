"""Every state that a paper order reached, and every halt, mailed once: from the journal's records, which were written with it.

A change of an order and the news of it are one record, so neither a kill nor a full disk loses one of the two. What was told
up to which record is a record itself; a kill in between tells it again under the same identity, which the outbox knows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import date

from bar_fly_trading.daily_pipeline.sending import HALT_KIND
from bar_fly_trading.journal import Journal, JournalRecord
from bar_fly_trading.notify.message import MailMessage
from bar_fly_trading.notify.orders import TOLD_STATES, Halt, halt_mail, order_mail
from bar_fly_trading.trading.orders import Mode, State
from bar_fly_trading.trading.reading import read_status

TOLD_KIND = "told"


def queue_order_mails(journal: Journal, queue: Callable[[MailMessage], None]) -> int:
    """Queue the mails of everything that no earlier run told, oldest first, and write down how far; return how many."""
    told = journal.records(kinds=(TOLD_KIND,))
    after = int(told[-1].payload["through_seq"]) if told else 0
    records = journal.records(after_seq=after)
    never_left = {
        change["intent_key"]
        for record in records
        for change in record.intent_changes()
        if change["after"] == State.NOT_SENT.value
    }
    found = [mail for record in records for mail in _mails(record, never_left)]
    for mail in found:
        queue(mail)
    if found:
        journal.append(TOLD_KIND, {"through_seq": records[-1].seq, "mails": len(found)}, at_us=records[-1].at_us)
    return len(found)


def _mails(record: JournalRecord, never_left: Collection[str]) -> Iterator[MailMessage]:
    if record.kind == HALT_KIND:
        p = record.payload
        yield halt_mail(Halt(date.fromisoformat(p["session"]), p["rule"], p["reason"], record.seq))
    # A record that takes an order over several edges tells where it arrived.
    last = {change["intent_key"]: change for change in record.intent_changes() if change.get("updated_seq") is None}
    for change in last.values():
        payload, state = change["payload"], State(change["after"])
        if payload is None or state not in TOLD_STATES or payload["mode"] == Mode.SHADOW.value:
            continue
        if state is State.SENDING and change["intent_key"] in never_left:
            continue  # provably not a byte of it left: its end tells that
        yield order_mail(read_status(payload, state), seq=record.seq)
