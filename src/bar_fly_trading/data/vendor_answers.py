"""What an answer of Alpha Vantage means: classified by its content, in a fixed order, because nearly all are HTTP 200."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import quote, quote_plus

from bar_fly_trading.errors import CheckVendor

_NOTICES = ("Information", "Note", "Error Message", "error", "detail")
_KEY_PAGE = "https://www.alphavantage.co/premium/"


class Answer(StrEnum):
    """Every kind of answer; all but DATA are refusals."""

    DATA = "data"
    ARTIFICIAL = "artificial rows"
    PREMIUM = "premium endpoint"
    DAILY_LIMIT = "daily limit"
    BURST = "burst"
    BAD_KEY = "bad key"
    UNKNOWN_SYMBOL = "unknown symbol"
    NO_FUNCTION = "no such function"
    EMPTY = "no data"
    DISGUISED = "notice in disguise"
    BAD_BODY = "damaged body"
    UNKNOWN = "unknown body"
    HTTP = "HTTP status"
    TRANSPORT = "transport"
    OUT_OF_TIME = "out of time"


# Nothing asked after one of these by the same run can succeed.
FINAL = frozenset({Answer.DAILY_LIMIT, Answer.BAD_KEY, Answer.OUT_OF_TIME})
# What waiting may heal: the burst, and the CSV notice, which does not say what it is a notice of.
PASSING = frozenset({Answer.BURST, Answer.DISGUISED})
# The vendor has nothing of the kind asked for, of a fund's earnings for example: an answer, though an empty one.
NOTHING = frozenset({Answer.EMPTY})

# What the known refusals mean; the others are told with the vendor's own words.
WORDS = {
    Answer.ARTIFICIAL: "the key may not read it, and made-up rows came instead",
    Answer.PREMIUM: "the key may not read it",
    Answer.DAILY_LIMIT: "the key's requests of the day are used up",
    Answer.BURST: "too many requests at once, and waiting did not help",
    Answer.BAD_KEY: "the key is not valid",
    Answer.UNKNOWN_SYMBOL: "the symbol is unknown",
    Answer.NO_FUNCTION: "the vendor knows no such function",
    Answer.EMPTY: "the answer is empty: the symbol is unknown, or there is no such data",
    Answer.DISGUISED: "a notice came in place of the rows, and waiting did not help",
    Answer.OUT_OF_TIME: "the time that a pull may take (data.pull_time_s_max) is over",
}
_WAYS_OUT = {
    Answer.ARTIFICIAL: f"Buy the plan that includes it ({_KEY_PAGE}), or do without.",
    Answer.PREMIUM: f"Use a premium key ({_KEY_PAGE}), or import bars from a file.",
    Answer.DAILY_LIMIT: "Run again tomorrow (what was pulled is kept), or use a premium key.",
    Answer.BURST: "Lower the requests a minute in the settings to your key's rate.",
    Answer.BAD_KEY: "Set ALPHAVANTAGE_API_KEY to a valid key.",
    Answer.NO_FUNCTION: "The vendor has withdrawn or renamed it: update this program.",
    Answer.UNKNOWN_SYMBOL: "Check the symbol's spelling, or take it off the list.",
    Answer.EMPTY: "Check the symbol's spelling, or take it off the list.",
    Answer.DISGUISED: "Run again later, or tomorrow where the key's requests of the day are used up.",
    Answer.BAD_BODY: "Run again later; what was stored is whole.",
    Answer.UNKNOWN: "Read the kept body, and report it.",
    Answer.HTTP: "Run again later; what was stored is whole.",
    Answer.OUT_OF_TIME: "Run again (what was pulled is kept), or give a pull more time.",
    Answer.TRANSPORT: "Check the network and the vendor's address, then run again.",
}


class VendorRefused(CheckVendor):
    """The vendor did not give the data; `answer` says of which kind, `final` that asking for more is useless."""

    def __init__(self, message: str, answer: Answer) -> None:
        """Take a message free of secrets, and the kind, which gives the way out."""
        super().__init__(message, way_out=_WAYS_OUT.get(answer, ""))
        self.answer = answer
        self.final = answer in FINAL


def redacted(text: str, secret: str) -> str:
    """Return the text with a secret removed, as it is, in any case, and as a URL would spell it."""
    for form in {secret, quote(secret, safe=""), quote_plus(secret)}:
        if form:
            text = re.sub(re.escape(form), "[key]", text, flags=re.IGNORECASE)
    return text


def classify(body: Mapping[str, Any], data_key: str) -> Answer:
    """Tell what a JSON body is; `data_key`: the key whose value is the data.

    Order: artificial rows, then data (by its presence), then premium, daily cap, burst (and the old Note), invalid;
    then empty. The burst body also names the daily limit and premium endpoints, so sentences are matched, not words.
    """
    notices = [str(body[key]) for key in _NOTICES if key in body]
    success = body.get("message", "success") == "success"
    if not success:
        notices.append(str(body["message"]))
    found = _classify_notice(" ".join(notices).lower())
    if found is Answer.ARTIFICIAL:
        return found
    if body.get(data_key) and success:
        return Answer.DATA
    if found is not None:
        return found
    if notices:
        return Answer.UNKNOWN
    return Answer.EMPTY if not body or data_key in body or set(body) == {"Meta Data"} else Answer.UNKNOWN


def _classify_notice(text: str) -> Answer | None:
    if "artificial" in text:
        return Answer.ARTIFICIAL
    if "is a premium endpoint" in text or "is a premium feature" in text:
        return Answer.PREMIUM
    if "detected your api key" in text:
        return Answer.DAILY_LIMIT
    if "1 request per second" in text or "sparingly" in text or "calls per minute" in text:
        return Answer.BURST
    if "apikey is invalid or missing" in text:
        return Answer.BAD_KEY
    if "this api function" in text and "does not exist" in text:
        return Answer.NO_FUNCTION
    if "invalid api call" in text or "invalid inputs" in text:
        return Answer.UNKNOWN_SYMBOL
    return None
