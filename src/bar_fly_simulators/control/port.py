"""The control port itself: clock, faults and counters, read and changed over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from bar_fly_simulators.clock import SimulatedClock, new_york, parse_at
from bar_fly_simulators.control.faults import Counters, Faults
from bar_fly_simulators.control.http_server import HttpServer, Request, Response


@dataclass(slots=True)
class Control:
    """What two simulators in one process share besides the market: the clock, the faults, the counters, the names."""

    clock: SimulatedClock
    faults: Faults = field(default_factory=Faults)
    counters: Counters = field(default_factory=Counters)
    symbols: tuple[str, ...] = ()
    # What a simulator shows besides, read only: "/orders" and the function that returns it.
    pages: dict[str, Callable[[], object]] = field(default_factory=dict)

    async def answer(self, request: Request) -> Response:
        """Answer one request to the control port; every refusal is a 4xx with its reason."""
        if request.method not in {"GET", "POST"}:
            return _json({"error": "GET and POST alone"}, 405)
        posted: dict[str, object] | None = None
        if request.method == "POST":
            try:
                read = json.loads(request.body or b"null")
            except ValueError as bad:
                return _json({"error": f"the body is no JSON: {bad}"}, 400)
            if not isinstance(read, dict):
                return _json({"error": "the body is one JSON object"}, 400)
            posted = read
        try:
            return self._route(request.path, posted)
        except (ValueError, OverflowError) as bad:
            return _json({"error": str(bad)}, 400)

    def _route(self, path: str, posted: dict[str, object] | None) -> Response:
        if path == "/clock":
            if posted is not None:
                self._move(posted)
            at_us = self.clock.now_us()
            return _json({"at": new_york(at_us).isoformat(), "at_us": at_us, "speed": self.clock.speed})
        if path == "/symbols" and posted is None:
            return _json({"symbols": list(self.symbols)})
        if path == "/counters" and posted is None:
            return _json(self.counters.shown())
        if path == "/faults":
            if posted is not None:
                self._fault(posted)
            return _json({"faults": self.faults.shown(), "kinds": self.faults.kinds()})
        if path in self.pages and posted is None:
            return _json(self.pages[path]())
        return _json({"error": "GET /clock, POST /clock, GET /symbols, GET /counters, GET /faults, POST /faults"}, 404)

    def _move(self, posted: dict[str, object]) -> None:
        match posted:
            case {"at": str(text), **rest} if not rest:
                self.clock.set(parse_at(text))
            case {"at_us": int(at_us), **rest} if not rest:
                self.clock.set(at_us)
            case {"advance_s": int() | float() as seconds, **rest} if not rest:
                self.clock.advance(seconds)
            case {"speed": int() | float() as speed, **rest} if not rest:
                self.clock.set_speed(speed)
            case _:
                raise ValueError('give {"at": "2021-04-21T09:45"}, {"at_us": N}, {"advance_s": 60} or {"speed": 0}')

    def _fault(self, posted: dict[str, object]) -> None:
        if posted.get("clear") is True:
            kind = posted.get("kind")
            self.faults.clear(kind if isinstance(kind, str) else None)
        else:
            self.faults.add(posted)


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value, indent=1).encode(), status)


async def serve_control(control: Control, port: int) -> HttpServer:
    """Open the control port on 127.0.0.1 (0: any free one); close what is returned."""
    server = HttpServer(control.answer)
    await server.start(port)
    return server
