"""Where handlers run: functions on threads, coroutine functions on one event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, Protocol

from jobctl.attempt import Attempt
from jobctl.events import Event, Told
from jobctl.handling import Ended, Handling
from jobctl.model import LostReason
from jobctl.storage.records import Complete, Continue, Postpone, Retry, Settled, Settlement


class Finished(NamedTuple):
    """An attempt that ended.

    Attributes:
        attempt: Which one.
        ended: How.
        seconds: How long it ran.
    """

    attempt: Attempt
    ended: Ended
    seconds: float

    @property
    def unsettled(self) -> bool:
        """Whether there is an outcome to be written; that of an attempt that only could not be renewed may hold yet."""
        ours = self.attempt.lost in {None, LostReason.ERROR}
        return ours and self.ended.outcome is not None and self.ended.settled is None

    @property
    def settlement(self) -> Settlement:
        """The outcome, to be written."""
        assert self.ended.outcome is not None  # noqa: S101 - unsettled said so
        return Settlement(self.attempt.held, self.ended.outcome)

    def won(self, settled: Settled) -> bool:
        """Whether the outcome was written."""
        return self.attempt.held.id in settled.won

    def event(self, worker: str, *, kept: bool) -> Event:
        """What to tell of it, once its outcome is written, or known not to be."""
        told: Told = Told.JOB_LOST
        detail: str | None = str(self.attempt.lost)
        if self.attempt.settled_by_its_command is not None:
            told, detail = Told.JOB_SETTLED, "by its command"
        elif kept:
            match self.ended.outcome:
                case Complete():
                    told, detail = Told.JOB_COMPLETED, None
                case Continue(successor):
                    told, detail = Told.JOB_CONTINUED, successor.type_name
                case Postpone():
                    told, detail = Told.JOB_RESCHEDULED, None
                case Retry(error, delay):
                    told, detail = Told.JOB_FAILED if delay is None else Told.JOB_RETRIED, error
        held = self.attempt.held
        return Event(told, worker, held.id, held.chain_id, held.type_name, held.attempt, self.seconds, detail)


PACE_SECONDS: Final = 0.1
"""How long ends are counted to know their pace."""

QUICKER_SECONDS: Final = 0.01
"""How long at least where it has more than doubled: with the first thousand claimed a few at a time, twenty thousand
quick jobs took an eighth longer."""


class Pace:
    """How many attempts end in a second, lately."""

    def __init__(self, concurrency: int) -> None:
        """Begin to measure, of so many attempts at once."""
        self.per_second = 0.0
        self.last_end = time.monotonic()
        self._enough = 2 * concurrency  # slow ones that began together end together, too: these are no pace
        self._since = self.last_end
        self._count = 0

    def count(self, ended: int) -> None:
        """So many attempts ended."""
        if not ended:
            return
        self._count += ended
        self.last_end = time.monotonic()
        passed = self.last_end - self._since
        if passed > PACE_SECONDS or (
            passed > QUICKER_SECONDS and self._count > self._enough and self._count > 2 * self.per_second * passed
        ):
            self.per_second = self._count / passed
            self._since, self._count = self.last_end, 0

    def forget(self) -> None:
        """What was measured does not hold any more: begin to measure anew."""
        self.per_second = 0.0
        self.last_end = self._since = time.monotonic()
        self._count = 0


class Runner(Protocol):
    """Runs so many attempts at once; more wait their turn here."""

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Run these, in this order."""

    def take_back(self) -> list[Attempt]:
        """The attempts that have not begun, which now never will."""

    def close(self) -> None:
        """Begin nothing more; what runs is cut off when it can be."""


class ThreadRunner:
    """Runs functions on daemon threads, which never keep the process alive."""

    def __init__(self, handling: Handling, concurrency: int, report: Callable[[Finished], None]) -> None:
        self._handling = handling
        self._concurrency = concurrency
        self._report = report
        self._waiting: SimpleQueue[Attempt | None] = SimpleQueue()
        self._threads = 0

    def submit(self, attempts: Sequence[Attempt]) -> None:
        for _ in range(min(len(attempts), self._concurrency - self._threads)):
            self._threads += 1
            threading.Thread(target=self._work, name=f"jobctl-handler-{self._threads}", daemon=True).start()
        for attempt in attempts:
            self._waiting.put(attempt)

    def take_back(self) -> list[Attempt]:
        taken: list[Attempt] = []
        while True:
            try:
                attempt = self._waiting.get_nowait()
            except Empty:
                return taken
            if attempt is not None:
                taken.append(attempt)

    def close(self) -> None:
        self.take_back()
        for _ in range(self._threads):
            self._waiting.put(None)

    def _work(self) -> None:
        while (attempt := self._waiting.get()) is not None:
            attempt.begun_at = since = time.monotonic()
            ended = self._handling.sync(attempt)
            self._report(Finished(attempt, ended, time.monotonic() - since))


class LoopRunner:
    """Runs coroutine functions as tasks of an event loop on a thread of its own; a lost attempt's is cancelled."""

    def __init__(self, handling: Handling, concurrency: int, report: Callable[[Finished], None]) -> None:
        self._handling = handling
        self._concurrency = concurrency
        self._report = report
        self._waiting: deque[Attempt] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, name="jobctl-loop", daemon=True).start()

    def submit(self, attempts: Sequence[Attempt]) -> None:
        self._waiting.extend(attempts)
        self._loop.call_soon_threadsafe(self._begin)

    def take_back(self) -> list[Attempt]:
        taken: list[Attempt] = []
        while True:
            try:
                taken.append(self._waiting.popleft())
            except IndexError:
                return taken

    def close(self) -> None:
        self.take_back()
        self._loop.call_soon_threadsafe(self._end)

    def _serve(self) -> None:
        while not self._closed:
            # asyncio lets these end the loop when a task that a handler has made raises them
            with suppress(SystemExit, KeyboardInterrupt):
                self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _begin(self) -> None:
        while len(self._tasks) < self._concurrency:
            try:
                attempt = self._waiting.popleft()
            except IndexError:
                return
            task = self._loop.create_task(self._run(attempt))
            self._tasks.add(task)
            attempt.on_lost(partial(self._cancel_soon, task))
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._begin()

    async def _run(self, attempt: Attempt) -> None:
        attempt.begun_at = since = time.monotonic()
        ended = await self._handling.coroutine(attempt)
        self._report(Finished(attempt, ended, time.monotonic() - since))

    def _cancel_soon(self, task: asyncio.Task[None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the task has ended
            self._loop.call_soon_threadsafe(_cancel_once, task)

    def _end(self) -> None:
        """Cancel the handlers, then the tasks that they left behind, and stop the loop when all have ended."""
        left = self._tasks or asyncio.all_tasks(self._loop)
        for task in left:
            _cancel_once(task)
        if left:
            self._loop.call_later(0.01, self._end)
        else:
            self._closed = True
            self._loop.stop()


def _cancel_once(task: asyncio.Task[None]) -> None:
    """Cancel a task that was not cancelled before: it may be cleaning up."""
    if not task.cancelling():
        task.cancel()
