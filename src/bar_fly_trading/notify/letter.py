"""A letter: what a mail says, before it is text or HTML. Everything in it is plain text; HTML escapes all of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

TEXT_WIDTH = 72


@dataclass(frozen=True, slots=True)
class Facts:
    """A titled list of label and value."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: its cells, a line of detail under them, and its tone (good, bad, quiet or '')."""

    cells: tuple[str, ...]
    detail: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table; `numeric`: the columns (by index) that line up on the right; `empty`: said where there is no row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: frozenset[int] = frozenset()
    empty: str = "None."


@dataclass(frozen=True, slots=True)
class Note:
    """A titled paragraph; `code` shows it as a command to copy."""

    title: str
    text: str
    code: bool = False


Block = Facts | Table | Note


@dataclass(frozen=True, slots=True)
class Letter:
    """A whole mail: the heading, one verdict with its tone (good, bad, warn, quiet), the blocks, and a last line."""

    heading: str
    verdict: str
    tone: str
    blocks: tuple[Block, ...]
    footer: str


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("bar_fly_trading.notify"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["facts"] = lambda block: isinstance(block, Facts)
    environment.tests["table"] = lambda block: isinstance(block, Table)
    return environment.get_template("letter.html.j2")


def to_html(letter: Letter) -> str:
    """Return the letter as one self-contained HTML page, inline styles only, readable on a phone."""
    return _template().render(letter=letter)


def to_text(letter: Letter) -> str:
    """Return the letter as plain text, tables aligned."""
    parts = [letter.heading, "=" * min(len(letter.heading), TEXT_WIDTH), "", letter.verdict, ""]
    for block in letter.blocks:
        parts += [block.title, "-" * min(len(block.title), TEXT_WIDTH), *_block_lines(block), ""]
    return "\n".join([*parts, "-- ", letter.footer, ""])


def _block_lines(block: Block) -> list[str]:
    if isinstance(block, Note):
        return [f"    {line}" if block.code else line for line in block.text.splitlines()]
    if isinstance(block, Facts):
        width = max((len(label) for label, _ in block.rows), default=0)
        return [f"{label:<{width}}  {value}" for label, value in block.rows]
    if not block.rows:
        return [block.empty]
    lines = [block.columns, *(row.cells for row in block.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(block.columns))]
    shown = [_aligned(line, widths, block.numeric) for line in lines]
    details = ["", *(row.detail for row in block.rows)]
    return [
        part for line, detail in zip(shown, details, strict=True) for part in (line, f"    {detail}") if part.strip()
    ]


def _aligned(cells: tuple[str, ...], widths: list[int], numeric: frozenset[int]) -> str:
    pairs = enumerate(zip(cells, widths, strict=True))
    return "  ".join(f"{cell:>{width}}" if i in numeric else f"{cell:<{width}}" for i, (cell, width) in pairs).rstrip()
