"""What the databases themselves tell of their health: room, dead rows and old transactions, or files and journal."""

from __future__ import annotations

import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, literal_column, select

from jobctl.storage.tables import current, job, metadata

LOOKED_THROUGH = 1000
"""Among how many of the oldest jobs a closed one is looked for; more open chains than that may be older."""


class TableRow(NamedTuple):
    """A table of jobctl's on PostgreSQL.

    Attributes:
        size: Bytes that it takes with its indexes.
        live: How many rows it has, about.
        dead: How many dead ones, about.
    """

    name: str
    size: int
    live: int
    dead: int


class TransactionRow(NamedTuple):
    """A transaction that keeps dead rows of others from being cleared away.

    Attributes:
        name: The process that has it, or the name under which it was prepared.
        prepared: Whether it was prepared, and belongs to nobody.
        who: Role, application and address, as far as they are known.
        seconds: For how long it has been open.
    """

    name: str
    prepared: bool
    who: str
    seconds: float


class FileState(NamedTuple):
    """An SQLite file.

    Attributes:
        path: Where it is.
        journal: Its journal mode.
        size: Bytes that it takes.
        free: Bytes of these that hold nothing.
        wal: Bytes that its write-ahead log takes.
        open_to_all: The file or its folder, if anybody may write it.
        locked: Those of its files, or its folder, that this user may not write.
    """

    path: Path
    journal: str
    size: int
    free: int
    wal: int
    open_to_all: tuple[Path, ...]
    locked: tuple[Path, ...]


_first = (
    select(job.c.created_at, job.c.chain_id)
    .order_by(job.c.created_at, job.c.id)
    .limit(literal_column(str(LOOKED_THROUGH)))
    .subquery("first")
)

_open = select(current.c.chain_id).where(current.c.chain_id == _first.c.chain_id).correlate(_first).scalar_subquery()

OLDEST_CLOSED = select(func.min(_first.c.created_at)).where(_open.is_(None))
"""With a probe for each, as NOT EXISTS would be planned as a scan."""


def oldest_closed(conn: Connection) -> datetime | None:
    """When the oldest closed chain was started, if one is among the oldest there are."""
    found: datetime | None = conn.execute(OLDEST_CLOSED).scalar()
    return found


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

_TABLES = """
    SELECT name, pg_total_relation_size(id), pg_stat_get_live_tuples(id), pg_stat_get_dead_tuples(id)
    FROM unnest(CAST(%(names)s AS text[])) AS name, LATERAL (SELECT CAST(to_regclass(name) AS oid) AS id) AS found
"""

_TRANSACTIONS = """
    SELECT pid::text, false, concat_ws(' ', usename, nullif(application_name, ''), client_addr::text, state),
        extract(epoch FROM statement_timestamp() - xact_start)::double precision AS seconds
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
        AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
        AND xact_start < statement_timestamp() - make_interval(secs => %(seconds)s)
    UNION ALL
    SELECT gid, true, owner, extract(epoch FROM statement_timestamp() - prepared)::double precision
    FROM pg_prepared_xacts
    WHERE database = current_database() AND prepared < statement_timestamp() - make_interval(secs => %(seconds)s)
    ORDER BY seconds DESC LIMIT 20
"""


def tables(conn: Connection) -> list[TableRow]:
    """What PostgreSQL knows of our tables; sizes and counts are at hand, whatever the sizes are."""
    found = conn.exec_driver_sql(_TABLES, {"names": list(metadata.tables)})
    return [TableRow(*row) for row in map(tuple, found)]


def transactions(conn: Connection, seconds: float) -> list[TransactionRow]:
    """The transactions that have been open for longer on this PostgreSQL database, the oldest first.

    Those of others are seen by members of pg_read_all_stats alone.
    """
    found = conn.exec_driver_sql(_TRANSACTIONS, {"seconds": seconds})
    return [TransactionRow(*row) for row in map(tuple, found)]


def vacuums_itself(conn: Connection) -> bool:
    """Whether PostgreSQL clears dead rows away by itself."""
    return bool(conn.exec_driver_sql("SELECT current_setting('autovacuum')::boolean").scalar())


# --- SQLite ----------------------------------------------------------------------------------------------------------


def file_state(conn: Connection) -> FileState:
    """How an SQLite file is."""

    def pragma(name: str) -> Any:
        return conn.exec_driver_sql(f"PRAGMA {name}").scalar()

    path = Path(next(row.file for row in conn.exec_driver_sql("PRAGMA database_list") if row.name == "main"))
    page = int(pragma("page_size"))
    wal = Path(f"{path}-wal")
    files = [each for each in (path, wal, Path(f"{path}-shm")) if each.exists()]
    return FileState(
        path=path,
        journal=str(pragma("journal_mode")),
        size=page * int(pragma("page_count")),
        free=page * int(pragma("freelist_count")),
        wal=wal.stat().st_size if wal.exists() else 0,
        open_to_all=tuple(
            each for each in (path, path.parent) if _open_to_all(each)
        ),  # the others have the file's mode
        locked=tuple(each for each in (*files, path.parent) if not os.access(each, os.W_OK)),
    )


def _open_to_all(path: Path) -> bool:
    """Whether anybody may write a file, or put another in its place."""
    mode = path.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not (path.is_dir() and mode & stat.S_ISVTX)
