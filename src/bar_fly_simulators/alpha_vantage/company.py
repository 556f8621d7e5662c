"""EARNINGS, OVERVIEW, SPLITS and DIVIDENDS at an instant: what the market knew of a company by then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import numpy as np

from bar_fly_simulators.clock import NEW_YORK, new_york, utc_us
from bar_fly_simulators.market import Bars, Earnings, Market

# When a report is out: before the open, or after the close. A report without a time counts as after the close.
_PRE_MARKET, _POST_MARKET = time(7, 0), time(16, 15)
_UNKNOWN = "None"
_YEAR = 252
_OVERVIEW_FIELDS = (
    "Symbol AssetType Name Description CIK Exchange Currency Country Sector Industry Address FiscalYearEnd LatestQuarter "
    "MarketCapitalization EBITDA PERatio PEGRatio BookValue DividendPerShare DividendYield EPS RevenuePerShareTTM "
    "ProfitMargin OperatingMarginTTM ReturnOnAssetsTTM ReturnOnEquityTTM RevenueTTM GrossProfitTTM DilutedEPSTTM "
    "QuarterlyEarningsGrowthYOY QuarterlyRevenueGrowthYOY AnalystTargetPrice TrailingPE ForwardPE PriceToSalesRatioTTM "
    "PriceToBookRatio EVToRevenue EVToEBITDA Beta 52WeekHigh 52WeekLow 50DayMovingAverage 200DayMovingAverage "
    "SharesOutstanding DividendDate ExDividendDate"
)


def known_earnings(market: Market, symbol: str, at_us: int) -> Sequence[Earnings]:
    """Return the reports published by an instant, oldest first."""
    return [report for report in market.earnings(symbol) if _published_us(report) <= at_us]


def _published_us(report: Earnings) -> int:
    at = _PRE_MARKET if report.report_time == "pre-market" else _POST_MARKET
    return utc_us(datetime.combine(report.reported_date, at, NEW_YORK))


def earnings_body(text: str, reports: Sequence[Earnings]) -> dict[str, object]:
    """Return the body of EARNINGS, newest first; a year is listed once all four of its quarters are reported."""
    years: dict[int, list[Earnings]] = {}
    for report in reports:
        years.setdefault(report.fiscal_date_ending.year, []).append(report)
    annual = [
        {"fiscalDateEnding": quarters[-1].fiscal_date_ending.isoformat(), "reportedEPS": _number(_total(quarters))}
        for _, quarters in sorted(years.items(), reverse=True)
        if len(quarters) == 4
    ]
    return {"symbol": text, "annualEarnings": annual, "quarterlyEarnings": [_quarter(r) for r in reversed(reports)]}


def _total(reports: Sequence[Earnings]) -> float:
    return sum(report.reported_eps for report in reports)


def _quarter(report: Earnings) -> dict[str, str]:
    surprise = report.reported_eps - report.estimated_eps
    percent = _number(100 * surprise / abs(report.estimated_eps)) if report.estimated_eps else _UNKNOWN
    return {
        "fiscalDateEnding": report.fiscal_date_ending.isoformat(),
        "reportedDate": report.reported_date.isoformat(),
        "reportedEPS": _number(report.reported_eps),
        "estimatedEPS": _number(report.estimated_eps),
        "surprise": _number(surprise),
        "surprisePercentage": percent,
        "reportTime": report.report_time,
    }


def _number(value: float) -> str:
    return str(round(value, 4))


def _effective(market: Market, symbol: str, at_us: int) -> int:
    """Count the bars whose session's day has begun in New York: its splits and ex-dates are in effect, so known."""
    return market.bars(symbol).count_to(new_york(at_us).date())


def splits_body(market: Market, symbol: str, text: str, at_us: int) -> dict[str, object]:
    """Return the body of SPLITS, newest first: those effective by the New York day of the instant."""
    bars = market.bars(symbol)
    factors = bars.columns[6][: _effective(market, symbol, at_us)]
    rows = [
        {
            "effective_date": bars.session(int(i)).isoformat(),
            "split_factor": max(f"{factors[i]:.4f}", f"{factors[i]:.12g}", key=len),
        }
        for i in np.flatnonzero(factors != 1.0)[::-1]
    ]
    return {"symbol": text, "data": rows}


def dividends_body(market: Market, symbol: str, text: str, at_us: int) -> dict[str, object]:
    """Return the body of DIVIDENDS, newest first: those ex by the New York day of the instant; no other date is known."""
    bars = market.bars(symbol)
    amounts = bars.columns[5][: _effective(market, symbol, at_us)]
    unknown = {"declaration_date": _UNKNOWN, "record_date": _UNKNOWN, "payment_date": _UNKNOWN}
    rows = [
        {"ex_dividend_date": bars.session(int(i)).isoformat(), **unknown, "amount": f"{amounts[i]:.10g}"}
        for i in np.flatnonzero(amounts > 0)[::-1]
    ]
    return {"symbol": text, "data": rows}


def overview_body(market: Market, symbol: str, text: str, at_us: int) -> dict[str, str]:
    """Return the body of OVERVIEW: what bars and reports known by the instant say; every other field is `None`.

    A share count, a year's range and its averages are on the basis of the newest closed session.
    """
    count = market.closed_count(symbol, at_us)
    if not count:
        return {}
    bars = market.bars(symbol)
    known = {
        "Symbol": text,
        "AssetType": "Common Stock",
        "Name": market.name(symbol),
        "Exchange": "NYSE",
        "Currency": "USD",
        "Country": "USA",
        "Sector": market.sector(symbol) or _UNKNOWN,
        **_prices(bars, count),
        **_shares(market, symbol, count),
        **_profits(bars, count, known_earnings(market, symbol, at_us)),
    }
    return {key: known.get(key, _UNKNOWN) for key in _OVERVIEW_FIELDS.split()}


def _to_basis(bars: Bars, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return what divides each known session's prices to bring them to the newest known session's basis."""
    splits = bars.columns[6][:count]
    later = np.concatenate([np.cumprod(splits[::-1])[::-1][1:], [1.0]])
    return later.astype(np.float64)


def _prices(bars: Bars, count: int) -> dict[str, str]:
    first = max(0, count - _YEAR)
    basis = _to_basis(bars, count)
    high, low, close = (bars.columns[i][first:count] / basis[first:] for i in (1, 2, 3))
    since = bars.session(count - 1) - timedelta(days=365)
    dividends = bars.columns[5][:count] / basis
    ex_days = np.flatnonzero(dividends > 0)
    year = float(sum(dividends[i] for i in ex_days if bars.session(int(i)) > since))
    return {
        "52WeekHigh": _number(float(high.max())),
        "52WeekLow": _number(float(low.min())),
        "50DayMovingAverage": _number(float(close[-50:].mean())),
        "200DayMovingAverage": _number(float(close[-200:].mean())),
        "DividendPerShare": _number(year) if year else _UNKNOWN,
        "DividendYield": _number(year / float(close[-1])) if year else _UNKNOWN,
        "ExDividendDate": bars.session(int(ex_days[-1])).isoformat() if len(ex_days) else _UNKNOWN,
    }


def _shares(market: Market, symbol: str, count: int) -> dict[str, str]:
    at_end = market.shares_outstanding(symbol)
    if at_end is None:
        return {}
    bars = market.bars(symbol)
    shares = round(at_end / float(np.prod(bars.columns[6][count:])))
    return {
        "SharesOutstanding": str(shares),
        "MarketCapitalization": str(round(shares * float(bars.columns[3][count - 1]))),
    }


def _profits(bars: Bars, count: int, reports: Sequence[Earnings]) -> dict[str, str]:
    if not reports:
        return {}
    basis = _to_basis(bars, count)
    known = {"LatestQuarter": reports[-1].fiscal_date_ending.isoformat(), "FiscalYearEnd": "December"}
    if len(reports) < 4:
        return known
    eps = sum(report.reported_eps / _basis_on(bars, basis, count, report.reported_date) for report in reports[-4:])
    close = float(bars.columns[3][count - 1])
    ratio = _number(close / eps) if eps > 0 else _UNKNOWN
    return {**known, "EPS": _number(eps), "DilutedEPSTTM": _number(eps), "PERatio": ratio, "TrailingPE": ratio}


def _basis_on(bars: Bars, basis: np.ndarray[tuple[int], np.dtype[np.float64]], count: int, day: date) -> float:
    """Return what divides a figure a share published on a day."""
    return float(basis[min(max(bars.count_to(day), 1), count) - 1])
