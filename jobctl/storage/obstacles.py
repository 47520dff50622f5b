"""The statements that find what keeps a job from running: each reads a few rows by an index."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, func, literal_column, select

from jobctl.storage.spelling import now
from jobctl.storage.statements import COMPLETED, CONTINUED, last_status
from jobctl.storage.tables import act, blocker, current, error, pause


class Place(NamedTuple):
    """What only the chain's row tells of its current job, and the database's time."""

    paused_at: datetime | None
    claimed_at: datetime | None
    now: datetime


class PauseRow(NamedTuple):
    """A type that is paused, or with an empty name all of them."""

    type_name: str
    at: datetime
    actor: str
    note: str | None


class ActRow(NamedTuple):
    """What somebody did last."""

    at: datetime
    action: str
    actor: str
    note: str | None


_one: ColumnElement[int] = literal_column("1")

CLOCK = select(now())

PLACE = select(current.c.paused_at, current.c.claimed_at, now()).where(current.c.chain_id == bindparam("chain_id"))

PAUSES = (
    select(pause.c.type_name, pause.c.at, pause.c.actor, pause.c.note)
    .where(pause.c.type_name.in_([bindparam("type_name"), literal_column("''")]))
    .order_by(pause.c.type_name.desc())
)
"""The type's own pause before that of all."""

LAST_ACT = (
    select(act.c.at, act.c.action, act.c.actor, act.c.note)
    .where(act.c.chain_id == bindparam("chain_id"), act.c.action.in_(bindparam("actions", expanding=True)))
    .order_by(act.c.id.desc())
    .limit(_one)
)

FAILED_AT = select(func.max(error.c.at)).where(error.c.job_id == bindparam("job_id"))

OPEN_BLOCKERS = (
    select(blocker.c.chain_id)
    .where(
        blocker.c.job_id == bindparam("job_id"),
        func.coalesce(last_status(blocker.c.chain_id), CONTINUED) != COMPLETED,
    )
    .order_by(blocker.c.position)
    .limit(bindparam("most"))
)


def clock(conn: Connection) -> datetime:
    """The database's time."""
    found: datetime = conn.execute(CLOCK).scalar_one()
    return found


def place(conn: Connection, chain_id: str) -> Place:
    """Where an open chain is; of a closed one only the time is known."""
    row = conn.execute(PLACE, {"chain_id": chain_id}).one_or_none()
    return Place(None, None, clock(conn)) if row is None else Place(*row)


def pauses(conn: Connection, type_name: str) -> list[PauseRow]:
    """The pauses that hold a type back, its own first."""
    return [PauseRow(*row) for row in map(tuple, conn.execute(PAUSES, {"type_name": type_name}))]


def last_act(conn: Connection, chain_id: str, actions: list[str]) -> ActRow | None:
    """The last of these things that was done to a chain by hand."""
    row = conn.execute(LAST_ACT, {"chain_id": chain_id, "actions": actions}).one_or_none()
    return None if row is None else ActRow(*row)


def failed_at(conn: Connection, job_id: str) -> datetime | None:
    """When the last attempt of a job failed."""
    found: datetime | None = conn.execute(FAILED_AT, {"job_id": job_id}).scalar_one()
    return found


def open_blockers(conn: Connection, job_id: str, most: int) -> list[str]:
    """The chains that a job waits for and that have not completed, in the order given, so many at the most."""
    found: Any = conn.execute(OPEN_BLOCKERS, {"job_id": job_id, "most": most}).scalars()
    return list(found)
