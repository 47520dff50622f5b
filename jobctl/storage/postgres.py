"""PostgreSQL: row locks, SKIP LOCKED, LISTEN and NOTIFY."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache, partial
from itertools import chain
from typing import Any, ClassVar

import psycopg
from psycopg.errors import ForeignKeyViolation
from sqlalchemy import (
    Connection,
    Executable,
    Insert,
    Select,
    create_engine,
    func,
    select,
)
from sqlalchemy.exc import DBAPIError

from jobctl.errors import ConflictError, DatabaseUnavailableError, JobctlError, LockTimeoutError
from jobctl.storage import postgres_statements as own
from jobctl.storage.claimed import claimed
from jobctl.storage.database import Lock, Watch
from jobctl.storage.decoding import instant_of
from jobctl.storage.front import Front
from jobctl.storage.parameters import (
    JsonRow,
    end_row,
    first_job_parameters,
    first_job_rows,
    id_rows,
    started_row,
    type_rows,
)
from jobctl.storage.postgres_alone import Alone, Step
from jobctl.storage.postgres_connecting import Address, Listener
from jobctl.storage.postgres_driver import (
    compiled,
    cursor_of,
    driver_of,
    invalidate_lost,
    invalidating,
    literal,
    run_text,
)
from jobctl.storage.postgres_isolation import BEGIN, OWN, READ_COMMITTED, refuse_unless_read_committed
from jobctl.storage.records import ChainRow, Complete, Continue, Inserted, JobRow, Locked, NewJob, Settled, Settlement
from jobctl.storage.store import Store
from jobctl.storage.tables import current, metadata
from jobctl.storage.together import refuse_taken

IN_FLIGHT = 8
"""Statements that are sent before the answer to the first of them is waited for: with two, the server waits for us."""

MIGRATION_LOCK = 0x6A6F6263746C  # "jobctl" in ASCII

_HELD = "jobctl_held"
"""Where a connection keeps the chain that it has locked by HOLD, as long as no job was made that waits for it."""

# The statements of an attempt, each line sent as one text past the driver: that takes a third of the time. What they do
# is done in functions: planned anew for each attempt, it took the server as long as all else.

HOLD = "BEGIN ISOLATION LEVEL READ COMMITTED; SAVEPOINT jobctl_handler; SELECT * FROM jobctl_hold({chain_id})"
COMPLETE_HELD = (
    "RELEASE SAVEPOINT jobctl_handler; SELECT jobctl_complete({chain_id}, {lease}, {worker}, {output}); COMMIT"
)

FOR_WORK, FORGETTABLE = (
    "".join(f"; SET LOCAL {name} TO {value}" for name, value in settings.items())
    for settings in (own.SETTLING_SETTINGS, own.FORGETTABLE_SETTINGS)
)

# SQLSTATE classes and codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_UNAVAILABLE = {
    ("08", "53", "57P", "58"): "check the server's log, and try again",
    ("25006",): "check that this is the primary, and that default_transaction_read_only is off",
}
"""What to do about it."""
_TRY_AGAIN = ("55P03", "40P01", "40001", "57014", "25P03", "25P04")


_OWN_TABLES = frozenset(metadata.tables)


class PostgresStore(Store):
    """A store on PostgreSQL 14 or later."""

    dialect: ClassVar[str] = "postgresql"
    many_writers: ClassVar[bool] = True
    start_at_once: ClassVar[int] = 250
    """While the server inserts these, the next ones are made ready: a thousand take a tenth less time than in parts of
    500, and no less in smaller ones."""
    insert_jobs: ClassVar[Insert] = own.INSERT_JOBS

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        address = Address(url)
        engine = create_engine(
            "postgresql+psycopg://",
            creator=address.connect,
            pool_size=pool_size,
            max_overflow=-1,
            use_native_hstore=False,  # saves a question at each connection
            execution_options={OWN: True},
        )
        super().__init__(engine, address.label)
        self._address = address
        self.alone = Alone(engine)

    def close(self) -> None:
        self.alone.close()
        super().close()

    def translate(self, error: Exception) -> JobctlError | None:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, psycopg.Error):
            return None
        state = cause.sqlstate
        reason = " ".join(str(cause).split())
        unavailable = f"the database {self.label} is not available: {reason}"
        if state is None and isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
            return DatabaseUnavailableError(
                f"{unavailable}; check that the server runs, and that host, port, user, password and database are right"
            )
        for states, remedy in _UNAVAILABLE.items():
            if state is not None and state.startswith(states):
                return DatabaseUnavailableError(f"{unavailable}; {remedy}")
        if isinstance(cause, ForeignKeyViolation) and cause.diag.table_name in _OWN_TABLES:
            return ConflictError("a chain to wait for was deleted at the same moment")
        if state in _TRY_AGAIN:
            return LockTimeoutError(f"the database {self.label} is busy, try again: {reason}")
        return None

    def is_broken(self, conn: Connection, error: Exception) -> bool:
        if conn.closed or not isinstance(self.translate(error), DatabaseUnavailableError):
            return False
        return conn.invalidated or getattr(conn.connection.driver_connection, "closed", False)

    def watch(self, *channels: str) -> Watch:
        return Listener(self._address.connect, channels)

    def snapshot(self, conn: Connection) -> Connection:
        return conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def cut(self, conn: Connection) -> None:
        driver = conn.connection.driver_connection
        if isinstance(driver, psycopg.Connection) and not driver.closed:
            with suppress(OSError), socket.socket(fileno=os.dup(driver.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)  # unlike close(), safe while the other thread waits for an answer

    def set_for_work(self, conn: Connection, *, read_only: bool, forgettable: bool) -> None:
        begin = f"{BEGIN} READ ONLY" if read_only else BEGIN
        run_text(conn, begin + (FORGETTABLE if forgettable else FOR_WORK))

    def ensure_fit(self, conn: Connection) -> None:
        """Differs because a transaction may not see what others committed before its locks were granted."""
        refuse_unless_read_committed(conn)

    def wait_little(self, conn: Connection) -> None:
        run_text(conn, own.WAIT_LITTLE)

    def migration_lock(self, conn: Connection) -> None:
        conn.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))

    def run_script(self, conn: Connection, script: str) -> None:
        driver_of(conn).execute(script.encode())  # text() would take :1 in a literal for a parameter

    def run(self, conn: Connection, statement: Executable, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        text, constants = compiled(statement)
        cursor = cursor_of(conn)
        try:
            cursor.execute(text, {**constants, **parameters} if constants else parameters)
        except psycopg.Error as error:
            invalidate_lost(conn, error)
            raise
        result = cursor.pgresult  # says so at once; the cursor's description takes as long as to read the rows
        return cursor.fetchall() if result is not None and result.nfields else []

    def run_each(
        self, conn: Connection, statements: Iterable[tuple[Executable, Mapping[str, Any]]]
    ) -> Generator[list[tuple[Any, ...]]]:
        """Run statements one after the other; yields the rows of each.

        The next ones are asked for while the server may still be busy with those before. Until it ends, or is closed,
        the connection must not be used for anything else.
        """
        with invalidating(conn), driver_of(conn).pipeline():
            sent: deque[psycopg.Cursor[tuple[Any, ...]]] = deque()
            for statement, parameters in statements:
                text, constants = compiled(statement)
                sent.append(driver_of(conn).execute(text, {**constants, **parameters}))
                if len(sent) == IN_FLIGHT:
                    yield sent.popleft().fetchall()
            while sent:
                yield sent.popleft().fetchall()

    def hold(self, conn: Connection, chain_id: str) -> Locked | None:
        """Differs because a round trip takes longer than a statement: all are sent as one text, BEGIN too."""
        driver = driver_of(conn)
        conn.info.pop(_HELD, None)
        found = run_text(conn, HOLD.format(chain_id=literal(driver, chain_id)))
        if found.ntuples == 0:
            return None
        encoding = driver.info.encoding
        values = [found.get_value(0, place) for place in range(found.nfields)]
        texts = [None if each is None else each.decode(encoding) for each in values]
        id_, job_id, index, type_name, status, priority, attempt, lease, awaited = texts
        assert id_ and job_id and index and type_name and status and priority and attempt  # noqa: S101, PT018 - NOT NULL
        if awaited == "f":
            conn.info[_HELD] = chain_id
        return Locked(id_, job_id, int(index), type_name, status, int(priority), int(attempt), lease)

    def insert_blockers(self, conn: Connection, edges: Sequence[JsonRow]) -> None:
        super().insert_blockers(conn, edges)
        if any(each["chain_id"] == conn.info.get(_HELD) for each in edges):
            del conn.info[_HELD]

    def settle_held(self, conn: Connection, settlement: Settlement, locked: Locked) -> Settled:
        """Differs as above: a chain that ends and that nothing waits for ends in one round trip, COMMIT too.

        What else a worker's attempt comes to is one statement, as in ``settle``.
        """
        held, outcome = settlement.held, settlement.outcome
        if isinstance(outcome, Complete) and conn.info.get(_HELD) == held.chain_id:
            values = {
                "chain_id": held.chain_id,
                "lease": held.lease or "",
                "worker": held.worker or "",
                "output": outcome.output,
            }
            driver = driver_of(conn)
            run_text(conn, COMPLETE_HELD.format(**{name: literal(driver, value) for name, value in values.items()}))
            return Settled(frozenset({held.id}), closed=True)
        if not _is_plain_end(settlement):
            return super().settle_held(conn, settlement, locked)
        self.release_savepoint(conn)
        return self.settle(conn, [settlement])

    def settle(self, conn: Connection, settlements: Sequence[Settlement]) -> Settled:
        """Differs because what most outcomes take is one statement on PostgreSQL."""
        if not settlements or not all(map(_is_plain_end, settlements)):
            return super().settle(conn, settlements)
        ends = json.dumps([end_row(each) for each in settlements])
        status = dict(self.run(conn, own.SETTLE, {"ends": ends}))
        won = [each for each in settlements if each.held.chain_id in status]
        completed = [id_ for id_, each in status.items() if each == "completed"]
        work = self._unblock(conn, id_rows(completed)) if completed else set()
        work.update(each.outcome.successor.type_name for each in won if isinstance(each.outcome, Continue))
        return Settled(frozenset(each.held.id for each in won), frozenset(work), bool(completed))

    def locking(self, statement: Select[Any], lock: Lock = Lock.UPDATE, *, skip_locked: bool = False) -> Select[Any]:
        return _locking(statement, lock, skip_locked)

    def start_alone(self, job: NewJob) -> ChainRow:
        """Differs because one statement does it, and is a transaction by itself.

        That, and what there is nothing to look at here, was a third of the time of single starts.
        """
        step = Step(b"jobctl_start", own.INSERT_CHAIN, first_job_parameters(job))
        with self.translated(), self.alone() as run:
            found = run(step)
        return started_row(job, _inserted_one(job, found))

    def insert_chains(self, conn: Connection, parts: Iterable[Sequence[NewJob]]) -> Generator[Inserted]:
        """Differs because PostgreSQL inserts into two tables, and tells of it, in one round trip."""
        left = iter(parts)
        first = next(left, None)
        if first is None:
            return
        if len(first) == 1:
            yield _inserted_one(first[0], self.run(conn, own.INSERT_CHAIN, first_job_parameters(first[0])))
        elif len(first) < self.start_at_once:  # there are no others
            yield _inserted(self.run(conn, *_insertion(first)))
        else:
            with closing(self.run_each(conn, map(_insertion, chain((first,), left)))) as inserted:
                yield from map(_inserted, inserted)

    def lock_keys(self, conn: Connection, keys: Sequence[tuple[str, str]]) -> None:
        names = [{"name": f"{type_name} {key}"} for type_name, key in keys]
        self.run(conn, own.LOCK_KEYS, {"names": json.dumps(names)})

    @contextmanager
    def single(self) -> Iterator[Connection]:
        """Differs because a statement alone needs no BEGIN and no COMMIT, which are round trips."""
        with self.translated(), self.engine.connect() as conn:
            driver = driver_of(conn)
            try:
                driver.autocommit = True  # SQLAlchemy's isolation levels do the same in four times the time
                yield conn
            finally:
                try:
                    driver.autocommit = False
                except BaseException as error:  # it is lost, or in the middle of something; nobody shall have it so
                    conn.invalidate()
                    if not isinstance(error, psycopg.Error):
                        raise

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
        return _claim(partial(self.run, conn), types, limit, worker, lease, front or Front())

    def claim_alone(
        self, types: Mapping[str, float], limit: int, *, worker: str, lease: str, front: Front
    ) -> list[JobRow]:
        """Differs because one statement does it, and is a transaction by itself."""
        with self.translated(), self.alone() as run:

            def take(statement: Executable, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
                name = b"jobctl_claim" if statement is own.CLAIM else b"jobctl_claim_on"
                return run(
                    Step(b"jobctl_isolation", READ_COMMITTED),
                    Step(b"jobctl_claiming", own.CLAIMING),
                    Step(name, statement, parameters),
                )

            return _claim(take, types, limit, worker, lease, front)

    def claims_under_way(self, conn: Connection) -> set[str]:
        """Differs because a claim waits for nobody; but it has read which types are paused, and has a lock for that."""
        return {id_ for (id_,) in self.run(conn, own.CLAIMS_UNDER_WAY, {})}

    def notify(self, conn: Connection, told: Mapping[str, Iterable[str]]) -> None:
        payloads = [
            {"channel": channel, "payload": payload} for channel, values in told.items() for payload in sorted(values)
        ]
        if payloads:
            self.run(conn, own.NOTIFY, {"told": json.dumps(payloads)})


def _claim(
    run: Callable[[Executable, Mapping[str, Any]], list[tuple[Any, ...]]],
    types: Mapping[str, float],
    limit: int,
    worker: str,
    lease: str,
    front: Front,
) -> list[JobRow]:
    """Claim where the last claim ended, and only if there is nothing from the first job that waits on."""

    def take(statement: Executable, among: int, **parameters: str) -> list[JobRow]:
        look = limit * own.LOOK_AHEAD
        numbers = {"most": limit, "look": look, "look_each": limit + (look - limit) // max(among, 1)}
        names = {"types": type_rows(types), "claim_worker": worker, "claim_lease": lease}
        return claimed(run(statement, {**numbers, **names, **parameters}), worker=worker, lease=lease)

    if lanes := front.lanes(types):
        jobs = take(own.CLAIM_ON, len(lanes), lanes=json.dumps(lanes))
        if jobs:
            front.went_on(jobs, all_=len(jobs) < limit)
        if jobs or front.puts_off():
            return jobs
    begin = time.monotonic()
    jobs = take(own.CLAIM, len(types))
    front.looked(jobs, time.monotonic() - begin, all_=len(jobs) < limit)
    return jobs


def _insertion(part: Sequence[NewJob]) -> tuple[Executable, dict[str, str | None]]:
    """The statement that starts chains with these jobs, and its parameters."""
    statement = own.INSERT_GIVEN_CHAINS if any(job.id_given for job in part) else own.INSERT_CHAINS
    return statement, {"jobs": first_job_rows(part)}


def _inserted_one(job: NewJob, found: Sequence[tuple[Any, ...]]) -> Inserted:
    """What came of a chain that was started alone: when it was made and is due, or nothing."""
    if not found:
        refuse_taken([job.id])
    ((created_at, due, _),) = found
    return Inserted(instant_of(created_at), {job.id: instant_of(due)} if due > created_at else {})


def _inserted(found: Sequence[tuple[Any, ...]]) -> Inserted:
    """What came of chains that were started.

    Args:
        found: Of no id, when all were made; ids, and when these are due, or no time if they are taken.
    """
    due = {row[0]: row[1] for row in found}
    created_at = due.pop(None)
    refuse_taken(id_ for id_, at in due.items() if at is None)
    return Inserted(instant_of(created_at), {id_: instant_of(at) for id_, at in due.items()})


def _is_plain_end(settlement: Settlement) -> bool:
    """Whether a worker's attempt ended without an error, and what follows waits for no other chain and cannot clash."""
    outcome = settlement.outcome
    if settlement.held.lease is None:  # by hand: whoever has locked the chain holds it
        return False
    if isinstance(outcome, Continue):
        return not outcome.successor.blocked_by and not outcome.successor.id_given
    return isinstance(outcome, Complete)


@cache
def _locking(statement: Select[Any], lock: Lock, skip_locked: bool) -> Select[Any]:
    key_share, read = lock is not Lock.UPDATE, lock is Lock.STAYS
    return statement.with_for_update(of=current, skip_locked=skip_locked, key_share=key_share, read=read)
