"""Migrations: numbered scripts, the same number for both databases, each in one transaction behind a lock.

The version's row is the first thing that is written, so that whatever goes wrong leaves neither of the two.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, func, insert, inspect, select

from jobctl.errors import SchemaOutdatedError, SchemaTooNewError
from jobctl.storage.spelling import now
from jobctl.storage.store import Store
from jobctl.storage.tables import migration

_FILE_NAME = re.compile(r"(\d{4})_(\w+)\.(postgresql|sqlite)\.sql")

_VERSION_TABLE = {
    "postgresql": """
        CREATE TABLE IF NOT EXISTS jobctl_migration (
            version    integer     PRIMARY KEY,
            name       text        NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT statement_timestamp()
        );
    """,
    "sqlite": """
        CREATE TABLE IF NOT EXISTS jobctl_migration (
            version    INTEGER PRIMARY KEY,
            name       TEXT    NOT NULL,
            applied_at INTEGER NOT NULL
        );
    """,
}


class Migration(NamedTuple):
    """One step of the schema."""

    version: int
    name: str
    script: str


@cache
def migrations(dialect: str) -> tuple[Migration, ...]:
    """All steps for a kind of database, the first first."""
    found = []
    for file in (resources.files("jobctl.storage") / "migrations").iterdir():
        match = _FILE_NAME.fullmatch(file.name)
        if match and match[3] == dialect:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda each: each.version))


def known_version(dialect: str) -> int:
    """The version that this jobctl works with."""
    return migrations(dialect)[-1].version


def found_version(conn: Connection) -> int:
    """The version that the database has; 0 when it has no schema of jobctl's."""
    if not inspect(conn).has_table(migration.name):
        return 0
    return int(conn.execute(select(func.coalesce(func.max(migration.c.version), 0))).scalar_one())


def check_schema(store: Store) -> None:
    """Refuse a schema that this version cannot work with; an SQLite file is brought up to date by itself.

    Raises:
        SchemaOutdatedError: PostgreSQL, and it must be migrated first.
        SchemaTooNewError: A later jobctl migrated it.
    """
    known = known_version(store.dialect)
    with store.transaction(read_only=True) as conn:
        found = found_version(conn)
    _refuse_newer(store, found)
    if found < known:
        if store.dialect == "sqlite":
            migrate(store)
            return
        state = "has no schema of jobctl's" if found == 0 else f"has version {found} of the schema, older than {known}"
        raise SchemaOutdatedError(f"the database {store.label} {state}: run `jobctl migrate`", found=found, known=known)


def pending(store: Store) -> list[Migration]:
    """The steps that the database lacks, without applying any.

    Raises:
        SchemaTooNewError: A later jobctl migrated it.
    """
    found = 0
    if store.exists():
        with store.transaction(read_only=True) as conn:
            found = found_version(conn)
    _refuse_newer(store, found)
    return [each for each in migrations(store.dialect) if each.version > found]


def migrate(store: Store) -> list[Migration]:
    """Apply the steps that the database lacks; returns those that this call applied.

    Safe to call from any number of processes at once: each step is applied once.

    Raises:
        SchemaTooNewError: A later jobctl migrated it.
    """
    applied = []
    with store.transaction() as conn:
        store.migration_lock(conn)
        store.run_script(conn, _VERSION_TABLE[store.dialect])
        found = found_version(conn)
        _refuse_newer(store, found)
        for step in migrations(store.dialect):
            if step.version > found:
                row = {"version": step.version, "name": step.name, "applied_at": now()}
                conn.execute(insert(migration).values(row))
                store.run_script(conn, step.script)
                applied.append(step)
    return applied


def schema_script(dialect: str) -> str:
    """The schema of a new database as one script: schema.sql for PostgreSQL, the steps one after another for SQLite."""
    if dialect == "sqlite":
        scripts = [_VERSION_TABLE["sqlite"], *(each.script for each in migrations(dialect))]
        return "\n".join(scripts)
    shipped = resources.files("jobctl.storage") / "schema.sql"
    if shipped.is_file():
        return shipped.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / "schema.sql").read_text(encoding="utf-8")  # not installed: a checkout


def _refuse_newer(store: Store, found: int) -> None:
    known = known_version(store.dialect)
    if found > known:
        raise SchemaTooNewError(
            f"the database {store.label} has version {found} of the schema, newer than this jobctl knows ({known}): "
            "update jobctl",
            found=found,
            known=known,
        )
