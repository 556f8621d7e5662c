"""What can be traded: stocks, options on them, and combinations of options."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

BAG_CON_ID = 28812380
OPTION_MULTIPLIER = 100


@dataclass(frozen=True, slots=True)
class Stock:
    """A US stock as the Gateway describes it; `market_symbol` is the market's own spelling (BRK.B, at IB `BRK B`)."""

    con_id: int
    symbol: str
    market_symbol: str
    long_name: str
    industry: str

    @property
    def key(self) -> str:
        """What positions are filed under."""
        return self.market_symbol

    @property
    def sec_type(self) -> str:
        """IB's word for the kind."""
        return "STK"

    @property
    def multiplier(self) -> int:
        """Shares a unit."""
        return 1


class _Derived:
    """What an option and a combination have of the stock they are on."""

    __slots__ = ()
    stock: Stock

    @property
    def symbol(self) -> str:
        """The underlying's symbol at IB."""
        return self.stock.symbol

    @property
    def market_symbol(self) -> str:
        """The underlying's symbol in the market."""
        return self.stock.market_symbol

    @property
    def multiplier(self) -> int:
        """Shares a contract, or a combination."""
        return OPTION_MULTIPLIER


@dataclass(frozen=True, slots=True)
class Option(_Derived):
    """An option on a stock: 100 shares a contract, American style; `right` is C or P, `strike` in USD a share."""

    con_id: int
    stock: Stock
    expiration: date
    strike: Decimal
    right: str

    @property
    def key(self) -> str:
        """What positions are filed under: the OCC's 21 characters, as the Gateway's localSymbol has them."""
        return (
            f"{self.stock.symbol.replace(' ', ''):<6}{self.expiration:%y%m%d}{self.right}{int(self.strike * 1000):08d}"
        )

    @property
    def sec_type(self) -> str:
        """IB's word for the kind."""
        return "OPT"

    def intrinsic(self, spot: Decimal) -> Decimal:
        """Return what exercising one share's worth brings at a price of the stock, USD, never below 0."""
        return max(Decimal(0), spot - self.strike if self.right == "C" else self.strike - spot)


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg: `ratio` contracts bought or sold for each combination bought."""

    option: Option
    ratio: int
    action: str
    exchange: str

    @property
    def signed(self) -> int:
        """The ratio, below 0 for a leg that is sold."""
        return self.ratio if self.action == "BUY" else -self.ratio


@dataclass(frozen=True, slots=True)
class Combo(_Derived):
    """A combination of options on one stock; its price is the sum of its legs' and may be below 0."""

    stock: Stock
    legs: tuple[Leg, ...]

    @property
    def con_id(self) -> int:
        """The id that every combination in USD bears."""
        return BAG_CON_ID

    @property
    def key(self) -> str:
        """Its legs, spelled out."""
        return "BAG " + ",".join(f"{leg.signed}x{leg.option.con_id}" for leg in self.legs)

    @property
    def sec_type(self) -> str:
        """IB's word for the kind."""
        return "BAG"


Instrument = Stock | Option | Combo
