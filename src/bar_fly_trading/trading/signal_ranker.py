"""Ranking: which entries to execute tomorrow and which only to watch, by the five criteria, each kept with its number.

Scores are absolute (a name's score does not move because another name signalled), save for the sector's, which is the point
of it. With x the value, all in [0, 1], larger is better:

- strength: x / (x + strength_half), x the strategy's strength (distance beyond the band, prediction beyond its threshold);
- confidence: x itself, the predicted probability of a rise in 3 days;
- dollar_volume: x / (x + dollar_volume_half_usd), x the 20-day median dollar volume;
- sector: 1 / (1 + x), x the entries of the sector already chosen for execution (greedy, best first);
- recent_performance: 1 + x / falling_knife_fraction held within [0, 1], x the worse of the 5- and 20-session returns.

The fifth criterion of the roadmap, the daily maximum, is the tag. A value that is missing or NaN scores 0, and it is said.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from typing import Any

import polars as pl

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.strategies.signal import Purpose, Signal
from bar_fly_trading.trading.plan import Criterion, RankedSignal

EXECUTE, WATCH = "execute", "watch"
UNKNOWN_SECTOR = "unknown"
CRITERIA = ("strength", "confidence", "dollar_volume", "sector", "recent_performance")
# 20 sessions are 28 days or so; a name whose last 21 bars reach further back has gaps, and its return means another thing.
_RECENT_DAYS = 45


@dataclass(frozen=True, slots=True)
class RankingRules:
    """Weights (finite, 0 or more, not all 0), the shape of each score, and the limits that tag an entry as watch."""

    strength_weight: float = 0.25
    confidence_weight: float = 0.25
    dollar_volume_weight: float = 0.15
    sector_weight: float = 0.15
    recent_performance_weight: float = 0.2
    strength_half: float = 0.25
    dollar_volume_half_usd: float = 50_000_000.0
    falling_knife_fraction: float = 0.2
    new_entries_a_day_max: int = 5
    sector_entries_max: int = 2
    dollar_volume_median_20d_usd_min: float = 5_000_000.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least_allowed = field.name.endswith(("_weight", "_max", "_min"))
            if not math.isfinite(value) or value < 0 or (value == 0 and not least_allowed):
                limit = "0 or more" if least_allowed else "above 0"
                raise FixSettings(
                    f"ranking: {field.name} is {value}; it must be finite and {limit}.",
                    way_out="Correct it in the settings file.",
                )
        if sum(self.weights().values()) <= 0:
            raise FixSettings("ranking: every weight is 0.", way_out="Give at least one criterion a weight above 0.")

    def weights(self) -> dict[str, float]:
        """Return the weight of each criterion."""
        return {name: float(getattr(self, f"{name}_weight")) for name in CRITERIA}


def ranking_rules(weights: Mapping[str, float], **numbers: float) -> RankingRules:
    """Make the rules from settings, where weights go by criterion (unnamed ones keep their default) and numbers by field.

    FixSettings for a criterion that does not exist; TypeError for a field that does not (a defect of the caller).
    """
    for name in weights:
        if name not in CRITERIA:
            close = difflib.get_close_matches(name, CRITERIA, n=1, cutoff=0.5)
            known = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(CRITERIA)}."
            raise FixSettings(f"ranking: no criterion is called {name!r}.", way_out=known)
    given: dict[str, Any] = {**{f"{name}_weight": value for name, value in weights.items()}, **numbers}
    return RankingRules(**given)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An entry before it has a place: the four criteria that do not depend on who is chosen, and its sector."""

    signal: Signal
    criteria: tuple[Criterion, ...]
    sector: str
    dollar_volume_usd: float | None

    def tie_key(self) -> tuple[str, ...]:
        s = self.signal
        return (s.instrument_id, s.strategy, s.side.value, s.reason)


def rank(
    signals: Sequence[Signal],
    features: pl.DataFrame,
    predictions: pl.DataFrame | None,
    sectors: Mapping[str, str],
    rules: RankingRules,
) -> tuple[RankedSignal, ...]:
    """Rank one session's signals: exits first (rank 0, execute, unlimited), then entries from rank 1.

    `features`: the feature table (any order) up to the session; its last 21 rows a name give the recent returns, so one
    session alone leaves them undefined. `predictions`: of the session, or None. `sectors`: by instrument_id; a missing or
    empty one is the sector "unknown". Entries are chosen greedily, the best score first, ties by instrument_id, then
    strategy. An entry is execute unless its dollar volume is missing or under the minimum, its sector already has
    `sector_entries_max` chosen, or `new_entries_a_day_max` are chosen: then watch, and `tag_reason` says why. Equal for any
    order of the input. ValueError where the signals are of several sessions.
    """
    sessions = {s.session for s in signals}
    if len(sessions) > 1:
        raise ValueError(f"signals of several sessions cannot be ranked together: {sorted(sessions)}")
    exits = sorted((s for s in signals if s.purpose is Purpose.EXIT), key=lambda s: (*s.sort_key(), s.reason))
    entries = [s for s in signals if s.purpose is Purpose.ENTRY]
    known = _known(features, entries)
    confidence = _confidence(predictions, entries)
    candidates = [_candidate(s, known.get(s.instrument_id, {}), confidence, sectors, rules) for s in entries]
    leaving = [_exit(s, known=_sector(sectors, s.instrument_id)) for s in exits]
    return (*leaving, *_choose(candidates, rules))


def only_watched(ranked: Sequence[RankedSignal], why: str) -> tuple[RankedSignal, ...]:
    """Return the list with every signal, exits too, tagged watch for one reason; places and scores stay."""
    return tuple(replace(r, tag=WATCH, tag_reason=f"{why} ({r.tag_reason})" if r.rank else why) for r in ranked)


def _exit(signal: Signal, known: str) -> RankedSignal:
    words = "an exit is not ranked and never limited"
    return RankedSignal(signal, 0, EXECUTE, words, 0.0, (), known, None)


def _sector(sectors: Mapping[str, str], instrument_id: str) -> str:
    return sectors.get(instrument_id, "").strip() or UNKNOWN_SECTOR


def _choose(candidates: Sequence[_Candidate], rules: RankingRules) -> list[RankedSignal]:
    """Take the best of the rest, again and again: each choice moves the sector score of those that follow."""
    waiting = sorted(candidates, key=_Candidate.tie_key)
    chosen_of: dict[str, int] = {}
    chosen, ranked = 0, list[RankedSignal]()
    while waiting:
        scored = [(_with_sector(c, chosen_of.get(c.sector, 0), rules), c) for c in waiting]
        # max() keeps the first of equals, and `waiting` is in tie order.
        (criteria, score), best = max(scored, key=lambda pair: pair[0][1])
        why = _watch_reason(best, chosen_of.get(best.sector, 0), chosen, rules)
        if why is None:
            chosen += 1
            chosen_of[best.sector] = chosen_of.get(best.sector, 0) + 1
        words = why or f"new entry {chosen} of at most {rules.new_entries_a_day_max}"
        undefined = [c.name for c in criteria if c.value is None and c.weight > 0]
        if undefined:
            words += f"; undefined and scored 0: {', '.join(undefined)}"
        tag = WATCH if why else EXECUTE
        place = len(ranked) + 1
        ranked.append(
            RankedSignal(best.signal, place, tag, words, score, criteria, best.sector, best.dollar_volume_usd)
        )
        waiting.remove(best)
    return ranked


def _with_sector(
    candidate: _Candidate, chosen_of_sector: int, rules: RankingRules
) -> tuple[tuple[Criterion, ...], float]:
    """Return all criteria, in the order of CRITERIA, and the weighted mean of their scores."""
    sector = Criterion("sector", float(chosen_of_sector), 1 / (1 + chosen_of_sector), rules.sector_weight)
    by_name = {c.name: c for c in (*candidate.criteria, sector)}
    criteria = tuple(by_name[name] for name in CRITERIA)
    weight = math.fsum(c.weight for c in criteria)
    return criteria, math.fsum(c.weight * c.score for c in criteria) / weight


def _watch_reason(candidate: _Candidate, of_sector: int, chosen: int, rules: RankingRules) -> str | None:
    volume, least = candidate.dollar_volume_usd, rules.dollar_volume_median_20d_usd_min
    if volume is None:
        return f"20-day median dollar volume is not known; at least {least:,.0f} USD is asked"
    if volume < least:
        return f"20-day median dollar volume {volume:,.0f} USD is under {least:,.0f} USD"
    if of_sector >= rules.sector_entries_max:
        return (
            f"sector {candidate.sector} already has {of_sector} new entries, at most {rules.sector_entries_max} a day"
        )
    if chosen >= rules.new_entries_a_day_max:
        return f"{chosen} better entries fill the day's maximum of {rules.new_entries_a_day_max}"
    return None


def _candidate(
    signal: Signal,
    known: Mapping[str, float | None],
    confidence: Mapping[str, float],
    sectors: Mapping[str, str],
    rules: RankingRules,
) -> _Candidate:
    volume = known.get("dollar_volume")
    strength = signal.strength if math.isfinite(signal.strength) and signal.strength >= 0 else None
    probability = confidence.get(signal.instrument_id)
    recent = known.get("recent")
    scores: dict[str, tuple[float | None, float]] = {
        "strength": (strength, _saturating(strength, rules.strength_half)),
        "confidence": (probability, 0.0 if probability is None else _within(probability)),
        "dollar_volume": (volume, _saturating(volume, rules.dollar_volume_half_usd)),
        "recent_performance": (recent, 0.0 if recent is None else _within(1 + recent / rules.falling_knife_fraction)),
    }
    weights = rules.weights()
    criteria = tuple(Criterion(name, value, score, weights[name]) for name, (value, score) in scores.items())
    return _Candidate(signal, criteria, _sector(sectors, signal.instrument_id), volume)


def _within(x: float) -> float:
    return min(1.0, max(0.0, x))


def _saturating(x: float | None, half: float) -> float:
    return 0.0 if x is None or x < 0 else x / (x + half)


def _finite(x: float | None) -> float | None:
    return x if x is not None and math.isfinite(x) else None


def _known(features: pl.DataFrame, entries: Sequence[Signal]) -> dict[str, dict[str, float | None]]:
    """Return, by instrument, the dollar volume and the worse of the 5- and 20-session returns at the signals' session."""
    if not entries:
        return {}
    session = entries[0].session
    ids = sorted({s.instrument_id for s in entries})
    columns = ("instrument_id", "session", "chained_close", "dollar_volume_median_20d")
    # The sessions first: the table may hold thousands of them.
    newest = features.select(columns).filter(
        pl.col("session").is_between(session - timedelta(days=_RECENT_DAYS), session)
    )
    rows = newest.filter(pl.col("instrument_id").is_in(ids)).sort("instrument_id", "session")
    found: dict[str, dict[str, float | None]] = {}
    for (instrument_id,), frame in rows.group_by("instrument_id", maintain_order=True):
        if frame["session"][-1] != session:
            continue
        volume = _finite(frame["dollar_volume_median_20d"][-1])
        found[str(instrument_id)] = {"dollar_volume": volume, "recent": _recent(frame["chained_close"].to_list())}
    return found


def _recent(closes: Sequence[float | None]) -> float | None:
    """Return the worse of the returns over the last 5 and 20 sessions, None where either is undefined."""
    if len(closes) < 21:
        return None
    now, five, twenty = (_finite(closes[-1 - back]) for back in (0, 5, 20))
    if now is None or five is None or twenty is None or five <= 0 or twenty <= 0:
        return None
    return min(now / five - 1, now / twenty - 1)


def _confidence(predictions: pl.DataFrame | None, entries: Sequence[Signal]) -> dict[str, float]:
    """Return the finite predicted probabilities of a rise in 3 days at the signals' session, by instrument."""
    if predictions is None or not entries:
        return {}
    rows = predictions.filter(pl.col("session") == entries[0].session).select("instrument_id", "probability_rise_3d")
    return {i: p for i, p in rows.iter_rows() if p is not None and math.isfinite(p)}


RANKED_SCHEMA: dict[str, pl.DataType] = {
    "rank": pl.Int64(),
    "tag": pl.String(),
    "session": pl.Date(),
    "symbol": pl.String(),
    "side": pl.String(),
    "purpose": pl.String(),
    "strategy": pl.String(),
    "score": pl.Float64(),
    **{f"{name}_{part}": pl.Float64() for name in CRITERIA for part in ("value", "score")},
    "close": pl.Float64(),
    "strength": pl.Float64(),
    "sector": pl.String(),
    "tag_reason": pl.String(),
    "reason": pl.String(),
}


def signal_rows(ranked: Sequence[RankedSignal]) -> pl.DataFrame:
    """Return the ranked list as a table (RANKED_SCHEMA), in its order; an exit's score and criteria are null."""
    return pl.DataFrame([_row(r) for r in ranked], schema=RANKED_SCHEMA, orient="row")


def _row(ranked: RankedSignal) -> dict[str, object]:
    signal, is_entry = ranked.signal, ranked.signal.purpose is Purpose.ENTRY
    by_name = {c.name: c for c in ranked.criteria}
    row: dict[str, object] = {
        "rank": ranked.rank,
        "tag": ranked.tag,
        "session": signal.session,
        "symbol": signal.symbol,
        "side": signal.side.value,
        "purpose": signal.purpose.value,
        "strategy": signal.strategy,
        "score": ranked.score if is_entry else None,
    }
    for name in CRITERIA:
        criterion = by_name.get(name)
        row[f"{name}_value"] = criterion.value if criterion else None
        row[f"{name}_score"] = criterion.score if criterion else None
    return {
        **row,
        "close": float(signal.close_usd),
        "strength": signal.strength,
        "sector": ranked.sector,
        "tag_reason": ranked.tag_reason,
        "reason": signal.reason,
    }


def to_csv(ranked: Sequence[RankedSignal]) -> str:
    """Return the ranked list as CSV text: a header, "\\n" line ends, floats rounded to 9 places, null empty; same bytes always."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(RANKED_SCHEMA)
    for row in (_row(r) for r in ranked):
        writer.writerow([_text(row[name]) for name in RANKED_SCHEMA])
    return out.getvalue()


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(round(value, 9))
    return value.isoformat() if isinstance(value, date) else str(value)
