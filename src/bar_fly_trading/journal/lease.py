"""The lease: who may send for an account, under a token that only rises. A holder that slept too long is fenced off.

The lock of a run (`files.RunLock`) keeps two runs of one home on one machine apart and goes with its process; it cannot see a
run elsewhere, nor a process that was stopped and woke. The lease can: its token is compared in the very transaction that
writes SENDING, and once more before the socket.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from bar_fly_trading.errors import Refused, WaitForOtherRun
from bar_fly_trading.journal.records import LEASES, RECORDS, row_sha256

SECOND_US = 1_000_000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(slots=True)
class Lease:
    """A lease that was taken. `valid_until_us` is by the journal's time, `monotonic_until_us` by this machine's own."""

    account: str
    token: int
    owner: str
    ttl_us: int
    monotonic_us: Callable[[], int]
    valid_until_us: int = 0
    monotonic_until_us: int = 0


def this_host() -> str:
    """Name this machine since it was started: equal only where the lock of a run is seen by both."""
    try:
        boot = _BOOT_ID.read_text("ascii").strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}".strip()


def this_owner(run_id: str) -> str:
    """Name this process for whoever waits for it."""
    return f"{run_id}, process {os.getpid()} on {socket.gethostname()}"


def take(
    connection: sa.Connection,
    account: str,
    *,
    owner: str,
    host: str,
    ttl_s: float,
    now_us: int,
    monotonic_us: Callable[[], int],
    alone_on_host: bool,
) -> Lease:
    """Take the lease inside a writing transaction, with a token above every earlier one.

    WaitForOtherRun where another holds it and it has not run out; with `alone_on_host` (the run's lock is held) one of this
    machine is a process that ended, and is taken over at once.
    """
    row = connection.execute(sa.select(LEASES).where(LEASES.c.account == account)).first()
    if row is not None and row.expires_at > now_us and not (alone_on_host and host and row.host == host):
        raise WaitForOtherRun(
            f"the right to send for {account} is held by {row.owner} (token {row.token}) for another"
            f" {(row.expires_at - now_us) / SECOND_US:.0f} s.",
            way_out="Wait until that run ends or its lease runs out, then run this again.",
        )
    newest = connection.execute(sa.select(sa.func.max(RECORDS.c.token))).scalar() or 0
    token = max(newest, 0 if row is None else row.token) + 1
    lease = Lease(account, token, owner, round(ttl_s * SECOND_US), monotonic_us)
    _write(connection, lease, host, now_us, new=row is None)
    return lease


def _write(connection: sa.Connection, lease: Lease, host: str, now_us: int, *, new: bool) -> None:
    until = now_us + lease.ttl_us
    values = {
        "account": lease.account,
        "token": lease.token,
        "owner": lease.owner,
        "host": host,
        "expires_at": until,
        "check": row_sha256(lease.account, lease.token, lease.owner, host, until),
    }
    if new:
        connection.execute(LEASES.insert().values(**values))
    else:
        connection.execute(LEASES.update().where(LEASES.c.account == lease.account).values(**values))
    lease.valid_until_us = until
    lease.monotonic_until_us = lease.monotonic_us() + lease.ttl_us


def lost(connection: sa.Connection, lease: Lease, now_us: int) -> str:
    """Say why the lease is not ours any more: another took over, or it ran out while we slept; '' while it stands."""
    return taken_over(connection, lease) or run_out(lease, now_us)


def taken_over(connection: sa.Connection, lease: Lease) -> str:
    """Say who took over, '' where nobody did."""
    row = connection.execute(sa.select(LEASES.c.token, LEASES.c.owner).where(LEASES.c.account == lease.account)).first()
    if row is None or row.token != lease.token:
        who = "nobody" if row is None else f"{row.owner} (token {row.token})"
        return f"the right to send for {lease.account} (token {lease.token}) has passed to {who}"
    return ""


def run_out(lease: Lease, now_us: int) -> str:
    """Say that the lease ran out by the journal's time or by the machine's own, '' where it did not."""
    late = max(now_us - lease.valid_until_us, lease.monotonic_us() - lease.monotonic_until_us)
    if late < 0:
        return ""
    seconds = lease.ttl_us / SECOND_US
    return (
        f"the right to send for {lease.account} (token {lease.token}) ran out {late / SECOND_US:.1f} s ago: this run stood still"
        f" for longer than {seconds:g} s"
    )


def renew(connection: sa.Connection, lease: Lease, now_us: int) -> None:
    """Extend the lease inside a writing transaction; Refused where it is not ours any more or ran out."""
    refuse(lost(connection, lease, now_us))
    host = connection.execute(sa.select(LEASES.c.host).where(LEASES.c.account == lease.account)).scalar_one()
    _write(connection, lease, host, now_us, new=False)


def give_back(connection: sa.Connection, lease: Lease, now_us: int) -> None:
    """Let the lease run out now, where it is still ours; its token stays the newest."""
    if taken_over(connection, lease):
        return
    host = connection.execute(sa.select(LEASES.c.host).where(LEASES.c.account == lease.account)).scalar_one()
    lease.ttl_us = 0
    _write(connection, lease, host, now_us, new=False)


def live_other(connection: sa.Connection, now_us: int) -> str:
    """Say who holds any lease that has not run out, '' where nobody does."""
    row = connection.execute(sa.select(LEASES).where(LEASES.c.expires_at > now_us)).first()
    return "" if row is None else f"the right to send for {row.account} is held by {row.owner} (token {row.token})"


def refuse(reason: str) -> None:
    """Raise Refused for a reason, unless it is ''."""
    if reason:
        raise Refused(
            f"{reason}; nothing more was sent or written.",
            way_out="Run the command again: it looks up what is at the broker and sends nothing twice.",
        )
