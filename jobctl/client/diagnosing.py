"""The calls that tell what goes on, and what does not: workers, types, why a job waits, whether all is well."""

from __future__ import annotations

from sqlalchemy import Connection

from jobctl import explaining, workforce
from jobctl.client.connected import Connected
from jobctl.ids import require_id
from jobctl.reasons import Why
from jobctl.reports import WorkerReport


class DiagnosingCalls(Connected):
    """Looking at who works, and at what hinders work."""

    def workers(self, *, conn: Connection | None = None) -> list[WorkerReport]:
        """The workers that live, and those that died within the last day, by name, with the jobs that they hold."""
        with self._ready().on(conn, read_only=True) as on:
            return workforce.workers(on, with_jobs=True)

    def why(self, id: str, *, conn: Connection | None = None) -> Why:  # noqa: A002 - the field's name everywhere
        """What a chain's current job waits for, and what would move it; ``str()`` makes a sentence of it.

        Args:
            id: The chain, or any of its jobs.
            conn: The caller's transaction.

        Raises:
            NotFoundError: There is no such chain or job, and there was none that was deleted by hand.
        """
        wanted = require_id(id)
        with self._ready().on(conn, read_only=True) as on:
            return explaining.explain(on, wanted)
