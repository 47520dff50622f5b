"""Numbers as documents, lines and cells: what ``stats`` prints, and ``top`` too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from jobctl.cli.documents import iso, pause_document
from jobctl.cli.render import Column
from jobctl.model import Status
from jobctl.stats import (
    SETTLING,
    Activity,
    Done,
    Failure,
    Running,
    Stats,
    TypeStats,
    Waiting,
    Window,
    Worked,
    Working,
)
from jobctl.wording import span

Item = TypeVar("Item")

NONE = "-"
"""What stands for no number."""


# --- documents -------------------------------------------------------------------------------------------------------


def stats_document(stats: Stats) -> dict[str, Any]:
    """All that is counted."""
    return {
        "at": iso(stats.at),
        "windows": [_window_document(each) for each in stats.windows],
        "paused": [pause_document(each) for each in stats.paused],
        "types": [_type_document(each) for each in stats.types],
    }


def _window_document(window: Window) -> dict[str, Any]:
    return {"window": window.label, "since": iso(window.since), "seconds": round(window.seconds, 3)}


def _type_document(stats: TypeStats) -> dict[str, Any]:
    return {
        "type": stats.type_name,
        "paused": stats.paused,
        "paused_chains": stats.paused_chains,
        "open": {status.value: _waiting_document(each) for status, each in stats.open.items()},
        "done": [_done_document(each) for each in stats.done],
        "ever": _worked_document(stats.ever),
    }


def _waiting_document(waiting: Waiting) -> dict[str, Any]:
    return {"count": waiting.count, "oldest_at": None if waiting.oldest_at is None else iso(waiting.oldest_at)}


def _done_document(done: Done) -> dict[str, Any]:
    return {
        "window": done.window.label,
        **_worked_document(done.worked),
        "per_second": round(done.per_second, 6),
        "by_hand": dict(done.by_hand),
    }


def _worked_document(worked: Worked) -> dict[str, Any]:
    return {
        "completed": worked.completed,
        "continued": worked.continued,
        "rescheduled": worked.rescheduled,
        "attempts": worked.attempts,
        "errors": worked.errors,
        "failed": worked.failed,
        "seconds": round(worked.seconds, 6),
        "p50": _rounded(worked.durations.quantile(0.5)),
        "p95": _rounded(worked.durations.quantile(0.95)),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.3g}")


def top_document(stats: Stats, activity: Activity) -> dict[str, Any]:
    """What goes on."""
    return {
        "at": iso(activity.at),
        "types": [_type_document(each) for each in stats.types],
        "running": [_running_document(each) for each in activity.running],
        "failures": [_failure_document(each) for each in activity.failures],
        "workers": [_worker_document(each, activity.at) for each in activity.workers],
        "minutes": [{"at": iso(each.at), "settled": each.settled, "errors": each.errors} for each in activity.minutes],
    }


def _running_document(running: Running) -> dict[str, Any]:
    return {
        "job_id": running.job_id,
        "chain_id": running.chain_id,
        "type": running.type_name,
        "attempt": running.attempt,
        "worker": running.worker,
        "since": iso(running.since),
    }


def _failure_document(failure: Failure) -> dict[str, Any]:
    return {
        "job_id": failure.job_id,
        "chain_id": failure.chain_id,
        "type": failure.type_name,
        "attempt": failure.attempt,
        "worker": failure.worker,
        "at": iso(failure.at),
        "error": failure.error,
    }


def _worker_document(worker: Working, at: datetime) -> dict[str, Any]:
    return {
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "concurrency": worker.concurrency,
        "running": worker.running,
        "stopping": worker.stopping,
        "alive": worker.lives(at),
        "seen_at": iso(worker.seen_at),
    }


# --- lines -----------------------------------------------------------------------------------------------------------


def lines(stats: Stats) -> Iterator[tuple[str, str, str | None]]:
    """A line for each number: its type, its name and its value."""
    for each in stats.types:
        document = _type_document(each)
        for status, waiting in document["open"].items():
            yield each.type_name, status, str(waiting["count"])
            yield each.type_name, f"{status}.oldest_at", waiting["oldest_at"]
        yield each.type_name, "paused", str(int(each.paused))
        yield each.type_name, "paused_chains", str(each.paused_chains)
        for done in document["done"]:
            yield from _done_lines(each.type_name, done)


def _done_lines(type_name: str, done: dict[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    window, by_hand = done.pop("window"), done.pop("by_hand")
    for name, value in done.items():
        yield type_name, f"{window}.{name}", None if value is None else str(value)
    for action in dict.fromkeys((*SETTLING, *sorted(by_hand))):
        yield type_name, f"{window}.by_hand.{action}", str(by_hand.get(action, 0))


# --- cells -----------------------------------------------------------------------------------------------------------


def column(
    name: str,
    cell: Callable[[Item], str | None],
    *,
    width: int = 0,
    style: Callable[[Item], str] = lambda _: "",
    flexible: bool = False,
    right: bool = False,
) -> Column[Item]:
    """A column of a table; lines are written otherwise."""
    return Column(name, cell, lambda item, _: cell(item), width, style, flexible, right)


def waiting_cell(status: Status, waiting: Waiting, now: datetime) -> str:
    """How many, and in brackets the age of the oldest, or when the first is due."""
    if not waiting.count:
        return NONE
    if waiting.oldest_at is None:
        return f"{waiting.count:,}"
    seconds = (now - waiting.oldest_at).total_seconds()
    if status is Status.SCHEDULED:
        return f"{waiting.count:,} (in {_age(-seconds)})"
    return f"{waiting.count:,} ({_age(seconds)})"


def _age(seconds: float) -> str:
    return span(round(seconds)) if seconds >= 1 else "0s"


def number_cell(number: int) -> str:
    """A count, of which zero is nothing to look at."""
    return f"{number:,}" if number else NONE


def rate_cell(per_second: float) -> str:
    """How many in a second, or in the time that makes it one or more."""
    if not per_second:
        return NONE
    unit, rate = next(
        ((unit, per_second * size) for unit, size in (("s", 1), ("min", 60)) if per_second * size >= 1),
        ("h", per_second * 3600),
    )
    return f"{rate:,.0f}/{unit}" if rate >= 10 else f"{rate:.1f}/{unit}"


def duration_cell(seconds: float | None) -> str:
    """A duration."""
    return NONE if seconds is None else span(seconds)


def all_types(types: Sequence[TypeStats], place: int) -> Done:
    """What was done in the window at this place to jobs of all these types."""
    several = [each.done[place] for each in types]
    by_hand: dict[str, int] = {}
    for done in several:
        for action, count in done.by_hand.items():
            by_hand[action] = by_hand.get(action, 0) + count
    return Done(several[0].window, Worked.total([each.worked for each in several]), by_hand)
