"""The demo in short: real prices, real processes and sockets, from the first pull to the report."""

from __future__ import annotations

import re
import subprocess
import sys
from email import message_from_bytes, policy
from pathlib import Path

import pytest

SESSIONS = 24


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    home = tmp_path_factory.mktemp("demo") / "home"
    argv = [str(Path(sys.executable).parent / "bft"), "demo", "--home", str(home)]
    argv += ["--sessions", str(SESSIONS), "--shadow-sessions", "6", "--training-seconds", "4"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=280, check=False, cwd=home.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done, home


def test_the_demo_trades_in_paper_and_refuses_with_reasons(
    demo: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """At least one order is filled in paper, and the report names the rule of every refusal."""
    done, _ = demo
    assert re.search(r"\d{4}-\d\d-\d\d paper +BUY", done.stdout)
    assert "NOT_HELD" in done.stdout
    sent = re.search(r"order messages the Gateway received: (\d+)", done.stdout)
    assert sent is not None
    assert int(sent[1]) == len(re.findall(r"^  order: .* FILLED", done.stdout, re.MULTILINE))


def test_every_session_is_shown_once_in_order(demo: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """One line a session, counted to the end, the first ones in shadow and the others in paper."""
    done, _ = demo
    lines = re.findall(rf"^(\d{{4}}-\d\d-\d\d) (shadow|paper) +(\d+)/{SESSIONS}", done.stdout, re.MULTILINE)
    assert [int(n) for _, _, n in lines] == list(range(1, SESSIONS + 1))
    assert [mode for _, mode, _ in lines] == ["shadow"] * 6 + ["paper"] * (SESSIONS - 6)
    assert [day for day, _, _ in lines] == sorted(day for day, _, _ in lines)


def test_the_page_stands_alone(demo: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """The report is one page that fetches nothing and draws its charts."""
    _, home = demo
    page = (home / "reports/report.html").read_text()
    assert "<svg" in page
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page)


def test_every_mail_reached_the_sink(demo: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """The local mail server holds the evening lists, the signals and the summaries, and nothing waits in the outbox."""
    _, home = demo
    mails = [message_from_bytes(p.read_bytes(), policy=policy.default) for p in sorted((home / "mail").glob("*.eml"))]
    kinds = {str(m["X-Bft-Kind"]) for m in mails}
    assert {"ranked-list", "signal", "summary"} <= kinds
    assert sum(str(m["X-Bft-Kind"]) == "summary" for m in mails) == SESSIONS
    assert not list((home / "outbox").glob("*.eml"))


def test_a_folder_that_is_no_demo_home_is_left_alone(tmp_path: Path) -> None:
    """The demo refuses a folder with something else in it, and touches nothing there."""
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    argv = [str(Path(sys.executable).parent / "bft"), "demo", "--home", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "left alone" in done.stderr
    assert precious.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]
