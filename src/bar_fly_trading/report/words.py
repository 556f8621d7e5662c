"""A report in plain words, for the terminal and for mails."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from textwrap import wrap

from bar_fly_trading.report.run import RunReport

TEXT_WIDTH = 100
RULE_WORDS = {
    "WATCH": "tagged watch, not execute",
    "NOT_HELD": "a sell of something not held",
    "ALREADY_HELD": "the strategy already holds the stock",
    "DUPLICATE": "the instrument was already taken that morning",
    "SPLIT_SUSPECTED": "a split that only one of broker and vendor knows is likely",
    "DRIFT": "the price had moved too far from the signal's close",
    "SPREAD": "the spread was too wide",
    "POSITION_FRACTION": "the stock would have been too large a part of the account",
    "POSITIONS_MAX": "too many positions already",
    "DAILY_LOSS": "the daily loss limit was reached",
    "CASH": "not enough cash",
    "SIZE_ZERO": "not even one share fits the size",
    "DOLLAR_VOLUME": "too little trading in the stock",
    "NO_SHORT": "it would have sold more than is held",
    "OPPOSITE": "an order of the other side was already there",
    "INTENT_UNKNOWN": "an earlier order of the stock is not settled",
    "ENTRIES_MAX": "enough new entries that day",
    "QUOTE_MISSING": "no quote came",
    "QUOTE_ONE_SIDED": "the quote had one side only",
    "QUOTE_NOT_POSITIVE": "the quote was not a price",
    "QUOTE_NO_TICK": "the quote fits no tick of the stock",
    "QUOTE_CROSSED": "the bid was above the ask",
    "QUOTE_LOCKED": "the bid was at the ask",
    "QUOTE_DELAYED": "the quote was delayed or frozen",
    "QUOTE_STALE": "the quote was too old",
    "HALTED": "trading in the stock was halted, or nothing said it was not",
    "LIMIT_PRICE": "no limit price was possible inside the drift limit",
    "CONTRACT_CHANGED": "the broker's contract was not the one known",
    "SESSION_FROZEN": "new entries were frozen for the session",
}


def usd(value: Decimal | None) -> str:
    """Write dollars and cents with the sign before the dollar; a dash where unknown."""
    if value is None:
        return "-"
    return f"-${-value:,.2f}" if value < 0 else f"${value:,.2f}"


def price(value: Decimal) -> str:
    """Write a price with at least two decimals, and as many as it has."""
    cents = value.quantize(Decimal("0.01"))
    return f"${cents if cents == value else value.normalize():,f}"


def times(count: int) -> str:
    """Write `once`, `2 times`."""
    return "once" if count == 1 else f"{count} times"


def counted(count: int, noun: str) -> str:
    """Write `1 fill` or `2 fills`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def story(report: RunReport) -> str:
    """Return the whole run in four sentences: what it did, why not more, what it made."""
    if not report.sessions:
        return "No session has been run yet."
    s, last = report.sessions, report.sessions[-1]
    signals, intents, refused = sum(r.signals for r in s), sum(r.intents for r in s), len(report.rejections)
    fills = {mode: len(report.fills_of(mode)) for mode in ("shadow", "paper")}
    parts = [
        f"In {counted(len(s), 'session')} the strategies gave {counted(signals, 'signal')};"
        f" {counted(intents, 'order')} came of them"
        f" ({counted(fills['shadow'], 'fill')} in shadow, {fills['paper']} in paper) and {refused} were refused."
    ]
    rules = report.rejections_by_rule()
    if rules:
        rule, count = rules[0]
        words = RULE_WORDS.get(rule, rule)
        parts.append(f"Most often: {words} ({count} of {refused}).")
    parts.append(
        f"At the end the shadow book has {_made(last.shadow_total_usd)}, the paper book {_made(last.paper_total_usd)}."
    )
    unsettled = sum(bool(r.differences) for r in s)
    parts.append(
        f"Reconciliation found differences on {counted(unsettled, 'day')}; they stand under Day by day."
        if unsettled
        else "Reconciliation found no difference."
    )
    return " ".join(parts)


def _made(value: Decimal | None) -> str:
    if value is None:
        return "an unknown result (a price was missing)"
    return f"lost {usd(-value)}" if value < 0 else f"made {usd(value)}"


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
    yield f"{counted(len(s), 'session')}, {report.first} to {report.last}"
    yield from wrap(story(report), TEXT_WIDTH)
    yield ""
    yield "Why signals were not traded"
    for rule, count in report.rejections_by_rule() or (("none", 0),):
        yield f"  {count:5d}  {rule:<20} {RULE_WORDS.get(rule, '')}".rstrip()
    yield ""
    yield "Fills"
    if not report.fills:
        yield "  none"
    for f in report.fills:
        slip = "" if f.slippage_bp is None else f"  slippage {f.slippage_bp:+.1f} bp"
        yield f"  {f.session} {f.mode:<6} {f.side:<4} {f.quantity:>5} {f.symbol:<6} at {price(f.price_usd):>10}{slip}  {f.strategy}"
    for mode in ("shadow", "paper"):
        mean = report.mean_slippage_bp(mode)
        if mean is not None:
            yield f"  mean slippage in {mode}: {mean:+.1f} bp of the mid (half the spread is paid at the far touch)"
    yield ""
    yield "Made so far, commissions and dividends included"
    last = s[-1]
    yield f"  shadow book {usd(last.shadow_total_usd)}, paper book {usd(last.paper_total_usd)}"
    if last.net_liquidation_usd is not None:
        yield f"  account's net liquidation {usd(last.net_liquidation_usd)}"
    if report.positions:
        yield ""
        yield "Held at the end"
        for p in report.positions:
            yield (
                f"  {p.mode:<6} {p.quantity:>5} {p.symbol:<6} cost {usd(p.cost_usd):>11}"
                f"  last close {usd(p.mark_usd):>9}  {p.strategy}"
            )
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
