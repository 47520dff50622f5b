"""The statements that both databases share and that change something, built once.

Statuses are literals, so that partial indexes are used. Whatever changes chains has locked their rows of
jobctl_current by a statement before.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal_column,
    null,
    select,
    text,
    true,
    update,
)

from jobctl.model import Status
from jobctl.storage.spelling import (
    among,
    as_json,
    instant,
    later,
    latest,
    matching,
    now,
    probed,
    rows,
)
from jobctl.storage.tables import act, blocker, current, error, job, settled


def word(value: str) -> ColumnElement[str]:
    """A word of ours as a literal: a status that is a parameter would miss the partial indexes under a generic plan."""
    return literal_column(f"'{value}'")


PENDING, BLOCKED, RUNNING = word("pending"), word("blocked"), word("running")
FAILED, COMPLETED, CONTINUED = word("failed"), word("completed"), word("continued")

WAITING = (Status.BLOCKED, Status.FAILED)
"""The statuses that the index jobctl_current_waiting is for, in its order."""

IDS = rows("ids", id="id")
"""A parameter of ids, as the JSON text of ``[{"id": …}, …]``."""


def due(after: ColumnElement[Any], at: ColumnElement[Any], since: ColumnElement[Any]) -> ColumnElement[Any]:
    """When a job is due, from a delay in seconds or an instant in seconds since 1970; in the past means now (since)."""
    return latest(since, func.coalesce(instant(at), later(since, func.coalesce(after, literal_column("0")))))


def is_current(table: Any) -> ColumnElement[bool]:
    """Joins jobs and what is to be done with those that are current; either may be looked up for the other."""
    return and_(probed(current.c.chain_id, table.c.chain_id), current.c.job_id == table.c.id)


SAVEPOINT, RELEASE_SAVEPOINT = text("SAVEPOINT jobctl_handler"), text("RELEASE SAVEPOINT jobctl_handler")

# --- locking -----------------------------------------------------------------------------------------------------

CURRENT = (
    select(
        current.c.chain_id,
        current.c.job_id,
        current.c.chain_index,
        current.c.type_name,
        current.c.status,
        current.c.priority,
        current.c.attempt,
        current.c.lease,
    )
    .where(among(current.c.chain_id, IDS.c.id))
    .order_by(current.c.status == BLOCKED, current.c.chain_id)
)
"""The current jobs of those of these chains that are open, in the order in which chains are locked."""

# --- starting and continuing -------------------------------------------------------------------------------------

FIRST = rows(
    "jobs",
    id="id",
    type_name="text",
    status="text",
    priority="int",
    blocker_count="int",
    after_seconds="number",
    at_seconds="number",
    dedup_key="text",
    input="text",
)
"""First jobs of chains. Of most jobs most of it is null: what is left out need not be sent and read."""

NEXT = rows(
    "jobs",
    id="id",
    chain_id="id",
    chain_index="int",
    chain_type="text",
    type_name="text",
    blocker_count="int",
    input="text",
)

JOB_COLUMNS = [
    "id",
    "chain_id",
    "chain_index",
    "chain_type",
    "type_name",
    "blocker_count",
    "created_at",
    "dedup_key",
    "input",
]


# Rows for INSERT ... ON CONFLICT DO NOTHING; SQLite's grammar needs a WHERE between FROM and ON.

NEXT_JOBS = select(
    NEXT.c.id,
    NEXT.c.chain_id,
    NEXT.c.chain_index,
    NEXT.c.chain_type,
    NEXT.c.type_name,
    NEXT.c.blocker_count,
    now(),
    null(),
    as_json(NEXT.c.input),
).where(true())


def first_jobs(given: Any) -> Select[Any]:
    """The rows of chains' first jobs.

    Args:
        given: What has the columns of FIRST as its attributes.
    """
    return select(
        given.id,
        given.id,
        literal_column("0"),
        given.type_name,
        given.type_name,
        func.coalesce(given.blocker_count, literal_column("0")),
        now(),
        given.dedup_key,
        as_json(given.input),
    ).where(true())


CURRENT_COLUMNS = [
    "chain_id",
    "job_id",
    "chain_index",
    "type_name",
    "status",
    "priority",
    "attempt",
    "scheduled_at",
    "dedup_key",
]


def first_current(given: Any, made: Any) -> Select[Any]:
    """Rows for jobctl_current, of chains whose first jobs were made just now.

    Args:
        given: As of first_jobs.
        made: A table of those jobs, which has their ids and when they were created.
    """
    return select(
        made.c.id,
        made.c.id,
        literal_column("0"),
        given.type_name,
        func.coalesce(given.status, PENDING),
        func.coalesce(given.priority, literal_column("0")),
        literal_column("0"),
        due(given.after_seconds, given.at_seconds, made.c.created_at),
        given.dedup_key,
    )


_edges = rows("edges", job_id="id", position="int", chain_id="id")

INSERT_BLOCKERS = insert(blocker).from_select(
    ["job_id", "position", "chain_id"], select(_edges.c.job_id, _edges.c.position, _edges.c.chain_id)
)


def last_status(chain_id: ColumnElement[str]) -> ColumnElement[str]:
    """What came of the last settled job of a chain: of an open chain ``continued``, or nothing."""
    return (
        select(settled.c.status)
        .where(settled.c.chain_id == chain_id)
        .order_by(settled.c.chain_index.desc())
        .limit(literal_column("1"))
        .scalar_subquery()
    )


CLOSED = select(job.c.id, last_status(job.c.id).label("status")).where(
    among(job.c.id, IDS.c.id), job.c.chain_index == literal_column("0")
)
"""What came of these chains, as far as they are settled."""

# --- settling ----------------------------------------------------------------------------------------------------

_result = rows("results", chain_id="id", status="text", worker="text", output="text")

SETTLED_COLUMNS = [
    "chain_id",
    "chain_index",
    "status",
    "priority",
    "attempt",
    "scheduled_at",
    "claimed_at",
    "completed_at",
    "completed_by",
    "output",
]

INSERT_SETTLED = insert(settled).from_select(
    SETTLED_COLUMNS,
    select(
        current.c.chain_id,
        current.c.chain_index,
        _result.c.status,
        current.c.priority,
        current.c.attempt,
        current.c.scheduled_at,
        current.c.claimed_at,
        now(),
        _result.c.worker,
        as_json(_result.c.output),
    ).join_from(_result, current, matching(current.c.chain_id, _result.c.chain_id)),
)
"""Keep what came of the current jobs of these chains."""

DELETE_CURRENT = delete(current).where(among(current.c.chain_id, IDS.c.id))
"""Close these chains."""

_move = rows(
    "moves",
    chain_id="id",
    job_id="id",
    chain_index="int",
    type_name="text",
    status="text",
    priority="int",
    attempt="int",
    after_seconds="number",
    at_seconds="number",
    error="text",
)

MOVE_CURRENT = (
    update(current)
    .values(
        job_id=_move.c.job_id,
        chain_index=_move.c.chain_index,
        type_name=_move.c.type_name,
        status=_move.c.status,
        priority=_move.c.priority,
        attempt=_move.c.attempt,
        scheduled_at=case(
            (_move.c.status == FAILED, current.c.scheduled_at),
            else_=due(_move.c.after_seconds, _move.c.at_seconds, now()),
        ),
        claimed_at=case((_move.c.job_id == current.c.job_id, current.c.claimed_at), else_=null()),
        last_error=_move.c.error,
        lease=null(),
        worker=null(),
        leased_until=null(),
    )
    .where(matching(current.c.chain_id, _move.c.chain_id))
)
"""Go on with a chain: its current job's next attempt, or its next job."""

_failure = rows("errors", job_id="id", attempt="int", worker="text", error="text")

INSERT_ERRORS = insert(error).from_select(
    ["job_id", "attempt", "at", "worker", "error"],
    select(_failure.c.job_id, _failure.c.attempt, now(), _failure.c.worker, _failure.c.error),
)

_act = rows("acts", chain_id="id", job_id="id", action="text", actor="text", origin="text", note="text", details="text")

INSERT_ACTS = insert(act).from_select(
    ["chain_id", "job_id", "at", "action", "actor", "origin", "note", "details"],
    select(
        _act.c.chain_id,
        _act.c.job_id,
        now(),
        _act.c.action,
        _act.c.actor,
        _act.c.origin,
        _act.c.note,
        as_json(_act.c.details),
    ),
)

DEPENDENTS = (
    select(current.c.chain_id)
    .where(
        among(
            current.c.chain_id,
            select(job.c.chain_id)
            .join_from(blocker, job, probed(job.c.id, blocker.c.job_id))
            .where(among(blocker.c.chain_id, IDS.c.id))
            .subquery()
            .c.chain_id,
        ),
        current.c.status == BLOCKED,
    )
    .order_by(current.c.chain_id)
)
"""The chains that are at a job that waits for one of these chains."""

_still_waits: Select[Any] = (
    select(literal_column("1"))
    .select_from(blocker)
    .where(
        blocker.c.job_id == current.c.job_id,
        func.coalesce(last_status(blocker.c.chain_id), CONTINUED) != COMPLETED,
    )
    .correlate(current)
)

UNBLOCK = (
    update(current)
    .values(status=PENDING, scheduled_at=latest(current.c.scheduled_at, now()))
    .where(among(current.c.chain_id, IDS.c.id), current.c.status == BLOCKED, ~exists(_still_waits))
    .returning(current.c.type_name)
)
"""Of these chains, free those whose jobs' blockers are all complete."""
