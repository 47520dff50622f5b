"""Settling attempts that ended, many in one transaction; large batches beside the worker's loop.

While a worker's loop settles, it claims nothing, and handlers run dry. So a large batch is settled on a thread and a
connection of its own, and the loop claims meanwhile: with chains of three jobs, a third more are done in a second. One
batch at a time: while it commits, the next one gathers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import NamedTuple

from sqlalchemy import Connection

from jobctl.model import LostReason
from jobctl.runners import Finished
from jobctl.storage.decoding import lost_reason
from jobctl.storage.records import Settled, told_of
from jobctl.storage.store import Store

MANY = 32
"""So many are worth a transaction of their own."""

MOST = 1000
"""So many are settled at once: what they go on with can be claimed only afterwards."""

CLOSE_SECONDS = 1.0
"""How long closing waits for what goes on at that moment."""


class Settling(NamedTuple):
    """What became of attempts that ended.

    Attributes:
        batch: The attempts.
        settled: What was written.
        lost: Why attempts lost their jobs whose outcomes were not written, by job.
    """

    batch: Sequence[Finished]
    settled: Settled
    lost: Mapping[str, LostReason]


class Unsettled(NamedTuple):
    """A batch of which nothing could be written."""

    batch: Sequence[Finished]


def settle(store: Store, conn: Connection, batch: Sequence[Finished]) -> Settling:
    """Write the outcomes of attempts, and tell of those that have written theirs themselves."""
    unsettled = [each for each in batch if each.unsettled]
    settled = store.settle(conn, [each.settlement for each in unsettled])
    store.notify(conn, told_of([settled, *(each.ended.settled for each in batch)]))
    missed = [each.attempt.held.id for each in unsettled if not each.won(settled)]
    states = store.states(conn, missed) if missed else {}
    return Settling(batch, settled, {id_: lost_reason(states.get(id_)) for id_ in missed})


class Settler:
    """Settles one batch at a time on a thread of its own.

    Used by the worker's loop alone, which is told in its inbox.
    """

    def __init__(self, store: Store, report: Callable[[Settling | Unsettled], None]) -> None:
        """Make a settler; its thread begins with the first batch."""
        self.busy = False
        """Whether there is a batch whose end the loop has not taken note of."""
        self._store = store
        self._report = report
        self._batches: SimpleQueue[Sequence[Finished] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def take(self, ended: list[Finished]) -> list[Finished]:
        """Settle these, as many as are well settled at once; returns those that are left to the caller.

        That is all of them when they are few, or while others are being settled.
        """
        if self.busy or len(ended) < MANY or not self._store.many_writers:
            return ended
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="jobctl-settler", daemon=True)
            self._thread.start()
        self.busy = True
        self._batches.put(ended[:MOST])
        return ended[MOST:]

    def close(self) -> None:
        """Settle nothing more."""
        if self._thread is not None:
            self._batches.put(None)
            self._thread.join(CLOSE_SECONDS)  # so that the caller can close the store's connections

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                with self._store.transaction() as conn:
                    settling = settle(self._store, conn, batch)
            except Exception:  # noqa: BLE001 - the loop tries again by itself, and deals with what it then meets
                self._report(Unsettled(batch))
            else:
                self._report(settling)
