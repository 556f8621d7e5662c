"""The server: what a request asks for, whether its key may, what is broken on purpose, and the answer."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from bar_fly_simulators.alpha_vantage import bodies, company, macro, options, quotes, reference, series
from bar_fly_simulators.alpha_vantage.limits import Limiter
from bar_fly_simulators.clock import SECOND_US, new_york
from bar_fly_simulators.control import Control, Fault, HttpServer, Request, Response
from bar_fly_simulators.market import Market

NAME = "alpha_vantage"
# Faults that answer in place of the vendor.
ANSWERS: dict[str, str] = {
    "burst": "the body for more than one request a second",
    "daily_cap": "the body for a spent day; it repeats the key",
    "legacy_note": "the older Note body",
    "premium": "the body of a premium endpoint",
    "premium_full": "the body for outputsize=full without a plan",
    "invalid_key": "the body for a wrong key",
    "invalid_call": "the body for a wrong symbol or parameter",
    "unknown_symbol": "the empty answer for a symbol that does not exist",
    "artificial": "rows that look real, marked as artificial",
    "html": "a web page with HTTP 200",
    "http_429": "HTTP 429",
    "http_500": "HTTP 500",
    "http_503": "HTTP 503",
    "connection_reset": "the connection is reset, no answer",
    "csv_disguise": "of a CSV endpoint: its header, then a notice's letters, one a column",
}
# Faults that spoil the true answer.
SPOILERS: dict[str, str] = {
    "truncated_json": "the body ends in the middle, though its length is right for what is sent",
    "cut_body": "the connection is reset in the middle of the body",
    "six_columns": "EARNINGS_CALENDAR without the seventh column, as before 2026",
    "slow_drip": "the body takes `seconds` (10) to arrive",
    "partial_bar": "the running session's bar is in the daily series, as it stands",
    "stale": "the daily series end `sessions` (1) earlier",
    "field": "in the daily series `field` (close) is `value` (0.0), `sessions_ago` (0) back",
}
_SERIES = ("TIME_SERIES_DAILY_ADJUSTED", "TIME_SERIES_DAILY")
_BULK = ("REALTIME_BULK_QUOTES", "REALTIME_BULK_BID_ASK_PRICES")
_OPTIONS = ("HISTORICAL_OPTIONS", "REALTIME_OPTIONS")
_COMPANY = ("GLOBAL_QUOTE", "EARNINGS", "OVERVIEW", "SPLITS", "DIVIDENDS")
FUNCTIONS = (*_SERIES, *_BULK, *_OPTIONS, *_COMPANY, *macro.FUNCTIONS, *reference.CSV_COLUMNS, "MARKET_STATUS")
# The vendor's, known to this server by name alone.
_NOT_SIMULATED = "NEWS_SENTIMENT SYMBOL_SEARCH"
_DELAY_US = 15 * 60 * SECOND_US
_CACHED_BODIES = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's parameters: the function, the symbol as spelled and as known (None: unknown), and the rest."""

    function: str
    text: str
    symbol: str | None
    query: Mapping[str, str]

    def full(self) -> bool:
        """Tell whether the whole history is asked for."""
        return self.query.get("outputsize", "compact") == "full"


class AlphaVantage:
    """Answers requests over one market; `keys` are the accepted ones (none named: any that is not empty)."""

    def __init__(
        self,
        market: Market,
        control: Control,
        *,
        tier: str = "unlimited",
        keys: Collection[str] = (),
        limiter: Limiter | None = None,
    ) -> None:
        """Register the faults; `limiter` counts in place of one of the tier's own; ValueError for an unknown tier."""
        self._market, self._control = market, control
        self._limiter = limiter or Limiter(tier)
        self._keys = frozenset(keys)
        self._cache: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        control.faults.register(ANSWERS | SPOILERS, choices={"field": series.FIELDS})

    async def answer(self, request: Request) -> Response:
        """Answer one HTTP request, and count it by function."""
        if request.path != "/query":
            return Response(bodies.HTML, 404, "text/html; charset=utf-8")
        if request.method != "GET":
            return Response(bodies.encoded({"detail": f'Method "{request.method}" not allowed.'}), 405)
        if not _acceptable(request.headers.get("accept", "*/*")):
            return Response(bodies.encoded(bodies.NOT_ACCEPTABLE), 406)
        text = request.query.get("symbol", "")
        function = request.query.get("function", "").upper()
        asked = Asked(function, text, self._market.find(text), request.query)
        known = function in FUNCTIONS or function in _NOT_SIMULATED.split()
        self._control.counters.add(NAME, function if known else "unknown")
        limits = {"simulator": NAME, "function": function, "symbol": text}
        fault = self._control.faults.take(*ANSWERS, **limits)
        response = self._answer(asked) if fault is None else self._instead(asked, fault)
        for kind in ("truncated_json", "cut_body", "slow_drip"):
            spoiler = self._control.faults.take(kind, **limits)
            if spoiler is not None:
                response = _spoiled(response, spoiler)
        return response

    def _answer(self, asked: Asked) -> Response:
        key = asked.query.get("apikey", "")
        if not key or (self._keys and key not in self._keys):
            return _ok(bodies.INVALID_KEY)
        at_us = self._control.clock.now_us()
        refused = self._limiter.refusal(key, time.monotonic(), new_york(at_us).date())
        if refused is not None:
            return _ok(refused)
        if asked.function in _NOT_SIMULATED.split():
            return Response(bodies.encoded({"detail": f"{asked.function} is not simulated here."}), 501)
        if asked.function not in FUNCTIONS:
            return _ok(bodies.no_such_function(asked.function))
        if asked.function in _SERIES:
            return self._series(asked, at_us)
        if asked.function in reference.CSV_COLUMNS:
            return self._csv(asked, at_us)
        if asked.query.get("datatype", "json") != "json":
            detail = f"datatype={asked.query['datatype']} is simulated for the daily series alone."
            return Response(bodies.encoded({"detail": detail}), 501)
        if asked.function == "MARKET_STATUS":
            return _ok(reference.market_status(self._market, at_us))
        if asked.function in macro.FUNCTIONS:
            body = macro.macro_body(asked.function, asked.query, at_us)
            return _ok(bodies.invalid_call(asked.function) if body is None else body)
        return _ok(self._object(asked, at_us))

    def _csv(self, asked: Asked, at_us: int) -> Response:
        if asked.function == "EARNINGS_CALENDAR":
            fault = self._control.faults.take("six_columns", simulator=NAME, function=asked.function, symbol=asked.text)
            content = reference.earnings_calendar(self._market, asked.query, at_us, old=fault is not None)
        else:
            content = reference.listing_status(self._market, asked.query, at_us)
        if content is None:
            return _ok(bodies.invalid_call(asked.function))
        return Response(content, content_type="application/x-download")

    def _bulk(self, asked: Asked, at_us: int) -> object:
        if self._limiter.free:
            return _artificial(asked.function)
        make = quotes.bulk_quotes if asked.function == "REALTIME_BULK_QUOTES" else quotes.bulk_bid_ask
        return make(self._market, [one.strip() for one in asked.text.split(",") if one.strip()], at_us)

    def _chain(self, asked: Asked, at_us: int) -> object:
        if asked.function == "REALTIME_OPTIONS":
            if not self._limiter.realtime_options:
                return bodies.artificial_options()
            return options.realtime(self._market, asked.symbol, asked.text, asked.query, at_us)
        if self._limiter.free:
            return bodies.PREMIUM
        body = options.historical(self._market, asked.symbol, asked.text, asked.query, at_us)
        return bodies.invalid_call(asked.function) if body is None else body

    def _object(self, asked: Asked, at_us: int) -> object:
        market, symbol, text = self._market, asked.symbol, asked.text
        if not text.strip():
            return bodies.invalid_call(asked.function)
        if asked.function in _BULK:
            return self._bulk(asked, at_us)
        if asked.function in _OPTIONS:
            return self._chain(asked, at_us)
        if symbol is None:
            return _empty(asked)
        if asked.function == "GLOBAL_QUOTE":
            delayed = asked.query.get("entitlement") == "delayed"
            seen_us = at_us - _DELAY_US if delayed else at_us
            quote = quotes.quote_at(market, symbol, seen_us, intraday=not self._limiter.free)
            return quotes.global_quote(text, quote, delayed=delayed)
        if asked.function == "EARNINGS":
            return company.earnings_body(text, company.known_earnings(market, symbol, at_us))
        make: Callable[[Market, str, str, int], object] = {
            "OVERVIEW": company.overview_body,
            "SPLITS": company.splits_body,
            "DIVIDENDS": company.dividends_body,
        }[asked.function]
        return make(market, symbol, text, at_us)

    def _series(self, asked: Asked, at_us: int) -> Response:
        if self._limiter.free and asked.function == "TIME_SERIES_DAILY_ADJUSTED":
            return _ok(bodies.PREMIUM)
        if self._limiter.free and asked.full():
            return _ok(bodies.PREMIUM_FULL)
        sizes, types = {"compact", "full"}, {"json", "csv"}
        fits = asked.query.get("outputsize", "compact") in sizes and asked.query.get("datatype", "json") in types
        if asked.symbol is None or not fits:
            return _ok(bodies.invalid_call(asked.function))
        as_csv = asked.query.get("datatype") == "csv"
        limits = {"simulator": NAME, "function": asked.function, "symbol": asked.text}
        partial, stale, bad = (self._control.faults.take(k, **limits) for k in ("partial_bar", "stale", "field"))
        key: tuple[object, ...] = (
            asked.function,
            asked.text,
            asked.full(),
            as_csv,
            self._market.closed_count(asked.symbol, at_us),
        )
        true = partial is None and stale is None and bad is None
        if true and key in self._cache:
            self._cache.move_to_end(key)
            return _series_response(self._cache[key], as_csv=as_csv)
        late = 0 if stale is None else max(0, int(stale.number("sessions", 1)))
        full, with_running = asked.full(), partial is not None
        rows = series.served_rows(self._market, asked.symbol, at_us, full=full, partial=with_running, stale=late)
        if rows is None:
            return _ok(bodies.invalid_call(asked.function))
        if bad is not None:
            name, back = str(bad.options.get("field", "close")), max(0, int(bad.number("sessions_ago", 0)))
            rows = series.with_field(rows, name, bad.number("value", 0.0), back)
        if as_csv:
            body = series.series_csv(asked.function, rows)
        else:
            body = series.series_body(asked.function, asked.text, rows, full=full)
        if true:
            self._cache[key] = body
            if len(self._cache) > _CACHED_BODIES:
                self._cache.popitem(last=False)
        return _series_response(body, as_csv=as_csv)

    def _instead(self, asked: Asked, fault: Fault) -> Response:
        match fault.kind:
            case "connection_reset":
                return Response(b"", reset=True)
            case "html":
                return Response(bodies.HTML, 200, "text/html; charset=utf-8")
            case "http_429" | "http_500" | "http_503":
                return Response(bodies.HTML, int(fault.kind[-3:]), "text/html; charset=utf-8")
            case "csv_disguise" if asked.function in reference.CSV_COLUMNS:
                return Response(reference.disguised(asked.function), content_type="application/x-download")
            case "csv_disguise":
                return _ok(bodies.BURST)
            case "unknown_symbol" if asked.function in reference.CSV_COLUMNS:
                header = reference.csv_text(reference.CSV_COLUMNS[asked.function], [])
                return Response(header, content_type="application/x-download")
        made: dict[str, Callable[[], object]] = {
            "burst": lambda: bodies.BURST,
            "daily_cap": lambda: bodies.daily_cap(asked.query.get("apikey", "")),
            "legacy_note": lambda: bodies.LEGACY_NOTE,
            "premium": lambda: bodies.PREMIUM,
            "premium_full": lambda: bodies.PREMIUM_FULL,
            "invalid_key": lambda: bodies.INVALID_KEY,
            "invalid_call": lambda: bodies.invalid_call(asked.function),
            "unknown_symbol": lambda: _empty(asked),
            "artificial": lambda: _artificial(asked.function),
        }
        return _ok(made[fault.kind]())


def _artificial(function: str) -> object:
    """Return the made-up rows of a function."""
    match function:
        case "REALTIME_OPTIONS" | "HISTORICAL_OPTIONS":
            return bodies.artificial_options()
        case "REALTIME_BULK_BID_ASK_PRICES":
            return bodies.artificial_bid_ask()
    return bodies.artificial_quotes()


def _acceptable(accept: str) -> bool:
    """Tell whether the vendor answers an Accept header: text/csv by itself gets 406."""
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return "text/csv" not in kinds or bool(kinds & {"*/*", "application/json", "application/*"})


def _empty(asked: Asked) -> object:
    """Return what each function answers for a symbol that it does not know."""
    match asked.function:
        case "GLOBAL_QUOTE":
            return quotes.global_quote(asked.text, None, delayed=asked.query.get("entitlement") == "delayed")
        case "REALTIME_BULK_QUOTES":
            return {"endpoint": "Realtime Bulk Quotes", "message": "success", "data": []}
        case "REALTIME_BULK_BID_ASK_PRICES":
            return {"endpoint": "Realtime Bulk Bid and Ask Prices", "message": "success", "data": []}
        case "HISTORICAL_OPTIONS" | "REALTIME_OPTIONS":
            endpoint = asked.function.replace("_", " ").title()
            return {"endpoint": endpoint, "message": "success", "data": []}
        case "SPLITS" | "DIVIDENDS":
            return {"symbol": asked.text, "data": []}
        case "EARNINGS" | "OVERVIEW":
            return {}
    return bodies.invalid_call(asked.function)


def _ok(value: object) -> Response:
    return Response(bodies.encoded(value))


def _series_response(body: bytes, *, as_csv: bool) -> Response:
    return Response(body, content_type="application/x-download" if as_csv else "application/json")


def _spoiled(response: Response, fault: Fault) -> Response:
    match fault.kind:
        case "slow_drip":
            return replace(response, drip_s=max(0.0, fault.number("seconds", 10.0)))
        case "cut_body":
            return replace(response, cut=True)
    return replace(response, body=response.body[: len(response.body) // 2])


async def serve(
    market: Market, control: Control, *, port: int = 0, tier: str = "unlimited", keys: Collection[str] = ()
) -> HttpServer:
    """Serve a market on 127.0.0.1 (0: any free port); close what is returned."""
    server = HttpServer(AlphaVantage(market, control, tier=tier, keys=keys).answer)
    await server.start(port)
    return server
