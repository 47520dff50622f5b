"""From a database's URL to its store."""

from __future__ import annotations

from jobctl.errors import UsageError
from jobctl.storage.store import Store


def open_store(url: str, *, pool_size: int = 5) -> Store:
    """The store for a URL: postgresql://…, postgres://…, sqlite:///path.

    Does not connect yet. A driver is imported only when its database is used.

    Args:
        url: The database.
        pool_size: How many connections are kept open (PostgreSQL).

    Raises:
        UsageError: The URL names no known kind of database, or cannot be read.
    """
    scheme, separator, rest = url.partition(":")
    if separator and scheme in {"postgresql", "postgres", "postgresql+psycopg"}:
        from jobctl.storage.postgres import PostgresStore

        return PostgresStore(f"postgresql:{rest}", pool_size=pool_size)
    if separator and scheme in {"sqlite", "sqlite+pysqlite"}:
        from jobctl.storage.sqlite import SqliteStore, path_of

        return SqliteStore(path_of(url))
    raise UsageError("the database URL must begin with postgresql:// or sqlite:///")
