"""What a worker holds: the jobs that it has claimed and that have not ended; has them run, or gives them back."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from jobctl.attempt import Attempt
from jobctl.events import Told
from jobctl.handling import Handling
from jobctl.lease import LeaseKeeper
from jobctl.registry import Registry
from jobctl.runners import Finished, LoopRunner, Pace, Runner, ThreadRunner
from jobctl.storage.decoding import chain_of, held_of
from jobctl.storage.records import ChainRow, JobRow
from jobctl.storage.store import Store

PREFETCH_SECONDS: Final = 0.05
"""Besides what can run at once, as many jobs are claimed as ended in so many seconds: a slow handler hoards none."""

MOST_PREFETCHED: Final = 1000

QUIET_SECONDS: Final = 0.1
"""A handler that takes longer is told of when it is seen to run; of others only their ends are."""

STALE_SECONDS: Final = 0.25
"""Claimed jobs that could not begin for so long are given back: another worker may have a free hand."""

MOST_TRANSACTIONS: Final = 32
"""So many transactions of handlers are open at once, whatever the concurrency: a server has 100 connections unless told
otherwise, for all of its clients, and commits no faster through more of them."""

Say = Callable[[Told, JobRow], None]


class Pool:
    """Runs attempts on threads and on an event loop, at most so many at once; a few more wait for their turn.

    Used by the worker's loop alone; ends are reported from other threads.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        handling: Handling,
        keeper: LeaseKeeper,
        *,
        concurrency: int,
        mixed: bool,
        say: Say,
        report: Callable[[Finished], None],
    ) -> None:
        """Make an empty pool.

        Args:
            store: The database.
            registry: The processors.
            handling: Runs handlers.
            keeper: Renews the leases of what is held.
            concurrency: How many handlers run at once.
            mixed: Whether there are both functions and coroutine functions: they share the concurrency, and nothing may
                wait in front of either.
            say: Tells of a job.
            report: Is given what ended, from the thread that it ended on.
        """
        self.running: dict[int, Attempt] = {}  # by identity: a job may be claimed again
        self.attempts = 0
        """How many attempts there were, without those that were given back."""
        self.tell_at = math.inf
        """When to tell of what runs for long, by time.monotonic()."""
        self.pace = Pace(concurrency)
        self._store = store
        self._registry = registry
        self._handling = handling
        self._keeper = keeper
        self._concurrency = concurrency
        self._mixed = mixed
        self._say = say
        self._report = report
        self._turns = threading.Semaphore(MOST_TRANSACTIONS)
        self._runners: dict[bool, Runner] = {}  # by whether the handler is a coroutine function
        self._untold: list[Attempt] = []  # of whose begin nothing was said yet
        self._had_room_at = -math.inf  # when jobs were begun for which a hand was free

    def close(self) -> None:
        """Begin nothing more; what runs is cut off when it can be."""
        for runner in self._runners.values():
            runner.close()

    # --- room ----------------------------------------------------------------------------------------------------

    def room(self) -> int:
        """How many jobs to claim: what can run at once, and what will be able to begin soon."""
        room = self._concurrency - len(self.running)
        if not self._mixed:
            ahead = min(int(self.pace.per_second * PREFETCH_SECONDS), MOST_PREFETCHED)
            # one claim of many costs less than many claims; but where the loop claims only, handlers shall not run dry
            if -room > (ahead * 3 // 4 if self._store.many_writers else ahead // 2):
                return 0
            room += ahead
        return max(room, 0)

    @property
    def stale_at(self) -> float:
        """When what waits for its turn has waited too long, by time.monotonic()."""
        if len(self.running) <= self._concurrency:
            return math.inf
        return max(self.pace.last_end, self._had_room_at) + STALE_SECONDS

    # --- running -------------------------------------------------------------------------------------------------

    def begin(self, rows: Sequence[JobRow], blockers: Mapping[str, tuple[ChainRow, ...]]) -> None:
        """Have claimed jobs run, in this order."""
        if not rows:
            return
        attempts = []
        for row in rows:
            waited_for = tuple(map(chain_of, blockers[row.id])) if row.id in blockers else ()
            attempts.append(Attempt(self._store, row, held_of(row), waited_for, self._turns))
        self._keeper.add(attempts)
        if len(self.running) < self._concurrency:
            self._had_room_at = time.monotonic()
        self.attempts += len(attempts)
        self.running |= {id(each): each for each in attempts}
        self._untold += attempts
        self.tell_at = min(self.tell_at, time.monotonic() + QUIET_SECONDS)
        self._submit(attempts)

    def ended(self, finished: Iterable[Finished]) -> list[Finished]:
        """Take note of ends; returns those of attempts that are still held."""
        held = [each for each in finished if self.running.pop(id(each.attempt), None) is not None]
        self.pace.count(len(held))
        return held

    def tell_of_long_ones(self) -> None:
        """Tell of handlers that take long: of the many that are quick, one line for each says all."""
        now = time.monotonic()
        if now < self.tell_at:
            return
        left = []
        for attempt in self._untold:
            if id(attempt) not in self.running:
                continue
            if attempt.begun_at is None or now - attempt.begun_at < QUIET_SECONDS:
                left.append(attempt)
            else:
                self._say(Told.JOB_STARTED, attempt.row)
        self._untold = left
        self.tell_at = now + QUIET_SECONDS if left else math.inf

    def _submit(self, attempts: Sequence[Attempt]) -> None:
        for is_async in (False, True):
            mine = [each for each in attempts if self._registry[each.held.type_name].is_async is is_async]
            if mine:
                self._runner(is_async=is_async).submit(mine)

    def _runner(self, *, is_async: bool) -> Runner:
        if is_async not in self._runners:
            make = LoopRunner if is_async else ThreadRunner
            self._runners[is_async] = make(self._handling, self._concurrency, self._report)
        return self._runners[is_async]

    # --- giving back ---------------------------------------------------------------------------------------------

    def give_back_stale(self) -> None:
        """Give claimed jobs back that could not begin for a while: what runs takes longer than it did."""
        if time.monotonic() > self.stale_at:
            self.pace.forget()
            self._submit(self.give_back(self.take_back(), time.monotonic()))

    def take_back(self) -> list[Attempt]:
        """What has not begun, and now will not."""
        return [attempt for runner in self._runners.values() for attempt in runner.take_back()]

    def give_back(self, attempts: Sequence[Attempt], deadline: float) -> list[Attempt]:
        """Release jobs, once or until the deadline; returns those that could not be."""
        if not attempts:
            return []
        released, left = self._keeper.release(attempts, deadline)
        for each in released:
            self._say(Told.JOB_RELEASED, each.row)
        for each in attempts:
            if each not in left and self.running.pop(id(each), None) is not None:
                self.attempts -= 1
        return left
