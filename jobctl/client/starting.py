"""The calls that start chains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from jobctl.asking import Key, NewChain, Slot
from jobctl.client.connected import Connected
from jobctl.ids import fresh_ids
from jobctl.model import Chain
from jobctl.processors import AnyProcessor
from jobctl.starting import Started, first_job, is_unrelated, start_jobs, start_unrelated
from jobctl.storage.decoding import chain_of
from jobctl.storage.records import NewJob


class StartingCalls(Connected):
    """Starting chains."""

    def start(
        self,
        type_name: str | AnyProcessor,
        input: Any = None,  # noqa: A002 - the field's name everywhere
        *,
        after: timedelta | str | None = None,
        at: datetime | None = None,
        blocked_by: Sequence[str] = (),
        priority: int = 0,
        id: str | None = None,  # noqa: A002 - as above
        key: Key | Slot | str | None = None,
        conn: Connection | None = None,
    ) -> Chain:
        """Start a chain, or find the one that has its key.

        Args:
            type_name: The type of its first job, or the processor.
            input: That job's input.
            after: A delay before it is due.
            at: The time it is due; in the past means now.
            blocked_by: Ids of the chains that must complete first.
            priority: Higher goes first, -1000 to 1000.
            id: An id of the caller's own, a UUID.
            key: Names the work: while a chain of this type with this key is open, that is the result, with
                ``deduplicated`` set. A Key says more; a Slot makes one of the input and the time.
            conn: The caller's transaction.

        Raises:
            InvalidDataError: The input or the type is not acceptable.
            NotFoundError: A blocker does not exist.
            DuplicateIdError: The id is taken.
            DuplicateKeyError: The key is, and its chain was not wanted instead.
        """
        chain = NewChain(type_name, input, after, at, blocked_by, priority, id, key)
        if conn is None and is_unrelated(chain):
            return self._start_alone(chain)
        (started,) = self.start_many([chain], conn=conn)
        return started

    def start_many(self, chains: Iterable[NewChain], *, conn: Connection | None = None) -> Sequence[Chain]:
        """Start many chains at once, all or none; without keys and blockers in few statements.

        Returns:
            The chains in the order given, each made when it is first read; those with ``deduplicated`` existed before,
            or are others of these.

        Raises:
            UsageError: An argument of one is not acceptable.
            InvalidDataError: The input or the type of one is not.
            NotFoundError: A blocker does not exist.
            DuplicateIdError: An id is taken, or given twice.
            DuplicateKeyError: A key is taken, and its chain was not wanted instead.
        """
        chains = list(chains)
        unrelated = all(map(is_unrelated, chains))
        if unrelated and conn is None and len(chains) == 1:
            return Started([self._start_alone(chains[0])])
        draw = fresh_ids(len(chains)).__next__
        jobs: Iterable[NewJob] = (first_job(self.processors, each, draw) for each in chains)
        if unrelated and all(each.id is None for each in chains):
            if not self._ready().many_writers:  # nobody shall wait meanwhile
                jobs = list(jobs)
            with self._writing(conn) as (store, on):
                return start_unrelated(store, on, jobs)
        made = list(jobs)
        with self._writing(conn) as (store, on):
            return start_jobs(store, on, self.processors, made)

    def _start_alone(self, chain: NewChain) -> Chain:
        """Start an unrelated chain in a transaction of its own."""
        job = first_job(self.processors, chain)
        return chain_of(self._ready().start_alone(job))

    def check(self, chain: NewChain) -> None:
        """Refuse what start would refuse without asking the database.

        Raises:
            UsageError: An argument is not acceptable.
            InvalidDataError: The input or the type is not.
        """
        first_job(self.processors, chain)
