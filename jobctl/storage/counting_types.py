"""Counting the open jobs of each type, each status by its own index."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, case, func, literal_column, select

from jobctl.storage.leasing import CLAIMABLE
from jobctl.storage.spelling import Timestamp, now
from jobctl.storage.statements import BLOCKED, FAILED, PENDING, RUNNING
from jobctl.storage.tables import current, pause

_one: Any = literal_column("1")
_is_ready = current.c.scheduled_at <= now()

_PENDING = select(
    current.c.type_name,
    func.count(case((_is_ready, _one))),
    func.count(case((~_is_ready, _one))),
    func.min(case((_is_ready, current.c.scheduled_at)), type_=Timestamp()),
).group_by(current.c.type_name)

CLAIMABLE_OF_TYPES = _PENDING.where(CLAIMABLE)

PAUSED_OF_TYPES = _PENDING.where(current.c.status == PENDING, current.c.paused_at.is_not(None))

_COUNT = select(current.c.type_name, current.c.status, func.count()).group_by(current.c.type_name, current.c.status)

WAITING_OF_TYPES = _COUNT.where(current.c.status.in_([BLOCKED, FAILED]))

RUNNING_OF_TYPES = _COUNT.where(current.c.status == RUNNING)

PAUSED_TYPES = select(pause.c.type_name)


class Counts(NamedTuple):
    """How many open jobs a type has."""

    ready: int = 0
    scheduled: int = 0
    blocked: int = 0
    running: int = 0
    failed: int = 0
    paused_chains: int = 0
    oldest_ready_at: datetime | None = None


def open_jobs(conn: Connection) -> dict[str, Counts]:
    """The open jobs, by type."""
    found: dict[str, Counts] = {}
    for name, ready, scheduled, oldest in conn.execute(CLAIMABLE_OF_TYPES):
        found[name] = Counts(ready=ready, scheduled=scheduled, oldest_ready_at=oldest)
    for name, ready, scheduled, _ in conn.execute(PAUSED_OF_TYPES):
        was = found.get(name, Counts())
        found[name] = was._replace(
            ready=was.ready + ready, scheduled=was.scheduled + scheduled, paused_chains=ready + scheduled
        )
    for statement in (WAITING_OF_TYPES, RUNNING_OF_TYPES):
        for name, status, count in conn.execute(statement):
            found[name] = found.get(name, Counts())._replace(**{status: count})
    return found


def paused_types(conn: Connection) -> set[str]:
    """The types that are paused; the empty name stands for all."""
    return set(conn.execute(PAUSED_TYPES).scalars())
