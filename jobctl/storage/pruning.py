"""The statements that find what may be pruned. The same on both databases.

Each walks an index from where the one before ended, a bounded number of rows at a time, whatever is kept:

* completed chains of a type by the time they were started, jobctl_job_type: who ended before an instant was started
  before it, so whoever walks may stop there, and what is passed over is little more than what ran long;
* cancelled and failed chains by their ids, in the partial indexes that have nothing else.

No index on the time of their end is used: on PostgreSQL it is one of blocks, which widen for ever once rows are deleted
and their room is used again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    select,
    tuple_,
)

from jobctl.storage import queries
from jobctl.storage import statements as sql
from jobctl.storage.parameters import id_rows
from jobctl.storage.spelling import Id, Timestamp, among, now
from jobctl.storage.tables import act, current, error, job, settled

WALKED_AT_ONCE = 500
"""How many rows a statement looks at."""

FIRST = (datetime(1970, 1, 1, tzinfo=UTC), "00000000-0000-0000-0000-000000000000")
"""A place before all others."""

_page: ColumnElement[int] = literal_column(str(WALKED_AT_ONCE))

NOW = select(now())

# --- types -------------------------------------------------------------------------------------------------------

_first = select(func.min(job.c.type_name).label("type_name")).cte("types", recursive=True)
_next = select(func.min(job.c.type_name)).where(job.c.type_name > _first.c.type_name).scalar_subquery()
_types = _first.union_all(select(_next).where(_first.c.type_name.is_not(None)))

TYPES = select(_types.c.type_name).where(_types.c.type_name.is_not(None))
"""The types that there are: one look into an index for each, however many jobs it has."""

# --- chains ------------------------------------------------------------------------------------------------------


def _of_last(column: ColumnElement[Any], chain_id: ColumnElement[str]) -> ColumnElement[Any]:
    """What the last settled job of a chain has in a column."""
    found: ColumnElement[Any] = (
        select(column)
        .where(settled.c.chain_id == chain_id)
        .order_by(settled.c.chain_index.desc())
        .limit(literal_column("1"))
        .scalar_subquery()
    )
    return found


_walked = (
    select(job.c.created_at, job.c.id, job.c.chain_index)
    .where(
        job.c.type_name == bindparam("type_name"),
        tuple_(job.c.created_at, job.c.id)
        > tuple_(
            bindparam("after_at", type_=Timestamp()), bindparam("after_id", type_=Id()), types=[Timestamp(), Id()]
        ),
    )
    .order_by(job.c.created_at, job.c.id)
    .limit(_page)
    .subquery("walked")
)

COMPLETED = select(
    _walked.c.created_at,
    _walked.c.id,
    and_(
        _walked.c.chain_index == literal_column("0"),
        _of_last(settled.c.status, _walked.c.id) == sql.COMPLETED,
        _of_last(settled.c.completed_at, _walked.c.id) < bindparam("before", type_=Timestamp()),
        # a value and not EXISTS, which PostgreSQL would rather answer by reading the whole table once
        select(current.c.job_id).where(current.c.chain_id == _walked.c.id).scalar_subquery().is_(None),
    ).label("old"),
).order_by(_walked.c.created_at, _walked.c.id)
"""Jobs of a type in the order in which they were made, and whether each is a chain that completed before an instant."""

_root = job.alias("root")

CANCELLED = (
    select(settled.c.chain_id, _root.c.type_name, settled.c.status, settled.c.completed_at)
    .join(_root, _root.c.id == settled.c.chain_id)
    .where(settled.c.status == sql.word("cancelled"), settled.c.chain_id > bindparam("after_id", type_=Id()))
    .order_by(settled.c.chain_id)
    .limit(_page)
)

_failed_at = func.coalesce(
    select(func.max(error.c.at)).where(error.c.job_id == current.c.job_id).scalar_subquery(), current.c.scheduled_at
)

FAILED = (
    select(current.c.chain_id, _root.c.type_name, current.c.status, _failed_at)
    .join(_root, _root.c.id == current.c.chain_id)
    .where(
        current.c.status == sql.FAILED,
        current.c.status.in_([sql.word(each) for each in sql.WAITING]),  # in the words of the index, for SQLite
        current.c.chain_id > bindparam("after_id", type_=Id()),
    )
    .order_by(current.c.chain_id)
    .limit(_page)
)

ENDS = queries.CHAINS.with_only_columns(
    queries.root.c.id,
    queries.root.c.type_name,
    queries.CHAINS.selected_columns.status,
    func.coalesce(settled.c.completed_at, _failed_at),
).where(among(queries.root.c.id, sql.IDS.c.id))
"""How these chains stand, and since when, if they are over."""


class End(NamedTuple):
    """How a chain stands, and since when."""

    chain_id: str
    type_name: str
    status: str
    at: datetime


def ends(conn: Connection, chain_ids: Iterable[str]) -> list[End]:
    """How those of these chains stand that exist."""
    return [End(*row) for row in conn.execute(ENDS, {"ids": id_rows(chain_ids)})]


# --- history -----------------------------------------------------------------------------------------------------

_acts = select(act.c.id, act.c.at).where(act.c.id > bindparam("after")).order_by(act.c.id).limit(_page).subquery("acts")

ACTS = select(func.max(_acts.c.id), func.min(_acts.c.at))
"""Where the next acts end, and when the earliest of them was done: they have about the order in which they were."""

DELETE_ACTS = delete(act).where(
    act.c.id > bindparam("after"),
    act.c.id <= bindparam("upto"),
    act.c.at < bindparam("before", type_=Timestamp()),
    ~exists().where(job.c.id == act.c.chain_id),
)
"""Of these acts, those before an instant on chains that are gone, or on none."""
