"""When a worker looks next: for jobs that are due, and for leases that ran out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from enum import Enum

from sqlalchemy import Connection

from jobctl.lapses import Lapses
from jobctl.lease import AGAIN_SECONDS
from jobctl.storage import front
from jobctl.storage.records import Due
from jobctl.storage.store import Store

ASK_SECONDS = 0.005
"""How long handlers that have just begun are left to themselves: whoever settles what ends by then asks in passing."""


class Left(Enum):
    """What the last claim has left, for all that is known."""

    UNKNOWN = "unknown"
    LOCKED = "locked"
    NOTHING = "nothing"


class Timetable:
    """Used by the worker's loop alone, but for what is told; all times are by time.monotonic().

    Attributes:
        told: Whether there may be work that the last claim has not seen; set by several threads.
        left: What is ready yet: a draining worker ends when that is nothing.
        look_at: When to claim again.
        ask_at: When to ask what is in sight, if a claim has left that open and nobody has asked since.
        reap_at: When to look for leases that ran out.
        front: Where claims go on.
        lapses: Where looks for leases that ran out go on.
    """

    def __init__(
        self,
        store: Store,
        types: Mapping[str, float],
        poll: float,
        *,
        drain: bool,
        running: Callable[[], bool],
        settling: Callable[[], bool],
    ) -> None:
        """Look for both at once.

        Args:
            store: The database.
            types: How many seconds a lease holds, by the types of the worker's jobs.
            poll: How many seconds to wait at most, whatever is in sight.
            drain: Whether the worker ends when nothing is left.
            running: Says whether handlers run.
            settling: Says whether some have ended and are not settled.
        """
        self.told = False
        self.left = Left.UNKNOWN
        self.look_at = 0.0
        self.ask_at = math.inf
        self.reap_at = 0.0
        self.front = front.Front(poll)
        self.lapses = Lapses(store)
        self._store = store
        self._types = types
        self._poll = poll
        self._drain = drain
        self._running = running
        self._settling = settling
        self._asked_at = 0.0
        self._asked = 0.0  # for so many seconds
        self._ask_rest = 0.0  # so many seconds after that no more, whatever is told
        self._due_at = math.inf  # the next job, by the last answer

    def _busy(self) -> bool:
        """Whether what ends, or has ended, would have to wait."""
        return self._running() or self._settling()

    def looking(self) -> bool:
        """Whether there may be something to claim."""
        if self.front.unlooked and not self._busy():
            return True
        if self._drain and self.left is Left.UNKNOWN and not self._running():
            return True
        return self.told or time.monotonic() >= self.look_at

    def looks(self) -> None:
        """A claim begins."""
        self.told = False
        self.left = Left.UNKNOWN
        self.front.busy = self._busy()

    def found(self, due: Due | None, *, some: bool) -> None:
        """A claim is made.

        Args:
            due: What is in sight.
            some: It has found some.
        """
        if some or self._running():
            self.left = Left.UNKNOWN
        else:
            self.left = Left.LOCKED if due and due.ready else Left.NOTHING

    def ask(self, conn: Connection, *, claimed: bool = False, full: bool = False, reaping: bool = False) -> Due:
        """What is in sight; where that takes long to find, as beside an old snapshot, the next looks will tell.

        Args:
            conn: Where to ask.
            claimed: A claim has got some, which do not run yet.
            full: It has got all that it wanted: when the next job is due does not matter.
            reaping: Leases that ran out were looked for just now.
        """
        began = time.monotonic()
        ask_rest = self._ask_rest if claimed or self._busy() else min(self._ask_rest, self._poll)
        rest = max(self.front.rest, self._asked_at + ask_rest - began)
        ends = self._drain and not (claimed or self._running())  # if nothing is ready: somebody may have it locked
        resting = rest > 0 and not ends
        known = self._due_at - began
        until = min(rest, known) if known > 0 else rest
        if resting and not reaping:
            return Due(until, self.reap_at - began)
        due = self._store.next_due(conn, {} if full or resting else self._types, since=self.lapses.since)
        now = time.monotonic()
        self._asked = now - began
        if resting:
            return due._replace(job=until)
        if not full:
            dear = self._store.many_writers and self._asked > front.DEAR_SECONDS
            self._asked_at, self._ask_rest = now, self._asked / front.LOOK_SHARE if dear else 0.0
        self._due_at = math.inf if due.job is None else now + due.job
        return due

    @property
    def unasked(self) -> bool:
        """Whether a claim has left open what is in sight."""
        return self.ask_at < math.inf

    def leave_open(self) -> None:
        """Do not look by the clock until somebody has asked: a question now would keep the handlers from beginning."""
        self.look_at = math.inf
        self.ask_at = min(self.ask_at, time.monotonic() + ASK_SECONDS)

    def plan(self, due: Due | None, *, looked: bool = True, full: bool = False, reaping: bool = False) -> None:
        """Look next for a job that is due, for a lease that runs out, or as often as polling says.

        Args:
            due: What is in sight; None: nobody has asked.
            looked: A claim was made before that: else it may be known that there is more.
            full: It has got all that it wanted.
            reaping: Leases that ran out were looked for just now, and what was found is given back for good.
        """
        now = time.monotonic()
        if reaping:
            self.lapses.reaped(now, self._asked)
        if full:
            self.look_at = now
        if full or due is not None:
            self.ask_at = math.inf
        if due is None:
            return
        self.lapses.learn(due, now)
        again = AGAIN_SECONDS if reaping else 0.0  # what has run out and is left is locked by somebody
        soon = min(self._poll if due.lease is None else max(due.lease, again), self._poll)
        self.reap_at = max(now + soon, self.lapses.look_from)
        if not full:
            look_at = now + min(self._poll if due.job is None else max(due.job, AGAIN_SECONDS), self._poll)
            self.look_at = look_at if looked else min(look_at, self.look_at)
