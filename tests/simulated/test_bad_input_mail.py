"""A mail server that refuses stops nothing: trading is done, the mails wait as files, the exit code says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiosmtpd.controller import Controller
from tests.simulated.conftest import NEXT_DAY, SIGNAL_DAY, TRADED, Chain, Gateway, free_port, one_message


class _Server:
    """Takes mails, or refuses each at RCPT or at DATA."""

    def __init__(self, refuse: str = "") -> None:
        self.refuse = refuse
        self.taken: list[bytes] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        """Answer a recipient."""
        if self.refuse == "RCPT":
            return "550 no such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        """Answer a mail."""
        if self.refuse == "DATA":
            return "451 full"
        self.taken.append(envelope.content)
        return "250 taken"


@contextmanager
def _smtp(server: _Server) -> Iterator[int]:
    controller = Controller(server, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def _mail_to(chain: Chain, port: int) -> None:
    with (chain.home / "settings.toml").open("a") as file:
        file.write(
            f'\n[mail]\nserver = "127.0.0.1"\nport = {port}\nsecurity = "none"\nsender = "bft@example.com"\n'
            'recipients = ["one@example.com", "two@example.com"]\ntimeout_s = 5.0\n'
        )


def test_a_mail_server_that_refuses_never_stops_trading(ranked: Chain, gateway: Gateway) -> None:
    """With a server that refuses every recipient a paper morning trades, keeps its mails, exits 21, and a later flush sends."""
    server = _Server("RCPT")
    with _smtp(server) as port:
        _mail_to(ranked, port)
        said = one_message(ranked.morning(gateway, mode="paper"), 21)
        assert "bft notify --flush" in said
        assert ranked.states() == {f"BUY {symbol}": "FILLED" for symbol in TRADED}
        waiting = ranked.mails("")
        assert len([name for name in waiting if "signal" in name]) == 6
        server.refuse = ""
        ranked.ok("notify", "--flush")
    assert ranked.mails("") == []
    assert ranked.mails("sent") == waiting
    assert len(server.taken) == len(waiting)
    assert gateway.orders == len(TRADED)


def test_a_mail_server_that_is_down_keeps_the_mails(imported: Chain) -> None:
    """With no server behind the port, or one that refuses the text, the evening is done, exits 21 and keeps its mail."""
    _mail_to(imported, free_port())
    one_message(imported.bft("evening", "--no-pull", "--as-of", SIGNAL_DAY), 21)
    assert len(imported.records("evening")) == 1
    waiting = imported.mails("")
    assert waiting
    server = _Server("DATA")
    with _smtp(server) as port:
        flag = f"mail.port={port}"
        one_message(imported.bft("evening", "--no-pull", "--as-of", SIGNAL_DAY, "--set", flag), 21)
        assert imported.mails("") == waiting
        server.refuse = ""
        imported.ok("evening", "--no-pull", "--as-of", SIGNAL_DAY, "--set", flag)
    assert imported.mails("") == []
    assert len(server.taken) == len(waiting)


def test_a_run_that_fails_mails_stage_cause_and_next_command(ranked: Chain) -> None:
    """A morning that is refused mails its stage, its cause, what was kept and the next command, to every recipient."""
    server = _Server()
    with _smtp(server) as port:
        _mail_to(ranked, port)
        ranked.refused(4, "morning", "--as-of", "2021-04-22", "--gateway", f"127.0.0.1:{free_port()}")
    (mail,) = server.taken
    text = mail.decode()
    for words in ("morning", f"no complete evening of {NEXT_DAY}", "bft morning --as-of 2021-04-22", "two@example.com"):
        assert words in text.replace("=\r\n", "").replace("\r\n", " ")
