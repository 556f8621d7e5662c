"""Index membership from a CSV file of spells: symbol, start_date, end_date (the first day it is no member; empty: still)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from bar_fly_trading.data.known import backfill_known_us
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.instruments import canonical_symbol
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import KNOWN_AT, MEMBERSHIP
from bar_fly_trading.facts.universe import INDEXES, Membership, MemberSpell, spell_faults

COLUMNS = ("symbol", "start_date", "end_date")
_DAY = timedelta(days=1)
_FAULTS_SHOWN = 1000
_CELL_SHOWN = 40


@dataclass(frozen=True, slots=True)
class MembershipReport:
    """What an import did. `withdrawn`: stored spells that the file has no more. `members`: at the file's newest change."""

    version: str | None
    spells: int
    symbols: int
    new: int
    changed: int
    withdrawn: int
    first_day: date
    newest_day: date
    members: int


def import_membership(
    path: Path, store: Store, calendar: Calendar, *, index: str, recorded_at_us: int
) -> MembershipReport:
    """Import an index's whole membership, all of the file or nothing; the same file again adds nothing.

    The file is the index's whole history: a stored spell that it lacks is withdrawn. What it says first of a spell counts
    as known by the rule of the table, a later change of a start or an end of the past as known when imported. FixInput
    lists every fault, by line.
    """
    if index not in INDEXES:
        known = ", ".join(INDEXES)
        raise FixInput(f"No index is called {index!r} here.", way_out=f"Known: {known}.")
    spells = _read(path, calendar)
    stored = store.read(MEMBERSHIP.name).filter(pl.col("index") == index)
    before = {(s, start): end for s, start, end in stored.select("symbol", "start", "end").iter_rows()}
    now = {(spell.symbol, spell.start): spell.end for spell in spells}
    new = [spell for spell in spells if (spell.symbol, spell.start) not in before]
    changed = [s for s in spells if (key := (s.symbol, s.start)) in before and before[key] != s.end]
    gone = [
        MemberSpell(symbol, start, start - _DAY)
        for (symbol, start), end in before.items()
        if (symbol, start) not in now and (end is None or end >= start)
    ]
    rows = [
        *(row for spell in new for row in _as_known(index, spell, calendar, recorded_at_us)),
        *(_change(index, spell, before[spell.symbol, spell.start], calendar, recorded_at_us) for spell in changed),
        *(_row(index, spell, recorded_at_us) for spell in gone),
    ]
    frame = pl.DataFrame(rows, schema={**MEMBERSHIP.columns, KNOWN_AT: pl.Int64()}, orient="row")
    version = store.publish(
        {MEMBERSHIP.name: frame}, source=f"import membership {path.name}", recorded_at_us=recorded_at_us
    )
    newest = max(max(s.start, s.start if s.end is None else s.end + _DAY) for s in spells)
    return MembershipReport(
        version=version,
        spells=len(spells),
        symbols=len({spell.symbol for spell in spells}),
        new=len(new),
        changed=len(changed),
        withdrawn=len(gone),
        first_day=min(spell.start for spell in spells),
        newest_day=newest,
        members=len(Membership(spells).members(newest)),
    )


def _row(index: str, spell: MemberSpell, known_us: int) -> tuple[str, str, str, date, date | None, int]:
    return f"{index}:{spell.symbol}", index, spell.symbol, spell.start, spell.end, known_us


def _session_before(calendar: Calendar, day: date) -> int:
    return backfill_known_us(calendar, calendar.previous(day))


def _as_known(
    index: str, spell: MemberSpell, calendar: Calendar, now_us: int
) -> Iterable[tuple[str, str, str, date, date | None, int]]:
    """Return a new spell as history had it: open from its start, ended from its end on."""
    started = min(now_us, _session_before(calendar, spell.start))
    yield _row(index, MemberSpell(spell.symbol, spell.start), started)
    if spell.end is not None:
        yield _row(index, spell, max(started, min(now_us, _session_before(calendar, spell.end + _DAY))))


def _change(
    index: str, spell: MemberSpell, before: date | None, calendar: Calendar, now_us: int
) -> tuple[str, str, str, date, date | None, int]:
    """Return a changed end: an open spell's first end by the rule, any other correction when imported."""
    if before is None and spell.end is not None:
        return _row(index, spell, min(now_us, _session_before(calendar, spell.end + _DAY)))
    return _row(index, spell, now_us)


def _read(path: Path, calendar: Calendar) -> list[MemberSpell]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FixInput(f"{path} cannot be read: {error}.", way_out=f"Give a CSV of {', '.join(COLUMNS)}.") from None
    faults = _header_faults([cell.strip().lower() for cell in lines[0]] if lines else [])
    rows: dict[int, MemberSpell] = {}
    if not faults:
        header = [cell.strip().lower() for cell in lines[0]]
        for number, cells in enumerate(lines[1:], 2):
            if any(cell.strip() for cell in cells):
                spell, words = _spell(header, cells, calendar)
                faults += [f"line {number}: {word}" for word in words]
                if spell is not None:
                    rows[number] = spell
        faults += spell_faults(rows)
        if not rows and not faults:
            faults.append("has no rows")
    if faults:
        shown = "\n".join(f"{path}: {fault}" for fault in faults[:_FAULTS_SHOWN])
        more = f"\n... and {len(faults) - _FAULTS_SHOWN} more faults." if len(faults) > _FAULTS_SHOWN else ""
        raise FixInput(f"{shown}{more}\nNothing was imported.", way_out="Correct the file, then import it again.")
    return list(rows.values())


def _header_faults(header: Sequence[str]) -> list[str]:
    missing = [f"column {name} is missing" for name in COLUMNS if name not in header]
    unknown = [f"column {name[:_CELL_SHOWN]!r} is not known" for name in header if name not in COLUMNS]
    twice = [f"column {name} is given twice" for name in COLUMNS if header.count(name) > 1]
    return [*missing, *unknown, *twice]


def _spell(header: Sequence[str], cells: Sequence[str], calendar: Calendar) -> tuple[MemberSpell | None, list[str]]:
    """Read one row; the file's end is the first day out, the spell's the last day in."""
    if len(cells) != len(header):
        return None, [f"{len(cells)} columns of {len(header)}"]
    cell = dict(zip(header, (text.strip() for text in cells), strict=True))
    words: list[str] = []
    try:
        symbol = canonical_symbol(cell["symbol"])
    except ValueError as error:
        symbol = ""
        words.append(f"{error}")
    start, out = (_day(cell[name], name, calendar, words) for name in ("start_date", "end_date"))
    if start is None and not cell["start_date"]:
        words.append(f"{symbol} has no start_date")
    if words or start is None:
        return None, words
    return MemberSpell(symbol, start, None if out is None else out - _DAY), words


def _day(text: str, name: str, calendar: Calendar, words: list[str]) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        words.append(f"{name} is {text[:_CELL_SHOWN]!r}, no date such as 2020-09-21")
        return None
    first, last = calendar.next(calendar.first_day, 2), calendar.last_day
    if not first <= day <= last:
        words.append(f"{name} {day} is outside the exchange calendar ({first} to {last})")
        return None
    return day
