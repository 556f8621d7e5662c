"""The whole chain on one screen.

    evening   pull -> usable bars -> features -> predictions -> signals and exits -> combined, ranked, tagged -> mail
    morning   the evening of the session before -> Gateway: date, account, quotes -> checks -> plan -> orders -> mails
    close     the broker's facts against ours -> marks -> the day's record -> summary

Each is run under the home's lock and resumes what an earlier run of the same day began; `told` mails how it ended.
"""

from bar_fly_trading.daily_pipeline.aged import Age, stored_age
from bar_fly_trading.daily_pipeline.close import Closed, close, reconcile_now
from bar_fly_trading.daily_pipeline.evening import EveningDone, evening
from bar_fly_trading.daily_pipeline.morning import MorningDone, morning
from bar_fly_trading.daily_pipeline.parts import Connected, Parts, Say
from bar_fly_trading.daily_pipeline.telling import told

__all__ = [
    "Age",
    "Closed",
    "Connected",
    "EveningDone",
    "MorningDone",
    "Parts",
    "Say",
    "close",
    "evening",
    "morning",
    "reconcile_now",
    "stored_age",
    "told",
]
