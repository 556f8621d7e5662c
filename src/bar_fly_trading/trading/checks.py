"""The pre-trade checks: one function a rule, in one list; the first that fails names the rejection.

Each takes what is wanted (`Candidate`), what the mode's account looks like with everything reserved so far (`Desk`), and
the limits. None passes; a `Failure` refuses. A missing number (None, NaN, infinite) always refuses. Exits are held to
what makes their price and quantity sane, and to nothing else: never to the daily maximum, the daily loss, dollar
volume, the number of positions, cash or drift.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial

from bar_fly_trading.facts.account import MARKET_DATA_LIVE
from bar_fly_trading.strategies.signal import Purpose, Side
from bar_fly_trading.trading.desk import (
    Candidate,
    Desk,
    Failure,
    drift_fraction,
    exact,
    is_number,
    is_positive,
    percent,
    spread_fraction,
)
from bar_fly_trading.trading.limits import Limits

# Factors of real splits, and how near an overnight move leaves a quote to one.
SPLIT_FACTORS = (Decimal("1.5"), *(Decimal(n) for n in range(2, 51)))
SPLIT_NEAR = Decimal("0.06")

Check = Callable[[Candidate, Desk, Limits], Failure | None]


# ---------------------------------------------------------------- the signal


def watch(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """WATCH: only what the ranking tagged execute is traded."""
    if candidate.ranked.tag == "execute":
        return None
    return Failure("WATCH", candidate.ranked.tag, "execute", candidate.ranked.tag_reason or "tagged watch")


def no_short(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """NOT_HELD for a SELL of what the strategy's book does not hold; NO_SHORT for anything that would open or cover one."""
    signal = candidate.signal
    if signal.side is Side.BUY:
        if signal.purpose is Purpose.ENTRY:
            return None
        return Failure(
            "NO_SHORT", "BUY to leave", "BUY to enter", "nothing is ever short, so there is nothing to cover"
        )
    in_book = desk.book_held.get((signal.strategy, signal.instrument_id), 0)
    if in_book <= 0:
        words = f"{signal.strategy} holds no {signal.symbol}"
        return Failure("NOT_HELD", str(in_book), "at least 1 share", words)
    if signal.purpose is Purpose.ENTRY:
        return Failure("NO_SHORT", "SELL to enter", "SELL to leave", "a SELL that opens a position is a short")
    return None


def already_held(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """ALREADY_HELD: a strategy enters what it does not hold; a second signal on a holding adds nothing to it."""
    signal = candidate.signal
    held = desk.book_held.get((signal.strategy, signal.instrument_id), 0)
    if candidate.is_exit or held <= 0:
        return None
    return Failure("ALREADY_HELD", f"{held} shares", "0 shares", f"{signal.strategy} already holds {signal.symbol}")


def duplicate(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """DUPLICATE: one BUY an instrument a day and mode; one exit a strategy, instrument and day."""
    signal = candidate.signal
    if candidate.is_exit:
        if (signal.strategy, signal.instrument_id) not in desk.exits_taken:
            return None
        words = f"{signal.strategy} already leaves {signal.symbol} today"
    else:
        if (signal.instrument_id, signal.side) not in desk.taken:
            return None
        words = f"{signal.symbol} already has a {signal.side.value} order today"
    return Failure("DUPLICATE", f"{signal.side.value} {signal.symbol} taken", "one a day", words)


def opposite(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """OPPOSITE: nothing is bought on a day on which it is sold; the round trip only pays the spread."""
    signal = candidate.signal
    if candidate.is_exit or (signal.instrument_id, Side.SELL) not in desk.taken:
        return None
    return Failure("OPPOSITE", f"SELL {signal.symbol} today", "no SELL today", f"{signal.symbol} is being sold today")


def intent_unknown(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """INTENT_UNKNOWN: an order whose fate is not known blocks its instrument, exits too."""
    blocking = desk.unresolved.get(candidate.signal.instrument_id)
    if blocking is None:
        return None
    words = f"an earlier order of {candidate.signal.symbol} may be at the broker ({blocking}); bft reconcile settles it"
    return Failure("INTENT_UNKNOWN", blocking, "no order of unknown fate", words)


def account_holds(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """NOT_HELD: an exit needs shares in the account, not only in the book."""
    signal = candidate.signal
    if not candidate.is_exit or desk.sellable(signal.strategy, signal.instrument_id) > 0:
        return None
    left = desk.held.get(signal.instrument_id, 0) - desk.planned_sells.get(signal.instrument_id, 0)
    words = f"the book holds {signal.symbol}, but the account has none left to sell"
    return Failure("NOT_HELD", str(left), "at least 1 share", words)


# ---------------------------------------------------------------- the quote


def quote_there(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """QUOTE_MISSING, QUOTE_ONE_SIDED, QUOTE_NOT_POSITIVE: both sides are there, finite and above 0; so is the tick."""
    quote = candidate.quote
    if quote is None:
        return Failure("QUOTE_MISSING", "none", "a two-sided quote", candidate.quote_reason or "no quote came")
    for side, price in (("bid", quote.bid_usd), ("ask", quote.ask_usd)):
        if price is None or not price.is_finite():
            return Failure("QUOTE_ONE_SIDED", f"{side} {price}", "bid and ask", f"the quote has no {side}")
        if price <= 0:
            return Failure("QUOTE_NOT_POSITIVE", f"{side} {price}", "above 0", f"the {side} is not above 0")
    if not is_positive(quote.min_tick_usd):
        return Failure("QUOTE_NO_TICK", str(quote.min_tick_usd), "above 0", "the price increment is not known")
    return None


def quote_order(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """QUOTE_CROSSED, QUOTE_LOCKED: the bid lies below the ask."""
    quote = candidate.quote
    if quote is None or quote.bid_usd is None or quote.ask_usd is None:
        return quote_there(candidate, desk, limits)
    if quote.bid_usd < quote.ask_usd:
        return None
    rule, word = ("QUOTE_LOCKED", "locked") if quote.bid_usd == quote.ask_usd else ("QUOTE_CROSSED", "crossed")
    return Failure(rule, f"bid {quote.bid_usd} ask {quote.ask_usd}", "bid below ask", f"the market is {word}")


def quote_live(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """QUOTE_DELAYED: market data of type 1 (live) only."""
    quote = candidate.quote
    if quote is None:
        return quote_there(candidate, desk, limits)
    if quote.market_data_type == MARKET_DATA_LIVE:
        return None
    names = {2: "frozen", 3: "delayed", 4: "delayed and frozen"}
    word = names.get(quote.market_data_type, "of an unknown type")
    return Failure("QUOTE_DELAYED", f"type {quote.market_data_type}", "type 1 (live)", f"the quote is {word}")


def quote_fresh(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """QUOTE_STALE: no older than `quote_age_s_max`, and not from the future."""
    quote = candidate.quote
    if quote is None:
        return quote_there(candidate, desk, limits)
    if 0 <= quote.age_us <= exact(limits.quote_age_s_max) * 1_000_000:
        return None
    observed = f"{Decimal(quote.age_us) / 1_000_000:.3f} s"
    return Failure("QUOTE_STALE", observed, f"0 to {limits.quote_age_s_max} s", "the quote is too old")


def not_halted(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """HALTED: an entry needs the word that the stock is not halted; an exit only no word that it is."""
    quote = candidate.quote
    if quote is None:
        return quote_there(candidate, desk, limits)
    if quote.halted is False or (candidate.is_exit and quote.halted is None):
        return None
    if quote.halted is None:
        return Failure("HALTED", "not said", "not halted", "the broker did not say whether trading is halted")
    return Failure("HALTED", "halted", "not halted", "trading is halted")


def spread(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """SPREAD: (ask - bid) / mid at most `spread_fraction_max`; exits have the wider `exit_spread_fraction_max`."""
    maximum = exact(limits.exit_spread_fraction_max if candidate.is_exit else limits.spread_fraction_max)
    fraction = spread_fraction(candidate.quote)
    if fraction is not None and fraction <= maximum:
        return None
    observed = "unknown" if fraction is None else percent(fraction)
    return Failure("SPREAD", observed, percent(maximum), "the spread is too wide")


def split_suspected(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """SPLIT_SUSPECTED: the mid is no usual factor of a split away from the reference, either way; not for exits.

    A split that the broker has and the vendor has not (or the reverse) shows as 10 for 1, and every number of the signal is
    then in other shares than the quote. An exit is sized by what the account holds, and a price that halved must be left.
    """
    if candidate.is_exit:
        return None
    moved = drift_fraction(candidate)
    if moved is None:
        return drift(candidate, desk, limits)
    ratio = 1 + moved
    times = ratio if ratio > 1 else 1 / ratio
    factor = min(SPLIT_FACTORS, key=lambda n: abs(times / n - 1))
    if abs(times / factor - 1) > SPLIT_NEAR:
        return None
    shares = f"1 for {factor:f}" if ratio > 1 else f"{factor:f} for 1"
    words = (
        f"the quote is {times:.3f} times {'above' if ratio > 1 else 'below'} the signal's close"
        f" ({candidate.reference_usd:.4f}): a split of {shares} that only one of broker and vendor knows is likely"
    )
    return Failure("SPLIT_SUSPECTED", f"{times:.3f} times", f"not within 6 % of a split of {shares}", words)


def drift(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """DRIFT: the mid within `drift_fraction_max` of the as-traded signal close divided by this morning's split; not for exits."""
    if candidate.is_exit:
        return None
    moved, maximum = drift_fraction(candidate), exact(limits.drift_fraction_max)
    if moved is not None and abs(moved) <= maximum:
        return None
    observed = "unknown" if moved is None else f"{moved * 100:+.3f} %"
    return Failure(
        "DRIFT", observed, percent(maximum), f"the price moved from the signal's close ({candidate.reference_usd})"
    )


# ---------------------------------------------------------------- the account


def dollar_volume(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """DOLLAR_VOLUME: the 20-day median of close times volume is at least the minimum; not for exits."""
    median, minimum = candidate.ranked.dollar_volume_median_20d_usd, limits.dollar_volume_median_20d_usd_min
    if candidate.is_exit or (median is not None and is_number(median) and median >= minimum):
        return None
    observed = "unknown" if median is None or not is_number(median) else f"{median:.0f} USD"
    return Failure("DOLLAR_VOLUME", observed, f"{minimum:.0f} USD", "too little of it is traded")


def entries_max(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """ENTRIES_MAX: at most `new_entries_a_day_max` entries a day and mode; not for exits."""
    if candidate.is_exit or desk.entries < limits.new_entries_a_day_max:
        return None
    return Failure("ENTRIES_MAX", str(desk.entries), str(limits.new_entries_a_day_max), "today's entries are used up")


def positions_max(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """POSITIONS_MAX: at most `positions_max` instruments held or being bought; adding to a held one is no new position."""
    instruments = desk.position_instruments()
    if candidate.is_exit or candidate.signal.instrument_id in instruments or len(instruments) < limits.positions_max:
        return None
    return Failure("POSITIONS_MAX", str(len(instruments)), str(limits.positions_max), "no place for another position")


def daily_loss(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """DAILY_LOSS: today's loss (positive dollars, unrealised included) stays below the maximum; unknown refuses; not for exits."""
    pnl, maximum = desk.daily_pnl_usd, limits.daily_loss_usd_max
    if candidate.is_exit or (pnl is not None and pnl.is_finite() and -pnl < maximum):
        return None
    observed = "unknown" if pnl is None or not pnl.is_finite() else f"{-pnl:.2f} USD lost"
    return Failure("DAILY_LOSS", observed, f"below {maximum:.2f} USD", "today's loss allows no entry")


def cash(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """CASH: something is left to spend; how much of it is the sizing's question; not for exits."""
    if candidate.is_exit or is_positive(desk.cash_usd):
        return None
    observed = "unknown" if desk.cash_usd is None or not desk.cash_usd.is_finite() else f"{desk.cash_usd:.2f} USD"
    return Failure("CASH", observed, "above 0 USD", "no cash is left")


def position_fraction(candidate: Candidate, desk: Desk, limits: Limits) -> Failure | None:
    """POSITION_FRACTION: one more share at the ask keeps the stock within its fraction of net liquidation; not for exits."""
    if candidate.is_exit:
        return None
    maximum, quote = exact(limits.position_fraction_max), candidate.quote
    worth = desk.net_liquidation_usd
    if (
        quote is None
        or quote.ask_usd is None
        or not is_positive(quote.ask_usd)
        or worth is None
        or not is_positive(worth)
    ):
        return Failure(
            "POSITION_FRACTION", "net liquidation unknown", percent(maximum), "no bound without a net liquidation"
        )
    held = max(0, desk.held.get(candidate.signal.instrument_id, 0))
    fraction = (held + 1) * quote.ask_usd / worth
    if fraction <= maximum:
        return None
    words = f"one more share would make {held + 1} at {quote.ask_usd} USD"
    return Failure("POSITION_FRACTION", percent(fraction), percent(maximum), words)


SIGNAL_CHECKS: tuple[Check, ...] = (watch, no_short, already_held, intent_unknown, duplicate, opposite, account_holds)
QUOTE_CHECKS: tuple[Check, ...] = (
    quote_there,
    quote_order,
    quote_live,
    quote_fresh,
    not_halted,
    spread,
    split_suspected,
    drift,
)
ACCOUNT_CHECKS: tuple[Check, ...] = (dollar_volume, entries_max, positions_max, daily_loss, cash, position_fraction)
CHECKS: tuple[Check, ...] = SIGNAL_CHECKS + QUOTE_CHECKS + ACCOUNT_CHECKS


def first_failure(
    candidate: Candidate, desk: Desk, limits: Limits, checks: tuple[Check, ...] = CHECKS
) -> Failure | None:
    """Return the first failure in the list's order, None where every check passes."""
    return next(filter(None, map(partial(_run, candidate, desk, limits), checks)), None)


def _run(candidate: Candidate, desk: Desk, limits: Limits, check: Check) -> Failure | None:
    return check(candidate, desk, limits)
