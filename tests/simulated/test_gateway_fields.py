"""The Gateway's frames and fields: whatever bytes come, the answer is a request, an error of the wire, or patience."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bar_fly_simulators.clock import SimulatedClock, parse_at
from bar_fly_simulators.control import Control
from bar_fly_simulators.gateway import order_replies, replies, requests
from bar_fly_simulators.gateway.fields import Cursor, execution_time, number
from bar_fly_simulators.gateway.framing import FrameReader, MalformedMessage, encode_frame, split_fields
from bar_fly_simulators.gateway.handshake import negotiated
from bar_fly_simulators.gateway.orders import Execution, Order, Position, Stock
from bar_fly_simulators.gateway.place_order import place_order
from bar_fly_simulators.gateway.wire import Wire

# A loaded machine is slow: time is not what these tests are about.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
STOCK = Stock(265598, "AAPL", "AAPL", "Apple Inc", "Information Technology")
AT_US = parse_at("2013-03-01T10:00")
ORDER = Order(
    perm_id=900000001,
    client_id=7,
    order_id=12,
    order_ref="ref",
    instrument=STOCK,
    action="BUY",
    quantity=Decimal(100),
    order_type="LMT",
    limit_price=Decimal("438.09"),
    tif="DAY",
    outside_rth=False,
    status="Filled",
    placed_at_us=AT_US,
    day=date(2013, 3, 1),
    filled=Decimal(100),
    completed_at_us=AT_US,
)
# placeOrder for a plain DAY limit order as ib_async 2.1.0 sends it at server version 178, the message id left out.
_WIRE = (
    "12|265598|AAPL|STK||0.0|||SMART|NASDAQ|USD|AAPL|NMS|||BUY|100|LMT|438.09||DAY||DUS000001|O|0|ref|1|0|0|0|0|0|0|0|"
    "|0.0|||||||0||-1|0|||0|||0|0||0||||||0|||||0|||||||||||0|||0|0|||0||0|0|0|0|||||||0|||||||||0|0|0|0|||0||"
)
PLAIN = _WIRE.split("|")
TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20)
FIELD = st.one_of(
    st.sampled_from(["", "0", "1", "-1", "2147483647", "1.7976931348623157e+308", "Infinite", "nan", "BAG", "LMT"]),
    st.integers().map(str),
    st.floats().map(str),
    TEXT,
)


@settings(UNHURRIED)
@given(st.lists(st.lists(TEXT, min_size=1, max_size=8), max_size=6), st.randoms(use_true_random=False))
def test_frames_come_out_the_same_however_the_stream_is_cut(messages: list[list[str]], random: object) -> None:
    """Frames survive any cutting of the byte stream, with text that is not ASCII escaped."""
    stream = b"".join(encode_frame(fields) for fields in messages)
    reader, seen = FrameReader(), []
    while stream:
        size = random.randint(1, len(stream))  # type: ignore[attr-defined]
        piece, stream = stream[:size], stream[size:]
        seen += [split_fields(body) for body in reader.feed(piece)]
    assert seen == [[f.encode("ascii", "backslashreplace").decode() for f in fields] for fields in messages]


@settings(UNHURRIED)
@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_malformed(data: bytes) -> None:
    """The reader raises nothing but MalformedMessage, whatever bytes come."""
    try:
        for body in FrameReader().feed(data):
            split_fields(body)
    except MalformedMessage:
        return


@pytest.mark.parametrize("length", [0, (1 << 20) + 1, 0xFFFFFFFF])
def test_an_absurd_length_is_refused_at_once(length: int) -> None:
    """A frame of no bytes or of too many is malformed before any of its bytes is waited for."""
    with pytest.raises(MalformedMessage):
        list(FrameReader().feed(length.to_bytes(4, "big")))


DECODERS = (
    requests.market_data,
    requests.cancel_order,
    requests.account_updates,
    requests.executions,
    requests.contract_details,
    requests.historical_data,
    requests.head_timestamp,
    requests.legs,
    requests.account_summary,
    requests.account_updates_multi,
    requests.pnl,
    requests.pnl_single,
    requests.option_parameters,
    requests.matching_symbols,
    requests.one_integer,
    requests.one_integer_unversioned,
    requests.nothing,
    requests.start_api,
)


@settings(UNHURRIED)
@given(st.sampled_from(DECODERS), st.lists(FIELD, max_size=30))
def test_any_fields_are_a_request_or_malformed(decoder: object, fields: list[str]) -> None:
    """Every decoder raises nothing but MalformedMessage, whatever the fields are."""
    try:
        decoder(Cursor(fields))  # type: ignore[operator]
    except MalformedMessage:
        return


@settings(UNHURRIED, max_examples=40)
@given(st.lists(FIELD, min_size=100, max_size=150), st.integers(0, 120), st.sampled_from([176, 177, 178]))
def test_any_fields_are_an_order_or_malformed(noise: list[str], kept: int, version: int) -> None:
    """placeOrder too, with a good beginning of any length."""
    fields = (PLAIN[:kept] + noise)[: len(noise)]
    try:
        order = place_order(Cursor(fields), version)
    except MalformedMessage:
        return
    assert order.order_id is not None


def test_a_plain_order_is_read_to_its_last_field() -> None:
    """The 114 fields of a plain order are read exactly; one less or one more is malformed."""
    assert len(PLAIN) == 113
    order = place_order(Cursor(PLAIN), 178)
    assert (order.order_id, order.quantity, order.limit_price) == (12, Decimal(100), Decimal("438.09"))
    assert (order.order_ref, order.account, order.unsupported) == ("ref", "DUS000001", ())
    for wrong in (PLAIN[:-1], [*PLAIN, ""]):
        with pytest.raises(MalformedMessage):
            place_order(Cursor(wrong), 178)


def test_field_counts_are_those_that_clients_demand() -> None:
    """The official client drops a message whose number of fields is not exact, so the numbers are pinned."""
    assert len(order_replies.open_order(ORDER, "DUS000001", 178)) == 135
    assert len(order_replies.open_order(ORDER, "DUS000001", 176)) == 136
    assert len(order_replies.completed_order(ORDER, "DUS000001", 178)) == 100
    assert len(replies.order_status(ORDER)) == 12
    assert len(replies.position("DUS000001", Position(STOCK, Decimal(1), Decimal(2)))) == 16
    assert len(replies.portfolio("DUS000001", Position(STOCK, Decimal(1), Decimal(2)), Decimal(3))) == 20
    execution = Execution(
        exec_id="e",
        perm_id=1,
        client_id=2,
        order_id=3,
        order_ref="r",
        instrument=STOCK,
        action="BUY",
        shares=Decimal(1),
        price=Decimal(2),
        at_us=AT_US,
        cumulative=Decimal(1),
        average_price=Decimal(2),
        commission=Decimal(1),
        realized_pnl=None,
        last_liquidity=2,
    )
    assert (
        len(replies.execution(-1, execution, "DUS000001", 178)) == len(replies.execution(-1, execution, "D", 177)) + 1
    )
    assert len(replies.commission_report(execution)) == 8


@settings(UNHURRIED)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
def test_numbers_are_plain_and_read_back(value: Decimal) -> None:
    """A number on the wire has no exponent and no trailing zero, and reads back as the same number."""
    text = number(value)
    assert "E" not in text.upper()
    assert Cursor([text]).decimal_or_none() == value
    assert "." not in text or not text.endswith("0")


@pytest.mark.parametrize("text", ["", "1.7976931348623157E308", "1.7976931348623157e+308", "Infinite"])
def test_unset_numbers_are_none(text: str) -> None:
    """All spellings of an unset number read as None."""
    assert Cursor([text]).decimal_or_none() is None


@pytest.mark.parametrize("text", ["", "2147483647", "9223372036854775807", "-9223372036854775808"])
def test_unset_integers_are_none(text: str) -> None:
    """All spellings of an unset integer read as None; where one must be set they are malformed."""
    assert Cursor([text]).integer_or_none() is None
    with pytest.raises(MalformedMessage):
        Cursor([text]).integer()


@pytest.mark.parametrize("text", ["1_0", " 1", "1.0", "+1", "\u0661", "0x1", "1" * 30])
def test_an_integer_is_nothing_else(text: str) -> None:
    """Only a minus and ASCII digits are an integer."""
    with pytest.raises(MalformedMessage):
        Cursor([text]).integer()


def test_text_that_clients_unescape_survives_it() -> None:
    """A backslash and a letter that is not ASCII in an error text come back whole from `unicode-escape`."""
    text = "C:\\new \u00e9"
    sent = replies.error(1, 201, text)[4]
    assert sent.isascii()
    assert sent.encode().decode("unicode-escape") == text


def test_execution_times_name_their_zone() -> None:
    """Without a zone, clients would read the time in their machine's own."""
    assert execution_time(AT_US) == "20130301 10:00:00 US/Eastern"


@pytest.mark.parametrize(
    ("versions", "expected"), [("v157..178", 178), ("v100..187 +PACEAPI", 178), ("v157..176", 176), ("v100..225", 178)]
)
def test_versions_are_negotiated(versions: str, expected: int) -> None:
    """The Gateway speaks the highest common version of 176 to 178."""
    assert negotiated(versions) == expected


@pytest.mark.parametrize("versions", ["v100..157", "v179..200", "157..178", "", "v1..99999"])
def test_other_versions_are_refused(versions: str) -> None:
    """A client of other versions is refused, not misread."""
    with pytest.raises(MalformedMessage):
        negotiated(versions)


@pytest.mark.parametrize(
    ("sizes", "filled"),
    [([4096], True), ([8192], True), ([1000, 3096], True), ([1000, 4096], True), ([4000], False), ([4000, 100], False)],
)
def test_no_burst_ends_on_the_clients_buffer(sizes: list[int], filled: bool) -> None:
    """The official client loses a burst of exactly k * 4096 bytes, so one is never sent, in one flush or in several."""

    async def burst() -> int:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            wire = Wire(reader, writer, Control(SimulatedClock(AT_US, 0)))
            for size in sizes:
                wire.send_raw(["x" * (size - 5)])
                wire.flush()
            await wire.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        return len(received)

    received = asyncio.run(burst())
    assert received % 4096 != 0
    assert (received > sum(sizes)) is filled


def test_a_completed_order_says_when_and_how() -> None:
    """completedOrder bears orderRef, permId, the filled quantity and the time of completion."""
    fields = order_replies.completed_order(replace(ORDER, completed_status="Filled Size: 100"), "DUS000001", 178)
    assert {"ref", "900000001", "Filled Size: 100", "20130301 10:00:00 US/Eastern"} <= set(fields)
