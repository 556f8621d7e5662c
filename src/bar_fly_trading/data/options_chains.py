"""Option chains from Alpha Vantage: a session's end (HISTORICAL_OPTIONS), or now (REALTIME_OPTIONS)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import polars as pl

from bar_fly_trading.data.alpha_vantage import AlphaVantage
from bar_fly_trading.data.parse import Body, BodyFault, columns_of, day, number, rows_of_success, whole
from bar_fly_trading.facts.instruments import vendor_symbol
from bar_fly_trading.facts.tables import KNOWN_AT, OPTION_CHAINS

_GREEKS = ("implied_volatility", "delta", "gamma", "theta", "vega", "rho")
_QUOTES = {"last": number, "mark": number, "bid": number, "bid_size": whole, "ask": number, "ask_size": whole}


async def historical_chain(vendor: AlphaVantage, symbol: str, session: date) -> pl.DataFrame:
    """Return a symbol's chain as it stood at a session's close, by contract: the table's columns without instrument.

    VendorRefused: `Answer.EMPTY` where the vendor has no chain of that session, `Answer.PREMIUM` on a free key.
    """
    name = vendor_symbol(symbol)
    return await vendor.ask(
        "HISTORICAL_OPTIONS", lambda body: _chain(body, name, session), "data", symbol=name, date=session.isoformat()
    )


async def realtime_chain(vendor: AlphaVantage, symbol: str) -> pl.DataFrame:
    """Return a symbol's chain now, greeks included; made-up rows (a plan below 600 a minute) are refused."""
    name = vendor_symbol(symbol)
    return await vendor.ask(
        "REALTIME_OPTIONS", lambda body: _chain(body, name, None), "data", symbol=name, require_greeks="true"
    )


def session_volumes(chain: pl.DataFrame) -> pl.DataFrame:
    """Return the contracts traded by session, known when the chain was: the columns of `options_summary` without instrument.

    `chain`: a whole chain with `known_at`. A volume that no contract of the chain says is null; a side without a contract is 0.
    """
    volume, right = pl.col("volume"), pl.col("right")
    said = volume.is_not_null().any()
    return chain.group_by("session", maintain_order=True).agg(
        call_volume=pl.when(said).then(volume.filter(right == "call").sum()),
        put_volume=pl.when(said).then(volume.filter(right == "put").sum()),
        total_volume=pl.when(said).then(volume.sum()),
        known_at=pl.col(KNOWN_AT).max(),
    )


def _word(text: object) -> str:
    if (
        not isinstance(text, str)
        or not text
        or len(text) > 40
        or not text.isascii()
        or not text.replace("-", "").replace(".", "").isalnum()
    ):
        raise ValueError(f"not a contract: {str(text)[:40]!r}")
    return text


def _right(text: object) -> str:
    if text not in ("call", "put"):
        raise ValueError(f"neither call nor put: {str(text)[:40]!r}")
    return str(text)


def _positive(text: object) -> float:
    value = number(text)
    if value is None or value <= 0:
        raise ValueError(f"not above 0: {str(text)[:40]!r}")
    return value


def _chain(body: Body, symbol: str, session: date | None) -> pl.DataFrame:
    rows = [{**dict.fromkeys(_GREEKS), **row} for row in rows_of_success(body)]
    others = {str(row.get("symbol"))[:20] for row in rows if str(row.get("symbol", "")).upper() != symbol.upper()}
    if others:
        raise BodyFault(f"asked for {symbol}, answered for {sorted(others)[0]!r}")
    readers: Mapping[str, tuple[str, Callable[[object], Any]]] = {
        "contract_id": ("contractID", _word),
        "session": ("date", day),
        "expiration": ("expiration", day),
        "strike": ("strike", _positive),
        "right": ("type", _right),
        **{name: (name, reader) for name, reader in _QUOTES.items()},
        "volume": ("volume", whole),
        "open_interest": ("open_interest", whole),
        **{name: (name, number) for name in _GREEKS},
    }
    read = columns_of(rows, readers)
    frame = pl.DataFrame(read, schema={name: OPTION_CHAINS.columns[name] for name in read})
    if session is not None and frame.filter(pl.col("session") != session).height:
        raise BodyFault(f"asked for {session}, answered for another session")
    twice = frame.filter(pl.col("contract_id").is_duplicated())
    if twice.height:
        raise BodyFault(f"contract {twice['contract_id'][0]} is given twice")
    return frame.sort("contract_id")
