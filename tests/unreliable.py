"""A database whose connections break: one in ten of its statements fails with what the driver raises then."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import psycopg
from sqlalchemy import Connection, event

from jobctl.errors import TryAgainError
from jobctl.storage.store import Store

T = TypeVar("T")


class Unreliable:
    """Breaks the connections of a store, each time before a statement is sent or right after it was carried out."""

    def __init__(self, store: Store, rate: float, seed: int) -> None:
        self._random = random.Random(seed)
        self._rate = rate
        self._making = threading.Lock()
        self.broken = 0
        self.on = False
        for name in ("run", "hold", "settle_held"):
            setattr(store, name, self._breaking(getattr(store, name)))
        event.listen(store.engine, "before_cursor_execute", lambda conn, *_: self._maybe_break(conn))
        event.listen(store.engine, "commit", self._maybe_break)

    def _breaking(self, call: Callable[..., T]) -> Callable[..., T]:
        """The same call, before and after which the connection may break."""

        def breaking(conn: Connection, *arguments: Any, **named: Any) -> T:
            hit = self._hits()
            if hit and self._random.random() < 0.5:
                break_connection(conn)
            found = call(conn, *arguments, **named)
            if hit:
                break_connection(conn)
            return found

        return breaking

    def _hits(self) -> bool:
        with self._making:
            hit = self.on and self._random.random() < self._rate
            self.broken += hit
            return hit

    def _maybe_break(self, conn: Connection) -> None:
        if self._hits():
            break_connection(conn)


def break_connection(conn: Connection) -> NoReturn:
    """Break a connection, and raise what its driver does then."""
    driver = conn.connection.driver_connection
    if isinstance(driver, psycopg.Connection):
        driver.close()
        conn.invalidate()
        raise psycopg.OperationalError("the connection is lost")
    assert isinstance(driver, sqlite3.Connection)
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    raise error


def persistent(call: Callable[[], T]) -> T:
    """Call until the database lets it through, as a script does that looks at exit code 75."""
    while True:
        try:
            return call()
        except TryAgainError:
            continue
