"""The last door: every error leaves as one clear message and an exit code; a defect leaves its traceback in a log file."""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from bar_fly_trading.cli.output import complain, flush
from bar_fly_trading.errors import EXIT_INTERRUPTED, BftError

EXIT_DEFECT = 1
MASK = "********"
# The last @ before the path ends the password, as in every URL reader.
_URL_PASSWORD = re.compile(r"([a-z][a-z0-9+]*://[^/\s:@]*:)(\S+)@", re.IGNORECASE)
_PASSWORD_LENGTH_MIN = 4


def run(command: Callable[[], object], argv: Sequence[str]) -> int:
    """Run a command and return its exit code; nothing it raises goes past here but the exit of the interpreter."""
    try:
        code = _run(command, argv)
    finally:
        flush()
    return code


def _run(command: Callable[[], object], argv: Sequence[str]) -> int:
    try:
        result = command()
    except BftError as error:
        complain(_redacted(error.message, argv), _redacted(error.way_out, argv))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_DEFECT
    except Exception as error:  # noqa: BLE001 - the one place where a defect ends
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            if hasattr(error, "message"):
                error.message = _redacted(str(error.message), argv)
            error.show()  # a wrong flag: the command line's own words
            return int(error.exit_code)
        return _defect(error, argv)
    # A command returns its exit code or nothing; the command line itself turns Ctrl-C into 130.
    code = result if isinstance(result, int) else 0
    return _interrupted() if code == EXIT_INTERRUPTED else code


def _interrupted() -> int:
    complain("interrupted, nothing half-written; run the same command again")
    return EXIT_INTERRUPTED


def _defect(error: Exception, argv: Sequence[str]) -> int:
    line = _redacted(f"{type(error).__name__}: {error}", argv).partition("\n")[0]
    text = _redacted("".join(traceback.format_exception(error)), argv)
    try:
        path = _keep(f"bft {' '.join(argv)}\n{text}", argv)
    except OSError as refused:
        complain(f"a defect of the program: {line} (and no log could be written: {refused})", "Please report it.")
        return EXIT_DEFECT
    complain(f"a defect of the program: {line}", f"Please report it with {path}; what was kept before is whole.")
    return EXIT_DEFECT


def _keep(text: str, argv: Sequence[str]) -> Path:
    logs = _home(argv) / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    path = logs / f"crash-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(_redacted(text, argv))
    return path


def _home_flag(argv: Sequence[str]) -> Path | None:
    for i, word in enumerate(argv):
        if word.startswith("--home="):
            return Path(word.removeprefix("--home="))
        if word == "--home" and i + 1 < len(argv):
            return Path(argv[i + 1])
    return None


def _set_flags(argv: Sequence[str]) -> dict[str, object]:
    pairs = (word.removeprefix("--set=").partition("=") for word in argv)
    return {key.strip(): value.strip() for key, _, value in pairs if value.strip()}


def _home(argv: Sequence[str]) -> Path:
    from bar_fly_trading.settings import find_home

    return find_home(_home_flag(argv), os.environ)[0].root


def _redacted(text: str, argv: Sequence[str]) -> str:
    from urllib.parse import quote, quote_plus

    from bar_fly_trading.settings import known_secrets

    if not text:
        return text
    secrets = known_secrets(_home_flag(argv), os.environ, _set_flags(argv))
    in_urls = {password for word in (*secrets, *argv) for password in _passwords_of(word)}
    text = _without_passwords(text)
    for secret in (*secrets, *sorted(in_urls, key=len, reverse=True)):
        for form in (secret, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(form, MASK)
    return text


def _passwords_of(word: str) -> tuple[str, ...]:
    """Return the password of a URL, as written and as meant; none where the word is no URL with one."""
    from urllib.parse import unquote

    found = _URL_PASSWORD.search(word)
    written = "" if found is None else found.group(2)
    # A shorter one would mask ordinary words; the URL itself is masked whatever its length.
    return tuple(word for word in dict.fromkeys((written, unquote(written))) if len(word) >= _PASSWORD_LENGTH_MIN)


def _without_passwords(text: str) -> str:
    return _URL_PASSWORD.sub(rf"\g<1>{MASK}@", text)


def arguments() -> list[str]:
    """Return this process's arguments; in `sys.argv`, which a lock and a log may repeat, a URL's password is masked from now on."""
    words = sys.argv[1:]
    sys.argv[1:] = [_without_passwords(word) for word in words]
    return words
