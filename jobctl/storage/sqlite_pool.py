"""The connections to a file: each thread keeps one."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool
from sqlalchemy.pool import ConnectionPoolEntry

_OPENED = "jobctl_opened"
"""Where a connection keeps what it was opened on."""

_POOLS: weakref.WeakSet[ThreadPool] = weakref.WeakSet()


class ThreadPool(NullPool):
    """Keeps one connection for each thread that used one, until the thread ends; no other thread ever has it.

    To keep none costs more than most transactions do: the last connection to be closed writes the whole log into the
    file, waits for the disk and removes the log. It also reads the schema again, and prepares each statement again.
    """

    def __init__(self, creator: Any, path: Path, **options: Any) -> None:
        super().__init__(creator, **options)
        self._path = path
        self._local: threading.local | None = threading.local()
        _POOLS.add(self)

    def recreate(self) -> ThreadPool:
        return ThreadPool(self._creator, self._path, _dispatch=self.dispatch, dialect=self._dialect)

    def _do_get(self) -> ConnectionPoolEntry:
        stands = self._identity()
        kept = self._take()
        if kept is not None:
            if stands is not None and kept.info.get(_OPENED) == stands:
                return kept
            kept.close()
        made = self._create_connection()
        made.info[_OPENED] = stands or self._identity()  # to connect makes the file
        return made

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        driver = record.dbapi_connection
        # SQLAlchemy takes a commit that failed for the end of a transaction; SQLite may not
        over = isinstance(driver, sqlite3.Connection) and not driver.in_transaction
        local = self._local
        if local is None or not over or hasattr(local, "kept"):
            record.close()
        else:
            local.kept = _Kept(record)

    def dispose(self) -> None:
        """Close this thread's connection; those of others, which only they may close, are left to the collector."""
        self.close_kept()
        self._local = None

    def close_kept(self) -> None:
        """Close the connection that this thread keeps."""
        kept = self._take()
        if kept is not None:
            kept.close()

    def _take(self) -> ConnectionPoolEntry | None:
        local = self._local
        kept: _Kept | None = None if local is None else local.__dict__.pop("kept", None)
        return None if kept is None else kept.take()

    def _identity(self) -> tuple[int, int, int] | None:
        """What tells the file that stands here now, and who asks: no connection may be used on after a fork."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return os.getpid(), found.st_dev, found.st_ino


class _Kept:
    """A thread's connection while nothing uses it, which is closed when the thread ends."""

    def __init__(self, entry: ConnectionPoolEntry) -> None:
        self._entry: ConnectionPoolEntry | None = entry
        self._thread = threading.get_ident()

    def take(self) -> ConnectionPoolEntry | None:
        entry, self._entry = self._entry, None
        return entry

    def __del__(self) -> None:
        if self._entry is not None and threading.get_ident() == self._thread:
            self._entry.close()


def _close_before_fork() -> None:
    """Take no connection along: to close it in the child might remove a log that others have begun since."""
    for pool in list(_POOLS):
        pool.close_kept()


if hasattr(os, "register_at_fork"):  # where there are forks
    os.register_at_fork(before=_close_before_fork)
