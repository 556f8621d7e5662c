"""The call plan: the least calls that bring the store up to a session, and the minutes they take. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import ceil

from bar_fly_trading.data.series import SERIES
from bar_fly_trading.facts.sessions import Calendar

BULK_SYMBOLS = 100
# Every name's overview comes round in twenty sessions, which is under 31 days.
OVERVIEW_ROUND_SESSIONS = 20
OVERVIEW_AGE_DAYS_MIN = 24
# A report shows in EARNINGS on its day or some days later, after which the vendor is asked for it no more.
EARNINGS_ASKED_SESSIONS = 10
# The vendor dates a report by its filing, which may be days off the calendar's day.
_REPORT_TOLERANCE_DAYS = 5
COMPACT_SESSIONS = 100


@dataclass(frozen=True, slots=True)
class Wants:
    """What is wanted beside the bars.

    `options`: the symbols whose chains are wanted; `options_sessions`: most sessions of them made up for a name.
    `listings_days`: the age at which the list of listings is asked again, 0: never.
    """

    options: frozenset[str] = frozenset()
    options_sessions: int = 1
    listings_days: int = 0
    earnings: bool = False
    overview: bool = False
    macro: tuple[str, ...] = ()
    quotes: bool = False


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the store holds, by canonical symbol; a symbol without an entry has nothing.

    `bars`, `options`: newest session. `overview`: New York day of the newest snapshot's receipt. `reported`: newest
    reported date. `expected`: report days the calendar named. `calendar`: day of the newest calendar's receipt, None
    without one. `macro`: newest period of a series. `listings`: as `calendar`, of the list of listings.
    """

    bars: Mapping[str, date] = field(default_factory=dict)
    options: Mapping[str, date] = field(default_factory=dict)
    overview: Mapping[str, date] = field(default_factory=dict)
    reported: Mapping[str, date] = field(default_factory=dict)
    expected: Mapping[str, tuple[date, ...]] = field(default_factory=dict)
    calendar: date | None = None
    macro: Mapping[str, date] = field(default_factory=dict)
    listings: date | None = None


@dataclass(frozen=True, slots=True)
class CallPlan:
    """The calls of one pull: symbols by what is asked of them, series, and whether the calendar is asked.

    `options`: the symbols whose chain of the session is asked; `chains_missed`: sessions before it, of symbols whose chains
    ended earlier, oldest first. `full`: those of `bars` whose whole history is asked, being new or too far behind. An event
    found on the way costs one call more for its name, so `total` is the least, not the most.
    """

    session: date
    bars: tuple[str, ...] = ()
    full: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    chains_missed: Mapping[str, tuple[date, ...]] = field(default_factory=dict)
    earnings: tuple[str, ...] = ()
    overview: tuple[str, ...] = ()
    macro: tuple[str, ...] = ()
    calendar: bool = False
    listings: bool = False
    quotes: tuple[tuple[str, ...], ...] = ()

    def calls(self) -> dict[str, int]:
        """Return the calls by the vendor's function, those of none left out."""
        counts = {
            "TIME_SERIES_DAILY_ADJUSTED": len(self.bars),
            "HISTORICAL_OPTIONS": len(self.options) + sum(map(len, self.chains_missed.values())),
            "EARNINGS": len(self.earnings),
            "EARNINGS_CALENDAR": int(self.calendar),
            "OVERVIEW": len(self.overview),
            "LISTING_STATUS": 2 * self.listings,
            "REALTIME_BULK_QUOTES": len(self.quotes),
        }
        for name in self.macro:
            function = SERIES[name].function
            counts[function] = counts.get(function, 0) + 1
        return {function: count for function, count in counts.items() if count}

    def chain_sessions(self, symbol: str) -> tuple[date, ...]:
        """Return the sessions whose chain of a symbol is asked, oldest first; `options` says which symbols have any."""
        return (*self.chains_missed.get(symbol, ()), self.session)

    @property
    def total(self) -> int:
        """Return how many calls these are."""
        return sum(self.calls().values())

    def minutes(self, requests_per_minute: float) -> float:
        """Return the minutes they take at a rate that is used in full."""
        return self.total / requests_per_minute


def plan_calls(
    symbols: Sequence[str], held: Holdings, calendar: Calendar, session: date, wants: Wants, *, today: date
) -> CallPlan:
    """Return the least calls that bring `symbols` (canonical) up to `session`; `today`: New York's day of asking.

    Bars: one call a name that lacks the session, whatever the days missed. Chains: one a session missed since the name's
    newest chain, at most `options_sessions`; of a name without any, the newest session alone. Earnings: names whose report
    was expected in the last ten sessions and is not stored, and names without any report (a fund costs its call each time).
    Overview: the oldest snapshots first, a twentieth of the names a day. A series: when its next period's release is due.
    The calendar: once a day. The list of listings: two calls, when it is `listings_days` old.
    """
    lacking = tuple(s for s in symbols if (newest := held.bars.get(s)) is None or newest < session)
    full = tuple(
        s
        for s in lacking
        if (newest := held.bars.get(s)) is None or calendar.sessions_between(newest, session) >= COMPACT_SESSIONS
    )
    options = tuple(
        s for s in symbols if s in wants.options and ((newest := held.options.get(s)) is None or newest < session)
    )
    return CallPlan(
        session=session,
        bars=lacking,
        full=full,
        options=options,
        chains_missed=_missed(options, held.options, calendar, session, wants.options_sessions),
        earnings=tuple(s for s in symbols if _report_due(s, held, calendar, session)) if wants.earnings else (),
        overview=_overviews(symbols, held, today) if wants.overview else (),
        macro=tuple(name for name in wants.macro if _series_due(name, held.macro.get(name), today)),
        calendar=wants.earnings and (held.calendar is None or held.calendar < today),
        listings=bool(wants.listings_days)
        and (held.listings is None or (today - held.listings).days >= wants.listings_days),
        quotes=bulk(symbols) if wants.quotes else (),
    )


def _missed(
    symbols: Sequence[str], newest: Mapping[str, date], calendar: Calendar, session: date, sessions_max: int
) -> dict[str, tuple[date, ...]]:
    """Return the sessions between a symbol's newest chain and the session asked, at most `sessions_max` with that one."""
    found: dict[str, tuple[date, ...]] = {}
    for symbol in symbols:
        if sessions_max > 1 and symbol in newest:
            between = calendar.sessions(newest[symbol], session)[1:-1]
            if missed := between[-(sessions_max - 1) :]:
                found[symbol] = missed
    return found


def bulk(symbols: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Cut symbols into the hundreds that one bulk request takes."""
    return tuple(tuple(symbols[i : i + BULK_SYMBOLS]) for i in range(0, len(symbols), BULK_SYMBOLS))


def _report_due(symbol: str, held: Holdings, calendar: Calendar, session: date) -> bool:
    reported = held.reported.get(symbol)
    if reported is None:
        return True
    since = calendar.previous(session, EARNINGS_ASKED_SESSIONS)
    tolerance = timedelta(days=_REPORT_TOLERANCE_DAYS)
    return any(since <= day <= session and reported < day - tolerance for day in held.expected.get(symbol, ()))


def _overviews(symbols: Collection[str], held: Holdings, today: date) -> tuple[str, ...]:
    aged = [
        (day or date.min, symbol)
        for symbol in symbols
        if (day := held.overview.get(symbol)) is None or (today - day).days >= OVERVIEW_AGE_DAYS_MIN
    ]
    # What an interrupted pull of the same day has brought counts, so that going on asks no more than one pull would.
    done = sum(held.overview.get(symbol) == today for symbol in symbols)
    wanted = max(0, ceil(len(symbols) / OVERVIEW_ROUND_SESSIONS) - done)
    chosen = {symbol for _, symbol in sorted(aged)[:wanted]}
    return tuple(symbol for symbol in symbols if symbol in chosen)


def _series_due(name: str, newest: date | None, today: date) -> bool:
    if newest is None:
        return True
    one = SERIES[name]
    return one.release_date(one.next_period(newest)) <= today
