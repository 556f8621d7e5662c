"""What a new user reads, held against the program: links, commands, flags, settings, exit codes, boxes of the roadmap."""

from __future__ import annotations

import gzip
import importlib.util
import os
import random
import re
import shlex
import subprocess
import sys
import tomllib
from datetime import date
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from bar_fly_trading import errors
from bar_fly_trading.cli.commands import COMMANDS
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.settings import resolve
from bar_fly_trading.settings.names import ALIASES, environment_key

ROOT = Path(__file__).parents[2]
BFT = Path(sys.executable).with_name("bft")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GROUPS = {"journal", "import", "export", "store"}
# What the roadmap asks for and this version must say it does not have.
NOT_BUILT = ("Live trading", "Approval", "SMS", "Dashboard", "Options", "Protective orders", "Backtest")


def generator() -> ModuleType:
    """Load the script that writes the reference pages."""
    path = ROOT / "scripts/generate_reference_pages.py"
    spec = importlib.util.spec_from_file_location("generate_reference_pages", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(page: Path) -> str:
    """Return a page's text."""
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def commands_in(text: str) -> list[list[str]]:
    """Return every `bft ...` in code blocks and inline code, as words; comments, pipes and prompts are cut off."""
    blocks = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = []
    for line in [*blocks, *inline]:
        if re.match(r"bft( |$)", line):
            found.append(shlex.split(line, comments=True))
    return found


@cache
def help_of(*command: str) -> str:
    """Return `bft COMMAND --help`."""
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COLUMNS": "200"}
    done = subprocess.run(
        [str(BFT), *command, "--help"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def faults_of(words: list[str]) -> list[str]:
    """Return what is wrong with a command as written: an unknown command, or a flag it does not have."""
    rest = words[1:]
    if not rest or rest[0].startswith("-"):
        return [flag for flag in rest if flag not in help_of()]
    known = {command.name for command in COMMANDS}
    if rest[0] not in known:
        return [f"no command {rest[0]}"]
    path = [rest[0]]
    if rest[0] in GROUPS and len(rest) > 1:
        path.append(rest[1])
    shown = help_of(*path)
    flags = [word.partition("=")[0] for word in rest if word.startswith("--")]
    return [f"{' '.join(path)} has no {flag}" for flag in flags if not re.search(rf"{flag}(?![\w-])", shown)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link inside the repository names a file that is there, and a heading that is in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_written_down_exists_with_its_flags(page: Path) -> None:
    """Each `bft` command of a page is one the program has, with flags that its help shows."""
    faults = [(shlex.join(words), fault) for words in commands_in(text_of(page)) for fault in faults_of(words)]
    assert faults == []


def test_a_wrong_command_would_be_found() -> None:
    """The check above bites: an invented command, flag or file is a fault."""
    assert faults_of(["bft", "trade"]) == ["no command trade"]
    assert faults_of(["bft", "morning", "--fast"]) == ["morning has no --fast"]
    assert faults_of(["bft", "morning", "--mod", "shadow"]) == ["morning has no --mod"]
    assert commands_in("Run `bft pull IBM`, or\n```bash\nbft evening --no-pull # now\nls\n```\n") == [
        ["bft", "evening", "--no-pull"],
        ["bft", "pull", "IBM"],
    ]


def old_dump() -> str:
    """Write a small dump of the older program's prices; AAA falls below its band on the last day, 2021-04-20."""
    draw, rows = random.Random(4), []
    days = Calendar().sessions(date(2021, 1, 4), date(2021, 4, 20))
    for n, symbol in enumerate(("AAA", "BBB", "CCC", "BRK-B")):
        for day in days:
            close = 100 + n + draw.uniform(-1, 1) - (8 if symbol == "AAA" and day == days[-1] else 0)
            opened = close + draw.uniform(-1, 1)
            high, low = max(close, opened) + draw.uniform(0.1, 1), min(close, opened) - draw.uniform(0.1, 1)
            prices = ",".join(f"{price:.2f}" for price in (opened, high, low, close, close))
            rows.append(f"('{day} 00:00:00',{prices},{8_000_000 + draw.randrange(10**6)},'{symbol}')")
    return (
        "-- MySQL dump 10.13  Distrib 8.0.36\n/*!50503 SET NAMES utf8mb4 */;\nCREATE TABLE `core_stock` (\n"
        "  `date` datetime NOT NULL, `open` double, `high` double, `low` double, `close` double, `adjusted_close` double,\n"
        "  `volume` bigint, `symbol` varchar(5) NOT NULL, PRIMARY KEY (`date`,`symbol`)\n) ENGINE=InnoDB;\n"
        f"INSERT INTO `core_stock` VALUES {','.join(rows)};\n-- Dump completed on 2021-04-21  3:00:00\n"
    )


@pytest.mark.parametrize("case", ["Only the dump file", "A container whose port is not published"])
def test_the_readmes_commands_lead_from_a_dump_to_a_ranked_list(tmp_path: Path, case: str) -> None:
    """The commands under a case of the README's migration section, typed as they stand, end in a ranked list of watches."""
    section = text_of(ROOT / "README.md").partition("## Bring your MySQL database along")[2].partition("\n## ")[0]
    block = section.partition(f"**{case}.**")[2].partition("```bash\n")[2].partition("```")[0]
    # The container is not here; what its dump is piped into is.
    commands = [line for line in block.splitlines() if not line.startswith("docker ")]
    assert [line.split()[1] for line in commands] == ["import", "evening"] and "mysqldump" in commands[0]
    name = commands[0].split()[-1]
    data = old_dump().encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    environ = {"PATH": f"{BFT.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "POLARS_MAX_THREADS": "1"}
    for command in commands:
        done = subprocess.run(
            command, shell=True, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
    (ranked,) = (tmp_path / ".bft/signals").iterdir()
    rows = ranked.read_text(encoding="utf-8").splitlines()
    assert ranked.name == "2021-04-20.csv" and len(rows) > 1
    assert "watch   BUY  AAA" in done.stdout and "prices are old" in done.stdout and "1 to execute" not in done.stdout


def test_every_command_is_told_to_the_reader() -> None:
    """Each command of `bft --help` stands in the README or a page of the documentation."""
    told = {words[1] for page in PAGES for words in commands_in(text_of(page)) if len(words) > 1}
    assert {command.name for command in COMMANDS} <= told


def test_the_reference_pages_are_the_programs() -> None:
    """docs/settings.md and docs/exit_codes.md are what scripts/generate_reference_pages.py writes today."""
    for name, page in generator().PAGES.items():
        assert text_of(ROOT / "docs" / name) == page(), (
            f"run {BFT.with_name('python')} scripts/generate_reference_pages.py"
        )


def test_every_setting_is_on_the_page_with_a_variable_that_fills_it(tmp_path: Path) -> None:
    """Each setting that `bft where` shows has its row, its default and its words; each variable named there fills it."""
    page = text_of(ROOT / "docs/settings.md")
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", page, re.MULTILINE))
    found = resolve(tmp_path, {}, {"HOME": str(tmp_path)}).rows()
    assert {row.key for row in found} == set(rows)
    for key, rest in rows.items():
        default, variables, words = (cell.strip() for cell in re.split(r"(?<!\\)\|", rest))
        assert default and len(words) > 3, key
        for variable in re.findall(r"`(\w+)`", variables):
            filled = environment_key(variable)
            assert filled is not None and (key == filled or key.startswith(f"{filled}.")), (key, variable)
    for alias in ALIASES:
        assert f"`{alias}`" in page


def test_the_settings_example_is_taken(tmp_path: Path) -> None:
    """The settings file shown on the page is read without a fault and does what its comments say."""
    (example,) = re.findall(r"```toml\n(.*?)```", text_of(ROOT / "docs/settings.md"), re.DOTALL)
    (tmp_path / "settings.toml").write_text(example, encoding="utf-8")
    settings = resolve(tmp_path, {}, {"HOME": str(tmp_path)}).settings
    assert settings.limits.daily_loss_usd_max == 500
    assert settings.strategies["regression_momentum"].mode == "paper"
    assert settings.strategies["bollinger"].mode == "shadow"
    (combined,) = settings.combine
    assert combined.predicted_return_3d_min == 0
    (tmp_path / "settings.toml").write_text(example.replace("0.03  ", "3  "), encoding="utf-8")
    with pytest.raises(errors.FixSettings, match="300 %"):
        resolve(tmp_path, {}, {"HOME": str(tmp_path)})


def test_every_exit_code_is_on_the_page() -> None:
    """Each kind of error has one row with its code, its name and a way out; the README's codes exist."""
    codes = re.findall(r"^\| (\d+) \| (\w*) ?\|", text_of(ROOT / "docs/exit_codes.md"), re.MULTILINE)
    kinds = {str(k.exit_code): k.__name__ for k in errors.BftError.__subclasses__()}
    assert {code: name for code, name in codes if name} == kinds
    assert {code for code, name in codes if not name} == {"0", "1", str(errors.EXIT_INTERRUPTED)}
    readme = re.findall(r"^\| [^|]+ \| [^|]+ \| (\d+) \|$", text_of(ROOT / "README.md"), re.MULTILINE)
    assert len(readme) >= 8 and set(readme) <= {*kinds, "0"}


def test_the_roadmaps_files_are_where_the_readme_says() -> None:
    """Each path of our own tree that the README names is there."""
    named = re.findall(r"`((?:src|scripts|docs)/[\w./-]+)`", text_of(ROOT / "README.md"))
    assert len(named) >= 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_ticked_box_names_what_shows_it() -> None:
    """A ticked box of TODO.md has a test, command or file beside it, and every test named there exists."""
    text = text_of(ROOT / "TODO.md")
    items = re.split(r"(?=^- \[)", text, flags=re.MULTILINE)[1:]
    assert len(items) >= 57  # the roadmap's 56, and its database
    proof = ""
    for item in reversed(items):  # several boxes may share the proof under the last of them
        own = item.partition("\n\n")[0].partition("\n#")[0]
        if "\n  - " in own:
            proof = own
        if own.startswith("- [x]"):
            assert re.search(r"`(pytest|bft|make|scripts|src|limits|IBKR|~)", proof), own
    for path in re.findall(r"tests/[\w/]+(?:\.py)?", text):
        assert (ROOT / path).exists(), path
    for path, word in re.findall(r"pytest (tests/[\w/]+\.py) -k (\w+)", text):
        assert re.search(rf"def test_\w*{word}", text_of(ROOT / path)), (path, word)


def test_what_is_not_built_is_said() -> None:
    """The README says loudly what this version does not have."""
    _, _, rest = text_of(ROOT / "README.md").partition("## NOT built yet")
    for word in NOT_BUILT:
        assert f"**{word}" in rest, word


def test_pictures_are_small_and_used() -> None:
    """Each picture of docs/images is a PNG under 200 KB that a page shows."""
    told = "".join(text_of(page) for page in PAGES)
    pictures = sorted((ROOT / "docs/images").iterdir())
    assert pictures
    for picture in pictures:
        data = picture.read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) < 200_000, picture
        assert f"images/{picture.name}" in told, picture


def test_the_pages_name_no_machine_and_no_placeholder() -> None:
    """No page holds a path of the machine it was written on or a word left to fill in."""
    for page in PAGES:
        found = re.findall(r"/work/|/root/|/tmp/|DEMO_OUTPUT|EVENING_OUTPUT|FIXME|XXX|lorem", text_of(page))
        assert found == [], (page, found)


def test_the_project_file_and_the_changelog_agree() -> None:
    """The newest version of the changelog is the project's."""
    version = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["version"]
    newest = re.search(r"^## (\S+)", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert newest is not None and newest.group(1) == version
