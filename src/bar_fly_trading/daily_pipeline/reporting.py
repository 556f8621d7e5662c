"""Writes the report of a home: the journal's records through `report`, as words and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from bar_fly_trading.daily_pipeline.parts import Parts
from bar_fly_trading.files import publish_bytes
from bar_fly_trading.report import build_report, to_html, to_text

KINDS = ("evening", "plan", "fill", "finish", "close")


def count_mails(outbox: Path) -> dict[str, int]:
    """Return how many mails of each kind lie in the outbox, sent, kept and waiting, by their file names."""
    kinds = Counter(path.name.split("_")[1] for path in outbox.rglob("*.eml"))
    return dict(sorted(kinds.items()))


def write_report(parts: Parts, *, title: str, since: date | None = None, notes: Sequence[str] = ()) -> tuple[str, Path]:
    """Write `reports/report.html` and return the report in words and the page's path."""
    records = [
        (r.kind, r.payload)
        for r in parts.journal.records(kinds=KINDS)
        if since is None or r.payload["session"] >= since.isoformat()
    ]
    report = build_report(records, title=title, mails=count_mails(parts.home.outbox), notes=notes)
    page = parts.home.reports / "report.html"
    publish_bytes(page, to_html(report).encode())
    return to_text(report), page
