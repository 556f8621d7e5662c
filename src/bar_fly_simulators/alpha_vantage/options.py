"""HISTORICAL_OPTIONS and REALTIME_OPTIONS at an instant: chains priced from the market's own path and a seeded volatility."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import date

from bar_fly_simulators.clock import new_york
from bar_fly_simulators.market import Market
from bar_fly_simulators.option_pricing import expirations, half_spread, share, strike_step, value

_GREEKS = ("implied_volatility", "delta", "gamma", "theta", "vega", "rho")
_FIRST_DAY = date(2008, 1, 1)
_STRIKES_EACH_SIDE = 8


def historical(market: Market, symbol: str | None, text: str, query: Mapping[str, str], at_us: int) -> object | None:
    """Return the chain of a session's end (default: the newest closed session); no rows for a day without one.

    None for a date that is none or lies before 2008, which the vendor calls invalid.
    """
    asked = query.get("date")
    try:
        day = None if asked is None else date.fromisoformat(asked)
    except ValueError:
        return None
    if day is not None and day < _FIRST_DAY:
        return None
    rows: list[dict[str, str]] = []
    if symbol is not None:
        bars = market.bars(symbol)
        count = market.closed_count(symbol, at_us)
        index = count - 1 if day is None else bars.count_to(day) - 1
        if 0 <= index < count and (day is None or bars.session(index) == day):
            bar = bars[index]
            rows = list(_chain(text, symbol, bar.session, bar.close, query, greeks=True))
    return {"endpoint": "Historical Options", "message": "success", "data": rows}


def realtime(market: Market, symbol: str | None, text: str, query: Mapping[str, str], at_us: int) -> object:
    """Return the running session's chain, or the newest closed one's; greeks only where `require_greeks` is true."""
    rows: list[dict[str, str]] = []
    if symbol is not None:
        mid = market.mid_at(symbol, at_us)
        count = market.closed_count(symbol, at_us)
        greeks = query.get("require_greeks", "false").lower() == "true"
        if mid is not None:
            rows = list(_chain(text, symbol, new_york(at_us).date(), mid, query, greeks=greeks))
        elif count:
            bar = market.bars(symbol)[count - 1]
            rows = list(_chain(text, symbol, bar.session, bar.close, query, greeks=greeks))
    return {"endpoint": "Realtime Options", "message": "success", "data": rows}


def _chain(
    text: str, symbol: str, session: date, spot: float, query: Mapping[str, str], *, greeks: bool
) -> Iterator[dict[str, str]]:
    step = strike_step(spot)
    middle = round(spot / step)
    strikes = [step * k for k in range(max(1, middle - _STRIKES_EACH_SIDE), middle + _STRIKES_EACH_SIDE + 1)]
    root = symbol.replace(".", "")
    for expiration in expirations(session):
        for strike in strikes:
            for right in ("call", "put"):
                contract = f"{root}{expiration:%y%m%d}{right[0].upper()}{round(strike * 1000):08d}"
                if query.get("contract", contract) != contract:
                    continue
                if query.get("expiration", expiration.isoformat()) != expiration.isoformat():
                    continue
                head = {"contractID": contract, "symbol": text, "expiration": expiration.isoformat()}
                row = {**head, **_row(contract, symbol, session, spot, strike, right, expiration)}
                yield row if greeks else {key: value for key, value in row.items() if key not in _GREEKS}


def _row(
    contract: str, symbol: str, session: date, spot: float, strike: float, right: str, expiration: date
) -> dict[str, str]:
    worth = value(symbol, session, spot, strike, right, expiration)
    mark = max(worth.price, 0.01)
    half = half_spread(contract, session, mark)
    near = math.exp(-(((strike / spot - 1) / 0.08) ** 2))
    draw = share(contract, session, "volume")
    return {
        "strike": f"{strike:.2f}",
        "type": right,
        "last": f"{mark * (0.97 + 0.06 * draw):.2f}",
        "mark": f"{mark:.2f}",
        "bid": f"{max(0.0, mark - half):.2f}",
        "bid_size": str(1 + round(200 * share(contract, session, "bid"))),
        "ask": f"{mark + half:.2f}",
        "ask_size": str(1 + round(200 * share(contract, session, "ask"))),
        "volume": str(round(900 * near * draw)),
        "open_interest": str(round(5000 * near * share(contract, "open interest"))),
        "date": session.isoformat(),
        "implied_volatility": f"{worth.volatility:.5f}",
        "delta": f"{worth.delta:.5f}",
        "gamma": f"{worth.gamma:.5f}",
        "theta": f"{worth.theta:.5f}",
        "vega": f"{worth.vega:.5f}",
        "rho": f"{worth.rho:.5f}",
    }
