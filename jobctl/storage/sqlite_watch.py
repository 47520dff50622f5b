"""Seeing that some other connection committed to an SQLite file; what it did cannot be told."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jobctl.storage.records import CLOSED, LOST, WORK

if TYPE_CHECKING:
    from inotify_simple import INotify  # type: ignore[import-untyped]

LOOK_EVERY: Final = 0.001
"""Seconds between two looks at data_version, which costs a few microseconds: no system call in WAL mode."""

SOON: Final = 0.0001
"""Seconds until the first look after somebody has written to the journal."""

LONGER: Final = 1.25
"""What is written is committed once the disk has it: each look that sees nothing is followed by one after so many times
as long, so that a commit is seen late by a quarter of its time at most."""

ANYWAY: Final = 0.05
"""Seconds between two looks while nobody is heard to write: not every file system tells."""


class FileWatch:
    """Looks at the file's version.

    On Linux it does so when the system tells that somebody has written to the journal, so that an idle worker sleeps,
    and is awake when the commit is through; elsewhere a thousand times a second.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        """Watch a file, from the first wait on.

        Args:
            path: The file.
            timeout: How many seconds to wait for somebody who has locked it, to look at it for the first time.
        """
        self._path = path
        self._timeout = timeout
        self._conn: sqlite3.Connection | None = None
        self._version: int | None = None
        self._writes: INotify | None = None
        self._pause = ANYWAY
        self._told_at = 0.0

    def wait(self, seconds: float) -> Mapping[str, set[str]] | None:
        """Wait for a commit, at most so long; None: the file is watched from now on."""
        deadline = time.monotonic() + seconds
        try:
            if self._conn is None:
                self._conn = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None)
                self._read(self._conn)  # the journal is there now
                self._writes = _writes_to(self._path)
                self._version = self._read(self._conn)
                return None
            time.sleep(max(0.0, self._told_at + LOOK_EVERY - time.monotonic()))  # however many commits there are
            while (version := self._read(self._conn)) == self._version:
                rest = deadline - time.monotonic()
                if rest <= 0:
                    return {}
                self._rest(rest)
        except sqlite3.Error:
            self.close()
            time.sleep(max(0.0, deadline - time.monotonic()))
            return None
        self._version = version
        self._told_at = time.monotonic()
        self._pause = ANYWAY  # what was heard meanwhile is read by the next wait: another's may not be committed yet
        return {WORK: {""}, CLOSED: {""}, LOST: {""}}

    def close(self) -> None:
        """Watch no more; the next wait begins anew."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None
        if self._writes is not None:
            self._writes.close()
            self._writes = None

    def _rest(self, most: float) -> None:
        """Until the next look."""
        if self._writes is None:
            time.sleep(LOOK_EVERY)
        elif self._pause < LOOK_EVERY:
            time.sleep(self._pause)
            self._pause *= LONGER
        elif self._writes.read(timeout=1000 * min(self._pause, most)):
            self._pause = SOON
        else:
            self._pause = min(LONGER * self._pause, ANYWAY)

    @staticmethod
    def _read(conn: sqlite3.Connection) -> int:
        (version,) = conn.execute("PRAGMA data_version").fetchone()
        return int(version)


def _writes_to(path: Path) -> INotify | None:
    """Tells of writes to a file's journal, where the system does."""
    try:
        from inotify_simple import INotify, flags
    except ImportError:
        return None
    writes = None
    try:
        writes = INotify()
        writes.add_watch(f"{path}-wal", flags.MODIFY)
    except OSError:  # as many as one user may have are in use, or there is no journal
        if writes is not None:
            writes.close()
        return None
    return writes
