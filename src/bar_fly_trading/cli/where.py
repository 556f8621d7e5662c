"""`bft where`: every path and setting, its value, and where it came from."""

from __future__ import annotations

from typing import Any

from bar_fly_trading.cli.options import GatewayOption, HomeOption, JsonOption, SetOption, resolved
from bar_fly_trading.cli.output import say, say_json, table


def where(
    home: HomeOption = None, gateway: GatewayOption = None, settings: SetOption = None, json: JsonOption = False
) -> None:
    """Show every path and setting, its value and where it came from; secrets masked. Creates nothing."""
    found = resolved(home, gateway=gateway, settings=settings)
    paths = [(f"path.{name}", str(path), _kind(path)) for name, path in found.home.paths()]
    if json:
        say_json(_tree(found, paths))
        return
    rows = [
        ("home", str(found.home.root), found.home_source, _kind(found.home.root)),
        *((name, path, "home", kind) for name, path, kind in paths[1:]),
        *((row.key, row.value, row.source, row.description) for row in found.rows()),
        ("hash", found.hash[:16], "computed", "of every deciding value: no secrets, paths or addresses"),
    ]
    say(table(("NAME", "VALUE", "FROM", "MEANING"), rows))


def _kind(path: Any) -> str:
    return "exists" if path.exists() else "not there yet"


def _tree(found: Any, paths: list[tuple[str, str, str]]) -> dict[str, Any]:
    return {
        "home": {"value": str(found.home.root), "from": found.home_source},
        "paths": {
            name.removeprefix("path."): {"value": path, "exists": kind == "exists"} for name, path, kind in paths
        },
        "settings": {row.key: {"value": row.value, "from": row.source} for row in found.rows()},
        "hash": found.hash,
    }
