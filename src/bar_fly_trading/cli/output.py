"""What the command line prints: lines, aligned tables, JSON. A reader that went away never stops the work."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import IO, Any

CONTROL = {i: "?" for i in (*range(32), *range(127, 160)) if chr(i) not in "\n\t"}


def say(text: str = "") -> None:
    """Print a line on stdout."""
    _write(sys.stdout, text)


def warn(text: str) -> None:
    """Print a warning on stderr, where it does not disturb --json."""
    _write(sys.stderr, f"warning: {text}")


def complain(message: str, way_out: str = "") -> None:
    """Print an error on stderr and, on a line of its own, what to do."""
    _write(sys.stderr, f"error: {message}")
    if way_out:
        _write(sys.stderr, f"to do: {way_out}")


def say_json(value: Any) -> None:
    """Print a value as JSON, keys in the order given, for a script to read."""
    say(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns; the last column runs free."""
    lines = [list(columns), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    widths[-1] = 0
    return "\n".join("  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def flush() -> None:
    """Bring out what is still buffered; quiet where nobody reads any more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            _silence(stream)


def _write(stream: IO[str], text: str) -> None:
    # Text from a file or a vendor must not steer the terminal.
    line = text.translate(CONTROL) + "\n"
    try:
        stream.write(line)
        stream.flush()
    except BrokenPipeError:
        _silence(stream)
    except UnicodeEncodeError:
        stream.write(line.encode("ascii", "backslashreplace").decode())


def _silence(stream: IO[str]) -> None:
    # A morning whose reader (`| head`) went away goes on to its end; only its words are dropped.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
