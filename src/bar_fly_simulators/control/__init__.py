"""The simulators' control port: JSON over HTTP on 127.0.0.1 for the clock, the faults and the counters.

GET  /clock                         {"at": "2021-04-21T09:45:00-04:00", "at_us": ..., "speed": 1.0}
POST /clock                         {"at": "2021-04-21T09:45"} | {"advance_s": 60} | {"speed": 0}
GET  /counters                      {"alpha_vantage": {"OVERVIEW": 3}, "gateway": {...}}
GET  /faults                        the faults in force, oldest first
POST /faults                        {"kind": "http_503", "symbol": "IBM", "times": 2} | {"clear": true}
GET  /orders                        of the Gateway: each placeOrder as it was understood
GET  /broker                        of the Gateway: its account, orders and executions, the truth behind what is told
"""

from bar_fly_simulators.control.faults import Counters, Fault, Faults
from bar_fly_simulators.control.http_server import HttpServer, Request, Response
from bar_fly_simulators.control.port import Control, serve_control
from bar_fly_simulators.control.process import add_common_flags, port_number, run_simulator

__all__ = [
    "Control",
    "Counters",
    "Fault",
    "Faults",
    "HttpServer",
    "Request",
    "Response",
    "add_common_flags",
    "port_number",
    "run_simulator",
    "serve_control",
]
