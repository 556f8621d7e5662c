"""Telling an outside witness that a run began, succeeded or failed. It never fails a run."""

from __future__ import annotations

TIMEOUT_S = 5.0
SUFFIXES = {"start": "/start", "success": "", "fail": "/fail"}


def ping(url: str, event: str, *, timeout_s: float = TIMEOUT_S) -> str:
    """Get the ping URL for `start`, `success` or `fail`; return '' where it answered or none is set, else what went wrong.

    The URL holds a token and never appears in the answer.
    """
    if not url:
        return ""
    import httpx  # a tenth of a second, for those alone who set a ping URL

    try:
        address = httpx.URL(url)
        address = address.copy_with(path=address.path.rstrip("/") + SUFFIXES[event] or "/")
        answer = httpx.get(address, timeout=timeout_s, follow_redirects=True)
    except httpx.TimeoutException:
        return f"the ping URL did not answer within {timeout_s:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict) as error:
        return f"the ping URL cannot be reached ({type(error).__name__})"
    return "" if answer.is_success else f"the ping URL answered {answer.status_code}"
