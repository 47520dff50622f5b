"""The statements that both databases share, built once. Statuses are literals, so that partial indexes are used."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)

from jobctl.model import Status
from jobctl.storage.spelling import as_json, instant, json_text, later, latest, now, rows, seconds_until
from jobctl.storage.tables import act, blocker, error, job


def word(value: str) -> ColumnElement[str]:
    """A status as a literal: a bound parameter would miss the partial indexes under a generic plan."""
    return literal_column(f"'{value}'")


PENDING, BLOCKED, RUNNING = word("pending"), word("blocked"), word("running")
FAILED, COMPLETED, CONTINUED, CANCELLED = (
    word("failed"),
    word("completed"),
    word("continued"),
    word("cancelled"),
)
CLOSED = (COMPLETED, CONTINUED, CANCELLED)

RARE = (Status.BLOCKED, Status.FAILED, Status.CANCELLED)
"""The statuses that the index jobctl_job_status is for, in its order."""

IDS = rows("ids", id="id")
"""A parameter of ids, as the JSON text of ``[{"id": …}, …]``."""


def due(after: ColumnElement[Any], at: ColumnElement[Any]) -> ColumnElement[Any]:
    """When a job is due, from a delay in seconds or an instant in seconds since 1970; in the past means now."""
    return latest(now(), func.coalesce(instant(at), later(func.coalesce(after, 0))))


def shown_status(table: Any) -> ColumnElement[str]:
    """The status in the words that people see."""
    return case(
        (table.c.status != PENDING, table.c.status),
        (table.c.scheduled_at > now(), word("scheduled")),
        else_=word("ready"),
    )


# --- starting and continuing -------------------------------------------------------------------------------------

_new = rows(
    "jobs",
    id="id",
    chain_id="id",
    chain_index="int",
    chain_type="text",
    type_name="text",
    status="text",
    priority="int",
    blocker_count="int",
    after_seconds="number",
    at_seconds="number",
    input="text",
)

NEW_JOB_COLUMNS = [
    "id",
    "chain_id",
    "chain_index",
    "chain_type",
    "type_name",
    "status",
    "priority",
    "attempt",
    "blocker_count",
    "created_at",
    "scheduled_at",
    "input",
]

NEW_JOBS = select(
    _new.c.id,
    _new.c.chain_id,
    _new.c.chain_index,
    _new.c.chain_type,
    _new.c.type_name,
    _new.c.status,
    _new.c.priority,
    literal_column("0"),
    _new.c.blocker_count,
    now(),
    due(_new.c.after_seconds, _new.c.at_seconds),
    as_json(_new.c.input),
).where(true())
"""Rows for INSERT ... ON CONFLICT DO NOTHING; SQLite's grammar needs a WHERE between FROM and ON."""

_edges = rows("edges", job_id="id", position="int", chain_id="id")

INSERT_BLOCKERS = insert(blocker).from_select(
    ["job_id", "position", "chain_id"], select(_edges.c.job_id, _edges.c.position, _edges.c.chain_id)
)

OPEN_ROOTS = select(job.c.chain_id, job.c.status).join(IDS, job.c.chain_id == IDS.c.id).where(job.c.status != CONTINUED)
"""Of the chains named, the status of the last job."""

# --- settling ----------------------------------------------------------------------------------------------------

_outcome = rows(
    "outcomes",
    id="id",
    lease="id",
    status="text",
    output="text",
    after_seconds="number",
    at_seconds="number",
    error="text",
    charge="int",
    worker="text",
)

SETTLE = (
    update(job)
    .values(
        status=_outcome.c.status,
        output=as_json(_outcome.c.output),
        scheduled_at=case(
            (_outcome.c.status == PENDING, due(_outcome.c.after_seconds, _outcome.c.at_seconds)),
            else_=job.c.scheduled_at,
        ),
        attempt=job.c.attempt + _outcome.c.charge,
        last_error=_outcome.c.error,
        completed_at=case((_outcome.c.status.in_([COMPLETED, CONTINUED]), now()), else_=null()),
        completed_by=case((_outcome.c.status.in_([COMPLETED, CONTINUED]), _outcome.c.worker), else_=null()),
        lease=null(),
        worker=null(),
        leased_until=null(),
    )
    .where(
        job.c.id == _outcome.c.id,
        or_(
            and_(job.c.status == RUNNING, job.c.lease == _outcome.c.lease),
            and_(_outcome.c.lease.is_(None), job.c.status.not_in(CLOSED)),
        ),
    )
    .returning(job.c.id)
)
"""Settle the jobs that are held by the lease shown; without a lease, whatever is open (its chain must be locked)."""

_failure = rows("errors", job_id="id", attempt="int", worker="text", error="text")

INSERT_ERRORS = insert(error).from_select(
    ["job_id", "attempt", "at", "worker", "error"],
    select(_failure.c.job_id, _failure.c.attempt, now(), _failure.c.worker, _failure.c.error),
)

INSERT_ACT = insert(act).from_select(
    ["chain_id", "job_id", "at", "action", "actor", "origin", "note", "details"],
    select(
        bindparam("chain_id", type_=act.c.chain_id.type),
        bindparam("job_id", type_=act.c.job_id.type),
        now(),
        bindparam("action", type_=act.c.action.type),
        bindparam("actor", type_=act.c.actor.type),
        bindparam("origin", type_=act.c.origin.type),
        bindparam("note", type_=act.c.note.type),
        as_json(bindparam("details", type_=act.c.note.type)),
    ),
)

DEPENDENTS = (
    select(job.c.id)
    .where(job.c.status == BLOCKED)
    .where(job.c.id.in_(select(blocker.c.job_id).join(IDS, blocker.c.chain_id == IDS.c.id)))
    .order_by(job.c.id)
)
"""The blocked jobs that wait for one of these chains."""

_finish = job.alias("finish")
_still_open: Select[Any] = (
    select(literal_column("1"))
    .select_from(blocker)
    .where(blocker.c.job_id == job.c.id)
    .where(
        ~exists(
            select(literal_column("1"))
            .select_from(_finish)
            .where(_finish.c.chain_id == blocker.c.chain_id, _finish.c.status == COMPLETED)
            .correlate(blocker)
        )
    )
    .correlate(job)
)

UNBLOCK = (
    update(job)
    .values(status=PENDING, scheduled_at=latest(job.c.scheduled_at, now()))
    .where(job.c.id.in_(select(IDS.c.id)), job.c.status == BLOCKED, ~exists(_still_open))
    .returning(job.c.type_name)
)
"""Of these jobs, free those whose blockers are all complete. They must be locked by a statement before."""

# --- leases ------------------------------------------------------------------------------------------------------

TYPES = rows("types", type_name="text", lease_seconds="number")

_lane_base = select(
    TYPES.c.type_name,
    select(func.max(job.c.priority))
    .where(job.c.type_name == TYPES.c.type_name, job.c.status == PENDING)
    .correlate(TYPES)
    .scalar_subquery()
    .label("priority"),
).cte("lane", recursive=True)

LANES = _lane_base.union_all(
    select(
        _lane_base.c.type_name,
        select(func.max(job.c.priority))
        .where(
            job.c.type_name == _lane_base.c.type_name,
            job.c.status == PENDING,
            job.c.priority < _lane_base.c.priority,
        )
        .correlate(_lane_base)
        .scalar_subquery(),
    ).where(_lane_base.c.priority.is_not(None))
)
"""The priorities that wait, per type: one index probe each, so the cost does not grow with the backlog."""

_first_due = (
    select(func.min(job.c.scheduled_at))
    .where(job.c.type_name == LANES.c.type_name, job.c.priority == LANES.c.priority, job.c.status == PENDING)
    .correlate(LANES)
    .scalar_subquery()
)
_first_expiry = select(func.min(job.c.leased_until)).where(job.c.status == RUNNING).scalar_subquery()

NEXT_DUE = select(
    select(seconds_until(func.min(_first_due))).select_from(LANES).scalar_subquery(),
    seconds_until(_first_expiry),
)

CLAIMED = (
    job.c.id,
    job.c.chain_id,
    job.c.chain_index,
    job.c.chain_type,
    job.c.type_name,
    job.c.priority,
    job.c.attempt,
    job.c.blocker_count,
    job.c.created_at,
    job.c.scheduled_at,
    job.c.leased_until,
    json_text(job.c.input).label("input"),
    job.c.last_error,
)


def lease_values() -> dict[str, Any]:
    """What a claim sets."""
    return {
        "status": RUNNING,
        "attempt": job.c.attempt + 1,
        "lease": bindparam("claim_lease", type_=job.c.lease.type),
        "worker": bindparam("claim_worker", type_=job.c.worker.type),
        "leased_until": later(TYPES.c.lease_seconds),
    }


HELD = rows("held", id="id", lease="id", lease_seconds="number")

_is_held = and_(job.c.id == HELD.c.id, job.c.lease == HELD.c.lease, job.c.status == RUNNING)

RENEWABLE = select(job.c.id).join(HELD, _is_held)

RENEW = update(job).values(leased_until=later(HELD.c.lease_seconds)).where(_is_held).returning(job.c.id)

STATES = select(job.c.id, job.c.status, job.c.lease).where(job.c.id.in_(select(IDS.c.id)))
"""What became of these jobs, without waiting for any lock."""

RELEASE = (
    update(job)
    .values(
        status=PENDING,
        attempt=job.c.attempt - 1,
        lease=null(),
        worker=null(),
        leased_until=null(),
    )
    .where(_is_held)
    .returning(job.c.type_name)
)
"""Give jobs back as if they had never been claimed."""

EXPIRED = (
    select(job.c.id, job.c.worker)
    .where(job.c.status == RUNNING, job.c.leased_until < now())
    .where(job.c.lease.not_in(select(HELD.c.lease)))
    .order_by(job.c.leased_until)
    .limit(bindparam("most"))
)
"""Leases that ran out, except those that the caller holds itself."""

REAP = (
    update(job)
    .values(
        status=PENDING,
        scheduled_at=latest(job.c.scheduled_at, now()),
        last_error=_failure.c.error,
        lease=null(),
        worker=null(),
        leased_until=null(),
    )
    .where(job.c.id == _failure.c.job_id, job.c.status == RUNNING, job.c.leased_until < now())
    .returning(job.c.id, job.c.chain_id, job.c.type_name, job.c.attempt)
)
"""Give back the jobs of workers that were not heard of; the attempt counts."""

# --- looking -----------------------------------------------------------------------------------------------------

JOB_COLUMNS = (
    job.c.id,
    job.c.chain_id,
    job.c.chain_index,
    job.c.chain_type,
    job.c.type_name,
    shown_status(job).label("status"),
    job.c.priority,
    job.c.attempt,
    job.c.blocker_count,
    job.c.created_at,
    job.c.scheduled_at,
    job.c.lease,
    job.c.worker,
    job.c.leased_until,
    job.c.completed_at,
    job.c.completed_by,
    job.c.input,
    job.c.output,
    job.c.last_error,
)

JOBS = select(*JOB_COLUMNS)
JOBS_BY_ID = JOBS.join(IDS, job.c.id == IDS.c.id)
JOBS_OF_CHAIN = JOBS.where(job.c.chain_id == bindparam("chain_id")).order_by(job.c.chain_index)
CURRENT_JOB = JOBS.where(job.c.chain_id == bindparam("chain_id")).order_by(job.c.chain_index.desc()).limit(1)

root = job.alias("root")
tail = job.alias("tail")

CHAINS = (
    select(
        root.c.id,
        root.c.type_name,
        shown_status(tail).label("status"),
        root.c.input,
        tail.c.output,
        root.c.created_at,
        tail.c.completed_at,
        tail.c.id.label("job_id"),
        tail.c.type_name.label("job_type"),
        tail.c.scheduled_at,
        tail.c.attempt,
        tail.c.last_error,
        tail.c.priority,
        tail.c.chain_index.label("tail_index"),
    )
    .join_from(root, tail, and_(tail.c.chain_id == root.c.id, tail.c.status != CONTINUED))
    .where(root.c.chain_index == literal_column("0"))
)
"""Chains: a root and the one job of its chain that has not handed over."""

CHAINS_BY_ID = CHAINS.join(IDS, root.c.id == IDS.c.id)

BLOCKERS_OF = (
    select(blocker.c.job_id, blocker.c.chain_id)
    .join(IDS, blocker.c.job_id == IDS.c.id)
    .order_by(blocker.c.job_id, blocker.c.position)
)

DEPENDENTS_OF = JOBS.where(
    job.c.id.in_(select(blocker.c.job_id).where(blocker.c.chain_id == bindparam("chain_id")))
).order_by(job.c.created_at, job.c.id)

ERRORS_OF = (
    select(error.c.job_id, error.c.attempt, error.c.at, error.c.worker, error.c.error)
    .join(job, job.c.id == error.c.job_id)
    .where(job.c.chain_id == bindparam("chain_id"))
    .order_by(error.c.id)
)

ACTS_OF = (
    select(act.c.job_id, act.c.at, act.c.action, act.c.actor, act.c.origin, act.c.note, act.c.details)
    .where(act.c.chain_id == bindparam("chain_id"))
    .order_by(act.c.id)
)
