"""A worker's log: a line per event on stderr, for people or as JSON."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from jobctl.cli.documents import iso
from jobctl.cli.live import LiveLine
from jobctl.cli.render import plain, said_line
from jobctl.events import Event, Told
from jobctl.wording import span

MOST_AT_ONCE = 1000
"""Lines in one write."""

MOST_UNWRITTEN = 100_000
"""Events that wait to be written before a worker waits for them."""

ROUTINE = frozenset(
    {
        Told.WORKER_STARTED,
        Told.WORKER_STOPPING,
        Told.WORKER_STOPPED,
        Told.JOB_STARTED,
        Told.JOB_COMPLETED,
        Told.JOB_CONTINUED,
        Told.JOB_SETTLED,
        Told.JOB_RESCHEDULED,
        Told.JOB_RELEASED,
    }
)
"""What --quiet leaves out."""

_COLORS = {
    Told.JOB_COMPLETED: "32",
    Told.JOB_CONTINUED: "32",
    Told.JOB_SETTLED: "32",
    Told.JOB_RESCHEDULED: "36",
    Told.JOB_RETRIED: "33",
    Told.JOB_FAILED: "1;31",
    Told.JOB_LOST: "35",
    Told.JOB_REAPED: "35",
    Told.HOOK_FAILED: "31",
    Told.DATABASE_LOST: "1;31",
    Told.DATABASE_BACK: "32",
    Told.JOB_STARTED: "2",
}
_WORDS = {each: each.removeprefix("job_").removeprefix("worker_").replace("_", " ") for each in Told}
_WIDTH = max(map(len, _WORDS.values()))


Entry = tuple[Event, float]
"""An event, and when it happened, in seconds since 1970."""


class Log:
    """Writes a line for each event that it is called with, on a thread of its own.

    A worker does not wait for its terminal or disk, and the lines that gather meanwhile are written at once.
    """

    def __init__(
        self,
        line: Callable[[Event, float], str],
        *,
        quiet: bool,
        live: LiveLine | None = None,
    ) -> None:
        """Make a log; it begins with ``with``.

        Args:
            line: Makes the line of an event and when it happened, in seconds since 1970.
            quiet: Leave out what is routine.
            live: The line below the log, on a terminal.
        """
        self._line = line
        self._left_out = ROUTINE if quiet else frozenset()
        self._live = live
        self._told: SimpleQueue[Entry | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="jobctl-log", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._told.put(None)
        self._thread.join()

    def __call__(self, event: Event) -> None:
        if event.told in self._left_out:
            return
        while self._told.qsize() > MOST_UNWRITTEN:  # nobody reads what a pipe holds: wait, as a write would
            time.sleep(0.01)
        self._told.put((event, time.time()))

    def _write(self) -> None:
        over = False
        while not over:
            entries, over = self._gathered()
            text = "".join([f"{self._line(each, at)}\n" for each, at in entries])
            with suppress(OSError, ValueError):  # a log that nobody reads any more stops no work
                if self._live is None:
                    sys.stderr.write(text)
                else:
                    self._live.count(event for event, _ in entries)
                    self._live.write(text)
        if self._live is not None:
            self._live.close()

    def _gathered(self) -> tuple[list[Entry], bool]:
        """What was told since, and whether that was all; waits for the first."""
        entries: list[Entry] = []
        while (told := self._told.get()) is not None:
            entries.append(told)
            if self._told.empty() or len(entries) == MOST_AT_ONCE:
                return entries, False
        return entries, True


def json_line(event: Event, at: float, *, database: str | None = None) -> str:
    """An event as a JSON object, as docs/json.md says.

    Args:
        event: The event.
        at: When it happened, in seconds since 1970.
        database: Where the worker works, for people; said once, when it starts.
    """
    line = {
        "time": iso(datetime.fromtimestamp(at, UTC)),
        "event": event.told.value,
        "worker": event.worker,
        "job_id": event.job_id,
        "chain_id": event.chain_id,
        "type": event.type_name,
        "attempt": event.attempt,
        "seconds": None if event.seconds is None else round(event.seconds, 6),
        "detail": event.detail,
        "database": database if event.told is Told.WORKER_STARTED else None,
    }
    return json.dumps(line, ensure_ascii=False)


@lru_cache(maxsize=2)
def _local_second(seconds: int) -> str:
    """The local time of a second, which many lines share."""
    return datetime.fromtimestamp(seconds).isoformat(sep=" ")  # noqa: DTZ006 - local time is meant


@lru_cache(maxsize=64)
def _beginning(worker: str, told: Told, type_name: str | None, colored: bool) -> str:
    """The words that the lines of most jobs share."""
    what = _WORDS[told].ljust(_WIDTH)
    if colored and told in _COLORS:
        what = f"\x1b[{_COLORS[told]}m{what}\x1b[0m"
    return " ".join([plain(worker), what, *([] if type_name is None else [plain(type_name)])])


def human_line(event: Event, at: float, *, colored: bool = False) -> str:
    """An event as a line for people, in local time; made for each job, so that what it takes counts."""
    told, worker, job_id, _, type_name, attempt, seconds, detail = event
    second, microsecond = divmod(round(at * 1_000_000), 1_000_000)
    line = f"{_local_second(second)}.{microsecond // 1000:03d} {_beginning(worker, told, type_name, colored)}"
    if job_id is not None:
        line += f" …{job_id[-12:]}"
    if attempt is not None:
        line += f" attempt {attempt}"
    if seconds is not None:
        line += f" {span(seconds)}"
    if detail:
        line += f" {said_line(detail)}"
    return line.rstrip()
