"""Each import contract is broken once on purpose, to show that it bites."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

VIOLATIONS = {
    "Imports go one way": ("bar_fly_trading/facts/account.py", "import bar_fly_trading.trading.limits"),
    "Pure rooms read no clock, disk, network, environment or randomness": (
        "bar_fly_trading/trading/limits.py",
        "import time",
    ),
    "ib_async is imported in venues/ib alone": ("bar_fly_trading/venues/venue.py", "import ib_async"),
    "The HTTP client is imported in data and notify alone": ("bar_fly_trading/venues/venue.py", "import httpx"),
    "torch is imported in stockformer alone": ("bar_fly_trading/strategies/signal.py", "import torch"),
    "The simulators and the program share no import": (
        "bar_fly_simulators/__init__.py",
        "import bar_fly_trading.errors",
    ),
}


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=root,
        env={"PYTHONPATH": str(root / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_tree_keeps_every_contract(checkout: Path) -> None:
    """The tree as it stands breaks no contract, and every contract has a violation listed here."""
    done = lint(checkout)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(VIOLATIONS)} kept, 0 broken" in done.stdout


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_each_contract_bites(checkout: Path, contract: str) -> None:
    """One forbidden import breaks exactly the contract that forbids it."""
    file, line = VIOLATIONS[contract]
    source = checkout / "src" / file
    source.write_text(source.read_text() + f"\n{line}\n")
    done = lint(checkout)
    assert done.returncode == 1, done.stdout
    assert f"{contract} BROKEN" in done.stdout
