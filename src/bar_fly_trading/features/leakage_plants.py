"""Leaks planted on purpose, one for each way a table comes to know the future: they show that the checks bite.

A column plant adds one column to the table that knows too much; a fact plant stores a fact with too early a time. Neither is
part of any table that the program keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time, timedelta

import polars as pl

from bar_fly_trading.facts.sessions import evening_us, new_york_us
from bar_fly_trading.facts.tables import EARNINGS, KNOWN_AT, MACRO, OVERVIEW, RECORDED_AT
from bar_fly_trading.features.leakage import KEYS, Build, World
from bar_fly_trading.features.leakage_checks import OTHERS, SCALE, TRUNCATION

_ID = "instrument_id"


@dataclass(frozen=True, slots=True)
class ColumnPlant:
    """A column that knows too much. `caught_by`: the check that must see it; `prepare` adds what the column is made of."""

    name: str
    words: str
    caught_by: str
    column: Callable[[World, pl.DataFrame], pl.Series]
    prepare: Callable[[World], World] = lambda world: world


@dataclass(frozen=True, slots=True)
class FactPlant:
    """A stored table with too early a time; `caught_by`: `table: rule`, as `leakage_knowledge` says it."""

    name: str
    words: str
    caught_by: str
    table: str
    spoil: Callable[[World, Mapping[str, pl.DataFrame]], pl.DataFrame]


def planted_build(build: Build, plants: Sequence[ColumnPlant]) -> Build:
    """Return a build whose table has one more column a plant, named after it."""

    def planted(world: World) -> pl.DataFrame:
        table = build(world)
        return table.with_columns(plant.column(world, table).alias(plant.name) for plant in plants)

    return planted


def prepared(world: World, plants: Sequence[ColumnPlant]) -> World:
    """Return the world with all that the plants are made of."""
    for plant in plants:
        world = plant.prepare(world)
    return world


def _of(expression: pl.Expr) -> Callable[[World, pl.DataFrame], pl.Series]:
    return lambda _, table: table.select(expression.alias("planted")).to_series()


def _each(column: str, use: Callable[[pl.Expr], pl.Expr]) -> Callable[[World, pl.DataFrame], pl.Series]:
    return _of(use(pl.col(column)).over(_ID))


# Facts of the plants' own: names that no stored table has, so that they disturb nothing.
_NEXT_MORNING, _QUARTERS, _MEMBERS = "planted_next_morning", "planted_quarters", "planted_members"


def _next_morning(world: World) -> World:
    """Add a fact of every bar that is published at nine the next morning."""
    days = world.sessions()
    known = {day: new_york_us(day + timedelta(days=1), time(9, 0)) for day in days}
    rows = world.bars.select(
        *KEYS,
        value=pl.col("volume").cast(pl.Float64),
        known_at=pl.col("session").replace_strict(known, return_dtype=pl.Int64),
    )
    return replace(world, facts={**world.facts, _NEXT_MORNING: rows})


def _by_session(world: World, table: pl.DataFrame) -> pl.Series:
    rows = world.facts[_NEXT_MORNING].select(*KEYS, "value")
    return table.select(KEYS).join(rows, on=KEYS, how="left", maintain_order="left")["value"]


def _quarters(world: World) -> World:
    """Add a quarter every 63 sessions of each name, reported 30 sessions after its end."""
    days = world.sessions()
    rows = [
        (name, days[i], float(i + k), evening_us(days[i + 30]))
        for k, name in enumerate(world.instrument_ids())
        for i in range((7 * k) % 63, len(days) - 30, 63)
    ]
    schema = {_ID: pl.String(), "ended": pl.Date(), "value": pl.Float64(), KNOWN_AT: pl.Int64()}
    return replace(world, facts={**world.facts, _QUARTERS: pl.DataFrame(rows, schema=schema, orient="row")})


def _by_quarter(world: World, table: pl.DataFrame) -> pl.Series:
    rows = world.facts[_QUARTERS].select(_ID, "ended", "value").sort(_ID, "ended")
    joined = table.select(KEYS).join_asof(
        rows, left_on="session", right_on="ended", by=_ID, strategy="backward", check_sortedness=False
    )
    return joined["value"]


def _members(world: World) -> World:
    """Add an index that every second name enters half-way through."""
    days = world.sessions()
    start = days[len(days) // 2]
    names = world.instrument_ids()
    founders, later = names[::2], names[1::2]
    rows = pl.DataFrame(
        {
            _ID: [*founders, *later],
            KNOWN_AT: [evening_us(days[0])] * len(founders) + [evening_us(start)] * len(later),
        },
        schema={_ID: pl.String(), KNOWN_AT: pl.Int64()},
    )
    return replace(world, facts={**world.facts, _MEMBERS: rows})


def _member_today(world: World, table: pl.DataFrame) -> pl.Series:
    members = world.facts[_MEMBERS][_ID].to_list()
    return table.select(pl.col(_ID).is_in(members).cast(pl.Int8)).to_series()


def _with_splits(world: World) -> World:
    """Give each name a split every 90 bars, so that a restated volume has something to restate."""
    number = pl.int_range(pl.len()).over(_ID)
    bars = world.bars.sort(KEYS)
    split = pl.when(number % 90 == 60).then(2.0).otherwise(pl.col("split_coefficient")).alias("split_coefficient")
    return replace(world, bars=bars.with_columns(split))


_STANDARD = pl.col("chained_close") - pl.col("chained_close").mean().over(_ID)
_LOWEST, _HIGHEST = (getattr(pl.col("chained_close"), end)().over(_ID) for end in ("min", "max"))
_LATER_SPLITS = pl.col("split_coefficient").fill_null(1.0).cum_prod(reverse=True).over(_ID) / pl.col(
    "split_coefficient"
)

COLUMN_PLANTS: tuple[ColumnPlant, ...] = (
    ColumnPlant("ffill-across-symbols", "a gap filled from the name before it in the table", OTHERS, _of(pl.col("sma_200").forward_fill())),
    ColumnPlant("same-day-future", "a fact of the session that is published the next morning", TRUNCATION, _by_session, _next_morning),
    ColumnPlant("whole-sample-normalisation", "standardised by mean and deviation of the whole history", TRUNCATION, _of(_STANDARD / pl.col("chained_close").std().over(_ID))),
    ColumnPlant("back-adjusted-levels", "a moving average on the vendor's adjusted level", SCALE, _each("adjusted_close", lambda c: c.rolling_mean(20))),
    ColumnPlant("shifted-label", "the three-session label as a feature", TRUNCATION, _of(pl.col("future_3_day_pct"))),
    ColumnPlant("centred-window", "a moving average centred on its session", TRUNCATION, _each("chained_close", lambda c: c.rolling_mean(5, center=True))),
    ColumnPlant("whole-history-range", "placed between the lowest and highest close of the whole history", TRUNCATION, _of((pl.col("chained_close") - _LOWEST) / (_HIGHEST - _LOWEST))),
    ColumnPlant("group-mean-with-future", "the group's mean return of the whole month, its rest included", TRUNCATION, _of(pl.col("adjusted_close_pct").mean().over("year", "month"))),
    ColumnPlant("earnings-by-quarter", "a report joined at the end of its quarter, a month before it was announced", TRUNCATION, _by_quarter, _quarters),
    ColumnPlant("backward-fill", "nulls filled from later rows", TRUNCATION, _each("sma_200", lambda c: c.backward_fill())),
    ColumnPlant("restated-volume", "volume restated for splits that had not happened", TRUNCATION, _of(pl.col("volume") * _LATER_SPLITS), _with_splits),
    ColumnPlant("members-of-today", "whether the name is in the index today", TRUNCATION, _member_today, _members),
)  # fmt: skip


def _ids(world: World) -> Sequence[str]:
    return world.instrument_ids()[:50]


def _recorded(world: World, tables: Mapping[str, pl.DataFrame]) -> int:
    """Return when this store was filled."""
    newest = tables["bars"][RECORDED_AT].max() if "bars" in tables else None
    evening = evening_us(world.sessions()[-1])
    return max(newest, evening) if isinstance(newest, int) else evening


def _frame(kind: Mapping[str, pl.DataType], rows: Mapping[str, object]) -> pl.DataFrame:
    schema = {**kind, KNOWN_AT: pl.Int64(), RECORDED_AT: pl.Int64()}
    height = len(rows[KNOWN_AT])  # type: ignore[arg-type]
    return pl.DataFrame({name: rows.get(name, [None] * height) for name in schema}, schema=schema)


def _quarter_ends(world: World) -> list[date]:
    first, last = world.sessions()[0], world.sessions()[-1]
    firsts = [date(y, m, 1) for y in range(first.year, last.year + 1) for m in (1, 4, 7, 10)]
    return [day - timedelta(days=1) for day in firsts if first < day - timedelta(days=40) and day < last] or [first]


def _fiscal_date_earnings(world: World, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    rows = [(name, day) for name in _ids(world) for day in _quarter_ends(world)]
    ends = [day for _, day in rows]
    return _frame(
        EARNINGS.columns,
        {
            _ID: [name for name, _ in rows],
            "fiscal_date_ending": ends,
            "reported_date": ends,
            "reported_eps": [1.0] * len(rows),
            KNOWN_AT: [evening_us(day) for day in ends],
            RECORDED_AT: [_recorded(world, tables)] * len(rows),
        },
    )


def _overview_of_today(world: World, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    names, first = _ids(world), world.sessions()[0]
    snapshot = f'{{"PERatio":"20","LatestQuarter":"{world.sessions()[-1]}"}}'
    return _frame(
        OVERVIEW.columns,
        {
            _ID: names,
            "snapshot": [snapshot] * len(names),
            KNOWN_AT: [evening_us(first)] * len(names),
            RECORDED_AT: [_recorded(world, tables)] * len(names),
        },
    )


def _macro_by_reference_date(world: World, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    days = [day + timedelta(days=1) for day in _quarter_ends(world)]
    days = [day.replace(day=1) for day in days]
    return _frame(
        MACRO.columns,
        {
            "series": ["cpi"] * len(days),
            "date": days,
            "value": [250.0] * len(days),
            KNOWN_AT: [evening_us(day) for day in days],
            RECORDED_AT: [_recorded(world, tables)] * len(days),
        },
    )


FACT_PLANTS: tuple[FactPlant, ...] = (
    FactPlant("fiscal-date-earnings", "earnings known at the end of their quarter", "earnings: not known at the quarter's end", "earnings", _fiscal_date_earnings),
    FactPlant("overview-of-today", "today's overview in every past row", "overview: known when it was received: it says today's values alone", "overview", _overview_of_today),
    FactPlant("macro-by-reference-date", "macro known on the first day of its period", "macro: known after the period it is of", "macro", _macro_by_reference_date),
)  # fmt: skip
