"""What takes jobs for a worker; and the claim of one job by its id, for a worker that is to work nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sqlalchemy import Connection

from jobctl.acts import Hand
from jobctl.errors import BlockedError, GuardError, NotReadyError
from jobctl.ids import require_id
from jobctl.locking import lock_named
from jobctl.model import Status, utc
from jobctl.moving import trigger
from jobctl.storage import reading
from jobctl.storage.claiming import claim_chains, is_paused
from jobctl.storage.records import JobRow
from jobctl.storage.store import Store


class Claim(Protocol):
    """How a worker takes jobs: as ``Store.claim`` does, unless it is told otherwise."""

    def __call__(
        self, conn: Connection, types: Mapping[str, float], limit: int, *, worker: str, lease: str
    ) -> list[JobRow]:
        """Take up to so many jobs of these types."""


class OneJob(Claim):
    """A worker's claim that takes one job, or says why it cannot be taken.

    Example:
        ::

            options = WorkerOptions(types=["resize"], concurrency=1, max_jobs=1)
            Worker(store, registry, options, claim=OneJob(store, chain_id)).run()
    """

    def __init__(self, store: Store, id: str, *, now: Hand | None = None) -> None:  # noqa: A002 - as everywhere
        """Make a claim; nothing is asked yet.

        Args:
            store: The database.
            id: The chain, or a job that must still be the chain's current one.
            now: Who has a scheduled job run now; None: that is refused.
        """
        self._store = store
        self._wanted = require_id(id)
        self._now = now

    def __call__(
        self, conn: Connection, types: Mapping[str, float], limit: int, *, worker: str, lease: str
    ) -> list[JobRow]:
        """Take the job; see ``Store.claim``.

        Raises:
            NotFoundError: There is no such chain or job.
            AlreadySettledError: The chain is closed, or the job not its current one any more.
            GuardError: Its type is none of these.
            BlockedError: The job waits for other chains.
            NotReadyError: It is running, failed, paused, or not due yet.
        """
        (row,) = lock_named(self._store, conn, [self._wanted])
        if row.type_name not in types:  # the chain has gone on since somebody looked
            raise GuardError(
                f"the chain {row.chain_id} is at '{row.type_name}' now, which this worker does not take",
                chain_id=row.chain_id,
                expected=", ".join(sorted(types)),
                current=row.type_name,
            )
        what = f"the job {row.id} of '{row.type_name}'"
        if row.status == Status.BLOCKED:
            waits_for = _waits_for(conn, row)
            raise BlockedError(f"{what} still waits for {', '.join(waits_for)}", id=row.id, waits_for=waits_for)
        if reason := self._reason(conn, row):
            raise NotReadyError(f"{what} {reason}", id=row.id, status=row.status)
        if row.status == Status.SCHEDULED and self._now is not None:
            trigger(self._store, conn, [row.id], self._now)
        return claim_chains(self._store, conn, {row.chain_id: types[row.type_name]}, worker=worker, lease=lease)

    def _reason(self, conn: Connection, row: JobRow) -> str | None:
        """Why the job cannot be taken, if so."""
        if row.status == Status.RUNNING:
            until = "" if row.leased_until is None else f" until {utc(row.leased_until).isoformat(timespec='seconds')}"
            return f"is running: the worker {row.worker} has it{until}, unless it renews its lease"
        if row.status == Status.FAILED:
            return "is failed: retry it first"
        if is_paused(conn, row.chain_id):
            return "is paused, or its type is: resume it first"
        if row.status == Status.SCHEDULED and self._now is None:
            due = utc(row.scheduled_at).isoformat(timespec="seconds")
            return f"is not due before {due}: --now runs it all the same"
        return None


def _waits_for(conn: Connection, row: JobRow) -> list[str]:
    ids = reading.blocker_ids(conn, [row])[row.id]
    chains = reading.chains(conn, ids)
    return [each for each in ids if chains[each].status != Status.COMPLETED]
