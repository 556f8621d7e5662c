"""The call plan: the least calls that bring the store up to a session."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pytest

from bar_fly_trading.data.call_plan import Holdings, Wants, bulk, plan_calls
from bar_fly_trading.data.series import SERIES
from bar_fly_trading.facts.sessions import Calendar

CALENDAR = Calendar()
NAMES = tuple(f"N{i:03d}" for i in range(550))
TUE, WED = date(2024, 5, 14), date(2024, 5, 15)
ALL = Wants(frozenset(NAMES), earnings=True, overview=True, macro=tuple(SERIES))


def held(session: date, **more: object) -> Holdings:
    """Return a store that has everything up to a session."""
    whole: dict[str, object] = {
        "bars": dict.fromkeys(NAMES, session),
        "options": dict.fromkeys(NAMES, session),
        "overview": dict.fromkeys(NAMES, session),
        "reported": dict.fromkeys(NAMES, date(2024, 2, 1)),
        "calendar": session,
        "macro": {name: date(2024, 4, 1) if one.months else session for name, one in SERIES.items()},
    }
    return Holdings(**{**whole, **more})  # type: ignore[arg-type]


def test_a_store_that_has_all_asks_nothing() -> None:
    """The second pull of an evening makes no call."""
    plan = plan_calls(NAMES, held(WED), CALENDAR, WED, ALL, today=WED)
    assert plan.calls() == {} and plan.total == 0 and plan.minutes(75) == 0


def test_nights_with_options_cost_at_most_two_calls_and_a_fifth_a_name() -> None:
    """Sixty sessions of 550 names, each name reporting once: every night under 2.2 calls a name, every overview under 31 days."""
    sessions = CALENDAR.sessions(date(2024, 4, 1), date(2024, 6, 28))
    reports = {name: sessions[3 + i % 55] for i, name in enumerate(NAMES)}
    overview: dict[str, date] = {}
    reported = dict.fromkeys(NAMES, date(2024, 2, 1))
    macro = dict.fromkeys(SERIES, date(2024, 1, 1))
    asked: Counter[str] = Counter()
    for night in sessions:
        before = CALENDAR.previous(night)
        have = Holdings(
            dict.fromkeys(NAMES, before),
            dict.fromkeys(NAMES, before),
            dict(overview),
            dict(reported),
            {name: (day,) for name, day in reports.items()},
            before,
            dict(macro),
        )
        plan = plan_calls(NAMES, have, CALENDAR, night, ALL, today=night)
        assert plan.total <= 2.2 * len(NAMES), night
        assert plan.full == () and plan.calendar
        overview |= dict.fromkeys(plan.overview, night)
        for name in plan.earnings:
            assert reports[name] <= night <= CALENDAR.next(reports[name], 10)
            asked[name] += 1
            reported[name] = reports[name]
        for name in plan.macro:
            macro[name] = SERIES[name].next_period(macro[name])
        if night > sessions[20]:
            assert max((night - day).days for day in overview.values()) <= 31 and len(overview) == len(NAMES)
    assert set(asked.values()) == {1}


def test_only_what_is_lacking_is_asked_and_missed_days_cost_no_more() -> None:
    """Twenty missed sessions are one call a name; beyond a hundred the whole history is; a new name is full."""
    have = held(WED, bars={**dict.fromkeys(NAMES, WED), "N001": date(2024, 4, 16), "N002": date(2023, 11, 1)})
    plan = plan_calls((*NAMES, "NEW"), have, CALENDAR, WED, Wants(), today=WED)
    assert plan.bars == ("N001", "N002", "NEW") and plan.full == ("N002", "NEW")
    assert plan.calls() == {"TIME_SERIES_DAILY_ADJUSTED": 3}


def test_a_report_is_asked_around_its_date_only() -> None:
    """From the expected day for ten sessions, until it is stored; never before it, never for a name not expected."""
    expected = {"N000": (WED,), "N001": (date(2024, 5, 16),), "N002": (date(2024, 4, 30),), "N003": (TUE,)}
    have = held(WED, expected=expected, reported={**dict.fromkeys(NAMES, date(2024, 2, 1)), "N003": date(2024, 5, 13)})
    plan = plan_calls(NAMES, have, CALENDAR, WED, Wants(earnings=True), today=WED)
    assert plan.earnings == ("N000",)


@pytest.mark.parametrize(
    ("name", "newest", "today", "due"),
    [
        ("cpi", date(2024, 3, 1), date(2024, 5, 15), False),
        ("cpi", date(2024, 3, 1), date(2024, 5, 16), True),
        ("inflation", date(2022, 1, 1), date(2024, 7, 31), False),
        ("inflation", date(2022, 1, 1), date(2024, 8, 1), True),
        ("treasury_yield_10year", date(2024, 5, 10), date(2024, 5, 14), False),
        ("treasury_yield_10year", date(2024, 5, 10), date(2024, 5, 15), True),
    ],
)
def test_a_series_is_asked_when_its_release_is_due(name: str, newest: date, today: date, due: bool) -> None:
    """Not the day before its rule, and on the day."""
    plan = plan_calls((), Holdings(macro={name: newest}), CALENDAR, WED, Wants(macro=(name,)), today=today)
    assert plan.macro == ((name,) if due else ())
    assert plan.calls() == ({SERIES[name].function: 1} if due else {})


def test_overviews_go_on_where_an_interrupted_pull_ended() -> None:
    """A twentieth of the names a day, the oldest first, counting what the day has already brought."""
    ages = {name: WED - timedelta(days=24 + i) for i, name in enumerate(NAMES[:40])}
    have = held(WED, overview=ages)
    first = plan_calls(NAMES[:40], have, CALENDAR, WED, ALL, today=WED).overview
    assert first == ("N038", "N039")
    after = held(WED, overview={**ages, "N039": WED})
    assert plan_calls(NAMES[:40], after, CALENDAR, WED, ALL, today=WED).overview == ("N038",)


def test_bulk_quotes_by_the_hundred() -> None:
    """550 names are six requests, in order, none lost."""
    batches = bulk(NAMES)
    assert [len(batch) for batch in batches] == [100] * 5 + [50] and sum(batches, ()) == NAMES
    plan = plan_calls(NAMES, held(WED), CALENDAR, WED, Wants(quotes=True), today=WED)
    assert plan.calls() == {"REALTIME_BULK_QUOTES": 6}
