"""The two cron scripts under an empty environment: what they call, in which order, and the exit code they pass on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
Run = Callable[..., tuple[int, str, list[str]]]

# A program that stands where bft would: it keeps its words, its folder and its home, and exits as the file beside it says.
STAND_IN = """#!/bin/sh
here=$(dirname "$0")
echo "$* in $(pwd) home $BFT_HOME" >> "$here/calls"
cat "$here/exit-$1" 2>/dev/null > "$here/code" || echo 0 > "$here/code"
exit "$(cat "$here/code")"
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a runner of a script in a checkout of its own, as cron would: `env -i`, another folder, a fixed time."""
    checkout = tmp_path / "check out"
    (checkout / "scripts").mkdir(parents=True)
    (checkout / ".venv/bin").mkdir(parents=True)
    for script in SCRIPTS.glob("*.sh"):
        shutil.copy(script, checkout / "scripts")
    command = checkout / ".venv/bin/bft"
    command.write_text(STAND_IN)
    command.chmod(0o755)

    def go(
        script: str, *words: str, exits: dict[str, int] | None = None, at: datetime | None = None, **environ: str
    ) -> tuple[int, str, list[str]]:
        for stage, code in (exits or {}).items():
            (checkout / f".venv/bin/exit-{stage}").write_text(str(code))
        if at is not None:
            # The machine's own date, asked about that instant: the zone it is told decides the day.
            tools = tmp_path / "tools"
            tools.mkdir(exist_ok=True)
            (tools / "date").write_text(f'#!/bin/sh\nexec /bin/date -d @{int(at.timestamp())} "$@"\n')
            (tools / "date").chmod(0o755)
            environ["PATH"] = f"{tools}:/usr/bin:/bin"
        done = subprocess.run(
            ["/usr/bin/env", "-i", *[f"{k}={v}" for k, v in environ.items()], str(checkout / "scripts" / script), *words],
            cwd="/", capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        calls = checkout / ".venv/bin/calls"
        made = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return done.returncode, done.stdout + done.stderr, [call.partition(" in ")[0] for call in made] if made else []

    return go


def test_the_evening_trains_after_its_list(run: Run) -> None:
    """Without words it is the evening; a training that is due follows it and never precedes it."""
    code, said, calls = run("run_daily_pipeline.sh")
    assert (code, calls) == (0, ["evening", "train --train-if-due"]), said
    assert said.startswith("bft evening, ") and said.rstrip().endswith("in New York")


def test_flags_are_passed_on(run: Run) -> None:
    """Words after the stage, or flags alone, reach bft as they are."""
    assert run("run_daily_pipeline.sh", "morning", "--mode", "a b")[2] == ["morning --mode a b"]
    assert run("run_daily_pipeline.sh", "--no-pull")[2] == ["evening --no-pull", "train --train-if-due"]
    assert run("run_daily_pipeline.sh", "close")[2] == ["close"]


def test_a_wrong_stage_calls_nothing(run: Run) -> None:
    """A misspelt stage is code 2 with the usage."""
    code, said, calls = run("run_daily_pipeline.sh", "mornign")
    assert (code, calls) == (2, []) and "usage:" in said


@pytest.mark.parametrize("code", [0, 1, 5, 8, 20, 21, 130])
def test_exit_codes_pass_on(run: Run, code: int) -> None:
    """Every stage's exit code is the script's, whatever the training after it says."""
    assert run("run_daily_pipeline.sh", "morning", exits={"morning": code})[0] == code
    assert run("run_daily_pipeline.sh", "evening", exits={"evening": code, "train": 7})[0] == (code or 7)


@pytest.mark.parametrize(
    ("code", "trains"), [(0, True), (7, True), (20, True), (21, True), (4, False), (8, False), (130, False)]
)
def test_training_follows_only_a_list_that_is_out(run: Run, code: int, trains: bool) -> None:
    """After a failed evening nothing trains; after one that had no model, or told too little, it does."""
    calls = run("run_daily_pipeline.sh", "evening", exits={"evening": code})[2]
    assert calls == (["evening", "train --train-if-due"] if trains else ["evening"])


def test_the_day_is_new_yorks(run: Run) -> None:
    """03:30 UTC on a Tuesday is still Monday evening in New York, in winter and in summer, on a machine in any zone."""
    for at, shown in (
        (datetime(2026, 11, 24, 3, 30, tzinfo=UTC), "2026-11-23 22:30"),
        (datetime(2026, 7, 21, 3, 30, tzinfo=UTC), "2026-07-20 23:30"),
    ):
        for zone in ("UTC", "Asia/Tokyo"):
            said = run("run_daily_pipeline.sh", "close", at=at, TZ=zone)[1]
            assert said == f"bft close, {shown} in New York\n"


def test_the_weekly_training_belongs_to_sunday(run: Run) -> None:
    """On New York's Sunday it trains; an hour after its midnight, or on the days after, it leaves that to the evening."""
    for at, trains in (
        (datetime(2026, 11, 22, 5, 0, tzinfo=UTC), True),
        (datetime(2026, 11, 23, 4, 59, tzinfo=UTC), True),
        (datetime(2026, 11, 23, 5, 0, tzinfo=UTC), False),
        (datetime(2026, 11, 22, 4, 59, tzinfo=UTC), False),
        (datetime(2026, 7, 20, 3, 59, tzinfo=UTC), True),
    ):
        code, said, calls = run("run_weekly_train.sh", "--minutes", "3", at=at)
        assert (code, calls) == (0, ["train --minutes 3"] if trains else []), (at, said)
        assert trains or "no Sunday in New York" in said
    sunday = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
    assert run("run_weekly_train.sh", at=sunday, exits={"train": 4})[0] == 4


def test_home_and_folder_under_an_empty_environment(tmp_path: Path, run: Run) -> None:
    """BFT_HOME defaults below the user's home, is kept where given, and bft runs in the checkout, whose .env it reads."""
    run("run_daily_pipeline.sh", "close")
    probe = tmp_path / "check out/.venv/bin/bft"
    probe.write_text('#!/bin/sh\necho "$BFT_HOME|$(pwd)|$PATH"\n')
    said = run("run_daily_pipeline.sh", "close")[1].splitlines()[-1].split("|")
    assert said[0] == str(Path("~").expanduser() / ".bft") and said[1] == str(tmp_path / "check out")
    assert "/usr/bin" in said[2]
    assert run("run_daily_pipeline.sh", "close", BFT_HOME="/x y")[1].splitlines()[-1].startswith("/x y|")


def test_without_an_installation(tmp_path: Path, run: Run) -> None:
    """A checkout that was never installed says what to do, with code 2."""
    (tmp_path / "check out/.venv/bin/bft").unlink()
    for script in ("run_daily_pipeline.sh", "run_weekly_train.sh"):
        code, said, _ = run(script)
        assert code == 2 and "make demo" in said


def test_the_real_bft_under_an_empty_environment(tmp_path: Path) -> None:
    """The script and the real `bft` work with nothing in the environment but the home: here it names a wrong setting."""
    (tmp_path / "settings.toml").write_text("schema = 1\n[gatway]\nport = 1\n")
    done = subprocess.run(
        ["/usr/bin/env", "-i", f"BFT_HOME={tmp_path}", str(SCRIPTS / "run_daily_pipeline.sh"), "close"],
        cwd="/", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "error" in done.stderr.lower() and "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_clean(script: Path) -> None:
    """shellcheck finds nothing."""
    done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
