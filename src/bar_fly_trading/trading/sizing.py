"""How many shares, and at what limit: whole shares under the smallest of several named caps."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from bar_fly_trading.strategies.signal import Side
from bar_fly_trading.trading.costs import Commission, to_tick
from bar_fly_trading.trading.desk import Candidate, Desk, exact, is_number, is_positive
from bar_fly_trading.trading.limits import Limits, Sizing
from bar_fly_trading.trading.plan import Cap


@dataclass(frozen=True, slots=True)
class LimitPrice:
    """A limit price on the tick, and the bound it may never pass (for an exit: the price itself)."""

    limit_usd: Decimal
    bound_usd: Decimal


@dataclass(frozen=True, slots=True)
class Size:
    """A quantity, every cap with the shares it allows, and the smallest cap's name (the first of equal ones)."""

    quantity: int
    caps: tuple[Cap, ...]
    binding_cap: str


def limit_price(candidate: Candidate, limits: Limits) -> LimitPrice | None:
    """Return the limit at the far touch: BUY at the ask but never above the signal's close per new share times
    (1 + drift); SELL at the bid, unbounded. On the tick, on the marketable side of it. None where a number is missing.
    """
    quote = candidate.quote
    if quote is None or not is_positive(quote.min_tick_usd):
        return None
    if candidate.signal.side is Side.SELL:
        if quote.bid_usd is None or not is_positive(quote.bid_usd):
            return None
        price = to_tick(quote.bid_usd, quote.min_tick_usd, up=False)
        return LimitPrice(price, price) if price > 0 else None
    reference = candidate.reference_usd
    if reference is None or quote.ask_usd is None or not is_positive(quote.ask_usd):
        return None
    bound = to_tick(reference * (1 + exact(limits.drift_fraction_max)), quote.min_tick_usd, up=False)
    price = min(to_tick(quote.ask_usd, quote.min_tick_usd, up=True), bound)
    return LimitPrice(price, bound) if price > 0 else None


def size_exit(candidate: Candidate, desk: Desk) -> Size:
    """Return all that the strategy's book holds, and never more than the account has left."""
    signal = candidate.signal
    left = desk.held.get(signal.instrument_id, 0) - desk.planned_sells.get(signal.instrument_id, 0)
    caps = (
        Cap("held by the strategy", max(0, desk.book_held.get((signal.strategy, signal.instrument_id), 0))),
        Cap("held by the account", max(0, left)),
    )
    return _smallest(caps)


def size_entry(
    candidate: Candidate,
    desk: Desk,
    limits: Limits,
    sizing: Sizing,
    commission: Commission,
    price_usd: Decimal,
) -> Size:
    """Return the shares that fit under every cap at `price_usd` (the limit, so the worst price); 0 where none does.

    `cash fraction`: the strategy's fraction of the cash above its reserve. `cash`: all cash above the reserve, the
    commission included. `position fraction`: the stock's share of net liquidation, what is held counted at the same
    price. `dollar volume`: where the strategy sets it. A missing number allows 0 shares.
    """
    spendable = (
        desk.cash_usd - sizing.cash_reserve_usd if desk.cash_usd is not None and is_number(desk.cash_usd) else None
    )
    worth = desk.net_liquidation_usd
    held = max(0, desk.held.get(candidate.signal.instrument_id, 0))
    caps = [
        Cap("cash fraction", _whole(None if spendable is None else exact(sizing.cash_fraction) * spendable, price_usd)),
        Cap("cash", _affordable(spendable, price_usd, commission)),
        Cap(
            "position fraction",
            max(0, _whole(None if worth is None else exact(limits.position_fraction_max) * worth, price_usd) - held),
        ),
    ]
    if sizing.order_volume_fraction_max is not None:
        median = candidate.ranked.dollar_volume_median_20d_usd
        dollars = (
            exact(sizing.order_volume_fraction_max) * exact(median)
            if median is not None and is_number(median)
            else None
        )
        caps.append(Cap("dollar volume", _whole(dollars, price_usd)))
    return _smallest(tuple(caps))


def _whole(dollars: Decimal | None, price_usd: Decimal) -> int:
    if dollars is None or not dollars.is_finite() or dollars <= 0:
        return 0
    return int(dollars // price_usd)


def _affordable(dollars: Decimal | None, price_usd: Decimal, commission: Commission) -> int:
    """Return the most shares whose price and commission fit."""
    quantity = _whole(dollars, price_usd)
    while quantity > 0 and dollars is not None and quantity * price_usd + commission.usd(quantity, price_usd) > dollars:
        # Each step frees a whole share; the commission is at most 1 % of the value, so jump by its worth.
        over = quantity * price_usd + commission.usd(quantity, price_usd) - dollars
        quantity -= max(1, int(over // (2 * price_usd)))
    return quantity


def _smallest(caps: tuple[Cap, ...]) -> Size:
    smallest = min(caps, key=lambda cap: cap.quantity)
    return Size(smallest.quantity, caps, smallest.name)
