"""Mails of a run: made from what was decided, queued as files at once, sent at the end; the mail server stops nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

from bar_fly_trading.daily_pipeline.order_mails import queue_order_mails
from bar_fly_trading.daily_pipeline.parts import Parts
from bar_fly_trading.daily_pipeline.rules import note_rules
from bar_fly_trading.day import Tell
from bar_fly_trading.errors import BftError, DoneLess, DoneNotTold
from bar_fly_trading.facts.account import AccountSnapshot, Position
from bar_fly_trading.notify.compose import Books, Failure, ShadowBook, failure_mail, signal_mail
from bar_fly_trading.notify.message import MailMessage
from bar_fly_trading.notify.outbox import KEPT
from bar_fly_trading.notify.ping import ping
from bar_fly_trading.trading.book import Book
from bar_fly_trading.trading.orders import Mode
from bar_fly_trading.trading.plan import OrderIntent, RankedSignal, Rejection
from bar_fly_trading.trading.reading import read_account, read_intent, read_ranked, read_rejection
from bar_fly_trading.trading.signal_combination import CombinationRefusal

T = TypeVar("T")
ACCOUNT_NOT_READ = "ACCOUNT_NOT_READ"


@dataclass(slots=True)
class Mails:
    """The mails of one run. `problem`: what the run's end must say, the first one of several."""

    parts: Parts
    session: date
    queued: int = 0
    problem: BftError | None = None
    kinds: dict[str, int] = field(default_factory=dict)

    def queue(self, mail: MailMessage) -> None:
        """Write a mail to the outbox; one of the same identity is not written twice."""
        self.parts.outbox.queue(mail, self.parts.route)
        self.queued += 1
        self.kinds[mail.kind] = self.kinds.get(mail.kind, 0) + 1

    def less(self, problem: BftError) -> None:
        """Remember that the run did less than asked; the first problem is the one it ends with."""
        if self.problem is None:
            self.problem = problem


def signal_mail_of(tell: Tell, shadow: Book | None, refused: Sequence[CombinationRefusal]) -> MailMessage:
    """Make the mail of a `signal` message of the day; `refused`: the evening's entries that a combination ended."""
    payload = tell.payload
    ranked = _refused(payload["rejection"], refused) if payload["ranked"] is None else read_ranked(payload["ranked"])
    account = None if payload["account"] is None else read_account(payload["account"])
    verdict: OrderIntent | Rejection
    if payload["decision"] == "intent":
        verdict = read_intent(payload["intent"])
    elif payload["decision"] == "rejection":
        verdict = read_rejection(payload["rejection"])
    else:
        verdict = _not_read(ranked, payload)
    note = payload.get("reason", "") if account is None else ""
    return signal_mail(ranked, verdict, Books(account, _shadow_book(shadow, account), note))


def _refused(rejection: Mapping[str, Any], refused: Sequence[CombinationRefusal]) -> RankedSignal:
    """Return a combination's refusal as a signal without a rank; it never came to be ranked."""
    wanted = tuple(rejection[name] for name in ("strategy", "instrument_id", "side", "purpose"))
    for r in refused:
        s = r.signal
        if (s.strategy, s.instrument_id, s.side.value, s.purpose.value) == wanted:
            return RankedSignal(s, 0, "refused", r.reason, 0.0, (), "", None)
    raise AssertionError(f"the plan refuses {wanted}, which the evening did not")


def _not_read(ranked: RankedSignal, payload: Mapping[str, Any]) -> Rejection:
    s = ranked.signal
    return Rejection(
        session=date.fromisoformat(payload["session"]),
        strategy=s.strategy,
        mode=Mode(payload["mode"]),
        instrument_id=s.instrument_id,
        symbol=s.symbol,
        side=s.side,
        purpose=s.purpose,
        rank=ranked.rank,
        rule=ACCOUNT_NOT_READ,
        observed=payload["reason"],
        limit="a complete reading of the account",
        reason=f"account not read: {payload['reason']}",
    )


def shadow_book_of(book: Book, account: AccountSnapshot | None, marks_usd: Mapping[str, Decimal]) -> ShadowBook:
    """Return the shadow book as mails show it: its own cash flow on top of the account's cash, where that is known."""
    cash = book.cash_usd + (account.cash_usd if account is not None else 0)
    value = book.value_usd(marks_usd)
    worth = None if account is None or value is None else account.net_liquidation_usd + book.cash_usd + value
    positions = tuple(
        Position(p.instrument_id, p.symbol, p.quantity, (p.cost_usd / p.quantity).quantize(Decimal("0.0001")))
        for p in book.positions
    )
    return ShadowBook(cash, worth, positions)


def _shadow_book(book: Book | None, account: AccountSnapshot | None) -> ShadowBook | None:
    return None if book is None else shadow_book_of(book, account, {})


def alarm_mail(parts: Parts, session: date, tell: Tell) -> MailMessage:
    """Make the mail of an alarm: a person must look."""
    payload = tell.payload
    words = payload.get("words") or f"order of {payload['intent']['symbol']} is {payload['state']}: {payload['detail']}"
    failure = Failure(
        session=session,
        stage="morning",
        cause=str(words),
        kept="The journal holds the order and everything that is known of it; it is never sent again.",
        next_command=f"bft reconcile --as-of {session}",
        run_id=tell.key,
        exit_code=10,
        log=str(parts.home.journal),
    )
    return failure_mail(failure)


async def told(
    parts: Parts, stage: str, session: date, kept: str, next_command: str, work: Callable[[Mails], Awaitable[T]]
) -> T:
    """Do a stage's work, then send what is queued; a failure is mailed with its cause and the next command, and raised.

    DoneNotTold where the work is done but a mail still waits; the problem the work left behind where it did less.
    """
    mails = Mails(parts, session)
    url = parts.settings.schedule.ping_url.get_secret_value()
    _say_ping(parts, ping(url, "start"))
    try:
        note_rules(parts)
        result = await work(mails)
        queue_order_mails(parts.journal, mails.queue)
        if mails.problem is not None:
            _queue_failure(mails, stage, kept, next_command, mails.problem)
    except BftError as error:
        # What the journal cannot tell now, the next run does: it is written down with the order.
        with suppress(BftError):
            queue_order_mails(parts.journal, mails.queue)
        _queue_failure(mails, stage, kept, next_command, error)
        _send(mails)
        _say_ping(parts, ping(url, "fail"))
        raise
    except Exception as error:
        _queue_failure(
            mails, stage, kept, next_command, DoneLess(f"a defect: {type(error).__name__}", way_out=next_command)
        )
        _send(mails)
        _say_ping(parts, ping(url, "fail"))
        raise
    waiting = _send(mails)
    _say_ping(parts, ping(url, "fail" if mails.problem is not None else "success"))
    if mails.problem is not None:
        raise mails.problem
    if waiting:
        raise DoneNotTold(
            f"{stage} of {session} is done, but {waiting}", way_out="Run bft notify --flush once mail works."
        )
    return result


def _queue_failure(mails: Mails, stage: str, kept: str, next_command: str, error: BftError) -> None:
    mails.queue(
        failure_mail(
            Failure(
                session=mails.session,
                stage=stage,
                cause=error.message,
                kept=kept,
                next_command=next_command,
                run_id=mails.parts.run_id,
                exit_code=error.exit_code,
                to_do="" if error.way_out == next_command else error.way_out,
            )
        )
    )


def _send(mails: Mails) -> str:
    """Send what waits; return why something still waits, else ''."""
    parts = mails.parts
    if mails.queued and not parts.route.configured:
        parts.say.line(f"no mail server is set, mails are kept as files: {parts.outbox.root / KEPT}")
    result = parts.outbox.flush(parts.route)
    if result.delivered:
        parts.say.line(f"{len(result.delivered)} mails sent; copies: {result.delivered[0].parent}")
    if result.queued:
        return f"{len(result.queued)} mails wait in {parts.home.outbox}: {result.reason}"
    return ""


def _say_ping(parts: Parts, fault: str) -> None:
    if fault:
        parts.say.line(fault)
