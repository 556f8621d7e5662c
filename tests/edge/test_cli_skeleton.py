"""The command line's skeleton: help without weight, one message an error, exit codes, `bft where`."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bar_fly_trading import errors
from bar_fly_trading.cli import last_door, main
from bar_fly_trading.cli.commands import COMMANDS, load
from bar_fly_trading.cli.output import complain, say, say_json, table

BFT = Path(sys.executable).with_name("bft")
HEAVY = {"polars", "numpy", "pydantic", "sqlalchemy", "httpx", "torch", "ib_async", "rich", "jinja2", "asyncio"}


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment with nothing of this machine's settings in it."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), **more}


def bft(home: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `bft` as a process of its own, in an empty folder."""
    return subprocess.run(
        [str(BFT), *words],
        env=environment(home, **environ),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_command_and_loads_nothing_heavy(tmp_path: Path) -> None:
    """`bft --help` is quick because no room and no library is loaded for it."""
    program = (
        "import sys; from bar_fly_trading.cli import main; code = main(['--help']);"
        f"print(code, sorted(set(sys.modules) & {HEAVY!r}),"
        "sorted(m for m in sys.modules if m.startswith('bar_fly_trading.') and '.cli' not in m), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "0 [] ['bar_fly_trading.errors']"
    words = " ".join(done.stdout.split())
    for command in COMMANDS:
        assert f"{command.name} {command.line}" in words


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_listed_command_can_be_loaded(command: object) -> None:
    """A command in the list exists under its name and has words of its own."""
    from bar_fly_trading.cli.commands import Command

    assert isinstance(command, Command)
    loaded = load(command)
    assert loaded.help
    assert command.line.endswith(".")


def test_version_and_no_arguments(tmp_path: Path) -> None:
    """--version says the version; no arguments is help."""
    assert bft(tmp_path, "--version").stdout.startswith("bft 0.")
    assert "Commands:" in bft(tmp_path).stdout + bft(tmp_path).stderr


def test_a_wrong_word_is_two_and_suggests(tmp_path: Path) -> None:
    """A command or flag that does not exist is refused with code 2, without a traceback."""
    done = bft(tmp_path, "wher")
    assert done.returncode == 2 and "Did you mean 'where'?" in done.stderr
    done = bft(tmp_path, "where", "--jsn")
    assert done.returncode == 2 and "--json" in done.stderr and "Traceback" not in done.stderr


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.BftError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_a_message_a_way_out_and_its_code(
    kind: type[errors.BftError], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind of error leaves as two lines on stderr and its own exit code."""

    def fail() -> None:
        raise kind("The thing is 3.", way_out="Make it 2.")

    assert last_door.run(fail, ["--home", str(tmp_path)]) == kind.exit_code
    assert capsys.readouterr().err == "error: The thing is 3.\nto do: Make it 2.\n"


def test_exit_codes_of_errors_are_their_own() -> None:
    """No two kinds share an exit code."""
    codes = [kind.exit_code for kind in KINDS]
    assert len(set(codes)) == len(codes)


def test_a_commands_own_exit_code_passes(tmp_path: Path) -> None:
    """A command that returns a number, or exits with one, ends with it."""
    assert last_door.run(lambda: 20, []) == 20
    assert last_door.run(lambda: None, []) == 0
    assert last_door.run(lambda: sys.exit(3), []) == 3


def test_a_defect_is_one_line_and_a_log_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unexpected exception exits 1 with one line; its traceback is in a private log, secrets masked in every form."""
    monkeypatch.setenv("ALPHAVANTAGE_API_KEY", "CANARY KEY/1")
    (tmp_path / "settings.toml").write_text('schema = 1\n[mail]\npassword = "CANARY-PASS"\n[gateway]\nport = "wrong"\n')

    def fail() -> None:
        url = "https://h/q?apikey=CANARY%20KEY%2F1"
        raise ZeroDivisionError(f"CANARY KEY/1 and CANARY-PASS at {url}\nsecond line")

    words = ["where", "--home", str(tmp_path), "--set", "sms.token=CANARY-1", "--set=schedule.ping_url=CANARY-2"]
    assert last_door.run(fail, words) == 1
    said = capsys.readouterr().err
    log = next((tmp_path / "logs").iterdir())
    assert len(said.splitlines()) == 2 and "ZeroDivisionError" in said and str(log) in said
    text = log.read_text()
    assert "Traceback" in text and "second line" in text and text.startswith("bft where --home")
    assert "CANARY" not in said + text
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_defect_whose_log_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No room for the log is said beside the defect."""
    (tmp_path / "logs").write_text("a file where the folder should be")
    assert last_door.run(lambda: 1 // 0, [f"--home={tmp_path}"]) == 1
    assert "no log could be written" in capsys.readouterr().err


def test_errors_mask_secrets_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A message that quotes a vendor's answer does not print the key in it."""
    monkeypatch.setenv("ALPHAVANTAGE_API_KEY", "CANARY-KEY")

    def fail() -> None:
        raise errors.CheckVendor("refused: your key CANARY-KEY is spent", way_out="Wait.")

    assert last_door.run(fail, ["--home", str(tmp_path)]) == 6
    assert "CANARY" not in capsys.readouterr().err


def test_ctrl_c_in_the_middle(tmp_path: Path) -> None:
    """A real SIGINT while a mail server keeps silent: code 130, one clear line, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environ = environment(
            tmp_path, IBKR_SMTP_SERVER=f"127.0.0.1:{silent.getsockname()[1]}", IBKR_NOTIFY_EMAIL="a@example.com"
        )
        process = subprocess.Popen(
            [str(BFT), "notify", "--test"], env=environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        connection.close()
    assert process.returncode == 130
    assert said == "error: interrupted, nothing half-written; run the same command again\n"


def test_a_reader_that_went_away_stops_nothing(tmp_path: Path) -> None:
    """With its reader gone, a command goes on to its end and exits as it would have, quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    program = (
        "from bar_fly_trading.cli import last_door\nfrom bar_fly_trading.cli.output import say\nfrom pathlib import Path\n"
        "def work():\n for n in range(3): say('x' * 100_000)\n Path('done').touch()\n return 20\n"
        "raise SystemExit(last_door.run(work, []))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (20, b"")
    assert (tmp_path / "done").exists()


def test_output_is_aligned_and_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters of data become question marks; tables line up."""
    say("a\x1b[2Jb\x07\ttab")
    complain("x\x9by")
    say_json({"b": "é", "a": 1})
    captured = capsys.readouterr()
    assert captured.out == 'a?[2Jb?\ttab\n{\n  "b": "é",\n  "a": 1\n}\n'
    assert captured.err == "error: x?y\n"
    assert table(("A", "B"), [("long", "x"), ("s", "y")]) == "A     B\nlong  x\ns     y"


def test_a_terminal_without_utf_8(tmp_path: Path) -> None:
    """A terminal that cannot show a character gets its escape, not a crash."""
    program = "from bar_fly_trading.cli.output import say; say('caf\\u00e9 \\u65e5')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(tmp_path, PYTHONIOENCODING="ascii"),
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"caf\\xe9 \\u65e5\n"


def test_where_in_an_empty_home(tmp_path: Path) -> None:
    """Every path and setting with its source, in a home that is not made by asking."""
    done = bft(
        tmp_path, "where", BFT_LIMITS__POSITIONS_MAX="4", IBKR_SMTP_PASSWORD="CANARY", IBKR_TWILIO_TOKEN="CANARY"
    )
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert str(tmp_path / ".bft") in rows["home"] and "not there yet" in rows["home"]
    assert rows["limits.positions_max"].split()[1:4] == ["4", "environment", "BFT_LIMITS__POSITIONS_MAX"]
    assert rows["gateway.port"].split()[1:3] == ["4002", "default"]
    assert rows["mail.password"].split()[1] == "********"
    assert "SMS is not built" in rows["sms.token"]
    assert "CANARY" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    starts = {line.index(" default ") for line in done.stdout.splitlines() if line.startswith("limits.drift")}
    assert starts == {rows["gateway.port"].index(" default ")}


def test_where_as_json(tmp_path: Path) -> None:
    """--json gives a script the same facts; warnings stay on stderr."""
    home = tmp_path / ".bft"
    home.mkdir()
    (home / ".env").write_text("ALPHAVANTAGE_API_KEY=CANARY\n")
    (home / ".env").chmod(0o644)
    done = bft(tmp_path, "where", "--json", "--gateway", "h:4009", "--set", "limits.positions_max=7")
    tree = json.loads(done.stdout)
    assert tree["settings"]["gateway.port"] == {"value": "4009", "from": "command line"}
    assert tree["settings"]["limits.positions_max"] == {"value": "7", "from": "command line"}
    assert tree["paths"]["outbox"] == {"value": str(home / "outbox"), "exists": False}
    assert done.stderr.startswith("warning: ") and "chmod 600" in done.stderr
    assert "CANARY" not in done.stdout + done.stderr


def test_where_with_wrong_settings(tmp_path: Path) -> None:
    """Wrong settings are told in full with code 2, also those a strategy refuses."""
    (tmp_path / "settings.toml").write_text("schema = 1\n[gatway]\nport = 1\n")
    done = bft(tmp_path, "where", "--home", str(tmp_path))
    assert done.returncode == 2 and 'Did you mean "gateway"?' in done.stderr and "Traceback" not in done.stderr
    (tmp_path / "settings.toml").write_text("schema = 1\n[strategies.bollinger]\nstop_fraktion = 0.1\n")
    done = bft(tmp_path, "where", "--home", str(tmp_path))
    assert done.returncode == 2 and "stop_fraction" in done.stderr
    assert bft(tmp_path, "where", "--set", "nothing").returncode == 2


def test_main_returns_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` is callable with words of its own and returns the exit code."""
    monkeypatch.chdir(tmp_path)
    assert main(["where", "--home", str(tmp_path)]) == 0
    assert main(["--version"]) == 0
    assert main(["nothing"]) == 2
