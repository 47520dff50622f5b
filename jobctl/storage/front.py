"""Where a worker's claims go on: behind the jobs that were claimed before."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from datetime import datetime

from jobctl.storage.parameters import JsonRow
from jobctl.storage.records import JobRow

LOOK_SECONDS = 1.0
"""How often a claim begins at the first job that waits: jobs that were given back, or whose transaction committed late,
lie before those that were claimed last; and there may be other priorities and types."""

LOOK_SHARE = 0.05
"""How much of the time that may take at the most: with an old snapshot open it walks over all that was claimed."""

DEAR_SECONDS = 0.02
"""A look from the beginning that takes longer is made to claim, and not to learn what is due next."""


class Front:
    """The last job that one worker claimed of each type and priority: when it was due, and its chain.

    While somebody holds an old snapshot open, the database cannot forget the index entries of jobs that were claimed.
    A claim that began at the first of them would take the longer, the more were claimed.
    """

    def __init__(self) -> None:
        self._claimed: dict[tuple[str, int], tuple[datetime, str]] = {}
        self._look_at = 0.0
        self._dear = False

    @property
    def rest(self) -> float:
        """In how many seconds to look from the beginning again, if that has taken long; 0: at any time."""
        return max(0.0, self._look_at - time.monotonic()) if self._dear else 0.0

    def lanes(self, types: Collection[str]) -> list[JsonRow]:
        """The rows of a claim that goes on; none: it shall begin at the first job that waits."""
        if time.monotonic() >= self._look_at:
            return []
        return [
            {"type_name": type_name, "priority": priority, "due": due.timestamp(), "chain_id": chain_id}
            for (type_name, priority), (due, chain_id) in self._claimed.items()
            if type_name in types
        ]

    def looked(self, seconds: float) -> None:
        """A claim began at the first job that waits, and took so long."""
        self._claimed.clear()
        self._look_at = time.monotonic() + max(LOOK_SECONDS, seconds / LOOK_SHARE)
        self._dear = seconds > DEAR_SECONDS

    def passed(self, rows: Iterable[JobRow], *, all_: bool) -> None:
        """These jobs were claimed; if they are all that there were, the next claim need not go on, but look anew."""
        if all_:
            self._claimed.clear()
            return
        for row in rows:
            lane, place = (row.type_name, row.priority), (row.scheduled_at, row.chain_id)
            if lane not in self._claimed or place > self._claimed[lane]:
                self._claimed[lane] = place
