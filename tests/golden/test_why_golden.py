"""`bft why` and `bft parked` in words: every candidate, gate, value and limit of a day, as a person reads it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from bar_fly_trading.report.parked import to_words as parked_words
from bar_fly_trading.report.timeline import Written
from bar_fly_trading.report.why import Why, to_words
from bar_fly_trading.strategies.signal import Purpose, Side
from bar_fly_trading.trading.orders import Execution, IntentIdentity, Mode, State
from bar_fly_trading.trading.plan import Cap, IntentStatus, OrderIntent, Rejection, plain

SESSION, EVENING = date(2021, 4, 21), date(2021, 4, 20)
NOW = 1_619_011_860_000_000  # 2021-04-21 09:31:00 New York
OBSERVED = (
    ("tag", "execute"),
    ("signal_close_usd", "94.00"),
    ("bid_usd", "93.98"),
    ("ask_usd", "94.02"),
    ("quote_read_at_us", str(NOW)),
    ("quote_age_s", "0.25"),
    ("market_data_type", "1"),
    ("spread_fraction", "0.000426"),
    ("cash_usd", "50000.00"),
    ("daily_pnl_usd", None),
)


def intent() -> OrderIntent:
    """The order of the day."""
    who = IntentIdentity("DU1", Mode.PAPER, SESSION, "bollinger", "us:ALFA", Side.BUY, Purpose.ENTRY)
    return OrderIntent(
        who.key(), "DU1", Mode.PAPER, SESSION, "bollinger", "us:ALFA", "ALFA", 7, Side.BUY, Purpose.ENTRY, 1, 1, 10,
        Decimal("94.02"), Decimal("95.88"), Decimal("93.98"), Decimal("94.02"), Decimal("94.00"),
        (Cap("cash fraction", 10), Cap("cash", 500)), "cash fraction", "it crossed its band", OBSERVED,
    )  # fmt: skip


def rejection() -> Rejection:
    """The other strategy's signal, refused."""
    return Rejection(
        SESSION, "other", Mode.SHADOW, "us:ALFA", "ALFA", Side.BUY, Purpose.ENTRY, 2, "DUPLICATE", "BUY already taken",
        "one order a stock", "bollinger takes it",
    )  # fmt: skip


def status() -> IntentStatus:
    """The order, filled in part and then lost from sight."""
    fill = Execution(intent().intent_key, "0000e0d5.1", 4, Decimal("94.01"), Decimal("1.00"), NOW + 2_000_000, 1)
    return IntentStatus(intent(), State.PARKED, (fill,), 881, "in no complete snapshot after 120 s of quiet")


def records() -> tuple[Written, ...]:
    """What was written about it."""
    key, session, order = intent().intent_key, SESSION.isoformat(), plain(intent())

    def move(*after: str) -> tuple[dict[str, Any], ...]:
        return tuple({"intent_key": key, "before": None, "after": a, "payload": None} for a in after)

    def states(seq: int, at_s: int, detail: str, *after: str, **more: Any) -> Written:
        payload = {"session": session, "intent_key": key, "state": after[-1], "detail": detail, **more}
        return Written(seq, "intent", NOW + at_s * 1_000_000, payload, move(*after), 3)

    execution = plain(status().executions[0])
    words = "ALFA: UNKNOWN in the journal, not at the broker"
    difference = {"session": session, "kind": "ORDER_UNSEEN", "remedy": "wait", "words": words, "intent_key": key}
    foreign = {"session": session, "kind": "POSITION_FOREIGN", "remedy": "record", "words": "the account holds 5",
               "intent_key": None, "instrument_id": "us:ALFA"}  # fmt: skip
    return (
        Written(5, "plan", NOW, {"session": session, "plan_id": "p" * 64}, move("PLANNED")),
        states(6, 1, "", "CHECKED", "AWAITING", "APPROVED", approval="automatic in paper", order=order),
        states(7, 1, "", "SENDING", order=order),
        Written(8, "fill", NOW + 2_000_000, {"session": session, "execution": execution}, move("PARTIAL"), 3),
        states(9, 30, "connection lost", "UNKNOWN"),
        Written(10, "cancel", NOW + 31_000_000, {"session": session, "intent_key": key, "reason": "not filled in 30 s"}),
        Written(11, "difference", NOW + 40_000_000, difference),
        states(12, 400, status().detail, "PARKED"),
        Written(13, "halt", NOW + 401_000_000, {"session": session, "rule": "BROKER_KNOWS_MORE", "reason": "one more"}),
        Written(14, "difference", NOW + 402_000_000, foreign),
    )  # fmt: skip


def ranked() -> dict[str, Any]:
    """The evening's signal."""
    signal = {"strategy": "bollinger", "instrument_id": "us:ALFA", "symbol": "ALFA", "side": "BUY", "purpose": "ENTRY",
              "strength": 1.25, "close_usd": "94.00", "reason": "it crossed its band", "observed": [["band_usd", 97.05]]}  # fmt: skip
    criteria = [{"name": "strength", "value": 1.25, "score": 0.8, "weight": 0.25},
                {"name": "confidence", "value": None, "score": 0.0, "weight": 0.25}]  # fmt: skip
    return {"signal": signal, "rank": 1, "tag": "execute", "tag_reason": "new entry 1 of at most 5", "score": 0.5214,
            "criteria": criteria, "sector": "energy", "dollar_volume_median_20d_usd": 8e8}  # fmt: skip


def why(**changes: Any) -> Why:
    """Everything about ALFA that day."""
    evening = {"evening_id": "e" * 64, "settings_hash": "s" * 64, "model_id": "m-1", "ranked": [ranked()], "refused": [],
               "excluded": [["us:FOXT", "stale"]], "predictions": 500}  # fmt: skip
    plan = {"account": "DU1", "settings_hash": "s" * 64, "evening_id": "e" * 64, "signal_session": "2021-04-20",
            "intents": [plain(intent())], "rejections": [plain(rejection())]}  # fmt: skip
    momentum = {"predicted_return_3d_min": 0.02, "predicted_return_10d_min": 0.03, "adx_signal_min": 1}
    rules = {"strategies": {"bollinger": {}, "regression_momentum": momentum},
             "limits": {"quote_age_s_max": 5.0, "spread_fraction_max": 0.005, "daily_loss_usd_max": "1000"}}  # fmt: skip
    row = {"session": EVENING, "symbol": "ALFA", "instrument_id": "us:ALFA", "close": 94.0, "adx_signal": 1,
           "chained_close": 94.0, "bbands_lower_20": 97.05, "bbands_upper_20": 102.3}  # fmt: skip
    given: dict[str, Any] = {
        "symbol": "ALFA",
        "instrument_id": "us:ALFA",
        "session": SESSION,
        "evening_session": EVENING,
        "evening": evening,
        "plan": {"plan_id": "p" * 64, "plan": plan},
        "evening_rules": rules,
        "plan_rules": rules,
        "features": ({**row, "session": date(2021, 4, 19), "close": 99.8, "chained_close": 99.8}, row),
        "prediction": {"return_3d": 0.015, "return_10d": 0.04},
        "intents": ({**status().payload(), "state": "PARKED"},),
        "records": records(),
    }
    return Why(**{**given, **changes})


TRADED = """\
ALFA (us:ALFA) on 2021-04-21, decided on the evening of 2021-04-20

Evening of 2021-04-20
  evening eeeeeeeeeeeeeeee, settings ssssssssssssssss, model m-1
  signal BUY (entry) by bollinger: it crossed its band
    close 94.00 USD, strength 1.25
    band_usd 97.05
    rank 1, tagged execute: new entry 1 of at most 5
    score 0.5214, sector energy, of:
      strength: value 1.25, score 0.8000, weight 0.25
      confidence: value not known, score 0.0000, weight 0.25
  no signal by regression_momentum: ADX signal 1, wanted at least 1: passed; predicted 3-day return 0.015, wanted above 0.02: failed; predicted 10-day return 0.04, wanted above 0.03: passed

Morning of 2021-04-21
  plan pppppppppppppppp for account DU1, settings ssssssssssssssss, on the evening eeeeeeeeeeeeeeee
  paper BUY 10 at limit 94.02 USD by bollinger: every gate passed (intent WHRJFBQ6MKAB5HZJLOT4)
    never beyond 95.88 USD; size set by cash fraction
      cash fraction allows 10
      cash allows 500
    price at IB: bid 93.98, ask 94.02 (live, 0.25 s old, read at 2021-04-21 09:31:00.000 New York)
    price at Alpha Vantage: close 94.00 USD of 2021-04-20
    what the gates saw:
      tag execute
      signal_close_usd 94.00
      bid_usd 93.98
      ask_usd 94.02
      quote_read_at_us 1619011860000000
      quote_age_s 0.25; quote_age_s_max 5.0
      market_data_type 1
      spread_fraction 0.000426; spread_fraction_max 0.005
      cash_usd 50000.00
      daily_pnl_usd not known; daily_loss_usd_max 1000
  shadow BUY by other not traded: DUPLICATE (the instrument was already taken that morning)
    observed BUY already taken, limit one order a stock: bollinger takes it

Orders
  WHRJFBQ6MKAB5HZJLOT4: BUY 10 ALFA, now PARKED, 4 filled, permId 881
    filled 4 at 94.01 at 2021-04-21 09:31:02.000, commission 1.00 USD
    2021-04-21 09:31:00.000  record 5  planned (plan pppppppppppppppp)
    2021-04-21 09:31:01.000  record 6  CHECKED -> AWAITING -> APPROVED: BUY 10 ALFA at limit 94.02 (bid 93.98, ask 94.02, conId 7): automatic in paper [token 3]
    2021-04-21 09:31:01.000  record 7  SENDING: BUY 10 ALFA at limit 94.02 (bid 93.98, ask 94.02, conId 7) [token 3]
    2021-04-21 09:31:02.000  record 8  fill of 4 at 94.01 (execution 0000e0d5.1, commission 1.00 USD): PARTIAL
    2021-04-21 09:31:30.000  record 9  UNKNOWN: connection lost [token 3]
    2021-04-21 09:31:31.000  record 10  cancellation asked: not filled in 30 s
    2021-04-21 09:31:40.000  record 11  reconciliation (ORDER_UNSEEN, wait): ALFA: UNKNOWN in the journal, not at the broker
    2021-04-21 09:37:40.000  record 12  PARKED: in no complete snapshot after 120 s of quiet [token 3]

Halts and reconciliation
  2021-04-21 09:37:41.000  record 13  halted, BROKER_KNOWS_MORE: one more
  2021-04-21 09:37:42.000  record 14  POSITION_FOREIGN (record): the account holds 5
"""


def test_why_tells_a_traded_and_parked_day_in_words() -> None:
    """Signal, rank, gates with values and limits, both prices with age, sends, fills, park, halt, differences: word for word."""
    assert to_words(why()) == TRADED.rstrip("\n")


QUIET = """\
ALFA (us:ALFA) on 2021-04-21, decided on the evening of 2021-04-20

Evening of 2021-04-20
  evening eeeeeeeeeeeeeeee, settings ssssssssssssssss, model m-1
  no signal by bollinger: it closed between its bands (2021-04-19: close 99.80, lower band 90.00, upper band 102.30; 2021-04-20: close 94.00, lower band 90.00, upper band 102.30)
  no signal by regression_momentum: ADX signal 1, wanted at least 1: passed; predicted 3-day return 0.015, wanted above 0.02: failed; predicted 10-day return 0.04, wanted above 0.03: passed

Morning of 2021-04-21
  plan pppppppppppppppp for account DU1, settings ssssssssssssssss, on the evening eeeeeeeeeeeeeeee
  no signal of it came to the morning: nothing was decided
"""


def test_why_tells_why_there_was_no_signal() -> None:
    """Without a signal: the close beside its bands, each prediction beside its threshold, from what was stored."""
    quiet = why().features
    assert quiet is not None
    rows = tuple({**row, "bbands_lower_20": 90.0} for row in quiet)
    evening = {**(why().evening or {}), "ranked": []}
    plan = {"plan_id": "p" * 64, "plan": {**(why().plan or {})["plan"], "intents": [], "rejections": []}}
    said = to_words(why(features=rows, evening=evening, plan=plan, intents=(), records=()))
    assert said == QUIET.rstrip("\n")


PARKED = """\
WHRJFBQ6MKAB5HZJLOT4  PARKED  BUY 10 ALFA at limit 94.02 USD
  session 2021-04-21, strategy bollinger, paper account DU1, entry
  reference (Order Ref.) B1-WHRJFBQ6MKAB5HZJLOT4, permId 881, conId 7
  quote at the order: bid 93.98, ask 94.02; signal's close 94.00; quote age 0.25 s at the plan
  filled by executions: 4 of 10
  last word: in no complete snapshot after 120 s of quiet
  what was written:
    2021-04-21 09:31:00.000  record 5  planned (plan pppppppppppppppp)
    2021-04-21 09:31:01.000  record 6  CHECKED -> AWAITING -> APPROVED: BUY 10 ALFA at limit 94.02 (bid 93.98, ask 94.02, conId 7): automatic in paper [token 3]
    2021-04-21 09:31:01.000  record 7  SENDING: BUY 10 ALFA at limit 94.02 (bid 93.98, ask 94.02, conId 7) [token 3]
    2021-04-21 09:31:02.000  record 8  fill of 4 at 94.01 (execution 0000e0d5.1, commission 1.00 USD): PARTIAL
    2021-04-21 09:31:30.000  record 9  UNKNOWN: connection lost [token 3]
    2021-04-21 09:31:31.000  record 10  cancellation asked: not filled in 30 s
    2021-04-21 09:31:40.000  record 11  reconciliation (ORDER_UNSEEN, wait): ALFA: UNKNOWN in the journal, not at the broker
    2021-04-21 09:37:40.000  record 12  PARKED: in no complete snapshot after 120 s of quiet [token 3]
  look up in TWS:
    Trade Log of 2021-04-21: an execution of BUY ALFA with Order Ref. B1-WHRJFBQ6MKAB5HZJLOT4 or permId 881
    Orders, all clients and completed: an order of 10 ALFA at 94.02 with that reference
    Portfolio: whether ALFA changed by up to 10 shares without another cause
    filled: bft resolve WHRJFBQ6MKAB5HZJLOT4 --as filled --quantity N --price P --exec-id ID --why WORDS
    ended without a fill: bft resolve WHRJFBQ6MKAB5HZJLOT4 --as cancelled --why WORDS
    no trace anywhere: bft resolve WHRJFBQ6MKAB5HZJLOT4 --as never-arrived --why WORDS
"""


def test_parked_shows_the_evidence_in_words() -> None:
    """What was written when, what the broker said, reference, permId, the quote, and what to look up in TWS: word for word."""
    assert parked_words(status(), records()) == PARKED.rstrip("\n")
