"""Charts as inline SVG: no script, no font, nothing fetched. Numbers in, markup out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 84, 12, 14, 34


@dataclass(frozen=True, slots=True)
class Line:
    """One series; None breaks it. `style`: the CSS class that colours it."""

    label: str
    style: str
    values: Sequence[float | None]


def _ticks(low: float, high: float) -> list[float]:
    """Return three to eight round numbers inside the range, 1, 2 or 5 times a power of ten apart."""
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = next(n * power for n in (5, 2, 1) if (high - low) / (n * power) >= 3)
    first = math.ceil(low / step)
    return [step * i for i in range(first, math.floor(high / step) + 1)]


def _axis(value: float, step: float) -> str:
    decimals = max(0, -math.floor(math.log10(step)))
    return f"{value:,.{decimals}f}"


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        return low - 1, high + 1
    pad = (high - low) * 0.05
    return low - pad, high + pad


def line_chart(title: str, labels: Sequence[str], lines: Sequence[Line], unit: str) -> str:
    """Return a chart of lines over `labels` (all of one length); a sentence where there is nothing to draw."""
    known = [v for line in lines for v in line.values if v is not None]
    if not known or len(labels) < 2:
        return f"<figure><figcaption>{escape(title)}</figcaption><p>Nothing to draw yet.</p></figure>"
    low, high = _range(known)
    x_step = (WIDTH - LEFT - RIGHT) / (len(labels) - 1)

    def x(i: int) -> float:
        return LEFT + i * x_step

    def y(v: float) -> float:
        return TOP + (high - v) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    ticks = _ticks(low, high)
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(
            f'<text class="axis" x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{_axis(tick, ticks[1] - ticks[0])}</text>'
        )
    for i, anchor in ((0, "start"), (len(labels) // 2, "middle"), (len(labels) - 1, "end")):
        parts.append(
            f'<text class="axis" x="{x(i):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{escape(labels[i])}</text>'
        )
    for line in lines:
        points: list[str] = []
        for i, v in enumerate(line.values):
            if v is None:
                continue
            points.append(f"{x(i):.1f},{y(v):.1f}")
        if points:
            parts.append(f'<polyline class="{escape(line.style)}" points="{" ".join(points)}"/>')
    parts.append("</svg>")
    legend = " ".join(f'<span class="key {escape(n.style)}">{escape(n.label)}</span>' for n in lines)
    return f"<figure><figcaption>{escape(title)} ({escape(unit)}) {legend}</figcaption>{''.join(parts)}</figure>"


def bar_chart(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Return horizontal bars: label, value, and the words shown at the end of the bar."""
    if not rows:
        return f"<figure><figcaption>{escape(title)}</figcaption><p>None.</p></figure>"
    most = max(value for _, value, _ in rows) or 1.0
    body = "".join(
        f'<div class="bar"><span class="name">{escape(label)}</span>'
        f'<span class="track"><span class="fill" style="width:{value / most * 100:.1f}%"></span></span>'
        f'<span class="words">{escape(words)}</span></div>'
        for label, value, words in rows
    )
    return f"<figure><figcaption>{escape(title)}</figcaption>{body}</figure>"
