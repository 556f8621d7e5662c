"""The Gateway's port: clients come, are told who they are to be, and go; the market walks on for all of them."""

from __future__ import annotations

import asyncio
import logging
import re
from decimal import Decimal
from pathlib import Path

from bar_fly_simulators.clock import SECOND_US
from bar_fly_simulators.control import Control
from bar_fly_simulators.gateway import replies, requests
from bar_fly_simulators.gateway.broker import Broker, fresh_state
from bar_fly_simulators.gateway.contracts import Contracts
from bar_fly_simulators.gateway.faults import FAULT_KINDS, bounded
from bar_fly_simulators.gateway.fields import Cursor, eastern
from bar_fly_simulators.gateway.framing import MalformedMessage
from bar_fly_simulators.gateway.orders import Event
from bar_fly_simulators.gateway.quotes import Quotes
from bar_fly_simulators.gateway.session import Session
from bar_fly_simulators.gateway.state import BrokerState, load_state, save_state
from bar_fly_simulators.gateway.stream import MarketDataStream
from bar_fly_simulators.gateway.wire import SIMULATOR, Wire, received_name, show_counters
from bar_fly_simulators.market import Market

logger = logging.getLogger(__name__)

SERVER_VERSION_MIN, SERVER_VERSION = 176, 178
TURN_S = 0.05
QUOTE_S = 0.25
PNL_S = 1.0
ACCOUNT_S = 180.0
CLOCK_OFFSET_S_MAX = 1e8

_VERSIONS = re.compile(r"v(\d{1,4})\.\.(\d{1,4})(?: .*)?")


class Gateway:
    """A running Gateway; `port` is the bound one, `close` ends it and keeps its state."""

    def __init__(self, market: Market, control: Control, state: BrokerState, state_path: Path | None) -> None:
        control.faults.register(FAULT_KINDS)
        show_counters(control)
        self.market = market
        self.control = control
        self.contracts = Contracts(market)
        self.quotes = Quotes(market)
        self.broker = Broker(market, self.contracts, self.quotes, control.faults, state)
        self.port = 0
        self._state_path = state_path
        self._sessions: dict[int, Session] = {}
        self._wires: set[Wire] = set()
        self._server: asyncio.Server | None = None
        self._turns: asyncio.Task[None] | None = None
        self._unsubscribe = control.clock.subscribe(self.walk)

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts reported to clients; the first one is the broker's."""
        fault = self.control.faults.active("accounts")
        if fault is None:
            return (self.broker.state.account,)
        named = tuple(name.strip() for name in str(fault.options.get("text", "")).split(",") if name.strip())
        return named or (self.broker.state.account,)

    def shown_time_us(self) -> int:
        """Return the Gateway's clock as clients read it, faults included."""
        fault = self.control.faults.active("clock_offset")
        offset = bounded(fault, "seconds", 0, -CLOCK_OFFSET_S_MAX, CLOCK_OFFSET_S_MAX) if fault else 0.0
        return self.control.clock.now_us() + round(offset * SECOND_US)

    async def start(self, port: int) -> None:
        """Listen on 127.0.0.1 (0: any free port); OSError where the port is taken."""
        await self._listen(port)
        self._turns = asyncio.create_task(self._turn_forever())
        self._turns.add_done_callback(_report_end)

    async def close(self) -> None:
        """End every connection, stop listening, and write the state a last time."""
        self._unsubscribe()
        if self._turns is not None:
            self._turns.cancel()
            await asyncio.gather(self._turns, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for wire in tuple(self._wires):
            wire.abort()
        self._save()

    def walk(self) -> None:
        """Walk the broker's market to the clock and tell clients what happened."""
        self.broker.advance(self.control.clock.now_us())
        events = self.broker.take_events()
        if events:
            self._save()
            self._tell(events)

    def _tell(self, events: list[Event]) -> None:
        for session in tuple(self._sessions.values()):
            for event in events:
                session.tell(event)
            session.wire.flush()

    def _save(self) -> None:
        if self._state_path is None:
            return
        try:
            save_state(self._state_path, self.broker.state)
        except OSError as refused:
            logger.error("the Gateway's state was not written to %s: %s", self._state_path, refused)

    async def _listen(self, port: int) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _turn_forever(self) -> None:
        loop = asyncio.get_running_loop()
        quotes_at = pnl_at = loop.time()
        account_at = loop.time() + ACCOUNT_S
        while True:
            await asyncio.sleep(TURN_S)
            await self._connection_faults()
            self.walk()
            now = loop.time()
            for session in tuple(self._sessions.values()):
                if now >= quotes_at:
                    session.stream.tick(self.broker.state.at_us)
                if now >= pnl_at:
                    session.tell_pnl()
                if now >= account_at:
                    session.tell_account()
                session.wire.flush()
            quotes_at = now + QUOTE_S if now >= quotes_at else quotes_at
            pnl_at = now + PNL_S if now >= pnl_at else pnl_at
            account_at = now + ACCOUNT_S if now >= account_at else account_at

    async def _connection_faults(self) -> None:
        if self.control.faults.take("drop_connections") is not None:
            for wire in tuple(self._wires):
                wire.abort()
        refused = self.control.faults.active("refuse_connections") is not None
        if refused and self._server is not None:
            self._server.close()
            self._server = None
        elif not refused and self._server is None:
            try:
                await self._listen(self.port)
            except OSError as taken:
                logger.error("the Gateway cannot listen on its port %d again yet: %s", self.port, taken)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer, self.control)
        self._wires.add(wire)
        session: Session | None = None
        try:
            version = negotiated(await wire.greet())
            wire.send_raw([str(version), f"{eastern(self.shown_time_us()):%Y%m%d %H:%M:%S} EST"])
            wire.flush()
            async for fields in wire.messages():
                self._count(fields)
                if session is None:
                    session = self._begin(wire, version, fields)
                    if session is None:
                        return
                elif self.control.faults.active("ignore", message=fields[0]) is None:
                    self.walk()
                    session.answer(fields)
                    self._after_request()
                wire.flush()
        except MalformedMessage as malformed:
            logger.warning("a client was dropped: %s", malformed)
            if session is not None:
                wire.send(replies.error(-1, 320, f"Server error when reading an API client request: {malformed}"))
        except OSError as gone:
            logger.info("a client is gone: %s", gone)
        finally:
            if session is not None and self._sessions.get(session.client_id) is session:
                del self._sessions[session.client_id]
            self._wires.discard(wire)
            await wire.close()

    def _after_request(self) -> None:
        """Tell what the request itself did, then what the market makes of it at this instant."""
        events = self.broker.take_events()
        if events:
            self._save()
            self._tell(events)
        self.walk()

    def _count(self, fields: list[str]) -> None:
        message_id = Cursor(fields[:1]).integer()
        self.control.counters.add(SIMULATOR, received_name(message_id))

    def _begin(self, wire: Wire, version: int, fields: list[str]) -> Session | None:
        """Read START_API and open the session; None where the client id is taken."""
        cursor = Cursor(fields)
        if cursor.integer() != 71:
            raise MalformedMessage(f"message {fields[0]} came before startApi (71)")
        client_id = requests.start_api(cursor).client_id
        if client_id in self._sessions:
            text = "Unable to connect as the client id is already in use. Retry with a unique client id."
            wire.send(replies.error(-1, 326, text))
            return None
        stream = MarketDataStream(wire, self.contracts, self.quotes, self.control.faults)
        session = Session(self, wire, client_id, version, stream)
        self._sessions[client_id] = session
        session.welcome()
        return session


def _report_end(turns: asyncio.Task[None]) -> None:
    """Say loudly that the market no longer walks, where it ended by a fault of this program."""
    if not turns.cancelled() and (error := turns.exception()) is not None:
        logger.critical("the Gateway's market stands still", exc_info=error)


def negotiated(versions: str) -> int:
    """Return the server version for a client's `v157..178`; MalformedMessage where it speaks none from 176 to 178."""
    match = _VERSIONS.fullmatch(versions)
    if match is None:
        raise MalformedMessage(f"the client asks for {versions[:40]!r}, not for versions like v157..178")
    lowest, highest = int(match[1]), int(match[2])
    version = min(SERVER_VERSION, highest)
    if version < SERVER_VERSION_MIN or lowest > version:
        text = (
            f"the client speaks versions {lowest} to {highest}; this Gateway {SERVER_VERSION_MIN} to {SERVER_VERSION}"
        )
        raise MalformedMessage(text)
    return version


async def serve(
    market: Market,
    control: Control,
    *,
    port: int = 0,
    cash: Decimal = Decimal(100_000),
    account: str = "DUS000001",
    state_path: Path | None = None,
) -> Gateway:
    """Start a Gateway on 127.0.0.1 in this process; close what is returned.

    Raises:
        ValueError: for a state file that is not one, or is of another account.
        OSError: where the port is taken or the state cannot be read.
    """
    if state_path is not None and state_path.exists():
        state = load_state(state_path)
        if state.account != account:
            raise ValueError(f"--state {state_path} is of account {state.account}, not of {account}")
    else:
        state = fresh_state(account, cash, market, control.clock.now_us())
    if state_path is not None:
        # A path that cannot be written is an error of the start, not of the first order.
        save_state(state_path, state)
    gateway = Gateway(market, control, state, state_path)
    await gateway.start(port)
    return gateway
