"""Values of the wire: a cursor that reads a request's fields in order, and the spelling of what is sent.

Unset is spelled many ways by clients (empty, the largest double, the largest integers); all of them read as None.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from bar_fly_simulators.gateway.framing import MalformedMessage

NEW_YORK = ZoneInfo("America/New_York")
UNSET_INTEGERS = frozenset({2147483647, 9223372036854775807, -9223372036854775808})
UNSET_DOUBLE = Decimal("1.7976931348623157E308")


class Cursor:
    """Reads fields in order; MalformedMessage where one is missing, is not what it must be, or is left over."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = fields
        self._at = 0

    def text(self) -> str:
        """Return the next field as it is."""
        if self._at >= len(self._fields):
            raise MalformedMessage(f"field {self._at} is missing")
        self._at += 1
        return self._fields[self._at - 1]

    def skip(self, count: int) -> None:
        """Pass over `count` fields."""
        for _ in range(count):
            self.text()

    def integer_or_none(self) -> int | None:
        """Return the next field as an integer, None where unset."""
        text = self.text()
        if not text:
            return None
        # int() alone would accept spaces, underscores and the digits of other scripts.
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 20):
            raise MalformedMessage(f"field {self._at - 1} is not an integer: {text[:40]!r}")
        value = int(text)
        return None if value in UNSET_INTEGERS else value

    def integer(self) -> int:
        """Return the next field as an integer that must be set."""
        value = self.integer_or_none()
        if value is None:
            raise MalformedMessage(f"field {self._at - 1} is an unset integer")
        return value

    def count(self) -> int:
        """Return the next field as the number of groups that follow; unset is 0."""
        value = self.integer_or_none() or 0
        if not 0 <= value <= len(self._fields) - self._at:
            raise MalformedMessage(f"field {self._at - 1} counts {value} groups in {len(self._fields)} fields")
        return value

    def decimal_or_none(self) -> Decimal | None:
        """Return the next field as a finite number, None where unset or infinite."""
        text = self.text()
        if text in {"", "Infinite", "Infinity"}:
            return None
        try:
            value = Decimal(text) if len(text) <= 40 else None
        except InvalidOperation:
            value = None
        if value is None or not value.is_finite():
            raise MalformedMessage(f"field {self._at - 1} is not a number: {text[:40]!r}")
        return None if abs(value) >= UNSET_DOUBLE else value

    def flag(self) -> bool:
        """Return the next field as yes or no; unset is no."""
        text = self.text()
        if text not in {"", "0", "1"}:
            raise MalformedMessage(f"field {self._at - 1} is not 0 or 1: {text[:40]!r}")
        return text == "1"

    def end(self) -> None:
        """Raise MalformedMessage where anything is left over."""
        if self._at != len(self._fields):
            raise MalformedMessage(f"{len(self._fields) - self._at} fields are left over after field {self._at - 1}")


def number(value: Decimal | int | None) -> str:
    """Return a number in plain notation without trailing zeros, empty where unset."""
    if value is None:
        return ""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def money(value: Decimal) -> str:
    """Return dollars and cents as account values spell them."""
    return format(value, ".2f")


def eastern(at_us: int) -> datetime:
    """Return a UTC microsecond as New York's wall time."""
    return datetime.fromtimestamp(at_us // 1_000_000, NEW_YORK)


def execution_time(at_us: int) -> str:
    """Return `YYYYMMDD HH:MM:SS US/Eastern`: the dash form would be read in the client machine's own time zone."""
    return f"{eastern(at_us):%Y%m%d %H:%M:%S} US/Eastern"
