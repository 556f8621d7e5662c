"""Columns that rest on dated facts: against a slow row-by-row computation, with tomorrow deleted, and worked by hand."""

from __future__ import annotations

import json
import math
import os
import statistics
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_fly_trading.facts.sessions import DAY_US, Calendar, evening_us
from bar_fly_trading.facts.tables import EARNINGS, MACRO, OPTIONS_SUMMARY, OVERVIEW, SECTORS, Table
from bar_fly_trading.features.dated_facts import DatedFacts
from bar_fly_trading.features.fundamentals import EARNINGS_COLUMNS, OVERVIEW_SCHEMA
from bar_fly_trading.features.macro import MACRO_COLUMNS
from bar_fly_trading.features.options import OPTION_COLUMNS
from bar_fly_trading.features.screener import SIGNALS
from bar_fly_trading.features.table import FACT_SCHEMA, LABELS, build

LONG = bool(os.environ.get("BFT_PROVE"))
SESSIONS = Calendar().sessions(date(2019, 10, 1), date(2021, 3, 31))
SYMBOLS = {"us:A": "A", "us:B": "B", "us:C": "C"}
# The slow computation takes each so manieth row: its time grows with the square of the sessions.
EVERY = 7
Row = dict[str, Any]


def make_bars(seed: int, sessions: tuple[date, ...] | list[date] = SESSIONS) -> pl.DataFrame:
    """Return seeded bars of three names: gaps, a bar without a price, splits of 4:1, 3:2 and 1:10."""
    frames = []
    for k, instrument_id in enumerate(SYMBOLS):
        rng = np.random.default_rng([seed, k])
        days = [day for day in sessions if rng.random() > 0.03]
        n = len(days)
        split = np.ones(n)
        for place, factor in zip(rng.integers(0, n, 3), (4.0, 1.5, 0.1), strict=True):
            split[place] = factor
        true = 40.0 * np.exp(np.cumsum(rng.normal(0, 0.02, n)))
        close = true / np.cumprod(split)
        high = close * 1.012
        high[rng.integers(0, n)] = np.nan
        frames.append(
            pl.DataFrame(
                {
                    "instrument_id": [instrument_id] * n,
                    "session": days,
                    "open": close * 1.001,
                    "high": high,
                    "low": close * 0.988,
                    "close": close,
                    "adjusted_close": true,
                    "volume": rng.integers(1_000, 2_000, n),
                    "dividend_amount": np.zeros(n),
                    "split_coefficient": split,
                }
            )
        )
    return pl.concat(frames)


def frame(table: Table, rows: list[Row]) -> pl.DataFrame:
    """Return rows as a stored table."""
    return pl.DataFrame(rows, schema=table.schema(), orient="row")


def random_facts(seed: int, sessions: tuple[date, ...] | list[date] = SESSIONS) -> DatedFacts:
    """Return seeded facts: revisions, two of them at once, gaps, nulls, late ones, of names and series not in the table too."""
    rng = np.random.default_rng([seed, 99])
    first, last = sessions[0], sessions[-1]
    span = (last - first).days

    def known(day: date) -> tuple[int, int]:
        """Return known_at and recorded_at, on the cut itself often and twice at once often."""
        at = evening_us(day) + int(rng.choice([0, 0, 1, -1, 3_600_000_000, -6 * 3_600_000_000]))
        return at, at + int(rng.choice([0, 0, DAY_US]))

    def some_day(back: int = 60) -> date:
        return first + timedelta(days=int(rng.integers(-back, span + 10)))

    def maybe(value: object, share: float = 0.05) -> Any:
        return None if rng.random() < share else value

    ids = [*SYMBOLS, "us:Z"]
    earnings: list[Row] = []
    for instrument_id in ids:
        for quarter in range(12):
            month = 3 * (quarter % 4) + 3
            end = date(2018 + quarter // 4 + (quarter % 4 == 3), month % 12 + 1, 1) - timedelta(days=1)
            if rng.random() < 0.08:
                continue
            for revision in range(int(rng.choice([1, 1, 1, 2, 3]))):
                day = end + timedelta(days=int(rng.integers(10, 50)) + 90 * (revision and int(rng.integers(0, 4))))
                at, recorded = known(day)
                eps = round(float(rng.normal(0.5, 0.6)), 2)
                earnings.append(
                    {
                        "instrument_id": instrument_id,
                        "fiscal_date_ending": end,
                        "reported_date": maybe(day),
                        "report_time": None,
                        "reported_eps": maybe(eps),
                        "estimated_eps": maybe(round(eps - 0.1, 4)),
                        "surprise": 0.1,
                        "surprise_percentage": maybe(12.5),
                        "known_at": at,
                        "recorded_at": recorded,
                    }
                )
    overview: list[Row] = []
    for instrument_id in ids:
        for _ in range(5):
            at, recorded = known(some_day())
            body = {
                "Sector": str(rng.choice(["TECH", "None", "-"])),
                "Beta": str(rng.choice(["1.2", "None", "x", "nan"])),
            }
            body |= {"AnalystRatingBuy": str(rng.integers(0, 9)), "MarketCapitalization": str(rng.integers(1, 10**12))}
            text = "no json" if rng.random() < 0.05 else json.dumps(body)
            overview.append({"instrument_id": instrument_id, "snapshot": text, "known_at": at, "recorded_at": recorded})
    sectors: list[Row] = []
    for instrument_id in ("us:A", "us:Z"):
        for name in ("Energy", None, "Utilities"):
            at, recorded = known(some_day())
            row: Row = {"instrument_id": instrument_id, "sector": name, "name": None}
            sectors.append({**row, "known_at": at, "recorded_at": recorded})
    macro: list[Row] = []
    for series in ("cpi", "federal_funds_rate", "treasury_yield_3month"):
        for _ in range(60):
            period = some_day(-40).replace(day=1) if series == "cpi" else some_day()
            if series == "cpi" and 150 < (period - first).days < 360:
                continue
            for _ in range(int(rng.choice([1, 1, 2]))):
                at, recorded = known(period + timedelta(days=int(rng.integers(0, 60))))
                value: Row = {"series": series, "date": period, "value": maybe(float(rng.normal(250, 1)))}
                macro.append({**value, "known_at": at, "recorded_at": recorded})
    options: list[Row] = []
    for instrument_id in ids:
        for day in sessions:
            if rng.random() < 0.02:
                continue
            for revision in range(int(rng.choice([1] * 20 + [2, 3]))):
                late = timedelta(days=int(rng.integers(0, 20)) if revision or rng.random() < 0.02 else 0)
                at, recorded = known(day + late)
                calls, puts = int(rng.choice([0, *rng.integers(1, 900, 30)])), int(rng.integers(0, 900))
                total = maybe(calls + puts, 0.01)
                volumes: Row = {
                    "instrument_id": instrument_id,
                    "session": day,
                    "call_volume": calls,
                    "put_volume": puts,
                }
                options.append({**volumes, "total_volume": total, "known_at": at, "recorded_at": recorded})
    shuffled = [list(rng.permutation(np.array(rows, dtype=object))) for rows in (earnings, overview, macro, options)]
    tables = (EARNINGS, OVERVIEW, MACRO, OPTIONS_SUMMARY)
    found = [frame(table, rows) for table, rows in zip(tables, shuffled, strict=True)]
    return DatedFacts(found[0], found[1], found[2], found[3], frame(SECTORS, sectors))


# ---------------------------------------------------------------- the slow computation


def newest(rows: list[Row], key: tuple[str, ...], at_us: int) -> list[Row]:
    """Return of each key its newest row known by an instant; of ties the later recorded, then the later row."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        if row["known_at"] <= at_us:
            held = found.get(tuple(row[k] for k in key))
            order = (row["known_at"], row["recorded_at"])
            if held is None or order >= (held["known_at"], held["recorded_at"]):
                found[tuple(row[k] for k in key)] = row
    return list(found.values())


def day_seen(at_us: int, floor: date) -> date:
    """Return the first day, not before `floor`, whose evening knows an instant."""
    day = floor
    while evening_us(day) < at_us:
        day += timedelta(days=1)
    return day


def slow_earnings(rows: list[Row], bars: list[Row], at: int) -> Row:
    """Compute the earnings columns of one bar of an instrument, all its reports and bars given."""
    bar = bars[at]
    session, cut = bar["session"], evening_us(bar["session"])
    reports = [r for r in rows if r["reported_eps"] is not None]
    reports = newest(reports, ("fiscal_date_ending",), cut)
    reports.sort(key=lambda r: r["fiscal_date_ending"])
    if not reports or (session - reports[-1]["fiscal_date_ending"]).days > 200:
        return dict.fromkeys(EARNINGS_COLUMNS)

    def scale(report: Row) -> float:
        seen = day_seen(report["known_at"], bars[0]["session"])
        factor = 1.0
        for other in bars[1:]:
            if seen < other["session"] <= session:
                factor *= other["split_coefficient"]
        return factor

    last = reports[-1]
    year = [r for r in reports if (last["fiscal_date_ending"] - r["fiscal_date_ending"]).days < 300]
    ttm = sum(r["reported_eps"] / scale(r) for r in year) if len(year) == 4 else None
    found: Row = {"fiscal_date_ending": last["fiscal_date_ending"], "surprise_percentage": last["surprise_percentage"]}
    for name in ("reported_eps", "estimated_eps", "surprise"):
        found[name] = None if last[name] is None else last[name] / scale(last)
    found["ttm_eps"] = ttm
    usable = all(math.isfinite(bar[p]) and bar[p] > 0 for p in ("open", "high", "low", "close", "adjusted_close"))
    year_eps = 0.0 if ttm is None else round(ttm, 6)
    found["pe_ratio"] = bar["close"] / year_eps if usable and year_eps else None
    return found


def slow_options(rows: list[Row], bars: list[Row], at: int) -> Row:
    """Compute the option columns of one bar of an instrument."""
    cut = evening_us(bars[at]["session"])
    by_day = {r["session"]: r for r in newest(rows, ("session",), cut)}

    def ratio(row: Row | None) -> float | None:
        return None if row is None or not row["call_volume"] else row["put_volume"] / row["call_volume"]

    own = by_day.get(bars[at]["session"])
    found: Row = {name: None if own is None else own[name] for name in ("call_volume", "put_volume", "total_volume")}
    found["pcr"] = ratio(own)
    good = [b for b in bars[: at + 1] if math.isfinite(b["high"])]
    found |= dict.fromkeys(("options_14_mean", "options_14_std", "pcr_14_mean"))
    if len(good) >= 14 and good[-1] is bars[at]:
        window = [by_day.get(b["session"]) for b in good[-14:]]
        totals: list[Any] = [None if r is None else r["total_volume"] for r in window]
        ratios = [ratio(r) for r in window]
        if None not in totals:
            found["options_14_mean"], found["options_14_std"] = statistics.mean(totals), statistics.stdev(totals)
        if None not in ratios:
            found["pcr_14_mean"] = statistics.mean(ratios)  # type: ignore[type-var]
    return found


def slow_macro(rows: list[Row], session: date) -> Row:
    """Compute the macro columns of a session."""
    found: Row = {}
    for name, column in MACRO_COLUMNS.items():
        known = newest(
            [r for r in rows if r["series"] == column.series and r["value"] is not None], ("date",), evening_us(session)
        )
        last = max(known, key=lambda r: r["date"], default=None)
        stands = last is not None and (session - last["date"]).days <= column.age_days_max
        found[name] = last["value"] if last is not None and stands else None
    return found


def slow_overview(overviews: list[Row], sectors: list[Row], session: date) -> Row:
    """Compute the overview columns of a session of an instrument."""
    found: Row = dict.fromkeys(OVERVIEW_SCHEMA)
    for row in newest(overviews, ("instrument_id",), evening_us(session)):
        if (session - date(1970, 1, 1)).days - row["known_at"] // DAY_US <= 100 and row["snapshot"] != "no json":
            body = json.loads(row["snapshot"])
            found["sector"] = "TECH" if body["Sector"] == "TECH" else None
            found["beta"] = 1.2 if body["Beta"] == "1.2" else None
            found["analyst_rating_buy"] = int(body["AnalystRatingBuy"])
            found["market_capitalization"] = float(body["MarketCapitalization"])
    for row in newest(sectors, ("instrument_id",), evening_us(session)):
        found["sector"] = row["sector"] or found["sector"]
    return found


def slow(bars: pl.DataFrame, facts: DatedFacts, offset: int) -> list[Row]:
    """Compute all columns that rest on facts, for each EVERYth row of the table, by what its evening knew."""
    tables = [
        f.rows(named=True) for f in (facts.earnings, facts.overview, facts.macro, facts.options_summary, facts.sectors)
    ]
    found: list[Row] = []
    rows_before = 0
    for instrument_id in SYMBOLS:
        mine = bars.filter(pl.col("instrument_id") == instrument_id).sort("session").rows(named=True)
        earnings, overviews, _, options, sectors = (
            [r for r in rows if r.get("instrument_id") == instrument_id] for rows in tables
        )
        for at, bar in enumerate(mine):
            if (rows_before + at) % EVERY != offset:
                continue
            row = slow_earnings(earnings, mine, at) | slow_options(options, mine, at)
            found.append(
                row | slow_macro(tables[2], bar["session"]) | slow_overview(overviews, sectors, bar["session"])
            )
        rows_before += len(mine)
    return found


# Amounts a share are rounded to six decimals where a sum or a split made them.
_EPS_NAMES = ("reported_eps", "estimated_eps", "surprise", "ttm_eps")


def near(name: str, value: Any) -> Any:
    """Return what a column's value must equal."""
    if not isinstance(value, float):
        return value
    return pytest.approx(value, abs=1e-6 if name in _EPS_NAMES else 0, rel=1e-4 if name == "pe_ratio" else 1e-9)


@pytest.mark.parametrize("seed", range(20 if LONG else 2))
def test_every_column_against_the_slow_computation(seed: int) -> None:
    """On random bars and facts each column is what a row-by-row computation by each evening's knowledge gives."""
    bars, facts = make_bars(seed), random_facts(seed)
    table = build(bars, SYMBOLS, facts)
    table, expected = table[seed % EVERY :: EVERY], slow(bars, facts, seed % EVERY)
    for name in FACT_SCHEMA:
        ours, theirs = table[name].to_list(), [row[name] for row in expected]
        for row, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert one == near(name, other), (
                name,
                table.row(row, named=True)["session"],
                table["instrument_id"][row],
                one,
                other,
            )
        if name in {*OPTION_COLUMNS, *EARNINGS_COLUMNS, "cpi", "ffer", "beta", "sector"}:
            assert table[name].null_count() < table.height, name


def test_the_sum_is_of_all_ten_signals() -> None:
    """The sum counts the P/E and the put/call signal too, an undefined one as 0."""
    table = build(make_bars(3), SYMBOLS, random_facts(3))
    total = table.select(pl.sum_horizontal(pl.col(name).fill_null(0) for name in SIGNALS)).to_series()
    defined = table["bull_bear_delta"].is_not_null()
    assert (table["bull_bear_delta"].filter(defined) == total.filter(defined)).all()
    for name in ("pe_ratio_signal", "pcr_signal"):
        assert set(table[name].drop_nulls()) == {-1, 0, 1}


# ---------------------------------------------------------------- nothing from tomorrow

_BARS, _FACTS = make_bars(11), random_facts(11)
_WHOLE = build(_BARS, SYMBOLS, _FACTS)


@settings(max_examples=300 if LONG else 30, deadline=None)
@given(st.integers(1, len(SESSIONS) - 1))
def test_deleting_tomorrow_leaves_todays_row(place: int) -> None:
    """With every bar of later sessions and every fact known later gone, all columns but the labels are equal to the last bit."""
    last = SESSIONS[place]
    bars = _BARS.filter(pl.col("session") <= last)
    cut = build(bars, SYMBOLS, _FACTS.known_by(evening_us(last)))
    assert cut.drop(LABELS).equals(_WHOLE.filter(pl.col("session") <= last).drop(LABELS))


@pytest.mark.parametrize("seed", range(3))
def test_row_order_of_facts_and_other_names_change_nothing(seed: int) -> None:
    """Facts of distinct times in any order, and a table of one name alone, give the same rows to the last bit."""
    rng = np.random.default_rng(seed)

    def spread(rows: pl.DataFrame) -> pl.DataFrame:
        apart = rows.sort(rows.columns[:4]).with_columns(recorded_at=pl.int_range(pl.len(), dtype=pl.Int64))
        return apart.sample(fraction=1.0, shuffle=True, seed=int(rng.integers(1, 99)))

    def tables(facts: DatedFacts) -> list[pl.DataFrame]:
        return [facts.earnings, facts.overview, facts.macro, facts.options_summary, facts.sectors]

    ours = build(_BARS, SYMBOLS, DatedFacts(*map(spread, tables(_FACTS))))
    again = build(
        _BARS.sample(fraction=1.0, shuffle=True, seed=seed), SYMBOLS, DatedFacts(*map(spread, tables(_FACTS)))
    )
    assert ours.equals(again)
    alone = build(_BARS.filter(pl.col("instrument_id") == "us:B"), SYMBOLS, _FACTS)
    assert alone.equals(_WHOLE.filter(pl.col("instrument_id") == "us:B"))


def test_no_facts_and_facts_of_nobody_leave_the_columns_null() -> None:
    """Without facts, and with facts of other instruments alone, the columns are there and null, the rest unchanged."""
    bare = build(_BARS, SYMBOLS)
    assert build(_BARS, SYMBOLS, DatedFacts.none()).equals(bare)
    strangers = replace(
        DatedFacts.none(),
        earnings=_FACTS.earnings.filter(pl.col("instrument_id") == "us:Z"),
        overview=_FACTS.overview.filter(pl.col("instrument_id") == "us:Z"),
        options_summary=_FACTS.options_summary.filter(pl.col("instrument_id") == "us:Z"),
    )
    assert build(_BARS, SYMBOLS, strangers).equals(bare)
    for name in FACT_SCHEMA:
        assert bare[name].null_count() == bare.height
    empty = build(_BARS.clear(), SYMBOLS, _FACTS)
    assert empty.schema == _WHOLE.schema
    others = [
        name for name in bare.columns if name not in {*FACT_SCHEMA, "pe_ratio_signal", "pcr_signal", "bull_bear_delta"}
    ]
    assert bare.select(others).equals(_WHOLE.select(others))
