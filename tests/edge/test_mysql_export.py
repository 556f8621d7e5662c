"""`bft export mysql` into a real server: what older scripts read, round trips, keys, other people's rows, dry runs."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from bar_fly_trading.data.exporters.mysql import ExportReport, export_mysql
from bar_fly_trading.data.exporters.mysql_tables import INDICATOR_NAMES, LAYOUTS, chunks
from bar_fly_trading.data.importers.mysql import import_server, parse_address
from bar_fly_trading.data.known import backfill_known_us
from bar_fly_trading.data.store import Store
from bar_fly_trading.errors import FixInput, Refused
from bar_fly_trading.facts.sessions import Calendar, evening_us
from bar_fly_trading.facts.tables import TABLES
from bar_fly_trading.features.all_data import to_all_data
from bar_fly_trading.features.table import build

if TYPE_CHECKING:
    from tests.edge.conftest import MysqlServer

CALENDAR = Calendar()
NOW_US = evening_us(date(2021, 4, 21))


def imported(url: str, folder: Path) -> Store:
    """Import a database into the store of a folder."""
    store = Store(folder / "store")
    report = import_server(parse_address(url), store, CALENDAR, logs=folder / "logs", now_us=NOW_US)
    assert report.refused == {}, report.refusals_file
    return store


@cache
def indicators(store: Store) -> pl.DataFrame:
    """Return the indicators as the command makes them."""
    return to_all_data(build(store.read("bars"), store.read("spells").select("instrument_id", "symbol", "start")))


def written(url: str, store: Store, folder: Path, *, dry_run: bool = False, yes: bool = False) -> ExportReport:
    """Export a store."""
    return export_mysql(
        parse_address(url),
        chunks(store, indicators(store)),
        refusals=folder / "refused.csv",
        dry_run=dry_run,
        agreed=(lambda question: True) if yes else None,
    )


def outcomes(report: ExportReport) -> dict[str, tuple[int, int, int]]:
    """Return rows inserted, updated and unchanged by table."""
    return {name: (c.inserted, c.updated, c.unchanged) for name, c in report.tables.items()}


@pytest.fixture(scope="module")
def stored(mysql_server: MysqlServer, old_database: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store filled from the older program's database."""
    return imported(mysql_server.url(old_database), tmp_path_factory.mktemp("stored"))


def test_import_export_import_gives_the_same_tables(
    mysql_server: MysqlServer, mysql_database: str, stored: Store, tmp_path: Path
) -> None:
    """A store exported into an empty database and imported from there is the same store, table by table."""
    report = written(mysql_server.url(mysql_database), stored, tmp_path)
    assert report.refusals_file is None and report.tables.keys() == LAYOUTS.keys()
    assert all(count.created for count in report.tables.values())
    again = imported(mysql_server.url(mysql_database), tmp_path / "again")
    for name in TABLES:
        assert stored.read(name).equals(again.read(name)), name


def test_an_older_scripts_selects_give_the_same_values(
    mysql_server: MysqlServer, mysql_database: str, old_database: str, stored: Store, tmp_path: Path
) -> None:
    """The queries that older scripts ask give, from the exported database, what they gave from the old one."""
    written(mysql_server.url(mysql_database), stored, tmp_path)
    for sql in (
        "SELECT date, open, high, low, close, adjusted_close, volume, symbol FROM core_stock ORDER BY date, symbol",
        "SELECT * FROM core_stock WHERE symbol = 'BRK-B' AND date >= '2021-01-01' ORDER BY date DESC LIMIT 20",
        "SELECT symbol, MAX(date), AVG(close) FROM core_stock GROUP BY symbol ORDER BY symbol",
        "SELECT symbol, sector, industry, market_capitalization + 0.0, eps, `52_week_high`, analyst_rating_buy"
        " FROM company_overview ORDER BY symbol",
        "SELECT symbol, fiscal_date_ending, reported_eps, estimated_eps, surprise_percentage FROM quarterly_earnings"
        " ORDER BY fiscal_date_ending",
        "SELECT * FROM economic_indicators",
        "SELECT symbol, effective_date, split_factor FROM stock_splits WHERE effective_date < '2020-01-01' ORDER BY symbol",
        "SELECT date, call_volume, put_volume, put_volume / call_volume FROM options_daily_summary WHERE symbol = 'S1'"
        " ORDER BY date",
    ):
        wanted = mysql_server.rows(old_database, sql)
        assert wanted and mysql_server.rows(mysql_database, sql) == wanted, sql
    frame = indicators(stored).filter(pl.col("symbol") == "S1").select("date", *INDICATOR_NAMES)
    names = ", ".join(INDICATOR_NAMES)
    rows = mysql_server.rows(
        mysql_database, f"SELECT date, {names} FROM technical_indicators WHERE symbol = 'S1' ORDER BY date"
    )
    computed = frame.filter(~pl.all_horizontal(pl.col(name).is_null() for name in INDICATOR_NAMES)).rows()
    assert [(when.date(), *values) for when, *values in rows] == computed and len(computed) > 100


def test_a_second_export_changes_nothing_and_asks_first(
    mysql_server: MysqlServer, mysql_database: str, stored: Store, tmp_path: Path
) -> None:
    """Into a database that holds rows nothing goes without a yes; with it every row is found unchanged."""
    url = mysql_server.url(mysql_database)
    first = outcomes(written(url, stored, tmp_path))
    with pytest.raises(Refused, match="holds rows already"):
        written(url, stored, tmp_path)
    again = outcomes(written(url, stored, tmp_path, yes=True))
    assert again == {name: (0, 0, inserted) for name, (inserted, _, _) in first.items()}


def test_other_peoples_rows_and_columns_stay(
    mysql_server: MysqlServer, mysql_database: str, stored: Store, tmp_path: Path
) -> None:
    """Rows of other keys stay, a wrong value is put right, a null of ours and a column we have not change nothing."""
    url = mysql_server.url(mysql_database)
    written(url, stored, tmp_path)
    mysql_server.do(
        mysql_database,
        "INSERT INTO core_stock VALUES ('2001-01-02', 1, 1, 1, 1, 1, 1, 'MINE')",
        "UPDATE core_stock SET close = 1 WHERE symbol = 'S0' AND date = '2021-04-20'",
        "UPDATE company_overview SET book_value = 77 WHERE symbol = 'S1'",
        "UPDATE quarterly_earnings SET ttm_eps = 9, latest_trading_day = '2021-01-15' WHERE symbol = 'S1'",
        "DELETE FROM options_daily_summary WHERE symbol = 'S1' AND date = '2021-04-20'",
    )
    report = outcomes(written(url, stored, tmp_path, yes=True))
    assert {name: counts[:2] for name, counts in report.items() if any(counts[:2])} == {
        "core_stock": (0, 1),
        "options_daily_summary": (1, 0),
    }
    assert mysql_server.rows(mysql_database, "SELECT symbol FROM core_stock WHERE date < '2002-01-01'") == [("MINE",)]
    assert mysql_server.rows(mysql_database, "SELECT book_value FROM company_overview WHERE symbol = 'S1'") == [(77,)]
    kept = mysql_server.rows(mysql_database, "SELECT ttm_eps, DATE(latest_trading_day) FROM quarterly_earnings")
    assert set(kept) == {(9, date(2021, 1, 15))}


def test_a_dry_run_counts_and_writes_nothing(
    mysql_server: MysqlServer, mysql_database: str, stored: Store, tmp_path: Path
) -> None:
    """A dry run says what would be made and inserted, with a user who may only read, and the database stays empty."""
    mysql_server.do(
        None,
        "CREATE USER IF NOT EXISTS 'bft_dry'@'%' IDENTIFIED BY 'only-reads'",
        f"GRANT SELECT ON {mysql_database}.* TO 'bft_dry'@'%'",
    )
    url = mysql_server.url(mysql_database, user="bft_dry", password="only-reads")
    dry = written(url, stored, tmp_path, dry_run=True)
    assert mysql_server.rows(mysql_database, "SHOW TABLES") == []
    assert all(count.created for count in dry.tables.values())
    assert outcomes(dry) == outcomes(written(mysql_server.url(mysql_database), stored, tmp_path))


def test_a_symbol_that_does_not_fit_is_refused_alone(
    mysql_server: MysqlServer, mysql_database: str, tmp_path: Path
) -> None:
    """BRK-B fits VARCHAR(5); a longer symbol's rows are refused one by one with the reason, the rest is written."""
    store = Store(tmp_path / "store")
    days = CALENDAR.sessions(date(2021, 4, 19), date(2021, 4, 20))
    rows = [(f"us:{symbol}", day) for symbol in ("BRK.B", "ABCDEF") for day in days]
    bars = pl.DataFrame(rows, schema=["instrument_id", "session"], orient="row").with_columns(
        *(pl.lit(10.0).alias(name) for name in ("open", "high", "low", "close", "adjusted_close")),
        volume=pl.lit(1, pl.Int64),
        dividend_amount=pl.lit(0.0),
        split_coefficient=pl.lit(1.0),
        known_at=pl.lit(backfill_known_us(CALENDAR, days[-1])),
    )
    spells = pl.DataFrame({"instrument_id": ["us:BRK.B", "us:ABCDEF"], "symbol": ["BRK.B", "ABCDEF"]}).with_columns(
        start=pl.lit(days[0]), end=pl.lit(None, pl.Date), known_at=pl.lit(NOW_US)
    )
    store.publish({"bars": bars, "spells": spells}, source="test", recorded_at_us=NOW_US)
    url = mysql_server.url(mysql_database)
    report = export_mysql(parse_address(url), chunks(store, None), refusals=tmp_path / "refused.csv")
    assert report.tables["core_stock"].inserted == report.tables["core_stock"].refused == 2
    assert report.refusals_file is not None
    assert (
        pl.read_csv(report.refusals_file)["reason"].to_list() == ["ABCDEF is longer than the column's 5 characters"] * 2
    )
    assert mysql_server.rows(mysql_database, "SELECT DISTINCT symbol FROM core_stock") == [("BRK-B",)]


def test_a_table_that_is_not_the_old_programs_is_refused(
    mysql_server: MysqlServer, mysql_database: str, stored: Store, tmp_path: Path
) -> None:
    """A table without the columns, or without its unique key, stops the export before anything is written."""
    url = mysql_server.url(mysql_database)
    mysql_server.do(mysql_database, "CREATE TABLE core_stock (date DATETIME, symbol VARCHAR(5))")
    with pytest.raises(FixInput, match="lacks the columns open"):
        written(url, stored, tmp_path)
    columns = ", ".join(f"`{name}` {kind}" for name, kind in LAYOUTS["core_stock"].columns.items())
    mysql_server.do(mysql_database, "DROP TABLE core_stock", f"CREATE TABLE core_stock ({columns})")
    with pytest.raises(FixInput, match="no unique key"):
        written(url, stored, tmp_path)
    assert mysql_server.rows(mysql_database, "SHOW TABLES") == [("core_stock",)]
