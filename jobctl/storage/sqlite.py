"""SQLite: one writer at a time, in process, and several processes on one file."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import (
    Connection,
    Executable,
    Insert,
    PoolProxiedConnection,
    Select,
    bindparam,
    create_engine,
    event,
    insert,
    update,
)
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.dialects.sqlite.pysqlite import dialect as sqlite_dialect
from sqlalchemy.exc import DBAPIError

from jobctl.errors import DatabaseUnavailableError, JobctlError, LockTimeoutError, UsageError
from jobctl.storage import statements as sql
from jobctl.storage.database import Lock, Watch
from jobctl.storage.decoding import instant_of
from jobctl.storage.parameters import first_job_rows, started_row
from jobctl.storage.records import ChainRow, Inserted, JobRow, Locked, NewJob
from jobctl.storage.spelling import epoch
from jobctl.storage.sqlite_pool import ThreadPool
from jobctl.storage.store import Store
from jobctl.storage.tables import current, job
from jobctl.storage.together import refuse_taken

if TYPE_CHECKING:
    from jobctl.storage.front import Front

BUSY_TIMEOUT = 10.0
"""Seconds that a writer waits for another."""

HURRIED_TIMEOUT = 0.25
"""The same for who is in a hurry."""

ONE_WAIT = 0.1
"""Seconds that a writer waits within SQLite, where it hears no signal: so it waits again and again."""

INSERT_JOBS = (
    sqlite_insert(job).from_select(sql.JOB_COLUMNS, sql.NEXT_JOBS).on_conflict_do_nothing().returning(job.c.id)
)

INSERT_CHAINS = (
    sqlite_insert(job)
    .from_select(sql.JOB_COLUMNS, sql.first_jobs(sql.FIRST.c))
    .on_conflict_do_nothing()
    .returning(job.c.id, epoch(job.c.created_at))
)

INSERT_CURRENT = (
    insert(current)
    .from_select(
        sql.CURRENT_COLUMNS, sql.first_current(sql.FIRST.c, job).join_from(sql.FIRST, job, job.c.id == sql.FIRST.c.id)
    )
    .returning(current.c.chain_id, epoch(current.c.scheduled_at))
)

TAKE_WRITE_LOCK = update(current).values(attempt=current.c.attempt).where(current.c.chain_id == bindparam("nobody"))

_CHECK = {
    sqlite3.SQLITE_CANTOPEN: "check that it names a file, in a folder that you may write to",
    sqlite3.SQLITE_IOERR: "check the disk that it is on",
    sqlite3.SQLITE_FULL: "make room on the disk that it is on",
    sqlite3.SQLITE_READONLY: "check that you may write to the file and to its folder",
    sqlite3.SQLITE_PERM: "check that you may write to the file and to its folder",
}
"""What to do about a file that is not available, by SQLite's primary result code."""


_DIALECT = sqlite_dialect()

_SYNCHRONOUS = "jobctl_synchronous"
"""Where a connection keeps whether its commits wait for the disk."""


class SqliteStore(Store):
    """A store in a file. A connection belongs to the thread that opened it."""

    dialect: ClassVar[str] = "sqlite"
    many_writers: ClassVar[bool] = False
    start_at_once: ClassVar[int] = 10_000
    insert_jobs: ClassVar[Insert] = INSERT_JOBS

    def __init__(self, path: Path) -> None:
        self.path = path
        engine = create_engine("sqlite+pysqlite://", pool=ThreadPool(self._connect, path))
        event.listen(engine, "begin", self._begin)
        super().__init__(engine, f"sqlite:///{path}")

    def _connect(self) -> sqlite3.Connection:
        try:
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
            conn = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None)
        except OSError as error:
            raise sqlite3.OperationalError(str(error)) from error
        try:
            conn.execute("PRAGMA foreign_keys = ON")
            _use_wal(conn)
        except BaseException:
            conn.close()
            raise
        return conn

    def _begin(self, conn: Connection) -> None:
        """Take the write lock at once: a reader that becomes a writer midway could only fail."""
        driver = _driver_of(conn.connection)
        if conn.get_execution_options().get("jobctl_read_only", False):
            driver.execute("BEGIN")
            return
        forgettable = conn.get_execution_options().get("jobctl_forgettable")  # None: it is not a worker's own
        synchronous = "NORMAL" if forgettable else "FULL"
        self._begin_to_write(driver, conn.info, synchronous, may_hurry=forgettable is not None)

    def _begin_to_write(
        self, driver: sqlite3.Connection, info: dict[Any, Any], synchronous: str, *, may_hurry: bool = False
    ) -> None:
        if info.get(_SYNCHRONOUS) != synchronous:
            info.pop(_SYNCHRONOUS, None)  # not known, should this be interrupted
            driver.execute(f"PRAGMA synchronous = {synchronous}")
            info[_SYNCHRONOUS] = synchronous
        driver.execute(f"PRAGMA busy_timeout = {ONE_WAIT * 1000:.0f}")
        began = time.monotonic()
        try:
            while True:
                try:
                    driver.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    patience = HURRIED_TIMEOUT if self.hurried and may_hurry else BUSY_TIMEOUT
                    if not _is_busy(error) or time.monotonic() - began > patience:
                        raise
                else:
                    return
        finally:
            driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT * 1000:.0f}")

    def translate(self, error: Exception) -> JobctlError | None:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, sqlite3.Error):
            return None
        code = getattr(cause, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF
        if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return LockTimeoutError(f"the database {self.path} is busy, try again: {cause}")
        if primary in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            return UsageError(f"{self.path} is not an SQLite database that can be read: {cause}")
        if primary is None and isinstance(cause, sqlite3.OperationalError):
            primary = sqlite3.SQLITE_CANTOPEN
        if primary in _CHECK:
            return DatabaseUnavailableError(f"the database {self.path} is not available: {cause}; {_CHECK[primary]}")
        return None

    def is_broken(self, conn: Connection, error: Exception) -> bool:
        return isinstance(self.translate(error), DatabaseUnavailableError)

    def exists(self) -> bool:
        """Differs because connecting to a file that is not there makes it; an empty one is no database yet."""
        try:
            return self.path.stat().st_size > 0
        except FileNotFoundError:
            return False
        except OSError:
            return True  # connecting fails too, and says why

    def watch(self, *channels: str) -> Watch:
        from jobctl.storage.sqlite_watch import FileWatch

        return FileWatch(self.path, BUSY_TIMEOUT)

    def snapshot(self, conn: Connection) -> Connection:
        return conn.execution_options(jobctl_read_only=True)

    def set_for_work(self, conn: Connection, *, read_only: bool, forgettable: bool) -> None:
        conn.execution_options(jobctl_read_only=read_only, jobctl_forgettable=forgettable)

    def cut(self, conn: Connection) -> None:
        """Differs because a connection can only be closed by its own thread; a statement that runs can be stopped."""
        driver = conn.connection.driver_connection
        if isinstance(driver, sqlite3.Connection):
            driver.interrupt()

    def ensure_fit(self, conn: Connection) -> None:
        """Differs because Python's driver begins only before the first write.

        Until then a savepoint would be a transaction of its own, committed when it is released.
        """
        if not _driver_of(conn.connection).in_transaction:
            conn.exec_driver_sql("BEGIN IMMEDIATE")

    def give_back(self, conn: Connection) -> None:
        """Differs because a result that the handler did not read to the end would keep the connection in the past."""
        if not conn.closed:
            conn.invalidate()
        conn.close()

    def migration_lock(self, conn: Connection) -> None:
        """Differs because the transaction has the file's only write lock from its beginning."""

    def run_script(self, conn: Connection, script: str) -> None:
        statement = ""
        for line in script.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                conn.exec_driver_sql(statement)
                statement = ""

    def lock(
        self, conn: Connection, chain_ids: Iterable[str], lock: Lock = Lock.UPDATE, *, skip_locked: bool = False
    ) -> dict[str, Locked]:
        """Differs because SQLite locks the whole file: a write that changes nothing takes the lock.

        On a connection of jobctl's the transaction has it already; on a caller's it may not.
        """
        self.run(conn, TAKE_WRITE_LOCK, {"nobody": ""})
        return super().lock(conn, chain_ids, lock, skip_locked=skip_locked)

    def run(self, conn: Connection, statement: Executable, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return _run(_driver_of(conn.connection), statement, parameters)

    def locking(self, statement: Select[Any], lock: Lock = Lock.UPDATE, *, skip_locked: bool = False) -> Select[Any]:
        """Differs because whoever writes holds the whole file."""
        return statement

    def start_alone(self, job: NewJob) -> ChainRow:
        """Differs because SQLAlchemy's connection takes as long as all else of it but the disk."""
        with self.translated(), closing(self.engine.raw_connection()) as conn:
            driver = _driver_of(conn)
            self._begin_to_write(driver, conn.info, "FULL")
            made = _insert(driver, [job])
            driver.commit()
        return started_row(job, made)

    def insert_chains(self, conn: Connection, parts: Iterable[Sequence[NewJob]]) -> Generator[Inserted]:
        """Differs because SQLite inserts into one table at a time, and every commit tells those who watch."""
        for jobs in parts:
            yield _insert(_driver_of(conn.connection), jobs)

    def lock_keys(self, conn: Connection, keys: Sequence[tuple[str, str]]) -> None:
        """Differs because SQLite locks the whole file."""
        self.run(conn, TAKE_WRITE_LOCK, {"nobody": ""})

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
        """Differs because SQLite has no LATERAL, and its RETURNING knows one table.

        Nothing that is claimed stays in its indexes: there is no need for a front.
        """
        from jobctl.storage.claiming import claim_chains
        from jobctl.storage.sqlite_claims import candidates

        seconds = {chain_id: types[name] for _, _, chain_id, name in candidates(self, conn, types, limit)}
        if not seconds:
            return []
        return claim_chains(self, conn, seconds, worker=worker, lease=lease)

    def notify(self, conn: Connection, told: Mapping[str, Iterable[str]]) -> None:
        """Differs because every commit changes data_version, which is what others watch."""


def _driver_of(pooled: PoolProxiedConnection) -> sqlite3.Connection:
    """The driver's connection."""
    driver = pooled.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - for the type checker
    return driver


def _run(driver: sqlite3.Connection, statement: Executable, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    text, constants, order = _compiled(statement)
    values = {**constants, **parameters}
    return driver.execute(text, [values[name] for name in order]).fetchall()


def _insert(driver: sqlite3.Connection, jobs: Sequence[NewJob]) -> Inserted:
    """Insert the first jobs of chains.

    Raises:
        DuplicateIdError: An id is taken; nothing of it may be kept.
    """
    parameters = {"jobs": first_job_rows(jobs)}
    created = dict(_run(driver, INSERT_CHAINS, parameters))
    refuse_taken(job.id for job in jobs if job.id not in created)
    at = created[jobs[0].id]  # the clock stands still within a statement
    due = {id_: instant_of(due) for id_, due in _run(driver, INSERT_CURRENT, parameters) if due > at}
    return Inserted(instant_of(at), due)


@cache
def _compiled(statement: Executable) -> tuple[str, dict[str, Any], Sequence[str]]:
    """The text of a statement as sqlite3 takes it, the constants in it, and the names of its parameters in order."""
    compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    return str(compiled), compiled.params, compiled.positiontup


def _use_wal(conn: sqlite3.Connection) -> None:
    """Set the journal mode, which lasts; SQLite does not wait by itself while another process sets it too."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            if conn.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                conn.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _is_busy(error: BaseException | None) -> bool:
    """Whether somebody else holds what is needed."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def path_of(url: str) -> Path:
    """The file that an sqlite:///relative or sqlite:////absolute URL names.

    Raises:
        UsageError: It names none.
    """
    prefix, _, name = url.partition("///")
    if prefix.rstrip(":") not in {"sqlite", "sqlite+pysqlite"} or not name or name == ":memory:" or "?" in name:
        raise UsageError(
            f"'{url}' is not a database in a file: write sqlite:///relative/path or sqlite:////absolute/path"
        )
    return Path(os.path.expanduser(name)).absolute()  # noqa: PTH111 - only ~ is meant, and Path raises where it is unknown
