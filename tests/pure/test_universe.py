"""The universe: membership by spells against a naive scan, who is in by each rule, and a watchlist's spellings."""

from __future__ import annotations

import os
from datetime import date, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pure.test_validate_judge import CALENDAR, NAMES, RULES, TODAY, bars

from bar_fly_trading.data.validate import judge
from bar_fly_trading.facts.instruments import Instruments, SymbolSpell
from bar_fly_trading.facts.listings import ACTIVE, DELISTED, UNLISTED, Listing, Standing, standing, successors
from bar_fly_trading.facts.universe import (
    Membership,
    MemberSpell,
    UniverseRule,
    instrument_of,
    member_days,
    read_symbols,
    resolve,
    spell_faults,
    why_outside,
)

DAY = date(2020, 1, 1)
EXAMPLES = 3000 if os.environ.get("BFT_PROVE") else 300


def day(number: int) -> date:
    """Return the day so many days after the first."""
    return DAY + timedelta(days=number)


SPELL = st.builds(
    lambda symbol, start, length: MemberSpell(symbol, day(start), None if length is None else day(start + length)),
    st.sampled_from("ABC"),
    st.integers(0, 30),
    st.one_of(st.none(), st.integers(-1, 10)),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(SPELL, max_size=12), st.integers(-2, 45))
def test_membership_equals_a_naive_scan_of_the_intervals(spells: list[MemberSpell], number: int) -> None:
    """For any spells that do not overlap, the members of any day are those of a scan of every spell; `since` is its start."""
    rows = {i: s for i, s in enumerate(spells) if s.end is None or s.end >= s.start}
    if spell_faults(rows):
        return
    on = day(number)
    inside = {s.symbol: s.start for s in rows.values() if s.start <= on and (s.end is None or on <= s.end)}
    assert Membership(spells).members(on) == inside
    left: dict[str, date] = {}
    for s in rows.values():
        if s.end is not None and s.end < on:
            left[s.symbol] = max(s.end, left.get(s.symbol, s.end))
    assert {s: last for s in "ABC" if (last := Membership(spells).left(s, on)) is not None} == left


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.dictionaries(st.integers(2, 40), SPELL, max_size=6))
def test_faults_are_those_of_a_scan_of_every_pair(rows: dict[int, MemberSpell]) -> None:
    """A list of spells is faulty exactly where one ends before it starts, or two of a symbol share a day."""

    def shares(a: MemberSpell, b: MemberSpell) -> bool:
        last = min(a.end or date.max, b.end or date.max)
        return a.symbol == b.symbol and max(a.start, b.start) <= last

    good = {line: s for line, s in rows.items() if s.end is None or s.end >= s.start}
    pairs = any(shares(good[a], good[b]) for a in good for b in good if a < b)
    assert bool(spell_faults(rows)) == (len(good) < len(rows) or pairs)


INSTRUMENTS = Instruments(
    (
        SymbolSpell("us:FB", "FB", day(0), day(99)),
        SymbolSpell("us:FB", "META", day(100)),
        SymbolSpell("us:AAPL", "AAPL", day(0)),
        SymbolSpell("us:TWO", "TWO", day(0), day(49)),
        SymbolSpell("us:TWO#2", "TWO", day(60)),
    )
)
SPELLS = Membership(
    (
        MemberSpell("FB", day(10), day(99)),
        MemberSpell("META", day(100)),
        MemberSpell("GONE", day(0), day(200)),
        MemberSpell("TWO", day(0), day(80)),
    )
)


def test_a_renamed_member_is_one_instrument() -> None:
    """A ticker change hands the membership from one symbol to the next, and the instrument is a member all along."""
    rule = UniverseRule("sp500")
    for number in (10, 99, 100, 300):
        assert "us:FB" in resolve(rule, SPELLS, INSTRUMENTS, day(number))
    assert "us:FB" not in resolve(rule, SPELLS, INSTRUMENTS, day(9))
    assert "us:AAPL" not in resolve(rule, SPELLS, INSTRUMENTS, day(10))


def test_members_without_prices_are_not_lost() -> None:
    """A member the store knows nothing of stays in the list, without an instrument: survivor bias can be counted."""
    universe = resolve(UniverseRule("sp500"), SPELLS, INSTRUMENTS, day(20))
    assert [(m.symbol, m.instrument_id) for m in universe.members] == [
        ("FB", "us:FB"),
        ("GONE", None),
        ("TWO", "us:TWO"),
    ]
    assert universe.unknown() == ("GONE",)


def test_d10_a_reused_symbol_means_its_bearer_of_the_day() -> None:
    """A symbol that passed to another company names each in its own days, and nobody in between."""
    assert [instrument_of(INSTRUMENTS, "TWO", day(n)) for n in (49, 55, 60)] == ["us:TWO", None, "us:TWO#2"]
    assert instrument_of(INSTRUMENTS, "FB", day(300)) == "us:FB"


def test_a_list_stands_beside_the_index_and_nothing_set_means_everything() -> None:
    """Symbols beside the index are in, each name once; with nothing set every name in the store is."""
    both = resolve(UniverseRule("sp500", ("AAPL", "META"), "watch.txt"), SPELLS, INSTRUMENTS, day(150))
    assert [(m.symbol, m.rule) for m in both.members] == [
        ("AAPL", "in watch.txt"),
        ("GONE", "member of the S&P 500"),
        ("META", "member of the S&P 500"),
    ]
    assert all(i in resolve(UniverseRule(), SPELLS, INSTRUMENTS, day(150)) for i in INSTRUMENTS.ids())


def test_the_reason_names_the_day_rule_and_last_membership() -> None:
    """Why a name is outside is said in words: the day, the rule, and until when it was a member; inside there is none."""
    late = resolve(UniverseRule("sp500"), SPELLS, INSTRUMENTS, day(300))
    words = why_outside(late, SPELLS, INSTRUMENTS, "us:TWO#2")
    assert words == "outside the universe at 2020-10-27 (S&P 500 by membership spells): a member until 2020-03-21"
    assert why_outside(late, SPELLS, INSTRUMENTS, "us:FB") is None


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(-5, 320))
def test_member_days_say_the_same_as_the_universe_of_the_day(number: int) -> None:
    """The spans a training learns from hold exactly the instruments that the universe of each day holds."""
    on = day(number)
    spans = member_days(SPELLS, INSTRUMENTS)
    inside = {i for i, first, last in spans if first <= on and (last is None or on <= last)}
    universe = resolve(UniverseRule("sp500"), SPELLS, INSTRUMENTS, on)
    assert inside == {m.instrument_id for m in universe.members if m.instrument_id is not None}


def test_a_watchlist_is_read_in_any_spelling() -> None:
    """A byte order mark, CRLF, comments, lower case, BRK-B for BRK.B and duplicates are read; faults name their line."""
    text = "\ufeffaapl\r\n# all comment\r\nBRK-B # class B\r\nbrk.b\r\n\r\nMSFT,\r\nno symbol!\r\n"
    symbols, faults = read_symbols(text)
    assert symbols == ("AAPL", "BRK.B", "MSFT")
    assert faults == ("line 7: not a US stock symbol: 'no symbol!'",)


def test_an_old_list_says_so() -> None:
    """A membership whose newest change is long ago is called old, a fresh or empty one is not."""
    assert SPELLS.aged(day(150)) is None
    assert Membership(()).aged(day(150)) is None
    words = SPELLS.aged(day(500))
    assert words is not None
    assert "2020-07-19" in words


LAST = date(2024, 5, 10)


def test_d11_d10_a_listing_is_ours_only_by_its_dates() -> None:
    """Active before our newest bar: listed; delisted about then: delisted; another company's rows are never ours."""
    old = Listing("X", DELISTED, ipo_date=date(1990, 1, 1), delisting_date=date(1998, 1, 1))
    ours = Listing("X", ACTIVE, ipo_date=date(2001, 1, 1))
    gone = Listing("X", DELISTED, ipo_date=date(2001, 1, 1), delisting_date=date(2024, 5, 13))
    new = Listing("X", ACTIVE, ipo_date=date(2024, 6, 1))
    lost = Listing("X", UNLISTED, ipo_date=date(2001, 1, 1))
    assert standing("X", LAST, (old, ours)) == (Standing.LISTED, None)
    assert standing("X", LAST, (old, gone, new)) == (Standing.DELISTED, date(2024, 5, 13))
    assert standing("X", LAST, (old, new)) == (Standing.REUSED, date(2024, 6, 1))
    assert standing("X", LAST, (old, lost)) == (Standing.UNLISTED, None)
    assert standing("X", LAST, (old,)) == (Standing.UNKNOWN, None)
    assert standing("X", LAST, (Listing("Y", ACTIVE),)) == (Standing.UNKNOWN, None)


def test_d10_the_successor_has_the_same_ipo_date_and_exchange() -> None:
    """A name gone from the list is guessed to live on under a symbol that is new, of the same IPO date and exchange."""
    gone = Listing("FB", UNLISTED, exchange="NASDAQ", ipo_date=date(2012, 5, 18))
    active = (
        Listing("META", ACTIVE, exchange="NASDAQ", ipo_date=date(2012, 5, 18)),
        Listing("OTHER", ACTIVE, exchange="NASDAQ", ipo_date=date(2012, 5, 18)),
        Listing("NYSE", ACTIVE, exchange="NYSE", ipo_date=date(2012, 5, 18)),
    )
    assert successors(gone, active, ("FB", "OTHER")) == ("META",)
    assert successors(Listing("FB", UNLISTED), active, ()) == ()


def test_names_outside_the_universe_are_not_expected_to_have_bars() -> None:
    """Names that are pulled no more are stale and kept out, but a run on the universe's own names goes on."""
    table = bars().filter((pl.col("instrument_id") < "us:N05") | (pl.col("session") < TODAY))
    whole = judge(table, TODAY, CALENDAR, RULES)
    assert whole.stop is not None and whole.expected == len(NAMES)
    found = judge(table, TODAY, CALENDAR, RULES, wanted=NAMES[:5])
    assert (found.stop, found.expected, found.used) == (None, 5, 5)
    assert found.excluded == whole.excluded
