"""The numbers a run decides by, written down once for each settings' hash: what was decided is explained by them alone."""

from __future__ import annotations

from typing import Any

from bar_fly_trading.daily_pipeline.parts import Parts
from bar_fly_trading.trading.plan import plain

RULES_KIND = "rules"


def note_rules(parts: Parts) -> None:
    """Write down the strategies' numbers, the limits, the sizing and the ranking of this run, unless their hash has them."""
    if any(r.settings_hash == parts.settings_hash for r in parts.journal.records(kinds=(RULES_KIND,))):
        return
    payload: dict[str, Any] = {
        "strategies": {s.name: plain(s) for s in parts.strategies},
        "modes": plain(dict(parts.modes)),
        "limits": plain(parts.limits),
        "sizing": plain(parts.sizing),
        "sizing_by_strategy": plain(dict(parts.sizing_by_strategy)),
        "ranking": plain(parts.ranking),
    }
    parts.journal.append(RULES_KIND, payload, at_us=parts.clock.now_us())
