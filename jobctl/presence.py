"""A worker's presence: one thread tells the database that the worker is alive, and how much of it is in use.

Nothing of the work waits for it: a sign of life that cannot be given is left out, and the next one says the same.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from jobctl.storage import presence
from jobctl.storage.database import Database

LOOKS_PER_BEAT = 5
"""Between two signs of life the slots are looked at so often: a worker was busy since then if all looks found it so."""

FORGET_EVERY = 600.0
"""Seconds between two times that a worker clears the list of those that died long ago."""

CLOSE_SECONDS = 2.0
"""How long closing waits for the leave to be written."""


class Slots(NamedTuple):
    """How many jobs a worker runs at once.

    Attributes:
        concurrency: How many it may.
        in_use: How many it does, or more if it holds some that have not begun; called from another thread.
    """

    concurrency: int
    in_use: Callable[[], int]


class Presence:
    """Keeps a worker on the list of those that live, from start to close."""

    def __init__(
        self,
        store: Database,
        id_: str,
        name: str,
        types: Iterable[str],
        slots: Slots,
        *,
        version: str,
        every: float,
    ) -> None:
        """Make a presence; nothing happens before start.

        Args:
            store: The database.
            id_: Names this run of the worker.
            name: The worker's name.
            types: The names of the types that it takes.
            slots: What it works with.
            version: Of jobctl.
            every: Seconds between two signs of life.
        """
        self._store = store
        self._id = id_
        self._name = name
        self._version = version
        self._types = json.dumps(sorted(types))
        self._slots = slots
        self._every = every
        self._stopping = False
        self._started = self._beat_at = self._forget_at = time.monotonic()
        self._busy_since: float | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="jobctl-presence", daemon=True)

    def start(self) -> None:
        """Register, and begin to give signs of life."""
        self._thread.start()

    def stopping(self) -> None:
        """Say at once that the worker claims nothing any more."""
        self._stopping = True
        self._beat_at = time.monotonic()
        self._wake.set()

    def close(self) -> None:
        """Take the worker off the list."""
        self._closing.set()
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)

    def _keep(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            running = self._look()
            if time.monotonic() >= self._beat_at:
                self._beat_at = time.monotonic() + self._every
                self._beat(running)
            self._wake.wait(self._every / LOOKS_PER_BEAT)
        with suppress(Exception):  # as below
            presence.leave(self._store, self._id)

    def _look(self) -> int:
        """How many slots are in use; notes since when all are."""
        running = min(self._slots.in_use(), self._slots.concurrency)
        if running < self._slots.concurrency:
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = time.monotonic()
        return running

    def _beat(self, running: int) -> None:
        now = time.monotonic()
        sign = presence.Beat(
            id=self._id,
            name=self._name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=self._version,
            types=self._types,
            concurrency=self._slots.concurrency,
            running=running,
            stopping=int(self._stopping),
            busy_seconds=None if self._busy_since is None else now - self._busy_since,
            started_seconds=now - self._started,
            beat_seconds=self._every,
        )
        with suppress(Exception):  # the work goes on, whatever the database has against this
            presence.beat(self._store, sign)
            if now >= self._forget_at:
                self._forget_at = now + FORGET_EVERY
                presence.forget(self._store)
