"""Names loudly every test that did not run; with BFT_NO_SKIP=1 a skipped test fails the run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_skipped: list[tuple[str, str]] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was skipped and why."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append((report.nodeid, reason))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run where skips are not allowed."""
    if _skipped and os.environ.get("BFT_NO_SKIP") and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the names of the tests that did not run."""
    for nodeid, reason in _skipped:
        terminalreporter.write_line(f"DID NOT RUN: {nodeid}: {reason}", yellow=True, bold=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real prices beside the checkout, or skip."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real prices of ../shared/data are not beside this checkout")
    return folder
