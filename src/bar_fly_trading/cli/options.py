"""The options several commands share, and the settings they lead to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bar_fly_trading.cli.output import warn

if TYPE_CHECKING:
    from bar_fly_trading.settings import Resolved

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder everything is kept in (else BFT_HOME, else ~/.bft).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
GatewayOption = Annotated[str | None, typer.Option("--gateway", metavar="HOST:PORT", help="IB Gateway to use.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting for this run; may be repeated."),
]


def resolved(
    home: Path | None = None,
    *,
    gateway: str | None = None,
    settings: list[str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Resolved:
    """Return the settings of this run from its flags, the environment and the files; print the warnings once.

    FixSettings where anything is wrong.
    """
    from bar_fly_trading.errors import FixSettings
    from bar_fly_trading.settings import gateway_overrides, resolve

    given: dict[str, object] = dict(overrides or {})
    for pair in settings or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise FixSettings(f"--set {pair} has no value.", way_out="Write --set SECTION.KEY=VALUE.")
        given[key.strip()] = value.strip()
    found = resolve(home, {**given, **gateway_overrides(gateway)}, os.environ)
    for text in found.warnings:
        warn(text)
    return found
