"""The statements that only read, built once. The same on both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    null,
    select,
)

from jobctl.storage.spelling import among, now, probed, unindexed
from jobctl.storage.statements import IDS, PENDING, is_current, word
from jobctl.storage.tables import act, blocker, current, error, job, pause, settled


def _shown_status() -> ColumnElement[str]:
    """The status in the words that people see."""
    return case(
        (settled.c.status.is_not(None), settled.c.status),
        (current.c.status != PENDING, current.c.status),
        (current.c.scheduled_at > now(), word("scheduled")),
        else_=word("ready"),
    ).label("status")


def _either(name: str) -> ColumnElement[Any]:
    """What is to be done has it, or what came of it."""
    return func.coalesce(settled.c[name], current.c[name]).label(name)


def _shown_pause() -> ColumnElement[str]:
    """What is paused, so that an open job is not claimed."""

    def paused(type_name: ColumnElement[str]) -> ColumnElement[bool]:
        return exists(select(literal_column("1")).where(pause.c.type_name == type_name).correlate(current))

    return case(
        (current.c.chain_id.is_(None), null()),
        (current.c.paused_at.is_not(None), word("chain")),
        (paused(current.c.type_name), word("type")),
        (paused(word("")), word("all")),
        else_=null(),
    ).label("paused")


def _settled_of(table: Any) -> ColumnElement[bool]:
    """What came of a job. SQLite is kept from beginning there: it would sort all that is settled to find a page."""
    return and_(settled.c.chain_id == unindexed(table.c.chain_id), settled.c.chain_index == table.c.chain_index)


def _with_state(table: Any) -> FromClause:
    """A table of jobs with what is to be done, or what came of each."""
    joined: FromClause = table.outerjoin(current, is_current(table)).outerjoin(settled, _settled_of(table))
    return joined


JOBS = select(
    job.c.id,
    job.c.chain_id,
    job.c.chain_index,
    job.c.chain_type,
    job.c.type_name,
    _shown_status(),
    _either("priority"),
    _either("attempt"),
    job.c.blocker_count,
    job.c.created_at,
    _either("scheduled_at"),
    current.c.lease,
    current.c.worker,
    current.c.leased_until,
    settled.c.completed_at,
    settled.c.completed_by,
    job.c.input,
    settled.c.output,
    current.c.last_error,
    _shown_pause(),
).select_from(_with_state(job))

JOBS_BY_ID = JOBS.where(among(job.c.id, IDS.c.id))
JOBS_OF_CHAIN = JOBS.where(job.c.chain_id == bindparam("chain_id")).order_by(job.c.chain_index)
LAST_JOB = (
    JOBS.where(job.c.chain_id == bindparam("chain_id")).order_by(job.c.chain_index.desc()).limit(literal_column("1"))
)

root = job.alias("root")
tail = job.alias("tail")
_later = job.alias("later")

_last_id = (
    select(_later.c.id)
    .where(_later.c.chain_id == root.c.id)
    .order_by(_later.c.chain_index.desc())
    .limit(literal_column("1"))
    .scalar_subquery()
)

_of_chain: tuple[ColumnElement[Any], ...] = (
    root.c.id,
    root.c.type_name,
    _shown_status(),
    root.c.input,
    settled.c.output,
    root.c.created_at,
    settled.c.completed_at,
    tail.c.id.label("job_id"),
    tail.c.type_name.label("job_type"),
    _either("scheduled_at"),
    _either("attempt"),
    current.c.last_error,
    _either("priority"),
    root.c.dedup_key,
    tail.c.chain_index.label("tail_index"),
    _shown_pause(),
)

_is_root = root.c.chain_index == literal_column("0")
_goes_on = probed(current.c.chain_id, root.c.id)


def _chains(goes_on: ColumnElement[bool]) -> Select[Any]:
    return (
        select(*_of_chain)
        .join_from(root, tail, tail.c.id == _last_id)
        .outerjoin(current, goes_on)
        .outerjoin(settled, _settled_of(tail))
        .where(_is_root)
    )


CHAINS = _chains(_goes_on)
"""Chains: a root, the last job of its chain, and what is to be done or came of that."""

OPEN_CHAINS = _chains(current.c.chain_id == root.c.id)
"""The same, once a status says that they are open: PostgreSQL may begin with what is to be done, where it is little."""

CLOSED_CHAINS = (
    select(*_of_chain)
    .join_from(root, settled, settled.c.chain_id == unindexed(root.c.id))
    .join(tail, and_(tail.c.chain_id == settled.c.chain_id, tail.c.chain_index == settled.c.chain_index))
    .outerjoin(current, _goes_on)
    .where(_is_root)
)
"""The same of those that are closed, once a status says so: it is only the last job's that closes a chain.

Nothing is looked up of the others, and PostgreSQL may begin with the closed ones where they are few.
"""

CHAINS_BY_ID = CHAINS.where(among(root.c.id, IDS.c.id))

BLOCKERS_OF = (
    select(blocker.c.job_id, blocker.c.chain_id)
    .where(among(blocker.c.job_id, IDS.c.id))
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

ACTS = select(
    act.c.id, act.c.chain_id, act.c.job_id, act.c.at, act.c.action, act.c.actor, act.c.origin, act.c.note, act.c.details
)

ACTS_OF = ACTS.where(act.c.chain_id == bindparam("chain_id")).order_by(act.c.id)
