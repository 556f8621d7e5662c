"""A shadow day equals its replay through `day` in memory: the same plan and the same fills, byte for byte."""

from __future__ import annotations

import os
import shutil
from collections import deque
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.simulated.conftest import NEXT_DAY, Chain, Gateway

from bar_fly_trading import wiring
from bar_fly_trading.daily_pipeline.morning import _morning
from bar_fly_trading.daily_pipeline.records import newest_evening
from bar_fly_trading.day import (
    AccountRead,
    AskAccount,
    AskQuote,
    Event,
    Finish,
    Outcome,
    QuoteRead,
    Record,
    Send,
    Started,
    start,
    step,
)
from bar_fly_trading.facts.account import AccountSnapshot, Quote
from bar_fly_trading.settings import resolve
from bar_fly_trading.trading.plan import canonical_bytes
from bar_fly_trading.trading.reading import read_account

EXIT_DAY = date(2021, 4, 22)


class _Silent:
    """Says nothing."""

    def line(self, text: str) -> None:
        """Drop a line."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Drop progress."""


def _quotes(plan: dict[str, Any]) -> dict[str, QuoteRead]:
    """Rebuild the quotes that the run saw from the values that every decision of its plan observed."""
    found = {}
    for decision in (*plan["intents"], *plan["rejections"]):
        seen: dict[str, Any] = dict(decision["observed_values"])
        if seen["bid_usd"] is None:
            continue
        quote = Quote(
            instrument_id=decision["instrument_id"],
            con_id=int(seen["con_id"]),
            bid_usd=Decimal(seen["bid_usd"]),
            ask_usd=Decimal(seen["ask_usd"]),
            bid_size=None,
            ask_size=None,
            age_us=int(Decimal(seen["quote_age_s"]) * 1_000_000),
            market_data_type=int(seen["market_data_type"]),
            halted={"True": True, "False": False, None: None}[seen["halted"]],
            min_tick_usd=Decimal("0.01"),
        )
        found[decision["instrument_id"]] = QuoteRead(quote, int(seen["quote_read_at_us"]))
    return found


def _replay(home: Path, day: date, account: AccountSnapshot, quotes: dict[str, QuoteRead]) -> list[Record]:
    """Drive the day from the home's evening, an account and quotes, in memory; return the records it would write."""
    written: list[Record] = []
    with wiring.run(resolve(home, {}, {"HOME": str(home.parent)}), say=_Silent(), command="replay") as parts:
        found = newest_evening(parts.journal, parts.calendar.previous(day))
        assert found is not None
        state = start(_morning(parts, day, found))
        events: deque[Event] = deque([Started()])
        while events:
            state, actions = step(state, events.popleft())
            for action in actions:
                match action:
                    case Record():
                        written.append(action)
                    case AskAccount():
                        events.append(AccountRead(account))
                    case AskQuote(instrument_id, _):
                        events.append(quotes[instrument_id])
                    case Send():
                        raise AssertionError("shadow has no way to send")
                    case Finish(outcome):
                        assert outcome is Outcome.DONE
                        return written
                    case _:
                        pass
    raise AssertionError("the day did not finish")


def _check(chain: Chain, before: Path, day: date) -> None:
    real = {
        kind: [text.encode() for text in chain.rows("payload", kind) if f'"session":"{day}"' in text]
        for kind in ("plan", "fill", "finish")
    }
    payload = next(p for p in chain.records("plan") if p["session"] == str(day))
    records = _replay(before, day, read_account(payload["account"]), _quotes(payload["plan"]))
    for kind, texts in real.items():
        assert texts and [canonical_bytes(r.payload) for r in records if r.kind == kind] == texts, kind


def test_a_shadow_day_equals_its_replay_in_memory(ranked: Chain, read_gateway: Gateway, tmp_path: Path) -> None:
    """Two shadow days, entries and then an exit, over sockets: replayed in memory they give the same plan and fills, byte for byte."""
    assert "BFT_HOME" not in os.environ
    before = Path(shutil.copytree(ranked.home, tmp_path / "before_entries"))
    assert ranked.morning(read_gateway).returncode == 0
    _check(ranked, before, NEXT_DAY)
    ranked.ok("evening", "--no-pull", "--as-of", NEXT_DAY)
    before = Path(shutil.copytree(ranked.home, tmp_path / "before_exits"))
    read_gateway.at(f"{EXIT_DAY}T09:31")
    assert ranked.morning(read_gateway, day=EXIT_DAY).returncode == 0
    assert any(f["side"] == "SELL" for f in ranked.records("fill"))
    _check(ranked, before, EXIT_DAY)
