"""The Gateway's fault table, in process and over the wire: each fault does what it says, and a wrong one is refused."""

from __future__ import annotations

import asyncio
import json
import os
import random
import struct
from collections.abc import Awaitable, Callable
from dataclasses import fields
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

from bar_fly_simulators.clock import SimulatedClock, parse_at
from bar_fly_simulators.control import Control, Request
from bar_fly_simulators.gateway import faults
from bar_fly_simulators.gateway.faults import FAULTS, FaultTable
from bar_fly_simulators.gateway.server import Gateway, serve
from bar_fly_simulators.market import Market, load_market

AT = "2021-04-20T10:00"
AAA = ["0", "AAA", "STK", "", "0.0", "", "", "SMART", "", "USD", "", ""]
TAIL = "|0.0|||||||0||-1|0|||0|||0|0||0||||||0|||||0|||||||||||0|||0|0|||0||0|0|0|0|||||||0|||||||||0|0|0|0|||0||"


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Five sessions of AAA between 96 and 104."""
    row = {"symbol": "AAA", "open": 100.0, "high": 104.0, "low": 96.0, "close": 100.0, "adjusted_close": 100.0}
    row |= {"volume": 50_000_000, "dividend_amount": 0.0, "split_coefficient": 1.0}
    rows = [row | {"date": date(2021, 4, 19) + timedelta(days=day)} for day in range(5)]
    path = tmp_path_factory.mktemp("market") / "bars.parquet"
    pl.DataFrame(rows).write_parquet(path)
    return load_market(str(path))


class Client:
    """A client of plain frames on the test's own loop."""

    opened: ClassVar[list[Client]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.next_id = 0
        Client.opened.append(self)

    @classmethod
    async def connect(cls, gateway: Gateway, client_id: int | None = 1) -> Client:
        """Connect, and with an id say who it is and read to the last farm message."""
        client = cls(*await asyncio.open_connection("127.0.0.1", gateway.port))
        client.writer.write(b"API\0" + struct.pack(">I", 9) + b"v157..178")
        await client.read()
        if client_id is not None:
            client.send("71", "2", str(client_id), "")
            client.next_id = int((await client.until(9))[2])
            await client.until(4, 2158)
        return client

    def send(self, *fields: str) -> None:
        """Send one frame."""
        body = "".join(f"{field}\0" for field in fields).encode()
        self.writer.write(struct.pack(">I", len(body)) + body)

    async def read(self) -> list[str]:
        """Read one frame; EOFError where the Gateway has closed."""
        try:
            (length,) = struct.unpack(">I", await asyncio.wait_for(self.reader.readexactly(4), 10))
            return (await self.reader.readexactly(length)).decode("ascii").split("\0")[:-1]
        except (asyncio.IncompleteReadError, ConnectionError) as gone:
            raise EOFError from gone

    async def until(self, message_id: int, code: int | None = None) -> list[str]:
        """Read to the next message of an id (of an error code)."""
        while True:
            fields = await self.read()
            if fields[0] == str(message_id) and (code is None or fields[3] == str(code)):
                return fields

    async def collect(self, seconds: float = 0.25) -> list[list[str]]:
        """Read whatever comes for a while; the end of the connection is a message `end`."""
        messages: list[list[str]] = []
        try:
            async with asyncio.timeout(seconds):
                while True:
                    messages.append(await self.read())
        except TimeoutError:
            pass
        except EOFError:
            messages.append(["end"])
        return messages

    def order(
        self, order_id: int, action: str, quantity: int, limit: str = "", *, ref: str = "", kind: str = ""
    ) -> None:
        """Place a DAY order on AAA: at the market where no limit is given."""
        kind = kind or ("LMT" if limit else "MKT")
        head = [str(order_id), *AAA, "", "", action, str(quantity), kind, limit, "", "DAY", "", "", "O", "0"]
        middle = [ref or f"ref-{order_id}", "1", "0", "0", "0", "0", "0", "0", "0"]
        self.send("3", *head, *middle, *TAIL.split("|"))

    async def ask(self, request: list[str], end: int) -> list[list[str]]:
        """Send a request and read to its end marker; return what came before."""
        self.send(*request)
        messages = []
        while (fields := await self.read())[0] != str(end):
            messages.append(fields)
        return messages


Scene = Callable[[Gateway, Client], Awaitable[None]]


def play(market: Market, scene: Scene, *, at: str = AT, **options: Any) -> Gateway:
    """Run a scene with one client against a Gateway in this process, and return the Gateway."""

    async def run() -> Gateway:
        gateway = await serve(market, Control(SimulatedClock(parse_at(at), 0)), **options)
        client = await Client.connect(gateway)
        try:
            await scene(gateway, client)
        finally:
            for opened in Client.opened:
                opened.writer.close()
            await asyncio.gather(*(one.writer.wait_closed() for one in Client.opened), return_exceptions=True)
            Client.opened.clear()
            await gateway.close()
            await asyncio.sleep(0.01)
        return gateway

    return asyncio.run(run())


def of(messages: list[list[str]], *ids: int) -> list[list[str]]:
    """Return the messages of some ids."""
    return [fields for fields in messages if fields[0] in {str(one) for one in ids}]


def codes(messages: list[list[str]]) -> list[int]:
    """Return the error codes among messages."""
    return [int(fields[3]) for fields in of(messages, 4)]


def statuses(messages: list[list[str]], order_id: int) -> list[str]:
    """Return the statuses told of an order."""
    return [fields[2] for fields in of(messages, 3) if fields[1] == str(order_id)]


# ---------------------------------------------------------------- the table


def post(control: Control, body: object) -> tuple[int, str]:
    """Post a fault to the control port and return the status and the answer."""
    request = Request("POST", "/faults", {}, {}, json.dumps(body).encode())
    response = asyncio.run(control.answer(request))
    return response.status, response.body.decode()


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_every_fault_is_listed_posted_and_refused_when_misspelt(kind: str) -> None:
    """Each fault has a sentence, a JSON form with defaults, and refuses a field it does not have, naming those it has."""
    control = Control(SimulatedClock(parse_at(AT), 0))
    table = FaultTable(control.faults)
    assert len(control.faults.kinds()[kind]) > 20
    assert post(control, {"kind": kind, "times": 1})[0] == 200
    if not issubclass(FAULTS[kind], faults.Action):
        assert table.active(FAULTS[kind], when="lost", message="5" if kind == "reorder" else "")
    status, answer = post(control, {"kind": kind, "sybmol": "AAA"})
    assert status == 400
    assert "sybmol" in answer


def test_the_documentation_has_every_fault_and_no_other() -> None:
    """docs/gateway_simulator.md lists each fault by the name that the control port takes, with each of its fields."""
    page = Path(__file__).parents[2] / "docs" / "gateway_simulator.md"
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| `")]
    shown = {row[0].split("`")[1]: row[1] for row in rows if row[0].split("`")[1] in FAULTS}
    assert set(shown) == set(FAULTS)
    for kind, own in shown.items():
        names = {one.name for one in fields(FAULTS[kind])} - {"times", "skip"}
        assert {f"`{name}`" in own for name in names} <= {True}, kind


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "nonsense"},
        {"kind": "drop_at", "when": "sometimes"},
        {"kind": "partial_fill", "fraction": 2},
        {"kind": "partial_fill", "fraction": "half"},
        {"kind": "reject_orders", "code": 1.5},
        {"kind": "reject_orders", "code": True},
        {"kind": "reject_orders", "order": "maybe"},
        {"kind": "nightly_restart", "at": "25:00"},
        {"kind": "broker_back", "code": 1103},
        {"kind": "mute", "times": 0},
        {"kind": "mute", "skip": -1},
        {"kind": "delay", "seconds": -1},
        {"kind": "broker_lost", "orders": ""},
    ],
)
def test_a_wrong_fault_is_refused(spec: dict[str, object]) -> None:
    """An unknown kind, word, number or type is a 400 with a sentence, and nothing is put in force."""
    control = Control(SimulatedClock(parse_at(AT), 0))
    FaultTable(control.faults)
    status, answer = post(control, spec)
    assert (status, control.faults.shown()) == (400, [])
    assert "error" in answer


def test_an_action_that_fits_nothing_is_refused(market: Market) -> None:
    """To fill, correct, bust, split, cancel, change, liquidate or assign what is not there is a ValueError."""

    async def scene(gateway: Gateway, client: Client) -> None:
        for action in (
            faults.FillNow(order_ref="none"),
            faults.CorrectExecution(),
            faults.BustExecution(),
            faults.SplitPermId(),
            faults.UserCancels(),
            faults.UserChanges(),
            faults.Liquidate(symbol="AAA"),
            faults.Assign(symbol="AAA"),
            faults.UserTrades(symbol="NOPE"),
            faults.BrokerBack(),
        ):
            with pytest.raises(ValueError, match=r"."):
                gateway.inject(action)
        assert gateway.control.faults.shown() == []

    play(market, scene)


# ---------------------------------------------------------------- connections


def test_x4_a_connection_is_cut_at_an_order(market: Market) -> None:
    """`lost`: the order never arrives. `answered`: it works, and nobody was told. `sent`: cut before the first status."""

    async def scene(gateway: Gateway, client: Client) -> None:
        for number, when in enumerate(("lost", "answered", "sent"), start=1):
            other = await Client.connect(gateway, 10 + number)
            gateway.inject(faults.DropAt(message="3", when=when, client=str(10 + number), times=1))
            other.order(1, "BUY", 1, "90.00", ref=f"cut-{when}")
            messages = await other.collect(1.0)
            assert messages[-1] == ["end"], messages
            assert statuses(messages, 1) == []
            assert bool(of(messages, 5)) is (when == "sent")
        told = [fields for fields in await client.ask(["16", "1"], 53) if fields[0] == "5"]
        references = {fields[23] for fields in told}
        assert references == {"cut-answered", "cut-sent"}

    play(market, scene)


def test_x19_a_restart_can_roll_ids_back(market: Market) -> None:
    """After a restart ids go on; with roll_back they begin again, and a new order of an old id is another order."""

    async def scene(gateway: Gateway, client: Client) -> None:
        client.order(1, "BUY", 1, "90.00", ref="old")
        await client.until(3)
        gateway.inject(faults.Restart(seconds=0.2))
        assert (await client.collect(0.5))[-1] == ["end"]
        with pytest.raises(OSError, match=r"refused|Connect"):
            gateway.inject(faults.Restart(seconds=5))
            await Client.connect(gateway)
        gateway.inject(faults.Restart(seconds=0, roll_back=False))
        await asyncio.sleep(0.2)
        second = await Client.connect(gateway)
        assert second.next_id == 2
        gateway.inject(faults.Restart(seconds=0, roll_back=True))
        await asyncio.sleep(0.2)
        third = await Client.connect(gateway)
        assert third.next_id == 1
        third.order(1, "BUY", 2, "91.00", ref="new")
        status = await third.until(3)
        assert status[2] == "PreSubmitted"
        told = [fields for fields in await third.ask(["5", "1"], 53) if fields[0] == "5"]
        assert {(fields[1], fields[23]) for fields in told} == {("1", "new"), ("1", "old")}
        assert len({fields[25] for fields in told}) == 2

    play(market, scene)


def test_x23_the_nightly_restart_comes_when_its_time_passes(market: Market) -> None:
    """When simulated time passes 23:45 connections are cut, and the port is shut for the minutes that follow."""

    async def scene(gateway: Gateway, client: Client) -> None:
        gateway.inject(faults.NightlyRestart(at="23:45", seconds=120))
        gateway.control.clock.set(parse_at("2021-04-20T23:44:59"))
        assert (await client.collect(0.15))[-1:] != [["end"]]
        gateway.control.clock.set(parse_at("2021-04-20T23:45:01"))
        assert (await client.collect(0.5))[-1] == ["end"]
        await asyncio.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", gateway.port)
        gateway.control.clock.set(parse_at("2021-04-20T23:47:01"))
        await asyncio.sleep(0.2)
        again = await Client.connect(gateway)
        assert again.next_id == 1

    play(market, scene)


def test_x31_a_client_id_can_stay_taken(market: Market) -> None:
    """A ghost of a session that has gone refuses its id with 326 for a while."""

    async def scene(gateway: Gateway, client: Client) -> None:
        gateway.inject(faults.GhostSession(client="7", seconds=0.3))
        first = await Client.connect(gateway, 7)
        first.writer.close()
        await asyncio.sleep(0.1)
        second = await Client.connect(gateway, None)
        second.send("71", "2", "7", "")
        assert codes(await second.collect(0.15)) == [326]
        gateway.faults.clear()
        await asyncio.sleep(0.3)
        await Client.connect(gateway, 7)

    play(market, scene)


def test_x2_a_handshake_can_hang_or_be_of_another_version(market: Market) -> None:
    """Nothing is answered, or a version that was not offered; afterwards clients are served as ever."""

    async def scene(gateway: Gateway, client: Client) -> None:
        gateway.inject(faults.SilentHandshake(times=1))
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"API\0" + struct.pack(">I", 9) + b"v157..178")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        Client(reader, writer)
        gateway.inject(faults.WrongVersion(version=999, times=1))
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"API\0" + struct.pack(">I", 9) + b"v157..178")
        assert b"999\0" in await asyncio.wait_for(reader.read(100), 2)
        Client(reader, writer)
        await Client.connect(gateway, 5)

    play(market, scene)


def test_x21_while_the_broker_is_lost_orders_fill_unheard(market: Market) -> None:
    """1100; a fill of that time is told to nobody live, is in reqExecutions after 1102, and an order sent then is lost."""

    async def scene(gateway: Gateway, client: Client) -> None:
        client.order(1, "BUY", 5, "90.00")
        while (await client.until(3))[2] != "Submitted":
            pass
        gateway.inject(faults.BrokerLost())
        assert 1100 in codes(await client.collect(0.15))
        gateway.inject(faults.FillNow(order_ref="ref-1"))
        client.order(2, "BUY", 5)
        assert of(await client.collect(0.2), 3, 5, 11) == []
        gateway.inject(faults.BrokerBack(code=1102))
        messages = await client.collect(0.2)
        assert 1102 in codes(messages)
        assert of(messages, 3, 11) == []
        told = await client.ask(["7", "3", "9", "0", "", "", "", "", "", ""], 55)
        assert [fields[2] for fields in of(told, 11)] == ["1"]
        assert gateway.broker.next_order_id(1) == 2

    play(market, scene)


def test_x22_1101_loses_the_lines_and_farms_can_be_down(market: Market) -> None:
    """After 1101 no tick comes until it is subscribed again; 2103 and 2105 stop ticks and history, 2104 and 2106 end it."""

    async def scene(gateway: Gateway, client: Client) -> None:
        client.send("1", "11", "5", *AAA, "0", "", "0", "0", "")
        await client.until(1)
        gateway.inject(faults.BrokerLost())
        gateway.inject(faults.BrokerBack(code=1101))
        await client.until(4, 1101)
        assert of(await client.collect(0.5), 1) == []
        client.send("1", "11", "6", *AAA, "0", "", "0", "0", "")
        await client.until(1)
        gateway.inject(faults.FarmDown())
        messages = await client.collect(0.6)
        assert {2103, 2105} <= set(codes(messages))
        client.send("20", "8", *AAA, "0", "", "1 day", "1 D", "1", "TRADES", "1", "0", "")
        await client.until(4, 162)
        gateway.faults.clear()
        assert {2104, 2106} <= set(codes(await client.collect(0.2)))
        await client.until(1)

    play(market, scene)


def test_x24_not_logged_in_and_competing_sessions(market: Market) -> None:
    """Nobody is told an account; a line under a competing session gets 10197 once and no tick."""

    async def scene(gateway: Gateway, client: Client) -> None:
        gateway.inject(faults.NotLoggedIn())
        silent = await Client.connect(gateway, None)
        silent.send("71", "2", "9", "")
        assert await silent.collect(0.2) == []
        gateway.inject(faults.CompetingSession(symbol="AAA"))
        client.send("1", "11", "5", *AAA, "0", "", "0", "0", "")
        messages = await client.collect(0.6)
        assert codes(messages) == [10197]
        assert of(messages, 1) == []

    play(market, scene)


def test_the_read_only_api_refuses_with_321(market: Market) -> None:
    """Orders, cancels, open and completed orders get 321 and nothing is placed; positions are told."""

    async def scene(gateway: Gateway, client: Client) -> None:
        client.order(1, "BUY", 1)
        client.send("4", "1", "1", "")
        for request in (["5", "1"], ["16", "1"], ["99", "0"], ["58", "1"]):
            client.send(*request)
        messages = await client.collect(0.3)
        assert [(fields[2], fields[3]) for fields in of(messages, 4)] == [("1", "321")] * 2 + [("-1", "321")] * 4
        await client.ask(["61", "1"], 62)
        assert gateway.broker.state.orders == {}

    play(market, scene, read_only_api=True)


def test_x36_a_flood_gets_error_100_and_then_the_door(market: Market) -> None:
    """More than the limit a second is 100; who goes on for three seconds is cut off, and others are not."""

    async def scene(gateway: Gateway, client: Client) -> None:
        other = await Client.connect(gateway, 2)
        seen: list[list[str]] = []
        for _ in range(60):
            for _ in range(30):
                other.send("49", "1")
            try:
                await other.writer.drain()
            except ConnectionError:
                break
            seen += await other.collect(0.1)
            if seen and seen[-1] == ["end"]:
                break
        assert codes(seen) == [100, 100, 100]
        assert seen[-1] == ["end"]
        assert await client.ask(["61", "1"], 62) == []

    play(market, scene, messages_per_second_max=20)


# ---------------------------------------------------------------- messages


def test_messages_are_delayed_doubled_reordered_and_refused(market: Market) -> None:
    """A delayed message comes later, a doubled one twice, a held one after the one it waits for, a request gets an error."""

    async def scene(gateway: Gateway, client: Client) -> None:
        gateway.inject(faults.Delay(message="62", seconds=0.4, times=1))
        client.send("61", "1")
        client.send("49", "1")
        assert [fields[0] for fields in await client.collect(0.2)] == ["49"]
        assert [fields[0] for fields in await client.collect(0.5)] == ["62"]
        gateway.inject(faults.Duplicate(message="49", times=1))
        client.send("49", "1")
        assert [fields[0] for fields in await client.collect(0.2)] == ["49", "49"]
        gateway.inject(faults.RequestError(message="9", code=200, text="gone", times=1))
        client.send("9", "8", "44", *AAA, "0", "", "", "")
        assert (await client.until(4))[2:5] == ["44", "200", "gone"]
        gateway.inject(faults.Reorder(message="5", after="11", times=1))
        client.order(1, "BUY", 1)
        kinds = [fields[0] for fields in of(await client.collect(0.3), 5, 11)]
        assert kinds[0] == "11"
        assert kinds.count("5") == 2

    play(market, scene)


def test_counters_say_how_many_bytes_of_orders_came(market: Market) -> None:
    """X30's counter: zero until an order is sent, then its frame's bytes, whatever becomes of it."""

    async def scene(gateway: Gateway, client: Client) -> None:
        counters = gateway.control.counters
        await client.ask(["61", "1"], 62)
        assert counters.value("gateway", "bytes 3 placeOrder") == 0
        client.order(1, "BUY", 1, "50.00")
        await client.until(3)
        assert 150 < counters.value("gateway", "bytes 3 placeOrder") < 400

    play(market, scene)


# ---------------------------------------------------------------- orders


@pytest.mark.parametrize(
    "code",
    [
        *(103, 104, 105, 107, 109, 110, 135, 161, 200, 201, 202, 203, 321, 354, 383, 388, 399, 404, 434, 451, 460),
        *(10147, 10148, 10149, 10167, 10197, 10268, 10349, 77777),
    ],
)
def test_x17_any_code_can_meet_an_order(market: Market, code: int) -> None:
    """Each code comes on the order's id, and the order works on, is Inactive, or is unknown, as it was asked."""

    async def scene(gateway: Gateway, client: Client) -> None:
        for number, fate in enumerate(("works", "inactive", "unknown"), start=1):
            gateway.inject(faults.RejectOrders(code=code, text="because", order=fate, times=1))
            client.order(number, "BUY", 1, "90.00")
            error = await client.until(4, code)
            assert error[2:5] == [str(number), str(code), "because"]
        await client.collect(0.1)
        found = {o.order_id: o.status for o in gateway.broker.state.orders.values()}
        assert found == {1: "Submitted", 2: "Inactive"}

    play(market, scene)


def test_x5_x6_x7_orders_vanish_and_acknowledgements_are_lost_or_late(market: Market) -> None:
    """A dropped order is nowhere; one whose acknowledgement is lost is in every list; a late one is told late."""

    async def scene(gateway: Gateway, client: Client) -> None:
        gateway.inject(faults.DropOrders(order_ref="ref-1"))
        gateway.inject(faults.LoseAcks(order_ref="ref-2"))
        gateway.inject(faults.LoseAcks(order_ref="ref-3", seconds=0.4))
        for number in (1, 2, 3):
            client.order(number, "BUY", 1, "90.00")
        assert of(await client.collect(0.2), 3, 5) == []
        assert {fields[1] for fields in of(await client.collect(0.6), 3)} == {"3"}
        told = await client.ask(["5", "1"], 53)
        assert {fields[1] for fields in of(told, 5)} == {"2", "3"}

    play(market, scene)


def test_x14_corrections_and_busts_revise_the_execution_and_the_account(market: Market) -> None:
    """A correction is .02 with other shares, a bust the next revision with none; cash and position follow to the cent."""

    async def scene(gateway: Gateway, client: Client) -> None:
        client.order(1, "BUY", 100)
        first = await client.until(11)
        gateway.inject(faults.CorrectExecution(order_ref="ref-1", shares=60, price=99.5))
        second = await client.until(11)
        assert second[14] == first[14].removesuffix(".01") + ".02"
        assert (second[19], second[20]) == ("60", "99.5")
        ledger = gateway.broker.state.ledger
        assert (ledger.held("AAA"), ledger.cash) == (Decimal(60), Decimal(100_000) - 60 * Decimal("99.5") - 1)
        gateway.inject(faults.BustExecution())
        third = await client.until(11)
        assert third[14].endswith(".03")
        assert third[19] == "0"
        assert (gateway.broker.state.ledger.held("AAA"), gateway.broker.state.ledger.cash) == (
            Decimal(0),
            Decimal(100_000),
        )

    play(market, scene)


def test_x15_x16_statuses_regress_and_cancelled_orders_fill(market: Market) -> None:
    """After Filled comes Submitted again; after Cancelled and 202 comes a fill, and the position has it."""

    async def scene(gateway: Gateway, client: Client) -> None:
        gateway.inject(faults.StatusRegress(order_ref="ref-1"))
        client.order(1, "BUY", 3)
        told = statuses(await client.collect(0.2), 1)
        assert told[-2:] == ["Filled", "Submitted"]
        gateway.inject(faults.LateFill(order_ref="ref-2", fraction=0.5))
        client.order(2, "BUY", 10, "90.00")
        await client.collect(0.1)
        client.send("4", "1", "2", "")
        messages = await client.collect(0.2)
        kinds = [f[2] if f[0] == "3" else f[0] for f in messages if f[0] in {"3", "11"}]
        assert kinds == ["PendingCancel", "Cancelled", "11", "Cancelled"]
        assert gateway.broker.state.ledger.held("AAA") == 3 + 5

    play(market, scene)


def test_x18_x37_x38_rejections_stuck_orders_and_refused_cancels(market: Market) -> None:
    """A change is refused and the order stays; a cancel is refused because it filled; a stuck order ends by cancel alone."""

    async def scene(gateway: Gateway, client: Client) -> None:
        client.order(1, "BUY", 10, "90.00")
        await client.collect(0.1)
        gateway.inject(faults.RejectChanges(code=201, times=1))
        client.order(1, "BUY", 10, "91.00")
        await client.until(4, 201)
        [order] = gateway.broker.open_orders()
        assert (order.status, order.limit_price) == ("Submitted", Decimal(90))
        gateway.inject(faults.RejectCancels(code=10148, fills=True, times=1))
        client.send("4", "1", "1", "")
        messages = await client.collect(0.2)
        assert statuses(messages, 1)[-1] == "Filled"
        assert 10148 in codes(messages)
        for number, status in ((2, "PreSubmitted"), (3, "Inactive")):
            gateway.inject(faults.StuckOrders(status=status, times=1))
            client.order(number, "BUY", 1)
            assert statuses(await client.collect(0.2), number) == [status]
            client.send("4", "1", str(number), "")
            assert statuses(await client.collect(0.2), number)[-1] == "Cancelled"

    play(market, scene)


def test_x20_one_order_becomes_two(market: Market) -> None:
    """The same order id and orderRef under two permIds, both working, both told."""

    async def scene(gateway: Gateway, client: Client) -> None:
        client.order(1, "BUY", 10, "90.00")
        await client.collect(0.1)
        gateway.inject(faults.SplitPermId(order_ref="ref-1"))
        told = await client.ask(["5", "1"], 53)
        opened = of(told, 5)
        assert {fields[23] for fields in opened} == {"ref-1"}
        assert len({fields[25] for fields in opened}) == 2

    play(market, scene)


def test_x25_x26_x27_what_the_user_does_in_tws(market: Market) -> None:
    """A trade of the user has no orderRef, order id 0 and client 0; his cancel and his change of ours are told as ours."""

    async def scene(gateway: Gateway, client: Client) -> None:
        gateway.inject(faults.UserTrades(symbol="AAA", action="BUY", shares=7))
        told = await client.ask(["7", "3", "9", "0", "", "", "", "", "", ""], 55)
        [execution] = of(told, 11)
        assert (execution[2], execution[22], execution[26]) == ("0", "0", "")
        client.order(1, "BUY", 10, "90.00")
        await client.collect(0.1)
        gateway.inject(faults.UserChanges(order_ref="ref-1", quantity=4, price=91))
        opened = (await client.until(5))[13:18]
        assert opened == ["BUY", "4", "LMT", "91", "0"]
        gateway.inject(faults.UserCancels(order_ref="ref-1"))
        assert (await client.until(4, 202))[2] == "1"
        gateway.inject(faults.UserTrades(symbol="AAA", action="SELL", shares=1, price=200))
        resting = of(await client.ask(["16", "1"], 53), 5)
        assert [(fields[1], fields[23]) for fields in resting] == [("0", "")]

    play(market, scene)


def test_x44_l1_l2_liquidations_transfers_and_cash(market: Market) -> None:
    """A liquidation is an execution with its flag; a transfer and cash appear with nothing that explains them."""

    async def scene(gateway: Gateway, client: Client) -> None:
        client.order(1, "BUY", 10)
        await client.until(11)
        gateway.inject(faults.Liquidate(symbol="AAA"))
        told = await client.ask(["7", "3", "9", "0", "", "", "", "", "", ""], 55)
        assert [fields[23] for fields in of(told, 11)] == ["0", "1"]
        gateway.inject(faults.SetPosition(symbol="AAA", shares=25, cost=80))
        gateway.inject(faults.AddCash(amount=-12.5))
        positions = of(await client.ask(["61", "1"], 62), 61)
        assert [(fields[14], fields[15]) for fields in positions] == [("25", "80")]
        assert len(gateway.broker.state.executions) == 2

    play(market, scene)


# ---------------------------------------------------------------- quotes


@pytest.mark.parametrize(
    ("fault", "bid", "ask"),
    [
        (faults.NoBid(), "-1", None),
        (faults.NoAsk(), None, "-1"),
        (faults.ZeroQuote(), "0", "0"),
        (faults.NanQuote(), "NaN", "NaN"),
        (faults.LastOnly(), "", ""),
    ],
)
def test_q1_sides_that_are_no_sides(
    market: Market, fault: faults.GatewayFault, bid: str | None, ask: str | None
) -> None:
    """Missing, zero, not a number, or no message at all: each is on the wire as the Gateway would send it."""

    async def scene(gateway: Gateway, client: Client) -> None:
        gateway.inject(fault)
        client.send("1", "11", "5", *AAA, "0", "", "0", "0", "")
        prices = {fields[3]: fields[4] for fields in of(await client.collect(0.2), 1)}
        for side, wanted in (("1", bid), ("2", ask)):
            if wanted is None:
                assert float(prices[side]) > 0
            else:
                assert prices.get(side, "") == wanted
        assert float(prices["4"]) > 0

    play(market, scene)


def test_q2_q3_q4_types_spreads_and_halts(market: Market) -> None:
    """Frozen and delayed types, a locked, a crossed and a wide book, tick 49 with 1 and 2, and no fill while halted."""

    async def scene(gateway: Gateway, client: Client) -> None:
        seen: dict[str, list[list[str]]] = {}
        for number, fault in enumerate(
            (
                faults.FrozenQuote(),
                faults.DelayedQuote(),
                faults.LockedQuote(),
                faults.CrossedQuote(),
                faults.WideQuote(fraction=0.1),
                faults.Halted(code=2),
            )
        ):
            gateway.inject(fault)
            client.send("1", "11", str(number), *AAA, "0", "", "0", "0", "")
            seen[type(fault).__name__] = await client.collect(0.15)
            if isinstance(fault, faults.Halted):
                client.order(1, "BUY", 1)
                await client.collect(0.15)
                assert gateway.broker.state.executions == []
            gateway.faults.clear()
            client.send("2", "2", str(number))
        types = {name: fields[3] for name, told in seen.items() for fields in of(told, 58)}
        assert (types["FrozenQuote"], types["DelayedQuote"], types["LockedQuote"]) == ("2", "3", "1")
        sides = {
            name: {fields[3]: float(fields[4]) for fields in of(told, 1) if fields[3] in {"1", "2"}}
            for name, told in seen.items()
        }
        assert sides["LockedQuote"]["1"] == sides["LockedQuote"]["2"]
        assert sides["CrossedQuote"]["1"] > sides["CrossedQuote"]["2"]
        assert sides["WideQuote"]["2"] - sides["WideQuote"]["1"] > 19
        assert [fields[4] for fields in of(seen["Halted"], 45)] == ["2"]
        await client.collect(0.15)
        assert len(gateway.broker.state.executions) == 1

    play(market, scene)


def test_q5_the_price_can_move(market: Market) -> None:
    """A shifted price moves quotes, fills and marks together."""

    async def scene(gateway: Gateway, client: Client) -> None:
        before = gateway.broker.mark("AAA")
        gateway.inject(faults.ShiftPrice(symbol="AAA", fraction=-0.2))
        assert abs(gateway.broker.mark("AAA") / before - Decimal("0.8")) < Decimal("0.001")
        client.order(1, "BUY", 10)
        execution = await client.until(11)
        assert float(execution[20]) < 0.81 * float(before)

    play(market, scene)


def test_q7_account_values_can_be_wrong_or_missing(market: Market) -> None:
    """A tag can be told in another currency, as nothing, or not at all."""

    async def scene(gateway: Gateway, client: Client) -> None:
        gateway.inject(faults.AccountValue(tag="NetLiquidation", text="0", currency="EUR"))
        gateway.inject(faults.AccountValue(tag="BuyingPower", leave_out=True))
        told = await client.ask(["62", "1", "3", "All", "NetLiquidation,BuyingPower,TotalCashValue"], 64)
        assert {fields[4]: (fields[5], fields[6]) for fields in of(told, 63)} == {
            "NetLiquidation": ("0", "EUR"),
            "TotalCashValue": ("100000.00", "USD"),
        }

    play(market, scene)


# ---------------------------------------------------------------- whatever bytes come


def hostile(seed: int) -> bytes:
    """Return bytes that a broken or hostile client may send once it is connected."""
    rng = random.Random(seed)
    order = [str(rng.randint(1, 99)), *AAA, "", "", "BUY", "1", "LMT", "90", "", "DAY", "", "", "O", "0", "fuzz", "1"]
    frames = [
        ["3", *order, *["0", "0", "0", "0", "0", "0", "0"], *TAIL.split("|")],
        ["1", "11", "5", *AAA, "0", "", "0", "0", ""],
        ["62", "1", "3", "All", "NetLiquidation"],
        ["20", "8", *AAA, "0", "", "1 min", "1 D", "1", "TRADES", "1", "0", ""],
        ["9", "8", "4", *AAA, "0", "", "", ""],
        ["78", "4", "AAA", "", "STK", "0"],
    ]
    fields = list(rng.choice(frames))
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(fields))
        change = rng.randrange(5)
        if change == 0:
            del fields[place]
        elif change == 1:
            fields.insert(place, rng.choice(["", "0", "-1", "1e309", "9" * 25, "\u0661", "BAG", "x" * 3000]))
        else:
            fields[place] = rng.choice(["", "-1", "nan", "2147483647", "1.7976931348623157e308", "BAG", "OPT", "GTD"])
        if not fields:
            break
    body = "".join(f"{field}\0" for field in fields).encode()
    whole = bytearray(struct.pack(">I", len(body)) + body)
    kind = rng.randrange(4)
    if kind == 0:
        whole[rng.randrange(len(whole))] = rng.randrange(256)
    elif kind == 1:
        whole = whole[: rng.randrange(1, len(whole))]
    elif kind == 2:
        whole += rng.randbytes(rng.randrange(64))
    return bytes(whole)


def test_no_bytes_take_the_gateway_down(market: Market, caplog: pytest.LogCaptureFixture) -> None:
    """300 clients send mutated frames (30,000 under BFT_PROVE's long form): each ends alone, and another client is served."""
    rounds = 30_000 if os.environ.get("BFT_PROVE") else 300

    async def scene(gateway: Gateway, client: Client) -> None:
        for seed in range(rounds):
            broken = await Client.connect(gateway, 100 + seed % 8)
            broken.writer.write(hostile(seed))
            broken.send("49", "1")
            broken.writer.write_eof()
            while True:
                try:
                    await broken.read()
                except EOFError:
                    break
            broken.writer.close()
            if seed % 50 == 0:
                assert (await client.ask(["49", "1"], 49)) == []
        assert (await client.ask(["61", "1"], 62)) is not None

    play(market, scene, messages_per_second_max=0)
    assert [record for record in caplog.records if record.exc_info or record.levelname == "CRITICAL"] == []


# ---------------------------------------------------------------- history and chains over the wire


def history(bar_size: str, duration: str, *, end: str = "", what: str = "TRADES", form: str = "1") -> list[str]:
    """Return a request for bars of AAA."""
    return ["20", "8", *AAA, "0", end, bar_size, duration, "1", what, form, "0", ""]


def bars(fields: list[str]) -> list[list[str]]:
    """Return the bars of message 17, eight fields each."""
    assert (len(fields) - 5) == 8 * int(fields[4])
    return [fields[5 + 8 * n : 13 + 8 * n] for n in range(int(fields[4]))]


def test_history_is_daily_and_by_the_minute_and_never_later_than_the_clock(market: Market) -> None:
    """Days are sessions with the running one as it stands; minutes begin at 9:30 and stop at the clock; prices agree."""

    async def scene(gateway: Gateway, client: Client) -> None:
        client.send(*history("1 day", "2 D"))
        days = bars(await client.until(17))
        assert [one[0] for one in days] == ["20210419", "20210420"]
        assert days[0][1:5] == ["100", "104", "96", "100"]
        client.send(*history("1 min", "1 D"))
        minutes = bars(await client.until(17))
        assert len(minutes) == 30
        assert minutes[0][0] == "20210420 09:30:00 US/Eastern"
        assert minutes[-1][0] == "20210420 09:59:00 US/Eastern"
        assert float(days[1][4]) == pytest.approx(float(minutes[-1][4]), abs=0.01)
        client.send(*history("1 hour", "1 D", end="20210419 16:00:00 US/Eastern", what="MIDPOINT", form="2"))
        hours = bars(await client.until(17))
        assert len(hours) == 7
        assert int(hours[0][0]) == parse_at("2021-04-19T09:30") // 1_000_000
        assert max(float(one[2]) for one in hours) == pytest.approx(104.0, abs=0.01)
        client.send("87", "8", *AAA, "0", "1", "TRADES", "1")
        assert (await client.until(88))[2].startswith("20210419-13:30")
        client.send(*history("1 day", "1 fortnight"))
        await client.until(4, 321)

    play(market, scene)


def test_chains_rules_and_greeks_are_told(market: Market) -> None:
    """Two exchanges with the same expirations and strikes, a price rule by kind, and model ticks with eight numbers."""

    async def scene(gateway: Gateway, client: Client) -> None:
        chains = of(await client.ask(["78", "4", "AAA", "", "STK", "0"], 76), 75)
        assert [fields[2] for fields in chains] == ["SMART", "CBOE"]
        count = int(chains[0][6])
        assert chains[0][7] == "20210423"
        assert len(chains[0]) == 8 + count + int(chains[0][7 + count])
        client.send("91", "32")
        assert await client.until(93) == ["93", "32", "2", "0", "0.01", "3", "0.05"]
        option = ["0", "AAA", "OPT", "20210423", "100", "C", "100", "SMART", "", "USD", "", ""]
        details = of(await client.ask(["9", "8", "4", *option, "0", "", "", ""], 52), 10)
        assert [fields[3] for fields in details] == ["OPT"]
        client.send("1", "11", "5", *option, "0", "", "0", "0", "")
        model = [fields for fields in of(await client.collect(0.2), 21) if fields[2] == "13"]
        assert len(model[0]) == 12
        assert 0 < float(model[0][5]) < 1

    play(market, scene)


def test_orders_are_shown_as_they_were_understood(market: Market, tmp_path: Path) -> None:
    """The control port's /orders has each order's fields, and /broker the account behind what is told."""

    async def scene(gateway: Gateway, client: Client) -> None:
        client.order(1, "BUY", 1, "90.00", ref="seen")
        await client.until(3)
        shown = json.loads((await gateway.control.answer(Request("GET", "/orders", {}, {}, b""))).body)
        assert (shown[0]["client"], shown[0]["order"]["order_ref"], shown[0]["order"]["limit_price"]) == (
            1,
            "seen",
            "90",
        )
        broker = json.loads((await gateway.control.answer(Request("GET", "/broker", {}, {}, b""))).body)
        assert [order["order_ref"] for order in broker["orders"].values()] == ["seen"]
        assert broker["ledger"]["cash"] == "100000"

    play(market, scene)
