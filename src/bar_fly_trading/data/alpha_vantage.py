"""The Alpha Vantage client: paced, timed, retried within bounds, classified by content, and silent about its key."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx
import polars as pl

from bar_fly_trading.data import parse
from bar_fly_trading.data.limiter import Limiter
from bar_fly_trading.data.parse_csv import CsvRows, NoticeInDisguise, csv_body
from bar_fly_trading.data.vendor_answers import PASSING, WORDS, Answer, VendorRefused, classify, redacted
from bar_fly_trading.errors import FixSettings
from bar_fly_trading.facts.instruments import vendor_symbol
from bar_fly_trading.files import publish_bytes, sha256_bytes

BASE_URL = "https://www.alphavantage.co"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_BODY_BYTES_MAX = 64 * 1024 * 1024
_KEPT_BYTES_MAX = 64 * 1024
_EXCERPT_LENGTH = 160
_BURST_PAUSE_S = 1.2
_RETRY_AFTER_S_MAX = 60.0
_T = TypeVar("_T")
_R = TypeVar("_R")
_LOGGERS = ("httpx", "httpcore", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


def _drop(_record: logging.LogRecord) -> bool:
    return False


# The HTTP client logs whole addresses, and the key is part of the address: no level setting may bring that back.
for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_drop)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take, in seconds, and how often it is tried; `stage_s`: how long all of a client's together may."""

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    total_timeout_s: float = 60.0
    attempts_max: int = 5
    backoff_s: float = 1.0
    backoff_s_max: float = 30.0
    stage_s: float = 5400.0

    def __post_init__(self) -> None:
        if (
            min(self.connect_timeout_s, self.read_timeout_s, self.total_timeout_s, self.stage_s) <= 0
            or self.attempts_max < 1
        ):
            raise ValueError(f"patience must be positive: {self}")


@dataclass(frozen=True, slots=True)
class _Refusal:
    answer: Answer
    detail: str
    retried: bool = False
    retry_after_s: float = 0.0
    body: bytes = b""


class AlphaVantage:
    """An async client of one key; use it as an async context manager. Symbols are canonical (BRK.B).

    Every method raises VendorRefused (a CheckVendor) where the data did not come, and no message, cause or log ever
    carries the key.
    """

    def __init__(
        self,
        key: str,
        *,
        base_url: str = BASE_URL,
        requests_per_minute: float = 75,
        patience: Patience | None = None,
        unknown_bodies: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Take the key, the server, the key's rate, and a folder for bodies never seen (None: not kept).

        FixSettings where the key is empty, the rate is not positive, or the address would send the key unencrypted
        to another machine.
        """
        if not key.strip():
            raise FixSettings(
                "No Alpha Vantage key is set.", way_out="Set ALPHAVANTAGE_API_KEY, or import bars from a file."
            )
        if not requests_per_minute > 0:
            raise FixSettings(f"{requests_per_minute} requests a minute is no rate.", way_out="Give your key's rate.")
        self._key = key.strip()
        self._url = _query_url(base_url)
        self._host = self._url.host
        self._patience = patience or Patience()
        self._unknown_bodies = unknown_bodies
        self._sleep, self._uniform, self._monotonic = sleep, uniform, monotonic
        self._ends_at_s = monotonic() + self._patience.stage_s
        self._limiter = Limiter(requests_per_minute, monotonic=monotonic, sleep=sleep)
        self.requests = 0
        timeout = httpx.Timeout(self._patience.read_timeout_s, connect=self._patience.connect_timeout_s)
        self._client = httpx.AsyncClient(
            timeout=timeout,
            follow_redirects=False,
            trust_env=self._host not in _LOOPBACK,
            headers={"Accept": "application/json"},
            # Reading the system's certificates takes longer than a small pull; plain http (loopback alone) needs none.
            verify=_trust() if self._url.scheme == "https" else False,
        )

    def __repr__(self) -> str:
        return f"AlphaVantage({self._host})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    def not_asking(self, seconds: float) -> None:
        """Take so many seconds out of the time that all asking may take: a wait for the vendor's data is none of it."""
        self._ends_at_s += seconds

    async def daily_adjusted(self, symbol: str, *, full: bool) -> parse.DailyBody:
        """Return daily bars with the adjusted close (see `parse.daily_adjusted`): all of them, or the newest 100."""
        name, size = vendor_symbol(symbol), "full" if full else "compact"
        return await self.ask(
            "TIME_SERIES_DAILY_ADJUSTED",
            lambda body: parse.daily_adjusted(body, name),
            parse.SERIES_DAILY,
            symbol=name,
            outputsize=size,
        )

    async def daily(self, symbol: str) -> parse.DailyBody:
        """Return the newest 100 daily bars without adjusted close (see `parse.daily`): what a free key may read."""
        name = vendor_symbol(symbol)
        return await self.ask(
            "TIME_SERIES_DAILY",
            lambda body: parse.daily(body, name),
            parse.SERIES_DAILY,
            symbol=name,
            outputsize="compact",
        )

    async def splits(self, symbol: str) -> pl.DataFrame:
        """Return every split (see `parse.splits`); no rows where there were none."""
        name = vendor_symbol(symbol)
        return await self.ask("SPLITS", lambda body: parse.splits(body, name), "symbol", symbol=name)

    async def dividends(self, symbol: str) -> pl.DataFrame:
        """Return every dividend (see `parse.dividends`); no rows where there were none."""
        name = vendor_symbol(symbol)
        return await self.ask("DIVIDENDS", lambda body: parse.dividends(body, name), "symbol", symbol=name)

    async def earnings(self, symbol: str) -> pl.DataFrame:
        """Return the quarterly earnings (see `parse.earnings`); no rows where there are none, as of a fund."""
        name = vendor_symbol(symbol)
        return await self.ask("EARNINGS", lambda body: parse.earnings(body, name), "symbol", symbol=name)

    async def overview(self, symbol: str) -> str:
        """Return today's company overview as canonical JSON text."""
        name = vendor_symbol(symbol)
        return await self.ask("OVERVIEW", lambda body: parse.overview(body, name), "Symbol", symbol=name)

    async def bulk_quotes(self, symbols: Sequence[str]) -> list[dict[str, str]]:
        """Return REALTIME_BULK_QUOTES rows of at most 100 symbols; no bid or ask is among them."""
        names = ",".join(vendor_symbol(symbol) for symbol in symbols)

        def read(body: parse.Body) -> list[dict[str, str]]:
            return [{str(k): str(v) for k, v in row.items()} for row in parse.rows_of_success(body)]

        return await self.ask("REALTIME_BULK_QUOTES", read, "data", symbol=names)

    async def ask(
        self, function: str, read: Callable[[parse.Body], _T], data_key: str, *, symbol: str = "", **parameters: str
    ) -> _T:
        """Ask a JSON function until the data is there or the attempts are used up, and return what `read` makes of it.

        `data_key`: the key whose value is the data. VendorRefused, free of any cause, otherwise: errors are raised
        outside every `except`, so that no traceback can reach the request and its address.
        """
        named = {"symbol": symbol} if symbol else {}
        outcome = await self._asked(function, lambda content: _json(content, data_key), {**named, **parameters})
        return self._read(function, symbol, read, outcome)

    async def ask_csv(
        self, function: str, columns: Sequence[str], read: Callable[[CsvRows], _T], **parameters: str
    ) -> _T:
        """Ask a CSV function as `ask` does; `columns`: those its header must have, more of them may follow."""
        outcome = await self._asked(function, lambda content: _csv(content, columns), dict(parameters))
        return self._read(function, parameters.get("symbol", ""), read, outcome)

    def _read(self, function: str, symbol: str, read: Callable[[_R], _T], outcome: tuple[_R, bytes] | _Refusal) -> _T:
        if isinstance(outcome, tuple):
            body, content = outcome
            fault = ""
            try:
                return read(body)
            except ValueError as error:
                fault = str(error)
            outcome = _Refusal(Answer.UNKNOWN, fault, body=content)
        raise self._refused(function, symbol, outcome)

    async def _asked(
        self, function: str, read: Callable[[bytes], _R | _Refusal], parameters: dict[str, str]
    ) -> tuple[_R, bytes] | _Refusal:
        attempt = 0
        while True:
            if self._left_s() > 0:
                await self._limiter.turn()
            if self._left_s() <= 0:
                return _Refusal(Answer.OUT_OF_TIME, "")
            self.requests += 1
            outcome = await self._attempt(function, read, parameters)
            attempt += 1
            if isinstance(outcome, tuple) or not outcome.retried or attempt >= self._patience.attempts_max:
                return outcome
            if outcome.answer in PASSING:
                self._limiter.burst(_BURST_PAUSE_S)
            backoff_s = min(self._patience.backoff_s_max, self._patience.backoff_s * 2 ** (attempt - 1))
            await self._sleep(max(0.0, min(self._left_s(), outcome.retry_after_s + self._uniform(0.0, backoff_s))))

    def _left_s(self) -> float:
        """Return the seconds that this client may go on asking, by the monotonic clock."""
        return self._ends_at_s - self._monotonic()

    async def _attempt(
        self, function: str, read: Callable[[bytes], _R | _Refusal], parameters: dict[str, str]
    ) -> tuple[_R, bytes] | _Refusal:
        allowed_s = min(self._patience.total_timeout_s, self._left_s())
        try:
            async with asyncio.timeout(allowed_s):
                status, retry_after_s, content = await self._fetch({"function": function, **parameters})
        except TimeoutError:
            detail = f"no whole answer within {allowed_s:.3g} s"
            return _Refusal(Answer.TRANSPORT, detail, retried=True)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            return _Refusal(Answer.TRANSPORT, f"{type(error).__name__} {error}".strip(), retried=True)
        if status != httpx.codes.OK:
            passing = status == httpx.codes.TOO_MANY_REQUESTS or status >= 500
            return _Refusal(Answer.HTTP, f"HTTP status {status}", retried=passing, retry_after_s=retry_after_s)
        if len(content) > _BODY_BYTES_MAX:
            return _Refusal(Answer.BAD_BODY, f"a body of more than {_BODY_BYTES_MAX} bytes")
        found = read(content)
        return found if isinstance(found, _Refusal) else (found, content)

    async def _fetch(self, parameters: dict[str, str]) -> tuple[int, float, bytes]:
        chunks: list[bytes] = []
        size = 0
        async with self._client.stream("GET", self._url, params={**parameters, "apikey": self._key}) as response:
            async for chunk in response.aiter_bytes():
                chunks.append(chunk)
                size += len(chunk)
                if size > _BODY_BYTES_MAX:
                    break
            return response.status_code, _retry_after_s(response.headers), b"".join(chunks)

    def _refused(self, function: str, symbol: str, refusal: _Refusal) -> VendorRefused:
        where = f"Alpha Vantage at {self._host}, {function} {symbol[:40]}"
        if refusal.answer in WORDS:
            return VendorRefused(f"{where}: {WORDS[refusal.answer]}.", refusal.answer)
        message = f"{where}: {refusal.answer}: {redacted(refusal.detail, self._key)}."
        if refusal.body and refusal.answer in (Answer.UNKNOWN, Answer.BAD_BODY):
            message += self._keep(function, symbol, refusal.body)
        return VendorRefused(message, refusal.answer)

    def _keep(self, function: str, symbol: str, content: bytes) -> str:
        if self._unknown_bodies is None:
            return ""
        text = redacted(content[:_KEPT_BYTES_MAX].decode("utf-8", "replace"), self._key).encode()
        name = "".join(c if c.isalnum() else "-" for c in symbol[:24])
        path = self._unknown_bodies / f"{function}-{name}-{sha256_bytes(text)[:12]}.txt"
        publish_bytes(path, text)
        return f" The body is kept in {path}."


def _json(content: bytes, data_key: str) -> parse.Body | _Refusal:
    try:
        body = parse.json_body(content)
    except parse.BodyFault as error:
        return _Refusal(Answer.BAD_BODY, str(error), retried=True, body=content)
    answer = classify(body, data_key)
    if answer is Answer.DATA:
        return body
    text = content[:_EXCERPT_LENGTH].decode("utf-8", "replace")
    return _Refusal(answer, " ".join(text.split()), retried=answer in PASSING, body=content)


def _csv(content: bytes, columns: Sequence[str]) -> CsvRows | _Refusal:
    """Read CSV; a JSON object in its place is classified as everywhere, and never holds the data."""
    if content.lstrip()[:1] == b"{":
        found = _json(content, "")
        return found if isinstance(found, _Refusal) else _Refusal(Answer.UNKNOWN, "JSON for CSV", body=content)
    try:
        return csv_body(content, columns)
    except NoticeInDisguise as error:
        return _Refusal(Answer.DISGUISED, str(error), retried=True, body=content)
    except parse.BodyFault as error:
        return _Refusal(Answer.BAD_BODY, str(error), retried=True, body=content)


def _retry_after_s(headers: httpx.Headers) -> float:
    """Return the seconds that Retry-After asks for, told as seconds or as a time (against the answer's own Date), at most 60."""
    text = headers.get("Retry-After", "")
    seconds = 0.0
    if text.isascii() and text.isdecimal():
        seconds = float(text)
    elif text:
        try:
            seconds = (parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date", ""))).total_seconds()
        except (TypeError, ValueError):
            seconds = 0.0
    return min(max(0.0, seconds), _RETRY_AFTER_S_MAX)


def _query_url(base_url: str) -> httpx.URL:
    way_out = f"Give an address such as {BASE_URL}, or http://127.0.0.1:PORT for a simulator."
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise FixSettings("The Alpha Vantage address is no http(s) address.", way_out=way_out)
    if url.scheme == "http" and url.host not in _LOOPBACK and "." in url.host:
        raise FixSettings(f"http://{url.host} would carry the key unencrypted.", way_out=way_out)
    path = url.path.rstrip("/")
    return httpx.URL(
        scheme=url.scheme, host=url.host, port=url.port, path=path if path.endswith("/query") else f"{path}/query"
    )
