"""Where a worker's claims go on: behind the jobs that were claimed before."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from jobctl.storage.parameters import JsonRow
from jobctl.storage.records import JobRow

LOOK_SECONDS = 1.0
"""How often a claim begins at the first job that waits: jobs that were given back, or whose transaction committed late,
lie before those that were claimed last; and there may be other priorities and types."""

LOOK_SHARE = 0.05
"""How much of the time that may take at the most: with an old snapshot open it walks over all that was claimed."""

DEAR_SECONDS = 0.02
"""A look from the beginning that takes longer is made in its own time, and not to learn what is due next."""


class Front:
    """The last job that one worker claimed of each type and priority: when it was due, and its chain.

    While somebody holds an old snapshot open, the database cannot forget the index entries of jobs that were claimed.
    A claim that began at the first of them would take the longer, the more were claimed.

    Attributes:
        busy: Whether handlers run, or have ended and are not settled: these must not wait for a look that costs much.
        unlooked: Whether a look that costs much was put off while busy, and none has been made since.
    """

    def __init__(self, poll: float = math.inf) -> None:
        """Begin with a look from the beginning.

        Args:
            poll: How many seconds at most to put off a look that costs much, while claims lack something.
        """
        self.busy = False
        self.unlooked = False
        self._poll = poll
        self._claimed: dict[tuple[str, int], tuple[datetime, str]] = {}
        self._look_at = 0.0
        self._dear = False
        self._dear_until = 0.0
        self._put_off_until = 0.0

    @property
    def rest(self) -> float:
        """For how many seconds a look from the beginning costs too much to be made for what a claim lacks."""
        return max(0.0, self._dear_until - time.monotonic())

    def lanes(self, types: Collection[str]) -> list[JsonRow]:
        """The rows of a claim that goes on; none: it shall begin at the first job that waits."""
        if time.monotonic() >= self._look_at:
            return []
        return [
            {"type_name": type_name, "priority": priority, "due": due.timestamp(), "chain_id": chain_id}
            for (type_name, priority), (due, chain_id) in self._claimed.items()
            if type_name in types
        ]

    def went_on(self, rows: Iterable[JobRow], *, all_: bool) -> None:
        """These jobs were claimed by a claim that went on; after all that there were, the next one begins anew."""
        if not all_ or self.rest or self._put_off():
            self._pass(rows)
        else:
            self._claimed.clear()

    def puts_off(self) -> bool:
        """Whether a claim that found nothing is to leave it at that for now."""
        return self.busy and self._put_off()

    def _put_off(self) -> bool:
        """Leave a look that costs much until no handler runs, but not for longer than one polls."""
        if not self.unlooked:
            self.unlooked = self._dear
            self._put_off_until = time.monotonic() + self.rest + self._poll
        return self.unlooked and time.monotonic() < self._put_off_until

    def looked(self, rows: Sequence[JobRow], seconds: float, *, all_: bool) -> None:
        """These jobs were claimed by a look from the beginning that took so long; they may be all that there were."""
        now = time.monotonic()
        self.unlooked = False
        dear = seconds > DEAR_SECONDS
        if self._dear and not (dear or rows):
            return  # of types that are paused nothing is walked over: what it costs to look is not known from that
        self._dear = dear
        self._look_at = now + max(LOOK_SECONDS, seconds / LOOK_SHARE)
        self._dear_until = now + min(seconds / LOOK_SHARE, self._poll) if dear else 0.0
        if not (all_ and dear):  # else what comes now lies behind what was there
            self._claimed.clear()
        if dear or not all_:
            self._pass(rows)

    def _pass(self, rows: Iterable[JobRow]) -> None:
        for row in rows:
            lane, place = (row.type_name, row.priority), (row.scheduled_at, row.chain_id)
            if lane not in self._claimed or place > self._claimed[lane]:
                self._claimed[lane] = place
