"""Telling systemd that a worker is ready, stops, and is alive: sd_notify and the watchdog, without its library.

Without NOTIFY_SOCKET in the environment nothing of this happens.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from jobctl.events import Event, Told

if TYPE_CHECKING:
    from jobctl.worker import Worker

BEATS = 3
"""How often within the watchdog's time a worker is asked whether it is alive: two answers may be late."""


class Supervisor:
    """Who started this process and wants to hear from it, if anybody."""

    def __init__(self, address: str | None, watchdog: float | None) -> None:
        """Make a supervisor.

        Args:
            address: The socket's path, or its abstract name after an ``@``.
            watchdog: Seconds after which silence counts as death.
        """
        self._address = address
        self._watchdog = watchdog

    @classmethod
    def of_environment(cls) -> Supervisor:
        """The one that the environment names, which children of this process do not see any more."""
        address = os.environ.pop("NOTIFY_SOCKET", None)
        usec, pid = os.environ.pop("WATCHDOG_USEC", None), os.environ.pop("WATCHDOG_PID", None)
        mine = usec is not None and usec.isdecimal() and int(usec) > 0 and pid in {None, str(os.getpid())}
        return cls(address or None, int(usec or 0) / 1_000_000 if mine else None)

    def notify(self, **state: str) -> None:
        """Send a state, such as ``READY="1"``; a supervisor that does not hear is no reason to fail."""
        if self._address is None:
            return
        name = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.sendto("\n".join(f"{key}={value}" for key, value in state.items()).encode(), name)

    def hearing(self, tell: Callable[[Event], None]) -> Callable[[Event], None]:
        """What a worker tells is told on, and its beginning and end to the supervisor too."""
        if self._address is None:
            return tell

        def both(event: Event) -> None:
            if event.told is Told.WORKER_STARTED:
                self.notify(READY="1", STATUS=f"works {event.detail}")
            elif event.told is Told.WORKER_STOPPING:
                self.notify(STOPPING="1", STATUS=f"stopping, {event.detail}")
            elif event.told is Told.DATABASE_LOST:
                self.notify(STATUS="the database is away")
            elif event.told is Told.DATABASE_BACK:
                self.notify(STATUS="the database is back")
            tell(event)

        return both

    @contextmanager
    def watching(self, worker: Worker) -> Iterator[None]:
        """Tell that the worker is alive, as long as its loop goes around, and not because this process runs."""
        if self._address is None or self._watchdog is None:
            yield
            return
        over = threading.Event()
        beat = self._watchdog / BEATS

        def watch() -> None:
            while not over.wait(beat):
                if worker.answers(beat):
                    self.notify(WATCHDOG="1")

        thread = threading.Thread(target=watch, name="jobctl-watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
