"""Write docs/settings.md and docs/exit_codes.md from the settings model and the errors; a test compares them with the files."""

from __future__ import annotations

import inspect
from pathlib import Path

from bar_fly_trading import errors
from bar_fly_trading.settings import Home, Resolved, Settings
from bar_fly_trading.settings.names import ALIASES, PREFIX, names, strategy_name

DOCS = Path(__file__).parents[1] / "docs"
NOWHERE = Path("/nonexistent/bft-home")

SECTIONS = {
    "data": "Where prices come from and which symbols are wanted.",
    "gateway": "How IB Gateway is reached.",
    "strategies": "One table a strategy, `[strategies.bollinger]`. `enabled` and `mode` belong to every strategy, the rest are its own.",
    "combine": "Combined signals, one `[[combine]]` table each (see the example above).",
    "ranking": "How entries are scored, ordered and tagged execute or watch.",
    "limits": "What every order is held to before it is sent. A signal that fails one is refused with the rule, the observed value and the limit.",
    "sizing": "How large an entry starts; then the smallest cap wins and is named.",
    "training": "When and how long the model is trained.",
    "mail": "How mail is sent. Without a server and a recipient every mail is only kept as a file in the outbox.",
    "sms": "Names of the older program that are understood. No SMS is sent in this version.",
    "schedule": "The calendar's exceptions and the outside witness.",
    "live": "The interlock of live trading, which is not built.",
}

# A strategy's own numbers: the settings model leaves them to the strategy.
STRATEGY_NUMBERS = {
    "bollinger.stop_fraction": "loss from the entry price at which it leaves, a fraction; unset: no stop",
    "bollinger.hold_sessions_max": "sessions after which it leaves; unset: until the upper band",
    "regression_momentum.predicted_return_3d_min": "predicted 3-day return that an entry must exceed, a fraction",
    "regression_momentum.predicted_return_10d_min": "predicted 10-day return that an entry must exceed, a fraction",
    "regression_momentum.adx_signal_min": "least `adx_signal` of an entry (1: ADX above 25)",
    "regression_momentum.hold_sessions_min": "sessions before the prediction or CCI may end a position; stops do not wait",
    "regression_momentum.hold_sessions_max": "sessions after which it leaves",
    "regression_momentum.stop_fraction": "loss from the entry price at which it leaves, a fraction",
    "regression_momentum.target_fraction": "gain from the entry price at which it leaves, a fraction",
    "regression_momentum.trailing_fraction": "fall from the highest close at which it leaves, once armed, a fraction",
    "regression_momentum.trailing_after_fraction": "gain that arms the trailing stop, a fraction",
    "regression_momentum.predicted_return_3d_exit": "it leaves when the predicted 3-day return is below this, a fraction",
    "regression_momentum.cci_signal_exit": "it leaves when `cci_signal` is below this",
}

# What to do about each exit code; the meaning is the class's own sentence.
WAYS_OUT = {
    "FixSettings": "Correct the setting the message names; `bft where` shows where its value came from.",
    "FixInput": "Correct the file; nothing of it was taken.",
    "FixData": "Run the command the message names: a pull, an import, or the evening that is missing.",
    "CheckGateway": "Start IB Gateway or the tunnel, then run the same command again.",
    "CheckVendor": "Check the key and its tier, then run the same command again.",
    "TrainModel": "`bft train`.",
    "WaitForOtherRun": "Wait until the process the message names has ended.",
    "FreeDisk": "Make room, then run the same command again.",
    "DecideParked": "Look in TWS, then `bft reconcile`. The order is never sent again by the program.",
    "Refused": "Read the reason; nothing was sent.",
    "NotBuilt": "Do it the way the message names.",
    "StoreDamaged": "Restore the file from a backup, or import again into a new home.",
    "DoneLess": "Read what was left out; the same command again does the rest.",
    "DoneNotTold": "`bft notify --test`, then `bft notify --flush`.",
    "DoneUnread": "Start the Gateway, then run the same command again; a morning resumes.",
}

SETTINGS_HEAD = """# Settings

Written by `scripts/generate_reference_pages.py` from the settings model; a test fails when this page and the program part.

`bft where` shows every setting of this page with its present value and where that came from. A value is taken from the first of these that
has it: the command line (`--set SECTION.KEY=VALUE`, `--gateway`, `--mode`), the environment, a `.env` file (the one in the home before the
one in the current folder), `settings.toml` in the home, the default below.

The home is `~/.bft`; the variable `BFT_HOME` or the flag `--home` moves it, with everything the program keeps.

```toml
# ~/.bft/settings.toml
schema = 1

[limits]
daily_loss_usd_max = 500          # a loss is written as positive dollars
position_fraction_max = 0.03      # a fraction: 0.03 is 3 %; 3 would be refused

[strategies.regression_momentum]
mode = "paper"                    # shadow unless promoted here

[[combine]]
name = "band_and_model"
rule = "all"
members = ["bollinger"]
predicted_return_3d_min = 0.0     # only where the predicted 3-day return is above this
```

An unknown name in the file is refused, with the nearest known name. An unknown variable is ignored. Every setting has the variable
`BFT_SECTION__KEY` (`BFT_LIMITS__POSITIONS_MAX=8`); the older program's names are shown where they exist. Two variables that name one setting and
disagree are refused. Only the word `true` in IBKR_ENABLE_LIVE_TRADING asks for live trading, and live trading is refused as not built.
"""


def _words(key: str, description: str) -> str:
    number = key.removeprefix("strategies.")
    if key.startswith("strategies.") and strategy_name(key) is None:
        return STRATEGY_NUMBERS[number]
    return description


def _variable(key: str) -> str:
    if key == "combine":
        return ""
    older = [f"`{alias}`" for alias, target in ALIASES.items() if target == key]
    return ", ".join(older or [f"`{PREFIX}{key.upper().replace('.', '__')}`"])


def settings_page() -> str:
    """Return docs/settings.md: every setting of the model, by section, with its default, variable and meaning."""
    lines = [SETTINGS_HEAD]
    section = ""
    for row in Resolved(Settings(), Home.at(NOWHERE), "default", (), ()).rows():
        here = row.key.partition(".")[0]
        if here != section:
            section = here
            lines += [
                f"\n## {here}\n",
                SECTIONS[here],
                "",
                "| setting | default | variable | meaning |",
                "|---|---|---|---|",
            ]
        base = row.key if row.key in names() or row.key.startswith("strategies.") else row.key.rpartition(".")[0]
        default = "unset" if row.value == "-" else f"`{row.value}`"
        words = _words(row.key, row.description).replace("|", "\\|")
        lines.append(f"| `{row.key}` | {default} | {_variable(base)} | {words} |")
    return "\n".join(lines) + "\n"


def kinds() -> list[type[errors.BftError]]:
    """Return every kind of error, by exit code."""
    found = [k for _, k in inspect.getmembers(errors, inspect.isclass) if issubclass(k, errors.BftError)]
    return sorted((k for k in found if k is not errors.BftError), key=lambda k: k.exit_code)


def exit_codes_page() -> str:
    """Return docs/exit_codes.md: every exit code, what it means and what to do."""
    lines = [
        "# Exit codes",
        "",
        "Written by `scripts/generate_reference_pages.py` from `src/bar_fly_trading/errors.py`; a test fails when this page and the program part.",
        "",
        "Every error is one message on stderr (`error: ...` and `to do: ...`) and one of these codes. A run that fails or does less than asked also",
        "writes a mail with the stage, the cause, what was kept and the next command. Codes from 20 on mean that the work itself was done.",
        "",
        "| code | name | meaning | what to do |",
        "|---|---|---|---|",
        '| 0 | | Done. Also "no session": the exchange is closed that day. | Nothing. |',
        "| 1 | | A defect of the program; what was kept before is whole. | Report it with the crash log the message names. |",
    ]
    for kind in kinds():
        meaning = (kind.__doc__ or "").strip()
        lines.append(f"| {kind.exit_code} | {kind.__name__} | {meaning} | {WAYS_OUT[kind.__name__]} |")
    lines.append(
        f"| {errors.EXIT_INTERRUPTED} | | Interrupted by Ctrl-C; nothing half-written. | Run the same command again. |"
    )
    return "\n".join(lines) + "\n"


PAGES = {"settings.md": settings_page, "exit_codes.md": exit_codes_page}


def main() -> None:
    """Write both pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
