"""The use cases: start, settle by hand, look, wait. All that the command line does, for Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

from jobctl.after_commit import after_commit
from jobctl.client.by_hand import HandCalls
from jobctl.client.counting import CountingCalls
from jobctl.client.diagnosing import DiagnosingCalls
from jobctl.client.history import HistoryCalls
from jobctl.client.housekeeping import HousekeepingCalls
from jobctl.client.looking import LookingCalls
from jobctl.client.operating import OperatingCalls
from jobctl.client.revealing import RevealingCalls
from jobctl.client.starting import StartingCalls
from jobctl.registry import Registry
from jobctl.storage.open import open_store
from jobctl.storage.store import Store


class Client(
    StartingCalls,
    HandCalls,
    OperatingCalls,
    LookingCalls,
    RevealingCalls,
    HistoryCalls,
    CountingCalls,
    DiagnosingCalls,
    HousekeepingCalls,
):
    """A database of job chains.

    Every method that reads or writes takes ``conn``, a SQLAlchemy Connection to the same database: then it
    works inside the caller's transaction, and is committed or rolled back with it. Without, it uses a
    transaction of its own. To write, the caller's transaction on PostgreSQL must be READ COMMITTED, the default;
    in others jobctl does not see what was completed since they began, and a UsageError says so.

    Example:
        ::

            client = Client("postgresql://app@db/app")
            with engine.begin() as conn:
                conn.execute(insert(order).values(id=7))
                client.start("ship-order", {"order": 7}, conn=conn)
    """

    def __init__(
        self, database: str | Store, *, processors: Registry | None = None, require_note: bool = False
    ) -> None:
        """Make a client; PostgreSQL is not asked before the first call.

        Args:
            database: postgresql://… or sqlite:///path.
            processors: Inputs and outputs are checked against these; none: they are only checked to be JSON.
            require_note: Refuse what is done by hand without a note that says why.
        """
        super().__init__(
            open_store(database) if isinstance(database, str) else database,
            processors if processors is not None else Registry(),
            require_note=require_note,
        )
        if self.store.dialect == "sqlite":
            self._ready()  # now, and not while the caller's own transaction holds the file

    @contextmanager
    def dry_run(self) -> Iterator[Connection]:
        """A transaction in which calls do all that they do, and of which nothing is kept: it is rolled back at the end.

        Nobody is told of anything, and what ``after_commit`` was given is not called. Until the end it locks what it
        changed, as any transaction does: on SQLite the whole file.

        Example:
            ::

                with client.dry_run() as conn:
                    print(len(client.delete(ids, cascade=True, conn=conn)), "chains would be deleted")
        """
        with self._ready().transaction() as conn:
            try:
                yield conn
            finally:
                conn.rollback()

    def close(self) -> None:
        """Close its connections."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
