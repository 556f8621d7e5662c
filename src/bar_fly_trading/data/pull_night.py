"""A night's pull: planned, in batches that are each published, and asked again until the session is served."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, TypeVar

import polars as pl

from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.call_plan import CallPlan, Holdings, Wants, plan_calls
from bar_fly_trading.data.pull import PullReport, SymbolPull, Wanted, pull
from bar_fly_trading.data.pull_listings import ListingsPull, pull_listings
from bar_fly_trading.data.pull_symbol import How, Keys
from bar_fly_trading.data.pull_wide import pull_wide
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import CheckVendor
from bar_fly_trading.facts.instruments import canonical_symbol
from bar_fly_trading.facts.sessions import Calendar, new_york_date
from bar_fly_trading.facts.tables import KNOWN_AT, LISTINGS, MACRO, OPTION_CHAINS
from bar_fly_trading.facts.universe import instrument_of

# So many symbols are lost at most where a pull is killed; more of them would not be read faster.
BATCH_SYMBOLS = 100
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long a session that is not served yet is waited for.

    `deadline_us`: UTC microseconds after which it is asked no more (0: asked once). `retry_s`: seconds between.
    `served_share_min`: the session counts as served once this share of the names has it.
    """

    deadline_us: int = 0
    retry_s: float = 300.0
    served_share_min: float = 0.8

    def __post_init__(self) -> None:
        if self.retry_s <= 0 or not 0 < self.served_share_min <= 1:
            raise ValueError(f"waiting must be positive: {self}")


def night_plan(
    store: Store, calendar: Calendar, symbols: Sequence[str], session: date, wants: Wants, *, now_us: int
) -> CallPlan:
    """Return the calls that bring the store up to a session; ValueError for a text that is no symbol."""
    names = list(dict.fromkeys(canonical_symbol(text) for text in symbols))
    held = holdings(store, names, session, wants)
    return plan_calls(names, held, calendar, session, wants, today=new_york_date(now_us))


def holdings(store: Store, symbols: Sequence[str], session: date, wants: Wants) -> Holdings:
    """Return what the store holds of the symbols, as the plan asks for it; tables not wanted are not read."""
    instruments = load_instruments(store)
    ids = {symbol: found for symbol in symbols if (found := instrument_of(instruments, symbol, session)) is not None}
    earnings = store.read("earnings") if wants.earnings else None
    expected = store.read("earnings_calendar") if wants.earnings else None
    received = None if expected is None else expected[KNOWN_AT].max()
    newest_overview = _newest(store.read("overview"), KNOWN_AT) if wants.overview else {}
    macro = store.read(MACRO.name) if wants.macro else None
    chains = store.read(OPTION_CHAINS.name, since=_chains_since(store, session)) if wants.options else None
    listed = store.read(LISTINGS.name)[KNOWN_AT].max() if wants.listings_days else None
    return Holdings(
        bars=_by_symbol(ids, _newest(store.read("bars"), "session")),
        options={} if chains is None else _by_symbol(ids, _newest(chains, "session")),
        overview=_by_symbol(ids, {one: new_york_date(at) for one, at in newest_overview.items()}),
        reported={} if earnings is None else _by_symbol(ids, _newest(earnings, "reported_date")),
        expected={} if expected is None else _by_symbol(ids, _days(expected)),
        calendar=new_york_date(received) if isinstance(received, int) else None,
        listings=new_york_date(listed) if isinstance(listed, int) else None,
        macro={} if macro is None else dict(macro.group_by("series").agg(pl.col("date").max()).iter_rows()),
    )


def _chains_since(store: Store, session: date) -> date:
    """Return the newest night before a session that brought chains, or the session: of older nights no chain is read."""
    if store.current() is None:
        return session
    segments = store.manifest().tables.get(OPTION_CHAINS.name, ())
    nights = [s.last_session for s in segments if s.last_session is not None and s.last_session < session.isoformat()]
    return date.fromisoformat(max(nights)) if nights else session


def _newest(frame: pl.DataFrame, column: str) -> dict[str, Any]:
    return dict(frame.drop_nulls(column).group_by("instrument_id").agg(pl.col(column).max()).iter_rows())


def _days(frame: pl.DataFrame) -> dict[str, tuple[date, ...]]:
    rows = frame.drop_nulls("report_date").group_by("instrument_id").agg(pl.col("report_date").sort())
    return {one: tuple(days) for one, days in rows.iter_rows()}


def _by_symbol(ids: dict[str, str], values: dict[str, _T]) -> dict[str, _T]:
    return {symbol: values[one] for symbol, one in ids.items() if one in values}


async def pull_night(
    store: Store,
    vendor: AlphaVantage,
    calendar: Calendar,
    plan: CallPlan,
    symbols: Sequence[str],
    *,
    now_us: Callable[[], int],
    waiting: Waiting | None = None,
    batch_symbols: int = BATCH_SYMBOLS,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    progress: Callable[[str, int, int], None] | None = None,
) -> PullReport:
    """Bring the store up to the plan's session: each batch of symbols is one version, what is asked once for all another.

    Where the vendor does not serve the session yet, the bars that lack it are asked again every `retry_s` until the
    deadline. Raises as `pull`.
    """
    waits = waiting or Waiting()
    left = max(0, waits.deadline_us - now_us())
    keys = Keys()

    async def batches(names: Sequence[str], wanted: Wanted) -> PullReport:
        return await _batches(
            store, vendor, calendar, plan, names, wanted, keys, now_us=now_us, size=batch_symbols, progress=progress
        )

    report = await batches(symbols, Wanted(plan=plan))
    # Counted in waits, so that a clock that stands still cannot hold a run for ever.
    for _ in range(int(left / 1e6 // waits.retry_s)):
        if report.stopped is not None or _served_share(report) >= waits.served_share_min or not _may_come(report):
            break
        await sleep(waits.retry_s)
        vendor.not_asking(waits.retry_s)
        again = await batches(_may_come(report), Wanted(plan=CallPlan(plan.session)))
        report = _merged((report, again))
    faults = () if report.stopped is not None else await pull_wide(store, vendor, plan, now_us=now_us)
    listings = ListingsPull()
    if plan.listings and report.stopped is None:
        listings = await pull_listings(store, vendor, now_us=now_us)
    notes = (*report.notes, *faults, *listings.faults)
    return replace(report, version=store.current(), requests=vendor.requests, notes=notes, news=listings.news)


async def _batches(
    store: Store,
    vendor: AlphaVantage,
    calendar: Calendar,
    plan: CallPlan,
    symbols: Sequence[str],
    wanted: Wanted,
    keys: Keys,
    *,
    now_us: Callable[[], int],
    size: int,
    progress: Callable[[str, int, int], None] | None,
) -> PullReport:
    reports: list[PullReport] = []
    for start in range(0, max(1, len(symbols)), size):

        def said(symbol: str, done: int, _of: int, start: int = start) -> None:
            if progress is not None:
                progress(symbol, start + done, len(symbols))

        batch = symbols[start : start + size]
        more: dict[str, Any] = {"session": plan.session, "wanted": wanted, "keys": keys, "progress": said}
        try:
            reports.append(await pull(store, vendor, calendar, batch, now_us=now_us, **more))
        except CheckVendor as error:
            # What earlier batches brought is stored, so this is the end of a pull and not a pull that failed.
            if not reports:
                raise
            reports[-1] = replace(reports[-1], stopped=str(error))
        if reports[-1].stopped is not None:
            break
    asked = {pulled.symbol for report in reports for pulled in report.symbols}
    rest = [name for name in dict.fromkeys(map(canonical_symbol, symbols)) if name not in asked]
    if rest:
        held = holdings(store, rest, plan.session, Wants()).bars
        words = "not asked: the vendor was asked no further"
        unasked = tuple(SymbolPull(name, How.NOT_ASKED, 0, 0, held.get(name), fault=words) for name in rest)
        reports[-1] = replace(reports[-1], symbols=(*reports[-1].symbols, *unasked))
    return _merged(reports)


def _served_share(report: PullReport) -> float:
    return 1 - len(report.stale) / max(1, len(report.symbols))


def _may_come(report: PullReport) -> tuple[str, ...]:
    """Return the names without the session and without a fault: the vendor answered, with an older newest bar."""
    return tuple(pulled.symbol for pulled in report.stale if pulled.fault is None)


def _merged(reports: Sequence[PullReport]) -> PullReport:
    """Return one report of several: of each symbol the newest word, its bars counted together."""
    by_symbol: dict[str, SymbolPull] = {}
    for report in reports:
        for pulled in report.symbols:
            before = by_symbol.get(pulled.symbol)
            added = (0, 0) if before is None else (before.rows_new, before.rows_corrected)
            by_symbol[pulled.symbol] = replace(
                pulled, rows_new=pulled.rows_new + added[0], rows_corrected=pulled.rows_corrected + added[1]
            )
    notes = dict.fromkeys(note for report in reports for note in report.notes)
    return replace(
        reports[-1], symbols=tuple(by_symbol.values()), derived=any(r.derived for r in reports), notes=tuple(notes)
    )
