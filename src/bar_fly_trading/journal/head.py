"""How far the journal had come, kept beside it: a chain proves what is in it, but not that its end is still there.

One line `SEQ HASH CHECK` in JOURNAL.head, published whole. It may lag behind the journal (a killed run), never run ahead of it.
A copy from a backup has none, which is how a restored journal is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bar_fly_trading.errors import StoreDamaged
from bar_fly_trading.files import publish_bytes, sha256_bytes

HEAD_SUFFIX = ".head"


@dataclass(frozen=True, slots=True)
class Head:
    """The journal's last record: its seq (0: none yet) and hash."""

    seq: int
    hash: str


def head_path(journal: Path) -> Path:
    """Return where a journal's head is kept."""
    return journal.with_name(journal.name + HEAD_SUFFIX)


def read_head(journal: Path) -> Head | None:
    """Return the kept head, None where there is none; StoreDamaged where the file is none."""
    path = head_path(journal)
    try:
        text = path.read_bytes().decode()
        seq, digest, check = text.split()
        head = Head(int(seq), digest)
    except FileNotFoundError:
        return None
    except ValueError:
        text, head, check = "", Head(0, ""), ""
    if text != _line(head):
        raise StoreDamaged(
            f"{path}, which says how far the journal had come, is damaged (checksum {check[:16] or 'unreadable'},"
            f" computed {_check(head)[:16]}); nothing was sent.",
            way_out="Look at bft journal verify; if only this file is damaged, bft journal adopt takes the journal as it is.",
        )
    return head


def keep_head(journal: Path, head: Head) -> None:
    """Publish the head; FreeDisk where the disk refuses."""
    publish_bytes(head_path(journal), _line(head).encode())


def _check(head: Head) -> str:
    return sha256_bytes(f"{head.seq} {head.hash}".encode())


def _line(head: Head) -> str:
    return f"{head.seq} {head.hash} {_check(head)}\n"
