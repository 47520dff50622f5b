"""Where a worker looks for leases that ran out: from the first on, or behind those that are known to be over."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import Connection

from jobctl.storage import front
from jobctl.storage.records import Due, Reaped
from jobctl.storage.store import Store

ALL_SECONDS = 60.0
"""How often at the most all leases are looked at where that takes long. It finds what nobody looks for otherwise: what
was claimed in a transaction that lasted for longer than its lease, or before the database's clock was set back."""

MARGIN_SECONDS = 1.0
"""So much before the first lease that runs a look begins: clocks are set, and claims take a while to be committed."""


class Lapses:
    """Used by the worker's loop alone.

    While somebody holds an old snapshot, the database cannot forget the index entries of the leases of jobs that have
    run, and all of them lie before those of what runs. A look from the first on walks over them.

    Attributes:
        since: Before this, in seconds after the beginning of 1970 by the database's clock, no lease is looked for.
        look_from: Do not look sooner, by time.monotonic(): to look is for a share of the time.
    """

    def __init__(self, store: Store) -> None:
        """Begin with all leases.

        Args:
            store: The database.
        """
        self.since = 0.0
        self.look_from = 0.0
        self._store = store
        self._all = True
        self._all_from = 0.0
        self._seconds = 0.0

    def reap(self, conn: Connection, own_leases: Iterable[str]) -> list[Reaped]:
        """Give back jobs whose leases ran out, except the worker's own."""
        began = time.monotonic()
        self._all = began >= self._all_from
        reaped = self._store.reap(conn, own_leases, since=0.0 if self._all else self.since)
        if self._all and reaped:
            self.since = 0.0  # there may be more of what was not known
        self._seconds = time.monotonic() - began
        return reaped

    def reaped(self, now: float, asked: float) -> None:
        """That is kept.

        Args:
            now: By time.monotonic().
            asked: How many seconds it took to ask, besides, which lease runs out next.
        """
        took = self._seconds + asked
        rest = took / front.LOOK_SHARE
        if self._all and self._store.many_writers and took > front.DEAR_SECONDS:
            self._all_from = now + max(rest, ALL_SECONDS)  # the next look is a short one
            return
        self.look_from = now + rest
        if self._all:
            self.since = 0.0

    def learn(self, due: Due, now: float) -> None:
        """What is in sight is known, and what was reaped before that is kept."""
        if due.earliest is not None and now < self._all_from:
            self.since = due.earliest - MARGIN_SECONDS
