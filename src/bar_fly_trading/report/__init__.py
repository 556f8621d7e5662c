"""Reports: the journal's records of some sessions as words, numbers and one self-contained page. Pure."""

from bar_fly_trading.report.html import to_html
from bar_fly_trading.report.run import FillRow, RejectionRow, RunReport, SessionRow, build_report
from bar_fly_trading.report.words import to_text

__all__ = ["FillRow", "RejectionRow", "RunReport", "SessionRow", "build_report", "to_html", "to_text"]
