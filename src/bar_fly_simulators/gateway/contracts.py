"""The stocks of the market as the Gateway knows them: contract ids, IB's spelling, and their lookup."""

from __future__ import annotations

import zlib
from datetime import date

from bar_fly_simulators.gateway.orders import ContractQuery, Stock
from bar_fly_simulators.market import Market

# Contract ids that many people know by heart; every other id comes from the symbol's checksum.
_KNOWN_CON_IDS = {"AAPL": 265598, "IBM": 8314, "MSFT": 272093, "SPY": 756733}
_EXCHANGES = frozenset({"", "SMART", "NASDAQ", "NYSE", "ISLAND", "ARCA", "BATS"})
PRIMARY_EXCHANGE = "NASDAQ"
TRADING_CLASS = "NMS"


class NoDefinition(LookupError):
    """No contract fits a request; `code` is the Gateway's error code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Contracts:
    """Finds stocks by contract id or by symbol in any spelling."""

    def __init__(self, market: Market) -> None:
        """Give every symbol of the market its contract id."""
        self._market = market
        self._by_symbol: dict[str, Stock] = {}
        self._by_id: dict[int, Stock] = {}
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

    def by_con_id(self, con_id: int) -> Stock | None:
        """Return the stock of a contract id."""
        return self._by_id.get(con_id)

    def find(self, query: ContractQuery, today: date) -> Stock:
        """Return the one stock that a request means; NoDefinition (200) where there is none by `today`."""
        nothing = NoDefinition(200, "No security definition has been found for the request")
        named = self._market.find(query.symbol or query.local_symbol)
        stock = self._by_id.get(query.con_id) if query.con_id else self._by_symbol.get(named or "")
        if stock is None or (query.symbol and named != stock.market_symbol):
            raise nothing
        if not self._listed(stock, today):
            raise nothing
        if (query.sec_type or "STK") != "STK" or query.currency not in {"", "USD"} or query.exchange not in _EXCHANGES:
            raise nothing
        return stock

    def matching(self, pattern: str, today: date) -> list[Stock]:
        """Return up to 16 stocks whose symbol begins with, or whose name holds, a pattern."""
        wanted = pattern.strip().upper()
        if not wanted:
            return []
        found = [
            stock
            for stock in self._by_symbol.values()
            if (stock.symbol.startswith(wanted) or wanted in stock.long_name.upper()) and self._listed(stock, today)
        ]
        return sorted(found, key=lambda stock: (stock.symbol != wanted, stock.symbol))[:16]

    def _listed(self, stock: Stock, today: date) -> bool:
        """Tell whether the stock has begun to trade: a contract of the clock's future does not exist yet."""
        return self._market.bars(stock.market_symbol).count_to(today) > 0


def isin(stock: Stock) -> str:
    """Return a made-up ISIN with a right check digit; some clients refuse a stock that has none."""
    body = f"US{stock.con_id:09d}"[:11]
    digits = "".join(str(int(char, 36)) for char in body)
    total = 0
    for place, char in enumerate(reversed(digits)):
        doubled = int(char) * (2 if place % 2 == 0 else 1)
        total += doubled // 10 + doubled % 10
    return f"{body}{-total % 10}"
