"""Lines and progress bars of a run; a bar only where a person is looking, and rich is imported only then."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

from bar_fly_trading.cli.output import say


class Terminal:
    """What a run says. `quiet` keeps its lines from stdout (for --json); a bar is drawn on stderr where that is a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Take whether lines are kept back."""
        self.quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._what = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def line(self, text: str) -> None:
        """Say one line."""
        if not self.quiet:
            self.end()
            say(text)

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far a work of `total` parts is; the words change, the bar stays."""
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            self._begin(total)
        self._bar.update(self._task, completed=done, total=total, description=what)
        if done >= total:
            self.end()

    def share(self, what: str, fraction: float) -> None:
        """Show a work whose size is known as a fraction only."""
        self.progress(what, round(fraction * 1000), 1000)

    def _begin(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=total)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
