"""IB Gateway behind one door: reading for every mode, sending for paper alone.

`ib_async` is used for the wire and the request book-keeping; what it concludes is not believed. Every request has a
timeout of ours, fills come from executions alone, and an order that ib_async calls cancelled counts as cancelled only
where the Gateway itself said so (docs/decisions/0006-what-ib-async-says-is-a-hint.md).
"""

import logging

from bar_fly_trading.venues.ib.reader import IbOptions, IbReader
from bar_fly_trading.venues.ib.trader import IbPaperTrader

__all__ = ["IbOptions", "IbPaperTrader", "IbReader"]

# ib_async would print its own words through logging's last resort; what matters of them reaches the operator by our errors.
logging.getLogger("ib_async").addHandler(logging.NullHandler())
logging.getLogger("ib_async").propagate = False
