"""The close: the broker's facts against ours, the books marked at the session's closes, and the day's summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from bar_fly_trading.daily_pipeline.books import build_books, closes_of
from bar_fly_trading.daily_pipeline.parts import Connected, Parts, write_down
from bar_fly_trading.daily_pipeline.sending import settle_past, take_lease
from bar_fly_trading.daily_pipeline.telling import Mails, shadow_book_of
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.day.ending import end_unbegun
from bar_fly_trading.errors import CheckGateway, CheckVendor, DecideParked, DoneLess, DoneUnread, FixData, FixSettings
from bar_fly_trading.facts.account import AccountSnapshot
from bar_fly_trading.facts.sessions import evening_us
from bar_fly_trading.files import sha256_bytes
from bar_fly_trading.notify.compose import Books, DaySummary, OrderLine, summary_mail
from bar_fly_trading.notify.message import MailMessage
from bar_fly_trading.reconcile import Reconciliation, difference_payload, reconcile
from bar_fly_trading.trading.book import Book
from bar_fly_trading.trading.orders import MAY_BE_AT_BROKER, Mode, order_ref
from bar_fly_trading.trading.plan import IntentStatus, Rejection, canonical_bytes, plain
from bar_fly_trading.trading.reading import read_rejection, read_status

CLOSE_KIND = "close"
CENT = Decimal("0.01")
BASIS_POINTS = 10_000


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed day. `differences`: in words. `unread`: why the account was not read, '' where it was."""

    session: date
    differences: tuple[str, ...]
    totals_usd: tuple[tuple[str, Decimal | None], ...]
    unread: str


async def _connect(parts: Parts, as_of: date) -> tuple[Connected | None, str]:
    instruments = load_instruments(parts.store)
    try:
        return await parts.connect(lambda symbol: instruments.id_of(symbol, as_of)), ""
    except CheckGateway as error:
        return None, str(error)


def _paper_statuses(parts: Parts, as_of: date) -> tuple[IntentStatus, ...]:
    """Return this session's paper intents, and any earlier one whose order may still be at the broker."""
    rows = {r.intent_key: r for r in parts.journal.intents(session=as_of, modes=(Mode.PAPER,))}
    rows |= {r.intent_key: r for r in parts.journal.intents(states=MAY_BE_AT_BROKER, modes=(Mode.PAPER,))}
    return tuple(read_status(rows[key].payload, rows[key].state) for key in sorted(rows))


async def reconcile_now(
    parts: Parts, as_of: date, mails: Mails
) -> tuple[Reconciliation | None, AccountSnapshot | None, str]:
    """Compare the journal with the broker and record what settles; return it, the account, and why it was not read.

    Without paper orders the account alone is read. A difference that needs a person leaves DecideParked behind; an
    unreadable account with paper orders to settle leaves DoneUnread.
    """
    statuses = _paper_statuses(parts, as_of)
    connected, unread = await _connect(parts, as_of)
    if connected is None:
        if statuses:
            mails.less(
                DoneUnread(f"paper orders could not be reconciled: {unread}", way_out=f"bft reconcile --as-of {as_of}")
            )
        return None, None, unread
    try:
        if connected.trader is None:
            if any(s.state in MAY_BE_AT_BROKER for s in statuses):
                mails.less(
                    DecideParked(
                        "paper orders are open, but no strategy is in paper.", way_out="Reconcile with --mode paper."
                    )
                )
            return None, await connected.venue.account(), ""
        take_lease(parts, connected.account)
        refs = [order_ref(s.intent.intent_key) for s in statuses]
        snapshots = [await connected.trader.snapshot(refs), await connected.trader.snapshot(refs)]
    except CheckGateway as error:
        mails.less(DoneUnread(f"the account was not read: {error.message}", way_out=f"bft reconcile --as-of {as_of}"))
        return None, None, error.message
    finally:
        await connected.venue.disconnect()
    found = _settle(parts, as_of, statuses, snapshots)
    more = settle_past(parts, as_of, found, snapshots[-1])
    people = [*(d.words for d in found.need_a_person()), *more]
    if people:
        mails.less(DecideParked("; ".join(people), way_out="Look in TWS; the journal keeps both sides."))
    return found, snapshots[-1].account, ""


def _settle(parts: Parts, as_of: date, statuses: Sequence[IntentStatus], snapshots: Sequence[Any]) -> Reconciliation:
    touched = [r.at_us for r in parts.journal.records(kinds=("intent", "fill"), session=as_of)]
    books = build_books(parts.journal, parts.store, as_of, evening_us(as_of))
    found = reconcile(
        as_of,
        statuses,
        snapshots,
        book_quantities=books[Mode.PAPER].quantities(),
        quiet_since_us=max(touched, default=0),
    )
    for difference in found.differences:
        for record in difference.records:
            write_down(parts, record)
        parts.journal.append("difference", difference_payload(as_of, difference), at_us=parts.clock.now_us())
    return found


async def close(parts: Parts, as_of: date, mails: Mails) -> Closed:
    """Reconcile, mark both books at the closes of `as_of`, write the day down and mail its summary.

    FixData where the session has not closed or a held symbol has no close of it and none can be pulled.
    """
    if parts.clock.now_us() < parts.calendar.session(as_of).close_us:
        raise FixData(f"the session of {as_of} has not closed yet.", way_out="Run the close after 16:00 New York.")
    found, account, unread = await reconcile_now(parts, as_of, mails)
    _end_unbegun(parts, as_of)
    books = build_books(parts.journal, parts.store, as_of, evening_us(as_of))
    marks = await _marks(parts, as_of, books)
    unmarked = sorted(p.symbol for b in books.values() for p in b.positions if p.instrument_id not in marks)
    if unmarked:
        mails.less(
            DoneLess(
                f"{len(unmarked)} held symbols have no close of {as_of} yet ({unmarked[0]}), so the books' worth is not known.",
                way_out=f"Run bft close --as-of {as_of} again once the vendor serves it.",
            )
        )
    before = closes_of(parts.store, parts.calendar.previous(as_of), _held(books))
    differences = () if found is None else tuple(d.words for d in found.differences)
    payload = {
        "session": as_of.isoformat(),
        "settings_hash": parts.settings_hash,
        "account": None if account is None else plain(account),
        "account_note": unread,
        "books": {mode.value: _book_payload(book, marks, before) for mode, book in sorted(books.items())},
        "differences": list(differences),
    }
    parts.journal.append(CLOSE_KIND, payload, at_us=parts.clock.now_us())
    key = sha256_bytes(canonical_bytes(payload))[:16]  # a second close that finds something else is told again
    mails.queue(_summary(parts, as_of, books, marks, before, account, unread, differences, key))
    totals = tuple((mode.value, book.total_usd(marks)) for mode, book in sorted(books.items()))
    return Closed(as_of, differences, totals, unread)


def _end_unbegun(parts: Parts, as_of: date) -> None:
    statuses = (read_status(r.payload, r.state) for r in parts.journal.intents(session=as_of))
    for record in end_unbegun(as_of, statuses):
        write_down(parts, record)


def _held(books: Mapping[Mode, Book]) -> list[str]:
    return sorted({p.instrument_id for b in books.values() for p in (*b.positions, *b.open_positions)})


async def _marks(parts: Parts, as_of: date, books: Mapping[Mode, Book]) -> dict[str, Decimal]:
    """Return the session's closes of everything held, pulled where the store lacks one."""
    wanted = sorted({p.instrument_id for b in books.values() for p in b.positions})
    marks = closes_of(parts.store, as_of, wanted)
    missing = [i for i in wanted if i not in marks]
    if missing and parts.pull is not None:
        instruments = load_instruments(parts.store)
        symbols = tuple(s for i in missing if (s := instruments.symbol_of(i, as_of)) is not None)
        try:
            await parts.pull(symbols, as_of)
        except (CheckVendor, FixSettings) as error:
            raise FixData(
                f"{len(missing)} held symbols have no close of {as_of} ({missing[0]}), and the pull failed: {error.message}",
                way_out="Pull or import that session's bars, then run bft close again.",
            ) from error
        marks = closes_of(parts.store, as_of, wanted)
    return marks


def _book_payload(book: Book, marks: Mapping[str, Decimal], before: Mapping[str, Decimal]) -> dict[str, Any]:
    total, day = book.total_usd(marks), book.day_usd(before, marks)
    return {
        "cash_usd": plain(book.cash_usd),
        "total_usd": None if total is None else plain(total.quantize(CENT)),
        "day_usd": None if day is None else plain(day.quantize(CENT)),
        "realised_usd": plain(book.realised_usd),
        "dividends_usd": plain(book.dividends_usd),
        "commissions_usd": plain(book.commissions_usd),
        "positions": [
            {
                "strategy": p.strategy,
                "instrument_id": p.instrument_id,
                "symbol": p.symbol,
                "quantity": p.quantity,
                "cost_usd": plain(p.cost_usd),
                "entry_session": p.entry_session.isoformat(),
                "mark_usd": plain(marks[p.instrument_id]) if p.instrument_id in marks else None,
            }
            for p in book.positions
        ],
    }


def _order_line(status: IntentStatus) -> OrderLine:
    i, filled = status.intent, status.filled_quantity
    paid = sum((e.quantity * e.price_usd for e in status.executions), Decimal(0))
    fees = [e.commission_usd for e in status.executions]
    average = paid / filled if filled else None
    mid = (i.bid_usd + i.ask_usd) / 2
    slippage = None
    if average is not None:
        slippage = float((average - mid if i.side.value == "BUY" else mid - average) / mid) * BASIS_POINTS
    return OrderLine(
        mode=i.mode,
        strategy=i.strategy,
        symbol=i.symbol,
        side=i.side.value,
        quantity=i.quantity,
        limit_price_usd=i.limit_price_usd,
        state=status.state.value,
        filled=filled,
        average_price_usd=average,
        commission_usd=None if None in fees or not fees else sum((f for f in fees if f is not None), Decimal(0)),
        slippage_bps=slippage,
        detail=status.detail,
    )


def _rejections(parts: Parts, as_of: date) -> tuple[Rejection, ...]:
    plans = parts.journal.records(kinds=("plan",), session=as_of)
    return tuple(read_rejection(r) for r in plans[-1].payload["plan"]["rejections"]) if plans else ()


def _head_words(parts: Parts) -> str:
    """Name the journal's head: a mail is outside of the machine, so a journal written anew later does not fit it."""
    head = parts.journal.head()
    return f"Journal: {head.seq} records; check with bft journal verify --seq {head.seq} --hash {head.hash}"


def _summary(
    parts: Parts,
    as_of: date,
    books: Mapping[Mode, Book],
    marks: Mapping[str, Decimal],
    before: Mapping[str, Decimal],
    account: AccountSnapshot | None,
    unread: str,
    differences: tuple[str, ...],
    key: str,
) -> MailMessage:
    statuses = [read_status(r.payload, r.state) for r in parts.journal.intents(session=as_of)]
    shadow = books[Mode.SHADOW]
    return summary_mail(
        DaySummary(
            session=as_of,
            books=Books(account, shadow_book_of(shadow, account, marks), unread),
            orders=tuple(_order_line(s) for s in statuses),
            rejections=_rejections(parts, as_of),
            pnl_usd=None if account is None else account.daily_pnl_usd,
            shadow_pnl_usd=shadow.day_usd(before, marks),
            differences=differences,
            notes=(_head_words(parts),),
        ),
        key=key,
    )
