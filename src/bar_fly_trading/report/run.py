"""From journal records to the numbers of a report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

BASIS_POINTS = 10_000
# Reasons that differ in their numbers alone are counted together.
_NUMBERS = re.compile(r"\d[\d.,-]*")


@dataclass(frozen=True, slots=True)
class FillRow:
    """One fill. `slippage_bp`: cost against the mid at the decision, in basis points, positive is worse."""

    session: date
    mode: str
    strategy: str
    symbol: str
    side: str
    quantity: int
    price_usd: Decimal
    commission_usd: Decimal | None
    slippage_bp: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class RejectionRow:
    """One refusal: the rule, what it observed, its limit, and the words."""

    session: date
    mode: str
    strategy: str
    symbol: str
    side: str
    rule: str
    observed: str
    limit: str
    reason: str


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session. Totals are dollars made since the first fill of that mode's book; None where a mark was missing.

    `outcome`: how its morning ended, empty where none ran. `entries_executable` counts signals tagged execute.
    """

    session: date
    signals: int
    entries_executable: int
    watched: int
    intents: int
    rejections: int
    fills: int
    outcome: str
    shadow_total_usd: Decimal | None
    paper_total_usd: Decimal | None
    net_liquidation_usd: Decimal | None
    shadow_day_usd: Decimal | None
    paper_day_usd: Decimal | None
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PositionRow:
    """What a book holds at the end."""

    mode: str
    strategy: str
    symbol: str
    quantity: int
    cost_usd: Decimal
    mark_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class RunReport:
    """Some sessions in numbers. `mails`: how many of each kind. `models`: the model ids used, in order of first use."""

    title: str
    first: date | None
    last: date | None
    sessions: tuple[SessionRow, ...]
    fills: tuple[FillRow, ...]
    rejections: tuple[RejectionRow, ...]
    positions: tuple[PositionRow, ...]
    excluded: tuple[tuple[str, int], ...]
    mails: tuple[tuple[str, int], ...]
    models: tuple[str, ...]
    notes: tuple[str, ...]

    def rejections_by_rule(self) -> tuple[tuple[str, int], ...]:
        """Return each rule with how often it refused, most often first."""
        counts = Counter(r.rule for r in self.rejections)
        return tuple(sorted(counts.items(), key=lambda row: (-row[1], row[0])))

    def fills_of(self, mode: str) -> tuple[FillRow, ...]:
        """Return one mode's fills."""
        return tuple(f for f in self.fills if f.mode == mode)

    def mean_slippage_bp(self, mode: str) -> float | None:
        """Return the mean slippage of one mode's fills, weighted by dollars; None without fills."""
        rows = [
            (f.slippage_bp, float(f.quantity * f.price_usd)) for f in self.fills_of(mode) if f.slippage_bp is not None
        ]
        dollars = sum(w for _, w in rows)
        return sum(s * w for s, w in rows) / dollars if dollars else None


def _money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _newest(payloads: Iterable[Mapping[str, Any]]) -> dict[date, Mapping[str, Any]]:
    """Keep each session's last record: a later one of the same session replaces the earlier."""
    return {date.fromisoformat(p["session"]): p for p in payloads}


def _fill_row(payload: Mapping[str, Any], intents: Mapping[str, Mapping[str, Any]]) -> FillRow:
    execution = payload["execution"]
    price = Decimal(execution["price_usd"])
    intent = intents.get(execution["intent_key"])
    slippage = None
    if intent is not None:
        mid = (Decimal(intent["bid_usd"]) + Decimal(intent["ask_usd"])) / 2
        worse = price - mid if payload["side"] == "BUY" else mid - price
        slippage = float(worse / mid) * BASIS_POINTS
    return FillRow(
        date.fromisoformat(payload["session"]),
        payload["mode"],
        payload["strategy"],
        payload["symbol"],
        payload["side"],
        execution["quantity"],
        price,
        _money(execution["commission_usd"]),
        slippage,
        intent["reason"] if intent else "",
    )


def _rejection_row(payload: Mapping[str, Any]) -> RejectionRow:
    names = ("mode", "strategy", "symbol", "side", "rule", "observed", "limit", "reason")
    return RejectionRow(date.fromisoformat(payload["session"]), *(payload[n] for n in names))


def _session_row(
    day: date,
    evening: Mapping[str, Any] | None,
    plan: Mapping[str, Any] | None,
    finish: Mapping[str, Any] | None,
    close: Mapping[str, Any] | None,
    fills: Sequence[FillRow],
) -> SessionRow:
    ranked = evening["ranked"] if evening else []
    books = close["books"] if close else {}
    shadow, paper = books.get("shadow", {}), books.get("paper", {})
    entries = [r for r in ranked if r["signal"]["purpose"] == "ENTRY"]
    return SessionRow(
        session=day,
        signals=len(ranked),
        entries_executable=sum(r["tag"] == "execute" for r in entries),
        watched=sum(r["tag"] == "watch" for r in entries),
        intents=len(plan["intents"]) if plan else 0,
        rejections=len(plan["rejections"]) if plan else 0,
        fills=sum(f.session == day for f in fills),
        outcome=finish["outcome"] if finish else "",
        shadow_total_usd=_money(shadow.get("total_usd")),
        paper_total_usd=_money(paper.get("total_usd")),
        net_liquidation_usd=_money(close["account"]["net_liquidation_usd"]) if close and close["account"] else None,
        shadow_day_usd=_money(shadow.get("day_usd")),
        paper_day_usd=_money(paper.get("day_usd")),
        differences=tuple(close["differences"]) if close else (),
    )


def _positions(close: Mapping[str, Any] | None) -> tuple[PositionRow, ...]:
    if close is None:
        return ()
    return tuple(
        PositionRow(mode, p["strategy"], p["symbol"], p["quantity"], Decimal(p["cost_usd"]), _money(p["mark_usd"]))
        for mode, book in sorted(close["books"].items())
        for p in book["positions"]
    )


def build_report(
    records: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    title: str,
    mails: Mapping[str, int],
    notes: Sequence[str] = (),
) -> RunReport:
    """Build the report of `records` (kind and payload, in journal order).

    A signal of session S is decided in the morning after S; a row here carries the evening that its morning used.
    """
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for kind, payload in records:
        by_kind.setdefault(kind, []).append(payload)
    evenings = _newest(by_kind.get("evening", ()))
    finishes, closes = (_newest(by_kind.get(k, ())) for k in ("finish", "close"))
    plans = {day: p["plan"] for day, p in _newest(by_kind.get("plan", ())).items()}
    intents = {i["intent_key"]: i for p in plans.values() for i in p["intents"]}
    fills = tuple(_fill_row(p, intents) for p in by_kind.get("fill", ()))
    rejections = tuple(_rejection_row(r) for _, p in sorted(plans.items()) for r in p["rejections"])
    days = sorted(set(plans) | set(finishes) | set(closes))
    rows = []
    for day in days:
        plan = plans.get(day)
        evening = evenings.get(date.fromisoformat(plan["signal_session"])) if plan else None
        rows.append(_session_row(day, evening, plan, finishes.get(day), closes.get(day), fills))
    models = [e["model_id"] for _, e in sorted(evenings.items()) if e["model_id"]]
    excluded = Counter(_NUMBERS.sub("N", reason) for e in evenings.values() for _, reason in e["excluded"])
    return RunReport(
        title=title,
        first=days[0] if days else None,
        last=days[-1] if days else None,
        sessions=tuple(rows),
        fills=fills,
        rejections=rejections,
        positions=_positions(closes[max(closes)] if closes else None),
        excluded=tuple(sorted(excluded.items(), key=lambda row: (-row[1], row[0]))),
        mails=tuple(sorted(mails.items())),
        models=tuple(dict.fromkeys(models)),
        notes=tuple(notes),
    )
