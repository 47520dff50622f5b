"""Statements that are a transaction of their own on PostgreSQL, sent by libpq itself and in one round trip.

SQLAlchemy's connection and the driver's cursor take longer than all that a client does else, and a round trip each for
BEGIN, the statement and COMMIT longer than the statement, above all where processes were idle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache, partial
from typing import Any, NamedTuple

import psycopg
from psycopg.adapt import Transformer
from psycopg.errors import InvalidSqlStatementName
from psycopg.generators import execute
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy import Engine, Executable
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

from jobctl.storage.postgres_driver import checked

_DIALECT = psycopg_dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

_PREPARED = "jobctl_prepared"
"""Where a connection keeps which statements it has run, and which of them it has prepared."""


class Alone(NamedTuple):
    """A statement and its parameters.

    Attributes:
        name: What it is prepared as.
    """

    name: bytes
    statement: Executable
    parameters: Mapping[str, str | int | None] = {}


def run_alone(engine: Engine, *steps: Alone) -> list[tuple[Any, ...]]:
    """Run statements as one transaction; returns the rows of the last.

    A connection prepares a statement once it runs it for the second time: a command runs it once.
    """
    with closing(engine.raw_connection()) as conn:
        driver = conn.driver_connection
        assert isinstance(driver, psycopg.Connection)  # noqa: S101 - for the type checker
        prepared: dict[bytes, bool] = conn.info.setdefault(_PREPARED, {})
        try:
            try:
                result = _run(driver, steps, prepared)
            except InvalidSqlStatementName:  # the driver has let go of all, as it does after a rollback or a DROP
                prepared.update(dict.fromkeys(prepared, False))
                result = _run(driver, steps, prepared)
        except BaseException:
            if driver.pgconn.transaction_status != TransactionStatus.IDLE:  # lost, or interrupted
                conn.invalidate()
            raise
        transformer = Transformer(driver)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)


def _run(driver: psycopg.Connection[Any], steps: Sequence[Alone], prepared: dict[bytes, bool]) -> PGresult:
    pgconn, encoding = driver.pgconn, driver.info.encoding
    messages = [each for step in steps for each in _messages(pgconn, encoding, step, prepared)]
    if len(messages) == 1:
        messages[0]()
        return checked(driver.wait(execute(pgconn))[0], encoding)
    pgconn.enter_pipeline_mode()
    for send in (*messages, pgconn.pipeline_sync):
        send()
    results = [driver.wait(execute(pgconn))[0] for _ in (*messages, pgconn.pipeline_sync)]
    pgconn.exit_pipeline_mode()
    failed = [each for each in results if each.status == ExecStatus.FATAL_ERROR]
    return checked((failed or results[:-1])[-1], encoding)


def _messages(
    pgconn: PGconn, encoding: str, step: Alone, prepared: dict[bytes, bool]
) -> Iterator[Callable[[], object]]:
    """What sends a statement, message by message."""
    text, names, constants = _numbered(step.statement)
    given = {**constants, **step.parameters}
    values = [None if (value := given[name]) is None else str(value).encode(encoding) for name in names]
    if step.name not in prepared:
        prepared[step.name] = False
        yield partial(pgconn.send_query_params, text, values)
        return
    if not prepared[step.name]:
        prepared[step.name] = True
        yield partial(pgconn.send_prepare, step.name, text)
    yield partial(pgconn.send_query_prepared, step.name, values)


@cache
def _numbered(statement: Executable) -> tuple[bytes, tuple[str, ...], dict[str, Any]]:
    """The text of a statement as the server takes it, the names of its parameters in order, and the constants in it."""
    made = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    return str(made).encode(), tuple(made.positiontup), made.params
