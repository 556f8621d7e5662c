"""The universe: which instruments may be entered at a session, by index membership, a watchlist or a list of symbols."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from bar_fly_trading.facts.instruments import Instruments, canonical_symbol

# What an index is called in settings, and in words.
INDEXES: dict[str, str] = {"sp500": "S&P 500"}
# An index of hundreds changes every month or two; a list that says nothing for longer is old.
MEMBERSHIP_AGE_DAYS_MAX = 150
EVERYTHING = "every name in the store"


@dataclass(frozen=True, slots=True)
class MemberSpell:
    """One symbol's membership of an index from `start` to `end`, both included (None: still)."""

    symbol: str
    start: date
    end: date | None = None


class Membership:
    """Who was in an index on a day, by spells; a symbol may have left and come back."""

    def __init__(self, spells: Iterable[MemberSpell]) -> None:
        """Take all spells; one whose end lies before its start was withdrawn, and counts for nothing."""
        self._by_symbol: dict[str, list[MemberSpell]] = {}
        for spell in sorted(spells, key=lambda s: (s.symbol, s.start)):
            if spell.end is None or spell.end >= spell.start:
                self._by_symbol.setdefault(spell.symbol, []).append(spell)

    def __bool__(self) -> bool:
        return bool(self._by_symbol)

    def spells(self) -> tuple[MemberSpell, ...]:
        """Return every spell that counts, by symbol, then start."""
        return tuple(spell for spells in self._by_symbol.values() for spell in spells)

    def since(self, symbol: str, on: date) -> date | None:
        """Return since when a symbol had been a member on the day, None where it was none."""
        spells = self._by_symbol.get(symbol, [])
        i = bisect_right([spell.start for spell in spells], on) - 1
        if i < 0:
            return None
        end = spells[i].end
        return spells[i].start if end is None or end >= on else None

    def members(self, on: date) -> dict[str, date]:
        """Return the members of the day, each with the start of its spell, by symbol."""
        return {symbol: since for symbol in self._by_symbol if (since := self.since(symbol, on)) is not None}

    def aged(self, on: date) -> str | None:
        """Say that the newest change known by a day is old, so that the list may be; None where it is not, or is empty."""
        days = [day for s in self.spells() for day in (s.start, s.end) if day is not None and day <= on]
        newest = max(days, default=on)
        if (on - newest).days <= MEMBERSHIP_AGE_DAYS_MAX:
            return None
        return f"the newest change of the index known here is of {newest}: import a newer membership file"

    def left(self, symbol: str, on: date) -> date | None:
        """Return the last day of the newest spell that was over by the day, None where there is none."""
        ends = [s.end for s in self._by_symbol.get(symbol, []) if s.end is not None and s.end < on]
        return max(ends, default=None)


@dataclass(frozen=True, slots=True)
class UniverseRule:
    """What the settings ask for: an index by its name ('' for none), and symbols beside it (canonical, in order).

    `source`: where the symbols come from, in words. With neither, every name in the store is in.
    """

    index: str = ""
    symbols: tuple[str, ...] = ()
    source: str = "the settings' list"

    def words(self) -> str:
        """Say the rule in words."""
        parts = [f"{INDEXES.get(self.index, self.index)} by membership spells"] if self.index else []
        if self.symbols:
            parts.append(f"{len(self.symbols)} symbols of {self.source}")
        return " and ".join(parts) or EVERYTHING


@dataclass(frozen=True, slots=True)
class Member:
    """One name in the universe: its symbol, its instrument (None: the store has none), since when, and why."""

    symbol: str
    instrument_id: str | None
    since: date | None
    rule: str


@dataclass(frozen=True, slots=True)
class Universe:
    """Who is in at a day. `open`: every name in the store is, and `members` lists them."""

    on: date
    rule: UniverseRule
    members: tuple[Member, ...]
    open: bool = False
    _ids: frozenset[str] = field(init=False, repr=False, compare=False, default=frozenset())

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", frozenset(m.instrument_id for m in self.members if m.instrument_id))

    def __contains__(self, instrument_id: str) -> bool:
        return self.open or instrument_id in self._ids

    def unknown(self) -> tuple[str, ...]:
        """Return the symbols of members that the store knows nothing of."""
        return tuple(member.symbol for member in self.members if member.instrument_id is None)


def instrument_of(instruments: Instruments, symbol: str, on: date) -> str | None:
    """Return whom a symbol means on a day: who bears it then, else who alone ever bore it, else None."""
    found = instruments.id_of(symbol, on)
    if found is not None:
        return found
    bearers = {spell.instrument_id for spell in instruments.spells_of(symbol)}
    return next(iter(bearers)) if len(bearers) == 1 else None


def resolve(rule: UniverseRule, membership: Membership, instruments: Instruments, on: date) -> Universe:
    """Return who is in on a day: the index's members and the symbols beside it, each name once, by symbol.

    Members without an instrument are kept, because leaving them out in silence is what survivor bias is.
    """
    if not rule.index and not rule.symbols:
        names = {i: instruments.symbol_of(i, on) for i in instruments.ids()}
        known = (Member(symbol, i, None, EVERYTHING) for i, symbol in names.items() if symbol is not None)
        return Universe(on, rule, tuple(sorted(known, key=lambda m: m.symbol)), open=True)
    found: dict[str, Member] = {}
    if rule.index:
        words = f"member of the {INDEXES.get(rule.index, rule.index)}"
        for symbol, since in membership.members(on).items():
            found[symbol] = Member(symbol, instrument_of(instruments, symbol, on), since, words)
    taken = {member.instrument_id for member in found.values()} - {None}
    for symbol in rule.symbols:
        instrument_id = instrument_of(instruments, symbol, on)
        if symbol not in found and instrument_id not in taken:
            found[symbol] = Member(symbol, instrument_id, None, f"in {rule.source}")
            taken |= {instrument_id} - {None}
    return Universe(on, rule, tuple(found[symbol] for symbol in sorted(found)))


def why_outside(universe: Universe, membership: Membership, instruments: Instruments, instrument_id: str) -> str | None:
    """Say why an instrument is outside the universe, None where it is inside."""
    if instrument_id in universe:
        return None
    symbol = instruments.symbol_of(instrument_id, universe.on) or instrument_id
    words = f"outside the universe at {universe.on} ({universe.rule.words()})"
    left = membership.left(symbol, universe.on) if universe.rule.index else None
    return words if left is None else f"{words}: a member until {left}"


def member_days(membership: Membership, instruments: Instruments) -> tuple[tuple[str, date, date | None], ...]:
    """Return every span of days in which an instrument was a member: (instrument, first day, last day or None), sorted.

    A spell under a symbol that passed from one instrument to another is cut at that day.
    """
    found: set[tuple[str, date, date | None]] = set()
    for spell in membership.spells():
        named = instruments.spells_of(spell.symbol)
        alone = len({one.instrument_id for one in named}) == 1
        for one in named:
            # Who alone ever bore the symbol is meant on every day, as `instrument_of` has it.
            first = spell.start if alone else max(spell.start, one.start)
            ends = [end for end in (spell.end, None if alone else one.end) if end is not None]
            last = min(ends, default=None)
            if last is None or first <= last:
                found.add((one.instrument_id, first, last))
    return tuple(sorted(found, key=lambda row: (row[0], row[1], row[2] or date.max)))


def read_symbols(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read a watchlist: one symbol a line in any spelling, `#` begins a comment; return the symbols once, and faults.

    A byte order mark, CRLF, empty lines, lower case and symbols given twice are all right.
    """
    symbols: dict[str, None] = {}
    faults: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        word = line.partition("#")[0].strip().strip(",;")
        if not word:
            continue
        try:
            symbols[canonical_symbol(word)] = None
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    return tuple(symbols), tuple(faults)


def spell_faults(rows: Mapping[int, MemberSpell]) -> tuple[str, ...]:
    """Return what is wrong with spells, by the line each stands in: ends before starts, and spells that overlap."""
    faults: list[tuple[int, str]] = []
    by_symbol: dict[str, list[tuple[MemberSpell, int]]] = {}
    for line, spell in rows.items():
        if spell.end is not None and spell.end < spell.start:
            out = spell.end + timedelta(days=1)
            faults.append((line, f"{spell.symbol} is out from {out}, which is not after its start {spell.start}"))
        else:
            by_symbol.setdefault(spell.symbol, []).append((spell, line))
    for symbol, spells in by_symbol.items():
        spells.sort(key=lambda pair: (pair[0].start, pair[1]))
        longest, longest_line = spells[0]
        for spell, line in spells[1:]:
            if longest.end is None or longest.end >= spell.start:
                until = "has not ended" if longest.end is None else f"ends {longest.end + timedelta(days=1)}"
                faults.append(
                    (line, f"{symbol} from {spell.start} overlaps its spell of line {longest_line}, which {until}")
                )
            if longest.end is not None and (spell.end is None or spell.end > longest.end):
                longest, longest_line = spell, line
    return tuple(f"line {line}: {words}" for line, words in sorted(faults))
