"""Whole mornings in words: `>` is what happens, the lines under it are what the day does about it, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest

from bar_fly_trading.day import (
    AccountNotRead,
    AccountRead,
    Action,
    AskAccount,
    AskQuote,
    Cancel,
    ConnectionLost,
    DayState,
    Event,
    ExecutionReported,
    Finish,
    Morning,
    OrderUpdated,
    QuoteNotRead,
    QuoteRead,
    Record,
    Send,
    SendReported,
    Started,
    StartTimer,
    Tell,
    TimerFired,
    resume,
    start,
    step,
)
from bar_fly_trading.facts.account import AccountSnapshot, Position, Quote
from bar_fly_trading.strategies.signal import Purpose, Side, Signal
from bar_fly_trading.trading.book import BookFill, build_book
from bar_fly_trading.trading.limits import Limits
from bar_fly_trading.trading.orders import Execution, Mode, State
from bar_fly_trading.trading.plan import RankedSignal
from bar_fly_trading.trading.reading import read_status

SESSION, EVENING = date(2021, 4, 21), date(2021, 4, 20)

A_SHADOW_MORNING = """
given shadow: buy AAPL, buy MSFT, watch TSLA, sell IBM, sell GE
given the shadow book holds 20 IBM
> started
ask account
> account cash 50000
ask quote IBM
ask quote AAPL
ask quote MSFT
> quote IBM 99.98 100.02
> quote AAPL 100.49 100.51
> quote MSFT 102.99 103.01
write plan: IBM SELL 20 @ 99.98 [held by the strategy]; AAPL BUY 23 @ 100.51 [cash fraction]; GE refused NOT_HELD 0; MSFT refused DRIFT +3.000 %; TSLA refused WATCH watch
tell signal IBM
tell signal AAPL
tell signal GE
tell signal MSFT
tell signal TSLA
write fill IBM 20 @ 99.98: PLANNED > CHECKED > SHADOWED
tell order IBM SHADOWED
write fill AAPL 23 @ 100.51: PLANNED > CHECKED > SHADOWED
tell order AAPL SHADOWED
write finish: done
finish: done, SHADOWED 2, rejections 3
"""

A_PAPER_MORNING = """
given paper: buy AAPL, buy MSFT
> started
ask account
> account cash 100000
ask quote AAPL
ask quote MSFT
> quote MSFT 99.99 100.01
> quote AAPL 99.99 100.01
write plan: AAPL BUY 49 @ 100.01 [cash fraction]; MSFT BUY 47 @ 100.01 [cash fraction]
tell signal AAPL
tell signal MSFT
ask quote AAPL
> quote AAPL 99.99 100.01
write AAPL: PLANNED > CHECKED > AWAITING > APPROVED
write AAPL: APPROVED > SENDING
send AAPL BUY 49 @ 100.01
> sent AAPL working
write AAPL: SENDING > WORKING
timer fill AAPL 60 s
> fill AAPL 20 @ 100.01
write fill AAPL 20 @ 100.01: WORKING > PARTIAL
> fill AAPL 20 @ 100.01
> timer fill AAPL
write cancel AAPL
cancel AAPL
timer cancel AAPL 15 s
> update AAPL cancelled
write AAPL: PARTIAL > CANCELLED
tell order AAPL CANCELLED
ask quote MSFT
> quote MSFT 99.99 100.01
write MSFT: PLANNED > CHECKED > AWAITING > APPROVED
write MSFT: APPROVED > SENDING
send MSFT BUY 47 @ 100.01
> fill MSFT 47 @ 100.00
write fill MSFT 47 @ 100.00: SENDING > FILLED
tell order MSFT FILLED
write finish: done
finish: done, CANCELLED 1, FILLED 1
> sent MSFT working
> fill AAPL 5 @ 100.01 late
write fill AAPL 5 @ 100.01: CANCELLED > FILLED_LATE
tell alarm AAPL FILLED_LATE
"""

THE_GATEWAY_GOES_AWAY = """
given paper: buy AAPL, buy MSFT
> started
ask account
> account cash 100000
ask quote AAPL
ask quote MSFT
> quote AAPL 99.99 100.01
> no quote MSFT
write plan: AAPL BUY 49 @ 100.01 [cash fraction]; MSFT refused QUOTE_MISSING none
tell signal AAPL
tell signal MSFT
ask quote AAPL
> quote AAPL 99.99 100.01
write AAPL: PLANNED > CHECKED > AWAITING > APPROVED
write AAPL: APPROVED > SENDING
send AAPL BUY 49 @ 100.01
> lost
write AAPL: SENDING > UNKNOWN
tell alarm AAPL UNKNOWN
write finish: orders unknown
finish: orders unknown, UNKNOWN 1, rejections 1
"""

KILLED_WHILE_SENDING_AND_STARTED_AGAIN = """
given paper: buy AAPL, buy MSFT
> started
ask account
> account cash 100000
ask quote AAPL
ask quote MSFT
> quote AAPL 99.99 100.01
> quote MSFT 99.99 100.01
write plan: AAPL BUY 49 @ 100.01 [cash fraction]; MSFT BUY 47 @ 100.01 [cash fraction]
tell signal AAPL
tell signal MSFT
ask quote AAPL
> quote AAPL 99.99 100.01
write AAPL: PLANNED > CHECKED > AWAITING > APPROVED
write AAPL: APPROVED > SENDING
send AAPL BUY 49 @ 100.01
> killed
> started
tell signal AAPL
tell signal MSFT
write AAPL: SENDING > UNKNOWN
tell alarm AAPL UNKNOWN
ask quote MSFT
> quote MSFT 99.99 100.01
write MSFT: PLANNED > CHECKED > AWAITING > APPROVED
write MSFT: APPROVED > SENDING
send MSFT BUY 47 @ 100.01
> sent MSFT rejected
write MSFT: SENDING > BROKER_REJECTED
tell order MSFT BROKER_REJECTED
write finish: orders unknown
finish: orders unknown, BROKER_REJECTED 1, UNKNOWN 1
> update AAPL cancelled
write AAPL: UNKNOWN > CANCELLED
tell order AAPL CANCELLED
"""

NO_GATEWAY = """
given shadow: buy AAPL, watch TSLA, sell GE
> started
ask account
> no account
tell signal GE
tell signal AAPL
tell signal TSLA
write finish: account not read
finish: account not read
"""

ON_OLD_PRICES = """
given paper: watch AAPL, watch MSFT, leave IBM
given the paper book holds 20 IBM
> started
ask account
> account cash 100000
write plan: IBM refused WATCH watch; AAPL refused WATCH watch; MSFT refused WATCH watch
tell signal IBM
tell signal AAPL
tell signal MSFT
write finish: done
finish: done, rejections 3
"""

NOTHING_TO_DO = """
given shadow:
> started
ask account
> account cash 100000
write plan:
write finish: done
finish: done
"""


class Script:
    """Reads a script's words as values, and the day's values as words."""

    def __init__(self, given_: list[str]) -> None:
        self.payloads: dict[str, tuple[State, dict[str, object]]] = {}
        self.symbols: dict[str, str] = {}
        mode, _, signals = given_[0].removeprefix("given ").partition(":")
        books = {}
        fills = []
        for line in given_[1:]:
            match = re.fullmatch(r"given the (\w+) book holds (\d+) (\w+)", line)
            assert match is not None
            execution = Execution("k", f"e{match[3]}", int(match[2]), Decimal(100), Decimal(1), 1)
            fills.append(
                BookFill(date(2021, 4, 1), Mode(match[1]), "s", f"us:{match[3]}", match[3], Side.BUY, execution)
            )
        for m in (Mode.SHADOW, Mode.PAPER):
            books[m] = build_book(fills, mode=m, session=SESSION)
        ranked = [self.ranked(n, text.split()) for n, text in enumerate(filter(None, signals.strip().split(", ")))]
        closes = {f.instrument_id: Decimal(100) for f in fills}
        self.morning = Morning(
            SESSION, EVENING, "e", "h", tuple(ranked), Limits(), modes={"s": Mode(mode)}, books=books, previous_closes_usd=closes
        )  # fmt: skip
        self.plan_payload: dict[str, object] = {}

    def ranked(self, n: int, words: list[str]) -> RankedSignal:
        """`buy X`, `sell X`, and only watched: `watch X`, `leave X` (an exit); every name closed at 100."""
        what, symbol = words
        exit_ = what in {"sell", "leave"}
        side, purpose = (Side.SELL, Purpose.EXIT) if exit_ else (Side.BUY, Purpose.ENTRY)
        signal = Signal(EVENING, "s", f"us:{symbol}", symbol, side, purpose, 1.0, Decimal(100), "why")
        tag = "watch" if what in {"watch", "leave"} else "execute"
        return RankedSignal(signal, 0 if exit_ else n + 1, tag, "", 0.5, (), "unknown", 5e7)

    def event(self, line: str) -> Event:
        """What happens."""
        words = line.split()
        keys = {symbol: key for key, symbol in self.symbols.items()}
        match words:
            case ["started"]:
                return Started()
            case ["account", "cash", cash]:
                held = [Position("us:IBM", "IBM", 0, Decimal(1))]
                return AccountRead(AccountSnapshot("DU1", 1, Decimal(cash), Decimal(cash), Decimal(0), tuple(held)))
            case ["no", "account"]:
                return AccountNotRead("connection refused")
            case ["quote", symbol, bid, ask]:
                quote = Quote(f"us:{symbol}", 1, Decimal(bid), Decimal(ask), 1, 1, 0, 1, False, Decimal("0.01"))
                return QuoteRead(quote, 1)
            case ["no", "quote", symbol]:
                return QuoteNotRead(f"us:{symbol}", "no data")
            case ["sent", symbol, "working"]:
                return SendReported(keys[symbol], State.WORKING, "", 7)
            case ["sent", symbol, "rejected"]:
                return SendReported(keys[symbol], State.BROKER_REJECTED, "no")
            case ["fill", symbol, quantity, "@", price, *late]:
                exec_id = f"{symbol}{quantity}{late}"
                return ExecutionReported(Execution(keys[symbol], exec_id, int(quantity), Decimal(price), Decimal(1), 1))
            case ["timer", kind, symbol]:
                return TimerFired(f"{kind}:{keys[symbol]}")
            case ["update", symbol, status]:
                return OrderUpdated(keys[symbol], status, "")
            case ["lost"]:
                return ConnectionLost("reset by peer")
        raise AssertionError(f"no such event: {line}")

    def words(self, action: Action) -> str:
        """What the day does."""
        match action:
            case AskAccount():
                return "ask account"
            case AskQuote(_, symbol):
                return f"ask quote {symbol}"
            case Record():
                return self.record(action)
            case Send(i):
                return f"send {i.symbol} {i.side} {i.quantity} @ {i.limit_price_usd}"
            case Cancel(key):
                return f"cancel {self.symbols[key]}"
            case StartTimer(name, seconds):
                kind, _, key = name.partition(":")
                return f"timer {kind} {self.symbols[key]} {seconds:g} s"
            case Tell("signal", _, payload):
                return f"tell signal {payload['ranked']['signal']['symbol']}"
            case Tell(kind, _, payload):
                return f"tell {kind} {payload['intent']['symbol']} {payload['state']}"
            case Finish(outcome, _, counts):
                return ", ".join([f"finish: {outcome}", *(f"{name} {n}" for name, n in counts)])
        raise AssertionError(action)

    def record(self, record: Record) -> str:
        """What is written, kept as the journal keeps it."""
        for change in record.changes:
            payload = change.payload or self.payloads[change.intent_key][1]
            self.payloads[change.intent_key] = (change.after, dict(payload))
            self.symbols[change.intent_key] = str(payload["symbol"])
        path = " > ".join([str(c.before) for c in record.changes[:1]] + [str(c.after) for c in record.changes])
        match record.kind:
            case "plan":
                self.plan_payload = dict(record.payload)
                plan = record.payload["plan"]
                lines = [
                    f"{i['symbol']} {i['side']} {i['quantity']} @ {i['limit_price_usd']} [{i['binding_cap']}]"
                    for i in plan["intents"]
                ]
                lines += [f"{r['symbol']} refused {r['rule']} {r['observed']}" for r in plan["rejections"]]
                return f"write plan: {'; '.join(lines)}".rstrip()
            case "fill":
                e = record.payload["execution"]
                return f"write fill {record.payload['symbol']} {e['quantity']} @ {e['price_usd']}: {path}"
            case "cancel":
                return f"write cancel {self.symbols[record.payload['intent_key']]}"
            case "finish":
                return f"write finish: {record.payload['outcome']}"
        return f"write {self.symbols[record.payload['intent_key']]}: {path}"

    def again(self) -> DayState:
        """A new run over what the journal has."""
        statuses = [read_status(payload, state) for state, payload in self.payloads.values()]
        return resume(self.morning, self.plan_payload, statuses)

    def play(self, events: list[str]) -> Iterator[str]:
        """Play the events, giving back the whole script as it happened."""
        state = start(self.morning)
        for line in events:
            yield f"> {line}"
            if line == "killed":
                state = self.again()
                continue
            state, actions = step(state, self.event(line))
            for action in actions:
                yield self.words(action)


@pytest.mark.parametrize(
    "script",
    [
        A_SHADOW_MORNING,
        A_PAPER_MORNING,
        THE_GATEWAY_GOES_AWAY,
        KILLED_WHILE_SENDING_AND_STARTED_AGAIN,
        NO_GATEWAY,
        ON_OLD_PRICES,
        NOTHING_TO_DO,
    ],
)
def test_the_morning_goes_as_written(script: str) -> None:
    """The day does what the script says, all of it, in its order, and nothing else."""
    lines = script.strip().splitlines()
    given_ = [line for line in lines if line.startswith("given")]
    events = [line.removeprefix("> ") for line in lines if line.startswith(">")]
    played = list(Script(given_).play(events))
    assert played == lines[len(given_) :]
