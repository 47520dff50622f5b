"""The calls with which a person acts on chains; each leaves who did it in the history.

Most programs call few of them: what they need is imported when they are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from jobctl.asking import ListFilter
from jobctl.client.connected import Connected
from jobctl.errors import NotFoundError
from jobctl.ids import require_id
from jobctl.model import Job, Schedule
from jobctl.naming import type_name_of
from jobctl.processors import AnyProcessor
from jobctl.storage.records import JobRow
from jobctl.storage.store import Store

if TYPE_CHECKING:
    from jobctl.claiming import OneJob
    from jobctl.inside import Inside
    from jobctl.settling import Current


class HandCalls(Connected):
    """Settling, moving and deleting by hand."""

    @contextmanager
    def settle(
        self,
        id: str,  # noqa: A002 - the field's name everywhere
        *,
        expect: str | AnyProcessor | None = None,
        force: bool = False,
        actor: str | None = None,
        note: str | None = None,
        inside: Inside | None = None,
        conn: Connection | None = None,
    ) -> Iterator[Current]:
        """Lock a chain and its current job, to settle it in the block; leaving without changes nothing.

        Args:
            id: The chain, or a job that must still be the chain's current one.
            expect: The type that the current job must have.
            force: Settle a job although it waits for other chains.
            actor: Who, for the history; user@host unless given.
            note: Why, for the history.
            inside: The attempt whose command the caller is: if it is this job's, the job must be held by it still.
            conn: The caller's transaction.

        Raises:
            NotFoundError: There is no such chain or job.
            AlreadySettledError: The chain is closed, or the job not its current one any more.
            GuardError: The current job is of another type than expected.
            AttemptLostError: The attempt does not hold its job any more.
        """
        from jobctl.acts import Hand
        from jobctl.settling import Current
        from jobctl.storage import reading

        wanted = require_id(id)
        if inside is None:
            self._check_note(note)
        with self._writing(conn) as (store, on):
            row = self._lock(store, on, wanted)
            waits_for = reading.blocker_ids(on, [row]).get(row.id, ())
            current = Current(
                store,
                on,
                self.processors,
                row,
                waits_for,
                force=force,
                hand=Hand.of(actor, note),
                inside=inside,
            )
            current.check(wanted, None if expect is None else type_name_of(expect))
            if not current.is_its_commands:
                self._check_note(note)
            yield current

    @staticmethod
    def _lock(store: Store, conn: Connection, wanted: str) -> JobRow:
        from jobctl.storage import reading

        row = store.lock_last(conn, wanted)
        if row is None:
            job = reading.jobs(conn, [wanted]).get(wanted)
            row = None if job is None else store.lock_last(conn, job.chain_id)
        if row is None:
            raise NotFoundError(f"there is no chain or job {wanted}", id=wanted)
        return row

    def claim_of(
        self,
        id: str,  # noqa: A002 - as above
        *,
        now: bool = False,
        actor: str | None = None,
        note: str | None = None,
    ) -> OneJob:
        """How a worker takes this job and no other: ``Worker(store, registry, options, claim=client.claim_of(id))``.

        Args:
            id: The chain, or a job that must still be the chain's current one.
            now: Trigger a scheduled job; else that is refused.
            actor: Who triggers it, for the history; user@host unless given.
            note: Why, for the history.
        """
        from jobctl.claiming import OneJob

        return OneJob(self._ready(), id, now=self._hand(actor, note) if now else None)

    def trigger(
        self,
        ids: Iterable[str],
        *,
        within: ListFilter | None = None,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> list[Job[Any]]:
        """Have scheduled jobs run now, the first given first; all or none.

        Args:
            ids: Chains, or jobs that must still be their chains' current ones.
            within: The ids are of chains, and those that this filter does not match any more are passed over: what
                ``select`` found may have moved on meanwhile.
            actor: Who, for the history; user@host unless given.
            note: Why, for the history.
            conn: The caller's transaction.

        Returns:
            The jobs, in the order given.

        Raises:
            NotFoundError: One does not exist.
            AlreadySettledError: One is closed, or not its chain's current job any more.
            NotWaitingError: One is neither scheduled nor ready.
        """
        from jobctl import moving
        from jobctl.selecting import still

        hand = self._hand(actor, note)
        with self._writing(conn) as (store, on):
            return moving.trigger(store, on, still(store, on, ids, within), hand)

    def reschedule(
        self,
        ids: Iterable[str],
        *,
        after: timedelta | str | None = None,
        at: datetime | None = None,
        priority: int | None = None,
        within: ListFilter | None = None,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> list[Job[Any]]:
        """Move scheduled or ready jobs to another time, another priority, or both; all or none. See trigger."""
        from jobctl import moving
        from jobctl.selecting import still

        schedule = None if after is None and at is None else Schedule.of(after, at)
        hand = self._hand(actor, note)
        with self._writing(conn) as (store, on):
            return moving.reschedule(store, on, still(store, on, ids, within), schedule, priority, hand)

    def delete(
        self,
        chain_ids: Iterable[str],
        *,
        cascade: bool = False,
        keep_awaited: bool = False,
        within: ListFilter | None = None,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> list[str]:
        """Delete chains with all that belongs to them. A worker that is on one is told.

        Args:
            chain_ids: The chains. Of several, those that do not exist are passed over.
            cascade: With all chains that they wait or waited for, and that those do.
            keep_awaited: Pass over what an open chain waits for, unless that is deleted too, instead of refusing.
            within: Pass over those that this filter does not match any more, and missing ones.
            actor: Who, for the history, which stays.
            note: Why, for the history.
            conn: The caller's transaction.

        Returns:
            What was deleted.

        Raises:
            NotFoundError: The only one given does not exist.
            ReferencedError: An open chain that is not deleted too waits for one.
        """
        from jobctl import deleting
        from jobctl.selecting import still

        hand = self._hand(actor, note)
        with self._writing(conn) as (store, on):
            wanted = still(store, on, chain_ids, within)
            return deleting.delete(store, on, wanted, hand, cascade=cascade, keep_awaited=keep_awaited)
