"""The pull at the limit: calls a name a night, and the share of the allowed rate that is used, with no request refused.

Run `python benchmarks/pull.py`. A simulated Alpha Vantage serves 150 requests a minute to a night of 300 names with options, earnings,
overview and macro; its minute and the client's clock run twice as fast. The rival is the limit itself, which is 1.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from datetime import date
from datetime import time as wall_time
from pathlib import Path

from bar_fly_simulators.alpha_vantage import server
from bar_fly_simulators.alpha_vantage.limits import Limiter
from bar_fly_simulators.clock import SimulatedClock, parse_at
from bar_fly_simulators.control import Control, HttpServer
from bar_fly_simulators.market import load_market
from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.call_plan import Wants
from bar_fly_trading.data.pull_night import night_plan, pull_night
from bar_fly_trading.data.series import SERIES
from bar_fly_trading.data.store import Store
from bar_fly_trading.facts.sessions import Calendar, new_york_us

NAMES, A_MINUTE, SCALE = 300, 150, 2.0
BEFORE, NIGHT = date(2024, 5, 14), date(2024, 5, 15)
UNPACED = 1e7


class FasterLimiter(Limiter):
    """The simulator's limiter on a clock that runs SCALE times as fast; it can be let go, and counts what it refuses."""

    def __init__(self) -> None:
        super().__init__(str(A_MINUTE))
        self.on, self.refused = False, 0
        self.asked_s: list[float] = []

    def refusal(self, key: str, now_s: float, day: date) -> dict[str, str] | None:
        """Refuse as the plan does, where it is on."""
        body = super().refusal(key, now_s * SCALE, day) if self.on else None
        self.refused += body is not None
        if self.on:
            self.asked_s.append(now_s * SCALE)
        return body


async def night(store: Store, port: int, names: tuple[str, ...], day: date, rate: float) -> tuple[int, float]:
    """Pull one night; return its calls and the minutes it took on the client's clock."""
    calendar = Calendar()
    wants = Wants(frozenset(names), earnings=True, overview=True, macro=tuple(SERIES))
    now_us = new_york_us(day, wall_time(18, 0))
    plan = night_plan(store, calendar, names, day, wants, now_us=now_us)
    async with AlphaVantage(
        "KEY",
        base_url=f"http://127.0.0.1:{port}",
        requests_per_minute=rate,
        monotonic=lambda: time.monotonic() * SCALE,
        sleep=lambda seconds: asyncio.sleep(seconds / SCALE),
    ) as vendor:
        began_s = time.monotonic()
        report = await pull_night(store, vendor, calendar, plan, names, now_us=lambda: now_us)
        minutes = (time.monotonic() - began_s) * SCALE / 60
    if report.failed or report.notes:
        raise SystemExit(f"something did not come: {report.failed[:1]} {report.notes[:1]}")
    return report.requests, minutes


def main() -> None:
    """Fill a store unpaced, then measure the next night at the limit."""
    market = load_market(f"synthetic:{NAMES}:5")
    control = Control(SimulatedClock(parse_at(f"{BEFORE}T18:00"), 0))
    limiter = FasterLimiter()
    answering = server.AlphaVantage(market, control, limiter=limiter)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    http = HttpServer(answering.answer)
    asyncio.run_coroutine_threadsafe(http.start(0), loop).result(10)
    try:
        with tempfile.TemporaryDirectory() as folder:
            store, names = Store(Path(folder)), tuple(market.symbols)
            first, _ = asyncio.run(night(store, http.port, names, BEFORE, UNPACED))
            print(f"first night, histories in full  {first:6d} calls  {first / NAMES:5.2f} a name")
            control.clock.set(parse_at(f"{NIGHT}T18:00"))
            limiter.on = True
            calls, minutes = asyncio.run(night(store, http.port, names, NIGHT, A_MINUTE))
    finally:
        asyncio.run_coroutine_threadsafe(http.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
    print(f"next night, options and macro   {calls:6d} calls  {calls / NAMES:5.2f} a name (limit of the plan: 2.20)")
    asking_minutes = (limiter.asked_s[-1] - limiter.asked_s[0]) / 60
    print(f"from the first request to the last  {(calls - 1) / (asking_minutes * A_MINUTE):.3f} of the allowed rate")
    print(f"planning and publishing included    {calls / (minutes * A_MINUTE):.3f}, {minutes:.2f} minutes")
    print(f"requests refused for haste          {limiter.refused}")


if __name__ == "__main__":
    main()
