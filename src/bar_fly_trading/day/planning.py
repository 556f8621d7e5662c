"""The plan of a morning: every signal becomes one intent or one rejection, exits first, then entries by rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from bar_fly_trading.day.events import Morning, QuoteRead
from bar_fly_trading.errors import Refused
from bar_fly_trading.facts.account import MARKET_DATA_LIVE, AccountSnapshot
from bar_fly_trading.strategies.signal import Purpose, Side
from bar_fly_trading.trading.book import Book
from bar_fly_trading.trading.checks import SIGNAL_CHECKS, first_failure
from bar_fly_trading.trading.desk import ONE, Candidate, Desk, Failure, is_positive, observed_values
from bar_fly_trading.trading.orders import MAY_BE_AT_BROKER, IntentIdentity, Mode, State
from bar_fly_trading.trading.plan import OrderIntent, Plan, RankedSignal, Rejection
from bar_fly_trading.trading.signal_combination import CombinationRefusal
from bar_fly_trading.trading.sizing import Size, limit_price, size_entry, size_exit

PAPER_ACCOUNT_PREFIX = "DU"
_NEVER_AN_ORDER = frozenset({State.REJECTED, State.DENIED})


def in_order(ranked: Sequence[RankedSignal]) -> tuple[RankedSignal, ...]:
    """Return the signals in the order in which they are decided, whatever the order they came in."""
    return tuple(
        sorted(
            ranked,
            key=lambda r: (r.signal.purpose is not Purpose.EXIT, r.rank, r.signal.sort_key(), repr(r)),
        )
    )


def check_account(morning: Morning, account: AccountSnapshot) -> None:
    """Raise Refused where a strategy trades in paper and the account is no paper account."""
    paper = sorted(name for name, mode in morning.modes.items() if mode is Mode.PAPER)
    if paper and not account.account.startswith(PAPER_ACCOUNT_PREFIX):
        raise Refused(
            f"strategy {paper[0]} is in paper, but the Gateway serves account {account.account}: paper trades only in"
            f" accounts that begin with {PAPER_ACCOUNT_PREFIX}.",
            way_out="Log the Gateway in to the paper account, or set the strategy to shadow.",
        )


def desk(morning: Morning, mode: Mode, account: AccountSnapshot, quotes: Mapping[str, QuoteRead]) -> Desk:
    """Return a mode's account before anything is planned.

    PAPER: the broker's. SHADOW: the broker's with the shadow book on top (its cash, shares, worth and day). Orders of the
    mode that may still be at the broker reserve their cash, their place and their instrument.
    """
    book = morning.books.get(mode, Book(morning.session))
    cash: Decimal = account.cash_usd
    worth: Decimal | None = account.net_liquidation_usd
    pnl = account.daily_pnl_usd
    held: dict[str, int] = {}
    for position in account.positions:
        held[position.instrument_id] = held.get(position.instrument_id, 0) + position.quantity
    if mode is Mode.SHADOW:
        marks = _marks(morning, book, quotes)
        value, day = book.value_usd(marks), book.day_usd(morning.previous_closes_usd, marks)
        cash += book.cash_usd
        worth = None if worth is None or value is None else worth + book.cash_usd + value
        pnl = None if pnl is None or day is None else pnl + day
        for instrument_id, quantity in book.quantities().items():
            held[instrument_id] = held.get(instrument_id, 0) + quantity
    start = Desk(
        cash,
        worth,
        pnl,
        held,
        {(p.strategy, p.instrument_id): p.quantity for p in book.positions},
    )
    return _with_standing(start, morning, mode)


def _with_standing(start: Desk, morning: Morning, mode: Mode) -> Desk:
    """Reserve for the journal's orders of this mode: today's, and whatever may still be at the broker."""
    result = start
    for status in morning.standing:
        intent = status.intent
        if intent.mode is not mode:
            continue
        if status.state in MAY_BE_AT_BROKER:
            rest = intent.quantity - status.filled_quantity
            result = _reserve(result, replace(intent, quantity=rest), morning) if rest > 0 else result
            words = f"{intent.side} {intent.quantity} {intent.symbol} of {intent.session} {status.state}"
            result = replace(result, unresolved={**result.unresolved, intent.instrument_id: words})
        elif intent.session == morning.session and status.state not in _NEVER_AN_ORDER:
            result = _take(result, intent, morning)
    return result


def _marks(morning: Morning, book: Book, quotes: Mapping[str, QuoteRead]) -> dict[str, Decimal]:
    """Mark what the book holds: the mid of a live two-sided quote, else the last close in this morning's shares."""
    marks: dict[str, Decimal] = {}
    for instrument_id in book.quantities():
        read, close = quotes.get(instrument_id), morning.previous_closes_usd.get(instrument_id)
        factor = morning.split_factors.get(instrument_id, ONE)
        quote = read.quote if read is not None else None
        if (
            quote is not None
            and is_positive(quote.bid_usd)
            and is_positive(quote.ask_usd)
            and quote.market_data_type == MARKET_DATA_LIVE
        ):
            assert quote.mid_usd is not None
            marks[instrument_id] = quote.mid_usd
        elif is_positive(close) and is_positive(factor):
            assert close is not None
            marks[instrument_id] = close / factor
    return marks


def candidate(
    morning: Morning, ranked: RankedSignal, quotes: Mapping[str, QuoteRead], missing: Mapping[str, str]
) -> Candidate:
    """Put a signal beside its quote and its split."""
    instrument_id = ranked.signal.instrument_id
    read = quotes.get(instrument_id)
    return Candidate(
        ranked,
        morning.mode_of(ranked.signal.strategy),
        read.quote if read is not None else None,
        missing.get(instrument_id, ""),
        morning.split_factors.get(instrument_id, ONE),
        read.at_us if read is not None else None,
    )


def quotes_to_ask(morning: Morning, account: AccountSnapshot) -> tuple[tuple[str, str], ...]:
    """Return instrument and symbol of every quote the plan needs, each once, in the order of decision.

    A signal that is refused whatever its quote (watch, not held, duplicate...) needs none; the shadow book's holdings are
    quoted for its worth and its day where shadow has an entry to decide.
    """
    desks = {mode: desk(morning, mode, account, {}) for mode in (Mode.SHADOW, Mode.PAPER)}
    wanted: dict[str, str] = {}
    shadow_entry = False
    for ranked in in_order(morning.ranked):
        mode = morning.mode_of(ranked.signal.strategy)
        if first_failure(candidate(morning, ranked, {}, {}), desks[mode], morning.limits, SIGNAL_CHECKS) is None:
            wanted.setdefault(ranked.signal.instrument_id, ranked.signal.symbol)
            shadow_entry |= mode is Mode.SHADOW and ranked.signal.purpose is Purpose.ENTRY
    if shadow_entry:
        for position in morning.books.get(Mode.SHADOW, Book(morning.session)).positions:
            wanted.setdefault(position.instrument_id, position.symbol)
    return tuple(wanted.items())


def make_plan(
    morning: Morning, account: AccountSnapshot, quotes: Mapping[str, QuoteRead], missing: Mapping[str, str]
) -> Plan:
    """Decide every signal: exits first, then entries by rank, each against what the ones before it have reserved."""
    desks = {mode: desk(morning, mode, account, quotes) for mode in (Mode.SHADOW, Mode.PAPER)}
    intents: list[OrderIntent] = []
    rejections: list[Rejection] = []
    for ranked in in_order(morning.ranked):
        wanted = candidate(morning, ranked, quotes, missing)
        decided = _decide(morning, wanted, desks[wanted.mode], account.account)
        if isinstance(decided, OrderIntent):
            intents.append(decided)
            desks[wanted.mode] = _reserve(desks[wanted.mode], decided, morning)
        else:
            rejections.append(_rejection(morning, wanted, desks[wanted.mode], decided))
    rejections += [
        _combination_rejection(morning, r) for r in sorted(morning.refused, key=lambda r: r.signal.sort_key())
    ]
    return Plan(
        morning.session,
        morning.signal_session,
        account.account,
        morning.evening_id,
        morning.settings_hash,
        tuple(intents),
        tuple(rejections),
    )


def _decide(morning: Morning, wanted: Candidate, at: Desk, account: str) -> OrderIntent | Failure:
    failure = first_failure(wanted, at, morning.limits)
    if failure is not None:
        return failure
    price = limit_price(wanted, morning.limits)
    if price is None:
        return Failure("LIMIT_PRICE", "none", "a price above 0 on the tick", "no limit price fits the bound")
    signal, quote = wanted.signal, wanted.quote
    size = (
        size_exit(wanted, at)
        if wanted.is_exit
        else size_entry(
            wanted,
            at,
            morning.limits,
            morning.sizing.get(signal.strategy, morning.sizing_default),
            morning.commission,
            price.limit_usd,
        )
    )
    if size.quantity < 1:
        return _size_zero(size, price.limit_usd)
    assert quote is not None and quote.bid_usd is not None and quote.ask_usd is not None
    identity = IntentIdentity(
        account, wanted.mode, morning.session, signal.strategy, signal.instrument_id, signal.side, signal.purpose
    )
    return OrderIntent(
        intent_key=identity.key(),
        account=account,
        mode=wanted.mode,
        session=morning.session,
        strategy=signal.strategy,
        instrument_id=signal.instrument_id,
        symbol=signal.symbol,
        con_id=quote.con_id,
        side=signal.side,
        purpose=signal.purpose,
        intent_no=identity.intent_no,
        rank=wanted.ranked.rank,
        quantity=size.quantity,
        limit_price_usd=price.limit_usd,
        limit_price_bound_usd=price.bound_usd,
        bid_usd=quote.bid_usd,
        ask_usd=quote.ask_usd,
        signal_close_usd=signal.close_usd,
        caps=size.caps,
        binding_cap=size.binding_cap,
        reason=signal.reason,
        observed_values=observed_values(wanted, at),
    )


def _size_zero(size: Size, price_usd: Decimal) -> Failure:
    caps = ", ".join(f"{cap.name} {cap.quantity}" for cap in size.caps)
    words = f"{size.binding_cap} allows no share at {price_usd} USD"
    return Failure("SIZE_ZERO", f"0 shares ({caps})", "at least 1 share", words)


def _rejection(morning: Morning, wanted: Candidate, at: Desk, failure: Failure) -> Rejection:
    signal = wanted.signal
    return Rejection(
        session=morning.session,
        strategy=signal.strategy,
        mode=wanted.mode,
        instrument_id=signal.instrument_id,
        symbol=signal.symbol,
        side=signal.side,
        purpose=signal.purpose,
        rank=wanted.ranked.rank,
        rule=failure.rule,
        observed=failure.observed,
        limit=failure.limit,
        reason=failure.reason,
        observed_values=observed_values(wanted, at),
    )


def _combination_rejection(morning: Morning, refused: CombinationRefusal) -> Rejection:
    """Turn an entry that a combination ended into a rejection, in the mode of the combination."""
    signal = refused.signal
    return Rejection(
        session=morning.session,
        strategy=signal.strategy,
        mode=morning.mode_of(refused.combination),
        instrument_id=signal.instrument_id,
        symbol=signal.symbol,
        side=signal.side,
        purpose=signal.purpose,
        rank=0,
        rule=f"COMBINATION_{refused.rule.upper()}",
        observed=refused.observed,
        limit=refused.limit,
        reason=refused.reason,
    )


def _take(at: Desk, intent: OrderIntent, morning: Morning) -> Desk:
    """Note an order, without reserving anything; one of an earlier session is none of today's."""
    if intent.side is Side.BUY:
        at = replace(at, new_instruments=at.new_instruments | {intent.instrument_id})
    if intent.session != morning.session:
        return at
    at = replace(at, taken=at.taken | {(intent.instrument_id, intent.side)})
    if intent.side is Side.BUY:
        return replace(at, entries=at.entries + 1)
    return replace(at, exits_taken=at.exits_taken | {(intent.strategy, intent.instrument_id)})


def _reserve(at: Desk, intent: OrderIntent, morning: Morning) -> Desk:
    """Note an order and set aside what it may use at its worst price; what a sale may bring is not counted."""
    noted = _take(at, intent, morning)
    if intent.side is Side.SELL:
        planned = at.planned_sells.get(intent.instrument_id, 0) + intent.quantity
        return replace(noted, planned_sells={**at.planned_sells, intent.instrument_id: planned})
    cost = intent.quantity * intent.limit_price_usd + morning.commission.usd(intent.quantity, intent.limit_price_usd)
    return replace(noted, cash_usd=None if at.cash_usd is None else at.cash_usd - cost)
