"""Moving jobs in time by hand: scheduled and ready ones, all or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection

from jobctl.acts import Hand
from jobctl.asking import check_priority
from jobctl.errors import AlreadySettledError, NotFoundError, NotWaitingError, UsageError
from jobctl.ids import unique_ids
from jobctl.model import Job, Schedule, Status
from jobctl.storage import editing, reading
from jobctl.storage.decoding import job_of
from jobctl.storage.parameters import JsonRow, schedule_row
from jobctl.storage.records import WORK, JobRow, Locked
from jobctl.storage.store import Store

AHEAD_SECONDS = 0.001
"""By how much a triggered job is due before the next, so that they are claimed in the order given."""

MOVABLE = {Status.SCHEDULED, Status.READY}


def trigger(store: Store, conn: Connection, ids: Iterable[str], hand: Hand) -> list[Job[Any]]:
    """Have jobs be due now; see ``Client.trigger``."""

    def move(rows: list[JobRow]) -> None:
        triggered = [
            {"chain_id": row.chain_id, "ahead": AHEAD_SECONDS * (len(rows) - place)}
            for place, row in enumerate(rows, 1)
        ]
        store.run(conn, editing.TRIGGER, {"triggered": json.dumps(triggered)})

    return _move(store, conn, ids, "trigger", hand, move)


def reschedule(
    store: Store, conn: Connection, ids: Iterable[str], schedule: Schedule | None, priority: int | None, hand: Hand
) -> list[Job[Any]]:
    """Give jobs another time, another priority, or both; see ``Client.reschedule``."""
    if schedule is None and priority is None:
        raise UsageError("say to what: a delay (after), a time (at) or a priority")
    values: JsonRow = {"priority": None if priority is None else check_priority(priority)}
    values |= {} if schedule is None else schedule_row(schedule)

    def move(rows: list[JobRow]) -> None:
        moved = [{"chain_id": row.chain_id, **values} for row in rows]
        store.run(conn, editing.RESCHEDULE, {"moved": json.dumps(moved)})

    return _move(store, conn, ids, "reschedule", hand, move)


def _move(
    store: Store,
    conn: Connection,
    ids: Iterable[str],
    action: str,
    hand: Hand,
    move: Callable[[list[JobRow]], None],
) -> list[Job[Any]]:
    before = _lock_movable(store, conn, unique_ids(ids))
    if not before:
        return []
    move(before)
    after = reading.jobs(conn, [row.id for row in before])
    moved = [(row, after[row.id]) for row in before]
    store.record(conn, [hand.act(action, was.chain_id, was.id, _change(was, now)) for was, now in moved])
    store.notify(conn, {WORK: {row.type_name for row in before}})
    waits = reading.blocker_ids(conn, before)
    return [job_of(now, waits) for _, now in moved]


def _change(was: JobRow, now: JobRow) -> dict[str, Any]:
    """What a move did, for the history."""
    found: dict[str, Any] = {"type": was.type_name, "status": was.status}
    if was.scheduled_at != now.scheduled_at:
        found |= {"due": was.scheduled_at.isoformat(), "to": now.scheduled_at.isoformat()}
    if was.priority != now.priority:
        found |= {"priority": was.priority, "to_priority": now.priority}
    return found


def _lock_movable(store: Store, conn: Connection, wanted: tuple[str, ...]) -> list[JobRow]:
    """Lock the chains that are named, by themselves or by their current jobs; in the order given, each once."""
    named = reading.jobs(conn, wanted)
    for id_ in wanted:
        if id_ not in named:
            raise NotFoundError(f"there is no chain or job {id_}", id=id_)
    locked = store.lock(conn, [row.chain_id for row in named.values()])
    current = {id_: _current(id_, named[id_], locked) for id_ in wanted}
    rows = reading.jobs(conn, current.values())
    for id_ in wanted:
        row = rows[current[id_]]
        if row.status not in MOVABLE:
            raise NotWaitingError(
                f"the job {row.id} of '{row.type_name}' is {row.status}: only scheduled and ready jobs can be moved",
                id=row.id,
                status=row.status,
            )
    return [rows[job_id] for job_id in dict.fromkeys(current.values())]


def _current(wanted: str, named: JobRow, locked: dict[str, Locked]) -> str:
    """The current job of the chain, which must be the one that was named, unless it was the chain."""
    chain_id = named.chain_id
    if chain_id not in locked:
        raise AlreadySettledError(f"the chain {chain_id} is closed", id=wanted, chain_id=chain_id, status=named.status)
    here = locked[chain_id]
    if wanted not in {chain_id, here.job_id}:
        raise AlreadySettledError(
            f"the job {wanted} was settled before: the chain {chain_id} is at '{here.type_name}'",
            id=wanted,
            chain_id=chain_id,
            status=named.status,
        )
    return here.job_id
