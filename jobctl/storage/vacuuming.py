"""Giving back the room that deleted rows took."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from jobctl.errors import UnsuccessfulError
from jobctl.storage.store import Store
from jobctl.storage.tables import metadata

SIZES = """
    SELECT name, pg_total_relation_size(to_regclass(name))
    FROM unnest(%s::text[]) AS name
    WHERE to_regclass(name) IS NOT NULL
    ORDER BY 2 DESC, 1
"""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a database.

    Attributes:
        name: A table with its indexes on PostgreSQL; a file on SQLite.
        before: How many bytes it had.
        after: How many it has.
    """

    name: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """What vacuuming did.

    Attributes:
        parts: The parts of the database, the largest first.
    """

    parts: tuple[Part, ...]

    @property
    def before(self) -> int:
        """How many bytes all of them had."""
        return sum(each.before for each in self.parts)

    @property
    def after(self) -> int:
        """How many they have."""
        return sum(each.after for each in self.parts)


def vacuum(store: Store, *, full: bool) -> Vacuumed:
    """Give back the room of deleted rows, and refresh what the planner knows; see ``Client.vacuum``."""
    with store.translated():
        before, after = _sqlite(store) if store.dialect == "sqlite" else _postgresql(store, full=full)
    return Vacuumed(tuple(Part(name, size, after.get(name, 0)) for name, size in before.items()))


def _postgresql(store: Store, *, full: bool) -> tuple[dict[str, int], dict[str, int]]:
    names = sorted(metadata.tables)
    with store.single() as conn:
        before = _table_sizes(conn, names)
        with _warnings(conn) as warned:
            conn.exec_driver_sql(f"VACUUM ({'FULL, ' if full else ''}ANALYZE) {', '.join(before)}")
        after = _table_sizes(conn, names)
    if warned:  # the server passes over what it may not vacuum, and says so in passing
        raise UnsuccessfulError(f"not all tables could be vacuumed: {warned[0]}", id=None, status=None)
    return before, after


def _table_sizes(conn: Connection, names: list[str]) -> dict[str, int]:
    return dict(tuple(row) for row in conn.exec_driver_sql(SIZES, (names,)))


@contextmanager
def _warnings(conn: Connection) -> Iterator[list[str]]:
    """The warnings that the server sends meanwhile."""
    driver: Any = conn.connection.driver_connection
    found: list[str] = []

    def keep(notice: Any) -> None:
        if notice.severity_nonlocalized == "WARNING":
            found.append(" ".join((notice.message_primary or "").split()))

    driver.add_notice_handler(keep)
    try:
        yield found
    finally:
        driver.remove_notice_handler(keep)


def _sqlite(store: Store) -> tuple[dict[str, int], dict[str, int]]:
    """The file is written anew, without what is free in it; then the log, which that made as long, is cut."""
    with closing(store.engine.raw_connection()) as pooled:
        conn = pooled.driver_connection
        assert isinstance(conn, sqlite3.Connection)  # noqa: S101 - for the type checker
        (path,) = (row[2] for row in conn.execute("PRAGMA database_list") if row[1] == "main")
        before = _file_sizes(Path(path))
        for statement in (
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "VACUUM",
            "PRAGMA optimize",
            "PRAGMA wal_checkpoint(TRUNCATE)",
        ):
            conn.execute(statement).fetchall()
        return before, _file_sizes(Path(path))


def _file_sizes(path: Path) -> dict[str, int]:
    files = (path, path.with_name(f"{path.name}-wal"))
    return {each.name: each.stat().st_size if each.exists() else 0 for each in files}
