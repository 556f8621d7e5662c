"""Reading the settings file, the .env files, the environment and the command line into one value a setting."""

from __future__ import annotations

import json
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic import TypeAdapter, ValidationError

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.settings.model import SCHEMA
from bar_fly_trading.settings.names import (
    YIELDING,
    Name,
    check_override,
    environment_key,
    file_leaves,
    names,
    strategy_name,
)

WIDER_THAN_OWNER = stat.S_IRWXG | stat.S_IRWXO
MASK = "********"


@dataclass(slots=True)
class Layers:
    """The values collected so far, lowest precedence first; a later layer replaces an earlier one."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def put(self, key: str, value: Any, source: str) -> None:
        """Take a value for a setting from a source."""
        self.values[key], self.sources[key] = value, source


def read_text(path: Path) -> str | None:
    """Return a settings file's text, None where there is no file; FixSettings where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise FixSettings(f"{path} is not UTF-8 text: {error.reason}.", way_out="Save it as UTF-8.") from error
    except OSError as error:
        raise FixSettings(f"{path} cannot be read: {error.strerror}.", way_out="Correct its permissions.") from error


def warn_if_open(path: Path, layers: Layers) -> None:
    """Warn where others than its owner may read a file that holds secrets."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & WIDER_THAN_OWNER:
        layers.warnings.append(f"{path} holds secrets and others may read it (mode {mode:04o}): chmod 600 {path}")


def take_file(path: Path, layers: Layers) -> None:
    """Take the settings file: schema 1, known names only."""
    text = read_text(path)
    if text is None:
        return
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FixSettings(f"{path} is not valid TOML: {error}.", way_out="Correct that line.") from error
    schema = tree.pop("schema", None)
    if schema != SCHEMA or isinstance(schema, bool):
        said = "has no `schema`" if schema is None else f"has schema = {schema!r}"
        raise FixSettings(
            f"{path} {said}; this version reads schema 1.", way_out="Write `schema = 1` as its first line."
        )
    leaves, faults = file_leaves(tree, str(path))
    layers.faults += faults
    try:
        leaves = with_port_apart(leaves)
    except ValueError as error:
        layers.faults.append(f"{path}: {error}")
    for key, value in leaves.items():
        layers.put(key, value, str(path))
    if any(key in names() and names()[key].secret and value for key, value in leaves.items()):
        warn_if_open(path, layers)


def take_env_file(path: Path, layers: Layers) -> None:
    """Take a .env file; a line that cannot be read is warned about, unknown names are ignored."""
    text = read_text(path)
    if text is None:
        return
    pairs: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            layers.warnings.append(f"{path} line {binding.original.line} cannot be read and is ignored")
        elif binding.key is not None and binding.value is not None:
            pairs[binding.key] = binding.value
    if any(environment_key(name) for name in pairs):
        warn_if_open(path, layers)
    take_environment(pairs, layers, f"{path} ")


def take_environment(environ: Mapping[str, str], layers: Layers, origin: str = "environment ") -> None:
    """Take variables; empty ones count as unset; two names of one setting that disagree are refused."""
    taken: dict[str, tuple[str, Any]] = {}
    for variable in sorted(environ, key=lambda name: (name not in YIELDING, name)):
        key = environment_key(variable)
        text = environ[variable].strip()
        if key is None or not text:
            continue
        try:
            pairs = _read_variable(key, text)
        except ValueError as error:
            layers.faults.append(f"{origin}{variable}: {error}")
            continue
        for each, value in pairs.items():
            before = taken.get(each)
            if before and before[1] != value and before[0] not in YIELDING:
                layers.faults.append(f"{origin}{before[0]} and {variable} disagree about {each}: keep one of them.")
            taken[each] = (variable, value)
            layers.put(each, value, f"{origin}{variable}")


def take_overrides(overrides: Mapping[str, object], layers: Layers) -> None:
    """Take the command line's settings; text is read as the setting's type, an unknown name is refused."""
    for key, value in overrides.items():
        check_override(key)
        if value is None:
            continue
        try:
            pairs = _read_variable(key, value) if isinstance(value, str) else {key: value}
            for each, read in pairs.items():
                layers.put(each, read, "command line")
        except ValueError as error:
            layers.faults.append(f"command line {key}: {error}")


def _read_variable(key: str, text: str) -> dict[str, Any]:
    return with_port_apart({key: _read_text(key, text)})


def with_port_apart(leaves: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with a `host:port` of mail.server split over its two settings; ValueError where they disagree."""
    server = leaves.get("mail.server")
    if not isinstance(server, str) or not server:
        return leaves
    host, port = split_host_port(server)
    if port is None:
        return {**leaves, "mail.server": host}
    if leaves.get("mail.port", port) != port:
        raise ValueError(f"mail.server says port {port} and mail.port says {leaves['mail.port']}: keep one of them.")
    return {**leaves, "mail.server": host, "mail.port": port}


def _read_text(key: str, text: str) -> Any:
    name = names().get(key) or strategy_name(key)
    if name is None:
        return _number_of_a_strategy(text)
    if key == "live.enable":
        if text not in {"true", "false"}:
            raise ValueError(f'"{text}" is refused: only the word true enables live trading; write true or false.')
        return text == "true"
    return _typed(name, text)


def _typed(name: Name, text: str) -> Any:
    # The bare type reads text; ranges and their explanations are checked once, where all sources meet.
    annotation: Any = name.field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    value: object = text
    if "tuple" in str(annotation) or "dict" in str(annotation):
        value = json.loads(text) if text[:1] in "[{" else [part.strip() for part in text.split(",") if part.strip()]
    try:
        return adapter.validate_python(value, strict=False)
    except ValidationError as error:
        shown = MASK if name.secret else f'"{text}"'
        raise ValueError(f"{shown} is wrong for {name.key}: {_expected(error)}.") from None


def _expected(error: ValidationError) -> str:
    return str(error.errors()[0]["msg"]).partition(", unable")[0].replace("Input should be", "expected")


def _number_of_a_strategy(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def split_host_port(text: str) -> tuple[str, int | None]:
    """Return host and port of `host`, `host:port`, `[v6]` or `[v6]:port`; ValueError where the port is no port."""
    host, port = text, ""
    if any(c.isspace() or c in "/@" for c in text):
        raise ValueError(f'"{text}" is no host or host:port.')
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            raise ValueError(f'"{text}" has no port after the colon.')
    if not host:
        raise ValueError(f'"{text}" is no host or host:port.')
    if not port:
        return host, None
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f'"{port}" is no port; a port is 1 to 65535.')
    return host, int(port)
