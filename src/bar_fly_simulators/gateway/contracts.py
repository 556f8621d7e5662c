"""The instruments of the market as the Gateway knows them: contract ids, IB's spelling, option chains, and their lookup."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

from bar_fly_simulators.clock import new_york
from bar_fly_simulators.gateway.instruments import Combo, Instrument, Leg, Option, Stock
from bar_fly_simulators.gateway.orders import ContractQuery
from bar_fly_simulators.market import Market
from bar_fly_simulators.option_pricing import expirations, strike_step

# Contract ids that many people know by heart; every other id comes from the symbol's checksum.
_KNOWN_CON_IDS = {"AAPL": 265598, "IBM": 8314, "MSFT": 272093, "SPY": 756733}
_EXCHANGES = frozenset({"", "SMART", "NASDAQ", "NYSE", "ISLAND", "ARCA", "BATS"})
_OPTION_EXCHANGES = frozenset({"", "SMART", "CBOE", "AMEX", "PHLX", "ISE"})
PRIMARY_EXCHANGE = "NASDAQ"
TRADING_CLASS = "NMS"
OPTION_EXCHANGES = ("SMART", "CBOE")
STRIKES_EACH_SIDE = 20
_STRIKE_GRID = Decimal("0.5")
_COMBO_LEGS_MAX = 8


class NoDefinition(LookupError):
    """No contract fits a request; `code` is the Gateway's error code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def _nothing() -> NoDefinition:
    return NoDefinition(200, "No security definition has been found for the request")


class Contracts:
    """Finds stocks by contract id or by symbol in any spelling, and options on them."""

    def __init__(self, market: Market) -> None:
        """Give every symbol of the market its contract id."""
        self._market = market
        self._by_symbol: dict[str, Stock] = {}
        self._by_id: dict[int, Stock] = {}
        self._options: dict[int, Option] = {}
        for symbol in market.symbols:
            con_id = _KNOWN_CON_IDS.get(symbol, 100_000_000 + zlib.crc32(symbol.encode()) % 900_000_000)
            while con_id in self._by_id:
                con_id += 1
            stock = Stock(
                con_id, symbol.replace(".", " "), symbol, market.name(symbol), market.sector(symbol) or "unknown"
            )
            self._by_symbol[symbol] = self._by_id[con_id] = stock

    def by_market_symbol(self, symbol: str) -> Stock | None:
        """Return the stock of a market symbol."""
        return self._by_symbol.get(symbol)

    def by_con_id(self, con_id: int) -> Stock | Option | None:
        """Return the stock, or the option seen before, of a contract id."""
        return self._by_id.get(con_id) or self._options.get(con_id)

    def remember(self, instrument: Instrument) -> None:
        """Know the options of an instrument by their ids from now on: those of orders and positions kept in a file."""
        if isinstance(instrument, Option):
            self._options[instrument.con_id] = instrument
        elif isinstance(instrument, Combo):
            for leg in instrument.legs:
                self._options[leg.option.con_id] = leg.option

    def find(self, query: ContractQuery, at_us: int) -> Instrument:
        """Return the one instrument that a request means; NoDefinition (200, 321) where there is none by `at_us`."""
        if query.sec_type == "BAG":
            return self._combo(query, at_us)
        if query.sec_type == "OPT" or (not query.sec_type and query.con_id in self._options):
            return self._option(query, at_us)
        return self._stock(query, at_us)

    def all(self, query: ContractQuery, at_us: int) -> list[Stock | Option]:
        """Return every instrument that a request for details means: one stock, or the options it leaves open."""
        if query.sec_type != "OPT":
            found = self.find(query, at_us)
            assert not isinstance(found, Combo)
            return [found]
        if query.con_id or query.local_symbol or (query.last_trade_date and query.strike and query.right):
            return [self._option(query, at_us)]
        stock = self._underlying(query, at_us)
        wanted = [
            option
            for option in self.chain(stock, at_us)
            if f"{option.expiration:%Y%m%d}".startswith(query.last_trade_date)
            and query.strike in {None, Decimal(0), option.strike}
            and query.right[:1] in {"", option.right}
        ]
        if not wanted or not self._tradable(query, _OPTION_EXCHANGES):
            raise _nothing()
        return list(wanted)

    def matching(self, pattern: str, at_us: int) -> list[Stock]:
        """Return up to 16 stocks whose symbol begins with, or whose name holds, a pattern."""
        wanted = pattern.strip().upper()
        if not wanted:
            return []
        found = [
            stock
            for stock in self._by_symbol.values()
            if (stock.symbol.startswith(wanted) or wanted in stock.long_name.upper()) and self._listed(stock, at_us)
        ]
        return sorted(found, key=lambda stock: (stock.symbol != wanted, stock.symbol))[:16]

    def expirations(self, at_us: int) -> list[date]:
        """Return the expirations listed at an instant; a Friday without a session is moved to the session before it."""
        today = new_york(at_us).date()
        sessions = frozenset(self._market.sessions)
        last = self._market.sessions[-1]
        moved = set()
        for day in expirations(today):
            known = day
            while known <= last and known not in sessions and known > today:
                known -= timedelta(days=1)
            moved.add(known)
        return sorted(moved)

    def strikes(self, stock: Stock, at_us: int) -> list[Decimal]:
        """Return the strikes listed around the stock's last close (its first open before there is one), USD."""
        spot = self._reference(stock, at_us)
        step = strike_step(spot)
        middle = round(spot / step)
        lowest = max(1, middle - STRIKES_EACH_SIDE)
        return [Decimal(repr(step)) * k for k in range(lowest, middle + STRIKES_EACH_SIDE + 1)]

    def chain(self, stock: Stock, at_us: int) -> Iterator[Option]:
        """Yield every listed option on a stock."""
        strikes = self.strikes(stock, at_us)
        for expiration in self.expirations(at_us):
            for strike in strikes:
                yield self.option(stock, expiration, strike, "C")
                yield self.option(stock, expiration, strike, "P")

    def option(self, stock: Stock, expiration: date, strike: Decimal, right: str) -> Option:
        """Return an option with its contract id, drawn from its name."""
        strike = strike.normalize() if strike != strike.to_integral_value() else strike.quantize(Decimal(1))
        key = Option(0, stock, expiration, strike, right).key
        con_id = 1_000_000_000 + zlib.crc32(key.encode()) % 1_100_000_000
        while (known := self._options.get(con_id)) is not None and known.key != key:
            con_id += 1
        return self._options.setdefault(con_id, Option(con_id, stock, expiration, strike, right))

    def _stock(self, query: ContractQuery, at_us: int) -> Stock:
        stock = self._underlying(query, at_us)
        if (query.sec_type or "STK") != "STK" or not self._tradable(query, _EXCHANGES):
            raise _nothing()
        return stock

    def _underlying(self, query: ContractQuery, at_us: int) -> Stock:
        named = self._market.find(query.symbol or query.local_symbol)
        stock = self._by_id.get(query.con_id) if query.con_id else self._by_symbol.get(named or "")
        if stock is None or (query.symbol and named != stock.market_symbol) or not self._listed(stock, at_us):
            raise _nothing()
        return stock

    def _option(self, query: ContractQuery, at_us: int) -> Option:
        if not self._tradable(query, _OPTION_EXCHANGES) or query.multiplier not in {"", "100"}:
            raise _nothing()
        if query.con_id:
            return self._option_by_id(query, at_us)
        symbol, text, right, strike = query.symbol, query.last_trade_date, query.right[:1], query.strike
        if query.local_symbol:
            name = query.local_symbol
            symbol, text, right = name[:6].strip(), f"20{name[6:12]}", name[12:13]
            strike = Decimal(name[13:]) / 1000 if name[13:].isdecimal() else None
        market_symbol = self._market.find(symbol)
        stock = self._by_symbol.get(market_symbol or "")
        expiration = _day(text)
        if stock is None or expiration is None or right not in {"C", "P"} or not strike:
            raise _nothing()
        if expiration not in self.expirations(at_us) or not self._has_strike(stock, strike, at_us):
            raise _nothing()
        return self.option(stock, expiration, strike, right)

    def _option_by_id(self, query: ContractQuery, at_us: int) -> Option:
        if query.con_id not in self._options and (symbol := self._market.find(query.symbol)) is not None:
            # Seen by an earlier run of the Gateway: its id follows from its name, so the chain is named through.
            self._name_all(self._by_symbol[symbol], at_us)
        option = self._options.get(query.con_id)
        if option is None or option.expiration < new_york(at_us).date():
            raise _nothing()
        return option

    def _name_all(self, stock: Stock, at_us: int) -> None:
        spot = Decimal(repr(round(self._reference(stock, at_us), 2)))
        count = int(spot * 2 / _STRIKE_GRID)
        for expiration in self.expirations(at_us):
            for k in range(1, min(count, 4000)):
                for right in ("C", "P"):
                    self.option(stock, expiration, _STRIKE_GRID * k, right)

    def _combo(self, query: ContractQuery, at_us: int) -> Combo:
        if not 2 <= len(query.legs) <= _COMBO_LEGS_MAX or query.currency not in {"", "USD"}:
            raise NoDefinition(
                321, "Error validating request.-'BAG' : cause - two to eight legs in USD make a combination"
            )
        legs = []
        for leg in query.legs:
            if leg.action not in {"BUY", "SELL"} or not 1 <= leg.ratio <= 1000:
                raise NoDefinition(321, "Error validating request.-'BAG' : cause - a leg's action or ratio")
            asked = ContractQuery(leg.con_id, query.symbol, "OPT", "", None, "", "", "", "", "", "", "")
            if leg.con_id in self._by_id:
                raise NoDefinition(321, "Error validating request.-'BAG' : cause - legs of stock are not simulated")
            legs.append(Leg(self._option_by_id(asked, at_us), leg.ratio, leg.action, leg.exchange or "SMART"))
        stocks = {leg.option.stock for leg in legs}
        if len(stocks) != 1:
            raise NoDefinition(321, "Error validating request.-'BAG' : cause - legs on more than one stock")
        return Combo(stocks.pop(), tuple(legs))

    def _tradable(self, query: ContractQuery, exchanges: frozenset[str]) -> bool:
        return query.currency in {"", "USD"} and query.exchange in exchanges

    def _has_strike(self, stock: Stock, strike: Decimal, at_us: int) -> bool:
        spot = Decimal(repr(round(self._reference(stock, at_us), 2)))
        return strike % _STRIKE_GRID == 0 and spot / 5 <= strike <= spot * 5

    def _reference(self, stock: Stock, at_us: int) -> float:
        bars = self._market.bars(stock.market_symbol)
        count = self._market.closed_count(stock.market_symbol, at_us)
        return bars[count - 1].close if count else bars[0].open

    def _listed(self, stock: Stock, at_us: int) -> bool:
        """Tell whether the stock has begun to trade: a contract of the clock's future does not exist yet."""
        return self._market.bars(stock.market_symbol).count_to(new_york(at_us).date()) > 0


def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if len(text) == 8 else None
    except ValueError:
        return None


def isin(stock: Stock) -> str:
    """Return a made-up ISIN with a right check digit; some clients refuse a stock that has none."""
    body = f"US{stock.con_id:09d}"[:11]
    digits = "".join(str(int(char, 36)) for char in body)
    total = 0
    for place, char in enumerate(reversed(digits)):
        doubled = int(char) * (2 if place % 2 == 0 else 1)
        total += doubled // 10 + doubled % 10
    return f"{body}{-total % 10}"
