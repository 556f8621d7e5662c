"""The session table says what exchange_calendars says, and New York time what the time zone database says."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import exchange_calendars
import pytest

from bar_fly_trading.errors import FixSettings
from bar_fly_trading.facts.sessions import (
    DAY_US,
    HOUR_US,
    SECOND_US,
    Calendar,
    evening_us,
    new_york_date,
    new_york_datetime,
    new_york_offset_us,
    new_york_us,
)

CALENDAR = Calendar()
NEW_YORK = ZoneInfo("America/New_York")


def us(moment: datetime) -> int:
    """Return a moment as UTC microseconds."""
    return round(moment.timestamp()) * SECOND_US


@pytest.mark.filterwarnings("ignore:Series.values returning")
def test_every_session_open_and_close_equals_exchange_calendars() -> None:
    """Every session from 1990 as far as both know has the same date, open and close in UTC."""
    peer = exchange_calendars.get_calendar("XNYS", start="1990-01-01")
    last = min(peer.last_session.date(), CALENDAR.last_day)
    assert last > date(2026, 10, 1)
    schedule = peer.schedule.loc[: str(last)]
    days = CALENDAR.sessions(CALENDAR.first_day, last)
    assert list(days) == [stamp.date() for stamp in schedule.index]
    ours = [CALENDAR.session(day) for day in days]
    assert [s.open_us for s in ours] == [stamp.value // 1000 for stamp in schedule["open"]]
    assert [s.close_us for s in ours] == [stamp.value // 1000 for stamp in schedule["close"]]


def test_new_york_time_equals_the_time_zone_database() -> None:
    """Offsets, dates and wall times agree hour by hour around every change of clocks, and weekly between."""
    moment = datetime(1990, 1, 1, 5, tzinfo=UTC)
    end = datetime(2028, 12, 31, tzinfo=UTC)
    while moment < end:
        there = moment.astimezone(NEW_YORK)
        offset = there.utcoffset()
        assert offset is not None
        at_us = us(moment)
        assert new_york_offset_us(at_us) == round(offset.total_seconds()) * SECOND_US
        assert new_york_date(at_us) == there.date()
        assert new_york_datetime(at_us).replace(tzinfo=None) == there.replace(tzinfo=None)
        near_change = (moment + timedelta(days=1)).astimezone(NEW_YORK).utcoffset() != (
            moment - timedelta(days=1)
        ).astimezone(NEW_YORK).utcoffset()
        moment += timedelta(hours=1) if near_change else timedelta(hours=23)


@pytest.mark.parametrize("at", [time(0), time(3), time(9, 30), time(16), time(22), time(23, 59, 59)])
def test_wall_time_becomes_the_same_instant_as_in_the_time_zone_database(at: time) -> None:
    """Each day's wall time, changes of clocks included, is the database's instant; the evening is 22:00."""
    day = date(1990, 1, 2)
    while day < date(2028, 12, 30):
        assert new_york_us(day, at) == us(datetime.combine(day, at, NEW_YORK))
        day += timedelta(days=1)
    assert evening_us(date(2021, 4, 20)) == us(datetime(2021, 4, 20, 22, tzinfo=NEW_YORK))


def test_the_repeated_hour_is_read_as_its_first() -> None:
    """01:30 on the day the clocks go back is the first of the two."""
    assert new_york_us(date(2021, 11, 7), time(1, 30)) == us(datetime(2021, 11, 7, 1, 30, tzinfo=NEW_YORK))


def test_steps_between_sessions() -> None:
    """Next and previous step over weekends and Good Friday, and counting agrees with them."""
    assert CALENDAR.next(date(2021, 4, 1)) == date(2021, 4, 5)
    assert CALENDAR.previous(date(2021, 4, 5)) == date(2021, 4, 1)
    assert CALENDAR.next(date(2021, 4, 3), 2) == date(2021, 4, 6)
    assert CALENDAR.previous(date(2021, 4, 4), 3) == date(2021, 3, 30)
    assert CALENDAR.sessions_between(date(2021, 4, 1), date(2021, 4, 1)) == 0
    assert CALENDAR.sessions_between(date(2021, 4, 1), date(2021, 4, 6)) == 2


def test_the_newest_closed_session_turns_at_the_close() -> None:
    """One microsecond before the close it is the day before; at the close it is the day; early closes count."""
    close = CALENDAR.session(date(2021, 4, 21)).close_us
    assert CALENDAR.newest_closed(close - 1) == date(2021, 4, 20)
    assert CALENDAR.newest_closed(close) == date(2021, 4, 21)
    early = CALENDAR.session(date(2020, 11, 27))
    assert early.close_us == us(datetime(2020, 11, 27, 13, tzinfo=NEW_YORK))
    assert CALENDAR.newest_closed(early.close_us) == date(2020, 11, 27)
    assert CALENDAR.newest_closed(us(datetime(2021, 4, 4, 12, tzinfo=NEW_YORK))) == date(2021, 4, 1)


def test_a_day_closed_at_short_notice_is_no_session() -> None:
    """A closure from the settings takes the session away."""
    day = date(2021, 4, 21)
    closed = Calendar([day])
    assert not closed.is_session(day)
    assert closed.next(date(2021, 4, 20)) == date(2021, 4, 22)
    with pytest.raises(FixSettings, match="no session"):
        closed.session(day)


def test_beyond_the_table_every_question_is_refused() -> None:
    """Before 1990 and after the last year nothing is guessed."""
    for ask in (
        lambda: CALENDAR.is_session(date(1989, 12, 29)),
        lambda: CALENDAR.session(date(2029, 1, 2)),
        lambda: CALENDAR.sessions(date(1989, 1, 1), date(1990, 1, 5)),
        lambda: CALENDAR.next(CALENDAR.last_day),
        lambda: CALENDAR.previous(CALENDAR.first_day),
        lambda: CALENDAR.newest_closed(-100 * 365 * DAY_US),
        lambda: CALENDAR.newest_closed(evening_us(CALENDAR.last_day) + 24 * HOUR_US),
    ):
        with pytest.raises(FixSettings):
            ask()
