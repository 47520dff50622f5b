"""Statements that are a transaction of their own on PostgreSQL, sent by libpq itself and in one round trip.

SQLAlchemy's connection and the driver's cursor take longer than all that a client does else, and a round trip each for
BEGIN, the statement and COMMIT longer than the statement, above all where processes were idle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import chain
from typing import Any, NamedTuple

import psycopg
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.errors import InvalidSqlStatementName, ReadOnlySqlTransaction, SerializationFailure
from psycopg.generators import execute
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy import Engine, Executable, PoolProxiedConnection
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

from jobctl.storage.postgres_driver import checked, pool_is_lost

_DIALECT = psycopg_dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

CANCEL_SECONDS = 5.0
"""How long to try to have the server let go of what was interrupted: as long as the driver does."""

MOST_KEPT = 5
"""As many are kept for the next calls, as are in an engine's pool."""

_PREPARED = "jobctl_prepared"
"""Where a connection keeps which statements it has run, and which of them it has prepared."""


class Step(NamedTuple):
    """A statement and its parameters.

    Attributes:
        name: What it is prepared as.
    """

    name: bytes
    statement: Executable
    parameters: Mapping[str, str | int | None] = {}


class _Message(NamedTuple):
    """What is sent: a statement whole, or what it is prepared as; or, before that, the statement to be prepared."""

    send: Callable[[], object]
    name: bytes
    prepares: bool = False


class Alone:
    """Connections that run nothing but such statements, taken out of an engine's pool when they are first needed.

    To take one and give it back each time would cost a sixth of a start; and of those that handlers have the driver
    deallocates what is prepared whenever one of them fails.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: list[PoolProxiedConnection] = []

    @contextmanager
    def __call__(self) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
        """A connection, as what runs statements on it: each call is a transaction, and returns its last step's rows.

        It prepares a statement once it runs it for the second time: a command runs it once.
        """
        try:
            conn = self._kept.pop()
        except IndexError:
            conn = self._engine.raw_connection()
        driver = conn.driver_connection
        assert isinstance(driver, psycopg.Connection)  # noqa: S101 - for the type checker
        try:
            yield partial(_run, driver, conn.info.setdefault(_PREPARED, {}))
        except ReadOnlySqlTransaction:
            driver.close()  # it leads to a server that others may have taken the place of
            raise
        finally:
            if driver.pgconn.transaction_status == TransactionStatus.IDLE and not driver.pgconn.pipeline_status:
                self._kept.append(conn)
                if len(self._kept) > MOST_KEPT:
                    self.close()
            else:  # lost, and the others may be as well; or interrupted: nobody shall have it so
                if driver.closed:
                    pool_is_lost(self._engine, conn)
                for each in (conn, *(self._all_kept() if driver.closed else ())):
                    each.invalidate()
                    each.close()

    def close(self) -> None:
        """Give all back that nobody uses."""
        for each in self._all_kept():
            each.close()

    def _all_kept(self) -> list[PoolProxiedConnection]:
        kept, self._kept = self._kept, []
        return kept


def _run(driver: psycopg.Connection[Any], prepared: dict[bytes, bool], *steps: Step) -> list[tuple[Any, ...]]:
    for _ in steps:
        # somebody in between has let go of what was prepared: one is known now; or the isolation is stricter than ours
        # by default, and what is locked or taken was changed since the statement began: the next one begins later
        with suppress(InvalidSqlStatementName, SerializationFailure):
            return _try(driver, prepared, steps)
    return _try(driver, prepared, steps)


def _try(driver: psycopg.Connection[Any], prepared: dict[bytes, bool], steps: Sequence[Step]) -> list[tuple[Any, ...]]:
    pgconn, encoding = driver.pgconn, driver.info.encoding
    messages = [each for step in steps for each in _messages(pgconn, encoding, step, prepared)]
    piped = len(messages) > 1
    if piped:
        pgconn.enter_pipeline_mode()
    answers: list[list[PGresult]] = []
    try:
        driver.wait(_exchange(pgconn, messages, answers))
    except psycopg.OperationalError:
        _check(answers, messages, prepared, encoding)  # what the server said before tells more
        raise
    except BaseException:
        if pgconn.transaction_status == TransactionStatus.ACTIVE:  # the driver knows Ctrl-C alone
            with suppress(psycopg.Error):
                driver.cancel_safe(timeout=CANCEL_SECONDS)
        raise
    if piped:
        pgconn.exit_pipeline_mode()
    _check(answers, messages, prepared, encoding)
    transformer = Transformer(driver)
    transformer.set_pgresult(last := answers[len(messages) - 1][0])
    return transformer.load_rows(0, last.ntuples, tuple)


def _exchange(pgconn: PGconn, messages: Sequence[_Message], answers: list[list[PGresult]]) -> PQGen[None]:
    """Send them, and take the answers; sent by whoever waits, who has the server let go of it when interrupted."""
    for each in messages:
        each.send()
    if pgconn.pipeline_status:
        pgconn.pipeline_sync()
    while len(answers) < len(messages) or (pgconn.pipeline_status and not _is_sync(answers[-1])):
        answers.append((yield from execute(pgconn)) or _lost())


def _is_sync(results: Sequence[PGresult]) -> bool:
    return results[-1].status == ExecStatus.PIPELINE_SYNC


def _messages(pgconn: PGconn, encoding: str, step: Step, prepared: Mapping[bytes, bool]) -> Iterator[_Message]:
    text, names, constants = _numbered(step.statement)
    given = {**constants, **step.parameters}
    values = [None if (value := given[name]) is None else str(value).encode(encoding) for name in names]
    known = prepared.get(step.name)
    if known is None:
        yield _Message(partial(pgconn.send_query_params, text, values), step.name)
        return
    if not known:
        yield _Message(partial(pgconn.send_prepare, step.name, text), step.name, prepares=True)
    yield _Message(partial(pgconn.send_query_prepared, step.name, values), step.name)


def _lost() -> list[PGresult]:
    raise psycopg.OperationalError("the connection was lost")


def _check(
    answers: Sequence[Sequence[PGresult]], messages: Sequence[_Message], prepared: dict[bytes, bool], encoding: str
) -> None:
    """Take note of what is prepared, and raise the first error: that of a commit comes after the statement's result."""
    for message, results in zip(messages, answers, strict=False):
        try:
            for each in results:
                checked(each, encoding)
        except InvalidSqlStatementName:
            prepared[message.name] = False
            raise
        prepared[message.name] = message.prepares or prepared.get(message.name, False)
    for each in chain.from_iterable(answers[len(messages) :]):
        if each.status != ExecStatus.PIPELINE_SYNC:
            checked(each, encoding)


@cache
def _numbered(statement: Executable) -> tuple[bytes, tuple[str, ...], dict[str, Any]]:
    """The text of a statement as the server takes it, the names of its parameters in order, and the constants in it."""
    made = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    return str(made).encode(), tuple(made.positiontup), made.params
