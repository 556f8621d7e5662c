"""HISTORICAL_OPTIONS and REALTIME_OPTIONS at an instant: chains priced from the market's own path and a seeded volatility."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from datetime import date, timedelta

from bar_fly_simulators.clock import new_york
from bar_fly_simulators.market import Market

_GREEKS = ("implied_volatility", "delta", "gamma", "theta", "vega", "rho")
_FIRST_DAY = date(2008, 1, 1)
_RATE = 0.03
_STRIKES_EACH_SIDE = 8
_FRIDAYS = 4
_MONTHS = 6


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
    base = 0.18 + 0.35 * _share(symbol, "volatility")
    step = _step(spot)
    middle = round(spot / step)
    strikes = [step * k for k in range(max(1, middle - _STRIKES_EACH_SIDE), middle + _STRIKES_EACH_SIDE + 1)]
    root = symbol.replace(".", "")
    for expiration in _expirations(session):
        for strike in strikes:
            for right in ("call", "put"):
                contract = f"{root}{expiration:%y%m%d}{right[0].upper()}{round(strike * 1000):08d}"
                if query.get("contract", contract) != contract:
                    continue
                if query.get("expiration", expiration.isoformat()) != expiration.isoformat():
                    continue
                head = {"contractID": contract, "symbol": text, "expiration": expiration.isoformat()}
                row = {**head, **_row(contract, session, spot, strike, right, expiration, base)}
                yield row if greeks else {key: value for key, value in row.items() if key not in _GREEKS}


def _step(spot: float) -> float:
    return next((step for below, step in ((25, 0.5), (100, 1.0), (250, 2.5), (600, 5.0)) if spot < below), 10.0)


def _expirations(session: date) -> list[date]:
    friday = session + timedelta(days=(4 - session.weekday()) % 7)
    fridays = {friday + timedelta(weeks=n) for n in range(_FRIDAYS)}
    for months in range(1, _MONTHS + 1):
        index = session.year * 12 + session.month - 1 + months
        first = date(index // 12, index % 12 + 1, 1)
        fridays.add(first + timedelta(days=(4 - first.weekday()) % 7 + 14))
    return sorted(fridays)


def _share(*what: object) -> float:
    """Return a number from 0 to 1 drawn from words alone, so that one contract and session always tell the same."""
    return zlib.crc32(" ".join(map(str, what)).encode()) / 2**32


def _row(
    contract: str, session: date, spot: float, strike: float, right: str, expiration: date, base: float
) -> dict[str, str]:
    years = max((expiration - session).days, 0.5) / 365
    volatility = base + 0.12 * math.log(strike / spot) ** 2 / math.sqrt(years) - 0.1 * math.log(strike / spot)
    volatility = min(max(volatility, 0.05), 3.0)
    mark, delta, gamma, theta, vega, rho = _black_scholes(spot, strike, years, volatility, right)
    mark = max(mark, 0.01)
    half = max(0.01, 0.02 * mark * (0.5 + _share(contract, session, "spread")))
    near = math.exp(-(((strike / spot - 1) / 0.08) ** 2))
    draw = _share(contract, session, "volume")
    return {
        "strike": f"{strike:.2f}",
        "type": right,
        "last": f"{mark * (0.97 + 0.06 * draw):.2f}",
        "mark": f"{mark:.2f}",
        "bid": f"{max(0.0, mark - half):.2f}",
        "bid_size": str(1 + round(200 * _share(contract, session, "bid"))),
        "ask": f"{mark + half:.2f}",
        "ask_size": str(1 + round(200 * _share(contract, session, "ask"))),
        "volume": str(round(900 * near * draw)),
        "open_interest": str(round(5000 * near * _share(contract, "open interest"))),
        "date": session.isoformat(),
        "implied_volatility": f"{volatility:.5f}",
        "delta": f"{delta:.5f}",
        "gamma": f"{gamma:.5f}",
        "theta": f"{theta:.5f}",
        "vega": f"{vega:.5f}",
        "rho": f"{rho:.5f}",
    }


def _black_scholes(spot: float, strike: float, years: float, volatility: float, right: str) -> tuple[float, ...]:
    """Return price, delta, gamma, theta a day, vega and rho a percentage point (Black and Scholes 1973, no dividend)."""
    root = math.sqrt(years)
    d1 = (math.log(spot / strike) + (_RATE + volatility**2 / 2) * years) / (volatility * root)
    d2 = d1 - volatility * root
    sign = 1 if right == "call" else -1
    n1, n2 = _normal(sign * d1), _normal(sign * d2)
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    discounted = strike * math.exp(-_RATE * years)
    price = sign * (spot * n1 - discounted * n2)
    theta = (-spot * density * volatility / (2 * root) - sign * _RATE * discounted * n2) / 365
    return (
        price,
        sign * n1,
        density / (spot * volatility * root),
        theta,
        spot * density * root / 100,
        sign * discounted * years * n2 / 100,
    )


def _normal(value: float) -> float:
    return (1 + math.erf(value / math.sqrt(2))) / 2
