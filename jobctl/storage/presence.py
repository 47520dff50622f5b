"""Workers as the database knows them: they register, give signs of life, and take their leave."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, literal_column, select, update

from jobctl.storage.database import Database
from jobctl.storage.parameters import id_rows
from jobctl.storage.spelling import among, as_json, later, now, rows, seconds_until
from jobctl.storage.statements import IDS, RUNNING
from jobctl.storage.tables import current, worker

FORGET_SECONDS = 86_400
"""How long a worker that is not heard of any more is remembered."""

MOST_WORKERS = 5000
"""How many workers are read at the most, those heard of last: one that dies at once and is started anew leaves many."""

MOST_HELD = 1000
"""How many running jobs are read at the most, to name those that a worker holds."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A worker's sign of life. What it says of the past is in seconds: the database's clock makes instants of them.

    Attributes:
        id: Of this run of the worker.
        types: JSON text of the names that it takes.
        running: How many of its slots are in use.
        stopping: 1 when it claims nothing any more.
        busy_seconds: For how long all slots have been in use; None: they are not.
        started_seconds: How long ago it started.
        beat_seconds: How long until the next sign.
    """

    id: str
    name: str
    host: str
    pid: int
    version: str
    types: str
    concurrency: int
    running: int
    stopping: int
    busy_seconds: float | None
    started_seconds: float
    beat_seconds: float


class WorkerRow(NamedTuple):
    """A worker as it is stored, and how many seconds ago it was heard of."""

    id: str
    name: str
    host: str
    pid: int
    version: str
    types: str
    concurrency: int
    running: int
    stopping: int
    busy_since: datetime | None
    started_at: datetime
    seen_at: datetime
    beat_seconds: float
    silent_seconds: float


class HeldRow(NamedTuple):
    """A job that is leased."""

    chain_id: str
    job_id: str
    type_name: str
    worker: str
    claimed_at: datetime
    leased_until: datetime


_beat = rows(
    "beat",
    id="id",
    name="text",
    host="text",
    pid="int",
    version="text",
    types="text",
    concurrency="int",
    running="int",
    stopping="int",
    busy_seconds="number",
    started_seconds="number",
    beat_seconds="number",
)


def _ago(seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    return later(now(), -seconds)


REGISTER = insert(worker).from_select(
    [each.name for each in worker.columns],
    select(
        _beat.c.id,
        _beat.c.name,
        _beat.c.host,
        _beat.c.pid,
        _beat.c.version,
        as_json(_beat.c.types),
        _beat.c.concurrency,
        _beat.c.running,
        _beat.c.stopping,
        _ago(_beat.c.busy_seconds),
        _ago(_beat.c.started_seconds),
        now(),
        _beat.c.beat_seconds,
    ),
)

BEAT = (
    update(worker)
    .values(running=_beat.c.running, stopping=_beat.c.stopping, busy_since=_ago(_beat.c.busy_seconds), seen_at=now())
    .where(worker.c.id == _beat.c.id)
    .returning(worker.c.id)
)

LEAVE = delete(worker).where(among(worker.c.id, IDS.c.id))

FORGET = delete(worker).where(worker.c.seen_at < later(now(), literal_column(str(-FORGET_SECONDS))))

WORKERS = (
    select(*worker.columns, -seconds_until(worker.c.seen_at))
    .order_by(worker.c.seen_at.desc())
    .limit(literal_column(str(MOST_WORKERS)))
)

HELD = (
    select(
        current.c.chain_id,
        current.c.job_id,
        current.c.type_name,
        current.c.worker,
        current.c.claimed_at,
        current.c.leased_until,
    )
    .where(current.c.status == RUNNING)
    .order_by(current.c.leased_until)
    .limit(bindparam("most"))
)
"""What is leased, the first to run out first: as many jobs as all workers together work at."""


def beat(store: Database, sign: Beat) -> None:
    """Note a sign of life; a worker that is not known, or was forgotten meanwhile, is registered."""
    parameters = {"beat": json.dumps([asdict(sign)])}
    with store.single() as conn:
        known = store.run(conn, BEAT, parameters)
    if not known:
        with store.single() as conn:
            store.run(conn, REGISTER, parameters)


def leave(store: Database, id_: str) -> None:
    """Take a worker off the list."""
    with store.single() as conn:
        store.run(conn, LEAVE, {"ids": id_rows([id_])})


def forget(store: Database) -> None:
    """Take the workers off the list that were not heard of for a day."""
    with store.single() as conn:
        store.run(conn, FORGET, {})


def workers(conn: Connection) -> list[WorkerRow]:
    """The workers that are on the list, by name."""
    found = [WorkerRow(*row) for row in map(tuple, conn.execute(WORKERS))]
    return sorted(found, key=lambda each: (each.name, each.started_at))


def held(conn: Connection, most: int = MOST_HELD) -> list[HeldRow]:
    """The jobs that are leased, the first to run out first, so many at the most."""
    return [HeldRow(*row) for row in map(tuple, conn.execute(HELD, {"most": most}))]
