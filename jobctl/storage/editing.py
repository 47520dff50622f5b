"""The statements of what people do by hand to chains that they do not settle: move, cancel, delete them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, and_, case, delete, func, literal_column, select, update

from jobctl.storage.spelling import among, as_text, later, matching, now, rows
from jobctl.storage.statements import BLOCKED, FAILED, IDS, PENDING, due, is_current
from jobctl.storage.tables import blocker, current, job, settled

_moved = rows("moved", chain_id="id", after_seconds="number", at_seconds="number", priority="int")

RESCHEDULE = (
    update(current)
    .values(
        scheduled_at=case(
            (and_(_moved.c.after_seconds.is_(None), _moved.c.at_seconds.is_(None)), current.c.scheduled_at),
            else_=due(_moved.c.after_seconds, _moved.c.at_seconds, now()),
        ),
        priority=func.coalesce(_moved.c.priority, current.c.priority),
    )
    .where(matching(current.c.chain_id, _moved.c.chain_id), current.c.status == PENDING)
)

_due_now = rows("due_now", chain_id="id", ahead="number")
_now = later(now(), -_due_now.c.ahead)

TRIGGER = (
    update(current)
    .values(scheduled_at=case((current.c.scheduled_at < _now, current.c.scheduled_at), else_=_now))
    .where(matching(current.c.chain_id, _due_now.c.chain_id), current.c.status == PENDING)
)
"""Have jobs be due now, each a little ahead of those after it; one that is due already keeps its turn."""

RETRY = (
    update(current)
    .values(status=PENDING, attempt=literal_column("0"), scheduled_at=_now)
    .where(matching(current.c.chain_id, _due_now.c.chain_id), current.c.status == FAILED)
)
"""Have failed jobs be due now, as if they had had no attempt yet."""

# --- cancelling --------------------------------------------------------------------------------------------------

_waiting_closure = select(IDS.c.id).cte("waiting", recursive=True)
_waiting_step: Select[Any] = (
    select(current.c.chain_id)
    .join_from(_waiting_closure, blocker, blocker.c.chain_id == _waiting_closure.c.id)
    .join(job, job.c.id == blocker.c.job_id)
    .join(current, is_current(job))
    .where(current.c.status == BLOCKED)
)
_waiting_all = _waiting_closure.union(_waiting_step)

WITH_WAITING = select(as_text(_waiting_all.c.id))
"""These chains with the open ones that wait for them, and that wait for those."""

# --- deleting ----------------------------------------------------------------------------------------------------

_closure = select(IDS.c.id).cte("closure", recursive=True)
_step: Select[Any] = (
    select(blocker.c.chain_id)
    .join_from(_closure, job, job.c.chain_id == _closure.c.id)
    .join(blocker, blocker.c.job_id == job.c.id)
)
_all = _closure.union(_step)

WITH_BLOCKERS = select(as_text(_all.c.id))
"""These chains with all that they wait or waited for, and that those do."""

LOCK_ROOTS = (
    select(job.c.id)
    .where(among(job.c.id, IDS.c.id), job.c.chain_index == literal_column("0"))
    .order_by(job.c.id)
    .with_for_update(of=job)
)
"""Closed chains have no row in jobctl_current; who begins to wait for one locks its root, by the foreign key."""

WAITING = (
    select(blocker.c.chain_id, current.c.chain_id)
    .join_from(blocker, job, job.c.id == blocker.c.job_id)
    .join(current, is_current(job))
    .where(among(blocker.c.chain_id, IDS.c.id))
    .order_by(blocker.c.chain_id, current.c.chain_id)
)
"""Which open chains are at a job that waits, or waited, for one of these: its handler is given their outputs."""

DELETE = (
    delete(blocker).where(among(blocker.c.chain_id, IDS.c.id)),
    delete(current).where(among(current.c.chain_id, IDS.c.id)),
    delete(settled).where(among(settled.c.chain_id, IDS.c.id)),
    delete(job).where(among(job.c.chain_id, IDS.c.id)),
)
"""In this order; what else belongs to a job goes with it."""
