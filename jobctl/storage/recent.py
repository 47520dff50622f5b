"""What a shell completes: recent chains and the types there are, read by the drivers alone.

A shell waits for the answer while a person types: SQLAlchemy would take longer to import than all of this to run.
Nothing is created, changed or waited for here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

MOST: Final = 50
"""How many are offered at most."""

BUSY_SECONDS: Final = 0.2
"""How long a database may make a person wait."""

_CHAINS = """
    SELECT id, type_name, created_at FROM jobctl_job
    WHERE chain_index = 0 ORDER BY created_at DESC, id DESC LIMIT {most}
"""

_CHAINS_WITH_PREFIX = """
    SELECT id, type_name, created_at FROM jobctl_job
    WHERE chain_index = 0 AND id BETWEEN :low AND :high ORDER BY id DESC LIMIT {most}
"""

_TYPES = """
    WITH RECURSIVE known (name) AS (
        SELECT min(type_name) FROM jobctl_job WHERE type_name >= :prefix
        UNION ALL
        SELECT (SELECT min(type_name) FROM jobctl_job WHERE type_name > known.name) FROM known WHERE name IS NOT NULL
    )
    SELECT name FROM known WHERE name IS NOT NULL LIMIT {most}
"""
"""The index of types, from one to the next: its cost grows with the types, not with the jobs."""


class RecentChain(NamedTuple):
    """A chain to be offered: its id, its type, and when it was started, in seconds since 1970."""

    id: str
    type_name: str
    created_at: float


def import_driver(url: str) -> None:
    """Import the driver of this database: on a busy machine that may take longer than the answer should."""
    import_module("sqlite3" if url.startswith("sqlite") else "psycopg")


def recent_chains(url: str, prefix: str) -> list[RecentChain]:
    """The chains started last whose ids begin so, the newest first."""
    if prefix:
        low, high = (_filled(prefix, digit) for digit in "0f")
        rows = _rows(url, _CHAINS_WITH_PREFIX, {"low": low, "high": high})
    else:
        rows = _rows(url, _CHAINS, {})
    return [RecentChain(str(id_), type_name, _seconds(at)) for id_, type_name, at in rows]


def known_types(url: str, prefix: str) -> list[str]:
    """The types of jobs there are whose names begin so."""
    return [name for (name,) in _rows(url, _TYPES, {"prefix": prefix}) if name.startswith(prefix)]


def _filled(prefix: str, digit: str) -> str:
    """The first or the last id with this prefix.

    Raises:
        ValueError: No id begins so.
    """
    whole = f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}"
    typed = prefix.lower()
    found = typed + whole[len(typed) :]
    if len(found) != len(whole) or any((char == "-") != (mark == "-") for char, mark in zip(found, whole, strict=True)):
        raise ValueError(prefix)
    int(found.replace("-", ""), 16)
    return found


def _seconds(created_at: Any) -> float:
    return float(created_at.timestamp() if hasattr(created_at, "timestamp") else created_at / 1000)


def _rows(url: str, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    scheme, _, rest = url.partition(":")
    text = statement.format(most=MOST)
    if scheme.startswith("sqlite"):
        return _rows_of_sqlite(rest.removeprefix("///"), text, parameters)
    for name in parameters:
        text = text.replace(f":{name}", f"%({name})s{'::uuid' if name in {'low', 'high'} else ''}")
    return _rows_of_postgres(f"postgresql:{rest}", text, parameters)


def _rows_of_sqlite(name: str, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    import sqlite3
    from urllib.parse import quote

    path = os.path.abspath(os.path.expanduser(name))  # noqa: PTH100, PTH111 - as SqliteStore does
    conn = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=BUSY_SECONDS)
    try:
        return conn.execute(statement, parameters).fetchall()
    finally:
        conn.close()


def _rows_of_postgres(url: str, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    import psycopg

    with psycopg.connect(url, autocommit=True, connect_timeout=2) as conn:
        conn.execute(f"SET statement_timeout = {round(BUSY_SECONDS * 1000)}".encode())
        return conn.execute(statement.encode(), dict(parameters)).fetchall()
