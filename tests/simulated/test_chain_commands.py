"""Every command names every path it writes, speaks JSON where a script reads, and ends with a documented code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.simulated.conftest import NEXT_DAY, SIGNAL_DAY, Chain, Gateway, free_port

from bar_fly_trading import errors
from bar_fly_trading.cli.dates import session_of
from bar_fly_trading.facts.sessions import Calendar, new_york_us

# The lock, what stands beside the journal (SQLite's own, and where it ends), and the reasons beside a feature table
# are no results of their own.
NOT_NAMED = re.compile(r"(/lock|/publish\.lock|/journal\.sqlite(-wal|-shm|\.head)|\.excluded\.parquet)$")


def _files(home: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in home.rglob("*") if p.is_file() and not NOT_NAMED.search(str(p))}


def _named(home: Path, path: Path, said: str) -> bool:
    """Tell whether a path, or a folder of the home's that holds it, was printed; a checksum beside a file goes with it."""
    path = path.with_suffix(".parquet") if path.suffix == ".sha256" else path
    places = (p for p in (path, *path.parents) if home in p.parents)
    return any(re.search(re.escape(str(p)) + r"(?=[\s:;,)]|$)", said) for p in places)


def test_every_path_written_is_printed(empty: Chain, read_gateway: Gateway, tmp_path: Path) -> None:
    """Import, features, evening, morning, close, export and report print each file they make, or its folder in the home."""
    gateway = ("--gateway", read_gateway.where)
    commands: list[tuple[object, ...]] = [
        ("import", "bars", empty.bars),
        ("features", "--as-of", SIGNAL_DAY),
        ("evening", "--no-pull", "--as-of", SIGNAL_DAY),
        ("morning", "--as-of", NEXT_DAY, *gateway),
        ("close", "--as-of", NEXT_DAY, *gateway),
        ("report",),
        ("export", "all-data", tmp_path / "files", "--as-of", SIGNAL_DAY),
    ]
    silent = []
    for words in commands:
        before = _files(empty.home)
        said = empty.ok(*words)
        changed = [p for p, at in _files(empty.home).items() if before.get(p) != at]
        assert changed or words[0] == "export", words
        silent += [f"{words[0]}: {p.relative_to(empty.home)}" for p in changed if not _named(empty.home, p, said)]
    assert silent == []
    assert str(tmp_path / "files") in said


def test_json_is_json(empty: Chain, read_gateway: Gateway) -> None:
    """With --json stdout is one JSON document that names the session, and nothing else."""
    gateway = ("--gateway", read_gateway.where)
    commands: list[tuple[object, ...]] = [
        ("import", "bars", empty.bars),
        ("features", "--as-of", SIGNAL_DAY),
        ("evening", "--no-pull", "--as-of", SIGNAL_DAY),
        ("morning", "--as-of", NEXT_DAY, *gateway),
        ("close", "--as-of", NEXT_DAY, *gateway),
        ("reconcile", "--as-of", NEXT_DAY, *gateway),
        ("where",),
        ("notify",),
    ]
    found = {words[0]: json.loads(empty.ok(*words, "--json")) for words in commands}
    assert found["evening"]["session"] == found["features"]["session"] == str(SIGNAL_DAY)
    assert found["evening"]["execute"] == 4 and found["evening"]["signals"] == 6
    assert found["morning"]["outcome"] == "done" and found["morning"]["counts"]["SHADOWED"] == 3
    assert found["close"]["session"] == found["reconcile"]["session"] == str(NEXT_DAY)


def test_json_stays_json_where_less_was_done(ranked: Chain) -> None:
    """A morning without a Gateway prints its JSON on stdout and its message on stderr."""
    done = ranked.bft("morning", "--as-of", NEXT_DAY, "--gateway", f"127.0.0.1:{free_port()}", "--json")
    assert done.returncode == 22
    assert json.loads(done.stdout)["account"] is None
    assert "error: " in done.stderr


def test_every_exit_code_is_documented() -> None:
    """Each error has a code of its own, and the list that people read names it beside its class."""
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.BftError)]
    kinds.remove(errors.BftError)
    codes = [k.exit_code for k in kinds]
    assert len(set(codes)) == len(codes) and not {0, 1, 130} & set(codes)
    for kind in kinds:
        assert re.search(rf"{kind.__name__}\s+\({kind.exit_code}\)", errors.__doc__ or ""), kind


@pytest.mark.parametrize(
    ("day", "open_"),
    [("2021-04-20", True), ("2021-04-24", False), ("2021-04-25", False), ("2021-12-24", False), ("2021-11-26", True)],
)
def test_a_closed_day_is_no_session(day: str, open_: bool) -> None:
    """Without --as-of the session is today in New York, or none on weekends and holidays, at every hour of that day."""
    calendar = Calendar()
    from datetime import date, time

    for at in (time(0, 1), time(9, 45), time(23, 59)):
        found = session_of(None, calendar, new_york_us(date.fromisoformat(day), at))
        assert found == (date.fromisoformat(day) if open_ else None)


def test_running_the_evening_again_reuses_and_says_so(ranked: Chain) -> None:
    """The same evening again says what it reused, writes no second record, and changes no byte of the ranked list."""
    path = ranked.home / f"signals/{SIGNAL_DAY}.csv"
    before = path.read_bytes()
    assert "reused, nothing had changed: features, evening" in ranked.ok("evening", "--no-pull", "--as-of", SIGNAL_DAY)
    assert path.read_bytes() == before
    assert len(ranked.records("evening")) == 1
    assert len([m for m in ranked.mails() if "ranked" in m or "list" in m]) == 1
