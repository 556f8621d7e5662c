"""Which bars can be believed: faults (certain), suspicions (unlikely), and what an evening may use of them.

`faults_of` tells what cannot be a bar at all, `suspicions_of` what a bar's neighbours and the market make unlikely,
`usable` and `judge` which instruments a session may rest on. Pure functions over whole tables; `docs/validation.md` gives
each rule's reasoning, threshold and source.
"""

from bar_fly_trading.data.validate.faults import FAULT_SCHEMA, PRICE_USD_BELOW, faults_of, worded
from bar_fly_trading.data.validate.rules import SUSPICION_SCHEMA
from bar_fly_trading.data.validate.suspicions import RULES, everything_found, suspicions_of
from bar_fly_trading.data.validate.verdict import MIN_HISTORY, JudgeRules, Verdict, judge, newest_complete, usable

__all__ = [
    "FAULT_SCHEMA",
    "MIN_HISTORY",
    "PRICE_USD_BELOW",
    "RULES",
    "SUSPICION_SCHEMA",
    "JudgeRules",
    "Verdict",
    "everything_found",
    "faults_of",
    "judge",
    "newest_complete",
    "suspicions_of",
    "usable",
    "worded",
]
