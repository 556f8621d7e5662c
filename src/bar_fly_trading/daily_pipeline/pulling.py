"""One pull as a run does it: the client opened, the store brought up to a session, and what did not come put in words."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from bar_fly_trading.clock import Clock
from bar_fly_trading.daily_pipeline.parts import Say
from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.pull import PullReport, pull
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import FixSettings
from bar_fly_trading.facts.sessions import Calendar

FAULTS_SHOWN_MAX = 20


async def pull_bars(
    *,
    key: str,
    url: str,
    requests_per_minute: int,
    unknown_bodies: Path,
    store: Store,
    calendar: Calendar,
    clock: Clock,
    symbols: tuple[str, ...],
    as_of: date,
    say: Say,
) -> tuple[str, ...]:
    """Pull `symbols` (none: all that the store knows) up to a session; return what did not come, line by line.

    FixSettings where no symbol is named anywhere; CheckVendor where nothing came at all.
    """
    wanted = symbols or stored_symbols(store, as_of)
    if not wanted:
        raise FixSettings(
            "No symbol to pull: none is set and the store holds none.",
            way_out="Set data.symbols or data.symbols_file, or name symbols: bft pull AAPL MSFT.",
        )
    async with AlphaVantage(
        key, base_url=url, requests_per_minute=requests_per_minute, unknown_bodies=unknown_bodies
    ) as vendor:
        report = await pull(store, vendor, calendar, wanted, now_us=clock.now_us, session=as_of, progress=say.progress)
    say.line(
        f"pulled {len(report.symbols)} symbols with {report.requests} requests: {report.rows_added} bars new or corrected,"
        f" store version {report.version}"
    )
    return _faults(report)


def stored_symbols(store: Store, on: date) -> tuple[str, ...]:
    """Return the symbols of every instrument the store knows, sorted."""
    instruments = load_instruments(store)
    return tuple(sorted(s for i in instruments.ids() if (s := instruments.symbol_of(i, on)) is not None))


def _faults(report: PullReport) -> tuple[str, ...]:
    lines = [f"{p.symbol}: {p.fault}" for p in report.failed[:FAULTS_SHOWN_MAX]]
    if len(report.failed) > FAULTS_SHOWN_MAX:
        lines.append(f"and {len(report.failed) - FAULTS_SHOWN_MAX} symbols more")
    refused = [f"{p.symbol}: {len(p.refused)} rows refused, first: {p.refused[0]}" for p in report.symbols if p.refused]
    if report.stopped:
        lines.append(f"the pull was stopped: {report.stopped}")
    return (*lines, *refused[:FAULTS_SHOWN_MAX])
