"""What the Gateway's account is, and its file: everything a restart must find again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_type_hints

from bar_fly_simulators.clock import new_york, session_hours_us
from bar_fly_simulators.gateway.instruments import Combo, Leg, Option, Stock
from bar_fly_simulators.gateway.ledger import Ledger
from bar_fly_simulators.gateway.orders import Execution, Order, Position
from bar_fly_simulators.market import Market

SCHEMA = 2
PERM_IDS_A_DAY = 50_000
"""permIds start at days since 1970 times this, so that Gateways started without a state on two days do not repeat one."""
_RECORDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Stock, Option, Leg, Combo, Position, Order, Execution)
}


@dataclass(slots=True)
class BrokerState:
    """The account and its orders. `at_us` is how far the market was walked, `opened` the last session begun.

    `epoch` counts how often order ids were rolled back.
    """

    account: str
    ledger: Ledger
    at_us: int
    day: date
    opened: date | None
    next_perm_id: int
    orders: dict[int, Order] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    highest_order_id: dict[int, int] = field(default_factory=dict)
    epoch: int = 0


def fresh_state(account: str, cash: Decimal, market: Market, at_us: int) -> BrokerState:
    """Return an account with cash alone, its market walked to `at_us`."""
    today = new_york(at_us).date()
    begun = [day for day in market.sessions if session_hours_us(day)[0] <= at_us]
    return BrokerState(
        account=account,
        ledger=Ledger(cash),
        at_us=at_us,
        day=today,
        opened=begun[-1] if begun else None,
        next_perm_id=at_us // 86_400_000_000 * PERM_IDS_A_DAY + 1,
    )


def save_state(path: Path, state: BrokerState) -> None:
    """Write the state whole or not at all; OSError where the disk refuses."""
    content = {
        "schema": SCHEMA,
        "account": state.account,
        "cash": str(state.ledger.cash),
        "positions": [plain(position) for position in state.ledger.positions.values()],
        "at_us": state.at_us,
        "day": state.day.isoformat(),
        "opened": state.opened.isoformat() if state.opened else None,
        "next_perm_id": state.next_perm_id,
        "orders": [plain(order) for order in state.orders.values()],
        "executions": [plain(execution) for execution in state.executions],
        "highest_order_id": {str(client): order for client, order in state.highest_order_id.items()},
        "epoch": state.epoch,
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
        positions = [_record(Position, one) for one in content["positions"]]
        orders = [_record(Order, one) for one in content["orders"]]
        return BrokerState(
            account=str(content["account"]),
            ledger=Ledger(Decimal(content["cash"]), {one.instrument.key: one for one in positions}),
            at_us=int(content["at_us"]),
            day=date.fromisoformat(content["day"]),
            opened=date.fromisoformat(content["opened"]) if content["opened"] else None,
            next_perm_id=int(content["next_perm_id"]),
            orders={one.perm_id: one for one in orders},
            executions=[_record(Execution, one) for one in content["executions"]],
            highest_order_id={int(client): int(order) for client, order in content["highest_order_id"].items()},
            epoch=int(content["epoch"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation) as bad:
        raise ValueError(f"--state {path}: not a state of this Gateway ({bad!r}); move it away to start anew") from bad


def plain(value: object) -> object:
    """Return a record as JSON can hold it: Decimals and dates as text, records with their kind."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {"is": type(value).__name__} | {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    return value


def _record(kind: type[Any], content: Mapping[str, Any]) -> Any:
    """Return the record that `plain` wrote, its fields' types read from its annotations."""
    if content["is"] != kind.__name__:
        raise ValueError(f"a {content['is']} where a {kind.__name__} must be")
    hints = get_type_hints(kind)
    found = set(content) - {"is"}
    if found != set(hints):
        raise ValueError(f"a {kind.__name__} has fields {sorted(found ^ set(hints))} too many or too few")
    return kind(**{name: _field(hints[name], content[name]) for name in hints})


def _field(hint: Any, content: Any) -> Any:
    if content is None:
        return None
    if isinstance(content, Mapping):
        return _record(_RECORDS[content["is"]], content)
    if isinstance(content, list):
        return tuple(_field(None, one) for one in content)
    if hint in {Decimal, Decimal | None}:
        return Decimal(content)
    if hint in {date, date | None}:
        return date.fromisoformat(content)
    return content
