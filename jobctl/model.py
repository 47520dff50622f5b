"""What jobctl talks about: jobs, chains and when they are due. Frozen values, no I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

from jobctl.errors import UsageError
from jobctl.passwords import without_password

In = TypeVar("In")

MAX_ERROR_LENGTH = 10_000
"""Characters of an attempt's error that are kept: the end of a traceback is what tells."""


class Status(StrEnum):
    """Where a job stands; a chain's status is that of its last job."""

    BLOCKED = "blocked"  # waits for other chains
    SCHEDULED = "scheduled"  # its time has not come
    READY = "ready"  # a worker may take it
    RUNNING = "running"  # an attempt holds a lease on it
    FAILED = "failed"  # its attempts are used up; waits for a person
    CONTINUED = "continued"  # closed: handed over to a successor
    COMPLETED = "completed"  # closed: with an output, and the chain is over
    CANCELLED = "cancelled"  # closed: by hand

    @property
    def closed(self) -> bool:
        """Whether nothing can happen to the job any more."""
        return self in {Status.CONTINUED, Status.COMPLETED, Status.CANCELLED}


class Paused(StrEnum):
    """What is paused, so that an open job is not claimed: the widest reason gives way to the closest."""

    CHAIN = "chain"
    TYPE = "type"
    ALL = "all"


class LostReason(StrEnum):
    """Why an attempt does not hold its job any more."""

    ALREADY_COMPLETED = "already_completed"
    TAKEN_BY_ANOTHER_WORKER = "taken_by_another_worker"
    NOT_FOUND = "not_found"
    CANCELLED = "cancelled"
    ERROR = "error"  # the lease could not be renewed in time


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job is due: after a delay counted by the database's clock, or at an instant.

    Attributes:
        after: The delay, or None.
        at: The instant, with its zone, or None. In the past means now.
    """

    after: timedelta | None = None
    at: datetime | None = None

    @classmethod
    def of(cls, after: timedelta | str | None = None, at: datetime | None = None) -> Schedule:
        """Make one from what callers write: a timedelta or a text like ``2h30m``, or a zoned datetime."""
        if after is None and at is None:
            return NOW
        if after is not None and at is not None:
            raise UsageError("give either a delay (after) or a time (at), not both")
        if at is not None and at.tzinfo is None:
            raise UsageError(f"the time {at.isoformat()} has no zone: use an aware datetime")
        return cls(parse_duration(after) if isinstance(after, str) else after, at)

    @property
    def after_seconds(self) -> float | None:
        """The delay in seconds."""
        return None if self.after is None else self.after.total_seconds()


NOW = Schedule()

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_LONGEST = timedelta(days=366 * 1000)


def parse_duration(text: str) -> timedelta:
    """Read a duration such as ``90s``, ``15m``, ``2h30m``, ``7d`` or ``500ms``.

    Raises:
        UsageError: The text is not a duration.
    """
    rest = text.strip().lower()
    parts = _DURATION_PART.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise UsageError(f"'{text}' is not a duration: write 90s, 15m, 2h30m, 7d or 500ms")
    seconds = math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST.total_seconds():
        raise UsageError(f"'{text}' is longer than a thousand years")
    return timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a failed attempt waits for the next: ``initial * factor ** (attempt - 1)``, at most ``maximum``.

    Attributes:
        initial: Seconds before the second attempt.
        factor: What each further wait is multiplied with.
        maximum: Seconds that no wait exceeds.
    """

    initial: float = 10.0
    factor: float = 2.0
    maximum: float = 300.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the attempt with this number (from 1) failed."""
        exponent = min(max(attempt - 1, 0), 1000)
        try:
            return min(self.initial * self.factor**exponent, self.maximum)
        except OverflowError:
            return self.maximum


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain as a whole. Times are aware datetimes in UTC.

    Attributes:
        id: The id of its first job.
        type_name: The type of its first job.
        status: The status of its last job.
        input: The input of its first job.
        output: The output, once completed.
        created_at: When it was started.
        closed_at: When it was completed or cancelled.
        job_id: Its current (last) job.
        job_type: The type of that job.
        scheduled_at: When that job is or was due.
        attempt: How many attempts that job has had.
        last_error: What its last attempt failed with.
        priority: Higher goes first.
        length: How many jobs it has had so far.
        key: What names its work, if anything does.
        deduplicated: In the result of a start: it existed before.
        paused: What is paused, so that its current job is not claimed; None: nothing is, or it is closed. A start does
            not look.
    """

    id: str
    type_name: str
    status: Status
    input: Any
    output: Any
    created_at: datetime
    closed_at: datetime | None
    job_id: str
    job_type: str
    scheduled_at: datetime
    attempt: int
    last_error: str | None
    priority: int
    length: int
    key: str | None = None
    deduplicated: bool = False
    paused: Paused | None = None


@dataclass(frozen=True, slots=True)
class Job(Generic[In]):
    """One unit of work. Times are aware datetimes in UTC.

    Attributes:
        id: Its id, a UUID as text.
        chain_id: The id of its chain, which is that of the chain's first job.
        chain_type: The type of the chain's first job.
        chain_index: Its place in the chain, from 0.
        type_name: Which processor handles it.
        status: Where it stands.
        priority: Higher goes first.
        input: A handler gets it as the type its annotation names; elsewhere plain JSON values.
        output: Plain JSON values, once completed.
        created_at: When it was started or continued to.
        scheduled_at: When it is due.
        attempt: How many attempts it has had; in a handler, the number of this one, from 1.
        worker: Who holds it, while running.
        leased_until: Until when, if nobody renews.
        last_error: Text and traceback of the last attempt's error.
        completed_at: When it was settled.
        completed_by: The worker that settled it; None if by hand, or not yet.
        blocker_ids: The chains it waits or waited for, in the order given.
        paused: What is paused, so that it is not claimed; None: nothing is, or it is settled.
        blockers: In a handler: those chains, completed.
        context: In a handler: what its middleware added.
    """

    id: str
    chain_id: str
    chain_type: str
    chain_index: int
    type_name: str
    status: Status
    priority: int
    input: In
    output: Any
    created_at: datetime
    scheduled_at: datetime
    attempt: int
    worker: str | None = None
    leased_until: datetime | None = None
    last_error: str | None = None
    completed_at: datetime | None = None
    completed_by: str | None = None
    blocker_ids: tuple[str, ...] = ()
    paused: Paused | None = None
    blockers: tuple[Chain, ...] = ()
    context: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class AttemptError:
    """What one attempt of a job failed with."""

    job_id: str
    attempt: int
    at: datetime
    worker: str | None
    error: str


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a person did by hand.

    Attributes:
        chain_id: The chain it was done to; None for what is done to all chains of a type, or to all there are.
        job_id: The job that was current then.
        at: When.
        action: ``complete``, ``continue``, ``trigger``, ``reschedule``, ``retry``, ``cancel``, ``restart``, ``pause``,
            ``resume`` or ``delete``.
        actor: Who.
        origin: From which host.
        note: Why, in their words.
        details: What changed, as JSON values: the ``type``, and what was ``before`` and ``after``.
    """

    chain_id: str | None
    job_id: str | None
    at: datetime
    action: str
    actor: str
    origin: str
    note: str | None
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Something that is paused: nothing of it is claimed, and what runs goes on.

    Attributes:
        what: A chain, a type, or all there are.
        name: The chain's id or the type; None for all.
        at: Since when.
        actor: Who paused it; None for a chain whose history does not tell.
        note: Why, in their words.
    """

    what: Paused
    name: str | None
    at: datetime
    actor: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class ChainDetail:
    """A chain with all that is known of it.

    Attributes:
        chain: The chain.
        jobs: Its jobs, first to last.
        blockers: The chains that its jobs wait or waited for, by id.
        dependents: Jobs of other chains that wait or waited for this one.
        errors: What attempts failed with, oldest first.
        history: What was done by hand, oldest first.
    """

    chain: Chain
    jobs: tuple[Job[Any], ...]
    blockers: dict[str, Chain]
    dependents: tuple[Job[Any], ...]
    errors: tuple[AttemptError, ...]
    history: tuple[Act, ...]


def describe_error(error: BaseException, *, render: Callable[[BaseException], str]) -> str:
    """The text that is kept of an error: rendered, without passwords and NUL, the last MAX_ERROR_LENGTH characters."""
    text = without_password(render(error)).strip().replace("\x00", "\N{REPLACEMENT CHARACTER}")
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text[-MAX_ERROR_LENGTH:]


def utc(instant: datetime) -> datetime:
    """The same instant, in UTC."""
    return instant.astimezone(UTC)
