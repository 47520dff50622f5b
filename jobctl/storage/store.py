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
from datetime import datetime
from typing import Any, ClassVar, Protocol

from sqlalchemy import Connection, Engine, Executable, Insert, Row, Select, event

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

COMMIT_GUARD = "jobctl_commit_guard"
"""Where a connection keeps what is called before each commit, and may refuse it."""

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
        event.listen(engine, "commit", _guard_commit)
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
    def run(self, conn: Connection, statement: Executable, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a statement that was built once, past SQLAlchemy's execution, which takes longer than the database's.

        Returns:
            Its rows: ids are text, instants as the driver has them.
        """

    @abstractmethod
    def instant(self, value: Any) -> datetime:
        """The instant in a row of ``run``."""

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

    def claimed(self, found: Iterable[tuple[Any, ...]], *, worker: str, lease: str) -> list[JobRow]:
        """The jobs of a claim, from rows in the order of CLAIMED, the first to be run first: RETURNING has no order."""
        jobs = [
            JobRow(
                id=id_,
                chain_id=chain_id,
                chain_index=chain_index,
                chain_type=chain_type,
                type_name=type_name,
                status="running",
                priority=priority,
                attempt=attempt,
                blocker_count=blocker_count,
                created_at=self.instant(created_at),
                scheduled_at=self.instant(scheduled_at),
                lease=lease,
                worker=worker,
                leased_until=self.instant(leased_until),
                completed_at=None,
                completed_by=None,
                input=input_,
                output=None,
                last_error=last_error,
            )
            for (
                id_,
                chain_id,
                chain_index,
                chain_type,
                type_name,
                priority,
                attempt,
                blocker_count,
                created_at,
                scheduled_at,
                leased_until,
                input_,
                last_error,
            ) in found
        ]
        jobs.sort(key=lambda each: (-each.priority, each.scheduled_at, each.id))
        return jobs

    @abstractmethod
    def notify(self, conn: Connection, told: Mapping[str, Iterable[str]]) -> None:
        """Tell other processes, once the transaction has committed: payloads by channel."""

    # --- locking -------------------------------------------------------------------------------------------------

    def lock(self, conn: Connection, chain_ids: Iterable[str]) -> dict[str, Locked]:
        """Lock those of these chains that are open, in the order of their ids; returns their current jobs.

        In a statement of its own: what is read afterwards is then newer than the lock.
        """
        ids = id_rows(chain_ids)
        found = self.run(conn, self.for_update(sql.CURRENT), {"ids": ids})
        return {row[0]: Locked(*row) for row in found}

    def hold(self, conn: Connection, chain_id: str) -> Locked | None:
        """Begin to work on a chain: lock it if it is open, and open the savepoint of a handler's own SQL.

        The connection's transaction has begun, and nothing was done in it yet.
        """
        locked = self.lock(conn, [chain_id]).get(chain_id)
        self.run(conn, sql.SAVEPOINT, {})
        return locked

    def release_savepoint(self, conn: Connection) -> None:
        """Keep what a handler's own SQL did, as far as its transaction is kept."""
        self.run(conn, sql.RELEASE_SAVEPOINT, {})

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
            self.run(conn, sql.INSERT_BLOCKERS, {"edges": json.dumps(edges)})
        return rows

    def insert_successors(self, conn: Connection, jobs: Sequence[JsonRow]) -> set[str]:
        """Insert jobs that are no chain's first; returns the ids of those that were not taken."""
        return {id_ for (id_,) in self.run(conn, self.insert_jobs, {"jobs": json.dumps(jobs)})}

    def _uncompleted(self, conn: Connection, chain_ids: set[str], open_chains: Mapping[str, Locked]) -> set[str]:
        """Those of these chains that have not completed; the open ones are locked."""
        maybe_closed = chain_ids - open_chains.keys()
        if not maybe_closed:
            return chain_ids
        found = self.run(conn, sql.CLOSED, {"ids": id_rows(maybe_closed)})
        ends = {row[0]: row[1] for row in found}
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
        chains = {each.held.chain_id for each in settlements}
        locked = self.lock(conn, chains.union(*(job.blocked_by for job in successors)))
        return self._settle_locked(conn, settlements, locked)

    def settle_held(self, conn: Connection, settlement: Settlement, locked: Locked) -> Settled:
        """Settle a job whose chain was locked by ``hold``, and keep what its handler's own SQL did.

        The transaction may be committed already when this returns.
        """
        self.release_savepoint(conn)
        outcome = settlement.outcome
        if isinstance(outcome, Continue) and outcome.successor.blocked_by:
            return self.settle(conn, [settlement])
        return self._settle_locked(conn, [settlement], {locked.chain_id: locked})

    def _settle_locked(
        self, conn: Connection, settlements: Sequence[Settlement], locked: Mapping[str, Locked]
    ) -> Settled:
        """Settle jobs of chains that are locked."""
        winners = [each for each in settlements if is_held(locked.get(each.held.chain_id), each.held)]
        results = [_result_row(each) for each in winners if isinstance(each.outcome, Complete | Continue)]
        if results:
            self.run(conn, sql.INSERT_SETTLED, {"results": json.dumps(results)})
        work = self._go_on(conn, winners, locked)
        completed = {each.held.chain_id for each in winners if isinstance(each.outcome, Complete)}
        if completed:
            ids = id_rows(completed)
            self.run(conn, sql.DELETE_CURRENT, {"ids": ids})
            work |= self._unblock(conn, ids)
        failed = any(isinstance(each.outcome, Retry) and each.outcome.delay is None for each in winners)
        won = frozenset(each.held.id for each in winners)
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
            self.run(conn, sql.MOVE_CURRENT, {"moves": json.dumps(moves)})
        failures = [_failure_row(each.held, each.outcome.error) for each in winners if isinstance(each.outcome, Retry)]
        if failures:
            self.run(conn, sql.INSERT_ERRORS, {"errors": json.dumps(failures)})
        return {row["type_name"] for row in moves if row["status"] == "pending"}

    def _unblock(self, conn: Connection, completed: str) -> set[str]:
        """Free the jobs that waited for these chains alone; returns their types.

        The waiting jobs are locked by a statement before the one that checks: two chains that complete at once
        would each see the other open, and nobody would free the job that waits for both.
        """
        waiting = [id_ for (id_,) in self.run(conn, self.for_update(sql.DEPENDENTS), {"ids": completed})]
        if not waiting:
            return set()
        return {type_name for (type_name,) in self.run(conn, sql.UNBLOCK, {"ids": id_rows(waiting)})}

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
        self.run(
            conn,
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
        ((job, lease),) = self.run(conn, sql.NEXT_DUE, {"types": type_rows(types)})
        return Due(job, lease)

    def reap(self, conn: Connection, own_leases: Iterable[str], *, limit: int = 1000) -> list[Reaped]:
        """Give back jobs whose leases ran out, except the caller's own."""
        held = json.dumps([{"lease": lease} for lease in own_leases])
        expired = self.for_update(sql.EXPIRED, skip_locked=True)
        reaped = [Reaped(*row) for row in self.run(conn, expired, {"held": held, "most": limit})]
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
        self.run(conn, sql.REAP, {"reaped": json.dumps(failures)})
        self.run(conn, sql.INSERT_ERRORS, {"errors": json.dumps(failures)})
        self.notify(conn, {WORK: {each.type_name for each in reaped}})
        return reaped

    def release(self, conn: Connection, held: Iterable[Held]) -> set[str]:
        """Give claimed jobs back at once, as if they had never been claimed; returns the ids of those given back.

        What somebody has locked at this moment is passed over.
        """
        held = list(held)
        parameters = {"held": held_rows(held, {})}
        free = {id_ for (id_,) in self.run(conn, self.for_update(sql.RENEWABLE, skip_locked=True), parameters)}
        if not free:
            return free
        parameters = {"held": held_rows([each for each in held if each.id in free], {})}
        self.notify(conn, {WORK: {type_name for (type_name,) in self.run(conn, sql.RELEASE, parameters)}})
        return free

    def renew(self, conn: Connection, held: Iterable[Held], seconds: Mapping[str, float]) -> set[str]:
        """Extend leases by the seconds given for each type; returns the ids of the jobs still held.

        What somebody has locked at this moment is passed over: it is being settled, and counts as held
        if its lease is still ours.
        """
        held = list(held)
        parameters = {"held": held_rows(held, seconds)}
        free = {id_ for (id_,) in self.run(conn, self.for_update(sql.RENEWABLE, skip_locked=True), parameters)}
        chosen = [each for each in held if each.id in free]
        renewed = (
            {id_ for (id_,) in self.run(conn, sql.RENEW, {"held": held_rows(chosen, seconds)})} if chosen else set()
        )
        passed_over = {each.id: each.lease for each in held if each.id not in renewed}
        states = self.states(conn, passed_over)
        return renewed | {id_ for id_, lease in passed_over.items() if id_ in states and states[id_][1] == lease}

    def states(self, conn: Connection, job_ids: Iterable[str]) -> dict[str, tuple[str, str | None]]:
        """Stored status and lease of the jobs that exist."""
        ids = id_rows(job_ids)
        return {id_: (status, lease) for id_, status, lease in self.run(conn, sql.STATES, {"ids": ids})}


def _guard_commit(conn: Connection) -> None:
    guard = conn.info.get(COMMIT_GUARD)
    if guard is not None:
        guard(conn)


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


def is_held(locked: Locked | None, held: Held) -> bool:
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
