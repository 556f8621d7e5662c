"""What the Gateway's account is, and its file: everything a restart must find again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_type_hints

from bar_fly_simulators.gateway.ledger import Ledger
from bar_fly_simulators.gateway.orders import Execution, Order, Position, Stock

SCHEMA = 1


@dataclass(slots=True)
class BrokerState:
    """The account and its orders. `at_us` is how far the market was walked, `opened` the last session begun."""

    account: str
    ledger: Ledger
    at_us: int
    day: date
    opened: date | None
    next_perm_id: int
    orders: dict[int, Order] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    highest_order_id: dict[int, int] = field(default_factory=dict)


def save_state(path: Path, state: BrokerState) -> None:
    """Write the state whole or not at all; OSError where the disk refuses."""
    content = {
        "schema": SCHEMA,
        "account": state.account,
        "cash": str(state.ledger.cash),
        "positions": [_plain(position) for position in state.ledger.positions.values()],
        "at_us": state.at_us,
        "day": state.day.isoformat(),
        "opened": state.opened.isoformat() if state.opened else None,
        "next_perm_id": state.next_perm_id,
        "orders": [_plain(order) for order in state.orders.values()],
        "executions": [_plain(execution) for execution in state.executions],
        "highest_order_id": {str(client): order for client, order in state.highest_order_id.items()},
    }
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--state {path}: there is no folder {path.parent}")
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="ascii") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_state(path: Path) -> BrokerState:
    """Read a state file; ValueError naming the file where it is not one of this Gateway's."""
    try:
        content = json.loads(path.read_text(encoding="ascii"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, not {SCHEMA}")
        positions = [_value(Position, one) for one in content["positions"]]
        orders = [_value(Order, one) for one in content["orders"]]
        return BrokerState(
            account=str(content["account"]),
            ledger=Ledger(Decimal(content["cash"]), {one.stock.market_symbol: one for one in positions}),
            at_us=int(content["at_us"]),
            day=date.fromisoformat(content["day"]),
            opened=date.fromisoformat(content["opened"]) if content["opened"] else None,
            next_perm_id=int(content["next_perm_id"]),
            orders={one.perm_id: one for one in orders},
            executions=[_value(Execution, one) for one in content["executions"]],
            highest_order_id={int(client): int(order) for client, order in content["highest_order_id"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation) as bad:
        raise ValueError(f"--state {path}: not a state of this Gateway ({bad!r}); move it away to start anew") from bad


def _plain(value: object) -> object:
    """Return a frozen record as JSON can hold it: Decimals and dates as text."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Stock | Position | Order | Execution):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return value


def _value(kind: type[Any], content: Mapping[str, Any]) -> Any:
    """Return the record that `_plain` wrote, its fields' types read from its annotations."""
    hints = get_type_hints(kind)
    if set(content) != set(hints):
        raise ValueError(f"a {kind.__name__} has fields {sorted(set(content) ^ set(hints))} too many or too few")
    return kind(**{name: _field(hints[name], content[name]) for name in hints})


def _field(hint: Any, content: Any) -> Any:
    if content is None:
        return None
    if hint is Stock:
        return _value(Stock, content)
    if hint in {Decimal, Decimal | None}:
        return Decimal(content)
    if hint == date | None:
        return date.fromisoformat(content)
    return content
