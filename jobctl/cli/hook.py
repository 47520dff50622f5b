"""The failure hook: a command that is told of each job that ends in failed."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from jobctl import warden
from jobctl.cli.documents import failed_document, to_json
from jobctl.client import Client
from jobctl.errors import JobctlError
from jobctl.events import Event, Told
from jobctl.executing import facts, what_went_wrong
from jobctl.inside import LEASE
from jobctl.processes import Command, Commands

MOST_AT_ONCE: Final = 4
"""So many hooks run at once; more wait for their turn."""

TIMEOUT_SECONDS: Final = 60.0
"""How long a hook may run unless it says otherwise."""

CLOSE_SECONDS: Final = 5.0
"""How long a worker that ends waits for its hooks."""


class FailureHook:
    """Called with what happens, runs a command for each job that has failed, beside the work.

    Whatever becomes of the command is logged at most, and never touches the job.
    """

    def __init__(
        self,
        command: Command,
        commands: Commands,
        client: Client,
        environment: Mapping[str, str],
        tell: Callable[[Event], None],
    ) -> None:
        """Make a hook; it begins with ``with``.

        Args:
            command: What to run.
            commands: Runs it.
            client: Where the job is looked up.
            environment: Added to this process's environment.
            tell: Called when a hook has failed.
        """
        self._command = replace(command, timeout=TIMEOUT_SECONDS) if command.timeout is None else command
        self._commands = commands
        self._client = client
        self._environment = environment
        self._tell = tell
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._busy = 0
        self._closing = False
        self._ending = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._busy, CLOSE_SECONDS)
            left, self._waiting = self._waiting, deque()
            self._ending = True
            self._changed.wait_for(lambda: not self._busy, warden.GRACE_SECONDS + 1)
        for each in left:
            self._complain(each, "not run: too many others had to be run first, and the worker ended")

    def __call__(self, event: Event) -> None:
        if event.told is not Told.JOB_FAILED:
            return
        with self._changed:
            self._waiting.append(event)
            self._changed.notify()
            if self._threads < min(MOST_AT_ONCE, len(self._waiting) + self._busy):
                self._threads += 1
                threading.Thread(target=self._work, name=f"jobctl-hook-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while (event := self._next()) is not None:
            try:
                reason = self._run(event)
            except (JobctlError, OSError, ValueError) as error:
                reason = f"'{self._command.name}' could not be run: {error}"
            if reason is not None:
                self._complain(event, reason)
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _next(self) -> Event | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            self._busy += 1
            return self._waiting.popleft()

    def _run(self, event: Event) -> str | None:
        """Run the command for a job; returns what went wrong."""
        assert event.job_id is not None  # noqa: S101 - it is about a job
        detail = self._client.show(event.job_id)
        job = next(each for each in detail.jobs if each.id == event.job_id)
        environment = {**os.environ, **self._environment, **facts(job)}
        environment.pop(LEASE, None)
        given = to_json(failed_document(detail, job)).encode("utf-8", "backslashreplace")
        ran = self._commands.run(self._command, given, environment, lambda: self._ending)
        return what_went_wrong(self._command, ran)

    def _complain(self, event: Event, reason: str) -> None:
        self._tell(event._replace(told=Told.HOOK_FAILED, seconds=None, detail=reason))
