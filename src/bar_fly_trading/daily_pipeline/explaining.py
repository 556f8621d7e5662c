"""Gathers what was written about one stock and one morning, for `report.why`: journal, stored features and predictions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl

from bar_fly_trading.daily_pipeline.evidence import ORDER_KINDS, written
from bar_fly_trading.daily_pipeline.records import EVENING_KIND, SOURCE_KIND
from bar_fly_trading.daily_pipeline.rules import RULES_KIND
from bar_fly_trading.daily_pipeline.sending import HALT_KIND
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.table_files import SUMS_SUFFIX, sums_agree
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.journal import Journal
from bar_fly_trading.report.why import Why
from bar_fly_trading.settings import Home
from bar_fly_trading.stockformer import predictions as prediction_files

Payload = Mapping[str, Any]


def gather(home: Home, journal: Journal, calendar: Calendar, symbol: str, session: date) -> Why:
    """Return what was written about a stock on the morning of `session` and the evening before it.

    FixSettings where the day is no session.
    """
    symbol = symbol.strip().upper()
    calendar.session(session)
    plans = journal.records(kinds=("plan",), session=session)
    plan = plans[0].payload if plans else None
    evening_session = calendar.previous(session) if plan is None else date.fromisoformat(plan["plan"]["signal_session"])
    evening = _evening(journal, evening_session, plan)
    instrument_id = _named(symbol, evening, plan) or _known(home, symbol, evening_session)
    features = _features(home, journal, evening_session, evening, symbol)
    if instrument_id is None and features:
        instrument_id = str(features[-1]["instrument_id"])
    intents = [r for r in journal.intents(session=session) if r.payload["symbol"] == symbol]
    keys = {r.intent_key for r in intents}
    records = [
        r
        for r in written(journal, kinds=(*ORDER_KINDS, HALT_KIND))
        if r.payload.get("session") == session.isoformat() or r.payload.get("intent_key") in keys
    ]
    return Why(
        symbol=symbol,
        instrument_id=instrument_id,
        session=session,
        evening_session=evening_session,
        evening=evening,
        plan=plan,
        evening_rules=None if evening is None else _rules(journal, evening["settings_hash"]),
        plan_rules=None if plan is None else _rules(journal, plan["plan"]["settings_hash"]),
        features=features,
        prediction=_prediction(home, evening_session, symbol),
        intents=tuple({**r.payload, "state": r.state.value} for r in intents),
        records=tuple(records),
    )


def _evening(journal: Journal, session: date, plan: Payload | None) -> Payload | None:
    """Return the evening that the plan was made of, else the newest of the session."""
    found = [r.payload for r in journal.records(kinds=(EVENING_KIND,), session=session)]
    if plan is not None:
        return next((e for e in found if e["evening_id"] == plan["plan"]["evening_id"]), None)
    return found[-1] if found else None


def _named(symbol: str, evening: Payload | None, plan: Payload | None) -> str | None:
    """Return the instrument that the evening or the plan calls by this symbol."""
    signals = [] if evening is None else [r["signal"] for r in (*evening["ranked"], *evening["refused"])]
    decided = [] if plan is None else [*plan["plan"]["intents"], *plan["plan"]["rejections"]]
    return next((str(s["instrument_id"]) for s in (*signals, *decided) if s["symbol"] == symbol), None)


def _known(home: Home, symbol: str, session: date) -> str | None:
    """Return the instrument that the store calls by this symbol on that day; what an evening kept out has no symbol of its own."""
    store = Store(home.store)
    return None if store.current() is None else load_instruments(store).id_of(symbol, session)


def _rules(journal: Journal, settings_hash: str) -> Payload | None:
    found = (r for r in journal.records(kinds=(RULES_KIND,)) if r.settings_hash == settings_hash)
    return next((r.payload for r in found), None)


def _features(
    home: Home, journal: Journal, session: date, evening: Payload | None, symbol: str
) -> tuple[Payload, ...] | None:
    """Return the stock's last two rows in the table the evening was made of, None where that is not kept whole."""
    if evening is None:
        return None
    sources = journal.records(kinds=(SOURCE_KIND,), session=session)
    key = next(
        (str(r.payload["features_key"]) for r in sources if r.payload["evening_id"] == evening["evening_id"]), ""
    )
    path = home.features / f"{session}_{key[:16]}.parquet"
    if not key or not sums_agree(path.with_suffix(SUMS_SUFFIX), (path, path.with_suffix(".excluded.parquet"))):
        return None
    rows = (
        pl.scan_parquet(path)
        .filter((pl.col("symbol") == symbol) & (pl.col("session") <= session))
        .sort("session")
        .tail(2)
        .collect()
        .to_dicts()
    )
    return tuple(rows) if rows and rows[-1]["session"] == session else ()


def _prediction(home: Home, session: date, symbol: str) -> Payload | None:
    try:
        table = prediction_files.read_files(home.predictions, session)
    except FixInput:
        return None
    rows = table.filter(pl.col("symbol") == symbol).to_dicts()
    return rows[0] if rows else None
