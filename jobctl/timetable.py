"""When a worker looks next: for jobs that are due, and for leases that ran out."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
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

    def __init__(self, store: Store, types: Mapping[str, float], poll: float, *, drain: bool) -> None:
        """Look for both at once.

        Args:
            store: The database.
            types: How many seconds a lease holds, by the types of the worker's jobs.
            poll: How many seconds to wait at most, whatever is in sight.
            drain: Whether the worker ends when nothing is left.
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
        self._ask_from = 0.0  # not sooner, whatever is told
        self._asked = 0.0  # for so many seconds, the last time
        self._due_at = math.inf  # the next job, by the last answer

    def looking(self, *, running: bool) -> bool:
        """Whether there may be something to claim.

        Args:
            running: Whether handlers run.
        """
        if not running and (self.front.unlooked or (self._drain and self.left is Left.UNKNOWN)):
            return True
        return self.told or time.monotonic() >= self.look_at

    def looks(self, *, running: bool) -> None:
        """A claim begins."""
        self.told = False
        self.left = Left.UNKNOWN
        self.front.busy = running

    def found(self, *, running: bool, due: Due | None) -> None:
        """A claim is made; handlers of what it has found run already, if any do."""
        if running:
            self.left = Left.UNKNOWN
        else:
            self.left = Left.LOCKED if due and due.ready else Left.NOTHING

    def ask(self, conn: Connection, *, full: bool = False, reaping: bool = False, running: bool = True) -> Due:
        """What is in sight; where that takes long to find, as beside an old snapshot, the next looks will tell.

        Args:
            conn: Where to ask.
            full: A claim has got all that it wanted: when the next job is due does not matter.
            reaping: Leases that ran out were looked for just now.
            running: Whether handlers run: where none do, a draining worker ends if nothing is ready.
        """
        began = time.monotonic()
        rest = max(self.front.rest, self._ask_from - began)
        resting = rest > 0 and (running or not self._drain)
        known = self._due_at - began
        until = min(rest, known) if known > 0 else rest
        if resting and not reaping:
            return Due(until, self.reap_at - began)
        due = self._store.next_due(conn, {} if full or resting else self._types, since=self.lapses.since)
        now = time.monotonic()
        self._asked = now - began
        if resting:
            return due._replace(job=until)
        if self._store.many_writers and not full and self._asked > front.DEAR_SECONDS:
            self._ask_from = now + min(self._asked / front.LOOK_SHARE, self._poll)
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

    def plan(self, due: Due | None, *, full: bool = False, reaping: bool = False) -> None:
        """Look next for a job that is due, for a lease that runs out, or as often as polling says.

        Args:
            due: What is in sight; None: nobody has asked.
            full: A claim has got all that it wanted.
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
            self.look_at = now + min(self._poll if due.job is None else max(due.job, AGAIN_SECONDS), self._poll)
