"""Every error of the program, grouped by what the operator must do about it.

BftError
├── FixSettings        (2)  correct a setting, a variable or a flag
├── FixInput           (3)  correct a file or value that was handed over
├── FixData            (4)  market data is missing, stale or wrong: pull, import or exclude
├── CheckGateway       (5)  IB Gateway cannot be reached, answers wrongly or went away
├── CheckVendor        (6)  Alpha Vantage refused: key, tier, limit or an unknown body
├── TrainModel         (7)  no usable model: train one
├── WaitForOtherRun    (8)  another run holds the home
├── FreeDisk           (9)  the disk refused a write; the old data is whole
├── DecideParked      (10)  an order's fate is unknown; a person must look
├── Refused           (11)  a safety interlock said no; nothing was done
├── NotBuilt          (12)  asked for something this version does not have
├── StoreDamaged      (13)  a kept file fails its checksum: restore it
├── DoneLess          (20)  the run ended, but did less than asked
├── DoneNotTold       (21)  the run ended, but a mail could not be delivered and waits in the outbox
└── DoneUnread        (22)  every signal was ranked and mailed, but the account could not be read

0 is done (also "no session today"), 1 a defect of the program, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations


class BftError(Exception):
    """An error that says what happened and what to do next; never raised itself, only its kinds."""

    exit_code = 1

    def __init__(self, message: str, *, way_out: str = "") -> None:
        """Take the message (thing and number) and the way out (a command or an action)."""
        super().__init__(message)
        self.message = message
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.message} {self.way_out}".strip()


class FixSettings(BftError):
    """A setting, variable or flag is wrong."""

    exit_code = 2


class FixInput(BftError):
    """A file or value handed over is wrong; nothing of it was taken."""

    exit_code = 3


class FixData(BftError):
    """Market data is missing, stale or wrong for what was asked."""

    exit_code = 4


class CheckGateway(BftError):
    """IB Gateway cannot be reached, answers wrongly, or went away."""

    exit_code = 5


class CheckVendor(BftError):
    """The data vendor refused: key, tier, rate limit, or a body never seen."""

    exit_code = 6


class TrainModel(BftError):
    """No usable model is there."""

    exit_code = 7


class WaitForOtherRun(BftError):
    """Another run holds the home."""

    exit_code = 8


class FreeDisk(BftError):
    """The disk refused a write; what was there before is whole."""

    exit_code = 9


class DecideParked(BftError):
    """An order may have left and cannot be proved either way: a person must look."""

    exit_code = 10


class Refused(BftError):
    """A safety interlock refused; nothing was sent."""

    exit_code = 11


class NotBuilt(BftError):
    """This version does not have what was asked for."""

    exit_code = 12


class StoreDamaged(BftError):
    """A kept file is missing or fails its checksum; it is never treated as empty."""

    exit_code = 13


class DoneLess(BftError):
    """The run ended in order but did less than was asked."""

    exit_code = 20


class DoneNotTold(BftError):
    """The run ended in order but some mail is still in the outbox."""

    exit_code = 21


class DoneUnread(BftError):
    """Every signal was ranked and mailed, but the account could not be read: nothing was planned."""

    exit_code = 22


EXIT_INTERRUPTED = 130
