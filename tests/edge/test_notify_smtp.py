"""Mail against real SMTP servers on real sockets: STARTTLS, TLS, refusals, and what stays queued."""

from __future__ import annotations

import asyncio
import email
import email.policy
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, Session

from bar_fly_trading.files import RunLock
from bar_fly_trading.notify.message import MailMessage
from bar_fly_trading.notify.outbox import Outbox, Told, try_route
from bar_fly_trading.notify.route import MailRoute

SESSION = date(2021, 4, 21)
USER, PASSWORD = "me@example.com", "CANARY-pa$$word"


@dataclass
class Sink:
    """A handler that keeps what arrives and answers as it is told to, by recipient or by mail."""

    mails: list[Envelope] = field(default_factory=list)
    recipient_answers: dict[str, str] = field(default_factory=dict)
    sender_answer: str = ""
    data_answers: list[str] = field(default_factory=list)
    hang_s: float = 0.0

    async def handle_MAIL(  # noqa: N802
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer the sender."""
        if self.sender_answer:
            return self.sender_answer
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer a recipient."""
        if address in self.recipient_answers:
            return self.recipient_answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Answer a mail."""
        if self.hang_s:
            await asyncio.sleep(self.hang_s)
        answer = self.data_answers.pop(0) if self.data_answers else "250 OK"
        if answer.startswith("250"):
            self.mails.append(envelope)
        return answer


@dataclass
class Server:
    """A running SMTP server: its sink and the route to it."""

    sink: Sink
    route: MailRoute


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """Return a certificate authority of our own, and its file."""
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return ca, path


@pytest.fixture
def serve(authority: tuple[trustme.CA, Path]) -> Iterator[Callable[..., Server]]:
    """Return a starter of SMTP servers; each ends with the test."""
    ca, ca_file = authority
    running: list[Controller] = []

    def start(served: str = "starttls", *, login: bool = True, host: str = "localhost", **route: Any) -> Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(host).configure_cert(context)
        sink, port = Sink(), free_port()

        def check(server: Any, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
            right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
            # A careless server: it quotes the password back.
            words = None if right else f"535 5.7.8 no such password {data.password.decode()}"
            return AuthResult(success=right, handled=False, message=words)

        options: dict[str, Any] = {"authenticator": check} if login else {}
        if served == "starttls":
            options |= {"tls_context": context, "require_starttls": True, "auth_required": login}
        elif served == "tls":
            options |= {"ssl_context": context, "auth_require_tls": False}
        controller = Controller(sink, hostname="127.0.0.1", port=port, **options)
        controller.start()
        running.append(controller)
        way = MailRoute.of(
            host="localhost",
            port=port,
            security=served,
            user=USER if login else "",
            password=PASSWORD if login else "",
            sender="bft@example.com",
            recipients=("a@example.com", "b@example.com"),
            timeout_s=5.0,
            ca_file=ca_file,
        )
        return Server(sink, replace(way, **route))

    yield start
    for controller in running:
        controller.stop()


def message(key: str = "1", subject: str = "Hello") -> MailMessage:
    """Return a mail."""
    return MailMessage("signal", subject, "text\n.leading dot\n", "<p>html</p>", SESSION, key)


def failed_step(told: Told) -> str:
    """Return the name of the step that failed."""
    return next(step.name for step in told.steps if not step.ok)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_arrives_encrypted_and_logged_in(serve: Callable[..., Server], tmp_path: Path, security: str) -> None:
    """Over STARTTLS and over TLS: every step is told, every recipient has the mail, and its file moves to sent."""
    server, outbox = serve(security), Outbox(tmp_path)
    told = outbox.tell([message()], server.route)
    assert told.complete and told.reason == "", told
    assert [path.parent.name for path in told.delivered] == ["sent"] and told.delivered[0].exists()
    assert outbox.pending() == ()
    assert [step.name for step in told.steps] == ["DNS", "connect", "TLS", "login", "recipient", "recipient"]
    assert all(step.ok for step in told.steps)
    envelope = server.sink.mails[0]
    assert envelope.rcpt_tos == ["a@example.com", "b@example.com"]
    assert isinstance(envelope.content, bytes)
    arrived = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert arrived["Subject"] == "Hello" and arrived["To"] == "a@example.com, b@example.com"
    assert arrived["Message-ID"].endswith("@example.com>") and arrived["Date"]
    plain, html = arrived.get_body(("plain",)), arrived.get_body(("html",))
    assert plain is not None and plain.get_content().splitlines() == ["text", ".leading dot"]
    assert html is not None and "<p>html</p>" in html.get_content()


def test_plain_text_only_without_a_password(serve: Callable[..., Server], tmp_path: Path) -> None:
    """security none sends to a server on this machine; with a password such a route cannot even be made."""
    server = serve("none", login=False)
    assert Outbox(tmp_path).tell([message()], server.route).complete
    assert len(server.sink.mails) == 1
    with pytest.raises(ValueError, match="no password is sent over plain text"):
        replace(server.route, password="p")


def test_a_server_without_starttls_gets_nothing(serve: Callable[..., Server], tmp_path: Path) -> None:
    """A server that offers no STARTTLS (or a thief in between who strips it) sees neither mail nor password."""
    server = serve("none", login=False, security="starttls", user=USER, password=PASSWORD)
    told = Outbox(tmp_path).tell([message()], server.route)
    assert not told.complete and failed_step(told) == "TLS"
    assert "offers no STARTTLS" in told.reason
    assert server.sink.mails == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_nobody_vouches_for(serve: Callable[..., Server], tmp_path: Path, security: str) -> None:
    """An unknown authority or another host's certificate is refused, and says so."""
    unknown = serve(security, ca_file=None)
    told = Outbox(tmp_path / "1").tell([message()], unknown.route)
    assert failed_step(told) == "TLS" and "is not trusted" in told.reason
    other = serve(security, host="other.example.com")
    told = Outbox(tmp_path / "2").tell([message()], other.route)
    assert failed_step(told) == "TLS" and "is not trusted" in told.reason
    assert unknown.sink.mails == [] and other.sink.mails == []


def test_a_wrong_password(serve: Callable[..., Server], tmp_path: Path) -> None:
    """The login's refusal is told with the server's words and without the password."""
    told = Outbox(tmp_path).tell([message()], serve(password="wrong-CANARY").route)
    assert failed_step(told) == "login" and "535" in told.reason
    assert "CANARY" not in repr(told)
    assert len(told.queued) == 1


def test_a_password_that_is_not_ascii(serve: Callable[..., Server], tmp_path: Path) -> None:
    """What the protocol cannot carry is a reason, not a crash."""
    told = Outbox(tmp_path).tell([message()], serve(password="pässwörd").route)
    assert "not ASCII" in told.reason and len(told.queued) == 1


def test_nobody_listens(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """A refused connection and a name without an address leave the mail queued with the step that failed."""
    route = serve().route
    told = Outbox(tmp_path).tell([message()], replace(route, port=free_port()))
    assert failed_step(told) == "connect" and "refused" in told.reason.lower()
    told = Outbox(tmp_path).flush(replace(route, host="no-such-host.invalid"))
    assert failed_step(told) == "DNS" and len(told.queued) == 1


def test_a_server_that_hangs_or_talks_nonsense(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """A silent server costs the timeout and no more; another protocol's greeting is a reason."""
    route = replace(serve().route, timeout_s=0.3)
    for greeting in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"554 go away\r\n"):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            done = threading.Event()

            def answer(listener: socket.socket = listener, greeting: bytes = greeting, done: Any = done) -> None:
                with suppress(OSError):
                    sock, _ = listener.accept()
                    with sock:
                        sock.sendall(greeting)
                        done.wait(2)

            thread = threading.Thread(target=answer)
            thread.start()
            told = Outbox(tmp_path).tell([message()], replace(route, port=listener.getsockname()[1]))
            done.set()
            thread.join()
        assert len(told.queued) == 1 and failed_step(told) == "connect", told
    assert "554 go away" in told.reason


@pytest.mark.parametrize("answer", ["450 try later", "550 no such user"])
def test_every_recipient_refused(serve: Callable[..., Server], tmp_path: Path, answer: str) -> None:
    """4xx and 5xx to every recipient leave the mail queued, with the server's words."""
    server = serve()
    server.sink.recipient_answers = dict.fromkeys(server.route.recipients, answer)
    told = Outbox(tmp_path).tell([message()], server.route)
    assert answer in told.reason and len(told.queued) == 1 and told.delivered == ()
    server.sink.recipient_answers.clear()
    assert Outbox(tmp_path).flush(server.route).complete


def test_one_recipient_refused_is_tried_alone_later(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Who has the mail does not get it again; who was refused gets it once the server takes it."""
    server, outbox = serve(), Outbox(tmp_path)
    server.sink.recipient_answers = {"b@example.com": "450 greylisted"}
    told = outbox.tell([message()], server.route)
    assert not told.complete and "b@example.com is refused: 450 greylisted" in told.reason
    server.sink.recipient_answers.clear()
    assert outbox.flush(server.route).complete
    assert [mail.rcpt_tos for mail in server.sink.mails] == [["a@example.com"], ["b@example.com"]]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lock", "sent"]


@pytest.mark.parametrize("answer", ["451 disk full here", "552 too large", "421 closing"])
def test_a_refused_mail_does_not_hold_up_the_others(serve: Callable[..., Server], tmp_path: Path, answer: str) -> None:
    """One mail's 4xx or 5xx leaves that one queued; the next goes out (after 421, on the next flush)."""
    server, outbox = serve(), Outbox(tmp_path)
    server.sink.data_answers = [answer]
    told = outbox.tell([message("1"), message("2")], server.route)
    assert answer in told.reason
    assert len(told.delivered) + len(told.queued) == 2 and told.queued
    if not answer.startswith("421"):
        assert len(told.delivered) == 1
    assert outbox.flush(server.route).complete
    assert len(server.sink.mails) == 2


def test_a_refused_sender(serve: Callable[..., Server], tmp_path: Path) -> None:
    """A sender the server does not take is a reason."""
    server = serve()
    server.sink.sender_answer = "553 not yours"
    told = Outbox(tmp_path).tell([message()], server.route)
    assert "553 not yours" in told.reason and len(told.queued) == 1


def test_a_server_that_dies_in_the_middle(serve: Callable[..., Server], tmp_path: Path) -> None:
    """No answer to a mail: it stays queued and will go out again under the same Message-ID."""
    server = serve(timeout_s=0.3)
    server.sink.hang_s = 1.0
    told = Outbox(tmp_path).tell([message()], server.route)
    assert failed_step(told) == "send" and len(told.queued) == 1
    server.sink.hang_s = 0.0
    assert Outbox(tmp_path).flush(server.route).complete
    ids = {email.message_from_bytes(mail.content)["Message-ID"] for mail in server.sink.mails}  # type: ignore[arg-type]
    assert len(ids) == 1


def test_the_same_mail_is_never_sent_twice(serve: Callable[..., Server], tmp_path: Path) -> None:
    """A run that is repeated tells the same mail again: it was sent, so nothing happens."""
    server, outbox = serve(), Outbox(tmp_path)
    outbox.tell([message()], server.route)
    again = outbox.tell([message(), message("2")], server.route)
    assert len(again.delivered) == 1
    assert len(server.sink.mails) == 2


def test_mail_not_configured_is_kept_as_a_file_and_never_sent_later(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    """Without recipients the mails are files, the run is complete, and configuring mail later sends no old news."""
    server, outbox = serve(), Outbox(tmp_path)
    nobody = replace(server.route, recipients=())
    told = outbox.tell([message()], nobody)
    assert told.complete and "no recipients" in told.reason
    assert [path.parent.name for path in told.kept] == ["kept"]
    assert email.message_from_bytes(told.kept[0].read_bytes())["Subject"] == "Hello"
    assert outbox.tell([message()], server.route).delivered == ()
    assert server.sink.mails == []
    assert "no server" in outbox.tell([message("2")], replace(nobody, host="")).reason


def test_two_senders_at_once_send_once(serve: Callable[..., Server], tmp_path: Path) -> None:
    """While one process sends, another leaves the outbox alone and says who holds it."""
    server, outbox = serve(), Outbox(tmp_path)
    outbox.queue(message(), server.route)
    with RunLock(tmp_path / "lock"):
        told = outbox.flush(server.route)
    assert "Another run is at work" in told.reason and len(told.queued) == 1
    assert server.sink.mails == []


def test_trying_a_route_writes_nothing(serve: Callable[..., Server], tmp_path: Path) -> None:
    """The test mail goes straight out, step by step."""
    server = serve()
    told = try_route(message(), server.route)
    assert told.reason == "" and [s.ok for s in told.steps] == [True] * 6
    server.sink.recipient_answers = {"b@example.com": "550 unknown"}
    told = try_route(message(), server.route)
    assert "b@example.com is refused: 550 unknown" in told.reason
    assert list(tmp_path.iterdir()) == []


def run_notify(home: Path, ca_file: Path | None, route: MailRoute, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run `bft notify` as a process of its own against the route."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "BFT_HOME": str(home / ".bft"),
        "IBKR_SMTP_SERVER": f"{route.host}:{route.port}",
        "IBKR_SMTP_USER": route.user,
        "IBKR_SMTP_PASSWORD": route.password,
        "IBKR_NOTIFY_EMAIL": ",".join(route.recipients),
        "BFT_MAIL__CA_FILE": str(ca_file or ""),
    }
    command = [str(Path(sys.executable).with_name("bft")), "notify", *flags]
    return subprocess.run(command, env=environ, cwd=home, capture_output=True, text=True, timeout=60, check=False)


def test_bft_notify_test_and_flush(serve: Callable[..., Server], tmp_path: Path) -> None:
    """`bft notify --test` tells each step; `--flush` sends what waits; a failure exits 21 with what to do."""
    server = serve()
    done = run_notify(tmp_path, server.route.ca_file, server.route, "--test")
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[:4]] == [
        ["ok", "DNS"], ["ok", "connect"], ["ok", "TLS"], ["ok", "login"],
    ]  # fmt: skip
    assert "on its way to a@example.com, b@example.com" in done.stdout
    assert len(server.sink.mails) == 1
    outbox = Outbox(tmp_path / ".bft" / "outbox")
    outbox.queue(message(), server.route)
    refused = run_notify(tmp_path, None, server.route, "--flush")
    assert refused.returncode == 21 and "is not trusted" in refused.stderr and "to do:" in refused.stderr
    listed = run_notify(tmp_path, None, server.route)
    assert listed.returncode == 0 and listed.stdout.startswith("waits    ")
    sent = run_notify(tmp_path, server.route.ca_file, server.route, "--flush")
    assert sent.returncode == 0 and sent.stdout.splitlines()[-1].startswith("sent     "), sent
    wrong = run_notify(tmp_path, server.route.ca_file, replace(server.route, password="CANARY-2"), "--test")
    assert wrong.returncode == 21 and "FAIL  login" in wrong.stdout
    assert "CANARY" not in wrong.stdout + wrong.stderr


def test_bft_notify_without_mail(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """No mail configured: the test mail is a file, its place is printed, and the exit code is 0."""
    done = run_notify(tmp_path, None, replace(serve().route, recipients=()), "--test")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.splitlines()[0].removeprefix("written  "))
    assert path.exists() and "no recipients" in done.stdout
