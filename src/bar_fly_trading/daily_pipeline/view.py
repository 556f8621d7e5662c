"""From the store to what strategies see: usable bars, the feature table (made once a version), predictions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from bar_fly_trading.daily_pipeline.parts import Parts
from bar_fly_trading.daily_pipeline.universe import expected_at
from bar_fly_trading.data.table_files import SUMS_SUFFIX, publish_sums, publish_table, sums_agree
from bar_fly_trading.data.validate import JudgeRules, Verdict, everything_found, judge
from bar_fly_trading.data.views import load_bars, load_facts, load_instruments, load_sectors
from bar_fly_trading.errors import FixData, TrainModel
from bar_fly_trading.facts.instruments import Instruments
from bar_fly_trading.facts.sessions import evening_us
from bar_fly_trading.features.table import build, schema_hash
from bar_fly_trading.settings import universe_rule
from bar_fly_trading.strategies.signal import Holding, MarketView
from bar_fly_trading.trading.plan import canonical_bytes

# Sessions a day's view reaches back: the model's window and the ranker's returns, with room.
VIEW_SESSIONS = 80
FEATURE_FILES_KEPT = 3


@dataclass(frozen=True, slots=True)
class Features:
    """One published feature table: its file, its key, and the instruments kept out of it, each with the reason."""

    path: Path
    key: str
    store_version: str
    excluded: tuple[tuple[str, str], ...]
    reused: bool
    rows: int

    def read(self, first: date | None = None, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the table, from session `first` on; `columns`: only these of it."""
        scan = pl.scan_parquet(self.path)
        if first is not None:
            scan = scan.filter(pl.col("session") >= first)
        return (scan if columns is None else scan.select(columns)).collect()


def newest_session(parts: Parts) -> date:
    """Return the newest session for which the store holds any bar; FixData where it holds none."""
    newest = load_bars(parts.store)["session"].max()
    if not isinstance(newest, date):
        raise FixData("The store holds no bars.", way_out="Run bft pull, or bft import bars FILE.")
    return newest


def features_at(parts: Parts, as_of: date) -> Features:
    """Return the feature table of everything known by the evening of `as_of`, built where it is not there yet.

    FixData where no instrument may be used at that session, or too few of those expected, with the commonest reasons.
    """
    version = parts.store.current()
    if version is None:
        raise FixData("The store is empty.", way_out="Run bft pull, or bft import bars FILE, first.")
    wanted = expected_at(parts.store, universe_rule(parts.settings, parts.home), as_of)
    identity = {
        "store_version": version,
        "as_of": as_of,
        "schema": schema_hash(),
        "min_history_sessions": parts.settings.data.min_history_sessions,
        "suspect_sessions": parts.settings.data.suspect_sessions,
        "coverage_min": parts.settings.data.coverage_min,
        "closures": parts.settings.schedule.extra_closures,
        "universe": None if wanted is None else sorted(wanted),
    }
    key = hashlib.sha256(canonical_bytes(identity)).hexdigest()
    path = parts.home.features / f"{as_of}_{key[:16]}.parquet"
    excluded_path = path.with_suffix(".excluded.parquet")
    # A feature file that fails its checksum is made again: everything in it comes from the store.
    if sums_agree(path.with_suffix(SUMS_SUFFIX), (path, excluded_path)):
        excluded = tuple(pl.read_parquet(excluded_path).iter_rows())
        rows = pl.scan_parquet(path).select(pl.len()).collect().item()
        return Features(path, key, version, excluded, True, rows)
    known_by_us = evening_us(as_of)
    bars = load_bars(parts.store, known_by_us)
    verdict = judge(bars, as_of, parts.calendar, _judge_rules(parts), wanted=wanted)
    del bars
    good, excluded = verdict.bars, verdict.excluded
    if good.is_empty():
        raise FixData(
            f"no symbol can be used at {as_of}: {_commonest(excluded)}.", way_out="Run bft pull, or import newer bars."
        )
    if verdict.stop is not None:
        raise FixData(f"{verdict.stop}.", way_out="Look at bft validate, pull again, or lower data.coverage_min.")
    del verdict
    spells = parts.store.read("spells", known_by_us=known_by_us).select("instrument_id", "symbol", "start")
    table = build(good, spells, load_facts(parts.store, known_by_us))
    del good
    publish_table(excluded_path, _excluded_frame(excluded).write_parquet)
    publish_table(path, lambda temp: table.write_parquet(temp, compression="lz4"))
    publish_sums(path.with_suffix(SUMS_SUFFIX), (path, excluded_path))
    _prune(parts.home.features, keep=path)
    return Features(path, key, version, excluded, False, table.height)


def _judge_rules(parts: Parts) -> JudgeRules:
    data = parts.settings.data
    return JudgeRules(data.min_history_sessions, data.suspect_sessions, data.coverage_min)


def verdict_at(parts: Parts, as_of: date) -> tuple[Verdict, pl.DataFrame]:
    """Return what the evening of `as_of` may use, and all that is wrong or unlikely in the bars up to it, newest first.

    FixData where the store holds no bars of that time.
    """
    bars = load_bars(parts.store, evening_us(as_of)).filter(pl.col("session") <= as_of)
    wanted = expected_at(parts.store, universe_rule(parts.settings, parts.home), as_of)
    verdict = judge(bars, as_of, parts.calendar, _judge_rules(parts), wanted=wanted)
    return verdict, everything_found(bars, parts.calendar)


def say_written(parts: Parts, features: Features) -> None:
    """Say where a feature table was written, where it was."""
    if not features.reused:
        parts.say.line(f"features of {features.rows} rows: {features.path}")


def _excluded_frame(excluded: Sequence[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(
        {"instrument_id": [i for i, _ in excluded], "reason": [r for _, r in excluded]},
        schema={"instrument_id": pl.String, "reason": pl.String},
    )


def _commonest(excluded: Sequence[tuple[str, str]]) -> str:
    first = "; ".join(f"{instrument_id} {reason}" for instrument_id, reason in excluded[:3])
    return f"{len(excluded)} excluded ({first}{'; ...' if len(excluded) > 3 else ''})"


def _prune(folder: Path, keep: Path) -> None:
    """Drop the oldest feature files; each can be made again from the store."""
    files = sorted(
        (p for p in folder.glob("*.parquet") if not p.name.endswith(".excluded.parquet")),
        key=lambda p: p.stat().st_mtime_ns,
    )
    for path in files[:-FEATURE_FILES_KEPT]:
        if path != keep:
            path.unlink(missing_ok=True)
            path.with_suffix(".excluded.parquet").unlink(missing_ok=True)
            path.with_suffix(SUMS_SUFFIX).unlink(missing_ok=True)


def first_session(parts: Parts, as_of: date, holdings: Sequence[Holding]) -> date:
    """Return where a day's view begins: far enough for the model's window, and for the oldest holding's entry."""
    return min([parts.calendar.previous(as_of, VIEW_SESSIONS), *(h.entry_session for h in holdings)])


def predictions_at(
    parts: Parts, features: pl.DataFrame, as_of: date, model: Path | None
) -> tuple[pl.DataFrame | None, str | None]:
    """Return the predictions of the newest session and the model's id; (None, None) where no model was ever trained.

    Their files are written under `predictions/DATE`. TrainModel where a model is there but unusable, or `model` is.
    """
    from bar_fly_trading.stockformer import predictions as prediction_files
    from bar_fly_trading.stockformer.registry import ACTIVE_FILE, active_folder

    if model is None and not (parts.home.models / ACTIVE_FILE).exists():
        return None, None
    folder = model if model is not None else active_folder(parts.home.models)
    try:
        from bar_fly_trading.stockformer.prediction import predict
        from bar_fly_trading.stockformer.registry import load

        checkpoint = load(folder, as_of=as_of)
    except ImportError as error:
        raise TrainModel(
            f"a model is there, but torch cannot be imported ({error}).", way_out="Install requirements/torch.txt."
        ) from error
    table = predict(features, checkpoint, session=as_of)
    if table.is_empty():
        parts.say.line(f"model {checkpoint.card.model_id} predicts nothing: no symbol has a complete window at {as_of}")
        return table, checkpoint.card.model_id
    written = prediction_files.write_files(table, parts.home.predictions)
    parts.say.line(f"{table.height} predictions by model {checkpoint.card.model_id}: {written[-1].parent}")
    return table, checkpoint.card.model_id


def content_sha256(table: pl.DataFrame) -> str:
    """Return the sha256 of a table's names, types and values; equal tables have an equal one, however they were made."""
    digest = hashlib.sha256()
    for column in table.iter_columns():
        digest.update(f"{column.name} {column.dtype} {len(column)}\n".encode())
        digest.update(column.is_null().to_numpy().tobytes())
        if column.dtype == pl.String:
            digest.update("\0".join(column.fill_null("")).encode())
        else:
            digest.update(column.to_physical().fill_null(0).to_numpy().tobytes())
    return digest.hexdigest()


def market_view(
    parts: Parts, features: Features, as_of: date, holdings: Sequence[Holding], model: Path | None
) -> tuple[MarketView, dict[str, str], Instruments, str | None]:
    """Return the view strategies see, the sectors, the instruments, and the model's id."""
    known_by_us = evening_us(as_of)
    table = features.read(first_session(parts, as_of, holdings))
    predictions, model_id = predictions_at(parts, table, as_of, model)
    view = MarketView(as_of, table, predictions, features.excluded)
    return view, load_sectors(parts.store, known_by_us), load_instruments(parts.store, known_by_us), model_id
