"""Databases of the tests: what takes long to make is made once, and used by one test after the other."""

from __future__ import annotations

import fcntl
import itertools
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql
from sqlalchemy import Engine, event

from jobctl.storage.migrate import migrate
from jobctl.storage.open import open_store
from jobctl.storage.tables import metadata, migration

MOST_USES = 100
"""So often a schema is used before its dead rows go with it."""


def migrated(url: str) -> str:
    """The same URL, with jobctl's schema there."""
    store = open_store(url)
    migrate(store)
    store.close()
    return url


def once(folder: Path, name: str, make: Callable[[Path], object]) -> Path:
    """A file or folder that the first process that asks makes; in the folder that all processes of a run share."""
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / name).exists():
            make(folder / f"{name}.new")
            (folder / f"{name}.new").rename(folder / name)
    return folder / name


# --- SQLite ----------------------------------------------------------------------------------------------------------


def forget_the_disk() -> None:
    """From now on this process waits for no disk when it commits to a file: a crash of the machine ends its tests too.

    The processes that tests start do wait, as everywhere.
    """

    @event.listens_for(Engine, "connect")
    def connected(connection: Any, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")


def copy_migrated(run_folder: Path, to: Path) -> str:
    """The URL of a new file with jobctl's schema."""
    template = once(run_folder, "template.db", lambda path: migrated(f"sqlite:///{path}"))
    shutil.copyfile(template, to)
    return f"sqlite:///{to}"


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


class Schemas:
    """Schemas in a database: each test has one of its own.

    A schema with jobctl's tables is used again when a test left nothing but rows, or tables of its own, in it. It gets
    another name before: a process that a test forgot to end finds it no more than one that was dropped.
    """

    def __init__(self, server: str, admin: psycopg.Connection) -> None:
        self._server = server
        self._admin = admin
        self._migrated: list[_Migrated] = []

    def url(self, name: str) -> str:
        separator = "&" if "?" in self._server else "?"
        return f"{self._server}{separator}options={quote(f'-csearch_path={name}', safe='')}"

    def make(self) -> str:
        """The name of a new one, empty."""
        name = _new_name()
        self._admin.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        return name

    def drop(self, name: str) -> None:
        self._admin.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))

    @contextmanager
    def empty(self) -> Iterator[Callable[[], str]]:
        """Makes URLs of new, empty ones, which are dropped at the end."""
        made: list[str] = []

        def make() -> str:
            made.append(self.make())
            return self.url(made[-1])

        try:
            yield make
        finally:
            for each in made:
                self.drop(each)

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The URL of one with jobctl's tables, without a row."""
        if not self._migrated:
            name = self.make()
            migrated(self.url(name))
            self._migrated.append(_Migrated(self._admin, name))
        mine = self._migrated.pop()
        try:
            yield self.url(mine.name)
        finally:
            if mine.clear():
                self._migrated.append(mine)
            else:
                self.drop(mine.name)


class _Migrated:
    """A schema with jobctl's tables, as the migrations made them."""

    # those that refer to others before these
    tables = tuple(each.name for each in reversed(metadata.tables.values()) if each is not migration)

    def __init__(self, admin: psycopg.Connection, name: str) -> None:
        self._admin = admin
        self._uses = itertools.count(1)
        self.name = name
        self._relations = self._found()
        self._known = tuple(name for name, _, _ in self._relations)
        self._versions = self._found_versions()

    def clear(self) -> bool:
        """Leave no row; says whether it may be used again, as nothing else was changed."""
        found = self._found()
        own = [each for each in found if each[0] in self._known]
        others = [name for name, kind, _ in found if name not in self._known and kind == "r"]
        if own != self._relations or self._found_versions() != self._versions or next(self._uses) > MOST_USES:
            return False
        before, self.name = self.name, _new_name()
        qualified = [sql.Identifier(before, each) for each in self.tables]
        steps = [
            # who writes still is waited for, and not overlooked
            sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.SQL(", ").join(qualified)),
            *(sql.SQL("DELETE FROM {}").format(each) for each in qualified),
            *(sql.SQL("DROP TABLE {} CASCADE").format(sql.Identifier(before, each)) for each in others),
            sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(before), sql.Identifier(self.name)),
        ]
        self._admin.execute(sql.SQL("; ").join(steps))
        return True

    def _found(self) -> list[tuple[str, str, str]]:
        """Its relations and functions: name, kind, and the transaction that changed it last."""
        return self._admin.execute(
            """
            SELECT relname::text, relkind::text, xmin::text FROM pg_class WHERE relnamespace = %(schema)s::regnamespace
            UNION ALL
            SELECT proname::text, 'function', xmin::text FROM pg_proc WHERE pronamespace = %(schema)s::regnamespace
            ORDER BY 1
            """,
            {"schema": self.name},
        ).fetchall()

    def _found_versions(self) -> list[tuple[int]]:
        versions = sql.SQL("SELECT version FROM {} ORDER BY version")
        return self._admin.execute(versions.format(sql.Identifier(self.name, migration.name))).fetchall()


def _new_name() -> str:
    return f"t_{uuid.uuid4().hex[:12]}"
