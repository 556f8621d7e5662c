"""The names a setting goes by: `section.key` in the file, BFT_SECTION__KEY and the older program's in the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.settings.model import Settings, StrategySection

PREFIX = "BFT_"
STRATEGIES = "strategies"
SHORT_NAME = 8

# The older program's names, each with the setting it fills.
ALIASES: dict[str, str] = {
    "ALPHAVANTAGE_API_KEY": "data.alpha_vantage_key",
    "BFT_MYSQL_URL": "data.mysql_url",
    "IBKR_MAX_DAILY_LOSS": "limits.daily_loss_usd_max",
    "IBKR_MAX_POSITION_PCT": "limits.position_fraction_max",
    "IBKR_ENABLE_LIVE_TRADING": "live.enable",
    "IBKR_SMTP_SERVER": "mail.server",
    "IBKR_SMTP_PORT": "mail.port",
    "IBKR_SMTP_USER": "mail.user",
    "IBKR_SMTP_PASSWORD": "mail.password",
    "IBKR_NOTIFY_EMAIL": "mail.recipients",
    "IBKR_TWILIO_SID": "sms.sid",
    "IBKR_TWILIO_TOKEN": "sms.token",
    "IBKR_TWILIO_FROM": "sms.sender",
    "IBKR_NOTIFY_PHONE": "sms.recipients",
    "IBKR_HOST": "gateway.host",
    "IBKR_PORT": "gateway.port",
    "IBKR_CLIENT_ID": "gateway.client_id",
    "IBKR_ACCOUNT": "gateway.account",
}
# Of these the BFT_ name wins silently; any other pair that disagrees is refused.
YIELDING = frozenset({"IBKR_HOST", "IBKR_PORT", "IBKR_CLIENT_ID", "IBKR_ACCOUNT"})


@dataclass(frozen=True, slots=True)
class Name:
    """One setting: its dotted key, its field, whether it is a secret, and whether it says where and not what."""

    key: str
    field: FieldInfo
    secret: bool
    place: bool

    @property
    def description(self) -> str:
        """What it means."""
        return self.field.description or ""


def _name(key: str, field: FieldInfo) -> Name:
    extra = field.json_schema_extra
    place = isinstance(extra, dict) and bool(extra.get("place"))
    return Name(key, field, field.annotation is SecretStr, place)


@cache
def names() -> dict[str, Name]:
    """Return every setting with a fixed name, by dotted key, in the order of the model (strategies apart)."""
    found: dict[str, Name] = {}
    for section, field in Settings.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= {f"{section}.{k}": _name(f"{section}.{k}", f) for k, f in inner.model_fields.items()}
        elif section != STRATEGIES:
            found[section] = _name(section, field)
    return found


def strategy_name(key: str) -> Name | None:
    """Return the setting `strategies.NAME.KEY` (None where the key is not of that form, or a number of its own)."""
    parts = key.split(".")
    if len(parts) == 3 and parts[0] == STRATEGIES and parts[2] in StrategySection.model_fields:
        return _name(key, StrategySection.model_fields[parts[2]])
    return None


def strategy_key(key: str) -> bool:
    """Tell whether a dotted key is one setting of one strategy."""
    parts = key.split(".")
    return len(parts) == 3 and parts[0] == STRATEGIES and all(parts)


def did_you_mean(word: str, known: list[str]) -> str:
    """Return ' Did you mean "x"?' or nothing."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f' Did you mean "{close[0]}"?' if close else ""


def file_leaves(tree: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Return the file's settings by dotted key, and a fault for every unknown name."""
    leaves: dict[str, Any] = {}
    faults: list[str] = []
    for section, value in tree.items():
        if section not in Settings.model_fields:
            faults.append(f'{where}: unknown name "{section}".{did_you_mean(section, [*Settings.model_fields])}')
        elif section in names():
            leaves[section] = value
        elif not isinstance(value, Mapping):
            faults.append(f"{where}: {section} = {value!r} is wrong: expected a table, [{section}].")
        else:
            pairs = _strategies(value, where, faults) if section == STRATEGIES else value.items()
            for key, item in pairs:
                _take(f"{section}.{key}", item, leaves, faults, where)
    return leaves, faults


def _take(key: str, value: Any, leaves: dict[str, Any], faults: list[str], where: str) -> None:
    section, _, name = key.partition(".")
    if key in names() or section == STRATEGIES:
        leaves[key] = value
        return
    known = [k.partition(".")[2] for k in names() if k.startswith(section + ".")]
    faults.append(f'{where}: unknown name "{name}" in [{section}].{did_you_mean(name, known)}')


def _strategies(tree: Mapping[str, Any], where: str, faults: list[str]) -> Iterator[tuple[str, Any]]:
    # A strategy's own numbers are its own business; only a slip of a name known here is caught here.
    ours = [*Settings().strategies]
    fixed = [*StrategySection.model_fields]
    for name, section in tree.items():
        slip = get_close_matches(name, ours, n=1, cutoff=0.8)
        if slip and name not in ours:
            faults.append(f'{where}: unknown name "{name}" in [strategies]. Did you mean "{slip[0]}"?')
        elif not isinstance(section, Mapping):
            faults.append(f"{where}: strategies.{name} = {section!r} is wrong: expected a table, [strategies.{name}].")
        else:
            for key, value in section.items():
                # A strategy's own stop_fraction is no slip of cash_fraction, but mdoe is one of mode.
                near = get_close_matches(key, fixed, n=1, cutoff=0.75)
                slip = [n for n in near if len(n) < SHORT_NAME or get_close_matches(key, [n], cutoff=0.9)]
                if slip and key not in fixed:
                    faults.append(f'{where}: unknown name "{key}" in [strategies.{name}]. Did you mean "{slip[0]}"?')
                else:
                    yield f"{name}.{key}", value


def environment_key(variable: str) -> str | None:
    """Return the dotted key a variable fills, None where it is none of ours (unknown names are ignored there)."""
    if variable in ALIASES:
        return ALIASES[variable]
    if not variable.startswith(PREFIX):
        return None
    key = variable.removeprefix(PREFIX).lower().replace("__", ".")
    if key in names():
        return key
    return key if _is_of_a_strategy(key) else None


def _is_of_a_strategy(key: str) -> bool:
    if not strategy_key(key):
        return False
    if strategy_name(key) is not None:
        return key.split(".")[1] in Settings().strategies
    # Only such a variable makes the catalogue (and with it the table library) load this early.
    from bar_fly_trading.strategies import CATALOGUE

    _, strategy, number = key.split(".")
    return strategy in CATALOGUE and number in {field.name for field in fields(CATALOGUE[strategy])}


def check_override(key: str) -> None:
    """Raise FixSettings where the command line names a setting that does not exist."""
    if key not in names() and not strategy_key(key):
        raise FixSettings(
            f'command line: unknown setting "{key}".{did_you_mean(key, [*names()])}',
            way_out="`bft where` lists every setting.",
        )
