"""What a check looks at: the candidate, the desk (the mode's account with everything reserved so far), and their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from bar_fly_trading.facts.account import Quote
from bar_fly_trading.strategies.signal import Purpose, Side, Signal
from bar_fly_trading.trading.orders import Mode
from bar_fly_trading.trading.plan import RankedSignal

ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A signal with what was learnt about it this morning. `quote_reason`: why there is no quote.

    `split_factor`: new shares for one old between the signal's close and this open (1: none).
    """

    ranked: RankedSignal
    mode: Mode
    quote: Quote | None
    quote_reason: str = ""
    split_factor: Decimal = ONE
    quote_read_at_us: int | None = None

    @property
    def signal(self) -> Signal:
        """The signal itself."""
        return self.ranked.signal

    @property
    def is_exit(self) -> bool:
        """Whether it leaves a position."""
        return self.ranked.signal.purpose is Purpose.EXIT

    @property
    def reference_usd(self) -> Decimal | None:
        """The as-traded signal close in this morning's shares; None where a number is missing or not above 0."""
        close, factor = self.signal.close_usd, self.split_factor
        return close / factor if is_positive(close) and is_positive(factor) else None


@dataclass(frozen=True, slots=True)
class Desk:
    """One mode's account while a plan is made, everything planned so far already reserved; money None: not known.

    `held`: shares by instrument in the whole account (for shadow with the shadow book on top). `book_held`: shares by
    strategy and instrument in the mode's own book. `planned_sells`: shares by instrument. `taken`: instrument and side
    of today's orders of this mode. `exits_taken`: strategy and instrument. `unresolved`: instrument to the intent that
    may be at the broker. `new_instruments`: bought today or still being bought, held or not.
    """

    cash_usd: Decimal | None
    net_liquidation_usd: Decimal | None
    daily_pnl_usd: Decimal | None
    held: Mapping[str, int] = field(default_factory=dict)
    book_held: Mapping[tuple[str, str], int] = field(default_factory=dict)
    planned_sells: Mapping[str, int] = field(default_factory=dict)
    taken: frozenset[tuple[str, Side]] = frozenset()
    exits_taken: frozenset[tuple[str, str]] = frozenset()
    unresolved: Mapping[str, str] = field(default_factory=dict)
    new_instruments: frozenset[str] = frozenset()
    entries: int = 0

    def position_instruments(self) -> frozenset[str]:
        """Return what is held, or may be after today's orders."""
        return frozenset(i for i, quantity in self.held.items() if quantity != 0) | self.new_instruments

    def sellable(self, strategy: str, instrument_id: str) -> int:
        """Return the shares a strategy may sell: its own book's, and never more than the account has left."""
        account = self.held.get(instrument_id, 0) - self.planned_sells.get(instrument_id, 0)
        return max(0, min(self.book_held.get((strategy, instrument_id), 0), account))


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that was not met: what was observed, against what, in words."""

    rule: str
    observed: str
    limit: str
    reason: str


def is_number(value: Decimal | float | None) -> bool:
    """Tell whether a value is there and finite."""
    if value is None:
        return False
    return value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)


def is_positive(value: Decimal | float | None) -> bool:
    """Tell whether a value is there, finite and above 0."""
    return value is not None and is_number(value) and value > 0


def exact(value: float) -> Decimal:
    """Return a limit's float as the decimal it is written as (0.02, not 0.0200000000000000004)."""
    return Decimal(str(value))


def percent(fraction: Decimal) -> str:
    """Write a fraction as percent with three decimals."""
    return f"{fraction * 100:.3f} %"


def spread_fraction(quote: Quote | None) -> Decimal | None:
    """Return (ask - bid) / mid; None where a side is missing or the mid is not above 0."""
    if quote is None or not is_positive(quote.bid_usd) or not is_positive(quote.ask_usd):
        return None
    assert quote.bid_usd is not None and quote.ask_usd is not None
    return (quote.ask_usd - quote.bid_usd) / ((quote.ask_usd + quote.bid_usd) / 2)


def drift_fraction(candidate: Candidate) -> Decimal | None:
    """Return mid / (signal close / split) - 1, signed; None where a number is missing."""
    quote, reference = candidate.quote, candidate.reference_usd
    if reference is None or spread_fraction(quote) is None:
        return None
    assert quote is not None and quote.mid_usd is not None
    return quote.mid_usd / reference - 1


def observed_values(candidate: Candidate, desk: Desk) -> tuple[tuple[str, str | None], ...]:
    """Return every number the checks look at, by name, as text; None where it is not known."""
    quote, signal = candidate.quote, candidate.signal
    median = candidate.ranked.dollar_volume_median_20d_usd
    fields: dict[str, object | None] = {
        "tag": candidate.ranked.tag,
        "signal_close_usd": signal.close_usd,
        "split_factor": candidate.split_factor,
        "reference_usd": _rounded(candidate.reference_usd, "0.000001"),
        "bid_usd": quote.bid_usd if quote else None,
        "ask_usd": quote.ask_usd if quote else None,
        "mid_usd": quote.mid_usd if quote else None,
        "quote_read_at_us": candidate.quote_read_at_us,
        "quote_age_s": Decimal(quote.age_us) / 1_000_000 if quote else None,
        "con_id": quote.con_id if quote else None,
        "market_data_type": quote.market_data_type if quote else None,
        "halted": quote.halted if quote else None,
        "spread_fraction": _rounded(spread_fraction(quote), "0.000001"),
        "drift_fraction": _rounded(drift_fraction(candidate), "0.000001"),
        "dollar_volume_median_20d_usd": median if median is not None and is_number(median) else None,
        "cash_usd": desk.cash_usd,
        "net_liquidation_usd": desk.net_liquidation_usd,
        "daily_pnl_usd": desk.daily_pnl_usd,
        "positions": len(desk.position_instruments()),
        "entries_today": desk.entries,
        "held_by_account": desk.held.get(signal.instrument_id, 0),
        "held_by_strategy": desk.book_held.get((signal.strategy, signal.instrument_id), 0),
    }
    return tuple((name, _text(value)) for name, value in fields.items())


def _rounded(value: Decimal | None, places: str) -> Decimal | None:
    return None if value is None else value.quantize(Decimal(places))


def _text(value: object | None) -> str | None:
    if value is None or (isinstance(value, Decimal) and not value.is_finite()):
        return None
    return format(value, "f") if isinstance(value, Decimal) else str(value)
