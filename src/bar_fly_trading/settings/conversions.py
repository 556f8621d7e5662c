"""Settings as the rooms take them: frozen values of their own types. What is heavy is imported when it is asked for."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.facts.instruments import canonical_symbol
from bar_fly_trading.facts.universe import INDEXES, UniverseRule, read_symbols
from bar_fly_trading.notify.route import MailRoute
from bar_fly_trading.settings.home import Home
from bar_fly_trading.settings.model import Settings
from bar_fly_trading.settings.sources import read_text
from bar_fly_trading.trading.limits import Limits, Sizing

if TYPE_CHECKING:
    from bar_fly_trading.strategies.signal import Strategy
    from bar_fly_trading.trading.orders import Mode
    from bar_fly_trading.trading.signal_combination import CombinationRule
    from bar_fly_trading.trading.signal_ranker import RankingRules


def limits(settings: Settings) -> Limits:
    """Return the limits as the checks take them."""
    return Limits(**settings.limits.model_dump())


def sizing(settings: Settings) -> Sizing:
    """Return the sizing as the sizer takes it."""
    return Sizing(**settings.sizing.model_dump())


def sizing_by_strategy(settings: Settings) -> dict[str, Sizing]:
    """Return the sizing of each strategy that has numbers of its own for it; the others are sized by `sizing`."""
    found = {}
    for name, section in sorted(settings.strategies.items()):
        own = {k: v for k in ("cash_fraction", "cash_reserve_usd") if (v := getattr(section, k)) is not None}
        if own:
            found[name] = Sizing(**{**settings.sizing.model_dump(), **own})
    return found


def ranking(settings: Settings) -> RankingRules:
    """Return the ranking's rules as the ranker takes them."""
    from bar_fly_trading.trading.signal_ranker import ranking_rules

    given = settings.ranking.model_dump()
    return ranking_rules(given.pop("weights"), **given)


def combinations(settings: Settings) -> tuple[CombinationRule, ...]:
    """Return the combinations as the combiner takes them; FixSettings where the numbers make no rule."""
    from bar_fly_trading.trading.signal_combination import CombinationRule

    given = (combination.model_dump(exclude={"mode"}) for combination in settings.combine)
    return tuple(CombinationRule.of(**each) for each in given)


def strategies(settings: Settings) -> tuple[Strategy, ...]:
    """Return the enabled strategies, built from their numbers, by name; FixSettings where a name or number is wrong."""
    from bar_fly_trading.strategies import build

    return tuple(build(name, s.numbers()) for name, s in sorted(settings.strategies.items()) if s.enabled)


def strategy_numbers(settings: Settings) -> dict[str, dict[str, object]]:
    """Return every number of every strategy, those not given at their default; FixSettings where one is wrong."""
    from bar_fly_trading.strategies import CATALOGUE, build

    found: dict[str, dict[str, object]] = {}
    for name, section in sorted(settings.strategies.items()):
        built = build(name, section.numbers())
        found[name] = {field.name: getattr(built, field.name) for field in fields(CATALOGUE[name])}
    return found


def modes(settings: Settings) -> dict[str, Mode]:
    """Return the mode of each enabled strategy and of each combination."""
    from bar_fly_trading.trading.orders import Mode

    found = {name: Mode(strategy.mode) for name, strategy in sorted(settings.strategies.items()) if strategy.enabled}
    return found | {combination.name: Mode(combination.mode) for combination in settings.combine}


def route(settings: Settings) -> MailRoute:
    """Return how mail leaves; ValueError where an address is none or a password would go over plain text."""
    mail = settings.mail
    return MailRoute.of(
        host=mail.server,
        port=mail.port,
        security=mail.security,
        user=mail.user,
        password=mail.password.get_secret_value(),
        sender=mail.sender,
        recipients=mail.recipients,
        timeout_s=mail.timeout_s,
        ca_file=Path(mail.ca_file).expanduser() if mail.ca_file else None,
    )


def universe(settings: Settings, home: Home) -> tuple[str, ...]:
    """Return the symbols named in `data.symbols` and the files, in order and once; an index's members are not among them.

    FixSettings where a file named is not there or a line of it is no symbol.
    """
    return universe_rule(settings, home).symbols


def universe_rule(settings: Settings, home: Home) -> UniverseRule:
    """Return what `data.universe`, `data.symbols` and `data.symbols_file` ask for together; FixSettings as `universe`.

    A file has one symbol a line in any spelling; `#` begins a comment.
    """
    data = settings.data
    index = data.universe if data.universe in INDEXES else ""
    files = [("data.symbols_file", data.symbols_file), ("data.universe", "" if index else data.universe)]
    wanted = dict.fromkeys(_canonical(symbol) for symbol in data.symbols if symbol.strip())
    sources = ["data.symbols"] if wanted else []
    for name, text in files:
        if not text:
            continue
        path = home.root / Path(text).expanduser()
        content = read_text(path)
        if content is None:
            known = f" (and no index: {', '.join(INDEXES)})" if name == "data.universe" else ""
            raise FixSettings(f"{name} {path} is not there{known}.", way_out="Correct the path or make the file.")
        found, faults = read_symbols(content)
        if faults:
            raise FixSettings(f"{name} {path}: {'; '.join(faults)}.", way_out="Correct the list of symbols.")
        if not found and name == "data.universe":
            raise FixSettings(f"{name} {path} names no symbol.", way_out="Write one symbol a line.")
        wanted |= dict.fromkeys(found)
        sources.append(path.name)
    return UniverseRule(index, tuple(wanted), " and ".join(sources) or "the settings' list")


def _canonical(text: str) -> str:
    try:
        return canonical_symbol(text)
    except ValueError:
        # A symbol on the command line's --set is complained about where it is asked for, beside the others.
        return text.upper()
