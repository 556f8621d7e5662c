"""A seeded synthetic market: N companies in eleven sectors, with regimes, splits, dividends and earnings.

The same N and seed give the same bars on every machine, and a larger N adds companies without changing the first ones.
Nothing here is fitted to real prices, and nothing in it can be predicted by design except a weak drift after earnings:
it is made to exercise a program, not to judge a strategy.

Returns: a market factor in three regimes (Markov), a sector factor, and an own part whose variance wanders; jumps on the
session that first trades on an earnings report. A day's range is that of a Brownian bridge from open to close. Volume is
shares outstanding times a turnover that rises with the day's move.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from bar_fly_simulators.market.bars import Bars, Earnings, Floats, Market, Profile

FIRST_SESSION, LAST_SESSION = date(2018, 1, 2), date(2024, 6, 28)
NAMES_MAX = 5000
SECTORS = (
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Materials",
    "Real Estate",
    "Utilities",
)
# Daily: market volatility, market drift, chance to stay, of calm, normal and stressed times.
_REGIME_VOLATILITY = (0.0055, 0.0095, 0.0230)
_REGIME_DRIFT = (0.0007, 0.0005, -0.0012)
_REGIME_NEXT = ((0.985, 0.014, 0.001), (0.015, 0.975, 0.010), (0.002, 0.058, 0.940))
_SPLIT_FACTORS = (2.0, 3.0, 4.0, 1.5)
_EPOCH = date(1970, 1, 1)

Days = npt.NDArray[np.int32]


def _easter(year: int) -> date:
    """Return Easter Sunday (the anonymous Gregorian computus)."""
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    k = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * k) // 451
    month, day = divmod(h + k - 7 * m + 114, 31)
    return date(year, month, day + 1)


def _weekday_of(year: int, month: int, weekday: int, nth: int) -> date:
    """Return the nth given weekday of a month (nth -1: the last)."""
    if nth > 0:
        first = date(year, month, 1)
        return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))
    last = date(year, month + 1, 1) - timedelta(days=1)
    return last - timedelta(days=(last.weekday() - weekday) % 7)


def _closures(year: int) -> set[date]:
    """Return the exchange's full holidays of a year from 2018 to 2024."""
    fixed = [date(year, 7, 4), date(year, 12, 25)] + ([date(year, 6, 19)] if year >= 2022 else [])
    moved = {day + timedelta(days={5: -1, 6: 1}.get(day.weekday(), 0)) for day in fixed}
    new_year = date(year, 1, 1)
    return moved | {
        new_year + timedelta(days=1 if new_year.weekday() == 6 else 0),
        _weekday_of(year, 1, 0, 3),
        _weekday_of(year, 2, 0, 3),
        _easter(year) - timedelta(days=2),
        _weekday_of(year, 5, 0, -1),
        _weekday_of(year, 9, 0, 1),
        _weekday_of(year, 11, 3, 4),
        date(2018, 12, 5),
    }


def synthetic_sessions() -> tuple[date, ...]:
    """Return New York's sessions from 2018-01-02 to 2024-06-28."""
    closed = {day for year in range(FIRST_SESSION.year, LAST_SESSION.year + 1) for day in _closures(year)}
    span = (LAST_SESSION - FIRST_SESSION).days + 1
    days = (FIRST_SESSION + timedelta(days=i) for i in range(span))
    return tuple(day for day in days if day.weekday() < 5 and day not in closed)


@dataclass(frozen=True, slots=True)
class _Company:
    """What is drawn for one company before its days: arrays have one value a session."""

    symbol: str
    name: str
    sector: int
    price: float
    shares: float
    turnover: float
    dividend_yield: float
    ex_month: int
    split_above: float
    listed_from: int
    total_return: Floats
    overnight_share: float
    volatility: Floats
    uniform: Floats
    volume_noise: Floats
    reports: tuple[tuple[int, Earnings], ...]


def synthetic_market(names: int, seed: int) -> Market:
    """Make the market of `synthetic:N:SEED`; ValueError for an N outside 1 to 5000."""
    if not 1 <= names <= NAMES_MAX:
        raise ValueError(f"a synthetic market has 1 to {NAMES_MAX} names, not {names}")
    sessions = synthetic_sessions()
    days = np.array([(day - _EPOCH).days for day in sessions], dtype=np.int32)
    regime, market, sectors = _factors(seed, len(sessions))
    bars, profiles, earnings = {}, {}, {}
    taken: set[str] = set()
    for number in range(names):
        company = _company(seed, number, taken, sessions, regime, market, sectors)
        columns, volume, shares = _trade(company, sessions)
        start = company.listed_from
        bars[company.symbol] = Bars(days[start:], columns, volume)
        profiles[company.symbol] = Profile(company.name, SECTORS[company.sector], shares)
        since_start = np.cumprod(columns[6])
        earnings[company.symbol] = tuple(
            _on_share_basis(report, float(since_start[at - start])) for at, report in company.reports if at >= start
        )
    return Market(bars, profiles, earnings)


def _factors(seed: int, count: int) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Return each session's regime (0 to 2), market return, and sector returns (11 x sessions)."""
    rng = np.random.default_rng([seed, 0])
    regime = np.empty(count, dtype=np.int64)
    state = 1
    for at, uniform in enumerate(rng.random(count)):
        state = int(np.searchsorted(np.cumsum(_REGIME_NEXT[state])[:2], uniform, side="right"))
        regime[at] = state
    volatility = np.array(_REGIME_VOLATILITY)[regime]
    market = np.array(_REGIME_DRIFT)[regime] + volatility * _heavy(rng, (count,))
    return regime, market, 0.55 * volatility * _heavy(rng, (len(SECTORS), count))


def _heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw Student's t with 5 degrees of freedom, scaled to variance 1 and cut at 6."""
    drawn: Floats = np.clip(rng.standard_t(5, shape) / np.sqrt(5 / 3), -6, 6)
    return drawn


def _wandering(rng: np.random.Generator, count: int, persistence: float, spread: float) -> Floats:
    """Draw a stationary AR(1) of standard deviation `spread`."""
    value = float(rng.standard_normal()) * spread
    out = []
    for step in (rng.standard_normal(count) * spread * np.sqrt(1 - persistence**2)).tolist():
        value = persistence * value + step
        out.append(value)
    return np.array(out)


def _ticker(rng: np.random.Generator, taken: set[str], number: int) -> str:
    """Draw an unused ticker that can be spoken; every fiftieth company is a class B share (ZUKA.B)."""
    while True:
        letters = [rng.choice(list("BCDFGKLMNPRSTVZ" if i % 2 == 0 else "AEIOU")) for i in range(4)]
        symbol = "".join(letters) + (".B" if number % 50 == 7 else "")
        if symbol not in taken:
            taken.add(symbol)
            return symbol


def _company(
    seed: int,
    number: int,
    taken: set[str],
    sessions: tuple[date, ...],
    regime: npt.NDArray[np.int64],
    market: Floats,
    sectors: Floats,
) -> _Company:
    rng = np.random.default_rng([seed, 1, number])
    count = len(sessions)
    symbol = _ticker(rng, taken, number)
    sector = int(rng.integers(len(SECTORS)))
    beta = float(np.clip(rng.normal(0.75 if sector in {2, 10} else 1.05, 0.25), 0.2, 2.0))
    scale = np.array([0.85, 1.0, 1.5])[regime] * np.exp(_wandering(rng, count, 0.97, 0.3))
    volatility = float(np.exp(rng.normal(np.log(0.014), 0.35))) * scale
    own = volatility * _heavy(rng, (count,))
    price = float(np.clip(np.exp(rng.normal(np.log(75), 0.7)), 8, 600))
    reports = _reports(rng, sessions, own, volatility, price)
    listed_from = int(count * rng.uniform(0.2, 0.6)) if number % 20 == 13 else 0
    total = np.expm1(np.clip(beta * market + sectors[sector] + own, -0.6, 0.6))
    suffix = rng.choice(["Corp", "Inc", "Holdings", "Group", "Industries"])
    shares = float(np.exp(rng.normal(np.log(12e9), 1.5))) / price
    return _Company(
        symbol,
        f"{symbol.split('.')[0].title()} {suffix}",
        sector,
        price,
        shares,
        float(np.exp(rng.normal(np.log(0.006), 0.4))),
        float(rng.uniform(0.005, 0.04)) if rng.random() < 0.6 else 0.0,
        int(rng.integers(3)),
        float(rng.uniform(170, 400)),
        listed_from,
        total,
        float(rng.uniform(0.2, 0.45)),
        volatility + 0.5 * np.abs(market),
        rng.random((2, count)),
        _wandering(rng, count, 0.6, 0.3),
        reports,
    )


def _reports(
    rng: np.random.Generator, sessions: tuple[date, ...], own: Floats, volatility: Floats, price: float
) -> tuple[tuple[int, Earnings], ...]:
    """Draw the quarterly reports, and add to `own` the jump on the session that trades on each, and a drift after it."""
    earnings_a_quarter = price / float(rng.uniform(12, 30)) / 4
    delay, before_open = int(rng.integers(18, 42)), bool(rng.random() < 0.5)
    reports = []
    for year in range(sessions[0].year, sessions[-1].year + 1):
        for month, day in ((3, 31), (6, 30), (9, 30), (12, 31)):
            ending = date(year, month, day)
            at = bisect_left(sessions, ending + timedelta(days=delay + int(rng.integers(-3, 4))))
            surprise = float(rng.normal(0.03, 0.09))
            shock = float(rng.normal(0, 1))
            earnings_a_quarter *= float(np.exp(rng.normal(0.015, 0.04)))
            if ending < sessions[0] or at + 1 >= len(sessions):
                continue
            traded = at if before_open else at + 1
            own[traded] += volatility[traded] * (2.2 * shock + 10 * surprise)
            own[traded + 1 : traded + 21] += volatility[traded] * 0.15 * surprise
            estimated = round(earnings_a_quarter, 2)
            reported = round(estimated + max(abs(estimated), 0.05) * surprise, 2)
            when = "pre-market" if before_open else "post-market"
            reports.append((at, Earnings(ending, sessions[at], when, reported, estimated)))
    return tuple(reports)


def _on_share_basis(report: Earnings, split: float) -> Earnings:
    """Return a report drawn for the first session's shares in terms of the day's: each old share has become `split`."""
    reported, estimated = (round(eps / split, 4) for eps in (report.reported_eps, report.estimated_eps))
    return replace(report, reported_eps=reported, estimated_eps=estimated)


def _trade(company: _Company, sessions: tuple[date, ...]) -> tuple[Floats, npt.NDArray[np.int64], int]:
    """Walk the company's days; return its columns (7 x sessions listed), volumes, and shares outstanding at the end."""
    start = company.listed_from
    gone = (1 + company.total_return).tolist()
    rows = []
    before, shares = company.price, company.shares
    for at in range(start, len(sessions)):
        split, dividend = _event(company, sessions, at, before)
        shares *= split
        fair = before / split - dividend
        close = max(round(before / split * gone[at] - dividend, 2), 0.05)
        rows.append((fair, close, dividend, split, shares))
        before = close
    fairs, closes, dividends, splits, outstanding = np.array(rows).T
    volatility = company.volatility[start:]
    move = np.abs(company.total_return[start:]) / volatility
    turnover = company.turnover * np.exp(company.volume_noise[start:]) * (0.7 + 0.3 * move)
    ranges = _range(company.overnight_share, volatility, company.uniform[:, start:], np.maximum(fairs, 0.05), closes)
    columns = np.vstack([*ranges, closes, _adjusted(closes, dividends, splits), dividends, splits])
    return columns, np.maximum(outstanding * turnover, 100).astype(np.int64), int(shares)


def _event(company: _Company, sessions: tuple[date, ...], at: int, before: float) -> tuple[float, float]:
    """Return the split coefficient and the dividend of a session: both fall on a month's first one."""
    if at == company.listed_from or sessions[at].month == sessions[at - 1].month:
        return 1.0, 0.0
    split = 1.0
    if before > company.split_above:
        split = _SPLIT_FACTORS[int(company.uniform[0, at] * len(_SPLIT_FACTORS))]
    elif before < 2.0:
        split = 0.1
    pays = company.dividend_yield > 0 and sessions[at].month % 3 == company.ex_month
    return split, round(before / split * company.dividend_yield / 4, 2) if pays else 0.0


def _range(
    overnight_share: float, volatility: Floats, uniform: Floats, fairs: Floats, closes: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return opens, highs and lows: the bridge's extremes from open to close (Brownian maximum, by inversion)."""
    opens = np.maximum(np.round(fairs * (closes / fairs) ** overnight_share, 2), 0.05)
    x, variance = np.log(closes / opens), volatility**2 * (1 - overnight_share)
    up, down = np.sqrt(x * x - 2 * variance * np.log(np.maximum(uniform, 1e-9)))
    highs = np.maximum(np.round(opens * np.exp((x + up) / 2), 2), np.maximum(opens, closes))
    lows = np.minimum(np.round(opens * np.exp((x - down) / 2), 2), np.minimum(opens, closes))
    return opens, highs, np.maximum(lows, 0.01)


def _adjusted(close: Floats, dividend: Floats, split: Floats) -> Floats:
    """Adjust backwards as the vendor does: adjusted return = split x (close + dividend) / previous close."""
    returns = split[1:] * (close[1:] + dividend[1:]) / close[:-1]
    factors = np.concatenate([np.cumprod((1 / returns)[::-1])[::-1], [1.0]])
    adjusted: Floats = close[-1] * factors
    return adjusted
