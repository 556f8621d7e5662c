"""A mail as a value, and its bytes: the same value gives the same bytes on every machine, in every run."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy

from bar_fly_trading.notify.route import MailRoute

SUBJECT_LENGTH_MAX = 140
_POLICY: EmailPolicy[EmailMessage] = SMTP.clone(cte_type="7bit", max_line_length=78)


@dataclass(frozen=True, slots=True)
class MailMessage:
    """One mail. `kind`, `session` and `key` are its identity: a mail with the same identity is never sent twice.

    `key` tells apart the mails of one kind and session (an intent key; a run id for a failure).
    """

    kind: str
    subject: str
    text: str
    html: str
    session: date
    key: str

    @property
    def identity(self) -> str:
        """The sha256 of the identity."""
        return hashlib.sha256(f"{self.kind}|{self.session.isoformat()}|{self.key}".encode()).hexdigest()

    @property
    def file_name(self) -> str:
        """The name of its file in the outbox: it sorts by session."""
        kind = re.sub(r"[^a-z0-9-]+", "-", self.kind.lower()).strip("-") or "mail"
        return f"{self.session.isoformat()}_{kind}_{self.identity[:16]}.eml"


def one_line_ascii(text: str, length_max: int = SUBJECT_LENGTH_MAX) -> str:
    """Return the text as one printable ASCII line: accents dropped, other characters as `?`, control characters as spaces."""
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = "".join(c if c.isprintable() else " " for c in plain).encode("ascii", "replace").decode()
    plain = " ".join(plain.split())
    return plain if len(plain) <= length_max else plain[: length_max - 3].rstrip() + "..."


def message_id(message: MailMessage, sender: str) -> str:
    """Return the Message-ID: of the mail's identity, at the sender's domain; a mail sent again keeps it."""
    return f"<{message.identity[:40]}@{sender.rpartition('@')[2]}>"


def to_bytes(message: MailMessage, route: MailRoute) -> bytes:
    """Return the mail as MIME multipart text and HTML, CRLF; the Date is added when it is sent, all else is stable."""
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = route.sender
    if route.recipients:
        mail["To"] = ", ".join(route.recipients)
    mail["Subject"] = one_line_ascii(message.subject)
    mail["Message-ID"] = message_id(message, route.sender)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Bft-Kind"] = one_line_ascii(message.kind)
    mail["X-Bft-Session"] = message.session.isoformat()
    mail.set_content(_mailable(message.text), charset="utf-8", cte="quoted-printable")
    mail.add_alternative(_mailable(message.html), subtype="html", charset="utf-8", cte="quoted-printable")
    mail.set_boundary(_boundary(message))
    return mail.as_bytes()


def _mailable(text: str) -> str:
    # Lone surrogates have no UTF-8 and NUL no place in a mail; both can only come from broken data.
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "?")


def _boundary(message: MailMessage) -> str:
    # The generator's own boundary is random; quoted-printable never contains "=_", so this one cannot occur in a body.
    return f"=_bft_{message.identity[:32]}"
