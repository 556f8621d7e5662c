"""One conversation with a mail server, step by step, so that what failed can be said exactly; never raises past itself."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from types import TracebackType
from typing import Self

from bar_fly_trading.notify.message import one_line_ascii
from bar_fly_trading.notify.route import MailRoute

DETAIL_LENGTH_MAX = 300


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the conversation: its name, whether it went well, and what was seen."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One mail's outcome: who was accepted, who was refused (with the server's words), and why where nobody was."""

    accepted: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    reason: str = ""


class SmtpFailed(Exception):
    """The conversation ended early: kept inside this room, its text becomes the reason a mail stays queued."""


@dataclass(slots=True)
class Conversation:
    """An open conversation along a route, as a context manager; `steps` tells what happened so far."""

    route: MailRoute
    steps: list[Step] = field(default_factory=list)
    _smtp: smtplib.SMTP | None = None

    def __enter__(self) -> Self:
        """Look up, connect, secure and log in; SmtpFailed with the reason where a step fails."""
        addresses = self._look_up()
        try:
            self._connect(addresses)
            self._log_in()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye; a server that is already gone is no fault any more."""
        if self._smtp is not None:
            with suppress(OSError, smtplib.SMTPException):
                self._smtp.quit()
            self._smtp.close()
            self._smtp = None

    def _done(self, name: str, detail: str) -> None:
        self.steps.append(Step(name, True, detail))

    def _fail(self, name: str, detail: str) -> SmtpFailed:
        if self.route.password:
            detail = detail.replace(self.route.password, "********")
        shown = one_line_ascii(detail, DETAIL_LENGTH_MAX)
        self.steps.append(Step(name, False, shown))
        return SmtpFailed(f"{name}: {shown}")

    def _look_up(self) -> str:
        try:
            found = socket.getaddrinfo(self.route.host, self.route.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise self._fail("DNS", f"{self.route.host} is not found: {error}") from error
        addresses = ", ".join(dict.fromkeys(str(entry[4][0]) for entry in found))
        self._done("DNS", f"{self.route.host} is {addresses}")
        return addresses

    def _connect(self, addresses: str) -> None:
        route, name = self.route, _own_name()
        place = f"{route.host}:{route.port} ({addresses})"
        step = "connect"
        try:
            if route.security == "tls":
                smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                    route.host, route.port, local_hostname=name, timeout=route.timeout_s, context=_trust(route)
                )
            else:
                smtp = smtplib.SMTP(route.host, route.port, local_hostname=name, timeout=route.timeout_s)
            self._smtp = smtp
            self._done("connect", f"{place} answers")
            if route.security == "tls":
                self._done("TLS", _cipher(smtp))
            smtp.ehlo_or_helo_if_needed()
            if route.security == "starttls":
                step = "TLS"
                self._start_tls(smtp, _trust(route), route.host)
        except ssl.SSLError as error:
            raise self._fail("TLS", _tls_reason(error, route)) from error
        except (OSError, smtplib.SMTPException) as error:
            raise self._fail(step, f"{place}: {_words(error)}") from error

    def _start_tls(self, smtp: smtplib.SMTP, context: ssl.SSLContext, host: str) -> None:
        try:
            smtp.starttls(context=context)
        except smtplib.SMTPNotSupportedError as error:
            raise self._fail(
                "TLS", f"{host} offers no STARTTLS, and mail is not sent over plain text (mail.security)"
            ) from error
        smtp.ehlo()
        self._done("TLS", f"STARTTLS, {_cipher(smtp)}")

    def _log_in(self) -> None:
        route, smtp = self.route, self._open()
        if not route.password:
            self._done("login", "none: no password is set")
            return
        try:
            smtp.login(route.user, route.password)
        except UnicodeError as error:
            raise self._fail("login", "user or password has a character that is not ASCII") from error
        except (OSError, smtplib.SMTPException) as error:
            raise self._fail("login", f"{route.user or '(no user)'} is refused: {_words(error)}") from error
        self._done("login", f"{route.user} is accepted")

    def _open(self) -> smtplib.SMTP:
        if self._smtp is None:
            raise SmtpFailed("the conversation is not open")
        return self._smtp

    def send(self, mail: bytes, recipients: Sequence[str]) -> Delivery:
        """Send one mail, dated now, to the recipients; SmtpFailed only where the connection is gone."""
        smtp = self._open()
        dated = f"Date: {formatdate(usegmt=True)}\r\n".encode() + mail
        try:
            refused = smtp.sendmail(self.route.sender, list(recipients), dated)
        except smtplib.SMTPRecipientsRefused as error:
            words = _refusals(error.recipients)
            self._tell_recipients((), error.recipients)
            return Delivery((), words, f"every recipient is refused: {words[0][1]}")
        except (smtplib.SMTPServerDisconnected, TimeoutError, ConnectionError) as error:
            raise self._fail("send", _words(error)) from error
        except (OSError, smtplib.SMTPException) as error:
            return Delivery((), (), str(self._fail("send", _words(error))))
        accepted = tuple(r for r in recipients if r not in refused)
        self._tell_recipients(accepted, refused)
        return Delivery(accepted, _refusals(refused))

    def _tell_recipients(self, accepted: Sequence[str], refused: dict[str, tuple[int, bytes]]) -> None:
        for address in accepted:
            self._done("recipient", f"{address} accepted")
        for address, words in _refusals(refused):
            self.steps.append(Step("recipient", False, f"{address} refused: {words}"))


def _refusals(refused: dict[str, tuple[int, bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((address, _answer(*answer)) for address, answer in sorted(refused.items()))


def _answer(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return one_line_ascii(f"{code} {text}", DETAIL_LENGTH_MAX)


def _words(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return _answer(error.smtp_code, error.smtp_error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _tls_reason(error: ssl.SSLError, route: MailRoute) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {route.host} is not trusted: {error.verify_message}"
    hint = " (is this a STARTTLS port? set mail.security)" if error.reason == "WRONG_VERSION_NUMBER" else ""
    return f"{error.reason or error}{hint}"


def _cipher(smtp: smtplib.SMTP) -> str:
    sock = smtp.sock
    return sock.version() or "TLS" if isinstance(sock, ssl.SSLSocket) else "TLS"


def _trust(route: MailRoute) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if route.ca_file is not None:
        context.load_verify_locations(route.ca_file)
    return context


def _own_name() -> str:
    # smtplib would ask the resolver for our full name, which hangs where DNS is broken.
    name = socket.gethostname()
    return name if "." in name and name.isascii() else "[127.0.0.1]"
