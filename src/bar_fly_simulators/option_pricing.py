"""What both simulators say of options: which are listed, their volatility, and their price by Black and Scholes.

Volatility of a contract: 0.18 + 0.35 x a share drawn from the symbol, plus a smile, kept between 0.05 and 3; the rate is
3 %, no dividend. Everything follows from the symbol, the session and the stock's price alone.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from datetime import date, timedelta

RATE = 0.03
_FRIDAYS = 4
_MONTHS = 6


@dataclass(frozen=True, slots=True)
class Valuation:
    """A price in USD a share and its sensitivities; theta a calendar day, vega and rho a percentage point."""

    volatility: float
    price: float
    delta: float
    gamma: float
    theta: float
    vega: float
    rho: float


def strike_step(spot: float) -> float:
    """Return the distance of strikes around a price of the stock, USD."""
    return next((step for below, step in ((25, 0.5), (100, 1.0), (250, 2.5), (600, 5.0)) if spot < below), 10.0)


def expirations(session: date) -> list[date]:
    """Return the expirations listed on a session: four Fridays and the third Fridays of six months."""
    friday = session + timedelta(days=(4 - session.weekday()) % 7)
    fridays = {friday + timedelta(weeks=n) for n in range(_FRIDAYS)}
    for months in range(1, _MONTHS + 1):
        index = session.year * 12 + session.month - 1 + months
        first = date(index // 12, index % 12 + 1, 1)
        fridays.add(first + timedelta(days=(4 - first.weekday()) % 7 + 14))
    return sorted(fridays)


def share(*what: object) -> float:
    """Return a number from 0 to 1 drawn from words alone, so that one contract and session always tell the same."""
    return zlib.crc32(" ".join(map(str, what)).encode()) / 2**32


def base_volatility(symbol: str) -> float:
    """Return a stock's volatility at the money, a fraction a year."""
    return 0.18 + 0.35 * share(symbol, "volatility")


def value(symbol: str, session: date, spot: float, strike: float, right: str, expiration: date) -> Valuation:
    """Return what an option is worth on a session; `right` is call or put."""
    years = max((expiration - session).days, 0.5) / 365
    smile = 0.12 * math.log(strike / spot) ** 2 / math.sqrt(years) - 0.1 * math.log(strike / spot)
    volatility = min(max(base_volatility(symbol) + smile, 0.05), 3.0)
    return Valuation(volatility, *black_scholes(spot, strike, years, volatility, right))


def half_spread(contract: str, session: date, mark: float) -> float:
    """Return half an option's spread in USD: 1 to 3 % of its price, at least a cent; `contract` is its OCC name unpadded."""
    return max(0.01, 0.02 * mark * (0.5 + share(contract, session, "spread")))


def black_scholes(
    spot: float, strike: float, years: float, volatility: float, right: str
) -> tuple[float, float, float, float, float, float]:
    """Return price, delta, gamma, theta a day, vega and rho a percentage point (Black and Scholes 1973, no dividend)."""
    root = math.sqrt(years)
    d1 = (math.log(spot / strike) + (RATE + volatility**2 / 2) * years) / (volatility * root)
    d2 = d1 - volatility * root
    sign = 1 if right == "call" else -1
    n1, n2 = _normal(sign * d1), _normal(sign * d2)
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    discounted = strike * math.exp(-RATE * years)
    price = sign * (spot * n1 - discounted * n2)
    theta = (-spot * density * volatility / (2 * root) - sign * RATE * discounted * n2) / 365
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
