"""Models on disk: what is published comes back as it was, and nothing damaged, foreign or of the future is ever used."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from bar_fly_trading.errors import FreeDisk, TrainModel
from bar_fly_trading.files import sha256_bytes
from bar_fly_trading.stockformer import registry
from bar_fly_trading.stockformer.__main__ import command
from bar_fly_trading.stockformer.inputs import INPUTS, inputs_hash
from bar_fly_trading.stockformer.network import Network, NetworkConfig, Statistics

DAY = date(2021, 4, 16)
SHAPE = NetworkConfig(inputs=len(INPUTS), width=8, layers=1, heads=2)
# What is not [horizon] in the statistics.
SHAPES: dict[str, tuple[int, ...]] = {
    "input_mean": (len(INPUTS),),
    "input_std": (len(INPUTS),),
    "bucket_edges": (3, 4),
    "bucket_log_probability": (3, 5),
    "interval": (3, 2),
    "market_bounds": (3, 2),
    "excess_bounds": (3, 2),
}


def statistics() -> Statistics:
    """Make statistics of random numbers in the right shapes."""
    return Statistics(**{name: torch.rand(SHAPES.get(name, (3,))) + 0.5 for name in Statistics.__slots__})


def publish(root: Path, *, as_of: date = DAY, seed: int = 1) -> registry.Card:
    """Publish an untrained network of the seed's weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, numbers = Network(SHAPE), statistics()
    shape = asdict(SHAPE)
    weights = registry.weights_bytes(network, numbers, registry.bound_facts(as_of, shape, seed))
    digest = sha256_bytes(weights)
    card = registry.Card(
        model_id=registry.model_id(as_of, digest),
        weights_sha256=digest,
        as_of=as_of,
        trained_at_us=1_618_600_000_000_000,
        code_version="0.1.0",
        torch_version=torch.__version__,
        device="cpu",
        seed=seed,
        network=shape,
        inputs=tuple(INPUTS),
        inputs_hash=inputs_hash(),
        data_hash="0" * 64,
        sessions={"training_first": "2008-01-02"},
        samples=1000,
        steps=10,
        seconds=1.5,
        stopped="steps",
        scores={"3d": {"ic": None}},
    )
    registry.publish(card, weights, root)
    return card


def test_a_published_model_is_the_active_one_and_loads_as_it_was(tmp_path: Path) -> None:
    """Card, weights and statistics come back equal, from the registry, the folder and the weights file alike."""
    first, second = publish(tmp_path, seed=1), publish(tmp_path, seed=2)
    assert first.model_id != second.model_id
    assert registry.load_active(tmp_path, as_of=DAY).card == second
    folder = tmp_path / first.model_id
    a, b = registry.load(folder), registry.load(folder / "model.safetensors")
    assert a.card == b.card == first
    windows = torch.rand(5, 32 * len(INPUTS))
    assert torch.equal(a.network(windows), b.network(windows))
    assert all(torch.equal(t, b.statistics.tensors()[name]) for name, t in a.statistics.tensors().items())
    assert not a.network.training


def test_loading_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    """A network built to be filled from a file draws no number that others would have drawn."""
    publish(tmp_path)
    state = torch.random.get_rng_state()
    registry.load_active(tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_same_numbers_are_the_same_file(tmp_path: Path) -> None:
    """Publishing the same weights twice gives the same id and the same bytes."""
    first = publish(tmp_path / "a")
    again = publish(tmp_path / "b")
    assert first == again


def _flip(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(bytes(data))


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _card(folder: Path, **changes: object) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _reweigh(folder: Path, weights: bytes) -> None:
    """Exchange the weights and forge the hash, folder and id to fit."""
    digest = sha256_bytes(weights)
    (folder / "model.safetensors").write_bytes(weights)
    _card(folder, weights_sha256=digest, model_id=registry.model_id(DAY, digest))


def _poison(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    tensors = load(data)
    tensors["heads.bias"][0] = float("nan")
    _reweigh(folder, save(tensors, metadata=registry.bound_facts(DAY, asdict(SHAPE), 1)))


def _lose_a_tensor(folder: Path) -> None:
    tensors = load((folder / "model.safetensors").read_bytes())
    del tensors["statistics.margin"]
    _reweigh(folder, save(tensors, metadata=registry.bound_facts(DAY, asdict(SHAPE), 1)))


def _pickle(folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return (Path.touch, (Path(folder / "sprung"),))  # type: ignore[return-value]

    _reweigh(folder, pickle.dumps(Trap()))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_flip, "SHA-256 differs"),
        (_cut, "SHA-256 differs"),
        (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors cannot be read"),
        (lambda f: (f / "card.json").unlink(), r"card\.json cannot be read"),
        (lambda f: (f / "card.json").write_text("{"), "is no model card"),
        (lambda f: (f / "card.json").write_text("[1]"), "is no model card"),
        (lambda f: _card(f, schema=9), "has schema 9, this version reads 1"),
        (lambda f: _card(f, inputs_hash="f" * 64), "reads other inputs"),
        (lambda f: _card(f, as_of="2021-04-15"), "SHA-256 differs"),
        (lambda f: _card(f, seed=2), "disagree on how it was made"),
        (lambda f: _card(f, network=asdict(SHAPE) | {"layers": 2}), "disagree on how it was made"),
        (lambda f: _card(f, weights_sha256="0" * 64), "SHA-256 differs"),
        (_poison, "weights that are not finite"),
        (_lose_a_tensor, "does not fit its card"),
        (_pickle, "is no safetensors file"),
    ],
)
def test_damage_is_refused_by_name(tmp_path: Path, damage: Callable[[Path], object], said: str) -> None:
    """Each kind of damage, forged hashes included, ends in TrainModel; a pickle is never opened."""
    folder = tmp_path / publish(tmp_path).model_id
    registry.load_active(tmp_path)
    damage(folder)
    with pytest.raises(TrainModel, match=said):
        registry.load_active(tmp_path)
    assert not (folder / "sprung").exists()


def test_a_model_that_knows_the_future_is_refused(tmp_path: Path) -> None:
    """A model of a later day than asked is refused; of the same day it is not."""
    publish(tmp_path)
    assert registry.load_active(tmp_path, as_of=DAY).card.as_of == DAY
    with pytest.raises(TrainModel, match="trained on data up to 2021-04-16, after 2021-04-15"):
        registry.load_active(tmp_path, as_of=DAY - timedelta(1))


@pytest.mark.parametrize("name", ["", "../elsewhere", ".hidden", "a/b"])
def test_a_pointer_leads_to_a_name_in_the_registry_only(tmp_path: Path, name: str) -> None:
    """ACTIVE with a path in it leads nowhere."""
    publish(tmp_path)
    (tmp_path / "ACTIVE").write_text(name)
    with pytest.raises(TrainModel, match="ACTIVE names no model"):
        registry.load_active(tmp_path)


def test_no_model_says_how_to_get_one(tmp_path: Path) -> None:
    """An empty home names the command that trains."""
    with pytest.raises(TrainModel, match=r"No model: .*ACTIVE cannot be read.*bft train"):
        registry.load_active(tmp_path)


def test_a_disk_that_refuses_leaves_the_previous_model_active(tmp_path: Path) -> None:
    """A publish that cannot write its folder ends in FreeDisk, and what was active still loads."""
    before = publish(tmp_path)
    other = publish(tmp_path / "elsewhere", seed=2)
    (tmp_path / other.model_id).write_text("a file where the folder should go")
    with pytest.raises(FreeDisk):
        publish(tmp_path, seed=2)
    assert registry.load_active(tmp_path).card == before


def test_training_is_due_after_a_week_and_when_there_is_no_usable_model(tmp_path: Path) -> None:
    """Due: none, seven days old, of the future, of other inputs, or damaged; not due: six days old."""
    assert registry.train_due(tmp_path, DAY)
    folder = tmp_path / publish(tmp_path).model_id
    ages = {0: False, 6: False, 7: True, 30: True, -1: True}
    assert {age: registry.train_due(tmp_path, DAY + timedelta(age)) for age in ages} == ages
    assert not registry.train_due(tmp_path, DAY + timedelta(9), days=10)
    _card(folder, inputs_hash="f" * 64)
    assert registry.train_due(tmp_path, DAY)
    (folder / "card.json").write_text("")
    assert registry.train_due(tmp_path, DAY)


def test_a_card_is_plain_json_without_nan(tmp_path: Path) -> None:
    """The card is readable JSON with the weights' real hash in it, and a NaN score cannot get into one."""
    card = publish(tmp_path)
    folder = tmp_path / card.model_id
    raw = json.loads((folder / "card.json").read_text())
    assert raw["weights_sha256"] == sha256_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="Out of range float"):
        dataclasses.replace(card, scores={"ic": float("nan")}).to_json()


def test_the_second_door_asks_the_same_command() -> None:
    """`python -m bar_fly_trading.stockformer --train --minutes 3` is `bft train --minutes 3`; without it, `bft predict`."""
    assert command(["--train", "--minutes", "3"]) == ["train", "--minutes", "3"]
    assert command(["--as-of", "2021-04-20"]) == ["predict", "--as-of", "2021-04-20"]


def test_the_second_door_opens_on_the_same_room(tmp_path: Path) -> None:
    """The module runs the real command line: what it says and how it ends are those of `bft train`."""
    second = [sys.executable, "-m", "bar_fly_trading.stockformer", "--train", "--help"]
    first = [
        sys.executable,
        "-c",
        "import sys; from bar_fly_trading.cli import main; sys.exit(main(['train', '--help']))",
    ]
    runs = [subprocess.run(w, capture_output=True, text=True, check=False, cwd=tmp_path) for w in (first, second)]
    told = [(run.returncode, run.stdout, run.stderr) for run in runs]
    assert told[0] == told[1]
    assert "Traceback" not in runs[1].stderr
    assert "train" in runs[1].stdout + runs[1].stderr
