"""The port: what the use cases ask of a database; postgres.py and sqlite.py differ where they must.

Every method takes a connection inside a transaction and a batch of any size; nothing here commits.
Locks are taken in one order, so that writers cannot deadlock: roots of chains by id, then those chains' jobs,
then the jobs that wait for them by id. Whoever only takes what is free (claim, reap, renew) skips what is locked.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Protocol

from sqlalchemy import Connection, Engine, Insert, Row, Select

from jobctl.errors import DuplicateIdError, JobctlError, NotFoundError, UsageError
from jobctl.storage import statements as sql
from jobctl.storage.records import (
    Complete,
    Continue,
    Due,
    Held,
    JobRow,
    NewJob,
    Outcome,
    Postpone,
    Reaped,
    Retry,
    Settled,
    Settlement,
)

WORK, CLOSED, LOST = "jobctl_work", "jobctl_closed", "jobctl_lost"
"""What other processes are told: jobs of this type wait; a chain closed; this running job was settled by hand."""


class Watch(Protocol):
    """Hears of changes that other connections committed."""

    def wait(self, seconds: float) -> Mapping[str, set[str]] | None:
        """What was told within so many seconds: channel to payloads; empty when nothing was.

        None when the connection was lost: anything may have happened meanwhile. The next call reconnects.
        """

    def close(self) -> None:
        """Give the connection back."""


class Store(ABC):
    """A database that jobctl works on."""

    dialect: ClassVar[str]
    insert_jobs: ClassVar[Insert]

    def __init__(self, engine: Engine, label: str) -> None:
        self.engine = engine
        self.label = label
        """The database's URL without its password, for people."""

    # --- connections ---------------------------------------------------------------------------------------------

    @abstractmethod
    def translate(self, error: Exception) -> JobctlError | None:
        """The error that a driver's error means to a caller, or None when it is a defect."""

    def exists(self) -> bool:
        """Whether there is a database to look into, without making one."""
        return True  # else connecting fails, and says why

    @abstractmethod
    def watch(self, *channels: str) -> Watch:
        """Listen for changes of other connections."""

    @abstractmethod
    def snapshot(self, conn: Connection) -> Connection:
        """The connection, before its transaction begins, set to read one consistent state and to block nobody."""

    @abstractmethod
    def cut(self, conn: Connection) -> None:
        """End a connection from another thread, so that what it has locked is free; its own thread gets an error."""

    @abstractmethod
    def migration_lock(self, conn: Connection) -> None:
        """Wait until no other process migrates this database; held to the end of the transaction."""

    @abstractmethod
    def run_script(self, conn: Connection, script: str) -> None:
        """Run the statements of an SQL file as they stand."""

    def close(self) -> None:
        """Close the connections that wait in the pool."""
        self.engine.dispose()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise the driver's errors as jobctl's."""
        try:
            yield
        except JobctlError:
            raise
        except Exception as error:
            known = self.translate(error)
            if known is None:
                raise
            raise known from error

    @contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[Connection]:
        """A connection in a transaction of its own, committed at the end, rolled back on an error."""
        with self.translated(), self.engine.connect() as conn:
            if read_only:
                conn = self.snapshot(conn)  # noqa: PLW2901 - the same connection, set up
            with conn.begin():
                yield conn

    def on(self, conn: Connection | None, *, read_only: bool = False) -> AbstractContextManager[Connection]:
        """The caller's connection and transaction, or a transaction of its own."""
        return self.transaction(read_only=read_only) if conn is None else self._borrowed(conn, read_only=read_only)

    @contextmanager
    def _borrowed(self, conn: Connection, *, read_only: bool) -> Iterator[Connection]:
        with self.translated():
            if not read_only:
                self.ensure_begun(conn)
            yield conn

    def ensure_begun(self, conn: Connection) -> None:  # noqa: B027 - most drivers need nothing done
        """Make sure that a caller's connection is in a transaction of the database's, about to be written to."""

    # --- what differs --------------------------------------------------------------------------------------------

    @abstractmethod
    def lock_roots(self, conn: Connection, chain_ids: Iterable[str]) -> set[str]:
        """Lock the first jobs of these chains, in the order of their ids; returns those that exist.

        In a statement of its own: what is read afterwards is then newer than the lock.
        """

    @abstractmethod
    def for_update(self, statement: Select[Any], *, skip_locked: bool = False) -> Select[Any]:
        """The statement, locking the jobs that it reads."""

    @abstractmethod
    def claim(
        self, conn: Connection, types: Mapping[str, float], limit: int, *, worker: str, lease: str
    ) -> list[JobRow]:
        """Take up to so many ready jobs, the highest priority and then the earliest due first.

        Args:
            conn: A connection in a transaction.
            types: The types asked for, each with the seconds that its lease holds.
            limit: How many at the most.
            worker: The worker's name.
            lease: A new id that names this claim.
        """

    @abstractmethod
    def notify(self, conn: Connection, told: Mapping[str, Iterable[str]]) -> None:
        """Tell other processes, once the transaction has committed."""

    # --- starting ------------------------------------------------------------------------------------------------

    def start(self, conn: Connection, jobs: Sequence[NewJob]) -> None:
        """Insert the first jobs of chains; those with an open blocker wait for it.

        Raises:
            NotFoundError: A blocker does not exist.
            DuplicateIdError: An id is taken.
            UsageError: A chain would wait for itself.
        """
        if not jobs:
            return
        self.lock_roots(conn, {each for job in jobs for each in job.blocked_by})
        self._insert(conn, jobs)
        self.notify(conn, {WORK: {job.type_name for job in jobs}})

    def _insert(self, conn: Connection, jobs: Sequence[NewJob]) -> None:
        """Insert jobs whose blockers' roots are locked."""
        for job in jobs:
            if job.chain_id in job.blocked_by:
                raise UsageError(f"the chain {job.chain_id} cannot wait for itself")
        tails = self._tails(conn, {each for job in jobs for each in job.blocked_by})
        rows = [
            {
                "id": job.id,
                "chain_id": job.chain_id,
                "chain_index": job.chain_index,
                "chain_type": job.chain_type,
                "type_name": job.type_name,
                "status": "pending" if all(tails[each] == "completed" for each in job.blocked_by) else "blocked",
                "priority": job.priority,
                "blocker_count": len(job.blocked_by),
                "after_seconds": job.schedule.after_seconds,
                "at_seconds": None if job.schedule.at is None else job.schedule.at.timestamp(),
                "input": job.input,
            }
            for job in jobs
        ]
        inserted = {id_ for (id_,) in conn.execute(self.insert_jobs, {"jobs": json.dumps(rows)})}
        taken = next((job.id for job in jobs if job.id not in inserted), None)
        if taken is not None or len(inserted) < len(jobs):
            taken = taken or next(job.id for job in jobs if [each.id for each in jobs].count(job.id) > 1)
            raise DuplicateIdError(f"the id {taken} is taken", id=taken)
        edges = [
            {"job_id": job.id, "position": position, "chain_id": chain_id}
            for job in jobs
            for position, chain_id in enumerate(job.blocked_by)
        ]
        if edges:
            conn.execute(sql.INSERT_BLOCKERS, {"edges": json.dumps(edges)})

    def _tails(self, conn: Connection, chain_ids: set[str]) -> dict[str, str]:
        """The statuses of the chains' last jobs; their roots are locked."""
        if not chain_ids:
            return {}
        tails = {row.chain_id: row.status for row in conn.execute(sql.OPEN_ROOTS, {"ids": id_rows(chain_ids)})}
        for missing in sorted(chain_ids - tails.keys()):
            raise NotFoundError(f"there is no chain {missing} to wait for", id=missing)
        return tails

    # --- settling ------------------------------------------------------------------------------------------------

    def lock_current(self, conn: Connection, chain_id: str) -> JobRow | None:
        """Lock a chain and its current job, and read that job; None when there is no such chain."""
        if not self.lock_roots(conn, [chain_id]):
            return None
        row = conn.execute(self.for_update(sql.CURRENT_JOB), {"chain_id": chain_id}).one()
        return job_row(row)

    def settle(self, conn: Connection, settlements: Sequence[Settlement]) -> Settled:
        """Settle jobs that are held by their leases; those that are not held any more are left as they are.

        Raises:
            NotFoundError: A successor's blocker does not exist.
            UsageError: A successor would wait for its own chain.
        """
        if not settlements:
            return Settled(frozenset())
        successors = {
            each.held.id: each.outcome.successor for each in settlements if isinstance(each.outcome, Continue)
        }
        self.lock_roots(
            conn,
            {each.held.chain_id for each in settlements}
            | {chain for job in successors.values() for chain in job.blocked_by},
        )
        parameters = {"outcomes": json.dumps([_outcome_row(each.held, each.outcome) for each in settlements])}
        won = {id_ for (id_,) in conn.execute(sql.SETTLE, parameters)}
        winners = [each for each in settlements if each.held.id in won]
        failures = [_failure_row(each.held, each.outcome.error) for each in winners if isinstance(each.outcome, Retry)]
        if failures:
            conn.execute(sql.INSERT_ERRORS, {"errors": json.dumps(failures)})
        next_jobs = [successors[each.held.id] for each in winners if each.held.id in successors]
        if next_jobs:
            self._insert(conn, next_jobs)
        finished = {each.held.chain_id for each in winners if isinstance(each.outcome, Complete)}
        work = {job.type_name for job in next_jobs} | self._unblock(conn, finished)
        work |= {each.held.type_name for each in winners if isinstance(each.outcome, Postpone | Retry)}
        told: dict[str, Iterable[str]] = {}
        if work:
            told[WORK] = work
        if finished or any(isinstance(each.outcome, Retry) and each.outcome.delay is None for each in winners):
            told[CLOSED] = {""}  # whoever waits for a chain waits no longer when it has failed
        if told:
            self.notify(conn, told)
        return Settled(frozenset(won), frozenset(work))

    def _unblock(self, conn: Connection, completed: set[str]) -> set[str]:
        """Free the jobs that waited for these chains alone; returns their types.

        The waiting jobs are locked by a statement before the one that checks: two chains that complete at once
        would each see the other open, and nobody would free the job that waits for both.
        """
        if not completed:
            return set()
        dependents = self.for_update(sql.DEPENDENTS)
        waiting = [id_ for (id_,) in conn.execute(dependents, {"ids": id_rows(completed)})]
        if not waiting:
            return set()
        return {type_name for (type_name,) in conn.execute(sql.UNBLOCK, {"ids": id_rows(waiting)})}

    def record_act(
        self,
        conn: Connection,
        *,
        chain_id: str,
        job_id: str,
        action: str,
        actor: str,
        origin: str,
        note: str | None,
        details: Mapping[str, Any],
    ) -> None:
        """Keep what was done by hand, and who did it."""
        conn.execute(
            sql.INSERT_ACT,
            {
                "chain_id": chain_id,
                "job_id": job_id,
                "action": action,
                "actor": actor,
                "origin": origin,
                "note": note,
                "details": json.dumps(details),
            },
        )

    # --- leases --------------------------------------------------------------------------------------------------

    def next_due(self, conn: Connection, types: Mapping[str, float]) -> Due:
        """When the next job of these types is due, and when the next lease of any type runs out."""
        job, lease = conn.execute(sql.NEXT_DUE, {"types": type_rows(types)}).one()
        return Due(job, lease)

    def reap(self, conn: Connection, own_leases: Iterable[str], *, limit: int = 1000) -> list[Reaped]:
        """Give back jobs whose leases ran out, except the caller's own."""
        held = json.dumps([{"lease": lease} for lease in own_leases])
        expired = self.for_update(sql.EXPIRED, skip_locked=True)
        workers = {row.id: row.worker for row in conn.execute(expired, {"held": held, "most": limit})}
        if not workers:
            return []
        errors = [
            {"job_id": id_, "error": f"the lease ran out: nothing was heard of worker {worker}"}
            for id_, worker in workers.items()
        ]
        found = conn.execute(sql.REAP, {"errors": json.dumps(errors)}).all()
        reaped = [Reaped(row.id, row.chain_id, row.type_name, row.attempt, workers[row.id]) for row in found]
        texts = {each["job_id"]: each["error"] for each in errors}
        if reaped:
            history = [
                {"job_id": each.id, "attempt": each.attempt, "worker": each.worker, "error": texts[each.id]}
                for each in reaped
            ]
            conn.execute(sql.INSERT_ERRORS, {"errors": json.dumps(history)})
            self.notify(conn, {WORK: {each.type_name for each in reaped}})
        return reaped

    def release(self, conn: Connection, held: Iterable[Held]) -> set[str]:
        """Give claimed jobs back at once, as if they had never been claimed; returns the ids of those given back.

        What somebody has locked at this moment is passed over.
        """
        held = list(held)
        parameters = {"held": held_rows(held, {})}
        free = {row.id for row in conn.execute(self.for_update(sql.RENEWABLE, skip_locked=True), parameters)}
        if not free:
            return free
        parameters = {"held": held_rows([each for each in held if each.id in free], {})}
        self.notify(conn, {WORK: {row.type_name for row in conn.execute(sql.RELEASE, parameters)}})
        return free

    def renew(self, conn: Connection, held: Iterable[Held], seconds: Mapping[str, float]) -> set[str]:
        """Extend leases by the seconds given for each type; returns the ids of the jobs still held.

        What somebody has locked at this moment is passed over: it is being settled, and counts as held
        if its lease is still ours.
        """
        held = list(held)
        parameters = {"held": held_rows(held, seconds)}
        free = [row.id for row in conn.execute(self.for_update(sql.RENEWABLE, skip_locked=True), parameters)]
        free_set = set(free)
        chosen = [each for each in held if each.id in free_set]
        renewed = {id_ for (id_,) in conn.execute(sql.RENEW, {"held": held_rows(chosen, seconds)})} if chosen else set()
        passed_over = {each.id: each.lease for each in held if each.id not in renewed}
        states = self.states(conn, passed_over)
        return renewed | {id_ for id_, lease in passed_over.items() if id_ in states and states[id_][1] == lease}

    def states(self, conn: Connection, job_ids: Iterable[str]) -> dict[str, tuple[str, str | None]]:
        """Stored status and lease of the jobs that exist."""
        ids = id_rows(job_ids)
        return {id_: (status, lease) for id_, status, lease in conn.execute(sql.STATES, {"ids": ids})}


def id_rows(ids: Iterable[str]) -> str:
    """The parameter of a statement over ids."""
    return json.dumps([{"id": id_} for id_ in sorted(set(ids))])


def type_rows(types: Mapping[str, float]) -> str:
    """The parameter of a statement over types and the seconds of their leases."""
    return json.dumps([{"type_name": name, "lease_seconds": seconds} for name, seconds in types.items()])


def held_rows(held: Iterable[Held], seconds: Mapping[str, float]) -> str:
    """The parameter of a statement over held jobs."""
    return json.dumps(
        [{"id": each.id, "lease": each.lease, "lease_seconds": seconds.get(each.type_name)} for each in held]
    )


def claimed_rows(found: Iterable[Row[Any]], *, worker: str, lease: str) -> list[JobRow]:
    """The jobs of a claim, the first to be run first: RETURNING has no order."""
    jobs = [
        JobRow(
            id=row.id,
            chain_id=row.chain_id,
            chain_index=row.chain_index,
            chain_type=row.chain_type,
            type_name=row.type_name,
            status="running",
            priority=row.priority,
            attempt=row.attempt,
            blocker_count=row.blocker_count,
            created_at=row.created_at,
            scheduled_at=row.scheduled_at,
            lease=lease,
            worker=worker,
            leased_until=row.leased_until,
            completed_at=None,
            completed_by=None,
            input=row.input,
            output=None,
            last_error=row.last_error,
        )
        for row in found
    ]
    return sorted(jobs, key=lambda each: (-each.priority, each.scheduled_at, each.id))


def job_row(row: Row[Any]) -> JobRow:
    """A job as statements.JOBS reads it."""
    return JobRow(*tuple(row))


def _outcome_row(held: Held, outcome: Outcome) -> dict[str, Any]:
    row: dict[str, Any] = {"id": held.id, "lease": held.lease, "worker": held.worker, "charge": 0}
    match outcome:
        case Complete(output):
            row |= {"status": "completed", "output": output}
        case Continue():
            row |= {"status": "continued"}
        case Retry(error, delay):
            row |= {
                "status": "failed" if delay is None else "pending",
                "error": error,
                "after_seconds": delay,
            }
        case Postpone(schedule):
            at = None if schedule.at is None else schedule.at.timestamp()
            row |= {
                "status": "pending",
                "after_seconds": schedule.after_seconds,
                "at_seconds": at,
                "charge": -1,
            }
    return row


def _failure_row(held: Held, text: str) -> dict[str, Any]:
    return {"job_id": held.id, "attempt": held.attempt, "worker": held.worker, "error": text}
