"""Trained models on disk: `models/ID/model.safetensors` and `card.json`, and `models/ACTIVE`, which names the one in use.

A folder counts as a model once its card is there; the card is written after the weights and `ACTIVE` after both, each file whole
or absent. The weights' SHA-256 stands in the card and begins the id; what must not be exchanged apart from the weights (as-of day,
inputs, shape) stands in the weights file too. Only safetensors is read, never a pickle. torch is loaded by `load` alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bar_fly_trading.errors import TrainModel
from bar_fly_trading.files import publish_bytes, sha256_bytes
from bar_fly_trading.stockformer.inputs import inputs_hash

if TYPE_CHECKING:
    from bar_fly_trading.stockformer.network import Network, Statistics

WEIGHTS_FILE, CARD_FILE, ACTIVE_FILE = "model.safetensors", "card.json", "ACTIVE"
CARD_SCHEMA = 1
_KEY = "trained"
_WAY_OUT = "Train one: bft train."


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a model, to be judged by.

    `as_of`: no row after that session was read. `scores`: out of sample, see `evaluation`. `trained_at_us`: UTC microseconds, None
    where the caller gave no time. `stopped`: why training ended: "budget", "steps" or "early".
    """

    model_id: str
    weights_sha256: str
    as_of: date
    trained_at_us: int | None
    code_version: str
    torch_version: str
    device: str
    seed: int
    network: dict[str, int | float]
    inputs: tuple[str, ...]
    inputs_hash: str
    data_hash: str
    sessions: dict[str, str]
    samples: int
    steps: int
    seconds: float
    stopped: str
    scores: dict[str, Any]
    schema: int = CARD_SCHEMA

    def to_json(self) -> bytes:
        """Return the card as JSON, the same bytes for the same card."""
        text = json.dumps({**asdict(self), "as_of": f"{self.as_of}"}, indent=2, sort_keys=True, allow_nan=False)
        return f"{text}\n".encode()

    @classmethod
    def from_json(cls, data: bytes, path: Path) -> Card:
        """Read a card back; TrainModel, naming the file, where it is none of ours."""
        try:
            raw = json.loads(data)
            if raw.get("schema") != CARD_SCHEMA:
                raise TrainModel(
                    f"{path} has schema {raw.get('schema')}, this version reads {CARD_SCHEMA}.", way_out=_WAY_OUT
                )
            raw["as_of"], raw["inputs"] = date.fromisoformat(raw["as_of"]), tuple(raw["inputs"])
            return cls(**{field.name: raw[field.name] for field in fields(cls)})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TrainModel(f"{path} is no model card: {error!r}.", way_out=_WAY_OUT) from error


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model ready to predict: its card, network and statistics, on the CPU."""

    card: Card
    network: Network
    statistics: Statistics


def bound_facts(as_of: date, network: dict[str, int | float], seed: int) -> dict[str, str]:
    """Return what the weights file itself says of its making, as its one metadata entry."""
    facts = {"as_of": f"{as_of}", "inputs_hash": inputs_hash(), "network": network, "seed": seed}
    return {_KEY: json.dumps(facts, sort_keys=True)}


def model_id(as_of: date, weights_sha256: str) -> str:
    """Name a model by its day and the beginning of its weights' hash: the same training gives the same name."""
    return f"{as_of}-{weights_sha256[:12]}"


def publish(card: Card, weights: bytes, models_root: Path) -> Path:
    """Store a model, make it the active one, and return its folder; FreeDisk leaves the previous one active and whole."""
    folder = models_root / card.model_id
    publish_bytes(folder / WEIGHTS_FILE, weights)
    publish_bytes(folder / CARD_FILE, card.to_json())
    publish_bytes(models_root / ACTIVE_FILE, f"{card.model_id}\n".encode())
    return folder


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrainModel(f"No model: {path} cannot be read ({error.strerror}).", way_out=_WAY_OUT) from error


def active_folder(models_root: Path) -> Path:
    """Return the active model's folder; TrainModel where none was ever made or the pointer is damaged."""
    pointer = models_root / ACTIVE_FILE
    name = _read(pointer).decode("utf-8", "replace").strip()
    if not name or name != Path(name).name or name.startswith("."):
        raise TrainModel(f"{pointer} names no model: {name[:60]!r}.", way_out=_WAY_OUT)
    return models_root / name


def read_card(path: Path) -> Card:
    """Read the card of a model's folder (or of its weights file), without the weights and without torch."""
    folder = path.parent if path.name == WEIGHTS_FILE else path
    return Card.from_json(_read(folder / CARD_FILE), folder / CARD_FILE)


def train_due(models_root: Path, as_of: date, days: int = 7) -> bool:
    """Tell whether a training is due: no usable card, one of other inputs, one of a later day, or one `days` old or older."""
    try:
        card = read_card(active_folder(models_root))
    except TrainModel:
        return True
    age = (as_of - card.as_of).days
    return age >= days or age < 0 or card.inputs_hash != inputs_hash()


def load_active(models_root: Path, *, as_of: date | None = None) -> Checkpoint:
    """Load the active model for a session; TrainModel as `load`."""
    return load(active_folder(models_root), as_of=as_of)


def load(path: Path, *, as_of: date | None = None) -> Checkpoint:
    """Load a model from its folder or weights file.

    TrainModel where a file is missing or cut short, the weights' hash is not the card's, card and weights disagree, the inputs are
    not this version's, or the model was trained on data after `as_of` (None: not asked).
    """
    card = read_card(path)
    weights_path = (path.parent if path.name == WEIGHTS_FILE else path) / WEIGHTS_FILE
    weights = _read(weights_path)
    if sha256_bytes(weights) != card.weights_sha256 or card.model_id != model_id(card.as_of, card.weights_sha256):
        raise TrainModel(
            f"{weights_path} is not the file its card was written for (SHA-256 differs).", way_out=_WAY_OUT
        )
    if card.inputs_hash != inputs_hash():
        raise TrainModel(
            f"Model {card.model_id} reads other inputs than this version computes.", way_out="Train anew: bft train."
        )
    if as_of is not None and card.as_of > as_of:
        raise TrainModel(
            f"Model {card.model_id} was trained on data up to {card.as_of}, after {as_of}: it would know the future.",
            way_out=f"Train one for that day: bft train --as-of {as_of}.",
        )
    if _metadata(weights, weights_path) != bound_facts(card.as_of, card.network, card.seed):
        raise TrainModel(f"{weights_path} and its card disagree on how it was made.", way_out=_WAY_OUT)
    return _checkpoint(card, weights, weights_path)


def _metadata(weights: bytes, path: Path) -> dict[str, str]:
    """Read the free text in a safetensors file's header (eight bytes of length, then JSON)."""
    try:
        header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
        return dict(header.get("__metadata__", {}))
    except (ValueError, AttributeError) as error:
        raise TrainModel(f"{path} is no safetensors file.", way_out=_WAY_OUT) from error


def _checkpoint(card: Card, weights: bytes, path: Path) -> Checkpoint:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    from bar_fly_trading.stockformer.network import Network, NetworkConfig, Statistics

    try:
        tensors = load_tensors(weights)
        # A generator of its own: loading a model must not move the global one.
        with torch.random.fork_rng(devices=[]):
            network = Network(NetworkConfig(**card.network))  # type: ignore[arg-type]
        prefix = "statistics."
        statistics = Statistics(**{k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        network.load_state_dict({k: v for k, v in tensors.items() if not k.startswith(prefix)})
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        first = (str(error) or repr(error)).splitlines()[0]
        raise TrainModel(f"{path} does not fit its card: {first}", way_out=_WAY_OUT) from error
    if not all(math.isfinite(float(t.double().sum())) for t in tensors.values()):
        raise TrainModel(f"{path} holds weights that are not finite.", way_out=_WAY_OUT)
    network.eval()
    return Checkpoint(card, network, statistics)


def weights_bytes(network: Network, statistics: Statistics, facts: dict[str, str]) -> bytes:
    """Return network and statistics as one safetensors file, the same bytes for the same numbers."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
    tensors |= {f"statistics.{name}": tensor.cpu().contiguous() for name, tensor in statistics.tensors().items()}
    return bytes(save(tensors, metadata=facts))
