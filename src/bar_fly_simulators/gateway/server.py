"""The Gateway's port: clients come, are told who they are to be, and go; the market walks on for all of them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path

from bar_fly_simulators.clock import SECOND_US
from bar_fly_simulators.control import Control
from bar_fly_simulators.gateway import faults as table
from bar_fly_simulators.gateway import replies, requests
from bar_fly_simulators.gateway.broker import Broker
from bar_fly_simulators.gateway.contracts import Contracts
from bar_fly_simulators.gateway.faults import FaultTable, GatewayFault
from bar_fly_simulators.gateway.fields import Cursor, eastern, number
from bar_fly_simulators.gateway.framing import MalformedMessage
from bar_fly_simulators.gateway.handshake import negotiated
from bar_fly_simulators.gateway.orders import Event, OrderRequest
from bar_fly_simulators.gateway.outages import Outages
from bar_fly_simulators.gateway.pacing import Pace
from bar_fly_simulators.gateway.quotes import Quotes
from bar_fly_simulators.gateway.session import Session
from bar_fly_simulators.gateway.state import BrokerState, fresh_state, load_state, plain, save_state
from bar_fly_simulators.gateway.stream import MarketDataStream
from bar_fly_simulators.gateway.wire import SIMULATOR, Wire, received_name, show_counters
from bar_fly_simulators.market import Market

logger = logging.getLogger(__name__)

MESSAGES_PER_SECOND_MAX = 50
TURN_S = 0.05
QUOTE_S = 0.25
PNL_S = 1.0
BARS_S = 5.0
ACCOUNT_S = 180.0
UNDERSTOOD_MAX = 1000

_TAKEN = "Unable to connect as the client id is already in use. Retry with a unique client id."


class Gateway:
    """A running Gateway; `port` is the bound one, `close` ends it and keeps its state.

    In process, `inject` puts a fault of `gateway.faults` in force and `broker` is there to be looked at.
    """

    def __init__(
        self,
        market: Market,
        control: Control,
        state: BrokerState,
        state_path: Path | None = None,
        *,
        read_only_api: bool = False,
        messages_per_second_max: int = MESSAGES_PER_SECOND_MAX,
    ) -> None:
        self.faults = FaultTable(control.faults)
        show_counters(control)
        self.market = market
        self.control = control
        self.contracts = Contracts(market)
        self.broker = Broker(market, self.contracts, Quotes(market), self.faults, state)
        self.port = 0
        self._quotes = self.broker.quotes
        self._state_path = state_path
        self._read_only = read_only_api
        self._pace = messages_per_second_max
        self._sessions: dict[int, Session] = {}
        self._ghosts: dict[int, float] = {}
        self._wires: set[Wire] = set()
        self._server: asyncio.Server | None = None
        self._turns: asyncio.Task[None] | None = None
        self._outages = Outages(self.faults)
        self._shut_until_s = 0.0
        self._walked_us = control.clock.now_us()
        self._understood: deque[dict[str, object]] = deque(maxlen=UNDERSTOOD_MAX)
        control.pages["/orders"] = lambda: list(self._understood)
        control.pages["/broker"] = lambda: plain(self.broker.state)
        self._ends = [control.clock.subscribe(self.walk), control.faults.subscribe(self._faults_changed)]

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts reported to clients; the first one is the broker's."""
        fault = self.faults.active(table.Accounts)
        if fault is None:
            return (self.broker.state.account,)
        named = tuple(name.strip() for name in fault.text.split(",") if name.strip())
        return named or (self.broker.state.account,)

    @property
    def read_only(self) -> bool:
        """Whether the Read-Only API setting is on, by setting or by fault."""
        return self._read_only or self.faults.active(table.ReadOnlyApi) is not None

    def shown_time_us(self) -> int:
        """Return the Gateway's clock as clients read it, faults included."""
        fault = self.faults.active(table.ClockOffset)
        return self.control.clock.now_us() + (round(fault.seconds * SECOND_US) if fault else 0)

    def understood(self, client_id: int, server_version: int, request: OrderRequest) -> None:
        """Remember an order as it was read, for the control port's `/orders`."""
        order = {name: _shown(value) for name, value in asdict(request).items()}
        self._understood.append({"client": client_id, "server_version": server_version, "order": order})

    def inject(self, fault: GatewayFault) -> None:
        """Put a fault in force, or make an action happen; ValueError where it is out of bounds or fits nothing."""
        self.faults.put(fault)

    async def start(self, port: int) -> None:
        """Listen on 127.0.0.1 (0: any free port); OSError where the port is taken."""
        await self._listen(port)
        self._turns = asyncio.create_task(self._turn_forever())
        self._turns.add_done_callback(_report_end)

    async def close(self) -> None:
        """End every connection, stop listening, and write the state a last time."""
        for end in self._ends:
            end()
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
        now_us = self.control.clock.now_us()
        nightly = self._outages.nightly(self._walked_us, now_us)
        self._walked_us = now_us
        if nightly is not None:
            self._restart(0.0, roll_back=nightly.roll_back)
        self.broker.advance(now_us)
        self._publish()

    def _publish(self) -> None:
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

    # Faults

    def _faults_changed(self) -> None:
        """Do the actions that were posted, and tell clients of outages that began or ended."""
        for action in self.faults.take_actions():
            self._act(action)
        news = self._outages.news()
        for session in tuple(self._sessions.values()):
            for code, text in news.errors:
                session.wire.send(replies.error(-1, code, text))
            if news.back is not None:
                if news.back.code == 1101:
                    session.stream.forget()
                session.broker_back(tell=news.back.tell)
            session.wire.flush()

    def _act(self, action: GatewayFault) -> None:
        if self.broker.intervene(action):
            self._publish()
        elif isinstance(action, table.DropConnections):
            for wire in tuple(self._wires):
                if action.client in {"", wire.client}:
                    wire.abort()
        elif isinstance(action, table.Restart):
            self._restart(action.seconds, roll_back=action.roll_back)
        elif isinstance(action, table.BrokerBack):
            self._outages.end_loss(action)
        elif isinstance(action, table.SendError):
            for session in self._sessions.values():
                if action.client in {"", str(session.client_id)}:
                    session.wire.send(replies.error(action.req_id, action.code, action.text))
                    session.wire.flush()
        else:
            raise ValueError(f"{type(action).__name__} is an action that nobody does")

    def _restart(self, seconds: float, *, roll_back: bool) -> None:
        for wire in tuple(self._wires):
            wire.abort()
        self._sessions.clear()
        if self._server is not None:
            self._server.close()
            self._server = None
        self._shut_until_s = asyncio.get_running_loop().time() + seconds
        if roll_back:
            self.broker.roll_back_ids()
        self._save()

    # The port

    async def _listen(self, port: int) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _open_or_shut(self, now_s: float) -> None:
        shut = (
            self.faults.active(table.RefuseConnections) is not None
            or now_s < self._shut_until_s
            or self._outages.shut(self.control.clock.now_us())
        )
        if shut and self._server is not None:
            self._server.close()
            self._server = None
        elif not shut and self._server is None:
            try:
                await self._listen(self.port)
            except OSError as taken:
                logger.error("the Gateway cannot listen on its port %d again yet: %s", self.port, taken)

    async def _turn_forever(self) -> None:
        loop = asyncio.get_running_loop()
        due = {"quotes": loop.time(), "pnl": loop.time(), "bars": loop.time(), "account": loop.time() + ACCOUNT_S}
        every = {"quotes": QUOTE_S, "pnl": PNL_S, "bars": BARS_S, "account": ACCOUNT_S}
        while True:
            await asyncio.sleep(TURN_S)
            now = loop.time()
            await self._open_or_shut(now)
            self.walk()
            turn = {name for name, at in due.items() if now >= at}
            for session in tuple(self._sessions.values()):
                if "quotes" in turn:
                    session.stream.tick(self.broker.state.at_us)
                if "pnl" in turn:
                    session.account.tell_pnl()
                if "bars" in turn:
                    session.library.update_bars()
                if "account" in turn:
                    session.account.tell_account()
                session.wire.send_due()
                session.wire.flush()
            due |= {name: now + every[name] for name in turn}

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer, self.control, self.faults)
        self._wires.add(wire)
        session: Session | None = None
        try:
            version = negotiated(await wire.greet())
            if self.faults.take(table.SilentHandshake) is not None:
                await reader.read()
                return
            wrong = self.faults.take(table.WrongVersion)
            shown = version if wrong is None else wrong.version
            wire.send_raw([str(shown), f"{eastern(self.shown_time_us()):%Y%m%d %H:%M:%S} EST"])
            wire.flush()
            pace = Pace(self._pace)
            async for fields in wire.messages():
                self._count(fields)
                if session is None:
                    session = self._begin(wire, version, fields)
                    if session is None:
                        return
                elif not self._answer(session, fields, pace):
                    return
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
                self._leave_ghost(session.client_id)
            self._wires.discard(wire)
            await wire.close()

    def _answer(self, session: Session, fields: list[str], pace: Pace) -> bool:
        """Answer one request as the faults in force have it; False where the connection ends with it."""
        wire, about = session.wire, {"message": fields[0], "client": str(session.client_id)}
        if pace.exceeded(asyncio.get_running_loop().time()):
            wire.send(replies.error(-1, 100, pace.text))
            if pace.persistent:
                logger.warning("client %d went on sending too fast: cut off", session.client_id)
                return False
        if self.faults.take(table.DropAt, when="lost", **about) is not None:
            wire.abort()
            return False
        if self.faults.take(table.Ignore, **about) is not None:
            return True
        answered = self.faults.take(table.DropAt, when="answered", **about) is not None
        self.walk()
        if answered:
            # What is told from here on never leaves, and the client is gone before it could.
            wire.abort()
            self._sessions.pop(session.client_id, None)
        session.answer(fields)
        # First what the request itself did, then what the market makes of it at this instant.
        self._publish()
        self.walk()
        return not answered

    def _leave_ghost(self, client_id: int) -> None:
        ghost = self.faults.take(table.GhostSession, client=str(client_id))
        if ghost is not None:
            self._ghosts[client_id] = asyncio.get_running_loop().time() + ghost.seconds

    def _count(self, fields: list[str]) -> None:
        message_id = Cursor(fields[:1]).integer()
        self.control.counters.add(SIMULATOR, received_name(message_id))

    def _begin(self, wire: Wire, version: int, fields: list[str]) -> Session | None:
        """Read START_API and open the session; None where the client id is taken."""
        cursor = Cursor(fields)
        if cursor.integer() != 71:
            raise MalformedMessage(f"message {fields[0]} came before startApi (71)")
        client_id = requests.start_api(cursor).client_id
        ghost_s = self._ghosts.get(client_id, 0.0)
        if client_id in self._sessions or asyncio.get_running_loop().time() < ghost_s:
            wire.send(replies.error(-1, 326, _TAKEN))
            return None
        wire.client = str(client_id)
        stream = MarketDataStream(wire, self.contracts, self._quotes, self.faults)
        session = Session(self, wire, client_id, version, stream)
        self._sessions[client_id] = session
        session.welcome()
        return session


def _report_end(turns: asyncio.Task[None]) -> None:
    """Say loudly that the market no longer walks, where it ended by a fault of this program."""
    if not turns.cancelled() and (error := turns.exception()) is not None:
        logger.critical("the Gateway's market stands still", exc_info=error)


def _shown(value: object) -> object:
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, dict):
        return {name: _shown(one) for name, one in value.items()}
    return [_shown(one) for one in value] if isinstance(value, list | tuple) else value


async def serve(
    market: Market,
    control: Control,
    *,
    port: int = 0,
    cash: Decimal = Decimal(100_000),
    account: str = "DUS000001",
    state_path: Path | None = None,
    read_only_api: bool = False,
    messages_per_second_max: int = MESSAGES_PER_SECOND_MAX,
    roll_back_ids: bool = False,
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
    gateway = Gateway(
        market,
        control,
        state,
        state_path,
        read_only_api=read_only_api,
        messages_per_second_max=messages_per_second_max,
    )
    if roll_back_ids:
        gateway.broker.roll_back_ids()
    await gateway.start(port)
    return gateway
