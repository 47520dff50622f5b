"""The calls that keep a database small.

Most programs never call them: what they need is imported when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from jobctl.client.connected import Connected
from jobctl.errors import UsageError
from jobctl.model import ChainDetail
from jobctl.naming import type_name_of
from jobctl.processors import AnyProcessor

if TYPE_CHECKING:
    from jobctl.pruning import Pruned
    from jobctl.retention import Retention, RetentionPolicy
    from jobctl.storage.vacuuming import Vacuumed


class HousekeepingCalls(Connected):
    """Deleting what is old, and giving back the room."""

    def prune(
        self,
        policy: RetentionPolicy | Retention,
        *,
        only: Iterable[str | AnyProcessor] = (),
        limit: int | None = None,
        export: Callable[[Sequence[ChainDetail], Connection], None] | None = None,
        dry_run: bool = False,
        on_batch: Callable[[Pruned], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
        actor: str | None = None,
        note: str | None = None,
    ) -> Pruned:
        """Delete chains that are over and old enough, a little at a time; what the policy does not name is kept.

        Each batch is a transaction of its own, followed by a pause about as long. A chain that an open one waits for
        stays. What was deleted is one act in the history for each batch. May run beside others, and at any time.

        Args:
            policy: How long what is kept.
            only: Chains of these types alone.
            limit: Delete at most so many chains.
            export: Is given the chains of a batch and the transaction that deletes them, before they are, and must have
                them safe when it returns: if the commit then fails, it is given some of them again in a later run. What
                it writes in the transaction is kept with the deletion, or not at all. If it raises, they stay.
            dry_run: Do all of it, and roll it back; nothing is exported.
            on_batch: Is told what was deleted so far.
            cancelled: Is asked about twenty times a second; once true, it ends with what is done.
            actor: Who, for the history; user@host unless given.
            note: Why, for the history.

        Raises:
            UsageError: The policy lets nothing go.

        Example:
            ::

                client.prune(Retention(completed="30d", cancelled="7d"))
        """
        from jobctl.pruning import Pruning, prune
        from jobctl.retention import Retention, RetentionPolicy

        whole = RetentionPolicy(policy) if isinstance(policy, Retention) else policy
        if whole.lets_nothing_go:
            raise UsageError("nothing is to be deleted: say how long completed, cancelled or failed chains are kept")
        if limit is not None and limit < 1:
            raise UsageError(f"a limit of {limit} is out of range: 1 or more")
        types = tuple(dict.fromkeys(type_name_of(each) for each in only))
        return prune(
            self._ready(),
            Pruning(whole, types, limit, export, dry_run, on_batch, cancelled, self._hand(actor, note)),
        )

    def vacuum(self, *, full: bool = False) -> Vacuumed:
        """Give back the room that deleted rows took, and refresh what the planner knows of the tables.

        On PostgreSQL, jobctl's tables alone: their room is free for new rows, and with ``full`` it goes back to the
        system, for which each table is locked against everything until it has been written anew. On SQLite the whole
        file is written anew, and nobody else writes meanwhile.

        Raises:
            UnsuccessfulError: Some tables belong to somebody else.
            LockTimeoutError: Others use the file (SQLite).
        """
        from jobctl.storage.vacuuming import vacuum

        return vacuum(self._ready(), full=full)
