"""Books: what each strategy holds, and what it made, from its executions and the splits and dividends since.

A book is rebuilt from its facts each time; nothing is ever adjusted in place. Money is USD.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from bar_fly_trading.errors import StoreDamaged
from bar_fly_trading.strategies.signal import Holding, Side
from bar_fly_trading.trading.orders import Execution, IntentChange, Mode, Record
from bar_fly_trading.trading.plan import OrderIntent, plain
from bar_fly_trading.trading.reading import read_execution

_COST_PLACES = Decimal("0.000001")
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class BookFill:
    """One execution with what the book must know of its intent."""

    session: date
    mode: Mode
    strategy: str
    instrument_id: str
    symbol: str
    side: Side
    execution: Execution


@dataclass(frozen=True, slots=True)
class Split:
    """`factor` new shares for one old, effective at the open of `effective_date`."""

    instrument_id: str
    effective_date: date
    factor: Decimal


@dataclass(frozen=True, slots=True)
class Dividend:
    """`amount_usd` a share, to whoever held at the close before `ex_dividend_date` (in shares after that day's split)."""

    instrument_id: str
    ex_dividend_date: date
    amount_usd: Decimal


@dataclass(frozen=True, slots=True)
class BookPosition:
    """A strategy's position in one instrument: whole shares and what they cost in all, commissions apart."""

    strategy: str
    instrument_id: str
    symbol: str
    quantity: int
    cost_usd: Decimal
    entry_session: date


@dataclass(frozen=True, slots=True)
class Book:
    """One mode's positions and cash as of `session`.

    `open_positions` and `open_cash_usd` are those of the close before `session` (before its splits and dividends).
    `cash_usd` is all cash in and out since the first fill (buys negative), commissions and dividends included.
    """

    session: date
    positions: tuple[BookPosition, ...] = ()
    open_positions: tuple[BookPosition, ...] = ()
    cash_usd: Decimal = _ZERO
    open_cash_usd: Decimal = _ZERO
    realised_usd: Decimal = _ZERO
    dividends_usd: Decimal = _ZERO
    commissions_usd: Decimal = _ZERO
    realised_by_strategy_usd: tuple[tuple[str, Decimal], ...] = ()

    def holdings(self, strategy: str | None = None) -> tuple[Holding, ...]:
        """Return what is held, of one strategy or of all, sorted by strategy and instrument."""
        return tuple(
            Holding(
                p.strategy,
                p.instrument_id,
                p.symbol,
                p.quantity,
                p.entry_session,
                (p.cost_usd / p.quantity).quantize(_COST_PLACES),
            )
            for p in self.positions
            if strategy is None or p.strategy == strategy
        )

    def quantity_of(self, strategy: str, instrument_id: str) -> int:
        """Return the shares one strategy holds of an instrument."""
        return sum(p.quantity for p in self.positions if (p.strategy, p.instrument_id) == (strategy, instrument_id))

    def quantities(self) -> dict[str, int]:
        """Return the shares held by instrument, all strategies together."""
        total: dict[str, int] = {}
        for p in self.positions:
            total[p.instrument_id] = total.get(p.instrument_id, 0) + p.quantity
        return total

    def value_usd(self, marks_usd: Mapping[str, Decimal]) -> Decimal | None:
        """Return the positions' worth at the marks; None where a mark is missing or no number."""
        return _value(self.positions, marks_usd)

    def unrealised_usd(self, marks_usd: Mapping[str, Decimal]) -> Decimal | None:
        """Return what the positions would make over their cost at the marks; None where a mark is missing."""
        value = self.value_usd(marks_usd)
        return None if value is None else value - sum((p.cost_usd for p in self.positions), _ZERO)

    def total_usd(self, marks_usd: Mapping[str, Decimal]) -> Decimal | None:
        """Return everything made since the first fill: cash and worth; None where a mark is missing."""
        value = self.value_usd(marks_usd)
        return None if value is None else self.cash_usd + value

    def day_usd(self, previous_closes_usd: Mapping[str, Decimal], marks_usd: Mapping[str, Decimal]) -> Decimal | None:
        """Return the session's profit (a loss is negative): worth and cash now less those at the close before.

        `previous_closes_usd` are as traded at that close, before this session's splits. None where a number is missing.
        """
        before, now = _value(self.open_positions, previous_closes_usd), self.value_usd(marks_usd)
        if before is None or now is None:
            return None
        return now + self.cash_usd - before - self.open_cash_usd


def _value(positions: Iterable[BookPosition], marks_usd: Mapping[str, Decimal]) -> Decimal | None:
    total = _ZERO
    for p in positions:
        mark = marks_usd.get(p.instrument_id)
        if mark is None or not mark.is_finite():
            return None
        total += p.quantity * mark
    return total


class _Ledger:
    """The running totals while a book is built."""

    def __init__(self) -> None:
        self.positions: dict[tuple[str, str], BookPosition] = {}
        self.cash = self.dividends = self.commissions = _ZERO
        self.realised: dict[str, Decimal] = {}

    def split(self, split: Split) -> None:
        """Multiply the shares; a fraction of a share is paid out at cost, so it makes no profit."""
        for key, p in list(self.positions.items()):
            if p.instrument_id != split.instrument_id:
                continue
            exact = p.quantity * split.factor
            whole = int(exact)
            kept = p.cost_usd if exact == whole else _round(p.cost_usd * whole / exact)
            self.cash += p.cost_usd - kept
            if whole == 0:
                del self.positions[key]
            else:
                self.positions[key] = BookPosition(p.strategy, p.instrument_id, p.symbol, whole, kept, p.entry_session)

    def dividend(self, dividend: Dividend) -> None:
        """Credit a dividend on its ex-date."""
        for p in self.positions.values():
            if p.instrument_id == dividend.instrument_id:
                self.cash += p.quantity * dividend.amount_usd
                self.dividends += p.quantity * dividend.amount_usd

    def fill(self, fill: BookFill) -> None:
        """Book one execution at its price; its commission goes to cash and to the realised profit."""
        e, key = fill.execution, (fill.strategy, fill.instrument_id)
        commission = e.commission_usd if e.commission_usd is not None else _ZERO
        held = self.positions.get(key)
        self.commissions += commission
        self.cash -= commission
        self._realise(fill.strategy, -commission)
        value = e.quantity * e.price_usd
        if fill.side is Side.BUY:
            self.cash -= value
            self.positions[key] = BookPosition(
                fill.strategy,
                fill.instrument_id,
                fill.symbol,
                e.quantity + (held.quantity if held else 0),
                value + (held.cost_usd if held else _ZERO),
                held.entry_session if held else fill.session,
            )
            return
        if held is None or held.quantity < e.quantity:
            raise StoreDamaged(
                f"the journal sells {e.quantity} {fill.symbol} of {fill.strategy} ({fill.mode}) in execution {e.exec_id},"
                f" but its book holds {held.quantity if held else 0}.",
                way_out="Compare the journal with the broker: bft reconcile.",
            )
        self.cash += value
        cost = held.cost_usd if held.quantity == e.quantity else _round(held.cost_usd * e.quantity / held.quantity)
        self._realise(fill.strategy, value - cost)
        del self.positions[key]
        if held.quantity > e.quantity:
            self.positions[key] = BookPosition(
                held.strategy,
                held.instrument_id,
                fill.symbol,
                held.quantity - e.quantity,
                held.cost_usd - cost,
                held.entry_session,
            )

    def _realise(self, strategy: str, usd: Decimal) -> None:
        self.realised[strategy] = self.realised.get(strategy, _ZERO) + usd

    def held(self) -> tuple[BookPosition, ...]:
        """Return the positions, sorted."""
        return tuple(self.positions[key] for key in sorted(self.positions))


def _round(usd: Decimal) -> Decimal:
    return usd.quantize(_COST_PLACES, rounding=ROUND_HALF_EVEN)


def build_book(
    fills: Iterable[BookFill],
    *,
    mode: Mode,
    session: date,
    splits: Iterable[Split] = (),
    dividends: Iterable[Dividend] = (),
) -> Book:
    """Build one mode's book as of `session`: everything of earlier sessions, and this session's events and fills.

    A day's splits come first, then its dividends, then its fills by time. Later facts are left out. Executions count
    once an `exec_id`, at their highest revision. StoreDamaged where more was sold than held.
    """
    newest: dict[str, BookFill] = {}
    for fill in fills:
        if fill.mode is not mode or fill.session > session:
            continue
        known = newest.get(fill.execution.exec_id)
        if known is None or fill.execution.supersedes(known.execution):
            newest[fill.execution.exec_id] = fill
    events: list[tuple[date, int, int, str, Split | Dividend | BookFill]] = []
    events += [(s.effective_date, 0, 0, s.instrument_id, s) for s in splits if s.effective_date <= session]
    events += [(d.ex_dividend_date, 1, 0, d.instrument_id, d) for d in dividends if d.ex_dividend_date <= session]
    events += [(f.session, 2, f.execution.at_us, f.execution.exec_id, f) for f in newest.values()]
    ledger, opened = _Ledger(), None
    for day, _, _, _, event in sorted(events, key=lambda row: row[:4]):
        if day == session and opened is None:
            opened = (ledger.held(), ledger.cash)
        if isinstance(event, Split):
            ledger.split(event)
        elif isinstance(event, Dividend):
            ledger.dividend(event)
        else:
            ledger.fill(event)
    open_positions, open_cash = opened if opened is not None else (ledger.held(), ledger.cash)
    return Book(
        session,
        ledger.held(),
        open_positions,
        ledger.cash,
        open_cash,
        sum(ledger.realised.values(), _ZERO),
        ledger.dividends,
        ledger.commissions,
        tuple(sorted(ledger.realised.items())),
    )


def fill_record(intent: OrderIntent, execution: Execution, changes: tuple[IntentChange, ...]) -> Record:
    """Return the journal's `fill` record of an execution, with the intent's change that it brings."""
    fill = BookFill(
        intent.session, intent.mode, intent.strategy, intent.instrument_id, intent.symbol, intent.side, execution
    )
    return Record("fill", fill_payload(fill), changes)


def fill_payload(fill: BookFill) -> dict[str, Any]:
    """Return the journal's payload of a `fill` record."""
    return dict(plain(fill))


def read_fill(payload: Mapping[str, Any]) -> BookFill:
    """Read a `fill` record's payload back; KeyError or ValueError where it is none."""
    return BookFill(
        date.fromisoformat(payload["session"]),
        Mode(payload["mode"]),
        payload["strategy"],
        payload["instrument_id"],
        payload["symbol"],
        Side(payload["side"]),
        read_execution(payload["execution"]),
    )
