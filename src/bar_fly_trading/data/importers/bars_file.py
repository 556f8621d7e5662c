"""One bars file, CSV or Parquet, read into typed columns; whatever cannot be read is a fault, never a guess."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bar_fly_trading.facts.instruments import canonical_symbol
from bar_fly_trading.facts.tables import BARS

_VALUES = tuple(name for name in BARS.columns if name not in ("instrument_id", "session"))
_COLUMNS = ("symbol", "session", *_VALUES)
# A column of another meaning makes every row faulty: so many are kept one by one, the rest as a count.
FAULTS_KEPT = 10_000
_ABSENT = ("", "None", "none", "null", "-", ".", "NaN", "nan")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a file: where (None: the whole file), of which symbol and date, and what."""

    path: Path
    place: str | None
    symbol: str | None
    day: str | None
    what: str

    def __str__(self) -> str:
        where = " ".join(part for part in (self.place, self.symbol, self.day) if part)
        return f"{self.path}: {where}: {self.what}" if where else f"{self.path}: {self.what}"


def read_bars_file(path: Path) -> tuple[pl.DataFrame, tuple[Fault, ...]]:
    """Return the file's rows in order (symbol in canonical spelling, session, then the bar's values), and its faults.

    Where there are faults the frame is not to be used. An empty cell or a word for "no number" is null, which the
    validator refuses; other text where a number belongs is a fault here, with its line.
    """
    try:
        raw = _read(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        return pl.DataFrame(), (Fault(path, None, None, None, f"cannot be read: {_first_line(error)}"),)
    names = {name: name.strip().lower().replace(" ", "_") for name in raw.columns}
    if len(set(names.values())) < len(names):
        return pl.DataFrame(), (Fault(path, None, None, None, "two columns have the same name"),)
    raw = raw.rename(names)
    for spelling in ("date", "timestamp"):
        if "session" not in raw.columns and spelling in raw.columns:
            raw = raw.rename({spelling: "session"})
    if "symbol" not in raw.columns:
        raw = raw.with_columns(pl.lit(path.stem).alias("symbol"))
    missing = [name for name in _COLUMNS if name not in raw.columns]
    if missing:
        words = ["date (or timestamp)" if name == "session" else name for name in missing]
        return pl.DataFrame(), tuple(Fault(path, None, None, None, f"column {word} is missing") for word in words)
    if raw.is_empty():
        return pl.DataFrame(), (Fault(path, None, None, None, "has no rows"),)
    return _typed(path, raw.select(_COLUMNS))


def _read(path: Path) -> pl.DataFrame:
    if path.suffix.lower() == ".parquet":
        return pl.read_parquet(path)
    return pl.read_csv(path, infer_schema=False, null_values=[""])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]


def place_of(path: Path, row: int) -> str:
    """Return where a row (from 0) stands in the file: its line in a CSV, its number from 1 in a Parquet file."""
    return f"row {row + 1}" if path.suffix.lower() == ".parquet" else f"line {row + 2}"


def _typed(path: Path, raw: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Fault, ...]]:
    typed = raw.select(
        pl.col("symbol").cast(pl.String),
        _day(raw.schema["session"]),
        *(_number(name, raw.schema[name]) for name in _VALUES),
    )
    faults = [fault for name in ("session", *_VALUES) for fault in _unreadable(path, raw, typed, name)]
    symbols: dict[str | None, str] = {}
    for text in typed["symbol"].unique(maintain_order=True):
        try:
            symbols[text] = canonical_symbol(text or "")
        except ValueError:
            mask = typed["symbol"].eq_missing(pl.Series([text], dtype=pl.String))
            row = mask.arg_true()[0]
            faults.append(Fault(path, place_of(path, row), text, None, f"not a symbol ({mask.sum()} rows)"))
    if faults:
        return pl.DataFrame(), tuple(faults)
    typed = typed.with_columns(pl.col("symbol").replace_strict(symbols, return_dtype=pl.String))
    return typed.with_columns(pl.col("volume").cast(pl.Int64)), ()


def _day(kind: pl.DataType) -> pl.Expr:
    column = pl.col("session")
    if kind == pl.Date() or isinstance(kind, pl.Datetime):
        return column.cast(pl.Date)
    text = column.cast(pl.String).str.strip_chars().str.replace(r"[ T]00:00:00(\.0+)?$", "")
    return text.str.to_date("%Y-%m-%d", strict=False)


def _number(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if kind == pl.String():
        text = column.str.strip_chars()
        column = pl.when(text.is_in(_ABSENT)).then(None).otherwise(text)
    number = column.cast(pl.Float64, strict=False)
    if name == "volume":
        number = pl.when(number.round() == number).then(number)
    return number.alias(name)


def _unreadable(path: Path, raw: pl.DataFrame, typed: pl.DataFrame, name: str) -> list[Fault]:
    given = raw[name].is_not_null()
    if raw.schema[name] == pl.String() and name != "session":
        given &= ~raw[name].str.strip_chars().is_in(_ABSENT)
    if raw.schema[name] in (pl.Float64(), pl.Float32()):
        given &= raw[name].is_not_nan()
    rows = (given & typed[name].is_null()).arg_true()
    word = "date" if name == "session" else name
    more = rows.len() - FAULTS_KEPT
    return [
        Fault(
            path,
            place_of(path, row),
            typed["symbol"][row],
            None if name == "session" or typed["session"][row] is None else str(typed["session"][row]),
            f"{word} is {str(raw[name][row])[:40]!r}",
        )
        for row in rows.head(FAULTS_KEPT)
    ] + ([Fault(path, None, None, None, f"and {more} more rows whose {word} cannot be read")] if more > 0 else [])
