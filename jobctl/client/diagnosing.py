"""The calls that tell what goes on, and what does not: workers, types, why a job waits, whether all is well.

Most programs never call them: what they need is imported when they are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from jobctl.client.connected import Connected
from jobctl.ids import require_id
from jobctl.model import Schedule

if TYPE_CHECKING:
    from jobctl.reasons import Why
    from jobctl.reports import Health, Limits, TypeReport, WorkerReport


class DiagnosingCalls(Connected):
    """Looking at who works, and at what hinders work."""

    def workers(self, *, conn: Connection | None = None) -> list[WorkerReport]:
        """The workers that live, and those that died within the last day, by name, with the jobs that they hold."""
        from jobctl import workforce

        with self._ready().on(conn, read_only=True) as on:
            return workforce.workers(on, with_jobs=True)

    def types(self, *, conn: Connection | None = None) -> list[TypeReport]:
        """The types of open jobs, of live workers and of this client's processors, by name.

        Counting takes longer the more jobs are open: some tenths of a second for a million.
        """
        from jobctl import attendance

        with self._ready().on(conn, read_only=True) as on:
            return attendance.types(on, self.processors)

    def why(self, id: str, *, conn: Connection | None = None) -> Why:  # noqa: A002 - the field's name everywhere
        """What a chain's current job waits for, and what would move it; ``str()`` makes a sentence of it.

        Args:
            id: The chain, or any of its jobs.
            conn: The caller's transaction.

        Raises:
            NotFoundError: There is no such chain or job, and there was none that was deleted by hand.
        """
        from jobctl import explaining

        wanted = require_id(id)
        with self._ready().on(conn, read_only=True) as on:
            return explaining.explain(on, wanted)

    def doctor(
        self,
        *,
        require_workers: Sequence[str] = (),
        host: str | None = None,
        max_age: timedelta | str | None = None,
        limits: Limits | None = None,
        conn: Connection | None = None,
    ) -> Health:
        """Whether all is well with the database, its jobs and its workers. Cheap, however many jobs there are.

        When workers or an age are asked for, only that is checked: a health check of a service.

        Args:
            require_workers: Types that a live worker must take.
            host: Those workers must be on this host.
            max_age: How long the oldest ready job may have been so.
            limits: From where on the other checks find something; None: the usual ones.
            conn: The caller's transaction.

        Raises:
            DatabaseUnavailableError: The database cannot be reached.
            SchemaError: Its schema does not fit.
        """
        from jobctl import examining
        from jobctl.reports import Limits

        demands = examining.Demands(tuple(require_workers), host, Schedule.of(max_age).after_seconds)
        store = self._ready()
        with store.on(conn, read_only=True) as on:
            return examining.examine(store, on, demands, limits or Limits())
