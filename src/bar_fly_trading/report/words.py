"""A report in plain words, for the terminal and for mails."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from bar_fly_trading.report.run import RunReport

RULE_WORDS = {
    "WATCH": "tagged watch, not execute",
    "NOT_HELD": "a sell of something not held",
    "DUPLICATE": "the instrument was already taken that morning",
    "DRIFT": "the price had moved too far from the signal's close",
    "SPREAD": "the spread was too wide",
    "POSITION_FRACTION": "the stock would have been too large a part of the account",
    "POSITIONS_MAX": "too many positions already",
    "DAILY_LOSS": "the daily loss limit was reached",
    "CASH": "not enough cash",
    "SIZE_ZERO": "not even one share fits the size",
    "DOLLAR_VOLUME": "too little trading in the stock",
}


def usd(value: Decimal | None) -> str:
    """Write dollars with a sign where negative; a dash where unknown."""
    return "-" if value is None else f"{value:,.2f}"


def to_text(report: RunReport) -> str:
    """Return the report as lines for a terminal."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: RunReport) -> Iterator[str]:
    yield report.title
    yield "=" * len(report.title)
    if not report.sessions:
        yield "No session has been run yet."
        return
    s = report.sessions
    yield f"{len(s)} sessions, {report.first} to {report.last}"
    yield (
        f"signals {sum(r.signals for r in s)}, intents {sum(r.intents for r in s)}, "
        f"rejections {len(report.rejections)}, fills {len(report.fills)}"
    )
    yield ""
    yield "Rejections by rule"
    for rule, count in report.rejections_by_rule() or (("none", 0),):
        yield f"  {count:5d}  {rule:<20} {RULE_WORDS.get(rule, '')}".rstrip()
    yield ""
    yield "Fills"
    if not report.fills:
        yield "  none"
    for f in report.fills:
        slip = "" if f.slippage_bp is None else f"  slippage {f.slippage_bp:+.1f} bp"
        yield f"  {f.session} {f.mode:<6} {f.side:<4} {f.quantity:>5} {f.symbol:<6} at {f.price_usd:>10}{slip}  {f.strategy}"
    for mode in ("shadow", "paper"):
        mean = report.mean_slippage_bp(mode)
        if mean is not None:
            yield f"  mean slippage in {mode}: {mean:+.1f} bp of the mid (half the spread is paid at the far touch)"
    yield ""
    yield "Made so far"
    last = s[-1]
    yield f"  shadow book {usd(last.shadow_total_usd)} USD, paper book {usd(last.paper_total_usd)} USD"
    if last.net_liquidation_usd is not None:
        yield f"  account's net liquidation {usd(last.net_liquidation_usd)} USD"
    if report.positions:
        yield ""
        yield "Held at the end"
        for p in report.positions:
            yield f"  {p.mode:<6} {p.quantity:>5} {p.symbol:<6} cost {usd(p.cost_usd)} mark {usd(p.mark_usd)}  {p.strategy}"
    if report.excluded:
        yield ""
        yield "Symbols kept out of an evening"
        for reason, count in report.excluded:
            yield f"  {count:5d}  {reason}"
    if report.mails:
        yield ""
        yield "Mails: " + ", ".join(f"{count} {kind}" for kind, count in report.mails)
    for note in report.notes:
        yield ""
        yield note
