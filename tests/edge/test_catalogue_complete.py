"""No row of the failure catalogue's data part is without a test that bears its id."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CATALOGUE = TESTS.parent.parent / "shared/reference/reliability_and_security.md"
DATA_ROWS = tuple(f"d{number}" for number in range(1, 31))
_ID = re.compile(r"(?<=_)d\d+(?=_)")


def ids_tested() -> dict[str, list[str]]:
    """Return the tests of each catalogue id that stands in their names, in every test file."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for row in _ID.findall(node.name):
                    found.setdefault(row, []).append(f"{path.relative_to(TESTS)}::{node.name}")
    return found


def test_every_data_row_of_the_catalogue_has_a_test_with_its_id() -> None:
    """D1 to D30 are each in the name of a test; none of those tests is skipped outright."""
    tested = ids_tested()
    assert [row for row in DATA_ROWS if row not in tested] == []
    skipped = [
        name
        for row in DATA_ROWS
        for name in tested[row]
        if re.search(
            rf"@pytest\.mark\.(skip|xfail)\b[^@]*?def {name.partition('::')[2]}\(",
            (TESTS / name.partition("::")[0]).read_text(),
            re.DOTALL,
        )
    ]
    assert skipped == []


def test_the_list_of_rows_is_the_catalogues() -> None:
    """Where the catalogue lies beside the checkout, its data rows are exactly those of the list here."""
    if not CATALOGUE.exists():
        pytest.skip(f"{CATALOGUE} is not beside this checkout")
    rows = re.findall(r"^\| (D\d+) \|", CATALOGUE.read_text(), re.MULTILINE)
    assert tuple(row.lower() for row in rows) == DATA_ROWS
