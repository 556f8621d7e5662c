"""`all_data` files: written so that older scripts read them, read back whole, refused with every fault."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bar_fly_trading.data.exporters.all_data import export_all_data
from bar_fly_trading.data.importers.all_data import AllDataRefused, AllDataReport, import_all_data
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_sectors
from bar_fly_trading.errors import FixInput
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import SECTORS
from bar_fly_trading.features.dated_facts import DatedFacts
from bar_fly_trading.features.table import build

REAL = Path(__file__).parents[2].parent / "shared/data/daily_adjusted_sp500.parquet"
CALENDAR = Calendar()
NOW_US = 1_700_000_000_000_000
PRICES = ("open", "high", "low", "close", "adjusted_close")


def make_bars(symbols: tuple[str, ...], rows: int = 280, first: date = date(2019, 1, 2)) -> pl.DataFrame:
    """Return seeded bars on real sessions with a 2:1 split and a dividend in Alpha Vantage's adjustment."""
    days = CALENDAR.sessions(first, date(2022, 12, 30))[:rows]
    frames = []
    for k, symbol in enumerate(symbols):
        rng = np.random.default_rng(k)
        close = 60.0 * np.exp(np.cumsum(rng.normal(0, 0.015, rows)))
        split, dividend = np.ones(rows), np.zeros(rows)
        split[rows // 2], dividend[rows // 3] = 2.0, 0.4
        close[rows // 2 :] /= 2.0
        close = np.round(close, 2)
        step = split * (1.0 + dividend / close)
        factor = 1.0 / np.append(np.cumprod(step[::-1])[::-1][1:], 1.0)
        frames.append(
            pl.DataFrame(
                {
                    "instrument_id": [f"us:{symbol}"] * rows,
                    "session": days,
                    "open": np.round(close * 0.999, 3),
                    "high": np.round(close * 1.012, 3),
                    "low": np.round(close * 0.988, 3),
                    "close": close,
                    "adjusted_close": close * factor,
                    "volume": rng.integers(1_000, 2_000, rows),
                    "dividend_amount": dividend,
                    "split_coefficient": split,
                }
            )
        )
    return pl.concat(frames)


def features_of(bars: pl.DataFrame, facts: DatedFacts | None = None) -> pl.DataFrame:
    """Build the feature table of bars whose instrument ids carry their symbols."""
    return build(bars, {i: i.removeprefix("us:") for i in bars["instrument_id"].unique()}, facts)


def write(path: Path, rows: int = 60, symbols: tuple[str, ...] = ("AAA",)) -> list[list[str]]:
    """Export a file and return its rows of text, the header first."""
    export_all_data(features_of(make_bars(symbols, rows)), path.parent)
    (path.parent / "all_data_0.csv").rename(path)
    return read(path)


def read(path: Path) -> list[list[str]]:
    """Return a CSV's rows of text."""
    with path.open(newline="") as file:
        return list(csv.reader(file))


def rewrite(path: Path, rows: list[list[str]]) -> None:
    """Write rows of text as a CSV."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def take(path: Path | str, home: Path) -> AllDataReport:
    """Import into the store of a home."""
    return import_all_data([path], Store(home), CALENDAR, recorded_at_us=NOW_US)


def assert_same(bars: pl.DataFrame, store: Store) -> None:
    """Demand the stored bars and the indicators of their table equal to 1e-9, signals and labels included."""
    stored = store.read("bars")
    bars = bars.sort("instrument_id", "session")
    assert stored.select("instrument_id", "session", "volume").equals(bars.select("instrument_id", "session", "volume"))
    for name in PRICES:
        assert (stored[name] / bars[name] - 1).abs().max() <= 1e-9, name  # type: ignore[operator]
    spells = store.read("spells")
    ours = features_of(bars)
    theirs = build(stored, spells)
    assert ours["symbol"].equals(theirs["symbol"])
    events = ("dividend_amount", "split_coefficient", "volume_pct")
    for name, kind in ours.schema.items():
        if kind == pl.Float64() and name not in events:
            assert ours[name].is_null().equals(theirs[name].is_null())
            scale = pl.max_horizontal(ours[name].abs(), pl.lit(0.01))
            worst = ours.select((pl.col(name) - theirs[name]).abs() / scale).to_series().max() or 0.0
            assert worst <= 1e-9, (name, worst)  # type: ignore[operator]
        elif name not in events:
            assert ours[name].equals(theirs[name]), name


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_export_then_import_into_an_empty_store(tmp_path: Path, file_format: str) -> None:
    """What was exported comes back equal: bars, indicators, signals, splits, dividends, sectors, and when it was known."""
    bars = make_bars(("AAA", "BBB", "BRK.B"))
    sectors = {"us:AAA": "Energy", "us:BRK.B": "Financials"}
    named = pl.DataFrame({"instrument_id": list(sectors), "sector": list(sectors.values())})
    rows = named.with_columns(name=pl.lit(None, pl.String), known_at=pl.lit(0), recorded_at=pl.lit(0))
    facts = replace(DatedFacts.none(), sectors=rows.cast(pl.Schema(SECTORS.schema())))
    features = features_of(bars, facts)
    paths = export_all_data(features, tmp_path / "out", file_format=file_format, symbols_per_file=2)
    assert [p.name for p in paths] == [f"all_data_0.{file_format}", f"all_data_1.{file_format}"]
    report = take(f"{tmp_path}/out/all_data_*.{file_format}", tmp_path / "store")
    store = Store(tmp_path / "store")
    assert (report.symbols, report.rows_new, report.sectors, report.refused) == (3, bars.height, 2, ())
    assert report.version == store.current()
    assert (report.notes, report.differences) == ((), ())
    assert_same(bars, store)
    stored = store.read("bars")
    assert stored["split_coefficient"].equals(bars["split_coefficient"])
    assert (stored["dividend_amount"] - bars["dividend_amount"]).abs().max() < 1e-5  # type: ignore[operator]
    assert store.read("splits").height == store.read("dividends").height == 3
    assert load_sectors(store) == sectors
    close_us = CALENDAR.session(stored["session"][0]).close_us
    assert stored["known_at"][0] == store.read("spells")["known_at"][0] == close_us + 15 * 60 * 1_000_000


@pytest.mark.skipif(not REAL.exists(), reason="the shared real prices are not beside this checkout")
def test_real_prices_there_and_back(tmp_path: Path) -> None:
    """Real prices exported and imported give bars and indicators equal to 1e-9, defects and all."""
    symbols = ("AAPL", "BRK.B", "DD", "GE", "RTX", "TMUS", "TRMB", "VIAC", "WELL")
    rows = pl.scan_parquet(REAL).filter(pl.col("symbol").is_in(symbols)).rename({"date": "session"})
    bars = rows.with_columns(instrument_id="us:" + pl.col("symbol")).collect()
    export_all_data(features_of(bars), tmp_path / "out")
    report = take(f"{tmp_path}/out/*.csv", tmp_path / "store")
    assert report.differences == ()
    assert_same(bars, Store(tmp_path / "store"))


def test_the_csv_is_laid_out_as_older_scripts_read_it(tmp_path: Path) -> None:
    """The index column comes first and has no name, floats read back exactly, null is an empty field."""
    bars = make_bars(("AAA",), 60)
    rows = write(tmp_path / "f.csv")
    assert rows[0][:4] == ["", "date", "symbol", "open"]
    assert [row[0] for row in rows[1:4]] == ["0", "1", "2"]
    place = rows[0].index("adjusted_close")
    assert [float(row[place]) for row in rows[1:]] == bars["adjusted_close"].to_list()
    assert rows[1][rows[0].index("sma_50")] == ""
    assert rows[60][rows[0].index("future_3_day_pct")] == ""


def test_export_refuses_what_a_glob_would_mix(tmp_path: Path) -> None:
    """An export over a longer earlier one, an empty table and an unknown format are refused; the same again is not."""
    features = features_of(make_bars(("AAA", "BBB"), 40))
    export_all_data(features, tmp_path, symbols_per_file=1)
    export_all_data(features, tmp_path, symbols_per_file=1)
    with pytest.raises(FixInput, match=r"all_data_1\.csv"):
        export_all_data(features, tmp_path, symbols_per_file=2)
    with pytest.raises(FixInput, match="empty"):
        export_all_data(features.clear(), tmp_path)
    with pytest.raises(FixInput, match="feather"):
        export_all_data(features, tmp_path, file_format="feather")


def test_a_file_as_the_older_program_wrote_it(tmp_path: Path) -> None:
    """Dates with a time, BRK-B's spelling, floating volumes, foreign columns, other columns missing: all are taken."""
    rows = write(tmp_path / "f.csv", symbols=("BRK.B",))
    keep = [i for i, name in enumerate(rows[0]) if name not in ("cpi", "beta", "bull_bear_delta", "adjusted_high")]
    day, symbol, volume = (rows[0].index(name) for name in ("date", "symbol", "volume"))
    for row in rows[1:]:
        row[day] += " 00:00:00"
        row[symbol] = "BRK-B"
        row[volume] += ".0"
    rewrite(
        tmp_path / "f.csv",
        [[*(row[i] for i in keep), "9"] for row in rows[:1]] + [[*(row[i] for i in keep), "9"] for row in rows[1:]],
    )
    assert take(tmp_path / "f.csv", tmp_path / "store").symbols == 1
    assert_same(make_bars(("BRK.B",), 60), Store(tmp_path / "store"))


def test_another_layout_is_one_clear_message(tmp_path: Path) -> None:
    """A table of other columns, something that is no table, and no file at all: one message that says what is missing."""
    other = tmp_path / "other.csv"
    other.write_text("timestamp,open,high,low,close,volume\n2020-01-02,1,1,1,1,1\n")
    with pytest.raises(FixInput) as error:
        take(other, tmp_path / "store")
    assert "lacks date, symbol, adjusted_close" in str(error.value)
    assert str(error.value).count("\n") == 1
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(FixInput, match="lacks date, symbol"):
        take(tmp_path / "empty.csv", tmp_path / "store")
    (tmp_path / "bytes.parquet").write_bytes(b"\x00\xff" * 40)
    with pytest.raises(FixInput, match="cannot be read as a table"):
        take(tmp_path / "bytes.parquet", tmp_path / "store")
    with pytest.raises(FixInput, match="No file matches"):
        take(f"{tmp_path}/none_*.csv", tmp_path / "store")
    assert Store(tmp_path / "store").current() is None


def test_every_fault_of_a_file_is_listed_and_nothing_is_stored(tmp_path: Path) -> None:
    """All faults of one file are named with row, symbol and date, and not one of its rows is stored."""
    rows = write(tmp_path / "f.csv")
    column = {name: i for i, name in enumerate(rows[0])}
    rows[3][column["adjusted_close"]] = "nan"
    rows[4][column["date"]] = "2019-13-01"
    rows[5][column["high"]] = "0.01"
    rows[6][column["open"]] = "999999"
    rows[7][column["date"]] = "2019-01-05"
    rows[8][column["volume"]] = "-3"
    rows[9][column["symbol"]] = "NOT A SYMBOL AT ALL"
    rows[10][column["adjusted_close"]] = "2000"
    rows[11][column["date"]] = "2027-01-04"
    rows[12] = rows[13]
    rewrite(tmp_path / "f.csv", rows)
    with pytest.raises(AllDataRefused) as error:
        take(tmp_path / "f.csv", tmp_path / "store")
    text = str(error.value)
    for fault in (
        "adjusted_close is no price above zero in 1 rows: row 3 (AAA 2019-01-04)",
        "date is no day (2021-04-20) in 1 rows: row 4 (AAA 2019-13-01)",
        "high below low in 1 rows: row 5",
        "USD or more in 1 rows: row 6",
        "the exchange was closed that day in 1 rows: row 7 (AAA 2019-01-05)",
        "volume is no number from zero up in 1 rows: row 8",
        "symbol is no US stock symbol in 1 rows: row 9",
        "adjusted_close jumps by more than 20 times in ",
        "the session had not closed yet in 1 rows: row 11",
        "symbol and date twice in 2 rows: row 12",
    ):
        assert fault in text
    assert "Nothing was imported." in text
    assert Store(tmp_path / "store").current() is None


def test_a_bad_file_does_not_stop_a_good_one(tmp_path: Path) -> None:
    """Of two files the good one is stored whole, and the error carries the report and names the bad one."""
    write(tmp_path / "good.csv", symbols=("AAA",))
    rows = write(tmp_path / "bad.csv", symbols=("BBB",))
    rows[9][3] = "x"
    rewrite(tmp_path / "bad.csv", rows)
    store = Store(tmp_path / "store")
    with pytest.raises(AllDataRefused, match="1 other files were imported") as error:
        import_all_data([tmp_path / "bad.csv", tmp_path / "good.csv"], store, CALENDAR, recorded_at_us=NOW_US)
    assert [file.path.name for file in error.value.report.refused] == ["bad.csv"]
    assert error.value.report.rows_new == 60
    assert store.read("bars")["instrument_id"].unique().to_list() == ["us:AAA"]


def test_a_symbol_in_two_files_is_refused(tmp_path: Path) -> None:
    """The second file with the same symbol is refused whole, naming the first."""
    write(tmp_path / "a.csv", symbols=("AAA",))
    write(tmp_path / "b.csv", symbols=("AAA", "BBB"))
    with pytest.raises(AllDataRefused, match=r"AAA is in .*a\.csv too"):
        take(f"{tmp_path}/?.csv", tmp_path / "store")
    assert Store(tmp_path / "store").read("bars")["instrument_id"].unique().to_list() == ["us:AAA"]


def test_importing_again_adds_nothing(tmp_path: Path) -> None:
    """The same file a second time adds no row and makes no new version, and a sector change becomes known at import."""
    rows = write(tmp_path / "f.csv")
    place = rows[0].index("sector")
    for row in rows[1:]:
        row[place] = "Energy"
    rewrite(tmp_path / "f.csv", rows)
    first = take(tmp_path / "f.csv", tmp_path / "store")
    again = take(tmp_path / "f.csv", tmp_path / "store")
    assert again.version == first.version
    assert (first.rows_new, first.sectors, again.rows_new, again.rows_same, again.sectors) == (60, 1, 0, 60, 0)
    rows[60][place] = "Utilities"
    rewrite(tmp_path / "f.csv", rows)
    assert take(tmp_path / "f.csv", tmp_path / "store").sectors == 1
    store = Store(tmp_path / "store")
    assert load_sectors(store) == {"us:AAA": "Utilities"}
    assert load_sectors(store, NOW_US - 1) == {"us:AAA": "Energy"}


def test_stored_events_survive_an_import_of_the_same_prices(tmp_path: Path) -> None:
    """A bar already stored keeps its dividend and split as received; the ones derived from prices do not replace them."""
    bars = make_bars(("AAA",), 60).with_columns(dividend_amount=pl.lit(0.123), known_at=pl.lit(1_560_000_000_000_000))
    store = Store(tmp_path / "store")
    spell = {"instrument_id": ["us:AAA"], "symbol": ["AAA"], "start": [date(2019, 1, 2)], "end": [None]}
    spells = pl.DataFrame(spell, schema_overrides={"end": pl.Date}).with_columns(known_at=pl.lit(1))
    store.publish({"bars": bars, "spells": spells}, source="test", recorded_at_us=NOW_US)
    write(tmp_path / "f.csv")
    report = take(tmp_path / "f.csv", tmp_path / "store")
    assert (report.rows_same, report.rows_new, report.rows_corrected) == (60, 0, 0)
    assert set(store.read("bars")["dividend_amount"]) == {0.123}


def test_another_adjustment_over_part_of_a_series_is_refused(tmp_path: Path) -> None:
    """A file whose adjusted closes differ from the stored ones is taken only where it covers every stored session."""
    rows = write(tmp_path / "f.csv")
    take(tmp_path / "f.csv", tmp_path / "store")
    for row in rows[1:]:
        for name in ("adjusted_close", "adjusted_open", "adjusted_high", "adjusted_low"):
            row[rows[0].index(name)] = str(float(row[rows[0].index(name)]) * 0.9875)
    rewrite(tmp_path / "part.csv", [rows[0], *rows[11:]])
    with pytest.raises(AllDataRefused, match="differs from the stored one in 50 sessions, and 10 stored sessions"):
        take(tmp_path / "part.csv", tmp_path / "store")
    rewrite(tmp_path / "all.csv", rows)
    assert take(tmp_path / "all.csv", tmp_path / "store").rows_corrected == 60


def test_without_adjusted_columns_the_report_says_what_is_unknown(tmp_path: Path) -> None:
    """Without adjusted_open, _high, _low the adjusted close is taken for the close where it can be, and never where it lies
    outside the day's range."""
    rows = write(tmp_path / "f.csv")
    keep = [i for i, name in enumerate(rows[0]) if name not in ("adjusted_open", "adjusted_high", "adjusted_low")]
    rewrite(tmp_path / "late.csv", [[row[i] for i in keep] for row in (rows[0], *rows[31:])])
    report = take(tmp_path / "late.csv", tmp_path / "store")
    assert "dividends unknown" in report.notes[0]
    assert report.rows_new == 30
    rewrite(tmp_path / "early.csv", [[row[i] for i in keep] for row in rows])
    with pytest.raises(AllDataRefused, match="adjusted_close is not the close as traded"):
        take(tmp_path / "early.csv", tmp_path / "other")


def test_a_contradiction_between_the_columns_is_refused(tmp_path: Path) -> None:
    """An adjusted_open that puts the recovered close far outside the day's range is a fault that names the numbers; a
    rounded one is moved into the range and told."""
    rows = write(tmp_path / "f.csv")
    place = rows[0].index("adjusted_open")
    rows[5][place] = str(float(rows[5][place]) * 0.985)
    rewrite(tmp_path / "near.csv", rows)
    report = take(tmp_path / "near.csv", tmp_path / "store")
    assert "moved into the day's range in 1 rows" in report.notes[0]
    rows[5][place] = str(float(rows[5][place]) * 0.5)
    rewrite(tmp_path / "far.csv", rows)
    with pytest.raises(AllDataRefused, match=r"lies outside low to high in 1 rows, first AAA 2019-01-08"):
        take(tmp_path / "far.csv", tmp_path / "other")


def test_other_indicators_than_ours_are_a_warning(tmp_path: Path) -> None:
    """A file whose newest band is off by 1 % is taken, and the symbol, the column and both numbers are told."""
    rows = write(tmp_path / "f.csv", symbols=("AAA", "BBB"))
    place = rows[0].index("bbands_lower_20")
    rows[60][place] = str(float(rows[60][place]) * 1.01)
    rows[50][place] = "1.0"
    rewrite(tmp_path / "f.csv", rows)
    (difference,) = take(tmp_path / "f.csv", tmp_path / "store").differences
    assert (difference.symbol, difference.column) == ("AAA", "bbands_lower_20")
    assert difference.in_file == pytest.approx(difference.computed * 1.01)
