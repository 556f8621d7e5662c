"""What can go wrong with quotes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bar_fly_simulators.gateway.faults.spec import CODES, Action, GatewayFault


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteFault(GatewayFault):
    """A fault of what is shown of a symbol (of the underlying, for options); fills happen at the true touch."""

    symbol: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayedQuote(QuoteFault):
    """Error 10167, market data type 3 (4 where the market is shut and it was asked for), and delayed tick types alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenQuote(QuoteFault):
    """Market data type 2 although the market is open: the last quote that was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoQuote(QuoteFault):
    """No tick is sent; with `code` (354, 10089, 10168 ...) the request is answered by that error."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"code": CODES}
    code: int = 0
    text: str = "Requested market data is not subscribed. Check API status by selecting the Account menu"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompetingSession(QuoteFault):
    """Error 10197 to every line, and no more ticks: another session of the user has the market data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoBid(QuoteFault):
    """The bid is missing: -1 with size 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAsk(QuoteFault):
    """The ask is missing: -1 with size 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastOnly(QuoteFault):
    """No message about bid or ask at all: a last price and the day's values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroQuote(QuoteFault):
    """Bid and ask are 0 with size 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NanQuote(QuoteFault):
    """Bid and ask are sent as `NaN`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossedQuote(QuoteFault):
    """Bid and ask are exchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedQuote(QuoteFault):
    """The ask is the bid: a locked market, or a limit state at the band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WideQuote(QuoteFault):
    """Bid and ask are each further from their middle by `fraction` of it."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"fraction": (0, 0.99)}
    fraction: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleQuote(QuoteFault):
    """Ticks are sent once and not again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted(QuoteFault):
    """Tick 49 says `code` 1 (halted) or 2 (halted for volatility), and nothing fills."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"code": (0, 2)}
    code: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftPrice(Action):
    """The market's own price moves by `fraction` from now on (0 ends it): quotes, fills and marks follow."""

    BOUNDS: ClassVar[Mapping[str, tuple[float, float]]] = {"fraction": (-0.99, 100)}
    symbol: str = ""
    fraction: float = 0.0
