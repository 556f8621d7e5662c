"""What is staged into the store, step by step: bars by groups of symbols, the small tables, volumes, option chains by quarter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date

import polars as pl

from bar_fly_trading.data.importers.mysqldump import bars, chains, others
from bar_fly_trading.data.importers.mysqldump.ahead import ahead
from bar_fly_trading.data.importers.mysqldump.chains import Span, spans
from bar_fly_trading.data.importers.mysqldump.reading import Progress
from bar_fly_trading.data.importers.mysqldump.staging import Staging
from bar_fly_trading.data.importers.mysqldump.tables import OPTIONS
from bar_fly_trading.data.store import Store
from bar_fly_trading.data.views import load_instruments
from bar_fly_trading.facts.sessions import Calendar
from bar_fly_trading.facts.tables import BARS, OPTION_CHAINS, OPTIONS_SUMMARY

GROUP_ROWS_MAX = 300_000


class Loader:
    """Publishes what is staged; each step's name stands in the store's sources, so a step is never done twice."""

    def __init__(self, staging: Staging, store: Store, calendar: Calendar, name: str, progress: Progress) -> None:
        """Take the staged dump and its file's name."""
        self._staging, self._store, self._calendar, self._progress = staging, store, calendar, progress
        self._source = f"import mysqldump {name} {staging.state.import_id}"
        self._at_us = staging.state.began_us
        self._newest = calendar.newest_closed(self._at_us)
        versions = store.versions()
        self._done = {store.manifest(version).source for version in versions}

    def load(self) -> None:
        """Publish bars by groups of symbols, then the small tables, then option volumes by groups."""
        groups = self._groups("core_stock")
        listed, _ = others.once("stock_splits", self._staging.scan("stock_splits").collect())
        with closing(ahead(self._judged_bars(groups, listed))) as judged:
            for number, step, loaded in judged:
                outcome = {"new": loaded.new, "corrected": loaded.corrected, "same": loaded.same}
                self._judge(step, loaded.refused, outcome)
                self._publish(step, loaded.additions)
                self._progress(f"storing bars, {number} of {len(groups)} groups of symbols", number, len(groups) + 2)
        self._small(listed)
        self._progress("storing tables", len(groups) + 1, len(groups) + 2)
        groups = self._groups("options_daily_summary")
        for number, symbols in enumerate(groups, 1):
            self._options(f"option volumes {number} of {len(groups)}", symbols)
        self._progress("stored", 1, 1)

    def load_chains(self) -> None:
        """Publish the option chains, a quarter a version: what reads the newest sessions need not open the older ones."""
        counts = self._quarters()
        for number, (first, last) in enumerate(sorted(counts), 1):
            step = f"option chains {first} to {last}"
            if not self._is_done(step):
                pieces = self._quarter(step, first, last, counts[first, last])
                with closing(ahead(pieces)) as made:
                    self._store.publish({}, source=f"{self._source} {step}", recorded_at_us=self._at_us, pieces=made)
            self._progress(f"storing option chains, {number} of {len(counts)} quarters", number, len(counts))

    def _quarters(self) -> dict[tuple[date, date], list[Span]]:
        """Return the staged option rows by quarter, in spans of symbols and days of not too many rows each."""
        days = self._staging.scan(OPTIONS).group_by("date", "symbol").len().collect(engine="streaming")
        found: dict[tuple[date, date], list[tuple[str, date, int]]] = {}
        for day, symbol, count in days.sort("symbol", "date").iter_rows():
            found.setdefault(chains.quarter_of(day), []).append((symbol, day, count))
        return {quarter: spans(counts, quarter, GROUP_ROWS_MAX) for quarter, counts in found.items()}

    def _quarter(self, step: str, first: date, last: date, parts: Sequence[Span]) -> Iterator[tuple[str, pl.DataFrame]]:
        refused: list[pl.DataFrame] = []
        ids, traded = self._ids(), []
        stored = self._of_others(OPTION_CHAINS.name)
        for part in parts:
            rows = self._staging.scan(OPTIONS, part.first_symbol, part.last_symbol)
            rows = rows.filter(pl.col("date").is_between(part.first, part.last))
            found = chains.option_chains(
                others.with_ids(rows.collect(engine="streaming"), ids), self._calendar, self._newest
            )
            refused.append(found.refused)
            traded.append(chains.volumes(found))
            frame = found.frame
            if stored:
                held = self._store.read(
                    OPTION_CHAINS.name, since=first, until=last, instruments=set(frame["instrument_id"].unique())
                )
                frame = frame.join(held, on=OPTION_CHAINS.key, how="anti")
            yield OPTION_CHAINS.name, chains.known(frame, self._calendar)
        # Of a chain that is cut off the volumes would be too small.
        if self._staging.state.cut is None:
            held = self._store.read(OPTIONS_SUMMARY.name, since=first, until=last)
            lacking = pl.concat(traded).join(held, on=OPTIONS_SUMMARY.key, how="anti")
            yield OPTIONS_SUMMARY.name, chains.known(lacking, self._calendar)
        # Judged when the last row is read and before the version is current, as every step is.
        self._judge(step, pl.concat(refused), {})

    def _judged_bars(self, groups: Sequence[list[str]], listed: pl.DataFrame) -> Iterator[tuple[int, str, bars.Loaded]]:
        """Yield the groups that are not stored yet, judged; groups share no symbol, so one may be judged while another is stored."""
        for number, symbols in enumerate(groups, 1):
            step = f"bars {number} of {len(groups)}"
            if self._is_done(step):
                continue
            frame = self._of("core_stock", symbols)
            stored = self._stored_bars(symbols)
            yield number, step, bars.load(frame, listed, self._store, stored, self._calendar, self._newest)

    def _groups(self, table: str) -> list[list[str]]:
        counts = self._staging.scan(table).group_by("symbol").len().collect(engine="streaming").sort("symbol")
        return bars.groups(list(counts.iter_rows()), GROUP_ROWS_MAX)

    def _is_done(self, step: str) -> bool:
        # Judged before it is published, so a step of this import that is in the store is in the state too.
        return step in self._staging.state.judged and f"{self._source} {step}" in self._done

    def _of(self, table: str, symbols: list[str]) -> pl.DataFrame:
        # Groups are neighbours in the order of symbols, and so are the rows of a part.
        return self._staging.scan(table, symbols[0], symbols[-1]).collect(engine="streaming")

    def _stored_bars(self, symbols: list[str]) -> pl.DataFrame:
        """Return the stored bars of some symbols; the store is read only where another import or a pull wrote bars."""
        if not self._of_others(BARS.name):
            return pl.DataFrame(schema=BARS.schema())
        instruments = {
            spell.instrument_id for spell in load_instruments(self._store).spells() if spell.symbol in set(symbols)
        }
        return self._store.read(BARS.name, instruments=instruments)

    def _of_others(self, table: str) -> bool:
        """Tell whether the store has rows of a table that this import did not bring."""
        current = self._store.current()
        segments = () if current is None else self._store.manifest(current).tables.get(table, ())
        ours = {f"{self._source} {step}" for step in self._staging.state.judged}
        return not all(segment.source in ours for segment in segments)

    def _ids(self) -> dict[str, str]:
        return {spell.symbol: spell.instrument_id for spell in load_instruments(self._store).spells()}

    def _small(self, listed: pl.DataFrame) -> None:
        step = "small tables"
        if self._is_done(step):
            return
        ids, frames, refused = self._ids(), {}, []
        for name in ("company_overview", "quarterly_earnings", "stock_splits", "economic_indicators"):
            rows, repeats = others.once(name, self._staging.scan(name).collect())
            frames[name] = rows if name == "economic_indicators" else others.with_ids(rows, ids)
            refused.append(repeats)
        splits, bad = others.listed_splits(frames["stock_splits"], self._store, self._calendar, self._at_us)
        additions = {
            "overview": others.overview(frames["company_overview"], self._store, self._at_us),
            "sectors": others.sectors(frames["company_overview"], self._store, self._calendar),
            "earnings": others.earnings(frames["quarterly_earnings"], self._store, self._at_us),
            "macro_imported": others.macro(frames["economic_indicators"], self._store, self._at_us),
            "splits": splits,
        }
        self._judge(step, pl.concat([*refused, bad]), {})
        self._publish(step, additions)

    def _options(self, step: str, symbols: list[str]) -> None:
        if self._is_done(step):
            return
        rows, repeats = others.once("options_daily_summary", self._of("options_daily_summary", symbols))
        frame, bad = others.options_summary(
            others.with_ids(rows, self._ids()), self._store, self._calendar, self._newest
        )
        self._judge(step, pl.concat([repeats, bad]), {})
        self._publish(step, {"options_summary": frame})

    def _judge(self, step: str, refused: pl.DataFrame, outcome: dict[str, int]) -> None:
        """Keep a step's refusals and counts before it is published, once however often it is killed."""
        state = self._staging.state
        if step in state.judged:
            return
        self._staging.add("refusals", refused)
        for name, count in outcome.items():
            state.outcome[name] = state.outcome.get(name, 0) + count
        state.judged.append(step)
        self._staging.checkpoint(state.position)
        self._staging.settle()

    def _publish(self, step: str, additions: Mapping[str, pl.DataFrame]) -> None:
        self._store.publish(additions, source=f"{self._source} {step}", recorded_at_us=self._at_us)
