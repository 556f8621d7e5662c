"""Every command of `bft`: its name, where it is, and its line in `bft --help`. A command's module is loaded when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

ROOM = "bar_fly_trading.cli"


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `target`: `module:function` in this room, or `module:app` for a group of commands."""

    name: str
    target: str
    line: str


COMMANDS: tuple[Command, ...] = (
    Command("demo", "demo:demo", "Replay 120 sessions of real prices through the whole chain; no keys needed."),
    Command("pull", "data:pull", "Fetch what the store lacks from Alpha Vantage."),
    Command("universe", "universe:universe", "Show who may be entered at a session, since when and by which rule."),
    Command("rename", "universe:rename", "Write down a ticker change, or a ticker another company took over."),
    Command("validate", "validate:validate", "Tell what is wrong or unlikely in the stored prices."),
    Command("features", "data:features", "Build the feature table."),
    Command("train", "model:train", "Train the stockformer."),
    Command("predict", "model:predict", "Predict 3, 10 and 30 days for the newest session."),
    Command("leakcheck", "leakcheck:leakcheck", "Prove that no feature, label or model knows the future."),
    Command("evening", "trade:evening", "Pull, predict, rank the session's signals, mail the list."),
    Command("morning", "trade:morning", "Check quotes, account and limits; trade in shadow or paper."),
    Command("close", "trade:close", "Reconcile, mark the books, mail the summary."),
    Command("reconcile", "trade:reconcile", "Compare the journal with the broker."),
    Command("parked", "orders:parked", "Show the orders whose fate a person must settle, with the evidence."),
    Command("resolve", "orders:resolve", "Settle a parked order as it was found at the broker; asks twice."),
    Command("why", "orders:why", "Tell why a stock was traded or not on a day."),
    Command("journal", "journal:journal_app", "Check the journal, or take a restored one as it is."),
    Command("report", "trade:report", "Write the report of what was run so far."),
    Command("import", "data:import_app", "Take market data from files into the store."),
    Command("export", "data:export_app", "Write files that other programs read."),
    Command("sql", "store:sql", "Ask any version of the store in SQL; read only."),
    Command("store", "store:store_app", "Show, check and thin out the store's versions."),
    Command("backup", "store:backup", "Keep store, journal, settings and models elsewhere, checked."),
    Command("restore", "store:restore", "Make a new home from a backup, whole or not at all."),
    Command("notify", "notify:notify", "Test the mail settings, or send what waits."),
    Command("where", "where:where", "Show every path and setting and where it came from."),
    Command("gateway-sim", "simulators:gateway_sim", "Start a simulated IB Gateway."),
    Command("alpha-vantage-sim", "simulators:alpha_vantage_sim", "Start a simulated Alpha Vantage server."),
    Command("simulate", "simulators:simulate", "Start both simulated servers on one clock."),
)


def load(command: Command) -> Any:
    """Return the command, ready to run, importing its module now."""
    module, _, name = command.target.partition(":")
    target = getattr(import_module(f"{ROOM}.{module}"), name)
    if isinstance(target, typer.Typer):
        return typer.main.get_command(target)
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    single.command(command.name)(target)
    return typer.main.get_command(single)


class Commands(TyperGroup):
    """The group of all commands: help is written from the list above, so that it loads none of them."""

    def __init__(self, **attributes: Any) -> None:
        """Take the names at once, for `Did you mean`; the commands themselves come from `get_command`."""
        super().__init__(**attributes)
        names: dict[str, Any] = dict.fromkeys(command.name for command in COMMANDS)
        self.commands = names

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the list."""
        return [command.name for command in COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name, None where there is none."""
        return next((load(command) for command in COMMANDS if command.name == cmd_name), None)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write every command and its line."""
        with formatter.section("Commands"):
            formatter.write_dl([(command.name, command.line) for command in COMMANDS])
