"""A worker's log: a line per event on stderr, for people or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from jobctl.cli.documents import iso
from jobctl.cli.render import last_line, plain, span
from jobctl.events import Event, Told

Tell = Callable[[Event], None]

ROUTINE = frozenset(
    {
        Told.WORKER_STARTED,
        Told.WORKER_STOPPING,
        Told.WORKER_STOPPED,
        Told.JOB_STARTED,
        Told.JOB_COMPLETED,
        Told.JOB_CONTINUED,
        Told.JOB_RESCHEDULED,
        Told.JOB_RELEASED,
    }
)
"""What --quiet leaves out."""

_COLORS = {
    Told.JOB_COMPLETED: "32",
    Told.JOB_CONTINUED: "32",
    Told.JOB_RESCHEDULED: "36",
    Told.JOB_RETRIED: "33",
    Told.JOB_FAILED: "1;31",
    Told.JOB_LOST: "35",
    Told.JOB_REAPED: "35",
    Told.DATABASE_LOST: "1;31",
    Told.DATABASE_BACK: "32",
    Told.JOB_STARTED: "2",
}
_WORDS = {each: each.removeprefix("job_").removeprefix("worker_").replace("_", " ") for each in Told}
_WIDTH = max(map(len, _WORDS.values()))


def json_log(quiet: bool) -> Tell:
    """One JSON object per line, as docs/json.md says."""

    def tell(event: Event) -> None:
        if quiet and event.told in ROUTINE:
            return
        line = {
            "time": iso(datetime.now(UTC)),
            "event": event.told.value,
            "worker": event.worker,
            "job_id": event.job_id,
            "chain_id": event.chain_id,
            "type": event.type_name,
            "attempt": event.attempt,
            "seconds": None if event.seconds is None else round(event.seconds, 6),
            "detail": event.detail,
        }
        _write(json.dumps(line, ensure_ascii=False))

    return tell


def human_log(quiet: bool, colored: bool) -> Tell:
    """Lines for people: time, worker, what happened, type, the end of the job's id, attempt, duration, detail."""

    def tell(event: Event) -> None:
        if quiet and event.told in ROUTINE:
            return
        _write(human_line(event, datetime.now().astimezone(), colored=colored))

    return tell


def human_line(event: Event, now: datetime, *, colored: bool = False) -> str:
    """An event as a line."""
    what = _WORDS[event.told].ljust(_WIDTH)
    if colored and event.told in _COLORS:
        what = f"\x1b[{_COLORS[event.told]}m{what}\x1b[0m"
    words = [now.isoformat(sep=" ", timespec="milliseconds")[:23], plain(event.worker), what]
    if event.type_name is not None:
        words.append(plain(event.type_name))
    if event.job_id is not None:
        words.append(f"…{event.job_id[-12:]}")
    if event.attempt is not None:
        words.append(f"attempt {event.attempt}")
    if event.seconds is not None:
        words.append(span(event.seconds))
    if event.detail:
        words.append(last_line(event.detail))
    return " ".join(words).rstrip()


def _write(line: str) -> None:
    """Write a line in one call; a log that nobody reads any more stops no work."""
    try:
        sys.stderr.write(f"{line}\n")
    except (OSError, ValueError):
        return
