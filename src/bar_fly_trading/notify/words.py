"""How mails write numbers, prices and sentences."""

from __future__ import annotations

import math
from decimal import Decimal

UNKNOWN = "-"


def usd(value: Decimal | float | None) -> str:
    """Return dollars with thousands and cents, `-` where unknown or no number."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"-${-value:,.2f}" if value < 0 else f"${value:,.2f}"


def number(value: float | None) -> str:
    """Return a number in six significant digits, whole from a million on, `-` where unknown or no number."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if abs(value) >= 1_000_000:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.6g}"


def price(value: Decimal) -> str:
    """Return a price in dollars with at least two decimals, and as many as it has."""
    cents = value.quantize(Decimal("0.01"))
    return f"${cents if cents == value else value.normalize():,f}"


def measured(name: str, value: float | None) -> tuple[str, str]:
    """Return the label and the words of a named number: `_usd` is dollars, `_fraction` and returns are percent."""
    label = name.removesuffix("_usd").removesuffix("_fraction").replace("_", " ")
    if value is None:
        return label, UNKNOWN
    if name.endswith("_usd") or name == "dollar_volume":
        return label, f"${value:,.0f}" if abs(value) >= 1_000_000 else usd(value)
    if name.endswith("_fraction") or name.startswith("return_") or name == "recent_performance":
        return label, f"{value * 100:+.2f} %"
    return label, number(value)


def sentence(text: str) -> str:
    """Return the text with a full stop, where it has no end of its own."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def counted(count: int, noun: str) -> str:
    """Return `1 mail` or `2 mails`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def capital(text: str) -> str:
    """Return the text with a capital, unless it begins with a name or number."""
    word = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if word.isalpha() and word.islower() else text
