"""One client's socket: frames in, frames out, counted; what is wrong with a client ends that client alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from bar_fly_simulators.control import Control
from bar_fly_simulators.gateway import replies, requests
from bar_fly_simulators.gateway.faults import Delay, DropAt, Duplicate, FaultTable, Mute, Reorder
from bar_fly_simulators.gateway.framing import GREETING, FrameReader, MalformedMessage, encode_frame, split_fields

logger = logging.getLogger(__name__)

SIMULATOR = "gateway"
GREETING_SECONDS_MAX = 10.0
_UNSENT_BYTES_MAX = 16 << 20
_READ_BYTES = 65536
_CLIENT_BUFFER = 4096
# A client that pauses this long between two reads has emptied its buffer.
_BURST_GAP_S = 0.5
_REORDER_S_MAX = 2.0
ORDER_BYTES = "bytes 3 placeOrder"


def received_name(message_id: int) -> str:
    """Return the counter's name of a request: `received 3 placeOrder`."""
    # Nonsense ids share one counter: a client that invents them must not fill the memory.
    shown = message_id if 0 <= message_id < 1000 else "other"
    return f"received {shown} {requests.NAMES.get(message_id, 'unknown')}"


def sent_name(message_id: int) -> str:
    """Return the counter's name of a message sent: `sent 11 execDetails`."""
    return f"sent {message_id} {replies.NAMES.get(message_id, 'unknown')}"


def show_counters(control: Control) -> None:
    """Make every counter readable before the first message, so that zero is a number and not an absence."""
    for message_id in requests.NAMES:
        control.counters.add(SIMULATOR, received_name(message_id), 0)
    control.counters.add(SIMULATOR, ORDER_BYTES, 0)
    for message_id in replies.NAMES:
        control.counters.add(SIMULATOR, sent_name(message_id), 0)


@dataclass(frozen=True, slots=True)
class _Later:
    """A message that waits: until an instant of the loop's clock, or until a message of the id `after` was sent."""

    due_s: float
    fields: list[str]
    after: str = ""


class Wire:
    """Reads and writes one client's socket."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        control: Control,
        faults: FaultTable | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._control = control
        self._faults = faults or FaultTable(control.faults)
        # Empty until START_API has named the client.
        self.client = ""
        self._later: list[_Later] = []
        self._frames = FrameReader()
        self._out = bytearray()
        self._burst = 0
        self._flushed_at = 0.0

    async def greet(self) -> str:
        """Read `API\\0` and return the versions that follow; MalformedMessage where the client says anything else."""
        try:
            async with asyncio.timeout(GREETING_SECONDS_MAX):
                greeting = await self._reader.readexactly(len(GREETING))
                if greeting != GREETING:
                    raise MalformedMessage(f"the client began with {greeting!r}, not with API")
                length = int.from_bytes(await self._reader.readexactly(4), "big")
                if not 0 < length <= 1024:
                    raise MalformedMessage(f"{length} bytes of versions")
                return (await self._reader.readexactly(length)).decode("ascii", "replace")
        except (asyncio.IncompleteReadError, TimeoutError) as ended:
            raise MalformedMessage("the client did not finish its greeting") from ended

    async def messages(self) -> AsyncIterator[list[str]]:
        """Yield each request's fields until the client goes; MalformedMessage for a broken frame."""
        while data := await self._reader.read(_READ_BYTES):
            for body in self._frames.feed(data):
                if body.startswith(b"3\0"):
                    self._control.counters.add(SIMULATOR, ORDER_BYTES, len(body) + 4)
                yield split_fields(body)

    def send_raw(self, fields: Sequence[str]) -> None:
        """Queue a frame that is no message: the handshake."""
        self._out += encode_frame(fields)

    def send(self, fields: Sequence[str]) -> None:
        """Queue a message and count it, as the faults in force have it; a muted one is neither."""
        about = {"message": fields[0], "client": self.client}
        if self._faults.take(DropAt, when="sent", **about) is not None:
            self.flush()
            return self.abort()
        if self._faults.take(Mute, **about) is not None:
            return None
        if (delay := self._faults.take(Delay, **about)) is not None:
            return self.send_later(fields, delay.seconds)
        if (reorder := self._faults.take(Reorder, **about)) is not None:
            self._later.append(_Later(self._now() + _REORDER_S_MAX, list(fields), reorder.after))
            return None
        copies = 2 if self._faults.take(Duplicate, **about) is not None else 1
        for _ in range(copies):
            self._queue(fields)
        for later in [one for one in self._later if one.after == fields[0]]:
            self._later.remove(later)
            self._queue(later.fields)
        return None

    def send_later(self, fields: Sequence[str], seconds: float) -> None:
        """Queue a message once real seconds have passed."""
        self._later.append(_Later(self._now() + seconds, list(fields)))

    def send_due(self) -> None:
        """Queue the delayed messages whose time has come."""
        if not self._later:
            return
        now = self._now()
        due = [one for one in self._later if one.due_s <= now]
        self._later = [one for one in self._later if one.due_s > now]
        for later in due:
            self._queue(later.fields)

    def _queue(self, fields: Sequence[str]) -> None:
        self._control.counters.add(SIMULATOR, sent_name(int(fields[0])))
        self._out += encode_frame(fields)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def flush(self) -> None:
        """Write what is queued; a client that does not read is cut off."""
        if not self._out or self._writer.is_closing():
            self._out.clear()
            return
        now = asyncio.get_running_loop().time()
        self._burst = len(self._out) + (self._burst if now - self._flushed_at < _BURST_GAP_S else 0)
        self._flushed_at = now
        if self._burst % _CLIENT_BUFFER == 0 or len(self._out) % _CLIENT_BUFFER == 0:
            # The official client loses a burst that ends exactly on its buffer's size, so never end there.
            filler = encode_frame(replies.error(-1, 2106, "HMDS data farm connection is OK:ushmds"))
            self._out += filler
            self._burst += len(filler)
        self._writer.write(bytes(self._out))
        self._out.clear()
        transport = self._writer.transport
        if isinstance(transport, asyncio.WriteTransport) and transport.get_write_buffer_size() > _UNSENT_BYTES_MAX:
            logger.warning("a client does not read: cut off with %d bytes unsent", transport.get_write_buffer_size())
            transport.abort()

    def abort(self) -> None:
        """Cut the connection at once, what is queued unsent."""
        self._out.clear()
        self._writer.transport.abort()

    async def close(self) -> None:
        """Send what is queued and close."""
        self.flush()
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            logger.debug("a client was gone before its connection was closed")
