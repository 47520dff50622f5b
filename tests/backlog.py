"""Databases with a backlog: many jobs that wait, as many that are settled, and a few of all else."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from plans import LARGE

from jobctl.storage.migrate import migrate
from jobctl.storage.open import open_store

BEGUN = datetime.now(UTC)
"""When the last job of a backlog was started, however late its turn comes."""

WAITING = 20_000
RARE = 200
"""Jobs of which one in fifty each runs, has failed or is blocked."""

TYPES = [f"type-{number}" for number in range(5)]
FEW = 5_000
"""Rows that a call may look at, over all its steps: a part of what waits (types x priorities x a batch), at any backlog."""

TABLES = (*LARGE, "jobctl_blocker")

FILL = """
    INSERT INTO jobctl_job (id, chain_id, chain_index, chain_type, type_name, blocker_count, created_at, input)
    SELECT {id}, {id}, 0, 'type-' || (number % 5), 'type-' || (number % 5),
        CASE WHEN number > {waiting} AND number <= {waiting} + {rare} AND number % 50 = 2 THEN 1 ELSE 0 END, {created}, {object}
    FROM {numbers}
"""
"""Twice as many jobs as wait: the other half is history, with few that run, have failed or are blocked."""

FILL_CURRENT = """
    INSERT INTO jobctl_current (chain_id, job_id, chain_index, type_name, status, priority, attempt, scheduled_at,
        lease, worker, leased_until)
    SELECT id, id, 0, type_name, status, number % 3, 0, {scheduled}, CASE status WHEN 'running' THEN id END,
        CASE status WHEN 'running' THEN 'w' END, CASE status WHEN 'running' THEN {leased} END
    FROM (
        SELECT number, {id} AS id, 'type-' || (number % 5) AS type_name, CASE
            WHEN number <= {waiting} THEN 'pending' WHEN number > {waiting} + {rare} THEN 'completed'
            WHEN number % 50 = 0 THEN 'running'
            WHEN number % 50 = 1 THEN 'failed' WHEN number % 50 = 2 THEN 'blocked' ELSE 'completed' END AS status
        FROM {numbers}
    ) AS made
    WHERE status <> 'completed'
"""

FILL_SETTLED = """
    INSERT INTO jobctl_settled (chain_id, chain_index, status, priority, attempt, scheduled_at, completed_at, output)
    SELECT {id}, 0, 'completed', 0, 1, {created}, {created}, {object} FROM {numbers}
    WHERE number > {waiting} AND (number > {waiting} + {rare} OR number % 50 > 2)
"""

FILL_BLOCKERS = """
    INSERT INTO jobctl_blocker (job_id, position, chain_id)
    SELECT {waiting_id}, 0, {id} FROM {numbers} WHERE number <= {rare} AND number % 50 = 2
"""
"""Each blocked job waits for one of those that wait to run."""

SOME = "00000000-0000-7000-8000-000000000002"
"""A chain that is ready and that another one waits for."""


def fill_postgres(url, waiting, *, thought_empty=(), known=True):
    """Fill a database.

    Args:
        url: The database, migrated.
        waiting: How many jobs wait.
        thought_empty: Tables of which the planner thinks that they are empty, as it does while they are being filled.
        known: Whether the planner gets to know of what there is in the others.
    """
    words = {
        "waiting": waiting,
        "rare": RARE,
        "id": "('00000000-0000-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid",
        "waiting_id": f"('00000000-0000-7000-8000-' || lpad(to_hex(number + {waiting}), 12, '0'))::uuid",
        "object": "'{}'::json",
        "created": f"now() - ({waiting * 2} - number) * interval '1 second'",
        "scheduled": "now() - interval '1 hour' + (number % 7200) * interval '1 second'",
        "leased": "now() + interval '1 hour' * (CASE number % 100 WHEN 0 THEN 1 ELSE -1 END)",
        "numbers": f"generate_series(1, {waiting * 2}) AS number",
    }
    with psycopg.connect(url) as filling, psycopg.connect(url, autocommit=True) as looking:
        for table in TABLES:
            looking.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())
        for each in (FILL, FILL_CURRENT, FILL_SETTLED, FILL_BLOCKERS):
            filling.execute(each.format(**words).encode())
        for table in thought_empty:
            looking.execute(f"ANALYZE {table}".encode())
        filling.commit()
        if known:
            looking.execute(f"ANALYZE {', '.join(set(TABLES) - set(thought_empty))}".encode())


def fill_sqlite(store, waiting):
    now = int(BEGUN.timestamp() * 1000)
    words = {
        "waiting": waiting,
        "rare": RARE,
        "id": "printf('00000000-0000-7000-8000-%012x', number)",
        "waiting_id": f"printf('00000000-0000-7000-8000-%012x', number + {waiting})",
        "object": "'{}'",
        "created": f"{now} - ({waiting * 2} - number) * 1000",
        "scheduled": f"{now} - 3600000 + (number % 7200) * 1000",
        "leased": f"{now} + 3600000 * (CASE number % 100 WHEN 0 THEN 1 ELSE -1 END)",
        "numbers": f"(WITH RECURSIVE n (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n"
        f" WHERE number < {waiting * 2}) SELECT number FROM n)",
    }
    with store.transaction() as conn:
        for each in (FILL, FILL_CURRENT, FILL_SETTLED, FILL_BLOCKERS):
            conn.exec_driver_sql(each.format(**words))


DRAINED = """
    ALTER TABLE jobctl_current SET (autovacuum_enabled = off);
    INSERT INTO jobctl_current (chain_id, job_id, chain_index, type_name, status, priority, scheduled_at)
    SELECT gen_random_uuid(), gen_random_uuid(), 0, 'type-1', 'pending', 0, now() FROM generate_series(1, 20000);
    ANALYZE jobctl_current;
    DELETE FROM jobctl_current;
    ANALYZE jobctl_current
"""


def drained_postgres(url):
    """What work has left that is done: what is known of a full table of one type, with no rows in it."""
    with psycopg.connect(url, autocommit=True) as conn:
        for each in DRAINED.split(";"):
            conn.execute(each.encode())


def migrated(url):
    """A store on a database of jobctl's with nothing in it."""
    store = open_store(url)
    migrate(store)
    return store


def postgres_with(url, **how):
    """A store on PostgreSQL with a backlog, filled as said; nothing more gets known of it by itself."""
    store = migrated(url)
    fill_postgres(url, WAITING, **how)
    return store


def sqlite_with(folder, waiting):
    """A store on an SQLite file with a backlog."""
    store = migrated(f"sqlite:///{folder / f'backlog-{waiting}.db'}")
    fill_sqlite(store, waiting)
    return store


# --- calls that leave no trace ----------------------------------------------------------------------------------------


def undone(store, call):
    """Do something in a transaction that is rolled back."""
    with store.engine.connect() as conn, conn.begin() as transaction:
        call(conn)
        transaction.rollback()
