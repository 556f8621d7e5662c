"""The pull: what the store lacks of each symbol, fetched from Alpha Vantage and published as one version."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial

import polars as pl

from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.call_plan import CallPlan
from bar_fly_trading.data.ingest import Changes, Identities, compare, events, identify
from bar_fly_trading.data.known import received
from bar_fly_trading.data.options_chains import historical_chain, session_volumes
from bar_fly_trading.data.pull_symbol import Fetched, How, Keys, fetch_symbol
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.vendor_answers import NOTHING, Answer, VendorRefused
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import CheckVendor, FixData, FixInput
from bar_fly_trading.facts.instruments import canonical_symbol
from bar_fly_trading.facts.sessions import MINUTE_US, Calendar, evening_us
from bar_fly_trading.facts.tables import (
    BARS,
    EARNINGS,
    KNOWN_AT,
    OPTION_CHAINS,
    OPTIONS_SUMMARY,
    OVERVIEW,
    SPLITS,
    TABLES,
)

_CONCURRENT = 8
# So many symbols in a row without an answer: the vendor or the network is down, and the rest would only wait.
_SILENT_IN_A_ROW_MAX = 8
_SNAPSHOT_AGE_US = 12 * 60 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked beside the bars, one request a symbol each.

    Earnings, company overview, splits announced ahead, the session's option chain. `plan`: ask the first two and the
    chain of its symbols alone, in place of the flags.
    """

    earnings: bool = False
    overview: bool = False
    splits_ahead: bool = False
    options: bool = False
    plan: CallPlan | None = None

    def of(self, symbol: str) -> tuple[bool, bool, bool]:
        """Tell whether earnings, overview and option chain are asked of a symbol."""
        if self.plan is None:
            return self.earnings, self.overview, self.options
        return symbol in self.plan.earnings, symbol in self.plan.overview, symbol in self.plan.options


@dataclass(frozen=True, slots=True)
class SymbolPull:
    """What a pull did for one symbol: bars new and corrected, the newest stored session, and what was left out.

    `open_rows`: bars of a session that had not closed. `refused`: faulty rows, in words. `fault`: why nothing (or not
    all that was asked) came, None where all did.
    """

    symbol: str
    how: How
    rows_new: int
    rows_corrected: int
    newest: date | None
    open_rows: int = 0
    refused: tuple[str, ...] = ()
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class PullReport:
    """What a pull did: the store's `version` afterwards, every symbol in order of asking, and the requests made.

    `session`: the session up to which bars were wanted. `stopped`: why the vendor was asked no further, None if it
    was. `derived`: the adjusted closes were computed here, because the key may not read the vendor's. `notes`: what the key
    may not read beside them, in words. `news`: what became of names we know (delisted, perhaps renamed), in words.
    """

    version: str | None
    session: date
    symbols: tuple[SymbolPull, ...]
    requests: int
    stopped: str | None
    derived: bool
    notes: tuple[str, ...] = ()
    news: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[SymbolPull, ...]:
        """Return the symbols for which something did not come."""
        return tuple(pulled for pulled in self.symbols if pulled.fault is not None)

    @property
    def stale(self) -> tuple[SymbolPull, ...]:
        """Return the symbols whose newest stored bar is older than the session wanted."""
        return tuple(pulled for pulled in self.symbols if pulled.newest is None or pulled.newest < self.session)

    @property
    def rows_added(self) -> int:
        """Return how many bars the store gained, new and corrected."""
        return sum(pulled.rows_new + pulled.rows_corrected for pulled in self.symbols)


@dataclass(slots=True)
class _Run:
    """One pull while it runs."""

    vendor: AlphaVantage
    calendar: Calendar
    target: date
    now_us: Callable[[], int]
    wanted: Wanted
    bars: dict[str, pl.DataFrame]
    keys: Keys = field(default_factory=Keys)
    fetched: dict[str, tuple[Fetched, int]] = field(default_factory=dict)
    beside: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    stopped: CheckVendor | None = None
    silent: int = 0

    async def symbol(self, symbol: str) -> None:
        """Fetch all that is wanted of one symbol; what the vendor refuses is kept as its fault."""
        try:
            fetched = await fetch_symbol(
                self.vendor,
                symbol,
                self.bars[symbol],
                target=self.target,
                now_us=self.now_us(),
                calendar=self.calendar,
                keys=self.keys,
            )
            self.fetched[symbol] = (fetched, self.now_us())
            await self._beside(symbol)
            self.silent = 0
        except VendorRefused as error:
            # A name that the vendor served before: it may have another ticker now.
            gone = error.answer is Answer.UNKNOWN_SYMBOL and not self.bars[symbol].is_empty()
            self.faults[symbol] = f"{error}" + (f" If renamed: bft rename {symbol} NEW --from DATE." if gone else "")
            self.silent = self.silent + 1 if error.answer in (Answer.TRANSPORT, Answer.HTTP) else 0
            if error.final or self.silent >= _SILENT_IN_A_ROW_MAX:
                self.stopped = error
        except FixData as error:
            self.faults[symbol] = str(error)

    async def _beside(self, symbol: str) -> None:
        earnings, overview, options = self.wanted.of(symbol)
        if self.wanted.splits_ahead:
            rows = await self.vendor.splits(symbol)
            rows = rows.filter(pl.col("effective_date") > self.target)
            self._keep(SPLITS.name, symbol, rows.with_columns(pl.lit(self.now_us()).alias(KNOWN_AT)))
        for session in self._chain_sessions(symbol) if options else ():
            await self._optional(OPTION_CHAINS.name, symbol, partial(self._chain, session))
        if earnings:
            await self._optional(EARNINGS.name, symbol, self._earnings)
        if overview:
            await self._optional(OVERVIEW.name, symbol, self._overview)

    async def _optional(self, table_name: str, symbol: str, fetch: Callable[[str], Awaitable[pl.DataFrame]]) -> None:
        """Fetch and keep; what the vendor has none of is no fault, and what the key may not read is asked once."""
        if table_name in self.keys.refused:
            return
        try:
            self._keep(table_name, symbol, await fetch(symbol))
        except VendorRefused as error:
            if error.answer in (Answer.PREMIUM, Answer.ARTIFICIAL):
                self.keys.refused[table_name] = str(error)
            elif error.answer not in NOTHING:
                raise

    async def _earnings(self, symbol: str) -> pl.DataFrame:
        rows = await self.vendor.earnings(symbol)
        at_us = self.now_us()
        known = [at_us if day is None else min(at_us, evening_us(day)) for day in rows["reported_date"]]
        return rows.with_columns(pl.Series(KNOWN_AT, known, dtype=pl.Int64))

    async def _overview(self, symbol: str) -> pl.DataFrame:
        return pl.DataFrame({"snapshot": [await self.vendor.overview(symbol)], KNOWN_AT: [self.now_us()]})

    def _chain_sessions(self, symbol: str) -> tuple[date, ...]:
        return (self.target,) if self.wanted.plan is None else self.wanted.plan.chain_sessions(symbol)

    async def _chain(self, session: date, symbol: str) -> pl.DataFrame:
        rows = await historical_chain(self.vendor, symbol, session)
        known = received(rows["session"], self.calendar, pl.lit(self.now_us(), pl.Int64))
        rows = rows.with_columns(known.alias(KNOWN_AT))
        self._keep(OPTIONS_SUMMARY.name, symbol, session_volumes(rows))
        return rows

    def _keep(self, table_name: str, symbol: str, rows: pl.DataFrame) -> None:
        self.beside.setdefault(table_name, []).append(rows.with_columns(pl.lit(symbol).alias("symbol")))


async def pull(
    store: Store,
    vendor: AlphaVantage,
    calendar: Calendar,
    symbols: Sequence[str],
    *,
    now_us: Callable[[], int],
    session: date | None = None,
    wanted: Wanted | None = None,
    keys: Keys | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> PullReport:
    """Bring the store up to `session` (default: the newest closed one) for the symbols, as one new version.

    `now_us`: the time of receipt, UTC microseconds. A bar whose session has not closed by then is not stored. A bar
    received before its session's evening cut is known at receipt, an older one by the backfill rule; bars that an event
    re-based are known with the first new bar of the same pull, so that every view sees one basis. One symbol's failure
    does not stop the others; `keys`: what an earlier pull with the same key has learnt; what was fetched before an interruption is published. `progress(symbol, done, all)`.
    Raises FixInput for text that is no symbol, and CheckVendor where the vendor's refusal left nothing at all.
    """
    names = _canonical(symbols)
    target = session or calendar.newest_closed(now_us())
    stored = store.read(BARS.name).select(list(BARS.columns))
    named = identify(dict.fromkeys(names, (target, target)), load_instruments(store))
    by_id = {key[0]: frame for key, frame in stored.partition_by("instrument_id", as_dict=True).items()}
    bars = {name: by_id.get(named.ids[name], stored.head(0)) for name in names}
    run = _Run(vendor, calendar, target, now_us, wanted or Wanted(), bars, keys or Keys())
    for name, day in named.ended.items():
        run.faults[name] = (
            f"{name} ended on {day} here. A new company under it: bft rename {name} --reused --from DATE."
        )
    try:
        await _ask_all(run, [name for name in names if name not in named.ended], progress)
    finally:
        report = _publish(run, store, names, named, stored)
    if run.stopped is not None and not run.fetched:
        raise run.stopped
    return report


def _canonical(symbols: Sequence[str]) -> list[str]:
    faults: list[str] = []
    names: dict[str, None] = {}
    for text in symbols:
        try:
            names[canonical_symbol(text)] = None
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise FixInput("; ".join(faults) + ".", way_out="Correct the list of symbols.")
    return list(names)


async def _ask_all(run: _Run, names: list[str], progress: Callable[[str, int, int], None] | None) -> None:
    done = 0

    async def ask(name: str) -> None:
        nonlocal done
        await run.symbol(name)
        done += 1
        if progress is not None:
            progress(name, done, len(names))

    async def work() -> None:
        for name in queue:
            if run.stopped is not None:
                return
            await ask(name)

    # One symbol first: a key that is not valid, or may not read the adjusted series, costs one request and not eight.
    first, queue = names[:1], iter(names[1:])
    if first:
        await ask(first[0])
    workers = [asyncio.create_task(work()) for _ in range(min(_CONCURRENT, len(names)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _publish(run: _Run, store: Store, names: Sequence[str], named: Identities, stored: pl.DataFrame) -> PullReport:
    """Publish what was fetched as one version, and say for every symbol what became of it."""
    # Of a symbol that passed to another company the vendor may still serve the earlier one's bars before it.
    for name, since in named.since.items():
        if name in run.fetched:
            fetched, at_us = run.fetched[name]
            run.fetched[name] = (replace(fetched, bars=fetched.bars.filter(pl.col("session") >= since)), at_us)
    rows = [
        fetched.bars.with_columns(symbol=pl.lit(name), received_at=pl.lit(at_us, pl.Int64))
        for name, (fetched, at_us) in run.fetched.items()
        if fetched.bars.height
    ]
    spans = {name: _span(fetched.bars) for name, (fetched, _) in run.fetched.items() if fetched.bars.height}
    fresh = identify(spans, load_instruments(store))
    ids = {**named.ids, **fresh.ids}
    incoming = (
        pl.concat(rows) if rows else pl.DataFrame(schema={**BARS.columns, "symbol": pl.String, "received_at": pl.Int64})
    )
    incoming = incoming.with_columns(_id_of(ids))
    changes = compare(BARS, stored, incoming)
    changed = _with_known(changes, incoming, run.calendar)
    additions = {"bars": changed, "spells": fresh.frame(run.calendar)}
    additions |= events(store, changed, run.calendar)
    at_us = run.now_us()
    for table_name, frames in run.beside.items():
        rows_beside = _beside_rows(at_us, store, table_name, pl.concat(frames).with_columns(_id_of(ids)))
        additions[table_name] = (
            pl.concat([additions[table_name], rows_beside]) if table_name in additions else rows_beside
        )
    anything = any(frame.height for frame in additions.values())
    version = (
        store.publish(additions, source="pull alpha vantage", recorded_at_us=at_us) if anything else store.current()
    )
    counts = [dict(f.group_by("instrument_id").len().iter_rows()) for f in (changes.new, changes.corrected)]
    return PullReport(
        version=version,
        session=run.target,
        symbols=tuple(_outcome(run, name, counts[0].get(ids[name], 0), counts[1].get(ids[name], 0)) for name in names),
        requests=run.vendor.requests,
        stopped=None if run.stopped is None else str(run.stopped),
        derived=not run.keys.premium,
        notes=tuple(run.keys.refused.values()),
    )


def _id_of(ids: Mapping[str, str]) -> pl.Expr:
    old, new = pl.Series(list(ids), dtype=pl.String), pl.Series(list(ids.values()), dtype=pl.String)
    return pl.col("symbol").replace_strict(old, new, return_dtype=pl.String).alias("instrument_id")


def _span(bars: pl.DataFrame) -> tuple[date, date]:
    first, last = bars["session"].item(0), bars["session"].item(-1)
    return first, last


def _with_known(changes: Changes, incoming: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Add `known_at`: new bars by `known.received`; corrections with their instrument's first new bar, else at receipt.

    An event re-bases all of a vendor's adjusted closes, and shows in the first new bar after it: a view that has that
    bar must have the old ones in the same basis.
    """
    receipt = incoming.select("instrument_id", "session", "received_at")
    keyed = ["instrument_id", "session"]
    new = changes.new.join(receipt, on=keyed, how="left")
    new = new.with_columns(received(new["session"], calendar, pl.col("received_at")).alias(KNOWN_AT))
    first_known = new.group_by("instrument_id").agg(pl.col(KNOWN_AT).min())
    corrected = changes.corrected.join(receipt, on=keyed, how="left").join(first_known, on="instrument_id", how="left")
    corrected = corrected.with_columns(pl.col(KNOWN_AT).fill_null(pl.col("received_at")))
    return pl.concat([new, corrected.select(new.columns)]).drop("received_at")


def _beside_rows(at_us: int, store: Store, table_name: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return what rows of another table add: new ones as dated, changed ones known at receipt."""
    table = TABLES[table_name]
    since = rows["session"].min() if table in (OPTION_CHAINS, OPTIONS_SUMMARY) else None
    assert since is None or isinstance(since, date)
    changes = compare(table, store.read(table_name, since=since), rows)
    if table is OVERVIEW:
        return _snapshots(store, rows)
    known = rows.select(*table.key, KNOWN_AT)
    new = changes.new.join(known, on=list(table.key), how="left")
    corrected = changes.corrected.with_columns(pl.lit(at_us, pl.Int64).alias(KNOWN_AT))
    return pl.concat([new, corrected])


def _snapshots(store: Store, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the snapshots to store: an unchanged one too, from the next day on, because its date says it is still true."""
    table = TABLES[OVERVIEW.name]
    old = store.read(table.name).select(*table.key, pl.col("snapshot").alias("old"), pl.col(KNOWN_AT).alias("old_at"))
    joined = rows.join(old, on=list(table.key), how="left")
    same = pl.col("snapshot").eq_missing(pl.col("old")) & (pl.col(KNOWN_AT) - pl.col("old_at") < _SNAPSHOT_AGE_US)
    return joined.filter(~same.fill_null(value=False)).select(*table.columns, KNOWN_AT)


def _outcome(run: _Run, name: str, rows_new: int, rows_corrected: int) -> SymbolPull:
    had = run.bars[name]["session"].max()
    newest = had if isinstance(had, date) else None
    fault = run.faults.get(name)
    if name not in run.fetched:
        if fault is None:
            reason = "interrupted" if run.stopped is None else "the vendor was asked no further"
            return SymbolPull(name, How.NOT_ASKED, 0, 0, newest, fault=f"not asked: {reason}")
        return SymbolPull(name, How.FAILED, 0, 0, newest, fault=fault)
    fetched, _ = run.fetched[name]
    if fetched.bars.height:
        last = _span(fetched.bars)[1]
        newest = last if newest is None else max(last, newest)
    return SymbolPull(name, fetched.how, rows_new, rows_corrected, newest, fetched.open_rows, fetched.refused, fault)
