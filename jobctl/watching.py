"""Hearing of what others do: one thread watches the database for a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from jobctl.storage.records import LOST, WORK
from jobctl.storage.store import Store

LOOK_SECONDS = 0.25
"""How long the thread waits before it looks whether it should end."""


class Watcher:
    """Tells a worker of work and of jobs that were settled by hand, from a thread of its own."""

    def __init__(
        self,
        store: Store,
        types: Collection[str],
        work: Callable[[], None],
        doubt: Callable[[Collection[str] | None], None],
    ) -> None:
        """Make a watcher; nothing happens before start.

        Args:
            store: The database.
            types: The types of which to tell.
            work: Called when a job of one of them may be ready.
            doubt: Called with the ids of jobs that may be lost, or None when any may be.
        """
        self._store = store
        self._types = frozenset(types)
        self._work = work
        self._doubt = doubt
        self._closing = threading.Event()

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._run, name="jobctl-watch", daemon=True).start()

    def close(self) -> None:
        """End soon; does not wait for it."""
        self._closing.set()

    def _run(self) -> None:
        watch = self._store.watch(WORK, LOST)
        try:
            while not self._closing.is_set():
                told = watch.wait(LOOK_SECONDS)
                if told is None:
                    told = {WORK: {""}, LOST: {""}}  # the connection is new: anything may have been missed
                if lost := told.get(LOST):
                    self._doubt(None if "" in lost else lost)
                work = told.get(WORK, set())
                if "" in work or not self._types.isdisjoint(work):
                    self._work()
        finally:
            watch.close()
