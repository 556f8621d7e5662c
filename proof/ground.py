"""What every seed stands on and none changes: the calendar, the instruments, a store, and an empty journal to copy."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.journal import Journal

FIRST = date(2026, 1, 5)
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG", "HHH", "III", "JJJ", "KKK", "LLL")
SESSIONS_A_SEED = 3
RAM = Path("/dev/shm")  # noqa: S108  (the journal's own writes are what takes the time)


class StillStore(Store):
    """The shared store, each question answered once: no seed writes to it."""

    answers: ClassVar[dict[tuple[object, ...], pl.DataFrame]] = {}

    def read(self, table_name: str, **asked: Any) -> pl.DataFrame:
        """Read as the store does, once."""
        key = (self.root, table_name, *((name, str(value)) for name, value in sorted(asked.items())))
        if key not in self.answers:
            self.answers[key] = super().read(table_name, **asked)
        return self.answers[key]


@cache
def calendar() -> Calendar:
    """Return the exchange's calendar, built once."""
    return Calendar()


@cache
def sessions() -> tuple[date, ...]:
    """Return the sessions of a seed; the first is only an evening."""
    return (FIRST, *(calendar().next(FIRST, n) for n in range(1, SESSIONS_A_SEED + 1)))


def base_prices() -> dict[str, Decimal]:
    """Return the instruments and where they start."""
    return {f"us:{s}": Decimal(20 + 17 * n) for n, s in enumerate(SYMBOLS)}


def make_store(root: Path) -> None:
    """Publish the instruments and a close for every session, known from the start."""
    known = [0] * len(SYMBOLS)
    spells = pl.DataFrame(
        {
            "instrument_id": [f"us:{s}" for s in SYMBOLS],
            "symbol": list(SYMBOLS),
            "start": [date(2020, 1, 2)] * len(SYMBOLS),
            "end": [None] * len(SYMBOLS),
            "known_at": known,
        },
        schema_overrides={"end": pl.Date, "known_at": pl.Int64},
    )
    rows = [(i, day, float(p)) for i, p in base_prices().items() for day in sessions()]
    price = [r[2] for r in rows]
    bars = pl.DataFrame(
        {
            "instrument_id": [r[0] for r in rows],
            "session": [r[1] for r in rows],
            **dict.fromkeys(("open", "high", "low", "close", "adjusted_close"), price),
            "volume": [10_000_000] * len(rows),
            "dividend_amount": [0.0] * len(rows),
            "split_coefficient": [1.0] * len(rows),
            "known_at": [0] * len(rows),
        },
        schema_overrides={"known_at": pl.Int64},
    )
    Store(root).publish({"spells": spells, "bars": bars}, source="proof", recorded_at_us=0)


@contextmanager
def shared_store() -> Iterator[Path]:
    """Make the store that every seed of a process reads and none writes."""
    with tempfile.TemporaryDirectory(prefix="bft-proof-", dir=RAM if RAM.is_dir() else None) as folder:
        root = Path(folder)
        make_store(root / "store")
        with Journal.open(root / "journal.sqlite", now_us=lambda: 0, run_id="made", settings_hash=""):
            pass
        yield root
