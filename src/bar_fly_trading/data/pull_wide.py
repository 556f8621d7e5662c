"""What a pull asks once for all names: the calendar of reports to come, and macroeconomic series."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import polars as pl

from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.calendars import earnings_calendar
from bar_fly_trading.data.call_plan import CallPlan
from bar_fly_trading.data.ingest import compare
from bar_fly_trading.data.series import macro, with_known
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.vendor_answers import VendorRefused
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.facts.instruments import Instruments, canonical_symbol
from bar_fly_trading.facts.sessions import new_york_date
from bar_fly_trading.facts.tables import EARNINGS_CALENDAR, KNOWN_AT, MACRO, Table

_CONCURRENT = 4


async def pull_wide(
    store: Store, vendor: AlphaVantage, plan: CallPlan, *, now_us: Callable[[], int]
) -> tuple[str, ...]:
    """Ask the calendar and the series of the plan and publish what is new; return what did not come, in words.

    Reports of names that the store does not know are left out. A refusal that no further request can heal ends it.
    """
    additions: dict[str, pl.DataFrame] = {}
    faults: list[str] = []
    try:
        if plan.calendar:
            rows = await earnings_calendar(vendor)
            named = _named(rows, load_instruments(store), now_us())
            additions[EARNINGS_CALENDAR.name] = _added(store, EARNINGS_CALENDAR, named, now_us())
    except VendorRefused as error:
        faults.append(str(error))
        if error.final:
            return tuple(faults)
    series, more = await _series(vendor, plan.macro, now_us)
    faults += more
    if series:
        additions[MACRO.name] = _added(store, MACRO, pl.concat(series), now_us())
    if any(frame.height for frame in additions.values()):
        store.publish(additions, source="pull alpha vantage", recorded_at_us=now_us())
    return tuple(faults)


async def _series(
    vendor: AlphaVantage, names: Sequence[str], now_us: Callable[[], int]
) -> tuple[list[pl.DataFrame], list[str]]:
    """Ask a few series at a time, because each is long and the turns must not wait for one to arrive."""
    faults: list[str] = []
    frames: dict[str, pl.DataFrame] = {}
    queue, stopped = iter(names), False

    async def work() -> None:
        nonlocal stopped
        for name in queue:
            if stopped:
                return
            try:
                frames[name] = with_known(await macro(vendor, name), name, now_us())
            except VendorRefused as error:
                faults.append(str(error))
                stopped = stopped or error.final

    await asyncio.gather(*(work() for _ in range(_CONCURRENT)))
    return [frames[name] for name in names if name in frames], faults


def _named(rows: pl.DataFrame, instruments: Instruments, received_us: int) -> pl.DataFrame:
    today = new_york_date(received_us)
    ids: dict[str, str | None] = {}
    for text in rows["symbol"].unique():
        try:
            ids[text] = instruments.id_of(canonical_symbol(text), today)
        except ValueError:
            ids[text] = None
    column = pl.Series("instrument_id", [ids[text] for text in rows["symbol"]], dtype=pl.String)
    known = pl.lit(received_us, pl.Int64).alias(KNOWN_AT)
    named = rows.with_columns(column, known).drop_nulls("instrument_id").drop("symbol")
    return named.unique(list(EARNINGS_CALENDAR.key), keep="first", maintain_order=True)


def _added(store: Store, table: Table, rows: pl.DataFrame, received_us: int) -> pl.DataFrame:
    """Return new rows as dated, and changed ones (a moved report, a revision) known at receipt."""
    changes = compare(table, store.read(table.name), rows)
    new = changes.new.join(rows.select(*table.key, KNOWN_AT), on=list(table.key), how="left")
    return pl.concat([new, changes.corrected.with_columns(pl.lit(received_us, pl.Int64).alias(KNOWN_AT))])
