"""The evening: from the data pull to the ranked list of exactly one session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bar_fly_trading.daily_pipeline.aged import Age, age_notes
from bar_fly_trading.daily_pipeline.books import build_books, holdings_by_mode
from bar_fly_trading.daily_pipeline.parts import Parts
from bar_fly_trading.daily_pipeline.records import EVENING_KIND, SOURCE_KIND, Evening, newest_evening
from bar_fly_trading.daily_pipeline.telling import Mails
from bar_fly_trading.daily_pipeline.universe import listing_notes, outside_at
from bar_fly_trading.daily_pipeline.view import Features, content_sha256, features_at, market_view, say_written
from bar_fly_trading.data.disk import forecast
from bar_fly_trading.day import RankRules, rank
from bar_fly_trading.errors import CheckVendor, DoneLess, FixData
from bar_fly_trading.facts.sessions import evening_us
from bar_fly_trading.files import publish_bytes
from bar_fly_trading.notify.compose import ranked_list_mail
from bar_fly_trading.settings import universe_rule
from bar_fly_trading.strategies.exits import unjudged
from bar_fly_trading.trading.signal_ranker import only_watched, to_csv


@dataclass(frozen=True, slots=True)
class EveningDone:
    """A finished evening. `reused`: stages whose output was there already. `notes`: what a person should know."""

    evening: Evening
    signals_file: Path
    reused: tuple[str, ...]
    notes: tuple[str, ...]


async def evening(
    parts: Parts, as_of: date, mails: Mails, *, pull: bool, model: Path | None = None, age: Age | None = None
) -> EveningDone:
    """Rank the signals of session `as_of` and write them down; a second run on the same inputs changes nothing.

    `age`: of prices older than the newest closed session: then every signal is only to watch, and no exit is judged.

    FixData where the session has not closed or nothing usable is known of it; TrainModel where a model is unusable.
    """
    _check_closed(parts, as_of)
    notes = await _pulled(parts, as_of, mails) if pull else []
    books = build_books(parts.journal, parts.store, as_of, evening_us(as_of))
    old = "" if age is None else age.words
    held = holdings_by_mode(books, parts.modes)
    holdings = () if old else held
    try:
        features = features_at(parts, as_of)
        say_written(parts, features)
        view, sectors, _, model_id = market_view(parts, features, as_of, holdings, model)
    except FixData as error:
        if not notes:
            raise
        # The pull that failed is the cause; "pull again" would hide it.
        way_out = mails.problem.way_out if mails.problem is not None else error.way_out
        raise FixData(f"{notes[0].rstrip('.')}; so {error.message}", way_out=way_out) from error
    notes += age_notes(old, held)
    rule = universe_rule(parts.settings, parts.home)
    outside = outside_at(parts.store, rule, as_of)
    decided = rank(view, parts.strategies, holdings, RankRules(parts.combinations, parts.ranking, sectors, outside))
    notes += [f"{name} says nothing: there are no predictions (train a model: bft train)" for name in decided.unspoken]
    notes += [
        f"the exits of {h.quantity} {h.symbol} held by {h.strategy} cannot be judged: {why}"
        for h, why in unjudged(view, holdings)
    ]
    notes += listing_notes(parts.store, rule, as_of, holdings)
    notes += _disk_notes(parts)
    done = Evening(
        session=as_of,
        features_sha256=content_sha256(view.features),
        model_id=model_id,
        settings_hash=parts.settings_hash,
        ranked=only_watched(decided.ranked, old) if old else decided.ranked,
        refused=decided.refused,
        excluded=(*features.excluded, *decided.outside),
        predictions=0 if view.predictions is None else view.predictions.height,
    )
    signals_file = parts.home.signals / f"{as_of}.csv"
    publish_bytes(signals_file, to_csv(done.ranked).encode())
    reused = ["features"] if features.reused else []
    if not _write_down(parts, done, features):
        reused.append("evening")
    key = done.evening_id()[:16]
    mails.queue(ranked_list_mail(as_of, done.ranked, excluded=done.excluded, notes=notes, key=key, old=old))
    return EveningDone(done, signals_file, tuple(reused), tuple(notes))


def _write_down(parts: Parts, done: Evening, features: Features) -> bool:
    """Journal an evening and what it was made of; False where the newest of its session is this very one already."""
    earlier = newest_evening(parts.journal, done.session)
    if earlier is not None and earlier.evening_id() == done.evening_id():
        return False
    source = {
        "session": done.session.isoformat(),
        "evening_id": done.evening_id(),
        "store_version": features.store_version,
        "features_key": features.key,
    }
    parts.journal.append(SOURCE_KIND, source, at_us=parts.clock.now_us())
    parts.journal.append(EVENING_KIND, done.payload(), at_us=parts.clock.now_us())
    return True


def _disk_notes(parts: Parts) -> list[str]:
    """Say that the disk fills, where it will before the setting's days are over."""
    folders = (parts.home.predictions, parts.home.signals, parts.home.models)
    note = forecast(parts.store, folders, parts.clock.now_us()).note(parts.settings.data.disk_days_min)
    return [] if note is None else [note]


def _check_closed(parts: Parts, as_of: date) -> None:
    closes_us = parts.calendar.session(as_of).close_us
    if parts.clock.now_us() < closes_us:
        raise FixData(f"the session of {as_of} has not closed yet.", way_out="Run the evening after the close.")


async def _pulled(parts: Parts, as_of: date, mails: Mails) -> list[str]:
    """Pull; where the vendor refuses, go on with what the store holds and say so."""
    if parts.pull is None:
        return []
    try:
        missing = await parts.pull((), as_of)
    except CheckVendor as error:
        mails.less(DoneLess(f"the pull failed, ranked on what was there: {error.message}", way_out=error.way_out))
        return [f"the pull failed: {error.message}"]
    if missing:
        mails.less(
            DoneLess(
                f"{len(missing)} symbols or rows did not come: {missing[0]}", way_out=f"bft evening --as-of {as_of}"
            )
        )
    return list(missing)
