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


@dataclass(frozen=True, slots=True)
class TypeReport:
    """A type: what waits under this name, who takes it, and what is known of its processor.

    Attributes:
        type_name: The name.
        ready: How many jobs may be taken now.
        scheduled: How many are due later.
        blocked: How many wait for other chains.
        running: How many are leased.
        failed: How many wait for a person.
        paused_chains: How many of the ready and scheduled ones are of paused chains.
        oldest_ready_at: Since when the oldest of the ready ones is.
        paused: What is paused, so that none of them is taken: ``type`` or ``all``; None: nothing.
        workers: The live workers that take it, by name.
        similar: Types with similar names that live workers take, where jobs wait and none takes this one.
        known: Whether a processor that was given handles it.
        alias_of: The name of that processor, if this is a former one.
        aliases: The former names that it takes too.
        entry: Whether a chain may start with it; None: not known.
        where: File and line of its handler.
    """

    type_name: str
    ready: int = 0
    scheduled: int = 0
    blocked: int = 0
    running: int = 0
    failed: int = 0
    paused_chains: int = 0
    oldest_ready_at: datetime | None = None
    paused: str | None = None
    workers: tuple[str, ...] = ()
    similar: tuple[str, ...] = ()
    known: bool = False
    alias_of: str | None = None
    aliases: tuple[str, ...] = ()
    entry: bool | None = None
    where: str | None = None

    @property
    def open(self) -> int:
        """How many jobs of it are not settled."""
        return self.ready + self.scheduled + self.blocked + self.running + self.failed

    @property
    def unattended(self) -> bool:
        """Whether jobs are open under this name, and no live worker takes it."""
        return self.open > 0 and not self.workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on a check of a database's health finds something. Durations are seconds, sizes bytes.

    Attributes:
        clock: By how much the clocks of this host and the database differ.
        lapsed: How long leases have run out that nobody gave back.
        ready: How long a job has been ready.
        transaction: How long a transaction has been open.
        dead_rows: How many dead rows a table has, beside being more than the live ones.
        history: How old the oldest closed chain is, beside what the tables take.
        size: How much room the tables take, where a part of it is of no use, or ``history`` is exceeded.
    """

    clock: float = 5.0
    lapsed: float = 30.0
    ready: float = 3600.0
    transaction: float = 600.0
    dead_rows: int = 50_000
    history: float = 90 * 86_400.0
    size: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        check: Which check found it.
        subject: What it is about: a type, a table, a file, a process of the database's; None: the database.
        message: What is wrong.
        remedy: What to do about it.
    """

    check: str
    subject: str | None
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Health:
    """How a database is.

    Attributes:
        database: Its URL without the password.
        at: When, by its clock.
        checks: What was checked, in this order.
        findings: What is not as it should be; empty: all is well.
    """

    database: str
    at: datetime
    checks: tuple[str, ...]
    findings: tuple[Finding, ...]
