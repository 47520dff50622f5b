"""The calls of people on call: another round, the end, a new beginning, a pause; each is kept in the history.

Most programs call few of them: what they need is imported when they are called.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from jobctl.asking import CARRIED, ListFilter
from jobctl.client.connected import Connected
from jobctl.model import Chain, Job, Pause, Schedule


class OperatingCalls(Connected):
    """Retrying, cancelling, restarting, pausing."""

    def retry(
        self,
        ids: Iterable[str],
        *,
        within: ListFilter | None = None,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> list[Job[Any]]:
        """Give failed jobs another round: due now, the first given first, their attempts counted anew; all or none.

        Args:
            ids: Chains, or jobs that must still be their chains' current ones.
            within: The ids are of chains, and those that this filter does not match any more are passed over.
            actor: Who, for the history; user@host unless given.
            note: Why, for the history.
            conn: The caller's transaction.

        Returns:
            The jobs, in the order given. The errors of their earlier rounds are kept.

        Raises:
            NotFoundError: One does not exist.
            AlreadySettledError: One is closed, or not its chain's current job any more.
            NotFailedError: One has not failed.
        """
        from jobctl import moving
        from jobctl.selecting import still

        hand = self._hand(actor, note)
        with self._writing(conn) as (store, on):
            return moving.retry(store, on, still(store, on, ids, within), hand)

    def cancel(
        self,
        ids: Iterable[str],
        *,
        reason: str | None = None,
        cascade: bool = False,
        keep_awaited: bool = False,
        within: ListFilter | None = None,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> list[Chain]:
        """Close chains as cancelled, wherever they stand; all or none. A running attempt is told.

        Args:
            ids: Chains, or jobs that must still be their chains' current ones.
            reason: Why the work is not wanted any more; the note too, unless that is given.
            cascade: With all open chains that wait for them, and that wait for those.
            keep_awaited: Pass over what an open chain waits for, unless that is cancelled too, instead of refusing.
            within: The ids are of chains, and those that this filter does not match any more are passed over.
            actor: Who, for the history; user@host unless given.
            note: Why, for the history.
            conn: The caller's transaction.

        Returns:
            The chains, in the order given, and then those that waited for them.

        Raises:
            NotFoundError: One does not exist.
            AlreadySettledError: One is closed already, or was named by a job that is not current any more.
            ReferencedError: An open chain that is not cancelled too waits for one.
        """
        from jobctl import cancelling
        from jobctl.selecting import still

        hand = self._hand(actor, reason if note is None else note)
        with self._writing(conn) as (store, on):
            wanted = still(store, on, ids, within)
            return cancelling.cancel(store, on, wanted, reason, hand, cascade=cascade, keep_awaited=keep_awaited)

    def restart(
        self,
        chain_id: str,
        *,
        from_job: str | None = None,
        input: Any = CARRIED,  # noqa: A002 - the field's name everywhere
        after: timedelta | str | None = None,
        at: datetime | None = None,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> Chain:
        """Start a new chain with the type, the input and the priority of a job of another chain, open or closed.

        The histories of both name the other. What the old one waited for, and its key, do not matter to the new one.

        Args:
            chain_id: The chain.
            from_job: Which of its jobs; its first one unless given.
            input: An input in place of that job's.
            after: A delay before the new chain is due.
            at: The time it is due.
            actor: Who, for the history; user@host unless given.
            note: Why, for the history.
            conn: The caller's transaction.

        Raises:
            NotFoundError: There is no such chain or job.
            UsageError: The job is another chain's.
            InvalidDataError: The processor of that type does not take the input.
        """
        from jobctl import restarting

        hand = self._hand(actor, note)
        schedule = Schedule.of(after, at)
        with self._writing(conn) as (store, on):
            return restarting.restart(store, on, self.processors, chain_id, from_job, input, schedule, hand)

    def pause(
        self,
        ids: Iterable[str] = (),
        *,
        types: Iterable[str] = (),
        everything: bool = False,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> list[Pause]:
        """Have nothing of chains, of types, or at all be claimed until it is resumed; all or none. What runs goes on.

        What is paused already stays as it is. A chain whose handler has its completing transaction open is waited for.
        In a transaction of its own it returns once claims under way have ended too.

        Args:
            ids: Chains, or jobs that must still be their chains' current ones.
            types: Types of jobs.
            everything: All there are.
            actor: Who, for the history; user@host unless given.
            note: Why, for the history.
            conn: The caller's transaction.

        Returns:
            The pauses that there are now: of all, of types, of chains.

        Raises:
            NotFoundError: A chain does not exist.
            AlreadySettledError: A chain is closed.
            UsageError: Nothing is named.
        """
        from jobctl import pausing

        hand = self._hand(actor, note)
        target = pausing.Target.of(ids, types, everything=everything)
        with self._writing(conn) as (store, on):
            paused = pausing.pause(store, on, target, hand)
        if conn is None and target.types:
            pausing.await_claims(self.store)
        return paused

    def resume(
        self,
        ids: Iterable[str] = (),
        *,
        types: Iterable[str] = (),
        everything: bool = False,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> list[Pause]:
        """End pauses, each in the way it was made, and tell idle workers; all or none. See pause.

        Returns:
            The pauses that were ended; what was not paused is passed over.
        """
        from jobctl import pausing

        hand = self._hand(actor, note)
        target = pausing.Target.of(ids, types, everything=everything)
        with self._writing(conn) as (store, on):
            return pausing.resume(store, on, target, hand)
