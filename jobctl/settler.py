"""Settling attempts that ended, many in one transaction; large batches beside the worker's loop.

While a worker's loop settles, it claims nothing, and handlers run dry. So a large batch is settled on a thread and a
connection of its own, and what there is to tell of it is told there, while the loop claims: with chains of three jobs,
a third more are done in a second. One batch at a time: while it commits, the next one gathers.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import NamedTuple

from sqlalchemy import Connection

from jobctl.errors import LockTimeoutError, TryAgainError
from jobctl.handling import Ended, Handling
from jobctl.lease import CLOSE_SECONDS
from jobctl.model import LostReason
from jobctl.registry import Registry
from jobctl.runners import Finished
from jobctl.storage.decoding import lost_reason
from jobctl.storage.records import Retry, Settled, told_of
from jobctl.storage.store import Store

MANY = 32
"""So many are worth a transaction of their own."""

MOST = 1000
"""So many are settled at once: what they go on with can be claimed only afterwards."""

LOCKED_SECONDS = 0.1
"""How often to look whether what somebody has locked is free."""

LOCKED_REST = 9
"""So many times as long as that took the loop does other things."""

MOST_UNSETTLED = 2 * MOST
"""So many may have ended and not be settled, a batch that is being written and one that gathers, before no more is
claimed: else all that waits would be done before the database has kept any of it, and done again after a crash."""


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


Report = Settling | Unsettled | BaseException
"""What becomes of a batch beside the loop; an error is that of whoever was told of it, for the loop to end with."""


def settle(store: Store, conn: Connection, batch: Sequence[Finished]) -> Settling:
    """Write the outcomes of attempts, and tell of those that have written theirs themselves."""
    unsettled = [each for each in batch if each.unsettled]
    settled = store.settle(conn, [each.settlement for each in unsettled])
    store.notify(conn, told_of([settled, *(each.ended.settled for each in batch)]))
    missed = [each.attempt.held.id for each in unsettled if not each.won(settled)]
    states = store.states(conn, missed) if missed else {}
    return Settling(batch, settled, {id_: lost_reason(states.get(id_)) for id_ in missed})


class Settler:
    """What ended and is not settled yet. Used by the worker's loop alone, which is told in its inbox of what is."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        handling: Handling,
        close: Callable[[Settling], None],
        report: Callable[[Report], None],
    ) -> None:
        """Make a settler; its thread begins with the first large batch.

        Args:
            store: The database.
            registry: The processors.
            handling: Says what a failed attempt means.
            close: Called with what was written, on the thread that it was written on.
            report: Called then, for the loop to hear of it.
        """
        self._store = store
        self._registry = registry
        self._handling = handling
        self._close = close
        self._report = report
        self._ended: list[Finished] = []
        self._at = math.inf
        self._locked: list[Finished] = []  # by others, when they were to be settled
        self.locked_at = math.inf
        """When to look whether these are free, by time.monotonic()."""
        self._beside = 0  # how many are with the thread
        self._alone = (
            False  # the last one could not be written there: the loop is to try, and to deal with what it meets
        )
        self._batches: SimpleQueue[Sequence[Finished] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __bool__(self) -> bool:
        """Whether anything is not settled yet."""
        return bool(self._ended or self._locked or self._beside)

    def room(self) -> int:
        """How many more jobs to claim at most, so that settling keeps up."""
        return max(MOST_UNSETTLED - len(self._ended) - len(self._locked) - self._beside, 0)

    @property
    def at(self) -> float:
        """When the loop is to settle what there is, by time.monotonic()."""
        return math.inf if self._beside else self._at

    def add(self, finished: Iterable[Finished], at: float) -> None:
        """Take what ended, to be settled by then."""
        self._ended += finished
        self._at = min(self._at, at)

    def close(self) -> None:
        """Settle nothing more."""
        if self._thread is not None:
            self._batches.put(None)
            self._thread.join(CLOSE_SECONDS)  # so that the caller can close the store's connections

    # --- beside the loop -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Have what there is settled beside the loop, if it is much."""
        if self._beside or self._alone or len(self._ended) < MANY or not self._store.many_writers:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="jobctl-settler", daemon=True)
            self._thread.start()
        batch = self._ended[:MOST]
        self._beside = len(batch)
        self._batches.put(batch)
        self._keep(self._ended[MOST:])

    def heard(self, report: Report) -> Settling | None:
        """Take note of what became of a batch; returns what was settled, which is closed already."""
        self._beside = 0
        if isinstance(report, BaseException):
            raise report
        if isinstance(report, Settling):
            return report
        self._keep([*report.batch, *self._ended])
        self._alone = True
        return None

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                with self._store.work() as conn:
                    settling = settle(self._store, conn, batch)
            except Exception:  # noqa: BLE001 - the loop tries again by itself, and deals with what it then meets
                self._report(Unsettled(batch))
            else:
                self._report(self._closed(settling))

    def _closed(self, settling: Settling) -> Report:
        try:
            self._close(settling)
        except BaseException as error:  # noqa: BLE001 - the loop ends with it, as if it had told of it itself
            return error
        return settling

    # --- in the loop ---------------------------------------------------------------------------------------------

    def batch(self) -> list[Finished]:
        """What the loop is to settle: none of it while a batch is settled beside it, so that the next one gathers."""
        return [] if self._beside else self._ended

    def done(self) -> None:
        """The loop has settled all that was in the batch."""
        self._keep([])
        self._alone = False

    def around_locks(self) -> Iterator[Settling]:
        """After somebody's lock kept what there is from being written: settle what is free, and keep the rest apart.

        Whoever holds a lock may hold it for long: nothing else shall wait for that.
        """
        self._locked += self.batch()
        if not self._beside:
            self.done()
        began = time.monotonic()
        try:
            yield from self._free()
        except TryAgainError:
            raise
        except Exception:  # noqa: BLE001 - whose outcome it is, and what comes of it, is found out one by one
            self._keep([*self._locked, *self._ended])
            self._locked = []
            yield from self.one_by_one()
        finally:
            now = time.monotonic()
            rest = max(LOCKED_SECONDS, (now - began) * LOCKED_REST)
            self.locked_at = now + rest if self._locked else math.inf

    def _free(self) -> Iterator[Settling]:
        try:
            yield from self._settle_free(self._locked)
        except LockTimeoutError:  # what waits for one of them is locked
            for each in list(self._locked):
                try:
                    yield from self._settle_free([each])
                except LockTimeoutError:
                    self._locked.append(self._locked.pop(0))  # the others come first the next time
                    return

    def _settle_free(self, batch: Sequence[Finished]) -> Iterator[Settling]:
        """Settle those that nobody has locked, in one transaction; what waits for one of them may be, too."""
        with self._store.work() as conn:
            self._store.wait_little(conn)
            held = [each.attempt.held for each in batch if each.unsettled]
            free = self._store.lock(conn, {each.chain_id for each in held}, skip_locked=True)
            states = self._store.states(conn, [each.id for each in held if each.chain_id not in free])
            locked = {each.id for each in held if each.id in states and states[each.id][1] == each.lease}
            chosen = [each for each in batch if each.attempt.held.id not in locked]
            settling = settle(self._store, conn, chosen)
        done = set(map(id, chosen))
        self._locked = [each for each in self._locked if id(each) not in done]
        if chosen:
            yield settling

    def one_by_one(self) -> Iterator[Settling]:
        """After an outcome that cannot be written (a successor's blocker does not exist): fail the attempt it is of."""
        left: list[Finished] = []
        for each in self._ended:
            try:
                with self._store.work() as conn:
                    settling = settle(self._store, conn, [each])
            except TryAgainError:
                left.append(each)
            except Exception as error:
                if isinstance(each.ended.outcome, Retry):
                    raise
                known = self._registry[each.attempt.held.type_name]
                reason = f"what the handler answered cannot be kept: {getattr(error, 'orig', error)}"
                left.append(each._replace(ended=Ended(self._handling.retry(each.attempt, known, reason))))
            else:
                yield settling
        self._keep(left)

    def _keep(self, ended: list[Finished]) -> None:
        self._ended = ended
        self._at = 0.0 if ended else math.inf
