"""One pull as a run does it: the client opened, the store brought up to a session, and what did not come put in words."""

from __future__ import annotations

from datetime import date, time
from pathlib import Path

from bar_fly_trading.clock import Clock
from bar_fly_trading.daily_pipeline.parts import Say
from bar_fly_trading.daily_pipeline.universe import asked_as, stored_names
from bar_fly_trading.data.alpha_vantage import AlphaVantage, Patience
from bar_fly_trading.data.call_plan import CallPlan, Wants
from bar_fly_trading.data.limiter import SHARE_OF_LIMIT
from bar_fly_trading.data.pull import PullReport
from bar_fly_trading.data.pull_night import Waiting, night_plan, pull_night
from bar_fly_trading.data.series import SERIES
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import FixInput, FixSettings
from bar_fly_trading.facts.instruments import canonical_symbol
from bar_fly_trading.facts.sessions import Calendar, new_york_date, new_york_us
from bar_fly_trading.settings.model import Data

FAULTS_SHOWN_MAX = 20


async def pull_bars(
    *,
    settings: Data,
    symbols: tuple[str, ...],
    unknown_bodies: Path,
    store: Store,
    calendar: Calendar,
    clock: Clock,
    as_of: date,
    say: Say,
) -> tuple[str, ...]:
    """Pull `symbols` (none: all that the store knows) up to a session; return what did not come, line by line.

    A session that the vendor does not serve yet is asked for until `pull_deadline`. FixSettings where no symbol is named
    anywhere; CheckVendor where nothing came at all.
    """
    wanted = _wanted_symbols(store, symbols, as_of, clock.now_us())
    plan = planned(settings, wanted, store, calendar, as_of, clock.now_us())
    minutes = plan.minutes(settings.requests_per_minute * SHARE_OF_LIMIT)
    say.line(f"{plan.total} calls to make, about {minutes:.1f} minutes")
    deadline = time.fromisoformat(settings.pull_deadline)
    waiting = Waiting(new_york_us(as_of, deadline), settings.pull_retry_s, settings.coverage_min)
    async with AlphaVantage(
        settings.alpha_vantage_key.get_secret_value(),
        base_url=settings.alpha_vantage_url,
        requests_per_minute=settings.requests_per_minute,
        patience=patience_of(settings),
        unknown_bodies=unknown_bodies,
    ) as vendor:
        report = await pull_night(
            store, vendor, calendar, plan, wanted, now_us=clock.now_us, waiting=waiting, progress=say.progress
        )
    for words in report.news:
        say.line(words)
    say.line(
        f"pulled {len(report.symbols)} symbols with {report.requests} requests: {report.rows_added} bars new or corrected,"
        f" store version {report.version}"
    )
    return _faults(report)


def patience_of(settings: Data) -> Patience:
    """Return how long the settings let a request, and a whole pull, take."""
    return Patience(
        connect_timeout_s=settings.request_connect_s,
        read_timeout_s=settings.request_read_s,
        total_timeout_s=settings.request_total_s,
        attempts_max=settings.request_attempts_max,
        backoff_s=settings.request_backoff_s,
        stage_s=settings.pull_time_s_max,
    )


def planned(
    settings: Data, symbols: tuple[str, ...], store: Store, calendar: Calendar, as_of: date, now_us: int
) -> CallPlan:
    """Return the calls that a pull of `symbols` (none: all that the store knows) would make; FixInput for no symbol."""
    also = settings.also
    canonical = _wanted_symbols(store, symbols, as_of, now_us)
    wants = Wants(
        options=frozenset(canonical) if "options" in also else frozenset(),
        options_sessions=settings.options_back_sessions,
        listings_days=settings.listings_days,
        earnings="earnings" in also,
        overview="overview" in also,
        macro=tuple(SERIES) if "macro" in also else (),
    )
    return night_plan(store, calendar, canonical, as_of, wants, now_us=now_us)


def _wanted_symbols(store: Store, symbols: tuple[str, ...], as_of: date, now_us: int) -> tuple[str, ...]:
    """Return canonical symbols as the vendor knows them today; FixInput for text that is no symbol."""
    wanted = symbols or stored_names(store, as_of)
    if wanted:
        try:
            canonical = tuple(dict.fromkeys(canonical_symbol(text) for text in wanted))
        except ValueError as error:
            raise FixInput(f"{error}.", way_out="Correct the list of symbols.") from None
        wanted = asked_as(load_instruments(store), canonical, new_york_date(now_us))
    if not wanted:
        raise FixSettings(
            "No symbol to pull: none is set and the store holds none.",
            way_out="Set data.universe or data.symbols_file, or name symbols: bft pull AAPL MSFT.",
        )
    return wanted


def plan_lines(plan: CallPlan, requests_per_minute: int) -> tuple[str, ...]:
    """Return the plan in words: calls by function, then all of them and the minutes they take."""
    names = len({*plan.bars, *plan.options, *plan.earnings, *plan.overview})
    lines = [f"{count:>7} {function}" for function, count in plan.calls().items()]
    each = f", {plan.total / names:.2f} a name" if names else ""
    minutes = plan.minutes(requests_per_minute * SHARE_OF_LIMIT)
    last = f"{plan.total:>7} calls{each}; {minutes:.1f} minutes at {requests_per_minute} requests a minute"
    return (*lines, last)


def _faults(report: PullReport) -> tuple[str, ...]:
    lines = [f"{p.symbol}: {p.fault}" for p in report.failed[:FAULTS_SHOWN_MAX]]
    if len(report.failed) > FAULTS_SHOWN_MAX:
        lines.append(f"and {len(report.failed) - FAULTS_SHOWN_MAX} symbols more")
    refused = [f"{p.symbol}: {len(p.refused)} rows refused, first: {p.refused[0]}" for p in report.symbols if p.refused]
    if report.stopped:
        lines.append(f"the pull was stopped: {report.stopped}")
    return (*lines, *report.notes, *refused[:FAULTS_SHOWN_MAX])
