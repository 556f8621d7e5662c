"""stockformer end to end on real files and a small synthetic market: nothing of the future, nothing by chance, nothing half done."""

from __future__ import annotations

import dataclasses
import time
from datetime import date, timedelta
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from bar_fly_trading.errors import FixData, FixSettings, TrainModel
from bar_fly_trading.features.table import build
from bar_fly_trading.stockformer import registry
from bar_fly_trading.stockformer.evaluation import Sample, score
from bar_fly_trading.stockformer.inputs import INPUTS
from bar_fly_trading.stockformer.network import OUTPUTS, NetworkConfig, decode
from bar_fly_trading.stockformer.optimiser import AdamW
from bar_fly_trading.stockformer.prediction import predict, predict_sessions
from bar_fly_trading.stockformer.split import label, samples, split_sessions, statistics_of
from bar_fly_trading.stockformer.training import Progress, TrainingConfig, TrainingReport, train
from bar_fly_trading.stockformer.windows import panel

SYMBOLS, SESSIONS = 6, 560
TINY = TrainingConfig(
    network=NetworkConfig(inputs=len(INPUTS), width=8, layers=1, heads=2, patch=8),
    batch=64,
    check_steps_min=5,
    check_steps_max=5,
    validation_rows_max=200,
    test_rows_max=200,
)
PRICES = (
    *(
        "chained_open",
        "chained_high",
        "chained_low",
        "chained_close",
        "sma_20",
        "sma_50",
        "sma_200",
        "ema_20",
        "ema_50",
        "ema_200",
    ),
    *(
        "macd",
        "macd_9_ema",
        "atr_14",
        "bbands_upper_20",
        "bbands_middle_20",
        "bbands_lower_20",
        "high_52_week",
        "low_52_week",
    ),
)


@cache
def features() -> pl.DataFrame:
    """Build the feature table of six random walks over 560 weekdays; the last, S5, lacks one bar of the newest month."""
    random = np.random.default_rng(11)
    days = [d for d in (date(2018, 1, 1) + timedelta(i) for i in range(800)) if d.weekday() < 5][:SESSIONS]
    frames = []
    for i in range(SYMBOLS):
        close = 50 * np.exp(np.cumsum(random.normal(0.0005, 0.02, SESSIONS)))
        opened = close * np.exp(random.normal(0, 0.005, SESSIONS))
        high, low = np.maximum(opened, close) * 1.01, np.minimum(opened, close) * 0.99
        frames.append(
            pl.DataFrame(
                {
                    "instrument_id": f"us:S{i}",
                    "session": days,
                    "open": opened,
                    "high": high,
                    "low": low,
                    "close": close,
                    "adjusted_close": close,
                    "volume": random.integers(1_000_000, 9_000_000, SESSIONS),
                    "dividend_amount": 0.0,
                    "split_coefficient": 1.0,
                }
            )
        )
    bars = pl.concat(frames).filter(~((pl.col("instrument_id") == "us:S5") & (pl.col("session") == days[-10])))
    return build(bars, {f"us:S{i}": f"S{i}" for i in range(SYMBOLS)})


NEWEST = date(2018, 1, 1) + timedelta(7 * (SESSIONS // 5) - 3)


def trained(root: Path, table: pl.DataFrame | None = None, **changes: object) -> TrainingReport:
    """Train the tiny network for a few steps."""
    asked: dict[str, object] = {"as_of": NEWEST, "steps": 10, "seed": 3, "config": TINY, "monotonic": time.monotonic}
    return train(features() if table is None else table, models_root=root, **(asked | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> registry.Checkpoint:
    """Train once for the tests that only predict."""
    root = tmp_path_factory.mktemp("models")
    trained(root)
    return registry.load_active(root, as_of=NEWEST)


def test_the_newest_session_is_the_tables() -> None:
    """The day the other tests call newest is the newest of the table they use."""
    assert features()["session"].max() == NEWEST


def test_each_input_is_the_same_without_tomorrow_and_without_the_dollar() -> None:
    """Deleting the future changes no input of the past, and multiplying every price by seven changes none at all."""
    whole = panel(features(), as_of=NEWEST)
    cut = panel(features(), as_of=whole.sessions[-40])
    assert torch.equal(torch.nan_to_num(whole.values()[:-39], nan=9.0), torch.nan_to_num(cut.values(), nan=9.0))
    assert (whole.complete[:-39] == cut.complete).all()
    dear = panel(features().with_columns(pl.col(PRICES) * 7.0), as_of=NEWEST)
    torch.testing.assert_close(dear.flat, whole.flat, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_every_input_is_defined_and_moves_in_a_healthy_table() -> None:
    """No input is silently empty or constant at the newest sessions of complete instruments."""
    view = panel(features(), as_of=NEWEST)
    last = view.values()[-30:, :5]
    assert view.flat.shape == (SYMBOLS * SESSIONS, len(INPUTS))
    assert torch.isfinite(last).all()
    assert (last.flatten(0, 1).std(dim=0) > 0).all()


def test_a_trimmed_view_gives_the_windows_of_the_whole_one() -> None:
    """Laying out only the newest sessions, as a daily prediction does, changes no window."""
    whole, short = panel(features(), as_of=NEWEST), panel(features(), as_of=NEWEST, newest=3)
    assert len(short.sessions) == 32 + 2 + 20
    for back in (1, 2, 3):
        rows = [view.ends([len(view.sessions) - back]) - 31 for view in (whole, short)]
        assert torch.equal(*(v.windows()[torch.from_numpy(r)] for v, r in zip((whole, short), rows, strict=True)))


def test_no_training_label_reaches_validation_and_no_validation_label_the_test() -> None:
    """Garbage closes from the first validation session on leave every training label as it was."""
    view = panel(features(), as_of=NEWEST)
    split = split_sessions(view)
    assert split.training[1] + 30 < split.validation[0]
    assert split.validation[1] + 30 < split.test[0]
    assert split.test[1] + 30 == SESSIONS - 1
    before = samples(view, label(view, split), split.training)
    view.close[split.validation[0] :] *= np.linspace(5, 90, SESSIONS - split.validation[0])[:, None]
    after = samples(view, label(view, split), split.training)
    assert torch.equal(before.returns, after.returns)
    assert torch.equal(before.market, after.market)
    assert len(before) > 200


def test_rows_after_the_day_change_not_one_bit_of_the_weights(tmp_path: Path) -> None:
    """Training as of a day is the same on the table cut there, on the whole table, and with garbage after the day."""
    day = features()["session"].unique().sort()[-30]
    after = pl.col("session") > day
    garbage = features().with_columns(pl.when(after).then(999999.0).otherwise(pl.col(PRICES)).name.keep())
    tables = (features().filter(~after), features(), garbage)
    cards = [trained(tmp_path / str(i), table, as_of=day).card for i, table in enumerate(tables)]
    assert len({card.weights_sha256 for card in cards}) == 1
    assert len({card.data_hash for card in cards}) == 1


def test_garbage_before_the_day_does_change_them(tmp_path: Path) -> None:
    """The check above can fail: the same garbage inside the view gives other weights."""
    day = features()["session"].unique().sort()[-1]
    garbage = features().with_columns(
        pl.when(pl.col("session") == day).then(60.0).otherwise(pl.col("chained_close")).alias("chained_close")
    )
    assert trained(tmp_path / "a").card.data_hash != trained(tmp_path / "b", garbage).card.data_hash


def test_steps_and_seed_give_the_same_weights_whatever_the_rows_order(tmp_path: Path) -> None:
    """Two trainings with one seed are equal bit for bit, shuffled rows or not; another seed differs; global state is untouched."""
    torch.manual_seed(77)
    state = torch.random.get_rng_state()
    shuffled = features().sample(fraction=1.0, shuffle=True, seed=8)
    first, again, other = (
        trained(tmp_path / "a").card,
        trained(tmp_path / "b", shuffled).card,
        trained(tmp_path / "c", seed=4).card,
    )
    assert first.weights_sha256 == again.weights_sha256
    assert first.scores == again.scores
    assert first.weights_sha256 != other.weights_sha256
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_deterministic_debug_mode() == 0


def test_a_budget_of_time_holds_preparation_training_and_scores(tmp_path: Path) -> None:
    """On a clock that loses half a second at each look, training is over, scores and all, within its two minutes."""
    ticks = count(100.0, 0.5)
    told: list[Progress] = []
    config = dataclasses.replace(TINY, patience_checks=10_000)
    report = trained(
        tmp_path, minutes=2, steps=None, config=config, monotonic=lambda: next(ticks), progress=told.append
    )
    assert report.card.stopped == "budget"
    assert 90 < report.seconds <= 120
    assert report.card.steps > 20
    assert told[0].step == 0
    assert told[-1].share == 1.0
    assert [p.elapsed_s for p in told] == sorted(p.elapsed_s for p in told)


def test_a_budget_in_real_time_ends_in_real_time(tmp_path: Path) -> None:
    """Three seconds are not ignored: a training that would never stop early ends about then, on a busy machine too."""
    began = time.monotonic()
    report = trained(tmp_path, minutes=0.05, steps=None, config=dataclasses.replace(TINY, patience_checks=10_000))
    assert report.card.stopped == "budget"
    assert time.monotonic() - began < 6


def test_a_budget_that_ends_before_the_first_step_keeps_the_previous_model(tmp_path: Path) -> None:
    """A training without time to train publishes nothing and says what took the time."""
    before = trained(tmp_path).card.model_id
    ticks = count(0.0, 30.0)
    with pytest.raises(TrainModel, match="before the first step: preparing took"):
        trained(tmp_path, minutes=0.5, steps=None, monotonic=lambda: next(ticks))
    assert registry.load_active(tmp_path).card.model_id == before


@pytest.mark.parametrize(
    ("name", "value"), [("minutes", 0.0), ("minutes", -1.0), ("minutes", float("nan")), ("steps", 0)]
)
def test_a_budget_of_nothing_is_a_wrong_setting(tmp_path: Path, name: str, value: float) -> None:
    """Zero, negative and NaN budgets are refused before any work."""
    with pytest.raises(FixSettings, match="is none"):
        trained(tmp_path, None, **{name: value})


def test_training_ends_early_when_validation_gets_no_better(tmp_path: Path) -> None:
    """On noise, patience of two checks ends a training long before its steps, and keeps the best weights seen."""
    told: list[Progress] = []
    config = dataclasses.replace(TINY, patience_checks=2, learning_rate=0.03)
    card = trained(tmp_path, steps=5000, config=config, progress=told.append).card
    assert card.stopped == "early"
    assert card.steps < 1000
    assert told[-1].best_validation_loss == min(p.validation_loss for p in told[1:])
    assert card.scores["validation_loss"] == pytest.approx(told[-1].best_validation_loss, abs=0.02)


def test_weights_that_come_apart_keep_the_previous_model(tmp_path: Path) -> None:
    """A loss of NaN or infinity ends in TrainModel; the active model is the one before and still loads."""
    before = trained(tmp_path).card.model_id
    with pytest.raises(TrainModel, match=r"loss became (nan|inf)"):
        trained(tmp_path, steps=60, config=dataclasses.replace(TINY, learning_rate=1e30, warmup_steps=1))
    assert registry.load_active(tmp_path).card.model_id == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([before, "ACTIVE"])


def test_a_table_of_nan_keeps_the_previous_model(tmp_path: Path) -> None:
    """Inputs that are NaN or infinite everywhere are no windows, not zeros."""
    before = trained(tmp_path).card.model_id
    for poison in (float("nan"), float("inf")):
        with pytest.raises(TrainModel, match="No symbol has 32 sessions"):
            trained(tmp_path, features().with_columns(atr_14=pl.lit(poison)))
    assert registry.load_active(tmp_path).card.model_id == before


def test_one_mad_price_does_not_lead_the_forecast(tmp_path: Path) -> None:
    """A close of 999999 in the training sessions leaves the predictions at the size of stock returns."""
    day = features()["session"].unique().sort()[330]
    mad = (pl.col("session") == day) & (pl.col("symbol") == "S2")
    table = features().with_columns(
        pl.when(mad).then(999999.0).otherwise(pl.col("chained_close")).alias("chained_close")
    )
    trained(tmp_path, table)
    rows = predict(features(), registry.load_active(tmp_path), session=NEWEST)
    assert rows["return_30d"].abs().max() < 0.3  # type: ignore[operator]


def test_too_little_history_says_how_much_is_needed(tmp_path: Path) -> None:
    """300 sessions end in the numbers there are and the numbers needed."""
    days = features()["session"].unique().sort()
    with pytest.raises(TrainModel, match=r"300 sessions of features.*about 4\d\d sessions are needed"):
        trained(tmp_path, as_of=days[299])
    with pytest.raises(TrainModel, match="No symbol has 32 sessions"):
        trained(tmp_path, as_of=days[100])
    with pytest.raises(FixData, match="no row up to 2001-01-01"):
        trained(tmp_path, as_of=date(2001, 1, 1))


def test_every_eligible_symbol_of_the_newest_session_is_predicted(model: registry.Checkpoint) -> None:
    """Five of six: the one with a missing bar inside its window is left out, nobody else, and the day is the newest."""
    rows = predict(features(), model, session=NEWEST)
    assert rows["symbol"].to_list() == ["S0", "S1", "S2", "S3", "S4"]
    assert rows["session"].unique().to_list() == [NEWEST]
    assert rows["model_id"].unique().to_list() == [model.card.model_id]


def test_a_prediction_reads_nothing_after_its_session(tmp_path: Path) -> None:
    """A past session predicted from the whole table, from the cut one and together with others is the same to the bit."""
    days = features()["session"].unique().sort()
    day = days[-12]
    trained(tmp_path, as_of=days[-15])
    checkpoint = registry.load_active(tmp_path)
    cut = predict(features().filter(pl.col("session") <= day), checkpoint, session=day)
    assert predict(features(), checkpoint, session=day).equals(cut)
    together = predict_sessions(features(), checkpoint, sessions=(days[-13], day, NEWEST))
    assert together[day].equals(cut)
    assert cut.height == SYMBOLS
    assert together[NEWEST].equals(predict(features(), checkpoint, session=NEWEST))


def test_a_model_of_a_later_day_is_refused_for_an_earlier_one(model: registry.Checkpoint) -> None:
    """Predicting a session before the model's day would know the future."""
    with pytest.raises(TrainModel, match="would know the future"):
        predict(features(), model, session=NEWEST - timedelta(1))


def test_a_session_that_the_table_lacks_is_refused(model: registry.Checkpoint) -> None:
    """A stale table predicts nothing instead of yesterday."""
    with pytest.raises(FixData, match=f"no row of {NEWEST + timedelta(3)}; it reaches {NEWEST}"):
        predict(features(), model, session=NEWEST + timedelta(3))
    few = features().filter(pl.col("session") > NEWEST - timedelta(20))
    with pytest.raises(FixData, match="No symbol has 32 sessions"):
        predict(few, model, session=NEWEST)


def test_an_untrained_network_predicts_the_training_means() -> None:
    """Outputs of zero decode to mean return, base rate, fifths and the 80 % interval of the training set."""
    view = panel(features(), as_of=NEWEST)
    split = split_sessions(view)
    sample = samples(view, label(view, split), split.training)
    forecast = decode(torch.zeros(1, 3, OUTPUTS), statistics_of(view, sample))
    returns = sample.returns
    torch.testing.assert_close(forecast.market[0], returns.mean(dim=0), rtol=0.05, atol=1e-3)
    torch.testing.assert_close(forecast.rise[0], (returns > 0).float().mean(dim=0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(forecast.buckets[0], torch.full((3, 5), 0.2), rtol=0.02, atol=0.0)
    inside = ((returns > forecast.low[0]) & (returns < forecast.high[0])).float().mean(dim=0)
    torch.testing.assert_close(inside, torch.full((3,), 0.8), rtol=0.01, atol=0.0)


def test_the_optimiser_is_torchs_adamw() -> None:
    """Twenty steps on the same gradients, some of them clipped, end at the weights of torch's AdamW with its own clipping."""
    ours, theirs = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    peer = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    mine = AdamW(ours, weight_decay=0.1, norm_max=1.0)
    for step in range(20):
        inputs = torch.randn(8, 4) * (step % 5)
        for network in (ours, theirs):
            torch.autograd.backward(network(inputs).square().mean())
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        mine.step(0.01)
        peer.step()
        peer.zero_grad()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.bias, theirs.bias, rtol=1e-5, atol=1e-6)


def test_scores_tell_foresight_from_its_opposite() -> None:
    """Forecasts equal to what came have rank correlation 1, their negatives -1, and constants none at all."""
    view = panel(features(), as_of=NEWEST)
    split = split_sessions(view)
    statistics = statistics_of(view, samples(view, label(view, split), split.training))
    test = samples(view, label(view, split), split.test)
    assert isinstance(test, Sample)
    excess = (test.returns - test.market) / statistics.excess_std
    for factor, ic in ((1.0, 1.0), (-1.0, -1.0), (0.0, None)):
        outputs = torch.zeros(len(test), 3, OUTPUTS)
        outputs[..., 1] = factor * excess
        result = score(outputs, test, statistics)
        assert [r.ic if r.ic is None else round(r.ic, 6) for r in result] == [ic] * 3
        assert [r.horizon for r in result] == [3, 10, 30]
    assert result[0].mse_training_mean == pytest.approx(result[0].mse, rel=0.2)


def test_the_card_says_how_it_was_made_and_what_it_reached(model: registry.Checkpoint) -> None:
    """The card of a trained model names its day, data, split, budget and out-of-sample scores."""
    card = model.card
    assert (card.as_of, card.seed, card.steps, card.stopped) == (NEWEST, 3, 10, "steps")
    assert card.sessions["training_last"] < card.sessions["validation_first"] < card.sessions["test_first"]
    assert card.inputs == tuple(INPUTS)
    for horizon in ("3d", "10d", "30d"):
        assert -1 <= card.scores[horizon]["ic"] <= 1
        assert card.scores[horizon]["mse_zero"] > 0
        assert 0.3 < card.scores[horizon]["coverage"] <= 1
    assert card.scores["test_loss_untrained"] > 0
