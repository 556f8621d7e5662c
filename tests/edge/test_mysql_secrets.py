"""The password of the older program's database is nowhere but in the URL: no output, log, lock, journal or store file has it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bar_fly_trading.cli import last_door, main
from bar_fly_trading.data.importers.mysql import parse_address
from bar_fly_trading.data.importers.mysql.connection import Server
from bar_fly_trading.errors import BftError, FixSettings

if TYPE_CHECKING:
    from tests.edge.conftest import MysqlServer

BFT = Path(sys.executable).with_name("bft")
CANARY = "kanari@vogel/55"
SPELLINGS = (b"kanari@vogel", b"kanari%40vogel", b"vogel/55", b"vogel%2F55")
USER = "bft_canary"


def bft(home: Path, *words: str, url: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command with a bare environment in an empty folder."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "BFT_HOME": str(home / "home"), "POLARS_MAX_THREADS": "1"}
    environ |= {"BFT_MYSQL_URL": url} if url else {}
    return subprocess.run(
        [str(BFT), *words], env=environ, cwd=home, capture_output=True, text=True, timeout=120, check=False
    )


def holders(home: Path) -> list[str]:
    """Return the files below a home that hold the password in any spelling."""
    return [
        str(path) for path in home.rglob("*") if path.is_file() and any(form in path.read_bytes() for form in SPELLINGS)
    ]


def clean(done: subprocess.CompletedProcess[str]) -> bool:
    """Tell whether an output is free of the password."""
    return not any(form.decode() in done.stdout + done.stderr for form in SPELLINGS)


@pytest.fixture(scope="module")
def canary_url(mysql_server: MysqlServer, old_database: str) -> str:
    """Return the URL of a user whose password is the canary."""
    mysql_server.do(
        None,
        f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{CANARY}'",
        f"GRANT SELECT ON {old_database}.* TO '{USER}'@'%'",
    )
    return mysql_server.url(old_database, user=USER, password=CANARY)


def test_an_import_leaves_the_password_nowhere(canary_url: str, tmp_path: Path) -> None:
    """From BFT_MYSQL_URL and from argv the import runs; argv is warned about; no file and no output has the password."""
    quiet = bft(tmp_path, "import", "mysql", url=canary_url)
    assert quiet.returncode == 0, quiet.stderr
    assert "core_stock" in quiet.stdout and "command line" not in quiet.stderr
    warned = bft(tmp_path, "import", "mysql", canary_url, "--no-options")
    assert warned.returncode == 0, warned.stderr
    assert "the password was given on the command line" in warned.stderr
    shown = bft(tmp_path, "where", url=canary_url)
    assert "data.mysql_url" in shown.stdout
    assert clean(quiet) and clean(warned) and clean(shown)
    assert holders(tmp_path) == []


def test_no_error_shows_the_password(
    old_database: str, canary_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Wrong password, wrong host, closed port, no such database, a URL that is none, a word too many: never the password."""
    wrong = canary_url.replace("55@", "56@")
    cases = {
        wrong: "wrong name or password",
        re.sub(r":\d+/", ":9/", canary_url): "cannot be reached",
        canary_url.replace(old_database, "mysql"): "",
        f"{canary_url}/more": "more after its host",
        canary_url.replace("mysql://", "http://"): "does not begin with",
        re.sub(r":\d+/", ":port/", canary_url): "cannot be read",
        canary_url.replace("%40", "@").replace("%2F", "/"): "",
    }
    commands = [
        (*(("import", "mysql") if n % 2 else ("export", "mysql", "--dry-run")), url) for n, url in enumerate(cases)
    ]
    commands += [("import", "mysql", canary_url, canary_url), ("import", "mysqldump", canary_url)]
    for command, words in zip(commands, [*cases.values(), "", ""], strict=True):
        code = main([*command, "--home", str(tmp_path / "home")])
        shown = "".join(capfd.readouterr())
        assert code in (2, 3) and words in shown, (command, shown)
        assert not any(form.decode() in shown for form in SPELLINGS), (command, shown)
    assert holders(tmp_path) == []


def test_no_traceback_and_no_representation_shows_the_password(mysql_server: MysqlServer, canary_url: str) -> None:
    """An error of the connection printed with its whole chain, and an address printed as Python does, lack the password."""
    address = parse_address(canary_url.replace("55@", "56@"))
    with pytest.raises(BftError) as caught:
        Server(address)
    text = "".join(traceback.format_exception(caught.value)) + repr(address) + str(address)
    assert "kanari" not in text
    with pytest.raises(FixSettings) as caught_too:
        parse_address(canary_url.replace(f":{mysql_server.port}/", ":port/"))
    assert "kanari" not in "".join(traceback.format_exception(caught_too.value))


def test_a_crash_log_lacks_the_password(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A defect while a URL stands in argv leaves a log with the command, the password masked in every spelling."""

    def broken() -> None:
        raise RuntimeError(f"cannot speak to mysql://u:kanari%40vogel@h/d as {CANARY}")

    words = ["import", "mysql", "mysql://u:kanari%40vogel%2F55@h/d", "--home", str(tmp_path)]
    assert last_door.run(broken, words) == 1
    (log,) = (tmp_path / "logs").iterdir()
    text = log.read_text() + "".join(capfd.readouterr())
    assert "import mysql mysql://u:********@h/d" in text
    assert "kanari" not in text


def test_a_password_that_is_asked_for_is_not_echoed(
    mysql_server: MysqlServer, old_database: str, canary_url: str, tmp_path: Path
) -> None:
    """At a terminal without a URL both are asked for; what is typed as password does not appear, and the import runs."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "BFT_HOME": str(tmp_path / "home"),
            "TERM": "dumb",
        }
        os.execve(str(BFT), [str(BFT), "import", "mysql", "--no-options"], environ)
    shown = b""
    answers = {
        b"without its password": f"mysql://{USER}@{mysql_server.host}:{mysql_server.port}/{old_database}\n",
        b"(not shown): ": f"{CANARY}\n",
    }
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
        for question in [q for q in answers if q in shown and shown.rstrip().endswith((b":", b"]:"))]:
            os.write(terminal, answers.pop(question).encode())
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, shown.decode()
    assert answers == {} and b"store version" in shown
    assert not any(form in shown for form in SPELLINGS)
    assert holders(tmp_path) == []


def test_a_user_who_may_not_read_is_told_what_to_grant(mysql_server: MysqlServer, mysql_database: str) -> None:
    """A user without rights on the database gets the error that names the grant."""
    mysql_server.do(None, "CREATE USER IF NOT EXISTS 'bft_nobody'@'%' IDENTIFIED BY 'nothing'")
    with pytest.raises(FixSettings, match="may not use the database") as caught:
        Server(parse_address(mysql_server.url(mysql_database, user="bft_nobody", password="nothing")))
    assert "GRANT SELECT" in caught.value.way_out
