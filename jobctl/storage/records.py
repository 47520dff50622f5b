"""What goes in and out of a store. Inputs and outputs are JSON text here; only the floors above decode them.

They are named tuples: made in a third of the time of a frozen dataclass, and declared in a fifth, for which every
command waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from jobctl.asking import Key, Slot
from jobctl.model import NOW, Schedule

WORK, CLOSED, LOST = "jobctl_work", "jobctl_closed", "jobctl_lost"
"""What other processes are told: jobs of this type wait; a chain closed; this running job was settled by hand."""


class NewJob(NamedTuple):
    """A job to be inserted: the first of a chain, or the successor in one.

    Attributes:
        id_given: Whether its id is the caller's own, which may be taken.
        status: Blocked while a chain that it waits for is open, which the store finds out.
    """

    id: str
    chain_id: str
    chain_index: int
    chain_type: str
    type_name: str
    input: str
    priority: int = 0
    schedule: Schedule = NOW
    blocked_by: tuple[str, ...] = ()
    key: Key | Slot | None = None
    id_given: bool = False
    status: Literal["pending", "blocked"] = "pending"


class JobRow(NamedTuple):
    """A job as it is stored, with its status as it is shown."""

    id: str
    chain_id: str
    chain_index: int
    chain_type: str
    type_name: str
    status: str
    priority: int
    attempt: int
    blocker_count: int
    created_at: datetime
    scheduled_at: datetime
    lease: str | None
    worker: str | None
    leased_until: datetime | None
    completed_at: datetime | None
    completed_by: str | None
    input: str
    output: str | None
    last_error: str | None
    paused: str | None = None


class ChainRow(NamedTuple):
    """A chain: its first job (root) and its last (tail) joined."""

    id: str
    type_name: str
    status: str
    input: str
    output: str | None
    created_at: datetime
    completed_at: datetime | None
    job_id: str
    job_type: str
    scheduled_at: datetime
    attempt: int
    last_error: str | None
    priority: int
    key: str | None
    tail_index: int
    paused: str | None = None


class Inserted(NamedTuple):
    """First jobs of chains that were inserted together.

    Attributes:
        created_at: When.
        due: Those that are not due at once: when they are, by their ids.
    """

    created_at: datetime
    due: Mapping[str, datetime]


class Locked(NamedTuple):
    """The current job of an open chain, whose row is locked."""

    chain_id: str
    job_id: str
    chain_index: int
    type_name: str
    status: str
    priority: int
    attempt: int
    lease: str | None


class Held(NamedTuple):
    """A job that is held by a lease, or settled by hand while locked (lease None).

    Attributes:
        id: The job.
        chain_id: Its chain.
        type_name: Its type.
        lease: Names the claim; without it, what is settled must be locked by the same transaction.
        worker: Goes to completed_by, and to the history of errors.
        attempt: The number of the attempt.
    """

    id: str
    chain_id: str
    type_name: str
    lease: str | None
    worker: str | None
    attempt: int


class Complete(NamedTuple):
    """The chain ends with this output."""

    output: str


class Continue(NamedTuple):
    """The chain goes on with this job."""

    successor: NewJob


class NewAct(NamedTuple):
    """Something done by hand, to a chain or to many, for the history; details are JSON text."""

    chain_id: str | None
    job_id: str | None
    action: str
    actor: str
    origin: str
    note: str | None
    details: str


class Retry(NamedTuple):
    """The attempt failed; the job is due again after some seconds, or waits for a person when there are none."""

    error: str
    delay: float | None


class Postpone(NamedTuple):
    """The handler asked for another time; the attempt does not count."""

    schedule: Schedule


Outcome = Complete | Continue | Retry | Postpone


class Settlement(NamedTuple):
    """What becomes of a held job."""

    held: Held
    outcome: Outcome


class Settled(NamedTuple):
    """What a batch of settlements did.

    Attributes:
        won: The ids of the jobs that were settled; the others were not held any more.
        work: The types of jobs that became ready or scheduled.
        closed: Whether a chain closed or failed: whoever waits for one may wait no longer.
    """

    won: frozenset[str] = frozenset()
    work: frozenset[str] = frozenset()
    closed: bool = False

    @property
    def told(self) -> dict[str, frozenset[str]]:
        """What others may want to know, by channel."""
        return ({WORK: self.work} if self.work else {}) | ({CLOSED: frozenset({""})} if self.closed else {})


def told_of(settled: Iterable[Settled | None]) -> dict[str, set[str]]:
    """What others may want to know of several batches, by channel."""
    told: dict[str, set[str]] = {}
    for each in settled:
        for channel, payloads in each.told.items() if each else ():
            told.setdefault(channel, set()).update(payloads)
    return told


class Reaped(NamedTuple):
    """A job whose lease ran out and that was given back."""

    id: str
    chain_id: str
    type_name: str
    attempt: int
    worker: str | None


class Due(NamedTuple):
    """How many seconds until something happens by itself; None: nothing is in sight.

    Attributes:
        job: Until the next job of the types asked for is due; negative when it is overdue.
        lease: Until the next lease runs out.
        earliest: No lease that runs ends before this, in seconds after the beginning of 1970 by the database's clock;
            None: that was not asked.
    """

    job: float | None
    lease: float | None
    earliest: float | None = None

    @property
    def ready(self) -> bool:
        """Whether a job is due already."""
        return self.job is not None and self.job <= 0

    @property
    def lapsed(self) -> bool:
        """Whether a lease has run out already."""
        return self.lease is not None and self.lease <= 0
