"""Prediction: a checkpoint and a feature table to the prediction table of a session."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
import torch

from bar_fly_trading.errors import FixData, TrainModel
from bar_fly_trading.stockformer.network import decode, infer, settle, threads
from bar_fly_trading.stockformer.predictions import BUCKETS, DECIMALS, HORIZONS, PREDICTION_SCHEMA, check
from bar_fly_trading.stockformer.registry import Checkpoint
from bar_fly_trading.stockformer.windows import Panel, panel


def predict(features: pl.DataFrame, checkpoint: Checkpoint, *, session: date) -> pl.DataFrame:
    """Predict every eligible instrument at one session: those whose last 32 sessions have every input defined.

    Reads rows up to `session` alone. FixData where the table does not reach the session or no instrument is eligible; TrainModel
    where the model was trained on later data. Returned as `predictions.PREDICTION_SCHEMA`, sorted by instrument, rounded to a
    millionth so that the last bits of float32 stay out of files.
    """
    return predict_sessions(features, checkpoint, sessions=(session,))[session]


def predict_sessions(
    features: pl.DataFrame, checkpoint: Checkpoint, *, sessions: Sequence[date]
) -> dict[date, pl.DataFrame]:
    """Predict several sessions, each as `predict` would, laying the features out once; errors as `predict`."""
    card = checkpoint.card
    early = [day for day in sessions if day < card.as_of]
    if early:
        raise TrainModel(
            f"Model {card.model_id} was trained on data up to {card.as_of}, after {min(early)}: it would know the future.",
            way_out=f"Train one for that day: bft train --as-of {min(early)}.",
        )
    if not sessions:
        return {}
    days = features.select(pl.col("session").filter(pl.col("session") <= max(sessions)).unique().sort()).to_series()
    absent = sorted(set(sessions) - set(days.to_list()))
    if absent:
        newest = days[-1] if len(days) else "nothing"
        raise FixData(
            f"The feature table has no row of {absent[0]}; it reaches {newest}.",
            way_out="Run: bft pull, then bft features.",
        )
    newest_sessions = int((days >= min(sessions)).sum())
    view = panel(features, as_of=max(sessions), window=checkpoint.network.config.window, newest=newest_sessions)
    position = {day: i for i, day in enumerate(view.sessions)}
    # In place: this panel is nobody else's.
    checkpoint.statistics.normalise_in_place(view.flat)
    with threads(1):
        return {day: _table(features, view, position[day], checkpoint) for day in sessions}


def _table(features: pl.DataFrame, view: Panel, at: int, checkpoint: Checkpoint) -> pl.DataFrame:
    """Predict one session from a panel of normalised inputs."""
    ends = view.ends([at])
    session = view.sessions[at]
    if not ends.size:
        raise FixData(
            f"No symbol has {view.window} sessions of defined features in a row up to {session}.",
            way_out="Pull or import more history: about 290 sessions are needed.",
        )
    rows = torch.from_numpy(ends - (view.window - 1))
    forecast = decode(infer(checkpoint.network, view.windows(), rows), checkpoint.statistics)
    returns, excess = settle(forecast, torch.zeros(len(rows), dtype=torch.int64))
    _, instruments = view.place(ends)
    columns: dict[str, object] = {"instrument_id": [view.instrument_ids[i] for i in instruments]}
    for i, horizon in enumerate(HORIZONS):
        end = f"{horizon}d"
        columns |= {
            f"return_{end}": _rounded(returns[:, i]),
            f"excess_{end}": _rounded(excess[:, i]),
            f"probability_rise_{end}": _rounded(forecast.rise[:, i]),
            f"bucket_{end}": forecast.buckets[:, i].argmax(dim=1).to(torch.int8).numpy(),
            **{f"bucket_probability_{end}_{b}": _rounded(forecast.buckets[:, i, b]) for b in range(BUCKETS)},
            f"return_low_{end}": _rounded(forecast.low[:, i]),
            f"return_high_{end}": _rounded(forecast.high[:, i]),
        }
    symbols = features.lazy().filter(pl.col("session") == session).select("instrument_id", "symbol").collect()
    table = pl.DataFrame(columns).join(symbols, on="instrument_id", how="left", maintain_order="left")
    table = table.with_columns(session=pl.lit(session), model_id=pl.lit(checkpoint.card.model_id))
    return check(table.select(pl.col(name).cast(kind) for name, kind in PREDICTION_SCHEMA.items()))


def _rounded(values: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    # Adding zero turns -0.0 into 0.0, which files would show.
    return np.asarray(np.round(values.double().numpy(), DECIMALS) + 0.0, dtype=np.float64)
