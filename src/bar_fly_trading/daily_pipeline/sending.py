"""Before anything may be sent: the lease, a journal whose past is not in doubt, and a broker that knows no more than it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from bar_fly_trading.daily_pipeline.parts import Connected, Parts
from bar_fly_trading.errors import Refused
from bar_fly_trading.reconcile import Reconciliation, unknown_to_journal
from bar_fly_trading.trading.orders import BrokerSnapshot, order_ref

HALT_KIND = "halt"
BROKER_KNOWS_MORE, JOURNAL_IN_DOUBT = "BROKER_KNOWS_MORE", "JOURNAL_IN_DOUBT"


def take_lease(parts: Parts, account: str) -> None:
    """Take the right to move this account's orders; WaitForOtherRun where a run elsewhere has it."""
    # The run's lock is held: another holder of this machine has ended.
    parts.journal.take_lease(
        account, ttl_s=parts.settings.gateway.lease_s, monotonic_us=parts.clock.monotonic_us, alone_on_host=True
    )


async def check_past(parts: Parts, as_of: date, connected: Connected) -> None:
    """Refuse to trade on a journal that may lack what was done: restored and not yet reconciled, or behind the broker.

    CheckGateway where the broker's orders cannot be read completely.
    """
    if connected.trader is None:
        return
    again = f"Run bft reconcile --as-of {as_of} --mode paper; once it finds nothing that a person must settle, trading goes on."
    epoch = parts.journal.epoch()
    if not epoch.reconciled:
        words = f"the journal's past is in doubt (epoch {epoch.number}: {epoch.reason}); nothing was sent"
        halt(parts, as_of, JOURNAL_IN_DOUBT, words)
        raise Refused(f"{words}.", way_out=again)
    refs = [order_ref(row.intent_key) for row in parts.journal.intents(session=as_of)]
    found = unknown_to_journal(await connected.trader.snapshot(refs), parts.journal.states())
    if found:
        doubt(parts, as_of, found)
        raise Refused(f"{found[0]}; the journal is older than what was done, and nothing was sent.", way_out=again)


def doubt(parts: Parts, as_of: date, found: Sequence[str]) -> None:
    """Write down that the broker knows more than the journal: a new epoch, unless one is open, and a halt."""
    if parts.journal.epoch().reconciled:
        parts.journal.begin_epoch(found[0])
    halt(parts, as_of, BROKER_KNOWS_MORE, "; ".join(found))


def halt(parts: Parts, as_of: date, rule: str, reason: str) -> None:
    """Write down that trading stopped, once a session and reason; it is mailed from the journal."""
    known = parts.journal.records(kinds=(HALT_KIND,), session=as_of)
    if not any(r.payload["rule"] == rule and r.payload["reason"] == reason for r in known):
        payload = {"session": as_of.isoformat(), "rule": rule, "reason": reason}
        parts.journal.append(HALT_KIND, payload, at_us=parts.clock.now_us())


def settle_past(parts: Parts, as_of: date, found: Reconciliation, snapshot: BrokerSnapshot) -> tuple[str, ...]:
    """End the doubt about the journal's past where a reconciliation was clean; return what the broker knows more."""
    more = unknown_to_journal(snapshot, parts.journal.states())
    if more:
        doubt(parts, as_of, more)
    elif not found.need_a_person():
        parts.journal.end_doubt()
    return more
