"""Positions over real processes: what is held and says SELL is sold next morning, and a split is no move of the price."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from tests.simulated.conftest import NEXT_DAY, SETTINGS, TRADED, Chain, Gateway

EXIT_DAY = date(2021, 4, 22)


@pytest.mark.parametrize("mode", ["shadow", "paper"])
def test_a_held_position_whose_evening_says_sell_is_sold_next_morning(
    ranked: Chain, gateway: Gateway, mode: str
) -> None:
    """Bought on one morning, at the upper band that evening, sold whole the next morning: the book holds the others alone."""
    (ranked.home / "settings.toml").write_text(SETTINGS + f'\n[strategies.bollinger]\nmode = "{mode}"\n')
    assert ranked.morning(gateway, mode=mode).returncode == 0
    gateway.at(f"{NEXT_DAY}T16:10")
    ranked.ok("close", "--as-of", NEXT_DAY, "--gateway", gateway.where)
    evening = ranked.ok("evening", "--no-pull", "--as-of", NEXT_DAY)
    assert "SELL ALFA" in evening
    gateway.at(f"{EXIT_DAY}T09:31")
    assert ranked.morning(gateway, mode=mode, day=EXIT_DAY).returncode == 0
    fills = ranked.records("fill")
    bought, sold = ([f for f in fills if f["symbol"] == "ALFA" and f["side"] == side] for side in ("BUY", "SELL"))
    assert [f["execution"]["quantity"] for f in bought] == [f["execution"]["quantity"] for f in sold] == [47]
    gateway.at(f"{EXIT_DAY}T16:10")
    ranked.ok("close", "--as-of", EXIT_DAY, "--gateway", gateway.where)
    books = ranked.records("close")[-1]["books"]
    assert {p["symbol"] for p in books[mode]["positions"]} == set(TRADED) - {"ALFA"}
    assert float(books[mode]["realised_usd"]) > 700
    assert books["paper" if mode == "shadow" else "shadow"]["positions"] == []
    assert gateway.orders == (4 if mode == "paper" else 0)
    assert ranked.records("close")[-1]["differences"] == []


def test_a_split_between_signal_and_morning_is_no_drift(ranked: Chain, read_gateway: Gateway) -> None:
    """A 4-for-1 split between the signal's close of 376 and a quote near 94 passes the drift check, sized in new shares."""
    assert ranked.morning(read_gateway).returncode == 0
    intents = ranked.records("plan")[0]["plan"]["intents"]
    (split,) = [i for i in intents if i["symbol"] == "SPLT"]
    observed: dict[str, Any] = dict(split["observed_values"])
    assert float(observed["split_factor"]) == 4
    assert float(observed["signal_close_usd"]) == 376
    assert abs(float(observed["drift_fraction"])) < 0.001
    assert 4500 < split["quantity"] * float(split["limit_price_usd"]) <= 5000


def test_a_split_of_what_is_held_keeps_its_worth(ranked: Chain, read_gateway: Gateway) -> None:
    """The session's mark of a position is its close in the shares held: no jump on the day of the split."""
    assert ranked.morning(read_gateway).returncode == 0
    ranked.ok("close", "--as-of", NEXT_DAY, "--gateway", read_gateway.where)
    (close,) = ranked.records("close")
    (held,) = [p for p in close["books"]["shadow"]["positions"] if p["symbol"] == "SPLT"]
    assert abs(float(held["mark_usd"]) * held["quantity"] / float(held["cost_usd"]) - 1) < 0.01
