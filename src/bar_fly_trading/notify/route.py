"""How mail leaves: server, security, identity and recipients, checked before anything is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

STARTTLS_PORT = 587
TLS_PORT = 465
LOCAL_SENDER = "bft@localhost"
# Enough to keep spaces, commas, angle brackets and line breaks out of headers and SMTP commands; not RFC 5321 in full.
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253})")


@dataclass(frozen=True, slots=True)
class MailRoute:
    """Where mail goes and how. `security`: starttls, tls or none (none never with a password).

    An empty `host` or no `recipients` means that mail is not configured: mails are kept as files only.
    """

    host: str
    port: int
    security: str
    user: str
    password: str = field(repr=False)
    sender: str
    recipients: tuple[str, ...]
    timeout_s: float
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        for name, address in [("sender", self.sender), *(("recipients", a) for a in self.recipients)]:
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"mail.{name}: {address!r} is no mail address.")
        if self.security == "none" and self.password:
            raise ValueError(
                "mail.security is none and mail.password is set: no password is sent over plain text. "
                "Use starttls or tls, or remove the password."
            )

    @classmethod
    def of(
        cls,
        *,
        host: str,
        port: int | None,
        security: str,
        user: str,
        password: str,
        sender: str,
        recipients: tuple[str, ...],
        timeout_s: float,
        ca_file: Path | None = None,
    ) -> Self:
        """Return the route that settings mean: `auto` is TLS on 465 and STARTTLS elsewhere; ValueError where unsafe."""
        if security == "auto":
            security = "tls" if port == TLS_PORT else "starttls"
        if port is None:
            port = TLS_PORT if security == "tls" else STARTTLS_PORT
        sender = sender or (user if _ADDRESS.fullmatch(user) else LOCAL_SENDER)
        return cls(host, port, security, user, password, sender, recipients, timeout_s, ca_file)

    @property
    def configured(self) -> bool:
        """Whether mail can leave at all."""
        return bool(self.host and self.recipients)

    @property
    def missing(self) -> str:
        """What is not configured, in words ('' where nothing is missing)."""
        parts = [] if self.host else ["no server (IBKR_SMTP_SERVER or mail.server)"]
        parts += [] if self.recipients else ["no recipients (IBKR_NOTIFY_EMAIL or mail.recipients)"]
        return " and ".join(parts)
