"""The use cases: start, settle by hand, look, wait. All that the command line does, for Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection

from jobctl import deleting, moving
from jobctl.acts import Hand
from jobctl.after_commit import after_commit
from jobctl.asking import Key, ListFilter, NewChain, Page
from jobctl.errors import NotFoundError
from jobctl.finding import of_type, one
from jobctl.ids import require_id
from jobctl.model import Chain, ChainDetail, Job, Schedule
from jobctl.processors import AnyProcessor, type_name_of
from jobctl.registry import Registry
from jobctl.settling import Current
from jobctl.starting import first_job, is_one_statement, start_jobs
from jobctl.storage import reading
from jobctl.storage.decoding import chain_of, detail_of, job_of
from jobctl.storage.migrate import check_schema
from jobctl.storage.open import open_store
from jobctl.storage.records import JobRow
from jobctl.storage.store import Store
from jobctl.waiting import wait_for

EVERYTHING = ListFilter()


class Client:
    """A database of job chains.

    Every method that reads or writes takes ``conn``, a SQLAlchemy Connection to the same database: then it
    works inside the caller's transaction, and is committed or rolled back with it. Without, it uses a
    transaction of its own.

    Example:
        ::

            client = Client("postgresql://app@db/app")
            with engine.begin() as conn:
                conn.execute(insert(order).values(id=7))
                client.start("ship-order", {"order": 7}, conn=conn)
    """

    def __init__(self, database: str | Store, *, processors: Registry | None = None) -> None:
        """Make a client; PostgreSQL is not asked before the first call.

        Args:
            database: postgresql://… or sqlite:///path.
            processors: Inputs and outputs are checked against these; none: they are only checked to be JSON.
        """
        self.store = open_store(database) if isinstance(database, str) else database
        self.processors = processors if processors is not None else Registry()
        self._checked = False
        if self.store.dialect == "sqlite":
            self._ready()  # now, and not while the caller's own transaction holds the file

    def close(self) -> None:
        """Close its connections."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> Store:
        """The store, once its schema is known to fit."""
        if not self._checked:
            check_schema(self.store)
            self._checked = True
        return self.store

    # --- starting ------------------------------------------------------------------------------------------------

    def start(
        self,
        type_name: str | AnyProcessor,
        input: Any = None,  # noqa: A002 - the field's name everywhere
        *,
        after: timedelta | str | None = None,
        at: datetime | None = None,
        blocked_by: Sequence[str] = (),
        priority: int = 0,
        id: str | None = None,  # noqa: A002 - as above
        key: Key | str | None = None,
        conn: Connection | None = None,
    ) -> Chain:
        """Start a chain, or find the one that has its key.

        Args:
            type_name: The type of its first job, or the processor.
            input: That job's input.
            after: A delay before it is due.
            at: The time it is due; in the past means now.
            blocked_by: Ids of the chains that must complete first.
            priority: Higher goes first, -1000 to 1000.
            id: An id of the caller's own, a UUID.
            key: Names the work: while a chain of this type with this key is open, that is the result, with
                ``deduplicated`` set. A Key says more.
            conn: The caller's transaction.

        Raises:
            InvalidDataError: The input or the type is not acceptable.
            NotFoundError: A blocker does not exist.
            DuplicateIdError: The id is taken.
            DuplicateKeyError: The key is, and its chain was not wanted instead.
        """
        chain = NewChain(type_name, input, after, at, blocked_by, priority, id, key)
        (started,) = self.start_many([chain], conn=conn)
        return started

    def start_many(self, chains: Iterable[NewChain], *, conn: Connection | None = None) -> list[Chain]:
        """Start many chains at once, all or none; without keys and blockers that is one statement.

        Returns:
            The chains in the order given; those with ``deduplicated`` existed before, or are others of these.

        Raises:
            UsageError: An argument of one is not acceptable.
            InvalidDataError: The input or the type of one is not.
            NotFoundError: A blocker does not exist.
            DuplicateIdError: An id is taken, or given twice.
            DuplicateKeyError: A key is taken, and its chain was not wanted instead.
        """
        jobs = [first_job(self.processors, each) for each in chains]
        store = self._ready()
        alone = conn is None and is_one_statement(jobs)
        with store.single() if alone else store.on(conn) as on, _savepoint(on, needed=conn is not None):
            return start_jobs(store, on, self.processors, jobs)

    def check(self, chain: NewChain) -> None:
        """Refuse what start would refuse without asking the database.

        Raises:
            UsageError: An argument is not acceptable.
            InvalidDataError: The input or the type is not.
        """
        first_job(self.processors, chain)

    # --- settling by hand ----------------------------------------------------------------------------------------

    @contextmanager
    def settle(
        self,
        id: str,  # noqa: A002 - the field's name everywhere
        *,
        expect: str | AnyProcessor | None = None,
        force: bool = False,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> Iterator[Current]:
        """Lock a chain and its current job, to settle it in the block; leaving without changes nothing.

        Args:
            id: The chain, or a job that must still be the chain's current one.
            expect: The type that the current job must have.
            force: Settle a job although it waits for other chains.
            actor: Who, for the history; user@host unless given.
            note: Why, for the history.
            conn: The caller's transaction.

        Raises:
            NotFoundError: There is no such chain or job.
            AlreadySettledError: The chain is closed, or the job not its current one any more.
            GuardError: The current job is of another type than expected.
        """
        wanted = require_id(id)
        store = self._ready()
        with store.on(conn) as on, _savepoint(on, needed=conn is not None):
            row = self._lock(store, on, wanted)
            waits_for = reading.blocker_ids(on, [row]).get(row.id, ())
            current = Current(
                store,
                on,
                self.processors,
                row,
                waits_for,
                force=force,
                hand=Hand.of(actor, note),
            )
            current.check(wanted, None if expect is None else type_name_of(expect))
            yield current

    @staticmethod
    def _lock(store: Store, conn: Connection, wanted: str) -> JobRow:
        row = store.lock_last(conn, wanted)
        if row is None:
            job = reading.jobs(conn, [wanted]).get(wanted)
            row = None if job is None else store.lock_last(conn, job.chain_id)
        if row is None:
            raise NotFoundError(f"there is no chain or job {wanted}", id=wanted)
        return row

    # --- moving and deleting -------------------------------------------------------------------------------------

    def trigger(
        self,
        ids: Iterable[str],
        *,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> list[Job[Any]]:
        """Have scheduled jobs run now, the first given first; all or none.

        Args:
            ids: Chains, or jobs that must still be their chains' current ones.
            actor: Who, for the history; user@host unless given.
            note: Why, for the history.
            conn: The caller's transaction.

        Returns:
            The jobs, in the order given.

        Raises:
            NotFoundError: One does not exist.
            AlreadySettledError: One is closed, or not its chain's current job any more.
            NotWaitingError: One is neither scheduled nor ready.
        """
        store = self._ready()
        with store.on(conn) as on, _savepoint(on, needed=conn is not None):
            return moving.trigger(store, on, ids, Hand.of(actor, note))

    def reschedule(
        self,
        ids: Iterable[str],
        *,
        after: timedelta | str | None = None,
        at: datetime | None = None,
        priority: int | None = None,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> list[Job[Any]]:
        """Move scheduled or ready jobs to another time, another priority, or both; all or none. See trigger."""
        schedule = None if after is None and at is None else Schedule.of(after, at)
        store = self._ready()
        with store.on(conn) as on, _savepoint(on, needed=conn is not None):
            return moving.reschedule(store, on, ids, schedule, priority, Hand.of(actor, note))

    def delete(
        self,
        chain_ids: Iterable[str],
        *,
        cascade: bool = False,
        actor: str | None = None,
        note: str | None = None,
        conn: Connection | None = None,
    ) -> list[str]:
        """Delete chains with all that belongs to them. A worker that is on one is told.

        Args:
            chain_ids: The chains. Of several, those that do not exist are passed over.
            cascade: With all chains that they wait or waited for, and that those do.
            actor: Who, for the history, which stays.
            note: Why, for the history.
            conn: The caller's transaction.

        Returns:
            What was deleted.

        Raises:
            NotFoundError: The only one given does not exist.
            ReferencedError: An open chain that is not deleted too waits for one.
        """
        store = self._ready()
        with store.on(conn) as on, _savepoint(on, needed=conn is not None):
            return deleting.delete(store, on, chain_ids, Hand.of(actor, note), cascade=cascade)

    @staticmethod
    def after_commit(conn: Connection, call: Callable[[], object]) -> None:
        """Have this called once the connection's transaction has committed, in the order of registration.

        Never after a rollback, of the transaction or of a savepoint that was open. An error in one is logged and
        does not stop the others. It works on the caller's own connections and on those that handlers are given.

        Args:
            conn: A connection in a transaction.
            call: What to do; it must not use the connection.
        """
        after_commit(conn, call)

    # --- looking -------------------------------------------------------------------------------------------------

    def get(
        self, chain_id: str, *, type_name: str | AnyProcessor | None = None, conn: Connection | None = None
    ) -> Chain:
        """A chain.

        Raises:
            NotFoundError: There is none with this id.
            GuardError: It is not of the type asked for.
        """
        wanted = require_id(chain_id)
        with self._ready().on(conn, read_only=True) as on:
            return of_type(chain_of(one(reading.chains(on, [wanted]), wanted, "chain")), type_name)

    def get_job(
        self, job_id: str, *, type_name: str | AnyProcessor | None = None, conn: Connection | None = None
    ) -> Job[Any]:
        """A job.

        Raises:
            NotFoundError: There is none with this id.
            GuardError: It is not of the type asked for.
        """
        wanted = require_id(job_id)
        with self._ready().on(conn, read_only=True) as on:
            row = one(reading.jobs(on, [wanted]), wanted, "job")
            return of_type(job_of(row, reading.blocker_ids(on, [row])), type_name)

    def show(self, id: str, *, conn: Connection | None = None) -> ChainDetail:  # noqa: A002 - as above
        """A chain with its jobs, blockers, dependents, errors and history, by its id or that of any of its jobs.

        Raises:
            NotFoundError: There is no such chain or job.
        """
        wanted = require_id(id)
        with self._ready().on(conn, read_only=True) as on:
            found = reading.detail(on, wanted)
            if found is None:
                job = reading.jobs(on, [wanted]).get(wanted)
                found = None if job is None else reading.detail(on, job.chain_id)
        if found is None:
            raise NotFoundError(f"there is no chain or job {wanted}", id=wanted)
        return detail_of(found)

    def list_chains(self, wanted: ListFilter = EVERYTHING, *, conn: Connection | None = None) -> Page[Chain]:
        """A page of chains, by the time they were started."""
        with self._ready().on(conn, read_only=True) as on:
            rows, cursor = reading.list_chains(on, _checked(wanted))
        return Page(tuple(chain_of(row) for row in rows), cursor)

    def list_jobs(self, wanted: ListFilter = EVERYTHING, *, conn: Connection | None = None) -> Page[Job[Any]]:
        """A page of jobs, by the time they were created."""
        with self._ready().on(conn, read_only=True) as on:
            rows, cursor = reading.list_jobs(on, _checked(wanted))
            waits = reading.blocker_ids(on, rows)
        return Page(tuple(job_of(row, waits) for row in rows), cursor)

    # --- waiting -------------------------------------------------------------------------------------------------

    def wait(
        self,
        chain_ids: Iterable[str],
        *,
        timeout: timedelta | str | None = None,
        on_closed: Callable[[Chain], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> dict[str, Chain]:
        """Wait until all these chains are closed, or have failed.

        Args:
            chain_ids: The chains.
            timeout: Give up after so long.
            on_closed: Called with each chain as soon as it is known to be closed or failed.
            cancelled: Asked about ten times a second; once true, what has closed so far is returned.

        Returns:
            The chains by id, in the order given.

        Raises:
            NotFoundError: There is no such chain, or it was deleted meanwhile.
            WaitTimeoutError: The time ran out.
        """
        wanted = list(dict.fromkeys(require_id(each) for each in chain_ids))
        limit = Schedule.of(timeout).after_seconds
        return wait_for(self._ready(), wanted, limit, on_closed, cancelled)


@contextmanager
def _savepoint(conn: Connection, *, needed: bool) -> Iterator[None]:
    """In a caller's transaction, undo what this call wrote when it fails, and nothing else."""
    if not needed:
        yield
        return
    with conn.begin_nested():
        yield


def _checked(wanted: ListFilter) -> ListFilter:
    return replace(
        wanted,
        chain_id=wanted.chain_id and require_id(wanted.chain_id),
        job_id=wanted.job_id and require_id(wanted.job_id),
    )
