"""Which server version a client and this Gateway have in common."""

from __future__ import annotations

import re

from bar_fly_simulators.gateway.framing import MalformedMessage

SERVER_VERSION_MIN, SERVER_VERSION = 176, 178
_VERSIONS = re.compile(r"v(\d{1,4})\.\.(\d{1,4})(?: .*)?")


def negotiated(versions: str) -> int:
    """Return the server version for a client's `v157..178`; MalformedMessage where it speaks none from 176 to 178."""
    match = _VERSIONS.fullmatch(versions)
    if match is None:
        raise MalformedMessage(f"the client asks for {versions[:40]!r}, not for versions like v157..178")
    lowest, highest = int(match[1]), int(match[2])
    version = min(SERVER_VERSION, highest)
    if version < SERVER_VERSION_MIN or lowest > version:
        text = (
            f"the client speaks versions {lowest} to {highest}; this Gateway {SERVER_VERSION_MIN} to {SERVER_VERSION}"
        )
        raise MalformedMessage(text)
    return version
