"""One value a setting, with where it came from, its hash, and its conversions to what the rooms take."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.settings.conversions import limits, route, sizing, strategy_numbers
from bar_fly_trading.settings.home import Home, find_home
from bar_fly_trading.settings.model import SCHEMA, Settings, StrategySection
from bar_fly_trading.settings.names import STRATEGIES, names, strategy_name
from bar_fly_trading.settings.sources import (
    MASK,
    Layers,
    split_host_port,
    take_env_file,
    take_environment,
    take_file,
    take_overrides,
)

DEFAULT = "default"
NOTHING = "-"
# Shorter ones would mask ordinary words.
SECRET_LENGTH_MIN = 4
WAY_OUT = "Correct it and run the command again."


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting as shown to a person: its value as text (a secret masked), its source, and what it means."""

    key: str
    value: str
    source: str
    description: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings of one run. `warnings`: said once by the command line. `sources`: where each non-default came from."""

    settings: Settings
    home: Home
    home_source: str
    sources: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]

    def source_of(self, key: str) -> str:
        """Return where a setting's value came from: default, a file, a variable or the command line."""
        return dict(self.sources).get(key, DEFAULT)

    @property
    def hash(self) -> str:
        """The sha256 of every value that decides: secrets, paths and addresses are left out."""
        leaves = {key: value for key, value, hidden in _leaves(self.settings) if not hidden}
        text = json.dumps({"schema": SCHEMA, **leaves}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def rows(self) -> tuple[SettingRow, ...]:
        """Return every setting for a person, secrets masked; FixSettings where a strategy's number is wrong."""
        sources = dict(self.sources)
        rows: list[SettingRow] = []
        for key, value, _ in _leaves(self.settings):
            source, words = sources.get(key, DEFAULT), _description(key)
            if isinstance(value, dict) and value:
                rows += [SettingRow(f"{key}.{k}", _shown(v), source, words) for k, v in value.items()]
            else:
                rows.append(SettingRow(key, _shown(value), source, words))
        return tuple(rows)


def resolve(home: Path | None, overrides: Mapping[str, object], environ: Mapping[str, str]) -> Resolved:
    """Return the settings of a run; creates nothing on disk.

    `overrides`: settings of the command line by dotted key (`gateway.port`); None counts as not given.
    FixSettings names every fault at once: file, key, value, and what was expected.
    """
    where, home_source = find_home(home, environ)
    layers = Layers()
    take_file(where.settings_file, layers)
    here = Path.cwd() / ".env"
    if here.resolve() != where.env_file.resolve():
        take_env_file(here, layers)
    take_env_file(where.env_file, layers)
    take_environment(environ, layers)
    take_overrides(overrides, layers)
    settings = _validated(layers)
    return Resolved(settings, where, home_source, tuple(sorted(layers.sources.items())), tuple(layers.warnings))


def known_secrets(
    home: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> tuple[str, ...]:
    """Return every secret found in any source, longest first, however wrong the settings are else.

    For masking alone; what cannot be read is left out.
    """
    found: set[str] = set()
    with suppress(FixSettings):
        where, _ = find_home(home, environ)
        found |= _secrets_of(lambda layers: take_file(where.settings_file, layers))
        found |= _secrets_of(lambda layers: take_env_file(where.env_file, layers))
    found |= _secrets_of(lambda layers: take_env_file(Path.cwd() / ".env", layers))
    found |= _secrets_of(lambda layers: take_environment(environ, layers))
    found |= {str(value) for key, value in (overrides or {}).items() if key in names() and names()[key].secret}
    return tuple(sorted((s for s in found if len(s) >= SECRET_LENGTH_MIN), key=lambda s: (-len(s), s)))


def _secrets_of(take: Callable[[Layers], None]) -> set[str]:
    layers = Layers()
    with suppress(FixSettings):
        take(layers)
    secret = [value for key, value in layers.values.items() if key in names() and names()[key].secret]
    return {value.get_secret_value() if isinstance(value, SecretStr) else str(value) for value in secret}


def _validated(layers: Layers) -> Settings:
    tree: dict[str, Any] = {STRATEGIES: {name: {} for name in Settings().strategies}}
    for key, value in layers.values.items():
        *path, last = key.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[last] = value
    faults = list(layers.faults)
    try:
        settings = Settings.model_validate(tree)
        if not faults:
            _check_whole(settings, faults)
    except ValidationError as error:
        faults += [_fault(dict(e), layers) for e in error.errors()]
        settings = Settings()
    if faults:
        raise FixSettings("\n".join(faults), way_out=WAY_OUT)
    return settings


def _check_whole(settings: Settings, faults: list[str]) -> None:
    for combination in settings.combine:
        unknown = sorted(set(combination.members) - set(settings.strategies))
        if unknown:
            faults.append(f'combine "{combination.name}" listens to {", ".join(unknown)}, which is no strategy.')
    for made in (route, limits, sizing):
        try:
            made(settings)
        except ValueError as error:
            faults.append(str(error))


def _fault(error: dict[str, Any], layers: Layers) -> str:
    loc = [str(part) for part in error["loc"]]
    key = next((k for k in (".".join(loc[:n]) for n in (3, 2, 1)) if k in layers.values), ".".join(loc))
    inner = ".".join(part for part in loc[len(key.split(".")) :] if part != "[key]")
    source, place = layers.sources.get(key, "settings"), f"{key} {inner}".strip()
    if error["type"] == "missing":
        return f"{source}: {place} is missing."
    message = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "expected")
    message = message.replace("an instance of Decimal", "a number").replace("a valid tuple", "a list")
    value = MASK if key in names() and names()[key].secret else repr(error["input"])
    if isinstance(error["input"], Decimal):
        value = format(error["input"], "f")
    return f"{source}: {place} = {value} is wrong: {message}."


def _raw_leaves(settings: Settings) -> Iterator[tuple[str, Any]]:
    for section in Settings.model_fields:
        value = getattr(settings, section)
        if section == STRATEGIES:
            for name, numbers in strategy_numbers(settings).items():
                fixed = {f: getattr(value[name], f) for f in StrategySection.model_fields}
                yield from ((f"{STRATEGIES}.{name}.{k}", v) for k, v in (fixed | numbers).items())
        elif isinstance(value, BaseModel):
            yield from ((f"{section}.{f}", getattr(value, f)) for f in type(value).model_fields)
        else:
            yield section, value


def _leaves(settings: Settings) -> Iterator[tuple[str, Any, bool]]:
    for key, value in _raw_leaves(settings):
        name = names().get(key)
        hidden = name is not None and (name.secret or name.place)
        yield key, _plain(value), hidden


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, BaseModel):
        return {k: _plain(getattr(value, k)) for k in type(value).model_fields}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _shown(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return NOTHING
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def _description(key: str) -> str:
    name = names().get(key) or strategy_name(key)
    return name.description if name else "the strategy's own number"


def gateway_overrides(text: str | None) -> dict[str, object]:
    """Return the overrides that `--gateway HOST:PORT` means ({} where it was not given); FixSettings where it is neither."""
    if text is None:
        return {}
    try:
        host, port = split_host_port(text)
    except ValueError as error:
        raise FixSettings(f"--gateway {error}", way_out="Write --gateway HOST:PORT, like 127.0.0.1:4002.") from error
    return {"gateway.host": host} if port is None else {"gateway.host": host, "gateway.port": port}
