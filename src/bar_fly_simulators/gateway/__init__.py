"""A simulated IB Gateway on the wire: server version 178, US stocks, one account.

Start it with `python -m bar_fly_simulators.gateway`, or in process with `bar_fly_simulators.gateway.server.serve`.
Field layouts follow what ib_async 2.1.0 and the official client decode at versions 176 to 178.
"""
