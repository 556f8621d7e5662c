"""The Gateway's port with plain sockets: handshake, malformed clients, faults, the clock, counters, and a kill -9."""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from bar_fly_simulators.gateway.ledger import Ledger
from bar_fly_simulators.gateway.state import BrokerState, save_state

pytestmark = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import bokeh_sampledata"], capture_output=True, check=False).returncode != 0,
    reason="the demo's sample prices (bokeh_sampledata) are not installed",
)

AT = "2013-03-01T10:00"
AT_EPOCH = 1362150000
AAPL = ["0", "AAPL", "STK", "", "0.0", "", "", "SMART", "", "USD", "", ""]
# Fields of each message of fixed length, the message id counted: the official client drops any other number.
LENGTHS = {3: 12, 5: 135, 6: 6, 7: 20, 11: 32, 59: 8, 61: 16, 63: 7, 73: 8, 94: 5, 95: 7, 101: 100}
LENGTHS |= {1: 7, 2: 5, 45: 5, 57: 3, 58: 4, 81: 5, 4: 6, 8: 3, 9: 3, 15: 3, 49: 3, 52: 3}
LENGTHS |= {53: 2, 54: 3, 55: 3, 62: 2, 64: 3, 74: 3, 76: 2, 102: 1}


class Gateway:
    """A Gateway in a process of its own."""

    def __init__(self, *flags: str) -> None:
        command = [sys.executable, "-m", "bar_fly_simulators.gateway", "--port", "0", "--market", "demo", "--at", AT]
        command += ["--speed", "0", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"gateway simulator ready on 127\.0\.0\.1:(\d+) control 127\.0\.0\.1:(\d+)\n", line)
        assert found is not None, line
        self.port, self.control = int(found[1]), int(found[2])

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)

    def post(self, path: str, body: dict[str, object]) -> None:
        """Post to the control port, and wait until the Gateway has had a turn."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.control}/{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=5) as answer:
            answer.read()
        time.sleep(0.15)

    def counter(self, name: str) -> int:
        """Read one of the Gateway's counters."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.control}/counters", timeout=5) as answer:
            return int(json.load(answer)["gateway"][name])

    @contextmanager
    def fault(self, kind: str, **more: object) -> Iterator[None]:
        """Put a fault in force for a while."""
        self.post("faults", {"kind": kind, **more})
        try:
            yield
        finally:
            self.post("faults", {"clear": True, "kind": kind})

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End the process; return its status and what it wrote on stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=10)
        return self.process.returncode, errors


class Client:
    """A client of plain frames; `client_id` None stays before START_API."""

    def __init__(self, port: int, client_id: int | None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._data = b""
        self.socket.sendall(b"API\0" + struct.pack(">I", 9) + b"v157..178")
        self.handshake = self.read()
        if client_id is not None:
            self.send("71", "2", str(client_id), "")
            self.until(4, 2158)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *fields: str) -> None:
        """Send one frame."""
        body = "".join(f"{field}\0" for field in fields).encode()
        self.socket.sendall(struct.pack(">I", len(body)) + body)

    def read(self) -> list[str]:
        """Read one frame; EOFError where the server closed."""
        while len(self._data) < 4 or len(self._data) < 4 + struct.unpack(">I", self._data[:4])[0]:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError
            self._data += piece
        end = 4 + struct.unpack(">I", self._data[:4])[0]
        fields = self._data[4:end].decode("ascii").split("\0")[:-1]
        self._data = self._data[end:]
        if fields[0].isdigit() and hasattr(self, "handshake"):
            assert len(fields) == LENGTHS.get(int(fields[0]), len(fields)), fields
        return fields

    def until(self, message_id: int, code: int | None = None) -> list[str]:
        """Read to the next message of an id (of an error code)."""
        while True:
            fields = self.read()
            if fields[0] == str(message_id) and (code is None or fields[3] == str(code)):
                return fields

    def collect(self, seconds: float) -> list[list[str]]:
        """Read whatever comes for a while."""
        messages, end = [], time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                messages.append(self.read())
            except TimeoutError:
                break
        self.socket.settimeout(5)
        return messages

    def ended(self) -> list[list[str]]:
        """Read to the end of the connection."""
        messages = []
        while True:
            try:
                messages.append(self.read())
            except (EOFError, ConnectionError):
                return messages

    def subscribe(self, req_id: str = "5") -> None:
        """Subscribe to AAPL."""
        self.send("1", "11", req_id, *AAPL, "0", "", "0", "0", "")

    def order(self, order_id: int, quantity: str, limit: str, ref: str) -> None:
        """Place a DAY limit order to buy AAPL."""
        head = [str(order_id), *AAPL, "", "", "BUY", quantity, "LMT", limit, "", "DAY", "", "", "O", "0", ref]
        tail = (
            "1|0|0|0|0|0|0|0||0.0|||||||0||-1|0|||0|||0|0||0||||||0|||||0|||||||||||0|||0|0|||0||0|0|0|0|||||||0|||||||||"
            "0|0|0|0|||0||"
        )
        self.send("3", *head, *tail.split("|"))


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """One Gateway for the tests that change nothing that lasts."""
    with Gateway() as running:
        yield running
        status, errors = running.end()
    assert status == 0
    assert "Traceback" not in errors, errors


def prices(messages: list[list[str]]) -> dict[str, str]:
    """Return the last price of each tick type."""
    return {fields[3]: fields[4] for fields in messages if fields[0] == "1"}


def test_the_handshake_is_one_frame_of_two_fields_and_nothing_more(gateway: Gateway) -> None:
    """Version 178 and a time; nothing else before START_API, because clients drop what comes with it."""
    with Client(gateway.port, None) as client:
        assert client.handshake == ["178", "20130301 10:00:00 EST"]
        assert client.collect(0.3) == []
        client.send("71", "2", "1", "")
        assert client.read() == ["15", "1", "DUS000001"]
        assert client.read() == ["9", "1", "1"]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"API\0" + struct.pack(">I", 0xFFFFFFF0),
        b"API\0" + struct.pack(">I", 8) + b"v100..15",
        b"API\0" + struct.pack(">I", 4) + b"abcd",
    ],
)
def test_a_client_that_does_not_greet_is_dropped(gateway: Gateway, data: bytes) -> None:
    """Whatever is no greeting of a version spoken here ends that connection, and only that one."""
    with Client(gateway.port, 90) as other:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as broken:
            broken.sendall(data)
            assert broken.recv(100) == b""
        other.send("49", "1")
        assert other.until(49) == ["49", "1", str(AT_EPOCH)]


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0",
        struct.pack(">I", 0xFFFFFFFF) + b"x",
        struct.pack(">I", 3) + b"abc",
        struct.pack(">I", 4) + b"abc\0",
        struct.pack(">I", 3) + b"49\0",
        struct.pack(">I", 7) + b"49\x001\x001\0",
        struct.pack(">I", 7) + b"3\x00\xff\xfe\x001\0",
        struct.pack(">I", 9) + b"62\x001\x00x\x001\0",
        struct.pack(">I", 6) + b"\xd9\xa4\xd9\xa9\x00\x00",
    ],
)
def test_a_malformed_message_drops_its_client_alone(gateway: Gateway, data: bytes) -> None:
    """The client gets error 320 and is closed; another one goes on."""
    with Client(gateway.port, 90) as other, Client(gateway.port, 91) as client:
        client.socket.sendall(data)
        assert client.ended()[-1][3] == "320"
        other.send("49", "1")
        assert other.until(49)[2] == str(AT_EPOCH)


def test_a_message_before_start_api_drops_the_client(gateway: Gateway) -> None:
    """Nothing is answered to who has not said who it is."""
    with Client(gateway.port, None) as client:
        client.send("49", "1")
        assert client.ended() == []


def test_a_client_that_vanishes_or_stalls_disturbs_nobody(gateway: Gateway) -> None:
    """Half a frame, a reset, and a client that reads nothing leave the others as they are."""
    with Client(gateway.port, 90) as other, Client(gateway.port, 91) as half:
        half.socket.sendall(struct.pack(">I", 50) + b"62\0")
        reset = Client(gateway.port, 92)
        reset.subscribe()
        reset.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.socket.close()
        time.sleep(0.3)
        other.send("49", "1")
        assert other.until(49)[2] == str(AT_EPOCH)


def test_an_unknown_message_is_505_and_said_loudly() -> None:
    """The client stays, and the Gateway's log names the message."""
    with Gateway() as running, Client(running.port, 1) as client:
        client.send("10", "5", "1")
        assert client.until(4, 505)[2:4] == ["-1", "505"]
        client.send("49", "1")
        client.until(49)
        assert running.counter("received 10 unknown") == 1
        status, errors = running.end(signal.SIGINT)
    assert status == 0
    assert "message 10" in errors


def test_a_client_id_is_used_once_at_a_time(gateway: Gateway) -> None:
    """The second one gets 326 and is closed; after the first has gone the id is free."""
    with Client(gateway.port, 5), Client(gateway.port, None) as second:
        second.send("71", "2", "5", "")
        assert [fields[3] for fields in second.ended()] == ["326"]
    time.sleep(0.1)
    with Client(gateway.port, 5) as third:
        third.send("49", "1")
        third.until(49)


def test_the_clock_is_the_simulated_one(gateway: Gateway) -> None:
    """Message 49 follows the control port's clock, and a fault can make it wrong."""
    with Client(gateway.port, 1) as client:
        gateway.post("clock", {"advance_s": 60})
        client.send("49", "1")
        assert client.until(49)[2] == str(AT_EPOCH + 60)
        gateway.post("clock", {"at": AT})
        with gateway.fault("clock_offset", seconds=-86400):
            client.send("49", "1")
            assert client.until(49)[2] == str(AT_EPOCH - 86400)


def test_every_message_is_counted_from_zero(gateway: Gateway) -> None:
    """A counter that never moved reads zero; what is received and sent is counted by id and name."""
    assert gateway.counter("received 58 reqGlobalCancel") == 0
    before = gateway.counter("received 61 reqPositions"), gateway.counter("sent 62 positionEnd")
    with Client(gateway.port, 1) as client:
        client.send("61", "1")
        client.until(62)
    assert gateway.counter("received 61 reqPositions") == before[0] + 1
    assert gateway.counter("sent 62 positionEnd") == before[1] + 1


def test_quotes_stay_fresh_while_the_clock_stands_still(gateway: Gateway) -> None:
    """At speed 0 both sides are sent again about every 250 ms with the same prices."""
    with Client(gateway.port, 1) as client:
        client.subscribe()
        sides = [fields for fields in client.collect(1.2) if fields[0] == "1" and fields[3] in {"1", "2"}]
        assert 6 <= len(sides) <= 14
        assert len({(fields[3], fields[4]) for fields in sides}) == 2


def test_a_quote_has_every_tick(gateway: Gateway) -> None:
    """Market data type, sides, sizes, last, volume, close, extremes, halted and the price increment."""
    with Client(gateway.port, 1) as client:
        client.subscribe()
        messages = client.collect(0.5)
        assert ["58", "1", "5", "1"] in messages
        assert ["81", "5", "0.01", "9c0001", "3"] in messages
        assert ["45", "6", "5", "49", "0"] in messages
        assert {"1", "2", "4", "6", "7", "9"} <= set(prices(messages))
        assert {"0", "3", "5", "8"} <= {fields[3] for fields in messages if fields[0] == "2"}
        assert float(prices(messages)["1"]) < float(prices(messages)["2"])


@pytest.mark.parametrize(
    ("kind", "missing"),
    [("no_ask", "2"), ("no_bid", "1")],
)
def test_a_side_can_be_missing(gateway: Gateway, kind: str, missing: str) -> None:
    """A missing side is -1 with size 0; a fault limited to another symbol does nothing."""
    with gateway.fault(kind, symbol="IBM"), Client(gateway.port, 1) as client:
        client.subscribe()
        assert "-1" not in prices(client.collect(0.4)).values()
    with gateway.fault(kind, symbol="AAPL"), Client(gateway.port, 1) as client:
        client.subscribe()
        found = prices(client.collect(0.4))
        assert [found[side] for side in ("1", "2")].count("-1") == 1
        assert found[missing] == "-1"


def test_a_quote_can_be_crossed(gateway: Gateway) -> None:
    """Bid above ask."""
    with gateway.fault("crossed_quote"), Client(gateway.port, 1) as client:
        client.subscribe()
        found = prices(client.collect(0.4))
        assert float(found["1"]) > float(found["2"])


def test_a_quote_can_be_delayed(gateway: Gateway) -> None:
    """Error 10167, type 3, and no live tick type at all."""
    with gateway.fault("delayed_quote"), Client(gateway.port, 1) as client:
        client.subscribe()
        messages = client.collect(0.4)
        assert "10167" in {fields[3] for fields in messages if fields[0] == "4"}
        assert ["58", "1", "5", "3"] in messages
        assert {"66", "67", "68"} <= set(prices(messages))
        assert not {"1", "2", "4"} & set(prices(messages))


def test_a_quote_can_be_missing_or_refused(gateway: Gateway) -> None:
    """No tick at all, or error 354 for the request."""
    with gateway.fault("no_quote"), Client(gateway.port, 1) as client:
        client.subscribe()
        assert prices(client.collect(0.6)) == {}
    with gateway.fault("no_quote", code=354), Client(gateway.port, 1) as client:
        client.subscribe()
        assert client.until(4, 354)[2] == "5"


def test_a_quote_can_go_stale(gateway: Gateway) -> None:
    """The first ticks come, and then none."""
    with gateway.fault("stale_quote"), Client(gateway.port, 1) as client:
        client.subscribe()
        assert set(prices(client.collect(0.2))) >= {"1", "2"}
        assert prices(client.collect(0.6)) == {}


def test_outside_the_session_there_is_no_live_side(gateway: Gateway) -> None:
    """In the evening both sides are -1; who asks for frozen data gets type 2 and the close's sides."""
    gateway.post("clock", {"at": "2013-02-28T18:00"})
    try:
        with Client(gateway.port, 1) as client:
            client.subscribe()
            found = prices(client.collect(0.4))
            assert (found["1"], found["2"]) == ("-1", "-1")
            assert float(found["4"]) > 0
        with Client(gateway.port, 2) as client:
            client.send("59", "1", "2")
            client.subscribe()
            messages = client.collect(0.4)
            assert ["58", "1", "5", "2"] in messages
            assert float(prices(messages)["1"]) > 0
    finally:
        gateway.post("clock", {"at": AT})


def test_messages_can_be_muted_and_requests_ignored(gateway: Gateway) -> None:
    """A muted message is neither sent nor counted; an ignored request is counted and not answered."""
    with Client(gateway.port, 1) as client:
        sent = gateway.counter("sent 62 positionEnd")
        with gateway.fault("mute", message="62"):
            client.send("61", "1")
            assert client.collect(0.3) == []
        assert gateway.counter("sent 62 positionEnd") == sent
        received = gateway.counter("received 61 reqPositions")
        with gateway.fault("ignore", message="61"):
            client.send("61", "1")
            assert client.collect(0.3) == []
        assert gateway.counter("received 61 reqPositions") == received + 1


def test_the_account_can_be_a_live_one(gateway: Gateway) -> None:
    """A list of accounts by fault, or the name itself by flag, so that a program's refusal can be tried."""
    with gateway.fault("accounts", text="U1234567,DU7"), Client(gateway.port, None) as client:
        client.send("71", "2", "1", "")
        assert client.until(15) == ["15", "1", "U1234567,DU7"]
        client.send("62", "1", "3", "All", "NetLiquidation")
        assert client.until(63) == ["63", "1", "3", "U1234567", "NetLiquidation", "100000.00", "USD"]
        client.send("76", "1", "4", "DU7", "", "0")
        assert client.until(74) == ["74", "1", "4"]


def test_connections_can_be_dropped_and_refused(gateway: Gateway) -> None:
    """A drop cuts once; while refusing, the port is closed, and it opens again on the same number."""
    with Client(gateway.port, 1) as client:
        gateway.post("faults", {"kind": "drop_connections", "times": 1})
        assert client.ended() == []
    with Client(gateway.port, 1) as client, gateway.fault("refuse_connections"):
        with pytest.raises(ConnectionRefusedError):
            Client(gateway.port, 2)
        client.send("49", "1")
        client.until(49)
    with Client(gateway.port, 2) as client:
        client.send("49", "1")
        client.until(49)


def test_summaries_and_lines_have_their_limits(gateway: Gateway) -> None:
    """A third summary and a ticker id used twice are 322; a line that is not there is 300; no such bar size is 321."""
    with Client(gateway.port, 1) as client:
        for req_id in ("1", "2"):
            client.send("62", "1", req_id, "All", "NetLiquidation,$LEDGER:ALL")
            client.until(64)
        client.send("62", "1", "3", "All", "NetLiquidation")
        assert client.until(4, 322)[2] == "3"
        client.subscribe("9")
        client.subscribe("9")
        assert client.until(4, 322)[2] == "9"
        client.send("2", "2", "77")
        client.until(4, 300)
        client.send("20", "8", *AAPL, "0", "", "7 days", "1 D", "1", "TRADES", "1", "0", "")
        assert client.until(4, 321)[2] == "8"


def test_contracts_that_are_not_simulated(gateway: Gateway) -> None:
    """A future is 200, a combination 321, an unknown symbol 200; spellings of one stock are one contract."""
    with Client(gateway.port, 1) as client:
        for kind, symbol, code in (("FUT", "AAPL", 200), ("BAG", "AAPL", 321), ("STK", "NOPE", 200)):
            query = ["0", symbol, kind, "", "0.0", "", "", "SMART", "", "USD", "", ""]
            client.send("9", "8", "4", *query, "0", "", "", "")
            assert client.until(4, code)[2] == "4"
        client.send("9", "8", "4", *AAPL, "0", "", "", "")
        assert client.until(10)[12] == "265598"


def test_orders_are_refused_by_fault(gateway: Gateway) -> None:
    """A chosen code and text come back on the order's id, the order stays Inactive, and nothing is bought."""
    fault = gateway.fault("reject_orders", code=201, text="Order rejected - reason:test", times=1)
    with fault, Client(gateway.port, 40) as client:
        client.order(1, "1", "500.00", "refused")
        assert client.until(3)[2] == "Inactive"
        assert client.until(4, 201)[2:5] == ["1", "201", "Order rejected - reason:test"]
        client.send("61", "1")
        assert client.read() == ["62", "1"]


def test_everything_survives_a_kill(tmp_path: Path) -> None:
    """Killed with SIGKILL after a fill and with an order open: both are there again, and ids go on, not back."""
    state = tmp_path / "state.json"
    flags = ("--state", str(state), "--account", "DUS000009", "--cash", "50000")
    with Gateway(*flags) as running, Client(running.port, 7) as client:
        client.order(1, "10", "500.00", "filled")
        execution = client.until(11)
        assert len(json.loads(state.read_text())["executions"]) == 1, "told before it was written down"
        with running.fault("hold_fills"):
            client.order(2, "10", "200.00", "open")
            while client.until(3)[1] != "2":
                pass
            assert len(json.loads(state.read_text())["orders"]) == 2, "told before it was written down"
        status = client.until(3)
        while (status[1], status[2]) != ("2", "Submitted"):
            status = client.until(3)
        running.end(signal.SIGKILL)
    with Gateway(*flags) as running, Client(running.port, None) as client:
        client.send("71", "2", "7", "")
        assert client.until(9)[2] == "3"
        client.send("61", "1")
        assert client.until(61)[14] == "10"
        client.send("7", "3", "6", "0", "", "", "", "", "", "")
        assert client.until(11)[14] == execution[14]
        client.send("99", "0")
        assert "filled" in client.until(101)
        client.send("5", "1")
        reopened = client.until(3)
        assert (reopened[1], reopened[2], reopened[6]) == ("2", "Submitted", status[6])
        client.order(3, "1", "500.00", "next")
        assert int(client.until(3)[6]) > int(status[6])
        assert running.end()[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_state_of_another_account_is_refused(tmp_path: Path) -> None:
    """A damaged state, one of another account, and one that cannot be written end the start with a sentence."""
    state = tmp_path / "state.json"
    save_state(state, BrokerState("DUS000001", Ledger(Decimal(1)), 0, date(2013, 3, 1), None, 1))
    base = [sys.executable, "-m", "bar_fly_simulators.gateway", "--port", "0", "--market", "demo"]
    for path, account in ((state, "DUS000002"), (tmp_path / "no" / "state.json", "DUS000001")):
        command = [*base, "--state", str(path), "--account", account]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert ended.returncode == 2
        assert str(path) in ended.stderr
        assert "Traceback" not in ended.stderr
