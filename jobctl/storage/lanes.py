"""What is ready, type by type: a probe of an index for each type and priority, so that the backlog costs nothing."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from jobctl.storage.leasing import CLAIMABLE, LANES, first_of
from jobctl.storage.parameters import type_rows
from jobctl.storage.spelling import as_text, later, now
from jobctl.storage.statements import RUNNING
from jobctl.storage.tables import current


class Front(NamedTuple):
    """The first of the jobs of a type that are ready.

    Attributes:
        seconds: For how long it has been.
    """

    type_name: str
    chain_id: str
    since: datetime
    seconds: float


class LapsedRow(NamedTuple):
    """A job whose lease ran out and that nobody gave back."""

    chain_id: str
    type_name: str
    worker: str
    leased_until: datetime


_names = select(func.min(current.c.type_name).label("type_name")).where(CLAIMABLE).cte("waiting", recursive=True)
_next = (
    select(func.min(current.c.type_name))
    .where(CLAIMABLE, current.c.type_name > _names.c.type_name)
    .correlate(_names)
    .scalar_subquery()
)
_all = _names.union_all(select(_next).where(_names.c.type_name.is_not(None)))

WAITING_TYPES = select(_all.c.type_name).where(_all.c.type_name.is_not(None))
"""The types of which jobs are ready or scheduled."""

_ready = current.c.scheduled_at <= now()
_chain, _since = (first_of(LANES, column, _ready) for column in (current.c.chain_id, current.c.scheduled_at))

FRONTS = select(LANES.c.type_name, as_text(_chain), _since)
"""Of each type and priority that is not paused, the job that has been ready longest."""

LAPSED = (
    select(current.c.chain_id, current.c.type_name, current.c.worker, current.c.leased_until)
    .where(current.c.status == RUNNING, current.c.leased_until < later(now(), bindparam("ahead")))
    .order_by(current.c.leased_until)
    .limit(bindparam("most"))
)


def fronts(conn: Connection, at: datetime) -> list[Front]:
    """Of each type that is not paused, the job that has been ready longest, those first that have longest."""
    names = [str(name) for name in conn.execute(WAITING_TYPES).scalars()]
    if not names:
        return []
    found: dict[str, Front] = {}
    for name, chain_id, since in conn.execute(FRONTS, {"types": type_rows(dict.fromkeys(names, 0.0))}):
        if since is not None and (name not in found or since < found[name].since):
            found[name] = Front(name, chain_id, since, (at - since).total_seconds())
    return sorted(found.values(), key=lambda each: each.since)


def lapsed(conn: Connection, seconds: float, most: int) -> list[LapsedRow]:
    """The jobs whose leases ran out longer ago than so many seconds, the first first, so many at the most."""
    return [LapsedRow(*row) for row in map(tuple, conn.execute(LAPSED, {"ahead": -seconds, "most": most}))]
