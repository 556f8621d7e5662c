"""Instruments: a stable id, and the symbols by which vendors and the broker know it, as dated spells."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

SYMBOL_LENGTH_MAX = 12


def new_instrument_id(symbol: str, reuse_no: int = 1) -> str:
    """Name a US stock first seen under `symbol`; a ticker reused by another company counts up `reuse_no`.

    The id is opaque afterwards: a later ticker change does not change it.
    """
    return f"us:{symbol}" if reuse_no == 1 else f"us:{symbol}#{reuse_no}"


def vendor_symbol(symbol: str) -> str:
    """Spell a canonical symbol (BRK.B) as Alpha Vantage does (BRK-B)."""
    return symbol.replace(".", "-")


def broker_symbol(symbol: str) -> str:
    """Spell a canonical symbol (BRK.B) as IB does (BRK B)."""
    return symbol.replace(".", " ")


def canonical_symbol(text: str) -> str:
    """Read a symbol in any of the spellings above (BRK.B, BRK-B, BRK B); ValueError where it is no symbol."""
    symbol = text.strip().upper().replace("-", ".").replace(" ", ".").replace("/", ".")
    if (
        not symbol
        or len(symbol) > SYMBOL_LENGTH_MAX
        or not symbol[0].isascii()
        or not symbol[0].isalnum()
        or not all(c.isascii() and (c.isalnum() or c == ".") for c in symbol)
    ):
        raise ValueError(f"not a US stock symbol: {text[:40]!r}")
    return symbol


@dataclass(frozen=True, slots=True)
class SymbolSpell:
    """One instrument's symbol from `start` to `end` (inclusive; None: still)."""

    instrument_id: str
    symbol: str
    start: date
    end: date | None = None

    def __post_init__(self) -> None:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"spell of {self.symbol} ends {self.end} before it starts {self.start}")


class Instruments:
    """Look-up between instrument ids and symbols, at a date."""

    def __init__(self, spells: Iterable[SymbolSpell]) -> None:
        """Take all spells; ValueError where two instruments claim one symbol on one day."""
        self._by_symbol: dict[str, list[SymbolSpell]] = {}
        self._by_id: dict[str, list[SymbolSpell]] = {}
        for spell in sorted(spells, key=lambda s: (s.start, s.symbol, s.instrument_id)):
            rows = self._by_symbol.setdefault(spell.symbol, [])
            if rows and (rows[-1].end is None or rows[-1].end >= spell.start):
                raise ValueError(f"symbol {spell.symbol} names both {rows[-1].instrument_id} and {spell.instrument_id}")
            rows.append(spell)
            self._by_id.setdefault(spell.instrument_id, []).append(spell)

    def __len__(self) -> int:
        return len(self._by_id)

    def ids(self) -> tuple[str, ...]:
        """Return every instrument id, sorted."""
        return tuple(sorted(self._by_id))

    def spells(self) -> Iterator[SymbolSpell]:
        """Yield every spell in order of instrument id, then start."""
        for instrument_id in self.ids():
            yield from self._by_id[instrument_id]

    def spells_of(self, symbol: str) -> tuple[SymbolSpell, ...]:
        """Return every spell of a symbol, whoever bore it, oldest first."""
        return tuple(self._by_symbol.get(symbol, ()))

    def spells_for(self, instrument_id: str) -> tuple[SymbolSpell, ...]:
        """Return every spell of an instrument, oldest first."""
        return tuple(self._by_id.get(instrument_id, ()))

    def ended(self, instrument_id: str) -> date | None:
        """Return the last day of an instrument whose newest spell is over (it was delisted), None where it is not."""
        rows = self._by_id.get(instrument_id, [])
        return rows[-1].end if rows else None

    def id_of(self, symbol: str, on: date) -> str | None:
        """Return the instrument that `symbol` names on the day, or None."""
        rows = self._by_symbol.get(symbol, [])
        i = bisect_right([s.start for s in rows], on) - 1
        if i < 0:
            return None
        end = rows[i].end
        return rows[i].instrument_id if end is None or end >= on else None

    def symbol_of(self, instrument_id: str, on: date) -> str | None:
        """Return the instrument's symbol on the day (its first one before its first spell), or None if unknown."""
        rows = self._by_id.get(instrument_id, [])
        if not rows:
            return None
        i = bisect_right([s.start for s in rows], on) - 1
        return rows[max(i, 0)].symbol
