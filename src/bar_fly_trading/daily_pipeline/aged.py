"""An evening on what the store holds: which session that is, and how old its prices are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from bar_fly_trading.daily_pipeline.parts import Parts
from bar_fly_trading.data.validate import JudgeRules, newest_complete
from bar_fly_trading.data.views import load_bars
from bar_fly_trading.errors import FixData
from bar_fly_trading.strategies.signal import Holding


@dataclass(frozen=True, slots=True)
class Age:
    """How old a store's prices are: its newest complete `session`, the newest `closed` one, and what lies between."""

    session: date
    closed: date
    sessions: int

    @property
    def days(self) -> int:
        """Return the days between the two."""
        return (self.closed - self.session).days

    @property
    def words(self) -> str:
        """Say it; '' where the prices are of the newest closed session."""
        if self.sessions == 0:
            return ""
        many = (
            f"{self.sessions} session{'s' if self.sessions > 1 else ''}, {self.days} day{'s' if self.days > 1 else ''}"
        )
        return f"prices are old: they end {self.session}, {many} before {self.closed}"


def stored_age(parts: Parts) -> Age:
    """Return the newest session that the store holds whole, and its age; FixData where it holds none."""
    data = parts.settings.data
    closed = parts.calendar.newest_closed(parts.clock.now_us())
    rules = JudgeRules(data.min_history_sessions, data.suspect_sessions, data.coverage_min)
    session = newest_complete(load_bars(parts.store), closed, parts.calendar, rules)
    if session is None:
        raise FixData("the store holds no session to rank.", way_out="Run bft pull, or bft import bars FILE, first.")
    return Age(session, closed, parts.calendar.sessions_between(session, closed))


def age_notes(old: str, holdings: Sequence[Holding]) -> list[str]:
    """Say what old prices mean for the list, and for each holding whose exits are then not judged."""
    if not old:
        return []
    exits = [f"the exits of {h.quantity} {h.symbol} held by {h.strategy} are not judged: {old}" for h in holdings]
    return [
        f"{old}. Every signal is only to watch, and nothing can be ordered: bft pull brings what is missing",
        *exits,
    ]
