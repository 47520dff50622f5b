"""The statements of claims and leases, built once. Statuses are literals, so that partial indexes are used."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    null,
    select,
    update,
)

from jobctl.storage.spelling import (
    among,
    as_text,
    epoch,
    instant,
    later,
    latest,
    matching,
    now,
    probed,
    rows,
    seconds_until,
)
from jobctl.storage.statements import IDS, PENDING, RUNNING, is_current
from jobctl.storage.tables import current, job, pause, settled

TYPES = rows("types", type_name="text", lease_seconds="number")

CLAIMABLE = and_(current.c.status == PENDING, current.c.paused_at.is_(None))
"""What may be claimed once it is due, in the words of its index."""


def not_paused(types: Any) -> ColumnElement[bool]:
    """Whether a table's type may be claimed. What is paused is read once, and not for each type."""
    all_ = exists(pause.c.type_name).where(pause.c.type_name == literal_column("''"))
    return and_(types.c.type_name.not_in(select(pause.c.type_name)), ~all_)


def _one(found: Select[Any], of: FromClause) -> ColumnElement[Any]:
    """The first, for a row of a table, of what an index has in its order: PostgreSQL may read all for a maximum."""
    return found.limit(literal_column("1")).correlate(of).scalar_subquery()


def _waiting(lanes: FromClause, column: ColumnElement[Any], *where: ColumnElement[bool]) -> Select[Any]:
    """Of the jobs of each type and priority in a table, those first that are due first."""
    same = and_(current.c.type_name == lanes.c.type_name, current.c.priority == lanes.c.priority)
    return select(column).where(same, CLAIMABLE, *where).order_by(current.c.scheduled_at, current.c.chain_id)


def _highest(types: FromClause, *where: ColumnElement[bool]) -> ColumnElement[Any]:
    """The highest priority that waits, for each type in a table."""
    waiting = select(current.c.priority).where(CLAIMABLE, current.c.type_name == types.c.type_name, *where)
    return _one(waiting.order_by(current.c.priority.desc()), types)


def next_lower(lanes: FromClause) -> ColumnElement[Any]:
    """The next lower priority that waits, for each type and priority in a table."""
    return _highest(lanes, current.c.priority < lanes.c.priority)


def first_of(lanes: FromClause, column: ColumnElement[Any], *where: ColumnElement[bool]) -> ColumnElement[Any]:
    """Of the job that is due first, for each type and priority in a table: a probe, as a join may be made a scan."""
    return _one(_waiting(lanes, column, *where), lanes)


def second_of(lanes: FromClause, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same of the one after it."""
    return _one(_waiting(lanes, column).offset(literal_column("1")), lanes)


_lane_base = (
    select(TYPES.c.type_name, _highest(TYPES).label("priority")).where(not_paused(TYPES)).cte("lane", recursive=True)
)

LANES = _lane_base.union_all(
    select(_lane_base.c.type_name, next_lower(_lane_base)).where(_lane_base.c.priority.is_not(None))
)
"""The priorities that wait, per type that is not paused: one index probe each, so that the backlog costs nothing."""

_not_before = current.c.leased_until >= instant(bindparam("since"))
"""All that runs, for a time before any of it runs out: it spares the walk over what has run, which may be dead yet."""

_first_expiry = (
    select(func.min(current.c.leased_until)).where(current.c.status == RUNNING, _not_before).scalar_subquery()
)

NEXT_DUE = select(
    select(seconds_until(func.min(first_of(LANES, current.c.scheduled_at)))).select_from(LANES).scalar_subquery(),
    seconds_until(_first_expiry),
    epoch(now()),
)


def lease_values(seconds: ColumnElement[Any]) -> dict[str, Any]:
    """What a claim sets, for so many seconds."""
    return {
        "status": RUNNING,
        "attempt": current.c.attempt + 1,
        "claimed_at": now(),
        "lease": bindparam("claim_lease", type_=current.c.lease.type),
        "worker": bindparam("claim_worker", type_=current.c.worker.type),
        "leased_until": later(now(), seconds),
    }


CLAIMED = (
    job.c.id,
    job.c.chain_id,
    job.c.chain_index,
    job.c.chain_type,
    job.c.type_name,
    current.c.priority,
    current.c.attempt,
    job.c.blocker_count,
    epoch(job.c.created_at),
    epoch(current.c.scheduled_at),
    epoch(current.c.leased_until),
    as_text(job.c.input).label("input"),
    current.c.last_error,
)
"""What a claim tells of each job."""

HELD = rows("held", chain_id="id", lease="id", lease_seconds="number")

_is_held = and_(matching(current.c.chain_id, HELD.c.chain_id), current.c.lease == HELD.c.lease)
"""Only what runs has a lease. To say so would have PostgreSQL walk over the index of what runs, and all that ran."""

RENEWABLE = select(current.c.job_id).join_from(HELD, current, _is_held)

RENEW = (
    update(current).values(leased_until=later(now(), HELD.c.lease_seconds)).where(_is_held).returning(current.c.job_id)
)

STATES = (
    select(job.c.id, func.coalesce(settled.c.status, current.c.status), current.c.lease)
    .outerjoin_from(job, current, is_current(job))
    .outerjoin(settled, and_(probed(settled.c.chain_id, job.c.chain_id), settled.c.chain_index == job.c.chain_index))
    .where(among(job.c.id, IDS.c.id))
)
"""What became of these jobs, without waiting for any lock."""

RELEASE = (
    update(current)
    .values(status=PENDING, attempt=current.c.attempt - 1, lease=null(), worker=null(), leased_until=null())
    .where(_is_held)
    .returning(current.c.type_name)
)
"""Give jobs back as if they had never been claimed."""

EXPIRED = (
    select(current.c.job_id, current.c.chain_id, current.c.type_name, current.c.attempt, current.c.worker)
    .where(current.c.status == RUNNING, current.c.leased_until < now(), _not_before)
    .where(current.c.lease.not_in(select(HELD.c.lease)))
    .order_by(current.c.leased_until)
    .limit(bindparam("most"))
)
"""Leases that ran out, except those that the caller holds itself."""

_reaped = rows("reaped", chain_id="id", error="text")

REAP = (
    update(current)
    .values(
        status=PENDING,
        scheduled_at=latest(current.c.scheduled_at, now()),
        last_error=_reaped.c.error,
        lease=null(),
        worker=null(),
        leased_until=null(),
    )
    .where(matching(current.c.chain_id, _reaped.c.chain_id), current.c.status == RUNNING)
)
"""Give back the jobs of workers that were not heard of; the attempt counts."""
