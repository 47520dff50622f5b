"""What is sent to PostgreSQL by the driver itself: SQLAlchemy's execution takes longer than the database's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import psycopg
from psycopg.errors import ReadOnlySqlTransaction, error_from_result
from psycopg.pq import Escaping, ExecStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import Connection, Engine, Executable, PoolProxiedConnection
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

from jobctl.storage.postgres_isolation import OWN

_DIALECT = psycopg_dialect()  # type: ignore[no-untyped-call]

_DONE = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)

_CURSOR = "jobctl_cursor"
"""Where a connection keeps the cursor for our own statements."""


def driver_of(conn: Connection) -> psycopg.Connection[Any]:
    """The driver's connection."""
    driver = conn.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 - for the type checker
    return driver


def literal(driver: psycopg.Connection[Any], value: str) -> str:
    """A text as it is written into a statement."""
    encoding = driver.info.encoding
    return Escaping(driver.pgconn).escape_literal(value.encode(encoding)).decode(encoding)


def run_text(conn: Connection, script: str) -> PGresult:
    """Send statements as one text; returns the result of the last."""
    driver = driver_of(conn)
    encoding = driver.info.encoding
    try:
        return checked(driver.pgconn.exec_(script.encode(encoding)), encoding)
    except psycopg.Error as error:
        invalidate_lost(conn, error)
        raise


def checked(result: PGresult, encoding: str) -> PGresult:
    """The result of a statement that did not fail.

    Raises:
        psycopg.Error: It failed.
    """
    if result.status in _DONE:
        return result
    error = error_from_result(result, encoding=encoding)
    # without a code it is libpq's own: the connection is lost
    raise error if error.sqlstate else psycopg.OperationalError(str(error))


def cursor_of(conn: Connection) -> psycopg.Cursor[tuple[Any, ...]]:
    """The connection's cursor for our own statements: to make one takes as long as to use it."""
    cursor: psycopg.Cursor[tuple[Any, ...]] | None = conn.info.get(_CURSOR)
    if cursor is None:
        cursor = conn.info[_CURSOR] = driver_of(conn).cursor()
    return cursor


@contextmanager
def invalidating(conn: Connection) -> Iterator[None]:
    """Within the block, do as ``invalidate_lost`` says when the driver fails."""
    try:
        yield
    except psycopg.Error as error:
        invalidate_lost(conn, error)
        raise


def invalidate_lost(conn: Connection, error: psycopg.Error) -> None:
    """Tell SQLAlchemy of a lost connection: else its pool would try to roll back, and log that it could not.

    What waits in our own pool was lost with it, most likely, as the server has ended, or leads to one that may not be
    written to any more: to find that out of one after the other takes longer than to connect anew.
    """
    driver = conn.connection.driver_connection
    own = conn.get_execution_options().get(OWN, False)
    lost = isinstance(driver, psycopg.Connection) and driver.closed
    if lost or (own and isinstance(error, ReadOnlySqlTransaction)):
        if own:
            pool_is_lost(conn.engine, conn.connection)
        conn.invalidate()


def pool_is_lost(engine: Engine, conn: PoolProxiedConnection) -> None:
    """Have an engine connect anew instead of taking what is as old as this connection from its pool.

    That is what SQLAlchemy does itself when a statement of its own fails so. To dispose of the pool would leave those
    open that are in use now, once they come back to it.
    """
    engine.pool._invalidate(conn, _checkin=False)  # noqa: SLF001 - there is no other way to say so


@cache
def compiled(statement: Executable) -> tuple[bytes, dict[str, Any]]:
    """The text of a statement as psycopg takes it, and the constants in it."""
    made = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    return str(made).encode(), made.params
