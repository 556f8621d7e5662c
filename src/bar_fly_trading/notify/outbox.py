"""The outbox: every mail is a file before it is sent, and stays one until the server has taken it.

OUTBOX/NAME.eml            waits to be sent
OUTBOX/NAME.eml.accepted   who has it already, where the server took it for some recipients only
OUTBOX/sent/NAME.eml       the server took it
OUTBOX/kept/NAME.eml       written while no mail was configured; never sent later
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bar_fly_trading.errors import WaitForOtherRun
from bar_fly_trading.files import RunLock, disk_refused, fsync_folder, make_folder, publish_bytes
from bar_fly_trading.notify.message import MailMessage, to_bytes
from bar_fly_trading.notify.route import MailRoute
from bar_fly_trading.notify.smtp import Conversation, SmtpFailed, Step

ACCEPTED_SUFFIX = ".accepted"
SENT, KEPT = "sent", "kept"


@dataclass(frozen=True, slots=True)
class Told:
    """What became of mails: files now under sent/, files still queued, files kept unsent, and the reason in words.

    `complete`: nothing waits. Mail that is not configured is complete: its files are kept, which `reason` says.
    """

    delivered: tuple[Path, ...] = ()
    queued: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()
    reason: str = ""
    steps: tuple[Step, ...] = field(default=(), repr=False)

    @property
    def complete(self) -> bool:
        """Whether no mail waits in the outbox."""
        return not self.queued


@dataclass(frozen=True, slots=True)
class Outbox:
    """The mails of one home. Only the disk can make it raise (FreeDisk); a mail server never does."""

    root: Path

    def queue(self, message: MailMessage, route: MailRoute) -> Path:
        """Write a mail down and return its file; one of the same identity that was queued, sent or kept before stays."""
        name = message.file_name
        for known in (self.root / name, self.root / SENT / name, self.root / KEPT / name):
            if known.exists():
                return known
        path = (self.root if route.configured else self.root / KEPT) / name
        publish_bytes(path, to_bytes(message, route))
        return path

    def pending(self) -> tuple[Path, ...]:
        """Return the mails that wait, oldest session first."""
        return tuple(sorted(self.root.glob("*.eml")))

    def tell(self, messages: Iterable[MailMessage], route: MailRoute) -> Told:
        """Queue mails, then send everything that waits; the result tells which files went where."""
        written = tuple(self.queue(message, route) for message in messages)
        told = self.flush(route)
        kept = tuple(path for path in written if path.parent.name == KEPT)
        reason = told.reason or (f"mail is not configured: {route.missing}" if kept else "")
        return Told(told.delivered, told.queued, kept, reason, told.steps)

    def flush(self, route: MailRoute) -> Told:
        """Send every mail that waits over one connection; what fails stays queued and the first reason is told."""
        waiting = self.pending()
        if not waiting:
            return Told()
        if not route.configured:
            return Told(queued=waiting, reason=f"mail is not configured: {route.missing}")
        try:
            with RunLock(self.root / "lock"):
                return self._send_all(self.pending(), route)
        except WaitForOtherRun as error:
            return Told(queued=self.pending(), reason=error.message)

    def _send_all(self, waiting: tuple[Path, ...], route: MailRoute) -> Told:
        delivered: list[Path] = []
        reasons: list[str] = []
        conversation = Conversation(route)
        try:
            with conversation:
                for path in waiting:
                    reason = self._send_one(conversation, path, route)
                    if reason:
                        reasons.append(reason)
                    else:
                        delivered.append(self.root / SENT / path.name)
        except SmtpFailed as error:
            reasons.append(str(error))
        return Told(tuple(delivered), self.pending(), (), reasons[0] if reasons else "", tuple(conversation.steps))

    def _send_one(self, conversation: Conversation, path: Path, route: MailRoute) -> str:
        note = path.with_name(path.name + ACCEPTED_SUFFIX)
        have = note.read_text(encoding="utf-8").split() if note.exists() else []
        left = [address for address in route.recipients if address not in have]
        if left:
            delivery = conversation.send(path.read_bytes(), left)
            if delivery.reason:
                return delivery.reason
            if delivery.refused:
                publish_bytes(note, "\n".join([*have, *delivery.accepted, ""]).encode())
                return "; ".join(f"{address} is refused: {words}" for address, words in delivery.refused)
        self._move_to_sent(path, note)
        return ""

    def _move_to_sent(self, path: Path, note: Path) -> None:
        make_folder(self.root / SENT)
        try:
            path.replace(self.root / SENT / path.name)
            note.unlink(missing_ok=True)
            fsync_folder(self.root / SENT)
            fsync_folder(self.root)
        except OSError as error:
            raise disk_refused(path, error) from error


def try_route(message: MailMessage, route: MailRoute) -> Told:
    """Send one mail straight away, writing nothing, and return every step; for `bft notify --test`."""
    conversation = Conversation(route)
    try:
        with conversation:
            delivery = conversation.send(to_bytes(message, route), route.recipients)
    except SmtpFailed as error:
        return Told(reason=str(error), steps=tuple(conversation.steps))
    refused = "; ".join(f"{address} is refused: {words}" for address, words in delivery.refused)
    return Told(reason=delivery.reason or refused, steps=tuple(conversation.steps))
