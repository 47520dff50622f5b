"""What a worker claims: jobs, with the chains that they have waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from jobctl.claiming import Claim
from jobctl.ids import new_id
from jobctl.storage import reading
from jobctl.storage.decoding import held_of
from jobctl.storage.front import Front
from jobctl.storage.records import ChainRow, JobRow
from jobctl.storage.store import Store


class Claimed(NamedTuple):
    """Jobs that were claimed.

    Attributes:
        rows: The jobs, the first to be run first.
        blockers: The chains that each of some has waited for, by the job's id.
    """

    rows: Sequence[JobRow] = ()
    blockers: Mapping[str, tuple[ChainRow, ...]] = {}


class Claims:
    """Used by the worker's loop alone."""

    def __init__(
        self, store: Store, types: Mapping[str, float], worker: str, front: Front, claim: Claim | None
    ) -> None:
        """Claim nothing yet.

        Args:
            store: The database.
            types: How many seconds a lease holds, by the types of the worker's jobs.
            worker: The worker's name.
            front: Where claims go on.
            claim: Takes jobs in the store's place.
        """
        self.own = claim
        self._store = store
        self._types = types
        self._worker = worker
        self._front = front
        self._unread: Sequence[JobRow] = ()  # claimed, when the database went away before their blockers were read

    def within(self, conn: Connection, most: int) -> Claimed:
        """Take up to so many jobs in a transaction."""
        lease = new_id()
        if self.own is not None:
            rows = self.own(conn, self._types, most, worker=self._worker, lease=lease)
        else:
            rows = self._store.claim(conn, self._types, most, worker=self._worker, lease=lease, front=self._front)
        return Claimed(rows, reading.blockers(conn, rows))

    def alone(self, most: int) -> Claimed:
        """Take up to so many jobs in a transaction of its own, and in less time."""
        self.give_back()
        rows = self._store.claim_alone(self._types, most, worker=self._worker, lease=new_id(), front=self._front)
        if not any(each.blocker_count for each in rows):
            return Claimed(rows)
        self._unread = rows
        with self._store.work(read_only=True) as conn:
            claimed = Claimed(rows, reading.blockers(conn, rows))
        self._unread = ()
        return claimed

    def give_back(self) -> None:
        """Give back jobs that were claimed and could not be handed over, as if they had never been claimed."""
        if self._unread:
            with self._store.work() as conn:
                self._store.release(conn, map(held_of, self._unread))
            self._unread = ()
