"""Earnings and company overview as they were known: the newest report and its year, the newest snapshot."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import polars as pl

from bar_fly_trading.facts.overview_fields import OVERVIEW_COUNTS, OVERVIEW_TEXTS, VENDOR_NAMES
from bar_fly_trading.features.evenings import CODE, SEEN, Evenings, epoch_day, known_day
from bar_fly_trading.features.packing import Booleans, Floats

# A quarter is carried until the next report is long overdue: a company reports within 90 days of a quarter's end, and a
# quarter lasts 92.
QUARTER_AGE_DAYS_MAX = 200
# The ends of four quarters in a row lie within three quarters (273 to 280 days); those of five do not.
YEAR_OF_QUARTERS_DAYS = 300
QUARTERS = 4
# The overview of a name comes round in a month: by then three rounds were missed.
SNAPSHOT_AGE_DAYS_MAX = 100
# Vendors quote at most four decimals; what a sum or a split leaves beyond is rounding.
_EPS_DECIMALS = 6

_AMOUNTS = ("reported_eps", "estimated_eps", "surprise")
EARNINGS_COLUMNS = ("fiscal_date_ending", *_AMOUNTS, "ttm_eps", "surprise_percentage", "pe_ratio")

# The 52-week range of `all_data` is computed from the bars, not taken from here.
_NUMBERS = tuple(
    name for name in VENDOR_NAMES if name not in {*OVERVIEW_TEXTS, *OVERVIEW_COUNTS, "52_week_high", "52_week_low"}
)
OVERVIEW_SCHEMA: dict[str, pl.DataType] = {
    **dict.fromkeys(OVERVIEW_TEXTS, pl.String()),
    **dict.fromkeys(_NUMBERS, pl.Float64()),
    **dict.fromkeys(OVERVIEW_COUNTS, pl.Int64()),
}
# What the vendor writes where it has nothing.
_NOTHING = frozenset({"", "None", "none", "-", ".", "null", "N/A", "NaN", "nan", "0000-00-00"})


def earnings_columns(
    facts: pl.DataFrame, rows: Evenings, close: Floats, shares: Floats, usable: Booleans
) -> list[pl.Series]:
    """Return EARNINGS_COLUMNS, one value a row of the table.

    `facts`: every row of `earnings`; a row without a reported EPS is no report. `close` [row] USD as traded; `shares` [row]: how
    many shares one share of the instrument's first session has become by then. Units: USD a share of the row's session,
    percent. A row sees the report of the newest quarter announced by its evening, in the newest revision known by then,
    until QUARTER_AGE_DAYS_MAX after the quarter's end. `ttm_eps`: the sum of the last four quarters known, null where they are not
    four in a row. `pe_ratio`: close over ttm_eps, negative after a year of losses, null where ttm_eps is 0.
    """
    reports = facts.filter(pl.col("reported_eps").is_finite() & (epoch_day("fiscal_date_ending") <= known_day(facts)))
    reports = rows.seen(reports).with_columns(fiscal=epoch_day("fiscal_date_ending"))
    if reports.is_empty():
        return []
    reports = reports.with_columns(pl.Series("shares", _shares_at(reports, rows, shares)))
    states = _states(reports)
    until = states["fiscal"].to_numpy() + QUARTER_AGE_DAYS_MAX
    index = rows.newest(states[CODE].to_numpy(), states[SEEN].to_numpy(), until)
    now = pl.Series("now", shares)
    moved = {name: _in_shares_of(states, name, index, now) for name in (*_AMOUNTS, "ttm_eps")}
    # Rounded here and once, so that a year that sums to nothing is 0 and not the trace of its parts.
    moved["ttm_eps"] = moved["ttm_eps"].round(_EPS_DECIMALS)
    ttm = moved["ttm_eps"].fill_null(np.nan).to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(usable & (ttm != 0.0), close / ttm, np.nan)
    moved["pe_ratio"] = pl.Series("pe_ratio", ratio).fill_nan(None)
    plain = {name: states[name].gather(index) for name in ("fiscal_date_ending", "surprise_percentage")}
    found = plain | moved
    return [found[name] for name in EARNINGS_COLUMNS]


def _in_shares_of(states: pl.DataFrame, name: str, index: pl.Series, now: pl.Series) -> pl.Series:
    """Return an amount a share at each row, in shares of the row's session; as received where no split came between."""
    amount, before = states[name].gather(index), states["shares"].gather(index)
    if (states["shares"] == 1.0).all() and (now == 1.0).all():
        return amount
    frame = pl.DataFrame({"amount": amount, "before": before, "now": now})
    moved = (pl.col("amount") * (pl.col("before") / pl.col("now"))).round(_EPS_DECIMALS)
    same = pl.col("before") == pl.col("now")
    return frame.select(pl.when(same).then("amount").otherwise(moved).alias(name)).to_series()


def _shares_at(reports: pl.DataFrame, rows: Evenings, shares: Floats) -> Floats:
    """Return `shares` of the newest session up to the day that first saw each report; of the first session before it."""
    keys = rows.codes * np.int64(1 << 32) + rows.days
    wanted = reports[CODE].to_numpy() * np.int64(1 << 32) + reports[SEEN].to_numpy()
    place = np.searchsorted(keys, wanted, side="right") - 1
    before = (place < 0) | (rows.codes[np.maximum(place, 0)] != reports[CODE].to_numpy())
    # Before its first session an instrument has its first shares.
    found: Floats = np.where(before, 1.0, shares[np.maximum(place, 0)])
    return found


def _states(reports: pl.DataFrame) -> pl.DataFrame:
    """Return what is known of an instrument after each day that brought a report: its newest quarter, and its year.

    `reports`: sorted by instrument and by when they became known, with `fiscal` (days) and `shares`.
    """
    newest = pl.col("fiscal").cum_max().over(CODE)
    days = reports.select(CODE, SEEN, newest=newest).unique([CODE, SEEN], keep="last", maintain_order=True)
    gone = pl.col(SEEN).shift(-1, fill_value=np.iinfo(np.int64).max).over(CODE, "fiscal")
    live = reports.with_columns(gone=gone, bucket=pl.col("fiscal") // YEAR_OF_QUARTERS_DAYS)
    live = live.filter(pl.col(SEEN) < pl.col("gone"))
    # A year of quarters lies in the newest one's bucket and the one before.
    bucket = pl.col("newest") // YEAR_OF_QUARTERS_DAYS
    wanted = pl.concat([days.with_columns(bucket=bucket), days.with_columns(bucket=bucket - 1)])
    standing = live.select(CODE, "bucket", "gone", "fiscal", "reported_eps", "shares", since=SEEN)
    pairs = wanted.join(standing, on=[CODE, "bucket"], how="inner").filter(
        (pl.col("since") <= pl.col(SEEN))
        & (pl.col("gone") > pl.col(SEEN))
        & (pl.col("fiscal") <= pl.col("newest"))
        & (pl.col("fiscal") > pl.col("newest") - YEAR_OF_QUARTERS_DAYS)
    )
    pairs = pairs.sort(CODE, SEEN, "fiscal")
    years = pairs.group_by(CODE, SEEN, maintain_order=True).agg(
        year=(pl.col("reported_eps") * pl.col("shares")).sum(), quarters=pl.len()
    )
    report = pairs.filter(pl.col("fiscal") == pl.col("newest")).select(CODE, SEEN, "fiscal", "since")
    details = live.select(
        *(CODE, "fiscal", "fiscal_date_ending", "shares", *_AMOUNTS, "surprise_percentage"), since=SEEN
    )
    states = report.join(details, on=[CODE, "fiscal", "since"], how="left", maintain_order="left")
    states = states.join(years, on=[CODE, SEEN], how="left", maintain_order="left")
    year = pl.col("year") / pl.col("shares")
    return states.with_columns(ttm_eps=pl.when(pl.col("quarters") == QUARTERS).then(year))


def overview_columns(overviews: pl.DataFrame, sectors: pl.DataFrame, rows: Evenings) -> list[pl.Series]:
    """Return the columns of OVERVIEW_SCHEMA that have any value, one value a row of the table.

    `overviews`, `sectors`: every row of these tables. Units: the vendor's (USD, shares, fractions). A row sees the newest
    snapshot known by its evening, for SNAPSHOT_AGE_DAYS_MAX after its receipt: never one from after the session. The sector
    is that of the `sectors` table where the instrument has one by then, else the snapshot's. A value that cannot be read is null.
    """
    columns: dict[str, pl.Series] = {}
    snapshots = rows.seen(overviews).unique([CODE, SEEN], keep="last", maintain_order=True)
    if snapshots.height:
        index = rows.newest(
            snapshots[CODE].to_numpy(),
            snapshots[SEEN].to_numpy(),
            snapshots.select(known_day(snapshots)).to_series().to_numpy() + SNAPSHOT_AGE_DAYS_MAX,
        )
        fields = pl.DataFrame(
            [overview_fields(text) for text in snapshots["snapshot"]], schema=OVERVIEW_SCHEMA, orient="row"
        )
        columns = {column.name: column.gather(index) for column in fields}
    named = rows.seen(sectors).unique([CODE, SEEN], keep="last", maintain_order=True)
    if named.height:
        index = rows.newest(named[CODE].to_numpy(), named[SEEN].to_numpy())
        sector = named["sector"].gather(index)
        columns["sector"] = sector.zip_with(sector.is_not_null(), columns["sector"]) if columns else sector
    return [columns[name].alias(name) for name in OVERVIEW_SCHEMA if name in columns]


def overview_fields(snapshot: str | None) -> dict[str, str | float | int | None]:
    """Read the fields of OVERVIEW_SCHEMA from a snapshot's JSON text; null for what is absent, unreadable or no number."""
    try:
        body = json.loads(snapshot or "")
    except ValueError:
        body = None
    if not isinstance(body, Mapping):
        body = {}
    texts = {name: _text(body.get(VENDOR_NAMES[name])) for name in OVERVIEW_TEXTS}
    numbers = {name: _number(body.get(VENDOR_NAMES[name])) for name in _NUMBERS}
    counts = {name: _count(body.get(VENDOR_NAMES[name])) for name in OVERVIEW_COUNTS}
    return {**texts, **numbers, **counts}


def _text(value: object) -> str | None:
    text = "" if value is None else str(value).strip()
    return None if text in _NOTHING else text


def _number(value: object) -> float | None:
    text = _text(value)
    try:
        number = math.nan if text is None else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _count(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() and abs(number) < 2**63 else None
