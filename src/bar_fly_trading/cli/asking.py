"""Questions that are answered by typing a word: what cannot be taken back is never done on a flag or an empty line."""

from __future__ import annotations

import sys

from bar_fly_trading.cli.output import say


def ask_typed(word: str, purpose: str) -> None:
    """Ask for exactly `word` on stdin; Refused for anything else, or where nobody answers."""
    from bar_fly_trading.errors import Refused

    say(f"Type {word} {purpose}:")
    answer = sys.stdin.readline().strip()
    if answer != word:
        said = f"{answer!r}" if answer else "nothing"
        raise Refused(f"{said} was typed, not {word}; nothing was changed.", way_out="Run it again where you are sure.")
