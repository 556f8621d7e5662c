"""Shared exit rules: stop, target, trailing stop and longest hold, each judged at a close and each a reason or None.

All returns are fractions since the entry on the chained (split- and dividend-adjusted) series, closes only. Where several
rules apply the caller takes the first of stop, target, trailing stop, longest hold, prediction, CCI. A limit that is None
is off. A return that misses its limit by float noise (a billionth) has reached it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.strategies.signal import Holding, MarketView, Purpose, Side, Signal, number

_NOISE = 1e-9


@dataclass(frozen=True, slots=True)
class HeldPath:
    """What became of one holding by a close.

    `sessions_held` counts the market's sessions from the entry's to this one, both included: it is the number of sessions
    the position will have been held when an exit decided now is sent next morning. `close_usd` as traded. `return_now` and
    `return_best` (the best close so far), fractions since the entry price; None where the entry session has no bar.
    """

    sessions_held: int
    close_usd: float
    return_now: float | None
    return_best: float | None


def instrument_rows(features: pl.DataFrame, instrument_id: str) -> pl.DataFrame:
    """Return one instrument's rows of a feature table (sorted by instrument_id) without copying them."""
    ids = features["instrument_id"]
    start = ids.search_sorted(instrument_id, side="left")
    return features.slice(start, ids.search_sorted(instrument_id, side="right") - start)


def held_path(view: MarketView, holding: Holding) -> HeldPath | None:
    """Follow a holding to the view's newest close; None where there is no usable bar at that session.

    The entry price, in today's shares, is turned back into the entry session's by the splits since, and put on the chained
    scale with that session's chained_close/close; so neither a split nor a dividend looks like a loss.
    """
    rows = instrument_rows(view.features, holding.instrument_id).filter(
        pl.col("session").is_between(holding.entry_session, view.session)
    )
    newest = rows.tail(1).to_dicts()
    if not newest or newest[0]["session"] != view.session:
        return None
    close, chained = number(newest[0], "close"), number(newest[0], "chained_close")
    if close is None or chained is None or close <= 0 or chained <= 0:
        return None
    sessions = view.features["session"]
    held = sessions.filter(sessions.is_between(holding.entry_session, view.session)).n_unique()
    entry = rows.head(1).to_dicts()[0]
    entry_close, entry_chained = number(entry, "close"), number(entry, "chained_close")
    price = float(holding.entry_price_usd)
    if entry["session"] != holding.entry_session or not entry_close or not entry_chained or price <= 0:
        return HeldPath(held, close, None, None)
    splits = [number(row, "split_coefficient") for row in rows.tail(-1).select("split_coefficient").to_dicts()]
    # A missing or absurd coefficient is no split: the bar validator has said so before.
    paid = price * math.prod(s for s in splits if s is not None and s > 0) * entry_chained / entry_close
    best = max(c for c in rows["chained_close"].to_list() if c is not None and math.isfinite(c))
    return HeldPath(held, close, chained / paid - 1, best / paid - 1)


def unjudged(view: MarketView, holdings: Sequence[Holding]) -> tuple[tuple[Holding, str], ...]:
    """Return the holdings whose exits cannot be judged (in full) at this close, each with why; never silently skipped."""
    found: list[tuple[Holding, str]] = []
    for holding in holdings:
        path = held_path(view, holding)
        if path is None:
            found.append((holding, f"{holding.symbol} has no usable bar at {view.session}: no exit can be decided"))
        elif path.return_now is None:
            words = f"{holding.symbol} has no usable bar at its entry session {holding.entry_session}"
            found.append((holding, f"{words}: stop, target and trailing stop cannot be judged"))
    return tuple(found)


def percent(fraction: float) -> str:
    """Write a fraction as a signed percentage: -0.0612 as "-6.12 %"."""
    return f"{100 * fraction:+.2f} %"


def stop(path: HeldPath, stop_fraction: float | None) -> str | None:
    """Say why where the close is `stop_fraction` or more below the entry."""
    if stop_fraction is None or path.return_now is None or path.return_now > -stop_fraction + _NOISE:
        return None
    return f"stop: {percent(path.return_now)} since entry, limit {percent(-stop_fraction)}"


def target(path: HeldPath, target_fraction: float | None) -> str | None:
    """Say why where the close is `target_fraction` or more above the entry."""
    if target_fraction is None or path.return_now is None or path.return_now < target_fraction - _NOISE:
        return None
    return f"target: {percent(path.return_now)} since entry, target {percent(target_fraction)}"


def trailing(path: HeldPath, trailing_fraction: float | None, trailing_after_fraction: float) -> str | None:
    """Say why where a close once reached `trailing_after_fraction` and this one is `trailing_fraction` below the best."""
    if trailing_fraction is None or path.return_now is None or path.return_best is None:
        return None
    from_best = (1 + path.return_now) / (1 + path.return_best) - 1
    if path.return_best < trailing_after_fraction - _NOISE or from_best > -trailing_fraction + _NOISE:
        return None
    armed = f"the best was {percent(path.return_best)}, at or above {percent(trailing_after_fraction)}"
    return f"trailing stop: {percent(from_best)} from the best close, limit {percent(-trailing_fraction)} ({armed})"


def max_hold(path: HeldPath, hold_sessions_max: int | None) -> str | None:
    """Say why where selling next morning already makes `hold_sessions_max` sessions or more."""
    if hold_sessions_max is None or path.sessions_held < hold_sessions_max:
        return None
    return f"longest hold: held {path.sessions_held} sessions, at most {hold_sessions_max}"


def prediction_turned(return_3d: float | None, return_3d_min: float) -> str | None:
    """Say why where the predicted 3-day return is below `return_3d_min`; a missing prediction says nothing."""
    if return_3d is None or return_3d >= return_3d_min:
        return None
    return f"prediction: predicted 3-day return {percent(return_3d)}, below {percent(return_3d_min)}"


def cci_reversed(cci_signal: float | None, cci_signal_min: int) -> str | None:
    """Say why where the CCI signal is below `cci_signal_min`; an undefined one says nothing."""
    if cci_signal is None or cci_signal >= cci_signal_min:
        return None
    return f"CCI reversed: signal {cci_signal:.0f}, below {cci_signal_min}"


def exit_signal(
    view: MarketView, holding: Holding, path: HeldPath, reason: str, more: tuple[tuple[str, float | None], ...] = ()
) -> Signal:
    """Make the signal that leaves a holding: strength 0 (exits are not ranked), the close as traded."""
    observed = (
        ("sessions_held", float(path.sessions_held)),
        ("return_since_entry", path.return_now),
        ("return_best", path.return_best),
    )
    return Signal(
        session=view.session,
        strategy=holding.strategy,
        instrument_id=holding.instrument_id,
        symbol=holding.symbol,
        side=Side.SELL,
        purpose=Purpose.EXIT,
        strength=0.0,
        close_usd=Decimal(repr(path.close_usd)),
        reason=f"{holding.symbol}: {reason}; closed at {path.close_usd:.2f}.",
        observed=(*observed, *more),
    )


def held_by(strategy: str, holdings: Sequence[Holding]) -> tuple[Holding, ...]:
    """Return the strategy's own long holdings, sorted by instrument and entry."""
    own = [h for h in holdings if h.strategy == strategy and h.quantity > 0]
    return tuple(sorted(own, key=lambda h: (h.instrument_id, h.entry_session)))


def check_fraction(strategy: str, name: str, value: float | None, *, below: float = 1.0) -> None:
    """Raise FixSettings unless a setting is None (off) or a fraction above 0 and below `below`."""
    if value is not None and not 0 < value < below:
        raise FixSettings(
            f"strategy {strategy}: {name} is {value}; it must be above 0 and below {below:g}.",
            way_out="Write a fraction: 0.06 means 6 %.",
        )


def check_sessions(strategy: str, name: str, value: int | None, *, least: int = 1) -> None:
    """Raise FixSettings unless a setting is None (off) or a whole number of sessions from `least` up."""
    if value is not None and value < least:
        raise FixSettings(
            f"strategy {strategy}: {name} is {value}; it must be {least} or more.",
            way_out="Write a whole number of sessions.",
        )
