"""A report as one self-contained page that reads on a desk and on a phone; everything data-borne is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape

from bar_fly_trading.report.charts import Line, bar_chart, line_chart
from bar_fly_trading.report.run import RunReport
from bar_fly_trading.report.words import RULE_WORDS, price, story, times, usd

STYLE = """
:root{color-scheme:light dark;--ink:#1d2733;--soft:#5b6876;--paper:#fff;--card:#f5f7f9;--rule:#dde3e9;--a:#1769aa;--b:#c4571b;--c:#3a7d44}
@media (prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa7b4;--paper:#12181f;--card:#1b232c;--rule:#2d3843;--a:#6db3f2;--b:#f0955c;--c:#7fca8b}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1000px;margin:0 auto;padding:20px 16px 60px}h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.15rem;margin:2em 0 .5em}
p.lead{color:var(--soft);margin:.2em 0 1.2em}.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(200px,45%),1fr));gap:10px}
.card{background:var(--card);border-radius:8px;padding:10px 12px}.card b{display:block;font-size:1.3rem}.card span{color:var(--soft);font-size:.85rem}
figure{margin:1em 0;background:var(--card);border-radius:8px;padding:12px}figcaption{font-weight:600;margin-bottom:6px}
svg{width:100%;height:auto}svg text.axis{font-size:12px;fill:var(--soft)}svg .grid{stroke:var(--rule)}polyline{fill:none;stroke-width:2;vector-effect:non-scaling-stroke}
polyline.a{stroke:var(--a)}polyline.b{stroke:var(--b)}polyline.c{stroke:var(--c)}.key{font-weight:400;font-size:.85rem;margin-left:10px}
.key::before{content:"";display:inline-block;width:14px;height:3px;margin-right:5px;vertical-align:middle;background:currentColor}
.key.a::before{background:var(--a)}.key.b::before{background:var(--b)}.key.c::before{background:var(--c)}
.bar{display:grid;grid-template-columns:minmax(110px,160px) 1fr;gap:2px 10px;align-items:center;margin:5px 0}.bar .track{background:var(--rule);height:12px;border-radius:6px;overflow:hidden}
.bar .fill{display:block;height:100%;background:var(--a)}.bar .words{grid-column:2;color:var(--soft);font-size:.85rem}.bar .name{font-size:.85rem;overflow-wrap:anywhere}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.88rem}th,td{padding:5px 8px;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td.d{white-space:nowrap}td.w{min-width:220px}th{color:var(--soft);font-weight:600}
.bad{color:var(--b)}footer{margin-top:3em;color:var(--soft);font-size:.85rem}
p.story{font-size:1.08rem;margin:.4em 0 1.2em}
@media(max-width:640px){svg text.axis{font-size:21px}.bar{grid-template-columns:1fr}.bar .words{grid-column:1}
.rows thead{display:none}.rows,.rows tbody{display:block}.rows tr{display:block;padding:9px 0;border-bottom:1px solid var(--rule)}
.rows td{display:inline-block;border:0;padding:0 12px 0 0;text-align:left}.rows td[data-l]::before{content:attr(data-l) " ";color:var(--soft)}
.rows td.w{display:block;min-width:0;padding-top:3px}.rows td.o{font-weight:600}}
"""


def _card(value: str, label: str, style: str = "") -> str:
    return f'<div class="card"><b class="{style}">{escape(value)}</b><span>{escape(label)}</span></div>'


def _money_card(value: Decimal | None, label: str) -> str:
    return _card(usd(value), label, "bad" if value is not None and value < 0 else "")


def _cell(name: str, cls: str, text: str, named: bool) -> str:
    label = f' data-l="{escape(name)}"' if named and cls in {"n", "l"} else ""
    return f'<td class="{cls}"{label}>{escape(text)}</td>'


def _table(head: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]], *, folds: bool = False) -> str:
    """Return a table; head gives each column's name and its cells' class. Cells are escaped here.

    `folds`: on a phone each row becomes a paragraph (a long reason would be out of sight beside a wide table).
    Classes: n a number, l a value that needs its name, d a word kept whole, o the same and bold, w words.
    """
    top = "".join(f'<th class="{cls}">{escape(name)}</th>' for name, cls in head)
    body = "".join(
        "<tr>" + "".join(_cell(name, cls, cell, folds) for (name, cls), cell in zip(head, row, strict=True)) + "</tr>"
        for row in rows
    )
    kind = ' class="rows"' if folds else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _floats(values: Iterable[Decimal | None]) -> list[float | None]:
    return [None if v is None else float(v) for v in values]


def _headline(report: RunReport) -> str:
    s, last = report.sessions, report.sessions[-1]
    cards = [
        _card(str(sum(r.signals for r in s)), "signals"),
        _card(str(len(report.fills)), "fills"),
        _card(str(len(report.rejections)), "refused, each with its reason"),
        _money_card(last.paper_total_usd, "result of the paper book"),
        _money_card(last.shadow_total_usd, "result of the shadow book"),
    ]
    if last.net_liquidation_usd is not None:
        cards.append(_card(usd(last.net_liquidation_usd), "account's net liquidation"))
    cards += [_card(str(len(s)), "sessions"), _card(str(sum(n for _, n in report.mails)), "mails")]
    return f'<div class="cards">{"".join(cards)}</div>'


def _charts(report: RunReport) -> str:
    s = report.sessions
    labels = [r.session.isoformat() for r in s]
    made = line_chart(
        "Result since the start",
        labels,
        [
            Line("shadow book", "a", _floats(r.shadow_total_usd for r in s)),
            Line("paper book", "b", _floats(r.paper_total_usd for r in s)),
        ],
        "USD, commissions and dividends included",
    )
    rules = bar_chart(
        "Why signals were not traded",
        [
            (rule, float(n), f"{times(n)}: {RULE_WORDS.get(rule, 'see the table below')}")
            for rule, n in report.rejections_by_rule()
        ],
    )
    return made + rules


def _fills(report: RunReport) -> str:
    head = [
        ("session", "d"),
        ("mode", ""),
        ("order", "d o"),
        ("price", "n"),
        ("commission", "n"),
        ("slippage bp", "n"),
        ("strategy", ""),
        ("why", "w"),
    ]
    rows = [
        (
            f.session.isoformat(),
            f.mode,
            f"{f.side} {f.quantity} {f.symbol}",
            price(f.price_usd),
            usd(f.commission_usd),
            "-" if f.slippage_bp is None else f"{f.slippage_bp:+.1f}",
            f.strategy,
            f.reason,
        )
        for f in report.fills
    ]
    return _table(head, rows, folds=True) if rows else "<p>No order was filled.</p>"


def _rejections(report: RunReport) -> str:
    head = [
        ("session", "d"),
        ("mode", ""),
        ("signal", "d o"),
        ("rule", "d"),
        ("observed", "l"),
        ("limit", "l"),
        ("in words", "w"),
    ]
    rows = [
        (r.session.isoformat(), r.mode, f"{r.side} {r.symbol}", r.rule, r.observed, r.limit, r.reason)
        for r in report.rejections
    ]
    return _table(head, rows, folds=True) if rows else "<p>Nothing was refused.</p>"


def _sessions(report: RunReport) -> str:
    names = ("signals", "execute", "watch", "orders", "refused", "fills", "shadow day", "paper day")
    head = [("session", "d"), *((n, "n") for n in names), ("outcome", "")]
    rows = [
        (
            r.session.isoformat(),
            str(r.signals),
            str(r.entries_executable),
            str(r.watched),
            str(r.intents),
            str(r.rejections),
            str(r.fills),
            usd(r.shadow_day_usd),
            usd(r.paper_day_usd),
            r.outcome + ("; " + "; ".join(r.differences) if r.differences else ""),
        )
        for r in report.sessions
    ]
    return _table(head, rows)


def _positions(report: RunReport) -> str:
    head = [("book", ""), ("strategy", ""), ("held", "d o"), ("cost", "n"), ("last close", "n")]
    rows = [
        (p.mode, p.strategy, f"{p.quantity} {p.symbol}", usd(p.cost_usd), usd(p.mark_usd)) for p in report.positions
    ]
    return _table(head, rows, folds=True) if rows else "<p>Nothing is held.</p>"


def _others(report: RunReport) -> str:
    parts = []
    if report.excluded:
        rows = [(str(n), reason) for reason, n in report.excluded]
        parts.append("<h2>Symbols kept out</h2>" + _table([("evenings", "n"), ("reason", "w")], rows))
    if report.mails:
        parts.append("<h2>Mails</h2>" + _table([("kind", ""), ("count", "n")], [(k, str(n)) for k, n in report.mails]))
    parts += [f"<p>{escape(note)}</p>" for note in report.notes]
    return "".join(parts)


def to_html(report: RunReport) -> str:
    """Return the whole page as text; equal reports give equal bytes."""
    lead = (
        f"{report.first} to {report.last}. Models used: {', '.join(report.models) or 'none'}."
        if report.sessions
        else "No session has been run yet."
    )
    body = ""
    if report.sessions:
        body = (
            f'<p class="story">{escape(story(report))}</p>'
            + _headline(report)
            + _charts(report)
            + "<h2>Fills</h2>"
            + _fills(report)
            + "<h2>Held at the end</h2>"
            + _positions(report)
            + "<h2>Every refusal</h2>"
            + _rejections(report)
            + "<h2>Day by day</h2>"
            + _sessions(report)
            + _others(report)
        )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(report.title)}</title><style>{STYLE}</style></head>"
        f'<body><main><h1>{escape(report.title)}</h1><p class="lead">{escape(lead)}</p>{body}'
        "<footer>Shadow fills are made at the far touch of a quote and sent nowhere. "
        "Paper fills flatter: a paper account does not move the market.</footer></main></body></html>\n"
    )
