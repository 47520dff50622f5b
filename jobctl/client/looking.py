"""The calls that read, and that wait.

A program that only starts chains calls none of them: what they need is imported when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from jobctl.asking import ListFilter, Page
from jobctl.client.connected import Connected
from jobctl.errors import NotFoundError
from jobctl.ids import require_id, unique_ids
from jobctl.model import Chain, ChainDetail, Job, Schedule
from jobctl.processors import AnyProcessor

EVERYTHING = ListFilter()


class LookingCalls(Connected):
    """Looking at chains and jobs, and waiting for them."""

    def get(
        self, chain_id: str, *, type_name: str | AnyProcessor | None = None, conn: Connection | None = None
    ) -> Chain:
        """A chain.

        Raises:
            NotFoundError: There is none with this id.
            GuardError: It is not of the type asked for.
        """
        from jobctl.finding import of_type, one
        from jobctl.storage import reading
        from jobctl.storage.decoding import chain_of

        wanted = require_id(chain_id)
        with self._ready().on(conn, read_only=True) as on:
            return of_type(chain_of(one(reading.chains(on, [wanted]), wanted, "chain")), type_name)

    def get_job(
        self, job_id: str, *, type_name: str | AnyProcessor | None = None, conn: Connection | None = None
    ) -> Job[Any]:
        """A job.

        Raises:
            NotFoundError: There is none with this id.
            GuardError: It is not of the type asked for.
        """
        from jobctl.finding import of_type, one
        from jobctl.storage import reading
        from jobctl.storage.decoding import job_of

        wanted = require_id(job_id)
        with self._ready().on(conn, read_only=True) as on:
            row = one(reading.jobs(on, [wanted]), wanted, "job")
            return of_type(job_of(row, reading.blocker_ids(on, [row])), type_name)

    def show(self, id: str, *, conn: Connection | None = None) -> ChainDetail:  # noqa: A002 - as above
        """A chain with its jobs, blockers, dependents, errors and history, by its id or that of any of its jobs.

        Raises:
            NotFoundError: There is no such chain or job.
        """
        from jobctl.storage import history, reading
        from jobctl.storage.decoding import detail_of

        wanted = require_id(id)
        with self._ready().on(conn, read_only=True) as on:
            found = reading.detail(on, wanted)
            if found is None:
                job = reading.jobs(on, [wanted]).get(wanted)
                found = None if job is None else reading.detail(on, job.chain_id)
            gone = [] if found is not None else history.deletions(on, wanted)
        if gone:
            raise NotFoundError(f"the chain {wanted} was deleted by {gone[-1]}: its history is kept", id=wanted)
        if found is None:
            raise NotFoundError(f"there is no chain or job {wanted}", id=wanted)
        return detail_of(found)

    def list_chains(self, wanted: ListFilter = EVERYTHING, *, conn: Connection | None = None) -> Page[Chain]:
        """A page of chains, by the time they were started."""
        from jobctl.storage import reading
        from jobctl.storage.decoding import chain_of

        with self._ready().on(conn, read_only=True) as on:
            rows, cursor = reading.list_chains(on, _checked(wanted))
        return Page(tuple(chain_of(row) for row in rows), cursor)

    def select(self, wanted: ListFilter, *, limit: int | None = None, conn: Connection | None = None) -> Iterator[str]:
        """The ids of all chains that a list would show, however many: to act on them in ``jobctl.ids.batches``.

        They are read some thousands at a time, each time in a transaction of its own unless ``conn`` is given. An
        act's ``within`` passes over those that do not match any more when their turn comes.

        Args:
            wanted: Which chains, and in which order; its page is not looked at.
            limit: At most so many.
            conn: The caller's transaction.

        Example:
            ::

                later = ListFilter(type_name="resize", statuses=(Status.SCHEDULED,))
                for batch in batches(client.select(later)):
                    client.trigger(batch, within=later)
        """
        from jobctl.selecting import walk

        return walk(self._ready(), conn, _checked(wanted), limit)

    def matching(self, chain_ids: Iterable[str], wanted: ListFilter, *, conn: Connection | None = None) -> list[str]:
        """Those of these chains that a list would show, in the order given."""
        from jobctl.storage import reading

        ids = unique_ids(chain_ids)
        with self._ready().on(conn, read_only=True) as on:
            found = reading.chains_that(on, ids, _checked(wanted))
        return [each for each in ids if each in found]

    def list_jobs(self, wanted: ListFilter = EVERYTHING, *, conn: Connection | None = None) -> Page[Job[Any]]:
        """A page of jobs, by the time they were created."""
        from jobctl.storage import reading
        from jobctl.storage.decoding import job_of

        with self._ready().on(conn, read_only=True) as on:
            rows, cursor = reading.list_jobs(on, _checked(wanted))
            waits = reading.blocker_ids(on, rows)
        return Page(tuple(job_of(row, waits) for row in rows), cursor)

    def wait(
        self,
        chain_ids: Iterable[str],
        *,
        any: bool = False,  # noqa: A002 - as above
        timeout: timedelta | str | None = None,
        on_closed: Callable[[Chain], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> dict[str, Chain]:
        """Wait until all these chains are closed, or have failed.

        Args:
            chain_ids: The chains.
            any: Only until one of them is; then those that are, are returned.
            timeout: Give up after so long.
            on_closed: Called with each chain as soon as it is known to be closed or failed.
            cancelled: Asked about ten times a second; once true, what has closed so far is returned.

        Returns:
            The chains by id, in the order given.

        Raises:
            NotFoundError: There is no such chain, or it was deleted meanwhile.
            WaitTimeoutError: The time ran out.
        """
        from jobctl.waiting import wait_for

        wanted = list(dict.fromkeys(require_id(each) for each in chain_ids))
        limit = Schedule.of(timeout).after_seconds
        enough = min(len(wanted), 1) if any else len(wanted)
        return wait_for(self._ready(), wanted, enough, limit, on_closed, cancelled)


def _checked(wanted: ListFilter) -> ListFilter:
    return replace(
        wanted,
        chain_id=wanted.chain_id and require_id(wanted.chain_id),
        job_id=wanted.job_id and require_id(wanted.job_id),
    )
