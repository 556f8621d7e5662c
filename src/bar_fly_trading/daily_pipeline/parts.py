"""The parts a run works with, put together by `wiring` and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from bar_fly_trading.clock import Clock
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.journal import Journal
from bar_fly_trading.notify.outbox import Outbox
from bar_fly_trading.notify.route import MailRoute
from bar_fly_trading.settings import Home, Settings
from bar_fly_trading.strategies.signal import Strategy
from bar_fly_trading.trading.limits import Limits, Sizing
from bar_fly_trading.trading.orders import Mode, Record
from bar_fly_trading.trading.signal_combination import CombinationRule
from bar_fly_trading.trading.signal_ranker import RankingRules
from bar_fly_trading.venues.venue import ReadVenue, TradeVenue


@dataclass(frozen=True, slots=True)
class Connected:
    """A venue that answered: what reads, what may send (None in shadow), and the account behind it."""

    venue: ReadVenue
    trader: TradeVenue | None
    account: str


class Connector(Protocol):
    """Connects to the broker in the way the modes ask for; CheckGateway or Refused where that fails."""

    async def __call__(self, id_of_symbol: Callable[[str], str | None]) -> Connected:
        """Connect, given the look-up from a canonical symbol to its instrument id."""
        ...


class Puller(Protocol):
    """Pulls bars into the store; CheckVendor, FixData or FreeDisk where that fails."""

    async def __call__(self, symbols: tuple[str, ...], as_of: date) -> tuple[str, ...]:
        """Pull some symbols (none named: the universe) up to a session; return what did not come."""
        ...


class Say(Protocol):
    """Where a run's words go: the terminal, or nowhere."""

    def line(self, text: str) -> None:
        """Say one line."""
        ...

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far a long work is."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a run needs; `modes` goes by strategy (and combination) name, SHADOW where it is not named."""

    home: Home
    settings: Settings
    settings_hash: str
    run_id: str
    clock: Clock
    calendar: Calendar
    store: Store
    journal: Journal
    strategies: tuple[Strategy, ...]
    modes: Mapping[str, Mode]
    combinations: tuple[CombinationRule, ...]
    ranking: RankingRules
    limits: Limits
    sizing: Sizing
    sizing_by_strategy: Mapping[str, Sizing]
    outbox: Outbox
    route: MailRoute
    connect: Connector
    pull: Puller | None
    say: Say


def write_down(parts: Parts, record: Record) -> None:
    """Append a record, with what it changes in the intents, at the run's time."""
    parts.journal.append(record.kind, record.payload, at_us=parts.clock.now_us(), changes=record.changes)
