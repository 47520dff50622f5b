"""Reading chains and jobs. The same on both databases."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, and_, exists, literal_column, or_, select, tuple_

from jobctl.asking import ListFilter
from jobctl.errors import UsageError
from jobctl.ids import require_id
from jobctl.model import Status
from jobctl.storage import queries
from jobctl.storage import statements as sql
from jobctl.storage.parameters import id_rows
from jobctl.storage.records import ChainRow, JobRow
from jobctl.storage.spelling import among, now, unindexed
from jobctl.storage.tables import blocker, current, job, settled

Place = tuple[datetime, str]
"""A chain's or job's place in the order of a list: when it was made, and its id."""


CLOSED = frozenset({Status.COMPLETED, Status.CANCELLED})
"""The statuses of closed chains: that a job was continued closes none."""


@dataclass(frozen=True, slots=True)
class Detail:
    """The rows that make up all that is known of a chain."""

    chain: ChainRow
    jobs: list[JobRow]
    blocker_ids: dict[str, tuple[str, ...]]
    blockers: dict[str, ChainRow]
    dependents: list[JobRow]
    errors: list[tuple[Any, ...]]
    acts: list[tuple[Any, ...]]


_CLOCK = select(now())


def clock(conn: Connection) -> datetime:
    """The time at the database's clock."""
    return conn.execute(_CLOCK).scalar_one()


def chains(conn: Connection, chain_ids: Iterable[str]) -> dict[str, ChainRow]:
    """The chains with these ids that exist."""
    found = conn.execute(queries.CHAINS_BY_ID, {"ids": id_rows(chain_ids)})
    return {row.id: ChainRow(*row) for row in found}


def jobs(conn: Connection, job_ids: Iterable[str]) -> dict[str, JobRow]:
    """The jobs with these ids that exist."""
    found = conn.execute(queries.JOBS_BY_ID, {"ids": id_rows(job_ids)})
    return {row.id: JobRow(*row) for row in found}


def blocker_ids(conn: Connection, jobs: Iterable[JobRow]) -> dict[str, tuple[str, ...]]:
    """For each job that waits or waited for chains, those chains in the order given."""
    waiting = [each.id for each in jobs if each.blocker_count]
    if not waiting:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for job_id, chain_id in conn.execute(queries.BLOCKERS_OF, {"ids": id_rows(waiting)}):
        found[job_id] = (*found.get(job_id, ()), chain_id)
    return found


def blockers(conn: Connection, jobs: Iterable[JobRow]) -> dict[str, tuple[ChainRow, ...]]:
    """For each job that waited for chains, those chains in the order given."""
    waits = blocker_ids(conn, jobs)
    if not waits:
        return {}
    found = chains(conn, {each for ids in waits.values() for each in ids})
    return {job_id: tuple(found[each] for each in ids) for job_id, ids in waits.items()}


def detail(conn: Connection, chain_id: str) -> Detail | None:
    """All that is known of a chain, or None when there is none with this id."""
    chain = chains(conn, [chain_id]).get(chain_id)
    if chain is None:
        return None
    asked = {"chain_id": chain_id}
    own = [JobRow(*row) for row in conn.execute(queries.JOBS_OF_CHAIN, asked)]
    dependents = [JobRow(*row) for row in conn.execute(queries.DEPENDENTS_OF, asked)]
    waits = blocker_ids(conn, [*own, *dependents])
    blockers = {each for row in own for each in waits.get(row.id, ())}
    return Detail(
        chain=chain,
        jobs=own,
        blocker_ids=waits,
        blockers=chains(conn, blockers) if blockers else {},
        dependents=dependents,
        errors=[tuple(row) for row in conn.execute(queries.ERRORS_OF, asked)],
        acts=[tuple(row) for row in conn.execute(queries.ACTS_OF, asked)],
    )


def list_chains(conn: Connection, wanted: ListFilter) -> tuple[list[ChainRow], str | None]:
    """A page of chains by the time they were started, and the cursor of the next."""
    statement = _chains_that(wanted, _chains(wanted))
    if wanted.cursor is not None:
        statement = _beyond(statement, queries.root, _read_cursor(wanted), wanted)
    found = [ChainRow(*row) for row in conn.execute(_page(statement, queries.root, wanted, wanted.limit + 1))]
    return found[: wanted.limit], _cursor(found, wanted)


def walk_chains(conn: Connection, wanted: ListFilter, after: Place | None, limit: int) -> list[Place]:
    """Where the next chains lie in the order of a list: when they were started, and their ids."""
    statement = _chains_that(wanted, _chains(wanted).with_only_columns(queries.root.c.created_at, queries.root.c.id))
    if after is not None:
        statement = _beyond(statement, queries.root, after, wanted)
    return [(row[0], row[1]) for row in conn.execute(_page(statement, queries.root, wanted, limit))]


def chains_that(conn: Connection, chain_ids: Iterable[str], wanted: ListFilter) -> set[str]:
    """Those of these chains that a list would show."""
    root = queries.root.c
    by_id = _chains(wanted).with_only_columns(root.id).where(among(root.id, sql.IDS.c.id))
    statement = _chains_that(wanted, by_id, unindexed(root.type_name), unindexed(root.created_at))
    return {id_ for (id_,) in conn.execute(statement, {"ids": id_rows(chain_ids)})}


def _chains(wanted: ListFilter) -> Select[Any]:
    """The chains that a list is of: those alone that are closed, or open, if only such are asked for."""
    if not wanted.statuses:
        return queries.CHAINS
    if CLOSED.issuperset(wanted.statuses):
        return queries.CLOSED_CHAINS
    return queries.CHAINS if CLOSED.intersection(wanted.statuses) else queries.OPEN_CHAINS


def _chains_that(
    wanted: ListFilter,
    statement: Select[Any],
    type_name: ColumnElement[str] = queries.root.c.type_name,
    created_at: ColumnElement[datetime] = queries.root.c.created_at,
) -> Select[Any]:
    """The chains of a list, by what is asked for."""
    if wanted.chain_id is not None:
        statement = statement.where(queries.root.c.id == wanted.chain_id)
    if wanted.job_id is not None:
        chain_id = select(job.c.chain_id).where(job.c.id == wanted.job_id).scalar_subquery()
        statement = statement.where(queries.root.c.id == chain_id)
    if wanted.chain_type is not None:
        statement = statement.where(type_name == wanted.chain_type)
    if wanted.roots_only:
        statement = statement.where(~exists().where(blocker.c.chain_id == queries.root.c.id))
    return _narrow(statement, wanted, type_name, created_at)


def list_jobs(conn: Connection, wanted: ListFilter) -> tuple[list[JobRow], str | None]:
    """A page of jobs by the time they were created, and the cursor of the next."""
    statement = queries.JOBS
    if wanted.chain_id is not None:
        statement = statement.where(job.c.chain_id == wanted.chain_id)
    if wanted.job_id is not None:
        statement = statement.where(job.c.id == wanted.job_id)
    if wanted.chain_type is not None:
        statement = statement.where(job.c.chain_type == wanted.chain_type)
    if wanted.roots_only:
        statement = statement.where(~exists().where(blocker.c.chain_id == job.c.chain_id))
    statement = _narrow(statement, wanted, job.c.type_name, job.c.created_at)
    if wanted.cursor is not None:
        statement = _beyond(statement, job, _read_cursor(wanted), wanted)
    found = [JobRow(*row) for row in conn.execute(_page(statement, job, wanted, wanted.limit + 1))]
    return found[: wanted.limit], _cursor(found, wanted)


def _narrow(
    statement: Select[Any], wanted: ListFilter, type_name: ColumnElement[str], created: ColumnElement[datetime]
) -> Select[Any]:
    """Filter by the first job's type and time, and by the current job's status."""
    if wanted.type_name is not None:
        statement = statement.where(type_name == wanted.type_name)
    if wanted.since is not None:
        statement = statement.where(created >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(created < wanted.until)
    if wanted.statuses:
        statement = statement.where(or_(*(_has_status(status) for status in wanted.statuses)))
    return statement


def _beyond(statement: Select[Any], first: Any, place: Place, wanted: ListFilter) -> Select[Any]:
    """Only what follows a place in the order of a list."""
    created: Column[datetime] = first.c.created_at
    position, after = tuple_(created, first.c.id), tuple_(*place, types=[created.type, first.c.id.type])
    return statement.where(position < after if wanted.newest_first else position > after)


def _page(statement: Select[Any], first: Any, wanted: ListFilter, rows: int) -> Select[Any]:
    """So many rows, in the order of a list."""
    created: Column[datetime] = first.c.created_at
    order = (created.desc(), first.c.id.desc()) if wanted.newest_first else (created, first.c.id)
    # said in the text: a plan that does not know how few rows are wanted would read them all
    number: ColumnElement[int] = literal_column(str(rows))
    return statement.order_by(*order).limit(number)


def _has_status(status: Status) -> ColumnElement[bool]:
    if status.closed:
        return settled.c.status == sql.word(status.value)
    if status is Status.SCHEDULED:
        return and_(current.c.status == sql.PENDING, current.c.scheduled_at > now())
    if status is Status.READY:
        return and_(current.c.status == sql.PENDING, current.c.scheduled_at <= now())
    is_it: ColumnElement[bool] = current.c.status == sql.word(status.value)
    if status in sql.WAITING:  # said in the words of their index: SQLite does not conclude the one from the other
        return and_(is_it, current.c.status.in_([sql.word(each) for each in sql.WAITING]))
    return is_it


def _cursor(found: list[Any], wanted: ListFilter) -> str | None:
    """Where the next page begins: the last row's place in the order, which later rows do not move."""
    if len(found) <= wanted.limit:
        return None
    last = found[wanted.limit - 1]
    order = "new" if wanted.newest_first else "old"
    text = json.dumps([order, last.created_at.isoformat(), last.id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(wanted: ListFilter) -> Place:
    text = wanted.cursor or ""
    try:
        order, created, id_ = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        place = datetime.fromisoformat(created), require_id(id_)
        if place[0].tzinfo is None:
            raise ValueError("no zone")  # noqa: TRY301 - refused below like all else
    except (ValueError, TypeError, AttributeError, RecursionError, UsageError) as error:
        raise UsageError("the cursor is not one that a list gave: leave it out to begin at the start") from error
    if order != ("new" if wanted.newest_first else "old"):
        raise UsageError("the cursor belongs to a list in the other order: use the same --order")
    return place
