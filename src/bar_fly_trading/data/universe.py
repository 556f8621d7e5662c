"""The universe from the store: index membership as it was known, and who is in at a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import FixData
from bar_fly_trading.facts.instruments import Instruments
from bar_fly_trading.facts.tables import MEMBERSHIP
from bar_fly_trading.facts.universe import Membership, MemberSpell, Universe, UniverseRule, resolve


@dataclass(frozen=True, slots=True)
class Presence:
    """How much of a universe the store has prices of: `members` in all, `ever` with any bar, `then` with one of that day.

    `missing`: the symbols without any bar, sorted.
    """

    members: int
    ever: int
    then: int
    missing: tuple[str, ...]

    def words(self, universe: Universe) -> str:
        """Say it, survivor bias included, in one sentence."""
        if not universe.rule.index:
            return f"{self.ever} of {self.members} names have prices here, {self.then} of them at {universe.on}"
        bias = (
            f"of the true members {self.ever} of {self.members} have prices here, {self.then} of them at {universe.on}"
        )
        if not self.missing:
            return bias
        return f"{bias}; {len(self.missing)} are missing, so whatever rests on the others has survivor bias"


def load_membership(store: Store, index: str, known_by_us: int | None = None) -> Membership:
    """Return an index's membership as known by a UTC microsecond (None: all that is known); empty where none was imported."""
    rows = store.read(MEMBERSHIP.name, known_by_us=known_by_us).filter(pl.col("index") == index)
    return Membership(MemberSpell(*row) for row in rows.select("symbol", "start", "end").iter_rows())


def universe_at(
    store: Store, rule: UniverseRule, on: date, known_by_us: int | None = None
) -> tuple[Universe, Membership, Instruments]:
    """Return who is in at a day, with the membership and the instruments it rests on.

    FixData where the rule names an index of which no membership is stored, or that had no member on the day.
    """
    instruments = load_instruments(store, known_by_us)
    membership = load_membership(store, rule.index, known_by_us) if rule.index else Membership(())
    if rule.index and not membership.members(on):
        known = "no membership of it is stored" if not membership else f"it has no member at {on} in what is stored"
        raise FixData(
            f"data.universe is {rule.index}, but {known}.",
            way_out=f"Run bft import membership FILE --index {rule.index}, or set data.universe to a watchlist file.",
        )
    return resolve(rule, membership, instruments, on), membership, instruments


def presence(store: Store, universe: Universe, known_by_us: int | None = None) -> Presence:
    """Count the members that have prices in the store."""
    ids = [member.instrument_id for member in universe.members if member.instrument_id is not None]
    bars = store.read("bars", known_by_us=known_by_us).select("instrument_id", "session")
    bars = bars.filter(pl.col("instrument_id").is_in(ids))
    ever = set(bars["instrument_id"].unique())
    then = bars.filter(pl.col("session") == universe.on)["instrument_id"].n_unique()
    missing = sorted(m.symbol for m in universe.members if m.instrument_id not in ever)
    return Presence(len(universe.members), len(universe.members) - len(missing), then, tuple(missing))
