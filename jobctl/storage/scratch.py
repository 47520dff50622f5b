"""A database to try things in, gone afterwards: a file, or a schema of its own on a PostgreSQL server."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.exc import ProgrammingError

from jobctl.errors import DatabaseUnavailableError
from jobctl.storage.migrate import migrate
from jobctl.storage.open import open_store


@contextmanager
def scratch_database(url: str | None) -> Iterator[str]:
    """The URL of an empty database with jobctl's schema; removed at the end.

    Args:
        url: A PostgreSQL database in which a schema may be created; None: an SQLite file in a temporary folder.

    Raises:
        DatabaseUnavailableError: The server cannot be reached, or does not allow it.
    """
    if url is None or not url.startswith("postgres"):
        with tempfile.TemporaryDirectory(prefix="jobctl-") as folder:
            made = f"sqlite:///{Path(folder) / 'jobctl.db'}"
            _migrate(made)
            yield made
        return
    schema = f"jobctl_scratch_{uuid.uuid4().hex[:12]}"
    owner = open_store(url)
    try:
        try:
            with owner.transaction() as conn:
                conn.exec_driver_sql(f"CREATE SCHEMA {schema}")
        except ProgrammingError as error:
            raise DatabaseUnavailableError(
                f"no schema can be made in the database {owner.label}: {error.orig}; it takes the right to CREATE there"
            ) from error
        try:
            made = f"{url}{'&' if '?' in url else '?'}options={quote(f'-csearch_path={schema}', safe='')}"
            _migrate(made)
            yield made
        finally:
            with owner.transaction() as conn:
                conn.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
    finally:
        owner.close()


def _migrate(url: str) -> None:
    store = open_store(url)
    try:
        migrate(store)
    finally:
        store.close()
