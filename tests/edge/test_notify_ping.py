"""The ping against a real HTTP server: start, success, fail, and every way it can go wrong without harm."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from bar_fly_trading.notify.ping import ping


class Witness(HTTPServer):
    """An HTTP server that keeps the paths it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        """Where it is, with a token."""
        return f"http://127.0.0.1:{self.server_port}/CANARY"


class Answer(BaseHTTPRequestHandler):
    """Answers 200, or what the path asks for."""

    def do_GET(self) -> None:
        """Answer one ping."""
        assert isinstance(self.server, Witness)
        self.server.paths.append(self.path)
        if "slow" in self.path:
            time.sleep(0.5)
        self.send_response(500 if "broken" in self.path else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def witness() -> Iterator[Witness]:
    """Return a running witness."""
    server = Witness()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_start_success_and_fail(witness: Witness) -> None:
    """Each event has its path; a query and a last slash stay where they belong."""
    assert [ping(witness.url, event) for event in ("start", "success", "fail")] == ["", "", ""]
    assert ping(witness.url + "/?id=1", "start") == ""
    assert witness.paths == ["/CANARY/start", "/CANARY", "/CANARY/fail", "/CANARY/start?id=1"]
    assert ping("", "start") == ""


def test_what_goes_wrong_is_words_without_the_url(witness: Witness) -> None:
    """A server's error, silence, absence and a URL that is none are answers, never exceptions, and hide the token."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answers = [
        ping(witness.url + "/broken", "start"),
        ping(witness.url + "/slow", "start", timeout_s=0.1),
        ping(f"http://127.0.0.1:{port}/CANARY", "start"),
        ping("no url CANARY", "start"),
        ping("ftp://h/CANARY", "start"),
        ping("http://[CANARY", "start"),
    ]
    assert all(answers) and "CANARY" not in "".join(answers), answers
    assert "answered 500" in answers[0] and "did not answer within" in answers[1]
