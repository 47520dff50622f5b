"""What a database is to a store: connections and transactions, errors, locks, statements, and being told of changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from typing import Any, ClassVar, Protocol

from sqlalchemy import Connection, Engine, Executable, PoolProxiedConnection, Select

from jobctl.errors import JobctlError

COMMIT_GUARD = "jobctl_commit_guard"
"""Where a connection keeps what is called before each commit, and may refuse it."""


class Lock(Enum):
    """How much a locked row of jobctl_current is protected. Each waits for those that it would let nothing do to."""

    UPDATE = "FOR UPDATE"  # nobody else locks or changes it
    CHANGE = "FOR NO KEY UPDATE"  # the same, but that its chain stays open may be relied on
    STAYS = "FOR KEY SHARE"  # the chain stays open; its job may change


class Watch(Protocol):
    """Hears of changes that other connections committed."""

    def wait(self, seconds: float) -> Mapping[str, set[str]] | None:
        """What was told within so many seconds: channel to payloads; empty when nothing was.

        None when the connection was lost: anything may have happened meanwhile. The next call reconnects.
        """

    def close(self) -> None:
        """Give the connection back."""


class Translated:
    """Raises the driver's errors as jobctl's.

    A class, as each attempt enters some: a generator takes four times as long.
    """

    __slots__ = ("_database", "_heed")

    def __init__(self, database: Database, heed: Callable[[BaseException], object] | None) -> None:
        self._database = database
        self._heed = heed

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None:
            return
        meant = self._database.meaning(error)
        if self._heed is not None:
            self._heed(meant)
        if meant is not error:
            raise meant from error


class Database(ABC):
    """A database: its connections, and what the two kinds do differently to all statements alike."""

    dialect: ClassVar[str]

    many_writers: ClassVar[bool]
    """Whether several connections can write at once."""

    def __init__(self, engine: Engine, label: str) -> None:
        self.engine = engine
        _guard_commits(engine)
        self.label = label
        """The database's URL without its password, for people."""
        self.hurried = False
        """Whether a worker that waits for the only lock of a file gives up soon, as it is to stop; not its handlers,
        which may end what they have begun."""

    # --- connections ---------------------------------------------------------------------------------------------

    @abstractmethod
    def translate(self, error: Exception) -> JobctlError | None:
        """The error that a driver's error means to a caller, or None when it is a defect."""

    def meaning(self, error: BaseException) -> BaseException:
        """That error, or what is to be raised in its place."""
        if isinstance(error, JobctlError) or not isinstance(error, Exception):
            return error
        return self.translate(error) or error

    @abstractmethod
    def is_broken(self, conn: Connection, error: Exception) -> bool:
        """Whether the error of a statement on this connection is of a database that was lost under it."""

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

    def give_back(self, conn: Connection) -> None:
        """Close a connection that a handler had; what it did not commit is rolled back."""
        conn.close()

    @abstractmethod
    def migration_lock(self, conn: Connection) -> None:
        """Wait until no other process migrates this database; held to the end of the transaction."""

    @abstractmethod
    def run_script(self, conn: Connection, script: str) -> None:
        """Run the statements of an SQL file as they stand."""

    def close(self) -> None:
        """Close the connections that wait in the pool."""
        self.engine.dispose()

    def translated(self, heed: Callable[[BaseException], object] | None = None) -> Translated:
        """Raise the driver's errors as jobctl's; heed is called with what is raised before."""
        return Translated(self, heed)

    @contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[Connection]:
        """A connection in a transaction of its own, committed at the end, rolled back on an error."""
        with self.translated(), self.engine.connect() as conn:
            if read_only:
                conn = self.snapshot(conn)  # noqa: PLW2901 - the same connection, set up
            with conn.begin():
                yield conn

    @contextmanager
    def work(self, *, read_only: bool = False, forgettable: bool = False) -> Iterator[Connection]:
        """The same for the statements that a worker runs over and over, while the tables grow and shrink.

        Args:
            read_only: Nothing is written.
            forgettable: The commit does not wait for the disk. A crash of the machine may undo it, one of ours not;
                what others commit later is never kept without it.
        """
        with self.translated(), self.engine.connect() as conn:
            self.set_for_work(conn, read_only=read_only, forgettable=forgettable)
            with conn.begin():
                yield conn

    @abstractmethod
    def set_for_work(self, conn: Connection, *, read_only: bool, forgettable: bool) -> None:
        """Set a connection, before its transaction begins, as ``work`` says."""

    def wait_little(self, conn: Connection) -> None:  # noqa: B027 - most wait for no lock but the first
        """From here on the transaction waits for locks for a moment at most."""

    def single(self) -> AbstractContextManager[Connection]:
        """A connection for one statement, which is committed with it."""
        return self.transaction()

    def on(self, conn: Connection | None, *, read_only: bool = False) -> AbstractContextManager[Connection]:
        """The caller's connection and transaction, or a transaction of its own."""
        return self.transaction(read_only=read_only) if conn is None else self._borrowed(conn, read_only=read_only)

    @contextmanager
    def _borrowed(self, conn: Connection, *, read_only: bool) -> Iterator[Connection]:
        with self.translated():
            if not read_only:
                self.ensure_fit(conn)
            yield conn

    @abstractmethod
    def ensure_fit(self, conn: Connection) -> None:
        """Make sure that a caller's connection is in a transaction of the database's that jobctl can write in.

        Raises:
            UsageError: It is in another one.
        """

    # --- what differs --------------------------------------------------------------------------------------------

    @abstractmethod
    def run(self, conn: Connection, statement: Executable, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a statement that was built once, past SQLAlchemy's execution, which takes longer than the database's.

        Returns:
            Its rows: ids are text, instants as the driver has them, unless the statement makes seconds of them.
        """

    @abstractmethod
    def locking(self, statement: Select[Any], lock: Lock = Lock.UPDATE, *, skip_locked: bool = False) -> Select[Any]:
        """The statement, locking the rows of jobctl_current that it reads."""

    @abstractmethod
    def notify(self, conn: Connection, told: Mapping[str, Iterable[str]]) -> None:
        """Tell other processes, once the transaction has committed: payloads by channel."""


def _guard_commits(engine: Engine) -> None:
    """Have each commit ask its connection's guard. With a listener, SQLAlchemy would look for events everywhere."""
    commit = engine.dialect.do_commit

    def guarded(dbapi_connection: PoolProxiedConnection) -> None:
        guard = dbapi_connection.info.get(COMMIT_GUARD)
        if guard is not None:
            guard(dbapi_connection)
        commit(dbapi_connection)

    engine.dialect.do_commit = guarded  # type: ignore[method-assign]
