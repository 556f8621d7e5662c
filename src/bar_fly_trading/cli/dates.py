"""The session a command is about: given by `--as-of`, else today in New York."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bar_fly_trading.facts.sessions import Calendar

NewestOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="DATE", help="Session to work on, as 2021-04-20 (default: the store's newest)."),
]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="DATE", help="Session to work on, as 2021-04-20 (default: today in New York)."),
]


def parse_day(text: str, option: str = "--as-of") -> date:
    """Read an option's ISO date; FixSettings where it is none."""
    from bar_fly_trading.errors import FixSettings

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise FixSettings(f"{option} {text} is no date.", way_out="Write it as 2021-04-20.") from None


def session_of(as_of: str | None, calendar: Calendar, now_us: int) -> date | None:
    """Return the session to work on; None where none was named and the exchange is closed today.

    FixSettings where a date is named that is no session.
    """
    from bar_fly_trading.facts.sessions import new_york_date

    if as_of is not None:
        return calendar.session(parse_day(as_of)).day
    today = new_york_date(now_us)
    return today if calendar.is_session(today) else None
