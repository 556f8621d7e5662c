"""Mode to parts: the one place that knows which mode needs what, and puts a run together."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date

from bar_fly_trading.clock import Clock, SystemClock
from bar_fly_trading.daily_pipeline.parts import Connected, Connector, Parts, Puller, Say
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import NotBuilt
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.files import RunLock, make_folder
from bar_fly_trading.journal import Journal
from bar_fly_trading.notify.outbox import Outbox
from bar_fly_trading.settings import (
    Resolved,
    Settings,
    combinations,
    limits,
    ranking,
    route,
    sizing,
    sizing_by_strategy,
    strategies,
    universe_rule,
)
from bar_fly_trading.settings import modes as settings_modes
from bar_fly_trading.trading.orders import Mode


def modes_of(settings: Settings, forced: str | None = None) -> dict[str, Mode]:
    """Return the mode of every strategy and combination; `forced` (the command line's) goes over the file's.

    NotBuilt for live, whoever asks for it.
    """
    modes = {name: Mode(forced) if forced else mode for name, mode in settings_modes(settings).items()}
    live = sorted(name for name, mode in modes.items() if mode is Mode.LIVE)
    if live or settings.live.enable:
        who = f"strategy {live[0]} asks for live" if live else "IBKR_ENABLE_LIVE_TRADING is true"
        raise NotBuilt(
            f"{who}, and live trading is not built in this version; nothing was sent.",
            way_out="Use shadow or paper, and take IBKR_ENABLE_LIVE_TRADING out.",
        )
    return modes


def _connector(resolved: Resolved, modes: dict[str, Mode], clock: Clock) -> Connector:
    gateway = resolved.settings.gateway

    async def connect(id_of_symbol: Callable[[str], str | None]) -> Connected:
        from bar_fly_trading.venues.ib import IbOptions, IbPaperTrader, IbReader

        options = IbOptions(gateway.host, gateway.port, gateway.client_id, gateway.account, gateway.timeout_s)
        if Mode.PAPER in modes.values():
            trader = IbPaperTrader(options, id_of_symbol, clock.monotonic_us)
            return Connected(trader, trader, await trader.connect())
        reader = IbReader(options, id_of_symbol, clock.monotonic_us)
        return Connected(reader, None, await reader.connect())

    return connect


def _puller(resolved: Resolved, store: Store, journal: Journal, calendar: Calendar, clock: Clock, say: Say) -> Puller:
    async def pull(symbols: tuple[str, ...], as_of: date) -> tuple[str, ...]:
        from bar_fly_trading.daily_pipeline.pulling import pull_bars
        from bar_fly_trading.daily_pipeline.universe import held_instruments, names_to_pull

        if not symbols:
            held = held_instruments(journal, store, as_of)
            rule = universe_rule(resolved.settings, resolved.home)
            symbols = names_to_pull(store, rule, held, as_of, clock.now_us())
        return await pull_bars(
            settings=resolved.settings.data,
            symbols=symbols,
            unknown_bodies=resolved.home.logs / "unknown_bodies",
            store=store,
            calendar=calendar,
            clock=clock,
            as_of=as_of,
            say=say,
        )

    return pull


@contextmanager
def run(
    resolved: Resolved,
    *,
    say: Say,
    command: str,
    mode: str | None = None,
    clock: Clock | None = None,
) -> Iterator[Parts]:
    """Hold the home's lock and hand out the parts of one run; WaitForOtherRun where another run holds it.

    `mode`: the command line's, for every strategy. `clock`: the machine's unless a replay brings its own.
    """
    home, settings = resolved.home, resolved.settings
    modes = modes_of(settings, mode)
    now = clock or SystemClock()
    make_folder(home.root)
    with RunLock(home.lock):
        run_id = f"{command}-{uuid.uuid4().hex[:12]}"
        calendar = Calendar(settings.schedule.extra_closures)
        store = Store(home.store)
        new = not home.journal.exists()
        with Journal.open(home.journal, now_us=now.now_us, run_id=run_id, settings_hash=resolved.hash) as journal:
            if new:
                say.line(f"new journal: {home.journal}")
            yield Parts(
                home=home,
                settings=settings,
                settings_hash=resolved.hash,
                run_id=run_id,
                clock=now,
                calendar=calendar,
                store=store,
                journal=journal,
                strategies=strategies(settings),
                modes=modes,
                combinations=combinations(settings),
                ranking=ranking(settings),
                limits=limits(settings),
                sizing=sizing(settings),
                sizing_by_strategy=sizing_by_strategy(settings),
                outbox=Outbox(home.outbox),
                route=route(settings),
                connect=_connector(resolved, modes, now),
                pull=_puller(resolved, store, journal, calendar, now, say),
                say=say,
            )
