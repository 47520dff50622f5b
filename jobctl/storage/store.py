"""The port: what the use cases ask of a database; postgres.py and sqlite.py differ where they must.

Every method takes a connection inside a transaction and a batch of any size; nothing here commits.
Locks are taken in one order, so that writers cannot deadlock: chains by id, then the chains that wait for them by id.
Whoever only takes what is free (claim, reap, renew) skips what is locked.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Protocol

from sqlalchemy import Connection, Engine, Insert, Row, Select

from jobctl.errors import DuplicateIdError, JobctlError, NotFoundError, UsageError
from jobctl.model import Schedule
from jobctl.storage import queries
from jobctl.storage import statements as sql
from jobctl.storage.records import (
    WORK,
    Complete,
    Continue,
    Due,
    Held,
    JobRow,
    Locked,
    NewJob,
    Outcome,
    Postpone,
    Reaped,
    Retry,
    Settled,
    Settlement,
)

JsonRow = dict[str, Any]
"""A row of a parameter that statements take as JSON."""


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
    def for_update(self, statement: Select[Any], *, skip_locked: bool = False) -> Select[Any]:
        """The statement, locking the rows of jobctl_current that it reads."""

    @abstractmethod
    def insert_chains(self, conn: Connection, jobs: Sequence[JsonRow]) -> set[str]:
        """Insert the first jobs of chains; returns the ids of those that were not taken."""

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
        """Tell other processes, once the transaction has committed: payloads by channel."""

    # --- locking -------------------------------------------------------------------------------------------------

    def lock(self, conn: Connection, chain_ids: Iterable[str]) -> dict[str, Locked]:
        """Lock those of these chains that are open, in the order of their ids; returns their current jobs.

        In a statement of its own: what is read afterwards is then newer than the lock.
        """
        ids = id_rows(chain_ids)
        return {row.chain_id: Locked(*row) for row in conn.execute(self.for_update(sql.CURRENT), {"ids": ids})}

    def lock_last(self, conn: Connection, chain_id: str) -> JobRow | None:
        """Lock a chain if it is open, and read its last job; None when there is no such chain."""
        self.lock(conn, [chain_id])
        row = conn.execute(queries.LAST_JOB, {"chain_id": chain_id}).one_or_none()
        return None if row is None else job_row(row)

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
        blockers = {each for job in jobs for each in job.blocked_by}
        self._insert(conn, jobs, self.lock(conn, blockers) if blockers else {}, self.insert_chains)
        self.notify(conn, {WORK: {job.type_name for job in jobs}})

    def _insert(
        self,
        conn: Connection,
        jobs: Sequence[NewJob],
        open_chains: Mapping[str, Locked],
        insert: Callable[[Connection, Sequence[JsonRow]], set[str]],
    ) -> list[JsonRow]:
        """Insert jobs whose blockers are locked as far as they are open; returns them as rows for a parameter."""
        for job in jobs:
            if job.chain_id in job.blocked_by:
                raise UsageError(f"the chain {job.chain_id} cannot wait for itself")
        blockers = {each for job in jobs for each in job.blocked_by}
        waited_for = self._uncompleted(conn, blockers, open_chains) if blockers else set()
        rows = [_new_job_row(job, "blocked" if waited_for.intersection(job.blocked_by) else "pending") for job in jobs]
        inserted = insert(conn, rows)
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
        return rows

    def insert_successors(self, conn: Connection, jobs: Sequence[JsonRow]) -> set[str]:
        """Insert jobs that are no chain's first; returns the ids of those that were not taken."""
        return {id_ for (id_,) in conn.execute(self.insert_jobs, {"jobs": json.dumps(jobs)})}

    def _uncompleted(self, conn: Connection, chain_ids: set[str], open_chains: Mapping[str, Locked]) -> set[str]:
        """Those of these chains that have not completed; the open ones are locked."""
        maybe_closed = chain_ids - open_chains.keys()
        if not maybe_closed:
            return chain_ids
        found = conn.execute(sql.CLOSED, {"ids": id_rows(maybe_closed)})
        ends = {row.id: row.status for row in found}
        for missing in sorted(maybe_closed - ends.keys()):
            raise NotFoundError(f"there is no chain {missing} to wait for", id=missing)
        return chain_ids - {id_ for id_, status in ends.items() if status == "completed"}

    # --- settling ------------------------------------------------------------------------------------------------

    def settle(self, conn: Connection, settlements: Sequence[Settlement]) -> Settled:
        """Settle jobs that are held by their leases; those that are not held any more are left as they are.

        Tells nobody: what to tell whom is the caller's to decide.

        Raises:
            NotFoundError: A successor's blocker does not exist.
            UsageError: A successor would wait for its own chain.
        """
        if not settlements:
            return Settled()
        successors = [each.outcome.successor for each in settlements if isinstance(each.outcome, Continue)]
        locked = self.lock(
            conn,
            {each.held.chain_id for each in settlements} | {chain for job in successors for chain in job.blocked_by},
        )
        winners = [each for each in settlements if _is_held(locked.get(each.held.chain_id), each.held)]
        won = frozenset(each.held.id for each in winners)
        results = [_result_row(each) for each in winners if isinstance(each.outcome, Complete | Continue)]
        if results:
            conn.execute(sql.INSERT_SETTLED, {"results": json.dumps(results)})
        work = self._go_on(conn, winners, locked)
        completed = {each.held.chain_id for each in winners if isinstance(each.outcome, Complete)}
        if completed:
            conn.execute(sql.DELETE_CURRENT, {"ids": id_rows(completed)})
            work |= self._unblock(conn, completed)
        failed = any(isinstance(each.outcome, Retry) and each.outcome.delay is None for each in winners)
        return Settled(won, frozenset(work), bool(completed) or failed)

    def _go_on(self, conn: Connection, winners: Sequence[Settlement], locked: Mapping[str, Locked]) -> set[str]:
        """Move the chains on that do not end; returns the types of what is next."""
        next_jobs = [each.outcome.successor for each in winners if isinstance(each.outcome, Continue)]
        inserted = (
            {row["chain_id"]: row for row in self._insert(conn, next_jobs, locked, self.insert_successors)}
            if next_jobs
            else {}
        )
        moves = [
            _move_row(each.outcome, locked[each.held.chain_id], inserted.get(each.held.chain_id))
            for each in winners
            if not isinstance(each.outcome, Complete)
        ]
        if moves:
            conn.execute(sql.MOVE_CURRENT, {"moves": json.dumps(moves)})
        failures = [_failure_row(each.held, each.outcome.error) for each in winners if isinstance(each.outcome, Retry)]
        if failures:
            conn.execute(sql.INSERT_ERRORS, {"errors": json.dumps(failures)})
        return {row["type_name"] for row in moves if row["status"] == "pending"}

    def _unblock(self, conn: Connection, completed: set[str]) -> set[str]:
        """Free the jobs that waited for these chains alone; returns their types.

        The waiting jobs are locked by a statement before the one that checks: two chains that complete at once
        would each see the other open, and nobody would free the job that waits for both.
        """
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
        reaped = [Reaped(*row) for row in conn.execute(expired, {"held": held, "most": limit})]
        if not reaped:
            return []
        failures = [
            {
                "chain_id": each.chain_id,
                "job_id": each.id,
                "attempt": each.attempt,
                "worker": each.worker,
                "error": f"the lease ran out: nothing was heard of worker {each.worker}",
            }
            for each in reaped
        ]
        conn.execute(sql.REAP, {"reaped": json.dumps(failures)})
        conn.execute(sql.INSERT_ERRORS, {"errors": json.dumps(failures)})
        self.notify(conn, {WORK: {each.type_name for each in reaped}})
        return reaped

    def release(self, conn: Connection, held: Iterable[Held]) -> set[str]:
        """Give claimed jobs back at once, as if they had never been claimed; returns the ids of those given back.

        What somebody has locked at this moment is passed over.
        """
        held = list(held)
        parameters = {"held": held_rows(held, {})}
        free = {id_ for (id_,) in conn.execute(self.for_update(sql.RENEWABLE, skip_locked=True), parameters)}
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
        free = {id_ for (id_,) in conn.execute(self.for_update(sql.RENEWABLE, skip_locked=True), parameters)}
        chosen = [each for each in held if each.id in free]
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
        [
            {"chain_id": each.chain_id, "lease": each.lease, "lease_seconds": seconds.get(each.type_name)}
            for each in held
        ]
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


def _new_job_row(job: NewJob, status: str) -> JsonRow:
    return {
        "id": job.id,
        "chain_id": job.chain_id,
        "chain_index": job.chain_index,
        "chain_type": job.chain_type,
        "type_name": job.type_name,
        "status": status,
        "priority": job.priority,
        "blocker_count": len(job.blocked_by),
        **_schedule_row(job.schedule),
        "input": job.input,
    }


def _schedule_row(schedule: Schedule) -> JsonRow:
    at = None if schedule.at is None else schedule.at.timestamp()
    return {"after_seconds": schedule.after_seconds, "at_seconds": at}


def _is_held(locked: Locked | None, held: Held) -> bool:
    """Whether the chain's current job is the one held, by the same claim; by hand, whoever locks it holds it."""
    if locked is None or locked.job_id != held.id:
        return False
    return held.lease is None or locked.lease == held.lease


def _result_row(settlement: Settlement) -> JsonRow:
    held, outcome = settlement.held, settlement.outcome
    row: JsonRow = {"chain_id": held.chain_id, "worker": held.worker, "status": "continued"}
    return {**row, "status": "completed", "output": outcome.output} if isinstance(outcome, Complete) else row


def _move_row(outcome: Outcome, before: Locked, successor: JsonRow | None) -> JsonRow:
    """What a chain is to do next: a successor, or its current job again."""
    if successor is not None:
        return {**successor, "job_id": successor["id"], "attempt": 0, "input": None}
    again: JsonRow = {
        "chain_id": before.chain_id,
        "job_id": before.job_id,
        "chain_index": before.chain_index,
        "type_name": before.type_name,
        "status": "pending",
        "priority": before.priority,
        "attempt": before.attempt,
    }
    match outcome:
        case Retry(error, None):
            again |= {"status": "failed", "error": error}
        case Retry(error, delay):
            again |= {"error": error, "after_seconds": delay}
        case Postpone(schedule):
            again |= {"attempt": before.attempt - 1, **_schedule_row(schedule)}
    return again


def _failure_row(held: Held, text: str) -> dict[str, Any]:
    return {"job_id": held.id, "attempt": held.attempt, "worker": held.worker, "error": text}
