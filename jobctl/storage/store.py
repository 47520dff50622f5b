"""The port: what the use cases ask of a database; postgres.py and sqlite.py differ where they must.

Every method takes a connection inside a transaction and a batch of any size; nothing here commits.
Locks are taken in one order, so that writers cannot deadlock: chains that do not wait for others by id, then blocked
ones by id, whether all are named or the blocked ones are found as those to be freed.
Whoever only takes what is free (claim, reap, renew) skips what is locked.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from sqlalchemy import Connection, Insert

from jobctl.errors import AlreadySettledError, NotFoundError, UsageError
from jobctl.storage import statements as sql
from jobctl.storage.database import Database, Lock
from jobctl.storage.parameters import (
    JsonRow,
    act_row,
    failure_row,
    held_rows,
    id_rows,
    move_row,
    next_job_row,
    result_row,
    type_rows,
)
from jobctl.storage.records import (
    WORK,
    ChainRow,
    Complete,
    Continue,
    Due,
    Held,
    Inserted,
    JobRow,
    Locked,
    NewAct,
    NewJob,
    Reaped,
    Retry,
    Settled,
    Settlement,
)
from jobctl.storage.together import blockers_of, refuse_taken, refuse_twice

if TYPE_CHECKING:
    from jobctl.storage.front import Front


class Store(Database):
    """What the use cases ask of a database, for jobs and chains."""

    insert_jobs: ClassVar[Insert]

    start_at_once: ClassVar[int]
    """Chains that one statement starts."""

    # --- what differs --------------------------------------------------------------------------------------------

    @abstractmethod
    def insert_chains(self, conn: Connection, parts: Iterable[Sequence[NewJob]]) -> Generator[Inserted]:
        """Insert the first jobs of chains, some at a time, and tell who waits for work.

        Yields:
            What came of each part.

        Raises:
            DuplicateIdError: An id that was given is taken.
        """

    @abstractmethod
    def start_alone(self, job: NewJob) -> ChainRow:
        """Insert the first job of a chain that waits for nothing, in a transaction of its own.

        Raises:
            DuplicateIdError: Its id is taken.
        """

    @abstractmethod
    def lock_keys(self, conn: Connection, keys: Sequence[tuple[str, str]]) -> None:
        """Wait until nobody else starts chains of these types with these keys, to the end of the transaction.

        What is read afterwards is newer than the lock. Keys are locked before chains.
        """

    @abstractmethod
    def claim(
        self,
        conn: Connection,
        types: Mapping[str, float],
        limit: int,
        *,
        worker: str,
        lease: str,
        front: Front | None = None,
    ) -> list[JobRow]:
        """Take up to so many ready jobs, the highest priority and then the earliest due first.

        With a front, claims go on where the last one ended, and are left at what they find: what lies before, of
        another priority or type is taken by a later one, once one finds nothing or the front says so.

        Args:
            conn: A connection in a transaction.
            types: The types asked for, each with the seconds that its lease holds.
            limit: How many at the most.
            worker: The worker's name.
            lease: A new id that names this claim.
            front: Where the same worker's claims go on.
        """

    def claim_alone(
        self, types: Mapping[str, float], limit: int, *, worker: str, lease: str, front: Front
    ) -> list[JobRow]:
        """Do that in a transaction of its own; a crash of the machine may undo it, one of ours not."""
        with self.work(forgettable=True) as conn:
            return self.claim(conn, types, limit, worker=worker, lease=lease, front=front)

    def claims_under_way(self, conn: Connection) -> set[str]:
        """What names the transactions that may be claiming jobs by what they read before this one began.

        None where whoever claims waits for whoever pauses, and the other way round.
        """
        return set()

    # --- locking -------------------------------------------------------------------------------------------------

    def lock(
        self, conn: Connection, chain_ids: Iterable[str], lock: Lock = Lock.UPDATE, *, skip_locked: bool = False
    ) -> dict[str, Locked]:
        """Lock those of these chains that are open, the blocked ones last; returns their current jobs.

        In a statement of its own: what is read afterwards is then newer than the lock. It waits for what others have
        locked, or passes it over.
        """
        ids = id_rows(chain_ids)
        found = self.run(conn, self.locking(sql.CURRENT, lock, skip_locked=skip_locked), {"ids": ids})
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
        from jobctl.storage import queries

        self.lock(conn, [chain_id])
        row = conn.execute(queries.LAST_JOB, {"chain_id": chain_id}).one_or_none()
        return None if row is None else JobRow(*row)

    # --- starting ------------------------------------------------------------------------------------------------

    def start(self, conn: Connection, jobs: Sequence[NewJob]) -> list[tuple[NewJob, Inserted]]:
        """Insert the first jobs of chains; those with an open blocker, or an earlier one of these, wait for it.

        Returns:
            The jobs with the statuses that they have, each with what its insert told.

        Raises:
            NotFoundError: A blocker does not exist.
            DuplicateIdError: An id is taken.
            UsageError: A chain would wait for itself.
        """
        blockers = blockers_of(jobs)
        placed = self._with_statuses(conn, jobs, self.lock(conn, blockers, Lock.STAYS) if blockers else {})
        refuse_twice(jobs)
        with closing(self.starting(conn, placed)) as inserted:
            started = list(inserted)
        self._insert_blockers(conn, jobs)
        return started

    def starting(self, conn: Connection, jobs: Iterable[NewJob]) -> Generator[tuple[NewJob, Inserted]]:
        """Insert the first jobs of chains as they come, with the statuses that they have.

        The database may be busy with some while the next ones are made, and while the caller works with those before.
        Whoever does not read to the end must close it, and roll back. Until then the connection must not be used for
        anything else.

        Raises:
            DuplicateIdError: An id is taken.
        """
        sent: deque[list[NewJob]] = deque()

        def parts() -> Iterator[list[NewJob]]:
            left = iter(jobs)
            while part := list(islice(left, self.start_at_once)):
                sent.append(part)
                yield part

        with closing(self.insert_chains(conn, parts())) as inserted:
            for made in inserted:
                for job in sent.popleft():
                    yield job, made

    def _with_statuses(
        self, conn: Connection, jobs: Sequence[NewJob], open_chains: Mapping[str, Locked]
    ) -> list[NewJob]:
        """The jobs, those blocked whose blockers are open; these are locked."""
        for job in jobs:
            if job.chain_id in job.blocked_by:
                raise UsageError(f"the chain {job.chain_id} cannot wait for itself")
        blockers = blockers_of(jobs)
        waited_for = self._uncompleted(conn, blockers, open_chains) if blockers else set()
        placed = []
        for job in jobs:
            placed.append(job if waited_for.isdisjoint(job.blocked_by) else job._replace(status="blocked"))
            waited_for.add(job.chain_id)
        return placed

    def _insert_blockers(self, conn: Connection, jobs: Sequence[NewJob]) -> None:
        edges: list[JsonRow] = [
            {"job_id": job.id, "position": position, "chain_id": chain_id}
            for job in jobs
            for position, chain_id in enumerate(job.blocked_by)
        ]
        edges.sort(key=lambda edge: edge["chain_id"])  # the foreign keys lock these chains' roots, in the common order
        if edges:
            self.insert_blockers(conn, edges)

    def insert_blockers(self, conn: Connection, edges: Sequence[JsonRow]) -> None:
        """Have jobs wait for chains: rows of ``job_id``, ``position`` and ``chain_id``, in the order of the chains."""
        self.run(conn, sql.INSERT_BLOCKERS, {"edges": json.dumps(edges)})

    def _uncompleted(self, conn: Connection, chain_ids: set[str], open_chains: Mapping[str, Locked]) -> set[str]:
        """Those of these chains that have not completed; the open ones are locked."""
        maybe_closed = chain_ids - open_chains.keys()
        if not maybe_closed:
            return chain_ids
        found = self.run(conn, sql.CLOSED, {"ids": id_rows(maybe_closed)})
        ends = {row[0]: row[1] for row in found}
        for missing in sorted(maybe_closed - ends.keys()):
            raise NotFoundError(f"there is no chain {missing} to wait for", id=missing)
        for cancelled in sorted(id_ for id_, status in ends.items() if status == "cancelled"):
            raise AlreadySettledError(
                f"the chain {cancelled} is cancelled: nothing can wait for it",
                id=cancelled,
                chain_id=cancelled,
                status="cancelled",
            )
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
        results = [result_row(each) for each in winners if isinstance(each.outcome, Complete | Continue)]
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
        inserted: dict[str, JsonRow] = {}
        if next_jobs:
            rows = list(map(next_job_row, self._with_statuses(conn, next_jobs, locked)))
            refuse_twice(next_jobs)
            made = {id_ for (id_,) in self.run(conn, self.insert_jobs, {"jobs": json.dumps(rows)})}
            refuse_taken(job.id for job in next_jobs if job.id not in made)
            self._insert_blockers(conn, next_jobs)
            inserted = {row["chain_id"]: row for row in rows}
        moves = [
            move_row(each.outcome, locked[each.held.chain_id], inserted.get(each.held.chain_id))
            for each in winners
            if not isinstance(each.outcome, Complete)
        ]
        if moves:
            self.run(conn, sql.MOVE_CURRENT, {"moves": json.dumps(moves)})
        failures = [failure_row(each.held, each.outcome.error) for each in winners if isinstance(each.outcome, Retry)]
        if failures:
            self.run(conn, sql.INSERT_ERRORS, {"errors": json.dumps(failures)})
        return {row["type_name"] for row in moves if row["status"] == "pending"}

    def _unblock(self, conn: Connection, completed: str) -> set[str]:
        """Free the jobs that waited for these chains alone; returns their types.

        The waiting jobs are locked by a statement before the one that checks: two chains that complete at once
        would each see the other open, and nobody would free the job that waits for both.
        """
        waiting = [id_ for (id_,) in self.run(conn, self.locking(sql.DEPENDENTS, Lock.CHANGE), {"ids": completed})]
        if not waiting:
            return set()
        return {type_name for (type_name,) in self.run(conn, sql.UNBLOCK, {"ids": id_rows(waiting)})}

    def record(self, conn: Connection, acts: Sequence[NewAct]) -> None:
        """Keep what was done by hand, and who did it."""
        self.run(conn, sql.INSERT_ACTS, {"acts": json.dumps([act_row(each) for each in acts])})

    # --- leases --------------------------------------------------------------------------------------------------

    def next_due(self, conn: Connection, types: Mapping[str, float], *, since: float = 0.0) -> Due:
        """When the next job of these types is due, and when the next lease of any type runs out.

        Args:
            conn: A connection in a transaction.
            types: The types asked for.
            since: Before this, in seconds after the beginning of 1970, no lease is looked for.
        """
        from jobctl.storage import leasing

        ((job, lease, at),) = self.run(conn, leasing.NEXT_DUE, {"types": type_rows(types), "since": since})
        return Due(job, lease, at + min(lease or 0.0, 0.0))

    def reap(
        self, conn: Connection, own_leases: Iterable[str], *, since: float = 0.0, limit: int = 1000
    ) -> list[Reaped]:
        """Give back jobs whose leases ran out, except the caller's own, and those that ran out before a time."""
        from jobctl.storage import leasing

        held = json.dumps([{"lease": lease} for lease in own_leases])
        expired = self.locking(leasing.EXPIRED, skip_locked=True)
        reaped = [Reaped(*row) for row in self.run(conn, expired, {"held": held, "since": since, "most": limit})]
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
        self.run(conn, leasing.REAP, {"reaped": json.dumps(failures)})
        self.run(conn, sql.INSERT_ERRORS, {"errors": json.dumps(failures)})
        self.notify(conn, {WORK: {each.type_name for each in reaped}})
        return reaped

    def release(self, conn: Connection, held: Iterable[Held]) -> set[str]:
        """Give claimed jobs back at once, as if they had never been claimed; returns the ids of those given back.

        What somebody has locked at this moment is passed over.
        """
        from jobctl.storage import leasing

        held = list(held)
        parameters = {"held": held_rows(held, {})}
        free = {id_ for (id_,) in self.run(conn, self.locking(leasing.RENEWABLE, skip_locked=True), parameters)}
        if not free:
            return free
        parameters = {"held": held_rows([each for each in held if each.id in free], {})}
        self.notify(conn, {WORK: {type_name for (type_name,) in self.run(conn, leasing.RELEASE, parameters)}})
        return free

    def renew(self, conn: Connection, held: Iterable[Held], seconds: Mapping[str, float]) -> set[str]:
        """Extend leases by the seconds given for each type; returns the ids of the jobs still held.

        What somebody has locked at this moment is passed over: it is being settled, and counts as held
        if its lease is still ours.
        """
        from jobctl.storage import leasing

        held = list(held)
        parameters = {"held": held_rows(held, seconds)}
        free = {id_ for (id_,) in self.run(conn, self.locking(leasing.RENEWABLE, skip_locked=True), parameters)}
        chosen = [each for each in held if each.id in free]
        renewed = (
            {id_ for (id_,) in self.run(conn, leasing.RENEW, {"held": held_rows(chosen, seconds)})} if chosen else set()
        )
        passed_over = {each.id: each.lease for each in held if each.id not in renewed}
        states = self.states(conn, passed_over)
        return renewed | {id_ for id_, lease in passed_over.items() if id_ in states and states[id_][1] == lease}

    def states(self, conn: Connection, job_ids: Iterable[str]) -> dict[str, tuple[str, str | None]]:
        """Stored status and lease of the jobs that exist."""
        from jobctl.storage import leasing

        ids = id_rows(job_ids)
        return {id_: (status, lease) for id_, status, lease in self.run(conn, leasing.STATES, {"ids": ids})}


def is_held(locked: Locked | None, held: Held) -> bool:
    """Whether the chain's current job is the one held, by the same claim; by hand, whoever locks it holds it."""
    if locked is None or locked.job_id != held.id:
        return False
    return held.lease is None or locked.lease == held.lease
