"""The worker: claims jobs in batches, has them run, settles them in batches, reaps, and stops when told.

One loop on the caller's thread does all that. What happens elsewhere (an attempt ended, another process told of
work, a signal came) arrives in its inbox. While one transaction commits, the next batch gathers by itself: no
timers, a small batch when idle and a large one under load.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

from jobctl import __version__
from jobctl.attempt import Attempt
from jobctl.claiming import Claim
from jobctl.claims import Claimed, Claims
from jobctl.errors import LockTimeoutError, TryAgainError
from jobctl.events import Event, Told
from jobctl.handling import Handling
from jobctl.ids import new_id
from jobctl.lease import AGAIN_SECONDS, LeaseKeeper
from jobctl.model import LostReason
from jobctl.options import WorkerOptions
from jobctl.pool import Pool
from jobctl.presence import Presence, Slots
from jobctl.registry import Registry
from jobctl.runners import Finished
from jobctl.settler import Report, Settler, Settling, settle
from jobctl.storage.migrate import check_schema
from jobctl.storage.records import Due, JobRow, Reaped
from jobctl.storage.store import Store
from jobctl.tally import Tally
from jobctl.timetable import Left, Timetable
from jobctl.watching import Watcher

TELL_SECONDS: Final = 0.01
"""At the most so often others are told of what handlers' own transactions did: a commit for each would be a second one
for each job."""

RETRY_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Pauses between tries while the database is away; the last one repeats."""

GIVE_BACK_SECONDS: Final = 2.0
"""How long a stopping worker tries to give back what it holds."""

DEFAULT_OPTIONS: Final = WorkerOptions()


class Worker:
    """Works jobs of the registry's types until it is stopped.

    Example:
        ::

            registry = load_modules(["mymod"])
            Worker(open_store("postgresql://app@db/app"), registry, WorkerOptions(drain=True)).run()
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        options: WorkerOptions = DEFAULT_OPTIONS,
        tell: Callable[[Event], None] = lambda _: None,
        claim: Claim | None = None,
        cut_off: Callable[[], None] = lambda: None,
    ) -> None:
        """Make a worker; nothing happens before run.

        Args:
            store: The database.
            registry: The processors.
            options: How it works.
            tell: Called with what happens, from several threads.
            claim: Takes jobs; None: the store does, those that are ready.
            cut_off: Called when running attempts are cut off, before their jobs are given back: ends what they have
                running elsewhere, in a time that it bounds itself.

        Raises:
            UsageError: There is no processor for one of the types asked for.
        """
        self.id = new_id()
        self.name = options.name or f"{socket.gethostname()}:{os.getpid()}"
        self._store = store
        self._cut_off = cut_off
        self._options = options
        self._tell = tell
        self._types = options.leases(registry)
        self._registry = registry
        self._handling = Handling(registry, options.backoff, options.max_attempts)
        self._keeper = LeaseKeeper(store, self._types)
        self._tally = Tally(store, self.id)
        self._inbox: SimpleQueue[Finished | Report | None] = SimpleQueue()  # None: look around
        self._turned = threading.Event()  # the loop has gone around
        self._stops = 0
        self._settler = Settler(store, registry, self._handling, self._close, self._inbox.put)
        self._times = Timetable(
            store,
            self._types,
            options.poll,
            drain=options.drain,
            running=lambda: bool(self._pool.running),
            settling=lambda: bool(self._settler),
        )
        self._claims = Claims(store, self._types, self.name, self._times.front, claim)
        self._round_at = 0.0
        self._failures = 0  # in a row, of the database
        self._pool = Pool(
            store,
            registry,
            self._handling,
            self._keeper,
            concurrency=options.concurrency,
            mixed=len({registry[name].is_async for name in self._types}) > 1,
            say=self._say,
            report=self._inbox.put,
        )
        slots = Slots(options.concurrency, lambda: len(self._pool.running))
        self._presence = Presence(
            store, self.id, self.name, self._types, slots, version=__version__, every=options.beat
        )

    # --- the outside ---------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Finish what runs within the shutdown timeout and give the rest back; the second call: at once.

        Safe to call from a signal handler and from any thread.
        """
        self._stops += 1
        self._store.hurried = True
        self._inbox.put(None)

    def answers(self, within: float) -> bool:
        """Whether its loop goes around, or it is stopping; waits so many seconds for it. Safe from any thread."""
        self._turned.clear()
        self._inbox.put(None)
        return self._turned.wait(within) or self._stops > 0

    def run(self) -> None:
        """Work until stopped, drained or done with max_jobs.

        Raises:
            JobctlError: The database cannot be used at the start. Later on, the worker waits for it.
        """
        check_schema(self._store)
        watcher = Watcher(self._store, self._types, self._hear_of_work, self._keeper.doubt)
        self._keeper.start()
        watcher.start()
        self._tally.start()
        self._presence.start()
        self._say(Told.WORKER_STARTED, detail=", ".join(sorted(self._types)))
        try:
            self._loop()
            self._shut_down()
        finally:
            self._store.hurried = False
            watcher.close()
            self._keeper.close()
            self._settler.close()  # it may have something to count yet
            with suppress(TryAgainError):  # then their leases run out
                self._claims.give_back()
            self._tally.close()
            self._presence.close()
            self._pool.close()
            self._say(Told.WORKER_STOPPED)

    # --- the loop ------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._stops:
            self._receive(self._pause())
            self._turned.set()
            self._pool.give_back_stale()
            self._pool.tell_of_long_ones()
            if time.monotonic() >= self._settler.locked_at:
                self._settle_around_locks()
            self._settler.begin()
            wanted = self._wanted() if self._times.looking() else 0
            if self._is_due(wanted):
                self._round(wanted)
            elif time.monotonic() >= self._times.ask_at:
                self._ask_due()
            if self._done():
                return

    def _pause(self) -> float:
        """How long to wait for something to happen."""
        settle_at = min(self._settler.at, self._settler.locked_at)
        until = min(self._times.reap_at, self._times.ask_at, settle_at, self._pool.tell_at, self._pool.stale_at)
        if self._wanted():
            if self._times.looking():
                return 0.0
            until = min(until, self._times.look_at)
        return max(0.0, until - time.monotonic())

    def _receive(self, seconds: float) -> None:
        """Take all that is in the inbox, waiting for the first of it."""
        finished: list[Finished] = []
        with suppress(Empty):
            message = self._inbox.get(timeout=seconds) if seconds > 0 else self._inbox.get_nowait()
            while True:
                if isinstance(message, Finished):
                    finished.append(message)
                elif message is not None:
                    self._settled_beside(message)
                message = self._inbox.get_nowait()
        if held := self._pool.ended(finished):
            self._take(held)

    def _take(self, finished: Sequence[Finished]) -> None:
        own = [each.ended.settled is not None for each in finished]
        self._settler.add(finished, self._round_at + TELL_SECONDS if all(own) else 0.0)
        self._times.left = Left.UNKNOWN  # the handlers may have made something ready
        self._times.told |= any(own)  # and so may their own transactions

    def _wanted(self) -> int:
        """How many jobs to claim."""
        if self._stops:
            return 0
        room = min(self._pool.room(), self._settler.room())
        if self._options.max_jobs is not None:
            room = min(room, self._options.max_jobs - self._pool.attempts)
        return room

    def _done(self) -> bool:
        if self._pool.running or self._settler:
            return False
        if self._options.max_jobs is not None and self._pool.attempts >= self._options.max_jobs:
            return True
        return self._options.drain and self._times.left is Left.NOTHING

    # --- one transaction -----------------------------------------------------------------------------------------

    def _round(self, wanted: int) -> None:
        """Settle what ended and claim what is wanted, in one transaction; then hand over and tell."""
        batch = self._settler.batch()
        unsettled = any(each.unsettled for each in batch)
        reaping = time.monotonic() >= self._times.reap_at
        if wanted and not (batch or reaping or self._claims.own):
            self._claim_alone(wanted)
            return
        try:
            self._claims.give_back()
            with self._store.work(forgettable=not (unsettled or reaping or self._claims.own)) as conn:
                settling = settle(self._store, conn, batch)
                reaped = self._times.lapses.reap(conn, self._keeper.leases()) if reaping else []
                if settling.settled.work & self._types.keys() or reaped:
                    wanted = wanted or self._wanted()
                claimed = Claimed()
                if wanted:  # else what was told is not heeded yet
                    self._times.looks()
                    claimed = self._claims.within(conn, wanted)
                full = 0 < wanted == len(claimed.rows)  # when the next job is due does not matter then
                asking = reaping or (not full and (self._times.unasked or wanted > 0))
                some = bool(claimed.rows)
                due = self._times.ask(conn, claimed=some, full=full, reaping=reaping) if asking else None
        except TryAgainError as error:
            self._round_failed(error, settling=unsettled)
            return
        except Exception:
            self._times.told = True
            if not unsettled:
                raise
            for each in self._settler.one_by_one():
                self._close(each)
            return
        self._database_works()
        self._round_at = time.monotonic()
        if wanted:
            self._times.found(due, some=some)
        self._times.plan(due, looked=wanted > 0, full=full, reaping=reaping)
        if batch:
            self._settler.done()
            self._close(settling)
        self._tell_of_reaped(reaped)
        self._pool.begin(*claimed)

    def _round_failed(self, error: TryAgainError, *, settling: bool) -> None:
        if settling and self._store.many_writers and isinstance(error, LockTimeoutError):
            self._times.told = True  # what it was to claim is not claimed
            self._settle_around_locks()
        else:
            self._database_failed(error)

    def _claim_alone(self, wanted: int) -> None:
        """Claim, and no more: handlers shall begin before anything else is asked."""
        self._times.looks()
        try:
            claimed = self._claims.alone(wanted)
        except TryAgainError as error:
            self._database_failed(error)
            return
        self._database_works()
        self._round_at = time.monotonic()
        self._pool.begin(*claimed)
        if len(claimed.rows) == wanted:
            self._times.plan(None, full=True)
        elif claimed.rows:
            self._times.leave_open()
        elif due := self._ask_due():
            self._times.found(due, some=False)

    def _is_due(self, wanted: int) -> bool:
        """Whether to begin a transaction; one that may wait for as long as a handler's own, only for good reason."""
        if not wanted and time.monotonic() < min(self._times.reap_at, self._settler.at):
            return False
        if self._store.many_writers or not self._pool.running or self._settler.batch():
            return True
        self._times.told = False
        due = self._ask_due()
        return due is not None and (due.lapsed or (wanted > 0 and due.ready))

    def _ask_due(self) -> Due | None:
        try:
            with self._store.work(read_only=True) as conn:
                due = self._times.ask(conn)
        except TryAgainError as error:
            self._database_failed(error)
            return None
        self._database_works()
        self._times.plan(due)
        return due

    def _close(self, settling: Settling) -> None:
        """Forget attempts whose ends are written, and tell of them; on the loop's thread or on the settler's."""
        batch, won = settling.batch, settling.settled.won
        for each in batch if settling.lost else ():
            if reason := settling.lost.get(each.attempt.held.id):
                each.attempt.lose(reason)
        self._keeper.remove(each.attempt.held for each in batch)
        self._tally.count(batch, won)
        for each in batch:
            self._tell(each.event(self.name, kept=each.ended.settled is not None or each.attempt.held.id in won))

    def _tell_of_reaped(self, reaped: Sequence[Reaped]) -> None:
        self._tally.count_reaped(reaped)
        for lapsed in reaped:
            self._say(Told.JOB_REAPED, lapsed, detail=lapsed.worker)

    def _settle_around_locks(self) -> None:
        try:
            for settling in self._settler.around_locks():
                self._close(settling)
                self._hear_what_came_of(settling)
        except TryAgainError as error:
            self._database_failed(error)

    def _settled_beside(self, report: Report) -> None:
        settling = self._settler.heard(report)
        if settling is not None:
            self._hear_what_came_of(settling)

    def _hear_what_came_of(self, settling: Settling) -> None:
        if settling.settled.work & self._types.keys():
            self._times.left = Left.UNKNOWN
            self._times.told = True

    # --- stopping ------------------------------------------------------------------------------------------------

    def _shut_down(self) -> None:
        """Finish what runs in the time there is, and give the rest back."""
        if not self._stops:
            return
        deadline = time.monotonic() + self._options.shutdown_timeout
        self._presence.stopping()
        self._say(Told.WORKER_STOPPING, detail=f"{len(self._pool.running)} running")
        waiting = self._pool.take_back()
        while True:
            waiting = self._pool.give_back(waiting, time.monotonic())
            if self._settler.batch():
                self._round(0)
            if time.monotonic() >= self._settler.locked_at:
                self._settle_around_locks()
            rest = deadline - time.monotonic()
            if self._stops > 1 or rest <= 0 or not (self._settler or len(self._pool.running) > len(waiting)):
                break
            self._receive(min(rest, AGAIN_SECONDS) if waiting or self._settler else rest)
        self._receive(0)
        attempts = list(self._pool.running.values())
        for attempt in attempts:
            attempt.lose(LostReason.ERROR)
        if attempts:
            self._cut_off()
        # whatever the database or a handler does, the end comes soon
        last = threading.Thread(target=self._let_go, args=(attempts,), name="jobctl-letting-go", daemon=True)
        last.start()
        last.join(GIVE_BACK_SECONDS)

    def _let_go(self, attempts: Sequence[Attempt]) -> None:
        """Settle what has ended, and give back what was cut off."""
        deadline = time.monotonic() + GIVE_BACK_SECONDS
        while self._settler and time.monotonic() < deadline:
            if self._settler.batch():
                self._round(0)
            else:
                self._receive(AGAIN_SECONDS)
        for attempt in attempts:
            attempt.disconnect()
        self._pool.give_back(attempts, deadline)

    # --- what goes on around -------------------------------------------------------------------------------------

    def _hear_of_work(self) -> None:
        self._times.told = True
        self._inbox.put(None)

    def _database_failed(self, error: TryAgainError) -> None:
        self._times.told = True  # for all that is known
        if self._stops and isinstance(error, LockTimeoutError):
            return  # it gave up soon because it stops
        if self._failures == 0:
            self._say(Told.DATABASE_LOST, detail=str(error))
        deadline = time.monotonic() + RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
        self._failures += 1
        stops = self._stops
        while (rest := deadline - time.monotonic()) > 0 and self._stops == stops:
            self._receive(rest)

    def _database_works(self) -> None:
        if self._failures:
            self._failures = 0
            self._say(Told.DATABASE_BACK)

    def _say(self, told: Told, job: JobRow | Reaped | None = None, *, detail: str | None = None) -> None:
        if job is None:
            self._tell(Event(told, self.name, detail=detail))
        else:
            self._tell(Event(told, self.name, job.id, job.chain_id, job.type_name, job.attempt, detail=detail))
