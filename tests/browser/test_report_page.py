"""The report's page in a real browser: readable on a desk and on a phone, nothing fetched, nothing run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from bar_fly_trading.report import build_report, to_html

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NO BROWSER: the report's page was looked at by nobody. Run apt-get install chromium."
)
HOSTILE = "<script>window.taken = true</script><img src=x onerror='window.taken = true'>"
SESSIONS = ("2021-04-20", "2021-04-21", "2021-04-22")
LONG_WORD = "X" * 90


def intent(symbol: str, session: str) -> dict[str, Any]:
    """Return a planned order as the journal's plan record holds it."""
    return {
        "intent_key": f"paper|{session}|{symbol}",
        "bid_usd": "132.50",
        "ask_usd": "132.54",
        "reason": f"{symbol} closed below its lower band; {HOSTILE}",
    }


def rejection(symbol: str, session: str, reason: str) -> dict[str, Any]:
    """Return a refusal as the journal's plan record holds it."""
    return {
        "session": session,
        "mode": "shadow",
        "strategy": "bollinger",
        "symbol": symbol,
        "side": "BUY",
        "rule": "SPREAD",
        "observed": "0.93 %",
        "limit": "0.50 %",
        "reason": reason,
    }


def records() -> list[tuple[str, dict[str, Any]]]:
    """Return three sessions of records, with markup and an endless word where data may bring them."""
    found: list[tuple[str, dict[str, Any]]] = []
    for before, session in zip(("2021-04-19", *SESSIONS), SESSIONS, strict=False):
        order = intent("AAPL", session)
        ranked = {"tag": "execute", "signal": {"purpose": "ENTRY"}}
        refused = [rejection(HOSTILE, session, HOSTILE), rejection("KO", session, LONG_WORD)]
        plan = {"signal_session": before, "intents": [order], "rejections": refused}
        execution = {
            "intent_key": order["intent_key"],
            "quantity": 37,
            "price_usd": "132.54",
            "commission_usd": "1.00",
        }
        fill = {"mode": "paper", "strategy": "bollinger", "symbol": "AAPL", "side": "BUY", "execution": execution}
        position = {"strategy": "bollinger", "symbol": "AAPL", "quantity": 37, "cost_usd": "4904.98", "mark_usd": "133"}
        book = {"total_usd": "-12.50", "day_usd": "-12.50", "positions": [position]}
        account = {"net_liquidation_usd": "99987.50"}
        found += [
            ("evening", {"session": before, "ranked": [ranked], "model_id": HOSTILE, "excluded": [["us:GE", HOSTILE]]}),
            ("plan", {"session": session, "plan": plan}),
            ("fill", {"session": session, **fill}),
            ("finish", {"session": session, "outcome": "done"}),
            (
                "close",
                {"session": session, "books": {"paper": book}, "account": account, "differences": [HOSTILE]},
            ),
        ]
    return found


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the report's page once."""
    report = build_report(records(), title=f"A report {HOSTILE}", mails={HOSTILE: 3}, notes=(HOSTILE,))
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(to_html(report), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium once."""
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


class Looked:
    """A page opened at one width, with everything it said and asked for."""

    def __init__(self, browser: Browser, path: Path, width: int) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page: Page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self._see)
        self.page.goto(path.as_uri())
        self.page.wait_for_load_state("networkidle")

    def _hear(self, message: ConsoleMessage) -> None:
        self.said.append(message.text)

    def _see(self, request: Request) -> None:
        self.asked.append(request.url)

    def width(self) -> int:
        """Return how wide the document is."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_is_quiet_and_fits(browser: Browser, page_file: Path, width: int) -> None:
    """At desk and phone width: no console message, nothing fetched but the page itself, nothing beside the screen."""
    looked = Looked(browser, page_file, width)
    assert looked.said == []
    assert looked.asked == [page_file.as_uri()]
    assert looked.width() <= width
    assert [h.inner_text() for h in looked.page.query_selector_all("h2")] == [
        "Fills",
        "Held at the end",
        "Every refusal",
        "Day by day",
        "Symbols kept out",
        "Mails",
    ]
    assert len(looked.page.query_selector_all("svg polyline")) == 1  # no shadow book in these records
    story = looked.page.inner_text("p.story")
    assert "3 orders came of them (0 fills in shadow, 3 in paper) and 6 were refused." in story
    assert "the spread was too wide (6 of 6)" in story and "paper book lost $12.50" in story
    looked.page.close()


@pytest.mark.parametrize("width", [1200, 390])
def test_markup_from_data_stays_text(browser: Browser, page_file: Path, width: int) -> None:
    """A script in a symbol, a reason, a title, a model's name or a note is shown as its letters and never runs."""
    looked = Looked(browser, page_file, width)
    assert looked.page.evaluate("window.taken") is None
    assert looked.page.query_selector("script, img, iframe, link, object") is None
    assert looked.page.inner_text("body").count("<script>window.taken = true</script>") >= 10
    looked.page.close()


def test_a_reason_is_in_sight_on_a_phone(browser: Browser, page_file: Path) -> None:
    """At phone width every reason of a fill and of a refusal begins and ends inside the screen, under its row."""
    looked = Looked(browser, page_file, 390)
    boxes = [cell.bounding_box() for cell in looked.page.query_selector_all("table.rows td.w")]
    assert len(boxes) == 9
    for box in boxes:
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] < 300
    labels = looked.page.evaluate(
        "[...document.querySelectorAll('table.rows td[data-l]')].map(c => getComputedStyle(c, '::before').content)"
    )
    assert any("price" in label for label in labels) and any("limit" in label for label in labels)
    looked.page.close()
