"""What a worker did, counted in memory, and written every few seconds from a thread of its own."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from jobctl.durations import BOUNDS, Durations
from jobctl.runners import Finished
from jobctl.stats import Worked
from jobctl.storage import tallying
from jobctl.storage.records import Complete, Continue, Postpone, Reaped, Retry
from jobctl.storage.store import Store

WRITE_SECONDS: Final = 3.0

SUM_UP_SECONDS: Final = 600.0

GIVE_UP: Final = timedelta(minutes=30)
"""What could not be written for so long is let go of: before long others sum up that minute."""

CLOSE_SECONDS: Final = 1.0
"""How long closing waits for the last of it to be written."""


class Counts:
    """What was done to jobs of one type since it was last looked at."""

    __slots__ = ("buckets", "failed", "outcomes", "reaped", "seconds")

    def __init__(self) -> None:
        self.outcomes: dict[type, int] = {Complete: 0, Continue: 0, Postpone: 0, Retry: 0}
        self.failed = 0
        self.reaped = 0
        self.seconds = 0.0
        self.buckets = [0] * len(BOUNDS)

    def worked(self) -> Worked:
        """As a value."""
        return Worked(
            completed=self.outcomes[Complete],
            continued=self.outcomes[Continue],
            rescheduled=self.outcomes[Postpone],
            errors=self.outcomes[Retry] + self.reaped,
            failed=self.failed,
            seconds=self.seconds,
            durations=Durations.of(self.buckets),
        )


class Tally:
    """Counts what a worker does, and keeps the database's numbers of it up to date.

    Numbers are not worth a worker's life: what the database refuses now is tried again with the next writing.
    """

    def __init__(self, store: Store, worker_id: str) -> None:
        """Make a tally.

        Args:
            store: The database.
            worker_id: Names the worker's process: whose rows it writes.
        """
        self._store = store
        self._worker_id = worker_id
        self._counts: dict[str, Counts] = {}  # since the last writing
        self._guard = threading.Lock()
        self._minutes: dict[
            datetime, dict[str, Worked]
        ] = {}  # by the database's clock: the last one, and any unwritten
        self._unwritten = False
        self._sum_up_at = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="jobctl-tally", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Write the last of it, if that does not take long."""
        self._closing.set()
        self._thread.join(CLOSE_SECONDS)

    # --- counting, on the threads that settle --------------------------------------------------------------------

    def count(self, batch: Iterable[Finished], won: Collection[str]) -> None:
        """Count attempts that ended.

        Args:
            batch: The attempts.
            won: Whose outcomes were written, by the ids of their jobs; of those that did not write it themselves, or
                had their commands do it.
        """
        with self._guard:
            counts = self._counts
            for attempt, (outcome, settled), seconds in batch:
                held = attempt.held
                kind: type | None = attempt.settled_by_its_command
                if kind is None:
                    if outcome is None or (settled is None and held.id not in won):
                        continue  # lost
                    kind = type(outcome)
                found = counts.get(held.type_name)
                if found is None:
                    found = counts[held.type_name] = Counts()
                found.outcomes[kind] += 1
                found.seconds += seconds
                found.buckets[bisect_left(BOUNDS, seconds)] += 1
                if type(outcome) is Retry and outcome.delay is None:
                    found.failed += 1

    def count_reaped(self, reaped: Iterable[Reaped]) -> None:
        """Count attempts whose workers died: they failed too."""
        with self._guard:
            for each in reaped:
                self._counts.setdefault(each.type_name, Counts()).reaped += 1

    # --- writing, on a thread of its own -------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._closing.wait(WRITE_SECONDS):
            self._try()
        self._try()

    def _try(self) -> None:
        with suppress(Exception):  # whatever the database says
            self._write()
            if time.monotonic() >= self._sum_up_at:
                tallying.sum_up(self._store, self._worker_id)
                self._sum_up_at = time.monotonic() + SUM_UP_SECONDS

    def _write(self) -> None:
        if not self._counts and not self._unwritten:
            return
        with self._store.transaction() as conn:
            minute = tallying.clock(self._store, conn).replace(second=0, microsecond=0)
            self._take(minute)
            tallying.write(self._store, conn, self._worker_id, self._minutes)
        self._unwritten = False
        self._minutes = {minute: self._minutes[minute]}

    def _take(self, minute: datetime) -> None:
        """Add what was counted to the minute that it is now."""
        with self._guard:
            counts, self._counts = self._counts, {}
        self._unwritten = True
        self._minutes = {each: types for each, types in self._minutes.items() if minute - each < GIVE_UP}
        types = self._minutes.setdefault(minute, {})
        for type_name, found in counts.items():
            types[type_name] = Worked.total([found.worked(), types.get(type_name, Worked())])
