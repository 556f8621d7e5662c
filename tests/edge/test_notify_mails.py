"""Mails as values: stable bytes, headers nothing can be injected into, and what each kind says."""

from __future__ import annotations

import email
import email.policy
import subprocess
import sys
from dataclasses import replace
from datetime import date
from decimal import Decimal
from email.message import EmailMessage
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from bar_fly_trading.facts.account import AccountSnapshot, Position
from bar_fly_trading.notify.compose import (
    NOT_TRADED,
    Books,
    DaySummary,
    Failure,
    OrderLine,
    ShadowBook,
    failure_mail,
    ranked_list_mail,
    signal_mail,
    summary_mail,
)
from bar_fly_trading.notify.message import MailMessage, one_line_ascii, to_bytes
from bar_fly_trading.notify.route import MailRoute
from bar_fly_trading.notify.words import capital, counted, measured, number, price, sentence, usd
from bar_fly_trading.strategies.signal import Purpose, Side, Signal
from bar_fly_trading.trading.orders import IntentIdentity, Mode
from bar_fly_trading.trading.plan import Cap, Criterion, OrderIntent, RankedSignal, Rejection

EVENING, MORNING = date(2021, 4, 20), date(2021, 4, 21)
HOSTILE = "<script>alert(1)</script>\r\nBcc: thief@example.com\x00\x1b[2J\u202e"
ROUTE = MailRoute.of(
    host="h", port=None, security="auto", user="", password="", sender="bft@example.com",
    recipients=("a@example.com",), timeout_s=1,
)  # fmt: skip


def ranked(
    symbol: str = "AAPL", *, reason: str = "The close fell to the lower band.", tag: str = "execute"
) -> RankedSignal:
    """Return a ranked Bollinger entry."""
    signal = Signal(
        EVENING, "bollinger", f"{symbol}-1", symbol, Side.BUY, Purpose.ENTRY, 0.3, Decimal("133.11"), reason,
        (("bbands_lower_20", 133.4), ("adx_14", None)),
    )  # fmt: skip
    criteria = (Criterion("strength", 0.3, 0.55, 0.25), Criterion("confidence", None, 0.0, 0.25))
    return RankedSignal(signal, 1, tag, "among the 5 best", 0.61, criteria, "Technology", 1e9)


def intent(mode: Mode = Mode.SHADOW, symbol: str = "AAPL") -> OrderIntent:
    """Return the order meant for `ranked`."""
    who = IntentIdentity("DU1", mode, MORNING, "bollinger", f"{symbol}-1", Side.BUY, Purpose.ENTRY)
    price = Decimal("132.54")
    return OrderIntent(
        who.key(), "DU1", mode, MORNING, "bollinger", f"{symbol}-1", symbol, 1, Side.BUY, Purpose.ENTRY, 1, 1, 37, price,
        Decimal("135.77"), Decimal("132.50"), price, Decimal("133.11"), (Cap("cash_fraction", 37),), "cash_fraction", "fits",
    )  # fmt: skip


def rejection(mode: Mode = Mode.SHADOW, *, words: str = "The mid is 3.1 % away.", rule: str = "drift") -> Rejection:
    """Return a refusal of `ranked`."""
    return Rejection(
        MORNING, "bollinger", mode, "AAPL-1", "AAPL", Side.BUY, Purpose.ENTRY, 1, rule, "3.1 %", "2 %", words
    )


def books() -> Books:
    """Return an account that was read, and a shadow book."""
    account = AccountSnapshot(
        "DU1", 0, Decimal(100000), Decimal("123456.78"), Decimal("-12.5"), (Position("IBM-1", "IBM", 20, Decimal(130)),)
    )
    return Books(account, ShadowBook(Decimal(95000), Decimal(100210), (Position("KO-1", "KO", 55, Decimal(53)),)))


class Page(HTMLParser):
    """Reads a page's tags and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Keep a tag."""
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """The words of the page in one line."""
        return " ".join(" ".join(self.words).split())


def parsed(message: MailMessage) -> EmailMessage:
    """Return the mail as a reader parses it."""
    mail = email.message_from_bytes(to_bytes(message, ROUTE), policy=email.policy.default)
    assert isinstance(mail, EmailMessage) and not mail.defects
    return mail


def says(message: MailMessage, *words: str) -> None:
    """Assert that both the text and the HTML say the words."""
    text, page = " ".join(message.text.split()), Page(message.html).text
    for word in words:
        assert word in text, (word, text)
        assert word in page, (word, page)


def test_a_shadow_order() -> None:
    """A shadow signal's mail says what was seen, the order, both books, and that nothing was traded."""
    mail = signal_mail(ranked(), intent(), books())
    says(
        mail,
        NOT_TRADED,
        "BUY 37 AAPL, DAY limit $132.54",
        "bbands lower 20",
        "133.4",
        "The close fell to the lower band.",
    )
    says(mail, "cash_fraction 37", "Could execute", "DU1", "$100,000.00", "20 IBM", "55 KO", "rank 1, execute", "0.610")
    assert mail.subject == "[bft shadow] BUY AAPL 37 @ 132.54 (bollinger)"
    assert mail.session == MORNING


def test_a_paper_order_tells_its_outcome() -> None:
    """A paper order's mail does not claim that nothing was traded."""
    mail = signal_mail(ranked(), intent(Mode.PAPER), books(), outcome="FILLED 37 at 132.54")
    says(mail, "Order FILLED 37 at 132.54")
    assert NOT_TRADED not in mail.text + mail.html


def test_a_refusal_names_rule_observed_and_limit() -> None:
    """A refused signal is mailed with the rule, what was seen and the limit; without an account it says why."""
    mail = signal_mail(ranked(), rejection(), Books(None, None, "the Gateway does not answer"))
    says(mail, "Refused by drift: The mid is 3.1 % away.", NOT_TRADED, "Observed", "3.1 %", "Limit", "2 %")
    says(mail, "Account not read: the Gateway does not answer.")
    assert NOT_TRADED not in signal_mail(ranked(), rejection(Mode.PAPER), books()).text


def test_the_ranked_list() -> None:
    """The evening's list shows every signal with tag and reason, an exit without rank, and what was kept out."""
    leaving = replace(
        ranked("IBM"), rank=0, criteria=(), signal=replace(ranked("IBM").signal, side=Side.SELL, purpose=Purpose.EXIT)
    )
    mail = ranked_list_mail(
        EVENING, [leaving, ranked(), ranked("KO", tag="watch")], excluded=[("GOOG", "stale")], notes=["n1"]
    )
    says(
        mail,
        "1 to execute, 1 to watch",
        "1 exit besides",
        "exit SELL IBM execute $133.11 -",
        "1 BUY KO watch",
        "GOOG stale",
        "n1",
    )
    says(ranked_list_mail(EVENING, []), "No signals.", "No strategy gave a signal at this close.")


def test_the_summary() -> None:
    """The day's summary counts fills and refusals by rule, shows slippage, and puts differences first."""
    line = OrderLine(
        Mode.PAPER,
        "bollinger",
        "AAPL",
        "BUY",
        37,
        Decimal("132.54"),
        "FILLED",
        37,
        Decimal("132.51"),
        Decimal(1),
        -2.3,
        "x",
    )
    summary = DaySummary(
        MORNING,
        books(),
        (line,),
        (rejection(), rejection(rule="spread"), rejection()),
        Decimal("-12.5"),
        None,
        ("IBM: 20 or 22?",),
    )
    mail = summary_mail(summary)
    says(
        mail,
        "1 filled at the broker, 0 in shadow, 3 refused.",
        "To settle: 1 difference.",
        "IBM: 20 or 22?",
        "37/37",
        "-2.3",
    )
    says(mail, "drift 2", "spread 1", "commission $1.00", "-$12.50")
    assert NOT_TRADED not in mail.text
    says(summary_mail(replace(summary, orders=(replace(line, mode=Mode.SHADOW),), differences=())), NOT_TRADED)


def test_a_failure() -> None:
    """A failed run's mail has stage, cause, what was kept and the next command; two failures of a day are two mails."""
    failure = Failure(MORNING, "morning", "No answer.", "The evening is whole.", "bft morning", "run-1", 5)
    mail = failure_mail(failure)
    says(
        mail, "bft morning of 2021-04-21 did not finish", "No answer.", "The evening is whole.", "bft morning", "run-1"
    )
    assert mail.subject.startswith("[bft FAILED] morning 2021-04-21: No answer.")
    assert mail.identity != failure_mail(replace(failure, run_id="run-2")).identity
    says(failure_mail(replace(failure, exit_code=20)), "did less than asked")


def test_identity_tells_signals_apart() -> None:
    """Each strategy, instrument, side and mode has a mail of its own; the same signal has one, whatever its verdict, and one
    more where the account could not be read at first."""
    one = signal_mail(ranked(), intent(), books())
    assert one.identity == signal_mail(ranked(), rejection(), books()).identity
    others = [
        signal_mail(ranked("KO"), intent(symbol="KO"), books()),
        signal_mail(ranked(), intent(Mode.PAPER), books()),
    ]
    others.append(signal_mail(ranked(), rejection(), Books(None, None, "no Gateway")))
    assert len({one.file_name, *(m.file_name for m in others)}) == 4


def test_hostile_data_is_only_text() -> None:
    """Tags, line breaks and control characters in data become text; nothing is loaded from elsewhere."""
    mails = [
        signal_mail(ranked(reason=HOSTILE), rejection(words=HOSTILE, rule=HOSTILE), Books(None, None, HOSTILE)),
        ranked_list_mail(EVENING, [ranked(reason=HOSTILE)], excluded=[(HOSTILE, HOSTILE)], notes=[HOSTILE]),
        failure_mail(Failure(MORNING, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1, HOSTILE)),
    ]
    for mail in mails:
        assert set(Page(mail.html).tags) <= {
            "html", "head", "meta", "title", "body", "div", "h1", "h2", "p", "pre", "table", "thead", "tbody", "tr", "th", "td",
        }  # fmt: skip
        assert "<script>alert(1)</script>" in Page(mail.html).text
        assert "http" not in mail.html and "url(" not in mail.html
        arrived = parsed(mail)
        assert "Bcc" not in arrived and arrived["To"] == "a@example.com"


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text(), st.text(max_size=30), st.text(max_size=30))
def test_no_text_can_add_a_header_or_break_the_mail(subject: str, body: str, kind: str, key: str) -> None:
    """Whatever the texts hold: one ASCII subject line, the same headers, the body as it was, a plain file name."""
    message = MailMessage(kind, subject, body, f"<p>{len(body)}</p>", MORNING, key)
    raw = to_bytes(message, ROUTE)
    assert raw.isascii() and raw == to_bytes(message, ROUTE)
    assert all(len(line) <= 998 for line in raw.splitlines())
    arrived = parsed(message)
    assert [name for name, _ in arrived.items()] == [
        "From", "To", "Subject", "Message-ID", "Auto-Submitted", "X-Bft-Kind", "X-Bft-Session", "MIME-Version", "Content-Type",
    ]  # fmt: skip
    assert arrived["Subject"].strip() == one_line_ascii(subject)
    assert all(" " <= c <= "~" for c in one_line_ascii(subject))
    assert len(list(arrived.iter_parts())) == 2
    html = arrived.get_body(("html",))
    assert html is not None and html.get_content().strip() == f"<p>{len(body)}</p>"
    assert message.file_name.isascii() and "/" not in message.file_name and len(message.file_name) < 120


def test_the_subject_stays_readable() -> None:
    """Accents are dropped, other scripts become question marks, long subjects are cut."""
    assert one_line_ascii("Crème brûlée\r\n\tBcc: x") == "Creme brulee Bcc: x"
    assert one_line_ascii("a\x00b\x1b[2J\x7f\u202ec") == "a b [2J c"
    assert one_line_ascii("a" * 500) == "a" * 137 + "..."
    assert one_line_ascii("日本") == "??"


def test_bytes_do_not_depend_on_the_process() -> None:
    """Another process with another hash seed and time zone makes the same bytes and Message-ID."""
    program = (
        "import sys,datetime\n"
        "from bar_fly_trading.notify.message import *\n"
        "from bar_fly_trading.notify.route import MailRoute\n"
        "r = MailRoute.of(host='h', port=None, security='auto', user='', password='', sender='bft@example.com',"
        " recipients=('a@example.com',), timeout_s=1)\n"
        "m = MailMessage('signal', 'Hello', 'text é', '<p>x</p>', datetime.date(2021, 4, 21), 'k')\n"
        "sys.stdout.buffer.write(to_bytes(m, r))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed, "TZ": zone}, capture_output=True, check=True
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"), ("3", "America/New_York"))
    }
    assert len(outputs) == 1
    assert outputs == {to_bytes(MailMessage("signal", "Hello", "text é", "<p>x</p>", MORNING, "k"), ROUTE)}


def test_numbers_in_words() -> None:
    """Dollars have cents and a sign in front; unknown is a dash, never a zero."""
    assert [usd(v) for v in (None, Decimal("-1234.5"), 0.0)] == ["-", "-$1,234.50", "$0.00"]
    assert [number(v) for v in (None, 0.123456789, 1234.5, 2_000_000.4)] == ["-", "0.123457", "1,234.50", "2,000,000"]


def test_words_say_units_and_ends() -> None:
    """A name's unit decides how its number is written; prices keep their decimals; sentences end once."""
    assert measured("half_width_usd", 26.3542) == ("half width", "$26.35")
    assert measured("dollar_volume", 9_017_170_523.0) == ("dollar volume", "$9,017,170,523")
    assert measured("recent_performance", -0.0749843) == ("recent performance", "-7.50 %")
    assert measured("return_3d", 0.011) == ("return 3d", "+1.10 %")
    assert measured("strength", 0.342489) == ("strength", "0.342489")
    assert measured("band_usd", None) == ("band", "-")
    assert [price(Decimal(v)) for v in ("452.2", "0.1234", "1000")] == ["$452.20", "$0.1234", "$1,000.00"]
    assert [sentence(t) for t in ("too wide", "Why?", "Done.")] == ["too wide.", "Why?", "Done."]
    assert [capital(t) for t in ("there is", "us:AAPL is", "IBM is", "")] == ["There is", "us:AAPL is", "IBM is", ""]
    assert [counted(n, "mail") for n in (1, 2)] == ["1 mail", "2 mails"]


def test_a_failure_says_what_comes_before_the_next_command() -> None:
    """What must be put right stands before the command that repeats the run."""
    failure = Failure(
        MORNING, "morning", "there is no evening.", "The plan.", "bft morning", "run-1", 4, to_do="Run bft evening."
    )
    text = failure_mail(failure).text
    assert text.index("There is no evening.") < text.index("Run bft evening.") < text.index("bft morning\n")
    assert "What to do" not in failure_mail(replace(failure, to_do="")).text
