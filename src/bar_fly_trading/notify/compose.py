"""The mails a run writes: one per signal, the evening's list, the day's summary, a failure. Values in, a mail out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from bar_fly_trading.errors import DoneLess
from bar_fly_trading.facts.account import AccountSnapshot, Position
from bar_fly_trading.notify.letter import Block, Facts, Letter, Note, Row, Table, to_html, to_text
from bar_fly_trading.notify.message import MailMessage
from bar_fly_trading.notify.words import UNKNOWN, capital, counted, measured, price, sentence, usd
from bar_fly_trading.strategies.signal import Purpose, Signal
from bar_fly_trading.trading.orders import Mode
from bar_fly_trading.trading.plan import OrderIntent, RankedSignal, Rejection

NOT_TRADED = "NO TRADE WAS EXECUTED"
EXECUTE = "execute"
REASONS_MAX = 5


@dataclass(frozen=True, slots=True)
class ShadowBook:
    """The book shadow fills go into: cash and holdings that no broker knows."""

    cash_usd: Decimal
    net_liquidation_usd: Decimal | None
    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class Books:
    """Where the money stands. `account` None: not read, and `account_note` says why. `shadow` None: no shadow book."""

    account: AccountSnapshot | None
    shadow: ShadowBook | None = None
    account_note: str = ""


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One intent at the day's end. `slippage_bps`: fill against the mid at decision, positive is worse; None: no fill."""

    mode: Mode
    strategy: str
    symbol: str
    side: str
    quantity: int
    limit_price_usd: Decimal
    state: str
    filled: int
    average_price_usd: Decimal | None
    commission_usd: Decimal | None
    slippage_bps: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DaySummary:
    """A day after its close. `differences`: what reconciliation found. `pnl_usd`: the account's, None where not said."""

    session: date
    books: Books
    orders: tuple[OrderLine, ...]
    rejections: tuple[Rejection, ...]
    pnl_usd: Decimal | None
    shadow_pnl_usd: Decimal | None
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that failed or did less than asked. `run_id` tells two failures of one day apart.

    `next_command` repeats the run; `to_do` is what must be put right before it, '' where nothing must.
    """

    session: date
    stage: str
    cause: str
    kept: str
    next_command: str
    run_id: str
    exit_code: int
    log: str = ""
    to_do: str = ""


def _mail(kind: str, subject: str, session: date, key: str, letter: Letter) -> MailMessage:
    return MailMessage(kind, subject, to_text(letter), to_html(letter), session, key)


def _footer(session: date) -> str:
    return f"bar_fly_trading, session {session.isoformat()}. Written by a program; nobody reads replies."


def signal_mail(
    ranked: RankedSignal, verdict: OrderIntent | Rejection, books: Books, *, outcome: str = ""
) -> MailMessage:
    """Make the mail of one signal and what the morning decided about it.

    One mail a signal, mode and morning (a second where the account, unread at first, was read later).
    `verdict`: the order meant, or the refusal with its rule. `outcome`: what became of the order so far (paper).
    """
    signal, mode, session = ranked.signal, verdict.mode, verdict.session
    name = f"{signal.side.value} {signal.symbol}"
    if isinstance(verdict, OrderIntent):
        size = f"{counted(verdict.quantity, 'share')} at {price(verdict.limit_price_usd)}"
        if mode is Mode.SHADOW:
            said, tone = f"Would send {signal.side.value} {size}. {NOT_TRADED}: this strategy runs in shadow.", "quiet"
        else:
            said, tone = f"Order {outcome or 'decided'}: {signal.side.value} {size}.", "good"
        subject = f"{name} {verdict.quantity} @ {verdict.limit_price_usd:f}"
        order = _order(verdict)
    else:
        said, tone = sentence(f"Refused by {verdict.rule}: {verdict.reason}"), "warn"
        if mode is Mode.SHADOW:
            said += f" {NOT_TRADED}: this strategy runs in shadow."
        subject = f"{name} refused: {verdict.rule}"
        order = _refusal(verdict)
    letter = Letter(
        heading=f"{name}: {signal.strategy}, {mode.value}",
        verdict=said,
        tone=tone,
        blocks=(_signal_facts(ranked), order, _rank(ranked), *_books(books)),
        footer=_footer(session),
    )
    # A morning that could not read the account and one that later could are two pieces of news about one signal.
    read = "read" if books.account is not None else "not read"
    key = "|".join((mode.value, signal.strategy, signal.instrument_id, signal.side.value, signal.purpose.value, read))
    return _mail("signal", f"[bft {mode.value}] {subject} ({signal.strategy})", session, key, letter)


def _signal_facts(ranked: RankedSignal) -> Facts:
    signal = ranked.signal
    rows = [
        ("Symbol", f"{signal.symbol} ({ranked.sector})"),
        ("Side", f"{signal.side.value}, {signal.purpose.value.lower()}"),
        ("Strategy", signal.strategy),
        ("Signal of", f"close of {signal.session.isoformat()}"),
        ("Close as traded", usd(signal.close_usd)),
        ("Why", signal.reason),
        *(measured(name, value) for name, value in signal.observed),
    ]
    return Facts("Signal", tuple(rows))


def _order(intent: OrderIntent) -> Facts:
    caps = ", ".join(f"{cap.name} {cap.quantity}" for cap in intent.caps)
    rows = (
        ("Order", f"{intent.side.value} {intent.quantity} {intent.symbol}, DAY limit {price(intent.limit_price_usd)}"),
        ("Value", usd(intent.limit_price_usd * intent.quantity)),
        ("Never beyond", usd(intent.limit_price_bound_usd)),
        ("Bid and ask", f"{usd(intent.bid_usd)} / {usd(intent.ask_usd)}"),
        ("Size set by", f"{intent.binding_cap} (shares allowed: {caps})" if caps else intent.binding_cap),
        ("Account", intent.account),
        ("Could execute", "yes"),
        ("Reference", intent.order_ref),
    )
    return Facts("Order proposed", rows)


def _refusal(rejection: Rejection) -> Facts:
    rows = (
        ("Could execute", "no"),
        ("Rule", rejection.rule),
        ("Observed", rejection.observed),
        ("Limit", rejection.limit),
        ("Reason", rejection.reason),
    )
    return Facts("No order", rows)


def _rank(ranked: RankedSignal) -> Block:
    place = f"rank {ranked.rank}" if ranked.rank else "unranked"
    title = f"Ranking: {place}, {ranked.tag}"
    if not ranked.criteria:
        return Note(title, ranked.tag_reason)
    rows = tuple(Row((*measured(c.name, c.value), f"{c.score:.3f}", f"{c.weight:g}")) for c in ranked.criteria)
    rows += (Row(("score", "", f"{ranked.score:.3f}", ""), detail=ranked.tag_reason),)
    return Table(title, ("Criterion", "Value", "Score", "Weight"), rows, frozenset({1, 2, 3}))


def _books(books: Books) -> tuple[Block, ...]:
    blocks: list[Block] = []
    if books.account is None:
        blocks.append(Note("Account", f"Account not read: {books.account_note or 'no reason was given'}."))
    else:
        account = books.account
        rows = [
            ("Account", account.account),
            ("Cash", usd(account.cash_usd)),
            ("Net liquidation", usd(account.net_liquidation_usd)),
            ("Day's profit or loss", usd(account.daily_pnl_usd)),
        ]
        blocks.append(Facts("Account", (*rows, ("Positions", _held(account.positions)))))
    if books.shadow is not None:
        shadow = books.shadow
        worth = "marked at the close" if shadow.net_liquidation_usd is None else usd(shadow.net_liquidation_usd)
        rows = [("Cash", usd(shadow.cash_usd)), ("Net liquidation", worth)]
        blocks.append(Facts("Shadow book (not real money)", (*rows, ("Positions", _held(shadow.positions)))))
    return tuple(blocks)


def _held(positions: Sequence[Position]) -> str:
    held = sorted((p.symbol, p.quantity) for p in positions if p.quantity)
    return ", ".join(f"{quantity} {symbol}" for symbol, quantity in held) or "none"


def ranked_list_mail(
    session: date,
    ranked: Sequence[RankedSignal],
    *,
    excluded: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    key: str = "",
    old: str = "",
) -> MailMessage:
    """Make the evening's mail: every signal in rank order, tagged, with the reason, and what was kept out.

    `key` tells two evenings of one session apart (a rerun on other data); leave it empty for one mail a session.
    `old`: how old the prices are, '' where they are the newest: then no signal is more than something to watch.
    """
    entries = [r for r in ranked if r.signal.purpose is Purpose.ENTRY]
    execute = [r for r in entries if r.tag == EXECUTE]
    exits = len(ranked) - len(entries)
    count = f"{len(execute)} to execute, {len(entries) - len(execute)} to watch"
    said = f"{count}. Nothing is sent before the morning's checks." if ranked else "No signals."
    if exits:
        said += f" {counted(exits, 'exit')} besides: sold only where held."
    if old:
        said = f"{capital(old)}. {counted(len(ranked), 'signal')} to watch; nothing is sent on them."
    letter = Letter(
        heading=f"Ranked signals of {session.isoformat()}",
        verdict=said,
        tone="warn" if old else "good" if execute else "quiet",
        blocks=(
            Table(
                "Signals",
                ("Rank", "Signal", "Tag", "Close", "Score"),
                tuple(_ranked_row(r) for r in ranked),
                frozenset({3, 4}),
                empty="No strategy gave a signal at this close.",
            ),
            *([Note("Notes", "\n".join(notes))] if notes else []),
            *([Table("Kept out", ("Symbol", "Reason"), tuple(Row(pair) for pair in excluded))] if excluded else []),
        ),
        footer=_footer(session),
    )
    subject = f"[bft] {session.isoformat()}: {count if ranked else 'no signals'}"
    subject += f" ({counted(exits, 'exit')})" if exits else ""
    subject += " (old prices)" if old else ""
    return _mail("ranked-list", subject, session, key, letter)


def _ranked_row(ranked: RankedSignal) -> Row:
    signal: Signal = ranked.signal
    detail = f"{signal.strategy}: {signal.reason} ({ranked.tag_reason})" if ranked.tag_reason else signal.reason
    score = f"{ranked.score:.3f}" if ranked.rank else UNKNOWN
    name = f"{signal.side.value} {signal.symbol}"
    cells = (str(ranked.rank or "exit"), name, ranked.tag, usd(signal.close_usd), score)
    return Row(cells, detail, "good" if ranked.tag == EXECUTE else "")


def summary_mail(summary: DaySummary, *, key: str = "") -> MailMessage:
    """Make the mail after the close: orders and fills, refusals by rule, both books, and differences to settle."""
    traded = [line for line in summary.orders if line.mode is not Mode.SHADOW and line.filled]
    shadow = [line for line in summary.orders if line.mode is Mode.SHADOW and line.filled]
    verdict = f"{len(traded)} filled at the broker, {len(shadow)} in shadow, {len(summary.rejections)} refused."
    if not traded:
        verdict += f" {NOT_TRADED}."
    if summary.differences:
        verdict += f" To settle: {counted(len(summary.differences), 'difference')}."
    money = Facts(
        "Profit or loss today",
        (("Account", usd(summary.pnl_usd)), ("Shadow book", usd(summary.shadow_pnl_usd))),
    )
    blocks: list[Block] = [money, _order_table(summary.orders), _refusal_table(summary.rejections)]
    if summary.differences:
        blocks.insert(0, Note("Differences between our journal and the broker", "\n".join(summary.differences)))
    if summary.notes:
        blocks.append(Note("Notes", "\n".join(summary.notes)))
    letter = Letter(
        heading=f"Day of {summary.session.isoformat()}",
        verdict=verdict,
        tone="warn" if summary.differences else "quiet",
        blocks=(*blocks, *_books(summary.books)),
        footer=_footer(summary.session),
    )
    subject = f"[bft] {summary.session.isoformat()} closed: {len(traded)} filled, {len(shadow)} shadow"
    subject += f", {len(summary.rejections)} refused"
    return _mail("summary", subject, summary.session, key, letter)


def _order_table(orders: Sequence[OrderLine]) -> Table:
    rows = []
    for line in orders:
        price = usd(line.average_price_usd if line.filled else line.limit_price_usd)
        slip = UNKNOWN if line.slippage_bps is None else f"{line.slippage_bps:+.1f}"
        cells = (f"{line.side} {line.symbol}", line.state, f"{line.filled}/{line.quantity}", price, slip)
        commission = f", commission {usd(line.commission_usd)}" if line.commission_usd is not None else ""
        detail = f"{line.strategy}, {line.mode.value}{commission}. {line.detail}".strip()
        rows.append(Row(cells, detail, "good" if line.filled else ""))
    columns = ("Order", "State", "Filled", "Price", "Slip bp")
    return Table("Orders", columns, tuple(rows), frozenset({2, 3, 4}), empty="No orders.")


def _refusal_table(rejections: Sequence[Rejection]) -> Table:
    counts = Counter(r.rule for r in rejections)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = tuple(
        Row((rule, str(count)), _refused([r for r in rejections if r.rule == rule])) for rule, count in ordered
    )
    return Table("Refused, by rule", ("Rule", "Signals"), rows, frozenset({1}), empty="Nothing was refused.")


def _refused(rejections: Sequence[Rejection]) -> str:
    words = [f"{r.side.value} {r.symbol}: {r.reason.rstrip('.')}" for r in rejections[:REASONS_MAX]]
    more = ", ".join(sorted({r.symbol for r in rejections[REASONS_MAX:]}))
    return "; ".join(words) + (f"; and {more}" if more else "") + "."


def failure_mail(failure: Failure) -> MailMessage:
    """Make the mail of a run that failed or did less than asked: stage, cause, what was kept, the next command."""
    blocks: list[Block] = [
        *([Note("What to do", failure.to_do)] if failure.to_do else []),
        Note("Next command", failure.next_command, code=True),
        Note("What was kept", failure.kept),
    ]
    ended = "did less than asked" if failure.exit_code == DoneLess.exit_code else "did not finish"
    rows = [("Run", failure.run_id), ("Exit code", str(failure.exit_code))]
    blocks.append(Facts("Run", (*rows, *([("Log", failure.log)] if failure.log else []))))
    letter = Letter(
        heading=f"bft {failure.stage} of {failure.session.isoformat()} {ended}",
        verdict=capital(failure.cause),
        tone="warn" if failure.exit_code == DoneLess.exit_code else "bad",
        blocks=tuple(blocks),
        footer=_footer(failure.session),
    )
    word = "LESS" if failure.exit_code == DoneLess.exit_code else "FAILED"
    subject = f"[bft {word}] {failure.stage} {failure.session.isoformat()}: {failure.cause}"
    return _mail("failure", subject, failure.session, f"{failure.stage}|{failure.run_id}", letter)


def probe_mail(session: date, key: str, *, server: str) -> MailMessage:
    """Make the mail of `bft notify --test`; `key` makes each one new."""
    letter = Letter(
        heading="Mail from bar_fly_trading works",
        verdict="This is a test. Signals, ranked lists, summaries and failures will arrive like this.",
        tone="good",
        blocks=(Facts("Sent through", (("Server", server),)),),
        footer=_footer(session),
    )
    return _mail("test", "[bft] Test mail", session, key, letter)
