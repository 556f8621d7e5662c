"""What can be made to go wrong on purpose at the Gateway; `symbol` and `message` limit a fault where they make sense."""

from bar_fly_simulators.control import Fault

FAULT_KINDS = {
    "refuse_connections": "the port is closed until the fault ends; clients that are connected stay",
    "drop_connections": 'every connection is cut (give "times": 1 to cut once)',
    "mute": 'messages the Gateway would send are not sent; "message": "94" limits it to one id',
    "ignore": 'requests of clients are read and not answered; "message": "61" limits it to one id',
    "delayed_quote": "error 10167, market data type 3, and delayed tick types alone",
    "no_quote": 'no tick is sent; with "code": 354 the request is answered by that error',
    "no_bid": "the bid is missing: -1 with size 0",
    "no_ask": "the ask is missing: -1 with size 0",
    "crossed_quote": "bid and ask are exchanged",
    "stale_quote": "ticks are sent once and not again",
    "reject_orders": 'orders are refused: "code": 201, "text": "..."',
    "partial_fill": 'an order\'s first fill is a part of it: "fraction": 0.5; the rest fills once the fault ends',
    "hold_fills": "orders are taken and never fill",
    "clock_offset": 'the Gateway\'s clock is wrong by "seconds"',
    "accounts": 'the accounts reported: "text": "U1234567" or several with commas',
}
"""Each kind and what it does, as the control port lists it."""


def bounded(fault: Fault, name: str, default: float, lowest: float, highest: float) -> float:
    """Return a fault's number within bounds, so that no posted one (infinite, not a number) can stop the Gateway."""
    return max(lowest, min(highest, fault.number(name, default)))
