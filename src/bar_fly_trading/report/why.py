"""Why a stock was traded or not on one day: every candidate, gate, value and limit, from what was written then. Pure.

Nothing is computed again: features and predictions are the stored ones of that evening, limits and thresholds those that were
written down with the settings' hash of the evening and of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from bar_fly_trading.report.timeline import Written, concerns, moment, timeline
from bar_fly_trading.report.unsignalled import no_signal
from bar_fly_trading.report.words import RULE_WORDS

# Which limits an observed value is held against; what is not named here is shown without one.
HELD_AGAINST: Mapping[str, tuple[str, ...]] = {
    "quote_age_s": ("quote_age_s_max",),
    "spread_fraction": ("spread_fraction_max", "exit_spread_fraction_max"),
    "drift_fraction": ("drift_fraction_max",),
    "dollar_volume_median_20d_usd": ("dollar_volume_median_20d_usd_min",),
    "daily_pnl_usd": ("daily_loss_usd_max",),
    "positions": ("positions_max",),
    "entries_today": ("new_entries_a_day_max",),
    "net_liquidation_usd": ("position_fraction_max",),
}
MARKET_DATA = {"1": "live", "2": "frozen", "3": "delayed", "4": "delayed and frozen"}


@dataclass(frozen=True, slots=True)
class Why:
    """What was written about one stock and one morning.

    `evening`, `plan`: the records' payloads, None where there is none. `evening_rules`, `plan_rules`: the numbers in force, None
    where they were not written down. `features`: the stock's stored rows of the evening, oldest first, the newest of the
    evening's session; None: that table is not kept any more. `prediction`: the stored row, None where there is none.
    `intents`: the current rows of its orders of that session. `records`: of that session and later about its orders, in order.
    """

    symbol: str
    instrument_id: str | None
    session: date
    evening_session: date
    evening: Mapping[str, Any] | None
    plan: Mapping[str, Any] | None
    evening_rules: Mapping[str, Any] | None
    plan_rules: Mapping[str, Any] | None
    features: tuple[Mapping[str, Any], ...] | None
    prediction: Mapping[str, Any] | None
    intents: tuple[Mapping[str, Any], ...]
    records: tuple[Written, ...]


def to_words(why: Why) -> str:
    """Return the day of one stock in words."""
    named = f" ({why.instrument_id})" if why.instrument_id and why.instrument_id != why.symbol else ""
    lines = [f"{why.symbol}{named} on {why.session}, decided on the evening of {why.evening_session}", ""]
    lines += [f"Evening of {why.evening_session}", *_indent(_evening(why)), ""]
    lines += [f"Morning of {why.session}", *_indent(_morning(why))]
    orders = list(_orders(why))
    if orders:
        lines += ["", "Orders", *_indent(orders)]
    rest = list(_rest(why))
    if rest:
        lines += ["", "Halts and reconciliation", *_indent(rest)]
    return "\n".join(line.rstrip() for line in lines)


def _indent(lines: Iterator[str] | Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _is(signal: Mapping[str, Any], why: Why) -> bool:
    return bool(signal["symbol"] == why.symbol or signal["instrument_id"] == why.instrument_id)


# ---------------------------------------------------------------- the evening


def _evening(why: Why) -> Iterator[str]:
    if why.evening is None:
        yield "no evening of that session was run: nothing was ranked"
        return
    evening = why.evening
    yield f"evening {str(evening['evening_id'])[:16]}, settings {evening['settings_hash'][:16]}, model {evening['model_id'] or 'none'}"
    for name, reason in evening["excluded"]:
        if name in {why.instrument_id, why.symbol}:
            yield f"kept out before any strategy saw it: {reason}"
            return
    ranked = [r for r in evening["ranked"] if _is(r["signal"], why)]
    refused = [r for r in evening["refused"] if _is(r["signal"], why)]
    for r in ranked:
        yield from _ranked(r)
    for r in refused:
        s = r["signal"]
        yield f"signal {s['side']} by {s['strategy']}: {s['reason']}"
        yield f"  ended by combination {r['combination']}, {r['rule']}: observed {r['observed']}, limit {r['limit']}: {r['reason']}"
    signalled = {r["signal"]["strategy"] for r in (*ranked, *refused)}
    yield from no_signal(signalled, why.evening_rules, why.features, why.prediction, evening["predictions"])


def _ranked(ranked: Mapping[str, Any]) -> Iterator[str]:
    s = ranked["signal"]
    yield f"signal {s['side']} ({s['purpose'].lower()}) by {s['strategy']}: {s['reason']}"
    yield f"  close {s['close_usd']} USD, strength {_number(s['strength'])}"
    for name, value in s["observed"]:
        yield f"  {name} {_number(value)}"
    place = f"rank {ranked['rank']}" if ranked["rank"] else "not ranked (an exit is never ranked)"
    because = f": {ranked['tag_reason']}" if ranked["tag_reason"] else ""
    yield f"  {place}, tagged {ranked['tag']}{because}"
    if ranked["criteria"]:
        yield f"  score {ranked['score']:.4f}, sector {ranked['sector']}, of:"
    for c in ranked["criteria"]:
        yield f"    {c['name']}: value {_number(c['value'])}, score {c['score']:.4f}, weight {c['weight']:g}"


# ---------------------------------------------------------------- the morning


def _morning(why: Why) -> Iterator[str]:
    if why.plan is None:
        yield "no plan was made that morning"
        return
    plan = why.plan["plan"]
    yield (
        f"plan {str(why.plan['plan_id'])[:16]} for account {plan['account']}, settings {plan['settings_hash'][:16]},"
        f" on the evening {plan['evening_id'][:16]}"
    )
    intents = [i for i in plan["intents"] if _is(i, why)]
    rejections = [r for r in plan["rejections"] if _is(r, why)]
    for i in intents:
        yield (
            f"{i['mode']} {i['side']} {i['quantity']} at limit {i['limit_price_usd']} USD by {i['strategy']}: every gate passed"
            f" (intent {i['intent_key']})"
        )
        yield f"  never beyond {i['limit_price_bound_usd']} USD; size set by {i['binding_cap']}"
        for cap in i["caps"]:
            yield f"    {cap['name']} allows {cap['quantity']}"
        yield from _values(i, why)
    for r in rejections:
        words = f" ({RULE_WORDS[r['rule']]})" if r["rule"] in RULE_WORDS else ""
        yield f"{r['mode']} {r['side']} by {r['strategy']} not traded: {r['rule']}{words}"
        yield f"  observed {r['observed']}, limit {r['limit']}: {r['reason']}"
        yield from _values(r, why)
    if not intents and not rejections:
        yield "no signal of it came to the morning: nothing was decided"


def _values(decision: Mapping[str, Any], why: Why) -> Iterator[str]:
    observed = dict(decision["observed_values"])
    if not observed:
        return
    yield f"  price at IB: {_quote(observed)}"
    yield f"  price at Alpha Vantage: close {observed.get('signal_close_usd') or 'not known'} USD of {why.evening_session}"
    limits = {} if why.plan_rules is None else why.plan_rules["limits"]
    if why.plan_rules is None:
        yield "  the limits in force were not written down by the program of that day"
    yield "  what the gates saw:"
    seen: set[str] = set()
    for name, value in observed.items():
        names = [n for n in HELD_AGAINST.get(name, ()) if n in limits]
        seen.update(names)
        against = "".join(f"; {n} {limits[n]}" for n in names)
        yield f"    {name} {'not known' if value is None else value}{against}"
    for name in limits:
        if name not in seen:
            yield f"    limit {name} {limits[name]}"


def _quote(observed: Mapping[str, Any]) -> str:
    if observed.get("bid_usd") is None and observed.get("ask_usd") is None:
        return "no quote was read"
    age = observed.get("quote_age_s")
    at = observed.get("quote_read_at_us")
    kind = MARKET_DATA.get(str(observed.get("market_data_type")), "of unknown kind")
    when = f", read at {moment(int(at))} New York" if at else ""
    return (
        f"bid {observed.get('bid_usd') or 'none'}, ask {observed.get('ask_usd') or 'none'} ({kind},"
        f" {age if age is not None else 'unknown'} s old{when})"
    )


# ---------------------------------------------------------------- orders and the rest


def _orders(why: Why) -> Iterator[str]:
    for row in why.intents:
        yield (
            f"{row['intent_key']}: {row['side']} {row['quantity']} {row['symbol']}, now {row['state']},"
            f" {row['filled_quantity']} filled, permId {row['perm_id'] or 'none'}"
        )
        for e in row["executions"]:
            fee = "not known" if e["commission_usd"] is None else f"{e['commission_usd']} USD"
            yield f"  filled {e['quantity']} at {e['price_usd']} at {moment(e['at_us'])}, commission {fee}"
        yield from _indent(timeline(row["intent_key"], why.records))


def _rest(why: Why) -> Iterator[str]:
    keys = [row["intent_key"] for row in why.intents]
    for r in why.records:
        payload = r.payload
        if r.kind == "halt":
            yield f"{moment(r.at_us)}  record {r.seq}  halted, {payload['rule']}: {payload['reason']}"
        elif r.kind == "difference" and _of_the_stock(payload, why) and not any(concerns(r, key) for key in keys):
            yield f"{moment(r.at_us)}  record {r.seq}  {payload['kind']} ({payload['remedy']}): {payload['words']}"


def _of_the_stock(payload: Mapping[str, Any], why: Why) -> bool:
    return why.instrument_id is not None and payload.get("instrument_id") == why.instrument_id


def _number(value: Any) -> str:
    return "not known" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
