"""Symbols and instruments: spellings, dated spells, and what two companies of one ticker may not do."""

from __future__ import annotations

from datetime import date

import pytest

from bar_fly_trading.data.ingest import identify
from bar_fly_trading.facts.instruments import (
    Instruments,
    SymbolSpell,
    broker_symbol,
    canonical_symbol,
    new_instrument_id,
    vendor_symbol,
)

FB = SymbolSpell("us:FB", "FB", date(2012, 5, 18), date(2022, 6, 8))
META = SymbolSpell("us:FB", "META", date(2022, 6, 9))
NEW_FB = SymbolSpell("us:FB#2", "FB", date(2024, 1, 2))


@pytest.mark.parametrize("spelling", ["BRK.B", "BRK-B", "BRK B", "brk.b", " BRK/B "])
def test_every_spelling_is_one_symbol(spelling: str) -> None:
    """All spellings read as BRK.B, which the vendor spells BRK-B and the broker BRK B."""
    symbol = canonical_symbol(spelling)
    assert (symbol, vendor_symbol(symbol), broker_symbol(symbol)) == ("BRK.B", "BRK-B", "BRK B")


@pytest.mark.parametrize("text", ["", "  ", ".B", "A" * 13, "A;B", "Ä", "A\nB", "=cmd", "A_B"])
def test_text_that_is_no_symbol_is_refused(text: str) -> None:
    """Nothing but letters, digits and the class separator passes."""
    with pytest.raises(ValueError, match="not a US stock symbol"):
        canonical_symbol(text)


def test_a_rename_keeps_the_instrument_and_a_reused_ticker_is_another() -> None:
    """FB became META and stays one instrument; the next FB is a second one; between them the ticker names nobody."""
    known = Instruments([NEW_FB, META, FB])
    assert known.ids() == ("us:FB", "us:FB#2")
    assert known.id_of("FB", date(2022, 6, 8)) == "us:FB"
    assert known.id_of("FB", date(2022, 6, 9)) is None
    assert known.id_of("FB", date(2024, 1, 2)) == "us:FB#2"
    assert known.id_of("FB", date(2012, 5, 17)) is None
    assert known.id_of("META", date(2026, 1, 2)) == "us:FB"
    assert known.symbol_of("us:FB", date(2015, 1, 2)) == "FB"
    assert known.symbol_of("us:FB", date(2026, 1, 2)) == "META"
    assert known.symbol_of("us:FB", date(2000, 1, 3)) == "FB"
    assert known.symbol_of("us:NONE", date(2026, 1, 2)) is None
    assert list(known.spells()) == [FB, META, NEW_FB]


def test_two_instruments_cannot_share_a_symbol_on_one_day() -> None:
    """Overlapping spells of one symbol, or a spell that ends before it starts, are refused."""
    with pytest.raises(ValueError, match="names both"):
        Instruments([FB, SymbolSpell("us:X", "FB", date(2022, 6, 8))])
    with pytest.raises(ValueError, match="before it starts"):
        SymbolSpell("us:X", "X", date(2022, 1, 2), date(2022, 1, 1))


def test_bars_find_their_instrument() -> None:
    """New symbols become instruments, earlier bars continue a spell backwards, an ended symbol is listed."""
    known = Instruments([FB, META, SymbolSpell("us:IBM", "IBM", date(2000, 1, 3))])
    span = (date(1999, 11, 1), date(2021, 4, 21))
    found = identify({"AAPL": span, "IBM": span, "META": span, "FB": (date(2013, 1, 2), date(2023, 1, 3))}, known)
    assert found.ids == {"AAPL": "us:AAPL", "IBM": "us:IBM", "META": "us:FB", "FB": "us:FB"}
    assert found.spells == (
        SymbolSpell("us:AAPL", "AAPL", date(1999, 11, 1)),
        SymbolSpell("us:IBM", "IBM", date(1999, 11, 1), date(2000, 1, 2)),
    )
    assert found.new_ids() == ("us:AAPL",)
    assert found.ended == {"FB": date(2022, 6, 8)}
    Instruments([*known.spells(), *found.spells])


def test_a_second_company_gets_an_id_of_its_own() -> None:
    """Where the plain id is taken by a renamed company, the newcomer counts up."""
    known = Instruments([SymbolSpell("us:NEW", "OLD", date(2000, 1, 3))])
    assert identify({"NEW": (date(2020, 1, 2), date(2020, 1, 3))}, known).ids == {"NEW": "us:NEW#2"}
    assert new_instrument_id("NEW", 3) == "us:NEW#3"
