"""What is told of workers, of types, and of the health of a database. Frozen values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

MISSED_BEATS = 3
"""A worker that was not heard of for so many beats is dead."""


class WorkerState(StrEnum):
    """Whether a worker works, by its last sign of life."""

    ALIVE = "alive"
    STOPPING = "stopping"  # it finishes what runs, and claims nothing
    DEAD = "dead"  # not heard of for three beats; what it holds comes free when its leases run out


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job that a worker holds.

    Attributes:
        id: The job.
        chain_id: Its chain.
        type_name: Its type.
        claimed_at: Since when.
        leased_until: When it comes free, unless the worker renews or settles it.
    """

    id: str
    chain_id: str
    type_name: str
    claimed_at: datetime
    leased_until: datetime


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A worker as it was last heard of. A worker that stops is no longer listed, one that died for a day.

    Attributes:
        id: Of this run of it: a process that starts anew is another worker, of the same name maybe.
        name: Its name.
        host: Where it runs.
        pid: Its process there.
        version: Of jobctl.
        types: The names of the types that it takes, those of aliases too.
        concurrency: How many jobs it runs at once.
        running: How many it was running.
        state: Whether it works.
        busy_since: Since when all its slots are in use, if they are.
        started_at: When it started.
        seen_at: When it was last heard of.
        jobs: What it holds.
    """

    id: str
    name: str
    host: str
    pid: int
    version: str
    types: tuple[str, ...]
    concurrency: int
    running: int
    state: WorkerState
    busy_since: datetime | None
    started_at: datetime
    seen_at: datetime
    jobs: tuple[HeldJob, ...] = ()

    def takes(self, type_name: str) -> bool:
        """Whether it claims jobs of this type now."""
        return self.state is WorkerState.ALIVE and type_name in self.types
