"""What the journal file says, read by plain SQL and plain JSON: none of the program's own reading code is used here."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Fill:
    """One execution as the journal has it, at its newest word."""

    intent_key: str
    exec_id: str
    revision: int
    quantity: int
    price_usd: Decimal
    commission_usd: Decimal | None
    mode: str
    strategy: str
    instrument_id: str
    side: str


class Ledger:
    """Reads the file anew at each question."""

    def __init__(self, path: Path) -> None:
        """Open it for reading alone."""
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def records(self, *kinds: str, session: date | None = None) -> Iterator[dict[str, Any]]:
        """Yield payloads of some kinds, oldest first, `kind` and `seq` added."""
        query = f"SELECT seq, kind, payload, session FROM records WHERE kind IN ({','.join('?' * len(kinds))})"  # noqa: S608
        arguments: list[str] = [*kinds]
        if session is not None:
            query, arguments = f"{query} AND session = ?", [*arguments, session.isoformat()]
        for seq, kind, payload, _ in self._connection.execute(f"{query} ORDER BY seq", arguments):
            yield {**json.loads(payload), "kind": kind, "seq": seq}

    def intents(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return state and payload of every intent, by key."""
        rows = self._connection.execute("SELECT intent_key, state, payload FROM intents")
        return {key: (state, json.loads(payload)) for key, state, payload in rows}

    def last_word(self, key: str) -> dict[str, Any] | None:
        """Return the newest `intent` record of an intent."""
        found = None
        for record in self.records("intent"):
            if record["intent_key"] == key:
                found = record
        return found

    def fills(self) -> dict[str, Fill]:
        """Return every execution at its newest word, by its id."""
        newest: dict[str, Fill] = {}
        for record in self.records("fill"):
            e = record["execution"]
            fee = None if e["commission_usd"] is None else Decimal(e["commission_usd"])
            fill = Fill(
                e["intent_key"],
                e["exec_id"],
                e["revision"],
                e["quantity"],
                Decimal(e["price_usd"]),
                fee,
                record["mode"],
                record["strategy"],
                record["instrument_id"],
                record["side"],
            )
            known = newest.get(fill.exec_id)
            if known is None or fill.revision > known.revision or known.commission_usd is None:
                newest[fill.exec_id] = fill
        return newest

    def held(self, mode: str) -> dict[tuple[str, str], int]:
        """Return the shares of each strategy and instrument in one mode's book."""
        held: dict[tuple[str, str], int] = {}
        for fill in self.fills().values():
            if fill.mode == mode:
                sign = 1 if fill.side == "BUY" else -1
                at = (fill.strategy, fill.instrument_id)
                held[at] = held.get(at, 0) + sign * fill.quantity
        return held

    def lease_until_us(self, account: str) -> int:
        """Return until when anybody may send for an account, 0 where nobody ever could."""
        row = self._connection.execute("SELECT expires_at FROM leases WHERE account = ?", (account,)).fetchone()
        return 0 if row is None else int(row[0])

    def broken_link(self) -> str | None:
        """Return the first break of the hash chain in words, None where it holds."""
        before = None
        for seq, prev_hash, own in self._connection.execute("SELECT seq, prev_hash, hash FROM records ORDER BY seq"):
            if before is not None and prev_hash != before:
                return f"record {seq} follows {prev_hash[:8]}, not {before[:8]}"
            before = own
        return None

    def fingerprint(self) -> str:
        """Return a hash of every payload in order: equal days have an equal one."""
        digest = hashlib.sha256()
        for (payload,) in self._connection.execute("SELECT payload FROM records ORDER BY seq"):
            digest.update(payload.encode())
        return digest.hexdigest()
