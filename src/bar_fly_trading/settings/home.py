"""The home: the one folder the program keeps everything in, and every path inside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from bar_fly_trading.errors import FixSettings

HOME_VARIABLE = "BFT_HOME"
DEFAULT_FOLDER = ".bft"


@dataclass(frozen=True, slots=True)
class Home:
    """Every path the program writes or reads under `root`; making this value creates nothing on disk."""

    root: Path
    settings_file: Path
    env_file: Path
    store: Path
    journal: Path
    models: Path
    predictions: Path
    features: Path
    signals: Path
    outbox: Path
    reports: Path
    logs: Path
    lock: Path

    @classmethod
    def at(cls, root: Path) -> Home:
        """Return the paths below a root folder."""
        return cls(
            root=root,
            settings_file=root / "settings.toml",
            env_file=root / ".env",
            store=root / "store",
            journal=root / "journal.sqlite",
            models=root / "models",
            predictions=root / "predictions",
            features=root / "features",
            signals=root / "signals",
            outbox=root / "outbox",
            reports=root / "reports",
            logs=root / "logs",
            lock=root / "lock",
        )

    def paths(self) -> tuple[tuple[str, Path], ...]:
        """Return every path with its name, in the order above."""
        return tuple((f.name, getattr(self, f.name)) for f in fields(self))


def find_home(home: Path | None, environ: Mapping[str, str]) -> tuple[Home, str]:
    """Return the home and where its place came from: the flag, else BFT_HOME, else ~/.bft.

    FixSettings where the place exists and is no folder.
    """
    user = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    if home is not None:
        root, source = home, "command line --home"
    elif environ.get(HOME_VARIABLE):
        root, source = Path(environ[HOME_VARIABLE]), f"environment {HOME_VARIABLE}"
    else:
        root, source = user / DEFAULT_FOLDER, "default"
    if root.parts[:1] == ("~",):
        root = user.joinpath(*root.parts[1:])
    root = root.absolute()
    if root.exists() and not root.is_dir():
        raise FixSettings(
            f"the home {root} ({source}) is a file, not a folder.",
            way_out=f"Set {HOME_VARIABLE} to a folder, or move that file away.",
        )
    return Home.at(root), source
