"""The statements that PostgreSQL has for itself, built once: they do in one round trip what takes SQLite several."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sqlalchemy import (
    CTE,
    JSON,
    ColumnElement,
    CompoundSelect,
    Double,
    Integer,
    Select,
    Text,
    Update,
    Uuid,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal_column,
    null,
    select,
    text,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.types import TypeEngine

from jobctl.storage import leasing
from jobctl.storage import statements as sql
from jobctl.storage.records import WORK
from jobctl.storage.spelling import among, as_json, as_text, epoch, instant, now, probed, rows
from jobctl.storage.tables import current, job, settled

LOOK_AHEAD = 4
"""How many times the wanted number a claim looks at, so that others' locks in front do not hide what follows. Of each
of many types it looks at little more than what is wanted: all of it may be of that type."""

_place: ColumnElement[Any] = literal_column("jobctl_current.ctid")


def _claim(lanes: Any, *where: ColumnElement[bool]) -> Update:
    """Claim jobs of these types and priorities: a look into the index for each, and a probe of each job's row alone."""
    waiting = (
        select(_place.label("place"), current.c.scheduled_at, current.c.chain_id)
        .where(
            current.c.type_name == lanes.c.type_name,
            current.c.priority == lanes.c.priority,
            leasing.CLAIMABLE,
            current.c.scheduled_at <= now(),
            *where,
        )
        .order_by(current.c.scheduled_at, current.c.chain_id)
        .limit(bindparam("look_each"))
        .lateral("waiting")
    )
    candidates = (
        select(waiting.c.place)
        .select_from(lanes.join(waiting, true()))
        .order_by(lanes.c.priority.desc(), waiting.c.scheduled_at, waiting.c.chain_id)
        .limit(bindparam("look"))
        .cte("candidates")
    )
    free = (
        select(_place.label("place"))
        .where(_place == candidates.c.place, leasing.CLAIMABLE)
        .with_for_update(of=current, skip_locked=True)
        .lateral("free")
    )
    picked = select(free.c.place).select_from(candidates.join(free, true())).limit(bindparam("most")).cte("picked")
    return (
        update(current)
        .values(leasing.lease_values(leasing.TYPES.c.lease_seconds))
        .where(
            among(_place, picked.c.place),
            current.c.type_name == leasing.TYPES.c.type_name,
            probed(job.c.id, current.c.job_id),
        )
        .returning(*leasing.CLAIMED)
    )


CLAIM = _claim(leasing.LANES)
"""Claim from the first job that waits on."""

_lane = rows("lanes", type_name="text", priority="int", due="number", chain_id="id")
_lanes = select(_lane).where(leasing.not_paused(_lane)).subquery("lane")
CLAIM_ON = _claim(
    _lanes, tuple_(current.c.scheduled_at, current.c.chain_id) > tuple_(instant(_lanes.c.due), _lanes.c.chain_id)
)
"""Claim from where the last claim ended: what was claimed may lie dead before it, and must not be walked over again."""

WORK_SETTINGS = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
"""What a worker's transactions set, for themselves alone.

A statement's plan is kept until the server has looked at the tables anew, which it does once a minute. One that was
made while nothing waited would scan a table then, or all of an index, however much it has in it by now. Left to
itself the server plans each claim anew, as it takes the number that is wanted for a tenth of all: that takes twice as
long as to run it. By the same guess the plan counts as so dear that it would be compiled, for tenths of a second.
"""

SETTLING_SETTINGS = {**WORK_SETTINGS, "lock_timeout": "'1s'"}
"""The same for those that wait for locks, which anybody may hold for as long as a transaction of his lasts."""

WAIT_LITTLE = "SET LOCAL lock_timeout TO '50ms'"

FORGETTABLE_SETTINGS = {**WORK_SETTINGS, "synchronous_commit": "off"}
"""The same for those that do not wait for the disk."""

CLAIMING = select(
    *(func.set_config(sql.word(name), sql.word(value), true()) for name, value in FORGETTABLE_SETTINGS.items())
)
"""Sets these, for a claim in a transaction of its own."""

_names = rows("names", name="text")
LOCK_KEYS = select(func.pg_advisory_xact_lock(func.hashtextextended(_names.c.name, literal_column("1")))).select_from(
    _names
)
"""In the order of the names: who needs several waits for the others in the same order."""

# A claim has locks on all tables that it reads and changes before it looks at any row.
CLAIMS_UNDER_WAY = text("""
    SELECT pause.virtualtransaction FROM pg_locks AS pause JOIN pg_locks AS current USING (virtualtransaction)
    WHERE pause.relation = to_regclass('jobctl_pause') AND current.relation = to_regclass('jobctl_current')
        AND current.mode = 'RowExclusiveLock' AND pause.granted AND pause.pid <> pg_backend_pid()
        AND pause.database = current.database
        AND pause.database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")

_notice = rows("told", channel="text", payload="text")
NOTIFY = select(func.pg_notify(_notice.c.channel, _notice.c.payload)).select_from(_notice)

INSERT_JOBS = pg_insert(job).from_select(sql.JOB_COLUMNS, sql.NEXT_JOBS).on_conflict_do_nothing().returning(job.c.id)


def _made(first: Select[Any], *, may_be_taken: bool) -> CTE:
    made = pg_insert(job).from_select(sql.JOB_COLUMNS, first)
    if may_be_taken:
        made = made.on_conflict_do_nothing()
    return made.returning(job.c.id, job.c.created_at).cte("made")


def _insert_chains(*, may_be_taken: bool) -> CompoundSelect[Any]:
    first = select(sql.FIRST).cte("first").prefix_with("MATERIALIZED")  # read once, though it is asked for often
    made = _made(sql.first_jobs(first.c), may_be_taken=may_be_taken)
    rows = sql.first_current(first.c, made).join_from(first, made, made.c.id == first.c.id)
    inserted = insert(current).from_select(sql.CURRENT_COLUMNS, rows)
    started = inserted.returning(current.c.chain_id, current.c.scheduled_at).cte("started")
    types = select(first.c.type_name).distinct().subquery("types")
    told = select(func.count(func.pg_notify(sql.word(WORK), types.c.type_name))).scalar_subquery()
    parts = [
        select(null(), epoch(now()), told),
        select(started.c.chain_id, epoch(started.c.scheduled_at), null()).where(started.c.scheduled_at > now()),
    ]
    if may_be_taken:
        parts.append(select(as_text(first.c.id), null(), null()).where(first.c.id.not_in(select(started.c.chain_id))))
    return union_all(*parts)


INSERT_CHAINS = _insert_chains(may_be_taken=False)
"""Starts chains, and tells of each type once: the same notification over and over costs as much as a row's index.

Returns when they were made, then the ids of those that are due later, and when."""

INSERT_GIVEN_CHAINS = _insert_chains(may_be_taken=True)
"""The same where ids may be taken, which costs the server a fifth more: returns those that are, too, without a time."""


def _one_first() -> SimpleNamespace:
    """What FIRST has, as parameters."""
    rest = cast(bindparam("rest"), JSON)
    kinds: dict[str, type[TypeEngine[Any]]] = {
        "status": Text,
        "priority": Integer,
        "blocker_count": Integer,
        "after_seconds": Double,
        "at_seconds": Double,
        "dedup_key": Text,
    }
    given = {name: cast(func.json_extract_path_text(rest, sql.word(name)), kind) for name, kind in kinds.items()}
    return SimpleNamespace(
        id=cast(bindparam("id"), Uuid(as_uuid=False)),
        type_name=cast(bindparam("type_name"), Text),
        input=cast(bindparam("input"), Text),
        **given,
    )


_one = _one_first()
INSERT_CHAIN = (
    insert(current)
    .from_select(sql.CURRENT_COLUMNS, sql.first_current(_one, _made(sql.first_jobs(_one), may_be_taken=True)))
    .returning(
        epoch(now()),
        epoch(current.c.scheduled_at),
        func.pg_notify(sql.word(WORK), current.c.type_name),
    )
)
"""Starts one chain, in less time: the server joins nothing and reads no JSON, unless the parameter ``rest`` has what is
seldom given. With a parameter for each of these, the driver would take as long as the server."""

_given = rows(
    "ends",
    chain_id="id",
    lease="id",
    status="text",
    worker="text",
    output="text",
    id="id",
    chain_type="text",
    type_name="text",
    priority="int",
    after_seconds="number",
    at_seconds="number",
    input="text",
)
_end = select(_given).cte("ends").prefix_with("MATERIALIZED")  # read once, though it is asked twice
_in_order = select(_end).order_by(_end.c.chain_id).subquery("given")
_locked = (
    select(
        current.c.chain_id.label("held_chain"),
        current.c.chain_index,
        current.c.priority.label("held_priority"),
        current.c.attempt,
        current.c.scheduled_at,
        current.c.claimed_at,
    )
    .where(current.c.chain_id == _in_order.c.chain_id, current.c.lease == _in_order.c.lease)
    .with_for_update(of=current)
    .lateral("locked")
)
_held = (  # a probe of the index for each, whatever the planner thinks of how many there are
    select(*_locked.c, *(each for each in _in_order.c if each.name not in {"chain_id", "lease"}))
    .select_from(_in_order.join(_locked, true()))
    .cte("held")
)
_ends = select(_held.c.held_chain).where(_held.c.status == sql.COMPLETED).subquery("ending")
_next = select(_held).where(_held.c.status == sql.CONTINUED).cte("next")

SETTLE = (
    select(_held.c.held_chain, _held.c.status)
    .add_cte(delete(current).where(among(current.c.chain_id, _ends.c.held_chain)).cte("ended"))
    .add_cte(
        insert(settled)
        .from_select(
            sql.SETTLED_COLUMNS,
            select(
                _held.c.held_chain,
                _held.c.chain_index,
                _held.c.status,
                _held.c.held_priority,
                _held.c.attempt,
                _held.c.scheduled_at,
                _held.c.claimed_at,
                now(),
                _held.c.worker,
                as_json(_held.c.output),
            ),
        )
        .cte("kept")
    )
    .add_cte(
        insert(job)
        .from_select(
            sql.JOB_COLUMNS,
            select(
                _next.c.id,
                _next.c.held_chain,
                _next.c.chain_index + 1,
                _next.c.chain_type,
                _next.c.type_name,
                literal_column("0"),
                now(),
                null(),
                as_json(_next.c.input),
            ),
        )
        .cte("made")
    )
    .add_cte(
        update(current)
        .values(
            job_id=_next.c.id,
            chain_index=_next.c.chain_index + 1,
            type_name=_next.c.type_name,
            status=sql.PENDING,
            priority=_next.c.priority,
            attempt=literal_column("0"),
            scheduled_at=sql.due(_next.c.after_seconds, _next.c.at_seconds, now()),
            claimed_at=null(),
            last_error=null(),
            lease=null(),
            worker=null(),
            leased_until=null(),
        )
        .where(probed(current.c.chain_id, _next.c.held_chain))
        .cte("moved")
    )
)
"""Settle jobs that are held by their leases, and end without an error: a chain ends, or goes on with a job that waits
for no other chain. Locks the chains in the order of their ids first."""
