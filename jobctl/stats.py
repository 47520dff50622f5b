"""What is counted: how many jobs are where, since when, and what came of those that were worked. Frozen values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from jobctl.durations import Durations
from jobctl.errors import UsageError
from jobctl.model import Pause, Status, parse_duration
from jobctl.reports import MISSED_BEATS

OPEN: Final = (Status.READY, Status.SCHEDULED, Status.RUNNING, Status.BLOCKED, Status.FAILED)
"""The statuses of jobs that are not closed."""

DEFAULT_WINDOWS: Final = ("5m", "1h", "1d")

SHORTEST_WINDOW: Final = timedelta(minutes=1)
LONGEST_WINDOW: Final = timedelta(days=2)
"""What was done is kept by the minute for an hour, by the hour for two days, and after that as one sum."""

SETTLING: Final = ("complete", "continue", "cancel")
"""The acts by hand that settle a job."""

_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Waiting:
    """The jobs of a type that have one status.

    Attributes:
        count: How many.
        oldest_at: Of the one that has had it longest: since when it is ready or running, when a failed one's last
            attempt began, when a blocked one was meant to be due at the earliest. Of scheduled ones: when the first
            is due.
    """

    count: int = 0
    oldest_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Worked:
    """What workers did to jobs of a type.

    Attributes:
        completed: Attempts that completed their chains.
        continued: Attempts that handed over to a successor.
        rescheduled: Attempts that asked for another time.
        errors: Attempts that failed, those included whose worker died.
        failed: Jobs whose attempts are used up.
        seconds: How long handlers ran, in all.
        durations: How long each attempt took that its worker saw the end of.
    """

    completed: int = 0
    continued: int = 0
    rescheduled: int = 0
    errors: int = 0
    failed: int = 0
    seconds: float = 0.0
    durations: Durations = field(default_factory=Durations)

    @classmethod
    def total(cls, several: Sequence[Worked]) -> Worked:
        """All of them together."""
        return cls(
            completed=sum(each.completed for each in several),
            continued=sum(each.continued for each in several),
            rescheduled=sum(each.rescheduled for each in several),
            errors=sum(each.errors for each in several),
            failed=sum(each.failed for each in several),
            seconds=math.fsum(each.seconds for each in several),
            durations=Durations.total(each.durations for each in several),
        )

    @property
    def settled(self) -> int:
        """Jobs that were completed or continued."""
        return self.completed + self.continued

    @property
    def attempts(self) -> int:
        """Attempts that ended."""
        return self.settled + self.rescheduled + self.errors


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time up to now.

    Attributes:
        length: As it was asked for.
        since: Its beginning: full minutes, and full hours when it is longer than one.
        seconds: How long it is, really.
    """

    length: timedelta
    since: datetime
    seconds: float

    @property
    def label(self) -> str:
        """Its length, as ``5m`` or ``1h30m``."""
        return window_label(self.length)


@dataclass(frozen=True, slots=True)
class Done:
    """What was done to jobs of a type within a window.

    Attributes:
        window: The window.
        worked: By workers.
        by_hand: By people: how many acts, by action.
    """

    window: Window
    worked: Worked
    by_hand: Mapping[str, int]

    @property
    def settled_by_hand(self) -> int:
        """How many jobs people completed, continued or cancelled."""
        return sum(self.by_hand.get(action, 0) for action in SETTLING)

    @property
    def per_second(self) -> float:
        """How many jobs workers completed or continued in a second."""
        return self.worked.settled / self.window.seconds


@dataclass(frozen=True, slots=True)
class TypeStats:
    """What is counted of one type.

    Attributes:
        type_name: Which.
        paused: Whether nothing of it is claimed, because it or everything is paused.
        paused_chains: How many chains are paused that are at a job of this type.
        open: The jobs that are not closed, by status.
        done: What was done, by window.
        ever: What workers did since the first of them counted; it only grows.
    """

    type_name: str
    paused: bool
    paused_chains: int
    open: Mapping[Status, Waiting]
    done: tuple[Done, ...]
    ever: Worked


@dataclass(frozen=True, slots=True)
class Stats:
    """What is counted.

    Attributes:
        at: When, by the database's clock.
        windows: The windows asked for, in their order.
        paused: The types that are paused, or all.
        types: All types that have open jobs or of which something was done, by name.
    """

    at: datetime
    windows: tuple[Window, ...]
    paused: tuple[Pause, ...]
    types: tuple[TypeStats, ...]


@dataclass(frozen=True, slots=True)
class Running:
    """A job that a worker holds."""

    job_id: str
    chain_id: str
    type_name: str
    attempt: int
    worker: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that failed."""

    job_id: str
    chain_id: str
    type_name: str
    attempt: int
    worker: str | None
    at: datetime
    error: str


@dataclass(frozen=True, slots=True)
class Working:
    """A worker that is registered.

    Attributes:
        name: Its name.
        host: Where it runs.
        pid: Its process.
        concurrency: How many jobs it runs at once.
        running: How many it runs now.
        stopping: Whether it claims nothing any more.
        seen_at: Its last sign of life.
        beat_seconds: How often it gives one.
    """

    name: str
    host: str
    pid: int
    concurrency: int
    running: int
    stopping: bool
    seen_at: datetime
    beat_seconds: float

    def lives(self, at: datetime) -> bool:
        """Whether it was heard of within its last beats."""
        return (at - self.seen_at).total_seconds() <= MISSED_BEATS * self.beat_seconds


@dataclass(frozen=True, slots=True)
class Minute:
    """What workers did in a minute: jobs that they completed or continued, and attempts that failed."""

    at: datetime
    settled: int
    errors: int


@dataclass(frozen=True, slots=True)
class Activity:
    """What goes on.

    Attributes:
        at: When, by the database's clock.
        workers: The workers, by name.
        running: What they run, the longest first.
        failures: The last attempts that failed, the latest first.
        minutes: What was done in each of the last minutes, up to the one that has just begun.
    """

    at: datetime
    workers: tuple[Working, ...]
    running: tuple[Running, ...]
    failures: tuple[Failure, ...]
    minutes: tuple[Minute, ...]


def window_length(asked: timedelta | str) -> timedelta:
    """The length of a window, from what callers write.

    Raises:
        UsageError: It is no duration, or no minute to two days long.
    """
    length = parse_duration(asked) if isinstance(asked, str) else asked
    if not SHORTEST_WINDOW <= length <= LONGEST_WINDOW:
        raise UsageError(
            f"a window of {asked} is out of range:"
            f" {window_label(SHORTEST_WINDOW)} to {window_label(LONGEST_WINDOW)} is what is counted"
        )
    return length


def window_label(length: timedelta) -> str:
    """A length in whole seconds, as ``5m`` or ``1h30m``."""
    rest = round(length.total_seconds())
    text = ""
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
