"""What an evening leaves in the journal, and how a morning reads it back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from bar_fly_trading.journal import Journal
from bar_fly_trading.trading.plan import RankedSignal, canonical_bytes, plain
from bar_fly_trading.trading.reading import read_ranked, read_signal
from bar_fly_trading.trading.signal_combination import CombinationRefusal

EVENING_KIND = "evening"
# Where an evening's inputs lay: the store's version carries the time of its import, so it is no part of the decision.
SOURCE_KIND = "evening_source"


@dataclass(frozen=True, slots=True)
class Evening:
    """One complete evening: the ranked signals of `session`, and everything that made them, by content.

    `features_sha256`: of every value the strategies saw; equal prices give it wherever and whenever they were imported.
    """

    session: date
    features_sha256: str
    model_id: str | None
    settings_hash: str
    ranked: tuple[RankedSignal, ...]
    refused: tuple[CombinationRefusal, ...]
    excluded: tuple[tuple[str, str], ...]
    predictions: int

    def evening_id(self) -> str:
        """Return the sha256 of its canonical bytes: equal inputs, code and settings give an equal id."""
        return hashlib.sha256(canonical_bytes(self)).hexdigest()

    def payload(self) -> dict[str, Any]:
        """Return the journal's payload."""
        return {**plain(self), "evening_id": self.evening_id()}


def read_evening(payload: Mapping[str, Any]) -> Evening:
    """Read an evening back; KeyError or ValueError where the payload is none."""
    return Evening(
        session=date.fromisoformat(payload["session"]),
        features_sha256=payload["features_sha256"],
        model_id=payload["model_id"],
        settings_hash=payload["settings_hash"],
        ranked=tuple(read_ranked(r) for r in payload["ranked"]),
        refused=tuple(
            CombinationRefusal(
                read_signal(r["signal"]), r["combination"], r["rule"], r["observed"], r["limit"], r["reason"]
            )
            for r in payload["refused"]
        ),
        excluded=tuple((name, reason) for name, reason in payload["excluded"]),
        predictions=payload["predictions"],
    )


def newest_evening(journal: Journal, session: date) -> Evening | None:
    """Return the newest complete evening of exactly that session, None where there is none."""
    records = journal.records(kinds=(EVENING_KIND,), session=session)
    return read_evening(records[-1].payload) if records else None
