"""A small HTTP/1.1 server over asyncio with keep-alive and pipelined reads, on 127.0.0.1 alone."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

_HEAD_BYTES_MAX = 64 * 1024
_BODY_BYTES_MAX = 1024 * 1024
_DRIP_PARTS = 20
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `query` keeps the last of repeated parameters and blank ones, header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """One answer; `drip_s` spreads the body over seconds, `cut` breaks the connection in the body's middle, `reset` before."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    drip_s: float = 0.0
    reset: bool = False
    cut: bool = False


Handler = Callable[[Request], Awaitable[Response]]


class _BadRequest(ValueError):
    """A request that is not HTTP/1.1 as this server reads it."""


class HttpServer:
    """Serves one handler; `port` is the bound one."""

    def __init__(self, handler: Handler) -> None:
        """Keep the handler; nothing listens yet."""
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> None:
        """Listen on 127.0.0.1 (0: any free port); OSError where the port is taken."""
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", port, limit=_HEAD_BYTES_MAX, backlog=512
        )

    @property
    def port(self) -> int:
        """The port listened on."""
        if self._server is None:
            raise RuntimeError("the server was not started")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            if task is not None:
                self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                request = await _read(reader)
            except _BadRequest as bad:
                await _write(writer, Response(str(bad).encode(), 400, "text/plain"), keep=False)
                return
            if request is None:
                return
            response = await self._handler(request)
            if response.reset:
                _reset(writer)
                return
            keep = request.headers.get("connection", "").lower() != "close"
            await _write(writer, response, keep=keep)
            if response.cut:
                _reset(writer)
            if not keep or response.cut:
                return


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """Read one request; None where the peer closed between two."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as cut:
        if cut.partial:
            raise
        return None
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _BadRequest("not an HTTP/1.1 request")
    headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines[1:] if x)}
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > _BODY_BYTES_MAX or "transfer-encoding" in headers:
        raise _BadRequest(f"send a Content-Length of at most {_BODY_BYTES_MAX}")
    body = await reader.readexactly(int(length)) if int(length) else b""
    target = urlsplit(words[1])
    query = dict(parse_qsl(target.query, keep_blank_values=True))
    return Request(words[0].upper(), unquote(target.path), query, headers, body)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection so that the peer sees a reset, not an end: a close that does not linger sends RST."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _write(writer: asyncio.StreamWriter, response: Response, *, keep: bool) -> None:
    lines = [
        f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Unknown')}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        f"Connection: {'keep-alive' if keep else 'close'}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    if response.cut:
        writer.write(response.body[: len(response.body) // 2])
    elif response.drip_s > 0:
        size = max(1, -(-len(response.body) // _DRIP_PARTS))
        for start in range(0, len(response.body), size):
            writer.write(response.body[start : start + size])
            await writer.drain()
            await asyncio.sleep(response.drip_s / _DRIP_PARTS)
    else:
        writer.write(response.body)
    await writer.drain()
