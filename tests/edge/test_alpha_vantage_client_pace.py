"""The Alpha Vantage client before any request: settings that cannot work, the pace, and redaction."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.limiter import Limiter
from bar_fly_trading.data.vendor_answers import redacted
from bar_fly_trading.errors import BftError, FixSettings

KEY = "CANARY7KEY/+x"


@dataclass
class FakeTime:
    """A clock that moves only when somebody waits on it."""

    now_s: float = 0.0
    waits: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        """Return the time."""
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.waits.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("key", "url", "rate", "words"),
    [
        ("", "https://www.alphavantage.co", 75, "ALPHAVANTAGE_API_KEY"),
        ("  ", "https://www.alphavantage.co", 75, "ALPHAVANTAGE_API_KEY"),
        (KEY, "http://www.alphavantage.co", 75, "unencrypted"),
        (KEY, "ftp://www.alphavantage.co", 75, "no http"),
        (KEY, "www.alphavantage.co", 75, "no http"),
        (KEY, "", 75, "no http"),
        (KEY, "https://www.alphavantage.co", 0, "0 requests a minute"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_request(key: str, url: str, rate: float, words: str) -> None:
    """No key, an address that is none or would leak the key, or no rate: FixSettings with the way out."""
    with pytest.raises(FixSettings, match=words) as caught:
        AlphaVantage(key, base_url=url, requests_per_minute=rate)
    error: BftError = caught.value
    assert error.way_out
    assert "CANARY" not in str(error)


def test_no_second_and_no_minute_sees_a_burst() -> None:
    """Three hundred turns asked at once come evenly: at most 75 in any minute, at most two in any second."""

    async def main() -> None:
        clock = FakeTime()
        limiter = Limiter(75, monotonic=clock.monotonic, sleep=clock.sleep)
        turns: list[float] = []

        async def one() -> None:
            await limiter.turn()
            turns.append(clock.now_s)

        await asyncio.gather(*(one() for _ in range(300)))
        for i, start in enumerate(turns):
            assert sum(start <= t < start + 60 for t in turns[i:]) <= 75
            assert sum(start <= t < start + 1 for t in turns[i:]) <= 2
        assert turns[-1] == pytest.approx(299 * 60 / (0.98 * 75))
        limiter.pause(10)
        await one()
        assert turns[-1] - turns[-2] >= 10

    asyncio.run(main())


def test_redaction_takes_every_spelling() -> None:
    """The key goes as it is, in another case, and as an address would spell it; without a key nothing changes."""
    assert redacted("a Ab/+ b ab/+ c Ab%2F%2B", "Ab/+") == "a [key] b [key] c [key]"
    assert redacted("text", "") == "text"


def test_a_reported_burst_keeps_more_distance_and_late_turns_are_caught_up_within_bounds() -> None:
    """Each burst makes the spacing 3 % longer, to a floor; turns that all come late still use 95 % of the rate."""

    async def main() -> None:
        clock = FakeTime()
        limiter = Limiter(150, monotonic=clock.monotonic, sleep=clock.sleep)
        began_s = clock.now_s
        for _ in range(300):
            await limiter.turn()
            clock.now_s += 0.09  # what a busy machine takes before it comes back
        assert 299 / ((clock.now_s - began_s) / 60) >= 0.95 * 150
        clock.now_s += 60
        turns = []
        for _ in range(5):
            await limiter.turn()
            turns.append(clock.now_s)
        assert turns[2] - turns[0] >= limiter.spacing_s
        before = limiter.spacing_s
        limiter.burst(1.2)
        assert limiter.spacing_s == pytest.approx(before / 0.97)
        for _ in range(100):
            limiter.burst(0)
        assert limiter.spacing_s == pytest.approx(60 / (0.7 * 150))

    asyncio.run(main())
